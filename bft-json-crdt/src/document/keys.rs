//! The names of map entries, interned: each is kept once, whatever number of maps use it.

use std::sync::Arc;

use hashbrown::HashTable;

use super::ContainerIdx;
use super::sequence::pages::Pages;
use crate::mixer::Mixer;

/// The number of a key in a document's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyNo(pub(super) u32);

#[derive(Debug, Clone)]
struct Key {
    name: Arc<str>,
    /// Of the name; large maps use it too.
    hash: u64,
    /// The container under this key, in whatever map, that was asked for last: writers go back to the same ones. [`NO_CHILD`] if there is none yet.
    last: u32,
}

const NO_CHILD: u32 = u32::MAX;

/// All keys that were ever mentioned. None is ever taken out, as the containers under them are not.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    keys: Pages<Key>,
    numbers: HashTable<u32>,
    /// Keys the table against names that were ground to collide. Decides nothing that can be seen from outside.
    mixer: Mixer,
    /// Keys that were interned last, each where [`recent`] says, as their number plus one: writers use few in turns.
    recent: [u32; RECENT],
    /// Keys by the address of their names, each where [`Keys::slot`] says, as their number plus one: who reads many changes shares their names with this table.
    by_address: Vec<u32>,
}

const RECENT: usize = 16;
/// Fewest and most slots for addresses: 32 kB at most.
const SLOTS: std::ops::Range<usize> = 16..1 << 13;

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
        self.numbers.find(self.mixer.mix_name(name), same).map(|number| KeyNo(*number))
    }

    /// The number of a key; `share` makes the name that is kept if it is new.
    pub(super) fn intern(&mut self, name: &str, share: impl FnOnce() -> Arc<str>) -> KeyNo {
        let Self { keys, numbers, mixer, recent: recently, .. } = self;
        let recently = &mut recently[recent(name)];
        if let Some(number) = recently.checked_sub(1)
            && *keys[number].name == *name
        {
            return KeyNo(number);
        }
        let hash = mixer.mix_name(name);
        if let Some(number) = numbers.find(hash, |number| *keys[*number].name == *name) {
            *recently = *number + 1;
            return KeyNo(*number);
        }
        let number = keys.push(Key { name: share(), hash, last: NO_CHILD });
        numbers.insert_unique(hash, number, |number| keys[*number].hash);
        *recently = number + 1;
        KeyNo(number)
    }

    /// The number of a key whose name is shared: that of one that was shared before is found without a look at the name.
    pub(super) fn intern_shared(&mut self, name: &Arc<str>) -> KeyNo {
        // A key's name is kept for ever, so that nothing else can stand at its address.
        let slot = self.slot(name);
        if let Some(number) = self.by_address.get(slot).and_then(|number| number.checked_sub(1))
            && Arc::ptr_eq(&self.keys[number].name, name)
        {
            return KeyNo(number);
        }
        let key = self.intern(name, || Arc::clone(name));
        if Arc::ptr_eq(&self.keys[key.0].name, name) {
            if 2 * self.keys.len() > self.by_address.len() && self.by_address.len() < SLOTS.end {
                // Forgets what was there: it costs a search each.
                self.by_address = vec![0; (4 * self.keys.len()).next_power_of_two().clamp(SLOTS.start, SLOTS.end)];
            }
            let slot = self.slot(name);
            self.by_address[slot] = key.0 + 1;
        }
        key
    }

    /// Where a name's address belongs.
    fn slot(&self, name: &Arc<str>) -> usize {
        let mixed = (name.as_ptr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize & self.by_address.len().saturating_sub(1)
    }

    pub(super) fn name(&self, key: KeyNo) -> &Arc<str> {
        &self.keys[key.0].name
    }

    /// The container under a key that was noted last.
    pub(super) fn last(&self, key: KeyNo) -> Option<ContainerIdx> {
        Some(self.keys[key.0].last).filter(|last| *last != NO_CHILD).map(ContainerIdx)
    }

    /// Notes a container under a key.
    pub(super) fn note_last(&mut self, key: KeyNo, child: ContainerIdx) {
        self.keys[key.0].last = child.0;
    }

    /// A hash of a key, which nobody outside can foresee.
    pub(super) fn hash(&self, key: KeyNo) -> u64 {
        self.keys[key.0].hash
    }

    /// Bytes held on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        // Beside a name stand its two counts.
        let names: usize = self.keys.iter().map(|key| key.name.len() + 2 * size_of::<usize>()).sum();
        self.keys.heap_bytes() + names + self.numbers.allocation_size() + self.by_address.capacity() * size_of::<u32>()
    }

    /// For each key the container under it that was noted last.
    pub(super) fn lasts(&self) -> impl Iterator<Item = (KeyNo, ContainerIdx)> + '_ {
        let numbers = (0..self.keys.len() as u32).map(KeyNo);
        numbers.filter_map(|key| Some((key, self.last(key)?)))
    }

    pub(super) fn debug_check(&self) {
        for (key, number) in self.keys.iter().zip(0..) {
            assert_eq!(self.find(&key.name), Some(KeyNo(number)));
        }
        assert_eq!(self.numbers.len(), self.keys.len());
    }
}
