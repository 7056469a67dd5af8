//! `BaseCrdt`: a replica of a document whose shape is a Rust type.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Applied, ApplyError, TransactError};
use super::gather::{BatchWriter, GatherBounds};
use super::node::CrdtContainer;
use super::place::Place;
use super::session::{LocalTx, Session};
use super::untyped::{Untyped, container_at};
use crate::causality::ChangeIdx;
use crate::change::{Change, ChangeId, DocumentId};
use crate::dag::Dag;
use crate::document::{ContainerIdx, Document, Event, Tx, TxError};
use crate::history::{Authorship, Blame, HistoryError, Past, Version};
use crate::identity::{AuthorId, Keypair};
use crate::ops::Kind;
use crate::replica::{ArchiveError, Incoming, Limits, Outcome, Replica, TransactError as ReplicaError, Verdict};

/// A change that was written here, and what came with it.
#[derive(Debug)]
pub struct Commit<R = ()> {
    /// The signed change, to be stored and then sent. [`Change::bytes`] is what travels.
    pub change: Change,
    /// What the closure returned.
    pub value: R,
    /// What happened to the document.
    pub events: Vec<Event>,
}

impl<R> From<Commit<R>> for Incoming {
    fn from(commit: Commit<R>) -> Self {
        commit.change.into()
    }
}

impl<R> From<&Commit<R>> for Incoming {
    fn from(commit: &Commit<R>) -> Self {
        commit.change.clone().into()
    }
}

impl From<&Change> for Incoming {
    fn from(change: &Change) -> Self {
        change.clone().into()
    }
}

/// A replica of one document, seen through the type `T` of its root: a struct that derives [`CrdtNode`](derive@crate::CrdtNode), or
/// [`Untyped`].
///
/// ```
/// use bft_json_crdt::{Applied, BaseCrdt, CounterCrdt, CrdtNode, LwwRegisterCrdt, MapCrdt};
/// use bft_json_crdt::{change::DocumentId, identity::Keypair};
///
/// #[derive(CrdtNode)]
/// struct Shop { name: LwwRegisterCrdt<String>, stock: MapCrdt<CounterCrdt> }
///
/// let document = DocumentId([7; 32]);
/// let mut ann = BaseCrdt::<Shop>::new(document, Keypair::from_seed(&[1; 32]));
/// let mut bob = BaseCrdt::<Shop>::new(document, Keypair::from_seed(&[2; 32]));
///
/// let now_ms = 0; // the caller's clock
/// let first = ann.transact(now_ms, |s| { s.name.set("Corner"); s.stock.entry("apple").add(5); })?;
/// let second = bob.transact(now_ms, |s| s.stock.entry("apple").add(-2))?;
///
/// assert!(matches!(bob.apply(first)?, Applied::Merged(_)));
/// ann.apply(second)?;
/// assert_eq!(ann.view(), serde_json::json!({ "name": "Corner", "stock": { "apple": 3 } }));
/// assert_eq!(ann.digest(), bob.digest());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Nothing is durable by itself: a caller stores [`Commit::change`] (and what it applies) before it tells anybody.
pub struct BaseCrdt<T> {
    /// Shared only while a closure reads, so that reading copies nothing. Invariant: no other share lives while `self` is borrowed mutably.
    pub(super) replica: Arc<Replica>,
    pub(super) keypair: Keypair,
    of: std::marker::PhantomData<fn() -> T>,
}

impl<T: CrdtContainer> BaseCrdt<T> {
    /// An empty replica of a document, which writes as the owner of the key pair.
    ///
    /// The root of a document is a map; another type is a compile error:
    /// ```compile_fail,E0080
    /// # use bft_json_crdt::{BaseCrdt, ListCrdt, change::DocumentId, identity::Keypair};
    /// BaseCrdt::<ListCrdt<String>>::new(DocumentId([0; 32]), Keypair::from_seed(&[0; 32]));
    /// ```
    pub fn new(document: DocumentId, keypair: Keypair) -> Self {
        Self::with_limits(document, keypair, Limits::default())
    }

    /// Like [`BaseCrdt::new`], with quotas of one's own.
    pub fn with_limits(document: DocumentId, keypair: Keypair, limits: Limits) -> Self {
        let mut replica = Replica::new(document, limits);
        // Nothing is loaded yet, so nothing can be taken out again.
        replica.set_writer(Some(keypair.author()));
        Self::from_replica(replica, keypair)
    }

