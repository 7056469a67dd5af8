//! Somebody who keeps a copy of a document by nothing but its events, as a user interface does: what was inserted is read once it is there, what was
//! deleted or moved is done by the indexes told.

use std::collections::HashMap;

use bft_json_crdt::document::{ContainerIdx, Document, Element, ElementId, Event, Happened};
use bft_json_crdt::ops::Kind;
use bft_json_crdt::value::Value;

/// What the copy holds of one container. `None` in a list or text stands for what an event has just told of.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Register(Vec<Value>),
    Counter(i128),
    List(Vec<Option<ElementId>>),
    Text(Vec<Option<char>>),
    Map,
}

#[derive(Clone, Default)]
pub(super) struct Listener {
    held: HashMap<ContainerIdx, Held>,
}

impl Listener {
    /// Follows the events of one change, which the document shows by now.
    pub(super) fn follow(&mut self, document: &Document, events: &[Event]) {
        // What is left after a clear, nobody tells, nor what came of the indexes before.
        let scalar = |kind| matches!(kind, Kind::Register | Kind::MultiRegister | Kind::Counter);
        if events.iter().any(|event| {
            event.happened == Happened::Untold || event.happened == Happened::Cleared && !scalar(event.kind)
        }) {
            for event in events {
                self.held.entry(event.container).or_insert_with(|| empty(event.kind));
            }
            return self.held.iter_mut().for_each(|(at, held)| *held = read(document, *at));
        }
        let mut touched: Vec<ContainerIdx> = Vec::new();
        for event in events {
            let at = event.container;
            assert_eq!(event.kind, document.kind(at), "an event's kind");
            match (event.happened, self.held.entry(at).or_insert_with(|| empty(event.kind))) {
                (Happened::Ensured, _) => {}
                (Happened::Set | Happened::Cleared, _) => touched.push(at),
                (Happened::Added(step), Held::Counter(sum)) => *sum += i128::from(step),
                (Happened::Inserted { index, len }, Held::List(items)) => {
                    items.splice(index..index, std::iter::repeat_n(None, len));
                    touched.push(at);
                }
                (Happened::Inserted { index, len }, Held::Text(items)) => {
                    items.splice(index..index, std::iter::repeat_n(None, len));
                    touched.push(at);
                }
                (Happened::Deleted { index, len }, Held::List(items)) => drop(items.drain(index..index + len)),
                (Happened::Deleted { index, len }, Held::Text(items)) => drop(items.drain(index..index + len)),
                (Happened::Moved { from, to }, Held::List(items)) => {
                    let moved = items.remove(from);
                    items.insert(to, moved);
                }
                (happened, held) => panic!("{happened:?} cannot happen to {held:?}"),
            }
        }
        if let Some(last) = events.last()
            && let Some(path) = document.path(last.container)
        {
            assert_eq!(last.path, path, "an event's path");
        }
        // Of what lies in a deleted element nothing is told.
        for at in touched.into_iter().filter(|at| document.is_attached(*at)) {
            let now = read(document, at);
            match (self.held.get_mut(&at), &now) {
                (Some(Held::List(items)), Held::List(now)) => fill(items, now),
                (Some(Held::Text(items)), Held::Text(now)) => fill(items, now),
                (Some(held), _) => *held = now,
                (None, _) => {}
            }
        }
    }

    /// Whether the copy is what the document shows at and below a container.
    pub(super) fn assert_same(&self, document: &Document, at: ContainerIdx) {
        let kind = document.kind(at);
        if kind != Kind::Map {
            let now = read(document, at);
            let held = self.held.get(&at);
            assert!(held == Some(&now) || held.is_none() && now == empty(kind), "by events {held:?}, in truth {now:?}");
        }
        for key in document.keys(at) {
            for (_, inner) in document.kinds_present(at, key) {
                self.assert_same(document, inner);
            }
        }
        for (_, element) in document.elements(at, 0) {
            if let Element::Container(_, inner) = element {
                self.assert_same(document, inner);
            }
        }
    }
}

fn fill<T: Copy>(items: &mut [Option<T>], now: &[Option<T>]) {
    assert_eq!(items.len(), now.len(), "a length by events");
    for (item, now) in items.iter_mut().zip(now) {
        *item = item.or(*now);
    }
}

fn empty(kind: Kind) -> Held {
    match kind {
        Kind::Register | Kind::MultiRegister => Held::Register(Vec::new()),
        Kind::Counter => Held::Counter(0),
        Kind::Map => Held::Map,
        Kind::List => Held::List(Vec::new()),
        Kind::Text => Held::Text(Vec::new()),
    }
}

fn read(document: &Document, at: ContainerIdx) -> Held {
    match document.kind(at) {
        Kind::Register | Kind::MultiRegister => Held::Register(document.values(at).cloned().collect()),
        Kind::Counter => Held::Counter(document.counter(at)),
        Kind::Map => Held::Map,
        Kind::List => Held::List(document.elements(at, 0).map(|(id, _)| Some(id)).collect()),
        Kind::Text => Held::Text(document.text(at).chars().map(Some).collect()),
    }
}
