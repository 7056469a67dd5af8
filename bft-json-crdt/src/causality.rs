//! What the merge engine asks of the graph of changes: the seam between [`crate::dag`] and [`crate::document`].

use crate::change::ChangeId;

/// A change, interned: dense, in the order of local application (so parents have lower numbers). Never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeIdx(pub u32);

/// A branch of an author's own chain, interned. An honest author has one; each fork begins another. On one branch `seq` names at most one
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchIdx(pub u32);

/// Questions about applied changes and the one that is being judged. All answers are O(log n) or better and never walk the graph.
pub trait Causality {
    /// The branch and `seq` of a change. On its branch, `seq` ascends with the interned number.
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64);

    /// 1 + the largest lamport among its parents.
    fn lamport(&self, change: ChangeIdx) -> u64;

    /// Its id. For a local change that is still being written the id is not known; its lamport is above all others, so that the id
    /// decides nothing, and this answers zeros.
    fn id(&self, change: ChangeIdx) -> ChangeId;

    /// The largest `seq` on `branch` that lies in the causal past of `change`, the change itself not counted; 0 if none. Every change on
    /// `branch` up to that `seq` is in the past too.
    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64;

    /// The change `steps` (≥ 1) of `previous` before `change` on its author's own chain.
    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx>;

    /// The number of an applied change.
    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx>;

    /// Whether `earlier` is in the causal past of `change` (a change is not in its own past).
    fn precedes(&self, earlier: ChangeIdx, change: ChangeIdx) -> bool {
        let (branch, seq) = self.position(earlier);
        earlier != change && self.past(change, branch) >= seq
    }

    /// Compares two changes in the one order, (lamport, id).
    fn order(&self, a: ChangeIdx, b: ChangeIdx) -> std::cmp::Ordering {
        self.lamport(a).cmp(&self.lamport(b)).then_with(|| self.id(a).cmp(&self.id(b)))
    }
}

impl<T: Causality + ?Sized> Causality for Box<T> {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        (**self).position(change)
    }

    fn lamport(&self, change: ChangeIdx) -> u64 {
        (**self).lamport(change)
    }

    fn id(&self, change: ChangeIdx) -> ChangeId {
        (**self).id(change)
    }

    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        (**self).past(change, branch)
    }

    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        (**self).back(change, steps)
    }

    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        (**self).lookup(id)
    }
}
