//! A database that was copied, restored or rolled back is told from the latest.

use std::fs;
use std::path::{Path, PathBuf};

use side_store::identity::identify;
use side_store::{Batch, Expect, OpenOptions, RestoreSuspicion, SqliteStore, Store as _};

use crate::common::genesis;

struct Home {
    _folder: tempfile::TempDir,
    node: PathBuf,
    witness: PathBuf,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = folder.path().join("node1");
        fs::create_dir(&node).unwrap();
        Self { witness: folder.path().join("node1.witness"), node, _folder: folder }
    }

    fn database(&self) -> PathBuf {
        self.node.join("side.sqlite")
    }

    /// Opens the store as a node does and gives what it suspects.
    fn open(&self, expect: Expect) -> (SqliteStore, Option<RestoreSuspicion>) {
        let mut store = SqliteStore::open(self.database(), &OpenOptions::default()).unwrap();
        let identified = identify(&mut store, &self.witness, expect, [1; 16]).unwrap();
        (store, identified.suspicion)
    }

    /// Writes a little and ends cleanly.
    fn live(&self, expect: Expect) {
        let (mut store, suspicion) = self.open(expect);
        assert_eq!(suspicion, None);
        store.commit(&Batch::new().group(&genesis(1))).unwrap();
        store.close().unwrap();
    }
}

/// Copies a folder's files over another's, in place: the files stay the files that they are.
fn copy_in_place(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        if !from.join(path.file_name().unwrap()).exists() {
            fs::remove_file(path).unwrap();
        }
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_node_that_only_starts_and_stops_is_never_suspected() {
    let home = Home::new();
    home.live(Expect::New);
    for _ in 0..3 {
        home.live(Expect::Existing);
    }
    // Nor after an end without closing: the log is still there.
    let (mut store, _) = home.open(Expect::Existing);
    store.commit(&Batch::new()).unwrap();
    drop(store);
    home.live(Expect::Existing);
}

#[test]
fn a_copied_or_restored_folder_is_suspected_until_accepted() {
    let home = Home::new();
    home.live(Expect::New);
    let moved = home.node.with_file_name("backup");
    fs::create_dir(&moved).unwrap();
    copy_in_place(&home.node, &moved);
    fs::remove_dir_all(&home.node).unwrap();
    fs::rename(&moved, &home.node).unwrap();
    let (store, suspicion) = home.open(Expect::Existing);
    assert!(matches!(suspicion, Some(RestoreSuspicion::Copied { .. })), "{suspicion:?}");
    store.close().unwrap();
    // Looking does not make it go away.
    let mut store = SqliteStore::open(home.database(), &OpenOptions::default()).unwrap();
    let mut identified = identify(&mut store, &home.witness, Expect::Existing, [2; 16]).unwrap();
    assert!(identified.suspicion.is_some());
    identified.accept(&mut store).unwrap();
    assert_eq!(identified.suspicion, None);
    store.close().unwrap();
    home.live(Expect::Existing);
}

#[test]
fn a_folder_set_back_in_place_is_suspected() {
    let home = Home::new();
    home.live(Expect::New);
    let backup = home.node.with_file_name("backup");
    fs::create_dir(&backup).unwrap();
    copy_in_place(&home.node, &backup);
    home.live(Expect::Existing);
    copy_in_place(&backup, &home.node);
    let (mut store, suspicion) = home.open(Expect::Existing);
    assert!(matches!(suspicion, Some(RestoreSuspicion::RolledBack { .. })), "{suspicion:?}");
    // Catching up under suspicion does not hide it, although the generation passes that of the witness.
    for _ in 0..10 {
        store.commit(&Batch::new()).unwrap();
    }
    store.close().unwrap();
    let (mut store, suspicion) = home.open(Expect::Existing);
    assert!(matches!(suspicion, Some(RestoreSuspicion::Unsettled { .. })), "{suspicion:?}");
    let mut identified = identify(&mut store, &home.witness, Expect::Existing, [3; 16]).unwrap();
    assert!(identified.suspicion.is_some());
    identified.accept(&mut store).unwrap();
    store.close().unwrap();
    home.live(Expect::Existing);
}

#[test]
fn a_lost_or_foreign_witness_is_suspected() {
    let home = Home::new();
    home.live(Expect::New);
    fs::remove_file(&home.witness).unwrap();
    let (store, suspicion) = home.open(Expect::Existing);
    assert!(matches!(suspicion, Some(RestoreSuspicion::WitnessMissing { .. })), "{suspicion:?}");
    store.close().unwrap();
    fs::write(&home.witness, b"garbage that is no witness record at all").unwrap();
    assert!(matches!(home.open(Expect::Existing).1, Some(RestoreSuspicion::WitnessMissing { .. })));

    let other = Home::new();
    let mut store = SqliteStore::open(other.database(), &OpenOptions::default()).unwrap();
    identify(&mut store, &other.witness, Expect::New, [9; 16]).unwrap();
    store.close().unwrap();
    fs::copy(&other.witness, &home.witness).unwrap();
    assert!(matches!(home.open(Expect::Existing).1, Some(RestoreSuspicion::WitnessForeign { .. })));
}

#[test]
fn a_torn_record_leaves_the_other_one_of_the_witness() {
    let home = Home::new();
    home.live(Expect::New);
    let mut torn = fs::read(&home.witness).unwrap();
    let newest = if torn[23] > torn[55] { 0 } else { 32 };
    torn[newest + 31] ^= 1;
    fs::write(&home.witness, torn).unwrap();
    assert_eq!(home.open(Expect::Existing).1, None);
}

#[test]
fn a_database_that_vanished_is_not_taken_for_a_new_node() {
    let home = Home::new();
    home.live(Expect::New);
    fs::remove_file(home.database()).unwrap();
    assert_eq!(home.open(Expect::Existing).1, Some(RestoreSuspicion::Lost));
    // Even for whoever thinks that the node is new, the witness knows better.
    assert_eq!(home.open(Expect::New).1, Some(RestoreSuspicion::Lost));
    assert!(home.open(Expect::Existing).1.is_some());
}
