//! Undo and redo of one's own edits, while others go on writing.
//!
//! An [`UndoManager`] records what edits made through it did. To undo is to write an ordinary new change that takes exactly that back, and to redo is to
//! take the undo back. Nothing is ever removed from the history.
//!
//! | own edit | undo | what others did meanwhile |
//! |---|---|---|
//! | inserted characters or elements | deletes what of them still stands | theirs, in between too, stays |
//! | deleted characters or elements | inserts the same content where it stood: next to what is left there | stays in between; edits within a deleted element were lost with it |
//! | wrote a register | writes the value from before, or deletes it if there was none | if their write shows it stays; if theirs was hidden by the own one, it shows |
//! | stepped a counter | steps back | their steps stay |
//! | moved an element | moves it back to where it stood | if they moved it since it stays; if they deleted it, too |
//! | deleted an entry, cleared a container, replaced a node | writes again what lived in it | what they wrote there since stays |
//!
//! What an edit made present is gone again afterwards, unless somebody else has written to it.
//!
//! **Limits.** What is put back is new to the document: it has a new place and a new author, and of the concurrent values of a multi-value register only
//! the greatest comes back. If two members delete the same and both undo it, it comes back twice: an operation cannot say that it revives another.
//! What an undo has to write must fit into one change.

use std::collections::VecDeque;

use super::base::{BaseCrdt, Commit};
use super::error::TransactError;
use super::gather::{BatchWriter, Edited};
use super::node::{CrdtContainer, CrdtNode as _};
use super::place::Place;
use crate::change::DocumentId;
use crate::document::{Effect, Reborn};
use crate::identity::AuthorId;
use crate::replica::Replica;

/// How much an [`UndoManager`] remembers, and what it takes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UndoBounds {
    /// Steps that can be undone. The oldest is forgotten first.
    pub steps: usize,
    /// About how many bytes of memory all steps take together, those that can be redone too.
    pub bytes: usize,
    /// Edits with less than so many milliseconds from one to the next are one step; 0 makes each edit a step.
    pub group_ms: u64,
}

impl UndoBounds {
    /// What editors offer; nobody goes back further by single steps.
    pub const STEPS: usize = 100;
    /// Deleting a whole long document can still be undone.
    pub const BYTES: usize = 16 << 20;
    /// A burst of typing is a step, a pause ends it.
    pub const GROUP_MS: u64 = 500;
}

impl Default for UndoBounds {
    fn default() -> Self {
        Self { steps: Self::STEPS, bytes: Self::BYTES, group_ms: Self::GROUP_MS }
    }
}

/// Most names of things that were put back, so that older steps find them. When there are more (after tens of thousands of undos and redos), everything is
/// forgotten: [`UndoBounds`] bounds the steps, but not how often they go back and forth.
const MAX_REBORN: usize = 1 << 16;

