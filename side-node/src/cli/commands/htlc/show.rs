//! `side-node htlc show NAME ID`

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session};
use crate::btc::swaps::view::{self, Whole};
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc show dave 3f9a1c20

The preimage is printed once it is public, never before.")]
pub struct ShowArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The swap's id, or its beginning
    pub id: String,
}

/// Runs `htlc show`.
pub fn run(globals: &Globals, args: ShowArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &ChainArgs::to_read())?;
    let desk = session.desk()?;
    let deal = session.find(&desk, &args.id)?;
    let notices = desk.notices(&deal.id()).map_err(|e| session.error(e))?;
    let whole = Whole { swap: view::deal(&deal), notices };
    globals.output().result(&whole, || view::whole(&whole))
}
