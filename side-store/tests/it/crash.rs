//! A process that is killed at any instant loses nothing that it has acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use side_store::{Batch, GroupCommit, LoadBounds, OpenOptions, SqliteStore, Store as _, WriterLimits};

use crate::common::{change, genesis, keypair, load_all};

const FOLDER: &str = "SIDE_STORE_CRASH_FOLDER";
const ROUNDS: u64 = 20;
const THREADS: u8 = 3;

/// The process that is killed: writes changes of three authors and tells each one's number once it is on disk. Run by the test below.
#[test]
#[ignore = "the child process of nothing_acknowledged_is_missing_after_kill_9"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut store =
        SqliteStore::open(std::path::Path::new(&folder).join("side.sqlite"), &OpenOptions::default()).unwrap();
    store.reserve_log().unwrap();
    let group = genesis(1);
    store.commit(&Batch::new().group(&group)).unwrap();
    let stored = load_all(&mut store, &group.id(), LoadBounds::default());
    let (writer, _thread) = GroupCommit::spawn(store, WriterLimits { batches: 64, bytes: 1 << 20 }).unwrap();
    let threads: Vec<_> = (1..=THREADS)
        .map(|author| {
            let writer = writer.clone();
            let key = keypair(author).author();
            let mut seq = stored.iter().filter(|record| record.change.author() == key).count() as u64;
            std::thread::spawn(move || {
                loop {
                    seq += 1;
                    let change = change(genesis(1).id(), author, seq, &seq.to_be_bytes());
                    let batch = Batch::new().own(genesis(1).id(), &change).change(genesis(1).id(), change);
                    writer.append(batch).wait().unwrap();
                    let mut out = std::io::stdout().lock();
                    if writeln!(out, "\nack {author} {seq}").and_then(|()| out.flush()).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn nothing_acknowledged_is_missing_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u8, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // Kill after a number of acknowledgements that differs from round to round; the first kills come before the first one.
        let kill_after = (round * round * 7919) % 160;
        let mut told = 0;
        let mut killed = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(ack) = line.strip_prefix("ack ") {
                // The kill may cut the last line short.
                let Some((author, seq)) = ack.split_once(' ') else { continue };
                let (Ok(author), Ok(seq)) = (author.parse::<u8>(), seq.parse::<u64>()) else { continue };
                let last = acknowledged.entry(author).or_default();
                *last = seq.max(*last);
                told += 1;
            }
            if !killed && told >= kill_after {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the child ended by itself");

        let mut store = SqliteStore::open(folder.path().join("side.sqlite"), &OpenOptions::default()).unwrap();
        store.commit(&Batch::new().group(&genesis(1))).unwrap();
        let stored = load_all(&mut store, &genesis(1).id(), LoadBounds::default());
        for (author, acknowledged) in &acknowledged {
            let key = keypair(*author).author();
            let seqs: Vec<u64> = stored
                .iter()
                .filter(|record| record.change.author() == key)
                .map(|record| record.change.header().seq)
                .collect();
            assert_eq!(
                seqs,
                (1..=seqs.len() as u64).collect::<Vec<_>>(),
                "round {round}: a change is missing in the middle"
            );
            assert!(
                seqs.len() as u64 >= *acknowledged,
                "round {round}: {acknowledged} acknowledged, {} stored",
                seqs.len()
            );
            let mark = store.high_water(&genesis(1).id(), &key).unwrap().map_or(0, |mark| mark.seq);
            assert_eq!(mark, seqs.len() as u64, "round {round}: a batch was torn");
        }
    }
    assert!(acknowledged.values().sum::<u64>() > 100, "the test wrote next to nothing: {acknowledged:?}");
}
