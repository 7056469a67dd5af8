//! An insert-only B+-tree over tokens: the flat form of the Fugue tree that `super` keeps.
//!
//! Rules:
//! - A token never leaves the tree, so nodes only ever split, always in the middle. The height is therefore logarithmic
//!   whatever the order of insertion, with no randomness that an attacker could guess.
//! - Leaves and inner nodes lie in two arenas and know their parent and their slot in it, so that a token's rank is
//!   found by climbing from its leaf. Whoever owns the tokens remembers each token's leaf; [`TokenTree::insert`] reports
//!   every token that lands in a leaf.
//! - For each child an inner node keeps the number of visible places below (select and rank) and one bit that says
//!   whether there is a place at all (a jump over long runs of brackets).

use super::arena::Arena;

/// Tokens in a leaf: with the header, 256 bytes.
pub(super) const LEAF_CAPACITY: usize = 61;
/// Tokens that one insertion may add: they fit beside the larger half of a full leaf.
pub(super) const MAX_ADDED: usize = LEAF_CAPACITY / 2;
/// Children of an inner node: one bit each in a `u32`.
pub(super) const NODE_CAPACITY: usize = 32;
/// No leaf or node has this number.
pub(super) const NONE: u32 = u32::MAX;
/// The bits of a token that remain for the number of its place.
pub(super) const PLACE_BITS: u32 = 30;

const HIDDEN: u32 = 0;
const VISIBLE: u32 = 1;
const BEGIN: u32 = 2;
const END: u32 = 3;

/// What a token says about its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The place itself stands here.
    Place {
        /// Whether it counts in indexes.
        visible: bool,
    },
    /// The subtrees of the place's left children start here.
    Begin,
    /// The subtrees of the place's right children end here.
    End,
}

/// A place's number and a [`Kind`] in four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token(u32);

impl Token {
    pub(super) const fn new(place: u32, kind: Kind) -> Self {
        debug_assert!(place < 1 << PLACE_BITS);
        let kind = match kind {
            Kind::Place { visible: false } => HIDDEN,
            Kind::Place { visible: true } => VISIBLE,
            Kind::Begin => BEGIN,
            Kind::End => END,
        };
        Self(place << 2 | kind)
    }

    pub(super) fn place(self) -> u32 {
        self.0 >> 2
    }

    pub(super) fn kind(self) -> Kind {
        match self.0 & 3 {
            HIDDEN => Kind::Place { visible: false },
            VISIBLE => Kind::Place { visible: true },
            BEGIN => Kind::Begin,
            _ => Kind::End,
        }
    }

    fn is_place(self) -> bool {
        self.0 & 2 == 0
    }

    pub(super) fn is_visible(self) -> bool {
        self.0 & 3 == VISIBLE
    }
}

/// A token's position: its leaf and the slot in it. Good until the next insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) leaf: u32,
    pub(super) slot: usize,
}

#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) parent: u32,
    /// The leaf that follows in order.
    pub(super) next: u32,
    pub(super) at: u16,
    len: u16,
    tokens: [Token; LEAF_CAPACITY],
}

impl Leaf {
    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens[..usize::from(self.len)]
    }

    pub(super) fn sum(&self) -> Sum {
        Sum::of(self.tokens())
    }
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) at: u16,
    len: u16,
    /// 1 for a node over leaves.
    pub(super) level: u32,
    /// Bit i: a place stands below child i.
    places: u32,
    children: [u32; NODE_CAPACITY],
    visible: [u32; NODE_CAPACITY],
}

impl Node {
    fn new(level: u32) -> Self {
        Self {
            parent: NONE,
            at: 0,
            len: 0,
            level,
            places: 0,
            children: [NONE; NODE_CAPACITY],
            visible: [0; NODE_CAPACITY],
        }
    }

    /// What the node believes of its child at `slot`.
    pub(super) fn sum_of(&self, slot: usize) -> Sum {
        Sum { visible: self.visible[slot], places: self.places >> slot & 1 == 1 }
    }

    pub(super) fn sum(&self) -> Sum {
        Sum { visible: self.visible[..usize::from(self.len)].iter().sum(), places: self.places != 0 }
    }

    fn set_sum(&mut self, slot: usize, sum: Sum) {
        self.visible[slot] = sum.visible;
        self.places = self.places & !(1 << slot) | u32::from(sum.places) << slot;
    }

    /// Makes room at `slot` and puts a child there.
    fn put(&mut self, slot: usize, child: u32, sum: Sum) {
        let len = usize::from(self.len);
        self.children.copy_within(slot..len, slot + 1);
        self.visible.copy_within(slot..len, slot + 1);
        let below = (1u32 << slot) - 1;
        self.places = self.places & below | (self.places & !below) << 1;
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
        self.places &= (1u32 << keep) - 1;
        upper
    }
}

/// What an inner node keeps of each child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sum {
    pub(super) visible: u32,
    pub(super) places: bool,
}

impl Sum {
    fn of(tokens: &[Token]) -> Self {
        Self { visible: count_visible(tokens) as u32, places: tokens.iter().any(|token| token.is_place()) }
    }
}

