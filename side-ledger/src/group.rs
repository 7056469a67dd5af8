//! One group as one member holds it: genesis, replica, ledger and chain, kept in step.
//!
//! Whatever changes the group is returned, to be stored and then sent by the caller; nothing here writes to a disk or a peer.
//!
//! Admission: in an open group everybody's changes are taken. In a closed one the members', and whatever an admitted change waits for: a stranger's
//! change that comes alone is not admitted, and comes again once somebody needs it.

use std::collections::{HashMap, HashSet, VecDeque};

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::document::{ContainerIdx, Event, NewElement, TxError};
use bft_json_crdt::evidence::EquivocationProof;
use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::replica::{
    Audit, AuditReport, Findings, Incoming, LoadError, Outcome, Replica, TransactError, Verdict,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::block::{Block, BlockId, Height};
use crate::chain::{Chain, Fault, Sealed, Settled, Switch};
use crate::genesis::{Admission, Genesis, GroupId};
use crate::ledger::{Entry, Ledger, Position};
use crate::names::Name;
use crate::proof::Proof;
use crate::receipt::Status;
use crate::snapshot::Manifest;
use crate::transaction::{MAX_TRANSACTIONS, TRANSACTIONS_KEY, Transaction, TransactionError};

/// Most ids that are remembered as wanted by an admitted change. A forgotten one is wanted again when the next change waits for it.
const MAX_WANTED: usize = 16_384;

/// Which changes a group takes in. Stores and relays ask alike.
#[derive(Debug, Clone)]
pub struct Admitter {
    genesis: Genesis,
    /// Members that were taken in by vote.
    members: HashSet<AuthorId>,
    wanted: HashSet<ChangeId>,
    oldest: VecDeque<ChangeId>,
}

impl Admitter {
    /// The rule of the group of `genesis`.
    pub fn new(genesis: Genesis) -> Self {
        Self { genesis, members: HashSet::new(), wanted: HashSet::new(), oldest: VecDeque::new() }
    }

    /// Whether this change of this author may be taken in.
    pub fn admits(&self, author: &AuthorId, id: &ChangeId) -> bool {
        match self.genesis.spec().admission {
            Admission::Open => true,
            Admission::Closed => self.is_member(author) || self.wanted.contains(id),
        }
    }

    /// Whether whatever this key signs is taken in: it was a member once.
    pub fn is_member(&self, author: &AuthorId) -> bool {
        self.genesis.is_founder(author) || self.members.contains(author)
    }

    /// This key became a member.
    pub fn admit(&mut self, author: AuthorId) {
        self.members.insert(author);
    }

    /// An admitted change waits for these: they are admitted as well, whoever wrote them. At most `MAX_WANTED` are remembered.
    pub fn want(&mut self, ids: &[ChangeId]) {
        if self.genesis.spec().admission == Admission::Open {
            return;
        }
        for id in ids {
            if self.wanted.insert(*id) {
                self.oldest.push_back(*id);
            }
        }
        while self.oldest.len() > MAX_WANTED {
            let Some(oldest) = self.oldest.pop_front() else { return };
            self.wanted.remove(&oldest);
        }
    }
}

/// Why something could not be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GroupError {
    /// The transaction is not proper.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The replica refuses to write.
    #[error(transparent)]
    Replica(#[from] TransactError),
    /// A closed group would not take changes of this key.
    #[error("the group {0} is closed and this key is not one of its members")]
    NotAdmitted(GroupId),
}

/// What came of a change that a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The replica judged it.
    Judged(Verdict),
    /// The group is closed and nobody in it depends on this change so far. Nothing is remembered about it.
    NotAdmitted,
}

/// What came of handing changes to a group.
#[derive(Debug, Default)]
pub struct Merged {
    /// One for each change, in the order given.
    pub taken: Vec<(ChangeId, Taken)>,
    /// What became of changes that had waited.
    pub settled: Vec<(ChangeId, Verdict)>,
    /// What was applied, in causal order: to be stored, then passed on. Void where [`Merged::rebuilt`]: then store [`Replica::log`] anew.
    pub applied: Vec<ChangeIdx>,
    /// What happened to the document.
    pub events: Vec<Event>,
    /// New proofs of equivocation: to be stored, then passed on.
    pub proofs: Vec<EquivocationProof>,
    /// Places of new entries of the history.
    pub entries: Vec<Position>,
    /// Whether the replica took changes out again, so that everything was rebuilt.
    pub rebuilt: bool,
    /// Blocks that no longer stand after that, lowest first: they cover what was taken out, and can be accepted again once it is back.
    pub unsealed: Vec<Sealed>,
}

