//! How members decide: who seals, who is a member or a voter, and what the group's parameters are.
//!
//! `vote.member` and `vote.parameter` count when a block seals them. `vote.sealers` counts as soon as it is signed, since the sealer whom it replaces may
//! be the one who seals nothing; a block that seals it changes nothing more.

use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::value::Value;

use super::TransactionError;
use super::fields::{Body, Fields, hex, object};
use crate::block::{BlockId, Epoch, Height, Rank, Recovery, SetNumber};

/// Most sealers that a vote names: all founders of the largest group.
pub const MAX_SEALERS: usize = crate::genesis::MAX_FOUNDERS;

/// A block as a vote names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeldBlock {
    /// Its rank. Height 0 stands for the beginning of the chain.
    pub rank: Rank,
    /// Its id; [`BlockId::origin`] at height 0.
    pub id: BlockId,
}

/// `vote.sealers`: from this epoch on, these keys shall seal. It binds its voter against the blocks of every lower epoch of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealersVote {
    /// The recovery.
    pub recovery: Recovery,
    /// The set of voters that the author votes in.
    pub set: SetNumber,
    /// The epoch that begins; at least 1.
    pub epoch: Epoch,
    /// Who shall seal: 1 to [`MAX_SEALERS`] keys, strictly ascending. One in leader mode.
    pub sealers: Vec<AuthorId>,
    /// The highest block that the voter holds.
    pub highest: HeldBlock,
}

const RANK: [&str; 5] = ["block", "epoch", "height", "recovery", "set"];

impl Body for SealersVote {
    const KIND: &'static str = "vote.sealers";
    const FIELDS: &'static [&'static str] = &["epoch", "highest", "recovery", "sealers", "set"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        let highest = fields.object("highest", &RANK)?;
        let vote = Self {
            recovery: Recovery(fields.number("recovery")?),
            set: SetNumber(fields.number("set")?),
            epoch: Epoch(fields.number("epoch")?),
            sealers: fields.keys("sealers", MAX_SEALERS)?,
            highest: HeldBlock {
                rank: Rank {
                    recovery: Recovery(highest.number("recovery")?),
                    set: SetNumber(highest.number("set")?),
                    epoch: Epoch(highest.number("epoch")?),
                    height: Height(highest.number("height")?),
                },
                id: BlockId(highest.bytes32("block")?),
            },
        };
        if vote.epoch.0 == 0 {
            return Err(fields.fault("epoch", "is 0, which no vote begins"));
        }
        Ok(vote)
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        let number = |number: u64| Value::Int(number.into());
        let rank = self.highest.rank;
        let highest = object([
            ("block", hex(&self.highest.id.0)),
            ("epoch", number(rank.epoch.0)),
            ("height", number(rank.height.0)),
            ("recovery", number(rank.recovery.0)),
            ("set", number(rank.set.0)),
        ]);
        vec![
            ("epoch", number(self.epoch.0)),
            ("highest", highest),
            ("recovery", number(self.recovery.0)),
            ("sealers", Value::Array(self.sealers.iter().map(|key| hex(key.as_bytes())).collect())),
            ("set", number(self.set.0)),
        ]
    }
}

/// What a key is in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Neither member nor voter.
    None,
    /// A member: what it signs counts. In an open group everybody is one.
    Member,
    /// A member that votes.
    Voter,
}

impl Role {
    const ALL: [(Self, &'static str); 3] = [(Self::None, "none"), (Self::Member, "member"), (Self::Voter, "voter")];

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// `vote.member`: this key shall have this role. Counts once more than two thirds of the set have said the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberVote {
    /// The set of voters that the author votes in.
    pub set: SetNumber,
    /// Who is voted on.
    pub key: AuthorId,
    /// What the key shall be.
    pub role: Role,
}

impl Body for MemberVote {
    const KIND: &'static str = "vote.member";
    const FIELDS: &'static [&'static str] = &["key", "role", "set"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        let word = fields.text("role")?;
        let role = Role::ALL.into_iter().find_map(|(role, name)| (name == word).then_some(role));
        Ok(Self {
            set: SetNumber(fields.number("set")?),
            key: fields.key("key")?,
            role: role.ok_or_else(|| fields.fault("role", "is none of none, member, voter"))?,
        })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("key", hex(self.key.as_bytes())),
            ("role", Value::String(self.role.name().into())),
            ("set", Value::Int(self.set.0.into())),
        ]
    }
}

/// What the members can set by vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Parameter {
    /// The least time between blocks, in milliseconds.
    IntervalMs,
    /// The most changes that one block seals.
    BlockChanges,
}

impl Parameter {
    const ALL: [(Self, &'static str); 2] = [(Self::IntervalMs, "interval_ms"), (Self::BlockChanges, "block_changes")];

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    fn allows(self, value: u64) -> bool {
        use crate::genesis::{MAX_BLOCK_CHANGES, MAX_INTERVAL_MS, MIN_INTERVAL_MS};
        match self {
            Self::IntervalMs => (MIN_INTERVAL_MS..=MAX_INTERVAL_MS).contains(&value),
            Self::BlockChanges => (1..=MAX_BLOCK_CHANGES).contains(&value),
        }
    }
}

/// `vote.parameter`: this parameter shall have this value, within the bounds of the genesis. Counts like [`MemberVote`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterVote {
    /// The set of voters that the author votes in.
    pub set: SetNumber,
    /// Which one.
    pub parameter: Parameter,
    /// The value.
    pub value: u64,
}

impl Body for ParameterVote {
    const KIND: &'static str = "vote.parameter";
    const FIELDS: &'static [&'static str] = &["name", "set", "value"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        let word = fields.text("name")?;
        let parameter = Parameter::ALL.into_iter().find_map(|(one, name)| (name == word).then_some(one));
        let parameter = parameter.ok_or_else(|| fields.fault("name", "is no parameter"))?;
        let value = fields.number("value")?;
        if !parameter.allows(value) {
            return Err(fields.fault("value", "is out of range"));
        }
        Ok(Self { set: SetNumber(fields.number("set")?), parameter, value })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", Value::String(self.parameter.name().into())),
            ("set", Value::Int(self.set.0.into())),
            ("value", Value::Int(self.value.into())),
        ]
    }
}

/// `voter.ask`: the author runs, holds this block, and asks to become a voter of an open group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterAsk {
    /// A recent block that the author holds; [`BlockId::origin`] before the first.
    pub block: BlockId,
}

impl Body for VoterAsk {
    const KIND: &'static str = "voter.ask";
    const FIELDS: &'static [&'static str] = &["block"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { block: BlockId(fields.bytes32("block")?) })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![("block", hex(&self.block.0))]
    }
}

/// `set.close`: the sealer ends the set of voters with the block that seals this; what was decided about voters holds from the next block on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetClose {
    /// The set that ends.
    pub set: SetNumber,
}

impl Body for SetClose {
    const KIND: &'static str = "set.close";
    const FIELDS: &'static [&'static str] = &["set"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { set: SetNumber(fields.number("set")?) })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![("set", Value::Int(self.set.0.into()))]
    }
}
