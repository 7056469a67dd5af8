//! Whether a node's database is still where and what it was, or was copied, restored from a backup, or rolled back.
//!
//! A node that writes on from an old state signs a second change with a `seq` that it has used before, and so convicts itself of equivocation.
//! Three marks tell that this could happen:
//! - The database names the file (device and inode) that it was last written in. Copies and restored backups are other files.
//! - A small *witness* file, which lies outside of the node's folder, is told the store's generation after every commit. A folder that was put back
//!   as a whole is behind its witness.
//! - Both carry the instance number that was drawn when the database was made.
//!
//! The witness is written behind the database and not flushed each time: after a loss of power it may be behind, never ahead. What no mark can tell
//! is a whole disk or machine that was set back, witness included: then only the peers know better.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bft_json_crdt::hash::hash;
use bytes::Bytes;
use thiserror::Error;

use crate::Store as _;
use crate::batch::Batch;
use crate::error::StoreError;
use crate::sqlite::{SqliteStore, sync_folder};

/// The key under which the database keeps its instance number and file.
pub(crate) const META_KEY: &str = "identity";
/// The key under which the database remembers a suspicion until it is accepted: catching up raises the generation above the witness's.
pub(crate) const SUSPECTED_KEY: &str = "identity-suspected";
/// Domain of a witness record's checksum.
const WITNESS_DOMAIN: &str = "side/1/witness";
/// A record: instance number, generation, checksum.
const RECORD_BYTES: usize = 16 + 8 + 8;
/// Two records are written by turns, so that a torn one leaves the other.
const SLOTS: u64 = 2;

/// Whether the caller has just made the node or knows that it existed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The node is being made: a database without an instance number is given one.
    New,
    /// The node existed: an empty database means that the old one was lost.
    Existing,
}

/// A file as its file system knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// Why this database may lack changes that its node has already signed. Until the node has learnt its own tip from its peers it must not write.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreSuspicion {
    /// It is another file than it was when it was last written.
    #[error("the database was copied or restored: it is file {found} and was file {recorded} when it was last written")]
    Copied {
        /// The file that it was.
        recorded: FileId,
        /// The file that it is.
        found: FileId,
    },
    /// Its witness has seen more than it holds.
    #[error("the database was rolled back: it is at generation {database}, and {witness} was on disk already")]
    RolledBack {
        /// Its generation.
        database: u64,
        /// The generation that the witness has seen.
        witness: u64,
    },
    /// Its witness is gone or unreadable.
    #[error("the witness file {path} is missing or unreadable, so nobody can tell whether the database is the latest")]
    WitnessMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The witness belongs to another database.
    #[error("the witness file {path} belongs to another database than this one")]
    WitnessForeign {
        /// Where it is.
        path: PathBuf,
    },
    /// It was suspected when it was opened before, and nobody has accepted it since.
    #[error("this was noticed before and is not settled yet: {reason}")]
    Unsettled {
        /// What was noticed.
        reason: String,
    },
    /// The database is empty, but its node or its witness existed before.
    #[error("the database is new, but this node existed before: its history was lost")]
    Lost,
}

/// The result of [`identify`].
#[derive(Debug, Clone)]
pub struct Identified {
    /// Why this database may be out of date; none if all marks agree.
    pub suspicion: Option<RestoreSuspicion>,
    instance: [u8; 16],
    witness_path: PathBuf,
    least_generation: u64,
}

/// Compares the marks. Without a suspicion, the witness is kept up to date from now on; with one, the database remembers it and the witness is left
/// alone until [`Identified::accept`].
///
/// `witness` is a path outside of the node's folder, in a folder that exists. `entropy` is fresh random bytes, used where the database has no instance
/// number yet.
pub fn identify(
    store: &mut SqliteStore,
    witness: &Path,
    expect: Expect,
    entropy: [u8; 16],
) -> Result<Identified, StoreError> {
    let stored = store.meta(META_KEY)?;
    let stored = stored.map(|bytes| Marks::decode(&bytes).ok_or_else(|| damaged(store.path()))).transpose()?;
    let generation = store.generation()?;
    let found = file_id(store.path())?;
    let seen = Witness::read(witness)?;
    let seen_generation = match &seen {
        Seen::Record { generation, .. } => *generation,
        Seen::Missing | Seen::Unreadable => 0,
    };
    let suspicion = match (&stored, &seen) {
        (None, Seen::Missing) if expect == Expect::New => None,
        (None, _) => Some(RestoreSuspicion::Lost),
        (Some(marks), seen) => compare(marks, seen, generation, found, witness),
    };
    let suspicion = match suspicion {
        Some(suspicion) => Some(suspicion),
        None => store
            .meta(SUSPECTED_KEY)?
            .map(|reason| RestoreSuspicion::Unsettled { reason: String::from_utf8_lossy(&reason).into_owned() }),
    };
    // What may be a copy becomes an instance of its own when it is accepted: the original and its witness may live on.
    let instance = match &stored {
        Some(marks) if suspicion.is_none() => marks.instance,
        _ => entropy,
    };
    let identified =
        Identified { suspicion, instance, witness_path: witness.to_owned(), least_generation: seen_generation };
    match &identified.suspicion {
        None => identified.adopt(store)?,
        Some(RestoreSuspicion::Unsettled { .. }) => {}
        Some(suspicion) => {
            store.commit(&Batch::new().meta(SUSPECTED_KEY, Some(suspicion.to_string().into())))?;
        }
    }
    Ok(identified)
}

