//! The ordered sequence of *places* behind lists and text.
//!
//! A place is where an element stands or once stood. Order follows the Fugue tree of Weidner and Kleppmann, "The Art of
//! the Fugue: Minimizing Interleaving in Collaborative Text Editing" (2023, arXiv:2305.00583):
//! - A place names one parent place and a side of it; the sequence's start stands in for the parent at the very top.
//! - Order is the in-order traversal: the subtrees of the left children in the document's one order, the place itself, the subtrees of the
//!   right children likewise. So every replica that holds the same places shows them in the same order, whatever came first.
//! - A local insert goes to the right of the place before it if that one has no right child yet, else to the left of
//!   the place that follows that one. Hence what one author writes forward or backward stays together.
//! - A place is never removed. It is visible or not.
//!
//! Where we deviate from the paper: a move makes a further place for the same element, and the places that it overtakes
//! turn invisible, as a deleted element's place does. Which place of an element counts is the document's business;
//! the sequence knows places only. And since authors may lie, a parent may be any place and siblings may be many: no
//! shape of tree makes an operation slower than logarithmic.
//!
//! # How it is kept
//! The tree is written flat, as brackets, and the flat form in runs. A place with left children has a bracket `[` before their subtrees and a `]`
//! behind them, right before itself; a place with right children has a `(` at itself and a `)` behind their subtrees:
//! ```text
//!   b ── left ──▶ a             [ a ] b( [ c ] d f )
//!   └─── right ─▶ d, f          A new right child of b goes behind the subtree of the sibling before it,
//!   d ── left ──▶ c             or right behind b if it is the first.
//! ```
//! Places with successive numbers of which each is the first right child of the one before, and has no left children, are one token, whoever made
//! them: what someone types is one, as are a thousand changes that type on where the last one ended. All brackets belong to a token too, the
//! opening ones to the one behind them, the closing ones to the one before. So a token is four numbers (`token.rs`), a document has about as many
//! as it has pieces, and nothing else is written of the tree: a place's parent, its children and the ends of its subtree are found by looking
//! for matching brackets (`brackets.rs`). Only children that have siblings stand in a table of their own, in the one order
//! (`siblings.rs`), since those must be searched.
//!
//! The tokens stand in a B+-tree (`tree.rs`), and a table in runs says in which leaf a place is (`filing.rs`). What an edit adds is balanced, so that
//! the brackets' depth around it stays as it is, and only counts of visible places have to be told upwards. A cursor stays at the last edit: who
//! types on does not search.

mod brackets;
mod characters;
mod check;
mod filing;
mod origins;
pub(crate) mod pages;
mod siblings;
#[cfg(test)]
mod tests;
mod token;
mod tree;

pub(crate) use characters::{Characters, Extra, Weigh};
pub(crate) use origins::{Origin, compare};

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::causality::{Causality, ChangeIdx};
use filing::Filing;
use origins::Origins;
use siblings::Siblings;
use token::Token;
use tree::{NONE, Spot, Tree, descend};

/// The most places that a sequence holds: twice their number of brackets can be open at once, which is counted in 31 bits.
pub(crate) const MAX_PLACES: usize = START as usize;

/// Stands for the sequence's start where a place's number is wanted.
const START: u32 = (1 << 30) - 1;

/// Tokens in a leaf: with the header, about half a kilobyte.
const LEAF_TOKENS: usize = 32;
/// Children of an inner node.
const NODE_CHILDREN: usize = 16;

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
    /// Two children are siblings if their anchors' keys are equal.
    fn key(self) -> u32 {
        match self {
            Self::Start => START << 1 | 1,
            Self::Right(parent) => parent.0 << 1 | 1,
            Self::Left(parent) => parent.0 << 1,
        }
    }
}

/// The places of one list or text, in order. Every operation costs O(log n) in the number of tokens, for each token that it touches, whatever the
/// shape of the tree; memory is linear in tokens.
pub(crate) type Sequence = Engine<LEAF_TOKENS, NODE_CHILDREN>;

/// A [`Sequence`] with `L` tokens in a leaf and `N` children in a node.
#[derive(Clone)]
pub(crate) struct Engine<const L: usize, const N: usize> {
    tree: Tree<L, N>,
    /// Where the last edit was.
    cursor: Cursor,
    /// The leaf of each place.
    filing: Filing,
    /// Which unit of which change made each place.
    origins: Origins,
    /// The children that have siblings, by their anchor's key.
    forks: BTreeMap<u32, Siblings>,
    /// Number of places.
    places: u32,
}

