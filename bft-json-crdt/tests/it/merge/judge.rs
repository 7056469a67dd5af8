//! What makes a change invalid (docs/protocol.md, section 5, verdict 6).

use std::rc::Rc;

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::document::{ContainerIdx, InvalidReason};
use bft_json_crdt::ops::{
    Anchor, ContainerNo, Direction, Element, Kind, MAX_DEPTH, Ops, OpsBuilder, Parent, Ref, Source, Unit,
};
use bft_json_crdt::value::Value;

use super::world::{Peer, Written};

const ROOT: ContainerNo = ContainerNo::ROOT;

fn key(builder: &mut OpsBuilder, map: ContainerNo, key: &str, kind: Kind) -> ContainerNo {
    builder.container(Parent::Key(map, key.into()), kind).expect("there is room")
}

fn insert(list: ContainerNo, anchor: Anchor, element: Element) -> Unit {
    Unit::Insert { list, anchor, element }
}

fn value() -> Element {
    Element::Value(Value::Null)
}

/// Offsets: 0 a value in list "l", 1 a map in it, 2 a move of 0, 3 and 4 characters in text "t", 5 a value in list "m", 6 a set.
fn base() -> (Peer, Rc<Written>) {
    let mut builder = OpsBuilder::new();
    let list = key(&mut builder, ROOT, "l", Kind::List);
    let other = key(&mut builder, ROOT, "m", Kind::List);
    let text = key(&mut builder, ROOT, "t", Kind::Text);
    let register = key(&mut builder, ROOT, "r", Kind::Register);
    let own = |offset| Ref { source: Source::Own, offset };
    for unit in [
        insert(list, Anchor::Start, value()),
        insert(list, Anchor::Right(own(0)), Element::Container(Kind::Map)),
        Unit::Move { element: own(0), anchor: Anchor::Right(own(1)) },
        Unit::Text { text, anchor: Anchor::Start, character: 'a' },
        Unit::Text { text, anchor: Anchor::Start, character: 'b' },
        insert(other, Anchor::Start, value()),
        Unit::Set(register, Value::Null),
    ] {
        builder.push(unit).expect("it fits");
    }
    let mut peer = Peer::default();
    let written = peer.write_ops(1, builder.finish()).expect("it is valid");
    (peer, written)
}

/// Judges a change that another author writes behind the base; the builder gets the source that names it. A load, which applies without judging the whole
/// before, must come to the same verdict for the same reason.
fn judged(build: impl Fn(&mut OpsBuilder, Source)) -> Result<(), InvalidReason> {
    let (result, loaded) = judged_and_loaded(build);
    assert_eq!(loaded, result, "a load judges as everybody else");
    result
}

/// The verdict of everybody, and that of a load, which may find another one of several reasons first.
fn judged_and_loaded(
    build: impl Fn(&mut OpsBuilder, Source),
) -> (Result<(), InvalidReason>, Result<(), InvalidReason>) {
    let (mut peer, written) = base();
    let before = (peer.view(), peer.log.len());
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(written.id).expect("there is room");
    build(&mut builder, source);
    let ops = builder.finish();
    let encoded = ops.encode().expect("the form is good");
    assert_eq!(Ops::decode(1, &encoded), Ok(ops.clone()));
    let (mut loading, _) = base();
    let index = loading.graph.add(&loading.next(2, ops.clone()));
    let loaded = loading.document.apply_or_spoil(&loading.graph, index, &mut ops.clone());
    let result = peer.write_ops(2, ops).map(drop);
    if result.is_ok() {
        assert_eq!(loading.view(), peer.view());
    }
    if result.is_err() {
        assert_eq!((peer.view(), peer.log.len()), before, "an invalid change leaves the document as it was");
        peer.document.debug_check();
    }
    (result, loaded)
}

#[test]
fn references_to_the_right_things_are_valid() {
    let result = judged(|builder, source| {
        let at = |offset| Ref { source, offset };
        let list = key(builder, ROOT, "l", Kind::List);
        let text = key(builder, ROOT, "t", Kind::Text);
        let inner = builder.container(Parent::Element(at(1)), Kind::Map).unwrap();
        let counter = key(builder, inner, "n", Kind::Counter);
        for unit in [
            insert(list, Anchor::Left(at(2)), value()),
            Unit::Text { text, anchor: Anchor::Right(at(4)), character: 'c' },
            Unit::Add(counter, 1),
            Unit::Move { element: at(1), anchor: Anchor::Right(at(2)) },
        ] {
            builder.push(unit).unwrap();
        }
        builder.delete(at(1), 2, Direction::Backward).unwrap();
        builder.delete(at(3), 3, Direction::Forward).unwrap();
    });
    assert_eq!(result, Ok(()));
}

