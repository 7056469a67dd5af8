//! Files (docs/format.md): whatever a replica holds comes back to the same bytes; what is appended, torn or damaged is told apart; hostile files cost little; and
//! every signature that is not good is found.

mod histories;
mod hostile;

use std::num::NonZeroUsize;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::Change;
use bft_json_crdt::evidence::MAX_CHAIN;
use bft_json_crdt::replica::{ArchiveError, Check, LoadFault, LoadOptions, Loaded, Replica, SavePoint, Verdict};

use self::histories::history;
use crate::world::{all, give_batch, key, note, reader, unsigned, writer};

fn load(file: &[u8]) -> Result<Loaded, ArchiveError> {
    Replica::load_file(file, &LoadOptions::default())
}

fn load_all(file: &[u8], threads: usize) -> Result<Loaded, ArchiveError> {
    let check = Check::All { threads: NonZeroUsize::new(threads).unwrap() };
    Replica::load_file(file, &LoadOptions { check, ..LoadOptions::default() })
}

fn whole_part(file: &[u8]) -> Result<Loaded, ArchiveError> {
    Replica::load_file(file, &LoadOptions { whole_part: true, ..LoadOptions::default() })
}

fn changes(replica: &Replica) -> Vec<Change> {
    (0..replica.len() as u32).map(|number| replica.change(ChangeIdx(number))).collect()
}

fn assert_same(one: &Replica, other: &Replica) {
    assert_eq!(one.len(), other.len());
    for number in 0..one.len() as u32 {
        let index = ChangeIdx(number);
        assert_eq!(one.bytes(index), other.bytes(index), "change {number}");
        assert_eq!(one.voucher(index), other.voucher(index), "voucher of change {number}");
    }
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.heads_digest(), other.heads_digest());
    assert!(one.proofs().eq(other.proofs()));
}

#[test]
fn any_history_comes_back_to_the_same_bytes() {
    let mut forked = 0;
    for seed in 0..150 {
        let replica = history(seed);
        forked += usize::from(replica.authors().any(|author| replica.leaves(&author).len() > 1));
        let file = replica.save();
        // One that writes keeps what a reader would take out again.
        let options = LoadOptions { writer: Some(key(2).author()), ..LoadOptions::default() };
        let loaded = Replica::load_file(&file, &options).unwrap_or_else(|error| panic!("history {seed}: {error}"));
        assert_same(&loaded.replica, &replica);
        assert_eq!(loaded.good, file.len());
        assert_eq!(loaded.replica.save(), file, "history {seed}");
        assert_eq!(loaded.point, Some(replica.save_point()));
        loaded.replica.document().debug_check();
        let check = Check::All { threads: NonZeroUsize::new(2).unwrap() };
        assert_same(&Replica::load_file(&file, &LoadOptions { check, ..options }).unwrap().replica, &replica);
    }
    assert!(forked > 5, "{forked} of the histories hold both branches of a fork");
}

#[test]
fn what_is_appended_in_any_portions_comes_to_the_same() {
    for seed in 0..40 {
        let whole = history(seed);
        // The same changes arrive one after the other, and the file grows at every third.
        let mut growing = reader();
        growing.set_writer(Some(key(2).author()));
        let (mut file, mut point) = (growing.save(), growing.save_point());
        for (n, incoming) in all(&whole).into_iter().enumerate() {
            growing.apply(incoming);
            if n % 3 == 0 {
                file.extend(growing.save_since(&point).unwrap());
                point = growing.save_point();
            }
        }
        for proof in whole.proofs() {
            growing.apply_proof(proof.clone()).unwrap();
        }
        file.extend(growing.save_since(&point).unwrap());
        point = growing.save_point();
        assert_eq!(growing.save_since(&point).unwrap(), Vec::<u8>::new(), "nothing is new");
        let options = LoadOptions { writer: Some(key(2).author()), ..LoadOptions::default() };
        let loaded = Replica::load_file(&file, &options).unwrap_or_else(|error| panic!("history {seed}: {error}"));
        assert_same(&loaded.replica, &growing);
        assert_eq!(loaded.point, Some(point));
    }
}

#[test]
fn a_loaded_replica_goes_on_where_the_file_ends() {
    let alice = key(1);
    let mut replica = writer(&alice);
    note(&mut replica, &alice, "one");
    let mut file = replica.save();
    for round in 0..4 {
        let Loaded { mut replica, point, .. } = load(&file).unwrap();
        note(&mut replica, &alice, &format!("round {round}"));
        file.extend(replica.save_since(&point.unwrap()).unwrap());
    }
    let loaded = load_all(&file, 1).unwrap().replica;
    assert_eq!(loaded.len(), 5);
    // Another replica's file, or one that has gone another way, takes nothing.
    let mut other = writer(&alice);
    note(&mut other, &alice, "another one");
    assert!(other.save_since(&loaded.save_point()).is_err());
    note(&mut other, &alice, "two");
    assert!(other.save_since(&load(&load_point(&other, 1)).unwrap().point.unwrap()).is_ok());
    assert!(loaded.save_since(&other.save_point()).is_err());
}

