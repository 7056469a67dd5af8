//! `side-node htlc cancel NAME ID`

use std::collections::BTreeSet;

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session, block_on, report};
use crate::btc::htlc::swap::Command;
use crate::btc::swaps::view;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc cancel`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc cancel dave 3f9a1c20 --network regtest

Withdraws from a swap of which nothing is locked. Once coins are at stake only the chain ends it: by the claim, or by the refund.")]
pub struct CancelArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The swap's id, or its beginning
    pub id: String,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc cancel`.
pub fn run(globals: &Globals, args: CancelArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain)?;
    let mut desk = session.desk()?;
    let deal = block_on(async {
        session.meet(&mut desk).await?;
        let id = session.find(&desk, &args.id)?.id();
        let round = desk.order(&id, Command::GiveUp).await.map_err(|e| session.error(e))?;
        report(&round, &mut BTreeSet::new(), session.json());
        desk.publish(&session.link()).await.map_err(|e| session.error(e))?;
        desk.get(&id).map_err(|e| session.error(e))
    })?;
    let view = view::deal(&deal);
    globals.output().result(&view, || format!("{}\n    {}", view::headline(&view), view.next.join("\n    ")))
}