#[test]
fn a_reference_outside_the_causal_past_is_invalid() {
    let foreign = judged(|builder, _| {
        let source = builder.foreign(ChangeId([7; 32])).unwrap();
        builder.push(Unit::Delete { target: Ref { source, offset: 0 } }).unwrap();
    });
    assert_eq!(foreign, Err(InvalidReason::Reference));
    let back = judged(|builder, _| {
        builder.push(Unit::Delete { target: Ref { source: Source::Back(1), offset: 0 } }).unwrap();
    });
    assert_eq!(back, Err(InvalidReason::Reference));

    // A change that the replica holds, but the judged one does not know of.
    let (mut peer, written) = base();
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(written.id).unwrap();
    builder.push(Unit::Delete { target: Ref { source, offset: 0 } }).unwrap();
    let blind = Rc::new(Peer::default().next(2, builder.finish()));
    assert_eq!(peer.receive(&blind), Err(InvalidReason::Reference));
}

#[test]
fn the_own_chain_must_be_named_by_steps() {
    let (mut peer, written) = base();
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(written.id).unwrap();
    builder.push(Unit::Delete { target: Ref { source, offset: 0 } }).unwrap();
    assert_eq!(peer.clone().write_ops(1, builder.finish()).map(drop), Err(InvalidReason::Reference));
    let mut builder = OpsBuilder::new();
    builder.push(Unit::Delete { target: Ref { source: Source::Back(1), offset: 0 } }).unwrap();
    assert_eq!(peer.write_ops(1, builder.finish()).map(drop), Ok(()));
}

#[test]
fn an_offset_that_the_change_does_not_have_is_invalid() {
    for (offset, len, reason) in [(7, 1, InvalidReason::Reference), (5, 3, InvalidReason::Reference)] {
        let result = judged(|builder, source| {
            builder.delete(Ref { source, offset }, len, Direction::Forward).unwrap();
        });
        assert_eq!(result, Err(reason));
    }
}

#[test]
fn a_delete_of_what_is_no_insert_is_invalid() {
    for (offset, len) in [(2, 1), (6, 1), (1, 2), (5, 2)] {
        let result = judged(|builder, source| {
            builder.delete(Ref { source, offset }, len, Direction::Forward).unwrap();
        });
        assert_eq!(result, Err(InvalidReason::Kind), "{offset} {len}");
    }
    // Likewise within one change.
    let own = judged(|builder, _| {
        let register = key(builder, ROOT, "r", Kind::Register);
        builder.push(Unit::Set(register, Value::Null)).unwrap();
        builder.push(Unit::Delete { target: Ref { source: Source::Own, offset: 0 } }).unwrap();
    });
    assert_eq!(own, Err(InvalidReason::Kind));
}

#[test]
fn a_place_of_the_wrong_type_is_invalid() {
    // A move's element; a list anchor at a character or a set; a text anchor at an element.
    for offset in [2, 3, 6] {
        let result = judged(|builder, source| {
            builder.push(Unit::Move { element: Ref { source, offset }, anchor: Anchor::Start }).unwrap();
        });
        assert_eq!(result, Err(InvalidReason::Kind), "move {offset}");
    }
    for offset in [3, 6] {
        let result = judged(|builder, source| {
            let list = key(builder, ROOT, "l", Kind::List);
            builder.push(insert(list, Anchor::Right(Ref { source, offset }), value())).unwrap();
        });
        assert_eq!(result, Err(InvalidReason::Kind), "insert {offset}");
    }
    for offset in [0, 2, 6] {
        let result = judged(|builder, source| {
            let text = key(builder, ROOT, "t", Kind::Text);
            let anchor = Anchor::Left(Ref { source, offset });
            builder.push(Unit::Text { text, anchor, character: 'x' }).unwrap();
        });
        assert_eq!(result, Err(InvalidReason::Kind), "text {offset}");
    }
}

#[test]
fn a_container_that_the_element_is_not_is_invalid() {
    for (offset, kind) in [(0, Kind::Map), (1, Kind::List), (2, Kind::Map), (3, Kind::Map), (6, Kind::Map)] {
        let result = judged(|builder, source| {
            let inner = builder.container(Parent::Element(Ref { source, offset }), kind).unwrap();
            builder.push(Unit::Ensure(inner)).unwrap();
        });
        assert_eq!(result, Err(InvalidReason::Kind), "{offset} {kind:?}");
    }
}

