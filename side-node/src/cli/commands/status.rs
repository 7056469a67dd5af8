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
pub struct StatusArgs {
    /// The node
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
