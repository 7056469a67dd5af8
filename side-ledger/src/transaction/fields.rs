//! Reads and writes the bodies of kinds whose body is an object with exactly these members.
//!
//! Every body has one form: what was read is written back as the same value. So a kind keeps what it understood and no copy of what was said.

use std::collections::{BTreeMap, HashSet};

use bft_json_crdt::change::MAX_SAFE;
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::value::Value;

use super::TransactionError;

/// A kind of transaction whose body is an object.
pub trait Body: Sized {
    /// The kind's name.
    const KIND: &'static str;
    /// The members of its body.
    const FIELDS: &'static [&'static str];

    /// Reads the members of a body that has exactly [`Body::FIELDS`].
    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError>;

    /// The members, in any order.
    fn write(&self) -> Vec<(&'static str, Value)>;

    /// Reads a body.
    fn from_body(body: &Value) -> Result<Self, TransactionError> {
        Self::from_body_with(body, None)
    }

    /// [`Body::from_body`] by somebody who knows good keys already.
    fn from_body_with(body: &Value, keys: Option<&HashSet<AuthorId>>) -> Result<Self, TransactionError> {
        Self::read(&Fields { keys, ..Fields::new(Self::KIND, Self::FIELDS, body)? })
    }

    /// The body that [`Body::from_body`] reads as this.
    fn to_body(&self) -> Value {
        object(self.write())
    }
}

/// An object of these members.
pub fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A key, or another 32 bytes, as bodies carry it.
pub fn hex(bytes: &[u8; 32]) -> Value {
    Value::String(::hex::encode(bytes))
}

/// The members of an object, with errors that name them.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    kind: &'static str,
    object: &'a BTreeMap<String, Value>,
    /// Keys that were found good: checking one costs as much as checking a signature in a batch.
    keys: Option<&'a HashSet<AuthorId>>,
}

impl<'a> Fields<'a> {
    /// Opens an object that has exactly the members `names`.
    pub fn new(kind: &'static str, names: &[&str], value: &'a Value) -> Result<Self, TransactionError> {
        match value {
            Value::Object(object)
                if object.len() == names.len() && names.iter().all(|name| object.contains_key(*name)) =>
            {
                Ok(Self { kind, object, keys: None })
            }
            _ => Err(TransactionError::Body { kind, field: "its members", problem: "are not those of this kind" }),
        }
    }

    /// The error that this member is not as it should be.
    pub fn fault(&self, field: &'static str, problem: &'static str) -> TransactionError {
        TransactionError::Body { kind: self.kind, field, problem }
    }

    fn get(&self, field: &'static str) -> Result<&'a Value, TransactionError> {
        self.object.get(field).ok_or_else(|| self.fault(field, "is missing"))
    }

    /// A text.
    pub fn text(&self, field: &'static str) -> Result<&'a str, TransactionError> {
        match self.get(field)? {
            Value::String(text) => Ok(text),
            _ => Err(self.fault(field, "is not a text")),
        }
    }

    /// A whole number from 0 to [`MAX_SAFE`].
    pub fn number(&self, field: &'static str) -> Result<u64, TransactionError> {
        match self.get(field)? {
            Value::Int(number) => u64::try_from(*number).ok().filter(|number| *number <= MAX_SAFE),
            _ => None,
        }
        .ok_or_else(|| self.fault(field, "is not a whole number from 0 to 2^53 - 1"))
    }

    /// An amount of the group's smallest unit: 1 to 2⁶⁴ − 1.
    pub fn amount(&self, field: &'static str) -> Result<u64, TransactionError> {
        match self.get(field)? {
            Value::Int(number) => u64::try_from(*number).ok().filter(|number| *number > 0),
            _ => None,
        }
        .ok_or_else(|| self.fault(field, "is not an amount from 1 to 2^64 - 1"))
    }

    /// 32 bytes in lower-case hexadecimal digits.
    pub fn bytes32(&self, field: &'static str) -> Result<[u8; 32], TransactionError> {
        bytes(self.text(field)?).ok_or_else(|| self.fault(field, "is not 64 lower-case hexadecimal digits"))
    }

    /// 64 bytes in lower-case hexadecimal digits.
    pub fn bytes64(&self, field: &'static str) -> Result<[u8; 64], TransactionError> {
        bytes(self.text(field)?).ok_or_else(|| self.fault(field, "is not 128 lower-case hexadecimal digits"))
    }

    /// A member's key.
    pub fn key(&self, field: &'static str) -> Result<AuthorId, TransactionError> {
        let bytes = self.bytes32(field)?;
        if let Some(known) = self.keys.and_then(|keys| keys.get(&bytes)) {
            return Ok(*known);
        }
        AuthorId::from_bytes(bytes).map_err(|_| self.fault(field, "is not an acceptable key"))
    }

    /// 1 to `most` keys, strictly ascending.
    pub fn keys(&self, field: &'static str, most: usize) -> Result<Vec<AuthorId>, TransactionError> {
        let Value::Array(elements) = self.get(field)? else { return Err(self.fault(field, "is not a list of keys")) };
        if !(1..=most).contains(&elements.len()) {
            return Err(self.fault(field, "has too few or too many keys"));
        }
        let mut keys: Vec<AuthorId> = Vec::with_capacity(elements.len());
        for element in elements {
            let Value::String(text) = element else { return Err(self.fault(field, "is not a list of keys")) };
            let key = bytes(text).and_then(|bytes| AuthorId::from_bytes(bytes).ok());
            let key = key.ok_or_else(|| self.fault(field, "has something that is not an acceptable key"))?;
            if keys.last().is_some_and(|last| *last >= key) {
                return Err(self.fault(field, "does not strictly ascend"));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// An object with exactly the members `names`.
    pub fn object(&self, field: &'static str, names: &[&str]) -> Result<Fields<'a>, TransactionError> {
        Fields::new(self.kind, names, self.get(field)?).map_err(|_| self.fault(field, "has not the right members"))
    }
}

/// Upper-case digits would be a second form of the same body.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    ::hex::decode_to_slice(text, &mut bytes).ok()?;
    (!text.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(bytes)
}
