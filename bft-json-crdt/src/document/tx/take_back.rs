//! Taking recorded effects back, by ordinary operations that touch nothing but what is left of those effects.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::record::{
    Behind, Effect, GoneCharacters, GoneContent, GoneElement, GoneElements, Name, Snapshot, SnapshotBody,
};
use super::{NewElement, Tx, TxError, Up};
use crate::causality::Causality;
use crate::document::container::NONE;
use crate::document::list::Held;
use crate::document::sequence::{Anchor, Origin, PlaceIdx};
use crate::document::{ContainerIdx, Document};
use crate::ops::{Kind, Unit};
use crate::value::Value;

/// What was put back stands under a new name: this leads from the old names to the new ones, so that what was recorded of the old can be taken back
/// from the new.
#[derive(Debug, Default)]
pub(crate) struct Reborn {
    /// Runs of units that inserted elements or characters: the first old one → how many, the first new one.
    units: BTreeMap<Origin, (u32, Origin)>,
    /// Units that made a place which shows no more → the one that made the place for it.
    places: HashMap<Origin, Origin>,
    /// Steps of a counter, by its name and the `seq` on the own chain.
    steps: HashMap<(Arc<Name>, u64), (Arc<Name>, u64)>,
    /// What was added since [`Reborn::begin`].
    fresh: Vec<Fresh>,
}

#[derive(Debug)]
enum Fresh {
    Unit(Origin),
    Place(Origin),
    Step((Arc<Name>, u64)),
}

impl Reborn {
    /// How many names it leads on from.
    pub(crate) fn len(&self) -> usize {
        self.units.len() + self.places.len() + self.steps.len()
    }

    /// Begins what [`Reborn::abort`] would take out again.
    pub(crate) fn begin(&mut self) {
        self.fresh.clear();
    }

    /// The transaction has failed: what it would have put back is not there.
    pub(crate) fn abort(&mut self) {
        for fresh in self.fresh.drain(..) {
            match fresh {
                Fresh::Unit(old) => drop(self.units.remove(&old)),
                Fresh::Place(old) => drop(self.places.remove(&old)),
                Fresh::Step(old) => drop(self.steps.remove(&old)),
            }
        }
    }

    fn add_units(&mut self, old: Origin, len: u32, new: Origin) {
        self.units.insert(old, (len, new));
        self.fresh.push(Fresh::Unit(old));
    }

    fn add_place(&mut self, old: Origin, new: Origin) {
        if old != new {
            self.places.insert(old, new);
            self.fresh.push(Fresh::Place(old));
        }
    }

    fn add_step(&mut self, old: (Arc<Name>, u64), new: (Arc<Name>, u64)) {
        if old != new {
            self.steps.insert(old.clone(), new);
            self.fresh.push(Fresh::Step(old));
        }
    }

    /// The present units of a run of units, in order. A chain ends, since what is put back is younger than what it was.
    fn units(&self, first: Origin, len: u32) -> Vec<(Origin, u32)> {
        let (mut found, mut open) = (Vec::new(), vec![(first, len)]);
        while let Some(((change, offset), len)) = open.pop() {
            let covering = self.units.range(..=(change, offset)).next_back();
            let covering = covering.filter(|((of, from), (covered, _))| *of == change && offset - from < *covered);
            match covering {
                Some(((_, from), (covered, new))) => {
                    let taken = len.min(covered - (offset - from));
                    if taken < len {
                        open.push(((change, offset + taken), len - taken));
                    }
                    open.push(((new.0, new.1 + (offset - from)), taken));
                }
                None => {
                    let next = self.units.range((change, offset)..).next();
                    let gap = next.filter(|((of, _), _)| *of == change).map_or(len, |((_, from), _)| from - offset);
                    let taken = len.min(gap);
                    if taken < len {
                        open.push(((change, offset + taken), len - taken));
                    }
                    found.push(((change, offset), taken));
                }
            }
        }
        found
    }

    fn unit(&self, unit: Origin) -> Origin {
        self.units(unit, 1).first().map_or(unit, |(unit, _)| *unit)
    }

