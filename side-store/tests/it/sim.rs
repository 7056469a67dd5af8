//! Crashes, torn writes and failing disks by the seed: what was acknowledged is there, and nothing is there that was not written.

use proptest::prelude::*;
use side_store::sim::{Faults, SimDisk, SimStore};
use side_store::{Batch, GroupCommit, LoadBounds, Store, StoreError, WriterError, WriterLimits};

use crate::common::{change, genesis, load_all};

fn batch(first: u64, count: u64) -> Batch {
    let group = genesis(1).id();
    let start = if first == 1 { Batch::new().group(&genesis(1)) } else { Batch::new() };
    (first..first + count).fold(start, |batch, seq| batch.change(group, change(group, 1, seq, &seq.to_be_bytes())))
}

fn stored(disk: &SimDisk) -> Vec<u64> {
    let mut store = SimStore::open(disk.clone()).unwrap();
    if store.groups().unwrap().is_empty() {
        return Vec::new();
    }
    let records = load_all(&mut store, &genesis(1).id(), LoadBounds::default());
    records.iter().map(|record| record.change.header().seq).collect()
}

proptest! {
    #[test]
    fn acknowledged_batches_survive_any_crash_and_batches_are_never_torn(
        seed: u64,
        sizes in proptest::collection::vec(1u64..5, 1..8),
        crash_at in 1u64..20,
    ) {
        let disk = SimDisk::new(seed, Faults { crash_at: Some(crash_at), ..Faults::default() });
        let mut store = SimStore::open(disk.clone()).unwrap();
        let (mut acknowledged, mut written, mut ends) = (0, 0, vec![0]);
        for size in &sizes {
            written += size;
            ends.push(written);
            if store.commit(&batch(written - size + 1, *size)).is_err() {
                break;
            }
            acknowledged = written;
        }
        disk.restart(Faults::default());
        let found = stored(&disk);
        let count = found.len() as u64;
        prop_assert_eq!(found, (1..=count).collect::<Vec<_>>());
        prop_assert!(count >= acknowledged && count <= written, "{} of {} to {}", count, acknowledged, written);
        prop_assert!(ends.contains(&count), "a batch was torn at {}", count);
        // And it goes on from there, with a second crash of another kind.
        let mut store = SimStore::open(disk.clone()).unwrap();
        store.commit(&batch(count + 1, 2)).unwrap();
        drop(store);
        disk.crash();
        disk.restart(Faults::default());
        prop_assert_eq!(stored(&disk).len() as u64, count + 2);
    }

    #[test]
    fn through_the_writer_too_an_acknowledgement_holds(seed: u64, crash_at in 1u64..12) {
        let disk = SimDisk::new(seed, Faults { crash_at: Some(crash_at), ..Faults::default() });
        let (writer, thread) = GroupCommit::spawn(SimStore::open(disk.clone()).unwrap(), WriterLimits::default()).unwrap();
        let completions: Vec<_> = (1..=10).map(|seq| writer.append(batch(seq, 1))).collect();
        let fates: Vec<bool> = completions.into_iter().map(|completion| completion.wait().is_ok()).collect();
        let (_, outcome) = thread.close();
        let acknowledged = fates.iter().take_while(|good| **good).count();
        prop_assert!(fates[acknowledged..].iter().all(|good| !good), "written after an error: {:?}", fates);
        prop_assert_eq!(outcome.is_ok(), acknowledged == 10);
        disk.restart(Faults::default());
        prop_assert!(stored(&disk).len() >= acknowledged);
    }
}

#[test]
fn one_failing_operation_stops_the_store_and_loses_nothing_acknowledged() {
    for fail_at in 1..=6 {
        let disk = SimDisk::new(1, Faults { fail_at: Some(fail_at), ..Faults::default() });
        let mut store = SimStore::open(disk.clone()).unwrap();
        let acknowledged = (1..=3).take_while(|seq| store.commit(&batch(*seq, 1)).is_ok()).count();
        assert_eq!(acknowledged as u64, (fail_at - 1) / 2);
        assert!(matches!(store.commit(&batch(9, 1)), Err(StoreError::Io { .. })), "it went on after an error");
        assert_eq!(stored(&disk).len(), acknowledged);
    }
}

#[test]
fn a_full_simulated_disk_keeps_what_it_has() {
    let disk = SimDisk::new(1, Faults { capacity: Some(4_000), ..Faults::default() });
    let (writer, thread) = GroupCommit::spawn(SimStore::open(disk.clone()).unwrap(), WriterLimits::default()).unwrap();
    let mut seq = 0;
    let error = loop {
        seq += 1;
        if let Err(error) = writer.append(batch(seq, 1)).wait() {
            break error;
        }
        assert!(seq < 1_000);
    };
    assert!(
        matches!(&error, WriterError::Failed(cause) if matches!(**cause, StoreError::DiskFull { .. })),
        "{error:?}"
    );
    assert_eq!(thread.close().1, Err(error));
    assert_eq!(stored(&disk).len() as u64, seq - 1);
}

#[test]
fn a_flipped_byte_ends_the_journal_there() {
    let disk = SimDisk::new(1, Faults::default());
    let mut store = SimStore::open(disk.clone()).unwrap();
    store.commit(&batch(1, 1)).unwrap();
    let first = disk.durable_bytes();
    store.commit(&batch(2, 1)).unwrap();
    drop(store);
    disk.flip(first + 20);
    assert_eq!(stored(&disk), [1]);
}
