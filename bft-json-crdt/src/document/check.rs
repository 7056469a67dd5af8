//! The document checks itself: everything that is kept beside the operations themselves is counted again.

use std::collections::BTreeSet;

use super::container::{Body, Content, Up};
use super::sequence::PlaceIdx;
use super::{ContainerIdx, Document};

impl Document {
    /// Recounts indexes, counts and sums.
    ///
    /// # Panics
    /// If something is not as it should be.
    pub fn debug_check(&self) {
        for (container, number) in self.containers.iter().zip(0..) {
            let number = ContainerIdx(number);
            match &container.up {
                Up::Root => assert_eq!(number, ContainerIdx::ROOT),
                Up::Key(map, key) => {
                    assert!(*map < number);
                    assert_eq!(container.depth, self.at(*map).depth + 1);
                    assert_eq!(self.child(*map, key, container.kind), Some(number));
                }
                Up::Element(list, element) => {
                    assert!(*list < number);
                    assert_eq!(container.depth, self.at(*list).depth + 1);
                    let Body::List(list) = &self.at(*list).body else { panic!("elements stand in lists") };
                    assert!(
                        matches!(list.elements[*element as usize].content, Content::Container(held) if held == number)
                    );
                }
            }
            let branches = container.branches();
            assert_eq!(container.lives(), !branches.is_empty());
            assert!(branches.iter().all(|branch| container.least(*branch).is_some()));
            match &container.body {
                Body::Register(writes) => {
                    assert!(writes.iter().enumerate().all(|(n, a)| writes[..n].iter().all(|b| a.branch != b.branch)));
                }
                Body::Counter(steps) => steps.debug_check(),
                Body::Map(map) => {
                    assert!(map.gone.keys().all(|key| !map.living.contains_key(key)));
                    let mut index = BTreeSet::new();
                    for (slot, living) in
                        map.living.values().map(|slot| (slot, true)).chain(map.gone.values().map(|slot| (slot, false)))
                    {
                        assert_eq!(slot.iter().any(|(_, child)| self.at(*child).lives()), living);
                        assert!(slot.windows(2).all(|pair| pair[0].0 < pair[1].0));
                        for (_, child) in slot {
                            let held = self.at(*child);
                            index.extend(held.branches().into_iter().filter_map(|b| Some((b, held.least(b)?, *child))));
                        }
                    }
                    assert_eq!(index, map.index);
                }
                Body::List(list) => {
                    list.sequence.debug_check(&());
                    assert_eq!(list.element_of.len(), list.sequence.place_count());
                    for (place, element) in list.element_of.iter().enumerate() {
                        let entry = &list.elements[*element as usize];
                        let place = PlaceIdx::from_number(place as u32);
                        assert_eq!(list.sequence.is_visible(place), entry.alive && entry.place == place);
                    }
                    let inserted: BTreeSet<u32> =
                        list.elements.iter().zip(0..).filter(|(entry, _)| entry.alive).map(|(_, n)| n).collect();
                    list.runs.debug_check(|place| inserted.contains(&list.element_of[place]));
                    assert_eq!(list.runs.living(), inserted.len());
                }
                Body::Text(text) => {
                    text.sequence.debug_check(&text.characters);
                    assert_eq!(text.characters.len() as usize, text.sequence.place_count());
                    text.runs.debug_check(|place| text.sequence.is_visible(PlaceIdx::from_number(place as u32)));
                    assert_eq!(text.runs.living(), text.sequence.visible_len());
                }
            }
        }
    }
}