    fn place(&self, mut unit: Origin) -> Origin {
        while let Some(next) = self.places.get(&unit) {
            unit = *next;
        }
        unit
    }

    fn step(&self, counter: &Arc<Name>, seq: u64) -> (Arc<Name>, u64) {
        let mut step = (counter.clone(), seq);
        while let Some(next) = self.steps.get(&step) {
            step = next.clone();
        }
        step
    }
}

impl Document {
    /// The list or text in which a unit made a place, and the place.
    fn place_of_unit(&self, unit: Origin) -> Option<(ContainerIdx, PlaceIdx)> {
        let run = self.units.find(unit.0, unit.1)?;
        Some((run.container, PlaceIdx::from_number(run.place_of(unit.1))))
    }

    /// The places that are left of a run of units: container, index and length of each stretch.
    fn standing(&self, unit: Origin, len: u32, found: &mut Vec<(ContainerIdx, usize, usize)>) {
        let (change, end) = (unit.0, unit.1.saturating_add(len));
        let runs = self.units.runs(change);
        let from = runs.partition_point(|run| run.end() <= unit.1);
        for run in runs[from..].iter().take_while(|run| run.start < end) {
            let (first, last) = (run.place_of(run.start.max(unit.1)), run.place_of(run.end().min(end) - 1));
            if let Some(text) = self.text_body(run.container) {
                let mut place = first;
                while place <= last {
                    let at = PlaceIdx::from_number(place);
                    if !text.sequence.is_visible(at) {
                        place += 1;
                        continue;
                    }
                    let index = text.sequence.index_of(at);
                    // What shows there begins with this place, and goes on while numbers and places follow one another.
                    let shown = text.sequence.runs_from(index).next().map_or(1, |shown| shown.end - shown.start);
                    let len = shown.min(last + 1 - place);
                    found.push((run.container, index, len as usize));
                    place += len;
                }
            }
            if let Some(list) = self.list(run.container) {
                for born in (first..=last).filter(|born| list.lives(*born)) {
                    found.push((run.container, list.sequence.index_of(list.place(born)), 1));
                }
            }
        }
    }

    /// Whether a living container shows nothing.
    fn is_blank(&self, container: ContainerIdx) -> bool {
        match self.kind(container) {
            Kind::Register | Kind::MultiRegister => self.register(container).is_none(),
            Kind::Counter => self.counter(container) == 0,
            Kind::Map => self.map_len(container) == 0,
            Kind::List | Kind::Text => self.is_empty(container),
        }
    }
}

impl<C: Causality> Tx<C> {
    /// Takes effects back, the last first. What somebody else has overtaken meanwhile is left as it is.
    ///
    /// # Errors
    /// A bound of changes: it is too much for one.
    pub(crate) fn take_back(&mut self, effects: &[Effect], reborn: &mut Reborn) -> Result<(), TxError> {
        effects.iter().rev().try_for_each(|effect| self.take_one_back(effect, reborn))
    }

    fn take_one_back(&mut self, effect: &Effect, reborn: &mut Reborn) -> Result<(), TxError> {
        match effect {
            Effect::Appeared(name) => match self.find(name, reborn) {
                Some(container) => self.disappear(container),
                None => Ok(()),
            },
            Effect::Set { register, before, ensured, after } => match self.find(register, reborn) {
                Some(register) => self.unset(register, before, *ensured, after),
                None => Ok(()),
            },
            Effect::Added { counter, step, seq } => {
                let (counter, seq) = reborn.step(counter, *seq);
                let (own, _) = self.own();
                let Some(counter) = self.find(&counter, reborn) else { return Ok(()) };
                // A step that somebody has deleted counts no more.
                let counts = self.document.uncovered.has_stepped(counter, own, seq);
                if counts { self.add_sum(counter, -i128::from(*step)) } else { Ok(()) }
            }
            Effect::Inserted { first, len, .. } => {
                let mut standing = Vec::new();
                for (unit, len) in reborn.units(*first, *len) {
                    self.document.standing(unit, len, &mut standing);
                }
                self.delete_stretches(standing)
            }
            Effect::Characters { text, gone } => match self.find(text, reborn) {
                Some(text) => self.put_characters_back(text, gone, reborn),
                None => Ok(()),
            },
            Effect::Elements { list, gone } => match self.find(list, reborn) {
                Some(list) => self.put_elements_back(list, gone, reborn),
                None => Ok(()),
            },
            Effect::Moved { element, from, to, behind } => self.move_back(*element, *from, *to, *behind, reborn),
            Effect::Cleared { container, content } => match self.find(container, reborn) {
                Some(found) => self.restore(found, container, content, reborn),
                None => Ok(()),
            },
        }
    }

