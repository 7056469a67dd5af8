//! The history index: what an Esplora server knows beyond a node.
//!
//! A node finds a transaction's inputs and no more. Explorers and wallets ask the other way round: which block holds this transaction,
//! what spent this output, what happened to this script. The index answers from memory. It hears of every block and of every mempool
//! transaction in order, and each call costs what its block or transaction holds, never what the chain does.
//!
//! - [`chain`]: blocks, transactions and spends on the best chain; stale blocks stay known by hash.
//! - [`script`]: what happened to one script: transactions, unspent outputs, sums.
//! - [`pool`]: the same views over transactions that wait for a block.
//! - [`merkle`]: the proof that a block holds a transaction.
//!
//! Order of calls: blocks connect in the order of their heights and disconnect from the tip down; a mempool transaction enters after its
//! parents did. Whoever breaks that order has a bug, and the index panics: an index that guesses serves wrong balances.

pub mod chain;
pub mod merkle;
pub mod pool;
pub mod script;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bitcoin::{Amount, Block, BlockHash, Network, OutPoint, Transaction, TxOut, Txid};

pub use chain::{Chain, IndexedBlock, Place};
pub use pool::{Pool, PoolTransaction};
pub use script::{ScriptHash, Stats, Unspent};

/// Where and when a transaction was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The block's height.
    pub height: u32,
    /// The block.
    pub hash: BlockHash,
    /// The block's own time, in seconds since 1970.
    pub time: u32,
}

/// What spent an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The spending transaction.
    pub txid: Txid,
    /// Which of its inputs.
    pub input: u32,
}

/// A transaction with what its inputs spend, as the index keeps it.
pub struct Found<'a> {
    /// The transaction.
    pub transaction: &'a Transaction,
    /// The outputs its inputs spend, in the order of its inputs; empty for a coinbase.
    pub spent: &'a [TxOut],
    /// The block that holds it, if it is on the best chain.
    pub confirmation: Option<Confirmation>,
}

/// The best chain and the mempool, by every key that Esplora's clients ask for.
pub struct Index {
    /// Blocks and what they hold.
    pub chain: Chain,
    /// Transactions that wait for a block.
    pub pool: Pool,
}

impl Index {
    /// An index of nothing; `network` decides how addresses are written.
    pub fn new(network: Network) -> Self {
        Self { chain: Chain::new(network), pool: Pool::default() }
    }

    /// Takes in a block that extends the tip.
    pub fn connect(&mut self, block: Block) {
        self.chain.connect(block);
    }

    /// Takes the tip off again.
    pub fn disconnect(&mut self) {
        self.chain.disconnect();
    }

    /// Takes in a transaction that entered the mempool at `time` (seconds since 1970), with the outputs that its inputs spend.
    pub fn enter(&mut self, transaction: Arc<Transaction>, spent: Arc<[TxOut]>, time: u64) {
        self.pool.enter(transaction, spent, time);
    }

    /// Drops a transaction that left the mempool; one that is not there is no matter.
    pub fn leave(&mut self, txid: &Txid) {
        self.pool.leave(txid);
    }

    /// A transaction on the best chain or in the mempool. While a block moves it from one to the other, the chain's view wins.
    pub fn transaction(&self, txid: &Txid) -> Option<Found<'_>> {
        if let Some(place) = self.chain.place(txid) {
            return Some(self.chain.at(place));
        }
        self.pool.get(txid).map(PoolTransaction::found)
    }

    /// An output on the best chain or in the mempool, spent or not.
    pub fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        let transaction = self.transaction(&outpoint.txid)?.transaction;
        transaction.output.get(outpoint.vout as usize)
    }

    /// What spends an output, on the best chain or in the mempool.
    pub fn spend(&self, outpoint: &OutPoint) -> Option<(Spend, Option<Confirmation>)> {
        if let Some(spend) = self.chain.spend(outpoint) {
            return Some((spend, self.chain.confirmation(&spend.txid)));
        }
        self.pool.spend(outpoint).map(|spend| (spend, None))
    }

    /// What is unspent of a script: confirmed outputs that no mempool transaction spends, then outputs of the mempool.
    pub fn unspent(&self, script: &ScriptHash) -> Vec<(Unspent, Option<Confirmation>)> {
        let free = |unspent: &Unspent| self.pool.spend(&unspent.outpoint).is_none();
        let confirmed = self.chain.unspent(script).filter(|(unspent, _)| free(unspent));
        let waiting = self.pool.funded(script).filter(free).filter(|u| self.chain.place(&u.outpoint.txid).is_none());
        confirmed
            .map(|(unspent, confirmation)| (unspent, Some(confirmation)))
            .chain(waiting.map(|u| (u, None)))
            .collect()
    }
}

/// The sum of `outputs`.
fn sum<'a>(outputs: impl IntoIterator<Item = &'a TxOut>) -> Amount {
    outputs.into_iter().map(|output| output.value).sum()
}

/// A block behind a counter: the best chain and the table of all blocks share it.
type Shared = Arc<IndexedBlock>;
