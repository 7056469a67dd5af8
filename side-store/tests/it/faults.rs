//! Broken disks and folders: each is refused with an error that says what to do, and nothing stored is lost.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use side_store::{Batch, LoadBounds, OpenOptions, SqliteStore, Store as _, StoreError};

use crate::common::{change, genesis, load_all};

fn existing() -> OpenOptions {
    OpenOptions { create: false, ..OpenOptions::default() }
}

/// A folder with a database of `count` changes, closed.
fn database(count: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("side.sqlite");
    let mut store = SqliteStore::open(&path, &OpenOptions::default()).unwrap();
    let group = genesis(1).id();
    let mut batch = Batch::new().group(&genesis(1));
    for seq in 1..=count {
        batch = batch.change(group, change(group, 1, seq, format!("the operations of change {seq}").as_bytes()));
    }
    store.commit(&batch).unwrap();
    store.close().unwrap();
    (folder, path)
}

#[test]
fn a_full_disk_stops_the_writing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("side.sqlite");
    let options = OpenOptions { max_bytes: Some(256 << 10), ..OpenOptions::default() };
    let mut store = SqliteStore::open(&path, &options).unwrap();
    let group = genesis(1).id();
    store.commit(&Batch::new().group(&genesis(1))).unwrap();
    let mut stored = 0;
    let error = loop {
        let batch =
            (0..10).fold(Batch::new(), |batch, n| batch.change(group, change(group, 1, stored + n + 1, &[0; 500])));
        match store.commit(&batch) {
            Ok(_) => stored += 10,
            Err(error) => break error,
        }
        assert!(stored < 10_000, "the quota does not hold");
    };
    assert_eq!(error, StoreError::DiskFull { path: path.clone() });
    assert!(error.to_string().contains("Free some space"));
    assert!(stored > 100);
    assert_eq!(store.count(&group).unwrap(), stored);
    drop(store);
    // With room again, it goes on where it stopped.
    let mut again = SqliteStore::open(&path, &existing()).unwrap();
    assert_eq!(load_all(&mut again, &group, LoadBounds::default()).len() as u64, stored);
    again.commit(&Batch::new().change(group, change(group, 1, stored + 1, b"x"))).unwrap();
    assert_eq!(again.count(&group).unwrap(), stored + 1);
}

#[test]
fn a_corrupt_database_is_refused_at_the_start() {
    let (_folder, path) = database(2_000);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 512].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error = SqliteStore::open(&path, &existing()).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { path: found, .. } if *found == path), "{error:?}");
    assert!(error.to_string().contains("comes back from the other members"));
}

#[test]
fn a_changed_byte_in_a_change_is_noticed_when_it_is_loaded() {
    let (_folder, path) = database(50);
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"the operations of change 33";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut store = SqliteStore::open(&path, &existing()).unwrap();
    let error = store.load(&genesis(1).id(), 0, LoadBounds::default()).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { detail, .. } if detail.contains("number 32")), "{error:?}");
}

#[test]
fn a_truncated_database_is_refused() {
    let (_folder, path) = database(500);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2 / 4096 * 4096).unwrap();
    let error = SqliteStore::open(&path, &existing()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn what_is_no_database_of_side_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "these are my notes, not a database; ".repeat(50)).unwrap();
    let before = fs::read(&text).unwrap();
    let error = SqliteStore::open(&text, &OpenOptions::default()).unwrap_err();
    assert_eq!(error, StoreError::Foreign { path: text.clone() });
    assert_eq!(fs::read(&text).unwrap(), before);

    let other = folder.path().join("other.sqlite");
    let db = rusqlite::Connection::open(&other).unwrap();
    db.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(db);
    assert_eq!(SqliteStore::open(&other, &OpenOptions::default()).unwrap_err(), StoreError::Foreign { path: other });
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (_folder, path) = database(1);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = SqliteStore::open(&path, &existing()).unwrap_err();
    assert_eq!(error, StoreError::Newer { path: path.clone(), found: 99, known: side_store::sqlite::SCHEMA_VERSION });
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", side_store::sqlite::SCHEMA_VERSION).unwrap();
    drop(db);
    assert_eq!(SqliteStore::open(&path, &existing()).unwrap().count(&genesis(1).id()).unwrap(), 1);
}

#[test]
fn a_second_owner_is_told_that_the_first_one_has_it() {
    let (_folder, path) = database(1);
    let first = SqliteStore::open(&path, &existing()).unwrap();
    assert_eq!(SqliteStore::open(&path, &existing()).unwrap_err(), StoreError::Locked { path: path.clone() });
    first.close().unwrap();
    SqliteStore::open(&path, &existing()).unwrap();
}

#[test]
fn a_missing_database_or_folder_is_not_made_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("side.sqlite");
    assert_eq!(SqliteStore::open(&path, &existing()).unwrap_err(), StoreError::Missing { path: path.clone() });
    assert!(!path.exists());
    // An empty file, as a crash between making and filling it leaves: no database yet.
    fs::write(&path, b"").unwrap();
    assert_eq!(SqliteStore::open(&path, &existing()).unwrap_err(), StoreError::Missing { path: path.clone() });
    SqliteStore::open(&path, &OpenOptions::default()).unwrap();
    let deeper = folder.path().join("none/side.sqlite");
    assert_eq!(SqliteStore::open(&deeper, &OpenOptions::default()).unwrap_err(), StoreError::Missing { path: deeper });
}

const PATH: &str = "SIDE_STORE_FAULT_PATH";

/// Opens a database as a user for whom permissions count (root reads and writes everything) and prints the error.
#[test]
#[ignore = "the child process of the tests of permissions"]
fn open_and_tell() {
    let Some(path) = std::env::var_os(PATH) else { return };
    match SqliteStore::open(Path::new(&path), &OpenOptions::default()) {
        Ok(mut store) => println!("\nfound {:?}", store.commit(&Batch::new())),
        Err(error) => println!("\nfound {error:?}"),
    }
}

/// What an ordinary user gets who opens `path`; `folder` is made over to that user first where the tests run as root.
fn as_ordinary_user(folder: &Path, path: &Path) -> String {
    let nobody = 65_534;
    let place = tempfile::tempdir().unwrap();
    let root = fs::metadata(place.path()).unwrap().uid() == 0;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command.args(["--exact", "faults::open_and_tell", "--ignored", "--nocapture"]).env(PATH, path);
    command.current_dir(place.path());
    if root {
        std::os::unix::fs::chown(folder, Some(nobody), Some(nobody)).unwrap();
        for entry in fs::read_dir(folder).unwrap() {
            std::os::unix::fs::chown(entry.unwrap().path(), Some(nobody), Some(nobody)).unwrap();
        }
        command.uid(nobody).gid(nobody);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| line.strip_prefix("found "));
    found.unwrap_or_else(|| panic!("no answer: {text}{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

#[test]
fn a_read_only_folder_or_file_is_named() {
    let (folder, path) = database(3);
    assert!(as_ordinary_user(folder.path(), &path).starts_with("Ok"), "the test itself has no access");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let found = as_ordinary_user(folder.path(), &path);
    assert!(found.starts_with("ReadOnly"), "read-only folder: {found}");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let found = as_ordinary_user(folder.path(), &path);
    assert!(found.starts_with("Permission"), "read-only file: {found}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(as_ordinary_user(folder.path(), &path).starts_with("Ok"));
}

#[test]
fn a_folder_without_access_is_named() {
    let (folder, path) = database(3);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let found = as_ordinary_user(folder.path(), &path);
    assert!(found.starts_with("Permission"), "{found}");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}
