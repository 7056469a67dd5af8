//! The store on disk: one SQLite database in write-ahead-log mode with `synchronous = FULL`, so that a commit is on disk when it returns.
//!
//! ```text
//! groups      number ─ id, genesis
//! changes     group number ‖ position ─ bytes, voucher      (one integer key: appending touches the end of the group's range only)
//! seals       group number ‖ position ─ bytes
//! proofs      group number, position ─ bytes
//! high_water  group number, author ─ seq, id
//! meta        key ─ value
//! ```
//! One process at a time has it open (exclusive locking); a second one is told so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use side_ledger::GroupId;

use crate::Store;
use crate::batch::{Batch, GroupRecord, HighWater, LoadBounds, Record, Write};
use crate::error::StoreError;
use crate::identity::Witness;

/// What marks a file as a database of Side: the letters `SIDE`.
pub(crate) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SIDE");
/// The schema that this build writes.
pub const SCHEMA_VERSION: i64 = 2;
/// How long to wait for another process that is just closing the database.
const BUSY: Duration = Duration::from_millis(1_500);
/// Bits of a change's (or a seal's) key that count positions within a group: 2⁴⁰ of them, and 2²³ groups above.
const POSITION_BITS: u32 = 40;
/// Bytes of write-ahead log that are kept after a checkpoint; what a burst needed beyond goes back to the file system.
pub(crate) const JOURNAL_BYTES: i64 = 8 << 20;
/// Most checked keys that are remembered while loading, so that each is decompressed once.
const MAX_KNOWN_KEYS: usize = 65_536;

/// Version 1 of the schema.
const SCHEMA: &str = "
CREATE TABLE groups (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, genesis BLOB NOT NULL) STRICT;
CREATE TABLE changes (key INTEGER PRIMARY KEY, bytes BLOB NOT NULL, voucher BLOB) STRICT;
CREATE TABLE proofs (number INTEGER PRIMARY KEY, grp INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE INDEX proofs_of_group ON proofs (grp);
CREATE TABLE high_water (grp INTEGER NOT NULL, author BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL,
    PRIMARY KEY (grp, author)) STRICT, WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (1, 0);
";

/// What leads from each version of the schema to the next one: the first entry from version 1 to 2. A new database takes all of them.
const MIGRATIONS: [&str; (SCHEMA_VERSION - 1) as usize] =
    ["CREATE TABLE seals (key INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;"];

/// How to open a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Create the database if there is none. Otherwise that is [`StoreError::Missing`].
    pub create: bool,
    /// Check the whole database's structure first. Takes about a second for a gigabyte.
    pub check: bool,
    /// Most bytes of the database: a quota of one's own below that of the disk.
    pub max_bytes: Option<u64>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { create: true, check: true, max_bytes: None }
    }
}

#[derive(Debug, Clone, Copy)]
struct GroupState {
    number: i64,
    /// The position of the next change.
    next: i64,
    /// The position of the next seal.
    next_seal: i64,
}

/// The store on disk. Survives a crash at any instant with everything that was committed.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    groups: HashMap<GroupId, GroupState>,
    known_keys: HashMap<[u8; 32], AuthorId>,
    witness: Option<Witness>,
}

impl SqliteStore {
    /// Opens (or creates, with mode 0600) the database at `path`, whose folder must exist. Refuses what is damaged, foreign, newer than this build
    /// or in use.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        create_file(&path, options.create)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&path, flags).map_err(|error| StoreError::sqlite(&path, &error))?;
        let mut store = Self { connection, path, groups: HashMap::new(), known_keys: HashMap::new(), witness: None };
        store.prepare(options)?;
        store.read_groups()?;
        Ok(store)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets room aside for the write-ahead log, [`RESERVED_BYTES`](crate::log::RESERVED_BYTES), for whoever keeps the database open and commits often: each commit is faster then. After
    /// an error all works as before, and the log grows as it is needed.
    pub fn reserve_log(&mut self) -> std::io::Result<()> {
        crate::log::reserve(&self.path)
    }

