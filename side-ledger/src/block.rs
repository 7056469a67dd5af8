//! The format of a block: a numbered statement that the history up to a *cut* came out as a certain ledger state
//! (docs/protocol.md, section "Blocks").
//!
//! A block carries no changes: it names the heads of the graph that it covers, and every node works out order and state itself. Who may seal,
//! and how, is not told by the block's bytes; signatures and certificates travel beside it.

use std::fmt;

use bft_json_crdt::change::{ChangeId, MAX_SAFE};
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use serde::Serialize;
use thiserror::Error;

use crate::genesis::GroupId;

/// Domain of a block's id.
pub const BLOCK_DOMAIN: &str = "side/1/block";
/// The version of the block format that this build reads and writes.
pub const BLOCK_VERSION: u64 = 1;
/// Most heads in a cut: a block stays below 33 kB. More heads are merged by acknowledging changes first.
pub const MAX_CUT: usize = 1024;
/// Most bytes of a block.
pub const MAX_BLOCK_BYTES: usize = 10 + 32 + 4 * 8 + 32 + 2 + 32 * MAX_CUT + 8 + 64;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// How often the members have restarted the chain after its sealers lost their quorum for good. At most [`MAX_SAFE`].
    Recovery
);
number!(
    /// The number of the set of voters. At most [`MAX_SAFE`].
    SetNumber
);
number!(
    /// How often the sealers were switched. At most [`MAX_SAFE`].
    Epoch
);
number!(
    /// How many blocks lie between the genesis and this one, itself counted: the first block has height 1. At most [`MAX_SAFE`].
    Height
);

/// A block's id: the hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub [u8; 32]);

impl BlockId {
    /// What the first block of a group names as its parent: the group's own id.
    pub fn origin(group: GroupId) -> Self {
        Self(group.0)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockId({})", hex::encode(&self.0[..4]))
    }
}

/// What blocks are compared by; never by height alone. The derived order is the rank order: recovery first, height last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Rank {
    /// The recovery.
    pub recovery: Recovery,
    /// The set of voters.
    pub set: SetNumber,
    /// The epoch.
    pub epoch: Epoch,
    /// The height.
    pub height: Height,
}

/// The parts of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The group that it belongs to.
    pub group: GroupId,
    /// The recovery under which it was sealed.
    pub recovery: Recovery,
    /// The set of voters that it was sealed under.
    pub set: SetNumber,
    /// The epoch.
    pub epoch: Epoch,
    /// Its height, from 1.
    pub height: Height,
    /// The block before; [`BlockId::origin`] at height 1.
    pub parent: BlockId,
    /// The heads of what it covers: it covers them and their causal past. Invariant: strictly ascending, at most [`MAX_CUT`]. Empty only
    /// while the group has no changes.
    pub cut: Vec<ChangeId>,
    /// The block's time in milliseconds since 1970-01-01 UTC, at most [`MAX_SAFE`]. What the ledger takes for "now".
    pub time_ms: u64,
    /// A commitment to the ledger state after this block.
    pub state_root: [u8; 32],
    /// A commitment to what each transaction of this block came to.
    pub receipts_root: [u8; 32],
}

/// Why something is not a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The bytes break the encoding.
    #[error("these bytes are not a block: {0}")]
    Encoding(#[from] DecodeError),
    /// A later version of Side wrote it.
    #[error("this block has version {0}, which this build does not know; update it")]
    Version(u64),
}

impl Block {
    /// The rank.
    pub fn rank(&self) -> Rank {
        Rank { recovery: self.recovery, set: self.set, epoch: self.epoch, height: self.height }
    }

    /// Checks the parts and gives the one encoding.
    pub fn encode(&self) -> Result<Vec<u8>, BlockError> {
        self.check()?;
        let mut out = Vec::with_capacity(180 + 32 * self.cut.len());
        out.put_varint(BLOCK_VERSION);
        out.put(&self.group.0);
        for number in [self.recovery.0, self.set.0, self.epoch.0, self.height.0] {
            out.put_varint(number);
        }
        out.put(&self.parent.0);
        out.put_varint(self.cut.len() as u64);
        for head in &self.cut {
            out.put(&head.0);
        }
        out.put_varint(self.time_ms);
        out.put(&self.state_root);
        out.put(&self.receipts_root);
        Ok(out)
    }

    /// Checks the parts and gives the id.
    pub fn id(&self) -> Result<BlockId, BlockError> {
        Ok(BlockId(hash(BLOCK_DOMAIN, &self.encode()?)))
    }

