//! Peers that write and exchange changes, upon a graph of plain sets.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bft_json_crdt::causality::{BranchIdx, Causality, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::document::{ContainerIdx, Document, Element, Event, InvalidReason, Tx, TxError};
use bft_json_crdt::hash;
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::value::{Value, canonical_json};

/// A change with all that follows from its place in the graph.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) id: ChangeId,
    pub(crate) author: u8,
    pub(crate) seq: u64,
    pub(crate) previous: Option<Rc<Written>>,
    pub(crate) lamport: u64,
    /// Its whole causal past.
    pub(crate) past: BTreeSet<ChangeId>,
    pub(crate) ops: Ops,
}

#[derive(Clone)]
struct Node {
    id: ChangeId,
    branch: BranchIdx,
    seq: u64,
    lamport: u64,
    previous: Option<ChangeIdx>,
    past: BTreeSet<ChangeId>,
}

/// A graph of applied changes in which every question is answered by looking at everything.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    by_id: BTreeMap<ChangeId, ChangeIdx>,
    branches: u32,
}

impl Graph {
    pub(super) fn add(&mut self, change: &Written) -> ChangeIdx {
        let index = ChangeIdx(self.nodes.len() as u32);
        let previous = change.previous.as_ref().map(|previous| self.by_id[&previous.id]);
        let continues = previous.filter(|previous| self.nodes.iter().all(|node| node.previous != Some(*previous)));
        let branch = match continues {
            Some(previous) => self.nodes[previous.0 as usize].branch,
            None => {
                self.branches += 1;
                BranchIdx(self.branches - 1)
            }
        };
        let Written { id, seq, lamport, .. } = *change;
        self.nodes.push(Node { id, branch, seq, lamport, previous, past: change.past.clone() });
        self.by_id.insert(id, index);
        index
    }
}

impl Causality for Graph {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        let node = &self.nodes[change.0 as usize];
        (node.branch, node.seq)
    }

    fn lamport(&self, change: ChangeIdx) -> u64 {
        self.nodes[change.0 as usize].lamport
    }

    fn id(&self, change: ChangeIdx) -> ChangeId {
        self.nodes[change.0 as usize].id
    }

    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        let past = &self.nodes[change.0 as usize].past;
        let on_branch = self.nodes.iter().filter(|node| node.branch == branch && past.contains(&node.id));
        on_branch.map(|node| node.seq).max().unwrap_or(0)
    }

    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        (0..steps).try_fold(change, |at, _| self.nodes[at.0 as usize].previous)
    }

    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        self.by_id.get(id).copied()
    }
}

/// A replica.
#[derive(Clone, Default)]
pub(crate) struct Peer {
    pub(crate) graph: Graph,
    pub(crate) document: Document,
    pub(crate) log: Vec<Rc<Written>>,
    pub(crate) events: Vec<Event>,
}

impl Peer {
    /// Whether it could apply the change now.
    pub(crate) fn is_ready_for(&self, change: &Written) -> bool {
        !self.has(change) && change.past.iter().all(|id| self.graph.by_id.contains_key(id))
    }

    pub(crate) fn has(&self, change: &Written) -> bool {
        self.graph.by_id.contains_key(&change.id)
    }

    /// The change that everything here is the past of, without operations: its id is given by what `ops` brings.
    pub(crate) fn next(&self, author: u8, ops: Ops) -> Written {
        let own = self.log.iter().filter(|change| change.author == author);
        let previous = own.max_by_key(|change| (change.seq, change.id)).cloned();
        let seq = previous.as_ref().map_or(1, |previous| previous.seq + 1);
        let past: BTreeSet<ChangeId> = self.log.iter().map(|change| change.id).collect();
        let lamport = 1 + self.log.iter().map(|change| change.lamport).max().unwrap_or(0);
        let id = ChangeId(hash::hash("test", format!("{author} {seq} {past:?} {ops:?}").as_bytes()));
        Written { id, author, seq, previous, lamport, past, ops }
    }

    /// Writes one change through a transaction.
    pub(crate) fn write(&mut self, author: u8, f: impl FnOnce(&mut Tx<Graph>)) -> Rc<Written> {
        self.try_write(author, f).expect("the transaction is good")
    }

