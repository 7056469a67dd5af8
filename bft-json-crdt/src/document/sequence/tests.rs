//! The sequence against a naive tree, on hostile shapes, and on what people type.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::{Anchor, Characters, Engine, Extra, LEAF_TOKENS, NODE_CHILDREN, PlaceIdx, Weigh};
use crate::causality::{BranchIdx, Causality, ChangeIdx};
use crate::change::ChangeId;

type Stamp = u64;

/// Changes in the order of their stamps, and of their numbers where those are equal. A change's number is that of its first place.
#[derive(Clone, Default)]
struct Order<S>(Vec<S>);

impl<S: Ord> Causality for Order<S> {
    fn position(&self, _: ChangeIdx) -> (BranchIdx, u64) {
        unreachable!("a sequence asks for the order only")
    }
    fn lamport(&self, _: ChangeIdx) -> u64 {
        unreachable!("a sequence asks for the order only")
    }
    fn id(&self, _: ChangeIdx) -> ChangeId {
        unreachable!("a sequence asks for the order only")
    }
    fn past(&self, _: ChangeIdx, _: BranchIdx) -> u64 {
        unreachable!("a sequence asks for the order only")
    }
    fn back(&self, _: ChangeIdx, _: u64) -> Option<ChangeIdx> {
        unreachable!("a sequence asks for the order only")
    }
    fn lookup(&self, _: &ChangeId) -> Option<ChangeIdx> {
        unreachable!("a sequence asks for the order only")
    }
    fn order(&self, a: ChangeIdx, b: ChangeIdx) -> std::cmp::Ordering {
        self.0[a.0 as usize].cmp(&self.0[b.0 as usize]).then(a.cmp(&b))
    }
}

/// Letters of one to four bytes of UTF-8, one with a mark that combines with the letter before: places count scalar values.
const LETTERS: [char; 8] = ['a', 'b', '\u{e9}', 'c', '\u{301}', '\u{20ac}', '\u{1f600}', 'd'];

/// A sequence and what made it. Leaves and nodes are small by default, so that few places make a deep tree.
#[derive(Clone)]
struct Stamped<S, const L: usize = 4, const N: usize = 4> {
    sequence: Engine<L, N>,
    order: Order<S>,
    anchors: Vec<Anchor>,
    characters: Characters,
}

impl<S: Ord + Copy, const L: usize, const N: usize> Stamped<S, L, N> {
    fn new() -> Self {
        let (order, anchors) = (Order(Vec::new()), Vec::new());
        Self { sequence: Engine::new(), order, anchors, characters: Characters::default() }
    }

    fn insert(&mut self, anchor: Anchor, stamp: S, visible: bool) -> PlaceIdx {
        self.insert_run(anchor, stamp, 1, visible)
    }

    /// Places of one change, each on the right of the one before.
    fn insert_run(&mut self, anchor: Anchor, stamp: S, len: u32, visible: bool) -> PlaceIdx {
        let first = self.anchors.len() as u32;
        self.anchors.push(anchor);
        self.anchors.extend((first..first + len - 1).map(|place| Anchor::Right(PlaceIdx(place))));
        self.order.0.resize(self.anchors.len(), stamp);
        let letters: String = (first..first + len).map(letter).collect();
        assert_eq!(self.characters.push_str(&letters), len);
        let place = self.sequence.insert(&self.order, &self.characters, anchor, ChangeIdx(first), 0, len, visible);
        assert_eq!(place, PlaceIdx(first));
        place
    }

    fn set_visible(&mut self, place: PlaceIdx, visible: bool) {
        if visible {
            self.sequence.show(&self.characters, place);
        } else {
            let was = self.sequence.is_visible(place);
            let hidden = self.sequence.hide(&self.characters, place.0..place.0 + 1, None);
            assert_eq!(hidden, u32::from(was));
        }
    }

    fn anchor_for(&mut self, index: usize) -> Anchor {
        self.sequence.anchor_for(index)
    }

    fn index_of(&self, place: PlaceIdx) -> usize {
        self.sequence.index_of(place)
    }

    fn place_at(&self, index: usize) -> Option<PlaceIdx> {
        self.sequence.place_at(index)
    }

