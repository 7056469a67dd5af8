//! What each change's units made, so that references to them resolve in O(log n).

use super::ContainerIdx;
use super::sequence::PlaceIdx;
use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::ops::Kind;

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

    /// How many units a change has.
    pub(super) fn total(&self, change: ChangeIdx) -> u32 {
        self.changes.get(change.0 as usize).map_or(0, |(_, total)| *total)
    }

    /// The runs of a change that can be referred to, ascending by offset.
    pub(super) fn runs(&self, change: ChangeIdx) -> &[UnitRun] {
        let at = change.0 as usize;
        let Some(&(first, _)) = self.changes.get(at) else { return &[] };
        let end = self.changes.get(at + 1).map_or(self.runs.len(), |(next, _)| *next as usize);
        &self.runs[first as usize..end]
    }

    /// The run that a unit belongs to, if it can be referred to.
    pub(super) fn find(&self, change: ChangeIdx, offset: u32) -> Option<&UnitRun> {
        let runs = self.runs(change);
        let behind = runs.partition_point(|run| run.start <= offset);
        runs[..behind].last().filter(|run| offset < run.end())
    }
}
