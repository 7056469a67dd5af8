//! `side-node htlc accept NAME ID`

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session, block_on};
use crate::btc::swaps::view::{self, MIN_ID_DIGITS};
use crate::btc::swaps::{ChainPlace, Offered};
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc accept`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc accept sammy 3f9a1c20 --network regtest

Offers and their ids: side-node htlc list NODE. Nothing is locked by accepting. For an atomic swap between two chains name the servers of the second one with
--second-esplora.")]
pub struct AcceptArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The offer's id, or its beginning
    pub id: String,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// The second chain's server, for an atomic swap; several times for several
    #[arg(long, value_name = "URL")]
    pub second_esplora: Vec<String>,
}

/// Runs `htlc accept`.
pub fn run(globals: &Globals, args: AcceptArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain)?;
    session.warn_single();
    let mut desk = session.desk()?;
    let deal = block_on(async {
        let traffic = session.link().traffic().await?;
        let id = args.id.to_ascii_lowercase();
        let mut found: Vec<Offered> =
            traffic.offers().into_iter().filter(|offered| offered.id().to_string().starts_with(&id)).collect();
        let list = format!("see the offers: side-node htlc list {}", args.name);
        if id.len() < MIN_ID_DIGITS || found.len() != 1 {
            let text = match found.len() {
                0 => format!("nobody offers a swap {id}"),
                _ => format!("{id} names no single offer; give more digits"),
            };
            return Err(CommandError::user(text).hint(list));
        }
        let offered = found.remove(0);
        let mut places = Vec::new();
        for (leg, offer) in offered.legs.iter().enumerate() {
            let servers = if leg == 0 { session.place.servers.clone() } else { args.second_esplora.clone() };
            if servers.is_empty() {
                return Err(CommandError::usage(format!("the offer is for two chains; where is {}?", offer.chain))
                    .hint("name the second chain's server: --second-esplora URL"));
            }
            // A label is the offer's word for the chain; what must fit is the network.
            let fits = leg > 0 || offer.chain.network() == session.place.chain.network();
            let chain = if fits { offer.chain.clone() } else { session.place.chain.clone() };
            places.push(ChainPlace { chain, servers });
        }
        let deal = desk.accept(&offered, places).await.map_err(|e| session.error(e))?;
        desk.publish(&session.link()).await.map_err(|e| session.error(e))?;
        Ok(deal)
    })?;
    let view = view::deal(&deal);
    globals.output().result(&view, || {
        let next = match deal.paid_leg() {
            Some(_) => format!("side-node htlc fund {} {}", args.name, view::short(&view.id)),
            None => format!("side-node run {}, which claims in time", args.name),
        };
        format!("{}\naccepted; next: {next}", view::headline(&view))
    })
}
