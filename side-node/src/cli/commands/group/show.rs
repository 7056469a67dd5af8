//! `side-node group show NODE [GROUP]`

use clap::Args;
use serde::Serialize;
use side_ledger::Name;

use super::act;
use super::origin::{self, Comparison};
use crate::cli::Globals;
use crate::daemon::groups::{GroupAction, GroupInfo};
use crate::error::CommandError;

/// Arguments of `group show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node group show node1
  side-node group show node1 team

Prints what the group was founded on, which never changes. Of one that goes on from another group it says whether it begins with that group's last balances,
if the node is in both. How it stands now: side-node status NODE --group GROUP, side-node group members NODE GROUP.")]
pub struct ShowArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: Name,
    /// The group: its alias, its id or the beginning of that [default: the node's default group]
    pub group: Option<String>,
}

/// A group, and whether it begins with what it says.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    info: GroupInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
}

/// Runs `group show`.
pub fn run(globals: &Globals, args: ShowArgs) -> Result<(), CommandError> {
    let info: GroupInfo = act(globals, &args.node, GroupAction::Show { group: args.group })?;
    let comparison = info.origin.as_ref().map(|origin| origin::compare(globals, &args.node, origin)).transpose()?;
    let shown = Shown { info, comparison };
    globals.output().result(&shown, || {
        let mut text = super::describe(&shown.info);
        if let Some(comparison) = &shown.comparison {
            text.push_str(&format!("compared   {}\n", comparison.text));
        }
        text
    })
}
