//! Reading: what the typed and the untyped layers stand on. A read of a container of another kind than it asks for finds nothing.

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
        let _ = container;
        todo!()
    }

    /// How many containers lie above it; 0 for the root.
    pub fn depth(&self, container: ContainerIdx) -> u32 {
        let _ = container;
        todo!()
    }

    /// The way from the root to a container; `None` if it lies in a deleted list element. O(depth · log n).
    pub fn path(&self, container: ContainerIdx) -> Option<Vec<Step>> {
        let _ = container;
        todo!()
    }

    /// Whether a container lies in no deleted list element, so that writing to it can have an effect. O(depth).
    pub fn is_attached(&self, container: ContainerIdx) -> bool {
        let _ = container;
        todo!()
    }

    /// Whether a container lives (section 6.1): it is the root, what a living list element holds, or a map entry with something living at or
    /// below it; and is attached. O(depth).
    pub fn is_present(&self, container: ContainerIdx) -> bool {
        let _ = container;
        todo!()
    }

    /// A map's entry of one kind, living or not; `None` if nothing ever mentioned it.
    pub fn child(&self, map: ContainerIdx, key: &str, kind: Kind) -> Option<ContainerIdx> {
        let _ = (map, key, kind);
        todo!()
    }

    /// The living entries under a key, the lowest kind first: that one shows.
    pub fn kinds_present(&self, map: ContainerIdx, key: &str) -> impl Iterator<Item = (Kind, ContainerIdx)> + '_ {
        let _ = (map, key);
        std::iter::empty()
    }

    /// The entry that shows under a key.
    pub fn shown(&self, map: ContainerIdx, key: &str) -> Option<(Kind, ContainerIdx)> {
        self.kinds_present(map, key).next()
    }

    /// A map's keys that show, ascending by their UTF-8 bytes.
    pub fn keys(&self, map: ContainerIdx) -> impl Iterator<Item = &str> + '_ {
        let _ = map;
        std::iter::empty()
    }

    /// How many keys show. O(1).
    pub fn map_len(&self, map: ContainerIdx) -> usize {
        let _ = map;
        todo!()
    }

    /// The value that a register shows: the greatest write; `None` if it has none. For a multi-value register likewise its greatest.
    pub fn register(&self, register: ContainerIdx) -> Option<&Value> {
        let _ = register;
        todo!()
    }

    /// All values of a multi-value register in the one order.
    pub fn values(&self, register: ContainerIdx) -> impl Iterator<Item = &Value> + '_ {
        let _ = register;
        std::iter::empty()
    }

    /// A counter's sum. O(1).
    pub fn counter(&self, counter: ContainerIdx) -> i128 {
        let _ = counter;
        todo!()
    }

    /// How many living elements a list, or characters a text, has. O(1).
    pub fn len(&self, sequence: ContainerIdx) -> usize {
        let _ = sequence;
        todo!()
    }

    /// Whether a list or text has no living elements or characters.
    pub fn is_empty(&self, sequence: ContainerIdx) -> bool {
        self.len(sequence) == 0
    }

    /// The element at an index of a list. O(log n).
    pub fn element(&self, list: ContainerIdx, index: usize) -> Option<Element<'_>> {
        let _ = (list, index);
        todo!()
    }

    /// A list's living elements in order, from an index on.
    pub fn elements(&self, list: ContainerIdx, from: usize) -> impl Iterator<Item = (ElementId, Element<'_>)> + '_ {
        let _ = (list, from);
        std::iter::empty()
    }

    /// The name of the element at an index of a list, which it keeps when it moves. O(log n).
    pub fn element_id(&self, list: ContainerIdx, index: usize) -> Option<ElementId> {
        let _ = (list, index);
        todo!()
    }

    /// Where an element stands; `None` once it is deleted. O(log n).
    pub fn index_of(&self, list: ContainerIdx, element: ElementId) -> Option<usize> {
        let _ = (list, element);
        todo!()
    }

    /// A text's characters.
    pub fn text(&self, text: ContainerIdx) -> String {
        self.text_slice(text, 0, usize::MAX)
    }

    /// At most `len` of a text's characters (Unicode scalar values) from an index on.
    pub fn text_slice(&self, text: ContainerIdx, from: usize, len: usize) -> String {
        let _ = (text, from, len);
        todo!()
    }

    /// The whole document (section 6.2).
    pub fn view(&self) -> Value {
        self.view_at(ContainerIdx::ROOT)
    }

    /// What a container shows.
    pub fn view_at(&self, container: ContainerIdx) -> Value {
        let _ = container;
        todo!()
    }
}
