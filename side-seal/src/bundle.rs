//! A proof of what became of a change, with everything that it takes to check it: no node, no store and no network (docs/protocol.md, section "Bundles").
//!
//! ```text
//! genesis or checkpoint ─ steps ─▶ voters and sealer ─ words ─▶ block ─ state root ─▶ receipt ─ id ─▶ change
//! ```
//! Rules:
//! - Every byte counts: whoever changes one has a file that is refused, or one about another group.
//! - The file tells which group it is about. That this is the group that its reader means, and that a checkpoint in it is to be trusted, its reader says.

use std::fmt;
use std::str::FromStr;

use bft_json_crdt::change::{Change, MAX_CHANGE_BYTES};
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::CHANGE_SIGNATURE_DOMAIN;
use bft_json_crdt::identity::IdentityError;
use bft_json_crdt::ops::Ops;
use bft_json_crdt::verify::verify;
use bytes::Bytes;
use side_ledger::base64url;
use side_ledger::block::{Block, BlockError, BlockId, Height, MAX_BLOCK_BYTES};
use side_ledger::genesis::{Genesis, GenesisError, GroupId};
use side_ledger::group::Group;
use side_ledger::invitation::Checkpoint;
use side_ledger::ledger::{Entry, Ledger};
use side_ledger::proof::{Fact, Proof, ProofError};
use side_ledger::receipt::{Reason, Receipt};
use thiserror::Error;

use crate::certificate::{
    self, CertificateFault, Follower, MAX_LINKS, MAX_STEPS, Opening, ProveError, Seal, Standing, Step, bounded,
    write_block,
};
use crate::engine::Engine;
use crate::signed::SignedError;

/// The version of the format that this build reads and writes.
pub const BUNDLE_VERSION: u64 = 1;
/// What the text of a bundle begins with.
pub const PREFIX: &str = "side-proof:";
/// Most bytes: a file that is checked in seconds. Groups whose certificates outgrow it hand out checkpoints.
pub const MAX_BUNDLE_BYTES: usize = 8 << 20;

/// Why something is no bundle, or proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// It does not begin with [`PREFIX`], or a character does not belong there.
    #[error("a proof begins with `{PREFIX}` and is one word of letters, digits, `-` and `_`; take the whole of it")]
    Text,
    /// It is longer than any bundle.
    #[error("a proof has at most {MAX_BUNDLE_BYTES} bytes")]
    TooLong,
    /// The bytes break the encoding.
    #[error("the proof is malformed: {0}")]
    Encoding(#[from] DecodeError),
    /// A later version of Side wrote it.
    #[error("this proof has version {0}, which this build does not know; update it")]
    Version(u64),
    /// The genesis in it is not acceptable.
    #[error("the genesis in the proof is not acceptable: {0}")]
    Genesis(#[from] GenesisError),
    /// A block in it is not one.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A block, word or signature in it is not good.
    #[error("something signed in the proof is not good: {0}")]
    Signed(#[from] SignedError),
    /// A key in it is not acceptable.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// It does not show that the block is the group's.
    #[error("the proof does not show that its block is the group's: {0}")]
    Certificate(#[from] CertificateFault),
    /// The block does not show what became of the change.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// What the state shows is no change, or not the one in the proof.
    #[error("the change in the proof is not what the state of the block tells of")]
    Change,
    /// It is about another group than the one that was asked for.
    #[error("the proof is about the group {0}, not about the one that was asked for")]
    OtherGroup(GroupId),
    /// It rests on a checkpoint that its reader did not name.
    #[error("the proof rests on the block {0}, which was not named as trusted")]
    OtherCheckpoint(BlockId),
}

/// What a bundle rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// What the group was founded on.
    Genesis,
    /// A block that its reader trusts already.
    Checkpoint {
        /// The block.
        block: Box<Block>,
        /// The state after it.
        opening: Box<Opening>,
    },
}

/// What its reader trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trusted {
    /// The group. Without it whatever group the bundle is about.
    pub group: Option<GroupId>,
    /// A block of the group. Without it bundles that rest on one are refused.
    pub checkpoint: Option<BlockId>,
}

/// A proof of what became of a change, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What the group was founded on.
    pub genesis: Genesis,
    /// What it rests on.
    pub anchor: Anchor,
    /// From there to the set and epoch of the block.
    pub steps: Vec<Step>,
    /// The change. Left out where it has no good signature of its own, so that every byte here counts.
    pub change: Option<Change>,
    /// What the state of the block tells of it.
    pub proof: Proof,
    /// What shows that the block is held, or final. Invariant: it is the block of the proof.
    pub seal: Seal,
}