    /// Keeps `witness` up to date after every commit from now on. See [`crate::identity`].
    pub(crate) fn attach(&mut self, witness: Witness) {
        self.witness = Some(witness);
    }

    /// Raises the generation to at least `least`, then commits an empty batch.
    pub(crate) fn raise_generation(&mut self, least: u64) -> Result<u64, StoreError> {
        let path = &self.path;
        self.connection
            .execute("UPDATE counter SET generation = max(generation, ?1)", params![least as i64])
            .map_err(|error| StoreError::sqlite(path, &error))?;
        self.commit(&Batch::new())
    }

    /// Writes everything back into the one file and closes it. Without it nothing is lost, but the next opening has to catch up.
    pub fn close(self) -> Result<(), StoreError> {
        self.connection.close().map_err(|(_, error)| StoreError::sqlite(&self.path, &error))
    }

    /// Writes a copy of the database to a new file, as it is at this moment. Nothing is committed meanwhile. The copy is suspected from its first moment on
    /// (see [`crate::identity`]), with `reason` for people to read: whoever opens it must learn what was committed since.
    pub fn copy_to(&mut self, path: &Path, reason: &str) -> Result<(), StoreError> {
        // SQLite takes an empty file, and would make one that others can read.
        std::os::unix::fs::OpenOptionsExt::mode(std::fs::OpenOptions::new().write(true).create_new(true), 0o600)
            .open(path)
            .map_err(|error| StoreError::file(path, &error))?;
        let from = &self.path;
        let target = path
            .to_str()
            .ok_or_else(|| StoreError::Unexpected { path: path.to_owned(), detail: "its name is not UTF-8".into() })?;
        self.connection.execute("VACUUM INTO ?1", params![target]).map_err(|error| StoreError::sqlite(from, &error))?;
        let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?;
        copy.execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
            params![crate::identity::SUSPECTED_KEY, reason.as_bytes()],
        )
        .map_err(fail)?;
        copy.close().map_err(|(_, error)| StoreError::sqlite(path, &error))
    }

    fn prepare(&mut self, options: &OpenOptions) -> Result<(), StoreError> {
        let path = self.path.clone();
        let fail = |error: rusqlite::Error| StoreError::sqlite(&path, &error);
        let db = &mut self.connection;
        db.busy_timeout(BUSY).map_err(fail)?;
        db.set_prepared_statement_cache_capacity(32);
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(fail)?;
        let number = |db: &Connection, pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let application = number(db, "application_id").map_err(fail)?;
        let version = number(db, "user_version").map_err(fail)?;
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
        let fresh = application == 0 && version == 0 && tables == 0;
        if !fresh && application != i64::from(APPLICATION_ID) {
            return Err(StoreError::Foreign { path });
        }
        if !fresh && version < 1 {
            return Err(StoreError::Corrupt { path, detail: format!("schema version {version}") });
        }
        if version > SCHEMA_VERSION {
            return Err(StoreError::Newer { path, found: version, known: SCHEMA_VERSION });
        }
        if fresh && !options.create {
            return Err(StoreError::Missing { path });
        }
        if options.check && !fresh {
            let report: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
            if report != "ok" {
                return Err(StoreError::Corrupt { path, detail: report });
            }
        }
        let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(fail)?;
        if mode != "wal" {
            return Err(StoreError::Unexpected { path, detail: format!("journal mode {mode} instead of wal") });
        }
        db.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        db.pragma_update(None, "journal_size_limit", JOURNAL_BYTES).map_err(fail)?;
        db.pragma_update(None, "trusted_schema", "OFF").map_err(fail)?;
        if let Some(bytes) = options.max_bytes {
            let page = number(db, "page_size").map_err(fail)? as u64;
            db.pragma_update(None, "max_page_count", (bytes / page.max(1)).max(1) as i64).map_err(fail)?;
        }
        // Takes the write lock, so that a read-only folder or a second process shows now and not at the first change.
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        if fresh {
            transaction.execute_batch(SCHEMA).map_err(fail)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
        } else {
            transaction.execute("UPDATE counter SET generation = generation", []).map_err(fail)?;
        }
        for migration in MIGRATIONS.iter().skip(if fresh { 0 } else { (version - 1) as usize }) {
            transaction.execute_batch(migration).map_err(fail)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(fail)?;
        transaction.commit().map_err(fail)?;
        if fresh {
            sync_folder(&self.path)?;
        }
        Ok(())
    }

    fn read_groups(&mut self) -> Result<(), StoreError> {
        let path = &self.path;
        let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let mut statement = self
            .connection
            .prepare(
                "SELECT number, id, (SELECT max(key) FROM changes WHERE key >= (number << ?1) AND key < ((number + 1) << ?1)),
                     (SELECT max(key) FROM seals WHERE key >= (number << ?1) AND key < ((number + 1) << ?1))
                 FROM groups",
            )
            .map_err(fail)?;
        let mut rows = statement.query(params![POSITION_BITS]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let number: i64 = row.get(0).map_err(fail)?;
            let id: [u8; 32] = row.get(1).map_err(fail)?;
            let after = |last: Option<i64>| last.map_or(0, |key| (key & ((1 << POSITION_BITS) - 1)) + 1);
            let next = after(row.get(2).map_err(fail)?);
            let next_seal = after(row.get(3).map_err(fail)?);
            self.groups.insert(GroupId(id), GroupState { number, next, next_seal });
        }
        Ok(())
    }

    fn group(&self, group: &GroupId) -> Result<GroupState, StoreError> {
        self.groups.get(group).copied().ok_or(StoreError::UnknownGroup(*group))
    }
}

