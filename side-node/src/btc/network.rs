//! The Bitcoin networks that we know: how to tell one from another, where its servers and free coins are, how fast its blocks come.
//!
//! | network | is | a server is known by |
//! |---|---|---|
//! | mutinynet | a signet with a block every 30 seconds (the default) | genesis, and block 1, since its genesis is that of public signet |
//! | signet | the public signet (BIP 325) | genesis, and block 1 |
//! | testnet4 | the public test network (BIP 94) | genesis |
//! | regtest | a chain of one's own: `btc-devnet` | genesis |
//! | bitcoin | real money: only with an explicit confirmation | genesis |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::blockdata::constants::genesis_block;
use serde::{Deserialize, Serialize};

use crate::config::nearest;

/// Block 1 of Mutinynet. Any signet has the same genesis block, whatever its challenge, so that only a later block tells them apart. The hash stands in the
/// sources of many wallets and servers for Mutinynet (`mutinynet.com/api/block-height/1`), and meets its proof-of-work limit `1e0377ae`.
const MUTINYNET_BLOCK_1: &str = "000002855893a0a9b24eaffc5efc770558a326fee4fc10c9da22fc19cd2954f9";
/// Block 1 of the public signet (`mempool.space/signet/api/block-height/1`).
const SIGNET_BLOCK_1: &str = "00000086d6b2636cb2a392d45edc4ec544a10024d30141c9adf4bfd9de533b53";
/// The script that signs Mutinynet's blocks (BIP 325): one of one key.
const MUTINYNET_CHALLENGE: &str = "512102f7561d208dd9ae99bf497273e16f389bdbd6c4742ddb8e6b216e64fa2928ad8f51ae";
/// The script that signs the public signet's blocks (BIP 325): one of two keys.
const SIGNET_CHALLENGE: &str = "512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be430210359ef5021964fe22d6f8e05b2463c9540ce96883fe3b278760f048f5189f2e6c452ae";

/// A Bitcoin network. Mutinynet and signet share addresses and genesis and are different chains all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A public signet with fast blocks and a generous faucet.
    #[default]
    Mutinynet,
    /// The public signet.
    Signet,
    /// The public test network.
    Testnet4,
    /// A chain of one's own: `btc-devnet`.
    Regtest,
    /// Real money.
    Bitcoin,
}

impl Network {
    /// Every network.
    pub const ALL: [Network; 5] =
        [Network::Mutinynet, Network::Signet, Network::Testnet4, Network::Regtest, Network::Bitcoin];

