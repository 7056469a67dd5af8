//! `side-node group show NODE [GROUP]`

use clap::Args;
use side_ledger::Name;

use super::act;
use crate::cli::Globals;
use crate::daemon::groups::{GroupAction, GroupInfo};
use crate::error::CommandError;

/// Arguments of `group show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node group show node1
  side-node group show node1 team

Prints what the group was founded on, which never changes. How it stands now: side-node status NODE --group GROUP, side-node group members NODE GROUP.")]
pub struct ShowArgs {
    /// The node
    pub node: Name,
    /// The group: its alias, its id or the beginning of that [default: the node's default group]
    pub group: Option<String>,
}

/// Runs `group show`.
pub fn run(globals: &Globals, args: ShowArgs) -> Result<(), CommandError> {
    let info: GroupInfo = act(globals, &args.node, GroupAction::Show { group: args.group })?;
    globals.output().result(&info, || super::describe(&info))
}
