//! What each change's units made, so that references to them resolve in O(log n).

use std::ops::Range;

use super::ContainerIdx;
use super::sequence::PlaceIdx;
use crate::causality::ChangeIdx;
use crate::ops::Kind;

/// What can be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// Inserts of values.
    Value,
    /// An insert of a container.
    Container(Kind),
    /// A move.
    Move,
    /// Inserts of characters.
    Character,
}

impl Made {
    /// Whether a delete may target it.
    pub(super) fn deletable(self) -> bool {
        self != Made::Move
    }

    /// Whether a move may move it.
    pub(super) fn movable(self) -> bool {
        matches!(self, Made::Value | Made::Container(_))
    }

    /// Whether it made a place in a list.
    pub(super) fn in_list(self) -> bool {
        self != Made::Character
    }
}

/// Units with successive offsets that made places with successive numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnitRun {
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) made: Made,
    pub(super) container: ContainerIdx,
    /// The first unit's place.
    pub(super) place: u32,
}

impl UnitRun {
    pub(super) fn end(&self) -> u32 {
        self.start + self.len
    }

    /// The place that a unit made.
    pub(super) fn place_of(&self, offset: u32) -> u32 {
        self.place + (offset - self.start)
    }
}

/// The units of all changes. Only what can be referred to is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Units {
    /// For each change, where its runs begin in `runs` (they end where the next one's begin), and how many units it has.
    changes: Vec<(u32, u32)>,
    runs: Vec<UnitRun>,
}

impl Units {
    /// Begins a change: the runs that come now are its.
    pub(super) fn begin(&mut self, change: ChangeIdx) {
        self.changes.resize(change.0 as usize, (self.runs.len() as u32, 0));
        self.changes.push((self.runs.len() as u32, 0));
    }

    /// The change that was begun has one more unit (or several) that cannot be referred to.
    pub(super) fn skip(&mut self, units: u32) {
        if let Some((_, total)) = self.changes.last_mut() {
            *total += units;
        }
    }

    /// The change that was begun has further units that can.
    pub(super) fn add(&mut self, len: u32, made: Made, container: ContainerIdx, place: PlaceIdx) {
        let Some((first, total)) = self.changes.last_mut() else { return };
        let start = *total;
        *total += len;
        let place = place.index() as u32;
        if let Some(last) = self.runs[*first as usize..].last_mut()
            && last.end() == start
            && last.made == made
            && last.container == container
            && last.place + last.len == place
        {
            last.len += len;
            return;
        }
        self.runs.push(UnitRun { start, len, made, container, place });
    }

    /// How many units the change that was begun last has by now: the offset of the next one.
    pub(super) fn end(&self) -> u32 {
        self.changes.last().map_or(0, |(_, total)| *total)
    }

    /// The numbers, for [`Self::at`], of the runs of a change that have units from `low` to `high`.
    pub(super) fn reaching(&self, change: ChangeIdx, low: u32, high: u32) -> Range<usize> {
        let Some((first, runs)) = self.runs_from(change) else { return 0..0 };
        let from = runs.partition_point(|run| run.end() <= low);
        let until = from + runs[from..].partition_point(|run| run.start <= high);
        first + from..first + until
    }

    pub(super) fn at(&self, number: usize) -> &UnitRun {
        &self.runs[number]
    }

    /// How many units a change has.
    pub(super) fn total(&self, change: ChangeIdx) -> u32 {
        self.changes.get(change.0 as usize).map_or(0, |(_, total)| *total)
    }

    /// The runs of a change that can be referred to, ascending by offset.
    pub(super) fn runs(&self, change: ChangeIdx) -> &[UnitRun] {
        self.runs_from(change).map_or(&[], |(_, runs)| runs)
    }

    fn runs_from(&self, change: ChangeIdx) -> Option<(usize, &[UnitRun])> {
        let at = change.0 as usize;
        let first = self.changes.get(at)?.0 as usize;
        let end = self.changes.get(at + 1).map_or(self.runs.len(), |(next, _)| *next as usize);
        Some((first, &self.runs[first..end]))
    }

    /// Bytes held on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.changes.capacity() * size_of::<(u32, u32)>() + self.runs.capacity() * size_of::<UnitRun>()
    }

    /// The run that a unit belongs to, if it can be referred to.
    pub(super) fn find(&self, change: ChangeIdx, offset: u32) -> Option<&UnitRun> {
        let runs = self.runs(change);
        let behind = match runs {
            // Most changes make one run.
            [_] => 1,
            _ => runs.partition_point(|run| run.start <= offset),
        };
        runs[..behind].last().filter(|run| run.start <= offset && offset < run.end())
    }
}
