//! The sequence against a naive tree, on hostile shapes, and on what people type.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Anchor, PlaceIdx, Sequence};

type Stamp = u64;

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
    Run(prop::sample::Index, Vec<Stamp>),
    Show(prop::sample::Index, bool),
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
        1 => (a::<prop::sample::Index>(), prop::collection::vec(stamp(), 0..40))
            .prop_map(|(index, stamps)| Step::Run(index, stamps)),
        2 => (a::<prop::sample::Index>(), a::<bool>()).prop_map(|(place, visible)| Step::Show(place, visible)),
    ]
}

/// A sequence and its oracle, kept in step.
struct Pair {
    sequence: Sequence<(Stamp, u32)>,
    oracle: Oracle,
}

impl Pair {
    /// Stamps are made distinct by the place's number, which stays in the lower part.
    fn distinct(stamp: Stamp, number: usize) -> (Stamp, u32) {
        (stamp, number as u32)
    }

    fn insert(&mut self, anchor: Anchor, stamp: Stamp, visible: bool) {
        let number = self.oracle.places.len();
        self.oracle.insert(anchor, stamp, visible);
        let stamp = Self::distinct(stamp, number);
        let place = self.sequence.insert(anchor, stamp, visible);
        assert_eq!(place.index(), number);
        assert_eq!(self.sequence.anchor_of(place), anchor);
        assert_eq!(self.sequence.stamp_of(place), stamp);
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
            Step::Run(index, stamps) => {
                let mut anchor = self.sequence.anchor_for(index.index(visible + 1));
                let numbered = (count..).zip(&stamps);
                let numbered = numbered.map(|(number, &stamp)| Self::distinct(stamp, number));
                let first = self.sequence.insert_run(anchor, numbered, true);
                let expected = (!stamps.is_empty()).then_some(PlaceIdx(count as u32));
                assert_eq!(first, expected);
                for (number, stamp) in (count as u32..).zip(stamps) {
                    self.oracle.insert(anchor, stamp, true);
                    anchor = Anchor::Right(PlaceIdx(number));
                }
            }
            Step::Show(place, visible) if count > 0 => {
                let place = PlaceIdx(place.index(count) as u32);
                self.oracle.places[place.index()].2 = visible;
                self.sequence.set_visible(place, visible);
                assert_eq!(self.sequence.is_visible(place), visible);
            }
            Step::Show(..) => {}
        }
    }

    fn compare(&self) {
        let Self { sequence, oracle } = self;
        sequence.debug_check();
        let order = oracle.order();
        let visible = oracle.visible();
        assert_eq!(sequence.place_count(), order.len());
        assert_eq!(sequence.visible_len(), visible.len());
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
            before += usize::from(sequence.is_visible(place));
        }
    }
}

fn agree(steps: Vec<Step>) {
    let mut pair = Pair { sequence: Sequence::new(), oracle: Oracle::default() };
    for step in steps {
        pair.take(step);
    }
    pair.compare();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_a_naive_tree(steps in prop::collection::vec(step(), 0..60)) {
        agree(steps);
    }

    /// The same places in another order of arrival (parents before children) stand in the same order.
    #[test]
    fn order_does_not_depend_on_arrival(
        parents in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..20u64), 1..150),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 150),
    ) {
        let mut first = Sequence::new();
        for (number, (parent, right, stamp)) in parents.iter().enumerate() {
            let anchor = match (parent.index(number + 1) as u32, right) {
                (parent, _) if parent as usize == number => Anchor::Start,
                (parent, true) => Anchor::Right(PlaceIdx(parent)),
                (parent, false) => Anchor::Left(PlaceIdx(parent)),
            };
            first.insert(anchor, (*stamp, number), number % 3 != 0);
        }
        let mut second = Sequence::new();
        let mut waiting: Vec<u32> = (0..parents.len() as u32).collect();
        let mut arrived: BTreeMap<PlaceIdx, PlaceIdx> = BTreeMap::new();
        for pick in picks {
            let ready = |&number: &u32| match first.anchor_of(PlaceIdx(number)) {
                Anchor::Start => true,
                Anchor::Left(parent) | Anchor::Right(parent) => arrived.contains_key(&parent),
            };
            let choices: Vec<u32> = waiting.iter().copied().filter(ready).collect();
            if choices.is_empty() {
                break;
            }
            let place = PlaceIdx(choices[pick.index(choices.len())]);
            waiting.retain(|&number| number != place.0);
            let anchor = match first.anchor_of(place) {
                Anchor::Start => Anchor::Start,
                Anchor::Left(parent) => Anchor::Left(arrived[&parent]),
                Anchor::Right(parent) => Anchor::Right(arrived[&parent]),
            };
            arrived.insert(place, second.insert(anchor, first.stamp_of(place), first.is_visible(place)));
        }
        prop_assert!(waiting.is_empty());
        second.debug_check();
        let stamps = |sequence: &Sequence<(u64, usize)>| -> Vec<_> {
            sequence.iter_visible().map(|place| sequence.stamp_of(place)).collect()
        };
        prop_assert_eq!(stamps(&first), stamps(&second));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    /// Enough tokens for inner nodes to split.
    #[test]
    fn agrees_with_a_naive_tree_when_large(steps in prop::collection::vec(step(), 300..500)) {
        agree(steps);
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
const MANY: u32 = 200_000;

/// Builds a shape, checks it whole, and looks up, hides and edits all over it. If any operation walked spines, fans or
/// runs of brackets, this would take hours.
fn survives(anchor: impl Fn(u32) -> Anchor, stamp: impl Fn(u32) -> u32) -> Sequence<u32> {
    let mut sequence = Sequence::new();
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
        let index = index.min(sequence.visible_len());
        let edit = sequence.insert(sequence.anchor_for(index), MANY + number, true);
        assert_eq!(sequence.index_of(edit), index);
    }
    sequence.debug_check();
    shape
}

/// All of a shape's places in order, the hidden ones too.
fn order(shape: &Sequence<u32>) -> Vec<u32> {
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
    // 7,919 is prime to 200,000: each stamp comes once.
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
    sequence: Sequence<(u64, u32)>,
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
        Self { sequence: Sequence::new(), places: BTreeMap::new(), letters: Vec::new(), log: Vec::new() }
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

/// Typing must not cost more than this a place, with a stamp of 16 bytes.
const CHAIN_BYTES: usize = 80;

#[test]
fn a_typed_chain_is_lean() {
    let mut sequence = Sequence::new();
    let stamps = (0..u128::from(MANY)).map(|stamp| (stamp as u64, (stamp >> 64) as u64));
    sequence.insert_run(Anchor::Start, stamps, true);
    assert!(sequence.forks.is_empty());
    let bytes = sequence.heap_bytes() / MANY as usize;
    assert!(bytes <= CHAIN_BYTES, "{bytes} bytes a place");
}
