//! Random histories of signed changes: every operation, nested containers, members who write at the same time, some of whom fork their chains.

use bft_json_crdt::dag::Dag;
use bft_json_crdt::document::{ContainerIdx, NewElement, Tx};
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Limits, Replica};
use bft_json_crdt::value::Value;

use crate::world::{DOCUMENT, all, key};

/// A sequence of numbers that a seed fixes (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((n ^ (n >> 31)) % sides as u64) as usize
    }
}

fn value(dice: &mut Dice) -> Value {
    match dice.roll(8) {
        0 => Value::Null,
        1 => Value::Bool(dice.roll(2) == 0),
        2 => Value::Int((dice.roll(1 << 40) as i64 - (1 << 39)).into()),
        3 => Value::Float(dice.roll(1000) as f64 / 7.0),
        4 => Value::Array(vec![value(dice), Value::Array(Vec::new())]),
        5 => Value::Object([("k".to_owned(), value(dice)), ("é".to_owned(), Value::Null)].into()),
        _ => Value::String(["", "a", "some words", "é😀"][dice.roll(4)].to_owned()),
    }
}

const KEYS: [&str; 5] = ["a", "b", "", "ключ", "a longer key than the others"];

/// Somewhere in the document: a map or a list's element that is one.
fn some_map(tx: &mut Tx<Dag>, dice: &mut Dice) -> ContainerIdx {
    let mut map = ContainerIdx::ROOT;
    for _ in 0..dice.roll(3) {
        map = match dice.roll(3) {
            0 => {
                let list = tx.child(map, "nodes", Kind::List).unwrap();
                tx.push(list, NewElement::Container(Kind::Map)).unwrap().container.unwrap()
            }
            _ => tx.child(map, KEYS[dice.roll(KEYS.len())], Kind::Map).unwrap(),
        };
    }
    map
}

fn edit(tx: &mut Tx<Dag>, dice: &mut Dice) {
    let map = some_map(tx, dice);
    let key = KEYS[dice.roll(KEYS.len())];
    match dice.roll(12) {
        0 => {
            let child = tx.child(map, key, Kind::ALL[dice.roll(6)]).unwrap();
            tx.ensure(child).unwrap();
        }
        1 => {
            tx.remove(map, key).unwrap();
        }
        2 => tx.clear(map).unwrap(),
        3 | 4 => {
            let kind = [Kind::Register, Kind::MultiRegister][dice.roll(2)];
            let register = tx.put(map, key, kind).unwrap();
            tx.set(register, value(dice)).unwrap();
        }
        5 => {
            let counter = tx.child(map, key, Kind::Counter).unwrap();
            tx.add(counter, dice.roll(2000) as i64 - 1000).unwrap();
        }
        6..9 => {
            let list = tx.child(map, "list", Kind::List).unwrap();
            let len = tx.document().len(list);
            match dice.roll(5) {
                0 if len > 0 => {
                    let at = dice.roll(len);
                    tx.delete(list, at, 1 + dice.roll(len - at)).unwrap();
                }
                1 if len > 1 => tx.move_element(list, dice.roll(len), dice.roll(len)).unwrap(),
                2 => {
                    tx.insert(list, dice.roll(len + 1), NewElement::Container(Kind::ALL[dice.roll(6)])).unwrap();
                }
                _ => {
                    let values = (0..1 + dice.roll(4)).map(|_| value(dice)).collect();
                    tx.insert_values(list, dice.roll(len + 1), values).unwrap();
                }
            }
        }
        _ => {
            let text = tx.child(map, "text", Kind::Text).unwrap();
            let len = tx.document().len(text);
            if len > 3 && dice.roll(3) == 0 {
                let at = dice.roll(len);
                for _ in 0..1 + dice.roll(3.min(len - at)) {
                    tx.text_delete(text, at, 1).unwrap();
                }
            } else {
                let words = ["x", "typing ", "ß", "日本語", "\u{1f600}!"][dice.roll(5)];
                tx.text_insert(text, dice.roll(len + 1), words).unwrap();
            }
        }
    }
}

/// Plays a history; what one member, who can write, holds in the end.
pub(super) fn history(seed: u64) -> Replica {
    let mut dice = Dice(seed);
    let members = 1 + dice.roll(4);
    // One more replica writes with the first member's key. Its chain forks at once, and an honest member builds on each of the branches before anybody can know.
    let forks = members > 2 && dice.roll(2) == 0;
    let mut replicas: Vec<Replica> = (0..members + usize::from(forks))
        .map(|n| {
            let mut replica = Replica::new(DOCUMENT, Limits::default());
            replica.set_writer(Some(key((n % members) as u8 + 1).author()));
            replica
        })
        .collect();
    if forks {
        for (branch, honest) in [(0, 1), (members, 2)] {
            for n in [branch, honest] {
                let changes = all(&replicas[branch]);
                replicas[n].apply_batch(changes);
                for _ in 0..1 + dice.roll(3) {
                    let keypair = key((n % members) as u8 + 1);
                    replicas[n].transact(&keypair, 7, |tx| edit(tx, &mut dice)).expect("nobody knows of the fork yet");
                }
            }
        }
    }
    for _ in 0..5 + dice.roll(60) {
        let n = dice.roll(replicas.len());
        if dice.roll(3) == 0 {
            let from = dice.roll(replicas.len());
            let changes: Vec<Incoming> = all(&replicas[from]);
            replicas[n].apply_batch(changes);
        }
        let keypair = key((n % members) as u8 + 1);
        if replicas[n].needs_acknowledgement() {
            let _ = replicas[n].acknowledge(&keypair, 5);
        }
        let time = [0, 1_700_000_000_000, (1 << 53) - 1][dice.roll(3)];
        let edits = dice.roll(6);
        let _ = replicas[n].transact(&keypair, time, |tx| (0..edits).for_each(|_| edit(tx, &mut dice)));
    }
    let changes: Vec<Incoming> = replicas.iter().flat_map(all).collect();
    let mut last = replicas.swap_remove(if members > 1 { 1 } else { 0 });
    last.apply_batch(changes);
    last
}
