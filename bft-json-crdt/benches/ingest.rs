//! From arriving bytes to an applied change: one signed message an edit of a long text, beside the bare check of the same signatures; what a signature costs
//! in batches; what a local change of one edit costs beside its signature; memory a change; and what it takes to sync a thousand missing changes.
//!
//! `SIDE_TRACES` names a folder with `automerge-paper.json.gz`; without it a trace of the same size and manner is made up. `SIDE_ROWS` picks rows by the
//! beginnings of their names.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark reads the clock, the process's memory and its input, and prints"
)]

use std::hint::black_box;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, DocumentId, Header, VERSION};
use bft_json_crdt::document::ContainerIdx;
use bft_json_crdt::hash::{CHANGE_SIGNATURE_DOMAIN, hash};
use bft_json_crdt::identity::{Keypair, Signature};
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Limits, Replica};
use bft_json_crdt::sync::{Action, Message, SessionLimits, SyncSession};
use bft_json_crdt::verify::{Claim, verify_changes};
use bytes::Bytes;

const DOCUMENT: DocumentId = DocumentId([1; 32]);
/// Edits of the made-up trace: as many as automerge-paper has.
const EDITS: usize = 259_778;
/// Changes in one batch, as a sync frame brings them.
const BATCH: usize = 1024;

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

/// One edit: at a position, so many characters deleted, then a text inserted.
type Edit = (usize, usize, String);

fn recorded(folder: &str) -> Vec<Edit> {
    let path = std::path::Path::new(folder).join("automerge-paper.json.gz");
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(path).output().expect("gzip unpacks the trace");
    let trace: serde_json::Value = serde_json::from_slice(&unpacked.stdout).expect("a trace is JSON");
    let patches = trace["txns"].as_array().into_iter().flatten().flat_map(|txn| txn["patches"].as_array()).flatten();
    patches
        .map(|patch| {
            let number = |n: usize| patch[n].as_u64().expect("a number") as usize;
            (number(0), number(1), patch[2].as_str().expect("a string").to_owned())
        })
        .collect()
}

/// Somebody who types, goes back over what was typed, and now and then goes elsewhere.
fn made_up() -> Vec<Edit> {
    let (mut edits, mut len, mut at, mut seed) = (Vec::new(), 0usize, 0usize, 1u64);
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    while edits.len() < EDITS {
        if random(60) == 0 {
            at = random(len + 1);
        }
        let run = 1 + random(12);
        let deletes = random(100) < 30;
        for _ in 0..run {
            if deletes && at > 0 {
                at -= 1;
                len -= 1;
                edits.push((at, 1, String::new()));
            } else if !deletes {
                edits.push((at, 0, char::from(b'a' + random(26) as u8).to_string()));
                at += 1;
                len += 1;
            }
        }
    }
    edits.truncate(EDITS);
    edits
}

fn replica() -> Replica {
    let mut replica = Replica::new(DOCUMENT, Limits::default());
    replica.tell_events(false);
    replica
}

fn write(replica: &mut Replica, key: &Keypair, time_ms: u64, edits: &[Edit]) -> Change {
    let written = replica.transact(key, time_ms, |tx| {
        let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
        for (at, deleted, inserted) in edits {
            if *deleted > 0 {
                tx.text_delete(text, *at, *deleted).unwrap();
            }
            if !inserted.is_empty() {
                tx.text_insert(text, *at, inserted).unwrap();
            }
        }
    });
    written.unwrap().0
}

fn decode(replica: &Replica, bytes: &[Bytes], key: &Keypair) -> Vec<Incoming> {
    let known = |raw: &[u8; 32]| replica.author(raw).or(Some(key.author()));
    bytes.iter().map(|bytes| Change::decode_with(bytes.clone(), known).unwrap().into()).collect()
}

/// The row's name is wanted.
fn wanted(name: &str) -> bool {
    let rows = std::env::var("SIDE_ROWS").unwrap_or_default();
    rows.is_empty() || rows.split(',').any(|row| name.starts_with(row))
}

