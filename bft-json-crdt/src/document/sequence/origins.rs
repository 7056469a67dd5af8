//! Which unit of which change made each place, in runs.

use std::cmp::Ordering;
use std::ops::Range;

use crate::causality::{Causality, ChangeIdx};

/// A unit: its change and its offset there.
pub(crate) type Origin = (ChangeIdx, u32);

/// Compares two units in the one order.
pub(crate) fn compare(causality: &impl Causality, a: Origin, b: Origin) -> Ordering {
    if a.0 == b.0 { a.1.cmp(&b.1) } else { causality.order(a.0, b.0) }
}

/// Successive places that successive units of one change made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    change: ChangeIdx,
    offset: u32,
}

impl Run {
    fn origin(&self, place: u32) -> Origin {
        (self.change, self.offset + (place - self.first))
    }
}

/// Places in a stretch of the index.
const STRETCH: u32 = 64;

/// The origins of all places, which are numbered from 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Ascending by place; each run ends where the next begins.
    runs: Vec<Run>,
    /// For each [`STRETCH`] places the run of the first one, so that a look-up stays within a few lines of memory: siblings are compared by it.
    index: Vec<u32>,
    /// How many places there are.
    end: u32,
}

impl Origins {
    /// Adds the next `len` places.
    pub(super) fn push(&mut self, first: u32, change: ChangeIdx, offset: u32, len: u32) {
        debug_assert_eq!(first, self.end);
        self.end += len;
        if self.runs.last().is_none_or(|last| last.origin(first) != (change, offset)) {
            self.runs.push(Run { first, change, offset });
        }
        let stretches = self.end.div_ceil(STRETCH) as usize;
        if self.index.len() < stretches {
            self.index.resize(stretches, self.runs.len() as u32 - 1);
        }
    }

    fn find(&self, place: u32) -> usize {
        match self.runs.last() {
            Some(last) if last.first <= place => self.runs.len() - 1,
            _ => {
                let stretch = (place / STRETCH) as usize;
                let from = self.index[stretch] as usize;
                let to = self.index.get(stretch + 1).map_or(self.runs.len(), |next| *next as usize + 1);
                from + self.runs[from..to].partition_point(|run| run.first <= place) - 1
            }
        }
    }

    /// The unit that made a place.
    pub(super) fn of(&self, place: u32) -> Origin {
        self.runs[self.find(place)].origin(place)
    }

    /// The runs within a range of places.
    pub(super) fn runs(&self, places: Range<u32>) -> impl Iterator<Item = (ChangeIdx, u32, Range<u32>)> + '_ {
        let mut at = if places.is_empty() { 0 } else { self.find(places.start) };
        let mut next = places.start;
        std::iter::from_fn(move || {
            if next >= places.end {
                return None;
            }
            let run = self.runs[at];
            at += 1;
            let end = self.runs.get(at).map_or(self.end, |run| run.first).min(places.end);
            let (change, offset) = run.origin(next);
            let covered = next..end;
            next = end;
            Some((change, offset, covered))
        })
    }

    /// Bytes held on the heap, spare capacity included.
    pub(super) fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>() + self.index.capacity() * size_of::<u32>()
    }

    /// Checks the order of the runs, and that no two could be one.
    pub(super) fn debug_check(&self, places: usize) {
        assert_eq!(self.end as usize, places, "the places without origin");
        assert_eq!(self.runs.is_empty(), places == 0);
        assert!(self.runs.first().is_none_or(|run| run.first == 0));
        for pair in self.runs.windows(2) {
            assert!(pair[0].first < pair[1].first, "origins out of order");
            assert_ne!(pair[0].origin(pair[1].first), (pair[1].change, pair[1].offset), "two runs are one");
        }
        assert!(self.runs.last().is_none_or(|run| run.first < self.end));
        assert_eq!(self.index.len(), places.div_ceil(STRETCH as usize), "the index has another length");
        for (&run, place) in self.index.iter().zip((0..).step_by(STRETCH as usize)) {
            let found = self.runs.partition_point(|run| run.first <= place) - 1;
            assert_eq!(run as usize, found, "the index names another run");
        }
    }
}
