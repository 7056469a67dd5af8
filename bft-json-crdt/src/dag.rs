//! The graph of applied changes: hashes interned to dense numbers, each author's tree of `previous`, heads, and the clocks that answer
//! causal-past tests.
//!
//! - Changes are numbered in the order of their local application, so parents have lower numbers.
//! - An author's changes form a tree along `previous`; for an honest author it is a path. The tree is cut into *branches*: a change continues the
//!   branch of its `previous` if it is the first to follow it, and begins a new branch otherwise. So on one branch a `seq` names one
//!   change, and the leaves of the tree are exactly the branches' last changes.
//! - A change's *clock* holds, for each branch, the largest `seq` in its past. The entry of the change's own branch is left out (it is `seq` − 1), so a change whose
//!   only parent is its `previous` shares the clock of that, and linear history takes no memory. A change that begins a branch has
//!   its ancestor branches in its clock like any others.
//! - Ancestors along `previous` are found in O(log b) for b nested branches: within a branch by index, between branches by skew-binary jump
//!   pointers (Myers: An applicative random-access stack, 1983).

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use hashbrown::HashTable;

use crate::causality::{BranchIdx, Causality, ChangeIdx};
use crate::change::{Change, ChangeId};
use crate::clock::Clock;
use crate::identity::AuthorId;

/// Most changes that one replica can hold: they are numbered by 32 bits, and the last number means none.
pub const MAX_CHANGES: usize = u32::MAX as usize - 1;

/// No change (in the place of a `ChangeIdx`), which keeps the nodes small.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone)]
struct Node {
    clock: Clock,
    branch: BranchIdx,
    seq: u32,
    lamport: u32,
}

#[derive(Debug, Clone)]
struct Branch {
    author: u32,
    /// The `seq` of its first change.
    start: u32,
    /// The change that its first change follows, or [`NONE`].
    fork: u32,
    /// Skew-binary jump pointer to an ancestor branch; the branch itself when it has none. See [`Dag::ancestor_at`].
    jump: u32,
    /// How many branches lie above it.
    depth: u32,
    /// Its changes, ascending by `seq` without gaps. Never empty once staging is over.
    changes: Vec<ChangeIdx>,
}

#[derive(Debug, Clone)]
struct Author {
    id: AuthorId,
    branches: Vec<BranchIdx>,
}

/// The graph of the applied changes of one document, with at most one further change that is being judged or written (*staged*).
#[derive(Debug, Clone, Default)]
pub struct Dag {
    changes: Vec<Stored>,
    /// Invariant: as long as `changes`, plus one while a change is staged.
    nodes: Vec<Node>,
    branches: Vec<Branch>,
    authors: Vec<Author>,
    author_numbers: HashMap<AuthorId, u32>,
    by_id: HashTable<u32>,
    /// Keys `by_id` against ids that were ground to collide. Decides nothing that can be seen from outside.
    hasher: RandomState,
    heads: BTreeMap<ChangeId, ChangeIdx>,
    /// The id of the staged change; zeros while it is not known.
    staged: Option<ChangeId>,
}

/// A change as it is kept: the header can be read from the bytes again, and would take more room than they.
#[derive(Debug, Clone)]
struct Stored {
    bytes: Bytes,
    id: ChangeId,
}

/// A leaf of an author's tree along `previous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Its number on the author's own chain.
    pub seq: u64,
    /// Its id.
    pub id: ChangeId,
    /// Its number here.
    pub index: ChangeIdx,
}

/// A branch of an author's tree: what follows one change on the author's own chain without a fork.
#[derive(Debug, Clone, Copy)]
pub struct BranchView<'a> {
    /// The change that the first one follows; `None` at the beginning of a chain.
    pub fork: Option<ChangeIdx>,
    /// The `seq` of the first change.
    pub first_seq: u64,
    /// Its changes, ascending by `seq` without gaps.
    pub changes: &'a [ChangeIdx],
}