fn signatures() {
    for (count, keys) in [(1_015, 1), (1_015, 4), (10_000, 1), (10_000, 4)] {
        let keys: Vec<Keypair> = (0..keys).map(|n| Keypair::from_seed(&[n as u8 + 1; 32])).collect();
        let ids: Vec<[u8; 32]> = (0..count as u32).map(|n| hash("bench", &n.to_be_bytes())).collect();
        let claims: Vec<Claim<'_>> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| {
                let key = &keys[n % keys.len()];
                Claim { author: key.author(), message: id, signature: key.sign(CHANGE_SIGNATURE_DOMAIN, id) }
            })
            .collect();
        let mut runs: Vec<f64> = (0..5)
            .map(|_| {
                let started = cpu();
                let rounds = 20_000 / count;
                for _ in 0..rounds {
                    assert!(verify_changes(black_box(&claims)).into_iter().all(|good| good));
                }
                (cpu() - started) / (rounds * count) as f64
            })
            .collect();
        runs.sort_by(f64::total_cmp);
        println!("check of {count} signatures of {} keys: {:.2} µs each", keys.len(), runs[2] * 1e6);
    }
}

/// One edit a change: written, then taken in by somebody else.
fn one_edit_a_change(edits: &[Edit]) {
    let key = Keypair::from_seed(&[7; 32]);
    let started = cpu();
    let mut signed = 0.0;
    for n in 0..20_000u64 {
        signed += f64::from(key.sign(CHANGE_SIGNATURE_DOMAIN, &hash("bench", &n.to_be_bytes())).0[0]);
    }
    black_box(signed);
    let signing = (cpu() - started) / 20_000.0;

    let mut writer = replica();
    let started = cpu();
    let bytes: Vec<Bytes> = edits
        .iter()
        .enumerate()
        .map(|(n, edit)| {
            let change = write(&mut writer, &key, 1_700_000_000_000 + 40 * n as u64, std::slice::from_ref(edit));
            change.bytes().clone()
        })
        .collect();
    let writing = (cpu() - started) / edits.len() as f64;
    println!(
        "local change of one edit: {:.2} µs beside the signature's {:.2}",
        (writing - signing) * 1e6,
        signing * 1e6
    );
    drop(writer);

    let empty = replica();
    let started = cpu();
    for piece in bytes.chunks(BATCH) {
        let changes = decode(&empty, piece, &key);
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
        black_box(&claims);
    }
    let decoding = cpu() - started;
    let ids: Vec<_> = decode(&empty, &bytes, &key).iter().map(|incoming| incoming.change.id()).collect();
    let claims: Vec<Claim<'_>> = bytes
        .iter()
        .zip(&ids)
        .map(|(bytes, id)| {
            let signature = Signature(*bytes.last_chunk().unwrap());
            Claim { author: key.author(), message: id.as_bytes(), signature }
        })
        .collect();
    let started = cpu();
    for claims in claims.chunks(BATCH) {
        assert!(verify_changes(black_box(claims)).into_iter().all(|good| good));
    }
    let bare = cpu() - started;
    drop(claims);

    let before = resident();
    let mut reader = replica();
    let started = cpu();
    for piece in bytes.chunks(BATCH) {
        let batch = decode(&reader, piece, &key);
        reader.apply_batch(batch);
    }
    let full = cpu() - started;
    assert_eq!(reader.len(), edits.len());
    let each = |seconds: f64| seconds / edits.len() as f64 * 1e6;
    println!(
        "{} changes of one edit, every signature checked: {:.0} ms, {:.2} µs a change; the bare check: {:.0} ms, {:.2} µs; ratio {:.2}; decoding alone {:.2} µs",
        edits.len(),
        full * 1e3,
        each(full),
        bare * 1e3,
        each(bare),
        full / bare,
        each(decoding)
    );
    // Without the check: what is decoded already, from one's own store. The least of five, since nothing but noise makes it more.
    let least = (0..5)
        .map(|_| {
            let mut reader = replica();
            let mut took = 0.0;
            for piece in bytes.chunks(16 * BATCH) {
                let batch = decode(&reader, piece, &key);
                let started = cpu();
                reader.load(batch).unwrap();
                took += cpu() - started;
            }
            took
        })
        .fold(f64::INFINITY, f64::min);
    println!("decoding operations, judging, applying, filing: {:.2} µs a change", each(least));
    let size: usize = bytes.iter().map(Bytes::len).sum();
    println!(
        "memory: {:.0} bytes a change with the document; graph and records {:.0}, on the wire {:.0}",
        (resident().saturating_sub(before)) as f64 / edits.len() as f64,
        reader.dag().heap_bytes() as f64 / edits.len() as f64,
        size as f64 / edits.len() as f64
    );
    let started = cpu();
    let mut total = 0;
    for number in 0..reader.len() as u32 {
        total += reader.bytes(ChangeIdx(number)).len();
    }
    println!("bytes put together again: {:.2} µs a change", each(cpu() - started));
    assert_eq!(total, size);
}

