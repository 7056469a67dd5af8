//! One replica of one document: it judges what arrives, applies what is good, keeps aside what has to wait, and writes.
//!
//! ```text
//! ingest        authentication in batches, then the verdicts of docs/protocol.md, section 5, in their order
//! pending       authenticated changes that wait for an ancestor or for somebody to depend on them: bounded, fair among authors
//! equivocation  proofs of forked chains and what they change (section 7)
//! digest        what two replicas compare (section 6.4)
//! load, archive from one's own store; the whole replica as one file
//! compacted     a compacted replica as a file that its own store vouches for
//! audit         signatures that a load left unchecked, checked off the edit path
//! parts         changes that come without their headers, from columns
//! write         local transactions and acknowledgements
//! gather        a local change that stays open while edits gather in it
//! ```
//! Rules:
//! - What is applied and what is invalid is a function of the changes alone. Quotas only decide what has to be fetched again.
//! - Nothing is remembered about an id that nobody has authenticated.
//! - Memory beyond the applied changes is bounded by [`Limits`].
//! - No recursion over anything that a peer sends.

mod archive;
mod audit;
mod compacted;
mod digest;
mod equivocation;
pub(crate) mod gather;
mod ingest;
mod load;
mod parts;
mod pending;
mod verdict;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use thiserror::Error;

pub use self::archive::{ArchiveError, Check, LoadOptions, Loaded, Rebuilt, SavePoint};
pub use self::audit::{Audit, AuditReport, Findings};
pub use self::compacted::CompactedError;
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{Change, ChangeId, DocumentId};
use crate::dag::Dag;
pub use crate::dag::Leaf;
use crate::document::{Document, TxError};
use crate::evidence::{EquivocationProof, SignedChain, Voucher};
use crate::history::Floor;
use crate::identity::AuthorId;
use crate::value::Value;
use ingest::Progress;
use pending::{Aside, Remembered, Shelf, Vouching};
pub use verdict::{Incoming, Invalid, Known, Malformed, Outcome, Verdict};

/// Most ids that one [`Verdict::Waiting`] lists.
pub const MAX_MISSING: usize = 64;

/// How much one replica keeps beyond the applied changes. None of it decides validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Changes that wait for an ancestor.
    pub waiting_changes: usize,
    /// Their bytes, vouchers included.
    pub waiting_bytes: usize,
    /// Changes of proven equivocators on which nobody depends.
    pub held_back_changes: usize,
    /// Their bytes, vouchers included.
    pub held_back_bytes: usize,
    /// Changes that this build does not understand, and their descendants.
    pub unsupported_changes: usize,
    /// Their bytes, vouchers included.
    pub unsupported_bytes: usize,
    /// Ids remembered as invalid. A forgotten one is judged again, alike.
    pub invalid_ids: usize,
    /// Proofs against authors of whom nothing is applied here.
    pub foreign_proofs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An author's burst that overtakes a change in flight; a catch-up comes in causal order and hardly waits at all.
            waiting_changes: 16_384,
            waiting_bytes: 16 << 20,
            // The longest run of a proven author's changes that a newcomer can take in before the change of somebody else that depends on them: a run
            // that does not fit cannot be caught up.
            held_back_changes: 65_536,
            held_back_bytes: 64 << 20,
            unsupported_changes: 4_096,
            unsupported_bytes: 8 << 20,
            // 40 bytes each.
            invalid_ids: 65_536,
            // A proof is mostly half a kilobyte and at most some 600 kB.
            foreign_proofs: 256,
        }
    }
}

/// Why a stored history cannot be loaded. The replica is empty afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("record {position} of the stored changes is unusable: {fault}")]
pub struct LoadError {
    /// Which record, from 0 in the order given.
    pub position: usize,
    /// What is wrong with it.
    pub fault: LoadFault,
}

/// What is wrong with a stored record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LoadFault {
    /// It is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A change that it names does not stand before it.
    #[error("a change that it names does not stand before it")]
    Parent,
    /// It is invalid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// This build does not know one of its operations: a newer one wrote the store.
    #[error("this build does not know one of its operations")]
    Unsupported,
    /// No good signature stands for it.
    #[error("no good signature stands for it")]
    Signature,
}

/// Why a local change could not be written. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransactError {
    /// The transaction's own writes are at fault.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// There are more heads than one change can name: [`Replica::acknowledge`] first.
    #[error("there are {0} heads, more than one change can name; acknowledge them first")]
    TooManyHeads(usize),
    /// The author's chain is proven to be forked: nobody would take the change.
    #[error("the author's chain is forked, other members hold the proof")]
    Forked,
    /// Later changes of the author wait here for what they name: writing now would fork its chain.
    #[error("later changes of this author are not applied yet; writing now would fork its chain")]
    Behind,
    /// The clock's reading exceeds [`MAX_SAFE`](crate::change::MAX_SAFE).
    #[error("time {0} ms is beyond what a change can carry")]
    Time(u64),
    /// The replica or the author's chain is full.
    #[error("no more changes can be numbered")]
    Full,
}

