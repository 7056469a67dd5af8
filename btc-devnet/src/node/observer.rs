//! What a node tells whoever follows it.

use std::sync::Arc;

use bitcoin::{Amount, Block, BlockHash, Transaction, TxOut, Txid, Wtxid};

/// Follows one chain. Called on the node's thread, in the order in which things happen; a call should be short and must not
/// call back into the node.
///
/// - At start, [`connected`](Self::connected) is called for every block of the chain from the genesis block on.
/// - A block that takes effect: `connected`, then [`left`](Self::left) for each mempool transaction that it contains or
///   rules out.
/// - A reorganisation: [`disconnected`](Self::disconnected) from the tip down, then `connected` upward, then
///   [`entered`](Self::entered) for what returned to the mempool.
/// - Parents enter before their children; children leave before their parents, unless both are mined.
/// - [`settled`](Self::settled) ends each command: chain and mempool fit together then, blocks are on disk if the chain is
///   kept, and the node's command has not returned yet. Publish a view to readers there.
pub trait Observer: Send {
    /// `block` is the new tip at `height`. `spent[i][j]` is the coin that input `j` of transaction `i + 1` spends (the
    /// coinbase has no row).
    fn connected(&mut self, block: &Block, height: u32, spent: &[Vec<Coin>]);
    /// `block`, the tip at `height`, is no longer part of the chain.
    fn disconnected(&mut self, block: &Block, height: u32);
    /// A transaction was accepted to the mempool.
    fn entered(&mut self, entry: &MempoolEntry);
    /// A transaction is no longer in the mempool.
    fn left(&mut self, txid: &Txid, why: Departure);
    /// The command's changes are complete.
    fn settled(&mut self) {}
}

/// Follows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn connected(&mut self, _block: &Block, _height: u32, _spent: &[Vec<Coin>]) {}
    fn disconnected(&mut self, _block: &Block, _height: u32) {}
    fn entered(&mut self, _entry: &MempoolEntry) {}
    fn left(&mut self, _txid: &Txid, _why: Departure) {}
}

/// An output and where it was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// The output.
    pub output: TxOut,
    /// Height of the block that created it.
    pub height: u32,
    /// Created by a coinbase, so that it can be spent only 100 blocks later.
    pub coinbase: bool,
}

/// A transaction in the mempool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MempoolEntry {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// Its id.
    pub txid: Txid,
    /// Its id with witness.
    pub wtxid: Wtxid,
    /// The outputs that it spends, one for each input.
    pub spent: Arc<[TxOut]>,
    /// What it pays.
    pub fee: Amount,
    /// Weight in weight units.
    pub weight: u64,
    /// Virtual size in virtual bytes, adjusted for signature operations as Core's policy counts it.
    pub vsize: u64,
    /// Signature operation cost (BIP141).
    pub sigop_cost: u64,
    /// When it entered, in seconds since 1970 by the chain's clock.
    pub time: u32,
    /// Height of the tip when it entered.
    pub height: u32,
}

/// Why a transaction left the mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It is in this block, which has just been connected.
    Mined(BlockHash),
    /// A transaction that pays more took its place (full RBF), or a TRUC sibling's.
    Replaced(Txid),
    /// A block contains another transaction that spends the same coin.
    Conflict(BlockHash),
    /// After a reorganisation it is no longer valid, or it depends on one that is not.
    Reorganised,
    /// It stayed longer than Core's two weeks.
    Expired,
    /// The mempool was full and others pay more.
    Evicted,
}
