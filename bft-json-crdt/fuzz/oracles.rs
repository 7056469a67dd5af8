//! What must hold for any bytes whatever, one function for each decoder or machine that takes bytes from strangers. Fuzz targets and the test that replays seeds and crashers share
//! them. Each panics where a promise is broken and answers whether the bytes were accepted.

#[path = "scenario.rs"]
pub(crate) mod scenario;

use std::num::NonZeroUsize;

use bft_json_crdt::change::{Change, VERSION};
use bft_json_crdt::evidence::{EquivocationProof, Voucher};
use bft_json_crdt::ops::{MAX_UNITS, Ops};
use bft_json_crdt::replica::{ArchiveError, Check, Limits, LoadOptions, MAX_MISSING, Replica};
use bft_json_crdt::sync::{Action, MAX_FRAME, Message, SessionLimits, SyncSession};
use bft_json_crdt::value::{Value, canonical_json};
use bytes::Bytes;

/// A change that decodes stands in the one encoding.
pub(crate) fn change(data: &[u8]) -> bool {
    let Ok(change) = Change::decode(Bytes::copy_from_slice(data)) else { return false };
    let again = Change::from_parts(change.header().clone(), change.ops(), change.signature());
    assert_eq!(again.bytes(), data);
    assert_eq!(again.id(), change.id());
    ops(change.ops());
    true
}

/// Operations that decode stand in the one encoding and keep their bounds.
pub(crate) fn ops(data: &[u8]) -> bool {
    let Ok(ops) = Ops::decode(VERSION, data) else { return false };
    assert_eq!(ops.encode().expect("what was decoded can be encoded"), data);
    let units = ops.units();
    assert!(units <= MAX_UNITS);
    if units < 4096 {
        let mut seen = 0;
        ops.for_each_unit(|offset, _| {
            assert_eq!(offset, seen);
            seen += 1;
        });
        assert_eq!(seen, units);
    }
    true
}

/// A value that decodes stands in the one encoding, and its JSON reads back.
pub(crate) fn value(data: &[u8]) -> bool {
    let Ok(value) = Value::decode(data) else { return false };
    let mut again = Vec::new();
    value.encode(&mut again).expect("what was decoded can be encoded");
    assert_eq!(again, data);
    assert_eq!(value.measure(), Ok(data.len()));
    assert!(canonical_json(&value).len() >= data.len().min(1));
    let json = serde_json::Value::from(&value);
    assert_eq!(Value::try_from(json), Ok(value));
    true
}

/// Evidence that decodes stands in the one encoding; judging it does no harm.
pub(crate) fn evidence(data: &[u8]) -> bool {
    let voucher = Voucher::decode(data);
    if let Ok(voucher) = &voucher {
        assert_eq!(voucher.encode(), data);
        let _ = voucher.0.verify();
    }
    let proof = EquivocationProof::decode(data);
    if let Ok(proof) = &proof {
        assert_eq!(proof.encode(), data);
        let _ = proof.verify();
    }
    voucher.is_ok() || proof.is_ok()
}

/// A message of a known kind that decodes stands in the one encoding; what is left of an unknown one is its number.
pub(crate) fn message(data: &[u8]) -> bool {
    let Ok(message) = Message::decode(&Bytes::copy_from_slice(data)) else { return false };
    let again = message.encode();
    if matches!(message, Message::Unknown(_)) {
        assert!(data.starts_with(&again));
    } else {
        assert_eq!(again, data);
    }
    true
}

/// An archive that loads is a sound replica, and what it saves loads to the same, by whatever rule (reader or writer) it is read. Tried as it is, and with the
/// checksums made right, which no fuzzer would guess.
pub(crate) fn archive(data: &[u8]) -> bool {
    let sealed = seal(data);
    // One after the other: both are to be looked at.
    let accepted = archive_as_it_is(data);
    archive_as_it_is(&sealed) || accepted
}

fn archive_as_it_is(data: &[u8]) -> bool {
    // What is whole of it is a whole file.
    if let Ok(part) = Replica::load_file(data, &LoadOptions { whole_part: true, ..LoadOptions::default() }) {
        match Replica::load_file(&data[..part.good], &LoadOptions::default()) {
            Ok(complete) => assert_eq!(complete.good, part.good),
            Err(error) => assert_eq!(error, ArchiveError::Torn { good: part.good }),
        }
    }
    let Ok(loaded) = Replica::load_file(data, &LoadOptions::default()) else { return false };
    check_replica(&loaded.replica);
    // The file can be appended to: an audit may have news.
    let mut replica = loaded.replica;
    let findings = replica.audit().run(NonZeroUsize::MIN);
    let report = replica.take_audit(&findings);
    assert_eq!(report.vouched.len() + report.unvouched.len(), findings.bad().len());
    if let Some(point) = loaded.point {
        let appended = [data, &replica.save_since(&point).expect("nothing was rebuilt")].concat();
        let again = Replica::load_file(&appended, &LoadOptions::default()).expect("what was appended loads");
        assert_eq!(again.replica.len(), replica.len());
        assert!(
            report
                .vouched
                .iter()
                .all(|id| again.replica.index_of(id).is_some_and(|n| again.replica.voucher(n).is_some()))
        );
        let check = Check::All { threads: NonZeroUsize::MIN };
        let all = Replica::load_file(data, &LoadOptions { check, ..LoadOptions::default() });
        assert_eq!(all.is_ok(), report.unvouched.is_empty(), "an audit finds what a full check finds");
    }
    let writer = Some(scenario::key(0).author());
    let writing = Replica::load_file(data, &LoadOptions { writer, ..LoadOptions::default() });
    check_replica(&writing.expect("a writer loads what a reader loads").replica);
    true
}

