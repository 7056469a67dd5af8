//! From unit operations to canonical operations: what a local transaction writes through.
//!
//! Containers and foreign changes get provisional numbers when they are first asked for, in any order and whether or not they end up
//! used; [`OpsBuilder::finish`] renumbers them in first-use order and drops the rest. Runs grow greedily as units arrive, so they are
//! the canonical cover at any time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

use super::encode::source_number;
use super::{
    Anchor, ContainerEntry, ContainerNo, Direction, Element, Elements, Kind, MAX_KEY_BYTES, MAX_UNITS, Ops, Parent,
    Ref, Run, Source, Unit,
};
use crate::change::{ChangeId, MAX_OPS_BYTES};
use crate::value::{Value, ValueError, varint_len};

/// Upper bound of the bytes that the number of a foreign change or a table's length takes: at most 2¹⁵ ids fit into `ops`.
const NUMBER_BYTES: usize = 3;
/// Upper bound of the bytes of empty `ops`: the lengths of runs and three tables.
const EMPTY_BYTES: usize = 4 * NUMBER_BYTES;

/// Why a unit cannot be added. The builder is then as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildError {
    /// A change has at most [`MAX_UNITS`] units.
    #[error("a change has at most {MAX_UNITS} unit operations")]
    TooManyUnits,
    /// The operations take at most [`MAX_OPS_BYTES`] bytes.
    #[error("the operations of a change take at most {MAX_OPS_BYTES} bytes")]
    TooLong,
    /// A key has at most [`MAX_KEY_BYTES`] bytes.
    #[error("a key has at most {MAX_KEY_BYTES} bytes")]
    KeyTooLong,
    /// A value cannot be carried.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The container's number is unknown, or its kind does not fit.
    #[error("the container does not fit the operation")]
    Container,
    /// A reference names a unit that is not before this one, no entry of the foreign table, or lies beyond what a change may have.
    #[error("a reference names no earlier operation")]
    Reference,
}

/// A point in the history of an [`OpsBuilder`]: see [`OpsBuilder::mark`].
#[derive(Debug, Clone)]
pub struct BuilderMark {
    foreign: usize,
    containers: usize,
    runs: usize,
    /// The last run, which may grow.
    last: Option<Last>,
    units: u32,
    bytes: usize,
}

impl BuilderMark {
    /// How many units there were.
    pub fn units(&self) -> u32 {
        self.units
    }
}

/// What of a run changes when it grows.
#[derive(Debug, Clone)]
struct Last {
    len: u32,
    /// Of a text's characters.
    bytes: usize,
    direction: Direction,
}

/// Collects the unit operations of one change.
#[derive(Debug, Clone)]
pub struct OpsBuilder {
    foreign: Vec<ChangeId>,
    foreign_numbers: HashMap<ChangeId, u32>,
    containers: Vec<ContainerEntry>,
    container_numbers: HashMap<ContainerEntry, ContainerNo>,
    keys: HashSet<Arc<str>>,
    runs: Vec<Run>,
    units: u32,
    /// Invariant: at least the length of the encoding.
    bytes: usize,
}

impl Default for OpsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl OpsBuilder {
    /// No operations yet.
    pub fn new() -> Self {
        Self {
            foreign: Vec::new(),
            foreign_numbers: HashMap::new(),
            containers: Vec::new(),
            container_numbers: HashMap::new(),
            keys: HashSet::new(),
            runs: Vec::new(),
            units: 0,
            bytes: EMPTY_BYTES,
        }
    }

