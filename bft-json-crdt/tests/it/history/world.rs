//! A replica with a random history: several authors, one of them with a forked chain, over nested containers.

use std::collections::BTreeSet;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::document::{ContainerIdx, Element, NewElement, Tx};
use bft_json_crdt::history::Version;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::{Kind, MAX_DEPTH};
use bft_json_crdt::replica::{Incoming, Replica};
use bft_json_crdt::value::Value;
use proptest::prelude::*;

use crate::world::{give, key, verdict, writer};

const KEYS: [&str; 3] = ["a", "b", "c"];

/// A stream of choices from one number, so that a failing case shrinks to few and small numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides as u64) as usize
    }

    fn kind(&mut self) -> Kind {
        Kind::ALL[self.roll(6)]
    }

    fn value(&mut self) -> Value {
        Value::Int(self.roll(100) as i128)
    }
}

/// A container that a random walk from the root comes to.
fn wander(tx: &mut Tx, dice: &mut Dice) -> ContainerIdx {
    let mut at = ContainerIdx::ROOT;
    loop {
        let stop = at != ContainerIdx::ROOT && dice.roll(3) == 0;
        match tx.document().kind(at) {
            Kind::Map if !stop && tx.document().depth(at) < MAX_DEPTH => {
                let (key, kind) = (KEYS[dice.roll(3)], dice.kind());
                at = if dice.roll(6) == 0 { tx.put(at, key, kind) } else { tx.child(at, key, kind) }.unwrap();
            }
            Kind::List if !stop && !tx.document().is_empty(at) => {
                let index = dice.roll(tx.document().len(at));
                match tx.document().element(at, index) {
                    Some(Element::Container(_, inner)) => at = inner,
                    _ => return at,
                }
            }
            _ => return at,
        }
    }
}

fn write_randomly(tx: &mut Tx, dice: &mut Dice) {
    for _ in 0..=dice.roll(8) {
        let at = wander(tx, dice);
        let len = tx.document().len(at);
        let done = match (tx.document().kind(at), dice.roll(12)) {
            (_, 0) => tx.ensure(at),
            (_, 1) if dice.roll(8) == 0 => tx.clear(at),
            (Kind::Register | Kind::MultiRegister, _) => tx.set(at, dice.value()),
            (Kind::Counter, 2) => tx.add(at, i64::MAX),
            (Kind::Counter, _) => tx.add(at, dice.roll(9) as i64 - 4),
            (Kind::Map, 2) => tx.remove(at, KEYS[dice.roll(3)]).map(drop),
            (Kind::Map, _) => Ok(()),
            (Kind::List, 2) if len > 0 => {
                let from = dice.roll(len);
                tx.delete(at, from, 1 + dice.roll((len - from).min(3)))
            }
            (Kind::List, 3..=5) if len > 0 => tx.move_element(at, dice.roll(len), dice.roll(len)),
            (Kind::List, 6..=8) => {
                let values = (0..1 + dice.roll(4)).map(|_| dice.value()).collect();
                tx.insert_values(at, dice.roll(len + 1), values)
            }
            (Kind::List, _) => tx.insert(at, dice.roll(len + 1), NewElement::Container(dice.kind())).map(drop),
            (Kind::Text, 2..=4) if len > 0 => {
                let from = dice.roll(len);
                tx.text_delete(at, from, 1 + dice.roll(len - from))
            }
            (Kind::Text, _) => tx.text_insert(at, dice.roll(len + 1), ["x", "äö", "abcd"][dice.roll(3)]),
        };
        done.expect("what is asked for can be done");
    }
}

/// What several replicas wrote and exchanged. The last two write under one key, and never learn of each other before the end.
pub(crate) fn random_history(steps: &[(u8, u64)]) -> Replica {
    let keys: Vec<Keypair> = [1, 2, 3, 3].map(key).into_iter().collect();
    let mut replicas: Vec<Replica> = keys.iter().map(writer).collect();
    for &(action, seed) in steps {
        let mut dice = Dice(seed);
        let at = dice.roll(4);
        if action < 5 {
            replicas[at].transact(&keys[at], seed % 1_000_000, |tx| write_randomly(tx, &mut dice)).expect("it is good");
        } else if at < 2 {
            // A part of what somebody else has. Whoever takes from both with one key convicts them, and goes on.
            let changes: Vec<Change> = changes(&replicas[dice.roll(4)]).collect();
            let until = dice.roll(changes.len() + 1);
            give(&mut replicas[at], &changes[..until]);
        } else {
            let changes: Vec<Change> = changes(&replicas[dice.roll(2)]).collect();
            // Nothing that the twin has written: it would be the proof, and this one could write no more.
            give(&mut replicas[at], changes.iter().filter(|change| change.author() != keys[2].author()));
        }
    }
    // A store takes everything as it comes, whoever forked.
    let mut whole = writer(&key(9));
    for replica in &replicas {
        whole.load(changes(replica).map(Incoming::from).collect()).expect("what replicas applied can be loaded");
    }
    whole
}

fn changes(replica: &Replica) -> impl Iterator<Item = Change> + '_ {
    replica.log(ChangeIdx(0)).map(|(_, incoming)| incoming.change)
}

/// A random set of heads.
pub(crate) fn random_version(replica: &Replica, dice: &mut Dice) -> Version {
    let mut pick = || replica.id(ChangeIdx(dice.roll(replica.len()) as u32));
    let all = [pick(), pick(), pick()];
    Version::new(all.into_iter().take(dice.roll(4)))
}

/// Everything that a version holds, by following headers.
pub(crate) fn held(replica: &Replica, version: &Version) -> BTreeSet<ChangeId> {
    let mut held = BTreeSet::new();
    let mut open: Vec<ChangeId> = version.heads().to_vec();
    while let Some(id) = open.pop() {
        if held.insert(id) {
            open.extend(replica.get(&id).expect("it is applied").header().parents());
        }
    }
    held
}

/// A fresh replica with these changes and no others.
pub(crate) fn only(replica: &Replica, held: &BTreeSet<ChangeId>) -> Replica {
    let mut fresh = writer(&key(9));
    let kept = changes(replica).filter(|change| held.contains(&change.id()));
    fresh.load(kept.map(Incoming::from).collect()).expect("a causal past can be loaded");
    fresh
}

/// Steps for [`random_history`].
pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0..8u8, any::<u64>()), 1..most)
}

/// A replica whose member has written one change for each text, into the text "t"; none of them is empty.
pub(crate) fn typed(keypair: &Keypair, texts: &[&str]) -> (Replica, Vec<Change>) {
    let mut replica = writer(keypair);
    let write = |text: &&str| {
        let (change, ..) = replica.transact(keypair, 1_000, |tx| {
            let at = tx.child(ContainerIdx::ROOT, "t", Kind::Text).unwrap();
            let end = tx.document().len(at);
            tx.text_insert(at, end, text).unwrap();
        })?;
        Ok::<_, bft_json_crdt::replica::TransactError>(change)
    };
    let changes = texts.iter().map(write).collect::<Result<_, _>>().expect("it can be written");
    (replica, changes)
}

/// Hands a change to a replica that must apply it.
pub(crate) fn must_apply(replica: &mut Replica, change: &Change) {
    let verdict = verdict(&replica.apply(change.clone().into()));
    assert_eq!(verdict, bft_json_crdt::replica::Verdict::Applied);
}
