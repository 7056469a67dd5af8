//! From the columns of a segment back to the operations of each change, in one pass: as they are applied, and byte for byte as they were hashed and signed
//! (docs/format.md, section 4). Buffers are used again for every change.
//!
//! The rules that operations keep to are those of [`Decoder::assemble`], the same as for bytes; what comes out is what
//! [`Ops::decode`](crate::ops::Ops::decode) reads from the bytes that come out. Memory and time are bounded: every count is checked against the column that it
//! counts in, and the operations against their limit.

use std::collections::HashMap;

use super::columns::{Column, Readers};
use super::recent::{RECENT, Recent, Spot};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::MAX_OPS_BYTES;
use crate::dag::Dag;
use crate::encoding::{DecodeError, Reader, Write as _};
use crate::ops::{
    ColumnReader, Decoder, Direction, Kind, MAX_UNITS, Ops, OpsError, Run, Shape, Unsupported, op, split_characters,
};
use crate::value::Value;

/// Up to this many foreign entries are searched one by one.
const TINY: usize = 8;
/// Most entries of a container table: each takes three bytes at least.
const MAX_ENTRIES: usize = MAX_OPS_BYTES / 3;

/// Puts the operations of one change after the other together.
#[derive(Debug)]
pub(super) struct Regenerator<'a> {
    pub(super) columns: Readers<'a>,
    /// The rest of the column of characters.
    text: &'a str,
    recent: Recent,
    scratch: &'a mut Scratch,
}

/// Buffers that outlive one segment.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The operations of the change that was regenerated last: their bytes.
    bytes: Vec<u8>,
    decoder: Decoder,
    made: Made,
}

/// The columns of a change that are not in the file as they are in its bytes, and what they are made from.
#[derive(Debug, Default)]
struct Made {
    element_offsets: Vec<u8>,
    entry_keys: Vec<u8>,
    run_containers: Vec<u8>,
    sources: Vec<u8>,
    offsets: Vec<u8>,
    /// The foreign table, as numbers of changes.
    foreign: Vec<u32>,
    /// The same by number, if it is not tiny.
    by_number: HashMap<u32, u32>,
}

impl Made {
    fn clear(&mut self) {
        let Self { element_offsets, entry_keys, run_containers, sources, offsets, foreign, by_number } = self;
        [element_offsets, entry_keys, run_containers, sources, offsets].into_iter().for_each(Vec::clear);
        foreign.clear();
        by_number.clear();
    }
}

/// Columns that are in the file as they are in the bytes of a change, and where each begins is not known before.
const AS_THEY_ARE: [Column; 6] =
    [Column::ElementSources, Column::ParentSteps, Column::Lengths, Column::Directions, Column::Values, Column::Steps];

/// The change whose operations are put together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    /// Its number in the file, which is the next one in the graph.
    pub(super) number: u32,
    pub(super) seq: u64,
    pub(super) previous: Option<ChangeIdx>,
}

/// Why no operations come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The columns are not what they should be.
    Columns,
    /// The operations break a rule, or are of a kind that this build does not know.
    Ops(OpsError),
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Ops(error.into())
    }
}

impl From<Unsupported> for Fault {
    fn from(error: Unsupported) -> Self {
        Self::Ops(error.into())
    }
}

fn rule<T>(text: &'static str) -> Result<T, Fault> {
    Err(DecodeError::Rule(text).into())
}

