//! The columns of a segment (docs/format.md, section 3): which there are, and buffers and readers for them.

use crate::encoding::{DecodeError, Reader};

/// A column. The order is that of the file: numbers first, then what holds words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Column {
    Authors,
    Previous,
    DepCounts,
    Deps,
    Times,
    RunCounts,
    EntryCounts,
    ForeignCounts,
    KeyCounts,
    OpKinds,
    EntryKinds,
    ElementKinds,
    Foreign,
    KeyLengths,
    Forms,
    ElementSources,
    ElementOffsets,
    ParentSteps,
    EntryKeys,
    Lengths,
    Directions,
    RunContainers,
    Anchors,
    Targets,
    Offsets,
    Steps,
    Keys,
    Values,
    Characters,
}

/// How many columns there are.
pub(super) const COLUMNS: usize = Column::Characters as usize + 1;
/// The first column that holds words rather than numbers.
pub(super) const FIRST_WORDS: usize = Column::Keys as usize;

/// Columns under construction.
#[derive(Debug)]
pub(super) struct Buffers([Vec<u8>; COLUMNS]);

impl Buffers {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn at(&mut self, column: Column) -> &mut Vec<u8> {
        &mut self.0[column as usize]
    }

    pub(super) fn all(&self) -> &[Vec<u8>; COLUMNS] {
        &self.0
    }
}

/// Columns being read, each from its own place.
#[derive(Debug)]
pub(super) struct Readers<'a>([Reader<'a>; COLUMNS]);

impl<'a> Readers<'a> {
    pub(super) fn new(columns: [&'a [u8]; COLUMNS]) -> Self {
        Self(columns.map(Reader::new))
    }

    pub(super) fn at(&mut self, column: Column) -> &mut Reader<'a> {
        &mut self.0[column as usize]
    }

    pub(super) fn varint(&mut self, column: Column) -> Result<u64, DecodeError> {
        self.at(column).varint()
    }

    /// A count of things of which each takes at least one byte of this other column.
    pub(super) fn count(&mut self, column: Column, of: Column) -> Result<usize, DecodeError> {
        let count = self.varint(column)?;
        match usize::try_from(count) {
            Ok(count) if count <= self.at(of).remaining() => Ok(count),
            _ => Err(DecodeError::Truncated),
        }
    }

    pub(super) fn bytes(&mut self, column: Column, count: usize) -> Result<&'a [u8], DecodeError> {
        self.at(column).bytes(count)
    }

    /// Every column must have been read to its end.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        self.0.into_iter().try_for_each(Reader::finish)
    }
}