/// A replica of one document. See the [module](self).
pub struct Replica {
    id: DocumentId,
    limits: Limits,
    writer: Option<AuthorId>,
    /// Whether anybody wants to hear what happens to the document.
    events: bool,
    dag: Dag,
    document: Document,
    /// What vouches for applied changes whose own signature is not good.
    vouchers: HashMap<ChangeId, Vouching>,
    /// Applied changes that were found to need a voucher only after they were applied, in that order: for files that hold them already.
    late_vouchers: Vec<ChangeId>,
    /// Changes with lower numbers were loaded, and not all of their signatures were checked.
    unchecked: u32,
    aside: Aside,
    invalid: Remembered<Invalid>,
    /// The first invalid change of each author, as evidence.
    pinned: HashMap<AuthorId, SignedChain>,
    proofs: BTreeMap<AuthorId, EquivocationProof>,
    generation: u64,
    /// Below it changes are compacted.
    floor: Floor,
    /// Tells this replica from others, for what keeps its numbers of changes outside.
    incarnation: Arc<()>,
    heads_digest: OnceLock<[u8; 32]>,
}

impl Replica {
    /// An empty replica that cannot write.
    pub fn new(document: DocumentId, limits: Limits) -> Self {
        Self {
            id: document,
            limits,
            writer: None,
            events: true,
            dag: Dag::new(),
            document: Document::new(),
            vouchers: HashMap::new(),
            late_vouchers: Vec::new(),
            unchecked: 0,
            aside: Aside::new(&limits),
            invalid: Remembered::new(limits.invalid_ids),
            pinned: HashMap::new(),
            proofs: BTreeMap::new(),
            generation: 0,
            floor: Floor::default(),
            incarnation: Arc::new(()),
            heads_digest: OnceLock::new(),
        }
    }

    /// The document's id.
    pub fn document_id(&self) -> DocumentId {
        self.id
    }

    /// Says that this replica may write as `author`, or that it only reads. It decides what happens to changes of a proven equivocator that are already
    /// applied (section 7): a writer acknowledges them, a reader takes them out again unless somebody else's change depends on them. To be called before
    /// anything is loaded; turning a writer into a reader later can take changes out (see [`Outcome::rebuilt`]).
    pub fn set_writer(&mut self, author: Option<AuthorId>) -> Outcome {
        self.writer = author;
        self.finish(Progress::default())
    }

    /// Whether outcomes tell events, as they do unless told otherwise. Without them, applying is cheaper.
    pub fn tell_events(&mut self, tell: bool) {
        self.events = tell;
    }

    /// [`Replica::apply_batch`] of one.
    pub fn apply(&mut self, incoming: Incoming) -> Outcome {
        self.ingest(vec![incoming])
    }

    /// Judges changes in the order given and applies what is good. Signatures are checked in batches, so this is several times cheaper a change than
    /// [`Replica::apply`]. Changes of one call count as one frame for vouching.
    pub fn apply_batch(&mut self, batch: Vec<Incoming>) -> Outcome {
        self.ingest(batch)
    }

    /// How many changes are applied.
    pub fn len(&self) -> usize {
        self.dag.len()
    }

    /// Whether nothing is applied.
    pub fn is_empty(&self) -> bool {
        self.dag.is_empty()
    }

    /// Counts the rebuilds ([`Outcome::rebuilt`]): a [`ChangeIdx`] is good as long as this stays equal.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is compacted.
    pub(crate) fn floor_mut(&mut self) -> (&mut Floor, &mut Dag) {
        (&mut self.floor, &mut self.dag)
    }

    /// What is compacted.
    pub(crate) fn floor_cut(&self) -> &Floor {
        &self.floor
    }

    /// After the graph was made anew, its branches have other numbers.
    fn refresh_floor(&mut self) {
        let heads = self.floor.version.heads().iter();
        let heads = heads.map(|id| self.dag.lookup(id).expect("what is compacted stays applied"));
        self.floor.cut = self.dag.clock_of(heads.collect::<Vec<_>>());
    }

    /// Shared by nothing but what was taken from this replica.
    pub(crate) fn incarnation(&self) -> &Arc<()> {
        &self.incarnation
    }

    /// The graph of the applied changes.
    pub fn dag(&self) -> &Dag {
        &self.dag
    }

