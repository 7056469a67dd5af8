//! From what arrives to what is applied: authentication in batches, then the verdicts of docs/protocol.md, section 5, in their order.
//!
//! A change that cannot be applied at once is kept aside and counts its unresolved parents; what resolves a parent wakes those who wait for it. All of it runs
//! on a queue, never by recursion. A parent is *resolved* when it is applied, not understood, or *available*: held back, but applicable. So a change of an
//! unproven author that depends on held-back ones becomes ready when all of them are here, and only then takes them along.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::pending::{Entry, Key, Shelf, Vouching};
use super::{Incoming, Invalid, Known, MAX_MISSING, Malformed, Outcome, Replica, Verdict};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{Change, ChangeId};
use crate::dag::MAX_CHANGES;
use crate::evidence::{MAX_CHAIN, SignedChain};
use crate::ops::{Decoder, OpsError};
use crate::verify::{Claim, verify_changes};

/// How a new change is authenticated.
#[derive(Clone)]
enum Standing {
    /// Not at all.
    None,
    /// By its own signature.
    Own,
    /// By a voucher.
    Vouched(Vouching),
}

/// What one call has done so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) outcome: Outcome,
    ready: VecDeque<Key>,
    /// The operations of the change that is being judged.
    pub(super) decoder: Decoder,
}

impl Progress {
    pub(super) fn push_ready(&mut self, key: Key) {
        self.ready.push_back(key);
    }
}

enum Parent {
    Applied,
    /// Held back, but applicable.
    Available(Key),
    Unsupported,
    Invalid,
    /// Not here, or itself waiting.
    Open,
}

impl Replica {
    pub(super) fn ingest(&mut self, batch: Vec<Incoming>) -> Outcome {
        let mut progress = Progress::default();
        let mut told = HashSet::new();
        let mut judged: Vec<Option<Verdict>> =
            batch.iter().map(|incoming| self.look(&incoming.change, &mut told)).collect();
        // Where each signature is good, as mostly, nobody needs to be vouched for.
        let standings = self.authenticate(&batch, &mut judged);
        progress.outcome.verdicts.reserve(batch.len());
        for (number, (incoming, judged)) in batch.into_iter().zip(judged).enumerate() {
            let id = incoming.change.id();
            let standing = standings.as_ref().map_or(&Standing::Own, |standings| &standings[number]);
            let verdict = match (judged, standing) {
                (Some(verdict), _) => verdict,
                (None, Standing::None) => Verdict::Unauthenticated,
                (None, Standing::Own) => self.take(incoming.change, None, &mut progress),
                (None, Standing::Vouched(vouching)) => {
                    self.take(incoming.change, Some(vouching.clone()), &mut progress)
                }
            };
            progress.outcome.verdicts.push((id, verdict));
        }
        self.finish(progress)
    }

    /// Judges an authenticated change that was not known when its batch came.
    fn take(&mut self, change: Change, vouching: Option<Vouching>, progress: &mut Progress) -> Verdict {
        // A copy earlier in the batch may have settled it.
        if let Some(verdict) = self.known_verdict(&change.id()) {
            return verdict;
        }
        match progress.decoder.decode(change.header().version, change.ops()) {
            Ok(()) => self.admit(change, vouching, false, progress),
            Err(OpsError::Unsupported(_)) => self.admit(change, vouching, true, progress),
            Err(OpsError::Malformed(fault)) => Verdict::Malformed(Malformed::Ops(fault)),
        }
    }

    /// The end of every call that may have changed something.
    pub(super) fn finish(&mut self, mut progress: Progress) -> Outcome {
        self.settle(&mut progress);
        progress.outcome.evicted.extend(self.aside.evict());
        progress.outcome
    }

    /// The verdict that stands before anything is authenticated, but for the form of the operations. `told` are the waiting changes of which this call has said
    /// what they miss: finding that out costs a walk, and copies come cheap.
    fn look(&self, change: &Change, told: &mut HashSet<ChangeId>) -> Option<Verdict> {
        if change.header().document != self.id {
            return Some(Verdict::Malformed(Malformed::Document));
        }
        match self.knows(&change.id()) {
            Known::Unknown => None,
            Known::Waiting if !told.insert(change.id()) => Some(Verdict::Waiting { missing: Vec::new() }),
            _ => self.known_verdict(&change.id()),
        }
    }

