//! A B+-tree over tokens: the flat form of the Fugue tree that `super` keeps.
//!
//! Rules:
//! - Leaves never become empty and nodes only ever split, inner nodes in the middle. The height is therefore logarithmic in the number of
//!   leaves whatever the order of insertion, with no randomness that an attacker could guess.
//! - Leaves and inner nodes are numbered and know their parent and their slot in it, so that a token's rank is found by climbing from its
//!   leaf. Leaf 0 stays the first.
//! - For each child an inner node keeps a [`Sum`]. What edits insert is balanced, so that only splits touch the sums' brackets.

use std::ops::Range;

use super::characters::{Extra, Weigh};
use super::pages::Pages;
use super::token::Token;

/// No leaf or node has this number.
pub(super) const NONE: u32 = u32::MAX;

/// A token's position: its leaf and the slot in it. Good until the next edit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) leaf: u32,
    pub(super) slot: usize,
}

#[derive(Clone)]
pub(super) struct Leaf<const L: usize> {
    pub(super) parent: u32,
    /// The leaf that follows in order.
    pub(super) next: u32,
    /// The leaf before.
    pub(super) previous: u32,
    pub(super) at: u16,
    len: u16,
    tokens: [Token; L],
}

impl<const L: usize> Leaf<L> {
    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens[..usize::from(self.len)]
    }

    pub(super) fn tokens_mut(&mut self) -> &mut [Token] {
        &mut self.tokens[..usize::from(self.len)]
    }

    pub(super) fn sum(&self, weigh: &impl Weigh) -> Sum {
        self.tokens().iter().fold(Sum::default(), |sum, token| sum.then(Sum::of(*token, weigh)))
    }
}

/// What an inner node keeps of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sum {
    /// Visible places.
    pub(super) visible: u32,
    /// What those weigh.
    pub(super) extra: Extra,
    /// By how much the brackets are deeper at its end than at its start.
    pub(super) net: i32,
    /// How deep they are, against its start, at the shallowest boundary of its tokens; the start is one, so that this is never positive.
    pub(super) min: i32,
}

impl Sum {
    pub(super) fn of(token: Token, weigh: &impl Weigh) -> Self {
        let extra = if token.visible() { weigh.weigh(token.start()..token.end()) } else { Extra::default() };
        let net = token.net();
        Self { visible: token.shown(), extra, net, min: net.min(0) }
    }

    /// This and what follows it.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            visible: self.visible + next.visible,
            extra: self.extra + next.extra,
            net: self.net + next.net,
            min: self.min.min(self.net + next.min),
        }
    }
}

#[derive(Clone)]
pub(super) struct Node<const N: usize> {
    pub(super) parent: u32,
    pub(super) at: u16,
    len: u16,
    /// 1 for a node over leaves.
    pub(super) level: u32,
    visible: [u32; N],
    children: [u32; N],
    net: [i32; N],
    min: [i32; N],
    extra: [Extra; N],
}

impl<const N: usize> Node<N> {
    fn new(level: u32) -> Self {
        Self {
            parent: NONE,
            at: 0,
            len: 0,
            level,
            visible: [0; N],
            children: [NONE; N],
            net: [0; N],
            min: [0; N],
            extra: [Extra::default(); N],
        }
    }

    pub(super) fn children(&self) -> &[u32] {
        &self.children[..usize::from(self.len)]
    }

    pub(super) fn visible(&self) -> &[u32] {
        &self.visible[..usize::from(self.len)]
    }

    pub(super) fn net(&self) -> &[i32] {
        &self.net[..usize::from(self.len)]
    }

    pub(super) fn min(&self) -> &[i32] {
        &self.min[..usize::from(self.len)]
    }

    pub(super) fn extra(&self) -> &[Extra] {
        &self.extra[..usize::from(self.len)]
    }

    /// What the node believes of its child at `slot`.
    pub(super) fn sum_of(&self, slot: usize) -> Sum {
        Sum { visible: self.visible[slot], extra: self.extra[slot], net: self.net[slot], min: self.min[slot] }
    }