    /// A replica that was made elsewhere (loaded from a store, say), which must have been told that it writes as `keypair`'s author.
    pub fn from_replica(replica: Replica, keypair: Keypair) -> Self {
        const {
            assert!(matches!(T::KIND, Kind::Map), "the root of a document is a map: use a struct, a MapCrdt or Untyped")
        };
        Self { replica: Arc::new(replica), keypair, of: std::marker::PhantomData }
    }

    /// The replica, without the type.
    pub fn into_replica(self) -> (Replica, Keypair) {
        let replica = Arc::into_inner(self.replica).expect(NO_SHARE);
        (replica, self.keypair)
    }

    /// The whole replica as bytes, without the key.
    pub fn save(&self) -> Vec<u8> {
        self.replica.save()
    }

    /// Reads what [`BaseCrdt::save`] wrote. Ids are checked by hashing, and a signature for each leaf of an author's chain.
    ///
    /// A replica that was restored from an old copy must not write before it has learnt its own last change from its peers: its next change would
    /// fork its chain.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn load(bytes: &Bytes, keypair: Keypair, limits: Limits) -> Result<Self, ArchiveError> {
        let replica = Replica::load_archive(bytes, limits, Some(keypair.author()))?;
        Ok(Self::from_replica(replica, keypair))
    }

    /// Writes one change: everything that the closure writes, or nothing. Reads inside see its own writes.
    ///
    /// Setters answer nothing: the first that fails is this function's error, and the document stays as it was. If the closure panics, too.
    ///
    /// `now_ms` is the caller's clock in milliseconds since 1970-01-01 UTC; it orders nothing.
    ///
    /// # Errors
    /// [`TransactError::Nothing`] if the closure wrote nothing: there is no change then, and nothing to send. If there are more heads than one
    /// change can name, [`BaseCrdt::acknowledge`] them first. For the others see [`TransactError`].
    pub fn transact<R>(&mut self, now_ms: u64, f: impl FnOnce(&mut T) -> R) -> Result<Commit<R>, TransactError> {
        self.try_transact(now_ms, |root| Ok::<R, TransactError>(f(root)))
    }

    /// Like [`BaseCrdt::transact`] with a closure that can give up: if it answers an error, nothing is written.
    ///
    /// # Errors
    /// The closure's, or (by `From`) those of `transact`.
    pub fn try_transact<R, E: From<TransactError>>(
        &mut self,
        now_ms: u64,
        f: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<Commit<R>, E> {
        self.transact_at(now_ms, |place| {
            let mut root = T::attach(place);
            let answer = f(&mut root);
            if answer.is_ok() {
                root.settle(place);
            }
            answer
        })
    }

    /// Writes one change with untyped access to the same document.
    ///
    /// # Errors
    /// As [`BaseCrdt::transact`].
    pub fn transact_json<R>(
        &mut self,
        now_ms: u64,
        f: impl FnOnce(&mut Untyped) -> R,
    ) -> Result<Commit<R>, TransactError> {
        self.transact_at(now_ms, |place| Ok(f(&mut Untyped::attach(place))))
    }

    pub(super) fn transact_at<R, E: From<TransactError>>(
        &mut self,
        now_ms: u64,
        f: impl FnOnce(&Place) -> Result<R, E>,
    ) -> Result<Commit<R>, E> {
        let mut ran = None;
        let replica = Arc::get_mut(&mut self.replica).expect(NO_SHARE);
        let written = replica.transact(&self.keypair, now_ms, |tx| ran = Some(run(tx, f)));
        match (ran, written) {
            (Some(Err(failure)), _) => Err(failure.into_error()),
            (Some(Ok(value)), Ok((change, (), events))) => Ok(Commit { change, value, events }),
            (_, Err(error)) => Err(TransactError::from(error).into()),
            (None, Ok(_)) => unreachable!("a transaction that was committed has run its closure"),
        }
    }

    /// Gathers edits into changes, so that typing does not cost a signature a key. See [`BatchWriter`].
    pub fn gather(self, bounds: GatherBounds) -> BatchWriter<T> {
        BatchWriter::new(self, bounds)
    }

    /// Looks at the document through its type. Nothing is copied but what the handles are asked for.
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.read_at(|place| f(&T::attach(place)))
    }

    /// Looks at the document without its type.
    pub fn read_json<R>(&self, f: impl FnOnce(&Untyped) -> R) -> R {
        self.read_at(|place| f(&Untyped::attach(place)))
    }

    fn read_at<R>(&self, f: impl FnOnce(&Place) -> R) -> R {
        let session = Session::reading(self.replica.clone());
        // Gives the share back even if the closure panics.
        let _closer = Closer(session.clone());
        f(&Place::root(&session))
    }
}

