//! The ordered sequence of *places* behind lists and text.
//!
//! A place is where an element stands or once stood. Order follows the Fugue tree of Weidner and Kleppmann, "The Art of
//! the Fugue: Minimizing Interleaving in Collaborative Text Editing" (2023, arXiv:2305.00583):
//! - A place names one parent place and a side of it; the sequence's start stands in for the parent at the very top.
//! - Order is the in-order traversal: the subtrees of the left children in ascending stamp order, the place itself, the
//!   subtrees of the right children in ascending stamp order. Stamps are the document's one order, so every replica
//!   that holds the same places shows them in the same order, whatever came first.
//! - A local insert goes to the right of the place before it if that one has no right child yet, else to the left of
//!   the place that follows that one. Hence what one author writes forward or backward stays together.
//! - A place is never removed. It is visible or not.
//!
//! Where we deviate from the paper: a move makes a further place for the same element, and the places that it overtakes
//! turn invisible, as a deleted element's place does. Which place of an element counts is the document's business;
//! the sequence knows places only. And since authors may lie, a parent may be any place and siblings may be many: no
//! shape of tree makes an operation slower than logarithmic.
//!
//! The tree is kept flat, as brackets in a B+-tree (`tree.rs`). Each place has a token of its own; its first left child
//! makes it a `begin` token and its first right child an `end` token, and so every subtree's ends are at hand:
//! ```text
//!   b ── left ──▶ a             begin(b) a b begin(d) c d f end(b)
//!   └─── right ─▶ d, f          A new right child of b goes behind the subtree of the sibling before it,
//!   d ── left ──▶ c             or right behind b if it is the first.
//! ```
//! The sibling before it comes from an ordered map, which holds only children that have siblings: typing makes chains
//! of only children, and those stand in the place itself.

mod arena;
mod tree;

use std::collections::BTreeMap;

use arena::Arena;
use tree::{Kind, MAX_ADDED, NONE, PLACE_BITS, Spot, Token, TokenTree};

/// The most places that a sequence holds: their numbers fit a token's 30 bits, and the last is the start's. At some 60
/// bytes a place, memory ends long before.
pub(crate) const MAX_PLACES: usize = START as usize;

/// Stands for the sequence's start where a place's number is wanted.
const START: u32 = (1 << PLACE_BITS) - 1;
/// In a place's child field: the children are two or more and stand in `Sequence::forks`.
const FORK: u32 = NONE - 1;

/// A place's number: dense, in the order of insertion into this replica. It has no meaning outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PlaceIdx(u32);

impl PlaceIdx {
    /// As an index into a table that runs beside the sequence.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The place with this number, which a sequence handed out.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// Whose child a place is, and on which side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    /// Right child of the sequence's start.
    Start,
    /// Right child of a place.
    Right(PlaceIdx),
    /// Left child of a place.
    Left(PlaceIdx),
}

impl Anchor {
    /// The parent's number and whether the side is right.
    fn parts(self) -> (u32, bool) {
        match self {
            Self::Start => (START, true),
            Self::Right(parent) => (parent.0, true),
            Self::Left(parent) => (parent.0, false),
        }
    }

    /// Two children are siblings if their anchors' keys are equal.
    fn key(self) -> u32 {
        let (parent, right) = self.parts();
        parent << 1 | u32::from(right)
    }
}

/// What is kept of a place: 24 bytes and its stamp.
#[derive(Clone)]
struct Place<S> {
    stamp: S,
    /// The anchor's key and whether the place is visible (bit 0).
    origin: u32,
    /// The leaf of the place's own token.
    leaf: u32,
    /// The leaf of its begin token. Invariant: `NONE` exactly while it has no left child.
    begin_leaf: u32,
    /// The leaf of its end token. Invariant: `NONE` exactly while it has no right child.
    end_leaf: u32,
    /// `NONE`, the only left child, or `FORK`.
    left: u32,
    /// `NONE`, the only right child, or `FORK`.
    right: u32,
}

impl<S> Place<S> {
    fn is_visible(&self) -> bool {
        self.origin & 1 == 1
    }

    fn anchor(&self) -> Anchor {
        let key = self.origin >> 1;
        match (key >> 1, key & 1 == 1) {
            (START, _) => Anchor::Start,
            (parent, true) => Anchor::Right(PlaceIdx(parent)),
            (parent, false) => Anchor::Left(PlaceIdx(parent)),
        }
    }
}

