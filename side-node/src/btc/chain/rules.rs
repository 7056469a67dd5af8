//! What a network's headers must satisfy, and the block that everything is counted from.

use std::str::FromStr as _;

use bitcoin::consensus::Params;
use bitcoin::{BlockHash, Network, ScriptBuf};

/// A block of the main chain that is taken for granted: height and hash. Bitcoin Core's `defaultAssumeValid` of its release 31
/// (src/kernel/chainparams.cpp).
pub const BITCOIN_CHECKPOINT: (u32, &str) =
    (938_343, "00000000000000000000ccebd6d74d9194d8dcdc1d177c478e094bfad51ba5ac");
/// The same for testnet4.
pub const TESTNET4_CHECKPOINT: (u32, &str) =
    (123_613, "0000000002368b1e4ee27e2e85676ae6f9f9e69579b29093e9a82c170bf7cf8a");
/// The challenge of the public signet (Bitcoin Core, src/kernel/chainparams.cpp): one of two keys.
pub const SIGNET_CHALLENGE: &str = "512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be430210359ef5021964fe22d6f8e05b2463c9540ce96883fe3b278760f048f5189f2e6c452ae";
/// The challenge of Mutinynet: one key.
pub const MUTINYNET_CHALLENGE: &str = "512102f7561d208dd9ae99bf497273e16f389bdbd6c4742ddb8e6b216e64fa2928ad8f51ae";

/// Where a chain begins to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The network's first block.
    Genesis,
    /// A later block that this program names.
    Checkpoint {
        /// Its height.
        height: u32,
        /// Its hash.
        hash: BlockHash,
    },
    /// Any block under a tip that the challenge's keys have signed: they sign upon valid blocks only, and the coinbase states the height (BIP34).
    Signed,
}

/// The rules of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    network: Network,
    challenge: Option<ScriptBuf>,
}

impl Rules {
    /// The rules of a network without a challenge, and of the public signet.
    pub fn new(network: Network) -> Self {
        match network {
            Network::Signet => Self::signet(challenge(SIGNET_CHALLENGE)),
            _ => Self { network, challenge: None },
        }
    }

    /// A signet with its own challenge. Every signet has the same first block: only the challenge tells one from another.
    pub fn signet(challenge: ScriptBuf) -> Self {
        Self { network: Network::Signet, challenge: Some(challenge) }
    }

    /// Mutinynet, a signet with a block every thirty seconds.
    pub fn mutinynet() -> Self {
        Self::signet(challenge(MUTINYNET_CHALLENGE))
    }

    /// Regtest's work under a challenge: for tests, as signet's easiest target takes seconds a block.
    #[cfg(test)]
    pub(super) fn regtest_with_challenge(challenge: ScriptBuf) -> Self {
        Self { network: Network::Regtest, challenge: Some(challenge) }
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The challenge whose solution each block carries, on signets.
    pub fn challenge(&self) -> Option<&ScriptBuf> {
        self.challenge.as_ref()
    }

    /// Where the chain begins to be checked.
    pub fn anchor(&self) -> Anchor {
        if self.challenge.is_some() {
            return Anchor::Signed;
        }
        let checkpoint = |(height, hash): (u32, &str)| Anchor::Checkpoint {
            height,
            hash: BlockHash::from_str(hash).expect("the constants above are hashes; a test reads them"),
        };
        match self.network {
            Network::Bitcoin => checkpoint(BITCOIN_CHECKPOINT),
            Network::Testnet4 => checkpoint(TESTNET4_CHECKPOINT),
            _ => Anchor::Genesis,
        }
    }

    pub(super) fn params(&self) -> &'static Params {
        self.network.params()
    }

    /// Whether the timewarp rules of BIP94 hold.
    pub(super) fn bip94(&self) -> bool {
        self.network == Network::Testnet4
    }
}

fn challenge(hex: &str) -> ScriptBuf {
    ScriptBuf::from_hex(hex).expect("the constants above are scripts; a test reads them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_read() {
        for network in [Network::Bitcoin, Network::Testnet4, Network::Signet, Network::Regtest] {
            let rules = Rules::new(network);
            assert_eq!(rules.challenge().is_some(), network == Network::Signet);
            rules.anchor();
        }
        assert_ne!(Rules::mutinynet(), Rules::new(Network::Signet));
        assert_eq!(Rules::new(Network::Regtest).anchor(), Anchor::Genesis);
    }
}
