//! `side-node btc-transfer`: the demo of the wallet. One node of this machine pays another.

use bitcoin::Amount;
use clap::Args;
use serde_json::json;
use side_ledger::Name;

use super::btc::send::finish;
use super::btc::{ChainArgs, PayArgs, Session, Steps, block_on};
use crate::btc::amount::show;
use crate::btc::sync::sync;
use crate::btc::transfer::transfer;
use crate::btc::wallet::What;
use crate::cli::Globals;
use crate::error::CommandError;

/// What is paid unless somebody says otherwise: small enough for any faucet, far above dust.
const DEFAULT_AMOUNT: Amount = Amount::from_sat(10_000);

/// Arguments of `btc-transfer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node init dave && side-node init sammy
  side-node btc-transfer                                   dave pays sammy on Mutinynet
  side-node btc-transfer --network regtest                 on a devnet beside it: cargo run -p btc-devnet
  side-node btc-transfer sammy dave --amount 0.0002btc --confirmations 3

If the payer has no coins, its address is printed, and where to get some.")]
pub struct BtcTransferArgs {
    /// The node that pays
    #[arg(value_name = "NODE", default_value = "dave")]
    pub from: Name,
    /// The node that is paid
    #[arg(value_name = "NODE", default_value = "sammy")]
    pub to: Name,
    /// How much: sats, or BTC with the unit behind it [default: 10000]
    #[arg(long, value_parser = crate::btc::amount::parse)]
    pub amount: Option<Amount>,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// How the payment is made.
    #[command(flatten)]
    pub pay: PayArgs,
}

/// Runs `btc-transfer`.
pub fn run(globals: &Globals, args: BtcTransferArgs) -> Result<(), CommandError> {
    if args.from == args.to {
        return Err(CommandError::usage(format!("{} cannot pay itself", args.from))
            .hint("name two nodes: side-node btc-transfer FROM TO"));
    }
    let payer = Session::new(globals, &args.from, &args.chain, &args.pay)?;
    // The payee looks at the payer's chain, whatever its own configuration says.
    let chain = ChainArgs { network: Some(payer.network()), esplora: payer.settings.servers.clone(), ..args.chain };
    let payee = Session::new(globals, &args.to, &chain, &args.pay)?;
    let amount = args.amount.unwrap_or(DEFAULT_AMOUNT);
    block_on(async {
        let server = payer.connect().await?;
        let mut steps = Steps::new(globals.json, payer.settings.confirmations);
        steps.line("from", format!("{} on {}, {}", payer.name, payer.network(), server.server()));
        let address = payee.open()?.address().map_err(|e| payee.error(e))?.address;
        steps.line("to", format!("{}, {address}", payee.name));
        let order = payer.order(address.script_pubkey(), What::Exactly(amount), &args.pay);
        let done = transfer(&payer.place, &server, &order, |event| steps.event(event)).await;
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                drop(steps);
                return Err(payer.transfer_error(error, &server));
            }
        };
        // Both look at the chain once more: the payment is what it is only if the payee sees it, too.
        let mut balances = Vec::new();
        for session in [&payer, &payee] {
            let synced = sync(&session.place, &server, false, |progress| steps.syncing(progress)).await;
            let balance = synced.map_err(|e| session.error(e))?.0.balance();
            steps.line(&format!("{} has", session.name), show(balance.total()));
            balances.push(json!({ "node": session.name, "total_sat": balance.total().to_sat() }));
        }
        drop(steps);
        let value =
            json!({ "from": payer.name, "to": payee.name, "address": address.to_string(), "balances": balances });
        finish(globals, &payer, &server, &done, value)
    })
}