    /// The verdict on a change that is known already, whatever signature the copy at hand carries.
    fn known_verdict(&self, id: &ChangeId) -> Option<Verdict> {
        Some(match self.knows(id) {
            Known::Applied(_) => Verdict::AlreadyKnown,
            Known::Invalid(reason) => Verdict::Invalid(reason),
            Known::Waiting => Verdict::Waiting { missing: self.missing_of(id) },
            Known::HeldBack => Verdict::HeldBack,
            Known::Unsupported => Verdict::Unsupported,
            Known::Unknown => return None,
        })
    }

    /// How each change of the batch without a verdict is authenticated; `None` if all of them by their own signatures. Malformed ones get their verdict here if any signature is not
    /// good, since they neither are vouched for nor vouch; else later, when they are decoded anyway.
    fn authenticate(&self, batch: &[Incoming], judged: &mut [Option<Verdict>]) -> Option<Vec<Standing>> {
        let ids: Vec<ChangeId> = batch.iter().map(|incoming| incoming.change.id()).collect();
        let new: Vec<usize> = (0..batch.len()).filter(|i| judged[*i].is_none()).collect();
        let claims: Vec<Claim<'_>> = new
            .iter()
            .map(|i| Claim {
                author: batch[*i].change.author(),
                message: ids[*i].as_bytes(),
                signature: batch[*i].change.signature(),
            })
            .collect();
        let good = verify_changes(&claims);
        if good.iter().all(|good| *good) {
            return None;
        }
        let mut standings = vec![Standing::None; batch.len()];
        let mut decoder = Decoder::default();
        let mut failed = false;
        for (i, good) in new.iter().zip(good) {
            let incoming = &batch[*i];
            let change = &incoming.change;
            if let Err(OpsError::Malformed(fault)) = decoder.decode(change.header().version, change.ops()) {
                judged[*i] = Some(Verdict::Malformed(Malformed::Ops(fault)));
                continue;
            }
            if good {
                standings[*i] = Standing::Own;
                continue;
            }
            match &incoming.voucher {
                Some(voucher) if voucher.0.headers.len() < MAX_CHAIN && voucher.verify(change).is_ok() => {
                    let vouching = Vouching { chain: Arc::new(voucher.0.clone()), skip: 0 };
                    standings[*i] = Standing::Vouched(vouching);
                }
                _ => failed = true,
            }
        }
        if failed {
            self.vouch_within(batch, &ids, judged, &mut standings);
        }
        Some(standings)
    }

    /// Finds those without a good signature that a good one in the same batch vouches for, at most [`MAX_CHAIN`] − 1 steps along `previous`.
    /// All walks together visit each change once: paths back from two tips that meet go on as one, from the nearer tip.
    fn vouch_within(
        &self,
        batch: &[Incoming],
        ids: &[ChangeId],
        judged: &[Option<Verdict>],
        standings: &mut [Standing],
    ) {
        let positions: HashMap<ChangeId, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        // Paths from each tip back to where it walks: (tip, what stands before it, nearest first).
        let mut paths: Vec<(usize, Vec<usize>)> = Vec::new();
        for (i, incoming) in batch.iter().enumerate() {
            let waits_here = match self.aside.by_id(&ids[i]) {
                // The copy at hand must carry the signature that was good.
                Some(entry) => entry.vouching.is_none() && entry.change.signature() == incoming.change.signature(),
                None => false,
            };
            if matches!(standings[i], Standing::Own) || waits_here {
                paths.push((i, Vec::new()));
            }
        }
        let mut reached: HashSet<usize> = paths.iter().map(|(tip, _)| *tip).collect();
        let mut walking: VecDeque<usize> = (0..paths.len()).collect();
        while let Some(p) = walking.pop_front() {
            let (tip, path) = &mut paths[p];
            let last = &batch[*path.last().unwrap_or(tip)].change;
            let Some(before) = last.header().previous.and_then(|id| positions.get(&id).copied()) else { continue };
            let (header, next) = (batch[before].change.header(), last.header());
            let follows =
                header.author == next.author && header.seq + 1 == next.seq && header.document == next.document;
            if follows && path.len() + 1 < MAX_CHAIN && reached.insert(before) {
                path.push(before);
                walking.push_back(p);
            }
        }
        for (tip, path) in paths.into_iter().filter(|(_, path)| !path.is_empty()) {
            // The farthest change itself is vouched for, not part of the chain.
            let chain: Vec<usize> = path.iter().rev().skip(1).copied().chain([tip]).collect();
            let chain = Arc::new(SignedChain {
                headers: chain.iter().map(|i| batch[*i].change.header().clone()).collect(),
                signature: batch[tip].change.signature(),
            });
            for (skip, i) in path.iter().rev().enumerate() {
                if matches!((&judged[*i], &standings[*i]), (None, Standing::None)) {
                    standings[*i] = Standing::Vouched(Vouching { chain: chain.clone(), skip });
                }
            }
        }
        // Further copies of a change in one batch share its fate.
        for i in 0..batch.len() {
            let first = positions[&ids[i]];
            if first != i && matches!((&judged[i], &standings[i]), (None, Standing::None)) {
                standings[i] = match &standings[first] {
                    Standing::Vouched(vouching) => Standing::Vouched(vouching.clone()),
                    _ => Standing::None,
                };
            }
        }
    }

