//! Changes that are small on the wire and meant to be dear to apply. No clock is asked: the sizes are such that work that grows with their square, or with a
//! number of units times a number of branches, would not come to an end.

use bft_json_crdt::change::{Change, ChangeId, MAX_DEPS};
use bft_json_crdt::document::{ContainerIdx, Element};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::{
    Anchor, ContainerNo, Direction, Element as Content, Kind, MAX_DEPTH, MAX_UNITS, OpsBuilder, Parent, Ref, Source,
    Unit,
};
use bft_json_crdt::replica::{Replica, Verdict};
use bft_json_crdt::value::Value;

use crate::world::{DOCUMENT, all, craft, reader};

/// Authors where many are needed.
const MANY: u16 = 1_000;
/// Units where each takes up to some twenty bytes of the megabyte that a change may have.
const SINGLE_UNITS: u32 = 50_000;

fn author(n: u16) -> Keypair {
    let mut seed = [0xb0; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    Keypair::from_seed(&seed)
}

fn own(offset: u32) -> Ref {
    Ref { source: Source::Own, offset }
}

fn root(builder: &mut OpsBuilder, kind: Kind) -> ContainerNo {
    builder.container(Parent::Key(ContainerNo::ROOT, "x".into()), kind).unwrap()
}

/// The operations that somebody makes up, encoded.
fn ops(f: impl FnOnce(&mut OpsBuilder)) -> Vec<u8> {
    let mut builder = OpsBuilder::new();
    f(&mut builder);
    builder.finish().encode().expect("a bomb is no longer than a change may be")
}

/// What is under the key of all these tests.
fn held(replica: &Replica, kind: Kind) -> ContainerIdx {
    replica.document().child(ContainerIdx::ROOT, "x", kind).expect("something was written")
}

/// Applies changes one by one and together, hears of what happens, and stores and loads them: all of it comes to an end and to the same.
fn explode(changes: &[Change]) -> Replica {
    let mut one_by_one = reader();
    for change in changes {
        let outcome = one_by_one.apply(change.clone().into());
        assert!(outcome.verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Applied), "{:?}", outcome.verdicts);
    }
    let mut backwards = reader();
    backwards.tell_events(false);
    backwards.apply_batch(changes.iter().rev().cloned().map(Into::into).collect());
    assert_eq!(backwards.digest(), one_by_one.digest());
    let mut loaded = reader();
    loaded.load(all(&one_by_one)).expect("what was applied loads");
    assert_eq!(loaded.digest(), one_by_one.digest());
    one_by_one
}

/// Changes of many authors, none of whom knows of another, after `base`.
fn by_many(base: &[Change], count: u16, ops: impl Fn(u16, ChangeId) -> Vec<u8>) -> Vec<Change> {
    let last = &base[base.len() - 1];
    let write = |n| craft(&author(n), None, &[last.id()], n.into(), &ops(n, last.id()));
    let mut changes: Vec<Change> = (1..=count).map(write).collect();
    // The one order runs against that of arrival.
    changes.sort_by_key(|change| std::cmp::Reverse(change.id()));
    base.iter().cloned().chain(changes).collect()
}

/// Names all that nobody has named yet.
fn merge(changes: &[Change], ops: &[u8]) -> Vec<Change> {
    let merger = author(0xffff);
    let mut all = changes.to_vec();
    let heads: Vec<ChangeId> = changes[1..].iter().map(Change::id).collect();
    let mut previous: Option<Change> = None;
    let mut parts = heads.chunks(MAX_DEPS).peekable();
    while let Some(part) = parts.next() {
        let said = if parts.peek().is_none() { ops } else { &crate::world::no_ops() };
        let change = craft(&merger, previous.as_ref(), part, 0, said);
        all.push(change.clone());
        previous = Some(change);
    }
    all
}

/// As many characters as a change may have.
fn long_text() -> Change {
    let bytes = ops(|builder| {
        let text = root(builder, Kind::Text);
        builder.text(text, Anchor::Start, &"x".repeat(MAX_UNITS as usize)).unwrap();
    });
    craft(&author(0), None, &[], 0, &bytes)
}

#[test]
fn all_characters_deleted_by_a_hundred_in_a_few_bytes_each() {
    let changes = by_many(&[long_text()], MANY / 10, |n, target| {
        ops(|builder| {
            let source = builder.foreign(target).unwrap();
            let (offset, direction) =
                if n % 2 == 0 { (0, Direction::Forward) } else { (MAX_UNITS - 1, Direction::Backward) };
            builder.delete(Ref { source, offset }, MAX_UNITS, direction).unwrap();
        })
    });
    assert!(changes[1..].iter().all(|change| change.bytes().len() < 300));
    let replica = explode(&changes);
    assert_eq!(replica.document().len(held(&replica, Kind::Text)), 0);
}

