//! Any order, duplication and split of delivery converges, with up to half of the authors forking their chains.

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Replica};
use bft_json_crdt::value::Value;
use proptest::prelude::*;

use crate::world::*;

const MEMBERS: usize = 6;
/// The last so many of them lie.
const LIARS: usize = 3;

/// One step of a run.
#[derive(Debug, Clone)]
enum Step {
    /// A member writes to its own replica; a liar to one of its two.
    Write { member: usize, copy: usize, what: u8 },
    /// One replica hands another some of its changes: those whose number leaves `remainder` when divided by `divisor`, in an order that
    /// `shuffle` decides, and again those that come up twice.
    Deliver { from: usize, to: usize, divisor: usize, remainder: usize, shuffle: u64 },
    /// One replica hands another its proofs.
    Tell { from: usize, to: usize },
}

/// Replicas: one for each honest member, two for each liar (who writes to both, each time unaware of the other), two readers.
const REPLICAS: usize = MEMBERS + LIARS + 2;

fn step() -> impl Strategy<Value = Step> {
    let replica = 0..REPLICAS;
    prop_oneof![
        3 => (0..MEMBERS, 0..2usize, any::<u8>()).prop_map(|(member, copy, what)| Step::Write { member, copy, what }),
        4 => (replica.clone(), replica.clone(), 1..4usize, 0..4usize, any::<u64>()).prop_map(
            |(from, to, divisor, remainder, shuffle)| Step::Deliver { from, to, divisor, remainder, shuffle }
        ),
        1 => (replica.clone(), replica).prop_map(|(from, to)| Step::Tell { from, to }),
    ]
}

fn write(replica: &mut Replica, keypair: &Keypair, what: u8) {
    // A liar whom its own replica has caught writes no more here; the heads are few enough to name.
    let _ = replica.transact(keypair, u64::from(what), |tx| {
        let key = ["a", "b"][usize::from(what) % 2];
        match what % 7 {
            0 => {
                let register = tx.put(ContainerIdx::ROOT, key, Kind::Register).unwrap();
                tx.set(register, Value::Int(what.into())).unwrap();
            }
            1 => {
                let counter = tx.child(ContainerIdx::ROOT, key, Kind::Counter).unwrap();
                tx.add(counter, i64::from(what)).unwrap();
            }
            2 => {
                let map = tx.child(ContainerIdx::ROOT, key, Kind::Map).unwrap();
                let inner = tx.child(map, "inner", Kind::MultiRegister).unwrap();
                tx.set(inner, Value::Int(what.into())).unwrap();
            }
            3 => {
                tx.remove(ContainerIdx::ROOT, key).unwrap();
            }
            4 => {
                let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
                tx.text_insert(text, 0, "x").unwrap();
            }
            5 => {
                let list = tx.child(ContainerIdx::ROOT, "list", Kind::List).unwrap();
                if tx.document().len(list) > 0 {
                    tx.delete(list, 0, 1).unwrap();
                }
            }
            _ => {
                let list = tx.child(ContainerIdx::ROOT, "list", Kind::List).unwrap();
                tx.push(list, NewElement::Value(Value::Int(what.into()))).unwrap();
            }
        }
    });
}

