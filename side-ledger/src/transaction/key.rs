//! How a member's key is rotated: its owner says which key is to take its place, and the voters approve (docs/protocol.md, section "Rotation of a key").
//!
//! These kinds count in groups whose genesis has the [rule](crate::genesis::Rules::Rotation); elsewhere they are kinds without a meaning.

use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bft_json_crdt::value::Value;
use bft_json_crdt::verify::verify;

use super::TransactionError;
use super::fields::{Body, Fields, hex};
use crate::block::SetNumber;
use crate::genesis::GroupId;

/// Domain of the new key's signature.
pub const ROTATE_DOMAIN: &str = "side/1/rotate";

/// `key.rotate`: the author wants this key in the place of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotate {
    /// The new key.
    pub new: AuthorId,
    /// The new key's signature: whoever has it wants this too.
    pub proof: Signature,
}

impl KeyRotate {
    /// What the owner of both keys writes with the old one.
    pub fn sign(group: GroupId, old: &AuthorId, new: &Keypair) -> Self {
        let proof = new.sign(ROTATE_DOMAIN, &proven(group, old, &new.author()));
        Self { new: new.author(), proof }
    }

    /// Whether the new key agrees to take the place of `old` in this group.
    pub fn is_proven(&self, group: GroupId, old: &AuthorId) -> bool {
        verify(&self.new, ROTATE_DOMAIN, &proven(group, old, &self.new), &self.proof)
    }
}

fn proven(group: GroupId, old: &AuthorId, new: &AuthorId) -> Vec<u8> {
    [group.0, *old.as_bytes(), *new.as_bytes()].concat()
}

impl Body for KeyRotate {
    const KIND: &'static str = "key.rotate";
    const FIELDS: &'static [&'static str] = &["new", "proof"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { new: fields.key("new")?, proof: Signature(fields.bytes64("proof")?) })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![("new", hex(self.new.as_bytes())), ("proof", Value::String(::hex::encode(self.proof.0)))]
    }
}

/// `key.approve`: the author, a voter, agrees that `new` takes the place of `old`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyApprove {
    /// The set of voters that the author votes in.
    pub set: SetNumber,
    /// The key that is to be retired.
    pub old: AuthorId,
    /// The key that takes its place.
    pub new: AuthorId,
}

impl Body for KeyApprove {
    const KIND: &'static str = "key.approve";
    const FIELDS: &'static [&'static str] = &["new", "old", "set"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { set: SetNumber(fields.number("set")?), old: fields.key("old")?, new: fields.key("new")? })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("new", hex(self.new.as_bytes())),
            ("old", hex(self.old.as_bytes())),
            ("set", Value::Int(self.set.0.into())),
        ]
    }
}
