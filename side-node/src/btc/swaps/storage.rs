//! Swaps on disk: one SQLite file a node.
//!
//! ```text
//! NODE/btc/swaps.sqlite   0600
//!   swap      what the state machine must not forget: preimage, key, terms, stage, raw transactions
//!   outgoing  messages that the group has not been told yet
//!   notice    what was said to the operator, the last of each swap
//! ```
//! Rules:
//! - A swap, its outgoing messages and its notices change in one transaction, which is durable (WAL, synchronous FULL) when the call returns. Only then may
//!   anything that follows from it be broadcast, published or shown.
//! - Several processes may have the file open: a running node and a command. Each row has a revision, and whoever read an older one does not
//!   write ([`StorageError::Moved`]) but reads again.
//! - The preimage is in here: the file is the user's alone, and nothing of a row is ever logged.

use std::path::Path;

use bdk_wallet::rusqlite::{self, OptionalExtension as _, Transaction, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::database::{Database, StorageError};

/// Marks the file as one of ours (SQLite's `application_id`): "sswp".
const APPLICATION_ID: i64 = 0x7373_7770;
/// Notices that are kept of each swap: what an operator looks back at. A chain that goes to and fro must not fill the disk.
const MAX_NOTICES: u32 = 200;
/// Most bytes of a row: a state holds a few transactions of at most 400,000 weight units, in hex.
const MAX_BODY_BYTES: usize = 8 << 20;

const TABLES: &str = "
CREATE TABLE swap (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 32),
    revision INTEGER NOT NULL,
    done INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE outgoing (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    swap BLOB NOT NULL REFERENCES swap (id),
    body TEXT NOT NULL
) STRICT;
CREATE TABLE notice (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    swap BLOB NOT NULL REFERENCES swap (id),
    at_ms INTEGER NOT NULL,
    level TEXT NOT NULL,
    words TEXT NOT NULL
) STRICT;
CREATE INDEX notice_by_swap ON notice (swap, number);
";

/// A row: a swap's state as text.
#[derive(Debug)]
pub struct Row {
    /// The swap's id.
    pub id: [u8; 32],
    /// Counts its changes.
    pub revision: u64,
    /// Whether nothing remains to be watched.
    pub done: bool,
    /// The state. Holds secrets.
    pub body: Zeroizing<String>,
}

/// A line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredNotice {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// `info`, `warning` or `urgent`.
    pub level: String,
    /// The words.
    pub words: String,
}

/// What changes with a swap's state.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Messages for the group.
    pub outgoing: Vec<String>,
    /// Notices.
    pub notices: Vec<StoredNotice>,
}

/// The open file.
#[derive(Debug)]
pub struct SwapStore {
    database: Database,
}

impl SwapStore {
    /// The file's name in a wallet's folder.
    pub const FILE: &'static str = "swaps.sqlite";

