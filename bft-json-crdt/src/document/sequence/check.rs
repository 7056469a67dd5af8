//! A sequence's check of itself, for tests and fuzzers: everything that is kept for speed is derived again, and the tree of places is read from the
//! brackets alone.

use std::collections::BTreeMap;

use super::tree::{NONE, Spot, Sum};
use super::{Anchor, Engine, PlaceIdx, Siblings, Token, Weigh, compare};
use crate::causality::Causality;

impl<const L: usize, const N: usize> Engine<L, N> {
    /// Checks every invariant but the order of siblings, in O(n log n).
    ///
    /// # Panics
    /// With the reason, where one is broken.
    pub(crate) fn debug_check(&self, weigh: &impl Weigh) {
        self.origins.debug_check(self.places as usize);
        self.filing.debug_check(self.places);
        let leaves = self.check_tree(weigh);
        self.check_cursor(&leaves);
        let families = self.families(&leaves);
        let anchored: usize = families.values().map(Vec::len).sum();
        assert_eq!(anchored, self.places as usize, "a place is not in the tree");
        for (key, family) in &families {
            let fork = self.forks.get(key).map(|fork| fork.iter().collect::<Vec<u32>>());
            match family[..] {
                [_] => assert_eq!(fork, None, "a fork of one"),
                _ => assert_eq!(fork.as_ref(), Some(family), "a fork is not what the brackets say"),
            }
        }
        let forked = families.values().filter(|family| family.len() > 1).count();
        assert_eq!(self.forks.len(), forked, "a fork without children");
    }

    /// Checks the order of siblings.
    ///
    /// # Panics
    /// If some stand the wrong way.
    pub(crate) fn debug_check_order(&self, causality: &impl Causality) {
        for fork in self.forks.values() {
            let siblings: Vec<u32> = fork.iter().collect();
            for pair in siblings.windows(2) {
                let [a, b] = [pair[0], pair[1]].map(|place| self.origins.of(place));
                assert!(compare(causality, a, b).is_lt(), "siblings stand the wrong way");
            }
        }
    }

    /// The anchor of each place, read from the brackets.
    pub(crate) fn debug_anchors(&self) -> Vec<Anchor> {
        let mut anchors = vec![Anchor::Start; self.places as usize];
        for (key, family) in self.families(&self.leaves_in_order()) {
            for place in family {
                anchors[place as usize] = match (Anchor::Start.key() == key, key & 1 == 1) {
                    (true, _) => Anchor::Start,
                    (false, true) => Anchor::Right(PlaceIdx(key >> 1)),
                    (false, false) => Anchor::Left(PlaceIdx(key >> 1)),
                };
            }
        }
        anchors
    }

    /// How many tokens there are.
    pub(crate) fn token_count(&self) -> usize {
        self.tree.leaves.iter().map(|leaf| leaf.tokens().len()).sum()
    }