    pub(super) fn sum(&self) -> Sum {
        (0..usize::from(self.len)).fold(Sum::default(), |sum, slot| sum.then(self.sum_of(slot)))
    }

    fn set_sum(&mut self, slot: usize, sum: Sum) {
        (self.visible[slot], self.extra[slot]) = (sum.visible, sum.extra);
        (self.net[slot], self.min[slot]) = (sum.net, sum.min);
    }

    /// Makes room at `slot` and puts a child there.
    fn put(&mut self, slot: usize, child: u32, sum: Sum) {
        let len = usize::from(self.len);
        self.children.copy_within(slot..len, slot + 1);
        self.visible.copy_within(slot..len, slot + 1);
        self.net.copy_within(slot..len, slot + 1);
        self.min.copy_within(slot..len, slot + 1);
        self.extra.copy_within(slot..len, slot + 1);
        self.children[slot] = child;
        self.len += 1;
        self.set_sum(slot, sum);
    }

    /// Moves the children from `keep` on into a new node.
    fn split_off(&mut self, keep: usize) -> Self {
        let mut upper = Self::new(self.level);
        for slot in keep..usize::from(self.len) {
            upper.put(slot - keep, self.children[slot], self.sum_of(slot));
        }
        self.len = keep as u16;
        upper
    }
}

/// The tree. It has no leaf until the first token comes.
#[derive(Clone)]
pub(super) struct Tree<const L: usize, const N: usize> {
    pub(super) leaves: Pages<Leaf<L>>,
    /// A sixteenth of the leaves in number, so that they need no pages.
    pub(super) nodes: Vec<Node<N>>,
    /// Number of the topmost node: a leaf if `height` is 0.
    pub(super) root: u32,
    pub(super) height: u32,
    /// Number of visible places.
    pub(super) visible: u32,
    /// What those weigh.
    pub(super) extra: Extra,
}

impl<const L: usize, const N: usize> Tree<L, N> {
    pub(super) const fn new() -> Self {
        const { assert!(L >= 4 && L <= 1 << 15, "a split makes room for two tokens") };
        const { assert!(N >= 4 && N <= 1 << 15, "the halves of a split node are nodes") };
        let extra = Extra { utf8: 0, utf16: 0 };
        Self { leaves: Pages::new(), nodes: Vec::new(), root: 0, height: 0, visible: 0, extra }
    }

