//! `side-node htlc fund NAME ID`

use std::collections::BTreeSet;

use bitcoin::FeeRate;
use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session, block_on, report};
use crate::btc::swaps::view;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc fund`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc fund dave 3f9a1c20 --network regtest

Pays from the node's wallet into the lock. From then on either the other party claims, or the coins come back after the timeout: let the node run, or run
`htlc resume`. In an atomic swap the one who accepted can fund only once the other one's lock is buried and all servers agree.")]
pub struct FundArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The swap's id, or its beginning
    pub id: String,
    /// The fee rate in sats a virtual byte, like 2.5 [default: config.toml, the server's estimate within bounds]
    #[arg(long, value_name = "RATE", value_parser = crate::btc::amount::parse_fee_rate)]
    pub fee_rate: Option<FeeRate>,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc fund`.
pub fn run(globals: &Globals, args: FundArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain)?;
    session.warn_single();
    let mut desk = session.desk()?;
    let deal = block_on(async {
        session.meet(&mut desk).await?;
        let id = session.find(&desk, &args.id)?.id();
        let rate = args.fee_rate.or(session.settings.fee_rate);
        let round = desk.fund(&id, rate).await.map_err(|e| session.error(e))?;
        report(&round, &mut BTreeSet::new(), session.json());
        session.publish(&mut desk).await?;
        desk.get(&id).map_err(|e| session.error(e))
    })?;
    let view = view::deal(&deal);
    globals.output().result(&view, || {
        format!(
            "{}\n    {}\nnext: side-node run {}, or side-node htlc resume {}",
            view::headline(&view),
            view.next.join("\n    "),
            args.name,
            args.name
        )
    })
}
