//! The batch writer: edits gather into one change, so that typing does not cost a signature a key.
//! Why an own type: what ends a gathering hands out a change that has to be stored before anything else is told. Here no call can end one and keep
//! the change for itself, and nothing can be applied beside an open change.

use std::sync::Arc;

use super::base::{BaseCrdt, Commit, NO_SHARE, run_boxed};
use super::error::{Applied, ApplyError, TransactError};
use super::node::CrdtContainer;
use super::place::Place;
use super::untyped::Untyped;
use crate::document::Event;
use crate::identity::AuthorId;
use crate::replica::gather::Open;
use crate::replica::{Incoming, Outcome, Replica};

/// When gathered edits become a change. The defaults say their reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherBounds {
    /// Milliseconds without an edit.
    pub idle_ms: u64,
    /// Milliseconds since the first edit.
    pub age_ms: u64,
    /// Unit operations: characters that were inserted or deleted, elements, registers that were set.
    pub units: u32,
    /// Bytes of operations.
    pub bytes: usize,
}

impl GatherBounds {
    /// Longer than the gap between two keys of somebody who types, shorter than what others feel as waiting.
    pub const IDLE_MS: u64 = 500;
    /// Others see somebody who types without a pause at least this often, and no more than this is lost in a crash.
    pub const AGE_MS: u64 = 5_000;
    /// Ten minutes of typing, if it were not for the age; a paste of more is a change of its own.
    pub const UNITS: u32 = 4_096;
    /// A sixteenth of [`MAX_OPS_BYTES`](crate::change::MAX_OPS_BYTES): an edit of fifteen sixteenths still fits behind what was gathered.
    pub const BYTES: usize = 1 << 16;
}

impl Default for GatherBounds {
    fn default() -> Self {
        Self { idle_ms: Self::IDLE_MS, age_ms: Self::AGE_MS, units: Self::UNITS, bytes: Self::BYTES }
    }
}

/// What came of an edit.
#[derive(Debug)]
#[must_use = "the change is to be stored and sent"]
pub struct Edited<R = ()> {
    /// What the closure returned.
    pub value: R,
    /// What happened to the document.
    pub events: Vec<Event>,
    /// The gathered change, this edit's operations included, if the edit has reached a bound.
    pub commit: Option<Commit>,
}

/// What came of a call before which the gathering had to end.
#[derive(Debug)]
#[must_use = "the change is to be stored before anything is told of what came after it"]
pub struct Flushed<R> {
    /// The change that was gathered until then, to be stored before anything else. Its events were told with the edits.
    pub commit: Option<Commit>,
    /// What was called for.
    pub then: R,
}

/// A [`BaseCrdt`] whose edits gather into changes; [`BaseCrdt::gather`] makes it.
///
/// - Reads see every edit at once. `heads`, `changes`, `save` and whatever a sync session sends know only what is signed.
/// - An edit whose closure fails or panics takes back itself and nothing else; the gathering goes on.
/// - Nothing is signed twice, and nothing that was signed is lost: each change is handed out once, by the call that ended the gathering.
/// - A gathered change carries the time of its last edit.
///
/// | the gathering ends | by |
/// |---|---|
/// | when nothing was written for a while | [`BatchWriter::tick`], which the caller's timer calls |
/// | when it has gathered long or much enough | the [edit](BatchWriter::edit) that reaches a bound of [`GatherBounds`] |
/// | before anything from elsewhere is applied, or a sync begins | [`BatchWriter::apply`], [`BatchWriter::settled`] |
/// | on request | [`BatchWriter::flush`], [`BatchWriter::finish`] |
///
/// Each of them hands the signed change out, to be stored before anything else is told to anybody. What is not signed yet is lost if the writer is dropped or
/// the process dies: nobody was told of it, and nothing acknowledges it. So a program that ends calls `finish`.
///
/// ```
/// use bft_json_crdt::{BaseCrdt, CrdtNode, GatherBounds, TextCrdt, change::DocumentId, identity::Keypair};
///
/// #[derive(CrdtNode)]
/// struct Page { body: TextCrdt }
///
/// let page = BaseCrdt::<Page>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// let mut page = page.gather(GatherBounds::default());
/// for (n, letter) in "hello".chars().enumerate() {
///     let now_ms = 1_000 + 100 * n as u64; // the caller's clock
///     let edited = page.edit(now_ms, |p| p.body.push(&letter.to_string()))?;
///     assert!(edited.commit.is_none());
/// }
/// assert_eq!(page.read(|p| p.body.get()), "hello");
/// assert_eq!(page.replica().len(), 0, "nothing is signed yet");
///
/// assert!(page.tick(1_500).is_none());
/// let commit = page.tick(2_000).expect("half a second without a key");
/// assert_eq!(page.replica().len(), 1);
/// assert_eq!(commit.change.header().time_ms, 1_400, "the time of the last edit");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BatchWriter<T> {
    base: BaseCrdt<T>,
    bounds: GatherBounds,
    gathered: Option<Gathered>,
}

