//! The uncovered operations of counters, lists and texts, by branch. On one branch operations arrive ascending by `seq`, and a clear covers a
//! prefix of each branch, so queues suffice.

use std::collections::VecDeque;

use super::sequence::PlaceIdx;
use bft_json_crdt::causality::BranchIdx;

/// A counter's uncovered steps and their sum.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    sum: i128,
    /// Ascending by branch; no queue is empty.
    branches: Vec<(BranchIdx, VecDeque<(u64, i64)>)>,
}

impl Steps {
    /// Exact: 2⁶⁴ steps of 2⁶³ each would be needed to overflow it.
    pub(super) fn sum(&self) -> i128 {
        self.sum
    }

    pub(super) fn is_empty(&self) -> bool {
        self.branches.is_empty()
    }

    pub(super) fn least(&self, branch: BranchIdx) -> Option<u64> {
        let at = self.branches.binary_search_by_key(&branch, |(of, _)| *of).ok()?;
        self.branches[at].1.front().map(|(seq, _)| *seq)
    }

    pub(super) fn branches(&self) -> impl Iterator<Item = BranchIdx> + '_ {
        self.branches.iter().map(|(branch, _)| *branch)
    }

    pub(super) fn add(&mut self, branch: BranchIdx, seq: u64, step: i64) {
        self.sum += i128::from(step);
        let at = match self.branches.binary_search_by_key(&branch, |(of, _)| *of) {
            Ok(at) => at,
            Err(at) => {
                self.branches.insert(at, (branch, VecDeque::with_capacity(1)));
                at
            }
        };
        let queue = &mut self.branches[at].1;
        // Steps of one change are covered together or not at all by any later change; a clear in the same change comes after all of them.
        if let Some((last, sum)) = queue.back_mut()
            && *last == seq
            && let Some(both) = sum.checked_add(step)
        {
            *sum = both;
            return;
        }
        queue.push_back((seq, step));
    }

    /// Forgets the steps of a branch up to `bound`. Answers whether there were any.
    pub(super) fn cover(&mut self, branch: BranchIdx, bound: u64) -> bool {
        let Ok(at) = self.branches.binary_search_by_key(&branch, |(of, _)| *of) else { return false };
        let queue = &mut self.branches[at].1;
        let before = queue.len();
        while let Some((_, step)) = queue.pop_front_if(|(seq, _)| *seq <= bound) {
            self.sum -= i128::from(step);
        }
        let covered = queue.len() < before;
        if queue.is_empty() {
            self.branches.remove(at);
        }
        covered
    }
}

/// Inserts of one change that made places with successive numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    seq: u64,
    first: u32,
    len: u32,
    /// How many of them live.
    living: u32,
}

impl Run {
    /// The numbers of its places.
    pub(super) fn places(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.len
    }
}

/// The living elements of a list or characters of a text, by the branch of their inserts.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    living: usize,
    /// Ascending by branch; in a queue `seq` and places ascend. No queue is empty, and the first run of each has something that lives.
    branches: Vec<(BranchIdx, VecDeque<Run>)>,
}

impl Runs {
    /// How many elements live.
    pub(super) fn living(&self) -> usize {
        self.living
    }

    pub(super) fn least(&self, branch: BranchIdx) -> Option<u64> {
        let at = self.branches.binary_search_by_key(&branch, |(of, _)| *of).ok()?;
        self.branches[at].1.front().map(|run| run.seq)
    }

    pub(super) fn branches(&self) -> impl Iterator<Item = BranchIdx> + '_ {
        self.branches.iter().map(|(branch, _)| *branch)
    }

    pub(super) fn add(&mut self, branch: BranchIdx, seq: u64, first: PlaceIdx, len: u32) {
        let first = first.index() as u32;
        self.living += len as usize;
        let at = match self.branches.binary_search_by_key(&branch, |(of, _)| *of) {
            Ok(at) => at,
            Err(at) => {
                self.branches.insert(at, (branch, VecDeque::with_capacity(1)));
                at
            }
        };
        let queue = &mut self.branches[at].1;
        match queue.back_mut() {
            Some(last) if last.seq == seq && last.first + last.len == first => {
                last.len += len;
                last.living += len;
            }
            _ => queue.push_back(Run { seq, first, len, living: len }),
        }
    }

    /// Counts out an element that lived until now. Amortized O(log n).
    pub(super) fn kill(&mut self, branch: BranchIdx, place: PlaceIdx) {
        let Ok(at) = self.branches.binary_search_by_key(&branch, |(of, _)| *of) else { return };
        let place = place.index() as u32;
        let queue = &mut self.branches[at].1;
        let behind = queue.partition_point(|run| run.first <= place);
        let Some(run) = behind.checked_sub(1).and_then(|at| queue.get_mut(at)) else { return };
        debug_assert!(run.places().contains(&place) && run.living > 0);
        run.living -= 1;
        self.living -= 1;
        while queue.pop_front_if(|run| run.living == 0).is_some() {}
        if queue.is_empty() {
            self.branches.remove(at);
        }
    }

    /// Takes out the runs of a branch up to `bound`; the caller kills what lives in them.
    pub(super) fn cover(&mut self, branch: BranchIdx, bound: u64) -> Vec<Run> {
        let mut covered = Vec::new();
        let Ok(at) = self.branches.binary_search_by_key(&branch, |(of, _)| *of) else { return covered };
        let queue = &mut self.branches[at].1;
        while let Some(run) = queue.pop_front_if(|run| run.seq <= bound) {
            self.living -= run.living as usize;
            covered.push(run);
        }
        while queue.pop_front_if(|run| run.living == 0).is_some() {}
        if queue.is_empty() {
            self.branches.remove(at);
        }
        covered
    }
}
