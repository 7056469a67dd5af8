//! `side-node btc history NAME`

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;
use side_ledger::Name;

use super::progress::short;
use super::{ChainArgs, OfflineArgs, PayArgs, Session, block_on};
use crate::btc::amount::grouped;
use crate::btc::wallet::{HistoryEntry, State};
use crate::cli::Globals;
use crate::error::CommandError;
use crate::output::time;

/// Arguments of `btc history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node btc history dave
  side-node btc history dave --limit 5 --offline

Newest first. A payment that is «unsent» was signed here and is not in the server's mempool: every sync sends it again. Whole ids are in the JSON.")]
pub struct HistoryArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Print only the newest N transactions
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Print whole transaction ids
    #[arg(long)]
    pub full: bool,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// Whether a server is asked.
    #[command(flatten)]
    pub offline: OfflineArgs,
}

/// Runs `btc history`.
pub fn run(globals: &Globals, args: HistoryArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain, &PayArgs::default())?;
    let wallet = block_on(session.fresh(args.offline.offline))?;
    let mut history = wallet.history().map_err(|e| session.error(e))?;
    let total = history.len();
    history.truncate(args.limit.unwrap_or(usize::MAX));
    let value = json!({
        "node": session.name,
        "network": session.network(),
        "height": wallet.height(),
        "total": total,
        "transactions": history,
    });
    globals.output().result(&value, || {
        let mut out = String::new();
        for entry in &history {
            let _ = writeln!(out, "{}", line(entry, args.full));
        }
        let noun = if total == 1 { "transaction" } else { "transactions" };
        let _ = writeln!(out, "{total} {noun} on {}, block {}", session.network(), wallet.height());
        out
    })
}

fn line(entry: &HistoryEntry, full: bool) -> String {
    let when = entry.time_s.map_or_else(|| " ".repeat(19), |seconds| time(seconds.saturating_mul(1000)));
    let sign = if entry.net_sat < 0 { '-' } else { '+' };
    let state = match (entry.state, entry.confirmations) {
        (State::Confirmed, 1) => "1 confirmation".to_owned(),
        (State::Confirmed, count) => format!("{} confirmations", grouped(count.into())),
        (State::Pending, _) => "pending".to_owned(),
        (State::Unsent, _) => "unsent".to_owned(),
        (State::Replaced, _) => "replaced".to_owned(),
    };
    let txid = if full { entry.txid.to_string() } else { short(&entry.txid) };
    let fee = entry.fee_sat.map_or_else(String::new, |fee| format!(", fee {}", grouped(fee)));
    format!("{when}  {txid}  {sign}{} sats{fee}  {state}", grouped(entry.net_sat.unsigned_abs()))
}
