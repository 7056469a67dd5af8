//! From bytes to operations: refuses every encoding but the one, from the bytes alone (docs/protocol.md, section 4.5).
//!
//! A first pass walks the columns once and remembers where each begins; a second pass ([`Decoder::assemble`]) reads all of them side by
//! side, holds them to the rules and assembles the runs. So nothing is kept in between, and a change of one operation costs a handful of allocations, and next to none
//! where the memory of the change before is used again. The second pass takes columns from wherever they are ([`ColumnReader`]): a file has its own. Time is
//! O(n log n) in the bytes (the logarithm for duplicates in large tables), memory a constant times the bytes.

use std::sync::Arc;

use hashbrown::HashTable;

use super::columns::{ColumnReader, Columns, Shape, open_column};
use super::{
    Anchor, ContainerEntry, ContainerNo, Direction, Elements, Kind, MAX_KEY_BYTES, MAX_UNITS, Ops, OpsError, Parent,
    Ref, Run, Source, Unsupported, op,
};
use crate::change::{MAX_OPS_BYTES, VERSION};
use crate::encoding::{DecodeError, Reader};
use crate::mixer::Mixer;

/// Up to this many entries a table is searched for duplicates pair by pair: no allocation.
const TINY: usize = 8;

pub(super) fn rule<T, E: From<DecodeError>>(text: &'static str) -> Result<T, E> {
    Err(DecodeError::Rule(text).into())
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
    /// The keys, as long as they are few.
    keys: Vec<Arc<str>>,
    /// The few keys of the change before, in its order.
    known: Vec<Arc<str>>,
    /// Of many keys, for each the entry of the container table that brought it.
    brought: Vec<u32>,
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
    mixer: Mixer,
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
        let (mixer, change) = (&self.mixer, self.change);
        let hash = mixer.mix_name(key);
        if let Some((name, last)) = self.table.find_mut(hash, |(name, _)| **name == *key) {
            return (Arc::clone(name), std::mem::replace(last, change) == change);
        }
        let name: Arc<str> = Arc::from(key);
        self.table.insert_unique(hash, (Arc::clone(&name), change), |(name, _)| mixer.mix_name(name));
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

    /// Forgets what was read last.
    pub(crate) fn clear(&mut self) {
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

        let (shape, mut columns) =
            Columns::walk(reader, op_kinds, &tally, container_kinds, element_kinds, &mut self.ops.foreign)?;
        self.assemble(&shape, &mut columns)?;
        Ok(columns.finish()?)
    }

    /// Assembles the operations from columns that are read side by side, and holds them to all rules but those on `shape`. Their foreign table is there already.
    pub(crate) fn assemble<R: ColumnReader>(&mut self, shape: &Shape<'_>, columns: &mut R) -> Result<(), R::Fault> {
        let mut foreign_used = 0;
        self.containers(shape, columns, &mut foreign_used)?;
        self.runs(shape, columns, &mut foreign_used)?;
        if foreign_used != shape.foreign {
            return rule("the foreign table has an unused entry");
        }
        Ok(())
    }

    fn containers<R: ColumnReader>(
        &mut self,
        shape: &Shape<'_>,
        columns: &mut R,
        foreign_used: &mut usize,
    ) -> Result<(), R::Fault> {
        let count = shape.container_kinds.len();
        let (containers, keys, known) = (&mut self.ops.containers, &mut self.keys, &self.known);
        let (names, brought, many) = (&mut self.names, &mut self.brought, shape.keys > TINY);
        if many {
            names.begin();
            brought.clear();
        }
        let mut key_twice = false;
        let mut keys_read = 0;
        // No two entries are the same if each brings a key that none before it had.
        let mut all_new = true;
        containers.reserve(count);
        let mut identities: Vec<(u64, u64, u8)> = Vec::with_capacity(if count > TINY { count } else { 0 });
        for (index, (kind, form)) in shape.container_kinds.iter().zip(shape.forms).enumerate() {
            let kind = Kind::from_number((*kind).into()).expect("column 3 was checked");
            let (parent, identity) = if *form == 1 {
                let (source, offset) = columns.element()?;
                let offset = in_range(offset)?;
                all_new = false;
                let element = Ref { source: foreign_in_order(source, shape.foreign, foreign_used)?, offset };
                // The high bit of the kind keeps elements apart from keys.
                (Parent::Element(element), (source, offset.into(), 0x80 | kind as u8))
            } else {
                let parent = if *form == 0 {
                    0
                } else {
                    let steps = columns.parent_step()?;
                    if steps == 0 || steps > index as u64 {
                        return rule("a container's parent is not an earlier entry");
                    }
                    let parent = index - steps as usize;
                    if containers[parent].kind != Kind::Map {
                        return rule("a key's container is not a map");
                    }
                    parent as u32 + 1
                };
                let key_index = columns.entry_key()?;
                let key = if key_index < keys_read as u64 {
                    all_new = false;
                    if many {
                        match &containers[brought[key_index as usize] as usize].parent {
                            Parent::Key(_, key) => Arc::clone(key),
                            Parent::Element(_) => unreachable!("an element brings no key"),
                        }
                    } else {
                        Arc::clone(&keys[key_index as usize])
                    }
                } else if key_index == keys_read as u64 && keys_read < shape.keys {
                    let key = columns.key()?;
                    if key.len() > MAX_KEY_BYTES {
                        return rule("a key is too long");
                    }
                    let key = if many {
                        let (key, twice) = names.share(key);
                        key_twice |= twice;
                        brought.push(index as u32);
                        key
                    } else {
                        let key = match known.get(keys_read) {
                            Some(known) if **known == *key => known.clone(),
                            _ => Arc::from(key),
                        };
                        keys.push(Arc::clone(&key));
                        key
                    };
                    keys_read += 1;
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
        if keys_read != shape.keys {
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

    fn runs<R: ColumnReader>(
        &mut self,
        shape: &Shape<'_>,
        columns: &mut R,
        foreign_used: &mut usize,
    ) -> Result<(), R::Fault> {
        let Self { ops: Ops { containers, runs, .. }, spare, .. } = self;
        runs.reserve(shape.op_kinds.len());
        let mut listed = 0;
        let mut start = 0u32;
        let (mut has_steps, mut has_text) = (false, false);
        let (mut elements, mut anchors) = (shape.element_kinds.iter(), shape.anchors.iter());
        for kind in shape.op_kinds {
            // A run has a unit at least.
            if start >= MAX_UNITS {
                return rule("more units than a change may have");
            }
            let container = if matches!(*kind, op::DELETE | op::MOVE) {
                ContainerNo::ROOT
            } else {
                let number = columns.run_container()?;
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
            let mut references = References { foreign: shape.foreign, used: &mut *foreign_used, start };
            let run = match *kind {
                op::ENSURE => Run::Ensure(container),
                op::CLEAR => Run::Clear(container),
                op::SET => Run::Set(container, columns.value()?),
                // Steps and characters come behind all values: filled in below.
                op::ADD => {
                    has_steps = true;
                    Run::Add(container, 0)
                }
                op::INSERT => {
                    let element = *elements.next().expect("one for each insert");
                    let anchor = references.anchor(columns, anchors.next())?;
                    let elements = match Kind::from_number(element.into()) {
                        Some(kind) => Elements::Container(kind),
                        None => {
                            let length = length(columns, start)? as usize;
                            // Each takes a byte at least.
                            if length > columns.most_values() {
                                return Err(DecodeError::Truncated.into());
                            }
                            let mut values = Vec::with_capacity(length);
                            for _ in 0..length {
                                values.push(columns.value()?);
                            }
                            Elements::Values(values)
                        }
                    };
                    Run::Insert { list: container, anchor, elements }
                }
                op::DELETE => {
                    let len = length(columns, start)?;
                    let direction = match len {
                        1 => Direction::Forward,
                        _ if columns.direction()? == 1 => Direction::Backward,
                        _ => Direction::Forward,
                    };
                    let target = references.next(columns)?;
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
                    let element = references.next(columns)?;
                    Run::Move { element, anchor: references.anchor(columns, anchors.next())? }
                }
                op::TEXT => {
                    has_text = true;
                    let anchor = references.anchor(columns, anchors.next())?;
                    let len = length(columns, start)?;
                    Run::Text { text: container, anchor, characters: spare.pop().unwrap_or_default(), len }
                }
                _ => unreachable!("column 2 was checked"),
            };
            if runs.last().is_some_and(|before| could_continue(before, &run, start)) {
                return rule("a run could have continued the run before it");
            }
            columns.ran(&run, start);
            start += run.len();
            runs.push(run);
        }
        if listed != containers.len() {
            return rule("the container table has an unused entry");
        }
        if has_steps {
            for run in runs.iter_mut() {
                if let Run::Add(_, step) = run {
                    *step = columns.step()?;
                }
            }
        }
        if has_text {
            for run in runs.iter_mut() {
                if let Run::Text { characters, len, .. } = run {
                    characters.push_str(columns.characters(*len as usize)?);
                }
            }
        }
        Ok(())
    }
}

/// How many units the next run has, of which the first has the offset `start`.
fn length<R: ColumnReader>(columns: &mut R, start: u32) -> Result<u32, R::Fault> {
    let length = columns.length()?;
    if length == 0 {
        return rule("a run has no units");
    }
    if length > u64::from(MAX_UNITS - start) {
        return rule("more units than a change may have");
    }
    Ok(length as u32)
}

/// The references of one run.
struct References<'a> {
    foreign: usize,
    used: &'a mut usize,
    /// The offset of the run's first unit.
    start: u32,
}

impl References<'_> {
    fn next<R: ColumnReader>(&mut self, columns: &mut R) -> Result<Ref, R::Fault> {
        let (source, offset) = columns.reference()?;
        let source = foreign_in_order(source, self.foreign, self.used)?;
        let offset = in_range(offset)?;
        if source == Source::Own && offset >= self.start {
            return rule("a reference to this change does not name an earlier unit");
        }
        Ok(Ref { source, offset })
    }

    fn anchor<R: ColumnReader>(&mut self, columns: &mut R, form: Option<&u8>) -> Result<Anchor, R::Fault> {
        Ok(match form {
            Some(1) => Anchor::Right(self.next(columns)?),
            Some(2) => Anchor::Left(self.next(columns)?),
            _ => Anchor::Start,
        })
    }
}

/// An offset within a change.
fn in_range(offset: u64) -> Result<u32, DecodeError> {
    match u32::try_from(offset) {
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

pub(super) fn has_duplicates<T: Ord>(entries: &[T]) -> bool {
    if entries.len() <= TINY {
        return entries.iter().enumerate().any(|(i, entry)| entries[..i].contains(entry));
    }
    let mut sorted: Vec<&T> = entries.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
