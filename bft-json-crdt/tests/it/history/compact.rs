//! Compaction: nothing that shows changes, what was deleted is forgotten, and everything above goes on as if nothing had happened.

use std::cmp::Ordering;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::document::ContainerIdx;
use bft_json_crdt::evidence::{SignedChain, Voucher};
use bft_json_crdt::history::{CompactError, Evidence, Frontier, HistoryError, Version};
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{CompactedError, Incoming, LoadOptions, Replica};
use bft_json_crdt::sync::{SessionLimits, SyncSession, Unserved};
use bft_json_crdt::value::Value;
use proptest::prelude::*;

use super::world::{Dice, held, must_apply, only, random_history, random_version, steps, typed};
use crate::sync::deliver;
use crate::world::{all, craft, key, no_ops, note, reader, unsigned, writer};

/// A second replica with the same changes in the same order.
fn twin(replica: &Replica) -> Replica {
    let mut twin = writer(&key(9));
    twin.load(all(replica)).expect("what is applied can be loaded");
    twin
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compaction_changes_nothing_that_shows(steps in steps(32), seed in any::<u64>()) {
        let whole = random_history(&steps);
        let mut dice = Dice(seed);
        if whole.is_empty() {
            return Ok(());
        }
        let mut replica = twin(&whole);
        let mut floor = Version::EMPTY;
        for _ in 0..2 {
            let frontier = random_version(&whole, &mut dice);
            floor = Version::new(floor.heads().iter().chain(frontier.heads()).copied());
            replica.compact(&Frontier::Final(frontier)).unwrap();
            replica.document().debug_check();
            prop_assert_eq!(replica.digest(), whole.digest());
            prop_assert_eq!(whole.compare(&floor, replica.floor()).unwrap(), Some(Ordering::Equal));
            let below = held(&whole, &floor);
            for number in 0..whole.len() as u32 {
                let index = ChangeIdx(number);
                let compacted = below.contains(&whole.id(index));
                prop_assert_eq!(replica.is_compacted(index), compacted);
                prop_assert_eq!(replica.get(&whole.id(index)), (!compacted).then(|| whole.change(index)));
                prop_assert_eq!(replica.dag().header(index), whole.dag().header(index));
                prop_assert_eq!(replica.dag().signature(index), whole.dag().signature(index));
            }
            let file = replica.save_compacted(&[8; 32]);
            let options = LoadOptions { writer: Some(key(9).author()), ..LoadOptions::default() };
            let loaded = Replica::load_compacted(&file, &[8; 32], &options).unwrap();
            loaded.document().debug_check();
            prop_assert_eq!(loaded.digest(), whole.digest());
            prop_assert_eq!(loaded.floor(), replica.floor());
            prop_assert_eq!(loaded.save_compacted(&[8; 32]), file);
            // From here on with what came from the file.
            replica = loaded;
            for _ in 0..4 {
                let some = random_version(&whole, &mut dice);
                let past = replica.checkout(&some);
                if below.is_subset(&held(&whole, &some)) {
                    let past = past.unwrap();
                    past.document().debug_check();
                    prop_assert_eq!(past.view(), only(&whole, &held(&whole, &some)).view());
                } else {
                    prop_assert_eq!(past.unwrap_err(), HistoryError::Compacted);
                }
                // One that does hold it.
                let above = Version::new(some.heads().iter().chain(floor.heads()).copied());
                let past = replica.checkout(&above).unwrap();
                past.document().debug_check();
                prop_assert_eq!(past.view(), only(&whole, &held(&whole, &above)).view());
            }
        }
    }

    #[test]
    fn what_comes_after_a_compaction_merges_as_without_it(steps in steps(32), more in steps(32), seed in any::<u64>()) {
        // Two rounds of one history: the second builds upon the first in all ways.
        let first = random_history(&steps);
        let both: Vec<_> = steps.into_iter().chain(more).collect();
        let second = random_history(&both);
        let mut replica = twin(&first);
        let mut dice = Dice(seed);
        if !first.is_empty() {
            let frontier = random_version(&first, &mut dice);
            replica.compact(&Frontier::Final(frontier)).unwrap();
        }
        let news: Vec<Incoming> =
            all(&second).into_iter().filter(|news| replica.index_of(&news.change.id()).is_none()).collect();
        replica.load(news).unwrap();
        replica.document().debug_check();
        prop_assert_eq!(replica.digest(), second.digest());
        prop_assert_eq!(replica.checkout(&replica.version()).unwrap().view(), second.view());
        // A past that is made again from what is left.
        let mut past = replica.checkout(replica.floor()).unwrap();
        past.advance(&replica, &replica.version()).unwrap();
        prop_assert_eq!(past.view(), second.view());
    }
}

