//! `side-node htlc list NAME`

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session, block_on};
use crate::btc::network::Network;
use crate::btc::swaps::view::{self, Listing};
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node htlc list dave
  side-node htlc list dave --network regtest --all     those of one network, also what is over
  side-node htlc list dave --json | jq '.swaps[].legs[].deadline'

Asks no server: what is said is as of the last look, by a running node or `htlc resume`.")]
pub struct ListArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// List those that are over, too
    #[arg(long)]
    pub all: bool,
    /// Only those with a lock on this network [default: all of them]
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<Network>,
}

/// Runs `htlc list`.
pub fn run(globals: &Globals, args: ListArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &ChainArgs::to_read())?;
    let desk = session.desk()?;
    let traffic = block_on(async { session.link().traffic().await })?;
    let known = desk.all(false).map_err(|e| session.error(e))?;
    let taken = |offer: &crate::btc::swaps::Offered| known.iter().any(|deal| deal.leg_of(&offer.id()).is_some());
    let network = args.network.map(|network| network.to_string());
    // A local chain has a label behind the network: `regtest:a`.
    let is_on = |chain: &str| network.as_deref().is_none_or(|network| chain.split(':').next() == Some(network));
    let mut swaps: Vec<_> =
        known.iter().map(view::deal).filter(|swap| swap.legs.iter().any(|leg| is_on(&leg.chain))).collect();
    let before = swaps.len();
    swaps.retain(|swap| args.all || !swap.done);
    let listing = Listing {
        node: args.name.to_string(),
        over_not_listed: before - swaps.len(),
        swaps,
        offers: traffic
            .offers()
            .iter()
            .filter(|offer| !taken(offer))
            .map(view::offer)
            .filter(|offer| offer.legs.iter().any(|leg| is_on(&leg.chain.to_string())))
            .collect(),
    };
    globals.output().result(&listing, || view::listing(&listing))
}
