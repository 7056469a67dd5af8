//! Who wrote what shows, checked as a third party checks it.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::document::{ContainerIdx, Document, Element, NewElement};
use bft_json_crdt::evidence::{EvidenceError, MAX_CHAIN, SignedChain, Voucher};
use bft_json_crdt::history::{Authorship, Blame, Evidence, HistoryError, Standing};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Replica};
use bft_json_crdt::value::Value;
use bft_json_crdt::{BaseCrdt, GatherBounds, Untyped};
use proptest::prelude::*;

use super::world::{Dice, must_apply, random_history, random_version, steps, typed};
use crate::world::{key, unsigned, writer};

const ROOT: ContainerIdx = ContainerIdx::ROOT;

/// All containers that show.
fn shown(document: &Document, at: ContainerIdx, all: &mut Vec<ContainerIdx>) {
    all.push(at);
    match document.kind(at) {
        Kind::Map => {
            for key in document.keys(at) {
                document.kinds_present(at, key).for_each(|(_, child)| shown(document, child, all));
            }
        }
        Kind::List => {
            for (_, element) in document.elements(at, 0) {
                if let Element::Container(_, inner) = element {
                    shown(document, inner, all);
                }
            }
        }
        _ => {}
    }
}

/// What bytes alone prove: a stranger gets them and knows who wrote what.
fn check(replica: &Replica, document: &Document, container: ContainerIdx, blame: &Blame) {
    let evidence = blame.authorship.evidence(replica).unwrap();
    let evidence = Evidence::decode(&evidence.encode()).unwrap();
    assert_eq!(evidence.verify(), Ok(blame.authorship.change));
    assert_eq!(evidence.header().author, blame.authorship.author);
    assert_eq!(evidence.header().seq, blame.authorship.seq);
    assert_eq!(evidence.header().time_ms, blame.authorship.time_ms);
    let (start, len) = (blame.range.start, blame.range.len());
    if document.kind(container) == Kind::Text {
        let written = Value::String(document.text_slice(container, start, len));
        assert_eq!(evidence.content(blame.offset, len as u32), Some(written));
        return;
    }
    for (n, (_, element)) in document.elements(container, start).take(len).enumerate() {
        let written = match element {
            Element::Value(value) => Some(Value::Array(vec![value.clone()])),
            Element::Container(..) => None,
        };
        assert_eq!(evidence.content(blame.offset + n as u32, 1), written);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_stretch_that_shows_was_written_by_whom_blame_says(steps in steps(32), seed in any::<u64>()) {
        let replica = random_history(&steps);
        let mut dice = Dice(seed);
        let mut all = Vec::new();
        shown(replica.document(), ROOT, &mut all);
        for container in all {
            let document = replica.document();
            let len = document.len(container);
            match document.kind(container) {
                Kind::List | Kind::Text => {
                    let whole = replica.blame(container, 0..len).unwrap();
                    let mut at = 0;
                    for blame in &whole {
                        prop_assert_eq!(blame.range.start, at);
                        prop_assert!(!blame.range.is_empty());
                        at = blame.range.end;
                        check(&replica, document, container, blame);
                    }
                    prop_assert_eq!(at, len);
                    for pair in whole.windows(2) {
                        let goes_on = pair[0].offset as usize + pair[0].range.len() == pair[1].offset as usize;
                        prop_assert!(!goes_on || pair[0].authorship.change != pair[1].authorship.change);
                    }
                    // A part says what the whole says of it.
                    let from = dice.roll(len + 1);
                    let range = from..from + dice.roll(len - from + 1);
                    let said = |blames: &[Blame], index: usize| {
                        let blame = blames.iter().find(|blame| blame.range.contains(&index)).expect("they fill it");
                        (blame.authorship.change, blame.offset as usize + index - blame.range.start)
                    };
                    let part = replica.blame(container, range.clone()).unwrap();
                    for index in range {
                        prop_assert_eq!(said(&part, index), said(&whole, index));
                    }
                }
                Kind::Register | Kind::MultiRegister => {
                    let writers = replica.writers(container).unwrap();
                    let shows = match document.view_at(container) {
                        Value::Array(values) if document.kind(container) == Kind::MultiRegister => values.len(),
                        Value::Null => 0,
                        _ => 1,
                    };
                    prop_assert_eq!(writers.len(), shows);
                    for writer in writers {
                        writer.evidence(&replica).unwrap().verify().unwrap();
                    }
                }
                _ => prop_assert!(replica.writers(container).unwrap().is_empty()),
            }
        }
        if !replica.is_empty() {
            let past = replica.checkout(&random_version(&replica, &mut dice)).unwrap();
            let mut all = Vec::new();
            shown(past.document(), ROOT, &mut all);
            for container in all.into_iter().filter(|at| matches!(past.document().kind(*at), Kind::List | Kind::Text)) {
                for blame in past.blame(&replica, container, 0..past.document().len(container)).unwrap() {
                    check(&replica, past.document(), container, &blame);
                }
            }
        }
    }
}

fn text(replica: &Replica) -> ContainerIdx {
    replica.document().child(ROOT, "t", Kind::Text).expect("it was written")
}

fn blamed(replica: &Replica) -> Vec<(std::ops::Range<usize>, ChangeId, u32)> {
    let text = text(replica);
    let blames = replica.blame(text, 0..replica.document().len(text)).unwrap();
    blames.into_iter().map(|blame| (blame.range, blame.authorship.change, blame.offset)).collect()
}

#[test]
fn an_insert_in_the_middle_splits_the_stretch() {
    let ann = key(1);
    let (mut replica, changes) = typed(&ann, &["hello", "world"]);
    assert_eq!(blamed(&replica), [(0..5, changes[0].id(), 0), (5..10, changes[1].id(), 0)]);
    let bob = key(2);
    let written = replica.transact(&bob, 2_000, |tx| {
        let text = tx.child(ROOT, "t", Kind::Text).unwrap();
        tx.text_delete(text, 0, 1).unwrap();
        tx.text_insert(text, 1, "--").unwrap();
    });
    let middle = written.unwrap().0;
    let expected = [
        (0..1, changes[0].id(), 1),
        // Behind the delete, which is the change's first unit.
        (1..3, middle.id(), 1),
        (3..6, changes[0].id(), 2),
        (6..11, changes[1].id(), 0),
    ];
    assert_eq!(blamed(&replica), expected);
    let blame = &replica.blame(text(&replica), 2..3).unwrap()[0];
    assert_eq!((blame.range.clone(), blame.offset), (2..3, 2));
    assert_eq!((blame.authorship.author, blame.authorship.time_ms), (bob.author(), 2_000));
}

#[test]
fn what_is_asked_of_blame_must_be_there() {
    let (replica, _) = typed(&key(1), &["ab"]);
    let text = text(&replica);
    assert_eq!(replica.blame(ROOT, 0..0), Err(HistoryError::Kind(Kind::Map)));
    assert_eq!(replica.blame(text, 1..3), Err(HistoryError::OutOfBounds { end: 3, len: 2 }));
    #[expect(clippy::reversed_empty_ranges, reason = "that is the fault")]
    let reversed = replica.blame(text, 2..1);
    assert_eq!(reversed, Err(HistoryError::OutOfBounds { end: 1, len: 2 }));
    assert_eq!(replica.blame(text, 2..2), Ok(vec![]));
}

#[test]
fn a_register_names_the_writer_of_the_value_that_shows() {
    let keys = [key(1), key(2)];
    let mut replicas = [writer(&keys[0]), writer(&keys[1])];
    for kind in [Kind::Register, Kind::MultiRegister] {
        let set = |replica: &mut Replica, key: &Keypair, value: i64| {
            let written = replica.transact(key, 1_000, |tx| {
                let at = tx.child(ROOT, &format!("{kind:?}"), kind).unwrap();
                tx.set(at, Value::from(value)).unwrap();
            });
            written.unwrap().0
        };
        let written = [set(&mut replicas[0], &keys[0], 1), set(&mut replicas[1], &keys[1], 2)];
        must_apply(&mut replicas[0], &written[1]);
        must_apply(&mut replicas[1], &written[0]);
        let at = replicas[0].document().child(ROOT, &format!("{kind:?}"), kind).unwrap();
        let said: Vec<ChangeId> = replicas[0].writers(at).unwrap().iter().map(|writer| writer.change).collect();
        let mut ids = [written[0].id(), written[1].id()];
        // Concurrent and of one lamport: the ids order them.
        ids.sort();
        assert_eq!(said, if kind == Kind::Register { &ids[1..] } else { &ids[..] });
    }
}

fn whole_blame(replica: &Replica) -> Vec<Authorship> {
    let text = text(replica);
    let blames = replica.blame(text, 0..replica.document().len(text)).unwrap();
    blames.into_iter().map(|blame| blame.authorship).collect()
}

#[test]
fn a_vouched_change_is_proven_through_the_tip_that_vouches() {
    let (_, changes) = typed(&key(1), &["a", "b", "c"]);
    let voucher = Voucher(SignedChain::of(&changes[1..]).unwrap());
    let mut replica = writer(&key(2));
    let batch = vec![
        Incoming { change: unsigned(&changes[0]), voucher: Some(voucher.clone()) },
        changes[1].clone().into(),
        changes[2].clone().into(),
    ];
    assert_eq!(replica.apply_batch(batch).applied.len(), 3);
    let said = whole_blame(&replica);
    assert_eq!(said[0].standing, Standing::Vouched(changes[2].id()));
    assert_eq!(said[1].standing, Standing::Own);
    let evidence = said[0].evidence(&replica).unwrap();
    assert_eq!(evidence.chain.headers[1..], voucher.0.headers);
    assert_eq!(evidence.verify(), Ok(changes[0].id()));

    let mut alone = evidence.clone();
    alone.chain.headers.truncate(1);
    assert_eq!(alone.verify(), Err(EvidenceError::Signature));
    let other_ops = Evidence { ops: said[1].evidence(&replica).unwrap().ops, ..evidence.clone() };
    assert_eq!(other_ops.verify(), Err(EvidenceError::OtherChange));
    let mut gap = evidence.clone();
    gap.chain.headers.remove(1);
    assert_eq!(gap.verify(), Err(EvidenceError::Link));
    let mut trailing = Evidence { ops: None, ..evidence.clone() }.encode();
    trailing.push(0);
    assert!(Evidence::decode(&trailing).is_err());
    assert!(Evidence::decode(&evidence.encode()[..40]).is_err());
}

/// A store's changes, of which only the last has a good signature: that is all that a load asks for.
fn under_one_tip(changes: &[Change]) -> Replica {
    let (tip, before) = changes.split_last().unwrap();
    let mut replica = writer(&key(2));
    let stored = before.iter().map(unsigned).chain([tip.clone()]);
    replica.load(stored.map(Incoming::from).collect()).unwrap();
    replica
}

#[test]
fn a_change_that_a_store_held_under_a_later_signature_is_proven_by_the_chain() {
    let texts = vec!["x"; MAX_CHAIN + 1];
    let (_, changes) = typed(&key(1), &texts);
    let replica = under_one_tip(&changes);
    let said = whole_blame(&replica);
    // As far as a voucher reaches.
    assert_eq!(said[0].evidence(&replica), Err(HistoryError::Unproven(changes[0].id())));
    for (n, authorship) in said.iter().enumerate().skip(1) {
        let evidence = authorship.evidence(&replica).unwrap();
        assert_eq!(evidence.verify(), Ok(changes[n].id()));
        assert_eq!(evidence.chain.headers.len(), changes.len() - n);
    }
    let elsewhere = writer(&key(3));
    assert_eq!(said[1].evidence(&elsewhere), Err(HistoryError::Unknown(changes[1].id())));
}

#[test]
fn a_moved_element_stays_its_author_s() {
    let keys = [key(1), key(2)];
    let mut replica = writer(&keys[0]);
    let insert = replica.transact(&keys[0], 1_000, |tx| {
        let list = tx.child(ROOT, "l", Kind::List).unwrap();
        tx.insert_values(list, 0, (0..4_i64).map(Value::from).collect()).unwrap();
        tx.push(list, NewElement::Container(Kind::Map)).unwrap();
    });
    let insert = insert.unwrap().0;
    let moved = replica.transact(&keys[1], 1_000, |tx| {
        let list = tx.child(ROOT, "l", Kind::List).unwrap();
        tx.move_element(list, 0, 2).unwrap();
    });
    moved.unwrap();
    let list = replica.document().child(ROOT, "l", Kind::List).unwrap();
    let blames = replica.blame(list, 0..5).unwrap();
    let said: Vec<_> = blames.iter().map(|blame| (blame.range.clone(), blame.offset)).collect();
    assert_eq!(said, [(0..2, 1), (2..3, 0), (3..5, 3)]);
    assert!(blames.iter().all(|blame| blame.authorship.change == insert.id()));
    assert_eq!(blames[0].authorship.index, ChangeIdx(0));
}

#[test]
fn what_is_being_gathered_is_nobody_s_yet() {
    let keypair = key(1);
    let base = BaseCrdt::<Untyped>::from_replica(writer(&keypair), keypair);
    let mut page = base.gather(GatherBounds::default());
    let signed = page.edit_json(1_000, |doc| doc.put_json("/a", &serde_json::json!(1))).unwrap();
    assert!(signed.commit.is_none());
    page.flush().expect("something was written");
    let open = page.edit_json(2_000, |doc| doc.put_json("/b", &serde_json::json!([1, 2]))).unwrap();
    assert!(open.commit.is_none());
    let replica = page.replica();
    let list = replica.document().child(ROOT, "b", Kind::List).unwrap();
    assert_eq!(replica.blame(list, 0..2), Err(HistoryError::Unsigned));
    let a = replica.document().child(ROOT, "a", Kind::Register).unwrap();
    assert_eq!(replica.writers(a).unwrap().len(), 1);
    // Versions are of what is signed.
    let now = replica.checkout(&replica.version()).unwrap();
    assert_eq!(serde_json::Value::from(now.view()), serde_json::json!({ "a": 1 }));
    assert_eq!(now.locate(replica, list), Ok(None));
}