/// What went wrong is the columns' fault.
fn of_columns<T>(result: Result<T, DecodeError>) -> Result<T, Fault> {
    result.map_err(|_| Fault::Columns)
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

impl<'a> Regenerator<'a> {
    /// # Errors
    /// The characters are not UTF-8.
    pub(super) fn new(mut columns: Readers<'a>, scratch: &'a mut Scratch) -> Result<Self, DecodeError> {
        let characters = columns.at(Column::Characters);
        let text = std::str::from_utf8(characters.rest()).map_err(|_| DecodeError::Utf8)?;
        *characters = Reader::new(&[]);
        Ok(Self { columns, text, recent: Recent::new(), scratch })
    }

    /// The operations that [`Regenerator::ops`] made last, and their bytes.
    pub(super) fn made(&mut self) -> (&[u8], &mut Ops) {
        (&self.scratch.bytes, self.scratch.decoder.ops_mut())
    }

    /// Every column must have been read to its end.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.text.is_empty() { self.columns.finish() } else { Err(DecodeError::Trailing) }
    }

    /// Makes the operations of the next change; `dag` holds all changes before it.
    pub(super) fn ops(&mut self, dag: &Dag, own: Own) -> Result<(), Fault> {
        let Self { columns, text, recent, scratch: Scratch { bytes, decoder, made } } = self;
        bytes.clear();
        decoder.clear();
        made.clear();
        let runs = of_columns(columns.count(Column::RunCounts, Column::OpKinds))?;
        let entries = of_columns(columns.count(Column::EntryCounts, Column::EntryKinds))?;
        if runs > MAX_UNITS as usize || entries > MAX_ENTRIES {
            return Err(Fault::Columns);
        }
        let op_kinds = of_columns(columns.bytes(Column::OpKinds, runs))?;
        let container_kinds = of_columns(columns.bytes(Column::EntryKinds, entries))?;
        if let Some(kind) = op_kinds.iter().find(|kind| **kind > op::LAST) {
            return Err(Unsupported::Operation((*kind).into()).into());
        }
        if let Some(kind) = container_kinds.iter().find(|kind| Kind::from_number((**kind).into()).is_none()) {
            return match *kind {
                0 => rule("a container table entry has no container kind"),
                kind => Err(Unsupported::ContainerKind(kind.into()).into()),
            };
        }
        let inserts = op_kinds.iter().filter(|kind| **kind == op::INSERT).count();
        let element_kinds = of_columns(columns.bytes(Column::ElementKinds, inserts))?;
        if let Some(kind) = element_kinds.iter().find(|kind| **kind > Kind::LAST as u8) {
            return Err(Unsupported::ElementKind((*kind).into()).into());
        }
        let forms = of_columns(columns.bytes(Column::Forms, entries))?;
        let anchored = op_kinds.iter().filter(|kind| matches!(**kind, op::INSERT | op::MOVE | op::TEXT)).count();
        let anchors = of_columns(columns.bytes(Column::Anchors, anchored))?;
        if forms.iter().chain(anchors).any(|number| *number > 2) {
            return rule("a parent form or anchor is unknown");
        }
        bytes.put_varint(runs as u64);
        bytes.put(op_kinds);
        bytes.put_varint(entries as u64);
        bytes.put(container_kinds);
        bytes.put(element_kinds);

        let foreign = of_columns(columns.count(Column::ForeignCounts, Column::Foreign))?;
        if foreign > MAX_OPS_BYTES / 32 {
            return Err(Fault::Columns);
        }
        bytes.put_varint(foreign as u64);
        made.foreign_table(columns, dag, own, foreign, bytes, &mut decoder.ops_mut().foreign)?;
        let keys = of_columns(columns.count(Column::KeyCounts, Column::KeyLengths))?;
        bytes.put_varint(keys as u64);

        let shape = Shape { op_kinds, container_kinds, element_kinds, forms, anchors, foreign, keys };
        let before = AS_THEY_ARE.map(|column| columns.at(column).rest());
        // More values than a change may have are not even read.
        let values = columns.at(Column::Values).rest();
        let values = Reader::new(&values[..values.len().min(MAX_OPS_BYTES)]);
        let (characters, most_values) = (*text, values.remaining());
        let mut side_by_side = SideBySide {
            columns,
            values,
            text: characters,
            recent,
            made,
            bytes,
            dag,
            own,
            element_offset: 0,
            keys_used: 0,
            listed: 0,
            named: None,
        };
        decoder.assemble(&shape, &mut side_by_side)?;
        let read_values = most_values - side_by_side.values.remaining();
        *text = side_by_side.text;
        of_columns(columns.bytes(Column::Values, read_values))?;
        let [element_sources, parent_steps, lengths, directions, values, steps]: [&[u8]; 6] =
            std::array::from_fn(|n| &before[n][..before[n].len() - columns.at(AS_THEY_ARE[n]).remaining()]);
        for column in [
            forms,
            element_sources,
            &made.element_offsets,
            parent_steps,
            &made.entry_keys,
            lengths,
            directions,
            &made.run_containers,
            anchors,
            &made.sources,
            &made.offsets,
            values,
            steps,
            &characters.as_bytes()[..characters.len() - text.len()],
        ] {
            bytes.put(column);
        }
        if bytes.len() > MAX_OPS_BYTES { rule("ops are too long") } else { Ok(()) }
    }
}

