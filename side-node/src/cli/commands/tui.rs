//! `side-node tui [NODE]`

use clap::Args;
use side_ledger::Name;

use super::choose_node;
use crate::cli::{Globals, GroupArgs};
use crate::error::CommandError;
use crate::tui;

/// Arguments of `tui`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node tui                        the only node of this machine
  side-node tui node1 --group team

A view of a running node (side-node run node1, in another terminal): how it stands, the graph of changes, blocks, balances, peers and swaps. Tab and the
numbers turn pages, arrows choose, Enter opens, ? explains the keys, q quits. Without colours: NO_COLOR=1 side-node tui node1")]
pub struct TuiArgs {
    /// The node [default: the only one]
    #[arg(value_name = "NODE")]
    pub name: Option<Name>,
    /// Which group is shown.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `tui`.
pub fn run(globals: &Globals, args: TuiArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let home = root.node(choose_node(&root, args.name)?.as_str());
    home.require()?;
    if globals.json {
        return Err(CommandError::usage("this command draws on a terminal and has no JSON")
            .hint(format!("for scripts: side-node status {} --json", home.name())));
    }
    tui::run(&home, args.group.group)
}