    /// How many units there are; also the offset of the next one.
    pub fn units(&self) -> u32 {
        self.units
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// An upper bound of the encoding's length in bytes, close to it. It counts tables' entries that were asked for but not used.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the builder stands. What comes later can be forgotten again with [`Self::rewind`].
    pub fn mark(&self) -> BuilderMark {
        BuilderMark {
            foreign: self.foreign.len(),
            containers: self.containers.len(),
            runs: self.runs.len(),
            last: self.runs.last().map(|run| match run {
                Run::Text { characters, len, .. } => {
                    Last { len: *len, bytes: characters.len(), direction: Direction::Forward }
                }
                Run::Delete { len, direction, .. } => Last { len: *len, bytes: 0, direction: *direction },
                other => Last { len: other.len(), bytes: 0, direction: Direction::Forward },
            }),
            units: self.units,
            bytes: self.bytes,
        }
    }

    /// Forgets everything since a mark of this builder. Work grows with what is forgotten and with the tables, not with the runs before.
    ///
    /// # Panics
    /// May panic if the mark is of another builder, or the builder was rewound to before it.
    pub fn rewind(&mut self, mark: &BuilderMark) {
        self.runs.truncate(mark.runs);
        if let (Some(run), Some(last)) = (self.runs.last_mut(), &mark.last) {
            match run {
                Run::Text { characters, len, .. } => {
                    characters.truncate(last.bytes);
                    *len = last.len;
                }
                Run::Delete { len, direction, .. } => (*len, *direction) = (last.len, last.direction),
                Run::Insert { elements: Elements::Values(values), .. } => values.truncate(last.len as usize),
                _ => {}
            }
        }
        for id in self.foreign.drain(mark.foreign..) {
            self.foreign_numbers.remove(&id);
        }
        if self.containers.len() > mark.containers {
            for entry in self.containers.drain(mark.containers..) {
                self.container_numbers.remove(&entry);
            }
            // A key of a forgotten entry may also be an earlier one's.
            let keys = self.containers.iter().filter_map(|entry| match &entry.parent {
                Parent::Key(_, key) => Some(key.clone()),
                Parent::Element(_) => None,
            });
            self.keys = keys.collect();
        }
        (self.units, self.bytes) = (mark.units, mark.bytes);
    }

    /// The container table so far, by provisional number.
    pub fn entry(&self, container: ContainerNo) -> Option<&ContainerEntry> {
        self.containers.get((container.0 as usize).checked_sub(1)?)
    }

    /// The source that names another change (one that is not on the author's own chain).
    pub fn foreign(&mut self, id: ChangeId) -> Result<Source, BuildError> {
        if let Some(number) = self.foreign_numbers.get(&id) {
            return Ok(Source::Foreign(*number));
        }
        self.grow(32)?;
        let number = self.foreign.len() as u32;
        self.foreign.push(id);
        self.foreign_numbers.insert(id, number);
        Ok(Source::Foreign(number))
    }

    /// The number of a container; the same container always has the same number.
    pub fn container(&mut self, parent: Parent, kind: Kind) -> Result<ContainerNo, BuildError> {
        // What came in through `new_container`.
        for entry in &self.containers[self.container_numbers.len()..] {
            let number = ContainerNo(self.container_numbers.len() as u32 + 1);
            self.container_numbers.insert(entry.clone(), number);
            if let Parent::Key(_, key) = &entry.parent {
                self.keys.insert(Arc::clone(key));
            }
        }
        let entry = ContainerEntry { parent, kind };
        if let Some(number) = self.container_numbers.get(&entry) {
            return Ok(*number);
        }
        // Kind, form, and at most three bytes each for a step and a key's number.
        let mut bytes = 2 + 2 * NUMBER_BYTES;
        let mut new_key = None;
        match &entry.parent {
            Parent::Key(map, key) => {
                if self.kind(*map) != Some(Kind::Map) {
                    return Err(BuildError::Container);
                }
                if key.len() > MAX_KEY_BYTES {
                    return Err(BuildError::KeyTooLong);
                }
                if !self.keys.contains(key) {
                    bytes += 2 + key.len();
                    new_key = Some(Arc::clone(key));
                }
            }
            Parent::Element(element) => {
                self.check_reference(*element)?;
                bytes += reference_bytes(*element);
            }
        }
        self.grow(bytes)?;
        self.keys.extend(new_key);
        self.containers.push(entry.clone());
        let number = ContainerNo(self.containers.len() as u32);
        self.container_numbers.insert(entry, number);
        Ok(number)
    }

    /// The number of a container that the caller never asked for before, under a parent that fits it; `new_key` says whether its key is new too. For
    /// callers that keep the numbers themselves.
    pub(crate) fn new_container(&mut self, entry: ContainerEntry, new_key: bool) -> Result<ContainerNo, BuildError> {
        let mut bytes = 2 + 2 * NUMBER_BYTES;
        match &entry.parent {
            Parent::Key(_, key) if new_key => bytes += 2 + key.len(),
            Parent::Key(..) => {}
            Parent::Element(element) => bytes += reference_bytes(*element),
        }
        self.grow(bytes)?;
        self.containers.push(entry);
        Ok(ContainerNo(self.containers.len() as u32))
    }

    /// Adds a unit and returns its offset.
    pub fn push(&mut self, unit: Unit) -> Result<u32, BuildError> {
        match unit {
            Unit::Ensure(container) => {
                if container == ContainerNo::ROOT {
                    return Err(BuildError::Container);
                }
                self.expect_kind(container, |_| true)?;
                self.add(Run::Ensure(container), 0)
            }
            Unit::Clear(container) => {
                self.expect_kind(container, |_| true)?;
                self.add(Run::Clear(container), 0)
            }
            Unit::Set(container, value) => {
                self.expect_kind(container, |kind| matches!(kind, Kind::Register | Kind::MultiRegister))?;
                let payload = value.measure()?;
                self.add(Run::Set(container, value), payload)
            }
            Unit::Add(container, step) => {
                self.expect_kind(container, |kind| kind == Kind::Counter)?;
                self.add(Run::Add(container, step), 10)
            }
            Unit::Insert { list, anchor, element: Element::Value(value) } => self.insert_value(list, anchor, value),
            Unit::Insert { list, anchor, element: Element::Container(kind) } => {
                self.expect_kind(list, |kind| kind == Kind::List)?;
                self.check_anchor(anchor)?;
                self.add(Run::Insert { list, anchor, elements: Elements::Container(kind) }, 0)
            }
            Unit::Delete { target } => self.delete(target, 1, Direction::Forward),
            Unit::Move { element, anchor } => {
                self.check_reference(element)?;
                self.check_anchor(anchor)?;
                self.add(Run::Move { element, anchor }, 0)
            }
            Unit::Text { text, anchor, character } => self.text(text, anchor, character.encode_utf8(&mut [0; 4])),
        }
    }

    /// Inserts values one behind the other, each on the right of the one before. Returns the offset of the first; no values, no
    /// operation.
    pub fn insert_values(&mut self, list: ContainerNo, anchor: Anchor, values: Vec<Value>) -> Result<u32, BuildError> {
        self.expect_kind(list, |kind| kind == Kind::List)?;
        self.check_anchor(anchor)?;
        let mut payload = 0usize;
        for value in &values {
            payload += value.measure()?;
        }
        let continues = self.is_unit_before(anchor);
        match self.runs.last_mut() {
            Some(Run::Insert { list: before, elements: Elements::Values(elements), .. })
                if *before == list && continues =>
            {
                let start = extend(&mut self.units, &mut self.bytes, values.len(), payload)?;
                elements.extend(values);
                Ok(start)
            }
            _ if values.is_empty() => Ok(self.units),
            _ => self.add(Run::Insert { list, anchor, elements: Elements::Values(values) }, payload),
        }
    }

    /// Inserts one value.
    pub(crate) fn insert_value(&mut self, list: ContainerNo, anchor: Anchor, value: Value) -> Result<u32, BuildError> {
        self.expect_kind(list, |kind| kind == Kind::List)?;
        self.check_anchor(anchor)?;
        let payload = value.measure()?;
        let continues = self.is_unit_before(anchor);
        match self.runs.last_mut() {
            Some(Run::Insert { list: before, elements: Elements::Values(elements), .. })
                if *before == list && continues =>
            {
                let start = extend(&mut self.units, &mut self.bytes, 1, payload)?;
                elements.push(value);
                Ok(start)
            }
            _ => self.add(Run::Insert { list, anchor, elements: Elements::Values(vec![value]) }, payload),
        }
    }

    /// Inserts characters one behind the other, each on the right of the one before. Returns the offset of the first; no characters, no
    /// operation.
    pub fn text(&mut self, text: ContainerNo, anchor: Anchor, characters: &str) -> Result<u32, BuildError> {
        self.expect_kind(text, |kind| kind == Kind::Text)?;
        self.check_anchor(anchor)?;
        let count = characters.chars().count();
        let continues = self.is_unit_before(anchor);
        match self.runs.last_mut() {
            Some(Run::Text { text: before, characters: run, len, .. }) if *before == text && continues => {
                let start = extend(&mut self.units, &mut self.bytes, count, characters.len())?;
                run.push_str(characters);
                *len += count as u32;
                Ok(start)
            }
            _ if count == 0 => Ok(self.units),
            _ => {
                let len = u32::try_from(count).map_err(|_| BuildError::TooManyUnits)?;
                self.add(Run::Text { text, anchor, characters: characters.to_owned(), len }, characters.len())
            }
        }
    }

    /// Deletes `len` targets, each one offset beyond the one before in `direction`. Returns the offset of the first unit; nothing to
    /// delete, no operation.
    pub fn delete(&mut self, target: Ref, len: u32, direction: Direction) -> Result<u32, BuildError> {
        self.check_reference(target)?;
        let Some(steps) = len.checked_sub(1) else { return Ok(self.units) };
        let inside = match direction {
            Direction::Forward => target.offset.checked_add(steps).is_some_and(|last| last < MAX_UNITS),
            Direction::Backward => target.offset >= steps,
        };
        if !inside {
            return Err(BuildError::Reference);
        }
        let Some(Run::Delete { target: first, len: before, direction: run }) = self.runs.last_mut() else {
            return self.add(Run::Delete { target, len, direction: normal(len, direction) }, 0);
        };
        // Where the first target continues the run before, that run takes as many as go its way.
        let way = match (*before, *run) {
            _ if first.source != target.source => None,
            (1, _) if first.offset + 1 == target.offset => Some(Direction::Forward),
            (1, _) if first.offset == target.offset + 1 => Some(Direction::Backward),
            (1, _) => None,
            (_, Direction::Forward) => (first.offset + *before == target.offset).then_some(Direction::Forward),
            (_, Direction::Backward) => {
                (first.offset.checked_sub(*before) == Some(target.offset)).then_some(Direction::Backward)
            }
        };
        match way {
            None => self.add(Run::Delete { target, len, direction: normal(len, direction) }, 0),
            Some(way) => {
                let taken = if way == direction { len } else { 1 };
                let left = len - taken;
                if left > 0 {
                    // Both parts or neither: the rest of the range begins a run of its own.
                    room(self.units, self.bytes, len as usize, MAX_RUN_BYTES + reference_bytes(target) + 1)?;
                }
                let start = extend(&mut self.units, &mut self.bytes, taken as usize, 0)?;
                *before += taken;
                *run = way;
                if left > 0 {
                    let offset = match direction {
                        Direction::Forward => target.offset + 1,
                        Direction::Backward => target.offset - 1,
                    };
                    let target = Ref { source: target.source, offset };
                    self.add(Run::Delete { target, len: left, direction: normal(left, direction) }, 0)?;
                }
                Ok(start)
            }
        }
    }

    /// The canonical operations.
    pub fn finish(mut self) -> Ops {
        if self.is_in_first_use_order() {
            return Ops { foreign: self.foreign, containers: self.containers, runs: self.runs };
        }
        // Containers in first-use order, ancestors first.
        let mut numbers = vec![ContainerNo::ROOT; self.containers.len() + 1];
        let mut order: Vec<u32> = Vec::new();
        let mut chain = Vec::new();
        for run in &self.runs {
            let mut next = run.container().unwrap_or(ContainerNo::ROOT);
            while next != ContainerNo::ROOT && numbers[next.0 as usize] == ContainerNo::ROOT {
                chain.push(next.0);
                next = match &self.containers[next.0 as usize - 1].parent {
                    Parent::Key(map, _) => *map,
                    Parent::Element(_) => ContainerNo::ROOT,
                };
            }
            while let Some(number) = chain.pop() {
                order.push(number);
                numbers[number as usize] = ContainerNo(order.len() as u32);
            }
        }
        let mut foreign =
            ForeignOrder { ids: &self.foreign, numbers: vec![None; self.foreign.len()], order: Vec::new() };
        let containers = order
            .into_iter()
            .map(|number| {
                let mut entry = self.containers[number as usize - 1].clone();
                match &mut entry.parent {
                    Parent::Key(map, _) => *map = numbers[map.0 as usize],
                    Parent::Element(element) => foreign.renumber(element),
                }
                entry
            })
            .collect();
        for run in &mut self.runs {
            match run {
                Run::Ensure(container) | Run::Clear(container) | Run::Set(container, _) | Run::Add(container, _) => {
                    *container = numbers[container.0 as usize];
                }
                Run::Insert { list: container, anchor, .. } | Run::Text { text: container, anchor, .. } => {
                    *container = numbers[container.0 as usize];
                    foreign.renumber_anchor(anchor);
                }
                Run::Delete { target, .. } => foreign.renumber(target),
                Run::Move { element, anchor } => {
                    foreign.renumber(element);
                    foreign.renumber_anchor(anchor);
                }
            }
        }
        Ops { foreign: foreign.order, containers, runs: self.runs }
    }

    /// Whether nothing would be renumbered: mostly, since most transactions use what they ask for at once.
    fn is_in_first_use_order(&self) -> bool {
        // Where a container of an element or two foreign changes are named, the order of their columns would have to be walked too.
        let mut foreign = self.foreign.len();
        if foreign > 1 {
            return false;
        }
        let mut listed = 0;
        for run in &self.runs {
            if foreign > 0 && run.references().any(|reference| matches!(reference.source, Source::Foreign(_))) {
                foreign = 0;
            }
            let number = run.container().map_or(0, |container| container.0);
            // The containers from the last one listed on must be a chain down to this one.
            for next in listed + 1..=number {
                let entry = &self.containers[next as usize - 1];
                match &entry.parent {
                    Parent::Key(parent, _) if next == listed + 1 => {
                        if parent.0 > listed {
                            return false;
                        }
                    }
                    Parent::Key(parent, _) if parent.0 + 1 != next => return false,
                    Parent::Key(..) => {}
                    Parent::Element(element) => {
                        if next != listed + 1 {
                            return false;
                        }
                        if let Source::Foreign(_) = element.source {
                            foreign = 0;
                        }
                    }
                }
            }
            listed = listed.max(number);
        }
        foreign == 0 && listed as usize == self.containers.len()
    }

    fn kind(&self, container: ContainerNo) -> Option<Kind> {
        if container == ContainerNo::ROOT { Some(Kind::Map) } else { self.entry(container).map(|entry| entry.kind) }
    }

    fn expect_kind(&self, container: ContainerNo, fits: impl Fn(Kind) -> bool) -> Result<(), BuildError> {
        if self.kind(container).is_some_and(fits) { Ok(()) } else { Err(BuildError::Container) }
    }

    fn check_reference(&self, reference: Ref) -> Result<(), BuildError> {
        let known = match reference.source {
            Source::Own => reference.offset < self.units,
            Source::Back(steps) => (1..=u64::MAX >> 1).contains(&steps),
            Source::Foreign(number) => (number as usize) < self.foreign.len(),
        };
        if known && reference.offset < MAX_UNITS { Ok(()) } else { Err(BuildError::Reference) }
    }

    fn check_anchor(&self, anchor: Anchor) -> Result<(), BuildError> {
        match anchor {
            Anchor::Start => Ok(()),
            Anchor::Right(place) | Anchor::Left(place) => self.check_reference(place),
        }
    }

    fn is_unit_before(&self, anchor: Anchor) -> bool {
        self.units > 0 && anchor == Anchor::Right(Ref { source: Source::Own, offset: self.units - 1 })
    }

    fn grow(&mut self, bytes: usize) -> Result<(), BuildError> {
        self.bytes = room(self.units, self.bytes, 0, bytes)?.1;
        Ok(())
    }

    /// Appends a run that does not continue the one before.
    fn add(&mut self, run: Run, payload: usize) -> Result<u32, BuildError> {
        let bytes = MAX_RUN_BYTES + run.references().map(reference_bytes).sum::<usize>();
        let start = self.units;
        (self.units, self.bytes) = room(start, self.bytes, run.len() as usize, bytes + payload)?;
        self.runs.push(run);
        Ok(start)
    }
}

/// Upper bound of what a run takes, however long it grows, beside references and payloads: op kind, element kind or direction, length,
/// container, anchor.
const MAX_RUN_BYTES: usize = 2 + NUMBER_BYTES + NUMBER_BYTES + 1;

/// Upper bound of the bytes of a reference; a foreign change's final number is not known yet.
fn reference_bytes(reference: Ref) -> usize {
    let source = match reference.source {
        Source::Foreign(_) => NUMBER_BYTES,
        other => varint_len(source_number(other)),
    };
    source + varint_len(reference.offset.into())
}

/// The sums with these units and bytes more, if a change has room for them.
fn room(units: u32, bytes: usize, more_units: usize, more_bytes: usize) -> Result<(u32, usize), BuildError> {
    let units = units as usize + more_units;
    if units > MAX_UNITS as usize {
        return Err(BuildError::TooManyUnits);
    }
    let bytes = bytes + more_bytes;
    if bytes > MAX_OPS_BYTES {
        return Err(BuildError::TooLong);
    }
    Ok((units as u32, bytes))
}

/// Accounts for a run that grows. Returns the offset of its first new unit.
fn extend(units: &mut u32, bytes: &mut usize, more_units: usize, more_bytes: usize) -> Result<u32, BuildError> {
    let start = *units;
    (*units, *bytes) = room(*units, *bytes, more_units, more_bytes)?;
    Ok(start)
}

/// The direction that a run of this length is written with.
fn normal(len: u32, direction: Direction) -> Direction {
    if len == 1 { Direction::Forward } else { direction }
}

struct ForeignOrder<'a> {
    ids: &'a [ChangeId],
    numbers: Vec<Option<u32>>,
    order: Vec<ChangeId>,
}

