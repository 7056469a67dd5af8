//! Local writing: a transaction whose units are applied as they are written, so that reads inside see them, and recorded for the change.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
pub(crate) mod record;
pub(crate) mod take_back;

use thiserror::Error;

use super::apply::{Author, Scope};
use super::container::Up;
use super::keys::KeyNo;
use super::sequence::{self, PlaceIdx, Sequence};
use super::{ContainerIdx, Document, ElementId, Event};
use crate::causality::{Causality, ChangeIdx};
use crate::ops::{
    self, BuildError, BuilderMark, ContainerEntry, ContainerNo, Direction, Kind, MAX_DEPTH, MAX_KEY_BYTES, Ops,
    OpsBuilder, Parent, Ref, Source, Unit,
};
use crate::value::{Value, ValueError};

/// Why a transaction cannot become a change. The first error stands: all later writes of the transaction answer with it, and nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TxError {
    /// A map key is longer than [`crate::ops::MAX_KEY_BYTES`].
    #[error("a map key of {0} bytes is too long")]
    KeyTooLong(usize),
    /// The container would lie deeper than [`crate::ops::MAX_DEPTH`].
    #[error("the container would lie too deep")]
    TooDeep,
    /// A value nests deeper than the protocol allows.
    #[error("the value nests too deep")]
    ValueTooDeep,
    /// A value holds an integer outside −2⁶³ … 2⁶⁴ − 1, or a float that is not finite.
    #[error("the value holds a number that the protocol cannot carry")]
    Number,
    /// More than [`crate::ops::MAX_UNITS`] unit operations.
    #[error("the transaction has too many operations for one change")]
    TooManyUnits,
    /// More than [`crate::change::MAX_OPS_BYTES`] bytes.
    #[error("the transaction has too many bytes for one change")]
    TooManyBytes,
    /// An index beyond the end.
    #[error("index {index} is beyond the length {len}")]
    OutOfBounds {
        /// The index.
        index: usize,
        /// The length.
        len: usize,
    },
    /// The operation does not fit a container of this kind, or the root.
    #[error("the operation does not fit a container of kind {0:?}")]
    WrongKind(Kind),
    /// The container lies in a deleted list element, or the element is deleted: writing would have no effect for ever.
    #[error("the list element is deleted")]
    Deleted,
    /// The operations refuse it for another reason.
    #[error(transparent)]
    Build(BuildError),
    /// A layer above gave the transaction up.
    #[error("the transaction was given up")]
    Aborted,
}

/// What a list element shall be.
#[derive(Debug, Clone, PartialEq)]
pub enum NewElement {
    /// A value that never changes.
    Value(Value),
    /// An empty container.
    Container(Kind),
}

/// A list element that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// Its name, stable across moves.
    pub element: ElementId,
    /// What it holds, unless it is a value.
    pub container: Option<ContainerIdx>,
}

/// A local change while it is written. It owns document and graph until [`Tx::finish`].
pub struct Tx<C = crate::dag::Dag> {
    causality: C,
    document: Document,
    scope: Scope,
    builder: OpsBuilder,
    numbers: Numbers,
    /// The change that was named last, in the form that the protocol wants.
    named: Option<(ChangeIdx, Source)>,
    /// The place that was made last, and by which of this change's units: the next one mostly stands beside it.
    made: Option<(ContainerIdx, u32, u32)>,
    /// Room for what a delete is made of.
    targets: Vec<(ChangeIdx, u32, Range<u32>)>,
    failed: Option<TxError>,
    events: Option<Vec<Event>>,
    /// What is done, if it shall be possible to take it back.
    recorder: Option<Box<record::Recorder>>,
}

/// The numbers of containers in the change.
#[derive(Default)]
struct Numbers {
    /// The one that was asked for last.
    last: Option<(ContainerIdx, ContainerNo)>,
    all: HashMap<ContainerIdx, ContainerNo, BuildHasherDefault<Mix>>,
    /// The keys that the change's entries have.
    keys: HashSet<KeyNo, BuildHasherDefault<Mix>>,
    /// The builder may hold entries that are missing here.
    rewound: bool,
}

/// Mixes container numbers, which are the document's own and which nobody can choose at will.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // Fibonacci hashing, with the high bits brought down for tables that look at the low ones.
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

impl Numbers {
    fn find(&mut self, container: ContainerIdx) -> Option<ContainerNo> {
        if let Some((last, number)) = self.last
            && last == container
        {
            return Some(number);
        }
        let number = *self.all.get(&container)?;
        self.last = Some((container, number));
        Some(number)
    }

