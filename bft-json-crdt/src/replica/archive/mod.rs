//! The whole replica as one file, and what came since as bytes to append to it (docs/format.md).
//!
//! ```text
//! mod         what is public: saving, loading
//! write       changes → body of a segment          read        body of a segment → changes
//! transpose   operations → columns                 regenerate  columns → operations, byte for byte
//! recent      how references are told by what was referred to just before
//! values      stepping over values
//! columns     which columns there are
//! segment     heads, checksums, compressed streams
//! ```
//! Rules:
//! - What follows from the rest is not stored: ids, `previous`, hashes, numbers, authors. Loading makes the bytes of each change again and hashes them, so
//!   that the signatures, which were made over the ids, vouch for every byte.
//! - A file is read in segments. No segment, whatever it says, takes more memory or time than its limits allow, and what it grows to is in proportion
//!   to its length in the file.

mod columns;
mod read;
mod recent;
mod regenerate;
mod segment;
#[cfg(test)]
mod tests;
mod transpose;
mod values;
mod write;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use bytes::Bytes;
use thiserror::Error;

use self::segment::{Found, HeaderFault};
use super::{Limits, LoadError, Replica};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{ChangeId, MAX_CHANGE_BYTES};
use crate::identity::AuthorId;

/// A segment takes in changes until they weigh this much.
const SEGMENT_WEIGHT: usize = 1 << 20;
/// Most changes of a segment: bounds what small ones take in memory beside their bytes.
const MAX_SEGMENT_CHANGES: usize = 8192;
/// Most that the changes of one segment weigh: the last one may be as large as a change can be.
const MAX_SEGMENT_WEIGHT: usize = SEGMENT_WEIGHT + MAX_CHANGE_BYTES + CHANGE_WEIGHT;
/// Most that the changes of a segment weigh for each byte of it in the file. Text repeats itself less than this outside of contrived examples; a writer that has
/// compressed a segment further stores it uncompressed.
const MAX_EXPANSION: usize = 256;
/// What a change weighs beyond its operations and 32 for each id in deps: a bound on the rest of its header, its signature and its place in the graph.
const CHANGE_WEIGHT: usize = 256;

/// Why an archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArchiveError {
    /// It is no archive, or of a version that this build does not know.
    #[error("not an archive of a version that this build knows")]
    Magic,
    /// The segment that begins at this byte, or the file's header, is damaged.
    #[error("the archive is damaged at byte {0}")]
    Damaged(usize),
    /// What was appended last did not reach the file as a whole, as after a crash. Everything before byte `good` is whole: [`Replica::load_file`] can be
    /// asked to load that much.
    #[error("the archive is whole up to byte {good} only: what was appended last is torn")]
    Torn {
        /// Where the torn part begins.
        good: usize,
    },
    /// A change in it is unusable.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Which signatures a load checks. Everything is hashed in any case, and every voucher checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// One for each leaf of an author's tree: it vouches for all before it. The others can be looked at later: see [`Replica::audit`].
    Tips,
    /// All of them, spread over this many threads. One that is not good is an error unless a good one at most [`MAX_CHAIN`](crate::evidence::MAX_CHAIN) − 1 changes above vouches
    /// for it; then it is kept with that voucher.
    All {
        /// How many threads share the work.
        threads: NonZeroUsize,
    },
}

/// How a file is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Quotas of the replica.
    pub limits: Limits,
    /// See [`Replica::set_writer`].
    pub writer: Option<AuthorId>,
    /// Which signatures are checked.
    pub check: Check,
    /// Loads what is whole of a file whose end is torn or damaged, instead of refusing it.
    pub whole_part: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), writer: None, check: Check::Tips, whole_part: false }
    }
}

/// What came out of a file.
pub struct Loaded {
    /// The replica.
    pub replica: Replica,
    /// How many bytes of the file were whole: where a further segment is to be written, and what the file is to be cut to before.
    pub good: usize,
    /// Where saving can go on; none if the replica dropped changes that stand in the file (a reader does that to a proven author's), or somebody else's program
    /// wrote the file in an order of its own: then it has to be saved anew.
    pub point: Option<SavePoint>,
}

