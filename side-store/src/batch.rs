//! What is written to a store and read from it.

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::GroupId;

/// One thing to write.
#[derive(Debug, Clone)]
pub enum Write {
    /// Adds a group. Adding it again with the same genesis changes nothing.
    Group {
        /// Its id.
        group: GroupId,
        /// Its encoded genesis.
        genesis: Bytes,
    },
    /// Appends an applied change to a group that was added before (in this batch or earlier). Whoever writes takes care of causal order, and that a change is
    /// appended once.
    Change {
        /// The group.
        group: GroupId,
        /// The change.
        change: Change,
        /// The encoded voucher of a change whose own signature is not good.
        voucher: Option<Bytes>,
    },
    /// Forgets all changes of a group, for a replica that was rebuilt: what it holds now follows in the same batch.
    ForgetChanges {
        /// The group.
        group: GroupId,
    },
    /// Stores a proof of equivocation, encoded.
    Proof {
        /// The group.
        group: GroupId,
        /// The proof.
        proof: Bytes,
    },
    /// Appends what sealing has to remember of a group that was added before: a signed block, or a proof against a sealer, encoded.
    Seal {
        /// The group.
        group: GroupId,
        /// The record.
        record: Bytes,
    },
    /// Raises the mark of the last change that this node itself has written. A mark that is not above the stored one is ignored.
    HighWater {
        /// The group.
        group: GroupId,
        /// The node's own key.
        author: AuthorId,
        /// The mark.
        mark: HighWater,
    },
    /// Sets (or removes) a small value under a key.
    Meta {
        /// The key.
        key: String,
        /// The value.
        value: Option<Bytes>,
    },
}

impl Write {
    /// About how many bytes of memory and disk this takes.
    pub fn bytes(&self) -> usize {
        const OVERHEAD: usize = 64;
        OVERHEAD
            + match self {
                Write::Group { genesis, .. } => genesis.len(),
                Write::Change { change, voucher, .. } => change.bytes().len() + voucher.as_ref().map_or(0, Bytes::len),
                Write::Proof { proof, .. } => proof.len(),
                Write::Seal { record, .. } => record.len(),
                Write::Meta { key, value } => key.len() + value.as_ref().map_or(0, Bytes::len),
                Write::ForgetChanges { .. } | Write::HighWater { .. } => 0,
            }
    }
}

/// What is committed together: all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write behind the others.
    pub fn push(&mut self, write: Write) {
        self.bytes += write.bytes();
        self.writes.push(write);
    }

    /// [`Write::Group`]
    pub fn group(mut self, genesis: &side_ledger::Genesis) -> Self {
        self.push(Write::Group { group: genesis.id(), genesis: Bytes::copy_from_slice(genesis.bytes()) });
        self
    }

    /// [`Write::Change`] without a voucher.
    pub fn change(mut self, group: GroupId, change: Change) -> Self {
        self.push(Write::Change { group, change, voucher: None });
        self
    }

    /// [`Write::HighWater`] of an own change.
    pub fn own(mut self, group: GroupId, change: &Change) -> Self {
        let mark = HighWater { seq: change.header().seq, id: change.id() };
        self.push(Write::HighWater { group, author: change.author(), mark });
        self
    }

    /// [`Write::Proof`]
    pub fn proof(mut self, group: GroupId, proof: Bytes) -> Self {
        self.push(Write::Proof { group, proof });
        self
    }

    /// [`Write::Seal`]
    pub fn seal(mut self, group: GroupId, record: Bytes) -> Self {
        self.push(Write::Seal { group, record });
        self
    }

    /// [`Write::Meta`]
    pub fn meta(mut self, key: &str, value: Option<Bytes>) -> Self {
        self.push(Write::Meta { key: key.to_owned(), value });
        self
    }

    /// Adds all writes of `other` behind its own.
    pub fn append(&mut self, mut other: Batch) {
        self.bytes += other.bytes;
        self.writes.append(&mut other.writes);
    }

    /// The writes, in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// A stored change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The change, its form and hash checked again. Its signature is not.
    pub change: Change,
    /// The encoded voucher that it is kept with.
    pub voucher: Option<Bytes>,
}

/// A stored group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    /// Its id.
    pub group: GroupId,
    /// Its encoded genesis.
    pub genesis: Bytes,
}

/// The last change that a node itself has written and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HighWater {
    /// Its `seq`.
    pub seq: u64,
    /// Its id.
    pub id: ChangeId,
}

/// How much one [`crate::Store::load`] or [`crate::Store::seals`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadBounds {
    /// Most changes or records.
    pub changes: usize,
    /// Most bytes of changes and vouchers, or of records, unless the first alone has more.
    pub bytes: usize,
}

impl Default for LoadBounds {
    /// A few megabytes: enough that the work of a call does not show, little beside what a replica holds.
    fn default() -> Self {
        Self { changes: 16_384, bytes: 4 << 20 }
    }
}