impl Dag {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changes are applied.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether no change is applied.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// An applied change.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub fn change(&self, index: ChangeIdx) -> Change {
        let stored = &self.changes[index.0 as usize];
        Change::from_checked(stored.bytes.clone(), stored.id, self.author(index))
    }

    /// The bytes of an applied change. Cheaper than [`Dag::change`], which reads the header again.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub fn bytes(&self, index: ChangeIdx) -> &Bytes {
        &self.changes[index.0 as usize].bytes
    }

    /// The author of a change.
    pub fn author(&self, index: ChangeIdx) -> AuthorId {
        let branch = self.nodes[index.0 as usize].branch;
        self.authors[self.branches[branch.0 as usize].author as usize].id
    }

    /// The number of a change on its author's own chain.
    pub fn seq(&self, index: ChangeIdx) -> u64 {
        u64::from(self.nodes[index.0 as usize].seq)
    }

    /// The change before on the author's own chain.
    pub fn previous(&self, index: ChangeIdx) -> Option<ChangeIdx> {
        self.back(index, 1)
    }

    /// The authors of applied changes, in the order of their first change here.
    pub fn authors(&self) -> impl Iterator<Item = AuthorId> + '_ {
        self.authors.iter().map(|author| author.id)
    }

    /// The checked key with these bytes, if some applied change is by that author.
    pub fn known_author(&self, bytes: &[u8; 32]) -> Option<AuthorId> {
        self.author_numbers.get_key_value(bytes).map(|(author, _)| *author)
    }

    /// The branches of an author's tree, oldest first; none if nothing of that author is applied.
    pub fn branches(&self, author: &[u8; 32]) -> &[BranchIdx] {
        self.author_numbers.get(author).map_or(&[], |number| &self.authors[*number as usize].branches)
    }

    /// One branch.
    ///
    /// # Panics
    /// If `branch` was not handed out by this graph.
    pub fn branch(&self, branch: BranchIdx) -> BranchView<'_> {
        let branch = &self.branches[branch.0 as usize];
        let fork = (branch.fork != NONE).then_some(ChangeIdx(branch.fork));
        BranchView { fork, first_seq: u64::from(branch.start), changes: &branch.changes }
    }

    /// How many branches there are; they are numbered from 0.
    pub fn branch_count(&self) -> usize {
        self.branches.len()
    }

    /// For each branch the last `seq` that some of these changes are or have in their past.
    pub(crate) fn clock_of(&self, changes: impl IntoIterator<Item = ChangeIdx>) -> Clock {
        let mut clock = Clock::new();
        for change in changes {
            let node = &self.nodes[change.0 as usize];
            clock.merge(&node.clock);
            clock.raise(node.branch, u64::from(node.seq));
        }
        clock
    }

    /// All leaves of the tree that an author's `previous` makes: one for an honest author, one a branch for a forked chain.
    pub fn leaves(&self, author: &AuthorId) -> impl Iterator<Item = Leaf> + '_ {
        let branches = self.author_numbers.get(author).map(|number| self.authors[*number as usize].branches.as_slice());
        branches.unwrap_or_default().iter().filter_map(|branch| {
            let index = *self.branches[branch.0 as usize].changes.last()?;
            Some(Leaf { seq: self.seq(index), id: self.id(index), index })
        })
    }

    /// An author's applied change with this `seq`; for a forked chain, one of them.
    pub fn at_seq(&self, author: &AuthorId, seq: u64) -> Option<ChangeIdx> {
        let number = self.author_numbers.get(author)?;
        self.authors[*number as usize].branches.iter().find_map(|branch| {
            let branch = &self.branches[branch.0 as usize];
            let index = usize::try_from(seq.checked_sub(u64::from(branch.start))?).ok()?;
            branch.changes.get(index).copied()
        })
    }

    /// The change with this `seq` on the author's own chain that ends in `leaf` (which counts itself). O(log b) for b nested branches.
    pub fn ancestor_at(&self, leaf: ChangeIdx, seq: u64) -> Option<ChangeIdx> {
        let node = &self.nodes[leaf.0 as usize];
        let seq = u32::try_from(seq).ok().filter(|seq| (1..=node.seq).contains(seq))?;
        let mut number = node.branch.0;
        loop {
            let branch = &self.branches[number as usize];
            if branch.start <= seq {
                return branch.changes.get((seq - branch.start) as usize).copied();
            }
            // Above a branch lie branches with ever lower starts: jump as long as that does not skip the one that is wanted.
            let jump = &self.branches[branch.jump as usize];
            number = if branch.jump != number && jump.start > seq {
                branch.jump
            } else {
                // seq < start, so something lies before the branch's first change.
                self.nodes.get(branch.fork as usize)?.branch.0
            };
        }
    }

    /// Whether `change` stands on the author's own chain that ends in `leaf` (which counts itself).
    pub fn chain_contains(&self, leaf: ChangeIdx, change: ChangeIdx) -> bool {
        self.ancestor_at(leaf, self.seq(change)) == Some(change)
    }

    /// The applied changes that no applied change names, ascending by id.
    pub fn heads(&self) -> impl ExactSizeIterator<Item = (ChangeId, ChangeIdx)> + '_ {
        self.heads.iter().map(|(id, index)| (*id, *index))
    }

    /// The numbers of all changes in the one order, (lamport, id). O(n log n).
    pub fn in_order(&self) -> Vec<ChangeIdx> {
        let mut all: Vec<ChangeIdx> = (0..self.changes.len() as u32).map(ChangeIdx).collect();
        all.sort_unstable_by(|a, b| self.order(*a, *b));
        all
    }

    /// Stages a change: from here on the graph answers questions about it, but it is no head, no leaf and cannot be looked up. It stays
    /// staged until [`Dag::commit`] or [`Dag::discard`]. `id` is zeros while it is not known. The caller has checked that `previous` is the author's change
    /// before, and that there is room ([`MAX_CHANGES`]).
    ///
    /// # Panics
    /// If a change is staged already.
    pub fn stage(
        &mut self,
        author: AuthorId,
        id: ChangeId,
        previous: Option<ChangeIdx>,
        deps: impl IntoIterator<Item = ChangeIdx>,
    ) -> ChangeIdx {
        assert!(self.staged.is_none(), "one change is staged at a time");
        let index = ChangeIdx(self.nodes.len() as u32);
        let (branch, seq, mut clock, mut lamport) = match previous {
            None => (self.begin_branch(author, 1, None), 1, Clock::new(), 0),
            Some(previous) => {
                let before = &self.nodes[previous.0 as usize];
                let (on, seq, lamport) = (before.branch, before.seq + 1, before.lamport);
                let mut clock = before.clock.clone();
                if self.branches[on.0 as usize].changes.last() == Some(&previous) {
                    (on, seq, clock, lamport)
                } else {
                    clock.raise(on, u64::from(seq - 1));
                    (self.begin_branch(author, seq, Some(previous)), seq, clock, lamport)
                }
            }
        };
        for dep in deps {
            let dep = &self.nodes[dep.0 as usize];
            lamport = lamport.max(dep.lamport);
            // A dep on the own branch is before `previous`.
            if dep.branch != branch {
                clock.merge(&dep.clock);
                clock.raise(dep.branch, u64::from(dep.seq));
            }
        }
        self.branches[branch.0 as usize].changes.push(index);
        self.nodes.push(Node { clock, branch, seq, lamport: lamport + 1 });
        self.staged = Some(id);
        index
    }

    fn begin_branch(&mut self, author: AuthorId, start: u32, fork: Option<ChangeIdx>) -> BranchIdx {
        let branch = BranchIdx(self.branches.len() as u32);
        let number = *self.author_numbers.entry(author).or_insert_with(|| {
            self.authors.push(Author { id: author, branches: Vec::new() });
            self.authors.len() as u32 - 1
        });
        self.authors[number as usize].branches.push(branch);
        let (jump, depth) = match fork {
            None => (branch.0, 0),
            Some(fork) => {
                let above = self.nodes[fork.0 as usize].branch.0;
                let parent = &self.branches[above as usize];
                let first = &self.branches[parent.jump as usize];
                let second = &self.branches[first.jump as usize];
                let equal_jumps = parent.depth - first.depth == first.depth - second.depth;
                (if equal_jumps && parent.depth > 0 { first.jump } else { above }, parent.depth + 1)
            }
        };
        let fork = fork.map_or(NONE, |fork| fork.0);
        self.branches.push(Branch { author: number, start, fork, jump, depth, changes: Vec::new() });
        branch
    }

    /// Makes the staged change an applied one.
    ///
    /// # Panics
    /// If no change is staged.
    pub fn commit(&mut self, change: &Change) {
        assert!(self.staged.take().is_some(), "a change is staged");
        let index = ChangeIdx(self.changes.len() as u32);
        for parent in change.header().parents() {
            self.heads.remove(parent);
        }
        self.heads.insert(change.id(), index);
        self.changes.push(Stored { bytes: change.bytes().clone(), id: change.id() });
        let (changes, hasher) = (&self.changes, &self.hasher);
        let key = |number: &u32| hasher.hash_one(changes[*number as usize].id.0);
        self.by_id.insert_unique(key(&index.0), index.0, key);
    }

    /// Forgets the staged change.
    ///
    /// # Panics
    /// If no change is staged.
    pub fn discard(&mut self) {
        assert!(self.staged.take().is_some(), "a change is staged");
        let Some(node) = self.nodes.pop() else { unreachable!("a staged change has a node") };
        let branch = &mut self.branches[node.branch.0 as usize];
        branch.changes.pop();
        if branch.changes.is_empty() {
            // The staged change began the branch, so it is the last one everywhere.
            let number = branch.author;
            self.branches.pop();
            let author = &mut self.authors[number as usize];
            author.branches.pop();
            if author.branches.is_empty() {
                self.author_numbers.remove(&author.id);
                self.authors.pop();
            }
        }
    }
}

impl Causality for Dag {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        let node = &self.nodes[change.0 as usize];
        (node.branch, u64::from(node.seq))
    }

    fn lamport(&self, change: ChangeIdx) -> u64 {
        u64::from(self.nodes[change.0 as usize].lamport)
    }

    fn id(&self, change: ChangeIdx) -> ChangeId {
        match self.changes.get(change.0 as usize) {
            Some(stored) => stored.id,
            None => self.staged.expect("only a staged change has a number and is not applied"),
        }
    }

    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        let node = &self.nodes[change.0 as usize];
        if node.branch != branch {
            return node.clock.get(branch);
        }
        if self.branches[branch.0 as usize].start == node.seq { 0 } else { u64::from(node.seq - 1) }
    }

    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        self.ancestor_at(change, self.seq(change).checked_sub(steps)?)
    }

    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        let same = |number: &u32| self.changes[*number as usize].id == *id;
        self.by_id.find(self.hasher.hash_one(id.0), same).map(|number| ChangeIdx(*number))
    }
}

#[cfg(test)]
mod tests;