fn count_visible(tokens: &[Token]) -> usize {
    tokens.iter().map(|token| usize::from(token.is_visible())).sum()
}

/// Tokens that are looked at together, without a branch in between.
const CHUNK: usize = 8;

/// The tree. Never empty: it starts with one token, before which nothing is ever inserted.
#[derive(Clone)]
pub(super) struct TokenTree {
    pub(super) leaves: Arena<Leaf>,
    pub(super) nodes: Arena<Node>,
    /// Number of the topmost node: a leaf if `height` is 0.
    pub(super) root: u32,
    pub(super) height: u32,
    visible: usize,
    /// Where the last insertion put its last place: typing asks for that one next.
    recent: Spot,
}

impl TokenTree {
    /// A tree of the one token `first`, which stays first, in leaf 0 for good.
    pub(super) fn new(first: Token) -> Self {
        let leaf = Leaf { parent: NONE, next: NONE, at: 0, len: 1, tokens: [first; LEAF_CAPACITY] };
        let mut leaves = Arena::new();
        leaves.push(leaf);
        Self {
            leaves,
            nodes: Arena::new(),
            root: 0,
            height: 0,
            visible: count_visible(&[first]),
            recent: Spot { leaf: 0, slot: 0 },
        }
    }

    /// Number of visible places.
    pub(super) fn visible(&self) -> usize {
        self.visible
    }

    /// The slot of `token` in `leaf`, which the caller knows to hold it.
    pub(super) fn find(&self, leaf: u32, token: Token) -> Spot {
        let tokens = self.leaves[leaf].tokens();
        let hint = self.recent;
        if hint.leaf == leaf && tokens.get(hint.slot) == Some(&token) {
            return hint;
        }
        let slot = tokens
            .iter()
            .position(|&held| held == token)
            .expect("the owner of the tokens is told of every move, so its note of the leaf is right");
        Spot { leaf, slot }
    }

    /// The token at a spot.
    pub(super) fn token(&self, spot: Spot) -> Token {
        self.leaves[spot.leaf].tokens()[spot.slot]
    }

    /// Inserts `added` before what stands at `spot` (whose slot may be one past its leaf's last). `moved` hears of every
    /// token that gets a new leaf, the added ones included.
    ///
    /// # Panics
    /// If there are more than [`MAX_ADDED`].
    pub(super) fn insert(&mut self, spot: Spot, added: &[Token], mut moved: impl FnMut(Token, u32)) {
        assert!(added.len() <= MAX_ADDED, "too many tokens at once");
        let Spot { mut leaf, mut slot } = spot;
        if usize::from(self.leaves[leaf].len) + added.len() > LEAF_CAPACITY {
            let upper = self.split_leaf(leaf, &mut moved);
            let kept = usize::from(self.leaves[leaf].len);
            if slot > kept {
                (leaf, slot) = (upper, slot - kept);
            }
        }
        let room = &mut self.leaves[leaf];
        let len = usize::from(room.len);
        room.tokens.copy_within(slot..len, slot + added.len());
        room.tokens[slot..slot + added.len()].copy_from_slice(added);
        room.len += added.len() as u16;
        for &token in added {
            moved(token, leaf);
        }
        let last = added.iter().rposition(|token| token.is_place());
        self.recent = Spot { leaf, slot: slot + last.unwrap_or(0) };
        let sum = Sum::of(added);
        self.visible += sum.visible as usize;
        self.add_above(leaf, sum.visible, sum.places);
    }

    /// Shows or hides the place at `spot`. Nothing happens if it is so already.
    pub(super) fn set_visible(&mut self, spot: Spot, visible: bool) {
        let token = &mut self.leaves[spot.leaf].tokens[spot.slot];
        debug_assert!(token.is_place());
        if token.is_visible() == visible {
            return;
        }
        *token = Token::new(token.place(), Kind::Place { visible });
        if visible {
            self.visible += 1;
            self.add_above(spot.leaf, 1, false);
        } else {
            self.visible -= 1;
            self.add_above(spot.leaf, 1u32.wrapping_neg(), false);
        }
    }

    /// Where the visible place stands that has `index` others before it.
    pub(super) fn nth_visible(&self, index: usize) -> Option<Spot> {
        if index >= self.visible {
            return None;
        }
        let mut left = u32::try_from(index).ok()?;
        let mut child = self.root;
        for _ in 0..self.height {
            let node = &self.nodes[child];
            let mut slot = 0;
            while left >= node.visible[slot] {
                left -= node.visible[slot];
                slot += 1;
            }
            child = node.children[slot];
        }
        let mut left = left as usize;
        let mut slot = 0;
        for chunk in self.leaves[child].tokens().chunks(CHUNK) {
            let visible = count_visible(chunk);
            if left < visible {
                let mut shown = (slot..).zip(chunk).filter(|(_, token)| token.is_visible());
                return shown.nth(left).map(|(slot, _)| Spot { leaf: child, slot });
            }
            left -= visible;
            slot += CHUNK;
        }
        None
    }

