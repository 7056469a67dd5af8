//! `side-node htlc claim NAME ID`

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, order};
use crate::btc::htlc::swap::Command;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc claim`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc claim sammy 3f9a1c20 --network regtest

A running node, or `htlc resume`, claims by itself. The preimage is shown only into a lock that is sound, deep enough and agreed on, with enough time left.")]
pub struct ClaimArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The swap's id, or its beginning
    pub id: String,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc claim`.
pub fn run(globals: &Globals, args: ClaimArgs) -> Result<(), CommandError> {
    order(globals, &args.name, &args.id, &args.chain, Command::Claim)
}
