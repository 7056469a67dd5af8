//! Random histories of peers that write (through transactions, and operations that no transaction would write) and exchange what they have,
//! with authors that fork. Every peer must show at any time what the oracle reckons from the changes that it holds.

use std::rc::Rc;

use bft_json_crdt::document::{ContainerIdx, Element, NewElement, Tx};
use bft_json_crdt::ops::{
    Anchor, ContainerNo, Direction, Element as Content, Kind, MAX_DEPTH, OpsBuilder, Parent, Ref, Source, Unit,
};
use bft_json_crdt::value::Value;
use proptest::prelude::*;

use super::oracle::{Id, Oracle, Path, What};
use super::world::{Graph, Peer, Written, dump};

const KEYS: [&str; 3] = ["a", "b", "c"];

/// A stream of choices from one number, so that a failing case shrinks to few and small numbers.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides as u64) as usize
    }

    /// Lists and maps more often than the others: they are where peers meet.
    fn kind(&mut self) -> Kind {
        [Kind::List, Kind::List, Kind::Map].get(self.roll(6)).copied().unwrap_or(Kind::ALL[self.roll(6)])
    }

    fn value(&mut self) -> Value {
        Value::Int(self.roll(100) as i128)
    }
}

/// A container that a random walk from the root comes to.
fn wander(tx: &mut Tx<Graph>, dice: &mut Dice) -> ContainerIdx {
    let mut at = ContainerIdx::ROOT;
    loop {
        let stop = at != ContainerIdx::ROOT && dice.roll(3) == 0;
        match tx.document().kind(at) {
            Kind::Map if !stop && tx.document().depth(at) < MAX_DEPTH => {
                let key = KEYS[dice.roll(3)];
                let kind = dice.kind();
                at = match dice.roll(4) {
                    0 => tx.put(at, key, kind).expect("there is room"),
                    _ => tx.child(at, key, kind).expect("there is room"),
                };
            }
            Kind::List if !stop && !tx.document().is_empty(at) => {
                let index = dice.roll(tx.document().len(at));
                match tx.document().element(at, index) {
                    Some(Element::Container(_, inner)) => at = inner,
                    _ => return at,
                }
            }
            _ => return at,
        }
    }
}

fn write_randomly(tx: &mut Tx<Graph>, dice: &mut Dice) {
    for _ in 0..=dice.roll(4) {
        let at = wander(tx, dice);
        let len = tx.document().len(at);
        let done = match (tx.document().kind(at), dice.roll(12)) {
            (_, 0) => tx.ensure(at),
            (_, 1) if at != ContainerIdx::ROOT || dice.roll(4) == 0 => tx.clear(at),
            (Kind::Register | Kind::MultiRegister, _) => tx.set(at, dice.value()),
            (Kind::Counter, _) => tx.add(at, dice.roll(9) as i64 - 4),
            (Kind::Map, _) => tx.remove(at, KEYS[dice.roll(3)]).map(drop),
            (Kind::List, 2) if len > 0 => tx.delete(at, dice.roll(len), 1),
            (Kind::List, 3 | 4) if len > 0 => tx.move_element(at, dice.roll(len), dice.roll(len)),
            (Kind::List, 5) => tx.insert_in_order(at, NewElement::Value(dice.value())).map(drop),
            (Kind::List, 6 | 7) => {
                let values = (0..1 + dice.roll(3)).map(|_| dice.value()).collect();
                tx.insert_values(at, dice.roll(len + 1), values)
            }
            (Kind::List, 8) => tx.push(at, NewElement::Value(dice.value())).map(drop),
            (Kind::List, _) => tx.insert(at, dice.roll(len + 1), NewElement::Container(dice.kind())).map(drop),
            (Kind::Text, 2..=4) if len > 0 => {
                let from = dice.roll(len);
                tx.text_delete(at, from, 1 + dice.roll(len - from))
            }
            (Kind::Text, _) => tx.text_insert(at, dice.roll(len + 1), ["x", "äö", "abcd"][dice.roll(3)]),
        };
        done.expect("what is asked for can be done");
    }
}

