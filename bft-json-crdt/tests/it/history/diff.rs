//! Differences between versions: followed event by event, a copy of the one document becomes the other.

use bft_json_crdt::document::{ContainerIdx, Element, Happened, MAX_EVENTS, NewElement, Step, Tx};
use bft_json_crdt::history::{HistoryError, Past, Version};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::Replica;
use bft_json_crdt::value::Value;
use proptest::prelude::*;

use super::model::{Item, Node};
use super::world::{Dice, must_apply, random_history, random_version, steps, typed};
use crate::world::{key, writer};

/// Follows the difference from one past to another on a copy.
fn follow(replica: &Replica, from: &Past, to: &Past) {
    let events = from.diff(replica, to).unwrap();
    let mut model = Node::of(from.document(), ContainerIdx::ROOT);
    for event in &events {
        assert_eq!(replica.document().kind(event.container), event.kind);
        let here = to.locate(replica, event.container).unwrap();
        let document = to.document();
        let came = |index: usize| match document.element(here.expect("something came"), index) {
            Some(Element::Value(value)) => Item::Value(value.clone()),
            Some(Element::Container(kind, _)) => Node::came(kind),
            None => panic!("what came stands in the later document"),
        };
        if event.happened != Happened::Cleared {
            assert_eq!(document.path(here.unwrap()).as_ref(), Some(&event.path));
        }
        let content = to.content(replica, event).unwrap();
        let text = match &content {
            Some(Value::String(text)) => text.clone(),
            _ => String::new(),
        };
        model.follow(event, content, came, &text);
    }
    assert_eq!(model, Node::of(to.document(), ContainerIdx::ROOT));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_difference_turns_one_version_into_another(steps in steps(32), seed in any::<u64>()) {
        let replica = random_history(&steps);
        let mut dice = Dice(seed);
        if replica.is_empty() {
            return Ok(());
        }
        for round in 0..5 {
            let a = if round == 0 { replica.version() } else { random_version(&replica, &mut dice) };
            let b = random_version(&replica, &mut dice);
            let (a, b) = (replica.checkout(&a).unwrap(), replica.checkout(&b).unwrap());
            follow(&replica, &a, &b);
            follow(&replica, &b, &a);
            prop_assert_eq!(replica.diff(a.version(), b.version()).unwrap(), a.diff(&replica, &b).unwrap());
            prop_assert_eq!(a.diff(&replica, &a).unwrap(), vec![]);
        }
    }
}

type Write<'a> = &'a dyn Fn(&mut Tx, ContainerIdx);

/// Moves, and now and then an insert or a delete, in the list "l".
fn rearrange(replica: &mut Replica, keypair: &Keypair, dice: &mut Dice) {
    let written = replica.transact(keypair, 1_000, |tx| {
        let list = tx.child(ContainerIdx::ROOT, "l", Kind::List).unwrap();
        for _ in 0..=dice.roll(3) {
            let len = tx.document().len(list);
            match dice.roll(6) {
                0 if len > 0 => tx.delete(list, dice.roll(len), 1).unwrap(),
                0 | 1 => {
                    tx.insert_values(list, dice.roll(len + 1), vec![Value::from(dice.roll(99) as i64); 2]).unwrap()
                }
                _ if len > 0 => tx.move_element(list, dice.roll(len), dice.roll(len)).unwrap(),
                _ => {}
            }
        }
    });
    written.expect("it can be written");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_difference_of_rearranged_lists_turns_one_into_another(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let keys = [key(1), key(2)];
        let mut replicas = [writer(&keys[0]), writer(&keys[1])];
        for step in 0..24 {
            let at = dice.roll(2);
            rearrange(&mut replicas[at], &keys[at], &mut dice);
            if step % 6 == 0 {
                let news = crate::world::all(&replicas[1 - at]);
                replicas[at].apply_batch(news);
            }
        }
        let [mut replica, other] = replicas;
        replica.apply_batch(crate::world::all(&other));
        for _ in 0..6 {
            let mut past = || replica.checkout(&random_version(&replica, &mut dice)).unwrap();
            follow(&replica, &past(), &past());
        }
    }
}

