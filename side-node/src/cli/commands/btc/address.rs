//! `side-node btc address NAME`

use std::io::IsTerminal as _;

use clap::Args;
use serde_json::json;
use side_ledger::Name;

use super::{ChainArgs, PayArgs, Session};
use crate::btc::link::link;
use crate::cli::Globals;
use crate::error::CommandError;
use crate::qr;

/// Arguments of `btc address`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node btc address dave
  side-node btc address dave --new --network regtest

Prints the first address that nobody has paid to, as far as the last sync knows; --new hands out another one. On a terminal a QR code comes with it; into a
pipe goes the address alone.")]
pub struct AddressArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// An address that was never printed before
    #[arg(long)]
    pub new: bool,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `btc address`.
pub fn run(globals: &Globals, args: AddressArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain, &PayArgs::default())?;
    let mut wallet = session.open()?;
    let receive = if args.new { wallet.fresh_address() } else { wallet.address() }.map_err(|e| session.error(e))?;
    let address = receive.address.to_string();
    let link = link(&address);
    let value = json!({
        "node": session.name,
        "network": session.network(),
        "address": address,
        "index": receive.index,
        "link": link,
    });
    globals.output().result(&value, || {
        let picture = std::io::stdout().is_terminal().then(|| qr::picture(&link)).flatten();
        picture.map_or_else(|| address.clone(), |picture| format!("{picture}\n{address}"))
    })
}
