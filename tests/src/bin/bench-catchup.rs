//! How fast a replica catches up, beside what no replica can avoid: checking every signature and hashing every byte.
//!
//! Each measured receiver is a process of its own (this program again, with a role), so that its CPU time and memory are its own. It reads
//! sync frames from its standard input into memory, and then the clock starts.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio, exit};

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::hash::{CHANGE_SIGNATURE_DOMAIN, hash};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Limits, Replica};
use bft_json_crdt::sync::{Action, Message, SessionLimits, SyncSession};
use bft_json_crdt::value::Value;
use bft_json_crdt::verify::{Claim, verify_changes};
use bytes::Bytes;
use serde_json::json;
use side_ledger::{Admission, Genesis, GroupId, GroupSpec, Name, Sealing};
use side_store::{Batch, GroupCommit, OpenOptions, SqliteStore, WriterLimits};
use side_tests::measure::{Stopwatch, head, median, memory, row};

/// Changes of the full history.
const HISTORY: usize = 100_000;
/// Members that wrote it.
const AUTHORS: u8 = 4;
/// Missing changes in the small catch-up.
const MISSING: usize = 100;
/// Each process row is measured this often; the median counts.
const RUNS: usize = 3;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("receive") => receive(),
        Some("bare") => bare(),
        Some("apply") => apply(),
        _ => parent(),
    }
}

/// A history of notes by four members who see each other's.
fn history(document: DocumentId, changes: usize) -> Replica {
    let keypairs: Vec<_> = (1..=AUTHORS).map(|n| Keypair::from_seed(&[n; 32])).collect();
    let mut replica = Replica::new(document, Limits::default());
    for i in 0..changes {
        write(&mut replica, &keypairs[i % keypairs.len()], i);
    }
    replica
}

fn write(replica: &mut Replica, keypair: &Keypair, i: usize) {
    replica.set_writer(Some(keypair.author()));
    let text = Value::String(format!("note {i} with some words in it, as people write them"));
    let written = replica.transact(keypair, 1_700_000_000_000 + i as u64, |tx| {
        let list = tx.child(ContainerIdx::ROOT, "transactions", Kind::List)?;
        tx.insert_in_order(list, NewElement::Value(text))
    });
    written.expect("a small note").1.expect("a small note");
}

fn genesis() -> Genesis {
    let spec = GroupSpec {
        name: Name::new("bench").expect("a good name"),
        created_ms: 0,
        nonce: [0; 32],
        founders: vec![Keypair::from_seed(&[1; 32]).author()],
        admission: Admission::Open,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: side_ledger::Limits::default(),
    };
    Genesis::new(spec).expect("a good genesis")
}

/// Runs a whole sync between two replicas in memory; answers the frames that went to the receiver and the bytes of both directions.
fn sync(sender: &Replica, receiver: &mut Replica) -> (Vec<Bytes>, usize) {
    let mut sessions =
        [SyncSession::new(sender, SessionLimits::default()), SyncSession::new(receiver, SessionLimits::default())];
    let (mut frames, mut bytes) = (Vec::new(), 0);
    loop {
        let mut moved = false;
        while let Some(message) = sessions[0].poll_send(sender) {
            let frame = Bytes::from(message.encode());
            bytes += frame.len();
            moved = true;
            frames.push(frame.clone());
            let message = Message::decode(&frame).expect("our own bytes");
            for action in sessions[1].receive(receiver, message).expect("an honest peer") {
                if let Action::Apply(batch) = action {
                    receiver.apply_batch(batch);
                    sessions[1].handled();
                }
            }
        }
        while let Some(message) = sessions[1].poll_send(receiver) {
            let frame = Bytes::from(message.encode());
            bytes += frame.len();
            moved = true;
            sessions[0].receive(sender, Message::decode(&frame).expect("our own bytes")).expect("an honest peer");
        }
        if !moved {
            return (frames, bytes);
        }
    }
}

fn read_frames() -> Vec<Bytes> {
    let mut input = Vec::new();
    std::io::stdin().lock().read_to_end(&mut input).expect("the parent's frames");
    let input = Bytes::from(input);
    let mut frames = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let len = u32::from_be_bytes(input[at..at + 4].try_into().expect("four bytes")) as usize;
        // Copied, so that each frame lives and dies alone, as it would coming off a socket.
        frames.push(Bytes::copy_from_slice(&input[at + 4..at + 4 + len]));
        at += 4 + len;
    }
    frames
}

