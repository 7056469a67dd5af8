//! What members say to the ledger: `{ version, kind, body }`, one JSON object a transaction (docs/protocol.md, section "Transactions").
//!
//! Kinds grow: a build keeps and shows kinds that it does not know. What a known kind's body must look like decides only how the
//! transaction is read, never whether the change that carries it is valid.

use std::collections::BTreeMap;

use bft_json_crdt::change::MAX_SAFE;
use bft_json_crdt::value::Value;
use thiserror::Error;

use crate::names::{Name, NameError};

/// The key of the list in the document's root that transactions are inserted into.
pub const TRANSACTIONS_KEY: &str = "transactions";
/// The version of the envelope and of the known kinds' bodies.
pub const TRANSACTION_VERSION: u64 = 1;
/// Most bytes of a note in any group (its genesis may say less): a note is something that a person types.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;
/// Most bytes of a kind's name.
pub const MAX_KIND_BYTES: usize = 64;
/// Most transactions that count in one change, so that a few run-length bytes cannot fill the memory of every member.
pub const MAX_TRANSACTIONS: usize = 4096;

/// Why a value is not a transaction, or its body not one of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// The value is no object with exactly `version`, `kind` and `body`.
    #[error("a transaction is an object with `version`, `kind` and `body`")]
    Shape,
    /// `version` is no integer from 1 to 2^53 - 1.
    #[error("`version` is a whole number from 1 to 2^53 - 1")]
    Version,
    /// `kind` is no short lower-case word.
    #[error("`kind` is 1 to {MAX_KIND_BYTES} characters out of a-z, 0-9, `-`, `_`, `.`")]
    Kind,
    /// A note's body is no text.
    #[error("the body of a note is a text")]
    NoteBody,
    /// A note is empty.
    #[error("a note has at least one character")]
    NoteEmpty,
    /// A note is longer than the group allows.
    #[error("a note has at most {limit} bytes, this one has {found}")]
    NoteTooLong {
        /// How long it is, in bytes.
        found: usize,
        /// What the group allows, in bytes.
        limit: usize,
    },
    /// A name claim's body is no object with exactly a text `name`.
    #[error("the body of a name claim is an object with a text `name`")]
    NameBody,
    /// The claimed name is not acceptable.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The element is a container, which others could change: transactions never change.
    #[error("a transaction is a value that never changes, not a container")]
    Container,
    /// The change carries more transactions than count.
    #[error("only the first {MAX_TRANSACTIONS} transactions of a change count")]
    TooMany,
}

/// One transaction, its body not yet looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// The version of the kind's body, 1 to [`MAX_SAFE`].
    pub version: u64,
    /// What it is. Invariant: 1 to [`MAX_KIND_BYTES`] characters out of `[a-z0-9._-]`.
    pub kind: String,
    /// What it says.
    pub body: Value,
}

/// A transaction as this build understands it.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// A free text.
    Note(String),
    /// The author wants to be called so.
    Name(Name),
    /// A kind or version that this build does not know. Kept and shown.
    Unknown(Transaction),
}

impl Transaction {
    /// A note. `limit` is the group's [`crate::genesis::Limits::note_bytes`].
    pub fn note(text: &str, limit: u64) -> Result<Self, TransactionError> {
        check_note(text, limit)?;
        Ok(Self { version: TRANSACTION_VERSION, kind: "note".into(), body: Value::String(text.into()) })
    }

    /// The author's claim to a name.
    pub fn name(name: &Name) -> Self {
        let body = BTreeMap::from([("name".to_owned(), Value::String(name.as_str().into()))]);
        Self { version: TRANSACTION_VERSION, kind: "name".into(), body: Value::Object(body) }
    }

    /// The list element that stands for it.
    pub fn to_value(&self) -> Value {
        Value::Object(BTreeMap::from([
            ("version".to_owned(), Value::Int(self.version.into())),
            ("kind".to_owned(), Value::String(self.kind.clone())),
            ("body".to_owned(), self.body.clone()),
        ]))
    }

    /// Reads the envelope of a list element.
    pub fn from_value(value: &Value) -> Result<Self, TransactionError> {
        let Value::Object(object) = value else { return Err(TransactionError::Shape) };
        let (Some(version), Some(kind), Some(body), 3) =
            (object.get("version"), object.get("kind"), object.get("body"), object.len())
        else {
            return Err(TransactionError::Shape);
        };
        let version = match version {
            Value::Int(version) => u64::try_from(*version).ok().filter(|v| (1..=MAX_SAFE).contains(v)),
            _ => None,
        };
        let version = version.ok_or(TransactionError::Version)?;
        let kind = match kind {
            Value::String(kind) if is_kind(kind) => kind.clone(),
            _ => return Err(TransactionError::Kind),
        };
        Ok(Self { version, kind, body: body.clone() })
    }

