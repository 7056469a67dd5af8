//! The committed bytes of every form (docs/protocol.md): changing one of these files is a change of the protocol.

use bft_json_crdt::change::{Change, DocumentId, Header, VERSION};
use bft_json_crdt::evidence::{EquivocationProof, SignedChain, Voucher};
use bft_json_crdt::hash::CHANGE_SIGNATURE_DOMAIN;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::{Anchor, ContainerNo, Direction, Element, Kind, Ops, OpsBuilder, Parent, Ref, Source, Unit};
use bft_json_crdt::value::{Value, canonical_json};
use bft_json_crdt::verify::verify;

use crate::support::id;

/// Compares bytes with a committed file; a difference prints what the file would have to be.
macro_rules! assert_golden {
    ($name:literal, $bytes:expr) => {
        // 64 bytes a line, so that a difference shows where it is.
        let text: String = $bytes.chunks(64).map(|line| hex::encode(line) + "\n").collect();
        assert_eq!(text, include_str!(concat!("../golden/", $name, ".hex")), $name);
    };
}

fn own(offset: u32) -> Ref {
    Ref { source: Source::Own, offset }
}

fn back(steps: u64, offset: u32) -> Ref {
    Ref { source: Source::Back(steps), offset }
}

/// Every form of a value.
fn every_value() -> Value {
    let object = [("".into(), Value::Null), ("b".into(), Value::Array(vec![])), ("é".into(), Value::Object([].into()))];
    Value::Array(vec![
        Value::Null,
        false.into(),
        true.into(),
        Value::Int(0),
        Value::Int(127),
        Value::Int(128),
        Value::Int(u64::MAX.into()),
        Value::Int(-1),
        Value::Int(-129),
        Value::Int(i64::MIN.into()),
        Value::Float(1.0),
        Value::Float(-0.0),
        Value::Float(5e-324),
        Value::Float(f64::MAX),
        "".into(),
        "a\"\u{1}é𝄞".into(),
        Value::Object(object.into()),
    ])
}

/// Every operation, container form, anchor, source, direction and run.
fn every_operation() -> Ops {
    let mut b = OpsBuilder::new();
    let key = |b: &mut OpsBuilder, map, key: &str, kind| b.container(Parent::Key(map, key.into()), kind).unwrap();
    let foreign = [b.foreign(id(9)).unwrap(), b.foreign(id(3)).unwrap()];
    let unused = key(&mut b, ContainerNo::ROOT, "unused", Kind::Map);
    key(&mut b, unused, "unused too", Kind::Map);
    let map = key(&mut b, ContainerNo::ROOT, "map", Kind::Map);
    let inner = key(&mut b, map, "map", Kind::Map);
    let register = key(&mut b, inner, "", Kind::Register);
    let many = key(&mut b, ContainerNo::ROOT, "many", Kind::MultiRegister);
    let counter = key(&mut b, map, "many", Kind::Counter);
    let list = key(&mut b, ContainerNo::ROOT, "list", Kind::List);
    let text = key(&mut b, ContainerNo::ROOT, "list", Kind::Text);

    b.push(Unit::Set(register, every_value())).unwrap();
    b.push(Unit::Set(many, true.into())).unwrap();
    b.push(Unit::Add(counter, i64::MIN)).unwrap();
    b.push(Unit::Add(counter, 64)).unwrap();
    let first = b.insert_values(list, Anchor::Start, vec![Value::Int(1), Value::Int(2), "three".into()]).unwrap();
    for kind in Kind::ALL {
        let at = Anchor::Left(own(first));
        let element = b.push(Unit::Insert { list, anchor: at, element: Element::Container(kind) }).unwrap();
        let held = b.container(Parent::Element(own(element)), kind).unwrap();
        b.push(Unit::Ensure(held)).unwrap();
    }
    let theirs = Ref { source: foreign[0], offset: 300 };
    let others = Ref { source: foreign[1], offset: 1 };
    let far = b.container(Parent::Element(others), Kind::Map).unwrap();
    let deep = key(&mut b, far, "list", Kind::List);
    b.insert_values(deep, Anchor::Right(theirs), vec![Value::Null]).unwrap();
    b.text(text, Anchor::Start, "one").unwrap();
    b.text(text, Anchor::Right(back(1, 7)), "zwei é𝄞").unwrap();
    b.delete(own(first), 1, Direction::Forward).unwrap();
    b.delete(theirs, 200, Direction::Forward).unwrap();
    b.delete(back(70, 299), 300, Direction::Backward).unwrap();
    b.push(Unit::Move { element: own(first + 1), anchor: Anchor::Start }).unwrap();
    b.push(Unit::Move { element: others, anchor: Anchor::Left(theirs) }).unwrap();
    b.push(Unit::Clear(many)).unwrap();
    b.push(Unit::Clear(ContainerNo::ROOT)).unwrap();
    b.finish()
}

