//! The protocol's section 6, word by word: everything is computed anew from the set of all unit operations and explicit causal pasts. Slow
//! and without any cleverness, so that it can be compared with the text.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::ops::{Anchor, ContainerNo, Element, Kind, Ops, Parent, Ref, Source, Unit};
use bft_json_crdt::value::Value;

use super::world::Written;

/// A unit operation's name.
pub(crate) type Id = (ChangeId, u32);

/// A container, named by its place in the structure.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Path {
    Root,
    Key(Box<Path>, String, Kind),
    Element(Id, Kind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hangs {
    Start,
    Right(Id),
    Left(Id),
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Ensure,
    Clear,
    Set(Value),
    Add(i64),
    Insert(Hangs, Element),
    Delete(Id),
    Move(Id, Hangs),
    Text(Hangs, char),
}

#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) id: Id,
    change: Rc<Written>,
    /// Of a delete and a move: the list or text of the target.
    pub(crate) container: Path,
    pub(crate) what: What,
}

impl Op {
    /// The one order.
    fn order(&self) -> (u64, ChangeId, u32) {
        (self.change.lamport, self.id.0, self.id.1)
    }

    fn is_before(&self, other: &Op) -> bool {
        if self.id.0 == other.id.0 { self.id.1 < other.id.1 } else { other.change.past.contains(&self.id.0) }
    }
}

#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) ops: Vec<Op>,
    by_id: BTreeMap<Id, usize>,
}

impl Oracle {
    /// Reads changes, each behind its past.
    pub(crate) fn new(log: &[Rc<Written>]) -> Self {
        let mut oracle = Self::default();
        for change in log {
            let mut units = Vec::new();
            change.ops.for_each_unit(|offset, unit| units.push((offset, unit)));
            for (offset, unit) in units {
                oracle.read(change, offset, unit);
            }
        }
        oracle
    }

    fn read(&mut self, change: &Rc<Written>, offset: u32, unit: Unit) {
        let name = |to: Ref| {
            let of = match to.source {
                Source::Own => change.id,
                Source::Back(steps) => {
                    let mut at = change.clone();
                    for _ in 0..steps {
                        at = at.previous.clone().expect("validated");
                    }
                    at.id
                }
                Source::Foreign(number) => change.ops.foreign[number as usize],
            };
            (of, to.offset)
        };
        let hangs = |anchor| match anchor {
            Anchor::Start => Hangs::Start,
            Anchor::Right(to) => Hangs::Right(name(to)),
            Anchor::Left(to) => Hangs::Left(name(to)),
        };
        let path = |number| path(&change.ops, number, &name);
        let (container, what) = match unit {
            Unit::Ensure(c) => (path(c), What::Ensure),
            Unit::Clear(c) => (path(c), What::Clear),
            Unit::Set(c, value) => (path(c), What::Set(value)),
            Unit::Add(c, step) => (path(c), What::Add(step)),
            Unit::Insert { list, anchor, element } => (path(list), What::Insert(hangs(anchor), element)),
            Unit::Text { text, anchor, character } => (path(text), What::Text(hangs(anchor), character)),
            Unit::Delete { target } => (self.op(name(target)).container.clone(), What::Delete(name(target))),
            Unit::Move { element, anchor } => {
                (self.op(name(element)).container.clone(), What::Move(name(element), hangs(anchor)))
            }
        };
        let id = (change.id, offset);
        self.by_id.insert(id, self.ops.len());
        self.ops.push(Op { id, change: change.clone(), container, what });
    }

    pub(crate) fn op(&self, id: Id) -> &Op {
        &self.ops[self.by_id[&id]]
    }

    /// What a container hangs from: the container above, and the list element between them.
    fn above(&self, container: &Path) -> Option<(Path, Option<Id>)> {
        match container {
            Path::Root => None,
            Path::Key(map, ..) => Some((Path::clone(map), None)),
            Path::Element(id, _) => Some((self.op(*id).container.clone(), Some(*id))),
        }
    }

    /// A container and those above it, and the list elements above it.
    fn lineage(&self, container: &Path) -> (Vec<Path>, Vec<Id>) {
        let (mut containers, mut elements) = (vec![container.clone()], Vec::new());
        while let Some((above, element)) = self.above(&containers[containers.len() - 1]) {
            containers.push(above);
            elements.extend(element);
        }
        (containers, elements)
    }

    fn is_covered(&self, op: &Op) -> bool {
        let (containers, elements) = self.lineage(&op.container);
        self.ops.iter().any(|by| {
            op.is_before(by)
                && match &by.what {
                    What::Clear => containers.contains(&by.container),
                    What::Delete(target) => *target == op.id || elements.contains(target),
                    _ => false,
                }
        })
    }

    fn uncovered(&self) -> Vec<&Op> {
        self.ops.iter().filter(|op| !self.is_covered(op)).collect()
    }

    /// All that shows, entries of every kind included (`untyped`), or as section 6.2 has it.
    pub(crate) fn show(&self, untyped: bool) -> Value {
        let uncovered = self.uncovered();
        let alive: BTreeSet<Id> = uncovered.iter().map(|op| op.id).collect();
        // Operations inside a dead element count for nothing.
        let counts = |op: &&&Op| self.lineage(&op.container).1.iter().all(|element| alive.contains(element));
        let ops: Vec<&Op> = uncovered.iter().filter(counts).copied().collect();
        Shown { oracle: self, ops, untyped }.show(&Path::Root, Kind::Map)
    }
}

