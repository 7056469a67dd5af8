//! `side-node htlc resume NAME`

use std::collections::BTreeSet;

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session, block_on, progress, report};
use crate::btc::swaps::view::{self, Listing};
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node htlc resume dave            until every swap is over
  side-node htlc resume dave --once     one look, for a timer of your own

Does what a running node does: looks at the chains, claims in time, refunds when due, raises fees, broadcasts again after reorganisations. It may run beside
the node.")]
pub struct ResumeArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Look once and end
    #[arg(long)]
    pub once: bool,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc resume`.
pub fn run(globals: &Globals, args: ResumeArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain)?;
    let mut desk = session.desk()?;
    block_on(async {
        let mut told = BTreeSet::new();
        loop {
            let met = session.meet(&mut desk).await?;
            report(&met, &mut told, session.json());
            let round = desk.round(progress).await.map_err(|e| session.error(e))?;
            report(&round, &mut told, session.json());
            session.publish(&mut desk).await?;
            if let Some(chain) = round.unheard.first().filter(|_| args.once) {
                return Err(CommandError::remote(format!("no server of {chain} answers"))
                    .hint("try again later, or name another one with --esplora URL"));
            }
            if round.open == 0 || args.once {
                return Ok(());
            }
            tokio::time::sleep(session.settings.poll).await;
        }
    })?;
    let deals = desk.all(false).map_err(|e| session.error(e))?;
    let listing = Listing {
        node: args.name.to_string(),
        over_not_listed: 0,
        swaps: deals.iter().map(view::deal).collect(),
        offers: Vec::new(),
    };
    globals.output().result(&listing, || view::listing(&listing))
}
