//! What can go wrong with a store, each with what to do next.

use std::path::{Path, PathBuf};

use bft_json_crdt::change::ChangeError;
use side_ledger::GroupId;
use thiserror::Error;

/// Why a store could not be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The disk, or the quota set for it, is full.
    #[error(
        "the disk is full: nothing was written to {path}. Free some space and start again; what was acknowledged before is safe"
    )]
    DiskFull {
        /// The database.
        path: PathBuf,
    },
    /// The file, its folder or its file system does not take writes.
    #[error(
        "{path} cannot be written: it, its folder or its file system is read-only. Make the folder and the files in it writable for this user"
    )]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// This user may not open it.
    #[error(
        "no permission to open {path}: it must be readable and writable for the user that runs this (check `ls -l`)"
    )]
    Permission {
        /// The database.
        path: PathBuf,
    },
    /// There is nothing at this path.
    #[error("there is no database at {path}: create the node first, or check the path")]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process: stop the other one first; only one may have it open")]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// It does not hold together.
    #[error(
        "{path} is damaged ({detail}). Keep a copy of it, put it aside together with its -wal file, and start again: \
         the history comes back from the other members"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// It is something else.
    #[error("{path} is no database of Side; check the path, nothing was changed")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later version of Side wrote it.
    #[error(
        "{path} was written by a newer version of Side (schema {found}, this build knows up to {known}); update this one, nothing was changed"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this build knows.
        known: i64,
    },
    /// The disk answered with an error.
    #[error(
        "the disk under {path} reports an error ({detail}). Check the disk; what was acknowledged before is safe as far as it can be read"
    )]
    Io {
        /// The database.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// The group was never added. A bug of the caller.
    #[error("the group {0} is not in this store")]
    UnknownGroup(GroupId),
    /// The group is there with another genesis. A bug of the caller: an id is the hash of its genesis.
    #[error("the group {0} is stored with another genesis")]
    OtherGenesis(GroupId),
    /// SQLite refuses for a reason that the others do not cover. A bug of ours.
    #[error("unexpected answer of the database {path}: {detail}")]
    Unexpected {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
}

impl StoreError {
    pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        let detail = error.to_string();
        let Some(code) = error.sqlite_error_code() else { return Self::Unexpected { path, detail } };
        match code {
            ErrorCode::DiskFull => Self::DiskFull { path },
            ErrorCode::ReadOnly => Self::ReadOnly { path },
            ErrorCode::PermissionDenied => Self::Permission { path },
            ErrorCode::CannotOpen => Self::cannot_open(path, detail),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
                Self::Locked { path }
            }
            ErrorCode::DatabaseCorrupt => Self::Corrupt { path, detail },
            ErrorCode::NotADatabase => Self::Foreign { path },
            ErrorCode::SystemIoFailure => Self::Io { path, detail },
            _ => Self::Unexpected { path, detail },
        }
    }

    /// SQLite says only that it cannot open a file; the file system knows why.
    fn cannot_open(path: PathBuf, detail: String) -> Self {
        match std::fs::OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) => Self::file(&path, &error),
            // The file opens, so the folder does not take the files beside it.
            Ok(_) => match path.parent().map(std::fs::metadata) {
                Some(Ok(_)) => Self::ReadOnly { path },
                _ => Self::Io { path, detail },
            },
        }
    }

    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::NotFound => Self::Missing { path },
            ErrorKind::PermissionDenied => Self::Permission { path },
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, detail: error.to_string() },
        }
    }

    pub(crate) fn record(path: &Path, number: u64, error: &ChangeError) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: format!("change number {number}: {error}") }
    }
}
