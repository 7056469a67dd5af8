//! `side-node btc send NAME ADDRESS AMOUNT`

use bitcoin::Address;
use bitcoin::address::NetworkUnchecked;
use clap::Args;
use serde_json::{Value, json};
use side_ledger::Name;

use super::{ChainArgs, PayArgs, Session, Steps, block_on};
use crate::btc::amount::sat_per_vb;
use crate::btc::esplora::Esplora;
use crate::btc::network::Network;
use crate::btc::transfer::{Done, parse_what, transfer};
use crate::btc::wallet::What;
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `btc send`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node btc send dave tb1p… 25000                      sats
  side-node btc send dave tb1p… 0.00025btc --fee-rate 2    BTC, and a fee rate in sats a virtual byte
  side-node btc send dave tb1p… all --confirmations 0      all there is, without waiting

The payment is on disk before anybody hears of it: if the server does not answer, the next sync sends it. Do not pay twice.")]
pub struct SendArgs {
    /// The node that pays
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// The address to pay
    #[arg(value_parser = parse_address)]
    pub address: Address<NetworkUnchecked>,
    /// How much: sats, or BTC with the unit behind it, or `all`
    #[arg(value_parser = parse_what)]
    pub amount: What,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// How the payment is made.
    #[command(flatten)]
    pub pay: PayArgs,
}

/// Runs `btc send`.
pub fn run(globals: &Globals, args: SendArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain, &args.pay)?;
    let address = on_network(args.address, session.network())?;
    block_on(async {
        let server = session.connect().await?;
        let order = session.order(address.script_pubkey(), args.amount, &args.pay);
        let mut steps = Steps::new(globals.json, session.settings.confirmations);
        steps.line("from", format!("{} on {}", session.name, session.network()));
        steps.line("to", &address);
        let done = transfer(&session.place, &server, &order, |event| steps.event(event)).await;
        drop(steps);
        let done = done.map_err(|e| session.transfer_error(e, &server))?;
        finish(globals, &session, &server, &done, json!({ "to": address.to_string() }))
    })
}

/// The last word about a payment: for programs all of it, for people nothing that they have not read already.
pub(in crate::cli::commands) fn finish(
    globals: &Globals,
    session: &Session,
    server: &Esplora,
    done: &Done,
    mut value: Value,
) -> Result<(), CommandError> {
    if !globals.json {
        return Ok(());
    }
    let signed = &done.signed;
    value["node"] = json!(session.name);
    value["network"] = json!(session.network());
    value["server"] = json!(server.server());
    value["txid"] = json!(signed.txid);
    value["amount_sat"] = json!(signed.amount.to_sat());
    value["fee_sat"] = json!(signed.fee.to_sat());
    value["fee_rate_sat_vb"] = json!(sat_per_vb(signed.fee_rate()));
    value["replaces"] = json!(signed.replaces);
    value["confirmations"] = json!(done.depth.map_or(0, |depth| depth.confirmations));
    value["height"] = json!(done.depth.and_then(|depth| depth.height));
    value["checked"] = json!(done.depth.is_some_and(|depth| depth.checked));
    globals.output().result(&value, String::new)
}

/// Refuses an address of another network, where the coins would be lost.
pub(in crate::cli::commands) fn on_network(
    address: Address<NetworkUnchecked>,
    network: Network,
) -> Result<Address, CommandError> {
    let text = address.assume_checked_ref().to_string();
    address.require_network(network.chain()).map_err(|_| {
        CommandError::user(format!("{text} is no address of {network}")).hint("name its network with --network")
    })
}

fn parse_address(text: &str) -> Result<Address<NetworkUnchecked>, String> {
    let scheme = "bitcoin:";
    let bare = match text.get(..scheme.len()) {
        Some(start) if start.eq_ignore_ascii_case(scheme) => &text[scheme.len()..],
        _ => text,
    };
    bare.parse().map_err(|e| format!("it is no Bitcoin address: {e}"))
}