fn changes_of(frame: &Bytes) -> Vec<Incoming> {
    match Message::decode(frame).expect("the parent's frame") {
        Message::Changes(packets) => packets
            .into_iter()
            .map(|packet| Incoming::from(Change::decode(packet.change).expect("the parent's change")))
            .collect(),
        _ => Vec::new(),
    }
}

/// Role: an empty node catches up, every signature checked, everything durable.
fn receive() {
    let frames = read_frames();
    let genesis = genesis();
    let group: GroupId = genesis.id();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(folder.path().join("side.sqlite"), &OpenOptions::default()).expect("a new store");
    let (writer, thread) = GroupCommit::spawn(store, WriterLimits::default()).expect("a thread");
    writer.append(Batch::new().group(&genesis)).wait().expect("durable");
    let base = memory("VmRSS");
    let watch = Stopwatch::start();
    let mut replica = Replica::new(group.document(), Limits::default());
    let mut session = SyncSession::new(&replica, SessionLimits::default());
    let mut last = None;
    for frame in frames {
        let message = Message::decode(&frame).expect("the parent's frame");
        for action in session.receive(&replica, message).expect("an honest peer") {
            let Action::Apply(batch) = action else { continue };
            let outcome = replica.apply_batch(batch);
            let mut batch = Batch::new();
            for index in outcome.applied {
                batch = batch.change(group, replica.change(index));
            }
            last = Some(writer.append(batch));
            session.handled();
        }
    }
    last.expect("something to store").wait().expect("durable");
    let lap = watch.lap();
    let peak = memory("VmHWM");
    drop(writer);
    thread.close().1.expect("a clean end");
    println!(
        "{}",
        json!({ "wall": lap.wall.as_secs_f64(), "cpu": lap.cpu.as_secs_f64(), "extra": peak.saturating_sub(base), "changes": replica.len() })
    );
}

/// Role: the same catch-up without disk, to see where the time goes.
fn apply() {
    let batches: Vec<_> = read_frames().iter().map(changes_of).collect();
    let mut replica = Replica::new(DocumentId(*genesis().id().as_bytes()), Limits::default());
    let mut laps = Vec::new();
    let watch = Stopwatch::start();
    for batch in batches {
        replica.apply_batch(batch);
        laps.push((replica.len(), watch.lap().cpu.as_secs_f64()));
    }
    println!(
        "{}",
        json!({ "cpu": watch.lap().cpu.as_secs_f64(), "wall": watch.lap().wall.as_secs_f64(), "changes": replica.len() })
    );
}

/// Role: nothing but the signatures and the hashes of the same bytes, on one thread.
fn bare() {
    let batches: Vec<Vec<Change>> =
        read_frames().iter().map(|frame| changes_of(frame).into_iter().map(|i| i.change).collect()).collect();
    let watch = Stopwatch::start();
    let mut changes = 0;
    for batch in &batches {
        let ids: Vec<_> = batch.iter().map(Change::id).collect();
        let claims: Vec<_> = batch
            .iter()
            .zip(&ids)
            .map(|(change, id)| Claim {
                author: change.author(),
                message: id.as_bytes(),
                signature: change.signature(),
            })
            .collect();
        for change in batch {
            std::hint::black_box(hash(CHANGE_SIGNATURE_DOMAIN, change.bytes()));
        }
        assert!(verify_changes(&claims).into_iter().all(|good| good));
        changes += batch.len();
    }
    let lap = watch.lap();
    println!("{}", json!({ "wall": lap.wall.as_secs_f64(), "cpu": lap.cpu.as_secs_f64(), "changes": changes }));
}

