//! Reading: what the typed and the untyped layers stand on. A read of a container of another kind than it asks for finds nothing.

use super::container::{Body, Content, ListBody, MapBody, Up, Write};
use super::{ContainerIdx, Document, ElementId};
use bft_json_crdt::ops::Kind;
use bft_json_crdt::value::Value;

/// A living list element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Element<'a> {
    /// A value that never changes.
    Value(&'a Value),
    /// A container.
    Container(Kind, ContainerIdx),
}

impl Document {
    /// What a container holds.
    pub(crate) fn kind(&self, container: ContainerIdx) -> Kind {
        self.at(container).kind
    }

    /// How many containers lie above it; 0 for the root.
    pub(crate) fn depth(&self, container: ContainerIdx) -> u32 {
        self.at(container).depth
    }

    /// Whether a container lies in no deleted list element, so that writing to it can have an effect. O(depth).
    pub(crate) fn is_attached(&self, container: ContainerIdx) -> bool {
        let mut at = container;
        loop {
            match &self.at(at).up {
                Up::Root => return true,
                Up::Key(map, _) => at = *map,
                Up::Element(list, element) => {
                    if !self.list(*list).is_some_and(|list| list.elements[*element as usize].alive) {
                        return false;
                    }
                    at = *list;
                }
            }
        }
    }

    /// Whether a container lives (section 6.1): it is the root, what a living list element holds, or a map entry with something living at or
    /// below it; and is attached. O(depth).
    pub(crate) fn is_present(&self, container: ContainerIdx) -> bool {
        let held = self.at(container);
        (!matches!(held.up, Up::Key(..)) || held.lives()) && self.is_attached(container)
    }

    /// A map's entry of one kind, living or not; `None` if nothing ever mentioned it.
    pub(crate) fn child(&self, map: ContainerIdx, key: &str, kind: Kind) -> Option<ContainerIdx> {
        let slot = self.map(map)?.slot(key)?;
        slot.iter().find(|(of, _)| *of == kind).map(|(_, child)| *child)
    }

    /// The living entries under a key, the lowest kind first: that one shows.
    pub(crate) fn kinds_present(
        &self,
        map: ContainerIdx,
        key: &str,
    ) -> impl Iterator<Item = (Kind, ContainerIdx)> + '_ {
        let slot = self.map(map).and_then(|map| map.living.get(key));
        slot.into_iter().flatten().copied().filter(|(_, child)| self.at(*child).lives())
    }

    /// The entry that shows under a key.
    pub(crate) fn shown(&self, map: ContainerIdx, key: &str) -> Option<(Kind, ContainerIdx)> {
        self.kinds_present(map, key).next()
    }

    /// A map's keys that show, ascending by their UTF-8 bytes.
    pub(crate) fn keys(&self, map: ContainerIdx) -> impl Iterator<Item = &str> + '_ {
        self.map(map).into_iter().flat_map(|map| map.living.keys()).map(|key| &**key)
    }

    /// How many keys show. O(1).
    pub(crate) fn map_len(&self, map: ContainerIdx) -> usize {
        self.map(map).map_or(0, |map| map.living.len())
    }

    /// The value that a register shows: the greatest write; `None` if it has none. For a multi-value register likewise its greatest.
    pub(crate) fn register(&self, register: ContainerIdx) -> Option<&Value> {
        self.writes(register).last().map(|write| &write.value)
    }

    /// All values of a multi-value register in the one order.
    pub(crate) fn values(&self, register: ContainerIdx) -> impl Iterator<Item = &Value> + '_ {
        self.writes(register).iter().map(|write| &write.value)
    }

    /// A counter's sum. O(1).
    pub(crate) fn counter(&self, counter: ContainerIdx) -> i128 {
        match &self.at(counter).body {
            Body::Counter(steps) => steps.sum(),
            _ => 0,
        }
    }

    /// How many living elements a list, or characters a text, has. O(1).
    pub(crate) fn len(&self, sequence: ContainerIdx) -> usize {
        match &self.at(sequence).body {
            Body::List(list) => list.runs.living(),
            Body::Text(text) => text.runs.living(),
            _ => 0,
        }
    }

    /// Whether a list or text has no living elements or characters.
    pub(crate) fn is_empty(&self, sequence: ContainerIdx) -> bool {
        self.len(sequence) == 0
    }

    /// The element at an index of a list. O(log n).
    pub(crate) fn element(&self, list: ContainerIdx, index: usize) -> Option<Element<'_>> {
        self.elements(list, index).next().map(|(_, element)| element)
    }

    /// A list's living elements in order, from an index on.
    pub(crate) fn elements(
        &self,
        list: ContainerIdx,
        from: usize,
    ) -> impl Iterator<Item = (ElementId, Element<'_>)> + '_ {
        self.list(list).into_iter().flat_map(move |list| {
            list.sequence.iter_visible_from(from).map(move |place| {
                let number = list.element_of[place.index()];
                (ElementId(number), self.show(&list.elements[number as usize].content))
            })
        })
    }

    /// A text's characters.
    pub(crate) fn text(&self, text: ContainerIdx) -> String {
        self.text_slice(text, 0, usize::MAX)
    }

    /// At most `len` of a text's characters (Unicode scalar values) from an index on.
    pub(crate) fn text_slice(&self, text: ContainerIdx, from: usize, len: usize) -> String {
        let Body::Text(text) = &self.at(text).body else { return String::new() };
        let places = text.sequence.iter_visible_from(from).take(len);
        places.map(|place| text.characters[place.index()]).collect()
    }

    fn map(&self, map: ContainerIdx) -> Option<&MapBody> {
        match &self.at(map).body {
            Body::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn list(&self, list: ContainerIdx) -> Option<&ListBody> {
        match &self.at(list).body {
            Body::List(list) => Some(list),
            _ => None,
        }
    }

    fn writes(&self, register: ContainerIdx) -> &[Write] {
        match &self.at(register).body {
            Body::Register(writes) => writes,
            _ => &[],
        }
    }

    fn show<'a>(&self, content: &'a Content) -> Element<'a> {
        match content {
            Content::Value(value) => Element::Value(value),
            // Never of a living element.
            Content::Gone => Element::Value(&Value::Null),
            Content::Container(inner) => Element::Container(self.at(*inner).kind, *inner),
        }
    }
}
