//! What is kept of one container: where it hangs, what it holds, and whether it lives. Sixteen bytes, and a body once there is something in it.

use smallvec::SmallVec;

use super::keys::KeyNo;
use super::list::ListBody;
use super::map::MapBody;
use super::register::Registers;
use super::sequence::pages::Pages;
use super::text::TextBody;
use super::{ContainerIdx, Document};
use crate::ops::Kind;

/// In a container's `body`: it has none yet. An element that holds an empty list takes four bytes in a change, and shall not take a
/// kilobyte in memory.
pub(super) const NONE: u32 = u32::MAX;

/// What a container hangs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Up {
    Root,
    Key(ContainerIdx, KeyNo),
    /// An element of a list, by the place that its insert made.
    Element(ContainerIdx, u32),
}

/// A container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container {
    /// The map or list above it; the root's own number is never asked for.
    above: u32,
    /// The key's or the element's number there.
    at: u32,
    /// Its number in the table of its kind, or [`NONE`].
    pub(super) body: u32,
    pub(super) kind: Kind,
    /// At most [`crate::ops::MAX_DEPTH`].
    pub(super) depth: u8,
    /// The flags below.
    state: u8,
}

/// It hangs from a list element, not from a key.
const IN_LIST: u8 = 1;
/// Invariant: set exactly while an uncovered operation stands at or below it, so far as clears of containers above can tell.
const LIVES: u8 = 2;
/// The list element that holds it is deleted.
const DEAD: u8 = 4;
/// Invariant: set exactly while it has uncovered ensures.
const ENSURED: u8 = 8;
/// Invariant: what clears need to know of it is kept up to date, and of everything below it that no list lies between.
const INDEXED: u8 = 16;

impl Container {
    pub(super) fn new(up: Up, kind: Kind, depth: u8) -> Self {
        let (above, at, state) = match up {
            Up::Root => (NONE, NONE, 0),
            Up::Key(map, key) => (map.0, key.0, 0),
            Up::Element(list, place) => (list.0, place, IN_LIST),
        };
        Self { above, at, body: NONE, kind, depth, state }
    }

    pub(super) fn up(&self) -> Up {
        match self.above {
            NONE => Up::Root,
            list if self.is(IN_LIST) => Up::Element(ContainerIdx(list), self.at),
            map => Up::Key(ContainerIdx(map), KeyNo(self.at)),
        }
    }

    fn is(&self, flag: u8) -> bool {
        self.state & flag != 0
    }

    fn mark(&mut self, flag: u8, set: bool) {
        if set {
            self.state |= flag;
        } else {
            self.state &= !flag;
        }
    }

    /// Whether an uncovered operation stands at or below it, so far as clears of containers above can tell.
    pub(super) fn lives(&self) -> bool {
        self.is(LIVES)
    }

    /// Whether the list element that holds it is deleted.
    pub(super) fn is_dead(&self) -> bool {
        self.is(DEAD)
    }

    pub(super) fn die(&mut self) {
        self.mark(DEAD, true);
    }

    pub(super) fn is_ensured(&self) -> bool {
        self.is(ENSURED)
    }

    pub(super) fn set_ensured(&mut self, ensured: bool) {
        self.mark(ENSURED, ensured);
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.is(INDEXED)
    }

    pub(super) fn set_indexed(&mut self) {
        self.mark(INDEXED, true);
    }
}

/// What the containers of each kind hold, by their `body` number.
#[derive(Clone, Default)]
pub(super) struct Bodies {
    /// Of registers and multi-value registers.
    pub(super) registers: Registers,
    /// Of counters: the sums.
    pub(super) counters: Pages<i128>,
    pub(super) maps: Pages<MapBody>,
    pub(super) lists: Pages<ListBody>,
    pub(super) texts: Pages<TextBody>,
}

impl Document {
    /// # Panics
    /// If another document handed the number out.
    pub(super) fn at(&self, container: ContainerIdx) -> &Container {
        &self.containers[container.0]
    }

    pub(super) fn at_mut(&mut self, container: ContainerIdx) -> &mut Container {
        &mut self.containers[container.0]
    }

    pub(super) fn map(&self, map: ContainerIdx) -> Option<&MapBody> {
        let held = self.at(map);
        if held.kind == Kind::Map { self.bodies.maps.get(held.body) } else { None }
    }

    pub(super) fn list(&self, list: ContainerIdx) -> Option<&ListBody> {
        let held = self.at(list);
        if held.kind == Kind::List { self.bodies.lists.get(held.body) } else { None }
    }

