//! `side-node btc bump NAME TXID`

use bitcoin::{ScriptBuf, Txid};
use clap::Args;
use serde_json::json;
use side_ledger::Name;

use super::send::finish;
use super::{ChainArgs, PayArgs, Session, Steps, block_on};
use crate::btc::transfer::bump;
use crate::btc::wallet::What;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `btc bump`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node btc bump dave TXID --fee-rate 10

The replacement pays the same recipients the same amounts, and spends the same coins, so that only one of the two can be confirmed. Without --fee-rate it pays the
server's estimate, at least 1 sat/vB more than before.")]
pub struct BumpArgs {
    /// The node that paid
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The payment that is not confirmed yet
    pub txid: Txid,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// How the payment is made.
    #[command(flatten)]
    pub pay: PayArgs,
}

/// Runs `btc bump`.
pub fn run(globals: &Globals, args: BumpArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain, &args.pay)?;
    block_on(async {
        let server = session.connect().await?;
        // The recipients are those of the payment that is replaced.
        let mut order = session.order(ScriptBuf::new(), What::Everything, &args.pay);
        // A rate from the configuration was meant for the first attempt.
        order.fee_rate = args.pay.fee_rate;
        let mut steps = Steps::new(globals.json, session.settings.confirmations);
        let done = bump(&session.place, &server, &args.txid, &order, |event| steps.event(event)).await;
        drop(steps);
        let done = done.map_err(|e| session.transfer_error(e, &server))?;
        finish(globals, &session, &server, &done, json!({}))
    })
}