#[test]
fn a_failed_transaction_is_taken_back_from_what_compaction_left() {
    let ann = key(1);
    let (mut replica, _) = typed(&ann, &["hello", " world"]);
    let delete = |replica: &mut Replica, from: usize, len: usize| {
        let written = replica.transact(&ann, 2_000, |tx| {
            let text = tx.child(ContainerIdx::ROOT, "t", Kind::Text).unwrap();
            tx.text_delete(text, from, len).unwrap();
        });
        written.unwrap();
    };
    delete(&mut replica, 1, 6);
    replica.compact(&Frontier::Final(replica.version())).unwrap();
    let before = replica.view();
    let failed = replica.transact(&ann, 3_000, |tx| {
        let text = tx.child(ContainerIdx::ROOT, "t", Kind::Text).unwrap();
        tx.text_insert(text, 0, "x").unwrap();
        tx.text_delete(text, 99, 1).unwrap_err();
    });
    failed.unwrap_err();
    assert_eq!(replica.view(), before);
    replica.document().debug_check();
    delete(&mut replica, 0, 1);
    assert_eq!(replica.document().text(replica.document().child(ContainerIdx::ROOT, "t", Kind::Text).unwrap()), "orld");
}

#[test]
fn a_frontier_must_be_acknowledged_by_every_author_or_named_as_final() {
    let keys = [key(1), key(2)];
    let mut ann = writer(&keys[0]);
    let mut bob = writer(&keys[1]);
    let first = note(&mut ann, &keys[0], "first");
    let frontier = Frontier::Acknowledged(ann.version());
    let bobs = note(&mut bob, &keys[1], "bob's own");
    ann.apply(bobs.into());
    let unknown = ChangeId([3; 32]);
    let nowhere = Frontier::Acknowledged(Version::from(unknown));
    assert_eq!(ann.compact(&nowhere), Err(CompactError::Frontier(HistoryError::Unknown(unknown))));
    assert_eq!(ann.compact(&frontier), Err(CompactError::Unacknowledged(keys[1].author())));
    assert!(ann.get(&first.id()).is_some() && ann.floor() == &Version::EMPTY);

    bob.apply(first.clone().into());
    for change in bob.acknowledge(&keys[1], 2_000).unwrap() {
        ann.apply(change.into());
    }
    let done = ann.compact(&frontier).unwrap();
    assert_eq!(done.changes, 1);
    assert_eq!(ann.get(&first.id()), None);
    assert_eq!(ann.compact(&frontier).unwrap().changes, 0, "it is compacted already");
    assert_eq!(ann.compact(&Frontier::Final(ann.version())).unwrap().changes, ann.len() - 1);
}

#[test]
fn compaction_frees_what_was_deleted() {
    let ann = key(1);
    let mut replica = writer(&ann);
    for round in 0..100 {
        let written = replica.transact(&ann, round, |tx| {
            let text = tx.child(ContainerIdx::ROOT, "t", Kind::Text).unwrap();
            let len = tx.document().len(text);
            tx.text_delete(text, 0, len).unwrap();
            tx.text_insert(text, 0, &"a lot to say ".repeat(100)).unwrap();
        });
        written.unwrap();
    }
    let done = replica.compact(&Frontier::Final(replica.version())).unwrap();
    assert_eq!(done.changes, 100);
    assert!(done.bytes_freed > 100_000, "of 130,000 characters 1,300 are left, and {} bytes freed", done.bytes_freed);
}