#[test]
fn one_place_deleted_by_all_units_of_a_change() {
    let bytes = ops(|builder| {
        let text = root(builder, Kind::Text);
        builder.text(text, Anchor::Start, "abcd").unwrap();
        for n in 0..SINGLE_UNITS {
            builder.push(Unit::Delete { target: own(n % 2 * 2) }).unwrap();
        }
    });
    let replica = explode(&[craft(&author(0), None, &[], 0, &bytes)]);
    assert_eq!(replica.document().text(held(&replica, Kind::Text)), "bd");
}

#[test]
fn every_other_character_deleted_again_and_again() {
    let stripes = |first: u32| {
        move |n: u16, target: ChangeId| {
            ops(|builder| {
                let source = builder.foreign(target).unwrap();
                for offset in (first..SINGLE_UNITS * 2).step_by(2).skip(usize::from(n - 1) * 40).take(40) {
                    builder.push(Unit::Delete { target: Ref { source, offset } }).unwrap();
                }
            })
        }
    };
    let replica = explode(&by_many(&[long_text()], MANY, stripes(0)));
    let text = held(&replica, Kind::Text);
    assert_eq!(replica.document().len(text), (MAX_UNITS - u32::from(MANY) * 40) as usize);
    replica.document().debug_check();
}

#[test]
fn many_clears_over_many_branches() {
    let base = craft(&author(0), None, &[], 0, &crate::world::no_ops());
    let many = by_many(&[base], MANY, |n, _| {
        ops(|builder| {
            let map = root(builder, Kind::Map);
            let counter = builder.container(Parent::Key(map, "n".into()), Kind::Counter).unwrap();
            builder.push(Unit::Add(counter, n.into())).unwrap();
            let list = builder.container(Parent::Key(map, "l".into()), Kind::List).unwrap();
            builder.insert_values(list, Anchor::Start, vec![Value::Int(n.into())]).unwrap();
        })
    });
    let clears = ops(|builder| {
        let map = root(builder, Kind::Map);
        let counter = builder.container(Parent::Key(map, "n".into()), Kind::Counter).unwrap();
        let list = builder.container(Parent::Key(map, "l".into()), Kind::List).unwrap();
        for n in 0..SINGLE_UNITS {
            let container = [map, counter, list, ContainerNo::ROOT][n as usize % 4];
            builder.push(Unit::Clear(container)).unwrap();
        }
    });
    let replica = explode(&merge(&many, &clears));
    assert_eq!(replica.view(), Value::Object(Default::default()));
    replica.document().debug_check();
}

#[test]
fn many_clears_at_the_bottom_of_deep_maps() {
    let base = craft(&author(0), None, &[], 0, &crate::world::no_ops());
    let deep = |builder: &mut OpsBuilder| {
        let mut map = root(builder, Kind::Map);
        for _ in 2..MAX_DEPTH {
            map = builder.container(Parent::Key(map, "x".into()), Kind::Map).unwrap();
        }
        builder.container(Parent::Key(map, "x".into()), Kind::Counter).unwrap()
    };
    let many = by_many(&[base], MANY, |_, _| {
        ops(|builder| {
            let counter = deep(builder);
            builder.push(Unit::Add(counter, 1)).unwrap();
        })
    });
    let toggles = ops(|builder| {
        let counter = deep(builder);
        for n in 0..SINGLE_UNITS / 4 {
            builder.push(if n % 2 == 0 { Unit::Clear(counter) } else { Unit::Add(counter, 1) }).unwrap();
        }
    });
    let replica = explode(&merge(&many, &toggles));
    replica.document().debug_check();
}

#[test]
fn a_thousand_heads() {
    let base = craft(&author(0), None, &[], 0, &crate::world::no_ops());
    let changes = by_many(&[base], MANY, |n, _| {
        ops(|builder| {
            let register = root(builder, Kind::MultiRegister);
            builder.push(Unit::Set(register, Value::Int(n.into()))).unwrap();
        })
    });
    let replica = explode(&changes);
    assert_eq!(replica.heads().len(), usize::from(MANY));
    let register = held(&replica, Kind::MultiRegister);
    assert_eq!(replica.document().values(register).count(), usize::from(MANY));

    let set = ops(|builder| {
        let register = root(builder, Kind::MultiRegister);
        for n in 0..SINGLE_UNITS {
            builder.push(Unit::Set(register, Value::Int(n.into()))).unwrap();
        }
    });
    let merged = explode(&merge(&changes, &set));
    let register = held(&merged, Kind::MultiRegister);
    assert_eq!(merged.document().values(register).count(), 1);
}

