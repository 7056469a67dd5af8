//! `side-node group list NODE`

use std::fmt::Write as _;

use clap::Args;
use side_ledger::Name;

use super::act;
use crate::cli::Globals;
use crate::daemon::groups::{GroupAction, GroupList};
use crate::error::CommandError;
use crate::output::{printable, short};

/// Arguments of `group list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node group list node1

The star marks the default: the group that commands mean where none is named.")]
pub struct ListArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: Name,
}

/// Runs `group list`.
pub fn run(globals: &Globals, args: ListArgs) -> Result<(), CommandError> {
    let list: GroupList = act(globals, &args.node, GroupAction::List)?;
    globals.output().result(&list, || text(&list))
}

/// The groups for people, the default with a star.
pub fn text(list: &GroupList) -> String {
    let mut out = String::new();
    for info in &list.groups {
        let mark = if info.default { '*' } else { ' ' };
        let named =
            if info.name == info.alias { String::new() } else { format!(", founded as {}", printable(&info.name)) };
        let founders = info.founders.len();
        let _ = writeln!(
            out,
            "{mark} {:<20} {}  {}, sealed by {}, {founders} founder{}{named}",
            info.alias,
            short(&info.group),
            info.admission,
            if info.sealing == "bft" { "agreement" } else { "a leader" },
            if founders == 1 { "" } else { "s" },
        );
    }
    out
}
