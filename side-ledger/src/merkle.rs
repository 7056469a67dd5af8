//! A Merkle tree of RFC 6962 (section 2.1) whose leaves are appended, replaced and taken back.
//!
//! The tree keeps the hashes of all complete subtrees, level by level: 64 bytes a leaf. Appending costs one or two hashes, replacing k leaves at
//! most k log n, taking back the last leaves none. Proofs are checked by the crate `ct-merkle`, not by what made them.
//!
//! RFC 6962 separates leaves (`0x00`) from inner nodes (`0x01`) itself; what a leaf holds begins with a number that tells the kinds of leaves apart.

use bft_json_crdt::change::MAX_SAFE;
use ct_merkle::{InclusionProof, RootHash};
use sha2::{Digest as _, Sha256};

/// A hash in a tree.
pub type Hash = [u8; 32];

/// Most hashes in a path: trees have at most [`MAX_SAFE`] leaves.
pub const MAX_PATH: usize = 53;

/// The hash of a leaf.
pub fn leaf(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a tree of these leaves.
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut tree = Tree::default();
    leaves.into_iter().for_each(|leaf| tree.push(leaf));
    tree.root()
}

/// Whether a leaf with this data stands at `index` in the tree of `leaves` leaves with this root. A root alone does not tell how many leaves there are: whoever
/// carries roots carries their numbers beside them.
pub fn verify(root: &Hash, leaves: u64, index: u64, data: &[u8], path: &[Hash]) -> bool {
    // ct-merkle panics beyond 2^63 and holds what is below to its bounds.
    if leaves > MAX_SAFE || index >= leaves || path.len() > MAX_PATH {
        return false;
    }
    let Ok(proof) = InclusionProof::<Sha256>::try_from_bytes(path.concat()) else { return false };
    RootHash::new((*root).into(), leaves).verify_inclusion(&data, index, &proof).is_ok()
}

/// The tree.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Level k holds the roots of the complete subtrees of 2ᵏ leaves, from the left. Invariant: each level is half as long as the one below, rounded
    /// down; nodes above `dirty` leaves are not reckoned yet.
    levels: Vec<Vec<Hash>>,
    dirty: Vec<usize>,
}

