//! What each unit operation does to the document. Everything is judged before it comes here.

use std::collections::HashSet;
use std::sync::Arc;

use super::container::{Body, Container, Content, Entry, MapBody, TextBody, Up, Write};
use super::event::{Event, Happened, MAX_EVENTS};
use super::sequence::{Anchor, PlaceIdx, compare};
use super::units::{Made, UnitRun};
use super::{ContainerIdx, Document};
use crate::causality::{BranchIdx, Causality, ChangeIdx};
use crate::ops::{self, Direction, Elements, Kind, Ops, Parent, Ref, Run, Source};
use crate::value::Value;

/// The change whose units are being applied.
pub(super) struct Author<'a, C> {
    pub(super) causality: &'a C,
    pub(super) change: ChangeIdx,
    branch: BranchIdx,
    seq: u64,
    /// What this change has cleared: whatever other branches had to lose there is gone, and a further clear looks at the own branch alone. Else
    /// a change of many clears would cost the number of its units times that of all authors.
    cleared: HashSet<ContainerIdx>,
    /// `None` if nobody asked.
    events: Option<&'a mut Vec<Event>>,
}

impl<'a, C: Causality> Author<'a, C> {
    pub(super) fn new(causality: &'a C, change: ChangeIdx, events: Option<&'a mut Vec<Event>>) -> Self {
        let (branch, seq) = causality.position(change);
        Self { causality, change, branch, seq, cleared: HashSet::new(), events }
    }

    /// On a branch, the largest `seq` that a clear of this change covers.
    fn bound(&self, branch: BranchIdx) -> u64 {
        if branch == self.branch { self.seq } else { self.causality.past(self.change, branch) }
    }
}

impl Document {
    /// Applies the units of a judged change.
    pub(super) fn apply_judged<C: Causality>(&mut self, author: &mut Author<'_, C>, ops: &Ops) {
        self.units.begin(author.change);
        let foreign: Vec<Option<ChangeIdx>> = ops.foreign.iter().map(|id| author.causality.lookup(id)).collect();
        let mut table = Vec::with_capacity(ops.containers.len() + 1);
        table.push(Some(ContainerIdx::ROOT));
        table.resize(ops.containers.len() + 1, None);
        for run in &ops.runs {
            // Judging has seen every reference resolve, so that `None` ends nothing here but a run that cannot be.
            let _ = self.apply_run(author, ops, &foreign, &mut table, run);
        }
    }

