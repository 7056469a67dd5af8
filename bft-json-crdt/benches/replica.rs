//! What it costs to take a history in: with every signature checked, beside checking and hashing alone; and without, at 1,000 and at 100,000
//! changes. Wall time on one thread, and the process's memory. Fails when a limit is exceeded.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the process's memory")]

use std::hint::black_box;
use std::time::Instant;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Limits, Replica};
use bft_json_crdt::value::Value;
use bft_json_crdt::verify::{Claim, verify_changes};
use bytes::Bytes;

const CHANGES: usize = 100_000;
const AUTHORS: usize = 4;
const PIECE: usize = 1_000;

/// Resident memory in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Four authors take turns; each sees what the one before wrote, and appends one value to a list.
fn history(document: DocumentId) -> Vec<Bytes> {
    let keys: Vec<Keypair> = (0..AUTHORS).map(|n| Keypair::from_seed(&[n as u8 + 1; 32])).collect();
    let mut replica = Replica::new(document, Limits::default());
    replica.tell_events(false);
    (0..CHANGES)
        .map(|n| {
            let written = replica.transact(&keys[n % AUTHORS], n as u64, |tx| {
                let log = tx.child(ContainerIdx::ROOT, "transactions", Kind::List).unwrap();
                tx.insert_in_order(log, NewElement::Value(Value::String(format!("note number {n}")))).unwrap();
            });
            written.unwrap().0.bytes().clone()
        })
        .collect()
}

fn decode(replica: &Replica, bytes: &[Bytes]) -> Vec<Incoming> {
    bytes.iter().map(|bytes| Change::decode_with(bytes.clone(), |key| replica.author(key)).unwrap().into()).collect()
}

fn main() {
    let document = DocumentId([1; 32]);
    let started = Instant::now();
    let stored = history(document);
    let size: usize = stored.iter().map(Bytes::len).sum();
    println!(
        "writing {CHANGES} changes of one operation: {:.2} s, {:.0} bytes a change",
        started.elapsed().as_secs_f64(),
        size as f64 / CHANGES as f64
    );

    // The least that anybody has to do: hash the bytes, check the signatures in batches.
    let started = Instant::now();
    let empty = Replica::new(document, Limits::default());
    for piece in stored.chunks(PIECE) {
        let changes = decode(&empty, piece);
        let ids: Vec<_> = changes.iter().map(|incoming| incoming.change.id()).collect();
        let claims: Vec<Claim<'_>> = changes
            .iter()
            .zip(&ids)
            .map(|(incoming, id)| Claim {
                author: incoming.change.author(),
                message: id.as_bytes(),
                signature: incoming.change.signature(),
            })
            .collect();
        assert!(black_box(verify_changes(&claims)).into_iter().all(|good| good));
    }
    let least = started.elapsed().as_secs_f64();

    let before = resident();
    let mut replica = Replica::new(document, Limits::default());
    replica.tell_events(false);
    let started = Instant::now();
    for piece in stored.chunks(PIECE) {
        let batch = decode(&replica, piece);
        replica.apply_batch(batch);
    }
    let full = started.elapsed().as_secs_f64();
    assert_eq!(replica.len(), CHANGES);
    println!(
        "catch-up, every signature checked: {full:.2} s; checking and hashing alone: {least:.2} s; ratio {:.2} (limit 3)",
        full / least
    );
    println!("memory beside the changes' bytes: {:.0} bytes a change", (resident() - before) as f64 / CHANGES as f64);

    let started = Instant::now();
    black_box(replica.digest());
    println!("digest of {CHANGES}: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    drop(replica);

    // Without the signature check: as from one's own store. Best of three, for what else the machine does.
    let mut pieces = vec![f64::MAX; CHANGES / PIECE];
    for _ in 0..3 {
        let mut replica = Replica::new(document, Limits::default());
        for (best, piece) in pieces.iter_mut().zip(stored.chunks(PIECE)) {
            let batch = decode(&replica, piece);
            let started = Instant::now();
            replica.load(batch).unwrap();
            *best = best.min(started.elapsed().as_secs_f64() / PIECE as f64 * 1e6);
        }
        black_box(replica.id(ChangeIdx(0)));
    }
    let early = pieces[..2].iter().copied().fold(f64::MAX, f64::min);
    let late = pieces[CHANGES / PIECE - 10..].iter().sum::<f64>() / 10.0;
    println!(
        "apply without the signature check: {early:.2} µs at 1,000 changes, {late:.2} µs at {CHANGES}; ratio {:.2} (limit 1.5)",
        late / early
    );
    assert!(full / least <= 3.0 && late / early <= 1.5, "a limit is exceeded");
}