    /// Writes one change through a transaction; on an error the peer is as it was.
    pub(crate) fn try_write(&mut self, author: u8, f: impl FnOnce(&mut Tx<Graph>)) -> Result<Rc<Written>, TxError> {
        let before = self.clone();
        let mut provisional = self.next(author, Ops::default());
        provisional.id = ChangeId([0; 32]);
        let index = self.graph.add(&provisional);
        let graph = std::mem::take(&mut self.graph);
        let mut tx = Tx::new(graph, std::mem::take(&mut self.document), index).with_events();
        f(&mut tx);
        let finished = tx.finish();
        let ops = match finished.ops {
            Ok(ops) => ops,
            Err(error) => {
                *self = before;
                return Err(error);
            }
        };
        (self.graph, self.document) = (finished.causality, finished.document);
        self.events.extend(finished.events);
        let encoded = ops.encode().expect("a transaction keeps to what a change can carry");
        assert_eq!(Ops::decode(1, &encoded).expect("what a transaction writes is well-formed"), ops);
        let written = Rc::new(before.next(author, ops));
        self.graph.by_id.remove(&provisional.id);
        self.graph.by_id.insert(written.id, index);
        self.graph.nodes[index.0 as usize].id = written.id;
        self.log.push(written.clone());
        Ok(written)
    }

    /// Writes a change with operations that no transaction would write.
    pub(crate) fn write_ops(&mut self, author: u8, ops: Ops) -> Result<Rc<Written>, InvalidReason> {
        let written = Rc::new(self.next(author, ops));
        self.receive(&written)?;
        Ok(written)
    }

    /// Applies a change whose past is here.
    pub(crate) fn receive(&mut self, change: &Rc<Written>) -> Result<(), InvalidReason> {
        assert!(self.is_ready_for(change));
        let before = self.graph.clone();
        let index = self.graph.add(change);
        let events = Some(&mut self.events);
        if let Err(reason) = self.document.apply(&self.graph, index, &change.ops, events) {
            self.graph = before;
            return Err(reason);
        }
        self.log.push(change.clone());
        Ok(())
    }

    /// Takes what another peer has.
    pub(crate) fn pull(&mut self, from: &Peer) {
        for change in &from.log {
            if !self.has(change) {
                self.receive(change).expect("what one peer applied is valid");
            }
        }
    }

    pub(crate) fn view(&self) -> String {
        canonical_json(&self.document.view())
    }

    /// The entry under a key of the root.
    pub(crate) fn at(&self, key: &str, kind: Kind) -> ContainerIdx {
        self.document.child(ContainerIdx::ROOT, key, kind).expect("something mentioned it")
    }
}

/// All that a document shows, entries of every kind included.
pub(crate) fn dump(document: &Document, container: ContainerIdx) -> Value {
    match document.kind(container) {
        Kind::Map => {
            let mut entries = BTreeMap::new();
            for key in document.keys(container) {
                for (kind, child) in document.kinds_present(container, key) {
                    assert!(document.is_present(child));
                    entries.insert(format!("{key} {kind:?}"), dump(document, child));
                }
            }
            Value::Object(entries)
        }
        Kind::List => {
            let show = |(id, element)| {
                let index = document.index_of(container, id).expect("it lives");
                assert_eq!(document.element_id(container, index), Some(id));
                match element {
                    Element::Value(value) => Value::clone(value),
                    Element::Container(_, inner) => dump(document, inner),
                }
            };
            Value::Array(document.elements(container, 0).map(show).collect())
        }
        _ => document.view_at(container),
    }
}

/// The same changes at two fresh peers, the first in this order, the second with the last two exchanged; both must end with the same view.
pub(crate) fn merged(base: &Peer, a: &Rc<Written>, b: &Rc<Written>) -> String {
    let views = [[a, b], [b, a]].map(|order| {
        let mut peer = base.clone();
        for change in order {
            peer.receive(change).expect("what one peer applied is valid");
            peer.document.debug_check_with(&peer.graph);
        }
        peer.view()
    });
    assert_eq!(views[0], views[1], "the order of arrival shows");
    let [view, _] = views;
    view
}