impl Tree {
    /// How many leaves there are.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(hash);
            match nodes.as_slice() {
                [.., left, right] if nodes.len().is_multiple_of(2) => hash = node(left, right),
                _ => return,
            }
        }
    }

    /// Replaces a leaf.
    ///
    /// # Panics
    /// If there is no such leaf.
    pub fn set(&mut self, index: usize, leaf: Hash) {
        self.levels[0][index] = leaf;
        self.dirty.push(index);
    }

    /// Keeps the first `len` leaves.
    pub fn truncate(&mut self, len: usize) {
        for (level, nodes) in self.levels.iter_mut().enumerate() {
            nodes.truncate(len >> level);
        }
        self.dirty.retain(|index| *index < len);
    }

    /// The root. That of no leaves is SHA-256 of nothing.
    pub fn root(&mut self) -> Hash {
        self.settle();
        match self.len() {
            0 => Sha256::digest([]).into(),
            len => self.range(0, len),
        }
    }

    /// The root of the complete subtree of 2^`level` leaves with this number; `None` if the tree has not so many leaves.
    pub fn subtree(&mut self, level: usize, index: usize) -> Option<Hash> {
        self.settle();
        self.levels.get(level)?.get(index).copied()
    }

    /// The hashes that lead from a leaf to the root, lowest first.
    ///
    /// # Panics
    /// If there is no such leaf.
    pub fn path(&mut self, index: usize) -> Vec<Hash> {
        self.path_among(index, self.len())
    }

    /// The path of a leaf in the tree of the first `len` leaves.
    ///
    /// # Panics
    /// If there is no such leaf, or there are not so many.
    pub fn path_among(&mut self, index: usize, len: usize) -> Vec<Hash> {
        self.settle();
        assert!(index < len && len <= self.len(), "a path is of a leaf");
        let (mut start, mut len) = (0, len);
        let mut path = Vec::new();
        while len > 1 {
            let left = len.next_power_of_two() / 2;
            if index < start + left {
                path.push(self.range(start + left, len - left));
                len = left;
            } else {
                path.push(self.range(start, left));
                (start, len) = (start + left, len - left);
            }
        }
        path.reverse();
        path
    }

    /// The root of the subtree that begins at leaf `start`, a multiple of the power of two that is next to `len` from above.
    fn range(&self, start: usize, len: usize) -> Hash {
        let mut end = start + len;
        let mut root: Option<Hash> = None;
        for level in 0..self.levels.len() {
            if len >> level & 1 == 1 {
                end -= 1 << level;
                let complete = &self.levels[level][end >> level];
                root = Some(root.map_or(*complete, |right| node(complete, &right)));
            }
        }
        root.unwrap_or_default()
    }

    fn settle(&mut self) {
        let mut changed = std::mem::take(&mut self.dirty);
        changed.sort_unstable();
        for level in 1..self.levels.len() {
            changed.iter_mut().for_each(|index| *index /= 2);
            changed.dedup();
            let (below, here) = self.levels.split_at_mut(level);
            let (below, here) = (&below[level - 1], &mut here[0]);
            changed.retain(|index| *index < here.len());
            for index in &changed {
                here[*index] = node(&below[2 * index], &below[2 * index + 1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use proptest::prelude::*;

    fn data(n: usize) -> Vec<u8> {
        n.to_be_bytes().to_vec()
    }

    #[test]
    fn roots_and_paths_are_those_of_rfc_6962() {
        let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut ours = Tree::default();
        assert_eq!(hex::encode(ours.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for n in 0..70 {
            theirs.push(data(n));
            ours.push(leaf(&data(n)));
            let root = ours.root();
            assert_eq!(root.as_slice(), theirs.root().as_bytes().as_slice());
            for index in 0..=n {
                let path = ours.path(index);
                assert_eq!(path.concat(), theirs.prove_inclusion(index).as_bytes());
                assert!(verify(&root, n as u64 + 1, index as u64, &data(index), &path));
                assert!(!verify(&root, n as u64 + 1, index as u64, &data(index + 1), &path));
                // What the tree was when this leaf was the last one.
                let before = root_of((0..=index).map(|n| leaf(&data(n))));
                let path = ours.path_among(index / 2, index + 1);
                assert!(verify(&before, index as u64 + 1, index as u64 / 2, &data(index / 2), &path));
            }
        }
    }

    #[test]
    fn no_proof_makes_the_check_panic() {
        for leaves in [0, 1, 2, MAX_SAFE, 1 << 62, 1 << 63, u64::MAX - 1, u64::MAX] {
            for index in [0, 1, MAX_SAFE - 1, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX] {
                for length in [0, 1, 52, MAX_PATH, MAX_PATH + 1, 10_000] {
                    assert!(!verify(&[1; 32], leaves, index, b"x", &vec![[0; 32]; length]));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_was_done_the_tree_is_that_of_its_leaves(
            steps in proptest::collection::vec((0u8..8, 0usize..40, any::<u8>()), 1..120),
        ) {
            let (mut tree, mut leaves) = (Tree::default(), Vec::new());
            for (what, at, value) in steps {
                let value = leaf(&[value]);
                match what {
                    0 => {
                        leaves.truncate(at);
                        tree.truncate(at);
                    }
                    1 | 2 if at < leaves.len() => {
                        leaves[at] = value;
                        tree.set(at, value);
                    }
                    3 => prop_assert_eq!(tree.root(), root_of(leaves.iter().copied())),
                    _ => {
                        leaves.push(value);
                        tree.push(value);
                    }
                }
            }
            prop_assert_eq!(tree.len(), leaves.len());
            prop_assert_eq!(tree.root(), root_of(leaves.iter().copied()));
        }
    }
}