/// A chain of empty changes of which only the last is signed: what a store that checks tips takes in.
fn chain(key: &Keypair, from: Option<&Change>, count: u64) -> Vec<Change> {
    let mut chain: Vec<Change> = Vec::new();
    for n in 1..=count {
        let before = chain.last().or(from);
        let header = Header {
            version: VERSION,
            document: DOCUMENT,
            author: key.author(),
            seq: before.map_or(1, |change| change.header().seq + 1),
            previous: before.map(Change::id),
            deps: Vec::new(),
            time_ms: n,
            ops_hash: [0; 32],
        };
        let signed = n == count || from.is_some();
        let change = if signed {
            Change::sign(key, header, &[0; 4])
        } else {
            Change::from_parts(header, &[0; 4], Signature([0; 64]))
        };
        chain.push(change);
    }
    chain
}

/// A thousand changes that one of two replicas lacks, at several lengths of the common history.
fn sync() {
    for common in [1_000u64, 100_000, 1_000_000] {
        let keys: Vec<Keypair> = (0..4u8).map(|n| Keypair::from_seed(&[n + 1; 32])).collect();
        let (mut ahead, mut behind) = (replica(), replica());
        let mut tips = Vec::new();
        for key in &keys {
            let mut from: Vec<Change> = Vec::new();
            // Piece by piece, so that no second copy of the whole is held. Each piece ends in a signature.
            for _ in 0..(common / 4).div_ceil(50_000) {
                let tip = from.last().cloned();
                from = match &tip {
                    None => chain(key, None, (common / 4).min(50_000)),
                    Some(tip) => unsigned(key, tip, 50_000),
                };
                for replica in [&mut ahead, &mut behind] {
                    replica.load(from.iter().cloned().map(Incoming::from).collect()).unwrap();
                }
            }
            tips.push(from.pop().unwrap());
        }
        for (key, tip) in keys.iter().zip(&tips) {
            ahead.load(chain(key, Some(tip), 250).into_iter().map(Incoming::from).collect()).unwrap();
        }
        let started = cpu();
        let (mut frames, mut bytes) = (0, 0);
        let limits = SessionLimits::default();
        let mut sessions = [SyncSession::new(&ahead, limits), SyncSession::new(&behind, limits)];
        loop {
            let mut quiet = true;
            for side in 0..2 {
                let message = if side == 0 { sessions[0].poll_send(&ahead) } else { sessions[1].poll_send(&behind) };
                let Some(message) = message else { continue };
                quiet = false;
                let frame = message.encode();
                frames += 1;
                bytes += frame.len();
                let message = Message::decode(&frame.into()).unwrap();
                let (session, replica) =
                    if side == 0 { (&mut sessions[1], &mut behind) } else { (&mut sessions[0], &mut ahead) };
                for action in session.receive(replica, message).unwrap() {
                    if let Action::Apply(batch) = action {
                        replica.apply_batch(batch);
                        session.handled();
                    }
                }
            }
            if quiet {
                break;
            }
        }
        let took = cpu() - started;
        assert_eq!(ahead.heads_digest(), behind.heads_digest());
        println!(
            "sync of 1,000 missing changes in {}: {:.2} ms, {frames} frames, {bytes} bytes",
            ahead.len(),
            took * 1e3
        );
    }
}

/// More of a chain, signed at its end alone.
fn unsigned(key: &Keypair, tip: &Change, count: u64) -> Vec<Change> {
    let mut chain: Vec<Change> = vec![tip.clone()];
    for n in 1..=count {
        let before = &chain[chain.len() - 1];
        let header =
            Header { seq: before.header().seq + 1, previous: Some(before.id()), time_ms: n, ..before.header().clone() };
        let change = if n == count {
            Change::sign(key, header, &[0; 4])
        } else {
            Change::from_parts(header, &[0; 4], Signature([0; 64]))
        };
        chain.push(change);
    }
    chain.remove(0);
    chain
}

fn main() {
    if wanted("signatures") {
        signatures();
    }
    if wanted("edits") {
        let mut edits = std::env::var("SIDE_TRACES").map_or_else(|_| made_up(), |folder| recorded(&folder));
        if let Some(most) = std::env::var("SIDE_EDITS").ok().and_then(|most| most.parse().ok()) {
            edits.truncate(most);
        }
        one_edit_a_change(&edits);
    }
    if wanted("sync") {
        sync();
    }
}
