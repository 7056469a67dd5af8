//! Authors who fork their own chain (docs/protocol.md, section 7).
//!
//! Both branches are ordinary changes and merge as such, so nothing depends on who saw which branch first. What a proof changes is only whose word
//! brings a change in: that of an unproven author who depends on it. In the end every replica holds the proven author's changes that some
//! change of an unproven author depends on, and no others:
//! - what arrives after the proof is held back until such a change is ready to be applied ([`super::ingest`]);
//! - what was applied before the proof, a writer acknowledges by a change of its own;
//! - and a reader takes it out again, which costs one replay of the history for a proof (and for the first invalid change of an author that had taken
//!   held-back ones along: everything that descends from that one is invalid as well, and a second such change would fork its chain).

use std::collections::VecDeque;

use super::ingest::Progress;
use super::pending::{Entry, Shelf, Vouching};
use super::{Outcome, Replica};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{Change, ChangeId, Header};
use crate::dag::Dag;
use crate::document::Document;
use crate::evidence::{EquivocationProof, MAX_CHAIN, SignedChain};
use crate::history;
use crate::identity::{AuthorId, Signature};

/// Authors of whom the first invalid change is kept as evidence.
const MAX_PINNED: usize = 1024;

/// The chain that shows that a change's author signed it.
fn signed_chain(header: &Header, own: Signature, vouching: Option<&Vouching>) -> Option<SignedChain> {
    let mut headers = vec![header.clone()];
    let mut signature = own;
    if let Some(vouching) = vouching {
        headers.extend_from_slice(&vouching.chain.headers[vouching.skip..]);
        signature = vouching.chain.signature;
    }
    (headers.len() <= MAX_CHAIN).then_some(SignedChain { headers, signature })
}

impl Replica {
    /// Whether an author is proven to have forked its own chain.
    pub fn is_proven(&self, author: &AuthorId) -> bool {
        self.proofs.contains_key(author)
    }

    /// The proofs held, one for each proven author.
    pub fn proofs(&self) -> impl Iterator<Item = &EquivocationProof> {
        self.proofs.values()
    }

    /// How many authors are proven to have forked their chains.
    pub fn proof_count(&self) -> usize {
        self.proofs.len()
    }

    /// Takes a proof from a peer or the store. `None` if the proof is not good (the sender is to blame); an outcome without news if
    /// one against that author is known already (this one is not checked then) or no quota has room.
    pub fn apply_proof(&mut self, proof: EquivocationProof) -> Option<Outcome> {
        let about = proof.a.headers.first().filter(|header| header.document == self.id);
        if about.is_some_and(|header| self.is_proven(&header.author)) {
            // One is enough, so that a peer that sends it again and again costs nothing.
            return Some(Outcome::default());
        }
        proof.verify().ok()?;
        if proof.document() != self.id {
            return None;
        }
        let author = proof.author();
        let mut progress = Progress::default();
        if !self.is_proven(&author) {
            let stranger = self.dag.leaves(&author).next().is_none();
            let strangers = || self.proofs.keys().filter(|author| self.dag.leaves(author).next().is_none()).count();
            if !stranger || strangers() < self.limits.foreign_proofs {
                self.convict(proof, &mut progress);
            }
        }
        Some(self.finish(progress))
    }

    /// Whether a head belongs to a proven equivocator and this replica may write: it then owes the others an [acknowledgement](Self::acknowledge),
    /// or an ordinary change.
    pub fn needs_acknowledgement(&self) -> bool {
        self.may_write() && self.shows_unacknowledged()
    }

    fn may_write(&self) -> bool {
        self.writer.is_some_and(|author| !self.is_proven(&author))
    }

    /// Whether some change of a proven author has no unproven descendant. Then the last ones above it are heads.
    fn shows_unacknowledged(&self) -> bool {
        !self.proofs.is_empty() && self.dag.heads().any(|(_, index)| self.is_proven(&self.dag.author(index)))
    }

    /// Compares an authenticated change, and the headers that vouch for it, with what is known of its author.
    pub(super) fn detect(&mut self, change: &Change, vouching: Option<&Vouching>, progress: &mut Progress) {
        let header = change.header();
        if self.is_proven(&header.author) {
            return;
        }
        if let Some(rival) = self.rival(header.author, header.seq, &change.id())
            && let Some(chain) = signed_chain(header, change.signature(), vouching)
        {
            return self.show(rival, chain, progress);
        }
        let Some(vouching) = vouching else { return };
        for (skip, header) in vouching.chain.headers.iter().enumerate().skip(vouching.skip) {
            if let Some(rival) = self.rival(header.author, header.seq, &header.id()) {
                let chain = Vouching { chain: vouching.chain.clone(), skip }.voucher().0;
                return self.show(rival, chain, progress);
            }
        }
    }