/// What a bundle has shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The block in whose state the receipt stands. The change was sealed by it or by a block before.
    pub block: BlockId,
    /// How it stands with the block.
    pub standing: Standing,
    /// What became of the change.
    pub receipt: Receipt,
    /// The change's transactions and what became of them; nothing where the bundle has no change.
    pub transactions: Vec<(Entry, Option<Reason>)>,
}

mod tag {
    pub(super) const GENESIS: u64 = 0;
    pub(super) const CHECKPOINT: u64 = 1;
}

impl Bundle {
    /// Proves what became of a change, from the genesis or from a block of the chain that its reader trusts. `group` and `engine` belong together.
    pub fn prove(
        group: &mut Group,
        engine: &Engine,
        id: &bft_json_crdt::change::ChangeId,
        from: Height,
    ) -> Result<Self, NotProven> {
        let index = group.replica().index_of(id).ok_or(NotProven::Unknown)?;
        let sealed = group.chain().sealed_at(index).ok_or(NotProven::Pending)?;
        let height = certificate::held_at(group, engine, sealed.max(from))?;
        let steps = certificate::steps(group, engine, from, height)?;
        let anchor = match group.chain().at(from) {
            None => Anchor::Genesis,
            Some(sealed) => {
                let opening = Opening::of(group, from).ok_or(ProveError::Missing(sealed.id))?;
                Anchor::Checkpoint { block: Box::new(sealed.block.clone()), opening: Box::new(opening) }
            }
        };
        let seal = certificate::seal_of(group, engine, height)?;
        let change = group.replica().change(index);
        let good = verify(&change.author(), CHANGE_SIGNATURE_DOMAIN, &change.id().0, &change.signature());
        let genesis = group.genesis().clone();
        let proof = group.prove_change_at(id, height).ok_or(NotProven::Pending)?;
        let bundle = Self { genesis, anchor, steps, change: good.then_some(change), proof, seal };
        if bundle.encode().len() > MAX_BUNDLE_BYTES {
            return Err(ProveError::TooLong.into());
        }
        Ok(bundle)
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(BUNDLE_VERSION);
        out.put_blob(self.genesis.bytes());
        match &self.anchor {
            Anchor::Genesis => out.put_varint(tag::GENESIS),
            Anchor::Checkpoint { block, opening } => {
                out.put_varint(tag::CHECKPOINT);
                write_block(block, &mut out);
                opening.write(&mut out);
            }
        }
        out.put_varint(self.steps.len() as u64);
        self.steps.iter().for_each(|step| step.write(&mut out));
        out.put_varint(self.change.is_some().into());
        if let Some(change) = &self.change {
            out.put_blob(change.bytes());
        }
        out.put_blob(&self.proof.encode().expect("a proof's block has an encoding: it was decoded or sealed"));
        self.seal.write(&mut out);
        out
    }

