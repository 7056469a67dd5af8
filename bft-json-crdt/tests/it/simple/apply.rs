//! What each unit operation does to the document. Everything is judged before it comes here.

use std::collections::HashSet;
use std::sync::Arc;

use super::container::{Body, Container, Content, Entry, MapBody, Stamp, Up, Write};
use super::sequence::{Anchor, PlaceIdx};
use super::units::{Made, UnitRun};
use super::{ContainerIdx, Document};
use bft_json_crdt::causality::{BranchIdx, Causality, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::ops::{self, Direction, Elements, Kind, Ops, Parent, Ref, Run, Source};
use bft_json_crdt::value::Value;

/// The change whose units are being applied.
pub(super) struct Author<'a, C> {
    pub(super) causality: &'a C,
    pub(super) change: ChangeIdx,
    branch: BranchIdx,
    seq: u64,
    lamport: u32,
    id: ChangeId,
    /// What this change has cleared: whatever other branches had to lose there is gone, and a further clear looks at the own branch alone. Else
    /// a change of many clears would cost the number of its units times that of all authors.
    cleared: HashSet<ContainerIdx>,
}

impl<'a, C: Causality> Author<'a, C> {
    pub(super) fn new(causality: &'a C, change: ChangeIdx) -> Self {
        let (branch, seq) = causality.position(change);
        let lamport = u32::try_from(causality.lamport(change)).unwrap_or(u32::MAX);
        Self { causality, change, branch, seq, lamport, id: causality.id(change), cleared: HashSet::new() }
    }

    fn stamp(&self, offset: u32) -> Stamp {
        Stamp { lamport: self.lamport, id: self.id, offset }
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
    }

    pub(super) fn do_clear<C: Causality>(&mut self, author: &mut Author<'_, C>, container: ContainerIdx) {
        self.units.skip(1);
        let branches = match author.cleared.insert(container) {
            true => self.at(container).branches(),
            false => vec![author.branch],
        };
        self.cover(container, branches, |branch| author.bound(branch));
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
            return;
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
    }

    pub(super) fn do_add<C: Causality>(&mut self, author: &mut Author<'_, C>, counter: ContainerIdx, step: i64) {
        self.units.skip(1);
        let before = self.at(counter).least(author.branch);
        if let Body::Counter(steps) = &mut self.at_mut(counter).body {
            steps.add(author.branch, author.seq, step);
        }
        self.settle(counter, author.branch, before);
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
        let stamps = (offset..offset + len).map(|offset| author.stamp(offset));
        let first = body.sequence.insert_run(anchor, stamps, true)?;
        body.runs.add(author.branch, author.seq, first, len);
        self.units.add(len, made, list, first);
        self.settle(list, author.branch, before);
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
        let known = body.characters.len();
        body.characters.extend(characters.chars());
        let len = (body.characters.len() - known) as u32;
        let stamps = (offset..offset + len).map(|offset| author.stamp(offset));
        let first = body.sequence.insert_run(anchor, stamps, true)?;
        body.runs.add(author.branch, author.seq, first, len);
        self.units.add(len, Made::Character, text, first);
        self.settle(text, author.branch, before);
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
        let stamp = author.stamp(self.units.total(author.change));
        let Body::List(body) = &mut self.at_mut(list).body else { return };
        let body = Arc::make_mut(body);
        let number = body.element_of[place.index()];
        let entry = &mut body.elements[number as usize];
        let wins = body.sequence.stamp_of(entry.place) < stamp;
        let shows = wins && entry.alive;
        if shows {
            body.sequence.set_visible(entry.place, false);
        }
        let made = body.sequence.insert(anchor, stamp, shows);
        body.element_of.push(number);
        if wins {
            entry.place = made;
        }
        self.units.add(1, Made::Move, list, made);
    }

    /// Deletes what units `first` to `last` of a change inserted.
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
        for run in touched {
            let (start, end) = (low.max(run.start), high.min(run.end() - 1));
            let before = self.at(run.container).least(branch);
            self.kill(run.container, branch, run.place_of(start)..=run.place_of(end));
            self.settle(run.container, branch, before);
        }
    }

    /// Deletes the elements or characters that were inserted with these places.
    fn kill(&mut self, container: ContainerIdx, branch: BranchIdx, places: impl Iterator<Item = u32>) {
        match &mut self.at_mut(container).body {
            Body::List(list) => {
                let list = Arc::make_mut(list);
                for place in places {
                    let entry = &mut list.elements[list.element_of[place as usize] as usize];
                    if entry.alive {
                        entry.die();
                        list.sequence.set_visible(entry.place, false);
                        list.runs.kill(branch, PlaceIdx::from_number(place));
                    }
                }
            }
            Body::Text(text) => {
                let text = Arc::make_mut(text);
                for place in places.map(PlaceIdx::from_number) {
                    if text.sequence.is_visible(place) {
                        text.sequence.set_visible(place, false);
                        text.runs.kill(branch, place);
                    }
                }
            }
            _ => {}
        }
    }
}
