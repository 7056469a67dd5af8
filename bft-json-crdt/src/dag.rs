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

mod check;
mod heads;
mod log;

use bytes::Bytes;
use hashbrown::HashTable;

use self::heads::Heads;
use self::log::Log;
pub(crate) use self::log::{Content, Record};
use crate::causality::{BranchIdx, Causality, ChangeIdx};
use crate::change::{Change, ChangeId, DocumentId, Header, HeaderFields, MAX_DEPS, MAX_HEADER_BYTES, VERSION};
use crate::clock::{Clock, Sharing};
use crate::hash::{self, OPS_DOMAIN};
use crate::identity::{AuthorId, Signature};
use crate::mixer::Mixer;

/// Most changes that one replica can hold: they are numbered by 32 bits, and the last number means none.
pub const MAX_CHANGES: usize = u32::MAX as usize - 1;

/// Most bytes of a change without its deps and its operations: room for the length of the operations and the signature too.
const MOST_WITHOUT_DEPS: usize = MAX_HEADER_BYTES - 32 * MAX_DEPS + 4 + 64;

/// Why a change cannot be put together again: whoever compacts asks [`Dag::is_compacted`] first.
const COMPACTED: &str = "the operations of this change were compacted away";

/// No change (in the place of a `ChangeIdx`), which keeps the nodes small.
const NONE: u32 = u32::MAX;

/// What the graph knows of a change: 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Its clock's number, or [`NONE`] for an empty one.
    clock: u32,
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

/// The change that is being judged or written.
#[derive(Debug, Clone)]
struct Staged {
    /// Zeros while it is not known.
    id: ChangeId,
    previous: Option<ChangeIdx>,
    /// It has a clock of its own, the last one.
    own_clock: bool,
}

/// The graph of the applied changes of one document, with at most one further change that is being judged or written (*staged*).
///
/// A change takes some fifty bytes beside its id, its operations and its signature; its header is put together again on demand.
#[derive(Debug, Clone)]
pub struct Dag {
    /// The document that all changes belong to; zeros as long as there are none.
    document: DocumentId,
    ids: Vec<ChangeId>,
    log: Log,
    /// Invariant: as long as `ids`, plus one while a change is staged.
    nodes: Vec<Node>,
    /// The clocks that differ from that of the change before on the same chain.
    clocks: Vec<Clock>,
    sharing: Sharing,
    branches: Vec<Branch>,
    authors: Vec<Author>,
    by_key: HashTable<u32>,
    by_id: HashTable<u32>,
    /// Keys the tables against ids and keys that were ground to collide.
    mixer: Mixer,
    heads: Heads,
    staged: Option<Staged>,
    /// The deps of the staged change, in its header's order.
    staged_deps: Vec<ChangeIdx>,
}

