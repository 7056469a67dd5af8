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
mod characters;
mod check;
mod origins;
mod siblings;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use characters::{Characters, Extra, Weigh};
pub(crate) use origins::{Origin, compare};

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::causality::{Causality, ChangeIdx};
use arena::Arena;
use origins::Origins;
use siblings::Siblings;
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

/// What is kept of a place.
#[derive(Clone)]
struct Place {
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

impl Place {
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
pub(crate) struct Sequence {
    places: Arena<Place>,
    /// Which unit of which change made each place.
    origins: Origins,
    /// Like a place's `right`, for the sequence's start.
    first: u32,
    /// The children that have siblings, by their anchor's key.
    forks: BTreeMap<u32, Siblings>,
    tree: TokenTree,
}

impl Sequence {
    /// A sequence without places.
    pub(crate) fn new() -> Self {
        Self {
            places: Arena::new(),
            origins: Origins::default(),
            first: NONE,
            forks: BTreeMap::new(),
            tree: TokenTree::new(Token::new(START, Kind::Place { visible: false })),
        }
    }

    /// Adds `len` places with successive numbers, made by the units of `change` from `offset` on: the first at `anchor`, each
    /// further one to the right of the one before. Returns the first one's number, which is the number of places before.
    ///
    /// # Panics
    /// If `len` is 0, if the anchor names a place that is not in this sequence, or at [`MAX_PLACES`].
    #[expect(clippy::too_many_arguments, reason = "all of it is one insert")]
    pub(crate) fn insert(
        &mut self,
        causality: &impl Causality,
        _weigh: &impl Weigh,
        anchor: Anchor,
        change: ChangeIdx,
        offset: u32,
        len: u32,
        visible: bool,
    ) -> PlaceIdx {
        assert!(len >= 1 && self.places.len() + len as usize <= MAX_PLACES, "a sequence's places are exhausted");
        let first = self.places.len() as u32;
        self.origins.push(first, change, offset, len);
        self.insert_one(causality, anchor, visible);
        let mut head = first;
        let mut left = len - 1;
        // A batch needs two tokens a place, and they stand together: those of the places, then, from the inside out, the
        // ends of the subtrees that each place but the last, and the one before the batch, have now.
        let mut tokens = Vec::with_capacity(MAX_ADDED);
        while left > 0 {
            tokens.clear();
            let mut before = head;
            let batch = left.min(MAX_ADDED as u32 / 2);
            left -= batch;
            for _ in 0..batch {
                let anchor = Anchor::Right(PlaceIdx(before));
                before = self.push(anchor, visible);
                self.set_children(anchor, before);
                tokens.push(Token::new(before, Kind::Place { visible }));
            }
            let inner = (head + 1..before).rev();
            tokens.extend(inner.map(|place| Token::new(place, Kind::End)));
            tokens.push(Token::new(head, Kind::End));
            self.put(after(self.spot(head)), &tokens);
            head = before;
        }
        PlaceIdx(first)
    }

    fn insert_one(&mut self, causality: &impl Causality, anchor: Anchor, visible: bool) {
        let (parent, right) = anchor.parts();
        let siblings = match (parent, right) {
            (START, _) => self.first,
            (parent, true) => self.places[parent].right,
            (parent, false) => self.places[parent].left,
        };
        let number = self.push(anchor, visible);
        let own = Token::new(number, Kind::Place { visible });
        if siblings == NONE {
            self.set_children(anchor, number);
            let spot = self.spot(parent);
            match anchor {
                Anchor::Start => self.put(after(spot), &[own]),
                Anchor::Right(_) => self.put(after(spot), &[own, Token::new(parent, Kind::End)]),
                Anchor::Left(_) => self.put(spot, &[Token::new(parent, Kind::Begin), own]),
            }
            return;
        }
        if siblings != FORK {
            self.forks.insert(anchor.key(), Siblings::new(siblings));
            self.set_children(anchor, FORK);
        }
        let origins = &self.origins;
        let own_origin = origins.of(number);
        let before = |sibling: u32| compare(causality, origins.of(sibling), own_origin) == Ordering::Less;
        let fork = self.forks.get_mut(&anchor.key()).expect("a place marked as a fork has siblings");
        let spot = match fork.insert(number, before) {
            Some(sibling) => {
                let leaf = self.places[sibling].end_leaf;
                match leaf {
                    NONE => self.spot(sibling),
                    leaf => self.tree.find(leaf, Token::new(sibling, Kind::End)),
                }
            }
            None if right => self.spot(parent),
            None => {
                let leaf = self.places[parent].begin_leaf;
                self.tree.find(leaf, Token::new(parent, Kind::Begin))
            }
        };
        self.put(after(spot), &[own]);
    }

