//! What a handle stands on while a closure runs: the transaction or the replica that is read.
//!
//! `transact` moves the transaction (with document and graph inside) into a [`Session`], `read` lends it a share of the replica; a guard
//! takes it back when the closure returns or panics. Handles own no lifetime, so one that is smuggled out of its closure finds the session
//! closed: it reads defaults and writes nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::error::TransactError;
use super::typing::{Typing, count};
use crate::dag::Dag;
use crate::document::{ContainerIdx, Document, Tx, TxError};
use crate::replica::Replica;

/// A transaction of a replica.
pub(crate) type LocalTx = Tx<Dag>;

/// One run of a closure.
#[derive(Default)]
pub(crate) struct Session {
    state: RefCell<State>,
}

#[derive(Default)]
enum State {
    /// The closure has returned.
    #[default]
    Closed,
    /// A closure reads.
    Reading(Arc<Replica>),
    /// A closure writes.
    Writing {
        tx: Box<LocalTx>,
        /// The first failure of this layer. (Those of the transaction's own stay inside it.)
        error: Option<TransactError>,
        /// What was typed and the transaction does not know of yet.
        typing: Typing,
    },
}

impl Session {
    /// A session that reads.
    pub(crate) fn reading(replica: Arc<Replica>) -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(State::Reading(replica)) })
    }

    /// A session that writes.
    pub(crate) fn writing(tx: Box<LocalTx>) -> Rc<Self> {
        Rc::new(Self { state: RefCell::new(State::Writing { tx, error: None, typing: Typing::default() }) })
    }

    /// Ends the session; answers the transaction if it was one that writes.
    pub(crate) fn close(&self) -> Option<(Box<LocalTx>, Option<TransactError>)> {
        // No borrow can be alive: all are confined to `read` and `write`, whose closures call no foreign code.
        let state = self.state.try_borrow_mut().map(|mut state| std::mem::take(&mut *state));
        match state {
            Ok(State::Writing { mut tx, error, mut typing }) => {
                typing.settle(&mut tx);
                Some((tx, error))
            }
            _ => None,
        }
    }

    /// Looks at the document, own writes included; `None` once the session is closed.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&Document) -> R) -> Option<R> {
        let mut state = self.state.try_borrow().ok()?;
        if matches!(&*state, State::Writing { typing, .. } if typing.is_ahead()) {
            drop(state);
            self.settle();
            state = self.state.try_borrow().ok()?;
        }
        match &*state {
            State::Closed => None,
            State::Reading(replica) => Some(f(replica.document())),
            State::Writing { tx, .. } => Some(f(tx.document())),
        }
    }

    /// Writes. After the first failure nothing more is written; in a session that is closed or reads, nothing is.
    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut LocalTx) -> Result<R, TxError>) -> Option<R> {
        let mut state = self.state.try_borrow_mut().ok()?;
        match &mut *state {
            // The transaction keeps its first error itself.
            State::Writing { tx, error: None, typing } => {
                typing.settle(tx);
                f(tx).ok()
            }
            _ => None,
        }
    }

    /// Inserts characters into a text, now or (if they go on where the last ones ended) before anything else is read or written.
    pub(crate) fn text_insert(&self, text: ContainerIdx, index: usize, characters: &str) -> Option<()> {
        let mut state = self.state.try_borrow_mut().ok()?;
        let State::Writing { tx, error: None, typing } = &mut *state else { return None };
        if typing.goes_on(text, index, characters) {
            return Some(());
        }
        typing.settle(tx);
        tx.text_insert(text, index, characters).ok()?;
        typing.inserted(text, index + count(characters));
        Some(())
    }

    /// Deletes characters of a text, like [`Session::text_insert`].
    pub(crate) fn text_delete(&self, text: ContainerIdx, index: usize, len: usize) -> Option<()> {
        let mut state = self.state.try_borrow_mut().ok()?;
        let State::Writing { tx, error: None, typing } = &mut *state else { return None };
        if typing.deletes_on(text, index, len) {
            return Some(());
        }
        typing.settle(tx);
        tx.text_delete(text, index, len).ok()?;
        typing.deleted(text, index, tx.document().len(text));
        Some(())
    }

    /// Hands what was typed to the transaction.
    fn settle(&self) {
        if let Ok(mut state) = self.state.try_borrow_mut()
            && let State::Writing { tx, typing, .. } = &mut *state
        {
            typing.settle(tx);
        }
    }

    /// Fails the transaction for a reason of this layer; the first one stands.
    pub(crate) fn fail(&self, failure: TransactError) {
        if let Ok(mut state) = self.state.try_borrow_mut()
            && let State::Writing { tx, error: error @ None, typing } = &mut *state
        {
            typing.settle(tx);
            if tx.error().is_none() {
                *error = Some(failure);
            }
        }
    }

    /// Whether writing can still have an effect.
    pub(crate) fn is_writing(&self) -> bool {
        self.state.try_borrow().is_ok_and(|state| matches!(&*state, State::Writing { error: None, .. }))
    }
}