impl<T> BaseCrdt<T> {
    /// Takes a change from somebody else: a [`Change`], an [`Incoming`] with its voucher, or another replica's [`Commit`].
    ///
    /// # Errors
    /// The change was refused; the document is as it was.
    pub fn apply(&mut self, change: impl Into<Incoming>) -> Result<Applied<Event>, ApplyError> {
        let mut outcome = self.replica_mut().apply(change.into());
        let (_, verdict) = outcome.verdicts.pop().expect("there is one verdict for each change that was given");
        match verdict {
            Verdict::Applied => Ok(Applied::Merged(outcome.events)),
            Verdict::AlreadyKnown => Ok(Applied::AlreadyKnown),
            Verdict::Waiting { missing } => Ok(Applied::Waiting { missing }),
            Verdict::Unsupported => Ok(Applied::Unsupported),
            Verdict::Unauthenticated => Err(ApplyError::Unauthenticated),
            Verdict::Malformed(reason) => Err(ApplyError::Malformed(reason.to_string())),
            Verdict::Invalid(reason) => Err(ApplyError::Invalid(reason)),
            Verdict::HeldBack => Err(ApplyError::HeldBack),
            Verdict::Dropped => Err(ApplyError::Dropped),
        }
    }

    /// [`BaseCrdt::apply`] of a change as it travels.
    ///
    /// # Errors
    /// The bytes are no change, or it was refused.
    pub fn apply_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<Applied<Event>, ApplyError> {
        let change = Change::decode(bytes.into()).map_err(|error| ApplyError::Malformed(error.to_string()))?;
        self.apply(change)
    }

    /// Takes many changes at once, in any order: signatures are checked in batches, several times cheaper than one by one. The outcome has a
    /// verdict for each, and all events.
    pub fn apply_batch<I: Into<Incoming>>(&mut self, changes: impl IntoIterator<Item = I>) -> Outcome {
        self.replica_mut().apply_batch(changes.into_iter().map(Into::into).collect())
    }

    /// The whole document as JSON. (Counters beyond 64 bits become decimal strings: JSON's readers would lose digits.)
    pub fn view(&self) -> serde_json::Value {
        self.replica.view().into()
    }

    /// Who writes here.
    pub fn author(&self) -> AuthorId {
        self.keypair.author()
    }

    /// The document's id.
    pub fn document_id(&self) -> DocumentId {
        self.replica.document_id()
    }

    /// The changes that no other names, ascending.
    pub fn heads(&self) -> Vec<ChangeId> {
        self.replica.heads()
    }

    /// Names the set of changes: equal on two replicas exactly if they hold the same.
    pub fn heads_digest(&self) -> [u8; 32] {
        self.replica.heads_digest()
    }

    /// A hash over the order of the changes and the canonical JSON of the view.
    pub fn digest(&self) -> [u8; 32] {
        self.replica.digest()
    }

    /// The present version: all heads.
    pub fn version(&self) -> Version {
        self.replica.version()
    }

    /// The document as of a version. See [`Replica::checkout`].
    ///
    /// # Errors
    /// The version names a change that is not applied here.
    pub fn checkout(&self, version: &Version) -> Result<Past, HistoryError> {
        self.replica.checkout(version)
    }

    /// What turns one version into another. See [`Past::diff`].
    ///
    /// # Errors
    /// A version names a change that is not applied here.
    pub fn diff(&self, from: &Version, to: &Version) -> Result<Vec<Event>, HistoryError> {
        self.replica.diff(from, to)
    }

    /// The container that shows at a path, a JSON pointer (RFC 6901): the handle by which [`Replica`] and its document are asked. `None` if there is none.
    pub fn container(&self, path: &str) -> Option<ContainerIdx> {
        container_at(self.replica.document(), path)
    }

    /// Who wrote each stretch of a range of the list or text that shows at a path. See [`Replica::blame`].
    ///
    /// # Errors
    /// There is no list or text at the path, or it is shorter.
    pub fn blame(&self, path: &str, range: Range<usize>) -> Result<Vec<Blame>, HistoryError> {
        self.replica.blame(self.container(path).ok_or(HistoryError::Path)?, range)
    }