#[test]
fn a_thousand_siblings_in_descending_order() {
    let first = ops(|builder| {
        let list = root(builder, Kind::List);
        builder.insert_values(list, Anchor::Start, vec![Value::Int(-1)]).unwrap();
    });
    let base = craft(&author(0), None, &[], 0, &first);
    for side in [Anchor::Left, Anchor::Right] {
        let changes = by_many(std::slice::from_ref(&base), MANY, |n, base| {
            ops(|builder| {
                let list = root(builder, Kind::List);
                let source = builder.foreign(base).unwrap();
                // Forty siblings each, at one place that all know.
                for _ in 0..40 {
                    let anchor = side(Ref { source, offset: 0 });
                    builder.insert_values(list, anchor, vec![Value::Int(n.into())]).unwrap();
                }
            })
        });
        let replica = explode(&changes);
        assert_eq!(replica.document().len(held(&replica, Kind::List)), usize::from(MANY) * 40 + 1);
        replica.document().debug_check();
    }
}

#[test]
fn one_change_of_nothing_but_siblings_and_chains_of_all_shapes() {
    type Shape = fn(u32) -> Anchor;
    let shapes: [(&str, Shape); 5] = [
        ("siblings at the start", |_| Anchor::Start),
        ("siblings on the right of one", |_| Anchor::Right(own(0))),
        ("siblings on the left of one", |_| Anchor::Left(own(0))),
        ("a chain to the left", |n| Anchor::Left(own(n - 1))),
        ("a zigzag", |n| if n % 2 == 0 { Anchor::Left(own(n - 1)) } else { Anchor::Right(own(n - 1)) }),
    ];
    for (name, shape) in shapes {
        let bytes = ops(|builder| {
            let text = root(builder, Kind::Text);
            builder.text(text, Anchor::Start, "0").unwrap();
            for n in 1..SINGLE_UNITS {
                builder.text(text, shape(n), "y").unwrap();
            }
        });
        let replica = explode(&[craft(&author(0), None, &[], 0, &bytes)]);
        assert_eq!(replica.document().len(held(&replica, Kind::Text)), SINGLE_UNITS as usize, "{name}");
        replica.document().debug_check();
    }
}

#[test]
fn one_element_moved_by_all_units_and_by_a_thousand() {
    let first = ops(|builder| {
        let list = root(builder, Kind::List);
        builder.insert_values(list, Anchor::Start, vec![Value::Int(0), Value::Int(1)]).unwrap();
        for n in 0..SINGLE_UNITS {
            let anchor = if n % 2 == 0 { Anchor::Start } else { Anchor::Right(own(1)) };
            builder.push(Unit::Move { element: own(0), anchor }).unwrap();
        }
    });
    let base = craft(&author(0), None, &[], 0, &first);
    let changes = by_many(&[base], MANY, |_, base| {
        ops(|builder| {
            let source = builder.foreign(base).unwrap();
            for _ in 0..50 {
                let (element, place) = (Ref { source, offset: 0 }, Ref { source, offset: 1 });
                builder.push(Unit::Move { element, anchor: Anchor::Left(place) }).unwrap();
            }
        })
    });
    let replica = explode(&changes);
    let list = held(&replica, Kind::List);
    let shown: Vec<Element<'_>> = replica.document().elements(list, 0).map(|(_, element)| element).collect();
    assert_eq!(shown, [Element::Value(&Value::Int(0)), Element::Value(&Value::Int(1))]);
}

#[test]
fn empty_lists_by_the_ten_thousand() {
    let bytes = ops(|builder| {
        let list = root(builder, Kind::List);
        for n in 0..SINGLE_UNITS {
            let anchor = if n == 0 { Anchor::Start } else { Anchor::Right(own(n - 1)) };
            builder.push(Unit::Insert { list, anchor, element: Content::Container(Kind::List) }).unwrap();
        }
    });
    let change = craft(&author(0), None, &[], 0, &bytes);
    let clear = ops(|builder| {
        let list = root(builder, Kind::List);
        builder.push(Unit::Clear(list)).unwrap();
    });
    let cleared = craft(&author(0), Some(&change), &[], 0, &clear);
    assert_eq!(cleared.header().document, DOCUMENT);
    let replica = explode(&[change, cleared]);
    assert_eq!(replica.view(), Value::Object(Default::default()));
}
