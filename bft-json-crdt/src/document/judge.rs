//! Whether a change is valid by what it says of the document (section 5, verdict 6): a function of the change and its causal past alone, so that all
//! replicas agree. Mutates nothing. O((runs + table) · log n), and O(1) for each run of units that a delete run reaches over.

use super::list::Held;
use super::units::Made;
use super::{ContainerIdx, Document, InvalidReason};
use crate::causality::{Causality, ChangeIdx};
use crate::ops::{Anchor, ContainerNo, Direction, Elements, Kind, MAX_DEPTH, Ops, Parent, Ref, Run, Source};

/// A container as the judge sees it. Within one change no two table entries name the same one: their forms, elements and sources are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// It stands in memory.
    Known(ContainerIdx),
    /// The change mentions it first, as this entry of its table.
    Entry(u32),
    /// A fault has been found on the way to it.
    Lost,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    which: Which,
    depth: u32,
}

/// What a reference names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    made: Made,
    container: Which,
}

/// The tables of one change. They are kept from change to change: a change of one character shall not cost five allocations.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// The root, then the change's table.
    containers: Vec<Seen>,
    /// For each run the offset of its first unit.
    starts: Vec<u32>,
    /// The containers of the runs before the one that is being judged, where they make something.
    made: Vec<Option<Named>>,
}

impl Tables {
    fn reset(&mut self) {
        self.containers.clear();
        self.starts.clear();
        self.made.clear();
    }

    /// Gives back what a huge change took.
    pub(super) fn shrink(&mut self, to: usize) {
        self.containers.shrink_to(to);
        self.starts.shrink_to(to);
        self.made.shrink_to(to);
    }
}

/// The references of one change.
struct Judge<'a, C> {
    document: &'a Document,
    causality: &'a C,
    change: ChangeIdx,
    ops: &'a Ops,
    tables: &'a mut Tables,
    foreign: &'a [Option<ChangeIdx>],
    /// The least fault so far.
    fault: Option<InvalidReason>,
}

/// Resolves the foreign table. Entries name changes in the causal past that are not on the author's own chain; others are `None`.
pub(super) fn foreign_table<C: Causality>(
    causality: &C,
    change: ChangeIdx,
    ops: &Ops,
    foreign: &mut Vec<Option<ChangeIdx>>,
) -> Result<(), InvalidReason> {
    foreign.clear();
    if ops.foreign.is_empty() {
        return Ok(());
    }
    let (_, seq) = causality.position(change);
    foreign.extend(ops.foreign.iter().map(|id| {
        causality.lookup(id).filter(|found| {
            let back = seq.saturating_sub(causality.position(*found).1);
            let own = back > 0 && causality.back(change, back) == Some(*found);
            !own && causality.precedes(*found, change)
        })
    }));
    if foreign.contains(&None) { Err(InvalidReason::Reference) } else { Ok(()) }
}

impl Document {
    /// Judges a change whose foreign table is resolved to `foreign`.
    pub(super) fn judge<C: Causality>(
        &self,
        causality: &C,
        change: ChangeIdx,
        ops: &Ops,
        foreign: &[Option<ChangeIdx>],
        tables: &mut Tables,
    ) -> Result<(), InvalidReason> {
        tables.reset();
        let mut judge = Judge { document: self, causality, change, ops, tables, foreign, fault: None };
        judge.starts();
        judge.container_table();
        judge.runs();
        judge.fault.map_or(Ok(()), Err)
    }
}