    fn stamp_of(&self, place: PlaceIdx) -> S {
        self.order.0[place.index()]
    }

    fn iter_visible(&self) -> impl Iterator<Item = PlaceIdx> + '_ {
        self.iter_visible_from(0)
    }

    fn iter_visible_from(&self, index: usize) -> impl Iterator<Item = PlaceIdx> + '_ {
        self.sequence.runs_from(index).flatten().map(PlaceIdx)
    }

    fn debug_check(&self) {
        self.sequence.debug_check(&self.characters);
        self.sequence.debug_check_order(&self.order);
        assert_eq!(self.sequence.debug_anchors(), self.anchors);
    }
}

/// A place's letter.
fn letter(place: u32) -> char {
    // The first are ASCII, as in most texts.
    if place < 100 { 'x' } else { LETTERS[(place * 5 % 8) as usize] }
}

/// The naive tree: every place has its sorted children, and order is found by walking all of it.
#[derive(Default)]
struct Oracle {
    places: Vec<(Anchor, Stamp, bool)>,
    start: Vec<PlaceIdx>,
    left: Vec<Vec<PlaceIdx>>,
    right: Vec<Vec<PlaceIdx>>,
}

impl Oracle {
    fn insert(&mut self, anchor: Anchor, stamp: Stamp, visible: bool) {
        let place = PlaceIdx(self.places.len() as u32);
        self.places.push((anchor, stamp, visible));
        self.left.push(Vec::new());
        self.right.push(Vec::new());
        let siblings = match anchor {
            Anchor::Start => &mut self.start,
            Anchor::Left(parent) => &mut self.left[parent.index()],
            Anchor::Right(parent) => &mut self.right[parent.index()],
        };
        siblings.push(place);
        siblings.sort_by_key(|place| (self.places[place.index()].1, place.0));
    }

    fn children(&self, anchor: Anchor) -> &[PlaceIdx] {
        match anchor {
            Anchor::Start => &self.start,
            Anchor::Left(parent) => &self.left[parent.index()],
            Anchor::Right(parent) => &self.right[parent.index()],
        }
    }

    fn walk(&self, place: PlaceIdx, order: &mut Vec<PlaceIdx>) {
        for child in self.children(Anchor::Left(place)) {
            self.walk(*child, order);
        }
        order.push(place);
        for child in self.children(Anchor::Right(place)) {
            self.walk(*child, order);
        }
    }

    /// All places in order.
    fn order(&self) -> Vec<PlaceIdx> {
        let mut order = Vec::new();
        for child in self.children(Anchor::Start) {
            self.walk(*child, &mut order);
        }
        order
    }

    fn visible(&self) -> Vec<PlaceIdx> {
        let mut order = self.order();
        order.retain(|place| self.places[place.index()].2);
        order
    }

