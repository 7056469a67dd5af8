//! `side-node htlc cancel NAME ID`

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, order};
use crate::btc::htlc::swap::Command;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc cancel`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc cancel dave 3f9a1c20 --network regtest

Withdraws from a swap of which nothing is locked. Once coins are at stake only the chain ends it: by the claim, or by the refund.")]
pub struct CancelArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The swap's id, or its beginning
    pub id: String,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc cancel`.
pub fn run(globals: &Globals, args: CancelArgs) -> Result<(), CommandError> {
    order(globals, &args.name, &args.id, &args.chain, Command::GiveUp)
}