    /// The first token after `spot` that stands for a place.
    pub(super) fn next_place(&self, spot: Spot) -> Option<Token> {
        let leaf = &self.leaves[spot.leaf];
        let here = leaf.tokens()[spot.slot + 1..].iter();
        if let Some(token) = here.copied().find(|token| token.is_place()) {
            return Some(token);
        }
        let (mut above, mut at) = (leaf.parent, leaf.at);
        let mut child = loop {
            if above == NONE {
                return None;
            }
            let node = &self.nodes[above];
            let later = u64::from(node.places) >> (at + 1) << (at + 1);
            if later != 0 {
                break node.children[later.trailing_zeros() as usize];
            }
            (above, at) = (node.parent, node.at);
        };
        for _ in 1..self.nodes[above].level {
            let node = &self.nodes[child];
            child = node.children[node.places.trailing_zeros() as usize];
        }
        let tokens = self.leaves[child].tokens().iter();
        tokens.copied().find(|token| token.is_place())
    }

    /// The visible places from `spot` on, in order.
    pub(super) fn visible_from(&self, spot: Option<Spot>) -> impl Iterator<Item = u32> + '_ {
        let first = spot.map(|spot| (spot.leaf, spot.slot));
        std::iter::successors(first, |&(leaf, _)| match self.leaves[leaf].next {
            NONE => None,
            next => Some((next, 0)),
        })
        .flat_map(|(leaf, slot)| &self.leaves[leaf].tokens()[slot..])
        .filter(|token| token.is_visible())
        .map(|token| token.place())
    }

    /// Adds to what the nodes above `leaf` know of it. `visible` is added modulo 2^32, so that it can also take away.
    fn add_above(&mut self, leaf: u32, visible: u32, places: bool) {
        let leaf = &self.leaves[leaf];
        let (mut above, mut at) = (leaf.parent, leaf.at);
        while above != NONE {
            let node = &mut self.nodes[above];
            let bit = u32::from(places) << at;
            if visible == 0 && node.places & bit == bit {
                // Where the bit is set here, it is set all the way up.
                return;
            }
            let count = &mut node.visible[usize::from(at)];
            *count = count.wrapping_add(visible);
            node.places |= bit;
            (above, at) = (node.parent, node.at);
        }
    }

    /// Moves the upper half of a leaf into a new one and returns that one's number.
    fn split_leaf(&mut self, leaf: u32, moved: &mut impl FnMut(Token, u32)) -> u32 {
        let upper = self.leaves.len() as u32;
        let lower = &mut self.leaves[leaf];
        let len = usize::from(lower.len);
        let keep = len / 2;
        let mut new = lower.clone();
        new.tokens.copy_within(keep..len, 0);
        new.len = (len - keep) as u16;
        lower.len = keep as u16;
        lower.next = upper;
        let sums = (lower.sum(), new.sum());
        for &token in new.tokens() {
            moved(token, upper);
        }
        self.leaves.push(new);
        self.attach((leaf, sums.0), (upper, sums.1));
        upper
    }

    /// Enters a new leaf beside the one it was split from, and splits the full nodes above. Both sums are those after
    /// the split; together they are what the nodes above know already.
    fn attach(&mut self, mut lower: (u32, Sum), mut upper: (u32, Sum)) {
        for level in 0..self.height {
            let (above, at) = if level == 0 {
                let leaf = &self.leaves[lower.0];
                (leaf.parent, usize::from(leaf.at))
            } else {
                let node = &self.nodes[lower.0];
                (node.parent, usize::from(node.at))
            };
            let beside = self.nodes.len() as u32;
            let node = &mut self.nodes[above];
            node.set_sum(at, lower.1);
            if usize::from(node.len) < NODE_CAPACITY {
                node.put(at + 1, upper.0, upper.1);
                self.adopt(above, at + 1);
                return;
            }
            const KEEP: usize = NODE_CAPACITY / 2;
            let mut other = node.split_off(KEEP);
            if at + 1 > KEEP {
                other.put(at + 1 - KEEP, upper.0, upper.1);
            } else {
                node.put(at + 1, upper.0, upper.1);
            }
            (lower, upper) = ((above, node.sum()), (beside, other.sum()));
            self.nodes.push(other);
            self.adopt(above, at.min(KEEP));
            self.adopt(beside, 0);
        }
        self.height += 1;
        let mut root = Node::new(self.height);
        root.put(0, lower.0, lower.1);
        root.put(1, upper.0, upper.1);
        self.root = self.nodes.len() as u32;
        self.nodes.push(root);
        self.adopt(self.root, 0);
    }

    /// Tells the children of `parent` from slot `from` on where they stand.
    fn adopt(&mut self, parent: u32, from: usize) {
        let node = &self.nodes[parent];
        let (level, len, children) = (node.level, usize::from(node.len), node.children);
        for (at, &child) in children[..len].iter().enumerate().skip(from) {
            let at = at as u16;
            if level == 1 {
                let leaf = &mut self.leaves[child];
                (leaf.parent, leaf.at) = (parent, at);
            } else {
                let node = &mut self.nodes[child];
                (node.parent, node.at) = (parent, at);
            }
        }
    }
}
