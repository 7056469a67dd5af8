//! `side-node htlc claim NAME ID`

use std::collections::BTreeSet;

use clap::Args;
use side_ledger::Name;

use super::{ChainArgs, Session, block_on, report};
use crate::btc::htlc::swap::Command;
use crate::btc::swaps::view;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `htlc claim`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node htlc claim sammy 3f9a1c20 --network regtest

A running node, or `htlc resume`, claims by itself. The preimage is shown only into a lock that is sound, deep enough and agreed on, with enough time left.")]
pub struct ClaimArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The swap's id, or its beginning
    pub id: String,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc claim`.
pub fn run(globals: &Globals, args: ClaimArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain)?;
    let mut desk = session.desk()?;
    let deal = block_on(async {
        session.meet(&mut desk).await?;
        let id = session.find(&desk, &args.id)?.id();
        let round = desk.order(&id, Command::Claim).await.map_err(|e| session.error(e))?;
        report(&round, &mut BTreeSet::new(), session.json());
        desk.publish(&session.link()).await.map_err(|e| session.error(e))?;
        desk.get(&id).map_err(|e| session.error(e))
    })?;
    let view = view::deal(&deal);
    globals.output().result(&view, || format!("{}\n    {}", view::headline(&view), view.next.join("\n    ")))
}
