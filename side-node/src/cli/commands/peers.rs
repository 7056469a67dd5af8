//! `side-node peers NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::Globals;
use crate::daemon::view::Peers;
use crate::error::CommandError;
use crate::output;

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub struct PeersArgs {
    /// The node
    pub name: Name,
}

/// Runs `peers`.
pub fn run(globals: &Globals, args: PeersArgs) -> Result<(), CommandError> {
    let peers: Peers = super::ask(globals, &args.name, Verb::Peers)?;
    globals.output().result(&peers, || output::peers(&peers))
}