    /// Bytes held on the heap, spare capacity included; for the map of forks, which keeps its size to itself, the bytes
    /// of its entries.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.tree.leaves.heap_bytes()
            + self.tree.nodes_bytes()
            + self.filing.heap_bytes()
            + self.origins.heap_bytes()
            + self.forks.values().map(|fork| size_of::<(u32, Siblings)>() + fork.heap_bytes()).sum::<usize>()
    }

    /// Where the bytes are.
    pub(crate) fn debug_bytes(&self) -> String {
        let tree = self.tree.leaves.heap_bytes() + self.tree.nodes_bytes();
        let (filing, origins) = (self.filing.heap_bytes(), self.origins.heap_bytes());
        format!("tree {tree}, filing {filing}, origins {origins}, forks {}", self.forks.len())
    }

    fn leaves_in_order(&self) -> Vec<u32> {
        if self.places == 0 {
            return Vec::new();
        }
        std::iter::successors(Some(0), |&leaf| Some(self.tree.leaves[leaf].next).filter(|next| *next != NONE)).collect()
    }

    /// Checks nodes, sums, links, tokens and the filing. Returns the leaves in order.
    fn check_tree(&self, weigh: &impl Weigh) -> Vec<u32> {
        let tree = &self.tree;
        if self.places == 0 {
            assert_eq!((tree.leaves.len(), tree.nodes.len(), tree.visible), (0, 0, 0), "an empty sequence has a tree");
            return Vec::new();
        }
        let mut layer = vec![tree.root];
        let mut seen = 0;
        for level in (1..=tree.height).rev() {
            let mut below = Vec::new();
            for &number in &layer {
                let node = &tree.nodes[number as usize];
                seen += 1;
                assert_eq!(node.level, level, "a node stands at another level");
                let children = node.children();
                let least = if level == tree.height { 2 } else { N / 2 };
                assert!(children.len() >= least, "a node is too empty");
                for (slot, &child) in children.iter().enumerate() {
                    let (parent, at, sum) = if level == 1 {
                        let leaf = &tree.leaves[child];
                        (leaf.parent, leaf.at, leaf.sum(weigh))
                    } else {
                        let node = &tree.nodes[child as usize];
                        (node.parent, node.at, node.sum())
                    };
                    assert_eq!(parent, number, "a child has another parent");
                    assert_eq!(usize::from(at), slot, "a child has another slot");
                    assert_eq!(sum, node.sum_of(slot), "a node's sums are wrong");
                }
                below.extend_from_slice(children);
            }
            layer = below;
        }
        assert_eq!(seen, tree.nodes.len(), "a node hangs loose");
        assert_eq!(layer.len(), tree.leaves.len(), "a leaf hangs loose");
        assert_eq!(layer, self.leaves_in_order(), "the chain of leaves is broken");
        let back = std::iter::successors(layer.last().copied(), |&leaf| {
            Some(self.tree.leaves[leaf].previous).filter(|previous| *previous != NONE)
        });
        assert!(layer.iter().rev().copied().eq(back), "the chain of leaves is broken backwards");

        let mut whole = Sum::default();
        for &number in &layer {
            let tokens = tree.tokens(number);
            assert!(!tokens.is_empty(), "a leaf is empty");
            for token in tokens {
                assert!(token.len() > 0, "a token without places");
                assert!(!(token.begun() && token.begins() > 0), "a bracket between left children and their parent");
                assert!(!(token.open() && token.ends() > 0), "a bracket between a parent and its right children");
                for place in [token.start(), token.end() - 1] {
                    assert_eq!(self.filing.leaf_of(place), number, "a place stands in another leaf than filed");
                }
                whole = whole.then(Sum::of(*token, weigh));
            }
        }
        assert_eq!((whole.visible, whole.extra), (tree.visible, tree.extra), "the totals are wrong");
        assert_eq!((whole.net, whole.min), (0, 0), "the brackets are not balanced");
        layer
    }

    fn check_cursor(&self, leaves: &[u32]) {
        let Some(position) = leaves.iter().position(|leaf| *leaf == self.cursor.spot.leaf) else {
            assert!(leaves.is_empty(), "the cursor is lost");
            return;
        };
        let Spot { leaf, slot } = self.cursor.spot;
        assert!(slot < self.tree.tokens(leaf).len(), "the cursor is at no token");
        let shown = |tokens: &[Token]| tokens.iter().map(|token| token.shown()).sum::<u32>();
        let before = leaves[..position].iter().map(|leaf| shown(self.tree.tokens(*leaf))).sum::<u32>()
            + shown(&self.tree.tokens(leaf)[..slot]);
        assert!([before, NONE].contains(&self.cursor.before), "the cursor has miscounted");
    }

    /// The children of each anchor in their order, by its key, read from the brackets.
    fn families(&self, leaves: &[u32]) -> BTreeMap<u32, Vec<u32>> {
        /// The children between two brackets.
        struct Frame {
            /// `None` for left children: their parent comes behind them.
            key: Option<u32>,
            children: Vec<u32>,
        }
        let mut families = BTreeMap::new();
        let mut family = |key: u32, children: Vec<u32>| {
            assert!(!children.is_empty(), "brackets around nothing");
            if key != Anchor::Start.key() {
                assert!(children.iter().all(|child| key >> 1 < *child), "a place is older than its parent");
            }
            assert!(families.insert(key, children).is_none(), "a place stands twice");
        };
        let mut stack = vec![Frame { key: Some(Anchor::Start.key()), children: Vec::new() }];
        let mut left: Option<Vec<u32>> = None;
        for token in leaves.iter().flat_map(|leaf| self.tree.tokens(*leaf)) {
            assert_eq!(token.begun(), left.is_some(), "left children are not noted");
            if let Some(children) = left.take() {
                family(Anchor::Left(PlaceIdx(token.start())).key(), children);
            }
            stack.extend((0..token.begins()).map(|_| Frame { key: None, children: Vec::new() }));
            for place in token.start()..token.end() {
                stack.last_mut().expect("the start's frame stays").children.push(place);
                if place + 1 < token.end() || token.open() {
                    let key = Some(Anchor::Right(PlaceIdx(place)).key());
                    stack.push(Frame { key, children: Vec::new() });
                }
            }
            for _ in 0..token.ends() {
                assert!(left.is_none(), "a bracket between left children and their parent");
                let frame = stack.pop().expect("the brackets are balanced");
                match frame.key {
                    Some(key) => family(key, frame.children),
                    None => left = Some(frame.children),
                }
            }
        }
        assert!(left.is_none(), "left children without parent");
        let Some(last) = stack.pop().filter(|_| stack.is_empty()) else { panic!("a bracket does not close") };
        if self.places > 0 {
            family(Anchor::Start.key(), last.children);
        }
        families
    }
}
