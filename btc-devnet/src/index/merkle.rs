//! Proofs that a block holds a transaction.

use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{MerkleBlock, Txid};

use super::chain::IndexedBlock;

/// The hashes beside the path from `position` up to the merkle root, deepest first: Electrum's `get_merkle`.
///
/// `txids` must hold `position`.
pub fn branch(txids: &[Txid], position: usize) -> Vec<sha256d::Hash> {
    let mut row: Vec<sha256d::Hash> = txids.iter().map(|txid| txid.to_raw_hash()).collect();
    let mut at = position;
    let mut branch = Vec::new();
    while row.len() > 1 {
        let last = row.len() - 1;
        branch.push(row[(at ^ 1).min(last)]);
        row = row.chunks(2).map(|pair| parent(pair[0], pair[pair.len() - 1])).collect();
        at /= 2;
    }
    branch
}

/// The same proof in the format of Core's `gettxoutproof` (BIP37).
pub fn block(block: &IndexedBlock, txid: &Txid) -> MerkleBlock {
    MerkleBlock::from_header_txids_with_predicate(&block.block.header, &block.txids, |candidate| candidate == txid)
}

fn parent(left: sha256d::Hash, right: sha256d::Hash) -> sha256d::Hash {
    let mut engine = sha256d::Hash::engine();
    engine.input(left.as_byte_array());
    engine.input(right.as_byte_array());
    sha256d::Hash::from_engine(engine)
}
