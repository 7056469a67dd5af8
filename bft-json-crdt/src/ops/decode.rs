//! From bytes to operations: refuses every encoding but the one, from the bytes alone (docs/protocol.md, section 4.5).
//!
//! A first pass walks the columns once, checks the form of each and remembers where it begins; a second pass reads all of them side by
//! side and assembles the runs. So nothing is kept in between, and a change of one operation costs a handful of allocations, and next to none where the memory of the
//! change before is used again. Time is
//! O(n log n) in the bytes (the logarithm for duplicates in large tables), memory a constant times the bytes.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use super::{
    Anchor, ContainerEntry, ContainerNo, Direction, Elements, Kind, MAX_KEY_BYTES, MAX_UNITS, Ops, OpsError, Parent,
    Ref, Run, Source, Unsupported, op,
};
use crate::change::{ChangeId, MAX_OPS_BYTES, VERSION};
use crate::encoding::{DecodeError, Reader};
use crate::value::Value;

/// Up to this many entries a table is searched for duplicates pair by pair: no allocation.
const TINY: usize = 8;

fn rule<T>(text: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Rule(text))
}

impl Ops {
    /// Reads the operations of a change of this `version`.
    pub fn decode(version: u64, bytes: &[u8]) -> Result<Ops, OpsError> {
        let mut decoder = Decoder::default();
        decoder.decode(version, bytes)?;
        Ok(decoder.ops)
    }
}

/// Reads the operations of many changes, one after the other, in the same memory. Changes name the same keys again and again: those of the change before are shared.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    ops: Ops,
    keys: Vec<Arc<str>>,
    /// The keys of the change before, in its order.
    known: Vec<Arc<str>>,
    names: Names,
    /// Strings that runs have held, emptied.
    spare: Vec<String>,
}

/// Most strings that are kept for further runs.
const MAX_SPARE: usize = 256;
/// A string that has room for more is given back.
const MAX_SPARE_BYTES: usize = 256;

/// Keys of changes with more of them than a [`TINY`] table has, in whatever order: the same ones come again and again.
#[derive(Debug, Default)]
struct Names {
    /// Each key with the last change that had it, as changes with many are counted here.
    table: HashTable<(Arc<str>, u64)>,
    /// Keyed, so that nobody can choose names that collide.
    hasher: RandomState,
    change: u64,
}

/// Most keys that are kept beyond the change that brought them: some four megabytes if all are as long as may be.
const MAX_NAMES: usize = 4096;

impl Names {
    /// Begins a further change.
    fn begin(&mut self) {
        self.change += 1;
        if self.table.len() > MAX_NAMES {
            self.table = HashTable::new();
        }
    }

    /// The key, shared with those that are known, and whether this change has it already.
    fn share(&mut self, key: &str) -> (Arc<str>, bool) {
        let (hasher, change) = (&self.hasher, self.change);
        let hash = hasher.hash_one(key);
        if let Some((name, last)) = self.table.find_mut(hash, |(name, _)| **name == *key) {
            return (Arc::clone(name), std::mem::replace(last, change) == change);
        }
        let name: Arc<str> = Arc::from(key);
        self.table.insert_unique(hash, (Arc::clone(&name), change), |(name, _)| hasher.hash_one(&**name));
        (name, false)
    }
}

impl Decoder {
    /// What was read last; nothing if that failed.
    pub(crate) fn ops(&self) -> &Ops {
        &self.ops
    }

    /// The same, for those who move values out of it.
    pub(crate) fn ops_mut(&mut self) -> &mut Ops {
        &mut self.ops
    }

    /// [`Ops::decode`], into [`Decoder::ops`].
    pub(crate) fn decode(&mut self, version: u64, bytes: &[u8]) -> Result<(), OpsError> {
        self.clear();
        let read = self.read(version, bytes);
        if read.is_err() {
            self.clear();
        }
        read
    }

    fn clear(&mut self) {
        self.ops.foreign.clear();
        self.ops.containers.clear();
        for run in self.ops.runs.drain(..) {
            if let Run::Text { mut characters, .. } = run
                && self.spare.len() < MAX_SPARE
                && characters.capacity() <= MAX_SPARE_BYTES
            {
                characters.clear();
                self.spare.push(characters);
            }
        }
        if !self.keys.is_empty() {
            std::mem::swap(&mut self.keys, &mut self.known);
            self.keys.clear();
        }
    }