#[test]
fn blame_goes_on_below_a_compaction_and_proves_who_signed() {
    let (ann, bob) = (key(1), key(2));
    let (_, changes) = typed(&ann, &["a", "b", "c", "d"]);
    let mut replica = writer(&bob);
    // The second stands under a later signature.
    let voucher = Voucher(SignedChain::of(&changes[2..3]).unwrap());
    let vouched = Incoming { change: unsigned(&changes[1]), voucher: Some(voucher) };
    let rest = changes[2..].iter().map(Incoming::from);
    replica.apply_batch([changes[0].clone().into(), vouched].into_iter().chain(rest).collect());
    let text = replica.document().child(ContainerIdx::ROOT, "t", Kind::Text).unwrap();
    let before = replica.blame(text, 0..4).unwrap();
    replica.compact(&Frontier::Final(changes[2].id().into())).unwrap();
    let blames = replica.blame(text, 0..4).unwrap();
    assert_eq!(blames, before);
    for (n, blame) in blames.iter().enumerate() {
        let evidence = blame.authorship.evidence(&replica).unwrap();
        assert_eq!(evidence.verify(), Ok(changes[n].id()));
        assert_eq!(evidence.chain.headers.len(), if n == 1 { 2 } else { 1 });
        assert_eq!(evidence.ops.is_some(), n == 3, "what it said is gone, who signed it is not");
        assert_eq!(evidence.content(blame.offset, 1), (n == 3).then(|| Value::from("d")));
        assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence));
    }
}

#[test]
fn a_fork_below_a_compaction_is_still_proven() {
    let (ann, bob) = (key(1), key(2));
    let (_, changes) = typed(&ann, &["a", "b"]);
    let fork = craft(&ann, Some(&changes[0]), &[], 77, &no_ops());
    for reads_only in [false, true] {
        let mut replica = if reads_only { reader() } else { writer(&bob) };
        changes.iter().for_each(|change| must_apply(&mut replica, change));
        replica.compact(&Frontier::Final(changes[1].id().into())).unwrap();
        let outcome = replica.apply(fork.clone().into());
        let [proof] = &outcome.proofs[..] else { panic!("two changes of one seq") };
        assert_eq!(proof.verify(), Ok(()));
        assert_eq!(proof.author(), ann.author());
        // A reader takes out what nobody else builds upon; what is compacted is final.
        assert_eq!(replica.len(), 2);
        assert_eq!(
            replica.document().text(replica.document().child(ContainerIdx::ROOT, "t", Kind::Text).unwrap()),
            "ab"
        );
    }
}

