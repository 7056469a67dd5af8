//! `side-node send NAME NODE AMOUNT`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::view::Accepted;
use crate::error::CommandError;
use crate::output;

/// Arguments of `send`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node send node1 node2 10

The transfer is signed and on disk when this returns. It counts once a block has it and the sender owns that much then: see side-node history.")]
pub struct SendArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// To whom: a node of this machine, a name in the group, a key or the beginning of one
    pub to: String,
    /// How much, in the group's smallest unit
    pub amount: u64,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `send`.
pub fn run(globals: &Globals, args: SendArgs) -> Result<(), CommandError> {
    let answer: Accepted =
        super::ask(globals, &args.name, &args.group, Verb::Send { to: args.to, amount: args.amount })?;
    globals.output().result(&answer, || output::accepted(&answer))
}