    /// Opens the file in `folder`, making it if there is none.
    ///
    /// # Errors
    /// [`StorageError`], but not its last two.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        Ok(Self { database: Database::open(folder, Self::FILE, APPLICATION_ID, TABLES)? })
    }

    /// Adds a swap; durable when this returns.
    ///
    /// # Errors
    /// [`StorageError::Exists`], [`StorageError::Database`].
    pub fn insert(&mut self, id: &[u8; 32], body: &str, beside: &Beside) -> Result<(), StorageError> {
        let fail = self.database.fail();
        let transaction =
            self.database.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        let inserted = transaction
            .execute(
                "INSERT INTO swap (id, revision, done, body) VALUES (?1, 1, 0, ?2) ON CONFLICT (id) DO NOTHING",
                params![id, body],
            )
            .map_err(&fail)?;
        if inserted == 0 {
            return Err(StorageError::Exists);
        }
        put_beside(&transaction, id, beside).map_err(&fail)?;
        transaction.commit().map_err(&fail)
    }

    /// Replaces a swap's state that was read at `revision`; durable when this returns. Answers the new revision.
    ///
    /// # Errors
    /// [`StorageError::Moved`], [`StorageError::Database`].
    pub fn update(
        &mut self,
        id: &[u8; 32],
        revision: u64,
        body: &str,
        done: bool,
        beside: &Beside,
    ) -> Result<u64, StorageError> {
        let fail = self.database.fail();
        if body.len() > MAX_BODY_BYTES {
            return Err(self.database.foreign("a swap's state is too long"));
        }
        let transaction =
            self.database.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        let updated = transaction
            .execute(
                "UPDATE swap SET body = ?3, done = ?4, revision = revision + 1 WHERE id = ?1 AND revision = ?2",
                params![id, revision as i64, body, done],
            )
            .map_err(&fail)?;
        if updated == 0 {
            return Err(StorageError::Moved);
        }
        put_beside(&transaction, id, beside).map_err(&fail)?;
        transaction.commit().map_err(&fail)?;
        Ok(revision + 1)
    }

    /// Adds messages and notices to a swap; durable when this returns.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn note(&mut self, id: &[u8; 32], beside: &Beside) -> Result<(), StorageError> {
        if beside.outgoing.is_empty() && beside.notices.is_empty() {
            return Ok(());
        }
        let fail = self.database.fail();
        let transaction =
            self.database.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        put_beside(&transaction, id, beside).map_err(&fail)?;
        transaction.commit().map_err(&fail)
    }

    /// One swap.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn get(&self, id: &[u8; 32]) -> Result<Option<Row>, StorageError> {
        let sql = "SELECT id, revision, done, body FROM swap WHERE id = ?1";
        self.database.connection.query_row(sql, [id], row).optional().map_err(self.database.fail())
    }

    /// The swaps, oldest first; only those that are not over if `open`.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn all(&self, open: bool) -> Result<Vec<Row>, StorageError> {
        let sql = "SELECT id, revision, done, body FROM swap WHERE NOT (?1 AND done) ORDER BY rowid";
        let read = || -> Result<Vec<Row>, rusqlite::Error> {
            let mut statement = self.database.connection.prepare(sql)?;
            statement.query_map([open], row)?.collect()
        };
        read().map_err(self.database.fail())
    }

    /// The last `limit` swaps, latest first, those that are over after those that are not.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn latest(&self, limit: usize) -> Result<Vec<Row>, StorageError> {
        let sql = "SELECT id, revision, done, body FROM swap ORDER BY done, rowid DESC LIMIT ?1";
        let read = || -> Result<Vec<Row>, rusqlite::Error> {
            let mut statement = self.database.connection.prepare(sql)?;
            statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], row)?.collect()
        };
        read().map_err(self.database.fail())
    }

    /// What was said of a swap, oldest first.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn notices(&self, id: &[u8; 32]) -> Result<Vec<StoredNotice>, StorageError> {
        let sql = "SELECT at_ms, level, words FROM notice WHERE swap = ?1 ORDER BY number";
        let read = || -> Result<Vec<StoredNotice>, rusqlite::Error> {
            let mut statement = self.database.connection.prepare(sql)?;
            statement
                .query_map([id], |row| {
                    let at_ms: i64 = row.get(0)?;
                    Ok(StoredNotice { at_ms: at_ms.max(0) as u64, level: row.get(1)?, words: row.get(2)? })
                })?
                .collect()
        };
        read().map_err(self.database.fail())
    }

    /// Messages that the group has not been told yet, oldest first, with the numbers that [`Self::published`] takes.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn outgoing(&self) -> Result<Vec<(i64, String)>, StorageError> {
        let read = || -> Result<Vec<(i64, String)>, rusqlite::Error> {
            let mut statement =
                self.database.connection.prepare("SELECT number, body FROM outgoing ORDER BY number")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().map_err(self.database.fail())
    }

    /// Notes that the group has been told.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn published(&mut self, number: i64) -> Result<(), StorageError> {
        self.database
            .connection
            .execute("DELETE FROM outgoing WHERE number = ?1", [number])
            .map(|_| ())
            .map_err(self.database.fail())
    }
}

fn row(row: &rusqlite::Row<'_>) -> Result<Row, rusqlite::Error> {
    let revision: i64 = row.get(1)?;
    Ok(Row { id: row.get(0)?, revision: revision.max(0) as u64, done: row.get(2)?, body: Zeroizing::new(row.get(3)?) })
}