#[test]
fn a_place_in_another_container_is_invalid() {
    let lists = judged(|builder, source| {
        let list = key(builder, ROOT, "m", Kind::List);
        builder.push(insert(list, Anchor::Right(Ref { source, offset: 0 }), value())).unwrap();
    });
    assert_eq!(lists, Err(InvalidReason::Sequence));
    let new_list = judged(|builder, source| {
        let list = key(builder, ROOT, "unheard of", Kind::List);
        builder.push(insert(list, Anchor::Right(Ref { source, offset: 0 }), value())).unwrap();
    });
    assert_eq!(new_list, Err(InvalidReason::Sequence));
    let moved = judged(|builder, source| {
        let (element, place) = (Ref { source, offset: 0 }, Ref { source, offset: 5 });
        builder.push(Unit::Move { element, anchor: Anchor::Left(place) }).unwrap();
    });
    assert_eq!(moved, Err(InvalidReason::Sequence));
    let own = judged(|builder, _| {
        let (one, other) = (key(builder, ROOT, "x", Kind::List), key(builder, ROOT, "y", Kind::List));
        builder.push(insert(one, Anchor::Start, value())).unwrap();
        let place = Ref { source: Source::Own, offset: 0 };
        builder.push(insert(other, Anchor::Right(place), value())).unwrap();
    });
    assert_eq!(own, Err(InvalidReason::Sequence));
}

#[test]
fn a_container_beyond_the_depth_limit_is_invalid() {
    let dig = |builder: &mut OpsBuilder, levels: u32, last: Kind| {
        let map = (1..levels).fold(ROOT, |map, _| key(builder, map, "d", Kind::Map));
        key(builder, map, "d", last)
    };
    let good = judged(|builder, _| {
        let deepest = dig(builder, MAX_DEPTH, Kind::List);
        builder.push(insert(deepest, Anchor::Start, value())).unwrap();
    });
    assert_eq!(good, Ok(()));
    let table = judged(|builder, _| {
        let beyond = dig(builder, MAX_DEPTH + 1, Kind::Counter);
        builder.push(Unit::Add(beyond, 1)).unwrap();
    });
    assert_eq!(table, Err(InvalidReason::Depth));
    let element = judged(|builder, _| {
        let deepest = dig(builder, MAX_DEPTH, Kind::List);
        builder.push(insert(deepest, Anchor::Start, Element::Container(Kind::Text))).unwrap();
    });
    assert_eq!(element, Err(InvalidReason::Depth));
}

#[test]
fn the_least_reason_is_the_verdict() {
    let (result, loaded) = judged_and_loaded(|builder, source| {
        let beyond = (0..=MAX_DEPTH).fold(ROOT, |map, _| key(builder, map, "d", Kind::Map));
        builder.push(Unit::Ensure(beyond)).unwrap();
        builder.push(Unit::Delete { target: Ref { source, offset: 6 } }).unwrap();
        builder.push(Unit::Delete { target: Ref { source, offset: 99 } }).unwrap();
    });
    assert_eq!(result, Err(InvalidReason::Reference));
    assert!(loaded.is_err());
}

#[test]
fn what_a_deleted_element_holds_is_judged_as_ever() {
    let (mut peer, written) = base();
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(written.id).unwrap();
    builder.push(Unit::Delete { target: Ref { source, offset: 1 } }).unwrap();
    peer.write_ops(2, builder.finish()).unwrap();
    // Into the map in the dead element: valid, and without effect.
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(written.id).unwrap();
    let map = builder.container(Parent::Element(Ref { source, offset: 1 }), Kind::Map).unwrap();
    let list = key(&mut builder, map, "dead", Kind::List);
    builder.push(insert(list, Anchor::Start, value())).unwrap();
    let before = peer.view();
    let into = peer.write_ops(3, builder.finish()).expect("it is valid");
    assert_eq!(peer.view(), before);
    assert_eq!(peer.document.map_len(ContainerIdx::ROOT), 4);
    // A place in it is no place of another list.
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(into.id).unwrap();
    let list = key(&mut builder, ROOT, "l", Kind::List);
    builder.push(insert(list, Anchor::Right(Ref { source, offset: 0 }), value())).unwrap();
    assert_eq!(peer.write_ops(4, builder.finish()).map(drop), Err(InvalidReason::Sequence));
}
