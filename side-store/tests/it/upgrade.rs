//! Databases of earlier schemas, opened by this build; and copies, which are databases that may be old.
//!
//! `golden/schema-N.sql` is what a build of schema N writes: two groups with changes, vouchers, a proof and marks. Such a file never changes. The one of the present
//! schema is there already, for the day when there is a later one.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::Connection;
use side_store::identity::{Expect, RestoreSuspicion, identify};
use side_store::sqlite::SCHEMA_VERSION;
use side_store::{Batch, HighWater, LoadBounds, OpenOptions, SqliteStore, Store, StoreError, Write};

use crate::common::{change, genesis, keypair, load_all};

/// The database of a schema as SQL.
fn golden(version: i64) -> String {
    fs::read_to_string(format!("{}/tests/golden/schema-{version}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn existing() -> OpenOptions {
    OpenOptions { create: false, check: true, ..OpenOptions::default() }
}

/// Changes of both groups, with vouchers here and there, and what else a database has.
fn batches() -> Vec<Batch> {
    let (first, second) = (genesis(1), genesis(2));
    let mut batches = vec![Batch::new().group(&first).group(&second)];
    for seq in 1..=6u64 {
        let mut batch = Batch::new();
        for group in [first.id(), second.id()] {
            let change = change(group, (seq % 3 + 1) as u8, seq, &vec![b'x'; seq as usize]);
            let voucher = (seq % 4 == 0).then(|| Bytes::from(vec![seq as u8; 8]));
            batch.push(Write::Change { group, change: change.clone(), voucher });
            let mark = HighWater { seq, id: change.id() };
            batch.push(Write::HighWater { group, author: change.author(), mark });
        }
        batches.push(batch);
    }
    let end = Batch::new().proof(second.id(), Bytes::from_static(b"proof"));
    batches.push(end.meta("identity", Some(Bytes::from(vec![9; 32]))));
    batches
}

fn fill(store: &mut SqliteStore) {
    commit(store, &batches());
}

fn commit(store: &mut SqliteStore, batches: &[Batch]) {
    for batch in batches {
        store.commit(batch).unwrap();
    }
}

/// Everything that can be read from a store.
fn contents(store: &mut SqliteStore) -> Vec<String> {
    let mut out = vec![format!("{:?}", store.groups().unwrap()), format!("{:?}", store.meta("identity").unwrap())];
    for group in [genesis(1).id(), genesis(2).id()] {
        out.extend(load_all(store, &group, LoadBounds::default()).iter().map(|record| format!("{record:?}")));
        out.push(format!("{:?}", store.proofs(&group).unwrap()));
        for author in 1..=3 {
            out.push(format!("{:?}", store.high_water(&group, &keypair(author).author()).unwrap()));
        }
    }
    out
}

/// A database as the SQL says, of the schema that it names.
fn made_of(sql: &str, folder: &Path) -> PathBuf {
    let path = folder.join("side.sqlite");
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    path
}

#[test]
fn a_database_of_an_earlier_schema_is_brought_up_to_date_with_everything_in_it() {
    (1..=SCHEMA_VERSION).for_each(brought_up_to_date);
}

fn brought_up_to_date(version: i64) {
    let folder = tempfile::tempdir().unwrap();
    let path = made_of(&golden(version), folder.path());
    let mut fresh = SqliteStore::open(folder.path().join("fresh.sqlite"), &OpenOptions::default()).unwrap();
    fill(&mut fresh);

    let mut store = SqliteStore::open(&path, &existing()).unwrap();
    assert_eq!(contents(&mut store), contents(&mut fresh));
    assert_eq!(store.generation().unwrap(), fresh.generation().unwrap());
    let group = genesis(1).id();
    assert_eq!(store.seals(&group, 0, LoadBounds::default()).unwrap(), [] as [Bytes; 0]);

    // It works on as any other does.
    let more = change(group, 1, 7, b"more");
    let batch = Batch::new().change(group, more.clone());
    store.commit(&batch.seal(group, Bytes::from_static(b"block"))).unwrap();
    store.close().unwrap();
    let mut store = SqliteStore::open(&path, &existing()).unwrap();
    assert_eq!(store.seals(&group, 0, LoadBounds::default()).unwrap(), [Bytes::from_static(b"block")]);
    assert_eq!(load_all(&mut store, &group, LoadBounds::default()).last().unwrap().change, more);
    store.close().unwrap();

    // Both have the same tables in the end, the upgraded and the new one.
    fresh.close().unwrap();
    let tables = |path: &Path| {
        let db = Connection::open(path).unwrap();
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, SCHEMA_VERSION);
        let mut statement = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let squeeze = |tables: Vec<String>| -> Vec<String> {
        tables.iter().map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(squeeze(tables(&path)), squeeze(tables(&folder.path().join("fresh.sqlite"))));
}

#[test]
fn a_database_of_a_later_schema_is_refused_untouched_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let later = SCHEMA_VERSION + 1;
    let sql = golden(1);
    let path = made_of(&format!("{sql}\nPRAGMA user_version = {later};"), folder.path());
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path, &existing()).unwrap_err();
    assert_eq!(error, StoreError::Newer { path: path.clone(), found: later, known: SCHEMA_VERSION });
    assert!(error.to_string().contains("update this one, nothing was changed"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_copy_holds_everything_and_is_suspected() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("side.sqlite"), folder.path().join("copy.sqlite"));
    let witness = folder.path().join("witness");
    let mut store = SqliteStore::open(&path, &OpenOptions::default()).unwrap();
    assert!(identify(&mut store, &witness, Expect::New, [1; 16]).unwrap().suspicion.is_none());
    commit(&mut store, &batches()[..6]);
    store.copy_to(&copy, "it comes from a backup").unwrap();
    assert!(store.copy_to(&copy, "again").is_err(), "a copy was overwritten");
    store.commit(&Batch::new().change(genesis(1).id(), change(genesis(1).id(), 1, 9, b"after"))).unwrap();
    assert_eq!(store.count(&genesis(1).id()).unwrap(), 6);

    let mut copied = SqliteStore::open(&copy, &existing()).unwrap();
    assert_eq!(copied.count(&genesis(1).id()).unwrap(), 5);
    assert_eq!(copied.meta("identity-suspected").unwrap(), Some(Bytes::from_static(b"it comes from a backup")));
    // Beside the witness of the original, beside none, and beside one that agrees with it.
    assert!(identify(&mut copied, &witness, Expect::Existing, [2; 16]).unwrap().suspicion.is_some());
    let away = folder.path().join("elsewhere");
    let suspicion = identify(&mut copied, &away, Expect::Existing, [2; 16]).unwrap().suspicion;
    assert!(matches!(suspicion, Some(RestoreSuspicion::WitnessMissing { .. })), "{suspicion:?}");
    let mut accepted = identify(&mut copied, &away, Expect::Existing, [2; 16]).unwrap();
    accepted.accept(&mut copied).unwrap();
    assert!(identify(&mut copied, &away, Expect::Existing, [2; 16]).unwrap().suspicion.is_none());
}

/// Writes down the present schema, once, when it is new.
#[test]
#[ignore = "writes the present schema's database into the tree"]
fn write_the_present_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("side.sqlite");
    let mut store = SqliteStore::open(&path, &OpenOptions::default()).unwrap();
    fill(&mut store);
    store.close().unwrap();
    let db = Connection::open(&path).unwrap();
    let mut out = String::new();
    let names = |sql: &str| -> Vec<(String, String)> {
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    for (table, sql) in names("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name") {
        out.push_str(&format!("{sql};\n"));
        if !sql.starts_with("CREATE TABLE") {
            continue;
        }
        let columns = names(&format!("SELECT name, name FROM pragma_table_info('{table}')"));
        let quoted: Vec<String> = columns.iter().map(|(column, _)| format!("quote({column})")).collect();
        let row = quoted.join(" || ', ' || ");
        for (values, _) in names(&format!("SELECT {row}, '' FROM {table}")) {
            out.push_str(&format!("INSERT INTO {table} VALUES ({values});\n"));
        }
    }
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let version = pragma("user_version");
    out.push_str(&format!("PRAGMA application_id = {};\nPRAGMA user_version = {version};\n", pragma("application_id")));
    fs::write(format!("{}/tests/golden/schema-{version}.sql", env!("CARGO_MANIFEST_DIR")), out).unwrap();
}