    /// Fugue's rule, in the paper's own terms.
    fn anchor_for(&self, index: usize) -> Anchor {
        let order = self.order();
        let visible = self.visible();
        let (anchor, behind) = match index.checked_sub(1) {
            None => (Anchor::Start, 0),
            Some(before) => {
                let origin = visible[before];
                let at = order.iter().position(|&place| place == origin).unwrap();
                (Anchor::Right(origin), at + 1)
            }
        };
        if self.children(anchor).is_empty() { anchor } else { Anchor::Left(order[behind]) }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A remote insert at any anchor: which parent, which side.
    Insert(prop::sample::Index, bool, Stamp, bool),
    /// The same, next to the last place: makes spines and fans.
    Near(bool, bool, Stamp),
    /// A local insert.
    Edit(prop::sample::Index, Stamp),
    /// A run of typing.
    Run(prop::sample::Index, Stamp, u32),
    Show(prop::sample::Index, bool),
    /// Hides places with successive numbers.
    Hide(prop::sample::Index, u32),
    /// Hides visible places next to each other.
    Erase(prop::sample::Index, usize),
}

fn stamp() -> impl Strategy<Value = Stamp> {
    // Few different ones: order among siblings is then mostly not the order of arrival.
    0..50u64
}

fn step() -> impl Strategy<Value = Step> {
    use any as a;
    prop_oneof![
        3 => (a::<prop::sample::Index>(), a::<bool>(), stamp(), a::<bool>())
            .prop_map(|(parent, right, stamp, visible)| Step::Insert(parent, right, stamp, visible)),
        3 => (a::<bool>(), a::<bool>(), stamp()).prop_map(|(child, right, stamp)| Step::Near(child, right, stamp)),
        2 => (a::<prop::sample::Index>(), stamp()).prop_map(|(index, stamp)| Step::Edit(index, stamp)),
        1 => (a::<prop::sample::Index>(), stamp(), 1..40u32)
            .prop_map(|(index, stamp, len)| Step::Run(index, stamp, len)),
        2 => (a::<prop::sample::Index>(), a::<bool>()).prop_map(|(place, visible)| Step::Show(place, visible)),
        2 => (a::<prop::sample::Index>(), 1..30u32).prop_map(|(place, len)| Step::Hide(place, len)),
        2 => (a::<prop::sample::Index>(), 1..12usize).prop_map(|(index, len)| Step::Erase(index, len)),
    ]
}

/// A sequence and its oracle, kept in step.
struct Pair<const L: usize, const N: usize> {
    sequence: Stamped<Stamp, L, N>,
    oracle: Oracle,
}

impl<const L: usize, const N: usize> Pair<L, N> {
    fn insert(&mut self, anchor: Anchor, stamp: Stamp, visible: bool) {
        let number = self.oracle.places.len();
        self.oracle.insert(anchor, stamp, visible);
        let place = self.sequence.insert(anchor, stamp, visible);
        assert_eq!(place.index(), number);
        assert_eq!(self.sequence.sequence.origin_of(place), (ChangeIdx(number as u32), 0));
    }

    fn take(&mut self, step: Step) {
        let count = self.oracle.places.len();
        let visible = self.oracle.visible().len();
        match step {
            Step::Insert(parent, right, stamp, visible) => {
                // The one past the last stands for the start.
                let parent = parent.index(count + 1);
                let anchor = match (parent == count, right) {
                    (true, _) => Anchor::Start,
                    (false, true) => Anchor::Right(PlaceIdx(parent as u32)),
                    (false, false) => Anchor::Left(PlaceIdx(parent as u32)),
                };
                self.insert(anchor, stamp, visible);
            }
            Step::Near(child, right, stamp) => {
                let anchor = match (count.checked_sub(1), child, right) {
                    (None, ..) => Anchor::Start,
                    (Some(last), true, true) => Anchor::Right(PlaceIdx(last as u32)),
                    (Some(last), true, false) => Anchor::Left(PlaceIdx(last as u32)),
                    (Some(last), false, _) => self.oracle.places[last].0,
                };
                self.insert(anchor, stamp, true);
            }
            Step::Edit(index, stamp) => {
                let index = index.index(visible + 1);
                let anchor = self.sequence.anchor_for(index);
                assert_eq!(anchor, self.oracle.anchor_for(index));
                self.insert(anchor, stamp, true);
                let place = PlaceIdx(count as u32);
                assert_eq!(self.sequence.index_of(place), index, "an edit lands where it was aimed");
            }
            Step::Run(index, stamp, len) => {
                let mut anchor = self.sequence.anchor_for(index.index(visible + 1));
                let first = self.sequence.insert_run(anchor, stamp, len, true);
                assert_eq!(first, PlaceIdx(count as u32));
                for number in (count as u32..).take(len as usize) {
                    self.oracle.insert(anchor, stamp, true);
                    anchor = Anchor::Right(PlaceIdx(number));
                }
                let runs: Vec<_> = self.sequence.sequence.origins(first.0..first.0 + len).collect();
                assert_eq!(runs, [(ChangeIdx(first.0), 0, first.0..first.0 + len)]);
            }
            Step::Show(place, visible) if count > 0 => {
                let place = PlaceIdx(place.index(count) as u32);
                self.oracle.places[place.index()].2 = visible;
                self.sequence.set_visible(place, visible);
                assert_eq!(self.sequence.sequence.is_visible(place), visible);
            }
            Step::Hide(place, len) if count > 0 => {
                let first = place.index(count) as u32;
                self.hide(first..(first + len).min(count as u32));
            }
            Step::Erase(index, len) if visible > 0 => {
                let index = index.index(visible);
                // As a local delete does it.
                let mut left = len as u32;
                let mut runs = Vec::new();
                for run in self.sequence.sequence.runs_from(index) {
                    let len = (run.end - run.start).min(left);
                    runs.push(run.start..run.start + len);
                    left -= len;
                    if left == 0 {
                        break;
                    }
                }
                runs.into_iter().for_each(|run| self.hide(run));
                assert_eq!(self.sequence.sequence.visible_len(), visible - len.min(visible - index));
            }
            Step::Show(..) | Step::Hide(..) | Step::Erase(..) => {}
        }
    }

