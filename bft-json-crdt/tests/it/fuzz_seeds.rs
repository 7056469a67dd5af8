//! Writes the seeds of the fuzz targets that no golden bytes exist for: small archives, stories and sessions. To be run again when a format changes:
//! `cargo test -p bft-json-crdt --test it write_the_seeds -- --ignored`
#![expect(clippy::disallowed_methods, reason = "seeds are files")]

use std::path::Path;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, VERSION};
use bft_json_crdt::document::{ContainerIdx, NewElement, Tx};
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::replica::Replica;
use bft_json_crdt::sync::{Message, SessionLimits, SyncSession};
use bft_json_crdt::value::Value;
use bytes::Bytes;

use crate::fuzz_replay::oracles::scenario::{self, LAST_OF_OTHERS, MAX_LISTED, key, reader};
use crate::world::{give_batch, unsigned};

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// The record of a story that stands for `change`.
fn record(change: &Change, before: &[Change]) -> Vec<u8> {
    let header = change.header();
    let number =
        |id| u8::try_from(before.iter().position(|change| change.id() == id).expect("it came before")).unwrap();
    let member = (0..scenario::MEMBERS).find(|member| key(*member).author() == change.author()).unwrap();
    let own = before.iter().filter(|other| other.author() == change.author());
    let previous = match header.previous {
        None => 1,
        Some(id) => 2 + u8::try_from(own.clone().position(|own| own.id() == id).unwrap()).unwrap(),
    };
    let mut bytes = vec![member, previous, u8::try_from(header.deps.len()).unwrap()];
    assert!(header.deps.len() <= usize::from(MAX_LISTED));
    bytes.extend(header.deps.iter().map(|dep| number(*dep)));
    let mut ops = Ops::decode(VERSION, change.ops()).unwrap();
    for id in &mut ops.foreign {
        *id = bft_json_crdt::change::ChangeId([number(*id); 32]);
    }
    let ops = ops.encode().unwrap();
    bytes.extend(u16::try_from(ops.len()).unwrap().to_be_bytes());
    bytes.extend(ops);
    bytes
}

fn story(changes: &[Change]) -> Vec<u8> {
    changes.iter().enumerate().flat_map(|(number, change)| record(change, &changes[..number])).collect()
}

fn text(tx: &mut Tx, at: usize, characters: &str) {
    let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
    tx.text_insert(text, at, characters).unwrap();
}

fn list(tx: &mut Tx) -> ContainerIdx {
    tx.child(ContainerIdx::ROOT, "list", Kind::List).unwrap()
}

type Write = fn(&mut Tx);

/// Lets members write in rounds: within a round none knows of the others, between two rounds all learn of all.
fn written(rounds: &[[Write; 3]]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let mut replicas = [reader(), reader(), reader()];
    for round in rounds {
        let mut new = Vec::new();
        for ((replica, member), write) in replicas.iter_mut().zip(0..).zip(round) {
            new.push(replica.transact(&key(member), 1, write).unwrap().0);
        }
        for replica in &mut replicas {
            give_batch(replica, &new);
        }
        changes.extend(new);
    }
    changes
}

fn lists() -> Vec<Change> {
    written(&[
        [
            |tx| {
                let list = list(tx);
                tx.insert_values(list, 0, (0..6).map(Value::Int).collect()).unwrap();
                let held = tx.insert(list, 2, NewElement::Container(Kind::Map)).unwrap().container.unwrap();
                let counter = tx.child(held, "n", Kind::Counter).unwrap();
                tx.add(counter, 3).unwrap();
            },
            |tx| {
                let list = list(tx);
                tx.insert_values(list, 0, vec![Value::Bool(true), Value::Null]).unwrap();
            },
            |tx| text(tx, 0, "héllo"),
        ],
        [
            |tx| {
                let list = list(tx);
                tx.move_element(list, 1, 5).unwrap();
                tx.delete(list, 0, 2).unwrap();
            },
            |tx| {
                let list = list(tx);
                tx.move_element(list, 1, 3).unwrap();
                tx.insert_values(list, 1, vec![Value::Int(9)]).unwrap();
            },
            |tx| {
                let list = list(tx);
                tx.delete(list, 1, 3).unwrap();
            },
        ],
    ])
}

