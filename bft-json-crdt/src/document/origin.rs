//! Which units made what shows, and which container of one document is which of another: what the history is told by.

use super::container::{NONE, Up};
use super::list::Held;
use super::sequence::PlaceIdx;
use super::{ContainerIdx, Document};
use crate::causality::ChangeIdx;
use crate::ops::Kind;
use crate::value::Value;

/// Elements of a list or characters of a text that show next to each other, inserted by successive units of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whose units.
    pub(crate) change: ChangeIdx,
    /// The first one's offset.
    pub(crate) offset: u32,
    /// How many.
    pub(crate) len: u32,
    /// For a list element that moved, the unit that gave it its place; such a one stands alone.
    pub(crate) moved: Option<(ChangeIdx, u32)>,
}

impl Document {
    /// The stretches of a list or text that show from an index on. The first is found in O(log n).
    pub(crate) fn shown_from(&self, sequence: ContainerIdx, from: usize) -> impl Iterator<Item = Shown> + '_ {
        let list = self.list(sequence);
        let places = list.map(|list| &list.sequence).or(self.text_body(sequence).map(|text| &text.sequence));
        // Nothing needs to be looked at one by one where nothing has moved.
        let list = list.filter(|list| list.has_moves());
        places.into_iter().flat_map(move |places| {
            let made = places.runs_from(from).flat_map(|run| places.origins(run));
            made.flat_map(move |(change, offset, run)| {
                let mut left = run.clone();
                std::iter::from_fn(move || {
                    let first = left.next()?;
                    let offset = offset + (first - run.start);
                    let Some(list) = list else {
                        let len = 1 + left.len() as u32;
                        left = run.end..run.end;
                        return Some(Shown { change, offset, len, moved: None });
                    };
                    if list.born(first) != first {
                        let origin = places.origin_of(PlaceIdx::from_number(list.born(first)));
                        return Some(Shown {
                            change: origin.0,
                            offset: origin.1,
                            len: 1,
                            moved: Some((change, offset)),
                        });
                    }
                    let mut len = 1;
                    while left.start < left.end && list.born(left.start) == left.start {
                        (left.start, len) = (left.start + 1, len + 1);
                    }
                    Some(Shown { change, offset, len, moved: None })
                })
            })
        })
    }

    /// The writes that a register holds, in the one order, with the change of each: a plain register shows the last, and what a clear would lay open stands before.
    pub(crate) fn writes_of(&self, register: ContainerIdx) -> impl DoubleEndedIterator<Item = (ChangeIdx, &Value)> {
        let held = self.at(register);
        let is_register = matches!(held.kind, Kind::Register | Kind::MultiRegister) && held.body != NONE;
        is_register.then(|| self.bodies.registers.writes(held.body)).into_iter().flatten()
    }

    /// Whether something stands in it that none of the first so many changes did: a change that is still being gathered.
    pub(crate) fn holds_beyond(&self, changes: usize) -> bool {
        self.units.total(ChangeIdx(changes as u32)) > 0
    }

    /// The container that stands where `container` stands in another document of the same history; `None` if nothing here has mentioned it. `ours` is the
    /// number here of a change there. O(depth · log n). Recurses at most to MAX_DEPTH.
    pub(crate) fn counterpart(
        &self,
        other: &Document,
        container: ContainerIdx,
        ours: &impl Fn(ChangeIdx) -> Option<ChangeIdx>,
    ) -> Option<ContainerIdx> {
        let there = other.at(container);
        match there.up() {
            Up::Root => Some(ContainerIdx::ROOT),
            Up::Key(map, key) => self.child(self.counterpart(other, map, ours)?, other.keys.name(key), there.kind),
            Up::Element(list, element) => {
                let origins = &other.list(list)?.sequence;
                let (change, offset) = origins.origin_of(PlaceIdx::from_number(element));
                let unit = self.units.find(ours(change)?, offset)?;
                match self.list(unit.container)?.held(unit.place_of(offset)) {
                    Held::Container(inner) => Some(inner),
                    _ => None,
                }
            }
        }
    }
}
