//! `side-node htlc offer NAME --to MEMBER --amount AMOUNT`

use bitcoin::Amount;
use clap::{Args, ValueEnum};
use side_ledger::Name;

use super::{ChainArgs, Session, block_on};
use crate::btc::htlc::margins::min_timeout;
use crate::btc::htlc::secrets::PaymentHash;
use crate::btc::htlc::swap::Role;
use crate::btc::htlc::terms::LockKind;
use crate::btc::swaps::NewOffer;
use crate::btc::swaps::view;
use crate::cli::{Globals, GroupArgs};
use crate::error::CommandError;

/// Blocks to the timeout unless somebody says otherwise: a day of ten minute blocks.
const DEFAULT_BLOCKS: u32 = 144;

/// The kind of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Taproot (BIP341).
    Taproot,
    /// Segwit version 0 (BIP141).
    P2wsh,
}

impl From<Kind> for LockKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Taproot => LockKind::Taproot,
            Kind::P2wsh => LockKind::P2wsh,
        }
    }
}

/// Arguments of `htlc offer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node htlc offer dave --to sammy --amount 50000 --network regtest
  side-node htlc offer sammy --to dave --amount 50000 --receive     sammy wants to be paid, and knows the preimage

Without --receive you pay: the other one fills in the hash of a preimage that it knows, or you give the hash of a preimage that you want with --hash.")]
pub struct OfferArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// To whom: a member's name or key
    #[arg(long, value_name = "MEMBER")]
    pub to: String,
    /// How much: sats, or BTC like 0.0005btc
    #[arg(long, value_name = "AMOUNT", value_parser = crate::btc::amount::parse)]
    pub amount: Amount,
    /// Be paid instead of paying
    #[arg(long)]
    pub receive: bool,
    /// Blocks until the payer can take the coins back
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_BLOCKS)]
    pub blocks: u32,
    /// The payment hash, where somebody else knows the preimage: 64 hexadecimal digits
    #[arg(long, value_name = "HASH")]
    pub hash: Option<PaymentHash>,
    /// The kind of output
    #[arg(long, value_enum, default_value_t = Kind::Taproot)]
    pub kind: Kind,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `htlc offer`.
pub fn run(globals: &Globals, args: OfferArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain)?;
    let least = min_timeout(&session.place.chain, args.amount);
    if args.blocks < least {
        return Err(CommandError::usage(format!(
            "{} blocks are too few: funding, confirmations and claim take {least}",
            args.blocks
        ))
        .hint(format!("--blocks {least} or more")));
    }
    let peer = session.member(&args.group, &args.to)?;
    session.warn_single();
    let new = NewOffer {
        role: if args.receive { Role::Payee } else { Role::Payer },
        kind: args.kind.into(),
        amount: args.amount,
        blocks: args.blocks,
        payment_hash: args.hash,
    };
    let mut desk = session.desk()?;
    let deal = block_on(async {
        let deal = desk.offer(&session.place, new, peer).await.map_err(|e| session.error(e))?;
        desk.publish(&session.link()).await.map_err(|e| session.error(e))?;
        Ok(deal)
    })?;
    let view = view::deal(&deal);
    globals.output().result(&view, || {
        format!(
            "{}\nnext, on the other side: side-node htlc accept {} {}",
            view::headline(&view),
            crate::output::printable(&view.peer),
            view::short(&view.id)
        )
    })
}
