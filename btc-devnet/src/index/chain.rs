//! Blocks, transactions, spends and scripts on the best chain.
//!
//! A block is kept whole, once, together with the outputs that it spends: enough to take it off again and to show it when it is stale.
//! Everything else is a table of places (height, position) into the blocks.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bitcoin::{Address, Block, BlockHash, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid};

use super::script::{History, ScriptHash, Stats, Unspent};
use super::{Confirmation, Found, Shared, Spend};

/// A block's median time past is taken over this many blocks, itself included (BIP113).
const MEDIAN_SPAN: usize = 11;

/// Where a transaction stands on the best chain. Places order transactions as the chain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The block's height.
    pub height: u32,
    /// The transaction's position in it; the coinbase is 0.
    pub position: u32,
}

/// A block and what is asked of blocks.
#[derive(Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// The block.
    pub block: Block,
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u32,
    /// Its transactions' ids, in order.
    pub txids: Vec<Txid>,
    /// What each transaction's inputs spend; empty for the coinbase.
    pub spent: Vec<Vec<TxOut>>,
    /// The median of the times of this block and the ten before it.
    pub median_time: u32,
}

impl IndexedBlock {
    fn confirmation(&self) -> Confirmation {
        Confirmation { height: self.height, hash: self.hash, time: self.block.header.time }
    }

    /// A transaction of this block with what it spends. `confirmed` says whether the block is on the best chain.
    pub fn transaction(&self, position: usize, confirmed: bool) -> Option<Found<'_>> {
        Some(Found {
            transaction: self.block.txdata.get(position)?,
            spent: &self.spent[position],
            confirmation: confirmed.then(|| self.confirmation()),
        })
    }
}

/// The best chain's tables.
#[derive(Debug)]
pub struct Chain {
    network: Network,
    /// The best chain by height.
    best: Vec<Shared>,
    /// Every block that was ever connected, stale ones too.
    known: HashMap<BlockHash, Shared>,
    places: HashMap<Txid, Place>,
    spends: HashMap<OutPoint, Spend>,
    scripts: HashMap<ScriptHash, History>,
    /// Addresses with a history, for the search by prefix.
    addresses: BTreeMap<String, ScriptHash>,
}

/// Equal where the best chains are: what is stale does not count.
impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        self.best == other.best
            && self.places == other.places
            && self.spends == other.spends
            && self.scripts == other.scripts
            && self.addresses == other.addresses
    }
}

impl Chain {
    pub(super) fn new(network: Network) -> Self {
        Self {
            network,
            best: Vec::new(),
            known: HashMap::new(),
            places: HashMap::new(),
            spends: HashMap::new(),
            scripts: HashMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    /// How addresses are written here.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The last block, if there is any.
    pub fn tip(&self) -> Option<&IndexedBlock> {
        self.best.last().map(Arc::as_ref)
    }

    /// The block at `height` on the best chain.
    pub fn block_at(&self, height: u32) -> Option<&IndexedBlock> {
        self.best.get(height as usize).map(Arc::as_ref)
    }

    /// A block that is or was on the best chain.
    pub fn block(&self, hash: &BlockHash) -> Option<&IndexedBlock> {
        self.known.get(hash).map(Arc::as_ref)
    }

    /// A block that is on the best chain.
    pub fn best_block(&self, hash: &BlockHash) -> Option<&IndexedBlock> {
        self.block(hash).filter(|block| self.block_at(block.height).is_some_and(|best| best.hash == block.hash))
    }

    /// Where a transaction stands on the best chain.
    pub fn place(&self, txid: &Txid) -> Option<Place> {
        self.places.get(txid).copied()
    }

    /// The transaction at `place`, which the index gave out under the same lock.
    pub(super) fn at(&self, place: Place) -> Found<'_> {
        self.best[place.height as usize]
            .transaction(place.position as usize, true)
            .expect("places lead to transactions")
    }

    /// The block that confirms a transaction.
    pub fn confirmation(&self, txid: &Txid) -> Option<Confirmation> {
        self.place(txid).map(|place| self.best[place.height as usize].confirmation())
    }

    /// What spends an output on the best chain.
    pub fn spend(&self, outpoint: &OutPoint) -> Option<Spend> {
        self.spends.get(outpoint).copied()
    }

    /// A script's counts and sums on the best chain.
    pub fn stats(&self, script: &ScriptHash) -> Stats {
        self.scripts.get(script).map(|history| history.stats).unwrap_or_default()
    }

    /// A script's unspent outputs, oldest first.
    pub(super) fn unspent(&self, script: &ScriptHash) -> impl Iterator<Item = (Unspent, Confirmation)> {
        self.scripts.get(script).into_iter().flat_map(|history| &history.unspent).map(
            |((place, vout), (txid, value))| {
                let unspent = Unspent { outpoint: OutPoint::new(*txid, *vout), value: *value };
                (unspent, self.best[place.height as usize].confirmation())
            },
        )
    }

    /// A script's transactions, newest first, from the one before `after` on. None, if `after` is not one of them.
    pub fn history(&self, script: &ScriptHash, after: Option<&Txid>) -> impl Iterator<Item = Found<'_>> {
        let places = self.scripts.get(script).map_or(&[][..], |history| &history.places);
        let end = match after {
            None => places.len(),
            Some(txid) => self.place(txid).and_then(|place| places.binary_search(&place).ok()).unwrap_or(0),
        };
        places[..end].iter().rev().map(|place| self.at(*place))
    }

