//! A store upon a simulated disk that fails and crashes by a seed: the same seed, the same run.
//!
//! The disk is a journal of bytes. What was written but not flushed is lost in a crash, or a part of it survives, torn anywhere. Each record carries a
//! checksum, so a torn one is noticed and dropped when the disk is opened again, as SQLite does with its log.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::GroupId;

use crate::Store;
use crate::batch::{Batch, GroupRecord, HighWater, LoadBounds, Record, Write};
use crate::error::StoreError;
use crate::memory::MemoryStore;

/// Domain of a journal record's checksum.
const RECORD_DOMAIN: &str = "side/1/simulated-journal";

/// What shall go wrong. Operations of the disk (each write and each flush) are counted from 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// From this operation on the machine is off: it fails, and so does every later one until [`SimDisk::restart`].
    pub crash_at: Option<u64>,
    /// This one operation fails with an error of the disk.
    pub fail_at: Option<u64>,
    /// Most bytes that the disk holds.
    pub capacity: Option<usize>,
}

#[derive(Debug, Default)]
struct Disk {
    durable: Vec<u8>,
    pending: Vec<u8>,
    faults: Faults,
    operations: u64,
    off: bool,
    random: u64,
}

/// A simulated disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<Disk>>);

impl SimDisk {
    /// An empty disk; `seed` decides what a crash leaves of unflushed bytes.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Arc::new(Mutex::new(Disk { faults, random: seed, ..Disk::default() })))
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Bytes that would survive a crash now.
    pub fn durable_bytes(&self) -> usize {
        self.lock().durable.len()
    }

    /// Switches the machine off now.
    pub fn crash(&self) {
        self.lock().crash();
    }

    /// Switches the machine on again, with new faults (whose operations count from here).
    pub fn restart(&self, faults: Faults) {
        let mut disk = self.lock();
        if !disk.off {
            disk.crash();
        }
        (disk.off, disk.operations, disk.faults) = (false, 0, faults);
    }

    /// What would survive a crash now, to be [put back](SimDisk::put_back) later.
    pub fn backup(&self) -> Vec<u8> {
        self.lock().durable.clone()
    }

    /// Puts an older state in the place of everything. The machine has to be off.
    pub fn put_back(&self, backup: &[u8]) {
        let mut disk = self.lock();
        disk.pending.clear();
        disk.durable = backup.to_vec();
    }

