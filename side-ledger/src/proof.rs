//! Proofs that something stands in the ledger state of a block: what became of a change, or what a key owns (docs/protocol.md, section "Proofs").
//!
//! A proof carries the block, what its state root is the hash of, one leaf and the leaf's path. It shows what the block says; that the block is the group's
//! is shown by its sealer's signature and the voters' words, beside it.

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::replica::Replica;
use thiserror::Error;

use crate::accounts::Account;
use crate::block::{Block, BlockError, Height, MAX_BLOCK_BYTES};
use crate::chain::{Chain, StateParts};
use crate::genesis::GroupId;
use crate::merkle::{self, Hash, MAX_PATH};
use crate::receipt::Receipt;
use crate::transaction::MAX_TRANSACTIONS;

/// The version of the format that this build reads and writes.
pub const PROOF_VERSION: u64 = 1;
/// Most bytes of a leaf: a change all of whose transactions are rejected.
pub const MAX_LEAF_BYTES: usize = 64 + 7 * (MAX_TRANSACTIONS + 1);
/// Most bytes of a proof.
pub const MAX_PROOF_BYTES: usize = MAX_BLOCK_BYTES + MAX_LEAF_BYTES + 32 * MAX_PATH + 256;

/// Why something proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The bytes break the encoding.
    #[error("these bytes are not a proof: {0}")]
    Encoding(#[from] DecodeError),
    /// A later version of Side wrote it.
    #[error("this proof has version {0}, which this build does not know; update it")]
    Version(u64),
    /// The block in it is not one.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// It is about another group.
    #[error("the proof is about another group")]
    Group,
    /// The block's state root is not that of the parts.
    #[error("the state in the proof is not that of its block")]
    State,
    /// The leaf does not lead to the root.
    #[error("the leaf does not lead to the block's state")]
    Path,
}

/// What a proof is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// What became of a change.
    Change(Receipt),
    /// What the ledger knows of a key.
    Account(AuthorId, Account),
}

/// A proof, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The block.
    pub block: Block,
    /// What its state root is the hash of.
    pub state: StateParts,
    /// Which leaf of its tree.
    pub index: u64,
    /// The leaf. Its first number tells which tree.
    pub leaf: Vec<u8>,
    /// The hashes from the leaf to the root, lowest first.
    pub path: Vec<Hash>,
}

impl Proof {
    /// The one encoding.
    pub fn encode(&self) -> Result<Vec<u8>, ProofError> {
        let block = self.block.encode()?;
        let mut out = Vec::with_capacity(block.len() + self.leaf.len() + 32 * self.path.len() + 128);
        out.put_varint(PROOF_VERSION);
        out.put_blob(&block);
        self.state.write(&mut out);
        out.put_varint(self.index);
        out.put_blob(&self.leaf);
        out.put_varint(self.path.len() as u64);
        self.path.iter().for_each(|hash| out.put(hash));
        Ok(out)
    }

    /// Reads bytes that hold a proof and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new(bytes);
        let version = reader.varint()?;
        if version != PROOF_VERSION {
            return Err(ProofError::Version(version));
        }
        let block = Block::decode(reader.blob()?)?;
        let state = StateParts::read(&mut reader)?;
        let index = reader.varint()?;
        let leaf = reader.blob()?;
        if leaf.len() > MAX_LEAF_BYTES {
            return Err(DecodeError::Rule("a leaf is too long").into());
        }
        let count = reader.count(32)?;
        if count > MAX_PATH {
            return Err(DecodeError::Rule("a path is too long").into());
        }
        let path = (0..count).map(|_| reader.array()).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { block, state, index, leaf: leaf.to_vec(), path })
    }

    /// What it proves of `group`, given that its block is one of the group's.
    pub fn verify(&self, group: GroupId) -> Result<Fact, ProofError> {
        if self.block.group != group {
            return Err(ProofError::Group);
        }
        // Its form: a block that was not decoded may have none.
        self.block.id()?;
        if self.state.root() != self.block.state_root {
            return Err(ProofError::State);
        }
        let change = Receipt::decode(&self.leaf);
        let (fact, root, leaves) = match change {
            Ok(receipt) => (Fact::Change(receipt), &self.state.changes_root, self.state.changes),
            Err(_) => {
                let (key, account) = Account::decode(&self.leaf)?;
                let key = AuthorId::from_bytes(key).map_err(|_| DecodeError::Rule("a key is not acceptable"))?;
                (Fact::Account(key, account), &self.state.accounts_root, self.state.accounts)
            }
        };
        if !merkle::verify(root, leaves, self.index, &self.leaf, &self.path) {
            return Err(ProofError::Path);
        }
        Ok(fact)
    }
}

