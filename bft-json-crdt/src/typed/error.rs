//! What can go wrong in typed access: while reading (the document does not fit the type) and while writing (the transaction cannot become a
//! change).

use thiserror::Error;

use crate::change::ChangeId;
use crate::document::TxError;
use crate::ops::Kind;
use crate::replica::{Invalid, TransactError as ReplicaError};
use crate::value::ValueError;

/// The document holds something else than the type says: another version wrote it, or a member who does not play by the schema. The document
/// itself is fine (schemas never decide validity), and everything else in it stays readable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at {path:?}: {problem}")]
pub struct SchemaError {
    /// Where, as a JSON pointer (RFC 6901).
    pub path: String,
    /// What is wrong there.
    pub problem: SchemaProblem,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaProblem {
    /// A JSON value cannot be read as the Rust type; the text is serde's.
    #[error("the value does not fit the type: {0}")]
    Value(String),
    /// Something of another kind stands there.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What the type says.
        expected: &'static str,
        /// What the document holds.
        found: &'static str,
    },
    /// An enum's variant that this program does not know.
    #[error("unknown variant {found:?}, expected one of {expected:?}")]
    Variant {
        /// The variants of the type.
        expected: &'static [&'static str],
        /// What the document says.
        found: String,
    },
    /// An enum without the entry that names its variant.
    #[error("no variant is named")]
    NoVariant,
}

/// Why a transaction became no change. The replica is as it was before, whichever it is.
#[derive(Debug, Error)]
pub enum TransactError {
    /// The closure wrote nothing, so there is nothing to sign.
    #[error("nothing was written")]
    Nothing,
    /// A write broke a limit of the protocol, or an index lay outside. It was the first to fail; what followed was not looked at.
    #[error(transparent)]
    Write(#[from] TxError),
    /// A Rust value has no JSON form that the protocol can carry.
    #[error("at {path:?}: {error}")]
    Value {
        /// Where it should have been written, as a JSON pointer.
        path: String,
        /// Why it cannot.
        error: ValueError,
    },
    /// A handle of another place (or of an ended transaction) was assigned to a field. Handles say where something stands; assign a value made
    /// with `From` or `Default` instead.
    #[error("at {path:?}: a handle of another place was assigned; assign a new value instead")]
    Moved {
        /// The field, as a JSON pointer.
        path: String,
    },
    /// A path of untyped access leads nowhere.
    #[error("at {path:?}: {problem}")]
    Path {
        /// The path that was asked for.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The closure of [`BaseCrdt::try_transact`](super::BaseCrdt::try_transact) gave up.
    #[error("the transaction was given up")]
    Aborted,
    /// The replica could not sign or take the change.
    #[error(transparent)]
    Replica(ReplicaError),
}

/// Why a change was refused. Whose fault it is differs, so the cases never mix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The bytes are no change, or one of another document. The sender is to blame.
    #[error("the change is malformed: {0}")]
    Malformed(String),
    /// The signature is not good. Nothing is remembered about the id: anybody can put a wrong signature on a true change.
    #[error("the signature is not good")]
    Unauthenticated,
    /// The change contradicts its own past. Its author is to blame.
    #[error("the change is invalid: {0}")]
    Invalid(Invalid),
    /// The author forked its own chain, and no change of an honest author depends on this one.
    #[error("the author has been proven to equivocate")]
    HeldBack,
    /// The quota for changes that wait is used up; it can be fetched again.
    #[error("the quota of waiting changes is used up")]
    Dropped,
}

/// What became of a change that was not refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied<E> {
    /// It is part of the document now, perhaps together with others that had waited for it: this is what happened.
    Merged(Vec<E>),
    /// It was part of the document before.
    AlreadyKnown,
    /// It waits for changes that are not there yet.
    Waiting {
        /// Their ids.
        missing: Vec<ChangeId>,
    },
    /// It uses operations that this build does not know, and waits for a build that does.
    Unsupported,
}

/// A kind in words.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Register => "a register",
        Kind::MultiRegister => "a multi-value register",
        Kind::Counter => "a counter",
        Kind::Map => "a map",
        Kind::List => "a list",
        Kind::Text => "a text",
    }
}