    pub(super) fn text_body(&self, text: ContainerIdx) -> Option<&TextBody> {
        let held = self.at(text);
        if held.kind == Kind::Text { self.bodies.texts.get(held.body) } else { None }
    }

    /// Makes room for what a map or a list or text holds. The caller knows its kind.
    pub(super) fn map_mut(&mut self, map: ContainerIdx) -> &mut MapBody {
        let held = &mut self.containers[map.0];
        debug_assert_eq!(held.kind, Kind::Map);
        if held.body == NONE {
            held.body = self.bodies.maps.push(MapBody::default());
        }
        &mut self.bodies.maps[held.body]
    }

    pub(super) fn list_mut(&mut self, list: ContainerIdx) -> &mut ListBody {
        let held = &mut self.containers[list.0];
        debug_assert_eq!(held.kind, Kind::List);
        if held.body == NONE {
            held.body = self.bodies.lists.push(ListBody::default());
        }
        &mut self.bodies.lists[held.body]
    }

    pub(super) fn text_mut(&mut self, text: ContainerIdx) -> &mut TextBody {
        let held = &mut self.containers[text.0];
        debug_assert_eq!(held.kind, Kind::Text);
        if held.body == NONE {
            held.body = self.bodies.texts.push(TextBody::default());
        }
        &mut self.bodies.texts[held.body]
    }

    /// A map's entry of one kind, made if nothing mentioned it before. The caller knows that it is a map, and not too deep for it.
    pub(super) fn child_or_make(&mut self, map: ContainerIdx, key: KeyNo, kind: Kind) -> ContainerIdx {
        if let Some(last) = self.keys.last(key) {
            let held = self.at(last);
            if held.kind == kind && held.up() == Up::Key(map, key) {
                return last;
            }
        }
        let known = self.map(map).and_then(|map| map.child(&self.containers, &self.keys, key, kind));
        if let Some(child) = known {
            self.keys.note_last(key, child);
            return child;
        }
        let held = self.at(map);
        let mut new = Container::new(Up::Key(map, key), kind, held.depth + 1);
        if held.is_indexed() {
            // Nothing stands in it that would have to be indexed.
            new.set_indexed();
        }
        let child = ContainerIdx(self.containers.push(new));
        self.keys.note_last(key, child);
        self.map_mut(map);
        let body = self.at(map).body;
        self.bodies.maps[body].add(&self.containers, &self.keys, super::map::Entry { key, child });
        child
    }

    /// Whether it lives, reckoned from what it holds.
    pub(super) fn reckon_life(&self, container: ContainerIdx) -> bool {
        let held = self.at(container);
        if held.is_ensured() {
            return true;
        }
        if held.body == NONE {
            return false;
        }
        match held.kind {
            Kind::Register | Kind::MultiRegister => self.bodies.registers.lives(held.body),
            Kind::Counter => self.uncovered.has_steps(container),
            Kind::Map => self.bodies.maps[held.body].lives(&self.containers),
            Kind::List => self.bodies.lists[held.body].sequence.visible_len() > 0,
            Kind::Text => self.bodies.texts[held.body].sequence.visible_len() > 0,
        }
    }

    /// Takes note of what has become of a container, and of the maps above it. Stops where nothing changes, which is mostly at once.
    pub(super) fn refresh(&mut self, container: ContainerIdx) {
        let mut container = container;
        loop {
            let lives = self.reckon_life(container);
            let held = &mut self.containers[container.0];
            if held.lives() == lives {
                return;
            }
            held.mark(LIVES, lives);
            // An element's container ends it: elements live by their insert alone.
            let Up::Key(map, key) = held.up() else { return };
            let body = self.at(map).body;
            self.bodies.maps[body].note_life(&self.containers, &self.keys, key);
            container = map;
        }
    }

    /// Takes note that something stands in a container now.
    pub(super) fn revive(&mut self, container: ContainerIdx) {
        if !self.at(container).lives() {
            self.refresh(container);
        }
    }

    /// The containers under the keys of a map.
    pub(super) fn children(&self, map: ContainerIdx) -> SmallVec<[ContainerIdx; 8]> {
        self.map(map).into_iter().flat_map(MapBody::entries).map(|entry| entry.child).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_lean() {
        assert_eq!(size_of::<Container>(), 16);
        assert!(size_of::<MapBody>() <= 40);
        assert_eq!(Container::new(Up::Root, Kind::List, 1).body, NONE);
    }
}
