//! The document checks itself: everything that is kept beside the operations themselves is counted again.

use std::collections::BTreeSet;

use super::container::{NONE, Up};
use super::list::Held;
use super::sequence::PlaceIdx;
use super::{ContainerIdx, Document};
use crate::causality::Causality;
use crate::ops::Kind;

impl Document {
    /// Recounts counts and sums, and who lives.
    ///
    /// # Panics
    /// If something is not as it should be.
    pub fn debug_check(&self) {
        self.keys.debug_check();
        for (key, last) in self.keys.lasts() {
            assert!(matches!(self.at(last).up(), Up::Key(_, of) if of == key));
        }
        self.bodies.registers.debug_check();
        for (container, number) in self.containers.iter().zip(0..) {
            let number = ContainerIdx(number);
            match container.up() {
                Up::Root => assert_eq!(number, ContainerIdx::ROOT),
                Up::Key(map, key) => {
                    assert!(map < number && !container.is_dead());
                    assert_eq!(container.depth, self.at(map).depth + 1);
                    assert_eq!(self.child(map, self.keys.name(key), container.kind), Some(number));
                    assert!(container.is_indexed() || !self.at(map).is_indexed());
                }
                Up::Element(list, element) => {
                    assert!(list < number);
                    assert_eq!(container.depth, self.at(list).depth + 1);
                    let Some(list) = self.list(list) else { panic!("elements stand in lists") };
                    assert!(matches!(list.held(element), Held::Container(held) if held == number));
                    assert_eq!(list.lives(element), !container.is_dead());
                }
            }
            assert_eq!(container.lives(), self.reckon_life(number));
            assert_eq!(container.is_ensured(), self.uncovered.ensures(number).next().is_some());
            if container.body == NONE {
                continue;
            }
            match container.kind {
                Kind::Register | Kind::MultiRegister => {}
                Kind::Counter => {
                    assert_eq!(self.bodies.counters[container.body], self.uncovered.sum_steps(number));
                }
                Kind::Map => {
                    let map = &self.bodies.maps[container.body];
                    map.debug_check(&self.containers, &self.keys);
                    for entry in map.entries() {
                        assert_eq!(self.at(entry.child).up(), Up::Key(number, entry.key));
                    }
                }
                Kind::List => {
                    let list = &self.bodies.lists[container.body];
                    list.sequence.debug_check(&());
                    list.debug_check();
                    for place in list.sequence.runs_from(0).flatten() {
                        let born = list.born(place);
                        assert_eq!(list.place(born), PlaceIdx::from_number(place));
                        assert!(!matches!(list.held(born), Held::Gone));
                    }
                }
                Kind::Text => {
                    let text = &self.bodies.texts[container.body];
                    text.sequence.debug_check(&text.characters);
                    assert_eq!(text.characters.len() as usize, text.sequence.place_count());
                }
            }
        }
    }

    /// Checks what can be checked only with the graph too: the order of places and writes, and what is kept for clears.
    ///
    /// # Panics
    /// If something is not as it should be.
    pub fn debug_check_with(&self, causality: &impl Causality) {
        self.debug_check();
        for (container, number) in self.containers.iter().zip(0..) {
            let number = ContainerIdx(number);
            if container.body == NONE {
                continue;
            }
            match container.kind {
                Kind::Register | Kind::MultiRegister => {
                    let writes: Vec<_> = self.bodies.registers.writes(container.body).map(|(at, _)| at).collect();
                    assert!(writes.windows(2).all(|pair| causality.order(pair[0], pair[1]).is_lt()));
                    let branches: BTreeSet<_> = writes.iter().map(|write| causality.position(*write).0).collect();
                    assert_eq!(branches.len(), writes.len());
                }
                Kind::Map if container.is_indexed() => {
                    let mut below = BTreeSet::new();
                    for child in self.children(number) {
                        below.extend(self.leasts(causality, child).into_iter().map(|(b, seq)| (b, seq, child)));
                    }
                    assert!(below.into_iter().eq(self.uncovered.below(number)));
                }
                Kind::List | Kind::Text if container.is_indexed() => {
                    let mut noted = BTreeSet::new();
                    for (branch, seq, places) in self.uncovered.inserts(number) {
                        noted.extend(places.map(|place| (branch, seq, place)));
                    }
                    self.pieces(number, 0, usize::MAX, |change, _, places| {
                        let (branch, seq) = causality.position(change);
                        assert!(places.into_iter().all(|place| noted.contains(&(branch, seq, place))));
                    });
                }
                _ => {}
            }
            if let Some(list) = self.list(number) {
                list.sequence.debug_check_order(causality);
            }
            if let Some(text) = self.text_body(number) {
                text.sequence.debug_check_order(causality);
            }
        }
    }
}
