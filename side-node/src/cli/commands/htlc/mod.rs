//! `side-node htlc …`: swaps of coins against a preimage. One command, one file.

pub mod accept;
pub mod cancel;
pub mod claim;
pub mod fund;
pub mod list;
pub mod offer;
pub mod refund;
pub mod resume;
pub mod show;

pub(super) mod demo;
mod order;
mod session;

use clap::{Args, Subcommand};

use self::order::order;
pub(super) use self::session::{Session, block_on, progress, report};
use crate::cli::Globals;
use crate::error::CommandError;

/// Where the chain is.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "swap_chain")]
pub struct ChainArgs {
    /// Network and servers; several servers must agree.
    #[command(flatten)]
    pub chain: super::btc::ChainArgs,
    /// Tells local chains apart, where there are several: a word that both parties use
    #[arg(long, value_name = "WORD")]
    pub label: Option<String>,
}

impl ChainArgs {
    /// For commands that ask no server and only read: nobody has to confirm anything.
    fn to_read() -> Self {
        Self { chain: super::btc::ChainArgs { real_money: true, ..Default::default() }, label: None }
    }
}

/// Arguments of `htlc`.
#[derive(Debug, Args)]
#[command(after_help = "\
A swap by hash time locked contract: the payer locks coins; whoever knows a secret (the preimage) takes them and thereby shows it; after the
timeout the payer takes them back.

  side-node htlc offer dave --to sammy --amount 50000      dave offers to pay sammy for a preimage that sammy knows
  side-node htlc accept sammy 3f9a1c20                     sammy agrees
  side-node htlc fund dave 3f9a1c20                        dave locks the coins
  side-node run sammy                                      a running node does the rest: claims in time, refunds when due, raises fees
  side-node htlc resume sammy                              the same without a running node
  side-node htlc list sammy                                what happens next, and by when

What both agree on goes through their group, signed. What is on the chain is checked: headers, proof of work, merkle proofs. With several servers (--esplora,
more than once) a preimage is shown and coins are locked only if all of them agree; with one, that one is trusted to withhold nothing.")]
pub struct HtlcArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: HtlcCommand,
}

/// The commands of swaps.
#[derive(Debug, Subcommand)]
pub enum HtlcCommand {
    /// Offer a swap to a member of the group
    Offer(offer::OfferArgs),
    /// Accept an offer
    Accept(accept::AcceptArgs),
    /// Lock the coins of an accepted swap
    Fund(fund::FundArgs),
    /// Claim: take the coins with the preimage, as soon as the rules allow it
    Claim(claim::ClaimArgs),
    /// Refund: take one's own coins back after the timeout
    Refund(refund::RefundArgs),
    /// Withdraw, while nothing is locked
    Cancel(cancel::CancelArgs),
    /// List swaps and offers: what happens next, in blocks and hours
    List(list::ListArgs),
    /// Print all that is known of a swap
    Show(show::ShowArgs),
    /// Watch the swaps without a running node: claim, refund and raise fees until all are over
    Resume(resume::ResumeArgs),
}

/// Runs `htlc`.
pub fn run(globals: &Globals, args: HtlcArgs) -> Result<(), CommandError> {
    match args.command {
        HtlcCommand::Offer(args) => offer::run(globals, args),
        HtlcCommand::Accept(args) => accept::run(globals, args),
        HtlcCommand::Fund(args) => fund::run(globals, args),
        HtlcCommand::Claim(args) => claim::run(globals, args),
        HtlcCommand::Refund(args) => refund::run(globals, args),
        HtlcCommand::Cancel(args) => cancel::run(globals, args),
        HtlcCommand::List(args) => list::run(globals, args),
        HtlcCommand::Show(args) => show::run(globals, args),
        HtlcCommand::Resume(args) => resume::run(globals, args),
    }
}
