//! From the operations of changes to the columns of a segment (docs/format.md, section 4). The operations are canonical, so their columns are only taken apart.

use super::columns::{Buffers, Column};
use super::recent::{RECENT, Recent, Spot};
use super::values::skip_values;
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::ChangeId;
use crate::dag::Dag;
use crate::encoding::{Reader, Write as _};
use crate::ops::op;

const PROOF: &str = "the operations of an applied change are canonical";

/// Takes changes apart, one after the other.
#[derive(Debug)]
pub(super) struct Transposer {
    pub(super) columns: Buffers,
    recent: Recent,
    // Buffers that outlive one change.
    lengths: Vec<u32>,
    foreign: Vec<u32>,
    sources: Vec<u64>,
}

/// `(n << 1) ^ (n >> 63)`
fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn varint(reader: &mut Reader<'_>) -> u64 {
    reader.varint().expect(PROOF)
}

fn bytes<'a>(reader: &mut Reader<'a>, count: usize) -> &'a [u8] {
    reader.bytes(count).expect(PROOF)
}

/// Steps over `count` varints and returns their bytes.
fn varints<'a>(reader: &mut Reader<'a>, count: usize) -> &'a [u8] {
    let start = reader.rest();
    for _ in 0..count {
        varint(reader);
    }
    &start[..start.len() - reader.remaining()]
}

