//! `side-node status NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::Globals;
use crate::daemon::view::Status;
use crate::error::CommandError;
use crate::output;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The node
    pub name: Name,
}

/// Runs `status`.
pub fn run(globals: &Globals, args: StatusArgs) -> Result<(), CommandError> {
    let status: Status = super::ask(globals, &args.name, Verb::Status)?;
    globals.output().result(&status, || output::status(&status))
}
