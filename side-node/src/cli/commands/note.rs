//! `side-node note NAME TEXT`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::view::Accepted;
use crate::error::CommandError;
use crate::output;

/// Arguments of `note`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node note node1 \"the meeting is at five\"

While the node runs the note goes out at once. While it is stopped the note is signed and stored, and sent at the next run.")]
pub struct NoteArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The text
    pub text: String,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `note`.
pub fn run(globals: &Globals, args: NoteArgs) -> Result<(), CommandError> {
    let accepted: Accepted = super::ask(globals, &args.name, &args.group, Verb::Note { text: args.text })?;
    globals.output().result(&accepted, || output::accepted(&accepted))
}
