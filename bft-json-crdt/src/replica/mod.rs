//! One replica of one document: it judges what arrives, applies what is good, keeps aside what has to wait, and writes.
//!
//! ```text
//! ingest        authentication in batches, then the verdicts of docs/protocol.md, section 5, in their order
//! pending       authenticated changes that wait for an ancestor or for somebody to depend on them: bounded, fair among authors
//! equivocation  proofs of forked chains and what they change (section 7)
//! digest        what two replicas compare (section 6.4)
//! load, archive from one's own store; the whole replica as one file
//! write         local transactions and acknowledgements
//! ```
//! Rules:
//! - What is applied and what is invalid is a function of the changes alone. Quotas only decide what has to be fetched again.
//! - Nothing is remembered about an id that nobody has authenticated.
//! - Memory beyond the applied changes is bounded by [`Limits`].
//! - No recursion over anything that a peer sends.

mod verdict;

use bytes::Bytes;
use thiserror::Error;

use crate::causality::ChangeIdx;
use crate::change::{Change, ChangeId, DocumentId};
use crate::dag::Dag;
pub use crate::dag::Leaf;
use crate::document::{Document, Event, Tx, TxError};
use crate::evidence::{EquivocationProof, Voucher};
use crate::identity::{AuthorId, Keypair};
use crate::value::Value;
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
            held_back_changes: 4_096,
            held_back_bytes: 8 << 20,
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
    /// The clock's reading exceeds [`MAX_SAFE`](crate::change::MAX_SAFE).
    #[error("time {0} ms is beyond what a change can carry")]
    Time(u64),
    /// The replica or the author's chain is full.
    #[error("no more changes can be numbered")]
    Full,
}

/// Why an archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArchiveError {
    /// It is no archive, or of a version that this build does not know.
    #[error("not an archive of a version that this build knows")]
    Magic,
    /// It breaks the form at this byte.
    #[error("the archive is damaged near byte {0}")]
    Damaged(usize),
    /// A change in it is unusable.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A replica of one document. See the [module](self).
pub struct Replica {
    dag: Dag,
}

#[allow(clippy::todo, unused_variables)]
impl Replica {
    /// An empty replica that cannot write.
    pub fn new(document: DocumentId, limits: Limits) -> Self {
        todo!()
    }

    /// The document's id.
    pub fn document_id(&self) -> DocumentId {
        todo!()
    }

    /// Says that this replica may write as `author`, or that it only reads. It decides what happens to changes of a proven equivocator that are already
    /// applied (section 7): a writer acknowledges them, a reader takes them out again unless somebody else's change depends on them. To be called before
    /// anything is loaded. Answers whether changes were taken out (as `Outcome::rebuilt`).
    pub fn set_writer(&mut self, author: Option<AuthorId>) -> bool {
        todo!()
    }

    /// [`Replica::apply_batch`] of one.
    pub fn apply(&mut self, incoming: Incoming) -> Outcome {
        todo!()
    }

    /// Judges changes in the order given and applies what is good. Signatures are checked in batches, so this is several times cheaper a change than
    /// [`Replica::apply`]. Changes of one call count as one frame for vouching.
    pub fn apply_batch(&mut self, batch: Vec<Incoming>) -> Outcome {
        todo!()
    }

    /// Loads changes from one's own store, in the order in which they were applied; can be called several times, piece by piece. Ids are
    /// checked by hashing, and one signature for each leaf of an author's tree: it vouches for what is before it. Already applied ones are skipped.
    /// Quotas and proofs do not count here.
    ///
    /// # Errors
    /// A record is damaged or does not follow from those before. The replica is empty afterwards.
    pub fn load(&mut self, stored: Vec<Incoming>) -> Result<Outcome, LoadError> {
        todo!()
    }

    /// Writes one change: all that `f` writes, atomically. It names all heads; it is applied here, and to be stored and then sent by the caller.
    ///
    /// A panic in `f` leaves the replica empty and unusable.
    ///
    /// # Errors
    /// See [`TransactError`]; the document is as it was.
    pub fn transact<R>(
        &mut self,
        keypair: &Keypair,
        time_ms: u64,
        f: impl FnOnce(&mut Tx<Dag>) -> R,
    ) -> Result<(Change, R, Vec<Event>), TransactError> {
        todo!()
    }

    /// Writes as many empty changes as it takes to name all heads. Empty if the author's tip is the only head.
    ///
    /// # Errors
    /// `Forked`, `Time` or `Full`.
    pub fn acknowledge(&mut self, keypair: &Keypair, time_ms: u64) -> Result<Vec<Change>, TransactError> {
        todo!()
    }

