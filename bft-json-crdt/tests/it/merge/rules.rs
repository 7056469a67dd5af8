//! Each merge rule by itself, in two orders of arrival.

use bft_json_crdt::document::{ContainerIdx, Happened, NewElement, Step, Tx, TxError};
use bft_json_crdt::ops::{Kind, MAX_DEPTH, MAX_KEY_BYTES, MAX_UNITS};
use bft_json_crdt::value::Value;

use super::world::{Graph, Peer, dump, merged};

const ROOT: ContainerIdx = ContainerIdx::ROOT;

fn text(s: &str) -> Value {
    Value::String(s.into())
}

fn int(n: i128) -> Value {
    Value::Int(n)
}

fn child(tx: &mut Tx<Graph>, key: &str, kind: Kind) -> ContainerIdx {
    tx.child(ROOT, key, kind).expect("there is room")
}

fn set(tx: &mut Tx<Graph>, key: &str, value: Value) {
    let register = child(tx, key, Kind::Register);
    tx.set(register, value).expect("it can be written");
}

fn push(tx: &mut Tx<Graph>, list: ContainerIdx, value: Value) {
    tx.push(list, NewElement::Value(value)).expect("it can be written");
}

/// Something small in a container of any kind.
fn touch(tx: &mut Tx<Graph>, container: ContainerIdx, mark: i64) {
    match tx.document().kind(container) {
        Kind::Register | Kind::MultiRegister => tx.set(container, int(mark.into())),
        Kind::Counter => tx.add(container, mark),
        Kind::Map => tx.child(container, &mark.to_string(), Kind::Register).and_then(|r| tx.set(r, int(mark.into()))),
        Kind::List => tx.push(container, NewElement::Value(int(mark.into()))).map(drop),
        Kind::Text => tx.text_insert(container, 0, &mark.to_string()),
    }
    .expect("it can be written");
}

