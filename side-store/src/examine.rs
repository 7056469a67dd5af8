//! A look at the database of a node that does not run, which changes nothing: not the file, not its folder, not its witness.
//!
//! [`SqliteStore::open`](crate::SqliteStore::open) brings a database up to this build's schema and [`identify`](crate::identity::identify) writes down what it suspects.
//! Whoever only wants to know how it stands looks here. A database that was closed in good order is read without a lock and without files beside it; one
//! whose process was killed has a write-ahead log, and is read with that.

use std::path::Path;
use std::time::Duration;

use bft_json_crdt::change::Change;
use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::error::StoreError;
use crate::identity::{META_KEY, Marks, RestoreSuspicion, SUSPECTED_KEY, Witness, compare, damaged, file_id};
use crate::sqlite::{APPLICATION_ID, SCHEMA_VERSION};

/// How long another process that is just opening or closing the database is waited for.
const BUSY: Duration = Duration::from_millis(500);
/// Most changes whose times are looked at, the last ones: a clock that was wrong shows in them.
const MAX_TIMES: i64 = 256;
/// Most proofs that are read: one convicts, and a group has no more members that matter.
const MAX_PROOFS: i64 = 1_024;

/// What was found.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The version of its schema.
    pub schema: i64,
    /// How many changes it holds, in all groups.
    pub changes: u64,
    /// Why it may lack changes that its node has already signed; none if all marks agree.
    pub suspicion: Option<RestoreSuspicion>,
    /// The proofs of equivocation in it, encoded.
    pub proofs: Vec<Bytes>,
    /// The latest time that one of the last changes carries, in milliseconds since 1970: its author's claim.
    pub latest_ms: Option<u64>,
}

/// Reads the database at `path` and compares it with its witness. Checks its whole structure, which takes about a second for a gigabyte.
///
/// # Errors
/// As [`SqliteStore::open`](crate::SqliteStore::open): what is missing, damaged, foreign, newer than this build or in use.
pub fn examine(path: &Path, witness: &Path) -> Result<Examined, StoreError> {
    let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let db = open(path)?;
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(fail);
    let schema = number("user_version")?;
    if number("application_id")? != i64::from(APPLICATION_ID) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if schema > SCHEMA_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: schema, known: SCHEMA_VERSION });
    }
    let report: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
    if report != "ok" {
        return Err(StoreError::Corrupt { path: path.to_owned(), detail: report });
    }
    let changes: i64 = db.query_row("SELECT count(*) FROM changes", [], |row| row.get(0)).map_err(fail)?;
    let generation: i64 = db.query_row("SELECT generation FROM counter", [], |row| row.get(0)).map_err(fail)?;
    let meta = |key: &str| {
        let query = db.query_row("SELECT value FROM meta WHERE key = ?1", params![key], |row| row.get::<_, Vec<u8>>(0));
        query.optional().map_err(fail)
    };
    let marks = meta(META_KEY)?.map(|bytes| Marks::decode(&bytes).ok_or_else(|| damaged(path))).transpose()?;
    let seen = Witness::read(witness)?;
    let suspicion = match marks {
        None => Some(RestoreSuspicion::Lost),
        Some(marks) => compare(&marks, &seen, generation as u64, file_id(path)?, witness),
    };
    let suspicion = match suspicion {
        Some(suspicion) => Some(suspicion),
        None => meta(SUSPECTED_KEY)?
            .map(|reason| RestoreSuspicion::Unsettled { reason: String::from_utf8_lossy(&reason).into_owned() }),
    };
    let blobs = |query: &str, most: i64| {
        let mut statement = db.prepare(query)?;
        let rows = statement.query_map(params![most], |row| row.get::<_, Vec<u8>>(0))?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    let proofs = blobs("SELECT bytes FROM proofs ORDER BY number LIMIT ?1", MAX_PROOFS).map_err(fail)?;
    let last = blobs("SELECT bytes FROM changes ORDER BY key DESC LIMIT ?1", MAX_TIMES).map_err(fail)?;
    let times = last.into_iter().filter_map(|bytes| Change::decode(bytes.into()).ok());
    Ok(Examined {
        schema,
        changes: changes as u64,
        suspicion,
        proofs: proofs.into_iter().map(Bytes::from).collect(),
        latest_ms: times.map(|change| change.header().time_ms).max(),
    })
}