    /// The container that has a name now; `None` if it lies in a deleted element. Recurses at most to MAX_DEPTH.
    fn find(&mut self, name: &Name, reborn: &Reborn) -> Option<ContainerIdx> {
        let found = match name {
            Name::Root => ContainerIdx::ROOT,
            Name::Key(map, key, kind) => {
                let map = self.find(map, reborn)?;
                self.child(map, key, *kind).ok()?
            }
            Name::Element(unit) => {
                let (list, place) = self.document.place_of_unit(reborn.unit(*unit))?;
                let body = self.document.list(list)?;
                match body.held(body.born(place.index() as u32)) {
                    Held::Container(inner) => inner,
                    _ => return None,
                }
            }
        };
        self.document.is_attached(found).then_some(found)
    }

    /// Makes an entry that was made to live go again, if nothing but own remains keep it.
    fn disappear(&mut self, container: ContainerIdx) -> Result<(), TxError> {
        let (own, _) = self.own();
        if !self.document.at(container).lives() || !self.document.is_blank(container) {
            return Ok(());
        }
        self.document.index(&self.causality, container);
        let leasts = self.document.leasts(&self.causality, container);
        if leasts.iter().all(|(branch, _)| *branch == own) { self.clear(container) } else { Ok(()) }
    }

    fn unset(&mut self, register: ContainerIdx, before: &[Value], ensured: bool, after: &Value) -> Result<(), TxError> {
        let (own, _) = self.own();
        let held = self.document.at(register);
        if held.body == NONE {
            return Ok(());
        }
        let shown = if held.kind == Kind::MultiRegister { usize::MAX } else { 1 };
        let writes = self.document.bodies.registers.writes(held.body).rev();
        let writes: Vec<_> = writes.map(|(change, value)| (self.causality.position(change).0, value)).collect();
        if !writes.iter().take(shown).any(|(branch, value)| *branch == own && *value == after) {
            return Ok(());
        }
        // What others wrote at the same time shows now; else what was there before.
        let others = writes.iter().find(|(branch, _)| *branch != own);
        match others.map(|(_, value)| *value).or(before.last()).cloned() {
            Some(value) => self.set(register, value),
            None => {
                self.clear(register)?;
                if ensured { self.ensure(register) } else { Ok(()) }
            }
        }
    }

    /// Steps a counter by any sum.
    fn add_sum(&mut self, counter: ContainerIdx, mut sum: i128) -> Result<(), TxError> {
        loop {
            let step = sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            self.add(counter, step)?;
            sum -= i128::from(step);
            if sum == 0 {
                return Ok(());
            }
        }
    }

    /// Deletes stretches of lists and texts.
    fn delete_stretches(&mut self, mut stretches: Vec<(ContainerIdx, usize, usize)>) -> Result<(), TxError> {
        // From the last on, so that indexes stay good; neighbours as one.
        stretches.sort_unstable();
        let mut whole: Vec<(ContainerIdx, usize, usize)> = Vec::new();
        for (container, index, len) in stretches {
            match whole.last_mut() {
                Some((of, from, before)) if *of == container && *from + *before == index => *before += len,
                _ => whole.push((container, index, len)),
            }
        }
        for (container, index, len) in whole.into_iter().rev() {
            if !self.document.is_attached(container) {
                continue;
            }
            match self.document.kind(container) {
                Kind::Text => self.text_delete(container, index, len)?,
                _ => self.delete(container, index, len)?,
            }
        }
        Ok(())
    }