fn header(keypair: &Keypair, before: Option<&Change>, deps: Vec<u8>, time_ms: u64) -> Header {
    Header {
        version: VERSION,
        document: DocumentId([0xd0; 32]),
        author: keypair.author(),
        seq: before.map_or(1, |change| change.header().seq + 1),
        previous: before.map(Change::id),
        deps: deps.into_iter().map(id).collect(),
        time_ms,
        ops_hash: [0; 32],
    }
}

#[test]
fn values_have_their_golden_bytes() {
    let mut bytes = Vec::new();
    every_value().encode(&mut bytes).unwrap();
    assert_golden!("value", &bytes);
    assert_eq!(Value::decode(&bytes), Ok(every_value()));
    assert_golden!("value-canonical-json", canonical_json(&every_value()).as_bytes());
}

#[test]
fn operations_have_their_golden_bytes() {
    let ops = every_operation();
    let bytes = ops.encode().unwrap();
    assert_golden!("ops", &bytes);
    assert_eq!(Ops::decode(VERSION, &bytes), Ok(ops));
    let empty = Ops::default().encode().unwrap();
    assert_eq!(empty, [0; 4]);
    assert_eq!(Ops::decode(VERSION, &empty), Ok(Ops::default()));
}

#[test]
fn changes_and_evidence_have_their_golden_bytes() {
    let keypair = Keypair::from_seed(&[1; 32]);
    let ops = every_operation().encode().unwrap();
    let first = Change::sign(&keypair, header(&keypair, None, vec![], 0), &[0; 4]);
    assert_golden!("change-first-empty", first.bytes());
    let second = Change::sign(&keypair, header(&keypair, Some(&first), vec![3, 9, 0xff], (1 << 53) - 1), &ops);
    assert_golden!("change-full", second.bytes());
    let third = Change::sign(&keypair, header(&keypair, Some(&second), (0..32).collect(), 300), &[0; 4]);
    assert_golden!("change-most-deps", third.bytes());
    for change in [&first, &second, &third] {
        assert_eq!(Change::decode(change.bytes().clone()).as_ref(), Ok(change));
        assert!(verify(&keypair.author(), CHANGE_SIGNATURE_DOMAIN, &change.id().0, &change.signature()));
    }

    let voucher = Voucher(SignedChain::of([&second, &third]).unwrap());
    assert_golden!("voucher", &voucher.encode());
    assert_eq!(Voucher::decode(&voucher.encode()).unwrap().verify(&first), Ok(()));
    let fork = Change::sign(&keypair, header(&keypair, Some(&first), vec![], 7), &[0; 4]);
    let proof = EquivocationProof::new(voucher.0, SignedChain::of([&fork]).unwrap()).unwrap();
    assert_golden!("equivocation-proof", &proof.encode());
    assert_eq!(EquivocationProof::decode(&proof.encode()).unwrap().verify(), Ok(()));
}

/// The bytes that a script derived from the specification alone.
#[test]
fn the_independent_change_has_our_bytes() {
    let (expected_id, expected) = include_str!("../golden/independent.txt").trim().split_once('\n').unwrap();

    let mut b = OpsBuilder::new();
    // Asked for in another order than used.
    let shop = b.container(Parent::Key(ContainerNo::ROOT, "shop".into()), Kind::Map).unwrap();
    let apple = b.container(Parent::Key(shop, "apple".into()), Kind::Counter).unwrap();
    let notes = b.container(Parent::Key(ContainerNo::ROOT, "notes".into()), Kind::List).unwrap();
    let text = b.container(Parent::Element(back(1, 5)), Kind::Text).unwrap();
    let foreign = b.foreign(id(0xff)).unwrap();
    b.insert_values(notes, Anchor::Start, vec!["hi".into(), Value::Int(1)]).unwrap();
    b.push(Unit::Add(apple, -5)).unwrap();
    b.text(text, Anchor::Right(Ref { source: foreign, offset: 7 }), "añb").unwrap();
    b.delete(back(2, 9), 3, Direction::Backward).unwrap();
    b.push(Unit::Move { element: own(0), anchor: Anchor::Left(own(1)) }).unwrap();
    let keypair = Keypair::from_seed(&[0x2a; 32]);
    let header = Header {
        version: VERSION,
        document: DocumentId([0xd0; 32]),
        author: keypair.author(),
        seq: 300,
        previous: Some(id(0x11)),
        deps: vec![id(1), id(0xff)],
        time_ms: 1_700_000_000_000,
        ops_hash: [0; 32],
    };
    let change = Change::sign(&keypair, header, &b.finish().encode().unwrap());
    assert_eq!(hex::encode(change.bytes()), expected);
    assert_eq!(change.id().to_string(), expected_id);
}
