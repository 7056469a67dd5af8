//! `transfer`: the author gives some of the group's unit to a key.

use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::value::Value;

use super::TransactionError;
use super::fields::{Body, Fields, hex};

/// An intent to give `amount` to `to`. It takes effect when a block seals it and the author owns that much then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Who receives. Any key, also one that has written nothing yet.
    pub to: AuthorId,
    /// How much, in the group's smallest unit; at least 1.
    pub amount: u64,
}

impl Body for Transfer {
    const KIND: &'static str = "transfer";
    const FIELDS: &'static [&'static str] = &["amount", "to"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { to: fields.key("to")?, amount: fields.amount("amount")? })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![("amount", Value::Int(self.amount.into())), ("to", hex(self.to.as_bytes()))]
    }
}