    /// Judges an authenticated change that is not known, and all that it wakes. Its operations are decoded, unless they are `foreign` to this build.
    fn admit(&mut self, change: Change, vouching: Option<Vouching>, foreign: bool, progress: &mut Progress) -> Verdict {
        let id = change.id();
        self.detect(&change, vouching.as_ref(), progress);
        let held_back = self.is_proven(&change.author());
        if !held_back && !foreign {
            // The common case: everything it names is applied.
            if let Some((previous, deps)) = self.parents(&change) {
                if let Err(reason) = self.judge(&change, previous, &deps, vouching.as_ref(), progress) {
                    self.condemn(&change, vouching.as_ref(), reason, progress);
                    return Verdict::Invalid(reason);
                }
                self.wake(&id, progress);
                self.run(progress);
                return Verdict::Applied;
            }
        }
        let shelf = if held_back { Shelf::HeldBack } else { Shelf::Waiting };
        let key = self.aside.insert(Entry { change, vouching, shelf, foreign, available: false, unresolved: 0 });
        progress.ready.push_back(key);
        let before = progress.outcome.settled.len();
        self.run(progress);
        // What became of the newcomer itself is its verdict, not a later settlement.
        if let Some(at) = progress.outcome.settled[before..].iter().position(|(settled, _)| *settled == id) {
            return progress.outcome.settled.remove(before + at).1;
        }
        let evicted = self.aside.evict();
        progress.outcome.evicted.extend(evicted.into_iter().filter(|evicted| *evicted != id));
        match self.known_verdict(&id) {
            Some(Verdict::AlreadyKnown) => Verdict::Applied,
            Some(verdict) => verdict,
            None => Verdict::Dropped,
        }
    }

    /// Works off what has become ready.
    pub(super) fn run(&mut self, progress: &mut Progress) {
        while let Some(key) = progress.ready.pop_front() {
            self.judge_ready(key, progress);
        }
    }

    fn parent(&self, id: &ChangeId) -> Parent {
        if self.dag.lookup(id).is_some() {
            return Parent::Applied;
        }
        if let Some(key) = self.aside.key(id) {
            return match self.aside.entry(key) {
                Some(entry) if entry.shelf == Shelf::Unsupported => Parent::Unsupported,
                Some(entry) if entry.available => Parent::Available(key),
                _ => Parent::Open,
            };
        }
        if self.invalid.get(id).is_some() { Parent::Invalid } else { Parent::Open }
    }