/// Marks a database as one that may be old, with the reason for people to read: it was restored from a backup. Its file and its witness may tell the same, or may not.
pub fn suspect(store: &mut SqliteStore, reason: &str) -> Result<(), StoreError> {
    store.commit(&Batch::new().meta(SUSPECTED_KEY, Some(Bytes::copy_from_slice(reason.as_bytes())))).map(drop)
}

/// What a database says of itself against what its witness has seen and the file that it is.
pub(crate) fn compare(
    marks: &Marks,
    seen: &Seen,
    generation: u64,
    found: FileId,
    witness: &Path,
) -> Option<RestoreSuspicion> {
    match seen {
        Seen::Missing | Seen::Unreadable => Some(RestoreSuspicion::WitnessMissing { path: witness.to_owned() }),
        Seen::Record { instance, .. } if marks.instance != *instance => {
            Some(RestoreSuspicion::WitnessForeign { path: witness.to_owned() })
        }
        Seen::Record { generation: witness, .. } if *witness > generation => {
            Some(RestoreSuspicion::RolledBack { database: generation, witness: *witness })
        }
        // Device numbers may change from one start of the machine to the next. The inode does not, and then the witness agrees exactly.
        Seen::Record { generation: witness, .. }
            if marks.file.inode != found.inode || (marks.file != found && *witness != generation) =>
        {
            Some(RestoreSuspicion::Copied { recorded: marks.file, found })
        }
        Seen::Record { .. } => None,
    }
}

impl Identified {
    /// Declares the database to be the latest from now on: the node has learnt its own tip from its peers, or its owner insists.
    pub fn accept(&mut self, store: &mut SqliteStore) -> Result<(), StoreError> {
        self.adopt(store)?;
        self.suspicion = None;
        Ok(())
    }

    fn adopt(&self, store: &mut SqliteStore) -> Result<(), StoreError> {
        let marks = Marks { instance: self.instance, file: file_id(store.path())? };
        store.commit(&Batch::new().meta(META_KEY, Some(marks.encode())).meta(SUSPECTED_KEY, None))?;
        let generation = store.raise_generation(self.least_generation)?;
        let mut witness = Witness::create(&self.witness_path, self.instance)?;
        witness.record(generation)?;
        witness.sync()?;
        store.attach(witness);
        Ok(())
    }
}

pub(crate) fn damaged(path: &Path) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), detail: "its identity is unreadable".into() }
}

pub(crate) fn file_id(path: &Path) -> Result<FileId, StoreError> {
    let metadata = std::fs::metadata(path).map_err(|error| StoreError::file(path, &error))?;
    Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
}

/// What the database says about itself.
pub(crate) struct Marks {
    instance: [u8; 16],
    file: FileId,
}

impl Marks {
    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.instance);
        out.extend_from_slice(&self.file.device.to_be_bytes());
        out.extend_from_slice(&self.file.inode.to_be_bytes());
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (instance, rest) = bytes.split_first_chunk::<16>()?;
        let (device, inode) = rest.split_first_chunk::<8>()?;
        let file = FileId { device: u64::from_be_bytes(*device), inode: u64::from_be_bytes(inode.try_into().ok()?) };
        Some(Self { instance: *instance, file })
    }
}

/// What a witness has seen.
pub(crate) enum Seen {
    Missing,
    Unreadable,
    Record { instance: [u8; 16], generation: u64 },
}

/// The open witness file.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    path: PathBuf,
    instance: [u8; 16],
}

impl Witness {
    pub(crate) fn read(path: &Path) -> Result<Seen, StoreError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Seen::Missing),
            Err(error) => return Err(StoreError::file(path, &error)),
        };
        let records = bytes.chunks_exact(RECORD_BYTES).filter_map(|record| {
            let (body, checksum) = record.split_at(RECORD_BYTES - 8);
            if hash(WITNESS_DOMAIN, body)[..8] != *checksum {
                return None;
            }
            let (instance, generation) = body.split_first_chunk::<16>()?;
            Some((u64::from_be_bytes(generation.try_into().ok()?), *instance))
        });
        Ok(records.max().map_or(Seen::Unreadable, |(generation, instance)| Seen::Record { instance, generation }))
    }

    /// Opens the file for writing and drops records of another instance.
    fn create(path: &Path, instance: [u8; 16]) -> Result<Self, StoreError> {
        let fail = |error: std::io::Error| StoreError::file(path, &error);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(fail)?;
        if !matches!(Self::read(path)?, Seen::Record { instance: found, .. } if found == instance) {
            file.set_len(0).map_err(fail)?;
        }
        sync_folder(path)?;
        Ok(Self { file, path: path.to_owned(), instance })
    }

    /// Notes that `generation` is on disk. Survives the end of the process, not surely the loss of power.
    pub(crate) fn record(&mut self, generation: u64) -> Result<(), StoreError> {
        let mut record = [0; RECORD_BYTES];
        record[..16].copy_from_slice(&self.instance);
        record[16..24].copy_from_slice(&generation.to_be_bytes());
        let checksum = hash(WITNESS_DOMAIN, &record[..24]);
        record[24..].copy_from_slice(&checksum[..8]);
        let at = generation % SLOTS * RECORD_BYTES as u64;
        self.file.write_all_at(&record, at).map_err(|error| StoreError::file(&self.path, &error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|error| StoreError::file(&self.path, &error))
    }
}