/// How the next change of an author at a peer names another's unit.
struct Namer<'a> {
    next: &'a Written,
    builder: OpsBuilder,
    oracle: &'a Oracle,
}

impl Namer<'_> {
    fn name(&mut self, id: Id) -> Ref {
        let mut at = self.next.previous.clone();
        let mut steps = 1;
        while let Some(change) = at {
            if change.id == id.0 {
                return Ref { source: Source::Back(steps), offset: id.1 };
            }
            (at, steps) = (change.previous.clone(), steps + 1);
        }
        Ref { source: self.builder.foreign(id.0).expect("there is room"), offset: id.1 }
    }

    fn container(&mut self, path: &Path) -> ContainerNo {
        let (parent, kind) = match path {
            Path::Root => return ContainerNo::ROOT,
            Path::Key(map, key, kind) => (Parent::Key(self.container(map), key.as_str().into()), *kind),
            Path::Element(id, kind) => (Parent::Element(self.name(*id)), *kind),
        };
        self.builder.container(parent, kind).expect("there is room")
    }

    /// A place in a list or text: of an earlier change, living or not.
    fn anchor(&mut self, container: &Path, dice: &mut Dice) -> Anchor {
        let makes = |what: &What| matches!(what, What::Insert(..) | What::Move(..) | What::Text(..));
        let all = self.oracle.ops.iter().filter(|op| op.container == *container && makes(&op.what));
        let places: Vec<Id> = all.map(|op| op.id).collect();
        match (places.len(), dice.roll(5)) {
            (0, _) | (_, 0) => Anchor::Start,
            (n, 1 | 2) => Anchor::Right(self.name(places[dice.roll(n)])),
            (n, _) => Anchor::Left(self.name(places[dice.roll(n)])),
        }
    }
}

/// Operations that are valid, but by no honest writer: on what is long deleted, hidden or hangs anywhere.
fn write_wildly(peer: &mut Peer, author: u8, dice: &mut Dice) {
    let oracle = Oracle::new(&peer.log);
    let next = peer.next(author, Default::default());
    let mut namer = Namer { next: &next, builder: OpsBuilder::new(), oracle: &oracle };
    let mut containers = vec![Path::Root];
    for op in &oracle.ops {
        containers.push(op.container.clone());
        if let What::Insert(_, Content::Container(kind)) = op.what {
            containers.push(Path::Element(op.id, kind));
        }
    }
    for _ in 0..=dice.roll(4) {
        let mut path = containers[dice.roll(containers.len())].clone();
        let number = namer.container(&path);
        let mut kind = match &path {
            Path::Root => Kind::Map,
            Path::Key(_, _, kind) | Path::Element(_, kind) => *kind,
        };
        let mut number = number;
        while kind == Kind::Map && dice.roll(4) > 0 {
            kind = dice.kind();
            path = Path::Key(Box::new(path), KEYS[dice.roll(3)].into(), kind);
            number = namer.container(&path);
        }
        let targets: Vec<(Id, bool)> = oracle
            .ops
            .iter()
            .filter(|op| matches!(op.what, What::Insert(..) | What::Text(..)))
            .map(|op| (op.id, matches!(op.what, What::Insert(..))))
            .collect();
        let units = namer.builder.units();
        let unit = match (kind, dice.roll(12)) {
            (_, 0) if number != ContainerNo::ROOT => Unit::Ensure(number),
            (_, 1) => Unit::Clear(number),
            (_, 2 | 3) if !targets.is_empty() => {
                let (target, list) = targets[dice.roll(targets.len())];
                let target_name = namer.name(target);
                match dice.roll(3) {
                    0 => Unit::Delete { target: target_name },
                    1 if list => {
                        let container = oracle.op(target).container.clone();
                        Unit::Move { element: target_name, anchor: namer.anchor(&container, dice) }
                    }
                    _ => {
                        // As far as inserts of that change go on, forward or backward.
                        let direction = [Direction::Forward, Direction::Backward][dice.roll(2)];
                        let step = |n: u32| match direction {
                            Direction::Forward => target.1.checked_add(n),
                            Direction::Backward => target.1.checked_sub(n),
                        };
                        let known = |n: &u32| {
                            step(*n).is_some_and(|offset| targets.iter().any(|(id, _)| *id == (target.0, offset)))
                        };
                        let len = (0..4).take_while(known).count() as u32;
                        namer.builder.delete(target_name, len, direction).expect("it fits");
                        continue;
                    }
                }
            }
            (_, 4) if units > 0 => {
                // What this very change made a moment ago.
                let target = Ref { source: Source::Own, offset: units - 1 };
                let probe = namer.builder.clone();
                let last = {
                    let mut last = None;
                    probe.finish().for_each_unit(|_, unit| last = Some(unit));
                    last
                };
                match last {
                    Some(Unit::Insert { .. } | Unit::Text { .. }) => Unit::Delete { target },
                    _ => continue,
                }
            }
            (Kind::Register | Kind::MultiRegister, _) => Unit::Set(number, dice.value()),
            (Kind::Counter, _) => Unit::Add(number, i64::MAX),
            (Kind::List, n) => {
                let anchor = namer.anchor(&path, dice);
                let element = if n % 2 == 0 { Content::Value(dice.value()) } else { Content::Container(dice.kind()) };
                Unit::Insert { list: number, anchor, element }
            }
            (Kind::Text, _) => Unit::Text { text: number, anchor: namer.anchor(&path, dice), character: 'w' },
            (Kind::Map, _) if number != ContainerNo::ROOT => Unit::Ensure(number),
            (Kind::Map, _) => continue,
        };
        namer.builder.push(unit).expect("it fits");
    }
    let ops = namer.builder.finish();
    peer.write_ops(author, ops).expect("the oracle knows what is valid");
}

