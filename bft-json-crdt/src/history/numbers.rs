//! A past numbers its changes anew: a document wants numbers that ascend in the order of application, and a past that moves on applies changes that the
//! replica may have applied before others that the past already has.

use crate::causality::{BranchIdx, Causality, ChangeIdx};
use crate::change::ChangeId;
use crate::dag::Dag;

/// No change, in the place of a number.
const NONE: u32 = u32::MAX;

/// The changes of a past: its own numbers count from 0 in the order of application there.
#[derive(Clone, Default)]
pub(super) struct Numbers {
    /// For each change of the past the replica's number.
    theirs: Vec<ChangeIdx>,
    /// For each of the replica's numbers the past's, or [`NONE`]; as long as it needs to be.
    ours: Vec<u32>,
}

impl Numbers {
    /// As many changes, numbered alike.
    pub(super) fn identical(count: usize) -> Self {
        let all = 0..count as u32;
        Self { theirs: all.clone().map(ChangeIdx).collect(), ours: all.collect() }
    }

    /// Takes in a further change of the replica. Answers its number here.
    pub(super) fn add(&mut self, theirs: ChangeIdx) -> ChangeIdx {
        let at = theirs.0 as usize;
        if self.ours.len() <= at {
            self.ours.resize(at + 1, NONE);
        }
        self.ours[at] = self.theirs.len() as u32;
        self.theirs.push(theirs);
        ChangeIdx(self.ours[at])
    }

    /// The replica's number of a change of the past.
    pub(super) fn theirs(&self, ours: ChangeIdx) -> ChangeIdx {
        self.theirs[ours.0 as usize]
    }

    /// The number here of a change of the replica; `None` if the past does not hold it.
    pub(super) fn ours(&self, theirs: ChangeIdx) -> Option<ChangeIdx> {
        self.ours.get(theirs.0 as usize).filter(|ours| **ours != NONE).map(|ours| ChangeIdx(*ours))
    }
}

/// The replica's graph in the past's numbers.
pub(super) struct Renumbered<'a> {
    pub(super) dag: &'a Dag,
    pub(super) numbers: &'a Numbers,
}

impl Causality for Renumbered<'_> {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        self.dag.position(self.numbers.theirs(change))
    }

    fn lamport(&self, change: ChangeIdx) -> u64 {
        self.dag.lamport(self.numbers.theirs(change))
    }

    fn id(&self, change: ChangeIdx) -> ChangeId {
        self.dag.id(self.numbers.theirs(change))
    }

    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        self.dag.past(self.numbers.theirs(change), branch)
    }

    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        self.numbers.ours(self.dag.back(self.numbers.theirs(change), steps)?)
    }

    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        self.numbers.ours(self.dag.lookup(id)?)
    }
}