    /// Reads bytes that hold one block and nothing else. There is one encoding; every other is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let mut reader = Reader::new(bytes);
        let version = reader.varint()?;
        if version != BLOCK_VERSION {
            return Err(BlockError::Version(version));
        }
        let group = GroupId(reader.array()?);
        let recovery = Recovery(reader.varint()?);
        let set = SetNumber(reader.varint()?);
        let epoch = Epoch(reader.varint()?);
        let height = Height(reader.varint()?);
        let parent = BlockId(reader.array()?);
        let count = reader.count(32)?;
        if count > MAX_CUT {
            return Err(DecodeError::Rule("a cut has too many heads").into());
        }
        let mut cut = Vec::with_capacity(count);
        for _ in 0..count {
            cut.push(ChangeId(reader.array()?));
        }
        let time_ms = reader.varint()?;
        let state_root = reader.array()?;
        let receipts_root = reader.array()?;
        reader.finish()?;
        let block = Self { group, recovery, set, epoch, height, parent, cut, time_ms, state_root, receipts_root };
        block.check()?;
        Ok(block)
    }

    fn check(&self) -> Result<(), BlockError> {
        let rule = |text| Err(DecodeError::Rule(text).into());
        let numbers = [self.recovery.0, self.set.0, self.epoch.0, self.height.0, self.time_ms];
        if numbers.into_iter().any(|number| number > MAX_SAFE) {
            return rule("a number exceeds 2^53 - 1");
        }
        if self.height.0 == 0 {
            return rule("a block has height 1 or more");
        }
        if self.height.0 == 1 && self.parent != BlockId::origin(self.group) {
            return rule("the first block's parent is not the group");
        }
        if self.cut.len() > MAX_CUT {
            return rule("a cut has too many heads");
        }
        if !self.cut.windows(2).all(|pair| pair[0] < pair[1]) {
            return rule("a cut's heads do not strictly ascend");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        Block {
            group: GroupId([1; 32]),
            recovery: Recovery(0),
            set: SetNumber(2),
            epoch: Epoch(300),
            height: Height(70_000),
            parent: BlockId([2; 32]),
            cut: vec![ChangeId([3; 32]), ChangeId([4; 32])],
            time_ms: 1_700_000_000_000,
            state_root: [5; 32],
            receipts_root: [6; 32],
        }
    }

    #[test]
    fn the_golden_block_keeps_its_bytes_and_id() {
        let mut lines = include_str!("../tests/golden/block.hex").lines();
        let block = block();
        assert_eq!(hex::encode(block.encode().unwrap()), lines.next().unwrap());
        assert_eq!(block.id().unwrap().to_string(), lines.next().unwrap());
        assert_eq!(Block::decode(&block.encode().unwrap()), Ok(block));
    }

    #[test]
    fn rank_goes_before_height() {
        let low = block().rank();
        let higher = Rank { height: Height(low.height.0 + 1), ..low };
        let switched = Rank { epoch: Epoch(301), height: Height(1), ..low };
        let next_set = Rank { set: SetNumber(3), epoch: Epoch(0), height: Height(1), ..low };
        let recovered = Rank { recovery: Recovery(1), set: SetNumber(0), epoch: Epoch(0), height: Height(1) };
        assert!([low, higher, switched, next_set, recovered].is_sorted());
    }

    #[test]
    fn what_is_not_the_one_encoding_is_refused() {
        let good = block().encode().unwrap();
        for cut in 0..good.len() {
            assert!(Block::decode(&good[..cut]).is_err());
        }
        for at in 0..good.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                if let Ok(other) = Block::decode(&bytes) {
                    assert_eq!(other.encode().unwrap(), bytes, "a second encoding passed");
                    assert_ne!(other.id(), block().id());
                }
            }
        }
        assert!(Block { cut: vec![ChangeId([4; 32]), ChangeId([3; 32])], ..block() }.encode().is_err());
        assert!(Block { cut: vec![ChangeId([4; 32]); 2], ..block() }.encode().is_err());
        assert!(Block { height: Height(0), ..block() }.encode().is_err());
        assert!(Block { height: Height(1), ..block() }.encode().is_err());
        assert!(Block { time_ms: MAX_SAFE + 1, ..block() }.encode().is_err());
        assert!(Block { height: Height(1), parent: BlockId::origin(GroupId([1; 32])), ..block() }.encode().is_ok());
    }

    #[test]
    fn the_largest_block_fits_its_bound() {
        let heads = (0..MAX_CUT as u64).map(|n| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            ChangeId(id)
        });
        let full = Block {
            cut: heads.collect(),
            time_ms: MAX_SAFE,
            height: Height(MAX_SAFE),
            epoch: Epoch(MAX_SAFE),
            set: SetNumber(MAX_SAFE),
            recovery: Recovery(MAX_SAFE),
            ..block()
        };
        assert!(full.encode().unwrap().len() <= MAX_BLOCK_BYTES);
    }
}