impl<C: Causality> Judge<'_, C> {
    fn fault(&mut self, reason: InvalidReason) {
        self.fault = Some(self.fault.map_or(reason, |other| other.min(reason)));
    }

    fn starts(&mut self) {
        let mut start = 0;
        for run in &self.ops.runs {
            self.tables.starts.push(start);
            start += run.len();
        }
    }

    fn container_table(&mut self) {
        self.tables.containers.push(Seen { which: Which::Known(ContainerIdx::ROOT), depth: 0 });
        for (at, entry) in self.ops.containers.iter().enumerate() {
            let number = at as u32 + 1;
            let (which, depth) = match &entry.parent {
                Parent::Key(parent, key) => match self.tables.containers.get(parent.0 as usize).copied() {
                    Some(Seen { which: Which::Known(map), depth, .. }) => {
                        let child = self.document.child(map, key, entry.kind);
                        (child.map_or(Which::Entry(number), Which::Known), depth + 1)
                    }
                    Some(Seen { which: Which::Entry(_), depth, .. }) => (Which::Entry(number), depth + 1),
                    _ => (Which::Lost, 0),
                },
                Parent::Element(to) => self.element(*to, entry.kind, number),
            };
            if depth > MAX_DEPTH {
                self.fault(InvalidReason::Depth);
            }
            self.tables.containers.push(Seen { which, depth });
        }
    }

    /// What a list element holds, and how deep that lies.
    fn element(&mut self, to: Ref, kind: Kind, number: u32) -> (Which, u32) {
        if to.source == Source::Own {
            let run = self.tables.starts.partition_point(|start| *start <= to.offset).checked_sub(1);
            let run = run.and_then(|at| Some((self.ops.runs.get(at)?, to.offset - self.tables.starts[at])));
            let Some((run, _)) = run.filter(|(run, within)| *within < run.len()) else {
                self.fault(InvalidReason::Reference);
                return (Which::Lost, 0);
            };
            return match run {
                Run::Insert { list, elements: Elements::Container(of), .. } if *of == kind => {
                    // The insert stands before the entry's first use, so that its list has an earlier entry.
                    match self.tables.containers.get(list.0 as usize) {
                        Some(seen) => (Which::Entry(number), seen.depth + 1),
                        None => {
                            self.fault(InvalidReason::Reference);
                            (Which::Lost, 0)
                        }
                    }
                }
                _ => {
                    self.fault(InvalidReason::Kind);
                    (Which::Lost, 0)
                }
            };
        }
        let Some(change) = self.source(to.source).filter(|change| to.offset < self.document.units.total(*change))
        else {
            self.fault(InvalidReason::Reference);
            return (Which::Lost, 0);
        };
        let unit = self.document.units.find(change, to.offset);
        let Some(unit) = unit.filter(|unit| unit.made == Made::Container(kind)) else {
            self.fault(InvalidReason::Kind);
            return (Which::Lost, 0);
        };
        match self.document.list(unit.container).map(|list| list.held(unit.place_of(to.offset))) {
            Some(Held::Container(found)) => (Which::Known(found), self.document.depth(found)),
            _ => (Which::Lost, 0),
        }
    }

    fn runs(&mut self) {
        for (run, at) in self.ops.runs.iter().zip(0..) {
            let start = self.tables.starts[at];
            let made = match run {
                Run::Ensure(number) | Run::Clear(number) | Run::Set(number, _) | Run::Add(number, _) => {
                    self.container(*number);
                    None
                }
                Run::Insert { list, anchor, elements } => {
                    let list = self.container(*list);
                    self.anchor(*anchor, start, true, list.which);
                    let made = match elements {
                        Elements::Values(_) => Made::Value,
                        Elements::Container(kind) => {
                            if list.depth + 1 > MAX_DEPTH {
                                self.fault(InvalidReason::Depth);
                            }
                            Made::Container(*kind)
                        }
                    };
                    Some(Named { made, container: list.which })
                }
                Run::Text { text, anchor, .. } => {
                    let text = self.container(*text);
                    self.anchor(*anchor, start, false, text.which);
                    Some(Named { made: Made::Character, container: text.which })
                }
                Run::Move { element, anchor } => {
                    let element = self.named(*element, start);
                    let container = match element {
                        Some(named) if named.made.movable() => named.container,
                        Some(_) => {
                            self.fault(InvalidReason::Kind);
                            Which::Lost
                        }
                        None => Which::Lost,
                    };
                    self.anchor(*anchor, start, true, container);
                    Some(Named { made: Made::Move, container })
                }
                Run::Delete { target, len, direction } => {
                    self.delete(*target, *len, *direction, start);
                    None
                }
            };
            self.tables.made.push(made);
        }
    }

    fn container(&mut self, number: ContainerNo) -> Seen {
        match self.tables.containers.get(number.0 as usize) {
            Some(seen) => *seen,
            None => {
                self.fault(InvalidReason::Reference);
                Seen { which: Which::Lost, depth: 0 }
            }
        }
    }

    fn anchor(&mut self, anchor: Anchor, offset: u32, in_list: bool, container: Which) {
        let (Anchor::Right(to) | Anchor::Left(to)) = anchor else { return };
        let Some(named) = self.named(to, offset) else { return };
        if named.made.in_list() != in_list {
            self.fault(InvalidReason::Kind);
        } else if named.container != container && named.container != Which::Lost && container != Which::Lost {
            self.fault(InvalidReason::Sequence);
        }
    }

    fn source(&self, source: Source) -> Option<ChangeIdx> {
        match source {
            Source::Own => None,
            Source::Back(steps) => self.causality.back(self.change, steps),
            Source::Foreign(entry) => *self.foreign.get(entry as usize)?,
        }
    }

    /// What a unit at `offset` names; notes the fault if nothing.
    fn named(&mut self, to: Ref, offset: u32) -> Option<Named> {
        if to.source == Source::Own {
            if to.offset >= offset {
                self.fault(InvalidReason::Reference);
                return None;
            }
            let run = self.tables.starts.partition_point(|start| *start <= to.offset) - 1;
            let made = self.tables.made[run];
            if made.is_none() {
                self.fault(InvalidReason::Kind);
            }
            return made;
        }
        let Some(change) = self.source(to.source).filter(|change| to.offset < self.document.units.total(*change))
        else {
            self.fault(InvalidReason::Reference);
            return None;
        };
        let Some(unit) = self.document.units.find(change, to.offset) else {
            self.fault(InvalidReason::Kind);
            return None;
        };
        Some(Named { made: unit.made, container: Which::Known(unit.container) })
    }

    /// A delete run's targets all exist and are inserts or characters.
    fn delete(&mut self, target: Ref, len: u32, direction: Direction, offset: u32) {
        let last = match direction {
            Direction::Forward => target.offset.checked_add(len - 1),
            Direction::Backward => target.offset.checked_sub(len - 1),
        };
        let Some(last) = last else { return self.fault(InvalidReason::Reference) };
        let (low, high) = (target.offset.min(last), target.offset.max(last));
        if target.source == Source::Own {
            // Targets and units move on by one each: if the first is earlier, all are.
            if target.offset >= offset || high >= offset + len {
                return self.fault(InvalidReason::Reference);
            }
            let first = self.tables.starts.partition_point(|start| *start <= low) - 1;
            let behind = self.tables.starts.partition_point(|start| *start <= high);
            let all = (first..behind).all(|run| match self.tables.made.get(run) {
                Some(made) => made.is_some_and(|named| named.made.deletable()),
                None => false,
            });
            if !all {
                self.fault(InvalidReason::Kind);
            }
            return;
        }
        let Some(change) = self.source(target.source).filter(|change| high < self.document.units.total(*change)) else {
            return self.fault(InvalidReason::Reference);
        };
        let runs = self.document.units.runs(change);
        let mut next = low;
        for run in &runs[runs.partition_point(|run| run.end() <= low)..] {
            if next > high || run.start > next || !run.made.deletable() {
                break;
            }
            next = run.end();
        }
        if next <= high {
            self.fault(InvalidReason::Kind);
        }
    }
}
