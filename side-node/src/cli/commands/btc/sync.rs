//! `side-node btc sync NAME`

use clap::Args;
use serde_json::json;
use side_ledger::Name;

use super::session::balance_json;
use super::{ChainArgs, PayArgs, Session, Steps, block_on};
use crate::btc::amount::show;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `btc sync`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node btc sync dave
  side-node btc sync dave --full

Reads the wallet's transactions from the server, and sends again what was signed here and is not in the server's mempool. --full looks beyond the addresses that
were handed out: for a wallet that was restored from its words.")]
pub struct SyncArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Look at all addresses until twenty in a row were never used
    #[arg(long)]
    pub full: bool,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `btc sync`.
pub fn run(globals: &Globals, args: SyncArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain, &PayArgs::default())?;
    let (wallet, report) = block_on(async {
        let server = session.connect().await?;
        let mut steps = Steps::new(globals.json, 0);
        let synced =
            crate::btc::sync::sync(&session.place, &server, args.full, |progress| steps.syncing(progress)).await;
        let (wallet, report) = synced.map_err(|e| session.error(e))?;
        steps.synced(&report);
        Ok((wallet, report))
    })?;
    let balance = wallet.balance();
    let history = wallet.history().map_err(|e| session.error(e))?;
    let refused = report.refused.iter().map(|(txid, why)| json!({ "txid": txid, "reason": why })).collect::<Vec<_>>();
    let value = json!({
        "node": session.name,
        "network": session.network(),
        "height": wallet.height(),
        "transactions": history.len(),
        "balance": balance_json(&balance),
        "sent_again": report.sent_again,
        "refused": refused,
    });
    globals.output().result(&value, || {
        format!(
            "{} is at block {} of {}: {} transactions, {} to spend",
            session.name,
            wallet.height(),
            session.network(),
            history.len(),
            show(balance.spendable())
        )
    })
}
