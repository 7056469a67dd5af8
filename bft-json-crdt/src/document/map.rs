//! The entries of one map: a sorted vector while they are few, a hash table and an ordered tree of the living keys once they are many.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::ContainerIdx;
use super::container::Container;
use super::keys::{KeyNo, Keys};
use super::sequence::pages::Pages;
use crate::ops::Kind;

/// Up to this many entries are searched one by one, which is as fast as hashing and takes no room beside them.
const FEW: usize = 24;

/// The container of one kind under a key, whether or not it lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: KeyNo,
    pub(super) child: ContainerIdx,
}

/// A map's entries.
#[derive(Debug, Clone)]
pub(super) enum MapBody {
    /// Ascending by name and kind. Three have room inside: an item with an id, a name and a state.
    Few(SmallVec<[Entry; 3]>),
    Many(Box<Many>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Many {
    entries: HashTable<Entry>,
    /// The keys under which something lives, in the order in which they show.
    living: BTreeMap<Arc<str>, KeyNo>,
}

/// The containers under one key, the lowest kind first.
pub(super) type Slot = SmallVec<[(Kind, ContainerIdx); 2]>;

impl Default for MapBody {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl MapBody {
    /// The entry of a kind.
    pub(super) fn child(
        &self,
        containers: &Pages<Container>,
        keys: &Keys,
        key: KeyNo,
        kind: Kind,
    ) -> Option<ContainerIdx> {
        let fits = |entry: &&Entry| entry.key == key && containers[entry.child.0].kind == kind;
        let found = match self {
            Self::Few(entries) => entries.iter().find(fits),
            Self::Many(many) => many.entries.find(keys.hash(key), |entry| fits(&entry)),
        };
        found.map(|entry| entry.child)
    }

    /// All entries under a key, living or not.
    pub(super) fn slot(&self, containers: &Pages<Container>, keys: &Keys, key: KeyNo) -> Slot {
        let show = |entry: &Entry| (entry.key == key).then(|| (containers[entry.child.0].kind, entry.child));
        match self {
            Self::Few(entries) => entries.iter().filter_map(show).collect(),
            Self::Many(many) => {
                let mut slot: Slot = many.entries.iter_hash(keys.hash(key)).filter_map(show).collect();
                slot.sort_unstable();
                slot
            }
        }
    }

    /// Adds an entry, which does not live yet; no other has its key and kind.
    pub(super) fn add(&mut self, containers: &Pages<Container>, keys: &Keys, entry: Entry) {
        if let Self::Few(entries) = self {
            if entries.len() < FEW {
                let rank = |entry: &Entry| (&**keys.name(entry.key), containers[entry.child.0].kind);
                let new = rank(&entry);
                let at = entries.iter().rposition(|before| rank(before) < new).map_or(0, |at| at + 1);
                entries.insert(at, entry);
                return;
            }
            let mut many = Many::default();
            for entry in entries.iter() {
                many.add(keys, *entry);
                if containers[entry.child.0].lives() {
                    many.living.insert(keys.name(entry.key).clone(), entry.key);
                }
            }
            *self = Self::Many(Box::new(many));
        }
        if let Self::Many(many) = self {
            many.add(keys, entry);
        }
    }

    /// Takes note that an entry under a key has begun or ceased to live.
    pub(super) fn note_life(&mut self, containers: &Pages<Container>, keys: &Keys, key: KeyNo) {
        let Self::Many(many) = self else { return };
        let mut slot = many.entries.iter_hash(keys.hash(key)).filter(|entry| entry.key == key);
        let lives = slot.any(|entry| containers[entry.child.0].lives());
        if lives {
            many.living.entry(keys.name(key).clone()).or_insert(key);
        } else {
            many.living.remove(&**keys.name(key));
        }
    }

    /// Whether anything in it lives.
    pub(super) fn lives(&self, containers: &Pages<Container>) -> bool {
        match self {
            Self::Few(entries) => entries.iter().any(|entry| containers[entry.child.0].lives()),
            Self::Many(many) => !many.living.is_empty(),
        }
    }

    /// The keys under which something lives, ascending by their names.
    pub(super) fn living<'a>(&'a self, containers: &'a Pages<Container>) -> impl Iterator<Item = KeyNo> + 'a {
        let (few, many) = match self {
            Self::Few(entries) => (Some(entries), None),
            Self::Many(many) => (None, Some(&many.living)),
        };
        let mut last = None;
        let few = few.into_iter().flatten().filter(|entry| containers[entry.child.0].lives());
        // Entries of several kinds under one key stand side by side.
        let few = few.map(|entry| entry.key).filter(move |key| last.replace(*key) != Some(*key));
        few.chain(many.into_iter().flat_map(|living| living.values().copied()))
    }

    /// How many keys show.
    pub(super) fn len(&self, containers: &Pages<Container>) -> usize {
        match self {
            Self::Few(_) => self.living(containers).count(),
            Self::Many(many) => many.living.len(),
        }
    }

    /// All entries, in no particular order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let (few, many) = match self {
            Self::Few(entries) => (Some(entries), None),
            Self::Many(many) => (None, Some(&many.entries)),
        };
        few.into_iter().flatten().copied().chain(many.into_iter().flat_map(|entries| entries.iter().copied()))
    }

    /// Bytes held on the heap; for the tree of living keys, those of its entries.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Few(entries) if entries.spilled() => entries.capacity() * size_of::<Entry>(),
            Self::Few(_) => 0,
            Self::Many(many) => {
                size_of::<Many>() + many.entries.allocation_size() + many.living.len() * size_of::<(Arc<str>, KeyNo)>()
            }
        }
    }

    pub(super) fn debug_check(&self, containers: &Pages<Container>, keys: &Keys) {
        match self {
            Self::Few(entries) => {
                let rank = |entry: &Entry| (&**keys.name(entry.key), containers[entry.child.0].kind);
                assert!(entries.len() <= FEW && entries.windows(2).all(|pair| rank(&pair[0]) < rank(&pair[1])));
            }
            Self::Many(many) => {
                let mut living = BTreeMap::new();
                for entry in many.entries.iter() {
                    if containers[entry.child.0].lives() {
                        living.insert(keys.name(entry.key).clone(), entry.key);
                    }
                }
                assert_eq!(living, many.living);
            }
        }
    }
}

impl Many {
    fn add(&mut self, keys: &Keys, entry: Entry) {
        self.entries.insert_unique(keys.hash(entry.key), entry, |entry| keys.hash(entry.key));
    }
}
