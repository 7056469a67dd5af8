//! What is kept of one container: where it hangs, what it holds, and which of its operations are uncovered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::ContainerIdx;
use super::live::{Runs, Steps};
use super::sequence::{PlaceIdx, Sequence};
use bft_json_crdt::causality::{BranchIdx, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::value::Value;

/// A place's standing in the one order: (lamport, id, offset). The id of a local change that is still being written is zeros until
/// [`super::Document::seal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// Fits: a lamport is at most the number of changes, which 32 bits count.
    pub(super) lamport: u32,
    pub(super) id: ChangeId,
    pub(super) offset: u32,
}

/// What a container hangs from.
#[derive(Clone)]
pub(super) enum Up {
    Root,
    Key(ContainerIdx, Arc<str>),
    /// An element of a list, by its number in [`ListBody::elements`].
    Element(ContainerIdx, u32),
}

#[derive(Clone)]
pub(super) struct Container {
    pub(super) up: Up,
    pub(super) kind: Kind,
    pub(super) depth: u32,
    /// For each branch, ascending, the latest uncovered ensure: what covers it covers the earlier ones too.
    pub(super) ensures: Vec<(BranchIdx, u64)>,
    pub(super) body: Body,
}

#[derive(Clone)]
pub(super) enum Body {
    /// Register or multi-value register: the uncovered sets that are in no other's causal past, in the one order. A set that is in
    /// another's past can be forgotten: whatever covers the later one covers it too, and it is lower in the one order.
    Register(Vec<Write>),
    Counter(Steps),
    Map(Box<MapBody>),
    /// Shared with all empty ones until something is inserted: an element that holds an empty list takes four bytes in a change, and most of a
    /// kilobyte in memory if each had its own.
    List(Arc<ListBody>),
    Text(Arc<TextBody>),
}

#[derive(Clone)]
pub(super) struct Write {
    pub(super) change: ChangeIdx,
    pub(super) branch: BranchIdx,
    pub(super) seq: u64,
    pub(super) value: Value,
}

/// The containers under one key, lowest kind first; at most one of each kind.
pub(super) type Slot = Vec<(Kind, ContainerIdx)>;

#[derive(Debug, Clone, Default)]
pub(super) struct MapBody {
    /// The keys under which something lives.
    pub(super) living: BTreeMap<Arc<str>, Slot>,
    /// The keys under which something was mentioned, but nothing lives. Invariant: shares no key with `living`.
    pub(super) gone: BTreeMap<Arc<str>, Slot>,
    /// For each child and each branch that has uncovered operations at or below it: the least `seq` among them. So whatever a clear covers is
    /// found without looking at what it does not.
    pub(super) index: BTreeSet<(BranchIdx, u64, ContainerIdx)>,
}

impl MapBody {
    pub(super) fn slot(&self, key: &str) -> Option<&Slot> {
        self.living.get(key).or_else(|| self.gone.get(key))
    }
}

#[derive(Clone)]
pub(super) struct ListBody {
    pub(super) sequence: Sequence<Stamp>,
    /// For each place the number of its element.
    pub(super) element_of: Vec<u32>,
    pub(super) elements: Vec<Entry>,
    /// The uncovered inserts. What lies inside elements needs no index here: whatever covers it covers the insert too, which kills the element
    /// with all that is in it.
    pub(super) runs: Runs,
}

/// A list element.
#[derive(Clone)]
pub(super) struct Entry {
    /// The place that its insert made: what names it.
    pub(super) born: PlaceIdx,
    /// Its greatest place in the one order.
    pub(super) place: PlaceIdx,
    pub(super) alive: bool,
    pub(super) content: Content,
}

#[derive(Clone)]
pub(super) enum Content {
    Value(Value),
    /// The value of a deleted element: nothing can show it again.
    Gone,
    /// Kept when the element is deleted: operations still name what is in it.
    Container(ContainerIdx),
}

#[derive(Clone)]
pub(super) struct TextBody {
    /// A character lives while its place is visible.
    pub(super) sequence: Sequence<Stamp>,
    /// For each place its character.
    pub(super) characters: Vec<char>,
    pub(super) runs: Runs,
}

static EMPTY_LIST: LazyLock<Arc<ListBody>> = LazyLock::new(|| {
    let (element_of, elements) = (Vec::new(), Vec::new());
    Arc::new(ListBody { sequence: Sequence::new(), element_of, elements, runs: Runs::default() })
});

static EMPTY_TEXT: LazyLock<Arc<TextBody>> =
    LazyLock::new(|| Arc::new(TextBody { sequence: Sequence::new(), characters: Vec::new(), runs: Runs::default() }));

impl Container {
    pub(super) fn new(up: Up, kind: Kind, depth: u32) -> Self {
        let body = match kind {
            Kind::Register | Kind::MultiRegister => Body::Register(Vec::new()),
            Kind::Counter => Body::Counter(Steps::default()),
            Kind::Map => Body::Map(Box::default()),
            Kind::List => Body::List(EMPTY_LIST.clone()),
            Kind::Text => Body::Text(EMPTY_TEXT.clone()),
        };
        Self { up, kind, depth, ensures: Vec::new(), body }
    }

    /// Whether an uncovered operation stands at or below it, so far as clears of containers above can tell.
    pub(super) fn lives(&self) -> bool {
        !self.ensures.is_empty()
            || match &self.body {
                Body::Register(writes) => !writes.is_empty(),
                Body::Counter(steps) => !steps.is_empty(),
                Body::Map(map) => !map.index.is_empty(),
                Body::List(list) => list.runs.living() > 0,
                Body::Text(text) => text.runs.living() > 0,
            }
    }

    /// The least `seq` of the uncovered operations at or below it on a branch.
    pub(super) fn least(&self, branch: BranchIdx) -> Option<u64> {
        let ensure = self.ensures.binary_search_by_key(&branch, |(of, _)| *of).ok().map(|at| self.ensures[at].1);
        let own = match &self.body {
            Body::Register(writes) => writes.iter().find(|write| write.branch == branch).map(|write| write.seq),
            Body::Counter(steps) => steps.least(branch),
            Body::Map(map) => map
                .index
                .range((branch, 0, ContainerIdx(0))..)
                .next()
                .filter(|(of, ..)| *of == branch)
                .map(|(_, seq, _)| *seq),
            Body::List(list) => list.runs.least(branch),
            Body::Text(text) => text.runs.least(branch),
        };
        match (ensure, own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The branches that have uncovered operations at or below it, each once.
    pub(super) fn branches(&self) -> Vec<BranchIdx> {
        let mut branches: Vec<BranchIdx> = self.ensures.iter().map(|(branch, _)| *branch).collect();
        match &self.body {
            Body::Register(writes) => branches.extend(writes.iter().map(|write| write.branch)),
            Body::Counter(steps) => branches.extend(steps.branches()),
            Body::Map(map) => {
                let mut from = (BranchIdx(0), 0, ContainerIdx(0));
                while let Some(&(branch, ..)) = map.index.range(from..).next() {
                    branches.push(branch);
                    let Some(next) = branch.0.checked_add(1) else { break };
                    from = (BranchIdx(next), 0, ContainerIdx(0));
                }
            }
            Body::List(list) => branches.extend(list.runs.branches()),
            Body::Text(text) => branches.extend(text.runs.branches()),
        }
        branches.sort_unstable();
        branches.dedup();
        branches
    }
}