    fn read(&mut self, version: u64, bytes: &[u8]) -> Result<(), OpsError> {
        if version != VERSION {
            return Err(Unsupported::Version(version).into());
        }
        if bytes.len() > MAX_OPS_BYTES {
            return Err(DecodeError::Rule("ops are too long").into());
        }
        let mut reader = Reader::new(bytes);

        // Columns 1 to 4: what another version of the protocol might have added to shows here, before anything else is judged.
        let runs = reader.varint()?;
        if runs > u64::from(MAX_UNITS) {
            return Err(DecodeError::Rule("more units than a change may have").into());
        }
        let op_kinds = open_column(&mut reader, runs, 0, op::LAST, Unsupported::Operation)?;
        let entries = reader.varint()?;
        let container_kinds =
            open_column(&mut reader, entries, Kind::FIRST as u8, Kind::LAST as u8, Unsupported::ContainerKind)?;
        let mut tally = [0usize; op::LAST as usize + 1];
        for kind in op_kinds {
            tally[usize::from(*kind)] += 1;
        }
        let inserts = tally[usize::from(op::INSERT)] as u64;
        let element_kinds = open_column(&mut reader, inserts, 0, Kind::LAST as u8, Unsupported::ElementKind)?;

        let foreign = &mut self.ops.foreign;
        let columns = Columns::walk(reader, op_kinds, &tally, container_kinds, element_kinds, foreign)?;
        Ok(columns.assemble(self)?)
    }
}

/// A column of `count` numbers in `first..=last`, one byte each. A number beyond `last` is unsupported. What goes wrong first from the left
/// decides.
fn open_column<'a>(
    reader: &mut Reader<'a>,
    count: u64,
    first: u8,
    last: u8,
    unsupported: fn(u64) -> Unsupported,
) -> Result<&'a [u8], OpsError> {
    let column = reader.rest();
    let fast = column.iter().take(usize::try_from(count).unwrap_or(usize::MAX));
    let known = fast.take_while(|byte| (first..=last).contains(byte)).count();
    if known as u64 == count {
        return Ok(reader.bytes(known)?);
    }
    reader.bytes(known)?;
    let number = reader.varint()?;
    if number < u64::from(first) {
        return Err(DecodeError::Rule("a container table entry has no container kind").into());
    }
    Err(unsupported(number).into())
}

/// A column of `count` numbers up to `last`, one byte each.
fn closed_column<'a>(reader: &mut Reader<'a>, count: usize, last: u8) -> Result<&'a [u8], DecodeError> {
    let column = reader.bytes(count)?;
    if column.iter().any(|byte| *byte > last) {
        return rule("a parent form, direction or anchor is unknown");
    }
    Ok(column)
}

/// Steps over a column of `count` varints and returns a reader that begins with it.
fn column<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Reader<'a>, DecodeError> {
    let start = reader.clone();
    // Each takes a byte at least, so a count beyond the input fails early.
    for _ in 0..count {
        reader.varint()?;
    }
    Ok(start)
}

/// Where each column begins, after the first pass.
struct Columns<'a> {
    op_kinds: &'a [u8],
    container_kinds: &'a [u8],
    element_kinds: &'a [u8],
    foreign: usize,
    keys: Reader<'a>,
    key_count: usize,
    forms: &'a [u8],
    element_sources: Reader<'a>,
    element_offsets: Reader<'a>,
    parent_steps: Reader<'a>,
    entry_keys: Reader<'a>,
    lengths: Reader<'a>,
    directions: &'a [u8],
    run_containers: Reader<'a>,
    anchors: &'a [u8],
    sources: Reader<'a>,
    offsets: Reader<'a>,
    /// Columns 18 to 20, which have no boundary that shows without reading the values.
    tail: Reader<'a>,
    has_steps: bool,
    has_text: bool,
}