    /// Its name, as in `--network` and in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Network::Mutinynet => "mutinynet",
            Network::Signet => "signet",
            Network::Testnet4 => "testnet4",
            Network::Regtest => "regtest",
            Network::Bitcoin => "bitcoin",
        }
    }

    /// The rules of addresses and consensus.
    pub const fn chain(self) -> bitcoin::Network {
        match self {
            Network::Mutinynet | Network::Signet => bitcoin::Network::Signet,
            Network::Testnet4 => bitcoin::Network::Testnet4,
            Network::Regtest => bitcoin::Network::Regtest,
            Network::Bitcoin => bitcoin::Network::Bitcoin,
        }
    }

    /// Whether coins here are worth something.
    pub const fn is_real_money(self) -> bool {
        matches!(self, Network::Bitcoin)
    }

    /// The coin type in derivation paths (SLIP 44): one for all test networks.
    pub const fn coin_type(self) -> u32 {
        if self.is_real_money() { 0 } else { 1 }
    }

    /// The Esplora server that is asked unless another is named.
    pub const fn default_esplora(self) -> &'static str {
        match self {
            Network::Mutinynet => "https://mutinynet.com/api",
            Network::Signet => "https://mempool.space/signet/api",
            Network::Testnet4 => "https://mempool.space/testnet4/api",
            Network::Regtest => "http://127.0.0.1:3002",
            Network::Bitcoin => "https://blockstream.info/api",
        }
    }

    /// Where free coins come from; the devnet's has a command of its own.
    pub const fn faucet(self) -> Option<&'static str> {
        match self {
            Network::Mutinynet => Some("https://faucet.mutinynet.com"),
            Network::Signet => Some("https://signetfaucet.com"),
            Network::Testnet4 => Some("https://mempool.space/testnet4/faucet"),
            Network::Regtest | Network::Bitcoin => None,
        }
    }

    /// The usual time between two blocks. A devnet mines when it is told to: a second stands for that.
    pub const fn block_interval(self) -> Duration {
        match self {
            Network::Mutinynet => Duration::from_secs(30),
            Network::Regtest => Duration::from_secs(1),
            Network::Signet | Network::Testnet4 | Network::Bitcoin => Duration::from_secs(600),
        }
    }

    /// The first block.
    pub fn genesis(self) -> BlockHash {
        genesis_block(self.chain()).block_hash()
    }

    /// A block later than genesis that tells this chain from others with the same genesis: height and hash.
    pub fn pinned_block(self) -> Option<(u32, BlockHash)> {
        let hash = match self {
            Network::Mutinynet => MUTINYNET_BLOCK_1,
            Network::Signet => SIGNET_BLOCK_1,
            Network::Testnet4 | Network::Regtest | Network::Bitcoin => return None,
        };
        Some((1, hash.parse().expect("the constants above are hashes: a test reads them")))
    }

    /// The script that must have signed each block of a signet (BIP 325).
    pub fn signet_challenge(self) -> Option<bitcoin::ScriptBuf> {
        let hex = match self {
            Network::Mutinynet => MUTINYNET_CHALLENGE,
            Network::Signet => SIGNET_CHALLENGE,
            Network::Testnet4 | Network::Regtest | Network::Bitcoin => return None,
        };
        Some(bitcoin::ScriptBuf::from_hex(hex).expect("the constants above are hex: a test reads them"))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no Bitcoin network; {hint}")]
pub struct UnknownNetwork {
    word: String,
    hint: String,
}

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        // Names under which other programs know these networks.
        let name = match word.to_ascii_lowercase().as_str() {
            "mainnet" | "main" => "bitcoin".to_owned(),
            "devnet" => "regtest".to_owned(),
            other => other.to_owned(),
        };
        if let Some(network) = Network::ALL.into_iter().find(|network| network.name() == name) {
            return Ok(network);
        }
        let names = Network::ALL.map(Network::name);
        let hint = match nearest(&name, names) {
            Some(known) => format!("did you mean {known:?}?"),
            None => format!("the networks are: {}", names.join(", ")),
        };
        Err(UnknownNetwork { word: word.to_owned(), hint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_becomes_a_network_or_the_nearest_one_is_named() {
        for network in Network::ALL {
            assert_eq!(network.name().parse(), Ok(network));
        }
        assert_eq!("Mainnet".parse(), Ok(Network::Bitcoin));
        assert!("mutinnynet".parse::<Network>().unwrap_err().to_string().contains("did you mean \"mutinynet\""));
        assert!("dogecoin-cash".parse::<Network>().unwrap_err().to_string().contains("testnet4, regtest"));
    }

    #[test]
    fn chains_with_one_genesis_are_told_apart_by_a_later_block() {
        assert_eq!(Network::Mutinynet.genesis(), Network::Signet.genesis());
        assert_ne!(Network::Mutinynet.pinned_block(), Network::Signet.pinned_block());
        let limit = bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(0x1e03_77ae));
        for network in [Network::Mutinynet, Network::Signet] {
            let (height, hash) = network.pinned_block().unwrap();
            assert!(height > 0 && limit.is_met_by(hash));
            // `1 <33 bytes> … 1|2 OP_CHECKMULTISIG`, as BIP 325 has it.
            assert!(network.signet_challenge().unwrap().is_multisig());
        }
        let genesis: Vec<_> = Network::ALL.iter().map(|network| network.genesis()).collect();
        assert_eq!(genesis.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