/// The places of one list or text, in order. Every operation costs O(log n) in the number of places, whatever the shape
/// of the tree; memory is linear.
#[derive(Clone)]
pub(crate) struct Sequence<S> {
    places: Arena<Place<S>>,
    /// Like a place's `right`, for the sequence's start.
    first: u32,
    /// The children that have siblings, by their anchor's key and their stamp.
    forks: BTreeMap<(u32, S), u32>,
    tree: TokenTree,
}

impl<S: Ord + Copy> Sequence<S> {
    /// A sequence without places.
    pub(crate) fn new() -> Self {
        Self {
            places: Arena::new(),
            first: NONE,
            forks: BTreeMap::new(),
            tree: TokenTree::new(Token::new(START, Kind::Place { visible: false })),
        }
    }

    /// Adds a place and returns its number, which is the number of places before. Siblings must differ in their stamps.
    ///
    /// # Panics
    /// If the anchor names a place that is not in this sequence, or at [`MAX_PLACES`].
    pub(crate) fn insert(&mut self, anchor: Anchor, stamp: S, visible: bool) -> PlaceIdx {
        let (parent, right) = anchor.parts();
        let siblings = match (parent, right) {
            (START, _) => self.first,
            (parent, true) => self.places[parent].right,
            (parent, false) => self.places[parent].left,
        };
        let number = self.push(anchor, stamp, visible);
        let own = Token::new(number, Kind::Place { visible });

        if siblings == NONE {
            self.set_children(anchor, number);
            let spot = self.spot(parent);
            match anchor {
                Anchor::Start => self.put(after(spot), &[own]),
                Anchor::Right(_) => self.put(after(spot), &[own, Token::new(parent, Kind::End)]),
                Anchor::Left(_) => self.put(spot, &[Token::new(parent, Kind::Begin), own]),
            }
            return PlaceIdx(number);
        }
        if siblings != FORK {
            let only = self.places[siblings].stamp;
            self.forks.insert((anchor.key(), only), siblings);
            self.set_children(anchor, FORK);
        }
        let key = (anchor.key(), stamp);
        let previous = self.forks.range(..key).next_back();
        let spot = match previous {
            Some((&(siblings_key, _), &sibling)) if siblings_key == key.0 => {
                let leaf = self.places[sibling].end_leaf;
                match leaf {
                    NONE => self.spot(sibling),
                    leaf => self.tree.find(leaf, Token::new(sibling, Kind::End)),
                }
            }
            _ if right => self.spot(parent),
            _ => {
                let leaf = self.places[parent].begin_leaf;
                self.tree.find(leaf, Token::new(parent, Kind::Begin))
            }
        };
        let replaced = self.forks.insert(key, number);
        debug_assert!(replaced.is_none(), "siblings differ in their stamps");
        self.put(after(spot), &[own]);
        PlaceIdx(number)
    }

    /// Adds a place for each stamp, the first at `anchor` and each further one to the right of the one before: what
    /// typing makes. Returns the first one's number (the others follow it), or `None` if there was no stamp.
    pub(crate) fn insert_run(
        &mut self,
        anchor: Anchor,
        stamps: impl IntoIterator<Item = S>,
        visible: bool,
    ) -> Option<PlaceIdx> {
        let mut stamps = stamps.into_iter();
        let first = self.insert(anchor, stamps.next()?, visible);
        let mut head = first.0;
        // A batch needs two tokens a place, and they stand together: those of the places, then, from the inside out, the
        // ends of the subtrees that each place but the last, and the one before the batch, have now.
        let mut tokens = Vec::with_capacity(MAX_ADDED);
        loop {
            tokens.clear();
            let mut before = head;
            for stamp in stamps.by_ref().take(MAX_ADDED / 2) {
                let anchor = Anchor::Right(PlaceIdx(before));
                before = self.push(anchor, stamp, visible);
                self.set_children(anchor, before);
                tokens.push(Token::new(before, Kind::Place { visible }));
            }
            if tokens.is_empty() {
                return Some(first);
            }
            let inner = (head + 1..before).rev();
            tokens.extend(inner.map(|place| Token::new(place, Kind::End)));
            tokens.push(Token::new(head, Kind::End));
            self.put(after(self.spot(head)), &tokens);
            head = before;
        }
    }