/// What is gathered at present.
struct Gathered {
    open: Open,
    first_ms: u64,
    last_ms: u64,
}

impl Gathered {
    /// A clock that was set back must not keep edits from being signed.
    fn clock(&mut self, now_ms: u64) {
        (self.first_ms, self.last_ms) = (self.first_ms.min(now_ms), self.last_ms.min(now_ms));
    }
}

impl<T: CrdtContainer> BatchWriter<T> {
    /// Edits the document. What the closure writes shows at once, and becomes part of the change that is being gathered. A closure that writes nothing
    /// is no error.
    ///
    /// A failing setter is this function's error, and then nothing of the closure is kept; if it panics, too. What was gathered before stays.
    ///
    /// An edit has to fit into one change together with what was gathered: it can have what the protocol allows one change less the bounds of the
    /// gathering. [`BatchWriter::settled`] and a transaction write larger ones.
    ///
    /// # Errors
    /// As [`BaseCrdt::transact`], but for `Nothing`.
    pub fn edit<R>(&mut self, now_ms: u64, f: impl FnOnce(&mut T) -> R) -> Result<Edited<R>, TransactError> {
        self.try_edit(now_ms, |root| Ok::<R, TransactError>(f(root)))
    }

    /// Like [`BatchWriter::edit`] with a closure that can give up: if it answers an error, nothing of it is kept.
    ///
    /// # Errors
    /// The closure's, or (by `From`) those of `edit`.
    pub fn try_edit<R, E: From<TransactError>>(
        &mut self,
        now_ms: u64,
        f: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<Edited<R>, E> {
        self.edit_at(now_ms, |place| {
            let mut root = T::attach(place);
            let answer = f(&mut root);
            if answer.is_ok() {
                root.settle(place);
            }
            answer
        })
    }

    /// Edits with untyped access to the same document.
    ///
    /// # Errors
    /// As [`BatchWriter::edit`].
    pub fn edit_json<R>(&mut self, now_ms: u64, f: impl FnOnce(&mut Untyped) -> R) -> Result<Edited<R>, TransactError> {
        self.edit_at(now_ms, |place| Ok(f(&mut Untyped::attach(place))))
    }

    pub(super) fn edit_at<R, E: From<TransactError>>(
        &mut self,
        now_ms: u64,
        f: impl FnOnce(&Place) -> Result<R, E>,
    ) -> Result<Edited<R>, E> {
        let replica = Arc::get_mut(&mut self.base.replica).expect(NO_SHARE);
        let keypair = &self.base.keypair;
        let mut gathered = match self.gathered.take() {
            Some(gathered) => gathered,
            None => {
                let open = replica.open(keypair, now_ms).map_err(TransactError::from)?;
                Gathered { open, first_ms: now_ms, last_ms: now_ms }
            }
        };
        let before = gathered.open.units();
        let edited = replica.edit(&mut gathered.open, keypair, now_ms, |tx| run_boxed(tx, f));
        let wrote = gathered.open.units() > before;
        gathered.clock(now_ms);
        if wrote {
            gathered.last_ms = now_ms;
        }
        if gathered.open.units() > 0 {
            self.gathered = Some(gathered);
        }
        let (answer, events) = edited.map_err(TransactError::from)?;
        let value = answer.map_err(super::base::Failure::into_error)?;
        let commit = if wrote && self.is_full(now_ms) { self.flush() } else { None };
        Ok(Edited { value, events, commit })
    }

    /// Looks at the document through its type, with every edit.
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.base.read(f)
    }

