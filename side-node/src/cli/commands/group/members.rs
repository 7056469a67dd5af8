//! `side-node group members NODE [GROUP]`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::commands::ask;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::roll::Roll;
use crate::error::CommandError;

/// Arguments of `group members`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node group members node1
  side-node group members node1 team --json

Who has written to the group, founded it, votes in it, seals it or owns something of its unit, after its last block; then the votes that have not decided yet.
Members of a closed group come and go by the voters' vote: side-node vote NODE member KEY in|out")]
pub struct MembersArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: Name,
    /// The group: its alias, its id or the beginning of that [default: the node's default group]
    pub group: Option<String>,
}

/// Runs `group members`.
pub fn run(globals: &Globals, args: MembersArgs) -> Result<(), CommandError> {
    let roll: Roll = ask(globals, &args.node, &GroupArgs { group: args.group }, Verb::Members)?;
    globals.output().result(&roll, || roll.text())
}
