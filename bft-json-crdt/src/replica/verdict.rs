//! What becomes of a change that somebody hands to a replica (docs/protocol.md, section 5), and what else came of it.

use thiserror::Error;

use crate::causality::ChangeIdx;
use crate::change::{Change, ChangeId};
use crate::document::{Event, InvalidReason};
use crate::encoding::DecodeError;
use crate::evidence::{EquivocationProof, Voucher};

/// A change as it arrives, with the voucher that came along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The change.
    pub change: Change,
    /// Vouches for a change whose own signature is not good.
    pub voucher: Option<Voucher>,
}

impl From<Change> for Incoming {
    fn from(change: Change) -> Self {
        Self { change, voucher: None }
    }
}

/// Why bytes that hold a change are refused. The sender is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The change belongs to another document.
    #[error("the change belongs to another document")]
    Document,
    /// The operations break their encoding.
    #[error("the operations are malformed: {0}")]
    Ops(#[from] DecodeError),
}

/// Why a change is invalid: a function of the change and its causal past alone. The author is to blame; its descendants are invalid too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Invalid {
    /// An ancestor is invalid.
    #[error("an ancestor is invalid")]
    Ancestor,
    /// `previous` names a change of another author or with a `seq` other than seq − 1.
    #[error("`previous` names a change of another author or of another seq")]
    Previous,
    /// What it says of the document is invalid.
    #[error(transparent)]
    Content(InvalidReason),
}

/// What a replica made of one incoming change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the document now.
    Applied,
    /// It was part of the document before.
    AlreadyKnown,
    /// It is authenticated and waits until what it names has come. `missing` lists what nobody has sent yet (at most
    /// [`MAX_MISSING`](super::MAX_MISSING) ids).
    Waiting {
        /// Ids to fetch.
        missing: Vec<ChangeId>,
    },
    /// It, or an ancestor, has a version or an operation that this build does not know. It is kept aside, within a quota.
    Unsupported,
    /// Neither its own signature nor a voucher is good. Nothing is remembered; the sender is to blame.
    Unauthenticated,
    /// The bytes break the form. The sender is to blame.
    Malformed(Malformed),
    /// It breaks a rule that only the graph can judge. The author is to blame.
    Invalid(Invalid),
    /// Its author has forked its own chain, and no change of anybody else depends on this one so far. It is kept aside, within a quota.
    HeldBack,
    /// It is authenticated but a quota had no room for it: to be fetched again when there is.
    Dropped,
}

/// What came of handing changes to a replica.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// One verdict for each incoming change, in the order given.
    pub verdicts: Vec<(ChangeId, Verdict)>,
    /// What was applied, changes that had waited included, in causal order.
    pub applied: Vec<ChangeIdx>,
    /// Final verdicts other than *applied* on changes that came earlier and had waited.
    pub settled: Vec<(ChangeId, Verdict)>,
    /// What happened to the document, in order.
    pub events: Vec<Event>,
    /// New proofs that an author forked its own chain: to be stored and passed on.
    pub proofs: Vec<EquivocationProof>,
    /// Waiting changes that a quota pushed out: to be fetched again if they are still wanted.
    pub evicted: Vec<ChangeId>,
    /// The document was rebuilt without changes of a proven equivocator (readers only, once a proof): events do not tell of it, and
    /// all [`ChangeIdx`] handed out before are void; `applied` holds new ones.
    pub rebuilt: bool,
}

/// What a replica knows about an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Applied, at this number.
    Applied(ChangeIdx),
    /// Judged invalid.
    Invalid(Invalid),
    /// Authenticated and waiting for what it names.
    Waiting,
    /// Kept aside: its author forked its chain.
    HeldBack,
    /// Kept aside: this build does not know one of its operations or of its ancestors'.
    Unsupported,
    /// Not held.
    Unknown,
}
