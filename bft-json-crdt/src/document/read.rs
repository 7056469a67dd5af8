//! Reading: what the typed and the untyped layers stand on. A read of a container of another kind than it asks for finds nothing.

use std::ops::Range;

use super::container::{NONE, Up};
use super::list::Held;
use super::map::Slot;
use super::{ContainerIdx, Document, ElementId, Step};
use crate::causality::ChangeIdx;
use crate::ops::Kind;
use crate::value::Value;

/// A living list element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Element<'a> {
    /// A value that never changes.
    Value(&'a Value),
    /// A container.
    Container(Kind, ContainerIdx),
}

impl Document {
    /// What a container holds.
    pub fn kind(&self, container: ContainerIdx) -> Kind {
        self.at(container).kind
    }

    /// How many containers lie above it; 0 for the root.
    pub fn depth(&self, container: ContainerIdx) -> u32 {
        self.at(container).depth.into()
    }

    /// The way from the root to a container; `None` if it lies in a deleted list element. O(depth · log n).
    pub fn path(&self, container: ContainerIdx) -> Option<Vec<Step>> {
        let mut path = Vec::new();
        let mut at = container;
        loop {
            match self.at(at).up() {
                Up::Root => break,
                Up::Key(map, key) => {
                    path.push(Step::Key(self.keys.name(key).clone()));
                    at = map;
                }
                Up::Element(list, element) => {
                    path.push(Step::Index(self.index_of(list, ElementId(element))?));
                    at = list;
                }
            }
        }
        path.reverse();
        Some(path)
    }

    /// Whether a container lies in no deleted list element, so that writing to it can have an effect. O(depth).
    pub fn is_attached(&self, container: ContainerIdx) -> bool {
        let mut at = container;
        loop {
            let held = self.at(at);
            match held.up() {
                _ if held.is_dead() => return false,
                Up::Root => return true,
                Up::Key(above, _) | Up::Element(above, _) => at = above,
            }
        }
    }

    /// Whether a container lives (section 6.1): it is the root, what a living list element holds, or a map entry with something living at or
    /// below it; and is attached. O(depth).
    pub fn is_present(&self, container: ContainerIdx) -> bool {
        let held = self.at(container);
        (!matches!(held.up(), Up::Key(..)) || held.lives()) && self.is_attached(container)
    }

    /// A map's entry of one kind, living or not; `None` if nothing ever mentioned it.
    pub fn child(&self, map: ContainerIdx, key: &str, kind: Kind) -> Option<ContainerIdx> {
        let map = self.map(map)?;
        map.child(&self.containers, &self.keys, self.keys.find(key)?, kind)
    }

