//! Room that is set aside for the write-ahead log is used again and again, and is no part of what the log says.

use std::path::Path;
use std::process::Command;

use side_store::log::RESERVED_BYTES;
use side_store::{Batch, LoadBounds, OpenOptions, SqliteStore, Store as _};

use crate::common::{change, genesis, load_all};

/// What would be found after a crash now. Another process copies: this one would lose its hold on the file.
fn after_a_crash(database: &Path) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let name = database.file_name().unwrap().to_str().unwrap();
    let files = ["", "-wal"].map(|end| database.with_file_name(format!("{name}{end}")));
    assert!(Command::new("cp").args(files).arg(folder.path()).status().unwrap().success());
    let mut store = SqliteStore::open(folder.path().join(name), &OpenOptions::default()).unwrap();
    load_all(&mut store, &genesis(1).id(), LoadBounds::default()).len()
}

#[test]
fn commits_stay_in_the_room_that_was_set_aside_and_a_crash_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("side.sqlite");
    let log = || std::fs::metadata(folder.path().join("side.sqlite-wal")).unwrap().len();
    let mut store = SqliteStore::open(&database, &OpenOptions::default()).unwrap();
    store.reserve_log().unwrap();
    assert_eq!(log(), RESERVED_BYTES);
    let group = genesis(1).id();
    store.commit(&Batch::new().group(&genesis(1))).unwrap();
    assert_eq!(after_a_crash(&database), 0);
    // Some pages each: enough for two rounds of the log.
    for seq in 1..=1_500 {
        let change = change(group, 1, seq, &[seq as u8; 200]);
        store.commit(&Batch::new().own(group, &change).change(group, change)).unwrap();
        assert_eq!(log(), RESERVED_BYTES, "after {seq} commits");
        if seq % 250 == 3 {
            assert_eq!(after_a_crash(&database), seq as usize);
        }
    }
    store.close().unwrap();
    assert!(!folder.path().join("side.sqlite-wal").exists(), "a database that was closed is one file");
}