fn maps() -> Vec<Change> {
    written(&[
        [
            |tx| {
                let map = tx.child(ContainerIdx::ROOT, "map", Kind::Map).unwrap();
                let register = tx.child(map, "a", Kind::Register).unwrap();
                tx.set(register, Value::Int(1)).unwrap();
                text(tx, 0, "one");
            },
            |tx| {
                let map = tx.child(ContainerIdx::ROOT, "map", Kind::Map).unwrap();
                let counter = tx.child(map, "a", Kind::Counter).unwrap();
                tx.add(counter, -7).unwrap();
                tx.ensure(map).unwrap();
            },
            |tx| {
                let register = tx.child(ContainerIdx::ROOT, "map", Kind::MultiRegister).unwrap();
                tx.set(register, Value::String("x".into())).unwrap();
                text(tx, 0, "two");
            },
        ],
        [
            |tx| {
                tx.remove(ContainerIdx::ROOT, "map").unwrap();
            },
            |tx| {
                let map = tx.child(ContainerIdx::ROOT, "map", Kind::Map).unwrap();
                let counter = tx.child(map, "a", Kind::Counter).unwrap();
                tx.add(counter, 5).unwrap();
            },
            |tx| {
                let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
                tx.text_delete(text, 1, 4).unwrap();
            },
        ],
    ])
}

/// A member forks its chain; others build on both branches.
const FORK: [u8; 35] = [
    0,
    0,
    0,
    0,
    0, // the root of both branches
    0,
    0,
    0,
    0,
    0, // one
    0,
    2,
    0,
    0,
    0, // two
    1,
    0,
    1,
    1,
    0,
    0, // somebody knows the one
    2,
    0,
    1,
    2,
    0,
    0, // somebody else the other
    1,
    0,
    LAST_OF_OTHERS,
    0,
    0, // who learns of everything
    0,
    1,
    0, // and a third branch that nobody asked for, cut short
];

fn replica_of(changes: &[Change]) -> Replica {
    let mut replica = reader();
    give_batch(&mut replica, changes);
    assert!(!replica.is_empty());
    replica
}

/// What `peer` says to a small replica until nothing moves, as the session target reads it.
fn session_with(mut peer: Replica) -> Vec<u8> {
    let mut small = scenario::small_replica();
    let mut sessions = [&small, &peer].map(|replica| SyncSession::new(replica, SessionLimits::default()));
    let mut said = Vec::new();
    loop {
        let mut moved = false;
        for side in 0..2 {
            while let Some(message) = sessions[side].poll_send([&small, &peer][side]) {
                moved = true;
                if side == 1 {
                    let bytes = message.encode();
                    said.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
                    said.extend(bytes);
                }
                let to = if side == 0 { &mut peer } else { &mut small };
                crate::sync::deliver(&mut sessions[1 - side], to, message).unwrap();
            }
        }
        if !moved {
            return said;
        }
    }
}

#[test]
#[ignore = "writes files of the repository"]
fn write_the_seeds() {
    let forked = scenario::changes(&FORK);
    for (name, changes) in [("lists", lists()), ("maps", maps()), ("fork", forked.clone())] {
        write("apply", name, &story(&changes));
        write("archive", name, &replica_of(&changes).save());
    }
    let mut chain = scenario::changes(&[0; 15]);
    chain[0] = unsigned(&chain[0]);
    chain[1] = unsigned(&chain[1]);
    let vouched = replica_of(&chain);
    assert!(vouched.voucher(ChangeIdx(0)).is_some());
    write("archive", "vouched", &vouched.save());

    write("session", "strangers", &session_with(replica_of(&lists()[..2])));
    write("session", "forked", &session_with(replica_of(&forked)));
    write("session", "ahead", &session_with(replica_of(&scenario::changes(&[0; 25]))));

    let id = |n: u8| bft_json_crdt::change::ChangeId([n; 32]);
    let leaf = |n: u8| bft_json_crdt::sync::Leaf { seq: n.into(), id: id(n) };
    let packet =
        bft_json_crdt::sync::Packet { change: chain[2].bytes().clone(), voucher: Some(Bytes::from_static(b"v")) };
    for (name, message) in [
        ("heads", Message::Heads { digest: [1; 32], changes: 300 }),
        (
            "summary",
            Message::Summary { last: true, authors: vec![([2; 32], vec![leaf(1), leaf(3)]), ([5; 32], vec![])] },
        ),
        ("changes", Message::Changes(vec![packet])),
        ("ack", Message::Ack(300)),
        ("get", Message::Get(vec![id(1), id(2)])),
        ("probe", Message::Probe(vec![([9; 32], vec![id(1), id(2)])])),
        ("probe-reply", Message::ProbeReply(vec![([9; 32], None), ([8; 32], Some(0)), ([7; 32], Some(12))])),
        ("evidence", Message::Evidence(Bytes::from_static(b"proof"))),
    ] {
        write("message", name, &message.encode());
    }
}