    /// The living entries under a key, the lowest kind first: that one shows.
    pub fn kinds_present(&self, map: ContainerIdx, key: &str) -> impl Iterator<Item = (Kind, ContainerIdx)> + '_ {
        let key = self.map(map).and_then(|map| Some((map, self.keys.find(key)?)));
        let slot = key.map_or_else(Slot::new, |(map, key)| map.slot(&self.containers, &self.keys, key));
        slot.into_iter().filter(|(_, child)| self.at(*child).lives())
    }

    /// The entry that shows under a key.
    pub fn shown(&self, map: ContainerIdx, key: &str) -> Option<(Kind, ContainerIdx)> {
        self.kinds_present(map, key).next()
    }

    /// A map's keys that show, ascending by their UTF-8 bytes.
    pub fn keys(&self, map: ContainerIdx) -> impl Iterator<Item = &str> + '_ {
        let living = self.map(map).into_iter().flat_map(|map| map.living(&self.containers));
        living.map(|key| &**self.keys.name(key))
    }

    /// How many keys show. O(1).
    pub fn map_len(&self, map: ContainerIdx) -> usize {
        self.map(map).map_or(0, |map| map.len(&self.containers))
    }

    /// The value that a register shows: the greatest write; `None` if it has none. For a multi-value register likewise its greatest.
    pub fn register(&self, register: ContainerIdx) -> Option<&Value> {
        self.values(register).next_back()
    }

    /// All values of a multi-value register in the one order.
    pub fn values(&self, register: ContainerIdx) -> impl DoubleEndedIterator<Item = &Value> + '_ {
        let held = self.at(register);
        let is_register = matches!(held.kind, Kind::Register | Kind::MultiRegister) && held.body != NONE;
        let writes = is_register.then(|| self.bodies.registers.writes(held.body));
        writes.into_iter().flatten().map(|(_, value)| value)
    }

    /// A counter's sum. O(1).
    pub fn counter(&self, counter: ContainerIdx) -> i128 {
        let held = self.at(counter);
        match held.kind {
            Kind::Counter => self.bodies.counters.get(held.body).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// How many living elements a list, or characters a text, has. O(1).
    pub fn len(&self, sequence: ContainerIdx) -> usize {
        let held = self.at(sequence);
        match held.kind {
            _ if held.body == NONE => 0,
            Kind::List => self.bodies.lists[held.body].sequence.visible_len(),
            Kind::Text => self.bodies.texts[held.body].sequence.visible_len(),
            _ => 0,
        }
    }

    /// Whether a list or text has no living elements or characters.
    pub fn is_empty(&self, sequence: ContainerIdx) -> bool {
        self.len(sequence) == 0
    }

    /// The element at an index of a list. O(log n).
    pub fn element(&self, list: ContainerIdx, index: usize) -> Option<Element<'_>> {
        self.elements(list, index).next().map(|(_, element)| element)
    }

    /// A list's living elements in order, from an index on.
    pub fn elements(&self, list: ContainerIdx, from: usize) -> impl Iterator<Item = (ElementId, Element<'_>)> + '_ {
        self.list(list).into_iter().flat_map(move |list| {
            list.sequence.runs_from(from).flatten().map(move |place| {
                let born = list.born(place);
                (ElementId(born), self.show(list.held(born)))
            })
        })
    }

    /// The name of the element at an index of a list, which it keeps when it moves. O(log n).
    pub fn element_id(&self, list: ContainerIdx, index: usize) -> Option<ElementId> {
        self.elements(list, index).next().map(|(id, _)| id)
    }

    /// Where an element stands; `None` once it is deleted. O(log n).
    pub fn index_of(&self, list: ContainerIdx, element: ElementId) -> Option<usize> {
        let list = self.list(list)?;
        let known = (element.0 as usize) < list.sequence.place_count();
        known.then_some(())?;
        let place = list.place(element.0);
        list.sequence.is_visible(place).then(|| list.sequence.index_of(place))
    }

    /// A text's characters.
    pub fn text(&self, text: ContainerIdx) -> String {
        self.text_slice(text, 0, usize::MAX)
    }

    /// At most `len` of a text's characters (Unicode scalar values) from an index on.
    pub fn text_slice(&self, text: ContainerIdx, from: usize, len: usize) -> String {
        let Some(text) = self.text_body(text) else { return String::new() };
        let mut left = u32::try_from(len).unwrap_or(u32::MAX);
        let mut shown = String::new();
        for run in text.sequence.runs_from(from) {
            let end = run.end.min(run.start.saturating_add(left));
            shown.push_str(text.characters.slice(run.start..end));
            left -= end - run.start;
            if left == 0 {
                break;
            }
        }
        shown
    }

    /// The whole document (section 6.2).
    pub fn view(&self) -> Value {
        self.view_at(ContainerIdx::ROOT)
    }

    /// What a container shows.
    pub fn view_at(&self, container: ContainerIdx) -> Value {
        let held = self.at(container);
        match held.kind {
            Kind::Register => self.register(container).cloned().unwrap_or_default(),
            Kind::MultiRegister => Value::Array(self.values(container).cloned().collect()),
            Kind::Counter => Value::Int(self.counter(container)),
            Kind::Map => {
                let shown = |key| Some((String::from(key), self.view_at(self.shown(container, key)?.1)));
                Value::Object(self.keys(container).filter_map(shown).collect())
            }
            Kind::List => {
                let element = |(_, element)| match element {
                    Element::Value(value) => Value::clone(value),
                    Element::Container(_, inner) => self.view_at(inner),
                };
                Value::Array(self.elements(container, 0).map(element).collect())
            }
            Kind::Text => Value::String(self.text(container)),
        }
    }

    /// How many bytes of UTF-8 the characters of a text before an index take. O(log n).
    pub fn utf8_before(&self, text: ContainerIdx, index: usize) -> usize {
        let Some(text) = self.text_body(text) else { return 0 };
        let index = index.min(text.sequence.visible_len());
        index + text.sequence.extra_before(&text.characters, index).utf8 as usize
    }

    /// How many units of UTF-16 the characters of a text before an index take. O(log n).
    pub fn utf16_before(&self, text: ContainerIdx, index: usize) -> usize {
        let Some(text) = self.text_body(text) else { return 0 };
        let index = index.min(text.sequence.visible_len());
        index + text.sequence.extra_before(&text.characters, index).utf16 as usize
    }

    /// The index of the character of a text that covers a byte of its UTF-8; its length beyond the end. O(log n).
    pub fn index_of_utf8(&self, text: ContainerIdx, byte: usize) -> usize {
        self.text_body(text).map_or(0, |text| text.sequence.index_of_utf8(&text.characters, byte))
    }

    /// The index of the character of a text that covers a unit of its UTF-16; its length beyond the end. O(log n).
    pub fn index_of_utf16(&self, text: ContainerIdx, unit: usize) -> usize {
        self.text_body(text).map_or(0, |text| text.sequence.index_of_utf16(&text.characters, unit))
    }

    /// Who inserted the living elements or characters of a range of indexes: stretches of successive units of one change, in order, as
    /// the change, the first unit's offset and the number of units. O(stretches · log n).
    pub fn origins(&self, sequence: ContainerIdx, range: Range<usize>) -> Vec<(ChangeIdx, u32, usize)> {
        let mut origins: Vec<(ChangeIdx, u32, usize)> = Vec::new();
        self.pieces(sequence, range.start, range.len(), |change, offset, places| match origins.last_mut() {
            Some((same, first, len)) if *same == change && *first as usize + *len == offset as usize => {
                *len += places.len();
            }
            _ => origins.push((change, offset, places.len())),
        });
        origins
    }

    /// At most `len` living elements or characters from an index on, in order, as stretches that were born at places with successive numbers,
    /// by successive units of one change: the change, the first unit's offset, the places.
    pub(super) fn pieces(
        &self,
        sequence: ContainerIdx,
        index: usize,
        len: usize,
        mut tell: impl FnMut(ChangeIdx, u32, Range<u32>),
    ) {
        let list = self.list(sequence);
        let places = match (list, self.text_body(sequence)) {
            (Some(list), _) => &list.sequence,
            (_, Some(text)) => &text.sequence,
            _ => return,
        };
        let moved = list.filter(|list| list.has_moves());
        let end = index.saturating_add(len);
        let mut index = index;
        while index < end
            && let Some(run) = places.run_at(index)
        {
            let len = (run.end - run.start).min(u32::try_from(end - index).unwrap_or(u32::MAX));
            let run = run.start..run.start + len;
            index += len as usize;
            match moved {
                None => places.origins(run).for_each(|(change, offset, places)| tell(change, offset, places)),
                Some(list) => {
                    for place in run {
                        let born = list.born(place);
                        let (change, offset) = places.origin_of(super::sequence::PlaceIdx::from_number(born));
                        tell(change, offset, born..born + 1);
                    }
                }
            }
        }
    }

    /// About the bytes that the document holds on the heap, spare capacity included; strings and arrays of values are left out.
    pub fn heap_bytes(&self) -> usize {
        let Self { containers, bodies, keys, uncovered, units, scratch: _ } = self;
        let maps: usize = bodies.maps.iter().map(super::map::MapBody::heap_bytes).sum();
        let lists: usize = bodies.lists.iter().map(super::list::ListBody::heap_bytes).sum();
        let texts = bodies.texts.iter().map(|text| text.sequence.heap_bytes() + text.characters.heap_bytes());
        containers.heap_bytes()
            + bodies.registers.heap_bytes()
            + (bodies.counters.heap_bytes() + bodies.maps.heap_bytes())
            + (bodies.lists.heap_bytes() + bodies.texts.heap_bytes())
            + (maps + lists + texts.sum::<usize>())
            + keys.heap_bytes()
            + uncovered.heap_bytes()
            + units.heap_bytes()
    }

    fn show<'a>(&self, held: Held<'a>) -> Element<'a> {
        match held {
            Held::Value(value) => Element::Value(value),
            // Never of a living element.
            Held::Gone => Element::Value(&Value::Null),
            Held::Container(inner) => Element::Container(self.at(inner).kind, inner),
        }
    }
}
