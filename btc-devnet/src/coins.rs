//! The unspent outputs of the best chain, for the mempool's look-ups.

use std::collections::HashMap;

use bitcoin::{Block, OutPoint, Script, Transaction};

use crate::{node::Coin, script::MAX_SCRIPT_SIZE};

/// Every output of the best chain that is not spent.
///
/// Invariant: equals what connecting the best chain's blocks in order leaves; the genesis block's output is not in it, as in
/// Core.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Coins {
    unspent: HashMap<OutPoint, Coin>,
}

impl Coins {
    pub(crate) fn get(&self, outpoint: &OutPoint) -> Option<&Coin> {
        self.unspent.get(outpoint)
    }

    /// Applies a block that Core has accepted. Returns the coins that it spends, a row for each transaction but the coinbase.
    pub(crate) fn connect(&mut self, block: &Block, height: u32) -> Vec<Vec<Coin>> {
        let mut spent = Vec::with_capacity(block.txdata.len().saturating_sub(1));
        for (index, transaction) in block.txdata.iter().enumerate() {
            if index > 0 {
                let row = transaction.input.iter().map(|input| {
                    self.unspent.remove(&input.previous_output).expect("Core has checked that the coin exists")
                });
                spent.push(row.collect());
            }
            if height > 0 {
                self.create(transaction, height, index == 0);
            }
        }
        spent
    }

    /// Takes back the tip's block. `spent` is what [`Self::connect`] returned for it.
    pub(crate) fn disconnect(&mut self, block: &Block, spent: Vec<Vec<Coin>>) {
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            for vout in 0..transaction.output.len() as u32 {
                self.unspent.remove(&OutPoint { txid, vout });
            }
        }
        // Coins that the block both created and spent come back with their spender's row and must go again.
        let created: std::collections::HashSet<_> = block.txdata.iter().map(Transaction::compute_txid).collect();
        for (transaction, row) in block.txdata.iter().skip(1).zip(spent) {
            for (input, coin) in transaction.input.iter().zip(row) {
                if !created.contains(&input.previous_output.txid) {
                    self.unspent.insert(input.previous_output, coin);
                }
            }
        }
    }

    fn create(&mut self, transaction: &Transaction, height: u32, coinbase: bool) {
        let txid = transaction.compute_txid();
        for (vout, output) in (0u32..).zip(&transaction.output) {
            if !is_unspendable(&output.script_pubkey) {
                self.unspent.insert(OutPoint { txid, vout }, Coin { output: output.clone(), height, coinbase });
            }
        }
    }
}

/// Outputs that no script can spend are not kept (`CScript::IsUnspendable`).
pub(crate) fn is_unspendable(script: &Script) -> bool {
    script.is_op_return() || script.len() > MAX_SCRIPT_SIZE
}