/// A local change: store it, then send it.
#[derive(Debug)]
pub struct Written {
    /// The change.
    pub change: Change,
    /// The places of its transactions in the history.
    pub entries: Vec<Position>,
    /// What happened to the document.
    pub events: Vec<Event>,
}

/// A group at a glance, as it is printed as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The group's id (hexadecimal).
    pub group: String,
    /// Its name.
    pub name: Name,
    /// Whether it is open or closed.
    pub admission: String,
    /// How many authors have written.
    pub members: usize,
    /// How many changes are applied.
    pub changes: usize,
    /// How many entries the history has.
    pub entries: usize,
    /// How many changes wait for others.
    pub waiting: usize,
    /// The proven equivocators (hexadecimal).
    pub equivocators: Vec<String>,
    /// The heads (hexadecimal), ascending.
    pub heads: Vec<String>,
    /// Names the set of changes (hexadecimal).
    pub heads_digest: String,
    /// A hash over the ordered ids and the document (hexadecimal). Costs a walk over everything.
    pub digest: String,
}

/// One group as one member holds it.
pub struct Group {
    genesis: Genesis,
    replica: Replica,
    ledger: Ledger,
    chain: Chain,
    admitter: Admitter,
}

impl Group {
    /// An empty group that `writer` may write to (or nobody: a reader).
    pub fn open(genesis: Genesis, writer: Option<AuthorId>, limits: bft_json_crdt::replica::Limits) -> Self {
        let mut replica = Replica::new(genesis.id().document(), limits);
        replica.set_writer(writer);
        let ledger = Ledger::new(&genesis.spec().limits, genesis.rules());
        let chain = Chain::new(&genesis);
        Self { admitter: Admitter::new(genesis.clone()), genesis, replica, ledger, chain }
    }

    /// Loads changes from one's own store, in the order in which they were stored, piece by piece; before anything else is applied.
    pub fn load(&mut self, stored: Vec<Incoming>) -> Result<Merged, LoadError> {
        let outcome = self.replica.load(stored)?;
        let mut merged = Merged::default();
        self.absorb(outcome, &mut merged);
        Ok(merged)
    }

    /// The signatures that loading left unchecked, if there are any: to be checked elsewhere. See [`Replica::audit`].
    pub fn audit(&self) -> Option<Audit> {
        self.replica.needs_audit().then(|| self.replica.audit())
    }

    /// Takes in what an audit found. Changes that are vouched for since are to be stored anew with their vouchers. See [`Replica::take_audit`].
    pub fn take_audit(&mut self, findings: &Findings) -> AuditReport {
        self.replica.take_audit(findings)
    }

    /// Takes in what a peer sent.
    pub fn apply_batch(&mut self, batch: Vec<Incoming>) -> Merged {
        let mut merged = Merged::default();
        let (mut admitted, mut refused) = (Vec::new(), HashMap::new());
        for (place, incoming) in batch.into_iter().enumerate() {
            let id = incoming.change.id();
            merged.taken.push((id, Taken::NotAdmitted));
            if self.admitter.admits(&incoming.change.author(), &id) {
                admitted.push((place, incoming));
            } else {
                refused.insert(id, (place, incoming));
            }
        }
        // What an authenticated change waits for may stand in the same batch, mostly before it: each round takes in what the round before waits for.
        while !admitted.is_empty() {
            let (places, changes): (Vec<usize>, Vec<Incoming>) = std::mem::take(&mut admitted).into_iter().unzip();
            let mut outcome = self.replica.apply_batch(changes);
            for (place, (_, verdict)) in places.into_iter().zip(std::mem::take(&mut outcome.verdicts)) {
                if let Verdict::Waiting { missing } = &verdict {
                    self.admitter.want(missing);
                    admitted.extend(missing.iter().filter_map(|id| refused.remove(id)));
                }
                merged.taken[place].1 = Taken::Judged(verdict);
            }
            self.absorb(outcome, &mut merged);
        }
        merged
    }