impl Made {
    fn foreign_table(
        &mut self,
        columns: &mut Readers<'_>,
        dag: &Dag,
        own: Own,
        count: usize,
        bytes: &mut Vec<u8>,
        ids: &mut Vec<crate::change::ChangeId>,
    ) -> Result<(), Fault> {
        for _ in 0..count {
            let distance = of_columns(columns.varint(Column::Foreign))?;
            let number = u64::from(own.number).checked_sub(distance.saturating_add(1)).ok_or(Fault::Columns)? as u32;
            let twice = if count > TINY {
                self.by_number.insert(number, self.foreign.len() as u32).is_some()
            } else {
                self.foreign.contains(&number)
            };
            if twice {
                return rule("the foreign table has a duplicate");
            }
            let id = dag.id(ChangeIdx(number));
            bytes.put(&id.0);
            ids.push(id);
            self.foreign.push(number);
        }
        Ok(())
    }
}

/// The columns of a file, read as those of one change, whose bytes are made on the way.
struct SideBySide<'r, 'a> {
    columns: &'r mut Readers<'a>,
    /// As much of the column of values as a change can have.
    values: Reader<'a>,
    text: &'a str,
    recent: &'r mut Recent,
    made: &'r mut Made,
    /// Keys are put here at once: they are all read before anything that stands behind them.
    bytes: &'r mut Vec<u8>,
    dag: &'r Dag,
    own: Own,
    /// The offset of the container's element that was read last.
    element_offset: i64,
    keys_used: u64,
    /// The greatest number of a container that a run has had.
    listed: u64,
    /// The change that was named last, and as what.
    named: Option<(u32, u64)>,
}

impl SideBySide<'_, '_> {
    fn varint(&mut self, column: Column) -> Result<u64, Fault> {
        of_columns(self.columns.varint(column))
    }

    /// The number of the change that a source names.
    fn named(&self, source: u64) -> Result<u32, Fault> {
        if source & 1 == 1 {
            let entry = usize::try_from(source >> 1).ok();
            return entry.and_then(|entry| self.made.foreign.get(entry).copied()).ok_or(Fault::Columns);
        }
        if source == 0 {
            return Ok(self.own.number);
        }
        let seq = self.own.seq.checked_sub(source >> 1).filter(|seq| *seq > 0);
        let index = seq.and_then(|seq| self.dag.ancestor_at(self.own.previous?, seq));
        index.map(|index| index.0).ok_or(Fault::Columns)
    }

    /// How the change names another one, or itself.
    fn source(&self, change: u32) -> Result<u64, Fault> {
        if change == self.own.number {
            return Ok(0);
        }
        if let Some((named, source)) = self.named
            && named == change
        {
            return Ok(source);
        }
        let Made { foreign, by_number, .. } = &*self.made;
        let entry = if foreign.len() > TINY {
            by_number.get(&change).copied()
        } else {
            foreign.iter().position(|number| *number == change).map(|entry| entry as u32)
        };
        if let Some(entry) = entry {
            return Ok(u64::from(entry) << 1 | 1);
        }
        let (index, own) = (ChangeIdx(change), self.own);
        let same_author =
            own.previous.is_some_and(|previous| self.dag.author_of(previous) == self.dag.author_of(index));
        if !same_author || self.dag.seq(index) >= own.seq {
            return Err(Fault::Columns);
        }
        Ok((own.seq - self.dag.seq(index)) << 1)
    }
}

impl ColumnReader for SideBySide<'_, '_> {
    type Fault = Fault;