impl Chain {
    /// Proves by the last block what became of a change; `None` if no block sealed it.
    pub fn prove_change(&mut self, replica: &Replica, id: &ChangeId) -> Option<Proof> {
        self.prove_change_at(replica, id, self.height())
    }

    /// Proves by the block at a height what became of a change; `None` if neither that block nor one before it sealed the change.
    pub fn prove_change_at(&mut self, replica: &Replica, id: &ChangeId, height: Height) -> Option<Proof> {
        let (index, receipt) = self.receipt(replica, replica.index_of(id)?)?;
        let sealed = self.at(height).filter(|sealed| index < sealed.state.changes)?;
        let (block, state) = (sealed.block.clone(), sealed.state);
        Some(Proof { block, state, index, leaf: receipt.encode(), path: self.change_path(index, state.changes) })
    }

    /// Proves by the last block what the ledger knows of a key; `None` if it has no account, or there is no block.
    pub fn prove_account(&mut self, key: &AuthorId) -> Option<Proof> {
        let (index, account, path) = self.account_path(key)?;
        let sealed = self.tip()?;
        Some(Proof { block: sealed.block.clone(), state: sealed.state, index, leaf: account.encode(key), path })
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::identity::Keypair;

    use super::*;
    use crate::genesis::{Admission, Genesis, GroupSpec, Limits, Sealing};
    use crate::group::Group;
    use crate::names::Name;
    use crate::receipt::Reason;
    use crate::transaction::{Transaction, Transfer};

    fn keypair(seed: u8) -> Keypair {
        Keypair::from_seed(&[seed; 32])
    }

    /// A group in whose last block two of four transfers are rejected, after three blocks of notes; and the change with the transfers.
    fn group() -> (Group, ChangeId) {
        let genesis = Genesis::new(GroupSpec {
            name: Name::new("friends").unwrap(),
            created_ms: 1,
            nonce: [3; 32],
            founders: vec![keypair(1).author()],
            admission: Admission::Open,
            allocation: [(keypair(1).author(), 100), (keypair(2).author(), 5)].into(),
            sealing: Sealing::Leader { interval_ms: 1000 },
            limits: Limits::default(),
        });
        let mut group = Group::open(genesis.unwrap(), Some(keypair(1).author()), Default::default());
        for n in 0..3 {
            group.note(&format!("{n}"), &keypair(1), n).unwrap();
            group.seal(n, None).unwrap();
        }
        let pay = |amount| Transaction::from(Transfer { to: keypair(3).author(), amount });
        let change = group.write(&[pay(60), pay(70), pay(40), pay(1)], &keypair(1), 9).unwrap().change.id();
        group.seal(10, None).unwrap();
        (group, change)
    }

    fn proofs() -> (Group, Proof, Proof) {
        let (mut group, change) = group();
        let (chain, replica) = group.parts();
        let proof = chain.prove_change(replica, &change).unwrap();
        let account = chain.prove_account(&keypair(3).author()).unwrap();
        (group, proof, account)
    }

    #[test]
    fn a_proof_shows_what_became_of_a_change_and_what_a_key_owns() {
        let (mut group, change, account) = proofs();
        for (proof, about_change) in [(change, true), (account, false)] {
            let bytes = proof.encode().unwrap();
            assert!(bytes.len() < 1_000, "{}", bytes.len());
            let read = Proof::decode(&bytes).unwrap();
            assert_eq!(read, proof);
            match read.verify(group.id()).unwrap() {
                Fact::Change(receipt) => {
                    assert!(about_change);
                    assert_eq!(
                        [0, 1, 2, 3].map(|offset| receipt.reason(offset)),
                        [None, Some(Reason::Balance), None, Some(Reason::Balance)]
                    );
                    assert_eq!(receipt.lamport, 4);
                }
                Fact::Account(key, account) => {
                    assert!(!about_change);
                    assert_eq!((key, account.balance, account.frozen), (keypair(3).author(), 100, None));
                }
            }
            assert_eq!(read.verify(GroupId([0; 32])), Err(ProofError::Group));
        }
        assert_eq!(group.chain().height(), Height(4));
        // An earlier block proves what it covers, by what the tree was then.
        let first = group.replica().id(bft_json_crdt::causality::ChangeIdx(0));
        for height in 1..=4 {
            let proof = group.prove_change_at(&first, Height(height)).unwrap();
            assert_eq!((proof.block.height, proof.state.changes), (Height(height), height));
            assert!(matches!(proof.verify(group.id()), Ok(Fact::Change(receipt)) if receipt.id == first));
        }
        let last = group.replica().id(bft_json_crdt::causality::ChangeIdx(3));
        assert_eq!(group.prove_change_at(&last, Height(3)), None);
        assert_eq!(group.prove_change_at(&last, Height(5)), None);
        let (chain, replica) = group.parts();
        assert_eq!(chain.prove_change(replica, &ChangeId([0; 32])), None);
        assert_eq!(chain.prove_account(&keypair(9).author()), None);
    }

    #[test]
    fn the_golden_proofs_keep_their_bytes() {
        let (_, change, account) = proofs();
        let lines = [change, account].map(|proof| hex::encode(proof.encode().unwrap()) + "\n").concat();
        assert_eq!(lines, include_str!("../tests/golden/proofs.hex"));
    }

    #[test]
    fn no_changed_byte_of_a_proof_proves_anything_else() {
        let (group, change, account) = proofs();
        for good in [change, account] {
            let bytes = good.encode().unwrap();
            let fact = good.verify(group.id()).unwrap();
            let mut refused = 0;
            for at in 0..bytes.len() {
                assert!(Proof::decode(&bytes[..at]).is_err());
                for flip in [1u8, 0x10, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= flip;
                    let Ok(proof) = Proof::decode(&changed) else { continue };
                    assert_eq!(proof.encode().unwrap(), changed, "a second encoding passed");
                    match proof.verify(group.id()) {
                        Err(_) => refused += 1,
                        // A block with another parent, say, is another block: what it is worth its signature tells. The state in it is the same.
                        Ok(other) => {
                            assert_eq!(other, fact);
                            assert_ne!(proof.block.id(), good.block.id());
                        }
                    }
                }
            }
            assert!(refused > bytes.len());
        }
    }

    #[test]
    fn hostile_numbers_in_a_proof_are_refused_without_panic() {
        let (group, change, account) = proofs();
        let numbers = [0, 1, 4, (1 << 53) - 1, 1 << 53, (1 << 63) - 1, 1 << 63, u64::MAX];
        for good in [change, account] {
            for leaves in numbers {
                for index in numbers {
                    for length in [0, 1, MAX_PATH, MAX_PATH + 1, 1000] {
                        let mut proof = Proof { index, path: vec![[1; 32]; length], ..good.clone() };
                        (proof.state.changes, proof.state.accounts) = (leaves, leaves);
                        // The attacker has a block of its own that says so.
                        proof.block.state_root = proof.state.root();
                        assert!(proof.verify(group.id()).is_err());
                        let bytes = proof.encode().unwrap();
                        assert!(Proof::decode(&bytes).is_ok_and(|read| read == proof) == (length <= MAX_PATH));
                    }
                }
            }
            // The leaf of one tree proves nothing about the other.
            let mut crossed = good.clone();
            std::mem::swap(&mut crossed.state.changes_root, &mut crossed.state.accounts_root);
            std::mem::swap(&mut crossed.state.changes, &mut crossed.state.accounts);
            assert_eq!(crossed.verify(group.id()), Err(ProofError::State));
            crossed.block.state_root = crossed.state.root();
            assert_eq!(crossed.verify(group.id()), Err(ProofError::Path));
        }
    }
}
