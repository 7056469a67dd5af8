//! Whether the crate's engine and this one show the same, in every way in which a document can be asked.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::document::{self, ContainerIdx};
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::replica::Replica;

/// A replica's document is what this engine makes of the replica's changes.
pub(crate) fn assert_agrees(replica: &Replica) {
    let mut simple = super::Document::new();
    for (index, incoming) in replica.log(ChangeIdx(0)) {
        let change = incoming.change;
        let ops = Ops::decode(change.header().version, change.ops()).expect("what is applied was decoded");
        simple.apply(replica.dag(), index, &ops).expect("what is applied is valid");
    }
    assert_same(replica.document(), ContainerIdx::ROOT, &simple, super::ContainerIdx::ROOT);
}

/// Compares a container and all below it: present or not, lengths, keys, all kinds under each key, indexes, elements, values.
pub(crate) fn assert_same(
    new: &document::Document,
    at: ContainerIdx,
    simple: &super::Document,
    there: super::ContainerIdx,
) {
    let kind = new.kind(at);
    assert_eq!(kind, simple.kind(there), "kinds");
    assert_eq!(new.depth(at), simple.depth(there), "depths");
    assert!(new.is_attached(at), "what is found from above is attached");
    assert_eq!(new.is_present(at), simple.is_present(there), "presence");
    match kind {
        Kind::Register | Kind::MultiRegister => {
            assert_eq!(new.register(at), simple.register(there), "a register");
            assert!(new.values(at).eq(simple.values(there)), "a multi-value register");
        }
        Kind::Counter => assert_eq!(new.counter(at), simple.counter(there), "a counter"),
        Kind::Map => {
            assert_eq!(new.map_len(at), simple.map_len(there), "the number of keys");
            assert!(new.keys(at).eq(simple.keys(there)), "keys");
            for key in simple.keys(there) {
                let mut kinds = new.kinds_present(at, key);
                assert_eq!(new.shown(at, key).map(|(kind, _)| kind), simple.shown(there, key).map(|(kind, _)| kind));
                for (kind, inner) in simple.kinds_present(there, key) {
                    let (other, same) = kinds.next().expect("a kind is missing");
                    assert_eq!(other, kind, "the kinds under a key");
                    assert_eq!(new.child(at, key, kind), Some(same), "a child");
                    assert_same(new, same, simple, inner);
                }
                assert_eq!(kinds.next(), None, "too many kinds");
            }
        }
        Kind::List => {
            assert_eq!(new.len(at), simple.len(there), "a list's length");
            assert_eq!(new.is_empty(at), simple.is_empty(there));
            let mut elements = new.elements(at, 0);
            for (index, element) in simple.elements(there, 0).map(|(_, element)| element).enumerate() {
                let (id, same) = elements.next().expect("an element is missing");
                assert_eq!(new.index_of(at, id), Some(index), "an element's index");
                if index % 7 == 3 {
                    assert_eq!(new.element_id(at, index), Some(id), "an index's element");
                    assert_eq!(new.element(at, index), Some(same), "an index's element");
                }
                match (same, element) {
                    (document::Element::Value(a), super::Element::Value(b)) => assert_eq!(a, b, "element {index}"),
                    (document::Element::Container(_, a), super::Element::Container(_, b)) => {
                        assert_same(new, a, simple, b);
                    }
                    (a, b) => panic!("element {index} is {a:?} here and {b:?} there"),
                }
            }
            assert!(elements.next().is_none(), "too many elements");
        }
        Kind::Text => {
            assert_eq!(new.len(at), simple.len(there), "a text's length");
            let text = simple.text(there);
            assert_eq!(new.text(at), text, "a text");
            let from = text.len() / 3;
            let slice: String = text.chars().skip(from).take(5).collect();
            assert_eq!(new.text_slice(at, from, 5), slice, "a part of a text");
        }
    }
}