    /// Reads bytes that hold a bundle and nothing else. Signatures of blocks and words are checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.varint()?;
        if version != BUNDLE_VERSION {
            return Err(BundleError::Version(version));
        }
        let genesis = Genesis::decode(reader.blob()?)?;
        let anchor = match reader.varint()? {
            tag::GENESIS => Anchor::Genesis,
            tag::CHECKPOINT => {
                let block = Box::new(Block::decode(reader.blob()?)?);
                Anchor::Checkpoint { block, opening: Box::new(Opening::read(&mut reader, genesis.spec())?) }
            }
            _ => return Err(DecodeError::Rule("an unknown kind of anchor").into()),
        };
        let count = bounded(&mut reader, MAX_STEPS)?;
        let steps =
            (0..count).map(|_| Step::read(&mut reader, genesis.spec())).collect::<Result<Vec<_>, SignedError>>()?;
        let change = match reader.varint()? {
            0 => None,
            1 => {
                let bytes = reader.blob()?;
                if bytes.len() > MAX_CHANGE_BYTES {
                    return Err(DecodeError::Rule("a change is too long").into());
                }
                Some(Change::decode(Bytes::copy_from_slice(bytes)).map_err(|_| BundleError::Change)?)
            }
            _ => return Err(DecodeError::Rule("a flag is neither 0 nor 1").into()),
        };
        let proof = Proof::decode(reader.blob()?)?;
        let seal = Seal::read(&mut reader, &proof.block)?;
        reader.finish()?;
        Ok(Self { genesis, anchor, steps, change, proof, seal })
    }

    /// The group that it is about.
    pub fn group(&self) -> GroupId {
        self.genesis.id()
    }

    /// What it shows to somebody who trusts this.
    pub fn verify(&self, trusted: &Trusted) -> Result<Verified, BundleError> {
        let group = self.group();
        if trusted.group.is_some_and(|meant| meant != group) {
            return Err(BundleError::OtherGroup(group));
        }
        let mut follower = match &self.anchor {
            Anchor::Genesis => Follower::genesis(&self.genesis),
            Anchor::Checkpoint { block, opening } => {
                let id = block.id()?;
                if trusted.checkpoint != Some(id) {
                    return Err(BundleError::OtherCheckpoint(id));
                }
                if block.group != group {
                    return Err(CertificateFault::Group.into());
                }
                let checkpoint = Checkpoint { rank: block.rank(), block: id, state_root: block.state_root };
                Follower::checkpoint(&self.genesis, &checkpoint, opening)?
            }
        };
        for step in &self.steps {
            follower.step(step)?;
        }
        if self.seal.block() != &self.proof.block {
            return Err(ProofError::State.into());
        }
        let (block, standing) = (self.proof.block.id()?, follower.judge(&self.seal)?);
        let Fact::Change(receipt) = self.proof.verify(group)? else { return Err(BundleError::Change) };
        let transactions = match &self.change {
            None => Vec::new(),
            Some(change) => self.transactions(change, &receipt)?,
        };
        Ok(Verified { block, standing, receipt, transactions })
    }

    /// A change's transactions, if it is the receipt's.
    fn transactions(&self, change: &Change, receipt: &Receipt) -> Result<Vec<(Entry, Option<Reason>)>, BundleError> {
        let good = change.id() == receipt.id
            && change.header().document == self.group().document()
            && verify(&change.author(), CHANGE_SIGNATURE_DOMAIN, &change.id().0, &change.signature());
        let ops = Ops::decode(change.header().version, change.ops()).ok().filter(|_| good);
        let ops = ops.ok_or(BundleError::Change)?;
        let mut ledger = Ledger::new(&self.genesis.spec().limits, self.genesis.rules());
        ledger.absorb(receipt.lamport, change, &ops);
        Ok(ledger
            .after(None)
            .map(|entry| (entry.offset, entry))
            .map(|(at, entry)| (entry, receipt.reason(at)))
            .collect())
    }
}

/// Why nothing can be proven of a change here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotProven {
    /// The change is not here.
    #[error("no such change is here")]
    Unknown,
    /// No block covers it.
    #[error("no block covers it yet")]
    Pending,
    /// Nothing shows that its block is the group's.
    #[error(transparent)]
    Block(#[from] ProveError),
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&base64url::encode(&self.encode()))
    }
}

impl FromStr for Bundle {
    type Err = BundleError;

    /// Reads the text. White space around it is ignored.
    fn from_str(text: &str) -> Result<Self, BundleError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(BundleError::Text)?;
        if body.len() > MAX_BUNDLE_BYTES.div_ceil(3) * 4 {
            return Err(BundleError::TooLong);
        }
        Self::decode(&base64url::decode(body).map_err(|_| BundleError::Text)?)
    }
}

const _: () = assert!(MAX_LINKS * MAX_BLOCK_BYTES < MAX_BUNDLE_BYTES / 2, "the words for a block fit a bundle");