fn write_all(
    transaction: &rusqlite::Transaction<'_>,
    groups: &HashMap<GroupId, GroupState>,
    batch: &Batch,
    changed: &mut HashMap<GroupId, GroupState>,
) -> Result<u64, WriteFault> {
    let state = |changed: &HashMap<GroupId, GroupState>, group: &GroupId| {
        changed
            .get(group)
            .or_else(|| groups.get(group))
            .copied()
            .ok_or(WriteFault::Refused(StoreError::UnknownGroup(*group)))
    };
    for write in batch.writes() {
        match write {
            Write::Change { group, change, voucher } => {
                let mut at = state(changed, group)?;
                transaction
                    .prepare_cached("INSERT INTO changes (key, bytes, voucher) VALUES (?1, ?2, ?3)")?
                    .execute(params![at.number << POSITION_BITS | at.next, &change.bytes()[..], voucher.as_deref()])?;
                at.next += 1;
                changed.insert(*group, at);
            }
            Write::Group { group, genesis } => {
                if state(changed, group).is_ok() {
                    let stored: Vec<u8> = transaction
                        .prepare_cached("SELECT genesis FROM groups WHERE id = ?1")?
                        .query_row(params![group.0], |row| row.get(0))?;
                    if stored != genesis[..] {
                        return Err(WriteFault::Refused(StoreError::OtherGenesis(*group)));
                    }
                } else {
                    transaction
                        .prepare_cached("INSERT INTO groups (id, genesis) VALUES (?1, ?2)")?
                        .execute(params![group.0, &genesis[..]])?;
                    changed
                        .insert(*group, GroupState { number: transaction.last_insert_rowid(), next: 0, next_seal: 0 });
                }
            }
            Write::ForgetChanges { group } => {
                let at = state(changed, group)?;
                transaction
                    .prepare_cached("DELETE FROM changes WHERE key >= (?1 << ?2) AND key < ((?1 + 1) << ?2)")?
                    .execute(params![at.number, POSITION_BITS])?;
                changed.insert(*group, GroupState { next: 0, ..at });
            }
            Write::Proof { group, proof } => {
                transaction
                    .prepare_cached("INSERT INTO proofs (grp, bytes) VALUES (?1, ?2)")?
                    .execute(params![state(changed, group)?.number, &proof[..]])?;
            }
            Write::Seal { group, record } => {
                let mut at = state(changed, group)?;
                transaction
                    .prepare_cached("INSERT INTO seals (key, bytes) VALUES (?1, ?2)")?
                    .execute(params![at.number << POSITION_BITS | at.next_seal, &record[..]])?;
                at.next_seal += 1;
                changed.insert(*group, at);
            }
            Write::HighWater { group, author, mark } => {
                transaction
                    .prepare_cached(
                        "INSERT INTO high_water (grp, author, seq, id) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT DO UPDATE SET seq = excluded.seq, id = excluded.id WHERE excluded.seq > seq",
                    )?
                    .execute(params![state(changed, group)?.number, author.as_bytes(), mark.seq as i64, mark.id.0])?;
            }
            Write::Meta { key, value: Some(value) } => {
                transaction
                    .prepare_cached("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value")?
                    .execute(params![key, &value[..]])?;
            }
            Write::Meta { key, value: None } => {
                transaction.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute(params![key])?;
            }
        }
    }
    let generation: i64 = transaction
        .prepare_cached("UPDATE counter SET generation = generation + 1 RETURNING generation")?
        .query_row([], |row| row.get(0))?;
    Ok(generation as u64)
}

