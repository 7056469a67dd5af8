//! The graph recounted from its records: what tests hold it to.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dag, NONE};
use crate::causality::{BranchIdx, Causality as _, ChangeIdx};
use crate::change::ChangeId;

/// Changes times branches up to which each change's past is recounted as well: beyond, that would take too long for a test.
const MOST_ENTRIES: usize = 1 << 22;

impl Dag {
    /// Recounts everything that is kept beside the records (ids, numbers, branches and their jumps, leaves, heads, lamports, clocks) by a walk over them. For
    /// tests: it takes time in proportion to changes times branches; where that is much, clocks are left out.
    ///
    /// # Panics
    /// If something does not agree.
    pub fn debug_check(&self) {
        let count = self.ids.len();
        assert_eq!(self.nodes.len(), count + usize::from(self.staged.is_some()), "a node for each change");
        assert_eq!(self.by_id.len(), count, "each change can be looked up");
        let all = || (0..count as u32).map(ChangeIdx);
        let mut named = BTreeSet::new();
        let mut followed = BTreeSet::new();
        for index in all() {
            let id = self.id(index);
            assert_eq!(self.lookup(&id), Some(index));
            assert_eq!(self.header(index).id(), id, "a change's header is put together as it was");
            assert!(self.parents(index).all(|parent| parent < index), "parents stand before their children");
            let lamport = self.parents(index).map(|parent| self.lamport(parent)).max().unwrap_or(0) + 1;
            assert_eq!(self.lamport(index), lamport);
            named.extend(self.parents(index));
            followed.extend(self.previous(index));
        }
        let heads: BTreeMap<ChangeId, ChangeIdx> =
            all().filter(|index| !named.contains(index)).map(|index| (self.id(index), index)).collect();
        assert!(self.heads().eq(heads), "heads are what no change names, ascending");
        self.check_branches();
        for author in self.authors() {
            let leaves: BTreeSet<ChangeIdx> = self.leaves(&author).map(|leaf| leaf.index).collect();
            let expected = all().filter(|index| self.author(*index) == author && !followed.contains(index));
            assert!(leaves.into_iter().eq(expected), "leaves are what the author's own chain does not go on from");
        }
        if self.staged.is_none() && count * self.branches.len() <= MOST_ENTRIES {
            self.check_clocks();
        }
    }

    fn check_branches(&self) {
        assert_eq!(self.by_key.len(), self.authors.len(), "each author can be looked up");
        let mut changes = 0;
        for (number, branch) in self.branches.iter().enumerate() {
            let number = BranchIdx(number as u32);
            let author = &self.authors[branch.author as usize];
            assert_eq!(self.author_number(author.id.as_bytes()), Some(branch.author));
            assert!(author.branches.contains(&number));
            assert!(!branch.changes.is_empty() && branch.changes.is_sorted());
            changes += branch.changes.len();
            for (seq, index) in (branch.start..).zip(&branch.changes) {
                let node = &self.nodes[index.0 as usize];
                assert_eq!((node.branch, node.seq), (number, seq), "a branch counts up");
            }
            let depth = if branch.fork == NONE {
                assert_eq!(branch.start, 1);
                0
            } else {
                let fork = &self.nodes[branch.fork as usize];
                let above = &self.branches[fork.branch.0 as usize];
                assert_eq!(
                    (fork.seq + 1, above.author),
                    (branch.start, branch.author),
                    "a branch goes on from its fork"
                );
                above.depth + 1
            };
            assert_eq!(branch.depth, depth);
            let jump = &self.branches[branch.jump as usize];
            assert!(jump.depth < depth || branch.jump == number.0, "jumps lead outwards");
        }
        assert_eq!(changes, self.nodes.len(), "each change stands on one branch");
    }

    fn check_clocks(&self) {
        let mut pasts: Vec<Vec<u64>> = Vec::with_capacity(self.ids.len());
        for index in (0..self.ids.len() as u32).map(ChangeIdx) {
            let mut past = vec![0; self.branches.len()];
            for parent in self.parents(index) {
                for (own, theirs) in past.iter_mut().zip(&pasts[parent.0 as usize]) {
                    *own = (*own).max(*theirs);
                }
                let (branch, seq) = self.position(parent);
                past[branch.0 as usize] = past[branch.0 as usize].max(seq);
            }
            for (branch, seq) in past.iter().enumerate() {
                assert_eq!(self.past(index, BranchIdx(branch as u32)), *seq, "{index:?} on branch {branch}");
            }
            pasts.push(past);
        }
    }
}
