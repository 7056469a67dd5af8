//! What can go wrong with swaps, and what to do then.

use thiserror::Error;

use super::database::StorageError;
use super::deal::{DealError, Refused};
use crate::btc::esplora::EsploraError;
use crate::btc::htlc::swap::{Hold, Refusal};
use crate::btc::htlc::terms::{ChainId, TermsError};
use crate::btc::network::Network;
use crate::btc::wallet::WalletError;
use crate::error::CommandError;

/// Why a swap did not go on.
#[derive(Debug, Error)]
pub enum DeskError {
    /// The store fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A stored swap does not read.
    #[error("swap {id}: {error}")]
    Deal {
        /// Its id.
        id: String,
        /// Why.
        error: DealError,
    },
    /// A stored message does not read.
    #[error("a stored message does not read: {0}")]
    Outgoing(String),
    /// The rules of swaps say no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The wallet says no.
    #[error("{error}")]
    Wallet {
        /// On which network.
        network: Network,
        /// Why.
        error: WalletError,
    },
    /// A server fails.
    #[error("{error}")]
    Server {
        /// Of which network.
        network: Network,
        /// Why.
        error: EsploraError,
    },
    /// No server of a chain was heard.
    #[error("no server of {chain} can be used: {why}")]
    Unheard {
        /// The chain.
        chain: ChainId,
        /// What each of them lacks.
        why: String,
    },
    /// The group cannot be asked or told.
    #[error("{0}")]
    Group(CommandError),
    /// No swap of this name.
    #[error("there is no swap {0}")]
    Unknown(String),
    /// Several swaps of this name.
    #[error("several swaps begin with {0}")]
    Ambiguous(String),
    /// The offer is for another chain.
    #[error("the offer is for {offered}, not for {given}")]
    OtherChain {
        /// The offer's.
        offered: ChainId,
        /// What was given.
        given: ChainId,
    },
    /// Not one place for each leg.
    #[error("a chain and its servers are needed for each leg")]
    Places,
    /// Too many blocks.
    #[error("{0} blocks from now there is no block")]
    Blocks(u32),
    /// We pay nothing in this swap.
    #[error("this swap is funded by the other party")]
    NothingToFund,
}

impl From<Refusal> for DeskError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl DeskError {
    /// The error with the next step to take, for the node `name`.
    pub fn into_command_error(self, name: &str) -> CommandError {
        let text = self.to_string();
        match self {
            Self::Storage(error) => error.into_command_error(name),
            Self::Wallet { network, error } => error.into_command_error(network, name),
            Self::Server { network, error } => error.into_command_error(network),
            Self::Group(error) => error,
            Self::Unheard { chain, .. } if chain.network() == bitcoin::Network::Regtest => CommandError::remote(text)
                .hint(
                    "start the devnet beside this: cargo run -p btc-devnet; or name another server with --esplora URL",
                ),
            Self::Unheard { .. } => {
                CommandError::remote(text).hint("try again later, or name another server with --esplora URL")
            }
            Self::Unknown(_) | Self::Ambiguous(_) => {
                CommandError::user(text).hint(format!("see the ids with: side-node htlc list {name}"))
            }
            Self::NothingToFund => {
                CommandError::user(text).hint(format!("see who does what: side-node htlc list {name}"))
            }
            Self::OtherChain { .. } | Self::Places => CommandError::usage(text)
                .hint("name the offer's network with --network, and a local chain's label with --label"),
            Self::Blocks(_) => CommandError::usage(text).hint("a day is about 144 blocks; on Mutinynet 2,880"),
            Self::Refused(refused) => CommandError::user(text).hint(advice(&refused, name)),
            Self::Deal { .. } | Self::Outgoing(_) => CommandError::user(text)
                .hint("use the program that wrote it; keep btc/swaps.sqlite, it holds keys and preimages"),
        }
    }
}

fn advice(refused: &Refused, name: &str) -> String {
    let Refused::Swap(refusal) = refused else {
        return format!("see how both legs stand: side-node htlc list {name}");
    };
    match refusal {
        Refusal::Terms(TermsError::TimeoutTooShort { least, .. }) => {
            format!("take at least {least} blocks: --blocks {least}")
        }
        Refusal::Terms(TermsError::Dust(_)) => "take a larger amount".to_owned(),
        Refusal::Hold(Hold::ServersDisagree) => {
            "name servers that you trust with --esplora, or wait until they agree".to_owned()
        }
        Refusal::NoView => "a server must be reachable: see --esplora".to_owned(),
        Refusal::Transaction(_) => {
            format!("wait for the timeout; side-node run {name} does the rest by itself")
        }
        _ => format!("see what happens next and by when: side-node htlc list {name}"),
    }
}