impl Transposer {
    pub(super) fn new() -> Self {
        Self {
            columns: Buffers::new(),
            recent: Recent::new(),
            lengths: Vec::new(),
            foreign: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Begins a segment.
    pub(super) fn clear(&mut self) {
        self.columns.clear();
        self.recent = Recent::new();
    }

    pub(super) fn put(&mut self, column: Column, n: u64) {
        self.columns.at(column).put_varint(n);
    }

    /// Appends the operations of change number `own`.
    pub(super) fn ops(&mut self, dag: &Dag, own: ChangeIdx, ops: &[u8]) {
        let mut ops = Reader::new(ops);
        let runs = varint(&mut ops);
        let kinds = bytes(&mut ops, runs as usize);
        let entries = varint(&mut ops);
        let entry_kinds = bytes(&mut ops, entries as usize);
        let element_kinds = bytes(&mut ops, kinds.iter().filter(|kind| **kind == op::INSERT).count());
        self.put(Column::RunCounts, runs);
        self.put(Column::EntryCounts, entries);
        self.columns.at(Column::OpKinds).put(kinds);
        self.columns.at(Column::EntryKinds).put(entry_kinds);
        self.columns.at(Column::ElementKinds).put(element_kinds);
        self.tables(dag, own, &mut ops, entry_kinds.len());
        self.runs(dag, own, &mut ops, kinds, element_kinds);
        self.payloads(&mut ops, kinds, element_kinds);
    }

    fn tables(&mut self, dag: &Dag, own: ChangeIdx, ops: &mut Reader<'_>, entries: usize) {
        let foreign = varint(ops);
        self.put(Column::ForeignCounts, foreign);
        self.foreign.clear();
        for _ in 0..foreign {
            let id = ChangeId(ops.array().expect(PROOF));
            let number = dag.lookup(&id).expect("what an applied change refers to is applied").0;
            self.foreign.push(number);
            self.put(Column::Foreign, u64::from(own.0 - number) - 1);
        }
        let keys = varint(ops);
        self.put(Column::KeyCounts, keys);
        for _ in 0..keys {
            let key = ops.blob().expect(PROOF);
            self.put(Column::KeyLengths, key.len() as u64);
            self.columns.at(Column::Keys).put(key);
        }
        let forms = bytes(ops, entries);
        self.columns.at(Column::Forms).put(forms);
        let of_element = forms.iter().filter(|form| **form == 1).count();
        let of_entry = forms.iter().filter(|form| **form == 2).count();
        let sources = varints(ops, of_element);
        self.columns.at(Column::ElementSources).put(sources);
        let mut before = 0;
        for _ in 0..of_element {
            let offset = varint(ops) as i64;
            self.put(Column::ElementOffsets, zigzag(offset - before));
            before = offset;
        }
        let steps = varints(ops, of_entry);
        self.columns.at(Column::ParentSteps).put(steps);
        let mut used = 0;
        for _ in 0..entries - of_element {
            let key = varint(ops);
            self.put(Column::EntryKeys, used - key);
            used += u64::from(used == key);
        }
    }

    fn runs(&mut self, dag: &Dag, own: ChangeIdx, ops: &mut Reader<'_>, kinds: &[u8], element_kinds: &[u8]) {
        self.lengths.clear();
        let mut elements = element_kinds.iter();
        let mut long_deletes = 0;
        let lengths = ops.rest();
        for kind in kinds {
            let has_length = match *kind {
                op::INSERT => elements.next() == Some(&0),
                op::DELETE | op::TEXT => true,
                _ => false,
            };
            let length = if has_length { varint(ops) as u32 } else { 1 };
            long_deletes += usize::from(*kind == op::DELETE && length > 1);
            self.lengths.push(length);
        }
        self.columns.at(Column::Lengths).put(&lengths[..lengths.len() - ops.remaining()]);
        let directions = bytes(ops, long_deletes);
        self.columns.at(Column::Directions).put(directions);
        let with_container = kinds.iter().filter(|kind| !matches!(**kind, op::DELETE | op::MOVE)).count();
        let mut listed = 0;
        for _ in 0..with_container {
            let container = varint(ops);
            let code = if container > listed { 2 * (container - listed) - 1 } else { 2 * container };
            self.put(Column::RunContainers, code);
            listed = listed.max(container);
        }
        let anchored = kinds.iter().filter(|kind| matches!(**kind, op::INSERT | op::MOVE | op::TEXT)).count();
        let anchors = bytes(ops, anchored);
        self.columns.at(Column::Anchors).put(anchors);
        let at_places = anchors.iter().filter(|anchor| **anchor != 0).count();
        let named = kinds.iter().filter(|kind| matches!(**kind, op::DELETE | op::MOVE)).count();
        self.sources.clear();
        for _ in 0..at_places + named {
            self.sources.push(varint(ops));
        }
        self.references(dag, own, ops, kinds, anchors, directions);
    }

    fn references(
        &mut self,
        dag: &Dag,
        own: ChangeIdx,
        ops: &mut Reader<'_>,
        kinds: &[u8],
        anchors: &[u8],
        directions: &[u8],
    ) {
        let (mut anchors, mut directions, mut next) = (anchors.iter(), directions.iter(), 0);
        let mut start = 0i64;
        for (run, kind) in kinds.iter().enumerate() {
            let len = i64::from(self.lengths[run]);
            let mut at_place = || usize::from(anchors.next() != Some(&0));
            let references = match *kind {
                op::DELETE => 1,
                op::MOVE => 1 + at_place(),
                op::INSERT | op::TEXT => at_place(),
                _ => 0,
            };
            for source in next..next + references {
                self.reference(dag, own, self.sources[source], varint(ops) as i64);
            }
            next += references;
            match *kind {
                op::DELETE if len > 1 && directions.next() == Some(&1) => self.recent.deleted(-len),
                op::DELETE => self.recent.deleted(len),
                op::INSERT | op::MOVE | op::TEXT => self.recent.made(own.0, start + len - 1),
                _ => {}
            }
            start += len;
        }
    }

    fn reference(&mut self, dag: &Dag, own: ChangeIdx, source: u64, offset: i64) {
        let change = match source {
            0 => own.0,
            source if source & 1 == 1 => self.foreign[(source >> 1) as usize],
            source => {
                let seq = dag.seq(own) - (source >> 1);
                dag.ancestor_at(own, seq).expect("what an applied change refers to is applied").0
            }
        };
        let position = self.recent.position(change);
        let (target, code) = match position.and_then(|position| self.recent.get(position)) {
            Some(spot) => (position.unwrap_or(0) as u64, zigzag(offset - spot.offset)),
            None => (RECENT as u64 + source, offset as u64),
        };
        self.put(Column::Targets, target);
        self.put(Column::Offsets, code);
        self.recent.bring(position, Spot { change, offset });
    }

    fn payloads(&mut self, ops: &mut Reader<'_>, kinds: &[u8], element_kinds: &[u8]) {
        let mut elements = element_kinds.iter();
        let mut values = 0u64;
        let mut steps = 0;
        for (kind, length) in kinds.iter().zip(&self.lengths) {
            match *kind {
                op::SET => values += 1,
                op::INSERT if elements.next() == Some(&0) => values += u64::from(*length),
                op::ADD => steps += 1,
                _ => {}
            }
        }
        let start = ops.rest();
        skip_values(ops, values).expect(PROOF);
        self.columns.at(Column::Values).put(&start[..start.len() - ops.remaining()]);
        let steps = varints(ops, steps);
        self.columns.at(Column::Steps).put(steps);
        self.columns.at(Column::Characters).put(ops.rest());
    }
}
