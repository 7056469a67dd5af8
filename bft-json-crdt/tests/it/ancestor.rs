//! The defects of the ancestor library (jackyzha0/bft-json-crdt), each as an attack that must fail here; and bombs of every kind.

use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::document::{ContainerIdx, InvalidReason, NewElement};
use bft_json_crdt::encoding::{DecodeError, Write as _};
use bft_json_crdt::identity::{AuthorId, IdentityError};
use bft_json_crdt::ops::{
    Anchor, ContainerNo, Element, Kind, MAX_DEPTH, MAX_UNITS, Ops, OpsBuilder, OpsError, Parent, Ref, Source, Unit,
    Unsupported,
};
use bft_json_crdt::replica::{Incoming, Invalid, Known, Limits, Malformed, Replica, Verdict};
use bft_json_crdt::value::{MAX_VALUE_DEPTH, Value, canonical_json};
use bytes::Bytes;

use crate::world::*;

fn entry(builder: &mut OpsBuilder, map: ContainerNo, key: &str, kind: Kind) -> ContainerNo {
    builder.container(Parent::Key(map, key.into()), kind).unwrap()
}

fn encoded(builder: OpsBuilder) -> Vec<u8> {
    builder.finish().encode().unwrap()
}

/// The verdict on these bytes as the operations of a first change.
fn judged(ops: &[u8]) -> Verdict {
    verdict(&reader().apply(craft(&key(1), None, &[], 0, ops).into()))
}

