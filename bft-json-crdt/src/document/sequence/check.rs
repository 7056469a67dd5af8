//! A sequence's check of itself, for tests and fuzzers: the order is recomputed from the anchors and stamps alone, and
//! everything that is kept for speed is compared with it.

use std::collections::BTreeMap;

use super::tree::{Kind, LEAF_CAPACITY, MAX_ADDED, NODE_CAPACITY, NONE, Token};
use super::{Anchor, FORK, PlaceIdx, START, Sequence, Siblings, Weigh, compare};
use crate::causality::Causality;

impl Sequence {
    /// Checks every invariant but the order of siblings, in O(n log n).
    ///
    /// # Panics
    /// With the reason, where one is broken.
    pub(crate) fn debug_check(&self, _weigh: &impl Weigh) {
        self.origins.debug_check(self.places.len());
        let tokens = self.check_tree();
        assert!(tokens == self.expected_tokens(), "the tokens are not the traversal of the tree");
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

    /// Bytes held on the heap, spare capacity included; for the map of forks, which keeps its size to itself, the bytes
    /// of its entries.
    pub(crate) fn heap_bytes(&self) -> usize {
        let tree = &self.tree;
        self.places.heap_bytes()
            + self.origins.heap_bytes()
            + self.forks.values().map(|fork| size_of::<(u32, Siblings)>() + fork.heap_bytes()).sum::<usize>()
            + tree.leaves.heap_bytes()
            + tree.nodes.heap_bytes()
    }

    /// Checks nodes, sums, links and the places' notes of leaves. Returns the tokens in order.
    fn check_tree(&self) -> Vec<Token> {
        let tree = &self.tree;
        let mut layer = vec![tree.root];
        let mut seen = 0;
        for level in (1..=tree.height).rev() {
            let mut below = Vec::new();
            for &number in &layer {
                let node = &tree.nodes[number];
                seen += 1;
                assert_eq!(node.level, level, "a node stands at another level");
                let children = node.children();
                let least = if level == tree.height { 2 } else { NODE_CAPACITY / 2 };
                assert!(children.len() >= least, "a node is too empty");
                for (slot, &child) in children.iter().enumerate() {
                    let (parent, at, sum) = if level == 1 {
                        let leaf = &tree.leaves[child];
                        (leaf.parent, leaf.at, leaf.sum())
                    } else {
                        let node = &tree.nodes[child];
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
        assert_eq!(layer[0], 0, "leaf 0 is not first");

        let mut tokens = Vec::new();
        for (position, &number) in layer.iter().enumerate() {
            let leaf = &tree.leaves[number];
            let next = layer.get(position + 1).copied().unwrap_or(NONE);
            assert_eq!(leaf.next, next, "the chain of leaves is broken");
            // A leaf splits when an insertion does not fit: it then holds at least this much.
            let split = LEAF_CAPACITY + 1 - MAX_ADDED;
            let least = if layer.len() == 1 { 1 } else { split / 2 };
            assert!(leaf.tokens().len() >= least, "a leaf is too empty");
            for &token in leaf.tokens() {
                if token.place() != START {
                    let place = &self.places[token.place()];
                    let noted = match token.kind() {
                        Kind::Place { .. } => place.leaf,
                        Kind::Begin => place.begin_leaf,
                        Kind::End => place.end_leaf,
                    };
                    assert_eq!(noted, number, "a token stands in another leaf than noted");
                }
                tokens.push(token);
            }
        }
        let visible = tokens.iter().filter(|token| token.is_visible()).count();
        assert_eq!(tree.visible(), visible, "the number of visible places is wrong");
        tokens
    }

    /// What the tree of places makes of anchors, the order of siblings and visibility alone. Checks the children fields on the way.
    fn expected_tokens(&self) -> Vec<Token> {
        let mut families: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (number, place) in self.places.iter() {
            let anchor = place.anchor();
            if let Anchor::Left(parent) | Anchor::Right(parent) = anchor {
                assert!(parent.0 < number, "a place is older than its parent");
            }
            families.entry(anchor.key()).or_default().push(number);
        }
        for (key, fork) in &self.forks {
            let ordered: Vec<u32> = fork.iter().collect();
            let mut sorted = ordered.clone();
            sorted.sort_unstable();
            let family = families.insert(*key, ordered);
            assert_eq!(family, Some(sorted), "a fork does not hold the siblings");
        }
        let forked = families.values().filter(|family| family.len() > 1).count();
        assert_eq!(self.forks.len(), forked, "the forks hold too much or too little");

        let family = |anchor: Anchor, noted: u32| {
            let family = families.get(&anchor.key()).map_or(&[][..], Vec::as_slice);
            match *family {
                [] => assert_eq!(noted, NONE, "a child is noted that is none"),
                [only] => assert_eq!(noted, only, "another only child is noted"),
                _ => assert_eq!(noted, FORK, "a fork is not noted"),
            }
            family
        };

        /// One step of the traversal, on a stack of our own: the tree may be deep.
        enum Step {
            Enter(u32),
            Token(Token),
        }
        let mut tokens = Vec::new();
        let mut stack: Vec<Step> = Vec::new();
        let start = Token::new(START, Kind::Place { visible: false });
        let enter = |&child: &u32| Step::Enter(child);
        stack.extend(family(Anchor::Start, self.first).iter().rev().map(enter));
        stack.push(Step::Token(start));
        while let Some(step) = stack.pop() {
            let number = match step {
                Step::Token(token) => {
                    tokens.push(token);
                    continue;
                }
                Step::Enter(number) => number,
            };
            let place = &self.places[number];
            let right = family(Anchor::Right(PlaceIdx(number)), place.right);
            let left = family(Anchor::Left(PlaceIdx(number)), place.left);
            assert_eq!(left.is_empty(), place.begin_leaf == NONE, "begin without left child");
            assert_eq!(right.is_empty(), place.end_leaf == NONE, "end without right child");
            // Pushed in reverse: what is pushed last comes first.
            if !right.is_empty() {
                stack.push(Step::Token(Token::new(number, Kind::End)));
            }
            stack.extend(right.iter().rev().map(enter));
            let visible = place.is_visible();
            stack.push(Step::Token(Token::new(number, Kind::Place { visible })));
            stack.extend(left.iter().rev().map(enter));
            if !left.is_empty() {
                stack.push(Step::Token(Token::new(number, Kind::Begin)));
            }
        }
        tokens
    }
}
