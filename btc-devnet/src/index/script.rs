//! What happened to one script.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{OutPoint, Script, Txid};

use super::chain::Place;

/// SHA-256 of an output script: the name by which Esplora speaks of a script. Written as hex, first byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScriptHash([u8; 32]);

impl ScriptHash {
    /// The hash of `script`.
    pub fn of(script: &Script) -> Self {
        Self(sha256::Hash::hash(script.as_bytes()).to_byte_array())
    }
}

impl FromStr for ScriptHash {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Counts and sums of one script. All sums are in satoshis, over everything that ever happened, spent outputs included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Outputs that paid the script.
    pub funded_txo_count: u64,
    /// What they paid.
    pub funded_txo_sum: u64,
    /// Of those, outputs that were spent.
    pub spent_txo_count: u64,
    /// What was spent.
    pub spent_txo_sum: u64,
    /// Transactions that paid or spent.
    pub tx_count: u64,
}

/// An output that nothing on the best chain spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unspent {
    /// Which output.
    pub outpoint: OutPoint,
    /// What it holds, in satoshis.
    pub value: u64,
}

/// One script's life on the best chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Where its transactions stand, oldest first, each once.
    pub(super) places: Vec<Place>,
    /// Its unspent outputs by where they stand.
    pub(super) unspent: BTreeMap<(Place, u32), (Txid, u64)>,
    pub(super) stats: Stats,
}

impl History {
    pub(super) fn touch(&mut self, place: Place) {
        if self.places.last() != Some(&place) {
            self.places.push(place);
            self.stats.tx_count += 1;
        }
    }

    pub(super) fn untouch(&mut self, place: Place) {
        if self.places.last() == Some(&place) {
            self.places.pop();
            self.stats.tx_count -= 1;
        }
    }

    pub(super) fn fund(&mut self, place: Place, vout: u32, txid: Txid, value: u64) {
        self.touch(place);
        self.unspent.insert((place, vout), (txid, value));
        self.stats.funded_txo_count += 1;
        self.stats.funded_txo_sum += value;
    }

    pub(super) fn unfund(&mut self, place: Place, vout: u32, value: u64) {
        self.untouch(place);
        self.unspent.remove(&(place, vout));
        self.stats.funded_txo_count -= 1;
        self.stats.funded_txo_sum -= value;
    }

    pub(super) fn spend(&mut self, place: Place, origin: (Place, u32), value: u64) {
        self.touch(place);
        self.unspent.remove(&origin);
        self.stats.spent_txo_count += 1;
        self.stats.spent_txo_sum += value;
    }

    pub(super) fn unspend(&mut self, place: Place, origin: (Place, u32), txid: Txid, value: u64) {
        self.untouch(place);
        self.unspent.insert(origin, (txid, value));
        self.stats.spent_txo_count -= 1;
        self.stats.spent_txo_sum -= value;
    }

    /// Whether nothing on the chain speaks of the script any more: what was never funded was never spent.
    pub(super) fn is_empty(&self) -> bool {
        self.stats.funded_txo_count == 0
    }
}