fn child(role: &str, frames: &[Bytes]) -> serde_json::Value {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg(role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs");
    let mut input = child.stdin.take().expect("piped");
    for frame in frames {
        input.write_all(&(frame.len() as u32).to_be_bytes()).expect("the child reads");
        input.write_all(frame).expect("the child reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("the child ends");
    assert!(output.status.success(), "{role} failed");
    serde_json::from_slice(&output.stdout).expect("one JSON line")
}

fn field(value: &serde_json::Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(f64::NAN)
}

fn parent() {
    let document = DocumentId(*genesis().id().as_bytes());
    eprintln!("writing {HISTORY} changes of {AUTHORS} members …");
    let sender = history(document, HISTORY);
    let (frames, full_bytes) = sync(&sender, &mut Replica::new(document, Limits::default()));
    let data: usize = frames.iter().map(Bytes::len).sum();
    let mut missed = false;
    let mut bar = |reached: bool| {
        missed |= !reached;
        reached
    };
    head();

    let measure = |role: &str| (0..RUNS).map(|_| child(role, &frames)).collect::<Vec<_>>();
    let (bare, ours) = (measure("bare"), measure("receive"));
    for name in ["wall", "cpu"] {
        let limit = median(bare.iter().map(|r| field(r, name)).collect());
        let got = median(ours.iter().map(|r| field(r, name)).collect());
        row(
            &format!("catch-up of {HISTORY} changes, checked, durable: {name}"),
            &format!("{:.0} ms", got * 1e3),
            &format!("{:.0} ms", limit * 1e3),
            &format!("{:.2} x", got / limit),
            bar(got <= 3.0 * limit),
        );
    }
    let apply_only = median(measure("apply").iter().map(|r| field(r, "cpu")).collect());
    let bare_cpu = median(bare.iter().map(|r| field(r, "cpu")).collect());
    println!("  of which in memory: {:.0} ms CPU ({:.2} x)", apply_only * 1e3, apply_only / bare_cpu);
    let extra = median(ours.iter().map(|r| field(r, "extra")).collect()) - data as f64;
    row(
        "its peak memory above the data",
        &format!("{:.1} MiB", extra / 1048576.0),
        "64 MiB",
        "",
        bar(extra <= 64.0 * 1048576.0),
    );

    // Loading from one's own store checks one signature for each author's tip, so what is left is hashing and applying.
    let stored: Vec<Incoming> =
        sender.log(bft_json_crdt::causality::ChangeIdx(0)).map(|(_, incoming)| incoming).collect();
    let per_change = |from: usize, amount: usize| {
        let readings = (0..5).map(|_| {
            let mut replica = Replica::new(document, Limits::default());
            replica.load(stored[..from].to_vec()).expect("our own history");
            let part = stored[from..from + amount].to_vec();
            let watch = Stopwatch::start();
            replica.load(part).expect("our own history");
            watch.lap().cpu.as_secs_f64() / amount as f64
        });
        median(readings.collect())
    };
    let (early, late) = (per_change(0, 1000), per_change(HISTORY - 1000, 1000));
    row(
        "apply without the signature, the last 1,000 of 100,000",
        &format!("{:.2} us a change", late * 1e6),
        &format!("{:.2} us, the first 1,000", early * 1e6),
        &format!("{:.2} x", late / early),
        bar(late <= 1.5 * early),
    );

    // The small catch-up, between two replicas that both hold the history.
    let mut ahead = Replica::new(document, Limits::default());
    ahead.load(stored.clone()).expect("our own history");
    let keypair = Keypair::from_seed(&[1; 32]);
    for i in 0..MISSING {
        write(&mut ahead, &keypair, i);
    }
    let mut wall = Vec::new();
    let mut bytes = 0;
    for _ in 0..5 {
        let mut behind = Replica::new(document, Limits::default());
        behind.load(stored.clone()).expect("our own history");
        let watch = Stopwatch::start();
        bytes = sync(&ahead, &mut behind).1;
        wall.push(watch.lap().wall.as_secs_f64());
        assert_eq!(behind.heads_digest(), ahead.heads_digest());
    }
    let mut empty = Replica::new(document, Limits::default());
    let watch = Stopwatch::start();
    sync(&sender, &mut empty);
    let (full, small) = (watch.lap().wall.as_secs_f64(), median(wall));
    row(
        &format!("catch-up of {MISSING} missing in {HISTORY}: time"),
        &format!("{:.2} ms", small * 1e3),
        &format!("{:.0} ms for all", full * 1e3),
        &format!("{:.2} %", small / full * 100.0),
        bar(small < 0.01 * full),
    );
    row(
        &format!("catch-up of {MISSING} missing in {HISTORY}: bytes"),
        &format!("{bytes}"),
        &format!("{full_bytes} for all"),
        &format!("{:.2} %", bytes as f64 / full_bytes as f64 * 100.0),
        bar((bytes as f64) < 0.01 * full_bytes as f64),
    );
    exit(i32::from(missed));
}
