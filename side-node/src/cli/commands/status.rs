//! `side-node status NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::view::Status;
use crate::error::CommandError;
use crate::output;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node status node1
  side-node status node1 --group team --json | jq .height

If something looks wrong: side-node doctor node1")]
pub struct StatusArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `status`.
pub fn run(globals: &Globals, args: StatusArgs) -> Result<(), CommandError> {
    let status: Status = super::ask(globals, &args.name, &args.group, Verb::Status)?;
    globals.output().result(&status, || output::status(&status))
}