impl<'a> Columns<'a> {
    fn walk(
        mut reader: Reader<'a>,
        op_kinds: &'a [u8],
        tally: &[usize; op::LAST as usize + 1],
        container_kinds: &'a [u8],
        element_kinds: &'a [u8],
        foreign: &mut Vec<ChangeId>,
    ) -> Result<Self, DecodeError> {
        let of = |kind: u8| tally[usize::from(kind)];

        let foreign_count = reader.count(32)?;
        foreign.reserve(foreign_count);
        for _ in 0..foreign_count {
            foreign.push(ChangeId(reader.array()?));
        }
        if has_duplicates(foreign) {
            return rule("the foreign table has a duplicate");
        }

        let key_count = reader.count(1)?;
        let keys = reader.clone();
        for _ in 0..key_count {
            if reader.blob()?.len() > MAX_KEY_BYTES {
                return rule("a key is too long");
            }
        }

        let forms = closed_column(&mut reader, container_kinds.len(), 2)?;
        let of_element = forms.iter().filter(|form| **form == 1).count();
        let of_entry = forms.iter().filter(|form| **form == 2).count();
        let element_sources = column(&mut reader, of_element)?;
        let element_offsets = column(&mut reader, of_element)?;
        let parent_steps = column(&mut reader, of_entry)?;
        let entry_keys = column(&mut reader, forms.len() - of_element)?;

        let lengths = reader.clone();
        let mut units = 0u64;
        let mut long_deletes = 0;
        let mut elements = element_kinds.iter();
        for kind in op_kinds {
            let has_length = match *kind {
                op::INSERT => elements.next() == Some(&0),
                op::DELETE | op::TEXT => true,
                _ => false,
            };
            let length = if has_length { reader.varint()? } else { 1 };
            if length == 0 {
                return rule("a run has no units");
            }
            if length > u64::from(MAX_UNITS) - units {
                return rule("more units than a change may have");
            }
            units += length;
            long_deletes += usize::from(*kind == op::DELETE && length > 1);
        }
        let directions = closed_column(&mut reader, long_deletes, 1)?;

        let run_containers = column(&mut reader, op_kinds.len() - of(op::DELETE) - of(op::MOVE))?;
        let anchors = closed_column(&mut reader, of(op::INSERT) + of(op::MOVE) + of(op::TEXT), 2)?;
        let at_places = anchors.iter().filter(|anchor| **anchor != 0).count();
        let references = of(op::DELETE) + of(op::MOVE) + at_places;
        let sources = column(&mut reader, references)?;
        let offsets = column(&mut reader, references)?;

        Ok(Self {
            op_kinds,
            container_kinds,
            element_kinds,
            foreign: foreign_count,
            keys,
            key_count,
            forms,
            element_sources,
            element_offsets,
            parent_steps,
            entry_keys,
            lengths,
            directions,
            run_containers,
            anchors,
            sources,
            offsets,
            tail: reader,
            has_steps: of(op::ADD) > 0,
            has_text: of(op::TEXT) > 0,
        })
    }

    fn assemble(mut self, into: &mut Decoder) -> Result<(), DecodeError> {
        let mut foreign_used = 0;
        self.containers(into, &mut foreign_used)?;
        self.runs(&into.ops.containers, &mut into.ops.runs, &mut into.spare, &mut foreign_used)?;
        if foreign_used != self.foreign {
            return rule("the foreign table has an unused entry");
        }
        Ok(())
    }

    fn containers(&mut self, into: &mut Decoder, foreign_used: &mut usize) -> Result<(), DecodeError> {
        let count = self.container_kinds.len();
        let (containers, keys, known) = (&mut into.ops.containers, &mut into.keys, &into.known);
        let (names, many) = (&mut into.names, self.key_count > TINY);
        if many {
            names.begin();
        }
        let mut key_twice = false;
        // No two entries are the same if each brings a key that none before it had.
        let mut all_new = true;
        containers.reserve(count);
        let mut identities: Vec<(u64, u64, u8)> = Vec::with_capacity(if count > TINY { count } else { 0 });
        for (index, (kind, form)) in self.container_kinds.iter().zip(self.forms).enumerate() {
            let kind = Kind::from_number((*kind).into()).expect("column 3 was checked");
            let (parent, identity) = if *form == 1 {
                let source = self.element_sources.varint()?;
                let offset = offset(&mut self.element_offsets)?;
                all_new = false;
                let element = Ref { source: foreign_in_order(source, self.foreign, foreign_used)?, offset };
                // The high bit of the kind keeps elements apart from keys.
                (Parent::Element(element), (source, offset.into(), 0x80 | kind as u8))
            } else {
                let parent = if *form == 0 {
                    0
                } else {
                    let steps = self.parent_steps.varint()?;
                    if steps == 0 || steps > index as u64 {
                        return rule("a container's parent is not an earlier entry");
                    }
                    let parent = index - steps as usize;
                    if containers[parent].kind != Kind::Map {
                        return rule("a key's container is not a map");
                    }
                    parent as u32 + 1
                };
                let key_index = self.entry_keys.varint()?;
                let key = if key_index < keys.len() as u64 {
                    all_new = false;
                    keys[key_index as usize].clone()
                } else if key_index == keys.len() as u64 && keys.len() < self.key_count {
                    let key = self.keys.string()?;
                    let key = match known.get(keys.len()) {
                        _ if many => {
                            let (key, twice) = names.share(key);
                            key_twice |= twice;
                            key
                        }
                        Some(known) if **known == *key => known.clone(),
                        _ => Arc::from(key),
                    };
                    keys.push(key.clone());
                    key
                } else {
                    return rule("keys are not in first-use order");
                };
                (Parent::Key(ContainerNo(parent), key), (parent.into(), key_index, kind as u8))
            };
            containers.push(ContainerEntry { parent, kind });
            if count > TINY {
                identities.push(identity);
            }
        }
        if keys.len() != self.key_count {
            return rule("the key table has an unused entry");
        }
        let key_twice = if many { key_twice } else { has_duplicates(keys) };
        if key_twice {
            return rule("the key table has a duplicate");
        }
        let duplicates = if all_new {
            false
        } else if count > TINY {
            has_duplicates(&identities)
        } else {
            containers.iter().enumerate().any(|(i, entry)| containers[..i].contains(entry))
        };
        if duplicates {
            return rule("the container table has a duplicate");
        }
        Ok(())
    }