    /// Up to `limit` addresses that begin with `prefix` and have a history, in the order of their letters.
    pub fn addresses(&self, prefix: &str, limit: usize) -> Vec<&str> {
        let from = self
            .addresses
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(address, _)| address.as_str());
        from.take_while(|address| address.starts_with(prefix)).take(limit).collect()
    }

    /// Takes in a block that extends the tip.
    ///
    /// # Panics
    /// If it does not, or if it spends what is not there: the node validates blocks before it tells of them.
    pub(super) fn connect(&mut self, block: Block) {
        let parent = self.tip().map_or_else(|| block.header.prev_blockhash, |tip| tip.hash);
        assert_eq!(block.header.prev_blockhash, parent, "a block connects to the tip");
        let hash = block.block_hash();
        let height = self.best.len() as u32;
        let txids: Vec<Txid> = block.txdata.iter().map(Transaction::compute_txid).collect();
        let mut spent = Vec::with_capacity(block.txdata.len());
        for (position, (transaction, txid)) in block.txdata.iter().zip(&txids).enumerate() {
            let place = Place { height, position: position as u32 };
            spent.push(self.spend_inputs(place, transaction, *txid, &block));
            self.places.insert(*txid, place);
            for (vout, output) in spendable(transaction) {
                self.history_of(&output.script_pubkey).fund(place, vout, *txid, output.value.to_sat());
            }
        }
        let median_time = self.median_time(block.header.time);
        let block = Arc::new(IndexedBlock { block, hash, height, txids, spent, median_time });
        self.known.insert(hash, block.clone());
        self.best.push(block);
    }

    /// Takes off the tip. Its block stays known by hash.
    ///
    /// # Panics
    /// If there is no block.
    pub(super) fn disconnect(&mut self) {
        let block = self.best.pop().expect("a block was connected before it is disconnected");
        for (position, (transaction, txid)) in block.block.txdata.iter().zip(&block.txids).enumerate().rev() {
            let place = Place { height: block.height, position: position as u32 };
            for (vout, output) in spendable(transaction) {
                self.update(&output.script_pubkey, |history| history.unfund(place, vout, output.value.to_sat()));
            }
            self.places.remove(txid);
            for (input, output) in transaction.input.iter().zip(&block.spent[position]) {
                let outpoint = input.previous_output;
                self.spends.remove(&outpoint);
                let origin = (self.origin(&outpoint, &block), outpoint.vout);
                self.update(&output.script_pubkey, |history| {
                    history.unspend(place, origin, outpoint.txid, output.value.to_sat());
                });
            }
        }
    }

    fn spend_inputs(&mut self, place: Place, transaction: &Transaction, txid: Txid, block: &Block) -> Vec<TxOut> {
        if transaction.is_coinbase() {
            return Vec::new();
        }
        let mut spent = Vec::with_capacity(transaction.input.len());
        for (input, spender) in transaction.input.iter().zip(0..) {
            let outpoint = input.previous_output;
            let origin = self.place(&outpoint.txid).expect("a valid block spends what is there");
            let parent = match self.best.get(origin.height as usize) {
                Some(earlier) => &earlier.block.txdata[origin.position as usize],
                None => &block.txdata[origin.position as usize],
            };
            let output = parent.output[outpoint.vout as usize].clone();
            self.spends.insert(outpoint, Spend { txid, input: spender });
            let history = self.history_of(&output.script_pubkey);
            history.spend(place, (origin, outpoint.vout), output.value.to_sat());
            spent.push(output);
        }
        spent
    }

    /// Where an output that `block` spends was made: below it, or earlier in it.
    fn origin(&self, outpoint: &OutPoint, block: &IndexedBlock) -> Place {
        self.place(&outpoint.txid).unwrap_or_else(|| {
            panic!("block {} spends {outpoint}, which is not on its chain", block.hash);
        })
    }

    fn history_of(&mut self, script: &ScriptBuf) -> &mut History {
        match self.scripts.entry(ScriptHash::of(script)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                if let Ok(address) = Address::from_script(script, self.network) {
                    self.addresses.insert(address.to_string(), *entry.key());
                }
                entry.insert(History::default())
            }
        }
    }

    fn update(&mut self, script: &ScriptBuf, change: impl FnOnce(&mut History)) {
        let Entry::Occupied(mut entry) = self.scripts.entry(ScriptHash::of(script)) else {
            panic!("a script on the chain has a history");
        };
        change(entry.get_mut());
        if entry.get().is_empty() {
            entry.remove();
            if let Ok(address) = Address::from_script(script, self.network) {
                self.addresses.remove(&address.to_string());
            }
        }
    }

    fn median_time(&self, last: u32) -> u32 {
        let before = self.best.iter().rev().take(MEDIAN_SPAN - 1).map(|block| block.block.header.time);
        let mut times: Vec<u32> = before.chain([last]).collect();
        times.sort_unstable();
        times[times.len() / 2]
    }
}

/// The outputs that can be spent, with their numbers. Esplora keeps no history of OP_RETURN.
pub(super) fn spendable(transaction: &Transaction) -> impl Iterator<Item = (u32, &TxOut)> {
    (0..).zip(&transaction.output).filter(|(_, output)| !output.script_pubkey.is_op_return())
}
