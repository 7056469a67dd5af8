//! `side-node balance NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::view::Balances;
use crate::error::CommandError;
use crate::output;

/// Arguments of `balance`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node balance node1

What the last block left to each key. What is pending is not in it.")]
pub struct BalanceArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `balance`.
pub fn run(globals: &Globals, args: BalanceArgs) -> Result<(), CommandError> {
    let answer: Balances = super::ask(globals, &args.name, &args.group, Verb::Balance)?;
    globals.output().result(&answer, || output::balances(&answer))
}