    /// The index behind an element or character, if it still stands in this list or text; else the start.
    fn index_behind(&self, container: ContainerIdx, behind: Option<Behind>, reborn: &Reborn) -> usize {
        let mut standing = Vec::new();
        if let Some(behind) = behind {
            self.document.standing(reborn.unit(behind.born), 1, &mut standing);
        }
        match standing.first() {
            Some((of, index, len)) if *of == container => index + len,
            _ => 0,
        }
    }

    /// Whether what stood before was itself put back, and no longer stands right before the index of an old place. What is put back as one stands before
    /// all of its old places, so that old places in between tell nothing about where it is now.
    fn is_astray(&self, container: ContainerIdx, index: usize, behind: Option<Behind>, reborn: &Reborn) -> bool {
        let Some(before) = behind else { return false };
        let (born, place) = (reborn.unit(before.born), reborn.place(before.place));
        if (born, place) == (before.born, before.place) {
            return false;
        }
        // Where somebody else has moved it tells nothing either.
        if let (Some(list), Some((of, at))) = (self.document.list(container), self.document.place_of_unit(born))
            && (of != container || list.sequence.origin_of(list.place(list.born(at.index() as u32))) != place)
        {
            return false;
        }
        let after = self.index_behind(container, behind, reborn);
        after > 0 && after != index
    }

    /// Puts characters back where they stood: each next to where its place still is. Where that says nothing any more (the text itself, or the character
    /// before, was put back), behind the character before.
    fn put_characters_back(
        &mut self,
        text: ContainerIdx,
        gone: &GoneCharacters,
        reborn: &mut Reborn,
    ) -> Result<(), TxError> {
        if gone.characters.is_empty() {
            return Ok(());
        }
        let places: Option<Vec<(PlaceIdx, u32)>> = gone
            .units
            .iter()
            .map(|(unit, len)| match self.document.place_of_unit(*unit) {
                Some((of, place)) if of == text => Some((place, *len)),
                _ => None,
            })
            .collect();
        let places = places.filter(|places| {
            let index = match (self.document.text_body(text), places.first()) {
                (Some(body), Some((place, _))) => body.sequence.index_of(*place),
                _ => 0,
            };
            !self.is_astray(text, index, gone.behind, reborn)
        });
        let Some(places) = places else {
            let index = self.index_behind(text, gone.behind, reborn);
            let mut first = self.builder.units();
            self.text_insert(text, index, &gone.characters)?;
            for (unit, len) in &gone.units {
                reborn.add_units(*unit, *len, (self.scope.change, first));
                first += len;
            }
            return Ok(());
        };
        // Successive characters between which nothing shows go back as one. Others may have something between them that comes back later.
        let mut groups: Vec<Group> = Vec::new();
        for ((unit, _), (place, len)) in gone.units.iter().zip(&places) {
            for (from, len, index) in self.stretches_unseen(text, *place, *len) {
                let first = PlaceIdx::from_number(place.index() as u32 + from);
                let piece = (unit.0, unit.1 + from);
                match groups.last_mut() {
                    Some(group) if from > 0 && group.index == index => group.len += len,
                    _ => groups.push(Group { index, first, unit: piece, len }),
                }
            }
        }
        let mut rest = &gone.characters[..];
        for group in groups {
            let end = rest.char_indices().nth(group.len as usize).map_or(rest.len(), |(byte, _)| byte);
            let (characters, behind) = rest.split_at(end);
            rest = behind;
            let new = self.builder.units();
            self.characters_at(text, Anchor::Left(group.first), characters)?;
            reborn.add_units(group.unit, group.len, (self.scope.change, new));
        }
        Ok(())
    }