    /// Whether a head belongs to a proven equivocator and this replica may write: it then owes the others an [acknowledgement](Self::acknowledge),
    /// or an ordinary change.
    pub fn needs_acknowledgement(&self) -> bool {
        todo!()
    }

    /// The applied changes that no applied change names, ascending.
    pub fn heads(&self) -> Vec<ChangeId> {
        todo!()
    }

    /// Names the set of applied changes (section 6.4). Cached.
    pub fn heads_digest(&self) -> [u8; 32] {
        todo!()
    }

    /// A hash over the order of all changes and the canonical JSON of the view (section 6.4). O(n log n).
    pub fn digest(&self) -> [u8; 32] {
        todo!()
    }

    /// How many changes are applied.
    pub fn len(&self) -> usize {
        self.dag.len()
    }

    /// Whether nothing is applied.
    pub fn is_empty(&self) -> bool {
        self.dag.is_empty()
    }

    /// Counts the rebuilds (`Outcome::rebuilt`): a [`ChangeIdx`] is good as long as this stays equal.
    pub fn generation(&self) -> u64 {
        todo!()
    }

    /// The graph of the applied changes.
    pub fn dag(&self) -> &Dag {
        &self.dag
    }

    /// An applied change by id.
    pub fn get(&self, id: &ChangeId) -> Option<Change> {
        todo!()
    }

    /// The number of an applied change. Numbers count from 0 in the order of local application, so `0..len()` is the log in causal order.
    pub fn index_of(&self, id: &ChangeId) -> Option<ChangeIdx> {
        todo!()
    }

    /// An applied change by number. Reads its header again; [`Replica::bytes`] is cheaper.
    pub fn change(&self, index: ChangeIdx) -> Change {
        self.dag.change(index)
    }

    /// The bytes of an applied change.
    pub fn bytes(&self, index: ChangeIdx) -> &Bytes {
        self.dag.bytes(index)
    }

    /// The id of an applied change.
    pub fn id(&self, index: ChangeIdx) -> ChangeId {
        todo!()
    }

    /// The lamport of an applied change.
    pub fn lamport(&self, index: ChangeIdx) -> u64 {
        todo!()
    }

    /// What vouches for an applied change whose own signature is not good: to be passed on and stored with it.
    pub fn voucher(&self, index: ChangeIdx) -> Option<Voucher> {
        todo!()
    }

    /// The applied changes from a position on, in local causal order.
    pub fn log(&self, from: ChangeIdx) -> impl Iterator<Item = (ChangeIdx, Incoming)> + '_ {
        (from.0..self.len() as u32).map(|index| {
            let index = ChangeIdx(index);
            (index, Incoming { change: self.change(index), voucher: self.voucher(index) })
        })
    }

    /// The authors of applied changes.
    pub fn authors(&self) -> impl Iterator<Item = AuthorId> + '_ {
        self.dag.authors()
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

    /// The author's last change, on which the next one will build; the longest branch's if the chain is forked.
    pub fn own_tip(&self, author: &AuthorId) -> Option<Leaf> {
        todo!()
    }

    /// What is known about an id.
    pub fn knows(&self, id: &ChangeId) -> Known {
        todo!()
    }

    /// Ids that waiting changes name and nobody has sent yet, at most `most`: to be fetched.
    pub fn missing(&self, most: usize) -> Vec<ChangeId> {
        todo!()
    }

    /// The proofs held, one for each proven author.
    pub fn proofs(&self) -> impl Iterator<Item = &EquivocationProof> {
        std::iter::empty()
    }

    /// Whether an author is proven to have forked its own chain.
    pub fn is_proven(&self, author: &AuthorId) -> bool {
        todo!()
    }

    /// Takes a proof from a peer or the store. `None` if the proof is not good (the sender is to blame); an outcome without news if
    /// it is known already or no quota has room.
    pub fn apply_proof(&mut self, proof: EquivocationProof) -> Option<Outcome> {
        todo!()
    }

    /// The document.
    pub fn document(&self) -> &Document {
        todo!()
    }

    /// The whole document as one value.
    pub fn view(&self) -> Value {
        todo!()
    }

    /// The whole replica as bytes: applied changes in causal order with their vouchers, and proofs.
    pub fn save(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads what [`Replica::save`] wrote.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn load_archive(bytes: &Bytes, limits: Limits, writer: Option<AuthorId>) -> Result<Self, ArchiveError> {
        todo!()
    }
}