    fn apply_run<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        ops: &Ops,
        foreign: &[Option<ChangeIdx>],
        table: &mut [Option<ContainerIdx>],
        run: &Run,
    ) -> Option<()> {
        let (causality, change) = (author.causality, author.change);
        let source = |source: Source| match source {
            Source::Own => Some(change),
            Source::Back(steps) => causality.back(change, steps),
            Source::Foreign(entry) => *foreign.get(entry as usize)?,
        };
        let place = |document: &Self, to: Ref| {
            let unit = document.units.find(source(to.source)?, to.offset)?;
            Some((unit.container, PlaceIdx::from_number(unit.place_of(to.offset))))
        };
        let hang = |document: &Self, anchor: ops::Anchor| {
            Some(match anchor {
                ops::Anchor::Start => Anchor::Start,
                ops::Anchor::Right(to) => Anchor::Right(place(document, to)?.1),
                ops::Anchor::Left(to) => Anchor::Left(place(document, to)?.1),
            })
        };
        let mut find = |document: &mut Self, number: ops::ContainerNo| {
            document.find_or_make(ops, table, number.0 as usize, &|document, to| {
                let (list, place) = place(document, to)?;
                document.container_at(list, place)
            })
        };
        match run {
            Run::Ensure(container) => {
                let container = find(self, *container)?;
                self.do_ensure(author, container);
            }
            Run::Clear(container) => {
                let container = find(self, *container)?;
                self.do_clear(author, container);
            }
            Run::Set(register, value) => {
                let register = find(self, *register)?;
                self.do_set(author, register, value.clone());
            }
            Run::Add(counter, step) => {
                let counter = find(self, *counter)?;
                self.do_add(author, counter, *step);
            }
            Run::Insert { list, anchor, elements } => {
                let list = find(self, *list)?;
                let anchor = hang(self, *anchor)?;
                match elements {
                    Elements::Values(values) => {
                        self.do_insert_values(author, list, anchor, values.iter().cloned());
                    }
                    Elements::Container(kind) => {
                        self.do_insert_container(author, list, anchor, *kind);
                    }
                }
            }
            Run::Delete { target, len, direction } => {
                let last = match direction {
                    Direction::Forward => target.offset.checked_add(len - 1)?,
                    Direction::Backward => target.offset.checked_sub(len - 1)?,
                };
                self.do_delete(author, source(target.source)?, target.offset, last);
            }
            Run::Move { element, anchor } => {
                let (list, place) = place(self, *element)?;
                let anchor = hang(self, *anchor)?;
                self.do_move(author, list, place, anchor);
            }
            Run::Text { text, anchor, characters, .. } => {
                let text = find(self, *text)?;
                let anchor = hang(self, *anchor)?;
                self.do_text(author, text, anchor, characters);
            }
        }
        Some(())
    }

    /// The container of a change's table entry, with those above it. Entries are found when a run first needs them: what an element of this
    /// very change holds is there by then.
    fn find_or_make(
        &mut self,
        ops: &Ops,
        table: &mut [Option<ContainerIdx>],
        number: usize,
        element: &impl Fn(&Self, Ref) -> Option<ContainerIdx>,
    ) -> Option<ContainerIdx> {
        if let Some(found) = *table.get(number)? {
            return Some(found);
        }
        let entry = ops.containers.get(number.checked_sub(1)?)?;
        let found = match &entry.parent {
            Parent::Key(parent, key) => {
                let parent = self.find_or_make(ops, table, parent.0 as usize, element)?;
                self.child_or_make(parent, key, entry.kind)?
            }
            Parent::Element(to) => element(self, *to)?,
        };
        table[number] = Some(found);
        Some(found)
    }

    /// A map's entry of one kind, made if nothing mentioned it before.
    pub(super) fn child_or_make(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Option<ContainerIdx> {
        if let Some(child) = self.child(map, key, kind) {
            return Some(child);
        }
        let number = ContainerIdx(self.containers.len() as u32);
        let depth = self.at(map).depth + 1;
        let Body::Map(body) = &mut self.at_mut(map).body else { return None };
        let MapBody { living, gone, .. } = &mut **body;
        let (key, slot) = match living.get_key_value(key).or_else(|| gone.get_key_value(key)) {
            Some((key, _)) => {
                let key = key.clone();
                let slot = if living.contains_key(&key) { living.get_mut(&key) } else { gone.get_mut(&key) };
                (key, slot?)
            }
            None => {
                let key: Arc<str> = key.into();
                (key.clone(), gone.entry(key).or_default())
            }
        };
        slot.push((kind, number));
        slot.sort_unstable();
        self.containers.push(Container::new(Up::Key(map, key), kind, depth));
        Some(number)
    }

    /// What the element whose insert made a place holds.
    fn container_at(&self, list: ContainerIdx, place: PlaceIdx) -> Option<ContainerIdx> {
        let Body::List(list) = &self.at(list).body else { return None };
        match list.elements[list.element_of[place.index()] as usize].content {
            Content::Container(container) => Some(container),
            _ => None,
        }
    }

    pub(super) fn do_ensure<C: Causality>(&mut self, author: &mut Author<'_, C>, container: ContainerIdx) {
        self.units.skip(1);
        let before = self.at(container).least(author.branch);
        let ensures = &mut self.at_mut(container).ensures;
        match ensures.binary_search_by_key(&author.branch, |(branch, _)| *branch) {
            Ok(at) => ensures[at].1 = author.seq,
            Err(at) => ensures.insert(at, (author.branch, author.seq)),
        }
        self.settle(container, author.branch, before);
        self.tell(author, container, Happened::Ensured);
    }

    pub(super) fn do_clear<C: Causality>(&mut self, author: &mut Author<'_, C>, container: ContainerIdx) {
        self.units.skip(1);
        let branches = match author.cleared.insert(container) {
            true => self.at(container).branches(),
            false => vec![author.branch],
        };
        if self.cover(container, branches, |branch| author.bound(branch)) {
            self.tell(author, container, Happened::Cleared);
        }
    }

    pub(super) fn do_set<C: Causality>(&mut self, author: &mut Author<'_, C>, register: ContainerIdx, value: Value) {
        self.units.skip(1);
        let Body::Register(writes) = &mut self.at_mut(register).body else { return };
        // A further set of this change overtakes nothing but the one before.
        let own = writes.partition_point(|write| author.causality.order(write.change, author.change).is_lt());
        if let Some(write) = writes.get_mut(own)
            && write.change == author.change
        {
            write.value = value;
            return self.tell(author, register, Happened::Set);
        }
        let Body::Register(writes) = &self.at(register).body else { return };
        let overtaken = |write: &Write| write.seq <= author.bound(write.branch);
        let mut branches: Vec<BranchIdx> = writes.iter().filter(|write| overtaken(write)).map(|w| w.branch).collect();
        if !branches.contains(&author.branch) {
            branches.push(author.branch);
        }
        let befores: Vec<_> = branches.iter().map(|branch| (*branch, self.at(register).least(*branch))).collect();

        let Body::Register(writes) = &mut self.at_mut(register).body else { return };
        writes.retain(|write| !overtaken(write));
        let greater = |write: &Write| author.causality.order(write.change, author.change).is_gt();
        let at = writes.iter().rposition(|write| !greater(write)).map_or(0, |at| at + 1);
        writes.reserve_exact(1);
        writes.insert(at, Write { change: author.change, branch: author.branch, seq: author.seq, value });
        for (branch, before) in befores {
            self.settle(register, branch, before);
        }
        self.tell(author, register, Happened::Set);
    }

    pub(super) fn do_add<C: Causality>(&mut self, author: &mut Author<'_, C>, counter: ContainerIdx, step: i64) {
        self.units.skip(1);
        let before = self.at(counter).least(author.branch);
        if let Body::Counter(steps) = &mut self.at_mut(counter).body {
            steps.add(author.branch, author.seq, step);
        }
        self.settle(counter, author.branch, before);
        self.tell(author, counter, Happened::Added(step));
    }

    /// Inserts values, each on the right of the one before. Answers the first one's place.
    pub(super) fn do_insert_values<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        list: ContainerIdx,
        anchor: Anchor,
        values: impl Iterator<Item = Value>,
    ) -> Option<PlaceIdx> {
        self.insert(author, list, anchor, Made::Value, values.map(Content::Value))
    }

    /// Inserts an element that holds an empty container. Answers its place and the container.
    pub(super) fn do_insert_container<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        list: ContainerIdx,
        anchor: Anchor,
        kind: Kind,
    ) -> Option<(PlaceIdx, ContainerIdx)> {
        let held = self.at(list);
        let Body::List(body) = &held.body else { return None };
        let (element, depth) = (body.elements.len() as u32, held.depth + 1);
        let number = ContainerIdx(self.containers.len() as u32);
        self.containers.push(Container::new(Up::Element(list, element), kind, depth));
        let content = std::iter::once(Content::Container(number));
        Some((self.insert(author, list, anchor, Made::Container(kind), content)?, number))
    }

    fn insert<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        list: ContainerIdx,
        anchor: Anchor,
        made: Made,
        contents: impl Iterator<Item = Content>,
    ) -> Option<PlaceIdx> {
        let offset = self.units.total(author.change);
        let before = self.at(list).least(author.branch);
        let Body::List(body) = &mut self.at_mut(list).body else { return None };
        let body = Arc::make_mut(body);
        let known = body.elements.len();
        let places = body.element_of.len();
        body.elements.extend(contents.zip(places..).map(|(content, place)| {
            let place = PlaceIdx::from_number(place as u32);
            Entry { born: place, place, alive: true, content }
        }));
        let len = (body.elements.len() - known) as u32;
        body.element_of.extend((0..len).map(|n| known as u32 + n));
        if len == 0 {
            return None;
        }
        let first = body.sequence.insert(author.causality, &(), anchor, author.change, offset, len, true);
        body.runs.add(author.branch, author.seq, first, len);
        self.units.add(len, made, list, first);
        self.settle(list, author.branch, before);
        self.tell_inserted(author, list, first, len);
        Some(first)
    }

    /// Inserts characters, each on the right of the one before.
    pub(super) fn do_text<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        text: ContainerIdx,
        anchor: Anchor,
        characters: &str,
    ) -> Option<PlaceIdx> {
        let offset = self.units.total(author.change);
        let before = self.at(text).least(author.branch);
        let Body::Text(body) = &mut self.at_mut(text).body else { return None };
        let body = Arc::make_mut(body);
        let len = body.characters.push_str(characters);
        if len == 0 {
            return None;
        }
        let TextBody { sequence, characters, .. } = body;
        let first = sequence.insert(author.causality, characters, anchor, author.change, offset, len, true);
        body.runs.add(author.branch, author.seq, first, len);
        self.units.add(len, Made::Character, text, first);
        self.settle(text, author.branch, before);
        self.tell_inserted(author, text, first, len);
        Some(first)
    }

    /// Gives the element that was inserted with `place` a further place.
    pub(super) fn do_move<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        list: ContainerIdx,
        place: PlaceIdx,
        anchor: Anchor,
    ) {
        let offset = self.units.total(author.change);
        let telling = author.events.is_some();
        let Body::List(body) = &mut self.at_mut(list).body else { return };
        let body = Arc::make_mut(body);
        let number = body.element_of[place.index()];
        let entry = &mut body.elements[number as usize];
        let standing = body.sequence.origin_of(entry.place);
        let wins = compare(author.causality, standing, (author.change, offset)).is_lt();
        let shows = wins && entry.alive;
        let from = if shows && telling { body.sequence.index_of(entry.place) } else { 0 };
        if shows {
            let place = entry.place.index() as u32;
            body.sequence.hide(&(), place..place + 1, None);
        }
        let made = body.sequence.insert(author.causality, &(), anchor, author.change, offset, 1, shows);
        body.element_of.push(number);
        if wins {
            entry.place = made;
        }
        let to = if shows && telling { body.sequence.index_of(made) } else { 0 };
        self.units.add(1, Made::Move, list, made);
        if shows && from != to {
            self.tell(author, list, Happened::Moved { from, to });
        }
    }

    /// Deletes what units `first` to `last` of a change inserted, in this direction.
    pub(super) fn do_delete<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        target: ChangeIdx,
        first: u32,
        last: u32,
    ) {
        let (low, high) = (first.min(last), first.max(last));
        self.units.skip(high - low + 1);
        let (branch, _) = author.causality.position(target);
        let runs = self.units.runs(target);
        let from = runs.partition_point(|run| run.end() <= low);
        let until = runs.partition_point(|run| run.start <= high);
        let touched: Vec<UnitRun> = runs[from..until].to_vec();
        let in_order: Box<dyn Iterator<Item = &UnitRun>> =
            if first <= last { Box::new(touched.iter()) } else { Box::new(touched.iter().rev()) };
        for run in in_order {
            let (start, end) = (low.max(run.start), high.min(run.end() - 1));
            let (a, b) = (run.place_of(start), run.place_of(end));
            let before = self.at(run.container).least(branch);
            if first <= last {
                self.kill(author, run.container, branch, a..=b);
            } else {
                self.kill(author, run.container, branch, (a..=b).rev());
            }
            self.settle(run.container, branch, before);
        }
    }

    /// Deletes the elements or characters that were inserted with these places.
    fn kill<C: Causality>(
        &mut self,
        author: &mut Author<'_, C>,
        container: ContainerIdx,
        branch: BranchIdx,
        places: impl Iterator<Item = u32>,
    ) {
        let telling = author.events.is_some();
        // Neighbours that go one after another are told as one.
        let mut gone: Vec<(usize, usize)> = Vec::new();
        match &mut self.at_mut(container).body {
            Body::List(list) => {
                let list = Arc::make_mut(list);
                for place in places {
                    let entry = &mut list.elements[list.element_of[place as usize] as usize];
                    if entry.alive {
                        entry.die();
                        let shown = entry.place.index() as u32;
                        list.sequence.hide(&(), shown..shown + 1, telling.then_some(&mut gone));
                        list.runs.kill(branch, PlaceIdx::from_number(place));
                    }
                }
            }
            Body::Text(text) => {
                let TextBody { sequence, characters, runs } = Arc::make_mut(text);
                for place in places {
                    if sequence.hide(characters, place..place + 1, telling.then_some(&mut gone)) > 0 {
                        runs.kill(branch, PlaceIdx::from_number(place));
                    }
                }
            }
            _ => {}
        }
        for (index, len) in gone {
            self.tell(author, container, Happened::Deleted { index, len });
        }
    }

    fn tell_inserted<C: Causality>(
        &self,
        author: &mut Author<'_, C>,
        container: ContainerIdx,
        first: PlaceIdx,
        len: u32,
    ) {
        if author.events.is_none() {
            return;
        }
        let index = match &self.at(container).body {
            Body::List(list) => list.sequence.index_of(first),
            Body::Text(text) => text.sequence.index_of(first),
            _ => return,
        };
        self.tell(author, container, Happened::Inserted { index, len: len as usize });
    }

    fn tell<C: Causality>(&self, author: &mut Author<'_, C>, container: ContainerIdx, happened: Happened) {
        let Some(events) = author.events.as_deref_mut() else { return };
        // Cheaper than to find indexes on the way up first.
        if events.len() > MAX_EVENTS || !self.is_attached(container) {
            return;
        }
        if events.len() == MAX_EVENTS {
            let (container, kind, path) = (ContainerIdx::ROOT, Kind::Map, Vec::new());
            return events.push(Event { change: author.change, container, kind, path, happened: Happened::Untold });
        }
        let Some(path) = self.path(container) else { return };
        events.push(Event { change: author.change, container, kind: self.at(container).kind, path, happened });
    }
}
