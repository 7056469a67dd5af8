//! Reading: what the typed and the untyped layers stand on. A read of a container of another kind than it asks for finds nothing.

use super::container::{Body, Content, ListBody, MapBody, Up, Write};
use super::{ContainerIdx, Document, ElementId, Step};
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
        self.at(container).depth
    }

    /// The way from the root to a container; `None` if it lies in a deleted list element. O(depth · log n).
    pub fn path(&self, container: ContainerIdx) -> Option<Vec<Step>> {
        let mut path = Vec::new();
        let mut at = container;
        loop {
            match &self.at(at).up {
                Up::Root => break,
                Up::Key(map, key) => {
                    path.push(Step::Key(key.clone()));
                    at = *map;
                }
                Up::Element(list, element) => {
                    path.push(Step::Index(self.index_of(*list, ElementId(*element))?));
                    at = *list;
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
    pub fn is_present(&self, container: ContainerIdx) -> bool {
        let held = self.at(container);
        (!matches!(held.up, Up::Key(..)) || held.lives()) && self.is_attached(container)
    }

    /// A map's entry of one kind, living or not; `None` if nothing ever mentioned it.
    pub fn child(&self, map: ContainerIdx, key: &str, kind: Kind) -> Option<ContainerIdx> {
        let slot = self.map(map)?.slot(key)?;
        slot.iter().find(|(of, _)| *of == kind).map(|(_, child)| *child)
    }

    /// The living entries under a key, the lowest kind first: that one shows.
    pub fn kinds_present(&self, map: ContainerIdx, key: &str) -> impl Iterator<Item = (Kind, ContainerIdx)> + '_ {
        let slot = self.map(map).and_then(|map| map.living.get(key));
        slot.into_iter().flatten().copied().filter(|(_, child)| self.at(*child).lives())
    }

    /// The entry that shows under a key.
    pub fn shown(&self, map: ContainerIdx, key: &str) -> Option<(Kind, ContainerIdx)> {
        self.kinds_present(map, key).next()
    }

    /// A map's keys that show, ascending by their UTF-8 bytes.
    pub fn keys(&self, map: ContainerIdx) -> impl Iterator<Item = &str> + '_ {
        self.map(map).into_iter().flat_map(|map| map.living.keys()).map(|key| &**key)
    }

    /// How many keys show. O(1).
    pub fn map_len(&self, map: ContainerIdx) -> usize {
        self.map(map).map_or(0, |map| map.living.len())
    }

    /// The value that a register shows: the greatest write; `None` if it has none. For a multi-value register likewise its greatest.
    pub fn register(&self, register: ContainerIdx) -> Option<&Value> {
        self.writes(register).last().map(|write| &write.value)
    }

    /// All values of a multi-value register in the one order.
    pub fn values(&self, register: ContainerIdx) -> impl Iterator<Item = &Value> + '_ {
        self.writes(register).iter().map(|write| &write.value)
    }

    /// A counter's sum. O(1).
    pub fn counter(&self, counter: ContainerIdx) -> i128 {
        match &self.at(counter).body {
            Body::Counter(steps) => steps.sum(),
            _ => 0,
        }
    }

    /// How many living elements a list, or characters a text, has. O(1).
    pub fn len(&self, sequence: ContainerIdx) -> usize {
        match &self.at(sequence).body {
            Body::List(list) => list.runs.living(),
            Body::Text(text) => text.runs.living(),
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
                let number = list.element_of[place as usize];
                (ElementId(number), self.show(&list.elements[number as usize].content))
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
        let entry = list.elements.get(element.0 as usize).filter(|entry| entry.alive)?;
        Some(list.sequence.index_of(entry.place))
    }

    /// A text's characters.
    pub fn text(&self, text: ContainerIdx) -> String {
        self.text_slice(text, 0, usize::MAX)
    }

    /// At most `len` of a text's characters (Unicode scalar values) from an index on.
    pub fn text_slice(&self, text: ContainerIdx, from: usize, len: usize) -> String {
        let Body::Text(text) = &self.at(text).body else { return String::new() };
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