/// How much of a replica is in a file. To be kept beside the file's name, not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavePoint {
    changes: u32,
    /// How many authors they have.
    authors: u32,
    /// The id of the last of them.
    last: Option<ChangeId>,
    late_vouchers: usize,
    proven: BTreeSet<AuthorId>,
}

/// Why nothing can be appended to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the replica was rebuilt since: the file has to be saved anew")]
pub struct Rebuilt;

impl Replica {
    /// The whole replica as bytes: applied changes in causal order with their vouchers, and proofs. What is kept aside is left out: it can be
    /// fetched again.
    ///
    /// # Panics
    /// If the replica was [compacted](Replica::compact): an archive holds whole changes. [`Replica::save_compacted`] writes such a one.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        segment::put_header(&mut out, &self.id);
        let nothing = SavePoint { changes: 0, authors: 0, last: None, late_vouchers: 0, proven: BTreeSet::new() };
        self.put_segments(&mut out, &nothing);
        out
    }

    /// What a file that is saved now holds: for [`Replica::save_since`].
    pub fn save_point(&self) -> SavePoint {
        SavePoint {
            changes: self.len() as u32,
            authors: self.dag.authors().count() as u32,
            last: self.len().checked_sub(1).map(|last| self.dag.id(ChangeIdx(last as u32))),
            late_vouchers: self.late_vouchers.len(),
            proven: self.proofs.keys().copied().collect(),
        }
    }

    /// What has come since `point`, as bytes to be appended to the file; empty if nothing has.
    ///
    /// # Errors
    /// The replica was rebuilt in between.
    ///
    /// # Panics
    /// If some of it was [compacted](Replica::compact) already: an archive holds whole changes. What stands in the file may be compacted here.
    pub fn save_since(&self, point: &SavePoint) -> Result<Vec<u8>, Rebuilt> {
        let last = point.changes.checked_sub(1).map(ChangeIdx);
        if point.changes as usize > self.len()
            || last.map(|last| self.dag.id(last)) != point.last
            || point.late_vouchers > self.late_vouchers.len()
        {
            return Err(Rebuilt);
        }
        let mut out = Vec::new();
        if *point != self.save_point() {
            self.put_segments(&mut out, point);
        }
        Ok(out)
    }

    /// Reads what [`Replica::save`] wrote, and what was appended to it. Checks one signature for each leaf of an author's tree.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn load_archive(bytes: &Bytes, limits: Limits, writer: Option<AuthorId>) -> Result<Self, ArchiveError> {
        let options = LoadOptions { limits, writer, ..LoadOptions::default() };
        Ok(Self::load_file(bytes, &options)?.replica)
    }

    /// Reads what [`Replica::save`] wrote, and what was appended to it.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn load_file(file: &[u8], options: &LoadOptions) -> Result<Loaded, ArchiveError> {
        let document = segment::read_header(file).map_err(|fault| match fault {
            HeaderFault::Magic => ArchiveError::Magic,
            HeaderFault::Damaged => ArchiveError::Damaged(0),
        })?;
        let mut replica = Self::new(document, options.limits);
        replica.set_writer(options.writer);
        let events = std::mem::replace(&mut replica.events, false);
        let mut segments = read::Segments::default();
        let (mut at, mut complete) = (segment::HEADER, false);
        loop {
            let fault = match segment::find(file, at) {
                Found::Segment { body, last, end } => {
                    segments.read(&mut replica, body, at)?;
                    (at, complete) = (end, last);
                    continue;
                }
                Found::End if complete => break,
                // The rest of what was saved at one time is missing.
                Found::End | Found::Torn => ArchiveError::Torn { good: at },
                Found::Damaged => ArchiveError::Damaged(at),
            };
            if options.whole_part {
                break;
            }
            return Err(fault);
        }
        segments.release();
        // Appending numbers authors by their first changes; another writer can have introduced them in another order.
        let usual_order = segments.authors().eq(replica.dag.authors());
        // What a check finds vouched for is news to the file.
        let point = SavePoint { proven: segments.proven(), ..replica.save_point() };
        replica.check_loaded(0, options.check)?;
        segments.finish(&mut replica, at)?;
        replica.events = events;
        let point = (replica.generation == 0 && usual_order).then_some(point);
        Ok(Loaded { replica, good: at, point })
    }
}