    /// Looks at the document without its type, with every edit.
    pub fn read_json<R>(&self, f: impl FnOnce(&Untyped) -> R) -> R {
        self.base.read_json(f)
    }
}

impl<T> BatchWriter<T> {
    pub(super) fn new(base: BaseCrdt<T>, bounds: GatherBounds) -> Self {
        Self { base, bounds, gathered: None }
    }

    /// Ends the gathering if nothing was written for [`GatherBounds::idle_ms`], or if it is [`GatherBounds::age_ms`] old.
    pub fn tick(&mut self, now_ms: u64) -> Option<Commit> {
        let gathered = self.gathered.as_mut()?;
        gathered.clock(now_ms);
        let idle = now_ms - gathered.last_ms >= self.bounds.idle_ms;
        if idle || self.is_full(now_ms) { self.flush() } else { None }
    }

    /// When [`BatchWriter::tick`] will have something to do if nothing is edited until then; `None` if nothing is gathered.
    pub fn next_tick_ms(&self) -> Option<u64> {
        let gathered = self.gathered.as_ref()?;
        let idle = gathered.last_ms.saturating_add(self.bounds.idle_ms);
        Some(idle.min(gathered.first_ms.saturating_add(self.bounds.age_ms)))
    }

    /// Ends the gathering: signs what was gathered. `None` if nothing was.
    pub fn flush(&mut self) -> Option<Commit> {
        let Gathered { open, last_ms, .. } = self.gathered.take()?;
        let replica = Arc::get_mut(&mut self.base.replica).expect(NO_SHARE);
        let change = replica.close(open, &self.base.keypair, last_ms)?;
        Some(Commit { change, value: (), events: Vec::new() })
    }

    /// Ends the gathering, and then takes a change from somebody else: see [`BaseCrdt::apply`].
    pub fn apply(&mut self, change: impl Into<Incoming>) -> Flushed<Result<Applied<Event>, ApplyError>> {
        let Flushed { commit, then } = self.settled();
        Flushed { commit, then: then.apply(change) }
    }

    /// Ends the gathering, and then takes many changes at once: see [`BaseCrdt::apply_batch`].
    pub fn apply_batch<I: Into<Incoming>>(&mut self, changes: impl IntoIterator<Item = I>) -> Flushed<Outcome> {
        let Flushed { commit, then } = self.settled();
        Flushed { commit, then: then.apply_batch(changes) }
    }

    /// Ends the gathering, and lends what is below: for a sync session, a transaction of its own, an acknowledgement, or to save.
    pub fn settled(&mut self) -> Flushed<&mut BaseCrdt<T>> {
        Flushed { commit: self.flush(), then: &mut self.base }
    }

    /// Ends the gathering, and gives back what is below.
    pub fn finish(mut self) -> Flushed<BaseCrdt<T>> {
        Flushed { commit: self.flush(), then: self.base }
    }

    /// How many unit operations are gathered and not signed yet.
    pub fn gathered_units(&self) -> u32 {
        self.gathered.as_ref().map_or(0, |gathered| gathered.open.units())
    }

    /// The whole document as JSON, with every edit.
    pub fn view(&self) -> serde_json::Value {
        self.base.view()
    }

    /// Who writes here.
    pub fn author(&self) -> AuthorId {
        self.base.author()
    }

    /// The replica below. Its document has every edit; its changes, heads and graph, what is signed. (So its digest, which is over both, can be compared
    /// with others' only while nothing is gathered.)
    pub fn replica(&self) -> &Replica {
        self.base.replica()
    }

    /// Whether a bound is reached.
    fn is_full(&self, now_ms: u64) -> bool {
        self.gathered.as_ref().is_some_and(|gathered| {
            now_ms.saturating_sub(gathered.first_ms) >= self.bounds.age_ms
                || gathered.open.units() >= self.bounds.units
                || gathered.open.bytes() >= self.bounds.bytes
        })
    }
}

impl<T> std::fmt::Debug for BatchWriter<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchWriter({:?}, {} units gathered)", self.base, self.gathered_units())
    }
}