fn check(peer: &Peer) {
    peer.document.debug_check_with(&peer.graph);
    let oracle = Oracle::new(&peer.log);
    assert_eq!(dump(&peer.document, ContainerIdx::ROOT), oracle.show(true));
    assert_eq!(peer.document.view(), oracle.show(false));
}

/// Everything that any peer holds, to every peer, each in an order of its own.
fn deliver_all(peers: &mut [Peer], dice: &mut Dice) {
    let all: Vec<Rc<Written>> = peers.iter().flat_map(|peer| peer.log.clone()).collect();
    for peer in peers {
        loop {
            let ready: Vec<_> = all.iter().filter(|change| peer.is_ready_for(change)).collect();
            let Some(change) = (!ready.is_empty()).then(|| ready[dice.roll(ready.len())]) else { break };
            peer.receive(change).expect("what one peer applied is valid");
        }
    }
}

fn play(steps: &[(u8, u64)]) {
    // The last is only told at the end. Peers 0 and 1 both write as author 0, who forks.
    let mut peers = vec![Peer::default(); 5];
    for &(action, seed) in steps {
        let mut dice = Dice(seed);
        let at = dice.roll(4);
        let author = [0, 0, 1, 2][at];
        match action {
            0..=4 => {
                peers[at].write(author, |tx| write_randomly(tx, &mut dice));
            }
            5 | 6 => write_wildly(&mut peers[at], author, &mut dice),
            7 => {
                let from = peers[dice.roll(4)].clone();
                peers[at].pull(&from);
            }
            _ => {
                // A part of what another has.
                let from = peers[dice.roll(4)].clone();
                for change in &from.log {
                    if peers[at].is_ready_for(change) && dice.roll(3) > 0 {
                        peers[at].receive(change).expect("what one peer applied is valid");
                    }
                }
            }
        }
        check(&peers[at]);
    }
    let mut dice = Dice(steps.len() as u64);
    deliver_all(&mut peers, &mut dice);
    for peer in &peers {
        check(peer);
        assert_eq!(peer.view(), peers[0].view());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_peer_shows_what_the_oracle_reckons(steps in prop::collection::vec((0..9u8, any::<u64>()), 1..30)) {
        play(&steps);
    }
}
