//! `side-node peers NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::view::Peers;
use crate::error::CommandError;
use crate::output;

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub struct PeersArgs {
    /// The node
    pub name: Name,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `peers`.
pub fn run(globals: &Globals, args: PeersArgs) -> Result<(), CommandError> {
    let peers: Peers = super::ask(globals, &args.name, &args.group, Verb::Peers)?;
    globals.output().result(&peers, || output::peers(&peers))
}
