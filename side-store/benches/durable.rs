//! Durable changes a second at several batch sizes, beside a bare file that is flushed as often with the same bytes; and the time to load a history.
//!
//! Run with `cargo bench -p side-store`. The folder is a temporary one: set TMPDIR to measure another disk.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bft_json_crdt::change::{Change, ChangeId, Header, VERSION};
use bft_json_crdt::identity::Keypair;
use side_ledger::{Admission, Genesis, GroupSpec, Limits, Name, Sealing};
use side_store::{Batch, GroupCommit, LoadBounds, OpenOptions, SqliteStore, Store as _, WriterLimits};

const BATCH_SIZES: [usize; 3] = [1, 32, 1024];
const HISTORY: usize = 100_000;
/// How long each figure is measured.
const PERIOD: Duration = Duration::from_secs(2);

fn main() {
    let genesis = Genesis::new(GroupSpec {
        name: Name::new("bench").expect("a good name"),
        created_ms: 1,
        nonce: [0; 32],
        founders: vec![Keypair::from_seed(&[1; 32]).author()],
        admission: Admission::Open,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: Limits::default(),
    })
    .expect("a good genesis");
    let group = genesis.id();
    let keypairs: Vec<Keypair> = (1..=4).map(|seed| Keypair::from_seed(&[seed; 32])).collect();
    let changes: Vec<Change> = (0..HISTORY)
        .map(|n| {
            let header = Header {
                version: VERSION,
                document: group.document(),
                author: keypairs[n % 4].author(),
                seq: 2 + n as u64 / 4,
                previous: Some(ChangeId([7; 32])),
                deps: vec![ChangeId([255; 32])],
                time_ms: 1_700_000_000_000 + n as u64,
                ops_hash: [0; 32],
            };
            Change::sign(&keypairs[n % 4], header, &[n as u8; 64])
        })
        .collect();
    println!("one change: {} bytes", changes[0].bytes().len());

    println!("{:>7} {:>16} {:>16} {:>16}", "batch", "store changes/s", "bare changes/s", "store / bare");
    for size in BATCH_SIZES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut store = SqliteStore::open(folder.path().join("side.sqlite"), &OpenOptions::default()).expect("opens");
        store.commit(&Batch::new().group(&genesis)).expect("commits");
        let ours = rate(&changes, size, |chunk| {
            let batch = chunk.iter().fold(Batch::new(), |batch, change| batch.change(group, change.clone()));
            store.commit(&batch).expect("commits");
        });
        let mut file = File::create(folder.path().join("bare")).expect("creates");
        let bare = rate(&changes, size, |chunk| {
            let bytes: Vec<u8> = chunk.iter().flat_map(|change| change.bytes().to_vec()).collect();
            file.write_all(&bytes).and_then(|()| file.sync_data()).expect("flushes");
        });
        println!("{size:>7} {ours:>16.0} {bare:>16.0} {:>16.2}", ours / bare);
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("side.sqlite");
    let mut store = SqliteStore::open(&path, &OpenOptions::default()).expect("opens");
    store.commit(&Batch::new().group(&genesis)).expect("commits");
    let (writer, thread) = GroupCommit::spawn(store, WriterLimits::default()).expect("starts");
    let start = Instant::now();
    let last = changes.iter().map(|change| writer.append(Batch::new().change(group, change.clone()))).last();
    last.expect("there are changes").wait().expect("commits");
    let elapsed = start.elapsed();
    println!("group commit: {HISTORY} batches of one in {elapsed:.2?} with {} commits", writer.stats().commits);
    thread.close().0.expect("the thread ends well").close().expect("closes");

    let start = Instant::now();
    let mut store = SqliteStore::open(&path, &OpenOptions::default()).expect("opens");
    println!("open with check: {:.2?}", start.elapsed());
    let start = Instant::now();
    let mut loaded = 0;
    loop {
        let page = store.load(&group, loaded, LoadBounds::default()).expect("loads");
        if page.is_empty() {
            break;
        }
        loaded += page.len() as u64;
    }
    println!("load {loaded} changes, decoded and hashed: {:.2?}", start.elapsed());
}

/// Changes a second of `commit`, called with `size` of them at a time.
fn rate(changes: &[Change], size: usize, mut commit: impl FnMut(&[Change])) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    for chunk in changes.chunks_exact(size).cycle() {
        commit(chunk);
        done += chunk.len();
        if start.elapsed() >= PERIOD {
            break;
        }
    }
    done as f64 / start.elapsed().as_secs_f64()
}
