//! A persistent map from branch to the largest `seq` in a change's causal past: the clock that answers every causal-past test without a
//! walk of the graph.
//!
//! It is a radix tree over the branch number with shared nodes (path copying, as in Driscoll, Sarnak, Sleator, Tarjan: Making data
//! structures persistent, 1989). A clock differs from its parents' in few entries, so most of its nodes are theirs; merging skips
//! whatever two clocks share. Leaves hold eight branches: a group of up to eight honest authors pays 48 bytes for a clock that is not shared whole.

use std::collections::HashSet;
use std::sync::Arc;

use crate::causality::BranchIdx;

const LEAF_BITS: u32 = 3;
const LEAF: usize = 1 << LEAF_BITS;
const INNER_BITS: u32 = 2;
const INNER: usize = 1 << INNER_BITS;

/// Sequence numbers of applied changes fit 32 bits: change n of a chain has n − 1 applied ancestors, and changes are numbered by `u32`.
type Seq = u32;

/// Most slots of [`Sharing`]: a megabyte.
const MOST_SLOTS: usize = 1 << 16;
/// Fewest, once there are any.
const FEWEST_SLOTS: usize = 1 << 10;

#[derive(Debug, Clone, Default)]
enum Node {
    #[default]
    Empty,
    Leaf(Arc<[Seq; LEAF]>),
    Inner(Arc<[Node; INNER]>),
}

/// Branch → largest `seq` in the past; absent branches count as 0. Cloning costs two words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    root: Node,
    /// Invariant: the root covers `LEAF << (INNER_BITS * height)` branches. 0 while it is empty or a leaf.
    height: u32,
}

impl Clock {
    /// The clock of a change without ancestors.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The entry of a branch.
    pub(crate) fn get(&self, branch: BranchIdx) -> u64 {
        if !covers(self.height, branch) {
            return 0;
        }
        let mut node = &self.root;
        let mut height = self.height;
        loop {
            match node {
                Node::Empty => return 0,
                Node::Leaf(leaf) => return u64::from(leaf[branch.0 as usize % LEAF]),
                Node::Inner(children) => {
                    height -= 1;
                    node = &children[slot(branch, height)];
                }
            }
        }
    }

    /// Raises the entry of a branch to at least `seq`.
    pub(crate) fn raise(&mut self, branch: BranchIdx, seq: u64) {
        let seq =
            Seq::try_from(seq).expect("an applied change's seq is at most the number of changes, which fits 32 bits");
        if self.get(branch) >= u64::from(seq) {
            return;
        }
        while !covers(self.height, branch) {
            self.grow();
        }
        let mut node = &mut self.root;
        for height in (0..self.height).rev() {
            if let Node::Empty = node {
                *node = Node::Inner(Arc::default());
            }
            let Node::Inner(children) = node else { unreachable!("nodes above the lowest level are inner nodes") };
            node = &mut Arc::make_mut(children)[slot(branch, height)];
        }
        if let Node::Empty = node {
            *node = Node::Leaf(Arc::default());
        }
        let Node::Leaf(leaf) = node else { unreachable!("nodes on the lowest level are leaves") };
        Arc::make_mut(leaf)[branch.0 as usize % LEAF] = seq;
    }

    /// Raises every entry to at least that of `other`. Costs the nodes in which the two differ.
    pub(crate) fn merge(&mut self, other: &Clock) {
        let mut other = other.clone();
        while self.height < other.height {
            self.grow();
        }
        while other.height < self.height {
            other.grow();
        }
        merge(&mut self.root, &other.root);
    }

    /// Bytes on the heap of all `clocks` together, what they share counted once. Visits every node.
    pub(crate) fn heap_bytes(clocks: &[Clock]) -> usize {
        let mut seen = HashSet::new();
        let mut bytes = 0;
        let mut stack: Vec<&Node> = clocks.iter().map(|clock| &clock.root).collect();
        while let Some(node) = stack.pop() {
            match node {
                Node::Empty => {}
                Node::Leaf(leaf) => {
                    bytes += usize::from(seen.insert(Arc::as_ptr(leaf).addr())) * (16 + size_of::<[Seq; LEAF]>());
                }
                Node::Inner(children) => {
                    if seen.insert(Arc::as_ptr(children).addr()) {
                        bytes += 16 + size_of::<[Node; INNER]>();
                        stack.extend(children.iter());
                    }
                }
            }
        }
        bytes
    }