    /// Bytes that the nodes hold on the heap, spare capacity included.
    pub(super) fn nodes_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<N>>()
    }

    /// Adds the first token to an empty tree; its places are not counted yet.
    pub(super) fn plant(&mut self, first: Token) {
        debug_assert_eq!(self.leaves.len(), 0);
        let mut tokens = [Token::EMPTY; L];
        tokens[0] = first;
        self.leaves.push(Leaf { parent: NONE, next: NONE, previous: NONE, at: 0, len: 1, tokens });
    }

    pub(super) fn tokens(&self, leaf: u32) -> &[Token] {
        self.leaves[leaf].tokens()
    }

    pub(super) fn token(&self, spot: Spot) -> Token {
        self.tokens(spot.leaf)[spot.slot]
    }

    pub(super) fn token_mut(&mut self, spot: Spot) -> &mut Token {
        &mut self.leaves[spot.leaf].tokens_mut()[spot.slot]
    }

    /// The spot after this one.
    pub(super) fn next(&self, spot: Spot) -> Option<Spot> {
        let leaf = &self.leaves[spot.leaf];
        if spot.slot + 1 < usize::from(leaf.len) {
            return Some(Spot { slot: spot.slot + 1, ..spot });
        }
        (leaf.next != NONE).then_some(Spot { leaf: leaf.next, slot: 0 })
    }

    /// Puts a token at a slot of a leaf that has room. Counts nothing.
    pub(super) fn put(&mut self, spot: Spot, token: Token) {
        let leaf = &mut self.leaves[spot.leaf];
        let len = usize::from(leaf.len);
        leaf.tokens.copy_within(spot.slot..len, spot.slot + 1);
        leaf.tokens[spot.slot] = token;
        leaf.len += 1;
    }

    /// Takes out a token that another one of its leaf has taken in.
    pub(super) fn take(&mut self, spot: Spot) {
        let leaf = &mut self.leaves[spot.leaf];
        leaf.tokens.copy_within(spot.slot + 1..usize::from(leaf.len), spot.slot);
        leaf.len -= 1;
        debug_assert!(leaf.len > 0);
    }

    /// Makes room for `more` (1 or 2) tokens in a leaf and answers where the token at `spot` is then; `moved` hears of the places that went to
    /// a new leaf, in as few ranges as they make.
    pub(super) fn room(
        &mut self,
        weigh: &impl Weigh,
        spot: Spot,
        more: usize,
        moved: impl FnMut(Range<u32>, u32),
    ) -> Spot {
        let len = usize::from(self.leaves[spot.leaf].len);
        if len + more <= L {
            return spot;
        }
        // Whoever edits near an end of the leaf mostly goes on there: the side that stays as it is shall be well filled.
        let keep = match spot.slot {
            slot if slot >= len - len / 4 => len - len / 4,
            slot if slot < len / 4 => len / 4,
            _ => len / 2,
        };
        let upper = self.split_leaf(weigh, spot.leaf, keep, moved);
        if spot.slot < keep { spot } else { Spot { leaf: upper, slot: spot.slot - keep } }
    }

    /// Counts places that became visible in a leaf, or invisible.
    pub(super) fn count(&mut self, leaf: u32, visible: bool, places: u32, extra: Extra) {
        let sign = if visible { 1 } else { u32::MAX };
        // Modulo 2^32, so that adding also takes away.
        let times = |n: u32| n.wrapping_mul(sign);
        let places = times(places);
        self.visible = self.visible.wrapping_add(places);
        let leaf = &self.leaves[leaf];
        let (mut above, mut at) = (leaf.parent, usize::from(leaf.at));
        if extra == Extra::default() {
            while above != NONE {
                let node = &mut self.nodes[above as usize];
                node.visible[at] = node.visible[at].wrapping_add(places);
                (above, at) = (node.parent, usize::from(node.at));
            }
            return;
        }
        let add = |sum: &mut Extra| {
            sum.utf8 = sum.utf8.wrapping_add(times(extra.utf8));
            sum.utf16 = sum.utf16.wrapping_add(times(extra.utf16));
        };
        add(&mut self.extra);
        while above != NONE {
            let node = &mut self.nodes[above as usize];
            node.visible[at] = node.visible[at].wrapping_add(places);
            add(&mut node.extra[at]);
            (above, at) = (node.parent, usize::from(node.at));
        }
    }

    /// Number of visible places before a token.
    pub(super) fn visible_before(&self, spot: Spot) -> u32 {
        let leaf = &self.leaves[spot.leaf];
        let (mut above, mut at) = (leaf.parent, usize::from(leaf.at));
        let mut sum = leaf.tokens()[..spot.slot].iter().map(|token| token.shown()).sum();
        while above != NONE {
            let node = &self.nodes[above as usize];
            sum += node.visible[..at].iter().sum::<u32>();
            (above, at) = (node.parent, usize::from(node.at));
        }
        sum
    }

    /// The token that holds the visible place with `index` others before it, and how many visible places stand before the token.
    pub(super) fn nth_visible(&self, index: u32) -> Option<(Spot, u32)> {
        if index >= self.visible {
            return None;
        }
        let mut left = index;
        let mut child = self.root;
        for _ in 0..self.height {
            let node = &self.nodes[child as usize];
            let slot = descend(node.visible().iter().copied(), &mut left)?;
            child = node.children[slot];
        }
        let slot = descend(self.tokens(child).iter().map(|token| token.shown()), &mut left)?;
        Some((Spot { leaf: child, slot }, index - left))
    }

    /// The visible tokens from `spot` on, in order.
    pub(super) fn visible_from(&self, spot: Option<Spot>) -> impl Iterator<Item = Token> + '_ {
        let first = spot.map(|spot| (spot.leaf, spot.slot));
        std::iter::successors(first, |&(leaf, _)| match self.leaves[leaf].next {
            NONE => None,
            next => Some((next, 0)),
        })
        .flat_map(|(leaf, slot)| &self.tokens(leaf)[slot..])
        .filter(|token| token.visible())
        .copied()
    }

    /// Moves the tokens from `keep` on into a new leaf and returns that one's number.
    fn split_leaf(
        &mut self,
        weigh: &impl Weigh,
        leaf: u32,
        keep: usize,
        mut moved: impl FnMut(Range<u32>, u32),
    ) -> u32 {
        let upper = self.leaves.len() as u32;
        let lower = &mut self.leaves[leaf];
        let len = usize::from(lower.len);
        let mut new = lower.clone();
        new.tokens.copy_within(keep..len, 0);
        new.len = (len - keep) as u16;
        new.previous = leaf;
        lower.len = keep as u16;
        lower.next = upper;
        let sums = (lower.sum(weigh), new.sum(weigh));
        // What was typed at once and edited later stands in many tokens, whose numbers lie side by side.
        let mut ranges = [(0, 0); L];
        let ranges = &mut ranges[..len - keep];
        for (range, token) in ranges.iter_mut().zip(new.tokens()) {
            *range = (token.start(), token.end());
        }
        ranges.sort_unstable();
        for run in ranges.chunk_by(|before, after| before.1 == after.0) {
            let ((first, _), (_, end)) = (run[0], run[run.len() - 1]);
            moved(first..end, upper);
        }
        if new.next != NONE {
            self.leaves[new.next].previous = upper;
        }
        self.leaves.push(new);
        self.attach((leaf, sums.0), (upper, sums.1));
        upper
    }

    /// Enters a new leaf beside the one it was split from, and splits the full nodes above. Both sums are those after the split; together they
    /// are what the nodes above know already.
    fn attach(&mut self, mut lower: (u32, Sum), mut upper: (u32, Sum)) {
        for level in 1.. {
            let (parent, at) = match level {
                1 => (self.leaves[lower.0].parent, self.leaves[lower.0].at),
                _ => (self.nodes[lower.0 as usize].parent, self.nodes[lower.0 as usize].at),
            };
            if parent == NONE {
                let mut root = Node::new(level);
                root.put(0, lower.0, lower.1);
                root.put(1, upper.0, upper.1);
                self.root = self.nodes.len() as u32;
                self.height = level;
                self.nodes.push(root);
                self.adopt(self.root, 0);
                return;
            }
            let at = usize::from(at);
            let node = &mut self.nodes[parent as usize];
            node.set_sum(at, lower.1);
            if usize::from(node.len) < N {
                node.put(at + 1, upper.0, upper.1);
                self.adopt(parent, at + 1);
                return;
            }
            let keep = N / 2;
            let mut split = node.split_off(keep);
            if at < keep {
                node.put(at + 1, upper.0, upper.1);
            } else {
                split.put(at + 1 - keep, upper.0, upper.1);
            }
            let number = self.nodes.len() as u32;
            let node = &self.nodes[parent as usize];
            lower = (parent, node.sum());
            upper = (number, split.sum());
            split.parent = node.parent;
            self.nodes.push(split);
            self.adopt(parent, at.min(keep));
            self.adopt(number, 0);
        }
    }

    /// Tells a node's children from a slot on who and where their parent is.
    fn adopt(&mut self, number: u32, from: usize) {
        let node = &self.nodes[number as usize];
        let (level, children, len) = (node.level, node.children, usize::from(node.len));
        for (at, &child) in children[..len].iter().enumerate().skip(from) {
            if level == 1 {
                (self.leaves[child].parent, self.leaves[child].at) = (number, at as u16);
            } else {
                (self.nodes[child as usize].parent, self.nodes[child as usize].at) = (number, at as u16);
            }
        }
    }
}

/// The slot in which a count runs out; takes the slots before it off the count.
#[inline]
pub(super) fn descend(slots: impl Iterator<Item = u32>, left: &mut u32) -> Option<usize> {
    for (slot, count) in slots.enumerate() {
        if *left < count {
            return Some(slot);
        }
        *left -= count;
    }
    None
}