/// A token. Invariant: there is one at the spot, unless the sequence is empty.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    spot: Spot,
    /// Number of visible places before the token, or `NONE` if nobody has asked.
    before: u32,
}

impl Cursor {
    /// At `slot` of the same leaf, with `shown` visible places in between.
    fn forward(self, slot: usize, shown: u32) -> Self {
        let before = if self.before == NONE { NONE } else { self.before + shown };
        Self { spot: Spot { slot, ..self.spot }, before }
    }

    fn back(self, slot: usize, shown: u32) -> Self {
        let before = if self.before == NONE { NONE } else { self.before - shown };
        Self { spot: Spot { slot, ..self.spot }, before }
    }
}

impl<const L: usize, const N: usize> Engine<L, N> {
    /// A sequence without places.
    pub(crate) fn new() -> Self {
        Self {
            tree: Tree::new(),
            cursor: Cursor { spot: Spot { leaf: 0, slot: 0 }, before: 0 },
            filing: Filing::default(),
            origins: Origins::default(),
            forks: BTreeMap::new(),
            places: 0,
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
        weigh: &impl Weigh,
        anchor: Anchor,
        change: ChangeIdx,
        offset: u32,
        len: u32,
        visible: bool,
    ) -> PlaceIdx {
        let first = self.places;
        assert!(len >= 1 && len as usize <= MAX_PLACES - first as usize, "a sequence's places are exhausted");
        if let Anchor::Left(parent) | Anchor::Right(parent) = anchor {
            assert!(parent.0 < first, "an anchor names a place that is there");
        }
        let chain = Token::chain(first, len, visible);
        if first == 0 {
            self.tree.plant(chain);
        } else if !self.put_only_child(weigh, anchor, chain) {
            self.put_sibling(causality, weigh, anchor, (change, offset), chain);
        }
        self.places += len;
        self.origins.push(first, change, offset, len);
        let leaf = self.cursor.spot.leaf;
        self.filing.append(len, leaf);
        if visible {
            self.tree.count(leaf, true, len, weigh.weigh(first..first + len));
        }
        PlaceIdx(first)
    }

    /// Puts a chain where its anchor has no child yet, and answers true; else nothing happens.
    fn put_only_child(&mut self, weigh: &impl Weigh, anchor: Anchor, mut chain: Token) -> bool {
        match anchor {
            Anchor::Start => return false,
            Anchor::Right(PlaceIdx(parent)) => {
                self.locate(parent);
                let token = self.tree.token_mut(self.cursor.spot);
                if parent + 1 < token.end() || token.open() {
                    return false;
                }
                if token.end() == chain.start() && token.visible() == chain.visible() {
                    token.extend(chain.len());
                    return true;
                }
                self.make_room(weigh, 1);
                let ends = self.tree.token_mut(self.cursor.spot).open_up();
                // The parent's own bracket closes first of all behind it.
                chain.set_ends(chain.ends() + 1 + ends);
                self.put_behind(chain);
            }
            Anchor::Left(PlaceIdx(parent)) => {
                self.locate(parent);
                let token = self.tree.token(self.cursor.spot);
                // The bracket that closes behind the chain is the parent's, and so is the innermost that opens before.
                chain.set_ends(chain.ends() + 1);
                if token.start() < parent {
                    self.make_room(weigh, 2);
                    let mut rest = self.tree.token_mut(self.cursor.spot).split_off(parent);
                    rest.begin();
                    chain.set_begins(1);
                    self.put_behind(chain);
                    let Spot { leaf, slot } = self.cursor.spot;
                    self.tree.put(Spot { leaf, slot: slot + 1 }, rest);
                } else if token.begun() {
                    return false;
                } else {
                    self.make_room(weigh, 1);
                    let begins = self.tree.token_mut(self.cursor.spot).begin();
                    chain.set_begins(begins + 1);
                    self.tree.put(self.cursor.spot, chain);
                }
            }
        }
        true
    }

    /// Puts a chain where its anchor has children, among them by its first unit.
    fn put_sibling(
        &mut self,
        causality: &impl Causality,
        weigh: &impl Weigh,
        anchor: Anchor,
        unit: Origin,
        mut chain: Token,
    ) {
        let key = anchor.key();
        if !self.forks.contains_key(&key) {
            let only = self.only_child(anchor);
            self.forks.insert(key, Siblings::new(only));
        }
        let origins = &self.origins;
        let before = |sibling: u32| compare(causality, origins.of(sibling), unit) == Ordering::Less;
        let siblings = self.forks.get_mut(&key).expect("it was put there if it was not");
        if let Some(sibling) = siblings.insert(chain.start(), before) {
            let inside = self.go_to_end(sibling);
            self.make_room(weigh, 1);
            let token = self.tree.token_mut(self.cursor.spot);
            let outside = token.ends() - inside;
            token.set_ends(inside);
            chain.set_ends(chain.ends() + outside);
            return self.put_behind(chain);
        }
        match anchor {
            Anchor::Start => {
                self.cursor = Cursor { spot: Spot { leaf: 0, slot: 0 }, before: 0 };
                self.make_room(weigh, 1);
                self.tree.put(self.cursor.spot, chain);
            }
            Anchor::Right(PlaceIdx(parent)) => {
                self.locate(parent);
                let token = self.tree.token(self.cursor.spot);
                if parent + 1 < token.end() {
                    self.make_room(weigh, 2);
                    let rest = self.tree.token_mut(self.cursor.spot).split_off(parent + 1);
                    self.put_behind(chain);
                    let Spot { leaf, slot } = self.cursor.spot;
                    self.tree.put(Spot { leaf, slot: slot + 1 }, rest);
                } else {
                    self.make_room(weigh, 1);
                    self.put_behind(chain);
                }
            }
            Anchor::Left(PlaceIdx(parent)) => {
                let (spot, begin) = self.opening_of(parent);
                self.cursor = Cursor { spot, before: NONE };
                self.make_room(weigh, 1);
                let token = self.tree.token_mut(self.cursor.spot);
                chain.set_begins(begin);
                token.set_begins(token.begins() - begin);
                self.tree.put(self.cursor.spot, chain);
            }
        }
    }

    /// Puts a token behind the cursor's, and the cursor there. There must be room.
    fn put_behind(&mut self, token: Token) {
        let shown = self.tree.token(self.cursor.spot).shown();
        self.cursor = self.cursor.forward(self.cursor.spot.slot + 1, shown);
        self.tree.put(self.cursor.spot, token);
    }

    /// Makes room for `more` tokens beside the cursor's.
    fn make_room(&mut self, weigh: &impl Weigh, more: usize) {
        let filing = &mut self.filing;
        self.cursor.spot = self.tree.room(weigh, self.cursor.spot, more, |places, leaf| {
            filing.refile(places, leaf);
        });
    }

    /// The only child at an anchor that has one.
    fn only_child(&mut self, anchor: Anchor) -> u32 {
        let root = match anchor {
            Anchor::Start => self.tree.root_of(Spot { leaf: 0, slot: 0 }, 0),
            Anchor::Right(PlaceIdx(parent)) => {
                self.locate(parent);
                let spot = self.cursor.spot;
                if parent + 1 < self.tree.token(spot).end() {
                    return parent + 1;
                }
                self.tree.next(spot).and_then(|next| self.tree.root_of(next, 0))
            }
            Anchor::Left(PlaceIdx(parent)) => {
                let (spot, begin) = self.opening_of(parent);
                self.tree.root_of(spot, begin)
            }
        };
        root.expect("the brackets around a subtree close")
    }

    /// The bracket before the left children of a place that has some.
    fn opening_of(&mut self, place: u32) -> (Spot, u32) {
        self.locate(place);
        self.tree.opening(self.cursor.spot).expect("a bracket that closes has opened")
    }

    /// Moves the cursor to the last token of the subtrees on a place's right (to its own if it has none) and answers how many of the
    /// brackets that close there belong to these and to the place.
    fn go_to_end(&mut self, place: u32) -> u32 {
        self.locate(place);
        let token = self.tree.token(self.cursor.spot);
        let opens = token.end() - 1 - place + u32::from(token.open());
        if opens <= token.ends() {
            return opens;
        }
        let open = opens - token.ends();
        let (spot, ends) = self.tree.close(self.cursor.spot, open as i32).expect("a bracket that opens closes");
        self.cursor = Cursor { spot, before: NONE };
        ends
    }

    /// Moves the cursor to the token that holds a place.
    fn locate(&mut self, place: u32) {
        let Spot { leaf, slot } = self.cursor.spot;
        let tokens = self.tree.tokens(leaf);
        let here = tokens[slot];
        if here.contains(place) {
            return;
        }
        if tokens.get(slot + 1).is_some_and(|next| next.contains(place)) {
            self.cursor = self.cursor.forward(slot + 1, here.shown());
            return;
        }
        if slot > 0 && tokens[slot - 1].contains(place) {
            self.cursor = self.cursor.back(slot - 1, tokens[slot - 1].shown());
            return;
        }
        let found = self.spot(place);
        let shown = |tokens: &[Token]| tokens.iter().map(|token| token.shown()).sum::<u32>();
        self.cursor = match found {
            Spot { leaf: same, slot: further } if same == leaf && further > slot => {
                self.cursor.forward(further, shown(&tokens[slot..further]))
            }
            Spot { leaf: same, slot: further } if same == leaf => {
                self.cursor.back(further, shown(&tokens[further..slot]))
            }
            spot => Cursor { spot, before: NONE },
        };
    }

    /// The token that holds a place.
    fn spot(&self, place: u32) -> Spot {
        let leaf = self.filing.leaf_of(place);
        let slot = self.tree.tokens(leaf).iter().position(|token| token.contains(place));
        Spot { leaf, slot: slot.expect("every token that goes to another leaf is refiled") }
    }

    /// Hides the places of a range of numbers. Answers how many of them were visible. `told` hears of each maximal stretch that
    /// went: its index at that moment and its length; a stretch beside the last one told lengthens that.
    pub(crate) fn hide(
        &mut self,
        weigh: &impl Weigh,
        places: Range<u32>,
        mut told: Option<&mut Vec<(usize, usize)>>,
    ) -> u32 {
        let mut hidden = 0;
        let mut from = places.start;
        while from < places.end {
            self.locate(from);
            let token = self.tree.token(self.cursor.spot);
            let to = token.end().min(places.end);
            if token.visible() {
                if let Some(told) = told.as_deref_mut() {
                    let index = (self.before_cursor() + (from - token.start())) as usize;
                    let gone = (to - from) as usize;
                    match told.last_mut() {
                        Some((first, len)) if *first == index => *len += gone,
                        Some((first, len)) if *first == index + gone => (*first, *len) = (index, *len + gone),
                        _ => told.push((index, gone)),
                    }
                }
                self.turn(weigh, from..to, false);
                hidden += to - from;
            }
            from = to;
        }
        hidden
    }

    /// Shows a place.
    pub(crate) fn show(&mut self, weigh: &impl Weigh, place: PlaceIdx) {
        self.locate(place.0);
        if !self.tree.token(self.cursor.spot).visible() {
            self.turn(weigh, place.0..place.0 + 1, true);
        }
    }

    /// Shows hidden places, or hides visible ones, of the cursor's token.
    fn turn(&mut self, weigh: &impl Weigh, places: Range<u32>, visible: bool) {
        let token = self.tree.token(self.cursor.spot);
        match (places.start == token.start(), places.end == token.end()) {
            (true, true) => self.turn_token(visible),
            (true, false) => self.turn_front(weigh, places.end, visible),
            (false, true) => self.turn_back(weigh, places.start, visible),
            (false, false) => {
                self.make_room(weigh, 2);
                let lower = self.tree.token_mut(self.cursor.spot);
                let mut middle = lower.split_off(places.start);
                let upper = middle.split_off(places.end);
                middle.set_visible(visible);
                self.put_behind(middle);
                let Spot { leaf, slot } = self.cursor.spot;
                self.tree.put(Spot { leaf, slot: slot + 1 }, upper);
            }
        }
        // A leaf that had to be split has been counted anew, as it was before.
        let leaf = self.cursor.spot.leaf;
        self.tree.count(leaf, visible, places.end - places.start, weigh.weigh(places));
    }

    /// Turns the cursor's whole token, and joins it with its neighbours.
    fn turn_token(&mut self, visible: bool) {
        let Spot { leaf, slot } = self.cursor.spot;
        let tokens = self.tree.leaves[leaf].tokens_mut();
        tokens[slot].set_visible(visible);
        let mut token = tokens[slot];
        if let Some(&next) = tokens.get(slot + 1)
            && next.visible() == visible
            && token.continues_in(next)
        {
            token.join(next);
            tokens[slot] = token;
            self.tree.take(Spot { leaf, slot: slot + 1 });
        }
        if slot == 0 {
            return;
        }
        let previous = self.tree.token(Spot { leaf, slot: slot - 1 });
        if previous.visible() == visible && previous.continues_in(token) {
            self.tree.token_mut(Spot { leaf, slot: slot - 1 }).join(token);
            self.tree.take(Spot { leaf, slot });
            self.cursor = self.cursor.back(slot - 1, previous.shown());
        }
    }

    /// Turns the first places of the cursor's token, up to `to`.
    fn turn_front(&mut self, weigh: &impl Weigh, to: u32, visible: bool) {
        let Spot { leaf, slot } = self.cursor.spot;
        let tokens = self.tree.leaves[leaf].tokens_mut();
        if let Some([previous, token]) = slot.checked_sub(1).and_then(|slot| tokens.get_mut(slot..slot + 2))
            && previous.visible() == visible
            && previous.continues_in(*token)
        {
            let shown = if visible { to - token.start() } else { 0 };
            Token::shift(previous, token, to);
            self.cursor = self.cursor.forward(slot, shown);
            return;
        }
        self.make_room(weigh, 1);
        let front = self.tree.token_mut(self.cursor.spot);
        let rest = front.split_off(to);
        front.set_visible(visible);
        self.put_behind(rest);
    }

    /// Turns the last places of the cursor's token, from `from` on.
    fn turn_back(&mut self, weigh: &impl Weigh, from: u32, visible: bool) {
        let Spot { leaf, slot } = self.cursor.spot;
        let tokens = self.tree.leaves[leaf].tokens_mut();
        if let Some([token, next]) = tokens.get_mut(slot..slot + 2)
            && next.visible() == visible
            && token.continues_in(*next)
        {
            return Token::shift(token, next, from);
        }
        self.make_room(weigh, 1);
        let mut back = self.tree.token_mut(self.cursor.spot).split_off(from);
        back.set_visible(visible);
        let Spot { leaf, slot } = self.cursor.spot;
        self.tree.put(Spot { leaf, slot: slot + 1 }, back);
    }

    /// Number of visible places before the cursor's token.
    fn before_cursor(&mut self) -> u32 {
        if self.cursor.before == NONE {
            self.cursor.before = self.tree.visible_before(self.cursor.spot);
        }
        self.cursor.before
    }

    /// Whether a place counts in indexes.
    pub(crate) fn is_visible(&self, place: PlaceIdx) -> bool {
        self.tree.token(self.spot(place.0)).visible()
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
        self.tree.visible as usize
    }

    /// Number of places, visible or not.
    pub(crate) fn place_count(&self) -> usize {
        self.places as usize
    }

    /// The visible place that has `index` visible places before it.
    pub(crate) fn place_at(&self, index: usize) -> Option<PlaceIdx> {
        let Cursor { spot, before } = self.seek(index)?;
        Some(PlaceIdx(self.tree.token(spot).start() + (index as u32 - before)))
    }

    /// Number of visible places before a place, which may itself be invisible.
    pub(crate) fn index_of(&self, place: PlaceIdx) -> usize {
        let spot = self.spot(place.0);
        let token = self.tree.token(spot);
        let within = if token.visible() { place.0 - token.start() } else { 0 };
        (self.tree.visible_before(spot) + within) as usize
    }

    /// Where a local insert goes that shall have `index` visible places before it (Fugue's rule, see above). An index
    /// beyond the end means the end. Moves the cursor there: next to the last edit it costs O(1) amortized.
    pub(crate) fn anchor_for(&mut self, index: usize) -> Anchor {
        let Some(cursor) = index.min(self.visible_len()).checked_sub(1).and_then(|before| {
            let cursor = self.seek(before)?;
            self.cursor = cursor;
            Some((cursor, before as u32))
        }) else {
            return match self.places {
                0 => Anchor::Start,
                _ => Anchor::Left(PlaceIdx(self.tree.token(Spot { leaf: 0, slot: 0 }).start())),
            };
        };
        let (Cursor { spot, before }, index) = cursor;
        let token = self.tree.token(spot);
        let origin = token.start() + (index - before);
        if origin + 1 < token.end() {
            return Anchor::Left(PlaceIdx(origin + 1));
        }
        if !token.open() {
            return Anchor::Right(PlaceIdx(origin));
        }
        let next = self.tree.next(spot).expect("a right child stands behind its parent");
        Anchor::Left(PlaceIdx(self.tree.token(next).start()))
    }

    /// The token that holds the visible place with `index` others before it.
    fn seek(&self, index: usize) -> Option<Cursor> {
        if index >= self.visible_len() {
            return None;
        }
        let index = index as u32;
        let Cursor { spot: Spot { leaf, mut slot }, mut before } = self.cursor;
        if before != NONE {
            let tokens = self.tree.tokens(leaf);
            if index.wrapping_sub(before) < tokens[slot].shown() {
                return Some(self.cursor);
            }
            while index < before && slot > 0 {
                slot -= 1;
                before -= tokens[slot].shown();
            }
            if index >= before {
                let mut left = index - before;
                if let Some(steps) = descend(tokens[slot..].iter().map(|token| token.shown()), &mut left) {
                    return Some(Cursor { spot: Spot { leaf, slot: slot + steps }, before: index - left });
                }
            }
        }
        let (spot, before) = self.tree.nth_visible(index)?;
        Some(Cursor { spot, before })
    }

    /// The visible place at an index with as many behind it as are at hand: at least that one, with successive numbers. Next to the last edit it
    /// costs O(1) amortized, and never more than O(log n): what lies between here and the next visible place is not looked at.
    pub(crate) fn run_at(&self, index: usize) -> Option<Range<u32>> {
        let Cursor { spot, before } = self.seek(index)?;
        let token = self.tree.token(spot);
        Some(token.start() + (index as u32 - before)..token.end())
    }

    /// The visible places in order from an index on, as maximal ranges of successive numbers. Finding the first is O(log n).
    pub(crate) fn runs_from(&self, index: usize) -> impl Iterator<Item = Range<u32>> + '_ {
        let first = self.seek(index);
        let mut skip = first.map_or(0, |cursor| index as u32 - cursor.before);
        let mut tokens = self.tree.visible_from(first.map(|cursor| cursor.spot)).peekable();
        std::iter::from_fn(move || {
            let token = tokens.next()?;
            let first = token.start() + std::mem::take(&mut skip);
            let mut end = token.end();
            while let Some(next) = tokens.next_if(|next| next.start() == end) {
                end = next.end();
            }
            Some(first..end)
        })
    }

