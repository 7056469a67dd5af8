//! From the columns of a segment back to the operations of each change, byte for byte (docs/format.md, section 4). Buffers are used again for every change.
//!
//! Nothing here judges the operations: whatever the columns say, some bytes come out or a fault, and [`Ops::decode`](crate::ops::Ops::decode) judges the bytes.
//! What is bounded is memory and time: every count is checked against the column that it counts in, and the operations against their limit.

use std::collections::HashMap;

use super::columns::{Column, Readers};
use super::recent::{RECENT, Recent, Spot};
use super::values::{skip_values, take_characters};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::MAX_OPS_BYTES;
use crate::dag::Dag;
use crate::encoding::{DecodeError, Reader, Write as _};
use crate::ops::{MAX_UNITS, op};

/// Up to this many foreign entries are searched one by one.
const TINY: usize = 8;

/// Puts the operations of one change after the other together.
#[derive(Debug)]
pub(super) struct Regenerator<'a> {
    pub(super) columns: Readers<'a>,
    recent: Recent,
    scratch: &'a mut Scratch,
}

/// Buffers that outlive one segment.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The operations of the change that was regenerated last.
    pub(super) ops: Vec<u8>,
    offsets: Vec<u8>,
    lengths: Vec<u32>,
    foreign: Vec<u32>,
    /// The foreign table by number, if it is not tiny.
    by_number: HashMap<u32, u32>,
}

/// The change whose operations are put together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    /// Its number in the file, which is the next one in the graph.
    pub(super) number: u32,
    pub(super) seq: u64,
    pub(super) previous: Option<ChangeIdx>,
}

fn rule<T>(text: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Rule(text))
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

impl<'a> Regenerator<'a> {
    pub(super) fn new(columns: Readers<'a>, scratch: &'a mut Scratch) -> Self {
        Self { columns, recent: Recent::new(), scratch }
    }

    /// The operations that [`Regenerator::ops`] made last.
    pub(super) fn made(&self) -> &[u8] {
        &self.scratch.ops
    }

    /// Makes the operations of the next change; `dag` holds all changes before it.
    pub(super) fn ops(&mut self, dag: &Dag, own: Own) -> Result<(), DecodeError> {
        self.scratch.ops.clear();
        let runs = self.columns.count(Column::RunCounts, Column::OpKinds)?;
        let entries = self.columns.count(Column::EntryCounts, Column::EntryKinds)?;
        if runs > MAX_UNITS as usize || entries > MAX_OPS_BYTES {
            return rule("a change has more runs or containers than it may");
        }
        let kinds = self.columns.bytes(Column::OpKinds, runs)?;
        if kinds.iter().any(|kind| *kind > op::LAST) {
            return rule("an operation is unknown");
        }
        let entry_kinds = self.columns.bytes(Column::EntryKinds, entries)?;
        let inserts = kinds.iter().filter(|kind| **kind == op::INSERT).count();
        let element_kinds = self.columns.bytes(Column::ElementKinds, inserts)?;
        let ops = &mut self.scratch.ops;
        ops.put_varint(runs as u64);
        ops.put(kinds);
        ops.put_varint(entries as u64);
        ops.put(entry_kinds);
        ops.put(element_kinds);
        self.tables(dag, own, entries)?;
        self.runs(dag, own, kinds, element_kinds)?;
        self.payloads(kinds, element_kinds)?;
        if self.scratch.ops.len() > MAX_OPS_BYTES { rule("operations are too long") } else { Ok(()) }
    }