/// Makes the checksums of a file right, as far as its segments can be followed.
fn seal(data: &[u8]) -> Vec<u8> {
    const HEADER: usize = 45;
    let mut file = data.to_vec();
    let put = |file: &mut [u8], over: std::ops::Range<usize>, at: usize| {
        let sum = crc(&file[over]);
        file[at..at + 4].copy_from_slice(&sum);
    };
    if file.len() < HEADER + 4 {
        return file;
    }
    put(&mut file, 0..HEADER, HEADER);
    let mut at = HEADER + 4;
    while let Some(head) = file.get(at..at + 13) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let body = at + 13;
        let Some(end) = body.checked_add(length).filter(|end| *end <= file.len()) else { break };
        put(&mut file, body..end, at + 5);
        put(&mut file, at..at + 9, at + 9);
        at = end;
    }
    file
}

/// CRC-32 (RFC 1952, section 8), bit by bit.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(sum & 1));
        }
    }
    (!sum).to_be_bytes()
}

/// What holds for any replica at any time.
fn check_replica(replica: &Replica) {
    replica.document().debug_check();
    let saved = Bytes::from(replica.save());
    let again = Replica::load_archive(&saved, Limits::default(), None).expect("what was saved loads");
    again.document().debug_check();
    // A writer keeps what a reader would take out: compared are two that follow the same rule.
    if !replica.needs_acknowledgement() {
        assert_eq!(again.heads_digest(), replica.heads_digest());
        assert_eq!(again.digest(), replica.digest());
    }
    assert_eq!(again.proofs().count(), replica.proofs().count());
}

/// Replicas that get the same changes in different orders and portions show the same, whatever the changes say and whoever forks its chain.
/// Answers the first of them, if anything was applied.
pub(crate) fn apply(data: &[u8]) -> Option<Replica> {
    let changes = scenario::changes(data);
    if changes.is_empty() {
        return None;
    }
    let mut as_written = scenario::reader();
    for change in &changes {
        as_written.apply(change.clone().into());
        as_written.document().debug_check();
    }
    let mut backwards = scenario::reader();
    backwards.tell_events(false);
    for change in changes.iter().rev() {
        backwards.apply(change.clone().into());
    }
    // By id: as good as any other shuffle, and the same in every run.
    let mut by_id = changes;
    by_id.sort_by_key(Change::id);
    let mut in_batches = scenario::reader();
    for batch in by_id.chunks(3) {
        in_batches.apply_batch(batch.iter().cloned().map(Into::into).collect());
    }
    // Who is proven can depend on the order where all of a fork is invalid anyway: only an author's first invalid change is kept as evidence. Proofs spread.
    let mut replicas = [as_written, backwards, in_batches];
    for proof in replicas.iter().flat_map(Replica::proofs).cloned().collect::<Vec<_>>() {
        for replica in &mut replicas {
            replica.apply_proof(proof.clone()).expect("a replica's own proof is good");
        }
    }
    let [as_written, backwards, in_batches] = replicas;
    check_replica(&as_written);
    for other in [&backwards, &in_batches] {
        other.document().debug_check();
        let proven = |replica: &Replica| replica.proofs().map(|proof| proof.author()).collect::<Vec<_>>();
        assert_eq!(proven(other), proven(&as_written));
        assert_eq!(other.heads(), as_written.heads());
        assert_eq!(other.heads_digest(), as_written.heads_digest());
        assert_eq!(other.digest(), as_written.digest());
        assert_eq!(other.missing(1), [], "all changes that are named were given");
    }
    (!as_written.is_empty()).then_some(as_written)
}

/// Most messages that a peer's frame may make a session of a small replica say at once: heads, a summary, a probe and its reply, an acknowledgement, requests
/// for what is missing, a proof for each of the few authors, and the window's frames.
const MAX_ANSWERS: usize = 16 + SMALL_WINDOW.window_frames;
/// A window that a few changes fill.
const SMALL_WINDOW: SessionLimits =
    SessionLimits { window_frames: 4, window_bytes: 2048, chunk_bytes: 1024, chunk_changes: 2 };

/// Frames from a peer, whatever they say, do a session no harm: it answers little, keeps to its window, and what it says can be read. The input is frames,
/// each after its length in two bytes.
pub(crate) fn session(data: &[u8]) -> bool {
    let mut replica = scenario::small_replica();
    let mut session = SyncSession::new(&replica, SMALL_WINDOW);
    session.watch(scenario::key(1).author());
    let mut understood = 0;
    for frame in scenario::frames(data) {
        let Ok(message) = Message::decode(&Bytes::copy_from_slice(frame)) else { break };
        let Ok(actions) = session.receive(&replica, message) else { break };
        understood += 1;
        for action in actions {
            match action {
                Action::Apply(batch) => {
                    replica.apply_batch(batch);
                    session.missing(replica.missing(MAX_MISSING));
                    session.handled();
                }
                Action::Proof(proof) => {
                    replica.apply_proof(proof);
                }
            }
        }
        let mut answers = 0;
        while let Some(answer) = session.poll_send(&replica) {
            answers += 1;
            assert!(answers <= MAX_ANSWERS, "a frame is answered by too many");
            let bytes = Bytes::from(answer.encode());
            assert!(bytes.len() <= MAX_FRAME);
            assert_eq!(Message::decode(&bytes), Ok(answer));
        }
        assert!(session.unacknowledged() <= SMALL_WINDOW.window_frames);
        session.behind(&replica);
        session.watched_tip_learnt(&replica);
        if session.is_stale(&replica) {
            session = SyncSession::new(&replica, SMALL_WINDOW);
        }
    }
    check_replica(&replica);
    understood > 0
}