/// Undoes and redoes the edits that are made through it.
///
/// | own edit | undo | what others did meanwhile |
/// |---|---|---|
/// | inserted characters or elements | deletes what of them still stands | theirs, in between too, stays |
/// | deleted characters or elements | inserts the same content where it stood: next to what is left there | stays in between; edits within a deleted element were lost with it |
/// | wrote a register | writes the value from before, or deletes it if there was none | if their write shows it stays; if theirs was hidden by the own one, it shows |
/// | stepped a counter | steps back | their steps stay |
/// | moved an element | moves it back to where it stood | if they moved it since it stays; if they deleted it, too |
/// | deleted an entry, cleared a container, replaced a node | writes again what lived in it | what they wrote there since stays |
///
/// Each undo and redo is an ordinary change, to be stored and sent like any other. It works upon a [`BaseCrdt`] or a [`BatchWriter`]; other edits of the same
/// author, made past the manager, are nobody else's and nevertheless stay.
///
/// ```
/// use bft_json_crdt::{BaseCrdt, CrdtNode, GatherBounds, TextCrdt, UndoManager, change::DocumentId, identity::Keypair};
///
/// #[derive(CrdtNode)]
/// struct Page { body: TextCrdt }
///
/// let new = |seed| BaseCrdt::<Page>::new(DocumentId([1; 32]), Keypair::from_seed(&[seed; 32]));
/// let (mut ann, mut bob) = (new(1), new(2));
/// let mut undo = UndoManager::default();
///
/// bob.apply(undo.edit(&mut ann, 0, |p| p.body.push("hello world"))?)?;
/// undo.mark(); // what comes now is a step of its own, though no time has passed
/// bob.apply(undo.edit(&mut ann, 0, |p| p.body.delete(0, 6))?)?;
/// ann.apply(bob.transact(0, |p| p.body.push("!"))?)?;
/// assert_eq!(ann.read(|p| p.body.get()), "world!");
///
/// let change = undo.undo(&mut ann, 0)?.expect("there was something to undo");
/// assert_eq!(ann.read(|p| p.body.get()), "hello world!");
/// bob.apply(change)?;
/// bob.apply(undo.redo(&mut ann, 0)?.expect("and to redo"))?;
/// assert_eq!(bob.read(|p| p.body.get()), "world!");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Limits.** What is put back is new to the document: it has a new place and a new author, and of the concurrent values of a multi-value register only
/// the greatest comes back. If two members delete the same and both undo it, it comes back twice: an operation cannot say that it revives another.
/// What one undo has to write must fit into one change. Nothing of this is saved: a new process begins with empty stacks.
#[derive(Debug, Default)]
pub struct UndoManager {
    bounds: UndoBounds,
    undo: VecDeque<Step>,
    redo: VecDeque<Step>,
    reborn: Reborn,
    /// About how many bytes all steps take.
    bytes: usize,
    /// When the last edit was made, unless the next one begins a step.
    last_ms: Option<u64>,
    /// How many groups are open.
    groups: u32,
    /// Of what the effects speak: which document, whose branch, in which generation of numbers.
    of: Option<(DocumentId, AuthorId, u64)>,
}

/// One of the manager's two piles of steps.
type Pile = fn(&mut UndoManager) -> &mut VecDeque<Step>;

/// What is undone at once.
#[derive(Debug)]
struct Step {
    effects: Vec<Effect>,
    bytes: usize,
}

impl Step {
    fn new(effects: Vec<Effect>) -> Self {
        let bytes = effects.iter().map(Effect::weight).sum();
        Self { effects, bytes }
    }
}

/// What an [`UndoManager`] works upon: a [`BaseCrdt`] or a [`BatchWriter`].
pub trait UndoTarget: sealed::Target {}

impl<T: CrdtContainer> UndoTarget for BaseCrdt<T> {}
impl<T: CrdtContainer> UndoTarget for BatchWriter<T> {}

mod sealed {
    use super::{CrdtContainer, Place, Replica, TransactError};
    use crate::identity::AuthorId;

    pub trait Target {
        /// The type of the document's root.
        type Root: CrdtContainer;
        /// What comes of an edit.
        type Written<R>;

        fn write_at<R, E: From<TransactError>>(
            &mut self,
            now_ms: u64,
            f: impl FnOnce(&Place) -> Result<R, E>,
        ) -> Result<Self::Written<R>, E>;

        fn below(&self) -> &Replica;

        fn writer(&self) -> AuthorId;
    }
}

impl<T: CrdtContainer> sealed::Target for BaseCrdt<T> {
    type Root = T;
    type Written<R> = Commit<R>;

    fn write_at<R, E: From<TransactError>>(
        &mut self,
        now_ms: u64,
        f: impl FnOnce(&Place) -> Result<R, E>,
    ) -> Result<Commit<R>, E> {
        self.transact_at(now_ms, f)
    }

    fn below(&self) -> &Replica {
        self.replica()
    }