    /// Another authenticated change of this author with this seq, as a signed chain.
    fn rival(&self, author: AuthorId, seq: u64, id: &ChangeId) -> Option<SignedChain> {
        // An author without a proof has one branch, so that this finds the one change with this seq.
        if let Some(index) = self.dag.at_seq(&author, seq)
            && self.dag.id(index) != *id
        {
            let vouching = self.vouchers.get(&self.dag.id(index));
            return signed_chain(&self.dag.header(index), self.dag.signature(index), vouching);
        }
        if let Some(entry) = self.aside.rival(author, seq, id) {
            return signed_chain(entry.change.header(), entry.change.signature(), entry.vouching.as_ref());
        }
        let pinned = self.pinned.get(&author)?;
        let header = pinned.headers.first()?;
        (header.seq == seq && header.id() != *id).then(|| pinned.clone())
    }

    /// Keeps the first invalid change of an author as evidence: another one with the same seq forks the chain.
    pub(super) fn pin(&mut self, change: &Change, vouching: Option<&Vouching>) {
        if self.pinned.len() < MAX_PINNED
            && !self.pinned.contains_key(&change.author())
            && let Some(chain) = signed_chain(change.header(), change.signature(), vouching)
        {
            self.pinned.insert(change.author(), chain);
        }
    }

    fn show(&mut self, one: SignedChain, other: SignedChain, progress: &mut Progress) {
        // Signatures of changes loaded from the store were not all checked; a proof that others would refuse is none.
        match EquivocationProof::new(one, other) {
            Ok(proof) if proof.verify().is_ok() => self.convict(proof, progress),
            _ => {}
        }
    }

    fn convict(&mut self, proof: EquivocationProof, progress: &mut Progress) {
        let author = proof.author();
        self.aside.hold_back(&author);
        self.pinned.remove(&author);
        self.proofs.insert(author, proof.clone());
        progress.outcome.proofs.push(proof);
    }

    /// A reader takes out what it shows of proven authors without an unproven descendant.
    pub(super) fn settle(&mut self, progress: &mut Progress) {
        if self.may_write() || !self.shows_unacknowledged() {
            return;
        }
        let count = self.dag.len();
        let mut kept = vec![false; count];
        for number in (0..count).rev() {
            let index = ChangeIdx(number as u32);
            // What is compacted lies below a frontier that is final, and cannot be put aside any more.
            kept[number] |= !self.is_proven(&self.dag.author(index)) || self.dag.is_compacted(index);
            if kept[number] {
                for parent in self.dag.parents(index) {
                    kept[parent.0 as usize] = true;
                }
            }
        }
        let applied: Vec<ChangeId> = progress.outcome.applied.iter().map(|index| self.dag.id(*index)).collect();
        let old = std::mem::take(&mut self.dag);
        self.document = Document::new();
        let mut taken_out = VecDeque::new();
        for (number, keep) in kept.into_iter().enumerate() {
            let index = ChangeIdx(number as u32);
            if keep {
                self.replay(&old, index);
            } else {
                taken_out.push_back(old.change(index));
            }
        }
        self.refresh_floor();
        self.generation += 1;
        self.heads_digest = std::sync::OnceLock::new();
        progress.outcome.rebuilt = true;
        progress.outcome.events.clear();
        progress.outcome.applied = applied.iter().filter_map(|id| self.dag.lookup(id)).collect();
        for change in taken_out {
            let vouching = self.vouchers.remove(&change.id());
            let shelf = Shelf::HeldBack;
            let key =
                self.aside.insert(Entry { change, vouching, shelf, foreign: false, available: false, unresolved: 0 });
            progress.push_ready(key);
        }
        self.run(progress);
        if self.unchecked > 0 {
            // They have other numbers now, and some may stand at the end.
            self.unchecked = self.len() as u32;
        }
    }

    /// Applies a change of an earlier graph, after those that it names.
    fn replay(&mut self, old: &Dag, index: ChangeIdx) {
        const PROOF: &str = "the change was applied before, and its verdict depends on its past alone";
        let record = old.record(index);
        let ops = history::operations(&record);
        let here = |theirs: ChangeIdx| self.dag.lookup(&old.id(theirs)).expect(PROOF);
        let (previous, deps): (_, Vec<_>) = (old.previous(index).map(here), record.deps().map(here).collect());
        let id = old.id(index);
        let here = self.dag.stage(old.author(index), id, previous, deps);
        self.document.apply(&self.dag, here, &ops, None).expect(PROOF);
        self.dag.commit_parts(self.id, id, record.time_ms, record.content(), &(&record).into());
    }

    /// Stages a change whose parents are applied; `None` if one is not.
    pub(super) fn stage(&mut self, change: &Change) -> Option<ChangeIdx> {
        let (previous, deps) = self.parents(change)?;
        Some(self.dag.stage(change.author(), change.id(), previous, deps))
    }

    /// Makes the document anew from the graph.
    pub(super) fn replay_all(&mut self) {
        let old: Dag = std::mem::take(&mut self.dag);
        self.document = Document::new();
        for number in 0..old.len() {
            self.replay(&old, ChangeIdx(number as u32));
        }
    }
}
