//! Local writing: a transaction whose units are applied as they are written, so that reads inside see them, and recorded for the change.

use bft_json_crdt::document::{NewElement, TxError};
use std::collections::HashMap;
use std::sync::Arc;

use super::apply::Author;
use super::container::{Body, Stamp, Up};
use super::sequence::{self, PlaceIdx, Sequence};
use super::{ContainerIdx, Document};
use bft_json_crdt::causality::{Causality, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::ops::{
    self, BuildError, ContainerNo, Direction, Kind, MAX_DEPTH, MAX_KEY_BYTES, Ops, OpsBuilder, Parent, Ref, Source,
    Unit,
};
use bft_json_crdt::value::{Value, ValueError};

/// A local change while it is written. It owns document and graph until [`Tx::finish`].
pub(crate) struct Tx<C> {
    causality: C,
    document: Document,
    change: ChangeIdx,
    builder: OpsBuilder,
    numbers: HashMap<ContainerIdx, ContainerNo>,
    /// The change that was named last, in the form that the protocol wants.
    named: Option<(ChangeId, ChangeIdx, Source)>,
    failed: Option<TxError>,
}

/// What comes out of a transaction.
pub(crate) struct Finished {
    /// The document: with the change applied if `ops` is good, else fit only to be thrown away if `spoilt`.
    pub(crate) document: Document,
    /// The change's operations, or the first error.
    pub(crate) ops: Result<Ops, TxError>,
}

impl<C: Causality> Tx<C> {
    /// Begins. `causality` already knows `change`: its position, lamport (above all others) and past (everything applied). Its id is not known, and is
    /// answered with zeros, until the change is signed; then [`Document::seal`] must follow.
    pub(crate) fn new(causality: C, mut document: Document, change: ChangeIdx) -> Self {
        document.units.begin(change);
        Self {
            causality,
            document,
            change,
            builder: OpsBuilder::new(),
            numbers: HashMap::new(),
            named: None,
            failed: None,
        }
    }

    /// Ends.
    pub(crate) fn finish(self) -> Finished {
        Finished { document: self.document, ops: self.failed.map_or_else(|| Ok(self.builder.finish()), Err) }
    }

    /// The document with everything that was written so far.
    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    /// How many unit operations were written so far.
    pub(crate) fn units(&self) -> u32 {
        self.builder.units()
    }

    /// A map's entry of one kind, made in memory if nothing mentioned it before. Writes nothing: it is present once something is written to it.
    ///
    /// # Errors
    /// `WrongKind` if `map` is not a map, `KeyTooLong`, `TooDeep`, or the first error.
    pub(crate) fn child(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Result<ContainerIdx, TxError> {
        self.attempt(|tx| {
            if let Some(child) = tx.document.child(map, key, kind) {
                return Ok(child);
            }
            if key.len() > MAX_KEY_BYTES {
                return Err(TxError::KeyTooLong(key.len()));
            }
            tx.room_below(map)?;
            tx.document.child_or_make(map, key, kind).ok_or(TxError::WrongKind(tx.document.kind(map)))
        })
    }

    /// Like [`Self::child`], and clears what else is present under the key: the caller is about to write this kind there.
    ///
    /// # Errors
    /// Those of [`Self::child`], and of [`Self::clear`].
    pub(crate) fn put(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Result<ContainerIdx, TxError> {
        let child = self.child(map, key, kind)?;
        let others: Vec<_> = self.document.kinds_present(map, key).filter(|(of, _)| *of != kind).collect();
        for (_, other) in others {
            self.clear(other)?;
        }
        Ok(child)
    }

    /// Clears everything that is present under a key. Answers whether there was anything.
    ///
    /// # Errors
    /// Those of [`Self::clear`].
    pub(crate) fn remove(&mut self, map: ContainerIdx, key: &str) -> Result<bool, TxError> {
        self.attempt(|tx| tx.expect(map, &[Kind::Map]))?;
        let present: Vec<_> = self.document.kinds_present(map, key).collect();
        for (_, child) in &present {
            self.clear(*child)?;
        }
        Ok(!present.is_empty())
    }

    /// Makes an empty container present. Writes nothing if this transaction has done so already, or of the root.
    ///
    /// # Errors
    /// `Deleted`, a bound of changes, or the first error.
    pub(crate) fn ensure(&mut self, container: ContainerIdx) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.attached(container)?;
            let position = tx.causality.position(tx.change);
            if container == ContainerIdx::ROOT || tx.document.at(container).ensures.contains(&position) {
                return Ok(());
            }
            let number = tx.number(container)?;
            tx.builder.push(Unit::Ensure(number)).map_err(refused)?;
            tx.act(|document, author| document.do_ensure(author, container));
            Ok(())
        })
    }

    /// Deletes everything at and below a container. Writes nothing if nothing lives there.
    ///
    /// # Errors
    /// `Deleted`, a bound of changes, or the first error.
    pub(crate) fn clear(&mut self, container: ContainerIdx) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.attached(container)?;
            if !tx.document.at(container).lives() {
                return Ok(());
            }
            let number = tx.number(container)?;
            tx.builder.push(Unit::Clear(number)).map_err(refused)?;
            tx.act(|document, author| document.do_clear(author, container));
            Ok(())
        })
    }

    /// Writes a register or multi-value register.
    ///
    /// # Errors
    /// `WrongKind`, `ValueTooDeep`, `Number`, `Deleted`, a bound of changes, or the first error.
    pub(crate) fn set(&mut self, register: ContainerIdx, value: Value) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(register, &[Kind::Register, Kind::MultiRegister])?;
            let number = tx.number(register)?;
            tx.builder.push(Unit::Set(number, value.clone())).map_err(refused)?;
            tx.act(|document, author| document.do_set(author, register, value));
            Ok(())
        })
    }

    /// Steps a counter.
    ///
    /// # Errors
    /// `WrongKind`, `Deleted`, a bound of changes, or the first error.
    pub(crate) fn add(&mut self, counter: ContainerIdx, step: i64) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(counter, &[Kind::Counter])?;
            let number = tx.number(counter)?;
            tx.builder.push(Unit::Add(number, step)).map_err(refused)?;
            tx.act(|document, author| document.do_add(author, counter, step));
            Ok(())
        })
    }

    /// Inserts a list element before the one at `index` (at the end if `index` is the length).
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `ValueTooDeep`, `Number`, `TooDeep`, `Deleted`, a bound of changes, or the first error.
    pub(crate) fn insert(
        &mut self,
        list: ContainerIdx,
        index: usize,
        element: NewElement,
    ) -> Result<Option<ContainerIdx>, TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            let anchor = tx.anchor_for(list, index)?;
            tx.insert_at(list, anchor, element)
        })
    }

    /// Inserts values one after another, as one run.
    ///
    /// # Errors
    /// Those of [`Self::insert`].
    pub(crate) fn insert_values(
        &mut self,
        list: ContainerIdx,
        index: usize,
        values: Vec<Value>,
    ) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            let anchor = tx.anchor_for(list, index)?;
            if values.is_empty() {
                return Ok(());
            }
            let number = tx.number(list)?;
            let hung = tx.hang(list, anchor)?;
            tx.builder.insert_values(number, hung, values.clone()).map_err(refused)?;
            tx.act(|document, author| document.do_insert_values(author, list, anchor, values.into_iter()));
            Ok(())
        })
    }

    /// Appends a list element.
    ///
    /// # Errors
    /// Those of [`Self::insert`].
    pub(crate) fn push(&mut self, list: ContainerIdx, element: NewElement) -> Result<Option<ContainerIdx>, TxError> {
        let index = self.document.len(list);
        self.insert(list, index, element)
    }

    /// Inserts a list element anchored at the start, so that elements written this way stand in the one order: a log.
    ///
    /// # Errors
    /// Those of [`Self::insert`].
    pub(crate) fn insert_in_order(
        &mut self,
        list: ContainerIdx,
        element: NewElement,
    ) -> Result<Option<ContainerIdx>, TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            tx.insert_at(list, sequence::Anchor::Start, element)
        })
    }

    /// Deletes `len` list elements from an index on.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub(crate) fn delete(&mut self, list: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            tx.delete_range(list, index, len)
        })
    }

    /// Moves the list element at `from` so that it stands at index `to` afterwards.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub(crate) fn move_element(&mut self, list: ContainerIdx, from: usize, to: usize) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            let len = tx.document.len(list);
            if let Some(index) = [from, to].into_iter().find(|index| *index >= len) {
                return Err(TxError::OutOfBounds { index, len });
            }
            if from == to {
                return Ok(());
            }
            let Body::List(body) = &mut tx.document.at_mut(list).body else { return Ok(()) };
            let body = Arc::make_mut(body);
            let Some(place) = body.sequence.place_at(from) else { return Ok(()) };
            let born = body.elements[body.element_of[place.index()] as usize].born;
            // Its new neighbours are those that it has without its old place.
            body.sequence.set_visible(place, false);
            let anchor = body.sequence.anchor_for(to);
            body.sequence.set_visible(place, true);
            let element = tx.name(list, born)?;
            let hung = tx.hang(list, anchor)?;
            tx.builder.push(Unit::Move { element, anchor: hung }).map_err(refused)?;
            tx.act(|document, author| document.do_move(author, list, born, anchor));
            Ok(())
        })
    }

    /// Inserts characters before the one at `index` (at the end if `index` is the length). Indexes count Unicode scalar values.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub(crate) fn text_insert(&mut self, text: ContainerIdx, index: usize, characters: &str) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(text, &[Kind::Text])?;
            let anchor = tx.anchor_for(text, index)?;
            if characters.is_empty() {
                return Ok(());
            }
            let number = tx.number(text)?;
            let hung = tx.hang(text, anchor)?;
            tx.builder.text(number, hung, characters).map_err(refused)?;
            tx.act(|document, author| document.do_text(author, text, anchor, characters));
            Ok(())
        })
    }

    /// Deletes `len` characters from an index on.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub(crate) fn text_delete(&mut self, text: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(text, &[Kind::Text])?;
            tx.delete_range(text, index, len)
        })
    }

    /// Does something unless the transaction has failed, and fails it with what comes of it.
    fn attempt<R>(&mut self, write: impl FnOnce(&mut Self) -> Result<R, TxError>) -> Result<R, TxError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        write(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Applies a unit that was recorded.
    fn act<R>(&mut self, apply: impl FnOnce(&mut Document, &mut Author<'_, C>) -> R) -> R {
        apply(&mut self.document, &mut Author::new(&self.causality, self.change))
    }

    fn attached(&self, container: ContainerIdx) -> Result<(), TxError> {
        if self.document.is_attached(container) { Ok(()) } else { Err(TxError::Deleted) }
    }

    fn expect(&self, container: ContainerIdx, kinds: &[Kind]) -> Result<(), TxError> {
        let kind = self.document.kind(container);
        if !kinds.contains(&kind) {
            return Err(TxError::WrongKind(kind));
        }
        self.attached(container)
    }

    fn room_below(&self, container: ContainerIdx) -> Result<(), TxError> {
        if self.document.depth(container) < MAX_DEPTH { Ok(()) } else { Err(TxError::TooDeep) }
    }

    /// A container's number in this change. Recurses at most to MAX_DEPTH.
    fn number(&mut self, container: ContainerIdx) -> Result<ContainerNo, TxError> {
        if let Some(number) = self.numbers.get(&container) {
            return Ok(*number);
        }
        let held = self.document.at(container);
        let kind = held.kind;
        let parent = match held.up.clone() {
            Up::Root => return Ok(ContainerNo::ROOT),
            Up::Key(map, key) => Parent::Key(self.number(map)?, key),
            Up::Element(list, element) => {
                let born = self.document.list(list).map(|list| list.elements[element as usize].born);
                Parent::Element(self.name(list, born.ok_or(TxError::WrongKind(kind))?)?)
            }
        };
        let number = self.builder.container(parent, kind).map_err(refused)?;
        self.numbers.insert(container, number);
        Ok(number)
    }

    /// How this change names the unit that made a place.
    fn name(&mut self, container: ContainerIdx, place: PlaceIdx) -> Result<Ref, TxError> {
        let stamp = match places(&self.document, container) {
            Some(sequence) => sequence.stamp_of(place),
            None => return Err(TxError::WrongKind(self.document.kind(container))),
        };
        let (_, source) = self.source(&stamp.id)?;
        Ok(Ref { source, offset: stamp.offset })
    }

    /// The number of a change, and how this one names it.
    fn source(&mut self, id: &ChangeId) -> Result<(ChangeIdx, Source), TxError> {
        if let Some((named, change, source)) = self.named
            && named == *id
        {
            return Ok((change, source));
        }
        if *id == self.causality.id(self.change) {
            return Ok((self.change, Source::Own));
        }
        // Places are of applied changes only, so that this finds it.
        let change = self.causality.lookup(id).ok_or(TxError::Build(BuildError::Reference))?;
        let (_, own) = self.causality.position(self.change);
        let steps = own.saturating_sub(self.causality.position(change).1);
        let source = if steps > 0 && self.causality.back(self.change, steps) == Some(change) {
            Source::Back(steps)
        } else {
            self.builder.foreign(*id).map_err(refused)?
        };
        self.named = Some((*id, change, source));
        Ok((change, source))
    }

    fn hang(&mut self, container: ContainerIdx, anchor: sequence::Anchor) -> Result<ops::Anchor, TxError> {
        Ok(match anchor {
            sequence::Anchor::Start => ops::Anchor::Start,
            sequence::Anchor::Right(place) => ops::Anchor::Right(self.name(container, place)?),
            sequence::Anchor::Left(place) => ops::Anchor::Left(self.name(container, place)?),
        })
    }

    fn anchor_for(&self, container: ContainerIdx, index: usize) -> Result<sequence::Anchor, TxError> {
        let len = self.document.len(container);
        if index > len {
            return Err(TxError::OutOfBounds { index, len });
        }
        let sequence = places(&self.document, container);
        sequence.map(|sequence| sequence.anchor_for(index)).ok_or(TxError::WrongKind(self.document.kind(container)))
    }

    fn insert_at(
        &mut self,
        list: ContainerIdx,
        anchor: sequence::Anchor,
        element: NewElement,
    ) -> Result<Option<ContainerIdx>, TxError> {
        let lost = TxError::WrongKind(self.document.kind(list));
        if matches!(element, NewElement::Container(_)) {
            self.room_below(list)?;
        }
        let number = self.number(list)?;
        let hung = self.hang(list, anchor)?;
        let made = match element {
            NewElement::Value(value) => {
                self.builder.insert_values(number, hung, vec![value.clone()]).map_err(refused)?;
                let values = std::iter::once(value);
                let place = self.act(|document, author| document.do_insert_values(author, list, anchor, values));
                place.ok_or(lost)?;
                None
            }
            NewElement::Container(kind) => {
                let element = ops::Element::Container(kind);
                self.builder.push(Unit::Insert { list: number, anchor: hung, element }).map_err(refused)?;
                let made = self.act(|document, author| document.do_insert_container(author, list, anchor, kind));
                Some(made.ok_or(lost)?.1)
            }
        };
        Ok(made)
    }

    fn delete_range(&mut self, container: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
        let held = self.document.len(container);
        if index.checked_add(len).is_none_or(|end| end > held) {
            return Err(TxError::OutOfBounds { index: index.saturating_add(len), len: held });
        }
        let targets: Vec<Stamp> = match &self.document.at(container).body {
            Body::List(list) => {
                let shown = list.sequence.iter_visible_from(index).take(len);
                let born = shown.map(|place| list.elements[list.element_of[place.index()] as usize].born);
                born.map(|place| list.sequence.stamp_of(place)).collect()
            }
            Body::Text(text) => {
                text.sequence.iter_visible_from(index).take(len).map(|place| text.sequence.stamp_of(place)).collect()
            }
            _ => return Err(TxError::WrongKind(self.document.kind(container))),
        };
        let mut rest = &targets[..];
        while let [first, ..] = rest {
            let follows = |forward: bool| {
                let steps = |(n, target): (u32, &&Stamp)| {
                    let expected = if forward { first.offset.checked_add(n) } else { first.offset.checked_sub(n) };
                    target.id == first.id && expected == Some(target.offset)
                };
                (0..).zip(rest).take_while(|(n, target)| steps((*n, target))).count()
            };
            let (forward, backward) = (follows(true), follows(false));
            let direction = if backward > forward { Direction::Backward } else { Direction::Forward };
            let taken = forward.max(backward);
            let last = rest[taken - 1].offset;
            let (first, (change, source)) = (first.offset, self.source(&first.id)?);
            self.builder.delete(Ref { source, offset: first }, taken as u32, direction).map_err(refused)?;
            self.act(|document, author| document.do_delete(author, change, first, last));
            rest = &rest[taken..];
        }
        Ok(())
    }
}

fn places(document: &Document, container: ContainerIdx) -> Option<&Sequence<Stamp>> {
    match &document.at(container).body {
        Body::List(list) => Some(&list.sequence),
        Body::Text(text) => Some(&text.sequence),
        _ => None,
    }
}

/// As the engine of the crate tells it.
fn refused(error: BuildError) -> TxError {
    match error {
        BuildError::TooManyUnits => TxError::TooManyUnits,
        BuildError::TooLong => TxError::TooManyBytes,
        BuildError::Value(ValueError::TooDeep(_)) => TxError::ValueTooDeep,
        BuildError::Value(ValueError::IntegerRange | ValueError::NotFinite) => TxError::Number,
        other => TxError::Build(other),
    }
}
