//! What each unit operation does to the document.
//!
//! References are resolved and held to the rules of section 5 here too, so that a change that was not judged before ends in an error and not in
//! nonsense; only what was done until then stays done.

use std::collections::HashSet;
use std::ops::Range;

use super::container::{Container, NONE, Up};
use super::event::{Event, Happened, MAX_EVENTS};
use super::list::Held;
use super::register::Write;
use super::sequence::{Anchor, PlaceIdx, compare};
use super::units::{Made, UnitRun};
use super::{ContainerIdx, Document, InvalidReason};
use crate::causality::{BranchIdx, Causality, ChangeIdx};
use crate::ops::{self, ContainerEntry, Direction, Elements, Kind, MAX_DEPTH, Ops, Parent, Ref, Run, Source};
use crate::value::Value;

/// Where the change stands whose units are being applied.
pub(super) struct Scope {
    pub(super) change: ChangeIdx,
    pub(super) branch: BranchIdx,
    pub(super) seq: u64,
    /// What this change has cleared: whatever other branches had to lose there is gone, and a further clear looks at the own branch alone. Else
    /// a change of many clears would cost the number of its units times that of all authors.
    cleared: HashSet<ContainerIdx>,
}

impl Scope {
    pub(super) fn new(causality: &impl Causality, change: ChangeIdx) -> Self {
        let mut scope = Self::open(change);
        scope.locate(causality);
        scope
    }

    /// Of a change that no causality knows yet; [`Self::locate`] must follow before anything is applied.
    pub(super) fn open(change: ChangeIdx) -> Self {
        // A change's `seq` is at least 1.
        Self { change, branch: BranchIdx(0), seq: 0, cleared: HashSet::new() }
    }

    pub(super) fn locate(&mut self, causality: &impl Causality) {
        if self.seq == 0 {
            (self.branch, self.seq) = causality.position(self.change);
        }
    }
}

/// The change whose units are being applied, and who hears of it.
pub(super) struct Author<'a, C> {
    pub(super) causality: &'a C,
    pub(super) scope: &'a mut Scope,
    /// `None` if nobody asked.
    pub(super) events: Option<&'a mut Vec<Event>>,
}

impl<C: Causality> Author<'_, C> {
    /// On a branch, the largest `seq` that a clear of this change covers.
    pub(super) fn bound(&self, branch: BranchIdx) -> u64 {
        let Scope { change, branch: own, seq, .. } = *self.scope;
        if branch == own { seq } else { self.causality.past(change, branch) }
    }
}

/// What the tables of a change resolve to.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) foreign: Vec<Option<ChangeIdx>>,
    /// The root, then the entries of the change's container table that runs have used so far.
    containers: Vec<ContainerIdx>,
}

impl Resolved {
    /// Begins a change whose foreign table is resolved.
    fn begin(&mut self) {
        self.containers.clear();
        self.containers.push(ContainerIdx::ROOT);
    }

    /// Gives back what a huge change took.
    pub(super) fn shrink(&mut self, to: usize) {
        self.foreign.shrink_to(to);
        self.containers.shrink_to(to);
    }
}