    /// What the visible places before an index weigh beyond one each. O(log n).
    pub(crate) fn extra_before(&self, weigh: &impl Weigh, index: usize) -> Extra {
        if index >= self.visible_len() {
            return self.tree.extra;
        }
        let mut left = index as u32;
        let mut sum = Extra::default();
        let mut child = self.tree.root;
        for _ in 0..self.tree.height {
            let node = &self.tree.nodes[child as usize];
            let slot = descend(node.visible().iter().copied(), &mut left).expect("the index is below the sum");
            sum = node.extra()[..slot].iter().fold(sum, |sum, extra| sum + *extra);
            child = node.children()[slot];
        }
        for token in self.tree.tokens(child) {
            let shown = token.shown().min(left);
            if shown > 0 {
                sum = sum + weigh.weigh(token.start()..token.start() + shown);
                left -= shown;
            }
        }
        sum
    }

    /// The index of the visible place that covers a byte of the UTF-8 of all, or the length if there is none. O(log n).
    pub(crate) fn index_of_utf8(&self, weigh: &impl Weigh, byte: usize) -> usize {
        self.index_by(weigh, byte, |extra| extra.utf8)
    }

    /// The index of the visible place that covers a unit of the UTF-16 of all, or the length if there is none. O(log n).
    pub(crate) fn index_of_utf16(&self, weigh: &impl Weigh, unit: usize) -> usize {
        self.index_by(weigh, unit, |extra| extra.utf16)
    }