/// Fisher and Yates with a small generator, so that the order comes from the seed.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for i in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, (seed >> 33) as usize % (i + 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_duplication_and_split_of_delivery_converges(steps in proptest::collection::vec(step(), 1..80)) {
        let keys: Vec<Keypair> = (1..=MEMBERS as u8).map(key).collect();
        let honest = MEMBERS - LIARS;
        let mut replicas: Vec<Replica> = Vec::new();
        let mut writers: Vec<Option<Keypair>> = Vec::new();
        for (member, key) in keys.iter().enumerate() {
            for _ in 0..if member < honest { 1 } else { 2 } {
                replicas.push(writer(key));
                writers.push(Some(key.clone()));
            }
        }
        for _ in 0..2 {
            replicas.push(reader());
            writers.push(None);
        }
        for step in steps {
            match step {
                Step::Write { member, copy, what } => {
                    let at = if member < honest { member } else { honest + 2 * (member - honest) + copy };
                    write(&mut replicas[at], &keys[member], what);
                }
                Step::Deliver { from, to, divisor, remainder, shuffle: seed } if from != to => {
                    let mut batch: Vec<Incoming> = all(&replicas[from]).into_iter().enumerate()
                        .filter(|(n, _)| n % divisor == remainder % divisor)
                        .map(|(_, incoming)| incoming)
                        .collect();
                    let again: Vec<Incoming> = batch.iter().step_by(3).cloned().collect();
                    batch.extend(again);
                    shuffle(&mut batch, seed);
                    let split = if batch.is_empty() { 0 } else { seed as usize % batch.len() };
                    let rest = batch.split_off(split);
                    replicas[to].apply_batch(batch);
                    for incoming in rest {
                        replicas[to].apply(incoming);
                    }
                }
                Step::Deliver { .. } => {}
                Step::Tell { from, to } => {
                    let proofs: Vec<_> = replicas[from].proofs().cloned().collect();
                    for proof in proofs {
                        prop_assert!(replicas[to].apply_proof(proof).is_some());
                    }
                }
            }
        }
        // The liars' own replicas take no part: what they did not send, nobody has to learn.
        let mut at = 0;
        replicas.retain(|_| { at += 1; at <= honest || at > honest + 2 * LIARS });
        let mut at = 0;
        writers.retain(|_| { at += 1; at <= honest || at > honest + 2 * LIARS });
        exchange(&mut replicas, &writers);
        for replica in &replicas {
            prop_assert!(keys[..honest].iter().all(|key| !replica.is_proven(&key.author())), "nobody honest is convicted");
            for other in &replicas {
                prop_assert_eq!(replica.heads(), other.heads());
                prop_assert_eq!(replica.heads_digest(), other.heads_digest());
                prop_assert_eq!(replica.digest(), other.digest());
                prop_assert_eq!(replica.proofs().count(), other.proofs().count());
            }
        }
        // And so does whoever comes later, from an archive or from the wire, in any order.
        let saved = Replica::load_archive(&replicas[0].save().into(), Default::default(), None).unwrap();
        prop_assert_eq!(saved.digest(), replicas[0].digest());
        let mut late = reader();
        let mut history = all(&replicas[0]);
        shuffle(&mut history, 7);
        late.apply_batch(history);
        prop_assert_eq!(late.digest(), replicas[0].digest());
    }
}

/// All orders of a small history with a fork, an invalid change, and dependents of each.
#[test]
fn every_order_of_a_small_history_converges() {
    let (alice, mallory, trudy) = (key(1), key(2), key(3));
    let first = note(&mut writer(&alice), &alice, "first");
    let forks: Vec<Change> = (0..2).map(|n| craft(&mallory, None, &[first.id()], n, &no_ops())).collect();
    let second = craft(&alice, Some(&first), &[forks[1].id()], 0, &no_ops());
    let bad = Change::sign(&trudy, header(&trudy, None, &[forks[0].id()], 0), &{
        use bft_json_crdt::ops::{OpsBuilder, Ref, Unit};
        let mut builder = OpsBuilder::new();
        let source = builder.foreign(ChangeId([9; 32])).unwrap();
        builder.push(Unit::Delete { target: Ref { source, offset: 0 } }).unwrap();
        builder.finish().encode().unwrap()
    });
    let on_bad = craft(&key(4), None, &[bad.id()], 0, &no_ops());
    let mut changes = [first, forks[0].clone(), forks[1].clone(), second, bad, on_bad];
    let mut digest = None;
    permute(&mut changes, 0, &mut |order| {
        let mut replica = reader();
        give(&mut replica, order);
        let ids: Vec<ChangeId> = order.iter().map(Change::id).collect();
        assert_eq!(*digest.get_or_insert(replica.digest()), replica.digest(), "order {ids:?}");
        assert_eq!(replica.len(), 3, "first, the fork that second depends on, second: {ids:?}");
    });
}

fn permute(changes: &mut [Change], from: usize, visit: &mut impl FnMut(&[Change])) {
    if from == changes.len() {
        return visit(changes);
    }
    for i in from..changes.len() {
        changes.swap(from, i);
        permute(changes, from + 1, visit);
        changes.swap(from, i);
    }
}
