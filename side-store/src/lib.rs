//! Signed changes and blocks on disk.
//!
//! One database a node (or relay) holds the changes, blocks, proofs and high-water marks of all its groups. Rules:
//! - A [`Batch`] is one transaction: after a crash at any instant all of it is there or nothing of it.
//! - When [`Store::commit`] returns, the batch survives the loss of power. Nothing is acknowledged before that.
//! - Changes, and records of sealing, come back in the order in which they were appended. Whoever appends in causal order loads in causal order.
//! - Broken local state stops loudly: a [`StoreError`] says what was tried, why it failed, and what to do next.
//!
//! ```text
//!   node ── append(batch) ──▶ GroupCommit ── one transaction for all that is queued ──▶ SqliteStore ──▶ disk
//!     ◀───── Completion ──────────┘                                                     (SimStore in tests)
//! ```
//! - [`batch`]: what is written and read
//! - [`sqlite`]: the store on disk; [`log`]: room for its write-ahead log
//! - [`writer`]: the thread that commits for everybody
//! - [`identity`]: whether this database is still where and what it was, or was copied, restored or rolled back
//! - [`examine`]: a look at the database of a stopped node that changes nothing
//! - [`memory`], [`sim`]: the store without a disk, and with a disk whose faults come from a seed

pub mod batch;
pub mod error;
pub mod examine;
pub mod identity;
pub mod log;
pub mod memory;
pub mod sim;
pub mod sqlite;
pub mod writer;

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::GroupId;

pub use batch::{Batch, GroupRecord, HighWater, LoadBounds, Record, Write};
pub use error::StoreError;
pub use identity::{Expect, Identified, RestoreSuspicion};
pub use memory::MemoryStore;
pub use sqlite::{OpenOptions, SqliteStore};
pub use writer::{Completion, GroupCommit, WriterError, WriterLimits};

/// Where changes live. Methods take `&mut self` because a store has one owner; others append through [`GroupCommit`].
pub trait Store: Send {
    /// Writes all of `batch` as one transaction and returns once it survives a loss of power; gives the store's generation after it. After an error
    /// the next opening finds all of the batch or nothing of it; mostly nothing, but a disk that fails while it flushes does not say.
    fn commit(&mut self, batch: &Batch) -> Result<u64, StoreError>;

    /// The groups, in the order in which they were added.
    fn groups(&mut self) -> Result<Vec<GroupRecord>, StoreError>;

    /// How many changes of a group are stored.
    fn count(&mut self, group: &GroupId) -> Result<u64, StoreError>;

    /// The changes of a group from number `from` (0 is the first) in the order in which they were appended, as many as `bounds` allow; at least one
    /// if there is one. Empty at the end.
    fn load(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Record>, StoreError>;

    /// The proofs of equivocation that were stored for a group, encoded, oldest first.
    fn proofs(&mut self, group: &GroupId) -> Result<Vec<Bytes>, StoreError>;

    /// What was kept of sealing in a group ([`Write::Seal`]) from number `from` (0 is the first), in the order in which it was appended; bounded and paged as
    /// [`Store::load`]. A store does not look into it.
    fn seals(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Bytes>, StoreError>;

    /// The last own change of `author` that was stored with [`Write::HighWater`].
    fn high_water(&mut self, group: &GroupId, author: &AuthorId) -> Result<Option<HighWater>, StoreError>;

    /// A small value under a key.
    fn meta(&mut self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// How many transactions this store has committed in its life. It grows with every [`Store::commit`].
    fn generation(&mut self) -> Result<u64, StoreError>;
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn commit(&mut self, batch: &Batch) -> Result<u64, StoreError> {
        (**self).commit(batch)
    }
    fn groups(&mut self) -> Result<Vec<GroupRecord>, StoreError> {
        (**self).groups()
    }
    fn count(&mut self, group: &GroupId) -> Result<u64, StoreError> {
        (**self).count(group)
    }
    fn load(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Record>, StoreError> {
        (**self).load(group, from, bounds)
    }
    fn proofs(&mut self, group: &GroupId) -> Result<Vec<Bytes>, StoreError> {
        (**self).proofs(group)
    }
    fn seals(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Bytes>, StoreError> {
        (**self).seals(group, from, bounds)
    }
    fn high_water(&mut self, group: &GroupId, author: &AuthorId) -> Result<Option<HighWater>, StoreError> {
        (**self).high_water(group, author)
    }
    fn meta(&mut self, key: &str) -> Result<Option<Bytes>, StoreError> {
        (**self).meta(key)
    }
    fn generation(&mut self) -> Result<u64, StoreError> {
        (**self).generation()
    }
}
