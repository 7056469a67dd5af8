//! What it costs to take a history in: with every signature checked, beside checking and hashing alone; and without, at 1,000 and at 100,000
//! changes. CPU time on one thread (so that it can be measured on a busy machine), and the process's memory. Fails when a limit is exceeded.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark reads the clock and the process's memory, and prints"
)]

use std::hint::black_box;

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

/// The CPU time that this process has used, in seconds. It has one thread.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("a Linux that keeps scheduler statistics");
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).expect("nanoseconds come first")
        / 1e9
}

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
    let started = cpu();
    let stored = history(document);
    let size: usize = stored.iter().map(Bytes::len).sum();
    println!(
        "writing {CHANGES} changes of one operation: {:.2} s, {:.0} bytes a change",
        (cpu() - started),
        size as f64 / CHANGES as f64
    );

    // The least that anybody has to do: hash the bytes, check the signatures in batches.
    // Each author's key is checked once, as it is when replicas exchange changes.
    let mut known = Replica::new(document, Limits::default());
    known.load(decode(&known, &stored[..AUTHORS])).unwrap();
    let started = cpu();
    for piece in stored.chunks(PIECE) {
        let changes = decode(&known, piece);
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
    let least = cpu() - started;

    let before = resident();
    let mut replica = Replica::new(document, Limits::default());
    replica.tell_events(false);
    let started = cpu();
    for piece in stored.chunks(PIECE) {
        let batch = decode(&replica, piece);
        replica.apply_batch(batch);
    }
    let full = cpu() - started;
    assert_eq!(replica.len(), CHANGES);
    println!(
        "catch-up, every signature checked: {full:.2} s; checking and hashing alone: {least:.2} s; ratio {:.2} (limit 3)",
        full / least
    );
    println!("memory beside the changes' bytes: {:.0} bytes a change", (resident() - before) as f64 / CHANGES as f64);

    let started = cpu();
    black_box(replica.digest());
    println!("digest of {CHANGES}: {:.1} ms", (cpu() - started) * 1e3);
    drop(replica);

    // Without the signature check: as from one's own store. The scheduler counts in steps of some milliseconds, so 20,000 changes each time.
    let mut early = 0.0;
    for _ in 0..20 {
        let mut replica = Replica::new(document, Limits::default());
        let batch = decode(&known, &stored[..PIECE]);
        let started = cpu();
        replica.load(batch).unwrap();
        early += cpu() - started;
        black_box(replica.id(ChangeIdx(0)));
    }
    let mut replica = Replica::new(document, Limits::default());
    for piece in stored[..CHANGES - 20 * PIECE].chunks(PIECE) {
        let batch = decode(&known, piece);
        replica.load(batch).unwrap();
    }
    let mut late = 0.0;
    for piece in stored[CHANGES - 20 * PIECE..].chunks(PIECE) {
        let batch = decode(&known, piece);
        let started = cpu();
        replica.load(batch).unwrap();
        late += cpu() - started;
    }
    let (early, late) = (early / (20 * PIECE) as f64 * 1e6, late / (20 * PIECE) as f64 * 1e6);
    println!(
        "apply without the signature check: {early:.2} µs at 1,000 changes, {late:.2} µs at {CHANGES}; ratio {:.2} (limit 1.5)",
        late / early
    );
    assert!(full / least <= 3.0 && late / early <= 1.5, "a limit is exceeded");
}