    /// Hides a range in both; what is told leads from what was visible to what is.
    fn hide(&mut self, places: Range<u32>) {
        let mut visible = self.oracle.visible();
        let mut told = Vec::new();
        let Stamped { sequence, characters, .. } = &mut self.sequence;
        let hidden = sequence.hide(characters, places.clone(), Some(&mut told));
        assert_eq!(hidden as usize, told.iter().map(|(_, len)| len).sum::<usize>());
        for (index, len) in told {
            visible.drain(index..index + len);
        }
        places.for_each(|place| self.oracle.places[place as usize].2 = false);
        assert_eq!(visible, self.oracle.visible());
    }

    /// Compares what visible places weigh.
    fn compare_weights(&self, visible: &[PlaceIdx]) {
        let Stamped { sequence, characters, .. } = &self.sequence;
        let mut before = Extra::default();
        for (index, place) in visible.iter().enumerate() {
            assert_eq!(sequence.extra_before(characters, index), before);
            let letter = letter(place.0);
            for byte in 0..letter.len_utf8() {
                assert_eq!(sequence.index_of_utf8(characters, index + before.utf8 as usize + byte), index);
            }
            for unit in 0..letter.len_utf16() {
                assert_eq!(sequence.index_of_utf16(characters, index + before.utf16 as usize + unit), index);
            }
            before.utf8 += letter.len_utf8() as u32 - 1;
            before.utf16 += letter.len_utf16() as u32 - 1;
        }
        let end = visible.len();
        assert_eq!(sequence.extra_before(characters, end), before);
        assert_eq!(sequence.index_of_utf8(characters, end + before.utf8 as usize), end);
        assert_eq!(sequence.index_of_utf16(characters, end + before.utf16 as usize), end);
    }