    fn add(&mut self, container: ContainerIdx, number: ContainerNo) {
        self.all.insert(container, number);
        self.last = Some((container, number));
    }
}

/// What comes out of a transaction.
pub struct Finished<C> {
    /// The graph, as it went in.
    pub causality: C,
    /// The document: with the change applied if `ops` is good, else fit only to be thrown away if `spoilt`.
    pub document: Document,
    /// The change's operations, or the first error.
    pub ops: Result<Ops, TxError>,
    /// Whether the document holds units of a failed transaction, so that it must be rebuilt.
    pub spoilt: bool,
    /// What happened, in order; empty unless [`Tx::with_events`] asked for it.
    pub events: Vec<Event>,
}

impl<C: Causality> Tx<C> {
    /// Begins. `causality` already knows `change`: its position, lamport (above all others) and past (everything applied). Its id is not known, and is
    /// answered with zeros, until the change is signed.
    pub fn new(causality: C, mut document: Document, change: ChangeIdx) -> Self {
        document.units.begin(change);
        Self {
            causality,
            document,
            scope: Scope::open(change),
            builder: OpsBuilder::new(),
            numbers: Numbers::default(),
            named: None,
            made: None,
            targets: Vec::new(),
            failed: None,
            events: None,
            recorder: None,
        }
    }

    /// Asks for events.
    #[must_use]
    pub fn with_events(mut self) -> Self {
        self.events = Some(Vec::new());
        self
    }

    /// Ends.
    pub fn finish(self) -> Finished<C> {
        let spoilt = self.failed.is_some() && self.document.units.end() > 0;
        Finished {
            causality: self.causality,
            document: self.document,
            ops: self.failed.map_or_else(|| Ok(self.builder.finish()), Err),
            spoilt,
            events: self.events.unwrap_or_default(),
        }
    }

    /// The document with everything that was written so far.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The graph.
    pub fn causality(&self) -> &C {
        &self.causality
    }

    /// How many unit operations were written so far.
    pub fn units(&self) -> u32 {
        self.builder.units()
    }

    /// An upper bound of the bytes that they take in the change, close to it.
    pub fn bytes(&self) -> usize {
        self.builder.bytes()
    }

    /// Exchanges graph and document with others: so a transaction is parked (it gives back what it owns, for empty ones) and taken up again.
    pub(crate) fn exchange(&mut self, causality: &mut C, document: &mut Document) {
        std::mem::swap(&mut self.causality, causality);
        std::mem::swap(&mut self.document, document);
    }

    /// What happened since the last call, if events were asked for.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Where the recorded operations stand, to come back to with [`Tx::rewind`].
    pub(crate) fn mark(&self) -> BuilderMark {
        self.builder.mark()
    }

    /// Forgets what was recorded and told since the mark, and the first error. What was applied since is for the caller to take out of the document.
    pub(crate) fn rewind(&mut self, mark: &BuilderMark) {
        self.builder.rewind(mark);
        // The document that it goes on upon may number containers and places anew.
        self.numbers = Numbers { rewound: true, ..Numbers::default() };
        self.scope = Scope::open(self.scope.change);
        self.named = None;
        self.made = None;
        self.failed = None;
        self.recorder = None;
        self.take_events();
    }

    /// The operations recorded so far.
    pub(crate) fn recorded(&self) -> Ops {
        self.builder.clone().finish()
    }

    /// The first error, after which nothing more is written.
    pub fn error(&self) -> Option<&TxError> {
        self.failed.as_ref()
    }

    /// Fails the transaction (for layers above, whose own errors shall undo it too); the first error stands.
    pub fn fail(&mut self, error: TxError) {
        self.failed.get_or_insert(error);
    }

