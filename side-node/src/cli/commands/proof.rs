//! `side-node proof NAME TRANSACTION`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::view::Proven;
use crate::error::CommandError;

/// Arguments of `proof`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node proof node1 3f2a90c1d5e7 > payment.proof
  side-node verify payment.proof --group ID

The proof is one line of text. It shows what a sealed block says of the transaction, and by the voters' words or the
sealers' certificate that the block is the group's. In leader mode nothing is final: it shows that more than two thirds
of the voters hold the block.")]
pub struct ProofArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The transaction's change: its id or the beginning of it, as `history` shows it
    pub transaction: String,
    /// Begin with the block at this height, which whoever checks the proof has to trust, instead of the group's genesis
    #[arg(long, value_name = "HEIGHT")]
    pub from: Option<u64>,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `proof`.
pub fn run(globals: &Globals, args: ProofArgs) -> Result<(), CommandError> {
    let verb = Verb::Proof { transaction: args.transaction, from: args.from };
    let proven: Proven = super::ask(globals, &args.name, &args.group, verb)?;
    globals.output().result(&proven, || proven.proof.clone())
}