impl Default for Dag {
    fn default() -> Self {
        Self {
            document: DocumentId([0; 32]),
            ids: Vec::new(),
            log: Log::default(),
            nodes: Vec::new(),
            clocks: Vec::new(),
            sharing: Sharing::default(),
            branches: Vec::new(),
            authors: Vec::new(),
            by_key: HashTable::new(),
            by_id: HashTable::new(),
            mixer: Mixer::new(),
            heads: Heads::default(),
            staged: None,
            staged_deps: Vec::new(),
        }
    }
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
        self.ids.len()
    }

    /// Whether no change is applied.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// An applied change. Puts its header together and hashes its operations; see [`Dag::bytes`].
    ///
    /// # Panics
    /// If `index` was not handed out by this graph, or the change was compacted ([`Dag::is_compacted`]).
    pub fn change(&self, index: ChangeIdx) -> Change {
        let record = self.record(index);
        let ops = record.ops().expect(COMPACTED);
        Change::reassemble(self.header(index), self.id(index), ops, (&record).into())
    }

    /// Whether the operations of an applied change were compacted away ([`Replica::compact`](crate::replica::Replica::compact)).
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub fn is_compacted(&self, index: ChangeIdx) -> bool {
        self.record(index).ops().is_none()
    }

    /// Puts skeletons in the place of changes' operations, for each change that `skeleton` answers one for.
    pub(crate) fn compact(&mut self, mut skeleton: impl FnMut(ChangeIdx, &Record<'_>) -> Option<Vec<u8>>) {
        let mut log = Log::default();
        for number in 0..self.ids.len() as u32 {
            let record = self.log.get(number);
            let deps: Vec<ChangeIdx> = record.deps().collect();
            let new = skeleton(ChangeIdx(number), &record).map(|skeleton| (record.ops_hash(), skeleton));
            let content = match &new {
                Some((hash, skeleton)) => Content::Compacted(hash, skeleton),
                None => record.content(),
            };
            log.push(&deps, record.time_ms, content, record.signature);
        }
        self.log = log;
    }

    /// The header of an applied change. Hashes its operations.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub fn header(&self, index: ChangeIdx) -> Header {
        let record = self.record(index);
        Header {
            version: VERSION,
            document: self.document,
            author: self.author(index),
            seq: self.seq(index),
            previous: self.previous(index).map(|previous| self.id(previous)),
            deps: record.deps().map(|dep| self.id(dep)).collect(),
            time_ms: record.time_ms,
            ops_hash: record.ops_hash(),
        }
    }

    /// The bytes of an applied change. They are put together on demand, which costs a hash of the operations.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph, or the change was compacted ([`Dag::is_compacted`]).
    pub fn bytes(&self, index: ChangeIdx) -> Bytes {
        let record = self.record(index);
        let ops = record.ops().expect(COMPACTED);
        let deps = record.deps().map(|dep| self.id(dep));
        let mut out = Vec::with_capacity(MOST_WITHOUT_DEPS + 32 * deps.len() + ops.len());
        HeaderFields {
            version: VERSION,
            document: &self.document,
            author: &self.author(index),
            seq: self.seq(index),
            previous: self.previous(index).map(|previous| self.id(previous)),
            deps,
            time_ms: record.time_ms,
            ops_hash: &hash::hash(OPS_DOMAIN, ops),
        }
        .put(&mut out);
        crate::change::assemble(out, ops, record.signature).0.into()
    }

    /// What an applied change carries that the graph does not know.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub(crate) fn record(&self, index: ChangeIdx) -> Record<'_> {
        self.log.get(index.0)
    }

    /// The signature of an applied change, good or not.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub fn signature(&self, index: ChangeIdx) -> Signature {
        (&self.record(index)).into()
    }

    /// When its author says that an applied change was written, in milliseconds since 1970-01-01 UTC. Costs no hash.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub fn time_ms(&self, index: ChangeIdx) -> u64 {
        self.record(index).time_ms
    }

    /// `previous` and the deps of an applied change. Costs no hash.
    ///
    /// # Panics
    /// If `index` was not handed out by this graph.
    pub fn parents(&self, index: ChangeIdx) -> impl Iterator<Item = ChangeIdx> + '_ {
        self.previous(index).into_iter().chain(self.record(index).deps())
    }

    /// Bytes on the heap, clocks that changes share counted once.
    pub fn heap_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<ChangeId>()
            + self.log.heap_bytes()
            + self.nodes.capacity() * size_of::<Node>()
            + self.clocks.capacity() * size_of::<Clock>()
            + Clock::heap_bytes(&self.clocks)
            + self.sharing.heap_bytes()
            + self.branches.iter().map(|branch| size_of::<Branch>() + 4 * branch.changes.capacity()).sum::<usize>()
            + self.by_id.allocation_size()
    }

    /// The author of a change.
    pub fn author(&self, index: ChangeIdx) -> AuthorId {
        let branch = self.nodes[index.0 as usize].branch;
        self.authors[self.branches[branch.0 as usize].author as usize].id
    }

    /// The number of a change's author, in the order of the authors' first changes here (that of [`Dag::authors`]).
    pub(crate) fn author_of(&self, index: ChangeIdx) -> u32 {
        self.branches[self.nodes[index.0 as usize].branch.0 as usize].author
    }

    /// The author with this number.
    pub(crate) fn author_numbered(&self, number: u32) -> AuthorId {
        self.authors[number as usize].id
    }

    /// An author's last change among those with numbers below `end`.
    pub(crate) fn last_before(&self, author: u32, end: u32) -> Option<ChangeIdx> {
        let branches = self.authors[author as usize].branches.iter().map(|branch| &self.branches[branch.0 as usize]);
        let last = |branch: &Branch| {
            let count = branch.changes.partition_point(|change| change.0 < end);
            branch.changes[..count].last().copied()
        };
        branches.filter_map(last).max_by_key(|change| change.0)
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
        self.author_number(bytes).map(|number| self.authors[number as usize].id)
    }

    /// An author's number, in the order of their first change here.
    fn author_number(&self, key: &[u8; 32]) -> Option<u32> {
        let same = |number: &u32| self.authors[*number as usize].id.as_bytes() == key;
        self.by_key.find(self.mixer.mix(key), same).copied()
    }

    /// The branches of an author's tree, oldest first; none if nothing of that author is applied.
    pub fn branches(&self, author: &[u8; 32]) -> &[BranchIdx] {
        self.author_number(author).map_or(&[], |number| &self.authors[number as usize].branches)
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
            if let Some(other) = self.clocks.get(node.clock as usize) {
                clock.merge(other);
            }
            clock.raise(node.branch, u64::from(node.seq));
        }
        clock
    }

    /// All leaves of the tree that an author's `previous` makes: one for an honest author, one a branch for a forked chain.
    pub fn leaves(&self, author: &AuthorId) -> impl Iterator<Item = Leaf> + '_ {
        self.branches(author.as_bytes()).iter().filter_map(|branch| {
            let index = *self.branches[branch.0 as usize].changes.last()?;
            Some(Leaf { seq: self.seq(index), id: self.id(index), index })
        })
    }

    /// An author's applied change with this `seq`; for a forked chain, one of them.
    pub fn at_seq(&self, author: &AuthorId, seq: u64) -> Option<ChangeIdx> {
        self.branches(author.as_bytes()).iter().find_map(|branch| {
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
        self.heads.iter()
    }

    /// The numbers of all changes in the one order, (lamport, id). O(n log n).
    pub fn in_order(&self) -> Vec<ChangeIdx> {
        let mut all: Vec<ChangeIdx> = (0..self.ids.len() as u32).map(ChangeIdx).collect();
        all.sort_unstable_by(|a, b| self.order(*a, *b));
        all
    }

    /// Stages a change: from here on the graph answers questions about it, but it is no head, no leaf and cannot be looked up. It stays
    /// staged until [`Dag::commit`] or [`Dag::discard`]. `deps` stand in the header's order, ascending by id. `id` is zeros while it is not known. The caller has checked that `previous` is the author's change
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
        self.staged_deps.clear();
        self.staged_deps.extend(deps);
        let index = ChangeIdx(self.nodes.len() as u32);
        // The number of the clock to share, and the clock that replaces it once something is merged in.
        let (mut shared, mut own) = (NONE, None);
        let (branch, seq, mut lamport) = match previous {
            None => (self.begin_branch(author, 1, None), 1, 0),
            Some(previous) => {
                let before = self.nodes[previous.0 as usize];
                shared = before.clock;
                if self.branches[before.branch.0 as usize].changes.last() == Some(&previous) {
                    (before.branch, before.seq + 1, before.lamport)
                } else {
                    let mut clock = self.clock(shared);
                    clock.raise(before.branch, u64::from(before.seq));
                    own = Some(clock);
                    (self.begin_branch(author, before.seq + 1, Some(previous)), before.seq + 1, before.lamport)
                }
            }
        };
        for dep in &self.staged_deps {
            let dep = self.nodes[dep.0 as usize];
            lamport = lamport.max(dep.lamport);
            // A dep on the own branch is before `previous`.
            if dep.branch != branch {
                let clock = own.get_or_insert_with(|| self.clocks.get(shared as usize).cloned().unwrap_or_default());
                if let Some(other) = self.clocks.get(dep.clock as usize) {
                    clock.merge(other);
                }
                clock.raise(dep.branch, u64::from(dep.seq));
            }
        }
        self.staged = Some(Staged { id, previous, own_clock: own.is_some() });
        let clock = match own {
            Some(clock) => {
                self.clocks.push(clock);
                self.clocks.len() as u32 - 1
            }
            None => shared,
        };
        self.branches[branch.0 as usize].changes.push(index);
        self.nodes.push(Node { clock, branch, seq, lamport: lamport + 1 });
        index
    }

    fn clock(&self, number: u32) -> Clock {
        self.clocks.get(number as usize).cloned().unwrap_or_default()
    }

    fn begin_branch(&mut self, author: AuthorId, start: u32, fork: Option<ChangeIdx>) -> BranchIdx {
        let branch = BranchIdx(self.branches.len() as u32);
        let number = self.author_number(author.as_bytes()).unwrap_or_else(|| {
            let number = self.authors.len() as u32;
            self.authors.push(Author { id: author, branches: Vec::new() });
            let (authors, mixer) = (&self.authors, &self.mixer);
            let key = |number: &u32| mixer.mix(authors[*number as usize].id.as_bytes());
            self.by_key.insert_unique(key(&number), number, key);
            number
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
        let header = change.header();
        debug_assert_eq!(header.version, VERSION, "changes of another version are not applied");
        let content = Content::Whole(change.ops());
        self.commit_parts(header.document, change.id(), header.time_ms, content, &change.signature());
    }

    /// [`Dag::commit`] of a change that is not at hand as a whole. Author, `previous` and deps (in the order of their ids) are those that were staged; `id` is what
    /// the header hashes to.
    ///
    /// # Panics
    /// If no change is staged.
    pub(crate) fn commit_parts(
        &mut self,
        document: DocumentId,
        id: ChangeId,
        time_ms: u64,
        content: Content<'_>,
        signature: &Signature,
    ) {
        let Some(staged) = self.staged.take() else { panic!("a change is staged") };
        let index = ChangeIdx(self.ids.len() as u32);
        if index.0 == 0 {
            self.document = document;
        }
        debug_assert_eq!(self.document, document, "one graph holds one document's changes");
        let clocks = self.clocks.len();
        if staged.own_clock
            && let Some(clock) = self.clocks.last_mut()
        {
            // Not before: what is judged and refused must leave nothing behind.
            self.sharing.share(clock, clocks);
        }
        let previous = staged.previous.map(|previous| self.ids[previous.0 as usize]);
        let deps = self.staged_deps.iter().map(|dep| self.ids[dep.0 as usize]);
        self.heads.replace(previous.into_iter().chain(deps), id, index);
        self.ids.push(id);
        self.log.push(&self.staged_deps, time_ms, content, &signature.0);
        let (ids, mixer) = (&self.ids, &self.mixer);
        let key = |number: &u32| mixer.mix(&ids[*number as usize].0);
        self.by_id.insert_unique(key(&index.0), index.0, key);
    }

    /// Forgets the staged change.
    ///
    /// # Panics
    /// If no change is staged.
    pub fn discard(&mut self) {
        let Some(staged) = self.staged.take() else { panic!("a change is staged") };
        let Some(node) = self.nodes.pop() else { unreachable!("a staged change has a node") };
        if staged.own_clock {
            self.clocks.pop();
        }
        let branch = &mut self.branches[node.branch.0 as usize];
        branch.changes.pop();
        if branch.changes.is_empty() {
            // The staged change began the branch, so it is the last one everywhere.
            let number = branch.author;
            self.branches.pop();
            let author = &mut self.authors[number as usize];
            author.branches.pop();
            if author.branches.is_empty() {
                let same = |other: &u32| *other == number;
                if let Ok(entry) = self.by_key.find_entry(self.mixer.mix(author.id.as_bytes()), same) {
                    entry.remove();
                }
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
        match self.ids.get(change.0 as usize) {
            Some(id) => *id,
            None => self.staged.as_ref().expect("only a staged change has a number and is not applied").id,
        }
    }

    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        let node = &self.nodes[change.0 as usize];
        if node.branch != branch {
            return self.clocks.get(node.clock as usize).map_or(0, |clock| clock.get(branch));
        }
        if self.branches[branch.0 as usize].start == node.seq { 0 } else { u64::from(node.seq - 1) }
    }

    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        self.ancestor_at(change, self.seq(change).checked_sub(steps)?)
    }

    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        let same = |number: &u32| self.ids[*number as usize] == *id;
        self.by_id.find(self.mixer.mix(&id.0), same).map(|number| ChangeIdx(*number))
    }
}

#[cfg(test)]
mod tests;