impl Document {
    /// Applies the units of a change whose foreign table is resolved. An error leaves what was done until then; a change that was judged makes none.
    pub(super) fn apply_runs<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        ops: &Ops,
        resolved: &mut Resolved,
    ) -> Result<(), InvalidReason> {
        self.units.begin(author.scope.change);
        resolved.begin();
        for run in &ops.runs {
            match run {
                Run::Set(register, value) => {
                    self.apply_set(author, &ops.containers, resolved, *register, value.clone())?;
                }
                Run::Insert { list, anchor, elements: Elements::Values(values) } => {
                    let values = values.iter().cloned();
                    self.apply_values(author, &ops.containers, resolved, *list, *anchor, values)?;
                }
                run => self.apply_run(author, &ops.containers, resolved, run)?,
            }
        }
        Ok(())
    }

    /// The same, and the values are moved out of the operations instead of copied.
    pub(super) fn apply_owned_runs<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        ops: &mut Ops,
        resolved: &mut Resolved,
    ) -> Result<(), InvalidReason> {
        self.units.begin(author.scope.change);
        resolved.begin();
        for run in &mut ops.runs {
            match run {
                Run::Set(register, value) => {
                    let value = std::mem::take(value);
                    self.apply_set(author, &ops.containers, resolved, *register, value)?;
                }
                Run::Insert { list, anchor, elements: Elements::Values(values) } => {
                    let values = values.iter_mut().map(std::mem::take);
                    self.apply_values(author, &ops.containers, resolved, *list, *anchor, values)?;
                }
                run => self.apply_run(author, &ops.containers, resolved, run)?,
            }
        }
        Ok(())
    }

    fn apply_set<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        entries: &[ContainerEntry],
        resolved: &mut Resolved,
        register: ops::ContainerNo,
        value: Value,
    ) -> Result<(), InvalidReason> {
        let register = self.find_or_make(author, entries, resolved, register)?;
        self.do_set(author, register, value);
        Ok(())
    }

    fn apply_values<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        entries: &[ContainerEntry],
        resolved: &mut Resolved,
        list: ops::ContainerNo,
        anchor: ops::Anchor,
        values: impl Iterator<Item = Value>,
    ) -> Result<(), InvalidReason> {
        let list = self.find_or_make(author, entries, resolved, list)?;
        let anchor = self.hang(author, resolved, list, anchor, true)?;
        self.do_insert_values(author, list, anchor, values);
        Ok(())
    }

    fn apply_run<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        entries: &[ContainerEntry],
        resolved: &mut Resolved,
        run: &Run,
    ) -> Result<(), InvalidReason> {
        match run {
            Run::Ensure(container) => {
                let container = self.find_or_make(author, entries, resolved, *container)?;
                self.do_ensure(author, container);
            }
            Run::Clear(container) => {
                let container = self.find_or_make(author, entries, resolved, *container)?;
                self.do_clear(author, container);
            }
            Run::Add(counter, step) => {
                let counter = self.find_or_make(author, entries, resolved, *counter)?;
                self.do_add(author, counter, *step);
            }
            Run::Insert { list, anchor, elements: Elements::Container(kind) } => {
                let list = self.find_or_make(author, entries, resolved, *list)?;
                let anchor = self.hang(author, resolved, list, *anchor, true)?;
                if u32::from(self.at(list).depth) >= MAX_DEPTH {
                    return Err(InvalidReason::Depth);
                }
                self.do_insert_container(author, list, anchor, *kind);
            }
            Run::Delete { target, len, direction } => {
                let last = match direction {
                    Direction::Forward => target.offset.checked_add(len - 1),
                    Direction::Backward => target.offset.checked_sub(len - 1),
                };
                let last = last.ok_or(InvalidReason::Reference)?;
                let change = source(author, resolved, target.source).ok_or(InvalidReason::Reference)?;
                self.do_delete(author, change, target.offset, last)?;
            }
            Run::Move { element, anchor } => {
                let unit = self.named(author, resolved, *element)?;
                if !unit.made.movable() {
                    return Err(InvalidReason::Kind);
                }
                let anchor = self.hang(author, resolved, unit.container, *anchor, true)?;
                self.do_move(author, unit.container, unit.place_of(element.offset), anchor);
            }
            Run::Text { text, anchor, characters, .. } => {
                let text = self.find_or_make(author, entries, resolved, *text)?;
                let anchor = self.hang(author, resolved, text, *anchor, false)?;
                self.do_text(author, text, anchor, characters);
            }
            Run::Set(..) | Run::Insert { .. } => unreachable!("runs with values are applied by their own functions"),
        }
        Ok(())
    }

    /// What a reference names.
    fn named<C: Causality>(
        &self,
        author: &Author<'_, C>,
        resolved: &Resolved,
        to: Ref,
    ) -> Result<UnitRun, InvalidReason> {
        let change = source(author, resolved, to.source).ok_or(InvalidReason::Reference)?;
        if to.offset >= self.units.total(change) {
            return Err(InvalidReason::Reference);
        }
        self.units.find(change, to.offset).copied().ok_or(InvalidReason::Kind)
    }

    fn hang<C: Causality>(
        &self,
        author: &Author<'_, C>,
        resolved: &Resolved,
        container: ContainerIdx,
        anchor: ops::Anchor,
        in_list: bool,
    ) -> Result<Anchor, InvalidReason> {
        let (ops::Anchor::Right(to) | ops::Anchor::Left(to)) = anchor else { return Ok(Anchor::Start) };
        let unit = self.named(author, resolved, to)?;
        if unit.made.in_list() != in_list {
            return Err(InvalidReason::Kind);
        }
        if unit.container != container {
            return Err(InvalidReason::Sequence);
        }
        let place = PlaceIdx::from_number(unit.place_of(to.offset));
        Ok(if let ops::Anchor::Right(_) = anchor { Anchor::Right(place) } else { Anchor::Left(place) })
    }

    /// The container of a change's table entry. Entries stand in first-use order, so those before it that no run has used yet are those above
    /// it; and what an element of this very change holds is there by then.
    fn find_or_make<C: Causality>(
        &mut self,
        author: &Author<'_, C>,
        entries: &[ContainerEntry],
        resolved: &mut Resolved,
        number: ops::ContainerNo,
    ) -> Result<ContainerIdx, InvalidReason> {
        let number = number.0 as usize;
        loop {
            if let Some(found) = resolved.containers.get(number) {
                return Ok(*found);
            }
            let entry = entries.get(resolved.containers.len() - 1).ok_or(InvalidReason::Reference)?;
            let found = match &entry.parent {
                Parent::Key(parent, name) => {
                    let map = *resolved.containers.get(parent.0 as usize).ok_or(InvalidReason::Reference)?;
                    let held = self.at(map);
                    if held.kind != Kind::Map {
                        return Err(InvalidReason::Kind);
                    }
                    if u32::from(held.depth) >= MAX_DEPTH {
                        return Err(InvalidReason::Depth);
                    }
                    let key = self.keys.intern_shared(name);
                    self.child_or_make(map, key, entry.kind)
                }
                Parent::Element(to) => {
                    let unit = self.named(author, resolved, *to)?;
                    if unit.made != Made::Container(entry.kind) {
                        return Err(InvalidReason::Kind);
                    }
                    match self.list(unit.container).map(|list| list.held(unit.place_of(to.offset))) {
                        Some(Held::Container(container)) => container,
                        _ => return Err(InvalidReason::Kind),
                    }
                }
            };
            resolved.containers.push(found);
        }
    }

    pub(super) fn do_ensure<C: Causality>(&mut self, author: &mut Author<'_, C>, container: ContainerIdx) {
        self.units.skip(1);
        let (branch, seq) = (author.scope.branch, author.scope.seq);
        let indexed = self.at(container).is_indexed();
        let before = if indexed { self.least(author.causality, container, branch) } else { None };
        self.uncovered.ensure(container, branch, seq);
        self.at_mut(container).set_ensured(true);
        self.revive(container);
        if indexed {
            let after = self.least(author.causality, container, branch);
            self.settle(container, branch, before, after);
        }
        self.tell(author, container, Happened::Ensured);
    }

    pub(super) fn do_clear<C: Causality>(&mut self, author: &mut Author<'_, C>, container: ContainerIdx) {
        self.units.skip(1);
        self.index(author.causality, container);
        let leasts = if author.scope.cleared.insert(container) {
            self.leasts(author.causality, container)
        } else {
            let branch = author.scope.branch;
            self.least(author.causality, container, branch).map(|least| (branch, least)).into_iter().collect()
        };
        if self.cover(author, container, leasts) {
            self.tell(author, container, Happened::Cleared);
        }
    }

    pub(super) fn do_set<C: Causality>(&mut self, author: &mut Author<'_, C>, register: ContainerIdx, value: Value) {
        self.units.skip(1);
        let held = &mut self.containers[register.0];
        if held.body == NONE {
            held.body = self.bodies.registers.push();
        }
        let (body, indexed, lives) = (held.body, held.is_indexed(), held.lives());
        let own = author.scope.change;
        match self.bodies.registers.only(body) {
            // A further set of this change overtakes nothing but the one before.
            Some(only) if only == own => self.bodies.registers.set_only(body, own, value),
            Some(only) => {
                let (branch, seq) = author.causality.position(only);
                if seq > author.bound(branch) {
                    self.set_beside(author, register, value);
                } else {
                    self.bodies.registers.set_only(body, own, value);
                    if indexed {
                        self.settle_overtaken(author, register, &[(branch, seq)]);
                    }
                }
            }
            None if self.bodies.registers.lives(body) => self.set_beside(author, register, value),
            None => {
                self.bodies.registers.set_only(body, own, value);
                if indexed {
                    self.settle_overtaken(author, register, &[]);
                }
            }
        }
        if !lives {
            self.refresh(register);
        }
        self.tell(author, register, Happened::Set);
    }

    /// Writes a register that has writes which this change does not know of. Costs their number, at most that of the branches.
    fn set_beside<C: Causality>(&mut self, author: &Author<'_, C>, register: ContainerIdx, value: Value) {
        let (body, change) = (self.at(register).body, author.scope.change);
        let mut writes = self.bodies.registers.take(body);
        if let Some(write) = writes.iter_mut().find(|write| write.change == change) {
            write.value = value;
            return self.bodies.registers.put(body, writes);
        }
        let mut overtaken = Vec::new();
        writes.retain(|write| {
            let (branch, seq) = author.causality.position(write.change);
            let known = seq <= author.bound(branch);
            if known {
                overtaken.push((branch, seq));
            }
            !known
        });
        let at = writes.partition_point(|write| author.causality.order(write.change, change).is_lt());
        writes.insert(at, Write { change, value });
        self.bodies.registers.put(body, writes);
        if self.at(register).is_indexed() {
            self.settle_overtaken(author, register, &overtaken);
        }
    }

    /// Tells the maps above an indexed register of a new write, and of those on other branches that it has overtaken.
    fn settle_overtaken<C: Causality>(
        &mut self,
        author: &Author<'_, C>,
        register: ContainerIdx,
        overtaken: &[(BranchIdx, u64)],
    ) {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        let (own, seq) = (author.scope.branch, author.scope.seq);
        let mut own_before = None;
        for (branch, seq) in overtaken {
            if *branch == own {
                own_before = Some(*seq);
                continue;
            }
            let ensured = self.uncovered.ensured(register, *branch);
            self.settle(register, *branch, least(Some(*seq), ensured), ensured);
        }
        let ensured = self.uncovered.ensured(register, own);
        self.settle(register, own, least(own_before, ensured), least(Some(seq), ensured));
    }

    pub(super) fn do_add<C: Causality>(&mut self, author: &mut Author<'_, C>, counter: ContainerIdx, step: i64) {
        self.units.skip(1);
        let (branch, seq) = (author.scope.branch, author.scope.seq);
        let held = &mut self.containers[counter.0];
        if held.body == NONE {
            held.body = self.bodies.counters.push(0);
        }
        let (body, indexed) = (held.body, held.is_indexed());
        let before = if indexed { self.least(author.causality, counter, branch) } else { None };
        // Exact: 2⁶⁴ steps of 2⁶³ each would be needed to overflow it.
        self.bodies.counters[body] += i128::from(step);
        self.uncovered.step(counter, branch, seq, step);
        self.revive(counter);
        if indexed {
            let after = self.least(author.causality, counter, branch);
            self.settle(counter, branch, before, after);
        }
        self.tell(author, counter, Happened::Added(step));
    }

    /// Inserts values, each on the right of the one before. Answers the first one's place.
    pub(super) fn do_insert_values<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        list: ContainerIdx,
        anchor: Anchor,
        values: impl Iterator<Item = Value>,
    ) -> Option<u32> {
        let offset = self.units.end();
        let body = self.list_mut(list);
        let len = body.push_values(values);
        if len == 0 {
            return None;
        }
        let change = author.scope.change;
        let first = body.sequence.insert(author.causality, &(), anchor, change, offset, len, true);
        self.inserted(author, list, Made::Value, first, len);
        Some(first.index() as u32)
    }

    /// Inserts an element that holds an empty container. Answers its place and the container. The caller knows that the list is not too deep.
    pub(super) fn do_insert_container<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        list: ContainerIdx,
        anchor: Anchor,
        kind: Kind,
    ) -> (u32, ContainerIdx) {
        let offset = self.units.end();
        let depth = self.at(list).depth + 1;
        let inner = ContainerIdx(self.containers.len() as u32);
        let body = self.list_mut(list);
        body.push_container(inner);
        let change = author.scope.change;
        let place = body.sequence.insert(author.causality, &(), anchor, change, offset, 1, true);
        let born = place.index() as u32;
        self.containers.push(Container::new(Up::Element(list, born), kind, depth));
        self.inserted(author, list, Made::Container(kind), place, 1);
        (born, inner)
    }

    /// Inserts characters, each on the right of the one before. Answers the first one's place.
    pub(super) fn do_text<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        text: ContainerIdx,
        anchor: Anchor,
        characters: &str,
    ) -> Option<u32> {
        let offset = self.units.end();
        let body = self.text_mut(text);
        let len = body.characters.push_str(characters);
        if len == 0 {
            return None;
        }
        let change = author.scope.change;
        let first = body.sequence.insert(author.causality, &body.characters, anchor, change, offset, len, true);
        self.inserted(author, text, Made::Character, first, len);
        Some(first.index() as u32)
    }

    /// Takes note of elements or characters that were inserted.
    fn inserted<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        container: ContainerIdx,
        made: Made,
        first: PlaceIdx,
        len: u32,
    ) {
        self.units.add(len, made, container, first);
        let held = self.at(container);
        let indexed = held.is_indexed();
        if !held.lives() {
            self.refresh(container);
        }
        if indexed {
            let (branch, seq) = (author.scope.branch, author.scope.seq);
            let before = self.least(author.causality, container, branch);
            let first = first.index() as u32;
            self.uncovered.insert(container, branch, seq, first..first + len);
            let after = self.least(author.causality, container, branch);
            self.settle(container, branch, before, after);
        }
        if author.events.is_some() {
            let held = self.at(container);
            let index = match held.kind {
                Kind::Text => self.bodies.texts[held.body].sequence.index_of(first),
                _ => self.bodies.lists[held.body].sequence.index_of(first),
            };
            self.tell(author, container, Happened::Inserted { index, len: len as usize });
        }
    }

    /// Gives the element that was born at a place a further place.
    pub(super) fn do_move<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        list: ContainerIdx,
        born: u32,
        anchor: Anchor,
    ) {
        let offset = self.units.end();
        let telling = author.events.is_some();
        let (causality, change) = (author.causality, author.scope.change);
        let body = self.list_mut(list);
        let standing = body.place(born);
        let wins = compare(causality, body.sequence.origin_of(standing), (change, offset)).is_lt();
        let shows = wins && body.sequence.is_visible(standing);
        let from = if shows && telling { body.sequence.index_of(standing) } else { 0 };
        if shows {
            let place = standing.index() as u32;
            body.sequence.hide(&(), place..place + 1, None);
        }
        let made = body.sequence.insert(causality, &(), anchor, change, offset, 1, shows);
        body.push_move(made, born, wins);
        let to = if shows && telling { body.sequence.index_of(made) } else { 0 };
        self.units.add(1, Made::Move, list, made);
        if shows && from != to {
            self.tell(author, list, Happened::Moved { from, to });
        }
    }

    /// Deletes what units `first` to `last` of a change inserted, in this direction.
    fn do_delete<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        target: ChangeIdx,
        first: u32,
        last: u32,
    ) -> Result<(), InvalidReason> {
        let (low, high) = (first.min(last), first.max(last));
        if high >= self.units.total(target) {
            return Err(InvalidReason::Reference);
        }
        self.units.skip(high - low + 1);
        let runs = self.units.reaching(target, low, high);
        let mut next = low;
        for at in runs.clone() {
            let run = self.units.at(at);
            if run.start > next || !run.made.deletable() {
                return Err(InvalidReason::Kind);
            }
            next = run.end();
        }
        if next <= high {
            return Err(InvalidReason::Kind);
        }
        for at in 0..runs.len() {
            let run = *self.units.at(if first <= last { runs.start + at } else { runs.end - 1 - at });
            let (start, end) = (low.max(run.start), high.min(run.end() - 1));
            self.delete_places(author, run.container, run.place_of(start)..run.place_of(end) + 1);
        }
        Ok(())
    }

    fn delete_places<C: Causality>(&mut self, author: &mut Author<'_, C>, container: ContainerIdx, places: Range<u32>) {
        if author.events.is_none() {
            if self.kill(container, places, None) > 0 {
                self.after_kill(container);
            }
            return;
        }
        let mut told = Vec::new();
        if self.kill(container, places, Some(&mut told)) > 0 {
            self.after_kill(container);
        }
        self.tell_deleted(author, container, told);
    }

    /// Deletes elements or characters by their places, which belong to the change's next units; `told` is for [`Self::tell_deleted`].
    pub(super) fn do_delete_places(
        &mut self,
        container: ContainerIdx,
        places: Range<u32>,
        told: Option<&mut Vec<(usize, usize)>>,
    ) {
        self.units.skip(places.end - places.start);
        if self.kill(container, places, told) > 0 {
            self.after_kill(container);
        }
    }

    fn after_kill(&mut self, container: ContainerIdx) {
        if self.len(container) == 0 {
            self.refresh(container);
        }
    }

    pub(super) fn tell_deleted<C: Causality>(
        &self,
        author: &mut Author<'_, C>,
        container: ContainerIdx,
        told: Vec<(usize, usize)>,
    ) {
        for (index, len) in told {
            self.tell(author, container, Happened::Deleted { index, len });
        }
    }

    fn tell<C: Causality>(&self, author: &mut Author<'_, C>, container: ContainerIdx, happened: Happened) {
        let Some(events) = author.events.as_deref_mut() else { return };
        let change = author.scope.change;
        // Cheaper than to find indexes on the way up first.
        if events.len() > MAX_EVENTS || !self.is_attached(container) {
            return;
        }
        if events.len() == MAX_EVENTS {
            let (container, kind, path) = (ContainerIdx::ROOT, Kind::Map, Vec::new());
            return events.push(Event { change, container, kind, path, happened: Happened::Untold });
        }
        let Some(path) = self.path(container) else { return };
        events.push(Event { change, container, kind: self.at(container).kind, path, happened });
    }
}

/// The change that a source names; for an entry of the foreign table, what that resolved to.
fn source<C: Causality>(author: &Author<'_, C>, resolved: &Resolved, source: Source) -> Option<ChangeIdx> {
    match source {
        Source::Own => Some(author.scope.change),
        Source::Back(steps) => author.causality.back(author.scope.change, steps),
        Source::Foreign(entry) => *resolved.foreign.get(entry as usize)?,
    }
}