    fn tables(&mut self, dag: &Dag, own: Own, entries: usize) -> Result<(), DecodeError> {
        let Scratch { ops, foreign, by_number, .. } = &mut *self.scratch;
        let count = self.columns.count(Column::ForeignCounts, Column::Foreign)?;
        if count > MAX_OPS_BYTES / 32 {
            return rule("a foreign table is too long");
        }
        ops.put_varint(count as u64);
        foreign.clear();
        by_number.clear();
        for _ in 0..count {
            let distance = self.columns.varint(Column::Foreign)?;
            let Some(number) = u64::from(own.number).checked_sub(distance.saturating_add(1)) else {
                return rule("a change refers to one before the first");
            };
            ops.put(&dag.id(ChangeIdx(number as u32)).0);
            if count > TINY {
                by_number.insert(number as u32, foreign.len() as u32);
            }
            foreign.push(number as u32);
        }
        let keys = self.columns.count(Column::KeyCounts, Column::KeyLengths)?;
        ops.put_varint(keys as u64);
        for _ in 0..keys {
            let length = self.columns.count(Column::KeyLengths, Column::Keys)?;
            ops.put_blob(self.columns.bytes(Column::Keys, length)?);
        }
        let forms = self.columns.bytes(Column::Forms, entries)?;
        ops.put(forms);
        let of_element = forms.iter().filter(|form| **form == 1).count();
        let of_entry = forms.iter().filter(|form| **form == 2).count();
        ops.put(varints(self.columns.at(Column::ElementSources), of_element)?);
        let mut offset = 0i64;
        for _ in 0..of_element {
            offset = offset.wrapping_add(unzigzag(self.columns.varint(Column::ElementOffsets)?));
            ops.put_varint(offset_in_range(offset)?);
        }
        ops.put(varints(self.columns.at(Column::ParentSteps), of_entry)?);
        let mut used = 0u64;
        for _ in 0..entries - of_element {
            let code = self.columns.varint(Column::EntryKeys)?;
            let Some(key) = used.checked_sub(code) else { return rule("a key is not in the table") };
            ops.put_varint(key);
            used += u64::from(code == 0);
        }
        Ok(())
    }

    fn runs(&mut self, dag: &Dag, own: Own, kinds: &[u8], element_kinds: &[u8]) -> Result<(), DecodeError> {
        let Scratch { ops, lengths, .. } = &mut *self.scratch;
        lengths.clear();
        let mut elements = element_kinds.iter();
        let (mut units, mut long_deletes) = (0u64, 0);
        for kind in kinds {
            let has_length = match *kind {
                op::INSERT => elements.next() == Some(&0),
                op::DELETE | op::TEXT => true,
                _ => false,
            };
            let length = if has_length { self.columns.varint(Column::Lengths)? } else { 1 };
            if length > u64::from(MAX_UNITS) - units {
                return rule("a change has more units than it may");
            }
            units += length;
            long_deletes += usize::from(*kind == op::DELETE && length > 1);
            lengths.push(length as u32);
            if has_length {
                ops.put_varint(length);
            }
        }
        let directions = self.columns.bytes(Column::Directions, long_deletes)?;
        ops.put(directions);
        let with_container = kinds.iter().filter(|kind| !matches!(**kind, op::DELETE | op::MOVE)).count();
        let mut listed = 0u64;
        for _ in 0..with_container {
            let code = self.columns.varint(Column::RunContainers)?;
            let container = if code & 1 == 1 { listed.saturating_add((code >> 1) + 1) } else { code >> 1 };
            ops.put_varint(container);
            listed = listed.max(container);
        }
        let anchored = kinds.iter().filter(|kind| matches!(**kind, op::INSERT | op::MOVE | op::TEXT)).count();
        let anchors = self.columns.bytes(Column::Anchors, anchored)?;
        ops.put(anchors);
        self.references(dag, own, kinds, anchors, directions)
    }

    fn references(
        &mut self,
        dag: &Dag,
        own: Own,
        kinds: &[u8],
        anchors: &[u8],
        directions: &[u8],
    ) -> Result<(), DecodeError> {
        self.scratch.offsets.clear();
        let (mut anchors, mut directions) = (anchors.iter(), directions.iter());
        let mut start = 0i64;
        for (run, kind) in kinds.iter().enumerate() {
            let len = i64::from(self.scratch.lengths[run]);
            let mut at_place = || usize::from(anchors.next() != Some(&0));
            let references = match *kind {
                op::DELETE => 1,
                op::MOVE => 1 + at_place(),
                op::INSERT | op::TEXT => at_place(),
                _ => 0,
            };
            for _ in 0..references {
                self.reference(dag, own)?;
            }
            match *kind {
                op::DELETE if len > 1 && directions.next() == Some(&1) => self.recent.deleted(-len),
                op::DELETE => self.recent.deleted(len),
                op::INSERT | op::MOVE | op::TEXT => self.recent.made(own.number, start + len - 1),
                _ => {}
            }
            start += len;
        }
        let Scratch { ops, offsets, .. } = &mut *self.scratch;
        ops.put(offsets);
        Ok(())
    }