    fn writer(&self) -> AuthorId {
        self.author()
    }
}

impl<T: CrdtContainer> sealed::Target for BatchWriter<T> {
    type Root = T;
    type Written<R> = Edited<R>;

    fn write_at<R, E: From<TransactError>>(
        &mut self,
        now_ms: u64,
        f: impl FnOnce(&Place) -> Result<R, E>,
    ) -> Result<Edited<R>, E> {
        self.edit_at(now_ms, f)
    }

    fn below(&self) -> &Replica {
        self.replica()
    }

    fn writer(&self) -> AuthorId {
        self.author()
    }
}

impl UndoManager {
    /// A manager with bounds of one's own.
    pub fn new(bounds: UndoBounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Edits a document so that it can be undone: [`BaseCrdt::transact`] or [`BatchWriter::edit`]. What had been undone cannot be redone any more.
    ///
    /// # Errors
    /// Those of the function that it stands for.
    pub fn edit<D: UndoTarget, R>(
        &mut self,
        document: &mut D,
        now_ms: u64,
        f: impl FnOnce(&mut D::Root) -> R,
    ) -> Result<D::Written<R>, TransactError> {
        self.try_edit(document, now_ms, |root| Ok::<R, TransactError>(f(root)))
    }

    /// Like [`UndoManager::edit`] with a closure that can give up.
    ///
    /// # Errors
    /// The closure's, or those of `edit`.
    pub fn try_edit<D: UndoTarget, R, E: From<TransactError>>(
        &mut self,
        document: &mut D,
        now_ms: u64,
        f: impl FnOnce(&mut D::Root) -> Result<R, E>,
    ) -> Result<D::Written<R>, E> {
        self.attend(document);
        let mut effects = Vec::new();
        let written = document.write_at(now_ms, |place| {
            recorded(place, &mut effects, |place| {
                let mut root = D::Root::attach(place);
                let answer = f(&mut root);
                if answer.is_ok() {
                    root.settle(place);
                }
                answer
            })
        })?;
        if !effects.is_empty() {
            self.push(now_ms, effects);
        }
        Ok(written)
    }

    /// Undoes the last step of which something is left to undo; `None` if there is none.
    ///
    /// # Errors
    /// The change cannot be written, see [`BaseCrdt::transact`]. If that is because it would be too large, the step is forgotten.
    pub fn undo<D: UndoTarget>(
        &mut self,
        document: &mut D,
        now_ms: u64,
    ) -> Result<Option<D::Written<()>>, TransactError> {
        self.go(document, now_ms, |steps| &mut steps.undo, |steps| &mut steps.redo)
    }

    /// Redoes the last step that was undone; `None` if there is none, or an edit came since.
    ///
    /// # Errors
    /// As [`UndoManager::undo`].
    pub fn redo<D: UndoTarget>(
        &mut self,
        document: &mut D,
        now_ms: u64,
    ) -> Result<Option<D::Written<()>>, TransactError> {
        self.go(document, now_ms, |steps| &mut steps.redo, |steps| &mut steps.undo)
    }

    /// The next edit begins a step of its own, however soon it comes.
    pub fn mark(&mut self) {
        self.last_ms = None;
    }

    /// All edits until [`UndoManager::end_group`] are one step, however long they take. Groups nest.
    pub fn begin_group(&mut self) {
        if self.groups == 0 {
            self.mark();
        }
        self.groups += 1;
    }

    /// Ends a group.
    pub fn end_group(&mut self) {
        self.groups = self.groups.saturating_sub(1);
        if self.groups == 0 {
            self.mark();
        }
    }

    /// How many steps can be undone. (Of some nothing may be left, because others have overtaken it.)
    pub fn undo_steps(&self) -> usize {
        self.undo.len()
    }

    /// How many steps can be redone.
    pub fn redo_steps(&self) -> usize {
        self.redo.len()
    }

    /// Forgets all steps.
    pub fn clear(&mut self) {
        *self = Self { bounds: self.bounds, groups: self.groups, ..Self::default() };
    }

    /// Forgets all steps if they are of another document, by another author, or of numbers that the replica has given anew since.
    fn attend<D: UndoTarget>(&mut self, document: &D) {
        let replica = document.below();
        let of = Some((replica.document_id(), document.writer(), replica.generation()));
        if self.of != of {
            self.clear();
            self.of = of;
        }
    }

    fn push(&mut self, now_ms: u64, effects: Vec<Effect>) {
        let step = Step::new(effects);
        self.bytes += step.bytes;
        self.bytes -= self.redo.drain(..).map(|step| step.bytes).sum::<usize>();
        let soon =
            self.last_ms.is_some_and(|last| now_ms.saturating_sub(last) < self.bounds.group_ms || self.groups > 0);
        match self.undo.back_mut() {
            Some(last) if soon => {
                last.effects.extend(step.effects);
                last.bytes += step.bytes;
            }
            _ => self.undo.push_back(step),
        }
        self.last_ms = Some(now_ms);
        self.forget_beyond_bounds();
    }

    fn forget_beyond_bounds(&mut self) {
        if self.reborn.len() > MAX_REBORN {
            let of = self.of;
            self.clear();
            self.of = of;
        }
        while self.undo.len() > self.bounds.steps || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.undo.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
        if self.undo.is_empty() {
            self.last_ms = None;
            if self.redo.is_empty() {
                self.reborn = Reborn::default();
            }
        }
    }

    /// Takes back the last step of one pile of which something is left, and puts what takes that back onto the other.
    fn go<D: UndoTarget>(
        &mut self,
        document: &mut D,
        now_ms: u64,
        from: Pile,
        to: Pile,
    ) -> Result<Option<D::Written<()>>, TransactError> {
        self.attend(document);
        self.last_ms = None;
        while let Some(step) = from(self).pop_back() {
            match self.take_back(document, now_ms, &step) {
                Ok(None) => self.bytes -= step.bytes,
                Ok(Some((written, back))) => {
                    self.bytes = self.bytes - step.bytes + back.bytes;
                    to(self).push_back(back);
                    self.forget_beyond_bounds();
                    return Ok(Some(written));
                }
                Err(error @ TransactError::Write(_)) => {
                    self.bytes -= step.bytes;
                    return Err(error);
                }
                Err(error) => {
                    from(self).push_back(step);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Takes a step back. `None` if nothing of it was left; else what was written, and the step that takes it back.
    #[allow(clippy::type_complexity, reason = "two answers of one private function")]
    fn take_back<D: UndoTarget>(
        &mut self,
        document: &mut D,
        now_ms: u64,
        step: &Step,
    ) -> Result<Option<(D::Written<()>, Step)>, TransactError> {
        let mut effects = Vec::new();
        let reborn = &mut self.reborn;
        reborn.begin();
        let written = document.write_at(now_ms, |place| {
            recorded(place, &mut effects, |place| {
                // What fails, fails the transaction.
                place.session().write(|tx| tx.take_back(&step.effects, reborn));
                Ok::<(), TransactError>(())
            })
        });
        match written {
            Ok(written) if !effects.is_empty() => Ok(Some((written, Step::new(effects)))),
            Ok(_) | Err(TransactError::Nothing) => Ok(None),
            Err(error) => {
                self.reborn.abort();
                Err(error)
            }
        }
    }
}

/// Runs a closure, and records what it does.
fn recorded<R>(place: &Place, effects: &mut Vec<Effect>, f: impl FnOnce(&Place) -> R) -> R {
    place.session().write(|tx| {
        tx.record();
        Ok(())
    });
    let answer = f(place);
    place.session().write(|tx| {
        *effects = tx.take_effects();
        Ok(())
    });
    answer
}