/// The file of the first `count` changes.
fn load_point(replica: &Replica, count: usize) -> Vec<u8> {
    let mut start = reader();
    give_batch(&mut start, &changes(replica)[..count]);
    start.save()
}

/// A file that was appended to twice, and where each of its saves ends.
fn appended() -> (Vec<u8>, Vec<usize>) {
    let (alice, bob) = (key(1), key(2));
    let mut replica = writer(&alice);
    note(&mut replica, &alice, "one");
    let mut file = replica.save();
    let mut ends = vec![file.len()];
    for text in ["two", "three"] {
        let point: SavePoint = replica.save_point();
        note(&mut replica, &bob, text);
        note(&mut replica, &alice, text);
        file.extend(replica.save_since(&point).unwrap());
        ends.push(file.len());
    }
    (file, ends)
}

#[test]
fn every_cut_is_told_from_a_whole_file() {
    let (file, ends) = appended();
    for cut in 0..=file.len() {
        let result = load(&file[..cut]);
        let before = ends.iter().position(|end| *end > cut).unwrap_or(ends.len());
        if ends.contains(&cut) {
            let loaded = result.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            assert_eq!(loaded.replica.len(), 2 * before - 1);
            continue;
        }
        let header = 49;
        let error = result.err().expect("a cut file is not whole");
        match cut {
            0..13 => assert_eq!(error, ArchiveError::Magic, "cut at {cut}"),
            13..49 => assert_eq!(error, ArchiveError::Damaged(0), "cut at {cut}"),
            _ => {
                let good = if before == 0 { header } else { ends[before - 1] };
                assert_eq!(error, ArchiveError::Torn { good }, "cut at {cut}");
                let rest = whole_part(&file[..cut]).unwrap();
                assert_eq!((rest.good, rest.replica.len()), (good, (2 * before).saturating_sub(1)));
                // What is left can be appended to.
                let mut mended = file[..good].to_vec();
                let alice = key(1);
                let mut replica = rest.replica;
                note(&mut replica, &alice, "again");
                mended.extend(replica.save_since(&rest.point.unwrap()).unwrap());
                assert_same(&load(&mended).unwrap().replica, &replica);
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (file, ends) = appended();
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            let error = load(&damaged).err().unwrap_or_else(|| panic!("byte {at}, bit {bit}"));
            let segment = ends.iter().rposition(|end| *end <= at).map_or(49, |n| ends[n]);
            let expected = match at {
                0..13 => vec![ArchiveError::Magic],
                13..49 => vec![ArchiveError::Damaged(0)],
                // At the end it cannot be told from a torn write.
                _ if segment == ends[ends.len() - 2] => {
                    vec![ArchiveError::Torn { good: segment }, ArchiveError::Damaged(segment)]
                }
                _ => vec![ArchiveError::Damaged(segment)],
            };
            assert!(expected.contains(&error), "byte {at}, bit {bit}: {error}");
            if at >= 49 {
                assert_eq!(whole_part(&damaged).unwrap().good, segment);
            }
        }
    }
}

#[test]
fn a_torn_tail_of_any_kind_is_left_off() {
    let (file, ends) = appended();
    let (kept, last) = file.split_at(ends[1]);
    let mut half_written = last.to_vec();
    let middle = last.len() / 2;
    half_written[middle..].fill(0);
    for tail in [vec![0; 1], vec![0; 4096], last[..20].to_vec(), half_written] {
        let torn = [kept, &tail].concat();
        assert_eq!(load(&torn).err(), Some(ArchiveError::Torn { good: kept.len() }));
        assert_eq!(whole_part(&torn).unwrap().replica.len(), 3);
    }
    // Something else behind the end is no torn write.
    let strange = [kept, &[7; 40]].concat();
    assert_eq!(load(&strange).err(), Some(ArchiveError::Damaged(kept.len())));
}

/// A chain of one author, of which the changes at these positions have signatures that are not good, as a file; in the middle of other members' changes.
fn spoilt(len: usize, bad: &[usize]) -> (Vec<u8>, Vec<Change>) {
    let (alice, bob) = (key(1), key(2));
    let mut source = writer(&alice);
    let mut chain = Vec::new();
    for n in 0..len {
        chain.push(note(&mut source, &alice, &n.to_string()));
        if n % 5 == 2 {
            note(&mut source, &bob, "and I");
        }
    }
    let mut replica = reader();
    let stored = all(&source).into_iter().map(|mut incoming| {
        if bad.iter().any(|n| chain[*n].id() == incoming.change.id()) {
            incoming.change = unsigned(&incoming.change);
        }
        incoming
    });
    replica.load(stored.collect()).expect("the tip vouches for all before it");
    (replica.save(), chain)
}

#[test]
fn a_full_check_finds_each_bad_signature() {
    let bad = [0, 3, 4, 5, 40, 160];
    let (file, chain) = spoilt(200, &bad);
    assert_eq!(load(&file).unwrap().replica.len(), 240, "tips are good");
    for threads in [1, 2, 3, 16] {
        let replica = load_all(&file, threads).unwrap().replica;
        for (n, change) in chain.iter().enumerate() {
            let voucher = replica.voucher(replica.index_of(&change.id()).unwrap());
            assert_eq!(voucher.is_some(), bad.contains(&n), "change {n}");
            if let Some(voucher) = voucher {
                voucher.verify(change).unwrap();
                let expected = if (3..=5).contains(&n) { 6 - n } else { 1 };
                assert_eq!(voucher.0.headers.len(), expected, "the nearest good signature vouches for change {n}");
            }
        }
        assert!(!replica.needs_audit());
    }
}

#[test]
fn a_full_check_names_a_change_that_nothing_vouches_for() {
    // One too many in a row: the first is too far from the next good signature.
    let (enough, _) = spoilt(20, &(4..4 + MAX_CHAIN - 1).collect::<Vec<_>>());
    assert_eq!(load_all(&enough, 2).unwrap().replica.len(), 24);
    let (too_many, chain) = spoilt(20, &(4..4 + MAX_CHAIN).collect::<Vec<_>>());
    let position = load(&too_many).unwrap().replica.index_of(&chain[4].id()).unwrap().0 as usize;
    match load_all(&too_many, 2).err() {
        Some(ArchiveError::Load(error)) => assert_eq!((error.position, error.fault), (position, LoadFault::Signature)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bad_tip_is_refused_by_either_check() {
    let alice = key(1);
    let mut source = writer(&alice);
    (0..3).for_each(|n| drop(note(&mut source, &alice, &n.to_string())));
    let mut file = source.save();
    // The last signature's bytes stand at the file's end; the checksums are made right again.
    *file.last_mut().unwrap() ^= 1;
    hostile::seal(&mut file);
    for result in [load(&file), load_all(&file, 1)] {
        match result.err() {
            Some(ArchiveError::Load(error)) => assert_eq!((error.position, error.fault), (2, LoadFault::Signature)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "an audit is made to run elsewhere")]
fn an_audit_mends_what_a_tip_let_through() {
    let (file, chain) = spoilt(60, &[7, 8, 30]);
    let Loaded { mut replica, point, .. } = load(&file).unwrap();
    assert!(replica.needs_audit());
    // Without it, a peer refuses the change and blames whoever passed it on.
    let passed_on = |replica: &Replica| {
        let mut peer = reader();
        all(replica).into_iter().map(|incoming| peer.apply(incoming).verdicts[0].1.clone()).collect::<Vec<_>>()
    };
    assert!(passed_on(&replica).contains(&Verdict::Unauthenticated));
    let audit = replica.audit();
    assert_eq!(audit.len(), replica.len());
    let findings = std::thread::spawn(move || audit.run(NonZeroUsize::new(2).unwrap())).join().unwrap();
    assert_eq!((findings.checked(), findings.bad().len()), (72, 3));
    // Meanwhile the replica goes on.
    note(&mut replica, &key(1), "meanwhile");
    let report = replica.take_audit(&findings);
    let expected: Vec<_> = [7, 8, 30].map(|n: usize| chain[n].id()).to_vec();
    assert_eq!((report.vouched, report.unvouched), (expected, Vec::new()));
    assert!(!replica.needs_audit());
    assert!(passed_on(&replica).iter().all(|verdict| *verdict == Verdict::Applied));
    // Taking it again does no harm.
    assert_eq!(replica.take_audit(&findings), Default::default());
    // What stands in the file already gets its voucher behind it.
    let longer = [file, replica.save_since(&point.unwrap()).unwrap()].concat();
    let again = load(&longer).unwrap().replica;
    assert_same(&again, &replica);
    assert_eq!(again.audit().run(NonZeroUsize::MIN).bad().len(), 0);
    // And a new file has it at once.
    assert_same(&load(&replica.save()).unwrap().replica, &replica);
}

#[test]
fn an_audit_reports_what_nothing_vouches_for() {
    let (file, chain) = spoilt(20, &(2..3 + MAX_CHAIN).collect::<Vec<_>>());
    let mut replica = load(&file).unwrap().replica;
    let findings = replica.audit().run(NonZeroUsize::MIN);
    let report = replica.take_audit(&findings);
    assert_eq!(report.unvouched, [chain[2].id(), chain[3].id()]);
    assert_eq!(report.vouched.len(), MAX_CHAIN - 1);
}

#[test]
fn an_audit_follows_a_forked_chain() {
    let alice = key(1);
    let (mut left, mut right) = (writer(&alice), writer(&alice));
    let trunk = note(&mut left, &alice, "trunk");
    give_batch(&mut right, [&trunk]);
    let (a, b) = (note(&mut left, &alice, "left"), note(&mut right, &alice, "right"));
    let last = note(&mut right, &alice, "further right");
    let stored = [unsigned(&trunk), unsigned(&b), a, last].map(Into::into);
    let mut replica = reader();
    replica.load(stored.to_vec()).unwrap();
    let findings = replica.audit().run(NonZeroUsize::MIN);
    let report = replica.take_audit(&findings);
    assert_eq!(report.vouched, [trunk.id(), b.id()]);
    for change in [&trunk, &b] {
        replica.voucher(replica.index_of(&change.id()).unwrap()).unwrap().verify(change).unwrap();
    }
}
