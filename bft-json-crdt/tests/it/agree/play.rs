//! Plays a plan: peers that write and learn from each other, each with both engines side by side.

use std::cell::RefCell;
use std::fmt::Write as _;

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::document::{ContainerIdx, Document, InvalidReason, Tx};
use bft_json_crdt::ops::Ops;

use super::dice::Dice;
use super::foreign::{Registry, make_up};
use super::graph::{Graph, MAX_CHANGES, Set, Written, members, pick};
use super::local::{call, carried};
use super::plan::{Call, Plan, Shape, Step};
use super::replay::Listener;
use crate::simple::{self, assert_same};
use crate::support::meaning;

/// How often a played plan is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Now and then, and in the end.
    Sampled,
    /// After every step.
    Always,
}

/// A replica with both engines.
#[derive(Clone)]
struct Peer {
    author: u8,
    graph: Graph,
    new: Document,
    simple: simple::Document,
    known: Set,
    listener: Option<Listener>,
    cursor: usize,
}

/// Most invalid changes that are tried again where more is known.
const MAX_INVALID: usize = 8;

struct World<'a> {
    shape: &'a Shape,
    changes: Vec<Written>,
    registry: Registry,
    invalid: Vec<(Written, InvalidReason)>,
    /// What happened, in words, if somebody wants to read it.
    said: Option<&'a RefCell<String>>,
}

/// Plays a plan and panics where the engines differ. Answers how many changes there were. `said` hears what happens.
pub(super) fn play(plan: &Plan, care: Care, said: Option<&RefCell<String>>) -> usize {
    let mut world =
        World { shape: &plan.shape, changes: Vec::new(), registry: Registry::default(), invalid: Vec::new(), said };
    let mut dice = Dice::new(plan.seed ^ 0x5eed);
    let peer = |n: u8| Peer {
        author: if n < plan.shape.twins { 0 } else { n },
        graph: Graph::default(),
        new: Document::new(),
        simple: simple::Document::new(),
        known: 0,
        listener: (plan.shape.listening >> n & 1 == 1).then(Listener::default),
        cursor: 0,
    };
    let mut peers: Vec<Peer> = (0..plan.shape.peers).map(peer).collect();
    for step in &plan.steps {
        world.say(|| format!("{step:?}"));
        let at = match step {
            Step::Write { peer, forks, calls } => {
                world.write(&mut peers[usize::from(*peer)], *forks, calls);
                *peer
            }
            Step::Foreign { peer, forks, blind, calls } => {
                world.make_up(&mut peers[usize::from(*peer)], *forks, *blind, calls);
                *peer
            }
            Step::Take { to, from, part, order } => {
                let theirs = peers[usize::from(*from)].known;
                world.take(&mut peers[usize::from(*to)], theirs, *part, *order);
                *to
            }
            Step::Copy { to, from } => {
                let author = peers[usize::from(*to)].author;
                peers[usize::from(*to)] = Peer { author, ..peers[usize::from(*from)].clone() };
                *to
            }
        };
        if care == Care::Always || dice.one_in(8) {
            peers[usize::from(at)].check();
        }
    }
    // In the end all learn all, and so does somebody who comes late and hears no events.
    let everything = peers.iter().fold(0, |all, peer| all | peer.known);
    peers.push(Peer { listener: None, ..peer(plan.shape.peers) });
    for peer in &mut peers {
        world.take(peer, everything, false, dice.next());
        peer.check();
    }
    if let [first, others @ ..] = &peers[..] {
        for other in others {
            assert_same(&other.new, ContainerIdx::ROOT, &first.simple, simple::ContainerIdx::ROOT);
            assert_eq!(other.new.view(), first.new.view(), "views");
        }
    }
    if let Some(late) = peers.last_mut() {
        for (change, reason) in std::mem::take(&mut world.invalid) {
            if change.past & !late.known == 0 {
                let before = late.graph.clone();
                let index = late.graph.add(&change);
                assert_eq!(late.new.apply(&late.graph, index, &change.ops, None), Err(reason), "a verdict elsewhere");
                late.graph = before;
            }
        }
        late.check();
    }
    world.changes.len()
}

