//! `side-node vote NAME WHAT…`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::console::commands::ballot;
use crate::daemon::view::Accepted;
use crate::error::CommandError;
use crate::output;

/// Arguments of `vote`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node vote node2 leader node3       node2 wants node3 to seal
  side-node vote node2 voter node4 out    and node4 to vote no more
  side-node vote node2 interval 500       and a block every half second at most
  side-node vote node2 key node4 4f1a2b3c and this new key to take the place of node4's
  side-node vote node5 ask                node5 asks to become a voter of an open group

A new key is named by its first eight digits or more, which its owner tells you: see side-node key rotate --help.
A vote on the leader counts at once, others when a block has them. More than two thirds of the voters decide; see side-node status.")]
pub struct VoteArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// leader NODE, voter NODE in|out, member NODE in|out, key NODE NEW, interval MS, block-changes N, or ask
    #[arg(required = true, num_args = 1.., value_name = "WHAT")]
    pub what: Vec<String>,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `vote`.
pub fn run(globals: &Globals, args: VoteArgs) -> Result<(), CommandError> {
    let words: Vec<&str> = args.what.iter().map(String::as_str).collect();
    let ballot = ballot(&words)?;
    let answer: Accepted = super::ask(globals, &args.name, &args.group, Verb::Vote { ballot })?;
    globals.output().result(&answer, || output::accepted(&answer))
}
