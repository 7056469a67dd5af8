//! The store without a disk: what [`crate::SqliteStore`] promises, except that nothing outlives the process.

use std::collections::HashMap;

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::GroupId;

use crate::Store;
use crate::batch::{Batch, GroupRecord, HighWater, LoadBounds, Record, Write};
use crate::error::StoreError;

#[derive(Debug, Clone, Default)]
struct Group {
    genesis: Bytes,
    changes: Vec<Record>,
    proofs: Vec<Bytes>,
    seals: Vec<Bytes>,
    high_water: HashMap<AuthorId, HighWater>,
}

/// A store in memory, for tests and for nodes that need not remember.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    order: Vec<GroupId>,
    groups: HashMap<GroupId, Group>,
    meta: HashMap<String, Bytes>,
    generation: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn group(&self, group: &GroupId) -> Result<&Group, StoreError> {
        self.groups.get(group).ok_or(StoreError::UnknownGroup(*group))
    }

    /// Whether `batch` can be written as a whole; nothing is written otherwise.
    pub(crate) fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut added: HashMap<GroupId, &Bytes> = HashMap::new();
        for write in batch.writes() {
            match write {
                Write::Group { group, genesis } => {
                    let stored = self.groups.get(group).map(|stored| &stored.genesis).or(added.get(group).copied());
                    if stored.is_some_and(|stored| stored != genesis) {
                        return Err(StoreError::OtherGenesis(*group));
                    }
                    added.insert(*group, genesis);
                }
                Write::Change { group, .. }
                | Write::ForgetChanges { group }
                | Write::Proof { group, .. }
                | Write::Seal { group, .. }
                | Write::HighWater { group, .. } => {
                    if !self.groups.contains_key(group) && !added.contains_key(group) {
                        return Err(StoreError::UnknownGroup(*group));
                    }
                }
                Write::Meta { .. } => {}
            }
        }
        Ok(())
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Group { group, genesis } => {
                if !self.groups.contains_key(group) {
                    self.order.push(*group);
                    self.groups.insert(*group, Group { genesis: genesis.clone(), ..Group::default() });
                }
            }
            Write::Change { group, change, voucher } => {
                let record = Record { change: change.clone(), voucher: voucher.clone() };
                self.groups.entry(*group).or_default().changes.push(record);
            }
            Write::ForgetChanges { group } => self.groups.entry(*group).or_default().changes.clear(),
            Write::Proof { group, proof } => self.groups.entry(*group).or_default().proofs.push(proof.clone()),
            Write::Seal { group, record } => self.groups.entry(*group).or_default().seals.push(record.clone()),
            Write::HighWater { group, author, mark } => {
                let stored = self.groups.entry(*group).or_default().high_water.entry(*author).or_insert(*mark);
                if mark.seq > stored.seq {
                    *stored = *mark;
                }
            }
            Write::Meta { key, value: Some(value) } => {
                self.meta.insert(key.clone(), value.clone());
            }
            Write::Meta { key, value: None } => {
                self.meta.remove(key);
            }
        }
    }
}

/// As much from number `from` as the bounds allow, but at least one.
fn page<T: Clone>(all: &[T], from: u64, bounds: LoadBounds, size: impl Fn(&T) -> usize) -> Vec<T> {
    let rest = all.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
    let mut taken = 0;
    let fits = |(at, one): &(usize, &T)| {
        taken += size(one);
        *at == 0 || (*at < bounds.changes && taken <= bounds.bytes)
    };
    rest.iter().enumerate().take_while(fits).map(|(_, one)| one.clone()).collect()
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: &Batch) -> Result<u64, StoreError> {
        self.check(batch)?;
        for write in batch.writes() {
            self.write(write);
        }
        self.generation += 1;
        Ok(self.generation)
    }

    fn groups(&mut self) -> Result<Vec<GroupRecord>, StoreError> {
        let record = |group: &GroupId| GroupRecord { group: *group, genesis: self.groups[group].genesis.clone() };
        Ok(self.order.iter().map(record).collect())
    }

    fn count(&mut self, group: &GroupId) -> Result<u64, StoreError> {
        Ok(self.group(group)?.changes.len() as u64)
    }

    fn load(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Record>, StoreError> {
        let size = |record: &Record| record.change.bytes().len() + record.voucher.as_ref().map_or(0, Bytes::len);
        Ok(page(&self.group(group)?.changes, from, bounds, size))
    }

    fn proofs(&mut self, group: &GroupId) -> Result<Vec<Bytes>, StoreError> {
        Ok(self.group(group)?.proofs.clone())
    }

    fn seals(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Bytes>, StoreError> {
        Ok(page(&self.group(group)?.seals, from, bounds, Bytes::len))
    }

    fn high_water(&mut self, group: &GroupId, author: &AuthorId) -> Result<Option<HighWater>, StoreError> {
        Ok(self.group(group)?.high_water.get(author).copied())
    }

    fn meta(&mut self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.meta.get(key).cloned())
    }

    fn generation(&mut self) -> Result<u64, StoreError> {
        Ok(self.generation)
    }
}
