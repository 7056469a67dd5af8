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
#[command(after_help = "\
Examples:
  side-node peers node1
  side-node peers node1 --json | jq -r .members[].key

Who has written to the group, and the ways to other nodes. Times are what each writer's own clock said.")]
pub struct PeersArgs {
    /// The node
    #[arg(value_name = "NODE")]
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