    fn runs(
        &mut self,
        containers: &[ContainerEntry],
        runs: &mut Vec<Run>,
        spare: &mut Vec<String>,
        foreign_used: &mut usize,
    ) -> Result<(), DecodeError> {
        runs.reserve(self.op_kinds.len());
        let mut listed = 0;
        let mut start = 0u32;
        let (mut elements, mut anchors, mut directions) =
            (self.element_kinds.iter(), self.anchors.iter(), self.directions.iter());
        for kind in self.op_kinds {
            let container = if matches!(*kind, op::DELETE | op::MOVE) {
                ContainerNo::ROOT
            } else {
                let number = self.run_containers.varint()?;
                if number > containers.len() as u64 {
                    return rule("a run's container is not in the table");
                }
                list_in_order(containers, &mut listed, number as usize, start)?;
                ContainerNo(number as u32)
            };
            let holds = containers.get((container.0 as usize).wrapping_sub(1)).map_or(Kind::Map, |entry| entry.kind);
            let fits = match *kind {
                op::ENSURE => container != ContainerNo::ROOT,
                op::SET => matches!(holds, Kind::Register | Kind::MultiRegister),
                op::ADD => holds == Kind::Counter,
                op::INSERT => holds == Kind::List,
                op::TEXT => holds == Kind::Text,
                _ => true,
            };
            if !fits {
                return rule("a run's container does not fit its operation");
            }
            let foreign = self.foreign;
            let mut reference = || -> Result<Ref, DecodeError> {
                let source = foreign_in_order(self.sources.varint()?, foreign, foreign_used)?;
                let offset = offset(&mut self.offsets)?;
                if source == Source::Own && offset >= start {
                    return rule("a reference to this change does not name an earlier unit");
                }
                Ok(Ref { source, offset })
            };
            let mut anchor = |reference: &mut dyn FnMut() -> Result<Ref, DecodeError>| {
                Ok::<_, DecodeError>(match anchors.next() {
                    Some(1) => Anchor::Right(reference()?),
                    Some(2) => Anchor::Left(reference()?),
                    _ => Anchor::Start,
                })
            };
            let run = match *kind {
                op::ENSURE => Run::Ensure(container),
                op::CLEAR => Run::Clear(container),
                op::SET => Run::Set(container, Value::read(&mut self.tail)?),
                // Steps and characters come behind all values: filled in below.
                op::ADD => Run::Add(container, 0),
                op::INSERT => {
                    let element = *elements.next().expect("one for each insert");
                    let anchor = anchor(&mut reference)?;
                    let elements = match Kind::from_number(element.into()) {
                        Some(kind) => Elements::Container(kind),
                        None => {
                            let length = self.lengths.varint()? as usize;
                            if length > self.tail.remaining() {
                                return Err(DecodeError::Truncated);
                            }
                            let mut values = Vec::with_capacity(length);
                            for _ in 0..length {
                                values.push(Value::read(&mut self.tail)?);
                            }
                            Elements::Values(values)
                        }
                    };
                    Run::Insert { list: container, anchor, elements }
                }
                op::DELETE => {
                    let len = self.lengths.varint()? as u32;
                    let direction = match len {
                        1 => Direction::Forward,
                        _ if directions.next() == Some(&1) => Direction::Backward,
                        _ => Direction::Forward,
                    };
                    let target = reference()?;
                    let inside = match direction {
                        Direction::Forward => target.offset + (len - 1) < MAX_UNITS,
                        Direction::Backward => target.offset >= len - 1,
                    };
                    if !inside {
                        return rule("a delete run leaves the offsets that a change may have");
                    }
                    Run::Delete { target, len, direction }
                }
                op::MOVE => {
                    let element = reference()?;
                    Run::Move { element, anchor: anchor(&mut reference)? }
                }
                op::TEXT => Run::Text {
                    text: container,
                    anchor: anchor(&mut reference)?,
                    characters: spare.pop().unwrap_or_default(),
                    len: self.lengths.varint()? as u32,
                },
                _ => unreachable!("column 2 was checked"),
            };
            if runs.last().is_some_and(|before| could_continue(before, &run, start)) {
                return rule("a run could have continued the run before it");
            }
            start += run.len();
            runs.push(run);
        }
        if listed != containers.len() {
            return rule("the container table has an unused entry");
        }
        if self.has_steps {
            for run in runs.iter_mut() {
                if let Run::Add(_, step) = run {
                    *step = self.tail.zigzag()?;
                }
            }
        }
        if self.has_text {
            let mut rest = std::str::from_utf8(self.tail.rest()).map_err(|_| DecodeError::Utf8)?;
            for run in runs.iter_mut() {
                if let Run::Text { characters, len, .. } = run {
                    let (head, tail) = split_characters(rest, *len as usize)?;
                    characters.push_str(head);
                    rest = tail;
                }
            }
            return if rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) };
        }
        if self.tail.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Splits off the first `count` Unicode scalar values.