fn put_beside(transaction: &Transaction<'_>, id: &[u8; 32], beside: &Beside) -> Result<(), rusqlite::Error> {
    for body in &beside.outgoing {
        transaction.execute("INSERT INTO outgoing (swap, body) VALUES (?1, ?2)", params![id, body])?;
    }
    for notice in &beside.notices {
        transaction.execute(
            "INSERT INTO notice (swap, at_ms, level, words) VALUES (?1, ?2, ?3, ?4)",
            params![id, notice.at_ms as i64, notice.level, notice.words],
        )?;
    }
    if !beside.notices.is_empty() {
        transaction.execute(
            "DELETE FROM notice WHERE swap = ?1 AND number NOT IN
             (SELECT number FROM notice WHERE swap = ?1 ORDER BY number DESC LIMIT ?2)",
            params![id, MAX_NOTICES],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use bdk_wallet::rusqlite::Connection;

    use super::*;

    fn notice(words: &str) -> StoredNotice {
        StoredNotice { at_ms: 1, level: "info".into(), words: words.into() }
    }

    #[test]
    fn a_swap_its_messages_and_its_notices_change_together() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SwapStore::open(folder.path()).unwrap();
        let beside = Beside { outgoing: vec!["offer".into()], notices: vec![notice("offered")] };
        store.insert(&[1; 32], "one", &beside).unwrap();
        assert!(matches!(store.insert(&[1; 32], "two", &Beside::default()), Err(StorageError::Exists)));
        drop(store);
        let mut store = SwapStore::open(folder.path()).unwrap();
        let row = store.get(&[1; 32]).unwrap().unwrap();
        assert_eq!((row.revision, row.done, row.body.as_str()), (1, false, "one"));
        assert_eq!(store.notices(&[1; 32]).unwrap(), [notice("offered")]);
        let outgoing = store.outgoing().unwrap();
        assert_eq!(outgoing[0].1, "offer");
        store.published(outgoing[0].0).unwrap();
        assert_eq!(store.outgoing().unwrap(), []);
        assert_eq!(store.update(&[1; 32], 1, "three", true, &Beside::default()).unwrap(), 2);
        assert_eq!(store.all(true).unwrap().len(), 0);
        assert_eq!(store.all(false).unwrap().len(), 1);
    }

    #[test]
    fn whoever_read_an_older_revision_does_not_write() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = SwapStore::open(folder.path()).unwrap();
        let mut command = SwapStore::open(folder.path()).unwrap();
        daemon.insert(&[1; 32], "one", &Beside::default()).unwrap();
        let seen = command.get(&[1; 32]).unwrap().unwrap().revision;
        daemon.update(&[1; 32], seen, "two", false, &Beside::default()).unwrap();
        let beside = Beside { outgoing: vec!["lost".into()], notices: vec![] };
        assert!(matches!(command.update(&[1; 32], seen, "three", false, &beside), Err(StorageError::Moved)));
        assert_eq!(command.get(&[1; 32]).unwrap().unwrap().body.as_str(), "two");
        assert_eq!(command.outgoing().unwrap(), []);
    }

    /// A node that starts and a command make the same new file. Of two that have read and want to write SQLite turns one away at once.
    #[test]
    fn whoever_meets_another_process_at_a_new_file_waits_for_it() {
        const PROCESSES: usize = 8;
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let all_ready = std::sync::Barrier::new(PROCESSES);
            let open = || {
                all_ready.wait();
                SwapStore::open(folder.path()).map(drop)
            };
            std::thread::scope(|scope| {
                let openings: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(open)).collect();
                openings.into_iter().for_each(|opening| opening.join().unwrap().unwrap());
            });
        }
    }

    #[test]
    fn preimages_are_for_the_owners_eyes_only() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("btc").join("regtest");
        let mut store = SwapStore::open(&inner).unwrap();
        store.insert(&[1; 32], "secret", &Beside::default()).unwrap();
        let mut files = 0;
        for entry in fs::read_dir(&inner).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
            files += 1;
        }
        assert!(files >= 2, "the database and its log");
        assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
        drop(store);
        fs::set_permissions(inner.join(SwapStore::FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SwapStore::open(&inner), Err(StorageError::Exposed(_))));
    }

    #[test]
    fn files_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SwapStore::FILE);
        let write = |contents: &[u8]| {
            create_secret(&path, contents);
            SwapStore::open(folder.path())
        };
        assert!(matches!(
            write(b"this is no database, but some text of some length"),
            Err(StorageError::Foreign { .. })
        ));
        fs::remove_file(&path).unwrap();
        drop(SwapStore::open(folder.path()).unwrap());
        let other = Connection::open(&path).unwrap();
        other.pragma_update(None, "user_version", 99).unwrap();
        drop(other);
        assert!(matches!(SwapStore::open(folder.path()), Err(StorageError::Foreign { .. })));
    }

    fn create_secret(path: &Path, contents: &[u8]) {
        crate::home::create_secret_file(path, contents).unwrap();
    }

    #[test]
    fn notices_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SwapStore::open(folder.path()).unwrap();
        store.insert(&[1; 32], "one", &Beside::default()).unwrap();
        let notices = (0..MAX_NOTICES + 50).map(|n| notice(&n.to_string())).collect();
        store.update(&[1; 32], 1, "one", false, &Beside { outgoing: vec![], notices }).unwrap();
        let kept = store.notices(&[1; 32]).unwrap();
        assert_eq!(kept.len(), MAX_NOTICES as usize);
        assert_eq!(kept.last().unwrap().words, (MAX_NOTICES + 49).to_string());
    }
}
