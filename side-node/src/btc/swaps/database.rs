//! Opening the SQLite files of this module: private, durable, of a version that is known.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bdk_wallet::rusqlite::{self, Connection, TransactionBehavior};
use thiserror::Error;

use crate::error::CommandError;
use crate::home::{create_private_dir_all, require_private};

/// The version of the tables.
const SCHEMA_VERSION: i64 = 1;
/// How long another process may hold a file: it writes a few rows.
const BUSY_PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait before the next attempt where SQLite does not wait itself.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Tries again while another process is at it. SQLite answers at once, whatever its timeout, where two that have read want to write: as when both make the same new file's log.
fn patiently<T>(mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let until = Instant::now() + BUSY_PATIENCE;
    loop {
        match attempt() {
            Err(why)
                if why.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && Instant::now() < until =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            ended => return ended,
        }
    }
}

/// Why swaps cannot be read or written.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The file or its folder cannot be used.
    #[error("cannot use {path}: {why}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The operating system's reason.
        why: io::Error,
    },
    /// SQLite's reason.
    #[error("the swaps in {path} cannot be read or written: {why}")]
    Database {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: rusqlite::Error,
    },
    /// The file holds something else, or was made by a later version.
    #[error("{path} is not usable: {why}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// Others on this machine can read it.
    #[error("{0}")]
    Exposed(CommandError),
    /// Another process has changed the swap meanwhile. Read it again.
    #[error("another process has changed this swap meanwhile")]
    Moved,
    /// A swap of this id is there already.
    #[error("this swap is known already")]
    Exists,
}

impl StorageError {
    /// The error with the next step to take, for the node `name`.
    pub fn into_command_error(self, name: &str) -> CommandError {
        let text = self.to_string();
        match self {
            StorageError::Io { path, why } => CommandError::io(format!("cannot use {}", path.display()), &why),
            StorageError::Exposed(error) => error,
            StorageError::Moved => CommandError::user(text).hint("repeat the command").busy(),
            StorageError::Exists => {
                CommandError::user(text).hint(format!("see it with: side-node htlc list {name} --all"))
            }
            StorageError::Database { .. } => CommandError::user(text)
                .hint("check the disk; keep the file: it holds the keys' numbers and preimages of your swaps"),
            StorageError::Foreign { .. } => CommandError::user(text)
                .hint("use the program that made it, or move it away; it holds preimages, so keep it"),
        }
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens `file` in `folder`, making it if there is none. `application_id` marks what is in it.
    pub(super) fn open(folder: &Path, file: &str, application_id: i64, tables: &str) -> Result<Self, StorageError> {
        let path = folder.join(file);
        let io = |why| StorageError::Io { path: path.clone(), why };
        create_private_dir_all(folder).map_err(io)?;
        // SQLite would make it readable for all; the files that it makes beside it take over this mode.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
        require_private(&path).map_err(StorageError::Exposed)?;
        let connection = Connection::open(&path).map_err(|why| StorageError::Database { path: path.clone(), why })?;
        let mut database = Self { connection, path };
        database.prepare(application_id, tables)?;
        Ok(database)
    }

    fn prepare(&mut self, application_id: i64, tables: &str) -> Result<(), StorageError> {
        let path = self.path.clone();
        let fail = |why| StorageError::Database { path: path.clone(), why };
        let foreign = |why: String| StorageError::Foreign { path: path.clone(), why };
        let db = &mut self.connection;
        db.busy_timeout(BUSY_PATIENCE).map_err(fail)?;
        let to_wal = || db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        let mode = patiently(to_wal).map_err(|why| match why.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => foreign("it is no SQLite database".into()),
            _ => fail(why),
        })?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Err(foreign("its file system cannot keep SQLite's write-ahead log".into()));
        }
        db.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON;")
            .map_err(fail)?;
        let number = |db: &Connection, pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let (id, version) = (
            number(&transaction, "application_id").map_err(fail)?,
            number(&transaction, "user_version").map_err(fail)?,
        );
        match (id, version) {
            (0, 0) => {
                let others: i64 =
                    transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
                if others != 0 {
                    return Err(foreign("it is another program's database".into()));
                }
                transaction.execute_batch(tables).map_err(fail)?;
                transaction.pragma_update(None, "application_id", application_id).map_err(fail)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(fail)?;
            }
            (id, SCHEMA_VERSION) if id == application_id => {}
            (id, version) if id == application_id => {
                return Err(foreign(format!(
                    "its tables have version {version}, this program knows version {SCHEMA_VERSION}"
                )));
            }
            _ => return Err(foreign("it is another program's database".into())),
        }
        transaction.commit().map_err(fail)
    }

    pub(super) fn fail(&self) -> impl Fn(rusqlite::Error) -> StorageError + use<> {
        let path = self.path.clone();
        move |why| StorageError::Database { path: path.clone(), why }
    }

    pub(super) fn foreign(&self, why: impl Into<String>) -> StorageError {
        StorageError::Foreign { path: self.path.clone(), why: why.into() }
    }
}
