//! Whether a transaction is in a block: the merkle branch that Esplora's `/tx/:txid/merkle-proof` gives, checked against a header.
//!
//! Two ambiguities of Bitcoin's merkle tree are refused. An inner node has 64 bytes and can be passed off as a transaction of that
//! length (and a transaction as a node), so no transaction of 64 bytes is believed. The last hash of an odd row is paired with itself,
//! so equal siblings are genuine only where the right one is the copy (CVE-2012-2459).

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use bitcoin::{Transaction, TxMerkleNode};
use thiserror::Error;

/// Longest branch: a block of 4,000,000 weight units holds at most 16,666 transactions of the least weight, 240.
pub const MAX_BRANCH: usize = 15;
/// The size, without witness, at which a transaction can be taken for an inner node.
const AMBIGUOUS_SIZE: usize = 64;

/// A server's proof that a transaction is in the block at a height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The block's height, as the server says.
    pub height: u32,
    /// The transaction's number in the block.
    pub position: u32,
    /// The sibling hashes, from the leaves up.
    pub branch: Vec<TxMerkleNode>,
}

/// Why a branch proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MerkleError {
    /// The branch is longer than any block's.
    #[error("the merkle branch has {0} hashes, a block's has at most {MAX_BRANCH}")]
    TooLong(usize),
    /// The position is beyond what a branch of this length reaches.
    #[error("the merkle proof names position {position}, beyond a branch of {length}")]
    Position {
        /// The position.
        position: u32,
        /// How many hashes the branch has.
        length: usize,
    },
    /// The transaction has the size of an inner node.
    #[error("a transaction of 64 bytes can be a node of the merkle tree in disguise")]
    Ambiguous,
    /// A left sibling equals the node: the leaf is counted twice.
    #[error("the merkle branch repeats a node on the left (CVE-2012-2459)")]
    Repeated,
    /// The branch leads to another root.
    #[error("the merkle branch does not lead to the block's root")]
    OtherRoot,
}

/// Checks that `tx` is at the proof's position under `root`.
pub fn verify(tx: &Transaction, proof: &InclusionProof, root: TxMerkleNode) -> Result<(), MerkleError> {
    if tx.base_size() == AMBIGUOUS_SIZE {
        return Err(MerkleError::Ambiguous);
    }
    let leaf = TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash());
    if fold(leaf, proof.position, &proof.branch)? == root { Ok(()) } else { Err(MerkleError::OtherRoot) }
}

/// The root that a leaf's branch leads to.
pub(super) fn fold(leaf: TxMerkleNode, position: u32, branch: &[TxMerkleNode]) -> Result<TxMerkleNode, MerkleError> {
    if branch.len() > MAX_BRANCH {
        return Err(MerkleError::TooLong(branch.len()));
    }
    if position >> branch.len() != 0 {
        return Err(MerkleError::Position { position, length: branch.len() });
    }
    let mut node = leaf;
    for (level, sibling) in branch.iter().enumerate() {
        node = if position >> level & 1 == 1 {
            if *sibling == node {
                return Err(MerkleError::Repeated);
            }
            parent(*sibling, node)
        } else {
            parent(node, *sibling)
        };
    }
    Ok(node)
}

fn parent(left: TxMerkleNode, right: TxMerkleNode) -> TxMerkleNode {
    let mut engine = sha256d::Hash::engine();
    engine.input(left.as_byte_array());
    engine.input(right.as_byte_array());
    TxMerkleNode::from_raw_hash(sha256d::Hash::from_engine(engine))
}

#[cfg(test)]
pub(super) mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Witness, merkle_tree, transaction};

    use super::*;

    pub(in super::super) fn transaction(number: u32) -> Transaction {
        Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::from_consensus(number),
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut { value: Amount::from_sat(1_000), script_pubkey: ScriptBuf::new() }],
        }
    }

    /// The branch of leaf `position`, made the long way: row by row.
    pub(in super::super) fn branch(leaves: &[TxMerkleNode], position: usize) -> Vec<TxMerkleNode> {
        let (mut row, mut at, mut branch) = (leaves.to_vec(), position, Vec::new());
        while row.len() > 1 {
            if row.len() % 2 == 1 {
                row.push(*row.last().unwrap());
            }
            branch.push(row[at ^ 1]);
            row = row.chunks(2).map(|pair| parent(pair[0], pair[1])).collect();
            at /= 2;
        }
        branch
    }

    pub(in super::super) fn leaves(transactions: &[Transaction]) -> Vec<TxMerkleNode> {
        transactions.iter().map(|tx| TxMerkleNode::from_raw_hash(tx.compute_txid().to_raw_hash())).collect()
    }

    fn root(leaves: &[TxMerkleNode]) -> TxMerkleNode {
        merkle_tree::calculate_root(leaves.iter().copied()).unwrap()
    }

    #[test]
    fn every_transaction_of_blocks_of_every_size_is_proven() {
        for count in 1..=17 {
            let transactions: Vec<Transaction> = (0..count).map(transaction).collect();
            let leaves = leaves(&transactions);
            let root = root(&leaves);
            for (position, tx) in transactions.iter().enumerate() {
                let mut proof =
                    InclusionProof { height: 1, position: position as u32, branch: branch(&leaves, position) };
                assert_eq!(verify(tx, &proof, root), Ok(()), "{position} of {count}");
                assert_eq!(verify(&transaction(99), &proof, root), Err(MerkleError::OtherRoot));
                proof.position ^= 1;
                assert!(verify(tx, &proof, root).is_err() || count == 1 || proof.branch[0] == leaves[position]);
            }
        }
    }

    /// With three transactions the third is paired with itself; whoever claims that it stands at position 3 claims the copy.
    #[test]
    fn the_copy_of_the_last_transaction_is_no_transaction() {
        let transactions: Vec<Transaction> = (0..3).map(transaction).collect();
        let leaves = leaves(&transactions);
        let proof = |position| InclusionProof { height: 1, position, branch: branch(&leaves, 2) };
        assert_eq!(verify(&transactions[2], &proof(2), root(&leaves)), Ok(()));
        assert_eq!(verify(&transactions[2], &proof(3), root(&leaves)), Err(MerkleError::Repeated));
    }

    /// A miner can choose two transactions whose ids, one behind the other, parse as a transaction that pays somebody.
    #[test]
    fn a_node_of_the_tree_is_no_transaction() {
        let mut disguised = transaction(7);
        disguised.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x6a; 4]);
        assert_eq!(disguised.base_size(), AMBIGUOUS_SIZE);
        let leaf = leaves(std::slice::from_ref(&disguised))[0];
        let proof = InclusionProof { height: 1, position: 0, branch: vec![] };
        assert_eq!(verify(&disguised, &proof, leaf), Err(MerkleError::Ambiguous));
    }

    #[test]
    fn branches_and_positions_are_bounded() {
        let leaf = leaves(&[transaction(1)])[0];
        let proof = |position, length| InclusionProof { height: 1, position, branch: vec![leaf; length] };
        assert_eq!(verify(&transaction(1), &proof(0, 16), leaf), Err(MerkleError::TooLong(16)));
        assert_eq!(verify(&transaction(1), &proof(4, 2), leaf), Err(MerkleError::Position { position: 4, length: 2 }));
        assert_eq!(
            verify(&transaction(1), &proof(u32::MAX, 15), leaf),
            Err(MerkleError::Position { position: u32::MAX, length: 15 })
        );
    }
}
