//! Local writing: a transaction whose units are applied as they are written, so that reads inside see them, and recorded for the change.

use thiserror::Error;

use super::{ContainerIdx, Document, ElementId, Event};
use crate::causality::{Causality, ChangeIdx};
use crate::ops::{Kind, Ops};
use crate::value::Value;

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
pub struct Tx<C = Box<dyn Causality + Send + Sync>> {
    causality: C,
    document: Document,
    change: ChangeIdx,
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
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl<C: Causality> Tx<C> {
    /// Begins. `causality` already knows `change`: its position, lamport (above all others) and past (everything applied). Its id is not known, and is
    /// answered with zeros, until the change is signed; then [`Document::seal`] must follow.
    pub fn new(causality: C, document: Document, change: ChangeIdx) -> Self {
        Self { causality, document, change }
    }

    /// Ends.
    pub fn finish(self) -> Finished<C> {
        let _ = self.change;
        todo!()
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
        todo!()
    }

    /// The first error, after which nothing more is written.
    pub fn error(&self) -> Option<&TxError> {
        todo!()
    }

    /// Fails the transaction (for layers above, whose own errors shall undo it too); the first error stands.
    pub fn fail(&mut self, error: TxError) {
        let _ = error;
        todo!()
    }

    /// A map's entry of one kind, made in memory if nothing mentioned it before. Writes nothing: it is present once something is written to it.
    ///
    /// # Errors
    /// `WrongKind` if `map` is not a map, `KeyTooLong`, `TooDeep`, or the first error.
    pub fn child(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Result<ContainerIdx, TxError> {
        let _ = (map, key, kind);
        todo!()
    }

    /// Like [`Self::child`], and clears what else is present under the key: the caller is about to write this kind there.
    pub fn put(&mut self, map: ContainerIdx, key: &str, kind: Kind) -> Result<ContainerIdx, TxError> {
        let _ = (map, key, kind);
        todo!()
    }

    /// Clears everything that is present under a key. Answers whether there was anything.
    pub fn remove(&mut self, map: ContainerIdx, key: &str) -> Result<bool, TxError> {
        let _ = (map, key);
        todo!()
    }

    /// Makes an empty container present. Writes nothing if it already is, by an ensure that a concurrent deletion could not outlive.
    pub fn ensure(&mut self, container: ContainerIdx) -> Result<(), TxError> {
        let _ = container;
        todo!()
    }

    /// Deletes everything at and below a container.
    pub fn clear(&mut self, container: ContainerIdx) -> Result<(), TxError> {
        let _ = container;
        todo!()
    }

    /// Writes a register or multi-value register.
    pub fn set(&mut self, register: ContainerIdx, value: Value) -> Result<(), TxError> {
        let _ = (register, value);
        todo!()
    }

    /// Steps a counter.
    pub fn add(&mut self, counter: ContainerIdx, step: i64) -> Result<(), TxError> {
        let _ = (counter, step);
        todo!()
    }

    /// Inserts a list element before the one at `index` (at the end if `index` is the length).
    pub fn insert(&mut self, list: ContainerIdx, index: usize, element: NewElement) -> Result<Inserted, TxError> {
        let _ = (list, index, element);
        todo!()
    }

    /// Inserts values one after another, as one run.
    pub fn insert_values(&mut self, list: ContainerIdx, index: usize, values: Vec<Value>) -> Result<(), TxError> {
        let _ = (list, index, values);
        todo!()
    }

    /// Appends a list element.
    pub fn push(&mut self, list: ContainerIdx, element: NewElement) -> Result<Inserted, TxError> {
        let index = self.document.len(list);
        self.insert(list, index, element)
    }

    /// Inserts a list element anchored at the start, so that elements written this way stand in the one order: a log.
    pub fn insert_in_order(&mut self, list: ContainerIdx, element: NewElement) -> Result<Inserted, TxError> {
        let _ = (list, element);
        todo!()
    }

    /// Deletes `len` list elements from an index on.
    pub fn delete(&mut self, list: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
        let _ = (list, index, len);
        todo!()
    }

    /// Moves the list element at `from` so that it stands at index `to` afterwards.
    pub fn move_element(&mut self, list: ContainerIdx, from: usize, to: usize) -> Result<(), TxError> {
        let _ = (list, from, to);
        todo!()
    }

    /// Inserts characters before the one at `index` (at the end if `index` is the length). Indexes count Unicode scalar values.
    pub fn text_insert(&mut self, text: ContainerIdx, index: usize, characters: &str) -> Result<(), TxError> {
        let _ = (text, index, characters);
        todo!()
    }

    /// Deletes `len` characters from an index on.
    pub fn text_delete(&mut self, text: ContainerIdx, index: usize, len: usize) -> Result<(), TxError> {
        let _ = (text, index, len);
        todo!()
    }
}