fn split_characters(text: &str, count: usize) -> Result<(&str, &str), DecodeError> {
    if let Some((head, tail)) = text.split_at_checked(count)
        && head.is_ascii()
    {
        return Ok((head, tail));
    }
    let mut seen = 0;
    for (at, _) in text.char_indices() {
        if seen == count {
            return Ok(text.split_at(at));
        }
        seen += 1;
    }
    if seen == count { Ok((text, "")) } else { Err(DecodeError::Truncated) }
}

/// An offset within a change.
fn offset(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match u32::try_from(reader.varint()?) {
        Ok(offset) if offset < MAX_UNITS => Ok(offset),
        _ => rule("an offset is beyond what a change may have"),
    }
}

/// Reads a source and holds the foreign table to first-use order.
fn foreign_in_order(number: u64, foreign: usize, used: &mut usize) -> Result<Source, DecodeError> {
    if number == 0 {
        return Ok(Source::Own);
    }
    if number & 1 == 0 {
        return Ok(Source::Back(number >> 1));
    }
    let entry = number >> 1;
    if entry > *used as u64 || entry >= foreign as u64 {
        return rule("foreign changes are not in first-use order");
    }
    if entry == *used as u64 {
        *used += 1;
    }
    Ok(Source::Foreign(entry as u32))
}

/// Holds the container table to first-use order: a container that a run uses for the first time must stand right behind those listed so
/// far, after its ancestors that were not listed, outermost first. That is, the entries from `listed` on are a chain down to it.
fn list_in_order(
    containers: &[ContainerEntry],
    listed: &mut usize,
    number: usize,
    start: u32,
) -> Result<(), DecodeError> {
    for (index, entry) in containers.iter().enumerate().take(number).skip(*listed) {
        let in_order = match &entry.parent {
            Parent::Key(parent, _) => index == *listed || parent.0 as usize == index,
            Parent::Element(Ref { source: Source::Own, offset }) if *offset >= start => {
                return rule("a container's element is not inserted before its first use");
            }
            Parent::Element(_) => index == *listed,
        };
        if !in_order {
            return rule("containers are not in first-use order");
        }
    }
    *listed = number.max(*listed);
    Ok(())
}

/// Whether the first unit of `run`, which has the offset `start`, continues `before` (section 4.4).
fn could_continue(before: &Run, run: &Run, start: u32) -> bool {
    let unit_before = |anchor: &Anchor| *anchor == Anchor::Right(Ref { source: Source::Own, offset: start - 1 });
    match (before, run) {
        (
            Run::Insert { list: list_before, elements: Elements::Values(_), .. },
            Run::Insert { list, anchor, elements: Elements::Values(_) },
        ) => list == list_before && unit_before(anchor),
        (Run::Text { text: text_before, .. }, Run::Text { text, anchor, .. }) => {
            text == text_before && unit_before(anchor)
        }
        (Run::Delete { target: first, len, direction }, Run::Delete { target, .. }) => {
            first.source == target.source
                && match (len, direction) {
                    (1, _) => first.offset.abs_diff(target.offset) == 1,
                    (_, Direction::Forward) => first.offset + len == target.offset,
                    (_, Direction::Backward) => first.offset.checked_sub(*len) == Some(target.offset),
                }
        }
        _ => false,
    }
}

fn has_duplicates<T: Ord>(entries: &[T]) -> bool {
    if entries.len() <= TINY {
        return entries.iter().enumerate().any(|(i, entry)| entries[..i].contains(entry));
    }
    let mut sorted: Vec<&T> = entries.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