    /// Cuts places with successive numbers, of which none shows, where something shows between them: (how far from the first, how many, index).
    fn stretches_unseen(&self, text: ContainerIdx, place: PlaceIdx, len: u32) -> Vec<(u32, u32, usize)> {
        let Some(body) = self.document.text_body(text) else { return Vec::new() };
        let index = |from: u32| body.sequence.index_of(PlaceIdx::from_number(place.index() as u32 + from));
        let (mut found, mut open) = (Vec::new(), vec![(0, len)]);
        while let Some((from, len)) = open.pop() {
            let at = index(from);
            if len == 1 || at == index(from + len - 1) {
                found.push((from, len, at));
            } else {
                open.push((from + len / 2, len - len / 2));
                open.push((from, len / 2));
            }
        }
        found
    }

    fn characters_at(&mut self, text: ContainerIdx, anchor: Anchor, characters: &str) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(text, &[Kind::Text])?;
            let number = tx.number(text)?;
            let hung = tx.hang(text, anchor)?;
            tx.note_text(text, characters);
            tx.builder.text(number, hung, characters)?;
            tx.act(|document, author| document.do_text(author, text, anchor, characters));
            Ok(())
        })
    }

    fn values_at(&mut self, list: ContainerIdx, anchor: Anchor, values: Vec<Value>) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            let number = tx.number(list)?;
            let hung = tx.hang(list, anchor)?;
            tx.note_inserted(list, values.len());
            tx.builder.insert_values(number, hung, values.clone())?;
            tx.act(|document, author| document.do_insert_values(author, list, anchor, values.into_iter()));
            Ok(())
        })
    }

    /// Puts list elements back where they stood, as [`Self::put_characters_back`] does with characters.
    fn put_elements_back(
        &mut self,
        list: ContainerIdx,
        gone: &GoneElements,
        reborn: &mut Reborn,
    ) -> Result<(), TxError> {
        let place = |element: &GoneElement| match self.document.place_of_unit(element.place) {
            Some((of, place)) if of == list => {
                Some((place, self.document.list(list).map_or(0, |body| body.sequence.index_of(place))))
            }
            _ => None,
        };
        let places: Option<Vec<(PlaceIdx, usize)>> = gone.elements.iter().map(place).collect();
        let places = places.filter(|places| {
            places.first().is_none_or(|(_, index)| !self.is_astray(list, *index, gone.behind, reborn))
        });
        let mut next = self.index_behind(list, gone.behind, reborn);
        let mut at = 0;
        while let Some(element) = gone.elements.get(at) {
            let anchor = match &places {
                Some(places) => Anchor::Left(places[at].0),
                None => self.anchor_for(list, next)?,
            };
            let new = self.builder.units();
            let mut taken = 1;
            match &element.content {
                GoneContent::Value(_) => {
                    // Successive values between which nothing shows go back as one.
                    let together = |n: usize| {
                        places.as_ref().is_none_or(|places| {
                            let ((first, index), (place, also)) = (places[at], places[n]);
                            index == also && first.index() + (n - at) == place.index()
                        })
                    };
                    let values = gone.elements[at..].iter().enumerate();
                    let values = values.map_while(|(n, element)| match &element.content {
                        GoneContent::Value(value) if together(at + n) => Some(value.clone()),
                        _ => None,
                    });
                    let values: Vec<Value> = values.collect();
                    taken = values.len();
                    self.values_at(list, anchor, values)?;
                }
                GoneContent::Container(kind, content) => {
                    let made = self.attempt(|tx| {
                        tx.expect(list, &[Kind::List])?;
                        tx.insert_at(list, anchor, NewElement::Container(*kind))
                    })?;
                    // Its names are led on before what is in it is written.
                    reborn.add_units(element.born, 1, (self.scope.change, new));
                    if let Some(inner) = made.container {
                        self.restore(inner, &Arc::new(Name::Element(element.born)), content, reborn)?;
                    }
                }
            }
            for (n, element) in gone.elements[at..at + taken].iter().enumerate() {
                let unit = (self.scope.change, new + n as u32);
                if matches!(element.content, GoneContent::Value(_)) {
                    reborn.add_units(element.born, 1, unit);
                }
                reborn.add_place(element.place, unit);
            }
            at += taken;
            next += taken;
        }
        Ok(())
    }

    /// Moves an element back to where it stood, if the own move still decides where it stands.
    fn move_back(
        &mut self,
        element: Origin,
        from: Origin,
        to: Origin,
        behind: Option<Behind>,
        reborn: &mut Reborn,
    ) -> Result<(), TxError> {
        let Some((list, born)) = self.document.place_of_unit(reborn.unit(element)) else { return Ok(()) };
        let Some(body) = self.document.list(list) else { return Ok(()) };
        let born = body.born(born.index() as u32);
        let place = body.place(born);
        let stands = body.sequence.origin_of(place);
        if !body.lives(born) || stands != reborn.place(to) || !self.document.is_attached(list) {
            return Ok(());
        }
        let from = reborn.place(from);
        let index = body.sequence.index_of(place);
        let anchor = self.document.place_of_unit(from);
        let astray = anchor.is_some_and(|(of, place)| {
            of == list && self.is_astray(list, body.sequence.index_of(place), behind, reborn)
        });
        let made = (self.scope.change, self.builder.units());
        match anchor {
            Some((of, place)) if of == list && !astray => self.attempt(|tx| {
                let element = tx.name(list, PlaceIdx::from_number(born))?;
                let hung = tx.hang(list, Anchor::Left(place))?;
                tx.note_move(list, index);
                tx.builder.push(Unit::Move { element, anchor: hung })?;
                tx.act(|document, author| document.do_move(author, list, born, Anchor::Left(place)));
                Ok(())
            })?,
            // Its old place says nothing any more, since the list itself or what stood before was put back.
            _ => {
                let behind = self.index_behind(list, behind, reborn);
                let target = if behind > index { behind - 1 } else { behind };
                self.move_element(list, index, target)?;
            }
        }
        if self.builder.units() > made.1 {
            reborn.add_place(from, made);
        }
        Ok(())
    }

    /// Puts back what lived in a container when it was deleted, except where somebody has written since. `name` is its name then.
    fn restore(
        &mut self,
        container: ContainerIdx,
        name: &Arc<Name>,
        content: &Snapshot,
        reborn: &mut Reborn,
    ) -> Result<(), TxError> {
        // Somebody has put something else there.
        if let Up::Key(map, key) = self.document.at(container).up() {
            let key = self.document.keys.name(key);
            let kind = self.document.kind(container);
            if self.document.kinds_present(map, key).any(|(present, _)| present != kind) {
                return Ok(());
            }
        }
        match &content.body {
            SnapshotBody::Register(values) => {
                if let (Some(value), None) = (values.last(), self.document.register(container)) {
                    self.set(container, value.clone())?;
                }
            }
            SnapshotBody::Counter(sum, seqs) => {
                if *sum != 0 || !seqs.is_empty() {
                    self.add_sum(container, *sum)?;
                }
                let (_, own) = self.own();
                let now = self.document.name(container);
                for seq in seqs {
                    reborn.add_step((name.clone(), *seq), (now.clone(), own));
                }
            }
            SnapshotBody::Map(entries) => {
                for (key, kind, inner) in entries {
                    let child = self.child(container, key, *kind)?;
                    let name = Arc::new(Name::Key(name.clone(), key.clone(), *kind));
                    self.restore(child, &name, inner, reborn)?;
                }
            }
            SnapshotBody::List(gone) => self.put_elements_back(container, gone, reborn)?,
            SnapshotBody::Text(gone) => self.put_characters_back(container, gone, reborn)?,
        }
        // A list element lives by its insert.
        if content.ensured && matches!(self.document.at(container).up(), Up::Key(..)) {
            self.ensure(container)?;
        }
        Ok(())
    }
}

/// Characters that go back together.
struct Group {
    index: usize,
    /// The place of the first.
    first: PlaceIdx,
    /// The unit that inserted it.
    unit: Origin,
    len: u32,
}