enum WriteFault {
    Refused(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, batch: &Batch) -> Result<u64, StoreError> {
        let path = &self.path;
        let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        // The cached positions change only once the transaction is on disk: a refused batch leaves no gap.
        let mut changed = HashMap::new();
        let generation = write_all(&transaction, &self.groups, batch, &mut changed).map_err(|fault| match fault {
            WriteFault::Refused(error) => error,
            WriteFault::Sqlite(error) => fail(error),
        })?;
        transaction.commit().map_err(fail)?;
        self.groups.extend(changed);
        if let Some(witness) = &mut self.witness {
            witness.record(generation)?;
        }
        Ok(generation)
    }

    fn groups(&mut self) -> Result<Vec<GroupRecord>, StoreError> {
        let path = &self.path;
        let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let mut statement =
            self.connection.prepare_cached("SELECT id, genesis FROM groups ORDER BY number").map_err(fail)?;
        let rows = statement
            .query_map([], |row| {
                Ok(GroupRecord { group: GroupId(row.get(0)?), genesis: row.get::<_, Vec<u8>>(1)?.into() })
            })
            .map_err(fail)?;
        rows.collect::<Result<_, _>>().map_err(fail)
    }

    fn count(&mut self, group: &GroupId) -> Result<u64, StoreError> {
        // Positions have no gaps: they are given out in order, and a group's changes are only ever forgotten together.
        Ok(self.group(group)?.next as u64)
    }

    fn load(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Record>, StoreError> {
        let state = self.group(group)?;
        let path = &self.path;
        let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let mut records = Vec::new();
        if from >= state.next as u64 {
            return Ok(records);
        }
        let base = state.number << POSITION_BITS;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, bytes, voucher FROM changes WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
            )
            .map_err(fail)?;
        let most = bounds.changes.max(1) as i64;
        let mut rows = statement.query(params![base | from as i64, base + state.next, most]).map_err(fail)?;
        let mut taken = 0;
        while let Some(row) = rows.next().map_err(fail)? {
            let position = row.get::<_, i64>(0).map_err(fail)? & ((1 << POSITION_BITS) - 1);
            let bytes: Vec<u8> = row.get(1).map_err(fail)?;
            let voucher: Option<Vec<u8>> = row.get(2).map_err(fail)?;
            if position as u64 != from + records.len() as u64 {
                let detail = format!("change number {} is missing", from + records.len() as u64);
                return Err(StoreError::Corrupt { path: path.clone(), detail });
            }
            taken += bytes.len() + voucher.as_ref().map_or(0, Vec::len);
            if taken > bounds.bytes && !records.is_empty() {
                break;
            }
            let known = &self.known_keys;
            let change = Change::decode_with(bytes.into(), |key| known.get(key).copied())
                .map_err(|error| StoreError::record(path, position as u64, &error))?;
            if change.header().document != group.document() {
                let detail = format!("change number {position} belongs to another group");
                return Err(StoreError::Corrupt { path: path.clone(), detail });
            }
            if self.known_keys.len() >= MAX_KNOWN_KEYS {
                self.known_keys.clear();
            }
            self.known_keys.insert(*change.author().as_bytes(), change.author());
            records.push(Record { change, voucher: voucher.map(Bytes::from) });
        }
        if records.is_empty() {
            return Err(StoreError::Corrupt { path: path.clone(), detail: format!("change number {from} is missing") });
        }
        Ok(records)
    }