impl ForeignOrder<'_> {
    fn renumber(&mut self, reference: &mut Ref) {
        if let Source::Foreign(number) = &mut reference.source {
            let provisional = *number as usize;
            let (ids, order) = (self.ids, &mut self.order);
            *number = *self.numbers[provisional].get_or_insert_with(|| {
                order.push(ids[provisional]);
                order.len() as u32 - 1
            });
        }
    }

    fn renumber_anchor(&mut self, anchor: &mut Anchor) {
        if let Anchor::Right(place) | Anchor::Left(place) = anchor {
            self.renumber(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rewinding to a mark gives the builder that stood there: with whatever is pushed next it encodes alike, and counts alike.
    #[test]
    fn rewinding_forgets_exactly_what_came_after_the_mark() {
        type Step = fn(&mut OpsBuilder);
        fn text(builder: &mut OpsBuilder) -> ContainerNo {
            builder.container(Parent::Key(ContainerNo::ROOT, "text".into()), Kind::Text).unwrap()
        }
        fn list(builder: &mut OpsBuilder) -> ContainerNo {
            builder.container(Parent::Key(ContainerNo::ROOT, "list".into()), Kind::List).unwrap()
        }
        fn after(builder: &OpsBuilder) -> Anchor {
            match builder.units().checked_sub(1) {
                Some(offset) => Anchor::Right(Ref { source: Source::Own, offset }),
                None => Anchor::Start,
            }
        }
        let steps: [Step; 9] = [
            |b| {
                let text = text(b);
                b.text(text, after(b), "äb").unwrap();
            },
            |b| {
                let list = list(b);
                b.insert_values(list, after(b), vec![Value::Null, Value::Int(3)]).unwrap();
            },
            |b| {
                b.delete(Ref { source: Source::Back(1), offset: b.units() + 40 }, 1, Direction::Forward).unwrap();
            },
            |b| {
                b.delete(Ref { source: Source::Back(1), offset: 90 - b.units() }, 3, Direction::Backward).unwrap();
            },
            |b| {
                let source = b.foreign(ChangeId([7; 32])).unwrap();
                b.delete(Ref { source, offset: 3 }, 2, Direction::Forward).unwrap();
            },
            |b| {
                let list = list(b);
                let offset = b
                    .push(Unit::Insert { list, anchor: Anchor::Start, element: Element::Container(Kind::Map) })
                    .unwrap();
                let map = b.container(Parent::Element(Ref { source: Source::Own, offset }), Kind::Map).unwrap();
                let register = b.container(Parent::Key(map, "text".into()), Kind::Register).unwrap();
                b.push(Unit::Set(register, Value::Bool(true))).unwrap();
            },
            |b| {
                let counter = b.container(Parent::Key(ContainerNo::ROOT, "count".into()), Kind::Counter).unwrap();
                b.push(Unit::Add(counter, -4)).unwrap();
            },
            |b| {
                let text = text(b);
                b.text(text, after(b), "c").unwrap();
            },
            |b| {
                let source = b.foreign(ChangeId([9; 32])).unwrap();
                let list = list(b);
                b.insert_values(list, Anchor::Left(Ref { source, offset: 1 }), vec![Value::Int(1)]).unwrap();
            },
        ];
        for kept in steps {
            for lost in steps {
                for also in steps {
                    for next in steps {
                        let mut plain = OpsBuilder::new();
                        kept(&mut plain);
                        let mut rewound = plain.clone();
                        let mark = rewound.mark();
                        lost(&mut rewound);
                        also(&mut rewound);
                        rewound.rewind(&mark);
                        next(&mut plain);
                        next(&mut rewound);
                        assert_eq!((plain.units(), plain.bytes()), (rewound.units(), rewound.bytes()));
                        assert_eq!(plain.finish(), rewound.finish());
                    }
                }
            }
        }
    }
}