#[test]
fn concurrent_get_or_create_of_every_kind_is_shared() {
    for kind in Kind::ALL {
        let base = Peer::default();
        let [a, b] = [1, 2].map(|mark| {
            base.clone().write(mark as u8, |tx| {
                let shared = child(tx, "k", kind);
                touch(tx, shared, mark);
            })
        });
        let view = merged(&base, &a, &b);
        let greater = if a.id > b.id { 1 } else { 2 };
        let lesser = 3 - greater;
        let expected = match kind {
            Kind::Register => format!(r#"{{"k":{greater}}}"#),
            Kind::MultiRegister | Kind::List => format!(r#"{{"k":[{lesser},{greater}]}}"#),
            Kind::Counter => r#"{"k":3}"#.into(),
            Kind::Map => r#"{"k":{"1":1,"2":2}}"#.into(),
            Kind::Text => format!(r#"{{"k":"{lesser}{greater}"}}"#),
        };
        assert_eq!(view, expected);
    }
}

#[test]
fn different_kinds_under_one_key_all_live_and_the_lowest_shows() {
    let base = Peer::default();
    let a = base.clone().write(1, |tx| {
        let counter = child(tx, "k", Kind::Counter);
        touch(tx, counter, 5);
    });
    let b = base.clone().write(2, |tx| {
        let list = child(tx, "k", Kind::List);
        touch(tx, list, 6);
    });
    assert_eq!(merged(&base, &a, &b), r#"{"k":5}"#);
    let mut peer = base.clone();
    peer.receive(&b).unwrap();
    peer.receive(&a).unwrap();
    let kinds: Vec<Kind> = peer.document.kinds_present(ROOT, "k").map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Counter, Kind::List]);
    assert_eq!(peer.document.map_len(ROOT), 1);

    // Writing a third kind clears what the writer saw, and nothing else.
    let c = peer.clone().write(3, |tx| {
        let text = tx.put(ROOT, "k", Kind::Text).expect("there is room");
        touch(tx, text, 7);
    });
    let d = peer.clone().write(4, |tx| {
        let counter = child(tx, "k", Kind::Counter);
        touch(tx, counter, 8);
    });
    assert_eq!(merged(&peer, &c, &d), r#"{"k":8}"#);
    peer.receive(&c).unwrap();
    assert_eq!(peer.view(), r#"{"k":"7"}"#);
}

#[test]
fn a_deleted_map_entry_revives_with_only_the_concurrent_operations() {
    let mut base = Peer::default();
    base.write(1, |tx| {
        let map = child(tx, "m", Kind::Map);
        touch(tx, map, 1);
        let counter = tx.child(map, "n", Kind::Counter).unwrap();
        tx.add(counter, 10).unwrap();
    });
    let a = base.clone().write(2, |tx| assert!(tx.remove(ROOT, "m").unwrap()));
    let b = base.clone().write(3, |tx| {
        let map = child(tx, "m", Kind::Map);
        let counter = tx.child(map, "n", Kind::Counter).unwrap();
        tx.add(counter, 1).unwrap();
    });
    assert_eq!(merged(&base, &a, &b), r#"{"m":{"n":1}}"#);
    base.receive(&a).unwrap();
    assert_eq!(base.view(), "{}");
    assert_eq!(base.document.map_len(ROOT), 0);
}

#[test]
fn a_deleted_list_element_never_revives() {
    let mut base = Peer::default();
    base.write(1, |tx| {
        let list = child(tx, "l", Kind::List);
        let inserted = tx.push(list, NewElement::Container(Kind::Counter)).unwrap();
        tx.add(inserted.container.unwrap(), 1).unwrap();
        push(tx, list, text("stays"));
    });
    let list = base.at("l", Kind::List);
    let a = base.clone().write(2, |tx| tx.delete(list, 0, 1).unwrap());
    let b = base.clone().write(3, |tx| {
        let Some(bft_json_crdt::document::Element::Container(_, counter)) = tx.document().element(list, 0) else {
            panic!("a counter")
        };
        tx.add(counter, 5).unwrap();
        tx.move_element(list, 0, 1).unwrap();
    });
    assert_eq!(merged(&base, &a, &b), r#"{"l":["stays"]}"#);
}

#[test]
fn of_concurrent_moves_the_greatest_wins_and_none_duplicates() {
    let mut base = Peer::default();
    base.write(1, |tx| {
        let list = child(tx, "l", Kind::List);
        tx.insert_values(list, 0, ["a", "b", "c", "d"].map(text).into()).unwrap();
    });
    let list = base.at("l", Kind::List);
    let a = base.clone().write(2, |tx| tx.move_element(list, 0, 3).unwrap());
    let b = base.clone().write(3, |tx| tx.move_element(list, 0, 1).unwrap());
    let expected = if a.id > b.id { r#"{"l":["b","c","d","a"]}"# } else { r#"{"l":["b","a","c","d"]}"# };
    assert_eq!(merged(&base, &a, &b), expected);
    // A move of another element stands beside them.
    let c = base.clone().write(3, |tx| tx.move_element(list, 3, 0).unwrap());
    assert_eq!(merged(&base, &a, &c), r#"{"l":["d","b","c","a"]}"#);
}

#[test]
fn an_element_moved_while_it_is_deleted_stays_deleted() {
    let mut base = Peer::default();
    base.write(1, |tx| {
        let list = child(tx, "l", Kind::List);
        tx.insert_values(list, 0, ["a", "b", "c"].map(text).into()).unwrap();
    });
    let list = base.at("l", Kind::List);
    let a = base.clone().write(2, |tx| tx.delete(list, 0, 1).unwrap());
    let b = base.clone().write(3, |tx| tx.move_element(list, 0, 2).unwrap());
    assert_eq!(merged(&base, &a, &b), r#"{"l":["b","c"]}"#);
    // Even if everything around it is cleared first.
    let c = base.clone().write(2, |tx| assert!(tx.remove(ROOT, "l").unwrap()));
    assert_eq!(merged(&base, &c, &b), "{}");
}

#[test]
fn an_element_keeps_its_name_when_it_moves() {
    let mut peer = Peer::default();
    peer.write(1, |tx| {
        let list = child(tx, "l", Kind::List);
        tx.insert_values(list, 0, ["a", "b", "c"].map(text).into()).unwrap();
    });
    let list = peer.at("l", Kind::List);
    let a = peer.document.element_id(list, 0).unwrap();
    for to in [2, 1, 0, 1] {
        peer.write(1, |tx| {
            let from = tx.document().index_of(list, a).unwrap();
            tx.move_element(list, from, to).unwrap();
        });
        assert_eq!(peer.document.index_of(list, a), Some(to));
        assert_eq!(peer.document.len(list), 3);
    }
    peer.write(1, |tx| tx.delete(list, 1, 1).unwrap());
    assert_eq!(peer.document.index_of(list, a), None);
    assert_eq!(peer.view(), r#"{"l":["b","c"]}"#);
}

#[test]
fn empty_containers_are_present_once_ensured() {
    let base = Peer::default();
    let ensure = |tx: &mut Tx<Graph>| {
        for (kind, key) in Kind::ALL.into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
            let container = child(tx, key, kind);
            tx.ensure(container).unwrap();
            tx.ensure(container).unwrap();
        }
        assert_eq!(tx.units(), 6);
    };
    let [a, b] = [1, 2].map(|author| base.clone().write(author, ensure));
    let all = r#"{"a":null,"b":[],"c":0,"d":{},"e":[],"f":""}"#;
    assert_eq!(merged(&base, &a, &b), all);
    // A clear takes what its writer saw: the ensure of the other stays.
    let mut peer = base.clone();
    peer.receive(&a).unwrap();
    let c = peer.write(1, |tx| {
        for key in ["a", "b", "c", "d", "e", "f"] {
            assert!(tx.remove(ROOT, key).unwrap());
        }
    });
    assert_eq!(peer.view(), "{}");
    let mut base = base;
    base.receive(&a).unwrap();
    assert_eq!(merged(&base, &b, &c), all);
}

#[test]
fn a_concurrent_set_shows_again_when_a_clear_does_not_cover_it() {
    let base = Peer::default();
    let mut peers = [base.clone(), base.clone()];
    let a = peers[0].write(1, |tx| set(tx, "r", text("one")));
    let b = peers[1].write(2, |tx| set(tx, "r", text("two")));
    // The writer of the greater one deletes it before it sees the other.
    let (greater, lesser, writer) = if a.id > b.id { (0, &b, 1) } else { (1, &a, 2) };
    let kept = if greater == 0 { "two" } else { "one" };
    let clear = peers[greater].write(writer, |tx| assert!(tx.remove(ROOT, "r").unwrap()));
    let mut base = base;
    base.receive(if greater == 0 { &a } else { &b }).unwrap();
    assert_eq!(merged(&base, &clear, lesser), format!(r#"{{"r":"{kept}"}}"#));
}

#[test]
fn a_register_shows_null_only_when_that_was_written() {
    let mut peer = Peer::default();
    peer.write(1, |tx| set(tx, "r", Value::Null));
    assert_eq!(peer.view(), r#"{"r":null}"#);
    let register = peer.at("r", Kind::Register);
    assert_eq!(peer.document.register(register), Some(&Value::Null));
    peer.write(1, |tx| assert!(tx.remove(ROOT, "r").unwrap()));
    assert_eq!(peer.document.register(register), None);
    assert!(!peer.document.is_present(register));
}

#[test]
fn a_multi_value_register_shows_all_concurrent_values() {
    let base = Peer::default();
    let write = |peer: &Peer, author, n| {
        peer.clone().write(author, |tx| {
            let register = child(tx, "r", Kind::MultiRegister);
            tx.set(register, int(0)).unwrap();
            tx.set(register, int(n)).unwrap();
        })
    };
    let (a, b) = (write(&base, 1, 1), write(&base, 2, 2));
    let both = if a.id < b.id { r#"{"r":[1,2]}"# } else { r#"{"r":[2,1]}"# };
    assert_eq!(merged(&base, &a, &b), both);
    // A later set replaces those that its writer saw, and no other.
    let mut one = base.clone();
    one.receive(&a).unwrap();
    let c = write(&one, 1, 3);
    assert_eq!(merged(&one, &b, &c), r#"{"r":[2,3]}"#);
}

#[test]
fn a_counter_is_exact_beyond_64_bits() {
    let base = Peer::default();
    let [a, b] = [(1, i64::MAX), (2, i64::MAX)].map(|(author, step)| {
        base.clone().write(author, |tx| {
            let counter = child(tx, "n", Kind::Counter);
            tx.add(counter, step).unwrap();
            tx.add(counter, step).unwrap();
        })
    });
    let sum = 4 * i128::from(i64::MAX);
    assert_eq!(merged(&base, &a, &b), format!(r#"{{"n":{sum}}}"#));
}

#[test]
fn nothing_lies_deeper_than_the_bound() {
    fn dig(tx: &mut Tx<Graph>) -> ContainerIdx {
        let mut at = ROOT;
        for _ in 0..MAX_DEPTH {
            at = tx.child(at, "k", Kind::Map).unwrap();
        }
        tx.ensure(at).unwrap();
        at
    }
    let mut peer = Peer::default();
    peer.write(1, |tx| {
        dig(tx);
    });
    assert_eq!(peer.view().matches('{').count(), MAX_DEPTH as usize + 1);
    let refused = peer.try_write(1, |tx| {
        let at = dig(tx);
        assert_eq!(tx.child(at, "k", Kind::Map), Err(TxError::TooDeep));
        // The first error stands.
        assert_eq!(tx.ensure(at), Err(TxError::TooDeep));
        assert_eq!(tx.error(), Some(&TxError::TooDeep));
    });
    assert_eq!(refused.unwrap_err(), TxError::TooDeep);
    let refused = peer.try_write(1, |tx| {
        let mut at = ROOT;
        for _ in 0..MAX_DEPTH - 1 {
            at = tx.child(at, "k", Kind::Map).unwrap();
        }
        let list = tx.child(at, "l", Kind::List).unwrap();
        push(tx, list, int(1));
        let _ = tx.push(list, NewElement::Container(Kind::Map));
    });
    assert_eq!(refused.unwrap_err(), TxError::TooDeep);
}

#[test]
fn a_log_stands_in_the_one_order() {
    let mut base = Peer::default();
    base.write(1, |tx| {
        let log = child(tx, "log", Kind::List);
        tx.insert_in_order(log, NewElement::Value(int(1))).unwrap();
        tx.insert_in_order(log, NewElement::Value(int(2))).unwrap();
    });
    let log = base.at("log", Kind::List);
    let [a, b] = [3, 4].map(|n| {
        base.clone().write(n as u8, |tx| {
            tx.insert_in_order(log, NewElement::Value(int(n))).unwrap();
        })
    });
    let expected = if a.id < b.id { r#"{"log":[1,2,3,4]}"# } else { r#"{"log":[1,2,4,3]}"# };
    assert_eq!(merged(&base, &a, &b), expected);
}

#[test]
fn concurrent_typing_does_not_interleave() {
    let mut base = Peer::default();
    base.write(1, |tx| {
        let text = child(tx, "t", Kind::Text);
        tx.text_insert(text, 0, "[]").unwrap();
    });
    let at = base.at("t", Kind::Text);
    let [a, b] = [(1, "abc"), (2, "xyz")].map(|(author, word)| {
        base.clone().write(author, |tx| {
            for (n, letter) in word.char_indices() {
                tx.text_insert(at, 1 + n, &letter.to_string()).unwrap();
            }
        })
    });
    let expected = if a.id < b.id { r#"{"t":"[abcxyz]"}"# } else { r#"{"t":"[xyzabc]"}"# };
    assert_eq!(merged(&base, &a, &b), expected);
    assert_eq!(a.ops.runs.len(), 1, "typing is one run");
}

#[test]
fn events_replay_what_happened_to_a_text() {
    let mut peer = Peer::default();
    peer.write(1, |tx| {
        let list = child(tx, "l", Kind::List);
        let note = tx.push(list, NewElement::Container(Kind::Text)).unwrap().container.unwrap();
        tx.text_insert(note, 0, "hello").unwrap();
        tx.text_delete(note, 1, 3).unwrap();
    });
    let mut other = Peer::default();
    other.pull(&peer);
    for events in [&peer.events, &other.events] {
        let happened: Vec<Happened> = events.iter().map(|event| event.happened).collect();
        assert_eq!(
            happened,
            [
                Happened::Inserted { index: 0, len: 1 },
                Happened::Inserted { index: 0, len: 5 },
                Happened::Deleted { index: 1, len: 3 },
            ]
        );
        assert_eq!(events[1].path, [Step::Key("l".into()), Step::Index(0)]);
    }
}

#[test]
fn a_transaction_keeps_to_the_limits_of_a_change() {
    let mut peer = Peer::default();
    let mut refused = |write: &dyn Fn(&mut Tx<Graph>)| peer.try_write(1, |tx| write(tx)).expect_err("it is refused");
    let key = "k".repeat(MAX_KEY_BYTES + 1);
    let too_long = refused(&|tx| drop(tx.child(ROOT, &key, Kind::Map)));
    assert_eq!(too_long, TxError::KeyTooLong(MAX_KEY_BYTES + 1));
    let wrong = refused(&|tx| drop(tx.set(ROOT, int(1))));
    assert_eq!(wrong, TxError::WrongKind(Kind::Map));
    let number = refused(&|tx| set_unchecked(tx, Value::Float(f64::NAN)));
    assert_eq!(number, TxError::Number);
    let deep = (0..60).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    assert_eq!(refused(&|tx| set_unchecked(tx, deep.clone())), TxError::ValueTooDeep);
    let long = "x".repeat(MAX_UNITS as usize + 1);
    let units = refused(&|tx| {
        let text = child(tx, "t", Kind::Text);
        let _ = tx.text_insert(text, 0, &long);
    });
    assert_eq!(units, TxError::TooManyUnits);
    let bytes = refused(&|tx| set_unchecked(tx, Value::String("x".repeat(1 << 20))));
    assert_eq!(bytes, TxError::TooManyBytes);
    let beyond = refused(&|tx| {
        let list = child(tx, "l", Kind::List);
        let _ = tx.delete(list, 0, 1);
    });
    assert_eq!(beyond, TxError::OutOfBounds { index: 1, len: 0 });
    let deleted = refused(&|tx| {
        let list = child(tx, "l", Kind::List);
        let inner = tx.push(list, NewElement::Container(Kind::Counter)).unwrap().container.unwrap();
        tx.delete(list, 0, 1).unwrap();
        let _ = tx.add(inner, 1);
    });
    assert_eq!(deleted, TxError::Deleted);
    assert_eq!(peer.view(), "{}");
}

fn set_unchecked(tx: &mut Tx<Graph>, value: Value) {
    let register = child(tx, "r", Kind::Register);
    let _ = tx.set(register, value);
}

#[test]
fn a_clear_of_the_root_leaves_what_is_concurrent() {
    let mut base = Peer::default();
    base.write(1, |tx| {
        for (kind, key) in Kind::ALL.into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
            let container = child(tx, key, kind);
            touch(tx, container, 1);
        }
    });
    let a = base.clone().write(2, |tx| tx.clear(ROOT).unwrap());
    let b = base.clone().write(3, |tx| {
        for (kind, key) in Kind::ALL.into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
            let container = child(tx, key, kind);
            touch(tx, container, 2);
        }
    });
    assert_eq!(merged(&base, &a, &b), r#"{"a":2,"b":[2],"c":2,"d":{"2":2},"e":[2],"f":"2"}"#);
    let mut peer = base.clone();
    peer.receive(&a).unwrap();
    assert_eq!(dump(&peer.document, ROOT), Value::Object(Default::default()));
}