    /// Takes in a proof of equivocation. `None` if it is not good: the sender is to blame.
    pub fn apply_proof(&mut self, proof: EquivocationProof) -> Option<Merged> {
        let outcome = self.replica.apply_proof(proof)?;
        let mut merged = Merged::default();
        self.absorb(outcome, &mut merged);
        Some(merged)
    }

    /// Writes a note.
    pub fn note(&mut self, text: &str, keypair: &Keypair, now_ms: u64) -> Result<Written, GroupError> {
        let transaction = Transaction::note(text, self.genesis.spec().limits.note_bytes)?;
        self.write(&[transaction], keypair, now_ms)
    }

    /// Claims a name for `keypair`'s author.
    pub fn claim_name(&mut self, name: &Name, keypair: &Keypair, now_ms: u64) -> Result<Written, GroupError> {
        self.write(&[Transaction::name(name)], keypair, now_ms)
    }

    /// Writes transactions in one change, all or none.
    pub fn write(
        &mut self,
        transactions: &[Transaction],
        keypair: &Keypair,
        now_ms: u64,
    ) -> Result<Written, GroupError> {
        if transactions.len() > MAX_TRANSACTIONS {
            return Err(TransactionError::TooMany.into());
        }
        if self.genesis.spec().admission == Admission::Closed && !self.admitter.is_member(&keypair.author()) {
            return Err(GroupError::NotAdmitted(self.genesis.id()));
        }
        let (change, result, events) = self.replica.transact(keypair, now_ms, |tx| -> Result<(), TxError> {
            let list = tx.child(ContainerIdx::ROOT, TRANSACTIONS_KEY, Kind::List)?;
            for transaction in transactions {
                tx.insert_in_order(list, NewElement::Value(transaction.to_value()))?;
            }
            Ok(())
        })?;
        result.map_err(TransactError::from)?;
        let entries = match self.replica.index_of(&change.id()) {
            Some(index) => self.absorb_one(index),
            None => Vec::new(),
        };
        Ok(Written { change, entries, events })
    }

    /// Names all heads with empty changes, where there are more than one change can name or a proof asks for it.
    pub fn acknowledge(&mut self, keypair: &Keypair, now_ms: u64) -> Result<Vec<Change>, GroupError> {
        let changes = self.replica.acknowledge(keypair, now_ms)?;
        for change in &changes {
            if let Some(index) = self.replica.index_of(&change.id()) {
                self.absorb_one(index);
            }
        }
        Ok(changes)
    }

    /// Makes the next block from what is pending and extends the chain by it. See [`Chain::seal`]. [`Fault::Nothing`] if nothing is new and no
    /// epoch begins.
    pub fn seal(&mut self, now_ms: u64, switch: Option<&Switch>) -> Result<Block, Fault> {
        let plan = self.chain.plan(&self.replica);
        let block = self.chain.seal(&self.replica, &self.ledger, plan, now_ms, switch)?;
        self.after_block();
        Ok(block)
    }

    /// Extends the chain by a block if that is good. See [`Chain::accept`].
    pub fn accept(&mut self, block: &Block, switch: Option<&Switch>) -> Result<BlockId, Fault> {
        let id = self.chain.accept(&self.replica, &self.ledger, block, switch)?;
        self.after_block();
        Ok(id)
    }

    /// Takes the last block back. See [`Chain::undo`].
    pub fn undo(&mut self) -> Result<Option<Sealed>, Settled> {
        let rotated = self.chain.rotated_by_tip();
        let undone = self.chain.undo(&self.replica)?;
        rotated.iter().for_each(|(old, _)| self.ledger.rotate_back(old));
        Ok(undone)
    }

    /// Forgets how to undo the blocks up to this height.
    pub fn settle(&mut self, height: Height) {
        self.chain.settle(height);
    }

    /// The blocks and the state after them.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The state root after the last block.
    pub fn state_root(&mut self) -> [u8; 32] {
        self.chain.state_root()
    }

    /// Proves by the block at a height what became of a change. See [`Chain::prove_change_at`].
    pub fn prove_change_at(&mut self, id: &ChangeId, height: Height) -> Option<Proof> {
        self.chain.prove_change_at(&self.replica, id, height)
    }