#[test]
fn a_reader_rebuilds_above_a_compaction() {
    let (ann, bob) = (key(1), key(2));
    // Bob's branch is numbered first, and gone after the rebuild.
    let (_, bobs) = typed(&bob, &["x"]);
    let (_, changes) = typed(&ann, &["ab", "cd", "ef"]);
    let mut replica = reader();
    bobs.iter().chain(&changes).for_each(|change| must_apply(&mut replica, change));
    replica.compact(&Frontier::Final(changes[1].id().into())).unwrap();
    let shown = replica.checkout(&changes[2].id().into()).unwrap().view();
    let outcome = replica.apply(craft(&bob, None, &[], 77, &no_ops()).into());
    assert!(outcome.rebuilt);
    replica.document().debug_check();
    assert_eq!((replica.len(), replica.view()), (3, shown));
    assert_eq!((0..3).map(|n| replica.is_compacted(ChangeIdx(n))).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(replica.get(&changes[2].id()), Some(changes[2].clone()));
}

#[test]
fn a_peer_that_lacks_what_is_compacted_is_left_without_it_and_said_so() {
    let (ann, bob) = (key(1), key(2));
    let (mut replica, changes) = typed(&ann, &["a", "b", "c"]);
    // One peer has all that is compacted, the other has not.
    let mut near = writer(&bob);
    changes[..2].iter().for_each(|change| must_apply(&mut near, change));
    let mut far = writer(&key(3));
    must_apply(&mut far, &changes[0]);
    replica.compact(&Frontier::Final(changes[1].id().into())).unwrap();
    for (peer, gets) in [(&mut near, true), (&mut far, false)] {
        let limits = SessionLimits::default();
        let mut sessions = [SyncSession::new(&replica, limits), SyncSession::new(peer, limits)];
        let mut moved = true;
        while moved {
            moved = false;
            while let Some(message) = sessions[0].poll_send(&replica) {
                moved = true;
                deliver(&mut sessions[1], peer, message).unwrap();
            }
            while let Some(message) = sessions[1].poll_send(peer) {
                moved = true;
                deliver(&mut sessions[0], &mut replica, message).unwrap();
            }
        }
        assert_eq!(peer.len(), if gets { 3 } else { 1 });
        let unserved = sessions[0].unserved();
        if gets {
            assert_eq!(peer.digest(), replica.digest());
            assert_eq!(unserved, Unserved::default());
        } else {
            assert!(unserved.count >= 1);
            assert_eq!(unserved.last, Some(changes[1].id()));
            assert_eq!(peer.kept_aside()[0].0, 1, "what stands upon it waits");
        }
    }
}

#[test]
#[should_panic = "an archive holds whole changes"]
fn an_archive_of_a_compacted_replica_is_not_written() {
    let (mut replica, _) = typed(&key(1), &["a"]);
    replica.compact(&Frontier::Final(replica.version())).unwrap();
    replica.save();
}

#[test]
fn a_compacted_file_is_believed_under_its_own_store_s_code_alone_and_forgets() {
    let ann = key(1);
    let (mut replica, changes) = typed(&ann, &["the secret word", " stays"]);
    // The first stands under the second's signature.
    let voucher = Voucher(SignedChain::of(&changes[1..]).unwrap());
    let mut vouched = writer(&ann);
    let unsigned = Incoming { change: unsigned(&changes[0]), voucher: Some(voucher) };
    vouched.apply_batch(vec![unsigned, changes[1].clone().into()]);
    std::mem::swap(&mut replica, &mut vouched);
    let written = replica.transact(&ann, 2_000, |tx| {
        let text = tx.child(ContainerIdx::ROOT, "t", Kind::Text).unwrap();
        tx.text_delete(text, 4, 7).unwrap();
        let name = tx.child(ContainerIdx::ROOT, "name", Kind::Register).unwrap();
        tx.set(name, Value::from("overwritten")).unwrap();
        tx.set(name, Value::from("shown")).unwrap();
    });
    written.unwrap();
    let has = |file: &[u8], word: &str| file.windows(word.len()).any(|window| window == word.as_bytes());
    let store = [8; 32];
    let before = replica.save_compacted(&store);
    assert!(["secret", "overwritten", "shown", "stays"].iter().all(|word| has(&before, word)));
    replica.compact(&Frontier::Final(replica.version())).unwrap();
    let file = replica.save_compacted(&store);
    assert!(["secret", "overwritten"].iter().all(|word| !has(&file, word)));
    assert!(["shown", "stays"].iter().all(|word| has(&file, word)));

    let load = |file: &[u8], store: &[u8; 32]| Replica::load_compacted(file, store, &LoadOptions::default());
    let loaded = load(&file, &store).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!((loaded.digest(), loaded.heads()), (replica.digest(), replica.heads()));
    let text = loaded.document().child(ContainerIdx::ROOT, "t", Kind::Text).unwrap();
    let blames = loaded.blame(text, 0..3).unwrap();
    assert_eq!(blames[0].authorship.evidence(&loaded).unwrap().verify(), Ok(changes[0].id()));

    let fault = |file: &[u8], store: &[u8; 32]| load(file, store).err();
    assert_eq!(fault(&file, &[9; 32]), Some(CompactedError::Code));
    for at in (13..file.len()).step_by(7) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert_eq!(fault(&changed, &store), Some(CompactedError::Code));
    }
    assert_eq!(fault(&file[..file.len() - 1], &store), Some(CompactedError::Code));
    assert_eq!(fault(&file[1..], &store), Some(CompactedError::Magic));
    assert_eq!(fault(&[], &store), Some(CompactedError::Magic));
}
