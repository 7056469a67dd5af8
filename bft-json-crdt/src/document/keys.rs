//! The names of map entries, interned: each is kept once, whatever number of maps use it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use super::sequence::pages::Pages;

/// The number of a key in a document's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyNo(pub(super) u32);

#[derive(Debug, Clone)]
struct Key {
    name: Arc<str>,
    /// Of the name; large maps use it too.
    hash: u64,
}

/// All keys that were ever mentioned. None is ever taken out, as the containers under them are not.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    keys: Pages<Key>,
    numbers: HashTable<u32>,
    /// Keys the table against names that were ground to collide. Decides nothing that can be seen from outside.
    hasher: RandomState,
    /// Keys that were interned last, each where [`recent`] says, as their number plus one: writers use few in turns.
    recent: [u32; RECENT],
}

const RECENT: usize = 16;

/// Where a name stands among the recent ones.
fn recent(name: &str) -> usize {
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last()).map_or(0, |(first, last)| usize::from(*first) + usize::from(*last) * 5);
    (bytes.len() * 3 + ends) % RECENT
}

impl Keys {
    /// The number of a key that was mentioned.
    pub(super) fn find(&self, name: &str) -> Option<KeyNo> {
        if let Some(number) = self.recent[recent(name)].checked_sub(1)
            && *self.keys[number].name == *name
        {
            return Some(KeyNo(number));
        }
        let same = |number: &u32| *self.keys[*number].name == *name;
        self.numbers.find(self.hasher.hash_one(name), same).map(|number| KeyNo(*number))
    }

    /// The number of a key; `share` makes the name that is kept if it is new.
    pub(super) fn intern(&mut self, name: &str, share: impl FnOnce() -> Arc<str>) -> KeyNo {
        let Self { keys, numbers, hasher, recent: recently } = self;
        let recently = &mut recently[recent(name)];
        if let Some(number) = recently.checked_sub(1)
            && *keys[number].name == *name
        {
            return KeyNo(number);
        }
        let hash = hasher.hash_one(name);
        if let Some(number) = numbers.find(hash, |number| *keys[*number].name == *name) {
            *recently = *number + 1;
            return KeyNo(*number);
        }
        let number = keys.push(Key { name: share(), hash });
        numbers.insert_unique(hash, number, |number| keys[*number].hash);
        *recently = number + 1;
        KeyNo(number)
    }

    pub(super) fn name(&self, key: KeyNo) -> &Arc<str> {
        &self.keys[key.0].name
    }

    /// A hash of a key, which nobody outside can foresee.
    pub(super) fn hash(&self, key: KeyNo) -> u64 {
        self.keys[key.0].hash
    }

    /// Bytes held on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        // Beside a name stand its two counts.
        let names: usize = self.keys.iter().map(|key| key.name.len() + 2 * size_of::<usize>()).sum();
        self.keys.heap_bytes() + names + self.numbers.allocation_size()
    }

    pub(super) fn debug_check(&self) {
        for (key, number) in self.keys.iter().zip(0..) {
            assert_eq!(self.find(&key.name), Some(KeyNo(number)));
        }
        assert_eq!(self.numbers.len(), self.keys.len());
    }
}
