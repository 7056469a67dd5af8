//! A graph of at most 64 changes: a causal past is one machine word, and so every question is answered in a few steps. Each peer has one of its own, since
//! numbers and branches follow the order of arrival.

use bft_json_crdt::causality::{BranchIdx, Causality, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::ops::Ops;

/// Most changes of a history: bits of a word.
pub(super) const MAX_CHANGES: usize = 64;

/// A set of changes by their numbers in the history.
pub(super) type Set = u64;

/// A change, numbered in the order of writing. The number is its id's last byte.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) number: u8,
    pub(super) id: ChangeId,
    pub(super) author: u8,
    pub(super) seq: u64,
    pub(super) previous: Option<u8>,
    /// It and what `previous` leads to.
    pub(super) chain: Set,
    pub(super) past: Set,
    pub(super) lamport: u64,
    pub(super) ops: Ops,
}

#[derive(Clone, Copy)]
struct Node {
    id: ChangeId,
    branch: BranchIdx,
    seq: u64,
    lamport: u64,
    previous: Option<ChangeIdx>,
    past: Set,
}

/// Stands for no change in `Graph::local`.
const NONE: u8 = u8::MAX;

#[derive(Clone)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    /// The changes on each branch.
    branches: Vec<Set>,
    /// For each number in the history the number here.
    local: [u8; MAX_CHANGES],
    /// Those that some change here names as `previous`.
    followed: Set,
}

impl Default for Graph {
    fn default() -> Self {
        Self { nodes: Vec::new(), branches: Vec::new(), local: [NONE; MAX_CHANGES], followed: 0 }
    }
}

impl Graph {
    pub(super) fn add(&mut self, change: &Written) -> ChangeIdx {
        let index = ChangeIdx(self.nodes.len() as u32);
        let continues = change.previous.filter(|previous| self.followed >> previous & 1 == 0);
        let branch = match continues {
            Some(previous) => self.node(previous).branch,
            None => {
                self.branches.push(0);
                BranchIdx(self.branches.len() as u32 - 1)
            }
        };
        self.branches[branch.0 as usize] |= 1 << change.number;
        let previous = change.previous.map(|previous| ChangeIdx(self.local[usize::from(previous)].into()));
        if let Some(previous) = change.previous {
            self.followed |= 1 << previous;
        }
        self.local[usize::from(change.number)] = index.0 as u8;
        let Written { id, seq, lamport, past, .. } = *change;
        self.nodes.push(Node { id, branch, seq, lamport, previous, past });
        index
    }

    /// Gives the change that was added last its id.
    pub(super) fn name(&mut self, id: ChangeId) {
        if let Some(last) = self.nodes.last_mut() {
            last.id = id;
        }
    }

    fn node(&self, number: u8) -> &Node {
        &self.nodes[usize::from(self.local[usize::from(number)])]
    }

    fn at(&self, change: ChangeIdx) -> &Node {
        &self.nodes[change.0 as usize]
    }
}

impl Causality for Graph {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        let node = self.at(change);
        (node.branch, node.seq)
    }

    fn lamport(&self, change: ChangeIdx) -> u64 {
        self.at(change).lamport
    }

    fn id(&self, change: ChangeIdx) -> ChangeId {
        self.at(change).id
    }

    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        // A branch is a chain: what was written last on it has the largest seq.
        let known = self.branches[branch.0 as usize] & self.at(change).past;
        known.checked_ilog2().map_or(0, |number| self.node(number as u8).seq)
    }

    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        (0..steps).try_fold(change, |at, _| self.at(at).previous)
    }

    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        let local = *self.local.get(usize::from(id.0[31])).filter(|local| **local != NONE)?;
        let index = ChangeIdx(local.into());
        (self.at(index).id == *id).then_some(index)
    }
}

/// The changes of a set, the first written first.
pub(super) fn members(mut set: Set) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let number = (set != 0).then(|| set.trailing_zeros() as u8)?;
        set &= set - 1;
        Some(number)
    })
}

/// One member of a set that is not empty.
pub(super) fn pick(set: Set, dice: &mut super::dice::Dice) -> u8 {
    let nth = dice.roll(set.count_ones() as usize);
    members(set).nth(nth).unwrap_or(0)
}