    /// An applied change by id; `None` for a [compacted](Replica::compact) one, too.
    pub fn get(&self, id: &ChangeId) -> Option<Change> {
        self.index_of(id).filter(|index| !self.is_compacted(*index)).map(|index| self.change(index))
    }

    /// The number of an applied change. Numbers count from 0 in the order of local application, so `0..len()` is the log in causal order.
    pub fn index_of(&self, id: &ChangeId) -> Option<ChangeIdx> {
        self.dag.lookup(id)
    }

    /// An applied change by number. It is put together on demand, like [`Replica::bytes`].
    ///
    /// # Panics
    /// If `index` was not handed out by this replica in its present generation, or the change was [compacted](Replica::compact).
    pub fn change(&self, index: ChangeIdx) -> Change {
        self.dag.change(index)
    }

    /// The bytes of an applied change. They are put together on demand, which costs a hash of the operations and a copy.
    ///
    /// # Panics
    /// Like [`Replica::change`].
    pub fn bytes(&self, index: ChangeIdx) -> Bytes {
        self.dag.bytes(index)
    }

    /// The id of an applied change.
    ///
    /// # Panics
    /// Like [`Replica::change`].
    pub fn id(&self, index: ChangeIdx) -> ChangeId {
        self.dag.id(index)
    }

    /// The lamport of an applied change.
    ///
    /// # Panics
    /// Like [`Replica::change`].
    pub fn lamport(&self, index: ChangeIdx) -> u64 {
        self.dag.lamport(index)
    }

    /// What vouches for an applied change whose own signature is not good: to be passed on and stored with it.
    ///
    /// # Panics
    /// Like [`Replica::change`].
    pub fn voucher(&self, index: ChangeIdx) -> Option<Voucher> {
        if self.vouchers.is_empty() {
            return None;
        }
        self.vouchers.get(&self.dag.id(index)).map(Vouching::voucher)
    }

    /// The applied changes from a position on, in local causal order. [Compacted](Replica::compact) ones are left out.
    pub fn log(&self, from: ChangeIdx) -> impl Iterator<Item = (ChangeIdx, Incoming)> + '_ {
        let whole = (from.0..self.len() as u32).map(ChangeIdx).filter(|index| !self.is_compacted(*index));
        whole.map(|index| (index, Incoming { change: self.change(index), voucher: self.voucher(index) }))
    }

    /// The authors of applied changes.
    pub fn authors(&self) -> impl Iterator<Item = AuthorId> + '_ {
        self.dag.authors()
    }

    /// The author with this key, if something of it is applied: saves checking the key again (see [`Change::decode_with`]).
    pub fn author(&self, key: &[u8; 32]) -> Option<AuthorId> {
        self.dag.known_author(key)
    }

    /// All leaves of the tree that an author's `previous` makes.
    pub fn leaves(&self, author: &AuthorId) -> Vec<Leaf> {
        self.dag.leaves(author).collect()
    }

    /// The change with this `seq` on the author's own chain that ends in `leaf` (which counts itself). O(log n).
    pub fn ancestor_at(&self, leaf: ChangeIdx, seq: u64) -> Option<ChangeIdx> {
        self.dag.ancestor_at(leaf, seq)
    }

    /// Whether `change` stands on the author's own chain that ends in `leaf` (which counts itself). O(log n).
    pub fn chain_contains(&self, leaf: ChangeIdx, change: ChangeIdx) -> bool {
        self.dag.chain_contains(leaf, change)
    }

    /// What is known about an id.
    pub fn knows(&self, id: &ChangeId) -> Known {
        if let Some(index) = self.dag.lookup(id) {
            return Known::Applied(index);
        }
        if let Some(entry) = self.aside.by_id(id) {
            return match entry.shelf {
                Shelf::Waiting => Known::Waiting,
                Shelf::HeldBack => Known::HeldBack,
                Shelf::Unsupported => Known::Unsupported,
            };
        }
        self.invalid.get(id).map_or(Known::Unknown, Known::Invalid)
    }

    /// Ids that waiting changes need and nobody has sent yet, at most `most`: to be fetched.
    pub fn missing(&self, most: usize) -> Vec<ChangeId> {
        let (mut seen, mut missing) = (HashSet::new(), Vec::new());
        for id in self.aside.waiting_ids() {
            self.collect_missing(id, &mut seen, &mut missing, most);
            if missing.len() >= most {
                break;
            }
        }
        missing
    }

    /// How much is kept aside: changes and their cost in bytes for those that wait, that are held back, and that are not understood.
    pub fn kept_aside(&self) -> [(usize, usize); 3] {
        [Shelf::Waiting, Shelf::HeldBack, Shelf::Unsupported].map(|shelf| self.aside.usage(shelf))
    }

    /// The document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The whole document as one value.
    pub fn view(&self) -> Value {
        self.document.view()
    }
}