/// A replica with a list "l" of numbers, and the version of each change that the closures write.
fn listed(count: i64, writes: &[Write<'_>]) -> (Replica, Vec<Version>) {
    let keypair = key(1);
    let mut replica = writer(&keypair);
    let mut versions = Vec::new();
    let start = |tx: &mut Tx, list| {
        tx.insert_values(list, 0, (0..count).map(Value::from).collect()).unwrap();
    };
    for write in [&start as Write<'_>].iter().chain(writes) {
        let written = replica.transact(&keypair, 1_000, |tx| {
            let list = tx.child(ContainerIdx::ROOT, "l", Kind::List).unwrap();
            write(tx, list);
        });
        versions.push(written.expect("it can be written").0.id().into());
    }
    (replica, versions)
}

fn happened(replica: &Replica, from: &Version, to: &Version) -> Vec<Happened> {
    replica.diff(from, to).unwrap().into_iter().map(|event| event.happened).collect()
}

#[test]
fn a_difference_is_net_and_reads_from_the_later_document() {
    let (replica, changes) = typed(&key(1), &["hello", " wor", "ld"]);
    let events = replica.diff(&Version::EMPTY, &replica.version()).unwrap();
    let [event] = &events[..] else { panic!("three changes, one insert: {events:?}") };
    assert_eq!(event.happened, Happened::Inserted { index: 0, len: 11 });
    assert_eq!(event.path, [Step::Key("t".into())]);
    assert_eq!(event.change, replica.index_of(&changes[2].id()).unwrap());
    let now = replica.checkout(&replica.version()).unwrap();
    assert_eq!(now.content(&replica, event).unwrap(), Some("hello world".into()));
    assert_eq!(happened(&replica, &replica.version(), &Version::EMPTY), [Happened::Cleared]);
    let tail = Happened::Deleted { index: 5, len: 6 };
    assert_eq!(happened(&replica, &replica.version(), &changes[0].id().into()), [tail]);
}

#[test]
fn a_move_is_told_as_a_move() {
    let forward = |tx: &mut Tx, list| tx.move_element(list, 1, 4).unwrap();
    let shuffle = |tx: &mut Tx, list| {
        tx.delete(list, 0, 1).unwrap();
        tx.move_element(list, 0, 3).unwrap();
        tx.insert(list, 1, NewElement::Value(9_i64.into())).unwrap();
    };
    let (replica, versions) = listed(6, &[&forward, &shuffle]);
    assert_eq!(happened(&replica, &versions[0], &versions[1]), [Happened::Moved { from: 1, to: 4 }]);
    assert_eq!(happened(&replica, &versions[1], &versions[0]), [Happened::Moved { from: 4, to: 1 }]);
    let all = [
        Happened::Deleted { index: 0, len: 1 },
        Happened::Moved { from: 0, to: 3 },
        Happened::Inserted { index: 1, len: 1 },
    ];
    assert_eq!(happened(&replica, &versions[1], &versions[2]), all);
    for (a, b) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        follow(&replica, &replica.checkout(&versions[a]).unwrap(), &replica.checkout(&versions[b]).unwrap());
    }
}

#[test]
fn a_difference_tells_a_bounded_number_of_events() {
    let keypair = key(1);
    let mut replica = writer(&keypair);
    let written = replica.transact(&keypair, 1_000, |tx| {
        for number in 0..MAX_EVENTS + 100 {
            let count = tx.child(ContainerIdx::ROOT, &number.to_string(), Kind::Counter).unwrap();
            tx.add(count, 1).unwrap();
        }
    });
    let version = written.unwrap().0.id().into();
    for (from, to, told) in
        [(&Version::EMPTY, &version, Happened::Added(1)), (&version, &Version::EMPTY, Happened::Cleared)]
    {
        let events = replica.diff(from, to).unwrap();
        assert_eq!(events.len(), MAX_EVENTS + 1);
        assert_eq!((events[MAX_EVENTS].container, events[MAX_EVENTS].happened), (ContainerIdx::ROOT, Happened::Untold));
        assert!(events[..MAX_EVENTS].iter().all(|event| event.happened == told));
    }
}

#[test]
fn pasts_of_other_replicas_are_not_compared() {
    let (replica, changes) = typed(&key(1), &["a"]);
    let mut other = writer(&key(2));
    must_apply(&mut other, &changes[0]);
    let (a, b) = (replica.checkout(&replica.version()).unwrap(), other.checkout(&other.version()).unwrap());
    assert_eq!(a.diff(&replica, &b).unwrap_err(), HistoryError::Stale);
    assert_eq!(b.diff(&replica, &a).unwrap_err(), HistoryError::Stale);
    assert_eq!(b.locate(&replica, ContainerIdx::ROOT).unwrap_err(), HistoryError::Stale);
}