    /// Reads the body of a known kind; an unknown kind, or a later version of a known one, is passed on as it is. `note_bytes` is the
    /// group's limit.
    pub fn known(self, note_bytes: u64) -> Result<Known, TransactionError> {
        match (self.kind.as_str(), self.version) {
            ("note", TRANSACTION_VERSION) => match self.body {
                Value::String(text) => {
                    check_note(&text, note_bytes)?;
                    Ok(Known::Note(text))
                }
                _ => Err(TransactionError::NoteBody),
            },
            ("name", TRANSACTION_VERSION) => match &self.body {
                Value::Object(object) if object.len() == 1 => match object.get("name") {
                    Some(Value::String(name)) => Ok(Known::Name(Name::new(name)?)),
                    _ => Err(TransactionError::NameBody),
                },
                _ => Err(TransactionError::NameBody),
            },
            _ => Ok(Known::Unknown(self)),
        }
    }
}

fn check_note(text: &str, limit: u64) -> Result<(), TransactionError> {
    let limit = limit.min(MAX_NOTE_BYTES as u64) as usize;
    match text.len() {
        0 => Err(TransactionError::NoteEmpty),
        found if found > limit => Err(TransactionError::NoteTooLong { found, limit }),
        _ => Ok(()),
    }
}

fn is_kind(kind: &str) -> bool {
    (1..=MAX_KIND_BYTES).contains(&kind.len())
        && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 32;

    fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn known_kinds_read_back() {
        let note = Transaction::note("hello", LIMIT).unwrap();
        let read = Transaction::from_value(&note.to_value()).unwrap();
        assert_eq!(read, note);
        assert_eq!(read.known(LIMIT), Ok(Known::Note("hello".into())));
        let name = Name::new("node1").unwrap();
        let claim = Transaction::from_value(&Transaction::name(&name).to_value()).unwrap();
        assert_eq!(claim.known(LIMIT), Ok(Known::Name(name)));
    }

    #[test]
    fn unknown_kinds_and_later_versions_are_kept() {
        for (version, kind) in [(1, "transfer"), (2, "note"), (9, "name")] {
            let value = object([("version", Value::Int(version)), ("kind", text(kind)), ("body", Value::Null)]);
            let transaction = Transaction::from_value(&value).unwrap();
            assert_eq!(transaction.clone().known(LIMIT), Ok(Known::Unknown(transaction.clone())));
            assert_eq!(transaction.to_value(), value);
        }
    }

    #[test]
    fn envelopes_that_are_none_are_named() {
        use TransactionError::*;
        let envelope =
            |version: Value, kind: Value| object([("version", version), ("kind", kind), ("body", Value::Null)]);
        let cases = [
            (Value::Null, Shape),
            (object([]), Shape),
            (object([("version", Value::Int(1)), ("kind", text("note"))]), Shape),
            (
                object([("version", Value::Int(1)), ("kind", text("x")), ("body", Value::Null), ("y", Value::Null)]),
                Shape,
            ),
            (envelope(Value::Int(0), text("x")), Version),
            (envelope(Value::Int(-1), text("x")), Version),
            (envelope(Value::Int(1 << 60), text("x")), Version),
            (envelope(Value::Float(1.0), text("x")), Version),
            (envelope(Value::Int(1), text("")), Kind),
            (envelope(Value::Int(1), text("Note")), Kind),
            (envelope(Value::Int(1), text(&"x".repeat(65))), Kind),
            (envelope(Value::Int(1), Value::Int(1)), Kind),
        ];
        for (value, error) in cases {
            assert_eq!(Transaction::from_value(&value), Err(error), "{value:?}");
        }
    }

    #[test]
    fn bodies_that_do_not_fit_their_kind_are_named() {
        use TransactionError::*;
        let with = |kind: &str, body: Value| Transaction { version: 1, kind: kind.into(), body }.known(LIMIT);
        assert_eq!(with("note", Value::Null), Err(NoteBody));
        assert_eq!(with("note", text("")), Err(NoteEmpty));
        assert_eq!(with("note", text(&"x".repeat(33))), Err(NoteTooLong { found: 33, limit: 32 }));
        assert_eq!(with("name", text("node1")), Err(NameBody));
        assert_eq!(with("name", object([("name", Value::Int(1))])), Err(NameBody));
        assert_eq!(with("name", object([("name", text("a")), ("b", Value::Null)])), Err(NameBody));
        assert_eq!(with("name", object([("name", text("../x"))])), Err(Name(NameError::Character('/'))));
    }
}
