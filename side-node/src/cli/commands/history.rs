//! `side-node history NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::view::History;
use crate::error::CommandError;
use crate::output;

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node history node1
  side-node history node1 --json | jq -r .digest

Nodes that hold the same changes print the same digest, byte for byte. Works while the node is stopped, too.")]
pub struct HistoryArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Print only the last N entries
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `history`.
pub fn run(globals: &Globals, args: HistoryArgs) -> Result<(), CommandError> {
    let history: History = super::ask(globals, &args.name, &args.group, Verb::History { limit: args.limit })?;
    globals.output().result(&history, || output::history(&history))
}
