//! `side-node btc balance NAME`

use std::fmt::Write as _;

use bitcoin::Amount;
use clap::Args;
use serde_json::json;
use side_ledger::Name;

use super::session::balance_json;
use super::{ChainArgs, OfflineArgs, PayArgs, Session, block_on};
use crate::btc::amount::show;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `btc balance`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node btc balance dave
  side-node btc balance dave --offline       as of the last sync, without asking a server")]
pub struct BalanceArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// Whether a server is asked.
    #[command(flatten)]
    pub offline: OfflineArgs,
}

/// Runs `btc balance`.
pub fn run(globals: &Globals, args: BalanceArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain, &PayArgs::default())?;
    let wallet = block_on(session.fresh(args.offline.offline))?;
    let balance = wallet.balance();
    let mut value = balance_json(&balance);
    value["node"] = json!(session.name);
    value["network"] = json!(session.network());
    value["height"] = json!(wallet.height());
    globals.output().result(&value, || {
        let mut out = String::new();
        let mut line = |label: &str, text: String| {
            let _ = writeln!(out, "{label:<12}{text}");
        };
        line("spendable", show(balance.spendable()));
        if balance.change > Amount::ZERO {
            line("", format!("of it {} change that is in no block yet", show(balance.change)));
        }
        if balance.incoming > Amount::ZERO {
            line("incoming", format!("{}, in no block yet", show(balance.incoming)));
        }
        if balance.immature > Amount::ZERO {
            line("immature", format!("{}, mined less than 100 blocks ago", show(balance.immature)));
        }
        line("network", format!("{}, block {}", session.network(), wallet.height()));
        out
    })
}
