//! What every store promises, checked alike on all of them.

use bytes::Bytes;
use side_ledger::GroupId;
use side_store::sim::{Faults, SimDisk, SimStore};
use side_store::{Batch, HighWater, LoadBounds, MemoryStore, OpenOptions, SqliteStore, Store, StoreError, Write};

use crate::common::{change, genesis, keypair, load_all};

/// All records of sealing, through pages as small as `bounds`.
fn seals(store: &mut impl Store, group: &GroupId, bounds: LoadBounds) -> Vec<Bytes> {
    let mut records = Vec::new();
    loop {
        let page = store.seals(group, records.len() as u64, bounds).unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

fn check(store: &mut impl Store) {
    let (first, second) = (genesis(1), genesis(2));
    let (a, b) = (first.id(), second.id());
    assert_eq!(store.count(&a), Err(StoreError::UnknownGroup(a)));
    let stray = Batch::new().group(&second).change(a, change(a, 1, 1, b"stray"));
    assert_eq!(store.commit(&stray), Err(StoreError::UnknownGroup(a)));
    assert_eq!(store.groups().unwrap(), [], "a refused batch left something behind");
    let before = store.generation().unwrap();
    store.commit(&Batch::new().group(&first).group(&second).group(&first)).unwrap();
    assert_eq!(store.generation().unwrap(), before + 1);
    let groups: Vec<_> = store.groups().unwrap().into_iter().map(|record| (record.group, record.genesis)).collect();
    assert_eq!(groups, [(a, Bytes::copy_from_slice(first.bytes())), (b, Bytes::copy_from_slice(second.bytes()))]);
    let mut other = Batch::new();
    other.push(Write::Group { group: a, genesis: Bytes::from_static(b"other") });
    assert_eq!(store.commit(&other), Err(StoreError::OtherGenesis(a)));

    // Changes of two groups, interleaved, with vouchers here and there.
    let mut expected = (Vec::new(), Vec::new());
    for seq in 1..=20u64 {
        let mut batch = Batch::new();
        for (group, list) in [(a, &mut expected.0), (b, &mut expected.1)] {
            let change = change(group, (seq % 3 + 1) as u8, seq, &vec![b'x'; seq as usize * 10]);
            let voucher = (seq % 5 == 0).then(|| Bytes::from(vec![seq as u8; 8]));
            batch.push(Write::Change { group, change: change.clone(), voucher: voucher.clone() });
            list.push((change, voucher));
        }
        store.commit(&batch).unwrap();
    }
    for (group, list) in [(a, &expected.0), (b, &expected.1)] {
        assert_eq!(store.count(&group).unwrap(), 20);
        for bounds in [
            LoadBounds::default(),
            LoadBounds { changes: 3, bytes: usize::MAX },
            LoadBounds { changes: usize::MAX >> 1, bytes: 900 },
            LoadBounds { changes: 0, bytes: 0 },
        ] {
            let found: Vec<_> =
                load_all(store, &group, bounds).into_iter().map(|record| (record.change, record.voucher)).collect();
            assert_eq!(found, *list, "{bounds:?}");
        }
        assert_eq!(store.load(&group, 3, LoadBounds { changes: 3, bytes: usize::MAX }).unwrap().len(), 3);
        assert_eq!(store.load(&group, 20, LoadBounds::default()).unwrap(), []);
        assert_eq!(store.load(&group, u64::MAX, LoadBounds::default()).unwrap(), []);
    }

    // A refused batch leaves no gap.
    let half = Batch::new().change(a, change(a, 1, 21, b"")).change(genesis(3).id(), change(a, 1, 22, b""));
    assert!(store.commit(&half).is_err());
    assert_eq!(store.count(&a).unwrap(), 20);

    // A rebuilt replica starts over; the other group keeps its changes.
    let mut rebuilt = Batch::new();
    rebuilt.push(Write::ForgetChanges { group: a });
    store.commit(&rebuilt.change(a, expected.0[3].0.clone())).unwrap();
    assert_eq!(load_all(store, &a, LoadBounds::default()).len(), 1);
    assert_eq!(store.count(&b).unwrap(), 20);

    store.commit(&Batch::new().proof(a, Bytes::from_static(b"p1")).proof(a, Bytes::from_static(b"p2"))).unwrap();
    assert_eq!(store.proofs(&a).unwrap(), [Bytes::from_static(b"p1"), Bytes::from_static(b"p2")]);
    assert_eq!(store.proofs(&b).unwrap(), [] as [Bytes; 0]);

    // What is kept of sealing comes back in pages, group by group, whatever happens to the changes.
    let record = |n: u8| Bytes::from(vec![n; 10 * usize::from(n)]);
    assert_eq!(store.seals(&a, 0, LoadBounds::default()).unwrap(), [] as [Bytes; 0]);
    for n in 1..=9 {
        store.commit(&Batch::new().seal(a, record(n)).seal(b, record(10 - n))).unwrap();
    }
    let mut forget = Batch::new();
    forget.push(Write::ForgetChanges { group: a });
    store.commit(&forget.change(a, expected.0[3].0.clone())).unwrap();
    let half = Batch::new().seal(a, record(99)).seal(genesis(3).id(), record(99));
    assert!(store.commit(&half).is_err(), "a refused batch leaves no gap");
    for bounds in [
        LoadBounds::default(),
        LoadBounds { changes: 2, bytes: usize::MAX },
        LoadBounds { changes: 100, bytes: 95 },
        LoadBounds { changes: 0, bytes: 0 },
    ] {
        assert_eq!(seals(store, &a, bounds), (1..=9).map(record).collect::<Vec<_>>(), "{bounds:?}");
        assert_eq!(seals(store, &b, bounds), (1..=9).rev().map(record).collect::<Vec<_>>(), "{bounds:?}");
    }
    assert_eq!(store.seals(&a, 3, LoadBounds { changes: 2, bytes: usize::MAX }).unwrap(), [record(4), record(5)]);
    for end in [9, 10, u64::MAX] {
        assert_eq!(store.seals(&a, end, LoadBounds::default()).unwrap(), [] as [Bytes; 0]);
    }

    // The high-water mark only rises.
    let own = keypair(1).author();
    assert_eq!(store.high_water(&a, &own).unwrap(), None);
    let (low, high) = (change(a, 1, 4, b""), change(a, 1, 9, b""));
    store.commit(&Batch::new().own(a, &high)).unwrap();
    store.commit(&Batch::new().own(a, &low)).unwrap();
    assert_eq!(store.high_water(&a, &own).unwrap(), Some(HighWater { seq: 9, id: high.id() }));
    assert_eq!(store.high_water(&b, &own).unwrap(), None);

    store.commit(&Batch::new().meta("k", Some(Bytes::from_static(b"1"))).meta("gone", None)).unwrap();
    store.commit(&Batch::new().meta("k", Some(Bytes::from_static(b"2")))).unwrap();
    assert_eq!(store.meta("k").unwrap(), Some(Bytes::from_static(b"2")));
    store.commit(&Batch::new().meta("k", None)).unwrap();
    assert_eq!(store.meta("k").unwrap(), None);
}

#[test]
fn the_store_in_memory_keeps_the_contract() {
    check(&mut MemoryStore::new());
}

#[test]
fn the_simulated_store_keeps_the_contract_and_its_content() {
    let disk = SimDisk::new(1, Faults::default());
    check(&mut SimStore::open(disk.clone()).unwrap());
    let mut again = SimStore::open(disk).unwrap();
    assert_eq!(again.count(&genesis(2).id()).unwrap(), 20);
    assert_eq!(again.high_water(&genesis(1).id(), &keypair(1).author()).unwrap().unwrap().seq, 9);
}

#[test]
fn the_store_on_disk_keeps_the_contract_and_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("side.sqlite");
    let mut store = SqliteStore::open(&path, &OpenOptions::default()).unwrap();
    check(&mut store);
    let generation = store.generation().unwrap();
    store.close().unwrap();
    let mut again = SqliteStore::open(&path, &OpenOptions { create: false, ..OpenOptions::default() }).unwrap();
    assert_eq!(again.generation().unwrap(), generation);
    assert_eq!(load_all(&mut again, &genesis(2).id(), LoadBounds::default()).len(), 20);
    assert_eq!(again.count(&genesis(1).id()).unwrap(), 1);
    let a = genesis(1).id();
    again.commit(&Batch::new().change(a, change(a, 2, 2, b"more"))).unwrap();
    assert_eq!(again.count(&a).unwrap(), 2);
    assert_eq!(seals(&mut again, &a, LoadBounds::default()).len(), 9);
    again.commit(&Batch::new().seal(a, Bytes::from_static(b"more"))).unwrap();
    assert_eq!(seals(&mut again, &a, LoadBounds::default())[9], Bytes::from_static(b"more"));
}

#[test]
fn a_database_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("side.sqlite");
    let mut store = SqliteStore::open(&path, &OpenOptions::default()).unwrap();
    store.commit(&Batch::new().group(&genesis(1))).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.path());
    }
}