    fn grow(&mut self) {
        let below = std::mem::take(&mut self.root);
        if !matches!(below, Node::Empty) {
            self.root = Node::Inner(Arc::new([below, Node::Empty, Node::Empty, Node::Empty]));
        }
        self.height += 1;
    }
}

/// Finds nodes that say the same and were made by different merges. Where a thousand authors merge the same thousand heads, each makes the same nodes anew; without
/// this, they would take changes times branches.
///
/// A cache and no table: a slot keeps the node that was last filed there, so that it is bounded, nodes that nobody uses any more go sooner or later, and a miss costs
/// memory only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sharing {
    /// A power of two, as many as there are clocks within the bounds.
    slots: Vec<Node>,
}

impl Sharing {
    /// Puts nodes that were made before in the place of equal ones that `clock` alone holds. `clocks` is how many clocks there are.
    pub(crate) fn share(&mut self, clock: &mut Clock, clocks: usize) {
        // A single leaf is no more than its clock takes anyway.
        if clock.height == 0 {
            return;
        }
        let wanted = clocks.next_power_of_two().clamp(FEWEST_SLOTS, MOST_SLOTS);
        if wanted > self.slots.len() {
            let before = std::mem::replace(&mut self.slots, vec![Node::Empty; wanted]);
            for node in before.into_iter().filter(|node| !matches!(node, Node::Empty)) {
                let slot = self.slot(&node);
                self.slots[slot] = node;
            }
        }
        self.share_node(&mut clock.root);
    }

    /// The recursion is as deep as the tree is high: at most 15.
    fn share_node(&mut self, node: &mut Node) {
        match node {
            Node::Leaf(leaf) if Arc::strong_count(leaf) == 1 => {}
            Node::Inner(children) => match Arc::get_mut(children) {
                Some(children) => children.iter_mut().for_each(|child| self.share_node(child)),
                None => return,
            },
            _ => return,
        }
        // Two slots for each place: of two nodes that meet in one, neither drives the other out for ever.
        let slot = self.slot(node);
        let equal = |filed: &Node| match (&*node, filed) {
            (Node::Leaf(a), Node::Leaf(b)) => a == b,
            (Node::Inner(a), Node::Inner(b)) => same(a, b),
            _ => false,
        };
        if let Some(found) = [slot, slot ^ 1].into_iter().find(|slot| equal(&self.slots[*slot])) {
            *node = self.slots[found].clone();
            // The one that was not asked for goes next.
            if found != slot {
                self.slots.swap(slot, slot ^ 1);
            }
        } else {
            self.slots[slot ^ 1] = std::mem::replace(&mut self.slots[slot], node.clone());
        }
    }

    /// Where a node belongs, by its entries or by which children it has: the first of two slots.
    fn slot(&self, node: &Node) -> usize {
        let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let hash = match node {
            Node::Empty => 0,
            Node::Leaf(leaf) => leaf.iter().fold(1, |hash, seq| mix(hash, u64::from(*seq))),
            Node::Inner(children) => children.iter().fold(2, |hash, child| {
                let address = match child {
                    Node::Empty => 0,
                    Node::Leaf(leaf) => Arc::as_ptr(leaf).addr(),
                    Node::Inner(children) => Arc::as_ptr(children).addr(),
                };
                mix(hash, address as u64)
            }),
        };
        (hash ^ hash >> 32) as usize & (self.slots.len() - 2)
    }

    /// Bytes on the heap, nodes not counted.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Node>()
    }
}

fn covers(height: u32, branch: BranchIdx) -> bool {
    let bits = LEAF_BITS + INNER_BITS * height;
    bits >= u32::BITS || branch.0 >> bits == 0
}

fn slot(branch: BranchIdx, height: u32) -> usize {
    (branch.0 >> (LEAF_BITS + INNER_BITS * height)) as usize % INNER
}