    fn proofs(&mut self, group: &GroupId) -> Result<Vec<Bytes>, StoreError> {
        let state = self.group(group)?;
        let path = &self.path;
        let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let mut statement =
            self.connection.prepare_cached("SELECT bytes FROM proofs WHERE grp = ?1 ORDER BY number").map_err(fail)?;
        let rows =
            statement.query_map(params![state.number], |row| Ok(row.get::<_, Vec<u8>>(0)?.into())).map_err(fail)?;
        rows.collect::<Result<_, _>>().map_err(fail)
    }

    fn seals(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Bytes>, StoreError> {
        let state = self.group(group)?;
        let path = &self.path;
        let fail = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let mut records: Vec<Bytes> = Vec::new();
        if from >= state.next_seal as u64 {
            return Ok(records);
        }
        let base = state.number << POSITION_BITS;
        let mut statement = self
            .connection
            .prepare_cached("SELECT key, bytes FROM seals WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3")
            .map_err(fail)?;
        let most = bounds.changes.max(1) as i64;
        let mut rows = statement.query(params![base | from as i64, base + state.next_seal, most]).map_err(fail)?;
        let mut taken = 0;
        while let Some(row) = rows.next().map_err(fail)? {
            let position = row.get::<_, i64>(0).map_err(fail)? & ((1 << POSITION_BITS) - 1);
            if position as u64 != from + records.len() as u64 {
                return Err(missing_seal(path, from + records.len() as u64));
            }
            let bytes: Vec<u8> = row.get(1).map_err(fail)?;
            taken += bytes.len();
            if taken > bounds.bytes && !records.is_empty() {
                break;
            }
            records.push(bytes.into());
        }
        if records.is_empty() {
            return Err(missing_seal(path, from));
        }
        Ok(records)
    }

    fn high_water(&mut self, group: &GroupId, author: &AuthorId) -> Result<Option<HighWater>, StoreError> {
        let state = self.group(group)?;
        let path = &self.path;
        self.connection
            .prepare_cached("SELECT seq, id FROM high_water WHERE grp = ?1 AND author = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row(params![state.number, author.as_bytes()], |row| {
                        Ok(HighWater { seq: row.get::<_, i64>(0)? as u64, id: ChangeId(row.get(1)?) })
                    })
                    .optional()
            })
            .map_err(|error| StoreError::sqlite(path, &error))
    }

    fn meta(&mut self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let path = &self.path;
        self.connection
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")
            .and_then(|mut statement| {
                statement.query_row(params![key], |row| Ok(row.get::<_, Vec<u8>>(0)?.into())).optional()
            })
            .map_err(|error| StoreError::sqlite(path, &error))
    }

    fn generation(&mut self) -> Result<u64, StoreError> {
        let path = &self.path;
        self.connection
            .query_row("SELECT generation FROM counter", [], |row| row.get::<_, i64>(0))
            .map(|generation| generation as u64)
            .map_err(|error| StoreError::sqlite(path, &error))
    }
}

fn missing_seal(path: &Path, number: u64) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), detail: format!("record {number} of sealing is missing") }
}

/// Makes sure that the file is there, with mode 0600 if it is made now (SQLite gives the log beside it the same).
fn create_file(path: &Path, create: bool) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(create).mode(0o600);
    options.open(path).map(drop).map_err(|error| StoreError::file(path, &error))
}

/// A new file survives a loss of power only once its folder is on disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| StoreError::file(path, &error))
}
