//! `side-node group leave NODE GROUP`

use clap::Args;
use side_ledger::Name;

use super::act;
use crate::cli::Globals;
use crate::daemon::groups::{GroupAction, GroupInfo};
use crate::error::CommandError;

/// Arguments of `group leave`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node group leave node1 team

The node follows the group no more: it neither receives nor sends, seals or votes there. What it has of the group stays in its database, so a later
`group join` goes on where it stopped.

The members count on a voter until they have voted it out: side-node vote MEMBER member KEY out")]
pub struct LeaveArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: Name,
    /// The group: its alias, its id or the beginning of that
    pub group: String,
}

/// Runs `group leave`.
pub fn run(globals: &Globals, args: LeaveArgs) -> Result<(), CommandError> {
    let info: GroupInfo = act(globals, &args.node, GroupAction::Leave { group: args.group })?;
    globals.output().result(&info, || {
        format!("{} is in group {} ({}) no more; what it has of it is kept", args.node, info.alias, info.group)
    })
}