/// Merges `from` into `into`, both of one height. The recursion is as deep as the tree is high: at most 15.
fn merge(into: &mut Node, from: &Node) {
    match (&mut *into, from) {
        (_, Node::Empty) => {}
        (Node::Empty, _) => *into = from.clone(),
        (Node::Leaf(a), Node::Leaf(b)) => {
            if Arc::ptr_eq(a, b) || a.iter().zip(b.iter()).all(|(a, b)| a >= b) {
                return;
            }
            if a.iter().zip(b.iter()).all(|(a, b)| a <= b) {
                *a = b.clone();
                return;
            }
            for (a, b) in Arc::make_mut(a).iter_mut().zip(b.iter()) {
                *a = (*a).max(*b);
            }
        }
        (Node::Inner(a), Node::Inner(b)) => {
            if Arc::ptr_eq(a, b) {
                return;
            }
            // Merged aside first: when nothing changes, or everything comes from one side, its node goes on being shared.
            let mut merged = (**a).clone();
            for (a, b) in merged.iter_mut().zip(b.iter()) {
                merge(a, b);
            }
            if same(&merged, b) {
                *a = b.clone();
            } else if !same(&merged, a) {
                *a = Arc::new(merged);
            }
        }
        _ => unreachable!("nodes of one height are of one kind"),
    }
}

fn same(a: &[Node; INNER], b: &[Node; INNER]) -> bool {
    a.iter().zip(b).all(|(a, b)| match (a, b) {
        (Node::Empty, Node::Empty) => true,
        (Node::Leaf(a), Node::Leaf(b)) => Arc::ptr_eq(a, b),
        (Node::Inner(a), Node::Inner(b)) => Arc::ptr_eq(a, b),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn clock(entries: &BTreeMap<u32, u32>) -> Clock {
        let mut clock = Clock::default();
        for (branch, seq) in entries {
            clock.raise(BranchIdx(*branch), u64::from(*seq));
        }
        clock
    }

    /// Small numbers mostly, so that clocks meet in nodes; large ones too, so that they grow.
    fn entries() -> impl Strategy<Value = BTreeMap<u32, u32>> {
        let branch = prop_oneof![4 => 0u32..40, 1 => 0u32..4000, 1 => any::<u32>()];
        proptest::collection::btree_map(branch, 1u32..50, 0..30)
    }

    proptest! {
        #[test]
        fn merging_takes_the_greatest_of_each_entry(a in entries(), b in entries()) {
            let mut merged = clock(&a);
            let before = merged.clone();
            merged.merge(&clock(&b));
            for branch in a.keys().chain(b.keys()) {
                let (in_a, in_b) = (a.get(branch).copied().unwrap_or(0), b.get(branch).copied().unwrap_or(0));
                prop_assert_eq!(merged.get(BranchIdx(*branch)), u64::from(in_a.max(in_b)));
                prop_assert_eq!(before.get(BranchIdx(*branch)), u64::from(in_a), "the clock that was cloned is as it was");
            }
            prop_assert_eq!(merged.get(BranchIdx(39)), u64::from(a.get(&39).max(b.get(&39)).copied().unwrap_or(0)));
        }
    }

    #[test]
    fn equal_nodes_of_different_merges_become_one() {
        let mut sharing = Sharing::default();
        let heads: Vec<Clock> =
            (0..64).map(|n| clock(&(16 * n..16 * n + 16).map(|branch| (branch, 1)).collect())).collect();
        let merged: Vec<Clock> = (0..100)
            .map(|author| {
                let mut clock = clock(&BTreeMap::from([(1024 + author, 7)]));
                for head in &heads {
                    clock.merge(head);
                }
                sharing.share(&mut clock, 100);
                clock
            })
            .collect();
        for (author, clock) in merged.iter().enumerate() {
            let all = (0..1024).all(|branch| clock.get(BranchIdx(branch)) == 1);
            assert!(all && clock.get(BranchIdx(1024 + author as u32)) == 7, "sharing changes nothing that is said");
            let own = (1024..1124).filter(|branch| clock.get(BranchIdx(*branch)) > 0);
            assert_eq!(own.count(), 1);
        }
        // What differs is each author's own entry and what stands above it.
        let each = Clock::heap_bytes(&merged[50..]) / 50;
        assert!(each < 1_000, "{each} bytes a clock of 1,024 entries");
    }

    #[test]
    fn merging_with_a_descendant_shares_its_nodes() {
        let mut a = Clock::default();
        for branch in 0..1000 {
            a.raise(BranchIdx(branch), 1);
        }
        let mut b = a.clone();
        b.raise(BranchIdx(500), 2);
        a.merge(&b);
        let (Node::Inner(a), Node::Inner(b)) = (&a.root, &b.root) else {
            panic!("a thousand branches need inner nodes")
        };
        assert!(Arc::ptr_eq(a, b));
    }
}
