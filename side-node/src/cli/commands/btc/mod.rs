//! `side-node btc …`: the wallet of a node. One command, one file.

pub mod address;
pub mod balance;
pub mod bump;
pub mod export;
pub mod history;
pub mod send;
pub mod sync;

mod progress;
mod session;

use clap::{Args, Subcommand};

pub(super) use self::progress::Steps;
pub(super) use self::session::{Session, block_on};
use crate::btc::network::Network;
use crate::cli::Globals;
use crate::error::CommandError;

/// Where the chain is.
#[derive(Debug, Clone, Default, Args)]
pub struct ChainArgs {
    /// The network: mutinynet, signet, testnet4, regtest (a devnet) or bitcoin [env: SIDE_BTC_NETWORK] [default: config.toml, mutinynet]
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<Network>,
    /// The Esplora server; several times for several servers [env: SIDE_BTC_ESPLORA] [default: config.toml, the network's own]
    #[arg(long, value_name = "URL")]
    pub esplora: Vec<String>,
    /// Yes, this is real money: needed for the network bitcoin
    #[arg(long)]
    pub real_money: bool,
}

/// Whether a server is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct OfflineArgs {
    /// Ask no server: show what was known at the last sync
    #[arg(long)]
    pub offline: bool,
}

/// How a payment is made.
#[derive(Debug, Clone, Default, Args)]
pub struct PayArgs {
    /// The fee rate in sats a virtual byte, like 2.5 [env: SIDE_BTC_FEE_RATE] [default: config.toml, the server's estimate within bounds]
    #[arg(long, value_name = "RATE", value_parser = crate::btc::amount::parse_fee_rate)]
    pub fee_rate: Option<bitcoin::FeeRate>,
    /// The most that the fee may be [default: what was paid, at most 100000 sats]
    #[arg(long, value_name = "AMOUNT", value_parser = crate::btc::amount::parse)]
    pub max_fee: Option<bitcoin::Amount>,
    /// Wait for so many confirmations, 0 for none [env: SIDE_BTC_CONFIRMATIONS] [default: config.toml, 1]
    #[arg(long, value_name = "COUNT")]
    pub confirmations: Option<u32>,
}

/// Arguments of `btc`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node btc address dave                     where to send coins, with a QR code
  side-node btc balance dave --network regtest
  side-node btc send dave tb1p… 25000            or 0.00025btc, or all
  side-node btc bump dave TXID --fee-rate 5      a higher fee for what is not confirmed yet
  side-node btc export dave --words              the seed's words, for a backup

Wallet commands work while the node runs, too. Amounts are sats unless they end in btc.")]
pub struct BtcArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: BtcCommand,
}

/// The commands of the wallet.
#[derive(Debug, Subcommand)]
pub enum BtcCommand {
    /// Print an address to be paid at, with a QR code on a terminal
    Address(address::AddressArgs),
    /// Print what the wallet has
    Balance(balance::BalanceArgs),
    /// Pay to an address
    Send(send::SendArgs),
    /// Print the wallet's transactions
    History(history::HistoryArgs),
    /// Replace an unconfirmed payment by one with a higher fee
    Bump(bump::BumpArgs),
    /// Bring the wallet up to date, and send again what was not taken
    Sync(sync::SyncArgs),
    /// Print the public descriptors; the seed's words only if asked
    Export(export::ExportArgs),
}

/// Runs `btc`.
pub fn run(globals: &Globals, args: BtcArgs) -> Result<(), CommandError> {
    match args.command {
        BtcCommand::Address(args) => address::run(globals, args),
        BtcCommand::Balance(args) => balance::run(globals, args),
        BtcCommand::Send(args) => send::run(globals, args),
        BtcCommand::History(args) => history::run(globals, args),
        BtcCommand::Bump(args) => bump::run(globals, args),
        BtcCommand::Sync(args) => sync::run(globals, args),
        BtcCommand::Export(args) => export::run(globals, args),
    }
}