    /// Shows or hides a place.
    pub(crate) fn set_visible(&mut self, place: PlaceIdx, visible: bool) {
        let spot = self.spot(place.0);
        self.tree.set_visible(spot, visible);
        let origin = &mut self.places[place.0].origin;
        *origin = *origin & !1 | u32::from(visible);
    }

    /// Whether a place counts in indexes.
    pub(crate) fn is_visible(&self, place: PlaceIdx) -> bool {
        self.places[place.0].is_visible()
    }

    /// The stamp that a place was inserted with.
    pub(crate) fn stamp_of(&self, place: PlaceIdx) -> S {
        self.places[place.0].stamp
    }

    /// Replaces a place's stamp by one that compares with all others as the old one did.
    pub(crate) fn restamp(&mut self, place: PlaceIdx, stamp: S) {
        let held = &mut self.places[place.0];
        let key = held.anchor().key();
        let old = std::mem::replace(&mut held.stamp, stamp);
        if let Some(number) = self.forks.remove(&(key, old)) {
            self.forks.insert((key, stamp), number);
        }
    }

    /// Number of visible places.
    pub(crate) fn visible_len(&self) -> usize {
        self.tree.visible()
    }

    /// The visible place that has `index` visible places before it.
    pub(crate) fn place_at(&self, index: usize) -> Option<PlaceIdx> {
        let spot = self.tree.nth_visible(index)?;
        Some(PlaceIdx(self.tree.token(spot).place()))
    }

    /// Where a local insert goes that shall have `index` visible places before it (Fugue's rule, see above). An index
    /// beyond the end means the end.
    pub(crate) fn anchor_for(&self, index: usize) -> Anchor {
        let before = index.min(self.visible_len()).checked_sub(1);
        let spot = before.and_then(|index| self.tree.nth_visible(index));
        let (spot, anchor, children) = match spot {
            None => (self.spot(START), Anchor::Start, self.first),
            Some(spot) => {
                let origin = self.tree.token(spot).place();
                let children = self.places[origin].right;
                (spot, Anchor::Right(PlaceIdx(origin)), children)
            }
        };
        if children == NONE {
            return anchor;
        }
        let next = self.tree.next_place(spot);
        let next = next.expect("the origin has a right child, which stands behind it");
        Anchor::Left(PlaceIdx(next.place()))
    }

    /// The visible places in order, without the first `index` of them. Finding the first is O(log n).
    pub(crate) fn iter_visible_from(&self, index: usize) -> impl Iterator<Item = PlaceIdx> + '_ {
        let from = self.tree.nth_visible(index);
        self.tree.visible_from(from).map(PlaceIdx)
    }

    /// Where a place's own token (or the start's) stands.
    fn spot(&self, place: u32) -> Spot {
        if place == START {
            return Spot { leaf: 0, slot: 0 };
        }
        let held = &self.places[place];
        let visible = held.is_visible();
        self.tree.find(held.leaf, Token::new(place, Kind::Place { visible }))
    }

    /// Adds a place to the table only.
    fn push(&mut self, anchor: Anchor, stamp: S, visible: bool) -> u32 {
        let number = self.places.len();
        assert!(number < MAX_PLACES, "a sequence's places are exhausted");
        let place = Place {
            stamp,
            origin: anchor.key() << 1 | u32::from(visible),
            leaf: NONE,
            begin_leaf: NONE,
            end_leaf: NONE,
            left: NONE,
            right: NONE,
        };
        self.places.push(place);
        number as u32
    }

    fn set_children(&mut self, anchor: Anchor, children: u32) {
        match anchor {
            Anchor::Start => self.first = children,
            Anchor::Right(parent) => self.places[parent.0].right = children,
            Anchor::Left(parent) => self.places[parent.0].left = children,
        }
    }

    /// Inserts tokens into the tree and keeps the places' notes of their leaves.
    fn put(&mut self, spot: Spot, tokens: &[Token]) {
        let places = &mut self.places;
        self.tree.insert(spot, tokens, |token, leaf| {
            // The start is not moved: it stands first in leaf 0, and a split keeps the lower half where it is.
            if let Some(place) = places.get_mut(token.place()) {
                match token.kind() {
                    Kind::Place { .. } => place.leaf = leaf,
                    Kind::Begin => place.begin_leaf = leaf,
                    Kind::End => place.end_leaf = leaf,
                }
            }
        });
    }
}

/// The spot behind a token.
fn after(spot: Spot) -> Spot {
    Spot { slot: spot.slot + 1, ..spot }
}
