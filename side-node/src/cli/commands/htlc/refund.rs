//! `side-node htlc refund NAME ID`

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, order};
use crate::btc::htlc::swap::Command;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc refund`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc refund dave 3f9a1c20 --network regtest

A running node, or `htlc resume`, refunds by itself once the timeout is reached; this also does it against a claim that is on its way.")]
pub struct RefundArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The swap's id, or its beginning
    pub id: String,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc refund`.
pub fn run(globals: &Globals, args: RefundArgs) -> Result<(), CommandError> {
    order(globals, &args.name, &args.id, &args.chain, Command::Refund)
}