impl World<'_> {
    fn say(&self, line: impl FnOnce() -> String) {
        if let Some(said) = self.said {
            let _ = writeln!(said.borrow_mut(), "{}", line());
        }
    }

    fn write(&mut self, peer: &mut Peer, forks: Option<u64>, calls: &[Call]) {
        let Some(mut change) = self.next(peer, peer.known, forks) else { return };
        let id = std::mem::replace(&mut change.id, ChangeId([0; 32]));
        let index = peer.graph.add(&change);
        let (graph, new, simple) =
            (peer.graph.clone(), std::mem::take(&mut peer.new), std::mem::take(&mut peer.simple));
        let mut cursor = peer.cursor;

        let mut tx = Tx::new(graph, new, index);
        if peer.listener.is_some() {
            tx = tx.with_events();
        }
        let mut other = simple::Tx::new(std::mem::take(&mut peer.graph), simple, index);
        for one in calls {
            let mut same = cursor;
            let done = call(&mut tx, self.shape, *one, &mut cursor);
            assert_eq!(done, call(&mut other, self.shape, *one, &mut same), "what comes of a call");
            assert_eq!(cursor, same, "where a call ends");
            assert_eq!(tx.units(), other.units(), "how many units a call takes");
            done.expect("what is asked for can be done");
        }
        let (finished, other) = (tx.finish(), other.finish());
        change.ops = carried(finished.ops);
        assert_eq!(Ok(&change.ops), other.ops.as_ref(), "the operations of a transaction");
        peer.cursor = cursor;
        (peer.graph, peer.new, peer.simple) = (finished.causality, finished.document, other.document);
        change.id = id;
        peer.graph.name(id);
        peer.simple.seal(&peer.graph, index);
        peer.known |= 1 << change.number;
        if let Some(listener) = &mut peer.listener {
            listener.follow(&peer.new, &finished.events);
        }
        self.keep(change);
    }

    fn make_up(&mut self, peer: &mut Peer, forks: Option<u64>, blind: Option<u64>, calls: &[Call]) {
        let known = match blind {
            Some(seed) if peer.known != 0 => {
                let mut dice = Dice::new(seed);
                (0..1 + dice.roll(2)).fold(0, |known, _| known | self.with_past(pick(peer.known, &mut dice)))
            }
            _ => peer.known,
        };
        let Some(mut change) = self.next(peer, known, forks) else { return };
        change.ops = make_up(&self.registry, &self.changes, &change, self.shape, calls);
        let ops = carried(Ok(std::mem::take(&mut change.ops)));
        change.ops = ops;
        let before = peer.graph.clone();
        match peer.apply(&change) {
            Ok(()) => self.keep(change),
            Err(reason) => {
                peer.graph = before;
                self.say(|| format!("  invalid ({reason:?}): {}", self.describe(&change)));
                if self.invalid.len() < MAX_INVALID {
                    self.invalid.push((change, reason));
                }
            }
        }
    }

    fn take(&mut self, peer: &mut Peer, theirs: Set, part: bool, order: u64) {
        let mut dice = Dice::new(order);
        let mut wanted = theirs & !peer.known;
        if part && wanted != 0 {
            wanted &= self.with_past(pick(wanted, &mut dice));
        }
        while wanted != 0 {
            let ready = members(wanted)
                .filter(|number| self.changes[usize::from(*number)].past & !peer.known == 0)
                .fold(0, |ready, number| ready | 1 << number);
            let number = pick(ready, &mut dice);
            peer.apply(&self.changes[usize::from(number)]).expect("what one peer applied is valid");
            wanted &= !(1 << number);
        }
    }

    fn with_past(&self, number: u8) -> Set {
        self.changes[usize::from(number)].past | 1 << number
    }

    /// The change that a peer who knows this much writes next, still without operations.
    fn next(&self, peer: &Peer, mut past: Set, forks: Option<u64>) -> Option<Written> {
        let number = self.changes.len();
        if number == MAX_CHANGES {
            return None;
        }
        let own = |set: Set| members(set).filter(|n| self.changes[usize::from(*n)].author == peer.author);
        let order = |n: &u8| (self.changes[usize::from(*n)].seq, self.changes[usize::from(*n)].id);
        let previous = match forks {
            Some(seed) => {
                let set = own(past).fold(0, |set, n| set | 1 << n);
                (set != 0).then(|| pick(set, &mut Dice::new(seed)))
            }
            None => own(past).max_by_key(order),
        };
        let mut chain: Set = 1 << number;
        let mut seq = 1;
        if let Some(previous) = previous {
            past |= self.with_past(previous);
            chain |= self.changes[usize::from(previous)].chain;
            seq += self.changes[usize::from(previous)].seq;
        }
        let lamport = 1 + members(past).map(|n| self.changes[usize::from(n)].lamport).max().unwrap_or(0);
        let mut id = [0; 32];
        id[..8].copy_from_slice(&Dice::new(number as u64 ^ past.rotate_left(17)).next().to_be_bytes());
        id[31] = number as u8;
        let (number, id, ops) = (number as u8, ChangeId(id), Ops::default());
        Some(Written { number, id, author: peer.author, seq, previous, chain, past, lamport, ops })
    }

    fn keep(&mut self, change: Written) {
        self.say(|| format!("  {}", self.describe(&change)));
        self.changes.push(change);
        if let [earlier @ .., last] = &self.changes[..] {
            self.registry.learn(last, earlier);
        }
    }

    fn describe(&self, change: &Written) -> String {
        let name = |number: u8| format!("c{number}");
        let past: Vec<String> = members(change.past).map(name).collect();
        let mut text = format!("c{} by author {} after {past:?}", change.number, change.author);
        if let Some(previous) = change.previous {
            let _ = write!(text, ", previous c{previous}");
        }
        let mut units = meaning(&change.ops).join("\n    ");
        for other in &self.changes {
            units = units.replace(&format!("{:?}", other.id), &name(other.number));
        }
        format!("{text}\n    {units}").trim_end().to_owned()
    }
}

impl Peer {
    fn apply(&mut self, change: &Written) -> Result<(), InvalidReason> {
        let index = self.graph.add(change);
        let mut events = Vec::new();
        let hears = self.listener.is_some().then_some(&mut events);
        let verdict = self.new.apply(&self.graph, index, &change.ops, hears);
        assert_eq!(verdict, self.simple.apply(&self.graph, index, &change.ops), "verdicts");
        verdict?;
        self.known |= 1 << change.number;
        if let Some(listener) = &mut self.listener {
            listener.follow(&self.new, &events);
        }
        Ok(())
    }

    fn check(&self) {
        self.new.debug_check();
        assert_same(&self.new, ContainerIdx::ROOT, &self.simple, simple::ContainerIdx::ROOT);
        if let Some(listener) = &self.listener {
            listener.assert_same(&self.new, ContainerIdx::ROOT);
        }
    }
}