    fn index_by(&self, weigh: &impl Weigh, position: usize, of: impl Fn(Extra) -> u32) -> usize {
        if position >= self.visible_len() + of(self.tree.extra) as usize {
            return self.visible_len();
        }
        // Less than the sum of two numbers of 32 bits, but of one too: a text has at most 4 GiB of UTF-8.
        let mut left = position as u32;
        let mut index = 0;
        let mut child = self.tree.root;
        for _ in 0..self.tree.height {
            let node = &self.tree.nodes[child as usize];
            let sizes = node.visible().iter().zip(node.extra()).map(|(visible, extra)| visible + of(*extra));
            let slot = descend(sizes, &mut left).expect("the position is below the sum");
            index += node.visible()[..slot].iter().sum::<u32>();
            child = node.children()[slot];
        }
        for token in self.tree.tokens(child).iter().filter(|token| token.visible()) {
            let size = |places: u32| places + of(weigh.weigh(token.start()..token.start() + places));
            let whole = size(token.len());
            if left >= whole {
                left -= whole;
                index += token.len();
                continue;
            }
            // The most places that end at or before the position.
            let (mut low, mut high) = (0, token.len());
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if size(middle) <= left { low = middle } else { high = middle }
            }
            return (index + low) as usize;
        }
        self.visible_len()
    }
}