    fn compare(&mut self) {
        let visible = self.oracle.visible();
        self.compare_weights(&visible);
        let Self { sequence, oracle } = self;
        sequence.debug_check();
        let order = oracle.order();
        assert_eq!(sequence.sequence.place_count(), order.len());
        assert_eq!(sequence.sequence.visible_len(), visible.len());
        assert_eq!(sequence.iter_visible().collect::<Vec<_>>(), visible);
        for (index, &place) in visible.iter().enumerate() {
            assert_eq!(sequence.place_at(index), Some(place));
            assert_eq!(sequence.anchor_for(index), oracle.anchor_for(index));
        }
        let end = visible.len();
        assert_eq!(sequence.place_at(end), None);
        assert_eq!(sequence.anchor_for(end), oracle.anchor_for(end));
        assert_eq!(sequence.anchor_for(usize::MAX), oracle.anchor_for(end));
        let half = sequence.iter_visible_from(end / 2).collect::<Vec<_>>();
        assert_eq!(half, visible[end / 2..]);
        assert_eq!(sequence.iter_visible_from(end).next(), None);
        let mut before = 0;
        for place in order {
            assert_eq!(sequence.index_of(place), before);
            before += usize::from(sequence.sequence.is_visible(place));
        }
    }
}

fn agree<const L: usize, const N: usize>(steps: &[Step], each: bool) {
    let mut pair = Pair::<L, N> { sequence: Stamped::new(), oracle: Oracle::default() };
    for step in steps {
        pair.take(step.clone());
        if each {
            pair.sequence.debug_check();
        }
    }
    pair.compare();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_a_naive_tree(steps in prop::collection::vec(step(), 0..40)) {
        agree::<4, 4>(&steps, true);
        agree::<5, 6>(&steps, false);
        agree::<LEAF_TOKENS, NODE_CHILDREN>(&steps, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    /// The same places in another order of arrival (parents before children) stand in the same order.
    #[test]
    fn order_does_not_depend_on_arrival(
        parents in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..20u64), 1..150),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 150),
    ) {
        let mut first = Stamped::new();
        for (number, (parent, right, stamp)) in parents.iter().enumerate() {
            let anchor = match (parent.index(number + 1) as u32, right) {
                (parent, _) if parent as usize == number => Anchor::Start,
                (parent, true) => Anchor::Right(PlaceIdx(parent)),
                (parent, false) => Anchor::Left(PlaceIdx(parent)),
            };
            first.insert(anchor, (*stamp, number), number % 3 != 0);
        }
        let mut second = Stamped::new();
        let mut waiting: Vec<u32> = (0..parents.len() as u32).collect();
        let mut arrived: BTreeMap<PlaceIdx, PlaceIdx> = BTreeMap::new();
        for pick in picks {
            let ready = |&number: &u32| match first.anchors[number as usize] {
                Anchor::Start => true,
                Anchor::Left(parent) | Anchor::Right(parent) => arrived.contains_key(&parent),
            };
            let choices: Vec<u32> = waiting.iter().copied().filter(ready).collect();
            if choices.is_empty() {
                break;
            }
            let place = PlaceIdx(choices[pick.index(choices.len())]);
            waiting.retain(|&number| number != place.0);
            let anchor = match first.anchors[place.index()] {
                Anchor::Start => Anchor::Start,
                Anchor::Left(parent) => Anchor::Left(arrived[&parent]),
                Anchor::Right(parent) => Anchor::Right(arrived[&parent]),
            };
            arrived.insert(place, second.insert(anchor, first.stamp_of(place), first.sequence.is_visible(place)));
        }
        prop_assert!(waiting.is_empty());
        second.debug_check();
        let stamps = |sequence: &Stamped<(u64, usize)>| -> Vec<_> {
            sequence.iter_visible().map(|place| sequence.stamp_of(place)).collect()
        };
        prop_assert_eq!(stamps(&first), stamps(&second));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    /// Enough tokens for inner nodes to split.
    #[test]
    fn agrees_with_a_naive_tree_when_large(steps in prop::collection::vec(step(), 300..500)) {
        agree::<4, 4>(&steps, false);
        agree::<LEAF_TOKENS, NODE_CHILDREN>(&steps, false);
    }
}

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u32) -> u32 {
        // Knuth's MMIX constants; the upper half is the good one.
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// Places in each hostile shape.
const MANY: u32 = 50_000;

/// Builds a shape, checks it whole, and looks up, hides and edits all over it. If any operation walked spines, fans or
/// runs of brackets, this would take hours.
fn survives(anchor: impl Fn(u32) -> Anchor, stamp: impl Fn(u32) -> u32) -> Stamped<u32, 8, 4> {
    let mut sequence = Stamped::new();
    for number in 0..MANY {
        sequence.insert(anchor(number), stamp(number), number % 3 != 0);
    }
    sequence.debug_check();
    let shape = sequence.clone();
    for (index, place) in shape.iter_visible().enumerate().step_by(7) {
        assert_eq!(sequence.index_of(place), index);
        assert_eq!(sequence.place_at(index), Some(place));
    }
    let mut numbers = Numbers(1);
    for number in 0..MANY / 16 {
        let place = PlaceIdx(numbers.below(MANY));
        sequence.set_visible(place, number % 2 == 0);
        // Edits at the start meet the longest run of begin tokens.
        let index = numbers.below(if number % 2 == 0 { 3 } else { MANY / 2 }) as usize;
        let index = index.min(sequence.sequence.visible_len());
        let anchor = sequence.anchor_for(index);
        let edit = sequence.insert(anchor, MANY + number, true);
        assert_eq!(sequence.index_of(edit), index);
    }
    sequence.debug_check();
    shape
}

/// All of a shape's places in order, the hidden ones too.
fn order(shape: &Stamped<u32, 8, 4>) -> Vec<u32> {
    let mut shown = shape.clone();
    (0..MANY).for_each(|number| shown.set_visible(PlaceIdx(number), true));
    shown.iter_visible().map(|place| place.0).collect()
}

fn right(parent: u32) -> Anchor {
    Anchor::Right(PlaceIdx(parent))
}

fn left(parent: u32) -> Anchor {
    Anchor::Left(PlaceIdx(parent))
}

/// The anchor of `number` where the first place hangs from the start.
fn from_start(number: u32, anchor: impl Fn(u32) -> Anchor) -> Anchor {
    number.checked_sub(1).map_or(Anchor::Start, anchor)
}

#[test]
fn survives_siblings_at_the_start() {
    let shape = survives(|_| Anchor::Start, |number| number);
    assert!(order(&shape).into_iter().eq(0..MANY));
    let shape = survives(|_| Anchor::Start, |number| MANY - number);
    assert!(order(&shape).into_iter().eq((0..MANY).rev()));
    // 7,919 is prime to 50,000: each stamp comes once.
    let shape = survives(|_| Anchor::Start, |number| (number * 7_919) % MANY);
    let stamps = order(&shape).into_iter().map(|number| shape.stamp_of(PlaceIdx(number)));
    assert!(stamps.eq(0..MANY));
}

#[test]
fn survives_siblings_at_one_place() {
    let shape = survives(
        |number| from_start(number, |last| if last % 2 == 0 { left(0) } else { right(0) }),
        |number| (number * 7_919) % MANY,
    );
    assert_eq!(order(&shape)[MANY as usize / 2], 0);
}

#[test]
fn survives_spines() {
    let shape = survives(|number| from_start(number, right), |_| 0);
    assert!(order(&shape).into_iter().eq(0..MANY));
    let shape = survives(|number| from_start(number, left), |_| 0);
    assert!(order(&shape).into_iter().eq((0..MANY).rev()));
}

#[test]
fn survives_a_zigzag() {
    let zigzag = |last| {
        if last % 2 == 0 { right(last) } else { left(last) }
    };
    let shape = survives(|number| from_start(number, zigzag), |_| 0);
    let evens = (0..MANY).step_by(2);
    let odds = (0..MANY).rev().filter(|number| number % 2 == 1);
    assert!(order(&shape).into_iter().eq(evens.chain(odds)));
}

/// A spine each of whose places has a further sibling: forks all the way, and each new sibling stands at the far end of
/// a subtree as deep as the whole tree.
#[test]
fn survives_forks_on_spines() {
    let spine = MANY / 2;
    for side in [left, right] {
        survives(
            |number| match number.checked_sub(spine) {
                None => from_start(number, side),
                Some(parent) => side(parent),
            },
            |number| number,
        );
    }
}

#[test]
fn survives_far_parents() {
    let far = |number: u32| {
        let mut numbers = Numbers(number.into());
        numbers.below(u32::MAX);
        let parent = numbers.below(number);
        if numbers.below(2) == 0 { left(parent) } else { right(parent) }
    };
    survives(|number| from_start(number, |_| far(number)), |number| number);
}

/// One author's copy of a text, whose stamps are (lamport, author) and whose elements are letters.
struct Replica {
    sequence: Stamped<(u64, u32)>,
    places: BTreeMap<(u64, u32), PlaceIdx>,
    letters: Vec<char>,
    log: Vec<Edit>,
}

/// An insert as it travels: the parent by its stamp.
#[derive(Clone)]
struct Edit {
    parent: Option<((u64, u32), bool)>,
    stamp: (u64, u32),
    letter: char,
}

impl Replica {
    fn new() -> Self {
        Self { sequence: Stamped::new(), places: BTreeMap::new(), letters: Vec::new(), log: Vec::new() }
    }

    fn typed(&mut self, author: u32, index: usize, letter: char) {
        let parent = match self.sequence.anchor_for(index) {
            Anchor::Start => None,
            Anchor::Left(parent) => Some((self.sequence.stamp_of(parent), false)),
            Anchor::Right(parent) => Some((self.sequence.stamp_of(parent), true)),
        };
        let lamport = self.places.keys().next_back().map_or(0, |last| last.0 + 1);
        self.merge(Edit { parent, stamp: (lamport, author), letter });
    }

    fn merge(&mut self, edit: Edit) {
        let anchor = match edit.parent {
            None => Anchor::Start,
            Some((parent, true)) => Anchor::Right(self.places[&parent]),
            Some((parent, false)) => Anchor::Left(self.places[&parent]),
        };
        let place = self.sequence.insert(anchor, edit.stamp, true);
        self.places.insert(edit.stamp, place);
        self.letters.push(edit.letter);
        self.log.push(edit);
    }

    fn text(&self) -> String {
        let places = self.sequence.iter_visible();
        places.map(|place| self.letters[place.index()]).collect()
    }
}

/// Two authors type into "()" at once, each from `index` to the next; both copies then merge the other's edits.
fn concurrently(words: [&str; 2], index: impl Fn(usize) -> usize) -> String {
    let [mut one, mut two] = [1, 2].map(|author| {
        let mut replica = Replica::new();
        replica.typed(0, 0, '(');
        replica.typed(0, 1, ')');
        for (typed, letter) in words[author as usize - 1].chars().enumerate() {
            replica.typed(author, index(typed), letter);
        }
        replica
    });
    let (from_one, from_two) = (one.log[2..].to_vec(), two.log[2..].to_vec());
    from_two.into_iter().for_each(|edit| one.merge(edit));
    from_one.into_iter().for_each(|edit| two.merge(edit));
    assert_eq!(one.text(), two.text());
    one.text()
}

#[test]
fn concurrent_words_do_not_interleave() {
    let forward = concurrently(["shop", "milk"], |typed| 1 + typed);
    assert_eq!(forward, "(shopmilk)");
    let backward = concurrently(["pohs", "klim"], |_| 1);
    assert_eq!(backward, "(shopmilk)");
    let backward_and_forward = concurrently(["pohs", "milk"], |_| 1);
    assert_eq!(backward_and_forward, "(shopklim)");
}

/// What one author types, in whatever many changes, is one token.
#[test]
fn typing_makes_one_token() {
    let mut text = Stamped::<u32, LEAF_TOKENS, NODE_CHILDREN>::new();
    for typed in 0..1_000 {
        let anchor = text.anchor_for(typed);
        text.insert(anchor, typed as u32, true);
    }
    assert_eq!(text.sequence.token_count(), 1);
    let middle = text.anchor_for(500);
    text.insert_run(middle, 1_000, 300, true);
    assert_eq!(text.sequence.token_count(), 3);
    text.sequence.hide(&text.characters, 1_000..1_300, None);
    text.sequence.hide(&text.characters, 0..1_000, None);
    assert_eq!(text.sequence.token_count(), 3, "brackets keep them apart");
    for place in (0..1_000).rev() {
        text.sequence.show(&text.characters, PlaceIdx(place));
    }
    assert_eq!(text.sequence.token_count(), 3, "what is turned joins its neighbours again");
    text.debug_check();
}

#[test]
fn characters_are_found_by_number() {
    let mut characters = Characters::default();
    let mut naive: Vec<char> = Vec::new();
    let mut numbers = Numbers(3);
    for round in 0..400 {
        let len = 1 + numbers.below(90);
        let plain = round < 5 || round % 7 == 0;
        let letters = (0..len).map(|_| if plain { 'p' } else { LETTERS[numbers.below(8) as usize] });
        let letters: String = letters.collect();
        assert_eq!(characters.push_str(&letters), len);
        naive.extend(letters.chars());
    }
    assert_eq!(characters.len() as usize, naive.len());
    for _ in 0..2_000 {
        let from = numbers.below(characters.len() + 1);
        let to = from + numbers.below((characters.len() - from + 1).min(300));
        let expected: String = naive[from as usize..to as usize].iter().collect();
        assert_eq!(characters.slice(from..to), expected);
        let utf16 = expected.encode_utf16().count() as u32 - (to - from);
        let extra = Extra { utf8: expected.len() as u32 - (to - from), utf16 };
        assert_eq!(characters.weigh(from..to), extra);
    }
    assert_eq!(characters.slice(0..characters.len()).chars().collect::<Vec<_>>(), naive);
}