    fn key(&mut self) -> Result<&str, Fault> {
        let length = of_columns(self.columns.count(Column::KeyLengths, Column::Keys))?;
        let key = of_columns(self.columns.bytes(Column::Keys, length))?;
        self.bytes.put_blob(key);
        if self.bytes.len() > MAX_OPS_BYTES {
            return rule("ops are too long");
        }
        std::str::from_utf8(key).map_err(|_| DecodeError::Utf8.into())
    }

    fn element(&mut self) -> Result<(u64, u64), Fault> {
        let source = self.varint(Column::ElementSources)?;
        let step = unzigzag(self.varint(Column::ElementOffsets)?);
        self.element_offset = self.element_offset.wrapping_add(step);
        let offset = offset_in_range(self.element_offset)?;
        self.made.element_offsets.put_varint(offset);
        Ok((source, offset))
    }

    fn parent_step(&mut self) -> Result<u64, Fault> {
        self.varint(Column::ParentSteps)
    }

    fn entry_key(&mut self) -> Result<u64, Fault> {
        let code = self.varint(Column::EntryKeys)?;
        let key = self.keys_used.checked_sub(code).ok_or(Fault::Columns)?;
        self.keys_used += u64::from(code == 0);
        self.made.entry_keys.put_varint(key);
        Ok(key)
    }

    fn run_container(&mut self) -> Result<u64, Fault> {
        let code = self.varint(Column::RunContainers)?;
        let container = if code & 1 == 1 { self.listed.saturating_add((code >> 1) + 1) } else { code >> 1 };
        self.listed = self.listed.max(container);
        self.made.run_containers.put_varint(container);
        Ok(container)
    }

    fn length(&mut self) -> Result<u64, Fault> {
        self.varint(Column::Lengths)
    }

    fn direction(&mut self) -> Result<u8, Fault> {
        match of_columns(self.columns.at(Column::Directions).byte())? {
            direction @ 0..=1 => Ok(direction),
            _ => rule("a direction is unknown"),
        }
    }

    fn reference(&mut self) -> Result<(u64, u64), Fault> {
        let target = self.varint(Column::Targets)?;
        let code = self.varint(Column::Offsets)?;
        let (position, source, change, offset) = if target < RECENT as u64 {
            let spot = self.recent.get(target as usize).ok_or(Fault::Columns)?;
            let offset = spot.offset.wrapping_add(unzigzag(code));
            (Some(target as usize), self.source(spot.change)?, spot.change, offset)
        } else {
            let source = target - RECENT as u64;
            let change = self.named(source)?;
            // A change that is known is named by its place in the list.
            (self.recent.position(change), source, change, code as i64)
        };
        self.named = Some((change, source));
        self.recent.bring(position, Spot { change, offset });
        let offset = offset_in_range(offset)?;
        self.made.sources.put_varint(source);
        self.made.offsets.put_varint(offset);
        Ok((source, offset))
    }

    fn ran(&mut self, run: &Run, start: u32) {
        match run {
            Run::Delete { len, direction: Direction::Backward, .. } => self.recent.deleted(-i64::from(*len)),
            Run::Delete { len, .. } => self.recent.deleted(i64::from(*len)),
            Run::Insert { .. } | Run::Move { .. } | Run::Text { .. } => {
                self.recent.made(self.own.number, i64::from(start + run.len()) - 1);
            }
            Run::Ensure(_) | Run::Clear(_) | Run::Set(..) | Run::Add(..) => {}
        }
    }

    fn value(&mut self) -> Result<Value, Fault> {
        Ok(Value::read(&mut self.values)?)
    }

    fn most_values(&self) -> usize {
        self.values.remaining()
    }

    fn step(&mut self) -> Result<i64, Fault> {
        of_columns(self.columns.at(Column::Steps).zigzag())
    }

    fn characters(&mut self, count: usize) -> Result<&str, Fault> {
        let (head, rest) = of_columns(split_characters(self.text, count))?;
        self.text = rest;
        Ok(head)
    }
}

fn offset_in_range(offset: i64) -> Result<u64, Fault> {
    match u64::try_from(offset) {
        Ok(offset) if offset < u64::from(MAX_UNITS) => Ok(offset),
        _ => Err(Fault::Columns),
    }
}