    /// The pieces of the state after the block at a height. See [`Chain::manifest_at`].
    pub fn manifest_at(&mut self, height: Height) -> Option<Manifest> {
        self.chain.manifest_at(height)
    }

    /// Holds the chain to its invariants. Costs a walk over everything.
    pub fn debug_check(&mut self) {
        self.chain.debug_check(&self.replica);
    }

    /// Where a transaction stands.
    pub fn status(&self, position: &Position) -> Option<Status> {
        self.chain.status(&self.replica, position)
    }

    /// What the group is founded on.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.genesis.id()
    }

    /// The replica, for sync.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The history and the names.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The history after a place, from the beginning without one. See [`Ledger::after`].
    pub fn history(&self, after: Option<&Position>) -> impl Iterator<Item = Entry> + '_ {
        self.ledger.after(after)
    }

    /// Whether this change of this author may be taken in.
    pub fn admits(&self, author: &AuthorId, id: &ChangeId) -> bool {
        self.admitter.admits(author, id)
    }

    /// The group at a glance. Costs a walk over everything, for the digest.
    pub fn summary(&self) -> Summary {
        let replica = &self.replica;
        Summary {
            group: self.id().to_string(),
            name: self.genesis.name().clone(),
            admission: match self.genesis.spec().admission {
                Admission::Open => "open".into(),
                Admission::Closed => "closed".into(),
            },
            members: replica.authors().count(),
            changes: replica.len(),
            entries: self.ledger.len(),
            waiting: replica.kept_aside()[0].0,
            equivocators: replica.proofs().map(|proof| proof.author().to_string()).collect(),
            heads: replica.heads().iter().map(ChangeId::to_string).collect(),
            heads_digest: hex::encode(replica.heads_digest()),
            digest: hex::encode(replica.digest()),
        }
    }

    #[cfg(test)]
    pub(crate) fn parts(&mut self) -> (&mut Chain, &Replica) {
        (&mut self.chain, &self.replica)
    }

    /// Whoever the last block made a member is admitted from now on, also if the block is undone: it is asked for nothing that it did not have. Names follow rotated keys.
    fn after_block(&mut self) {
        for (old, new) in self.chain.rotated_by_tip() {
            self.ledger.rotate(old, new);
        }
        if self.genesis.spec().admission == Admission::Closed {
            self.chain.new_members().into_iter().for_each(|key| self.admitter.admit(key));
        }
    }

    fn absorb(&mut self, outcome: Outcome, merged: &mut Merged) {
        for proof in &outcome.proofs {
            self.ledger.flag_equivocator(proof.author());
        }
        for (_, verdict) in &outcome.settled {
            if let Verdict::Waiting { missing } = verdict {
                self.admitter.want(missing);
            }
        }
        if outcome.rebuilt {
            // Numbers handed out before are void, and entries may be gone.
            (merged.rebuilt, merged.applied, merged.entries) = (true, Vec::new(), Vec::new());
            self.ledger = Ledger::new(&self.genesis.spec().limits, self.genesis.rules());
            for proof in self.replica.proofs() {
                self.ledger.flag_equivocator(proof.author());
            }
            for number in 0..self.replica.len() as u32 {
                self.absorb_one(ChangeIdx(number));
            }
            merged.unsealed.extend(self.chain.rebuild(&self.genesis, &self.replica, &self.ledger));
            for (old, account) in self.chain.accounts().iter() {
                if let Some(new) = account.successor() {
                    self.ledger.rotate(*old, new);
                }
            }
        } else {
            for index in &outcome.applied {
                let entries = self.absorb_one(*index);
                merged.entries.extend(entries);
            }
        }
        merged.settled.extend(outcome.settled);
        merged.applied.extend(outcome.applied);
        merged.events.extend(outcome.events);
        merged.proofs.extend(outcome.proofs);
    }

    fn absorb_one(&mut self, index: ChangeIdx) -> Vec<Position> {
        self.chain.note(&self.replica, index);
        let change = self.replica.change(index);
        // Only what can be decoded is applied.
        match Ops::decode(change.header().version, change.ops()) {
            Ok(ops) => self.ledger.absorb(self.replica.lamport(index), &change, &ops),
            Err(_) => Vec::new(),
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({:?}, {} changes)", self.genesis, self.replica.len())
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