fn path(ops: &Ops, number: ContainerNo, name: &impl Fn(Ref) -> Id) -> Path {
    if number == ContainerNo::ROOT {
        return Path::Root;
    }
    let entry = &ops.containers[number.0 as usize - 1];
    match &entry.parent {
        Parent::Key(map, key) => Path::Key(Box::new(path(ops, *map, name)), key.to_string(), entry.kind),
        Parent::Element(to) => Path::Element(name(*to), entry.kind),
    }
}

/// The uncovered operations outside dead elements.
struct Shown<'a> {
    oracle: &'a Oracle,
    ops: Vec<&'a Op>,
    untyped: bool,
}

impl Shown<'_> {
    fn at(&self, container: &Path) -> Vec<&Op> {
        self.ops.iter().filter(|op| op.container == *container).copied().collect()
    }

    fn show(&self, container: &Path, kind: Kind) -> Value {
        match kind {
            Kind::Register => {
                let sets = self.sets(container);
                sets.last().map_or(Value::Null, |(_, value)| Value::clone(value))
            }
            Kind::MultiRegister => {
                let sets = self.sets(container);
                let last = |op: &Op| !sets.iter().any(|(other, _)| op.is_before(other));
                Value::Array(sets.iter().filter(|(op, _)| last(op)).map(|(_, value)| Value::clone(value)).collect())
            }
            Kind::Counter => {
                let step = |op: &&Op| if let What::Add(step) = op.what { i128::from(step) } else { 0 };
                Value::Int(self.at(container).iter().map(step).sum())
            }
            Kind::Map => {
                let mut entries: BTreeMap<String, BTreeSet<Kind>> = BTreeMap::new();
                for op in &self.ops {
                    let life = matches!(
                        op.what,
                        What::Ensure | What::Set(_) | What::Add(_) | What::Insert(..) | What::Text(..)
                    );
                    for at in self.oracle.lineage(&op.container).0 {
                        if let Path::Key(map, key, kind) = at
                            && *map == *container
                            && life
                        {
                            entries.entry(key).or_default().insert(kind);
                        }
                    }
                }
                let mut shown = BTreeMap::new();
                for (key, kinds) in entries {
                    for kind in kinds.into_iter().take(if self.untyped { 6 } else { 1 }) {
                        let child = Path::Key(Box::new(container.clone()), key.clone(), kind);
                        let name = if self.untyped { format!("{key} {kind:?}") } else { key.clone() };
                        shown.insert(name, self.show(&child, kind));
                    }
                }
                Value::Object(shown)
            }
            Kind::List => {
                let mut elements = Vec::new();
                for place in self.walk(container) {
                    let insert = match &self.oracle.op(place).what {
                        What::Move(element, _) => *element,
                        _ => place,
                    };
                    let Some(living) = self.ops.iter().find(|op| op.id == insert) else { continue };
                    if self.greatest_place(insert) != place {
                        continue;
                    }
                    match &living.what {
                        What::Insert(_, Element::Value(value)) => elements.push(value.clone()),
                        What::Insert(_, Element::Container(kind)) => {
                            elements.push(self.show(&Path::Element(insert, *kind), *kind));
                        }
                        other => panic!("{other:?} is no element"),
                    }
                }
                Value::Array(elements)
            }
            Kind::Text => {
                let living = |place: Id| self.ops.iter().find(|op| op.id == place).copied();
                let character = |op: &Op| match op.what {
                    What::Text(_, character) => character,
                    ref other => panic!("{other:?} is no character"),
                };
                Value::String(self.walk(container).into_iter().filter_map(living).map(character).collect())
            }
        }
    }

    /// The uncovered sets of a register in the one order.
    fn sets(&self, container: &Path) -> Vec<(&Op, &Value)> {
        let at = self.ops.iter().filter(|op| op.container == *container);
        let mut sets: Vec<(&Op, &Value)> =
            at.filter_map(|op| if let What::Set(value) = &op.what { Some((*op, value)) } else { None }).collect();
        sets.sort_by_key(|(op, _)| op.order());
        sets
    }

    fn greatest_place(&self, insert: Id) -> Id {
        let all = self.oracle.ops.iter();
        let places = all.filter(|op| op.id == insert || matches!(op.what, What::Move(element, _) if element == insert));
        places.max_by_key(|op| op.order()).expect("the insert is one").id
    }

    /// All places of a list or text, covered or not, in order.
    fn walk(&self, container: &Path) -> Vec<Id> {
        let mut children: BTreeMap<Hangs, Vec<&Op>> = BTreeMap::new();
        for op in self.oracle.ops.iter().filter(|op| op.container == *container) {
            if let What::Insert(hangs, _) | What::Text(hangs, _) | What::Move(_, hangs) = op.what {
                children.entry(hangs).or_default().push(op);
            }
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|op| op.order());
        }
        let mut order = Vec::new();
        walk(&children, Hangs::Start, &mut order);
        order
    }
}

fn walk(children: &BTreeMap<Hangs, Vec<&Op>>, at: Hangs, order: &mut Vec<Id>) {
    for child in children.get(&at).into_iter().flatten() {
        walk(children, Hangs::Left(child.id), order);
        order.push(child.id);
        walk(children, Hangs::Right(child.id), order);
    }
}