    /// Judges an entry that seems to have all parents.
    fn judge_ready(&mut self, key: Key, progress: &mut Progress) {
        let Some(entry) = self.aside.entry(key) else { return };
        if entry.available || entry.shelf == Shelf::Unsupported {
            return;
        }
        // A cheap clone, so that the entry can be moved meanwhile.
        let change = entry.change.clone();
        let (id, header) = (change.id(), change.header());
        let (mut open, mut unsupported) = (0, entry.foreign);
        for parent in header.parents() {
            match self.parent(parent) {
                Parent::Applied | Parent::Available(_) => {}
                Parent::Unsupported => unsupported = true,
                // Whatever else is missing, this decides.
                Parent::Invalid => return self.condemn_entry(key, Invalid::Ancestor, progress),
                Parent::Open => open += 1,
            }
        }
        if open > 0 {
            if let Some(entry) = self.aside.entry_mut(key) {
                entry.unresolved = open;
            }
            return;
        }
        if header.previous.is_some_and(|previous| !self.follows(&previous, header)) {
            return self.condemn_entry(key, Invalid::Previous, progress);
        }
        if unsupported {
            self.aside.reshelve(key, Shelf::Unsupported);
            progress.outcome.settled.push((id, Verdict::Unsupported));
            return self.wake(&id, progress);
        }
        if self.is_proven(&header.author) {
            if let Some(entry) = self.aside.entry_mut(key) {
                entry.available = true;
            }
            return self.wake(&id, progress);
        }
        for key in self.closure(key) {
            let Some(entry) = self.aside.remove(key) else { break };
            let (change, vouching) = (&entry.change, entry.vouching.as_ref());
            let Some((previous, deps)) = self.parents(change) else {
                unreachable!("a closure stands in causal order, and ends with the first that cannot be applied")
            };
            let header = change.header();
            progress.decoder.decode(header.version, change.ops()).expect("only what was decoded once is kept aside");
            if let Err(reason) = self.judge(change, previous, &deps, vouching, progress) {
                progress.outcome.settled.push((change.id(), Verdict::Invalid(reason)));
                // Takes everything with it that depends on it, the entry for which the closure was made too.
                self.condemn(change, vouching, reason, progress);
                break;
            }
            self.wake(&change.id(), progress);
        }
    }