    fn reference(&mut self, dag: &Dag, own: Own) -> Result<(), DecodeError> {
        let target = self.columns.varint(Column::Targets)?;
        let code = self.columns.varint(Column::Offsets)?;
        let (position, source, change, offset) = if target < RECENT as u64 {
            let Some(spot) = self.recent.get(target as usize) else { return rule("no change was named so far back") };
            let offset = spot.offset.wrapping_add(unzigzag(code));
            (Some(target as usize), self.source(dag, own, spot.change)?, spot.change, offset)
        } else {
            let source = target - RECENT as u64;
            let change = self.named(dag, own, source)?;
            // A change that is known is named by its place in the list.
            (self.recent.position(change), source, change, code as i64)
        };
        let Scratch { ops, offsets, .. } = &mut *self.scratch;
        ops.put_varint(source);
        offsets.put_varint(offset_in_range(offset)?);
        self.recent.bring(position, Spot { change, offset });
        Ok(())
    }

    /// The number of the change that a source names.
    fn named(&self, dag: &Dag, own: Own, source: u64) -> Result<u32, DecodeError> {
        if source & 1 == 1 {
            let entry = usize::try_from(source >> 1).ok();
            return entry
                .and_then(|entry| self.scratch.foreign.get(entry).copied())
                .ok_or(DecodeError::Rule("a source is not in the foreign table"));
        }
        if source == 0 {
            return Ok(own.number);
        }
        let seq = own.seq.checked_sub(source >> 1).filter(|seq| *seq > 0);
        let index = seq.and_then(|seq| dag.ancestor_at(own.previous?, seq));
        index.map(|index| index.0).ok_or(DecodeError::Rule("a source goes back beyond the author's first change"))
    }

    /// How a change names another one.
    fn source(&self, dag: &Dag, own: Own, change: u32) -> Result<u64, DecodeError> {
        if change == own.number {
            return Ok(0);
        }
        let Scratch { foreign, by_number, .. } = &*self.scratch;
        let entry = if foreign.len() > TINY {
            by_number.get(&change).copied()
        } else {
            foreign.iter().position(|number| *number == change).map(|entry| entry as u32)
        };
        if let Some(entry) = entry {
            return Ok(u64::from(entry) << 1 | 1);
        }
        let index = ChangeIdx(change);
        let same_author = own.previous.is_some_and(|previous| dag.author_of(previous) == dag.author_of(index));
        if !same_author || dag.seq(index) >= own.seq {
            return rule("a source is neither of the own chain nor in the foreign table");
        }
        Ok((own.seq - dag.seq(index)) << 1)
    }

    fn payloads(&mut self, kinds: &[u8], element_kinds: &[u8]) -> Result<(), DecodeError> {
        let Scratch { ops, lengths, .. } = &mut *self.scratch;
        let mut elements = element_kinds.iter();
        let (mut values, mut steps, mut characters) = (0u64, 0, 0);
        for (kind, length) in kinds.iter().zip(lengths.iter()) {
            match *kind {
                op::SET => values += 1,
                op::INSERT if elements.next() == Some(&0) => values += u64::from(*length),
                op::ADD => steps += 1,
                op::TEXT => characters += *length as usize,
                _ => {}
            }
        }
        let reader = self.columns.at(Column::Values);
        let start = reader.rest();
        skip_values(reader, values)?;
        ops.put(&start[..start.len() - reader.remaining()]);
        ops.put(varints(self.columns.at(Column::Steps), steps)?);
        ops.put(take_characters(self.columns.at(Column::Characters), characters)?);
        Ok(())
    }
}

/// Steps over `count` varints and returns their bytes.
fn varints<'a>(reader: &mut Reader<'a>, count: usize) -> Result<&'a [u8], DecodeError> {
    let start = reader.rest();
    for _ in 0..count {
        reader.varint()?;
    }
    Ok(&start[..start.len() - reader.remaining()])
}

fn offset_in_range(offset: i64) -> Result<u64, DecodeError> {
    match u64::try_from(offset) {
        Ok(offset) if offset < u64::from(MAX_UNITS) => Ok(offset),
        _ => rule("an offset is out of range"),
    }
}
