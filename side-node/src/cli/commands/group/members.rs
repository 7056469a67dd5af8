//! `side-node group members NODE [GROUP]`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::Globals;
use crate::daemon::view::Peers;
use crate::error::CommandError;
use crate::output;

/// Arguments of `group members`.
#[derive(Debug, Args)]
pub struct MembersArgs {
    /// The node
    pub node: Name,
    /// The group: its alias, its id or the beginning of that [default: the node's default group]
    pub group: Option<String>,
}

/// Runs `group members`.
pub fn run(globals: &Globals, args: MembersArgs) -> Result<(), CommandError> {
    let group = crate::cli::GroupArgs { group: args.group };
    let peers: Peers = crate::cli::commands::ask(globals, &args.node, &group, Verb::Peers)?;
    globals.output().result(&peers, || output::peers(&peers))
}