    /// Hides the places of a range of numbers. Answers how many of them were visible. `told` hears of each maximal stretch that
    /// went: its index at that moment and its length; a stretch beside the last one told lengthens that.
    pub(crate) fn hide(
        &mut self,
        _weigh: &impl Weigh,
        places: Range<u32>,
        mut told: Option<&mut Vec<(usize, usize)>>,
    ) -> u32 {
        let mut hidden = 0;
        for place in places.map(PlaceIdx) {
            if !self.is_visible(place) {
                continue;
            }
            hidden += 1;
            if let Some(told) = told.as_deref_mut() {
                let index = self.index_of(place);
                match told.last_mut() {
                    Some((first, len)) if *first == index => *len += 1,
                    Some((first, len)) if *first == index + 1 => (*first, *len) = (index, *len + 1),
                    _ => told.push((index, 1)),
                }
            }
            self.set_visible(place, false);
        }
        hidden
    }

    /// Shows a place.
    pub(crate) fn show(&mut self, _weigh: &impl Weigh, place: PlaceIdx) {
        self.set_visible(place, true);
    }

    fn set_visible(&mut self, place: PlaceIdx, visible: bool) {
        let spot = self.spot(place.0);
        self.tree.set_visible(spot, visible);
        let origin = &mut self.places[place.0].origin;
        *origin = *origin & !1 | u32::from(visible);
    }

    /// Whether a place counts in indexes.
    pub(crate) fn is_visible(&self, place: PlaceIdx) -> bool {
        self.places[place.0].is_visible()
    }

    /// The unit that made a place: its change and its offset there. O(log n).
    pub(crate) fn origin_of(&self, place: PlaceIdx) -> Origin {
        self.origins.of(place.0)
    }

    /// What made the places of a range of numbers: maximal runs of successive units of one change, as the change, the first
    /// one's offset, and the places.
    pub(crate) fn origins(&self, places: Range<u32>) -> impl Iterator<Item = (ChangeIdx, u32, Range<u32>)> + '_ {
        self.origins.runs(places)
    }

    /// Number of visible places.
    pub(crate) fn visible_len(&self) -> usize {
        self.tree.visible()
    }

    /// Number of places, visible or not.
    pub(crate) fn place_count(&self) -> usize {
        self.places.len()
    }

    /// The visible place that has `index` visible places before it.
    pub(crate) fn place_at(&self, index: usize) -> Option<PlaceIdx> {
        let spot = self.tree.nth_visible(index)?;
        Some(PlaceIdx(self.tree.token(spot).place()))
    }

    /// Number of visible places before a place, which may itself be invisible.
    pub(crate) fn index_of(&self, place: PlaceIdx) -> usize {
        self.tree.visible_before(self.spot(place.0))
    }

    /// Where a local insert goes that shall have `index` visible places before it (Fugue's rule, see above). An index
    /// beyond the end means the end.
    pub(crate) fn anchor_for(&mut self, index: usize) -> Anchor {
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

    /// The visible places in order from an index on, as maximal ranges of successive numbers. Finding the first is O(log n).
    pub(crate) fn runs_from(&self, index: usize) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut places = self.tree.visible_from(self.tree.nth_visible(index)).peekable();
        std::iter::from_fn(move || {
            let first = places.next()?;
            let mut end = first + 1;
            while places.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some(first..end)
        })
    }

    /// What the visible places before an index weigh beyond one each.
    pub(crate) fn extra_before(&self, weigh: &impl Weigh, index: usize) -> Extra {
        let mut left = index;
        let mut sum = Extra::default();
        for run in self.runs_from(0) {
            let len = run.len().min(left);
            sum = sum + weigh.weigh(run.start..run.start + len as u32);
            left -= len;
            if left == 0 {
                break;
            }
        }
        sum
    }

    /// The index of the visible place that covers a byte of the UTF-8 of all, or the length if there is none.
    pub(crate) fn index_of_utf8(&self, weigh: &impl Weigh, byte: usize) -> usize {
        self.index_by(weigh, byte, |extra| extra.utf8)
    }

    /// The index of the visible place that covers a unit of the UTF-16 of all, or the length if there is none.
    pub(crate) fn index_of_utf16(&self, weigh: &impl Weigh, unit: usize) -> usize {
        self.index_by(weigh, unit, |extra| extra.utf16)
    }

    fn index_by(&self, weigh: &impl Weigh, position: usize, of: impl Fn(Extra) -> u32) -> usize {
        let mut before = 0;
        for (index, place) in self.runs_from(0).flatten().enumerate() {
            before += 1 + of(weigh.weigh(place..place + 1)) as usize;
            if before > position {
                return index;
            }
        }
        self.visible_len()
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
    fn push(&mut self, anchor: Anchor, visible: bool) -> u32 {
        let number = self.places.len();
        let place = Place {
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