    /// Damages a durable byte.
    pub fn flip(&self, at: usize) {
        if let Some(byte) = self.lock().durable.get_mut(at) {
            *byte ^= 0x55;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn path() -> PathBuf {
    PathBuf::from("simulated")
}

fn io(detail: &str) -> StoreError {
    StoreError::Io { path: path(), detail: detail.into() }
}

impl Disk {
    fn step(&mut self) -> Result<(), StoreError> {
        if self.off {
            return Err(io("the machine is off"));
        }
        self.operations += 1;
        if self.faults.crash_at == Some(self.operations) {
            return Err(io("the machine went off"));
        }
        if self.faults.fail_at == Some(self.operations) {
            return Err(io("injected"));
        }
        Ok(())
    }

    fn is_crash(&self) -> bool {
        self.faults.crash_at == Some(self.operations)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let before = self.pending.len();
        let outcome = self.step();
        if outcome.is_err() {
            if !self.off && self.is_crash() {
                self.pending.extend_from_slice(bytes);
                self.crash();
            }
            return outcome;
        }
        if self.faults.capacity.is_some_and(|most| self.durable.len() + self.pending.len() + bytes.len() > most) {
            self.pending.truncate(before);
            return Err(StoreError::DiskFull { path: path() });
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let outcome = self.step();
        if outcome.is_err() {
            if !self.off && self.is_crash() {
                self.crash();
            } else if !self.off {
                // After a failed flush nobody knows what is on disk: the writer's own view says that nothing is.
                self.pending.clear();
            }
            return outcome;
        }
        let pending = std::mem::take(&mut self.pending);
        self.durable.extend_from_slice(&pending);
        Ok(())
    }

    /// Loses the unflushed bytes from a random one on; half of the time it also garbles the last one that is left.
    fn crash(&mut self) {
        self.off = true;
        let mut tail = std::mem::take(&mut self.pending);
        let kept = (self.next() % (tail.len() as u64 + 1)) as usize;
        tail.truncate(kept);
        if self.next().is_multiple_of(2)
            && let Some(last) = tail.last_mut()
        {
            *last ^= 0xff;
        }
        self.durable.extend_from_slice(&tail);
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A store upon a [`SimDisk`]. After an error it refuses everything, as a node that stopped: open the disk again.
#[derive(Debug)]
pub struct SimStore {
    disk: SimDisk,
    memory: MemoryStore,
    failed: Option<StoreError>,
}

impl SimStore {
    /// Opens what survived on `disk`: every record up to the first torn one, which is cut off.
    pub fn open(disk: SimDisk) -> Result<Self, StoreError> {
        let mut memory = MemoryStore::new();
        let mut guard = disk.lock();
        if guard.off {
            return Err(io("the machine is off"));
        }
        let bytes = Bytes::copy_from_slice(&guard.durable);
        let mut reader = Reader::new(&bytes);
        let mut good = 0;
        while let Some(record) = read_record(&mut reader) {
            let batch = decode(record)
                .map_err(|error| StoreError::Corrupt { path: path(), detail: format!("a journal record: {error}") })?;
            memory.commit(&batch)?;
            good = bytes.len() - reader.remaining();
        }
        guard.durable.truncate(good);
        drop(guard);
        Ok(Self { disk, memory, failed: None })
    }
}

fn read_record<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let checksum = reader.array::<8>().ok()?;
    let record = reader.blob().ok()?;
    (hash(RECORD_DOMAIN, record)[..8] == checksum).then_some(record)
}

impl Store for SimStore {
    fn commit(&mut self, batch: &Batch) -> Result<u64, StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.memory.check(batch)?;
        let record = encode(batch);
        let mut bytes = hash(RECORD_DOMAIN, &record)[..8].to_vec();
        bytes.put_blob(&record);
        let mut disk = self.disk.lock();
        let outcome = disk.write(&bytes).and_then(|()| disk.flush());
        drop(disk);
        if let Err(error) = outcome {
            self.failed = Some(error.clone());
            return Err(error);
        }
        self.memory.commit(batch)
    }

    fn groups(&mut self) -> Result<Vec<GroupRecord>, StoreError> {
        self.memory.groups()
    }

    fn count(&mut self, group: &GroupId) -> Result<u64, StoreError> {
        self.memory.count(group)
    }

    fn load(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Record>, StoreError> {
        self.memory.load(group, from, bounds)
    }

    fn proofs(&mut self, group: &GroupId) -> Result<Vec<Bytes>, StoreError> {
        self.memory.proofs(group)
    }

    fn seals(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Bytes>, StoreError> {
        self.memory.seals(group, from, bounds)
    }

    fn high_water(&mut self, group: &GroupId, author: &AuthorId) -> Result<Option<HighWater>, StoreError> {
        self.memory.high_water(group, author)
    }

    fn meta(&mut self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.memory.meta(key)
    }

    fn generation(&mut self) -> Result<u64, StoreError> {
        self.memory.generation()
    }
}

fn encode(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.bytes());
    let optional = |out: &mut Vec<u8>, bytes: &Option<Bytes>| {
        out.put_varint(bytes.is_some().into());
        out.put_blob(bytes.as_deref().unwrap_or_default());
    };
    for write in batch.writes() {
        match write {
            Write::Group { group, genesis } => {
                out.put_varint(0);
                out.put(&group.0);
                out.put_blob(genesis);
            }
            Write::Change { group, change, voucher } => {
                out.put_varint(1);
                out.put(&group.0);
                out.put_blob(change.bytes());
                optional(&mut out, voucher);
            }
            Write::ForgetChanges { group } => {
                out.put_varint(2);
                out.put(&group.0);
            }
            Write::Proof { group, proof } => {
                out.put_varint(3);
                out.put(&group.0);
                out.put_blob(proof);
            }
            Write::HighWater { group, author, mark } => {
                out.put_varint(4);
                out.put(&group.0);
                out.put(author.as_bytes());
                out.put_varint(mark.seq);
                out.put(&mark.id.0);
            }
            Write::Seal { group, record } => {
                out.put_varint(5);
                out.put(&group.0);
                out.put_blob(record);
            }
            Write::Meta { key, value } => {
                out.put_varint(6);
                out.put_blob(key.as_bytes());
                optional(&mut out, value);
            }
        }
    }
    out
}

fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut batch = Batch::new();
    let optional = |reader: &mut Reader<'_>| -> Result<Option<Bytes>, DecodeError> {
        let some = reader.varint()? != 0;
        let bytes = Bytes::copy_from_slice(reader.blob()?);
        Ok(some.then_some(bytes))
    };
    while !reader.is_empty() {
        let tag = reader.varint()?;
        let group = if tag < 6 { GroupId(reader.array()?) } else { GroupId([0; 32]) };
        batch.push(match tag {
            0 => Write::Group { group, genesis: Bytes::copy_from_slice(reader.blob()?) },
            1 => {
                let change = Change::decode(Bytes::copy_from_slice(reader.blob()?))
                    .map_err(|_| DecodeError::Rule("a change is malformed"))?;
                Write::Change { group, change, voucher: optional(&mut reader)? }
            }
            2 => Write::ForgetChanges { group },
            3 => Write::Proof { group, proof: Bytes::copy_from_slice(reader.blob()?) },
            4 => {
                let author =
                    AuthorId::from_bytes(reader.array()?).map_err(|_| DecodeError::Rule("a key is not acceptable"))?;
                Write::HighWater {
                    group,
                    author,
                    mark: HighWater { seq: reader.varint()?, id: ChangeId(reader.array()?) },
                }
            }
            5 => Write::Seal { group, record: Bytes::copy_from_slice(reader.blob()?) },
            6 => Write::Meta { key: reader.string()?.to_owned(), value: optional(&mut reader)? },
            _ => return Err(DecodeError::Rule("an unknown tag")),
        });
    }
    Ok(batch)
}