fn malformed(ops: &[u8]) -> DecodeError {
    match judged(ops) {
        Verdict::Malformed(Malformed::Ops(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn signing_in_a_victims_name() {
    // The ancestor never compared the author inside a change with the one whose key signed it.
    let (victim, mallory) = (key(1), key(2));
    let ops = no_ops();
    let header = header(&victim, None, &[], 0);
    let by_mallory = Change::sign(&mallory, header.clone(), &ops);
    assert_eq!(by_mallory.author(), victim.author());
    let mut replica = reader();
    assert_eq!(give(&mut replica, [&by_mallory]), [Verdict::Unauthenticated]);
    // Nor can a change refer to another's chain as its own.
    let of_victim = Change::sign(&victim, header, &ops);
    let on_top = craft(&mallory, Some(&of_victim), &[], 0, &ops);
    assert_eq!(give(&mut replica, [&of_victim, &on_top]), [Verdict::Applied, Verdict::Invalid(Invalid::Previous)]);
    assert_eq!(replica.authors().collect::<Vec<_>>(), [victim.author()]);
}

#[test]
fn divergence_on_equivocation() {
    let (alice, bob, mallory) = (key(1), key(2), key(3));
    let set = |n: i128| {
        let mut builder = OpsBuilder::new();
        let register = entry(&mut builder, ContainerNo::ROOT, "r", Kind::Register);
        builder.push(Unit::Set(register, Value::Int(n))).unwrap();
        encoded(builder)
    };
    let branches = [1, 2].map(|n| craft(&mallory, None, &[], 0, &set(n)));
    // Each honest member saw another branch first, and the ancestor kept what came first for ever.
    let mut replicas = [writer(&alice), writer(&bob)];
    give(&mut replicas[0], &branches);
    give(&mut replicas[1], branches.iter().rev());
    assert!(replicas.iter().all(|replica| replica.is_proven(&mallory.author()) && replica.len() == 1));
    assert_ne!(replicas[0].view(), replicas[1].view(), "so far");
    exchange(&mut replicas, &[Some(alice), Some(bob)]);
    assert_converged(&replicas);
    assert!(branches.iter().all(|branch| replicas[0].index_of(&branch.id()).is_some()));
}

#[test]
fn divergence_between_two_honest_peers_in_nested_nodes() {
    let keys = [key(1), key(2)];
    let mut replicas = [writer(&keys[0]), writer(&keys[1])];
    // Both make the same nested nodes at once, and write into each.
    for (n, (replica, key)) in (0..).zip(replicas.iter_mut().zip(&keys)) {
        let written = replica.transact(key, 0, |tx| {
            let shop = tx.child(ContainerIdx::ROOT, "shop", Kind::Map).unwrap();
            let stock = tx.child(shop, "stock", Kind::Map).unwrap();
            let apples = tx.child(stock, "apple", Kind::Counter).unwrap();
            tx.add(apples, 5 + n).unwrap();
            let orders = tx.child(shop, "orders", Kind::List).unwrap();
            let order = tx.push(orders, NewElement::Container(Kind::Map)).unwrap().container.unwrap();
            let lines = tx.child(order, "lines", Kind::List).unwrap();
            tx.push(lines, NewElement::Value(Value::Int(n.into()))).unwrap();
        });
        written.unwrap();
    }
    let changes = [all(&replicas[0]), all(&replicas[1])];
    replicas[0].apply_batch(changes[1].clone());
    replicas[1].apply_batch(changes[0].clone());
    // And once more, into what the other has made.
    for (replica, key) in replicas.iter_mut().zip(&keys) {
        let written = replica.transact(key, 0, |tx| {
            let shop = tx.child(ContainerIdx::ROOT, "shop", Kind::Map).unwrap();
            let orders = tx.child(shop, "orders", Kind::List).unwrap();
            let inner: Vec<_> =
                tx.document().elements(orders, 0).map(|(_, element)| element).map(|e| format!("{e:?}")).collect();
            assert_eq!(inner.len(), 2);
            tx.move_element(orders, 0, 1).unwrap();
            let stock = tx.child(shop, "stock", Kind::Map).unwrap();
            let apples = tx.child(stock, "apple", Kind::Counter).unwrap();
            tx.add(apples, 1).unwrap();
        });
        written.unwrap();
    }
    exchange(&mut replicas, &[None, None]);
    assert_converged(&replicas);
    let Value::Object(root) = replicas[0].view() else { panic!("a map") };
    let Value::Object(shop) = &root["shop"] else { panic!("a map") };
    assert_eq!(shop["stock"], Value::Object([("apple".into(), Value::Int(13))].into()), "every step counts once");
    let Value::Array(orders) = &shop["orders"] else { panic!("a list") };
    assert_eq!(orders.len(), 2);
}

#[test]
fn refused_operation_marked_as_received() {
    let mallory = key(2);
    let mut builder = OpsBuilder::new();
    builder.push(Unit::Delete { target: Ref { source: Source::Back(1), offset: 0 } }).unwrap();
    let refused = craft(&mallory, None, &[], 0, &encoded(builder));
    let dependent = craft(&key(3), None, &[refused.id()], 0, &no_ops());
    let forged = unsigned(&craft(&mallory, None, &[], 7, &no_ops()));
    let on_forged = craft(&key(4), None, &[forged.id()], 0, &no_ops());
    let mut replica = reader();
    give(&mut replica, [&refused, &dependent, &forged, &on_forged]);
    assert!(replica.is_empty(), "nothing that depends on what was refused applies");
    assert_eq!(replica.knows(&dependent.id()), Known::Invalid(Invalid::Ancestor));
    assert_eq!(replica.knows(&forged.id()), Known::Unknown, "a copy that nobody signed was not received");
    assert_eq!(replica.missing(9), [forged.id()]);
}

#[test]
fn hashing_of_unordered_maps_debug_output() {
    let keys: Vec<String> = (0..50).map(|n| format!("k{}", n * 7 % 50)).collect();
    // An object is one value whatever the order in which it was made, and the digest that of the view's one text.
    let object = |keys: &mut dyn Iterator<Item = &String>| {
        Value::Object(keys.map(|key| (key.clone(), Value::String(key.clone()))).collect())
    };
    let (there, back) = (object(&mut keys.iter()), object(&mut keys.iter().rev()));
    assert_eq!(canonical_json(&there), canonical_json(&back));
    // Concurrent writes under many keys, applied in two orders.
    let changes: Vec<Change> = (0..keys.len())
        .map(|n| {
            let mut builder = OpsBuilder::new();
            let register = entry(&mut builder, ContainerNo::ROOT, &keys[n], Kind::Register);
            builder.push(Unit::Set(register, there.clone())).unwrap();
            craft(&key(n as u8), None, &[], 0, &encoded(builder))
        })
        .collect();
    let mut replicas = [reader(), reader(), reader()];
    give(&mut replicas[0], &changes);
    give(&mut replicas[1], changes.iter().rev());
    give_batch(&mut replicas[2], &changes);
    assert_converged(&replicas);
    let text = canonical_json(&replicas[0].view());
    let mut sorted = keys.clone();
    sorted.sort();
    let places: Vec<_> = sorted.iter().map(|key| text.find(&format!("\"{key}\":{{")).unwrap()).collect();
    assert!(places.is_sorted(), "keys ascend");
}

#[test]
fn truncated_paths() {
    // What is signed names the whole path, however long: two changes that differ in the last byte of the deepest key are two changes.
    let alice = key(1);
    let deep = |last: &str| {
        let mut builder = OpsBuilder::new();
        let mut at = ContainerNo::ROOT;
        for _ in 0..MAX_DEPTH - 1 {
            at = entry(&mut builder, at, &"long".repeat(100), Kind::Map);
        }
        let register = entry(&mut builder, at, &("k".repeat(1000) + last), Kind::Register);
        builder.push(Unit::Set(register, Value::Int(1))).unwrap();
        encoded(builder)
    };
    let (one, other) = (craft(&alice, None, &[], 0, &deep("a")), craft(&alice, None, &[], 0, &deep("b")));
    assert_ne!(one.id(), other.id());
    let moved = Change::from_parts(one.header().clone(), other.ops(), one.signature());
    assert_eq!(give(&mut reader(), [&moved]), [Verdict::Unauthenticated]);
    let views = [&one, &other].map(|change| {
        let mut replica = reader();
        assert_eq!(give(&mut replica, [change]), [Verdict::Applied]);
        canonical_json(&replica.view())
    });
    assert_ne!(views[0], views[1]);
}

/// The deepest document that is valid: maps and lists in turn, and in the last register the deepest value.
fn deepest() -> Vec<u8> {
    let mut builder = OpsBuilder::new();
    let mut at = ContainerNo::ROOT;
    for level in 1..MAX_DEPTH {
        let kind = if level % 2 == 1 { Kind::List } else { Kind::Map };
        at = match kind {
            Kind::List => entry(&mut builder, at, "l", Kind::List),
            _ => {
                let element = Element::Container(kind);
                let offset = builder.push(Unit::Insert { list: at, anchor: Anchor::Start, element }).unwrap();
                builder.container(Parent::Element(Ref { source: Source::Own, offset }), kind).unwrap()
            }
        };
    }
    let value = (0..MAX_VALUE_DEPTH).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    let element = Element::Value(value);
    builder.push(Unit::Insert { list: at, anchor: Anchor::Start, element }).unwrap();
    builder.push(Unit::Clear(ContainerNo::ROOT)).unwrap();
    builder.push(Unit::Ensure(at)).unwrap();
    encoded(builder)
}

#[test]
fn panics_and_stack_overflow_on_hostile_input() {
    let alice = key(1);
    let deep = craft(&alice, None, &[], 0, &deepest());
    let small_stack = std::thread::Builder::new().stack_size(512 << 10);
    let thread = small_stack.spawn(move || {
        let mut replica = reader();
        let before = replica.digest();
        assert_eq!(give(&mut replica, [&deep]), [Verdict::Applied]);
        // Everything that walks the structure.
        assert_ne!(replica.digest(), before);
        let value = replica.view();
        serde_json::to_string(&value).unwrap();
        drop(value);
        let archive: Bytes = replica.save().into();
        Replica::load_archive(&archive, Limits::default(), None).unwrap();
        // A long chain, backward and with many deps: none of it recurses.
        let mut chain = vec![deep];
        for n in 0..3_000 {
            chain.push(craft(&alice, chain.last(), &[], n, &no_ops()));
        }
        let mut late = reader();
        give(&mut late, chain[1..].iter().rev());
        give(&mut late, [&chain[0]]);
        assert_eq!(late.len(), chain.len());
        // Every byte of a change broken in turn: an error or another change, never a panic.
        let bytes = chain[0].bytes().to_vec();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                if let Ok(change) = Change::decode(broken.into()) {
                    assert_ne!(verdict(&reader().apply(change.into())), Verdict::Applied);
                }
            }
            assert!(Change::decode(bytes[..at].to_vec().into()).is_err());
        }
        // And broken operations under a good hash and signature.
        let ops = chain[0].ops().to_vec();
        for at in 0..ops.len() {
            for flip in [0x01, 0x02, 0x80, 0xff] {
                let mut broken = ops.clone();
                broken[at] ^= flip;
                let mut replica = reader();
                give(&mut replica, [&craft(&alice, None, &[], 0, &broken)]);
                replica.document().debug_check();
            }
        }
    });
    thread.unwrap().join().expect("no panic and no overflow of half a megabyte of stack");
}

#[test]
fn unbounded_queue() {
    let limits = Limits { waiting_changes: 100, waiting_bytes: 1 << 20, ..Limits::default() };
    let mut replica = Replica::new(DOCUMENT, limits);
    let mallory = key(2);
    let orphan = |n: u64| craft(&mallory, None, &[ChangeId([n as u8 | 1; 32])], n, &no_ops());
    for start in 0..20u64 {
        let batch = (0..100).map(|n| Incoming::from(orphan(100 * start + n))).collect();
        replica.apply_batch(batch);
        let [waiting, held_back, unsupported] = replica.kept_aside();
        assert!(waiting.0 <= 100 && waiting.1 <= 1 << 20, "{waiting:?}");
        assert_eq!(unsupported, (0, 0));
        assert!(held_back.0 <= Limits::default().held_back_changes);
    }
    // An honest member's change still waits its turn among them.
    let alice = key(1);
    let mut source = writer(&alice);
    let (one, two) = (note(&mut source, &alice, "one"), note(&mut source, &alice, "two"));
    assert!(matches!(give(&mut replica, [&two])[..], [Verdict::Waiting { .. }]));
    for n in 0..500 {
        replica.apply(orphan(10_000 + n).into());
    }
    assert_eq!(give(&mut replica, [&one]), [Verdict::Applied]);
    assert!(replica.index_of(&two.id()).is_some(), "the flood pushes itself out");
}

#[test]
fn unknown_container() {
    // A run that names a container which the table does not hold: clear of entry 1, with an empty table.
    assert!(matches!(malformed(&[1, 1, 0, 0, 0, 1]), DecodeError::Rule(_)));
    // An element that no insert made, of a change that is not there, and one that holds something else.
    let named = |source: &dyn Fn(&mut OpsBuilder) -> Source, kind: Kind| {
        let mut builder = OpsBuilder::new();
        let element = Ref { source: source(&mut builder), offset: 0 };
        let container = builder.container(Parent::Element(element), kind).unwrap();
        builder.push(Unit::Ensure(container)).unwrap();
        encoded(builder)
    };
    let reference = Verdict::Invalid(Invalid::Content(InvalidReason::Reference));
    assert_eq!(judged(&named(&|builder| builder.foreign(ChangeId([9; 32])).unwrap(), Kind::Map)), reference);
    assert_eq!(judged(&named(&|_| Source::Back(1), Kind::Map)), reference);
    let mut builder = OpsBuilder::new();
    let list = entry(&mut builder, ContainerNo::ROOT, "l", Kind::List);
    let element = Element::Container(Kind::Map);
    builder.push(Unit::Insert { list, anchor: Anchor::Start, element }).unwrap();
    let base = craft(&key(1), None, &[], 0, &encoded(builder));
    let mut replica = reader();
    give(&mut replica, [&base]);
    let map = craft(&key(1), Some(&base), &[], 0, &named(&|_| Source::Back(1), Kind::Map));
    let counter = craft(&key(1), Some(&base), &[], 1, &named(&|_| Source::Back(1), Kind::Counter));
    assert_eq!(give(&mut replica, [&counter]), [Verdict::Invalid(Invalid::Content(InvalidReason::Kind))]);
    assert_eq!(give(&mut reader(), [&base, &map]), [Verdict::Applied, Verdict::Applied]);
}

#[test]
fn wrong_type() {
    // An operation on a container of another kind does not even decode: add to a register under "r".
    let add_to = |kind: u8| [1, 3, 1, kind, 0, 1, 1, b'r', 0, 0, 1, 2].to_vec();
    assert_eq!(judged(&add_to(3)), Verdict::Applied);
    for kind in [1, 2, 4, 5, 6] {
        assert!(matches!(malformed(&add_to(kind)), DecodeError::Rule(_)), "kind {kind}");
    }
    assert_eq!(judged(&add_to(7)), Verdict::Unsupported);
    assert!(matches!(Ops::decode(1, &add_to(7)), Err(OpsError::Unsupported(Unsupported::ContainerKind(7)))));
    // A character where an element is wanted, and the other way round.
    let mut builder = OpsBuilder::new();
    let text = entry(&mut builder, ContainerNo::ROOT, "t", Kind::Text);
    builder.text(text, Anchor::Start, "x").unwrap();
    let base = craft(&key(1), None, &[], 0, &encoded(builder));
    let mut builder = OpsBuilder::new();
    let element = Ref { source: Source::Back(1), offset: 0 };
    builder.push(Unit::Move { element, anchor: Anchor::Start }).unwrap();
    let moving = craft(&key(1), Some(&base), &[], 0, &encoded(builder));
    let kind = Verdict::Invalid(Invalid::Content(InvalidReason::Kind));
    assert_eq!(give(&mut reader(), [&base, &moving]), [Verdict::Applied, kind]);
}

#[test]
fn depth_and_length_bombs() {
    // Values: a million arrays in each other, in an insert.
    let value = |payload: &[u8]| [&[1, 2, 1, 1, 0, 1, 1, b'r', 0, 0, 1][..], payload].concat();
    assert_eq!(judged(&value(&[0])), Verdict::Applied);
    malformed(&value(&[7, 1].repeat(500_000)));
    // Containers: one more than fits, by map entries.
    let dig = |levels: u32| {
        let mut builder = OpsBuilder::new();
        let mut at = ContainerNo::ROOT;
        for _ in 0..levels {
            at = entry(&mut builder, at, "m", Kind::Map);
        }
        builder.push(Unit::Ensure(at)).unwrap();
        encoded(builder)
    };
    assert_eq!(judged(&dig(MAX_DEPTH)), Verdict::Applied);
    let depth = Verdict::Invalid(Invalid::Content(InvalidReason::Depth));
    for levels in [MAX_DEPTH + 1, 10_000] {
        assert_eq!(judged(&dig(levels)), depth, "{levels} levels");
    }
    // Lengths: every count of the form as large as it can be said, with nothing behind it.
    let mut huge = Vec::new();
    huge.put_varint(u64::MAX);
    for before in [&[][..], &[0], &[0, 0], &[0, 0, 0], &[1, 1, 0, 0, 0]] {
        malformed(&[before, &huge].concat());
    }
    for tag in [6, 7, 8] {
        malformed(&value(&[&[tag][..], &huge].concat()));
    }
    // Units: runs that say more than a change may have, in a few bytes; and the most that it may.
    let delete = |len: u64| {
        let mut ops = vec![1, 5, 0, 0, 0];
        ops.put_varint(len);
        ops.extend([0, 2, 0]);
        ops
    };
    malformed(&delete(u64::from(MAX_UNITS) + 1));
    malformed(&delete(u64::MAX));
    assert_eq!(judged(&delete(MAX_UNITS.into())), Verdict::Invalid(Invalid::Content(InvalidReason::Reference)));
}

#[test]
fn nan_and_huge_numbers() {
    let set = |payload: &[u8]| [&[1, 2, 1, 1, 0, 1, 1, b'r', 0, 0, 1][..], payload].concat();
    for float in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(0x7ff0_0000_0000_0001)] {
        malformed(&set(&[&[5][..], &float.to_be_bytes()].concat()));
    }
    for float in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -0.0] {
        assert_eq!(judged(&set(&[&[5][..], &float.to_be_bytes()].concat())), Verdict::Applied);
    }
    let integer = |tag: u8, n: u64| {
        let mut payload = vec![tag];
        payload.put_varint(n);
        set(&payload)
    };
    assert_eq!(judged(&integer(3, u64::MAX)), Verdict::Applied);
    assert_eq!(judged(&integer(4, (1 << 63) - 1)), Verdict::Applied);
    malformed(&integer(4, 1 << 63));
    // A number of eleven bytes, and one beyond 64 bits.
    malformed(&set(&[&[3][..], &[0xff; 10], &[1]].concat()));
    malformed(&set(&[&[3][..], &[0xff; 9], &[2]].concat()));
    // Steps that together leave 64 bits are summed exactly.
    let mut builder = OpsBuilder::new();
    let counter = entry(&mut builder, ContainerNo::ROOT, "c", Kind::Counter);
    for _ in 0..3 {
        builder.push(Unit::Add(counter, i64::MAX)).unwrap();
    }
    let mut replica = reader();
    give(&mut replica, [&craft(&key(1), None, &[], 0, &encoded(builder))]);
    let sum = Value::Int(3 * i128::from(i64::MAX));
    assert_eq!(replica.view(), Value::Object([("c".into(), sum)].into()));
}

#[test]
fn key_of_small_order() {
    // Under such a key anybody's signature is good, so that anybody could write as its author.
    let change = craft(&key(1), None, &[], 0, &no_ops());
    for point in curve25519_dalek::constants::EIGHT_TORSION {
        let weak = point.compress().0;
        assert_eq!(AuthorId::from_bytes(weak), Err(IdentityError::SmallOrder));
        let mut bytes = change.bytes().to_vec();
        bytes[33..65].copy_from_slice(&weak);
        let end = bytes.len();
        bytes[end - 64..].fill(0);
        bytes[end - 64..end - 32].copy_from_slice(&weak);
        assert!(Change::decode(bytes.into()).is_err());
    }
}
