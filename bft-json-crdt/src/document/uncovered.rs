//! The uncovered operations by branch, for clears. On one branch operations arrive ascending by `seq`, and a clear covers a prefix of each branch,
//! so that what it covers stands first.
//!
//! Ensures and steps stand here always. What lists and texts insert, and what stands below maps, is kept only from the first clear on that
//! could reach it (the container is *indexed* then): it follows from the places' origins and from the containers themselves, and documents
//! that are never cleared need none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::ContainerIdx;
use crate::causality::BranchIdx;

/// The first and the last key of a container and branch in a tree of (container, branch, seq, further).
fn span(container: ContainerIdx, branch: BranchIdx) -> std::ops::RangeInclusive<(ContainerIdx, BranchIdx, u64, u32)> {
    (container, branch, 0, 0)..=(container, branch, u64::MAX, u32::MAX)
}

/// One table of each sort for the whole document: most containers have nothing in any.
#[derive(Debug, Clone, Default)]
pub(super) struct Uncovered {
    /// For each container and branch the latest ensure: what covers it covers the earlier ones too.
    ensures: BTreeMap<(ContainerIdx, BranchIdx), u64>,
    /// The steps of each counter, summed for each change: they are covered together or not at all by any later change, and a clear in the same
    /// change comes after all of them. The sum of a change's steps fits: there are at most [`crate::ops::MAX_UNITS`].
    steps: BTreeMap<(ContainerIdx, BranchIdx, u64), i128>,
    /// Of indexed lists and texts: the places that inserts of one change made with successive numbers, by the first; their count. Deleted ones
    /// stay until a clear comes for them.
    inserts: BTreeMap<(ContainerIdx, BranchIdx, u64, u32), u32>,
    /// Of indexed maps: for each child and each branch that has uncovered operations at or below it, the least `seq` among them. The last number is
    /// the child's.
    below: BTreeSet<(ContainerIdx, BranchIdx, u64, u32)>,
}

impl Uncovered {
    /// Notes an ensure.
    pub(super) fn ensure(&mut self, container: ContainerIdx, branch: BranchIdx, seq: u64) {
        self.ensures.insert((container, branch), seq);
    }

    pub(super) fn ensured(&self, container: ContainerIdx, branch: BranchIdx) -> Option<u64> {
        self.ensures.get(&(container, branch)).copied()
    }