    /// Who wrote what the register at a path shows. See [`Replica::writers`].
    ///
    /// # Errors
    /// There is no container at the path.
    pub fn writers(&self, path: &str) -> Result<Vec<Authorship>, HistoryError> {
        self.replica.writers(self.container(path).ok_or(HistoryError::Path)?)
    }

    /// Every applied change in causal order, as a peer takes it: what another replica needs to catch up.
    pub fn changes(&self) -> impl Iterator<Item = Incoming> + '_ {
        self.replica.log(ChangeIdx(0)).map(|(_, incoming)| incoming)
    }

    /// Whether this replica owes the others an [acknowledgement](Self::acknowledge): a head belongs to a proven equivocator.
    pub fn needs_acknowledgement(&self) -> bool {
        self.replica.needs_acknowledgement()
    }

    /// Writes as many empty changes as it takes to name all heads.
    ///
    /// # Errors
    /// The author's own chain is forked or full, or the clock is out of range.
    pub fn acknowledge(&mut self, now_ms: u64) -> Result<Vec<Change>, TransactError> {
        let replica = Arc::get_mut(&mut self.replica).expect(NO_SHARE);
        Ok(replica.acknowledge(&self.keypair, now_ms)?)
    }

    /// The replica below, without the type.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The replica below, to feed it from a store or a sync session.
    pub fn replica_mut(&mut self) -> &mut Replica {
        Arc::get_mut(&mut self.replica).expect(NO_SHARE)
    }
}

/// Why the replica is never shared when it is borrowed mutably.
pub(super) const NO_SHARE: &str = "shares of the replica live only while a closure reads, under a borrow of self";

/// Closes a session when it goes out of scope.
struct Closer(Rc<Session>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Why what a closure wrote is to be taken back.
pub(super) enum Failure<E> {
    /// The closure said so.
    Closure(E),
    /// The typed layer or the transaction did.
    Layer(TransactError),
    /// The closure panicked.
    Panic(Box<dyn Any + Send>),
}

impl<E: From<TransactError>> Failure<E> {
    /// The error for the caller; a panic goes on.
    pub(super) fn into_error(self) -> E {
        match self {
            Failure::Closure(error) => error,
            Failure::Layer(error) => error.into(),
            Failure::Panic(panic) => resume_unwind(panic),
        }
    }
}

/// Runs a closure upon a transaction. Whatever it does, the transaction comes back.
pub(super) fn run_boxed<R, E>(
    tx: Box<LocalTx>,
    f: impl FnOnce(&Place) -> Result<R, E>,
) -> (Box<LocalTx>, Result<R, Failure<E>>) {
    let session = Session::writing(tx);
    // Unwind-safe: if the closure panics, all that it touched here is taken back.
    let answer = catch_unwind(AssertUnwindSafe(|| f(&Place::root(&session))));
    let (tx, error) = session.close().expect("no borrow of the session outlives the closure");
    let answer = match answer {
        Err(panic) => Err(Failure::Panic(panic)),
        Ok(Err(error)) => Err(Failure::Closure(error)),
        Ok(Ok(value)) => match error.or_else(|| tx.error().cloned().map(TransactError::Write)) {
            Some(error) => Err(Failure::Layer(error)),
            None => Ok(value),
        },
    };
    (tx, answer)
}

/// Runs a closure that writes a change of its own. If this answers a failure, the transaction has failed.
fn run<R, E>(tx: &mut LocalTx, f: impl FnOnce(&Place) -> Result<R, E>) -> Result<R, Failure<E>> {
    let own = std::mem::replace(tx, Tx::new(Dag::new(), Document::new(), ChangeIdx(0)));
    let (own, answer) = run_boxed(Box::new(own), f);
    *tx = *own;
    let answer = match answer {
        Ok(_) if tx.units() == 0 => Err(Failure::Layer(TransactError::Nothing)),
        answer => answer,
    };
    if answer.is_err() {
        tx.fail(TxError::Aborted);
    }
    answer
}

impl From<ReplicaError> for TransactError {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Tx(error) => Self::Write(error),
            error => Self::Replica(error),
        }
    }
}

impl<T> std::fmt::Debug for BaseCrdt<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BaseCrdt({:?}, {:?}, {} changes)", self.document_id(), self.author(), self.replica.len())
    }
}