    /// An entry with all of its ancestors that are not applied, in causal order; empty if one of them was evicted (the entries between then count
    /// again what they wait for).
    fn closure(&mut self, top: Key) -> Vec<Key> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        // (entry, whether all its parents stand in the order already).
        let mut stack = vec![(top, false)];
        while let Some((key, ordered)) = stack.pop() {
            if ordered {
                order.push(key);
                continue;
            }
            // Marked when it is visited and not before: a parent that is also a grandparent must come before both.
            if !seen.insert(key) {
                continue;
            }
            stack.push((key, true));
            let Some(entry) = self.aside.entry(key) else { continue };
            for parent in entry.change.header().parents() {
                if let Parent::Available(parent) = self.parent(parent) {
                    stack.push((parent, false));
                }
            }
        }
        let mut whole = true;
        for key in &order {
            let Some(entry) = self.aside.entry(*key) else { continue };
            let resolved = |parent: &ChangeId| matches!(self.parent(parent), Parent::Applied | Parent::Available(_));
            let open = entry.change.header().parents().filter(|parent| !resolved(parent)).count() as u32;
            if open > 0 {
                whole = false;
                if let Some(entry) = self.aside.entry_mut(*key) {
                    entry.available = false;
                    entry.unresolved = open;
                }
            }
        }
        if whole { order } else { Vec::new() }
    }

    /// The numbers of `previous` and `deps`, if all of them are applied.
    pub(super) fn parents(&self, change: &Change) -> Option<(Option<ChangeIdx>, Vec<ChangeIdx>)> {
        let header = change.header();
        let previous = match &header.previous {
            Some(id) => Some(self.dag.lookup(id)?),
            None => None,
        };
        let deps = header.deps.iter().map(|id| self.dag.lookup(id)).collect::<Option<_>>()?;
        Some((previous, deps))
    }

    /// Whether `previous` names the author's change before.
    fn follows(&self, previous: &ChangeId, header: &crate::change::Header) -> bool {
        let (author, seq) = match self.dag.lookup(previous) {
            Some(index) => (self.dag.author(index), self.dag.seq(index)),
            None => match self.aside.by_id(previous) {
                Some(entry) => (entry.change.author(), entry.change.header().seq),
                None => return false,
            },
        };
        author == header.author && seq + 1 == header.seq
    }

    /// Judges a change whose parents are all applied and whose operations are decoded in `progress`, and applies it.
    pub(super) fn judge(
        &mut self,
        change: &Change,
        previous: Option<ChangeIdx>,
        deps: &[ChangeIdx],
        vouching: Option<&Vouching>,
        progress: &mut Progress,
    ) -> Result<(), Invalid> {
        let header = change.header();
        if previous
            .is_some_and(|index| self.dag.author(index) != header.author || self.dag.seq(index) + 1 != header.seq)
        {
            return Err(Invalid::Previous);
        }
        assert!(self.dag.len() < MAX_CHANGES, "memory ends long before the numbers do");
        let index = self.dag.stage(header.author, change.id(), previous, deps.iter().copied());
        let events = self.events.then_some(&mut progress.outcome.events);
        if let Err(reason) = self.document.apply(&self.dag, index, progress.decoder.ops(), events) {
            self.dag.discard();
            return Err(Invalid::Content(reason));
        }
        self.dag.commit(change);
        self.heads_digest = std::sync::OnceLock::new();
        if let Some(vouching) = vouching {
            self.vouchers.insert(change.id(), vouching.clone());
        }
        progress.outcome.applied.push(index);
        Ok(())
    }

    /// Wakes those who wait for a change that is resolved now.
    fn wake(&mut self, id: &ChangeId, progress: &mut Progress) {
        for key in self.aside.waiters(id) {
            let Some(entry) = self.aside.entry_mut(key) else { continue };
            entry.unresolved = entry.unresolved.saturating_sub(1);
            if entry.unresolved == 0 && !entry.available {
                progress.ready.push_back(key);
            }
        }
    }

    /// Remembers a change as invalid, and all that is kept aside and descends from it.
    fn condemn(&mut self, change: &Change, vouching: Option<&Vouching>, reason: Invalid, progress: &mut Progress) {
        self.invalid.insert(change.id(), reason);
        self.pin(change, vouching);
        let mut condemned = VecDeque::from([change.id()]);
        while let Some(id) = condemned.pop_front() {
            for key in self.aside.waiters(&id) {
                let Some(entry) = self.aside.remove(key) else { continue };
                let id = entry.change.id();
                self.invalid.insert(id, Invalid::Ancestor);
                self.pin(&entry.change, entry.vouching.as_ref());
                progress.outcome.settled.push((id, Verdict::Invalid(Invalid::Ancestor)));
                condemned.push_back(id);
            }
        }
    }

    fn condemn_entry(&mut self, key: Key, reason: Invalid, progress: &mut Progress) {
        let Some(entry) = self.aside.remove(key) else { return };
        progress.outcome.settled.push((entry.change.id(), Verdict::Invalid(reason)));
        self.condemn(&entry.change, entry.vouching.as_ref(), reason, progress);
    }

    /// What has to be fetched so that a waiting change can be applied: what it names, and what held-back changes that it depends on name.
    pub(super) fn missing_of(&self, id: &ChangeId) -> Vec<ChangeId> {
        let mut missing = Vec::new();
        self.collect_missing(*id, &mut HashSet::new(), &mut missing, MAX_MISSING);
        missing
    }

    pub(super) fn collect_missing(
        &self,
        from: ChangeId,
        seen: &mut HashSet<ChangeId>,
        missing: &mut Vec<ChangeId>,
        most: usize,
    ) {
        let mut stack = vec![from];
        while let Some(id) = stack.pop() {
            let Some(entry) = self.aside.by_id(&id) else { continue };
            for parent in entry.change.header().parents() {
                // A generous bound on the walk; what lies beyond is found when the nearer ones have come.
                if missing.len() >= most || seen.len() >= 16 * MAX_MISSING.max(most) {
                    return;
                }
                if !matches!(self.parent(parent), Parent::Open) || !seen.insert(*parent) {
                    continue;
                }
                match self.aside.by_id(parent) {
                    None => missing.push(*parent),
                    // One that waits itself has told what it misses.
                    Some(entry) if entry.shelf == Shelf::HeldBack => stack.push(*parent),
                    Some(_) => {}
                }
            }
        }
    }
}