    pub(super) fn ensures(&self, container: ContainerIdx) -> impl Iterator<Item = (BranchIdx, u64)> + '_ {
        let range = (container, BranchIdx(0))..=(container, BranchIdx(u32::MAX));
        self.ensures.range(range).map(|((_, branch), seq)| (*branch, *seq))
    }

    /// Forgets the ensure of a branch if it is at most `bound`. Answers whether there was one, and whether one of any branch is left.
    pub(super) fn cover_ensure(&mut self, container: ContainerIdx, branch: BranchIdx, bound: u64) -> (bool, bool) {
        let covered = self.ensured(container, branch).is_some_and(|seq| seq <= bound);
        if covered {
            self.ensures.remove(&(container, branch));
        }
        (covered, self.ensures(container).next().is_some())
    }

    /// Notes a step of a counter.
    pub(super) fn step(&mut self, counter: ContainerIdx, branch: BranchIdx, seq: u64, step: i64) {
        *self.steps.entry((counter, branch, seq)).or_insert(0) += i128::from(step);
    }

    /// By which changes of a branch a counter is stepped, ascending.
    pub(super) fn stepped(&self, counter: ContainerIdx, branch: BranchIdx) -> impl Iterator<Item = u64> + '_ {
        self.steps.range((counter, branch, 0)..=(counter, branch, u64::MAX)).map(|((.., seq), _)| *seq)
    }

    /// Whether a change's steps of a counter still count.
    pub(super) fn has_stepped(&self, counter: ContainerIdx, branch: BranchIdx, seq: u64) -> bool {
        self.steps.contains_key(&(counter, branch, seq))
    }

    pub(super) fn has_steps(&self, counter: ContainerIdx) -> bool {
        let all = (counter, BranchIdx(0), 0)..=(counter, BranchIdx(u32::MAX), u64::MAX);
        self.steps.range(all).next().is_some()
    }

    pub(super) fn least_step(&self, counter: ContainerIdx, branch: BranchIdx) -> Option<u64> {
        let own = (counter, branch, 0)..=(counter, branch, u64::MAX);
        self.steps.range(own).next().map(|((_, _, seq), _)| *seq)
    }

    /// The branches with steps, ascending, with the least `seq` of each.
    pub(super) fn least_steps(&self, counter: ContainerIdx) -> Vec<(BranchIdx, u64)> {
        leasts(|branch| {
            let rest = (counter, branch, 0)..=(counter, BranchIdx(u32::MAX), u64::MAX);
            self.steps.range(rest).next().map(|((_, branch, seq), _)| (*branch, *seq))
        })
    }

    /// Forgets a step of a branch up to `bound` and answers it.
    pub(super) fn cover_step(&mut self, counter: ContainerIdx, branch: BranchIdx, bound: u64) -> Option<i128> {
        let seq = self.least_step(counter, branch).filter(|seq| *seq <= bound)?;
        self.steps.remove(&(counter, branch, seq))
    }

    /// The sum of a counter's steps, added up.
    pub(super) fn sum_steps(&self, counter: ContainerIdx) -> i128 {
        let all = (counter, BranchIdx(0), 0)..=(counter, BranchIdx(u32::MAX), u64::MAX);
        self.steps.range(all).map(|(_, step)| step).sum()
    }

    /// Notes inserts of an indexed list or text.
    pub(super) fn insert(&mut self, container: ContainerIdx, branch: BranchIdx, seq: u64, places: Range<u32>) {
        let before = (container, branch, seq, 0)..(container, branch, seq, places.start);
        if let Some(((.., first), len)) = self.inserts.range_mut(before).next_back()
            && *first + *len == places.start
        {
            *len += places.end - places.start;
            return;
        }
        self.inserts.insert((container, branch, seq, places.start), places.end - places.start);
    }

    pub(super) fn least_insert(&self, container: ContainerIdx, branch: BranchIdx) -> Option<u64> {
        self.inserts.range(span(container, branch)).next().map(|((_, _, seq, _), _)| *seq)
    }

    /// The branches with inserts, ascending, with the least `seq` of each.
    pub(super) fn least_inserts(&self, container: ContainerIdx) -> Vec<(BranchIdx, u64)> {
        leasts(|branch| {
            let rest = (container, branch, 0, 0)..=(container, BranchIdx(u32::MAX), u64::MAX, u32::MAX);
            self.inserts.range(rest).next().map(|((_, branch, seq, _), _)| (*branch, *seq))
        })
    }

    /// Forgets inserts of a branch up to `bound` and answers their places.
    pub(super) fn cover_inserts(
        &mut self,
        container: ContainerIdx,
        branch: BranchIdx,
        bound: u64,
    ) -> Option<Range<u32>> {
        let (key, len) = self.inserts.range(span(container, branch)).next().map(|(key, len)| (*key, *len))?;
        if key.2 > bound {
            return None;
        }
        self.inserts.remove(&key);
        Some(key.3..key.3 + len)
    }

    /// All noted inserts of a list or text.
    pub(super) fn inserts(&self, container: ContainerIdx) -> impl Iterator<Item = (BranchIdx, u64, Range<u32>)> + '_ {
        let all = (container, BranchIdx(0), 0, 0)..=(container, BranchIdx(u32::MAX), u64::MAX, u32::MAX);
        self.inserts.range(all).map(|((_, branch, seq, first), len)| (*branch, *seq, *first..*first + *len))
    }

    /// Notes the least `seq` of a branch at and below a child of an indexed map.
    pub(super) fn add_below(&mut self, map: ContainerIdx, branch: BranchIdx, least: u64, child: ContainerIdx) {
        self.below.insert((map, branch, least, child.0));
    }

    pub(super) fn remove_below(&mut self, map: ContainerIdx, branch: BranchIdx, least: u64, child: ContainerIdx) {
        self.below.remove(&(map, branch, least, child.0));
    }

    pub(super) fn least_below(&self, map: ContainerIdx, branch: BranchIdx) -> Option<u64> {
        self.below.range(span(map, branch)).next().map(|(_, _, seq, _)| *seq)
    }

    /// The branches with something below a map, ascending, with the least `seq` of each.
    pub(super) fn leasts_below(&self, map: ContainerIdx) -> Vec<(BranchIdx, u64)> {
        leasts(|branch| {
            let rest = (map, branch, 0, 0)..=(map, BranchIdx(u32::MAX), u64::MAX, u32::MAX);
            self.below.range(rest).next().map(|(_, branch, seq, _)| (*branch, *seq))
        })
    }

    /// Takes a child of a map out in which something of a branch up to `bound` stands.
    pub(super) fn take_below(&mut self, map: ContainerIdx, branch: BranchIdx, bound: u64) -> Option<ContainerIdx> {
        let first = self.below.range(span(map, branch)).next().copied().filter(|(_, _, seq, _)| *seq <= bound)?;
        self.below.remove(&first);
        Some(ContainerIdx(first.3))
    }

    /// All that is noted of a map's children.
    pub(super) fn below(&self, map: ContainerIdx) -> impl Iterator<Item = (BranchIdx, u64, ContainerIdx)> + '_ {
        let all = (map, BranchIdx(0), 0, 0)..=(map, BranchIdx(u32::MAX), u64::MAX, u32::MAX);
        self.below.range(all).map(|(_, branch, seq, child)| (*branch, *seq, ContainerIdx(*child)))
    }

    /// About the bytes on the heap: those of the entries.
    pub(super) fn heap_bytes(&self) -> usize {
        self.ensures.len() * size_of::<((ContainerIdx, BranchIdx), u64)>()
            + self.steps.len() * size_of::<((ContainerIdx, BranchIdx, u64), i128)>()
            + self.inserts.len() * size_of::<((ContainerIdx, BranchIdx, u64, u32), u32)>()
            + self.below.len() * size_of::<(ContainerIdx, BranchIdx, u64, u32)>()
    }
}

/// Steps from branch to branch; `first` answers the first entry from a branch on.
fn leasts(first: impl Fn(BranchIdx) -> Option<(BranchIdx, u64)>) -> Vec<(BranchIdx, u64)> {
    let mut leasts = Vec::new();
    let mut from = Some(BranchIdx(0));
    while let Some((branch, seq)) = from.and_then(&first) {
        leasts.push((branch, seq));
        from = branch.0.checked_add(1).map(BranchIdx);
    }
    leasts
}