    /// A map's entry of one kind, made in memory if nothing mentioned it before. Writes nothing: it is present once something is written to it.
    ///
    /// # Errors
    /// `WrongKind` if `map` is not a map, `KeyTooLong`, `TooDeep`, or the first error.
    pub fn child(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Result<ContainerIdx, TxError> {
        self.attempt(|tx| Ok(tx.entry(map, key, kind)?.1))
    }

    /// Like [`Self::child`], and clears what else is present under the key: the caller is about to write this kind there.
    ///
    /// # Errors
    /// Those of [`Self::child`], and of [`Self::clear`].
    pub fn put(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Result<ContainerIdx, TxError> {
        let (key, child) = self.attempt(|tx| tx.entry(map, key, kind))?;
        let Document { containers, keys, .. } = &self.document;
        let slot = self.document.map(map).map(|map| map.slot(containers, keys, key)).unwrap_or_default();
        for (of, other) in slot {
            if of != kind && self.document.at(other).lives() {
                self.clear(other)?;
            }
        }
        Ok(child)
    }

    /// Clears everything that is present under a key. Answers whether there was anything.
    ///
    /// # Errors
    /// Those of [`Self::clear`].
    pub fn remove(&mut self, map: ContainerIdx, key: &str) -> Result<bool, TxError> {
        self.attempt(|tx| tx.expect(map, &[Kind::Map]))?;
        let present: SmallVec<[_; 2]> = self.document.kinds_present(map, key).collect();
        for (_, child) in &present {
            self.clear(*child)?;
        }
        Ok(!present.is_empty())
    }

    /// Makes an empty container present. Writes nothing if this transaction has done so already, or of the root.
    ///
    /// # Errors
    /// `Deleted`, a bound of changes, or the first error.
    pub fn ensure(&mut self, container: ContainerIdx) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.attached(container)?;
            let Scope { branch, seq, .. } = tx.scope;
            if container == ContainerIdx::ROOT || tx.document.uncovered.ensured(container, branch) == Some(seq) {
                return Ok(());
            }
            let number = tx.number(container)?;
            tx.note_appearing(container);
            tx.builder.push(Unit::Ensure(number))?;
            tx.act(|document, author| document.do_ensure(author, container));
            Ok(())
        })
    }

    /// Deletes everything at and below a container. Writes nothing if nothing lives there.
    ///
    /// # Errors
    /// `Deleted`, a bound of changes, or the first error.
    pub fn clear(&mut self, container: ContainerIdx) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.attached(container)?;
            if !tx.document.at(container).lives() {
                return Ok(());
            }
            let number = tx.number(container)?;
            tx.note_clear(container);
            tx.builder.push(Unit::Clear(number))?;
            tx.act(|document, author| document.do_clear(author, container));
            Ok(())
        })
    }

    /// Writes a register or multi-value register.
    ///
    /// # Errors
    /// `WrongKind`, `ValueTooDeep`, `Number`, `Deleted`, a bound of changes, or the first error.
    pub fn set(&mut self, register: ContainerIdx, value: Value) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(register, &[Kind::Register, Kind::MultiRegister])?;
            let number = tx.number(register)?;
            tx.note_set(register, &value);
            tx.builder.push(Unit::Set(number, value.clone()))?;
            tx.act(|document, author| document.do_set(author, register, value));
            Ok(())
        })
    }

    /// Steps a counter.
    ///
    /// # Errors
    /// `WrongKind`, `Deleted`, a bound of changes, or the first error.
    pub fn add(&mut self, counter: ContainerIdx, step: i64) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(counter, &[Kind::Counter])?;
            let number = tx.number(counter)?;
            tx.note_add(counter, step);
            tx.builder.push(Unit::Add(number, step))?;
            tx.act(|document, author| document.do_add(author, counter, step));
            Ok(())
        })
    }

    /// Inserts a list element before the one at `index` (at the end if `index` is the length).
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `ValueTooDeep`, `Number`, `TooDeep`, `Deleted`, a bound of changes, or the first error.
    pub fn insert(&mut self, list: ContainerIdx, index: usize, element: NewElement) -> Result<Inserted, TxError> {
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
    pub fn insert_values(&mut self, list: ContainerIdx, index: usize, values: Vec<Value>) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            let anchor = tx.anchor_for(list, index)?;
            if values.is_empty() {
                return Ok(());
            }
            let number = tx.number(list)?;
            let hung = tx.hang(list, anchor)?;
            tx.note_inserted(list, values.len());
            tx.builder.insert_values(number, hung, values.clone())?;
            let last = values.len() as u32 - 1;
            let first = tx.act(|document, author| document.do_insert_values(author, list, anchor, values.into_iter()));
            tx.made(list, first.map(|first| first + last));
            Ok(())
        })
    }

    /// Appends a list element.
    ///
    /// # Errors
    /// Those of [`Self::insert`].
    pub fn push(&mut self, list: ContainerIdx, element: NewElement) -> Result<Inserted, TxError> {
        let index = self.document.len(list);
        self.insert(list, index, element)
    }

    /// Inserts a list element anchored at the start, so that elements written this way stand in the one order: a log.
    ///
    /// # Errors
    /// Those of [`Self::insert`].
    pub fn insert_in_order(&mut self, list: ContainerIdx, element: NewElement) -> Result<Inserted, TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            tx.insert_at(list, sequence::Anchor::Start, element)
        })
    }

    /// Deletes `len` list elements from an index on.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub fn delete(&mut self, list: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            tx.delete_range(list, index, len)
        })
    }

    /// Moves the list element at `from` so that it stands at index `to` afterwards.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub fn move_element(&mut self, list: ContainerIdx, from: usize, to: usize) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(list, &[Kind::List])?;
            let len = tx.document.len(list);
            if let Some(index) = [from, to].into_iter().find(|index| *index >= len) {
                return Err(TxError::OutOfBounds { index, len });
            }
            if from == to {
                return Ok(());
            }
            let body = tx.document.list_mut(list);
            let Some(place) = body.sequence.place_at(from) else { return Ok(()) };
            let number = place.index() as u32;
            let born = body.born(number);
            // Its new neighbours are those that it has without its old place.
            body.sequence.hide(&(), number..number + 1, None);
            let anchor = body.sequence.anchor_for(to);
            body.sequence.show(&(), place);
            let element = tx.name(list, PlaceIdx::from_number(born))?;
            let hung = tx.hang(list, anchor)?;
            tx.note_move(list, from);
            tx.builder.push(Unit::Move { element, anchor: hung })?;
            tx.act(|document, author| document.do_move(author, list, born, anchor));
            Ok(())
        })
    }

    /// Inserts characters before the one at `index` (at the end if `index` is the length). Indexes count Unicode scalar values.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub fn text_insert(&mut self, text: ContainerIdx, index: usize, characters: &str) -> Result<(), TxError> {
        self.attempt(|tx| {
            tx.expect(text, &[Kind::Text])?;
            let anchor = tx.anchor_for(text, index)?;
            if characters.is_empty() {
                return Ok(());
            }
            let number = tx.number(text)?;
            let hung = tx.hang(text, anchor)?;
            tx.note_text(text, characters);
            let before = tx.builder.units();
            tx.builder.text(number, hung, characters)?;
            let len = tx.builder.units() - before;
            let first = tx.act(|document, author| document.do_text(author, text, anchor, characters));
            tx.made(text, first.map(|first| first + len - 1));
            Ok(())
        })
    }

    /// Deletes `len` characters from an index on.
    ///
    /// # Errors
    /// `WrongKind`, `OutOfBounds`, `Deleted`, a bound of changes, or the first error.
    pub fn text_delete(&mut self, text: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
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
        self.scope.locate(&self.causality);
        write(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Applies a unit that was recorded.
    fn act<R>(&mut self, apply: impl FnOnce(&mut Document, &mut Author<'_, C>) -> R) -> R {
        let Self { causality, document, scope, events, .. } = self;
        apply(document, &mut Author { causality, scope, events: events.as_mut() })
    }

    /// Takes note of the place that the unit before made.
    fn made(&mut self, container: ContainerIdx, place: Option<u32>) {
        self.made = place.map(|place| (container, place, self.builder.units() - 1));
    }

    /// The entry of a map, made if nothing mentioned it before, with its key's number.
    fn entry(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Result<(KeyNo, ContainerIdx), TxError> {
        let document = &mut self.document;
        let held = document.at(map);
        if key.len() > MAX_KEY_BYTES {
            return Err(TxError::KeyTooLong(key.len()));
        }
        if held.kind != Kind::Map {
            return Err(TxError::WrongKind(held.kind));
        }
        let depth = u32::from(held.depth);
        let key = document.keys.intern(key, || key.into());
        if depth >= MAX_DEPTH {
            return Err(TxError::TooDeep);
        }
        Ok((key, document.child_or_make(map, key, kind)))
    }

    fn attached(&self, container: ContainerIdx) -> Result<(), TxError> {
        if self.document.is_attached(container) { Ok(()) } else { Err(TxError::Deleted) }
    }

    #[inline]
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
        if let Some(number) = self.numbers.find(container) {
            return Ok(number);
        }
        let held = *self.document.at(container);
        let kind = held.kind;
        let (parent, new_key) = match held.up() {
            Up::Root => return Ok(ContainerNo::ROOT),
            Up::Key(map, key) => {
                let map = self.number(map)?;
                (Parent::Key(map, Arc::clone(self.document.keys.name(key))), self.numbers.keys.insert(key))
            }
            Up::Element(list, born) => (Parent::Element(self.name(list, PlaceIdx::from_number(born))?), false),
        };
        let number = if self.numbers.rewound {
            self.builder.container(parent, kind)?
        } else {
            self.builder.new_container(ContainerEntry { parent, kind }, new_key)?
        };
        self.numbers.add(container, number);
        Ok(number)
    }

    /// How this change names the unit that made a place.
    #[inline]
    fn name(&mut self, container: ContainerIdx, place: PlaceIdx) -> Result<Ref, TxError> {
        if let Some((of, made, offset)) = self.made
            && made == place.index() as u32
            && of == container
        {
            return Ok(Ref { source: Source::Own, offset });
        }
        let (change, offset) = match places(&self.document, container) {
            Some(sequence) => sequence.origin_of(place),
            None => return Err(TxError::WrongKind(self.document.kind(container))),
        };
        Ok(Ref { source: self.source(change)?, offset })
    }

    /// How this change names another, or itself.
    fn source(&mut self, change: ChangeIdx) -> Result<Source, TxError> {
        if change == self.scope.change {
            return Ok(Source::Own);
        }
        if let Some((named, source)) = self.named
            && named == change
        {
            return Ok(source);
        }
        let steps = self.scope.seq.saturating_sub(self.causality.position(change).1);
        let source = if steps > 0 && self.causality.back(self.scope.change, steps) == Some(change) {
            Source::Back(steps)
        } else {
            self.builder.foreign(self.causality.id(change))?
        };
        self.named = Some((change, source));
        Ok(source)
    }

    fn hang(&mut self, container: ContainerIdx, anchor: sequence::Anchor) -> Result<ops::Anchor, TxError> {
        Ok(match anchor {
            sequence::Anchor::Start => ops::Anchor::Start,
            sequence::Anchor::Right(place) => ops::Anchor::Right(self.name(container, place)?),
            sequence::Anchor::Left(place) => ops::Anchor::Left(self.name(container, place)?),
        })
    }

    fn anchor_for(&mut self, container: ContainerIdx, index: usize) -> Result<sequence::Anchor, TxError> {
        let len = self.document.len(container);
        if index > len {
            return Err(TxError::OutOfBounds { index, len });
        }
        match self.document.kind(container) {
            Kind::List => Ok(self.document.list_mut(container).sequence.anchor_for(index)),
            Kind::Text => Ok(self.document.text_mut(container).sequence.anchor_for(index)),
            kind => Err(TxError::WrongKind(kind)),
        }
    }

    fn insert_at(
        &mut self,
        list: ContainerIdx,
        anchor: sequence::Anchor,
        element: NewElement,
    ) -> Result<Inserted, TxError> {
        if matches!(element, NewElement::Container(_)) {
            self.room_below(list)?;
        }
        let number = self.number(list)?;
        let hung = self.hang(list, anchor)?;
        self.note_inserted(list, 1);
        let (born, container) = match element {
            NewElement::Value(value) => {
                self.builder.insert_value(number, hung, value.clone())?;
                let values = std::iter::once(value);
                let born = self.act(|document, author| document.do_insert_values(author, list, anchor, values));
                (born.ok_or(TxError::WrongKind(Kind::List))?, None)
            }
            NewElement::Container(kind) => {
                let element = ops::Element::Container(kind);
                self.builder.push(Unit::Insert { list: number, anchor: hung, element })?;
                let (born, container) =
                    self.act(|document, author| document.do_insert_container(author, list, anchor, kind));
                (born, Some(container))
            }
        };
        self.made(list, Some(born));
        Ok(Inserted { element: ElementId(born), container })
    }

    fn delete_range(&mut self, container: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
        let held = self.document.len(container);
        if index.checked_add(len).is_none_or(|end| end > held) {
            return Err(TxError::OutOfBounds { index: index.saturating_add(len), len: held });
        }
        self.note_delete(container, index, len);
        let mut targets = std::mem::take(&mut self.targets);
        self.document.pieces(container, index, len, |change, offset, places| targets.push((change, offset, places)));
        let mut told = self.events.is_some().then(Vec::new);
        for (change, offset, places) in targets.drain(..) {
            let source = self.source(change)?;
            let len = places.end - places.start;
            // The builder joins what makes one run, forward or backward.
            self.builder.delete(Ref { source, offset }, len, Direction::Forward)?;
            self.document.do_delete_places(container, places, told.as_mut());
        }
        self.targets = targets;
        if let Some(told) = told {
            self.act(|document, author| document.tell_deleted(author, container, told));
        }
        Ok(())
    }
}

fn places(document: &Document, container: ContainerIdx) -> Option<&Sequence> {
    match document.kind(container) {
        Kind::List => document.list(container).map(|list| &list.sequence),
        Kind::Text => document.text_body(container).map(|text| &text.sequence),
        _ => None,
    }
}

impl From<BuildError> for TxError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::TooManyUnits => TxError::TooManyUnits,
            BuildError::TooLong => TxError::TooManyBytes,
            BuildError::Value(ValueError::TooDeep(_)) => TxError::ValueTooDeep,
            BuildError::Value(ValueError::IntegerRange | ValueError::NotFinite) => TxError::Number,
            other => TxError::Build(other),
        }
    }
}
