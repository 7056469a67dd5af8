//! What can go wrong with a wallet, and what to do then.

use std::path::PathBuf;

use bitcoin::{Amount, FeeRate, Txid};

use crate::btc::amount::{show, show_rate};
use crate::btc::esplora::EsploraError;
use crate::btc::fees::FeeError;
use crate::btc::network::Network;
use crate::btc::scan::ScanError;
use crate::btc::seed::SeedError;
use crate::error::CommandError;

/// Why a wallet did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// There is no usable seed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// Another process keeps the wallet.
    #[error("another process keeps the wallet {} open", .0.display())]
    Busy(PathBuf),
    /// The operating system refuses.
    #[error("cannot use {}: {why}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        why: std::io::Error,
    },
    /// The database does.
    #[error("cannot use the wallet's database {}: {why}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        why: bdk_wallet::rusqlite::Error,
    },
    /// The database is of another wallet, another network, a later program, or damaged.
    #[error("{} is not this wallet's database: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is different.
        why: String,
    },
    /// The server failed.
    #[error(transparent)]
    Server(#[from] EsploraError),
    /// The scan failed.
    #[error(transparent)]
    Scan(ScanError),
    /// The server's chain does not join the one that the wallet knows.
    #[error("the server's chain does not join the wallet's at block {0}")]
    Disconnected(u32),
    /// The fee is out of bounds.
    #[error(transparent)]
    Fee(#[from] FeeError),
    /// Not enough coins.
    #[error("{} are needed, fee included, and {} can be spent", show(*needed), show(*available))]
    Insufficient {
        /// What the payment needs.
        needed: Amount,
        /// What can be spent now.
        available: Amount,
        /// What is on its way and cannot be spent yet.
        pending: Amount,
    },
    /// So little that no node relays it.
    #[error("{} is dust: no node relays an output of less than {} to this address", show(*amount), show(*limit))]
    Dust {
        /// What was to be paid.
        amount: Amount,
        /// The least.
        limit: Amount,
    },
    /// A transaction that this wallet did not make.
    #[error("this wallet has made no transaction {0}")]
    NotOurs(Txid),
    /// Too late for a replacement.
    #[error("transaction {0} is in a block already")]
    Confirmed(Txid),
    /// Replaced before.
    #[error("transaction {0} was replaced by {1} already")]
    Replaced(Txid, Txid),
    /// A replacement must pay more.
    #[error("a replacement must pay at least {}", show_rate(*.0))]
    BumpTooLow(FeeRate),
    /// The transaction cannot be put together.
    #[error("cannot build the transaction: {0}")]
    Build(String),
    /// The keys do not fit: a bug, or a seed that was changed by hand.
    #[error("cannot sign the transaction: {0}")]
    Sign(String),
}

impl From<ScanError> for WalletError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Server(error) => Self::Server(error),
            other => Self::Scan(other),
        }
    }
}

impl WalletError {
    /// The error with the next step to take, for a command on `network` with the node `name`.
    pub fn into_command_error(self, network: Network, name: &str) -> CommandError {
        let text = self.to_string();
        match self {
            Self::Server(error) => error.into_command_error(network),
            Self::Seed(SeedError::Unreadable(error) | SeedError::Random(error)) => error,
            Self::Seed(SeedError::Io { path, why }) | Self::Io { path, why } => CommandError::io(format!("cannot use {}", path.display()), &why),
            Self::Seed(SeedError::Missing(_)) => CommandError::user(text).hint(format!("make it with: side-node btc address {name}")),
            Self::Seed(SeedError::Exists(_)) => CommandError::user(text).hint("a seed is never overwritten; move the file away yourself if you are sure"),
            Self::Seed(SeedError::Damaged(_)) => CommandError::user(text).hint("write the twelve words from your backup into the file"),
            Self::Busy(_) => CommandError::user(text).hint("try again when the other command has ended").busy(),
            Self::Database { .. } | Self::Foreign { .. } => CommandError::user(text).hint(
                "move the file away: the next sync makes it anew from the seed; keep it if a payment in it is not confirmed yet",
            ),
            Self::Scan(_) | Self::Disconnected(_) => {
                CommandError::remote(text).hint("try again, or name another server with --esplora URL")
            }
            Self::Fee(FeeError::AbsurdEstimate { .. } | FeeError::NoEstimate) => {
                CommandError::user(text).hint("say what you want to pay: --fee-rate 5 (sat/vB)")
            }
            Self::Fee(FeeError::RateTooLow(_) | FeeError::RateTooHigh(_)) => {
                CommandError::usage(text).hint("--fee-rate takes sats a virtual byte, like 2.5")
            }
            Self::Fee(FeeError::FeeTooHigh { fee, .. }) => CommandError::user(text)
                .hint(format!("pay less with --fee-rate, or allow it with --max-fee {}", fee.to_sat())),
            Self::Insufficient { pending, .. } if pending > Amount::ZERO => {
                CommandError::user(text).hint(format!("{} more wait for a confirmation", show(pending)))
            }
            Self::Insufficient { .. } => {
                CommandError::user(text).hint(format!("side-node btc address {name} --network {network} shows where to send coins"))
            }
            Self::Dust { limit, .. } => CommandError::user(text).hint(format!("pay at least --amount {}", limit.to_sat())),
            Self::NotOurs(_) | Self::Confirmed(_) | Self::Replaced(..) => {
                CommandError::user(text).hint(format!("side-node btc history {name} --network {network} lists this wallet's transactions"))
            }
            Self::BumpTooLow(rate) => CommandError::user(text)
                .hint(format!("--fee-rate {}", show_rate(rate).trim_end_matches(" sat/vB"))),
            Self::Build(_) => CommandError::user(text).hint("nothing was paid"),
            Self::Sign(_) => CommandError::bug(text),
        }
    }
}
