//! A plain copy of a document that follows it by events alone.

use std::collections::BTreeMap;

use bft_json_crdt::document::{ContainerIdx, Document, Element, Event, Happened, Step};
use bft_json_crdt::ops::Kind;
use bft_json_crdt::value::Value;

/// What a container holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Register(Value),
    Counter(i128),
    Map(BTreeMap<(String, u8), Node>),
    List(Vec<Item>),
    Text(Vec<char>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Value(Value),
    Container(Node),
}

impl Node {
    fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Register => Self::Register(Value::Null),
            Kind::MultiRegister => Self::Register(Value::Array(Vec::new())),
            Kind::Counter => Self::Counter(0),
            Kind::Map => Self::Map(BTreeMap::new()),
            Kind::List => Self::List(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
        }
    }

    /// Everything that lives, entries of every kind under a key included.
    pub(crate) fn of(document: &Document, container: ContainerIdx) -> Self {
        match document.kind(container) {
            Kind::Register | Kind::MultiRegister => Self::Register(document.view_at(container)),
            Kind::Counter => Self::Counter(document.counter(container)),
            Kind::Text => Self::Text(document.text(container).chars().collect()),
            Kind::List => Self::List(
                document
                    .elements(container, 0)
                    .map(|(_, element)| match element {
                        Element::Value(value) => Item::Value(value.clone()),
                        Element::Container(_, inner) => Item::Container(Self::of(document, inner)),
                    })
                    .collect(),
            ),
            Kind::Map => {
                let mut entries = BTreeMap::new();
                for key in document.keys(container) {
                    for (kind, child) in document.kinds_present(container, key) {
                        entries.insert((key.to_owned(), kind as u8), Self::of(document, child));
                    }
                }
                Self::Map(entries)
            }
        }
    }

    /// Follows an event. `content` is what came with it: characters, or for list elements their values and, where a container came, its kind.
    pub(crate) fn follow(&mut self, event: &Event, set: Option<Value>, came: impl Fn(usize) -> Item, text: &str) {
        if event.happened == Happened::Cleared {
            let (Some(Step::Key(key)), way) = (event.path.last(), &event.path[..event.path.len() - 1]) else {
                panic!("only entries of maps vanish")
            };
            let Node::Map(map) = self.at(way, Kind::Map) else { panic!("a map") };
            assert!(map.remove(&(key.to_string(), event.kind as u8)).is_some(), "what vanishes was there");
            return;
        }
        match (self.at(&event.path, event.kind), event.happened) {
            (_, Happened::Ensured) => {}
            (Node::Register(value), Happened::Set) => {
                let set = set.expect("a register that was set shows something");
                assert_ne!(*value, set, "an event tells something");
                *value = set;
            }
            (Node::Counter(sum), Happened::Added(step)) => *sum += i128::from(step),
            (Node::List(list), Happened::Deleted { index, len }) => drop(list.drain(index..index + len)),
            (Node::Text(text), Happened::Deleted { index, len }) => drop(text.drain(index..index + len)),
            (Node::List(list), Happened::Inserted { index, len }) => {
                drop(list.splice(index..index, (index..index + len).map(came)));
            }
            (Node::Text(characters), Happened::Inserted { index, len }) => {
                assert_eq!(text.chars().count(), len);
                drop(characters.splice(index..index, text.chars()));
            }
            (Node::List(list), Happened::Moved { from, to }) => {
                assert_ne!(from, to);
                let item = list.remove(from);
                list.insert(to, item);
            }
            (node, happened) => panic!("{happened:?} does not fit {node:?}"),
        }
    }

    /// The container at the end of a way, made where it is missing.
    fn at(&mut self, path: &[Step], kind: Kind) -> &mut Node {
        let mut node = self;
        for (n, step) in path.iter().enumerate() {
            let kind = match path.get(n + 1) {
                None => kind,
                Some(Step::Key(_)) => Kind::Map,
                Some(Step::Index(_)) => Kind::List,
            };
            node = match (node, step) {
                (Node::Map(map), Step::Key(key)) => {
                    map.entry((key.to_string(), kind as u8)).or_insert_with(|| Node::empty(kind))
                }
                (Node::List(list), Step::Index(index)) => match &mut list[*index] {
                    Item::Container(inner) => inner,
                    Item::Value(_) => panic!("a value holds nothing"),
                },
                (node, step) => panic!("{step:?} does not lead into {node:?}"),
            };
        }
        node
    }

    /// What comes when a container comes.
    pub(crate) fn came(kind: Kind) -> Item {
        Item::Container(Self::empty(kind))
    }
}
