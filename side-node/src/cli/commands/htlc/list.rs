//! `side-node htlc list NAME`

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session, block_on};
use crate::btc::swaps::view::{self, Listing};
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node htlc list dave
  side-node htlc list dave --json | jq '.swaps[].legs[].deadline'

Asks no server: what is said is as of the last look, by a running node or `htlc resume`.")]
pub struct ListArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// List those that are over, too
    #[arg(long)]
    pub all: bool,
}

/// Runs `htlc list`.
pub fn run(globals: &Globals, args: ListArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &ChainArgs::to_read())?;
    let desk = session.desk()?;
    let traffic = block_on(async { session.link().traffic().await })?;
    let known = desk.all(false).map_err(|e| session.error(e))?;
    let taken = |offer: &crate::btc::swaps::Offered| known.iter().any(|deal| deal.leg_of(&offer.id()).is_some());
    let listing = Listing {
        node: args.name.to_string(),
        swaps: known.iter().filter(|deal| args.all || !deal.is_done()).map(view::deal).collect(),
        offers: traffic.offers().iter().filter(|offer| !taken(offer)).map(view::offer).collect(),
    };
    globals.output().result(&listing, || view::listing(&listing))
}
