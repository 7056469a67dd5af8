//! `side-node blocks NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::console::commands::BLOCKS;
use crate::daemon::view::Blocks;
use crate::error::CommandError;
use crate::output;

/// Arguments of `blocks`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node blocks node1
  side-node blocks node1 --limit 1 --json | jq -r .blocks[0].state_root

Nodes that hold the same chain print the same ids and state roots.")]
pub struct BlocksArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// How many, the latest last
    #[arg(long, value_name = "N", default_value_t = BLOCKS)]
    pub limit: u64,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `blocks`.
pub fn run(globals: &Globals, args: BlocksArgs) -> Result<(), CommandError> {
    let answer: Blocks = super::ask(globals, &args.name, &args.group, Verb::Blocks { limit: args.limit })?;
    globals.output().result(&answer, || output::blocks(&answer))
}
