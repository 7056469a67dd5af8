//! What members say to the ledger: `{ version, kind, body }`, one JSON object a transaction (docs/protocol.md, section "Transactions").
//!
//! Kinds grow: a build keeps and shows kinds that it does not know. What a known kind's body must look like decides only how the
//! transaction is read, never whether the change that carries it is valid.
//!
//! A further kind is a type with [`fields::Body`] in a file of its own, and a line in [`Known`].

pub mod fields;
pub mod key;
pub mod swap;
pub mod transfer;
pub mod vote;

use std::collections::HashSet;

use bft_json_crdt::change::MAX_SAFE;
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::value::Value;
use thiserror::Error;

use self::fields::{Body, Fields};
pub use self::key::{KeyApprove, KeyRotate};
pub use self::swap::{SwapAccept, SwapCancel, SwapFunded, SwapOffer};
pub use self::transfer::Transfer;
pub use self::vote::{HeldBlock, MemberVote, ParameterVote, SealersVote, SetClose, VoterAsk};
use crate::names::{Name, NameError};

/// The key of the list in the document's root that transactions are inserted into.
pub const TRANSACTIONS_KEY: &str = "transactions";
/// The version of the envelope and of the known kinds' bodies.
pub const TRANSACTION_VERSION: u64 = 1;
/// The kind of a note.
const NOTE: &str = "note";
/// The kind of a name claim.
const NAME: &str = "name";
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
    /// A member of a body is not as its kind asks for.
    #[error("the body of a `{kind}` is not good: {field} {problem}")]
    Body {
        /// The kind.
        kind: &'static str,
        /// The member.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
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

macro_rules! known {
    ($($(#[$doc:meta])* $variant:ident($type:ty),)*) => {
        /// A transaction as this build understands it.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Known {
            /// A free text.
            Note(String),
            /// The author wants to be called so.
            Name(Name),
            $($(#[$doc])* $variant($type),)*
            /// A kind or version that this build does not know. Kept and shown.
            Unknown(Transaction),
        }

        /// Reads a body of one of the kinds that are objects.
        fn read_body(
            kind: &str,
            body: &Value,
            keys: Option<&HashSet<AuthorId>>,
        ) -> Option<Result<Known, TransactionError>> {
            $(if kind == <$type as Body>::KIND {
                return Some(<$type as Body>::from_body_with(body, keys).map(Known::$variant));
            })*
            None
        }

        $(impl From<$type> for Transaction {
            fn from(body: $type) -> Self {
                Known::$variant(body).transaction()
            }
        })*

        impl Known {
            /// The transaction that reads as this: the very one that was read.
            pub fn transaction(&self) -> Transaction {
                let (kind, body) = match self {
                    Self::Note(text) => (NOTE, Value::String(text.clone())),
                    Self::Name(name) => return Transaction::name(name),
                    $(Self::$variant(body) => (<$type as Body>::KIND, body.to_body()),)*
                    Self::Unknown(transaction) => return transaction.clone(),
                };
                Transaction { version: TRANSACTION_VERSION, kind: kind.to_owned(), body }
            }

            /// The kind of the transaction that reads as this.
            pub fn kind(&self) -> &str {
                match self {
                    Self::Note(_) => NOTE,
                    Self::Name(_) => NAME,
                    $(Self::$variant(_) => <$type as Body>::KIND,)*
                    Self::Unknown(transaction) => &transaction.kind,
                }
            }
        }
    };
}

known! {
    /// The author gives some of the group's unit to a key.
    Transfer(Transfer),
    /// Others shall seal.
    SealersVote(SealersVote),
    /// A key shall have a role.
    MemberVote(MemberVote),
    /// A parameter shall have a value.
    ParameterVote(ParameterVote),
    /// The author asks to become a voter.
    VoterAsk(VoterAsk),
    /// The sealer ends the set of voters.
    SetClose(SetClose),
    /// The author wants a new key in the place of its own.
    KeyRotate(KeyRotate),
    /// A voter agrees to such a rotation.
    KeyApprove(KeyApprove),
    /// The author offers a swap of coins to a member.
    SwapOffer(SwapOffer),
    /// The author accepts an offer.
    SwapAccept(SwapAccept),
    /// The author has locked the coins.
    SwapFunded(SwapFunded),
    /// The author withdraws from a swap.
    SwapCancel(SwapCancel),
}

impl Known {
    /// Whether it is about a swap of coins.
    pub fn is_swap(&self) -> bool {
        matches!(self, Self::SwapOffer(_) | Self::SwapAccept(_) | Self::SwapFunded(_) | Self::SwapCancel(_))
    }
}

impl Transaction {
    /// Whether its kind counts only in groups with the rule that keys can be rotated. Elsewhere it is read as a kind that nobody knows, whatever its body is, as
    /// builds that do not know it read it.
    pub(crate) fn is_about_keys(&self) -> bool {
        [KeyRotate::KIND, KeyApprove::KIND].contains(&self.kind.as_str())
    }

    /// A note. `limit` is the group's [`crate::genesis::Limits::note_bytes`].
    pub fn note(text: &str, limit: u64) -> Result<Self, TransactionError> {
        check_note(text, limit)?;
        Ok(Self { version: TRANSACTION_VERSION, kind: NOTE.into(), body: Value::String(text.into()) })
    }

    /// The author's claim to a name.
    pub fn name(name: &Name) -> Self {
        let body = fields::object([("name", Value::String(name.as_str().into()))]);
        Self { version: TRANSACTION_VERSION, kind: NAME.into(), body }
    }

    /// The list element that stands for it.
    pub fn to_value(&self) -> Value {
        fields::object([
            ("version", Value::Int(self.version.into())),
            ("kind", Value::String(self.kind.clone())),
            ("body", self.body.clone()),
        ])
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
        self.known_with(note_bytes, None)
    }

    /// [`Transaction::known`] by somebody who has found these keys good before.
    pub(crate) fn known_with(
        self,
        note_bytes: u64,
        keys: Option<&HashSet<AuthorId>>,
    ) -> Result<Known, TransactionError> {
        if self.version != TRANSACTION_VERSION {
            return Ok(Known::Unknown(self));
        }
        match self.kind.as_str() {
            NOTE => match self.body {
                Value::String(text) => {
                    check_note(&text, note_bytes)?;
                    Ok(Known::Note(text))
                }
                _ => Err(TransactionError::NoteBody),
            },
            NAME => Ok(Known::Name(Name::new(Fields::new(NAME, &["name"], &self.body)?.text("name")?)?)),
            kind => read_body(kind, &self.body, keys).unwrap_or(Ok(Known::Unknown(self))),
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
    use bft_json_crdt::identity::Keypair;

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
        for (version, kind) in [(1, "contract.call"), (2, "note"), (9, "name"), (2, "transfer")] {
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

    fn samples() -> Vec<Transaction> {
        use crate::block::{BlockId, Epoch, Height, Rank, Recovery, SetNumber};
        use vote::{Parameter, Role};
        let key = |seed: u8| Keypair::from_seed(&[seed; 32]).author();
        let mut sealers = vec![key(1), key(2)];
        sealers.sort_unstable();
        let rank = Rank { recovery: Recovery(1), set: SetNumber(2), epoch: Epoch(3), height: Height(400) };
        let highest = HeldBlock { rank, id: BlockId([7; 32]) };
        let (recovery, set, epoch) = (Recovery(1), SetNumber(2), Epoch(4));
        vec![
            Transfer { to: key(3), amount: u64::MAX }.into(),
            SealersVote { recovery, set, epoch, sealers, highest }.into(),
            MemberVote { set, key: key(4), role: Role::Voter }.into(),
            ParameterVote { set, parameter: Parameter::BlockChanges, value: 17 }.into(),
            VoterAsk { block: BlockId([9; 32]) }.into(),
            SetClose { set }.into(),
            KeyRotate::sign(crate::genesis::GroupId([1; 32]), &key(5), &Keypair::from_seed(&[6; 32])).into(),
            KeyApprove { set, old: key(5), new: key(6) }.into(),
        ]
    }

    /// One line a kind: the value's encoding (docs/protocol.md, section 4.6).
    #[test]
    fn the_golden_transactions_keep_their_bytes() {
        let mut lines = String::new();
        for transaction in samples() {
            let mut bytes = Vec::new();
            transaction.to_value().encode(&mut bytes).unwrap();
            lines += &(hex::encode(&bytes) + "\n");
            let read = Transaction::from_value(&Value::decode(&bytes).unwrap()).unwrap();
            assert_eq!(read.clone().known(LIMIT).unwrap().transaction(), read);
        }
        assert_eq!(lines, include_str!("../../tests/golden/transactions.hex"));
    }

    #[test]
    fn every_body_has_one_form_and_whatever_else_stands_in_it_is_named() {
        for transaction in samples() {
            let Value::Object(body) = &transaction.body else { panic!("an object") };
            for field in body.keys() {
                let others = [
                    Value::Null,
                    Value::Int(-1),
                    Value::Int(1 << 64),
                    Value::Float(1.0),
                    text("x"),
                    Value::Array(vec![]),
                    Value::Array(vec![Value::Null]),
                    object([]),
                    body[field].clone(),
                ];
                for other in others {
                    let mut changed = body.clone();
                    changed.insert(field.clone(), other.clone());
                    let changed = Transaction { body: Value::Object(changed), ..transaction.clone() };
                    let fits = other == body[field];
                    assert_eq!(changed.known(LIMIT).is_ok(), fits, "{field} of {}: {other:?}", transaction.kind);
                }
                if let Value::String(word) = &body[field] {
                    let mut upper = body.clone();
                    upper.insert(field.clone(), text(&word.to_uppercase()));
                    let upper = Transaction { body: Value::Object(upper), ..transaction.clone() };
                    assert!(word.to_uppercase() == *word || upper.known(LIMIT).is_err());
                }
                let mut missing = body.clone();
                missing.remove(field);
                assert!(Transaction { body: Value::Object(missing), ..transaction.clone() }.known(LIMIT).is_err());
            }
            let mut more = body.clone();
            more.insert("more".into(), Value::Null);
            assert!(Transaction { body: Value::Object(more), ..transaction.clone() }.known(LIMIT).is_err());
        }
    }

    #[test]
    fn amounts_epochs_and_lists_of_keys_keep_their_bounds() {
        let with = |kind: &str, body: Value| Transaction { version: 1, kind: kind.into(), body }.known(LIMIT);
        let [transfer, sealers, _, parameter, ..] = &samples()[..] else { panic!("six samples") };
        let edit = |of: &Transaction, field: &str, value: Value| {
            let Value::Object(mut body) = of.body.clone() else { panic!("an object") };
            body.insert(field.into(), value);
            with(&of.kind, Value::Object(body))
        };
        assert!(edit(transfer, "amount", Value::Int(0)).is_err());
        assert!(edit(transfer, "amount", Value::Int(1)).is_ok());
        assert!(edit(transfer, "to", text(&"00".repeat(32))).is_err(), "a key of small order");
        assert!(edit(sealers, "epoch", Value::Int(0)).is_err());
        let Value::Object(body) = &sealers.body else { panic!("an object") };
        let Value::Array(keys) = &body["sealers"] else { panic!("a list") };
        let list = |keys: &[&Value]| Value::Array(keys.iter().copied().cloned().collect());
        assert!(edit(sealers, "sealers", list(&[&keys[1], &keys[0]])).is_err());
        assert!(edit(sealers, "sealers", list(&[&keys[0], &keys[0]])).is_err());
        assert!(edit(sealers, "sealers", list(&[&keys[0]])).is_ok());
        assert!(edit(parameter, "value", Value::Int(0)).is_err());
        assert!(edit(parameter, "value", Value::Int(1_000_001)).is_err());
    }

    #[test]
    fn bodies_that_do_not_fit_their_kind_are_named() {
        use TransactionError::*;
        let with = |kind: &str, body: Value| Transaction { version: 1, kind: kind.into(), body }.known(LIMIT);
        assert_eq!(with("note", Value::Null), Err(NoteBody));
        assert_eq!(with("note", text("")), Err(NoteEmpty));
        assert_eq!(with("note", text(&"x".repeat(33))), Err(NoteTooLong { found: 33, limit: 32 }));
        let fault = |kind, field, problem| Err(Body { kind, field, problem });
        let members = fault("name", "its members", "are not those of this kind");
        assert_eq!(with("name", text("node1")), members);
        assert_eq!(with("name", object([("name", Value::Int(1))])), fault("name", "name", "is not a text"));
        assert_eq!(with("name", object([("name", text("a")), ("b", Value::Null)])), members);
        assert_eq!(with("name", object([("name", text("../x"))])), Err(Name(NameError::Character('/'))));
    }
}