/// Opens the database so that nothing is written, not even beside it.
fn open(path: &Path) -> Result<Connection, StoreError> {
    let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let length = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len());
    length(path).map_err(|error| StoreError::file(path, &error))?;
    if length(&crate::log::log_of(path)).unwrap_or(0) == 0 {
        // Whole as it is. Without «immutable», a reader of a database in this mode makes files beside it.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        return Connection::open_with_flags(uri(path), flags).map_err(fail);
    }
    // The log belongs to it. Held for itself alone, its index is in memory; and the log is left as it is at the end.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(fail)?;
    db.busy_timeout(BUSY).map_err(fail)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
    db.pragma_update(None, "query_only", "ON").map_err(fail)?;
    db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(fail)?;
    Ok(db)
}

/// The path as SQLite's URI: <https://www.sqlite.org/uri.html>.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::batch::Batch;
    use crate::identity::{Expect, identify};
    use crate::{OpenOptions, SqliteStore, Store as _};

    fn made(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf, SqliteStore) {
        // A name that a URI has to escape.
        let (path, witness) = (folder.join("a ?#%ü.sqlite"), folder.join("witness"));
        let mut store = SqliteStore::open(&path, &OpenOptions::default()).unwrap();
        identify(&mut store, &witness, Expect::New, [1; 16]).unwrap();
        store.commit(&Batch::new().meta("k", Some("v".into()))).unwrap();
        (path, witness, store)
    }

    fn files(folder: &Path) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
        let read = |entry: fs::DirEntry| (entry.file_name(), fs::read(entry.path()).unwrap());
        fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
    }

    #[test]
    fn a_look_changes_nothing_whether_it_was_closed_or_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, witness, store) = made(folder.path());
        store.close().unwrap();
        let before = files(folder.path());
        let examined = examine(&path, &witness).unwrap();
        assert_eq!((examined.schema, examined.changes), (SCHEMA_VERSION, 0));
        assert_eq!(examined.suspicion, None);
        assert_eq!(files(folder.path()), before);

        // As a killed process leaves it: what it wrote last stands in the log alone.
        let killed = tempfile::tempdir().unwrap();
        let (path, witness, store) = made(killed.path());
        let copy = tempfile::tempdir().unwrap();
        for (name, bytes) in files(killed.path()) {
            fs::write(copy.path().join(name), bytes).unwrap();
        }
        drop(store);
        let (path, witness) =
            (copy.path().join(path.file_name().unwrap()), copy.path().join(witness.file_name().unwrap()));
        let before = files(copy.path());
        assert!(before.iter().any(|(name, bytes)| name.to_string_lossy().ends_with("-wal") && !bytes.is_empty()));
        let examined = examine(&path, &witness).unwrap();
        assert!(matches!(examined.suspicion, Some(RestoreSuspicion::Copied { .. })), "{examined:?}");
        assert_eq!(files(copy.path()), before);
    }

    #[test]
    fn what_is_wrong_is_told_as_by_opening() {
        let folder = tempfile::tempdir().unwrap();
        let (path, witness) = (folder.path().join("s.sqlite"), folder.path().join("w"));
        assert!(matches!(examine(&path, &witness), Err(StoreError::Missing { .. })));
        fs::write(&path, "no database at all, but long enough to be looked at".repeat(50)).unwrap();
        assert!(matches!(examine(&path, &witness), Err(StoreError::Foreign { .. })));
        fs::remove_file(&path).unwrap();
        let mut store = SqliteStore::open(&path, &OpenOptions::default()).unwrap();
        identify(&mut store, &witness, Expect::New, [1; 16]).unwrap();
        store.close().unwrap();
        let good = fs::read(&path).unwrap();
        let raw = Connection::open(&path).unwrap();
        raw.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        raw.close().unwrap();
        assert!(matches!(examine(&path, &witness), Err(StoreError::Newer { .. })));
        let mut torn = good.clone();
        let middle = torn.len() / 2;
        torn[middle..middle + 2_000].fill(0xa5);
        fs::write(&path, torn).unwrap();
        assert!(matches!(examine(&path, &witness), Err(StoreError::Corrupt { .. })));
        fs::write(&path, good).unwrap();
        fs::remove_file(&witness).unwrap();
        assert!(matches!(examine(&path, &witness).unwrap().suspicion, Some(RestoreSuspicion::WitnessMissing { .. })));
    }
}
