//! Blocks under their sealer's signature, voters' words that they hold a block, and proofs that a sealer sealed one rank twice.

use std::sync::Arc;

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::{AuthorId, IdentityError, Keypair, Signature};
use bft_json_crdt::verify::verify;
use side_ledger::block::{Block, BlockError, BlockId, Epoch, Height, Rank, Recovery, SetNumber};
use side_ledger::genesis::GroupId;
use thiserror::Error;

use crate::warrant::Warrant;

/// Domain of a sealer's signature over the id of its block.
pub const BLOCK_SIGNATURE_DOMAIN: &str = "side/1/block-signature";
/// Domain of a voter's signature that it holds a block.
pub const HOLD_DOMAIN: &str = "side/1/hold";
/// The version of the formats that this build reads and writes.
pub const SEAL_VERSION: u64 = 1;

/// Why bytes are none of the things of this module.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignedError {
    /// They break the encoding.
    #[error("these bytes are not what they should be: {0}")]
    Encoding(#[from] DecodeError),
    /// A later version of Side wrote them.
    #[error("these bytes have version {0}, which this build does not know; update it")]
    Version(u64),
    /// The block in them is not one.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A key in them is not acceptable.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// A signature is not good.
    #[error("a signature is not good")]
    Signature,
    /// The two blocks prove nothing: they are of different ranks, groups or sealers, or one block.
    #[error("these blocks prove nothing against their sealer")]
    NoProof,
}

/// A block with its sealer's signature and what entitles it to begin an epoch or a set. Invariant: the signature is good.
/// Cloning costs a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBlock(Arc<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    block: Block,
    id: BlockId,
    signer: AuthorId,
    signature: Signature,
    warrant: Warrant,
}

impl SignedBlock {
    /// Signs a block.
    pub fn sign(block: Block, keypair: &Keypair, warrant: Warrant) -> Result<Self, SignedError> {
        let id = block.id()?;
        let signature = keypair.sign(BLOCK_SIGNATURE_DOMAIN, &id.0);
        Ok(Self(Arc::new(Parts { block, id, signer: keypair.author(), signature, warrant })))
    }

    /// The block.
    pub fn block(&self) -> &Block {
        &self.0.block
    }

    /// Its id.
    pub fn id(&self) -> BlockId {
        self.0.id
    }

    /// Who signed it.
    pub fn signer(&self) -> AuthorId {
        self.0.signer
    }

    /// What entitles it to begin an epoch or a set.
    pub fn warrant(&self) -> &Warrant {
        &self.0.warrant
    }

    /// The same block and signature without the warrant.
    pub(crate) fn bare(&self) -> Self {
        self.with(Warrant::default())
    }

    /// A block under a signature that came beside it.
    pub(crate) fn from_parts(block: Block, signer: AuthorId, signature: Signature) -> Result<Self, SignedError> {
        let id = block.id()?;
        if !verify(&signer, BLOCK_SIGNATURE_DOMAIN, &id.0, &signature) {
            return Err(SignedError::Signature);
        }
        Ok(Self(Arc::new(Parts { block, id, signer, signature, warrant: Warrant::default() })))
    }

    /// The signature.
    pub(crate) fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// The same block and signature without the warrant, as a proof carries it.
    pub(crate) fn write_bare(&self, out: &mut Vec<u8>) {
        let block = self.0.block.encode().expect("a signed block has an encoding: its id was made from it");
        out.put_blob(&block);
        out.put(self.0.signer.as_bytes());
        out.put(&self.0.signature.0);
    }

    fn with(&self, warrant: Warrant) -> Self {
        Self(Arc::new(Parts { warrant, ..(*self.0).clone() }))
    }

    pub(crate) fn read_bare(reader: &mut Reader<'_>) -> Result<Self, SignedError> {
        let block = Block::decode(reader.blob()?)?;
        let signer = AuthorId::from_bytes(reader.array()?)?;
        Self::from_parts(block, signer, Signature(reader.array()?))
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(SEAL_VERSION);
        self.write_bare(&mut out);
        self.0.warrant.write(&mut out);
        out
    }

    /// Reads bytes that hold a signed block and nothing else, and checks the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignedError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let bare = Self::read_bare(&mut reader)?;
        let warrant = Warrant::read(&mut reader)?;
        reader.finish()?;
        Ok(bare.with(warrant))
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), SignedError> {
    match reader.varint()? {
        SEAL_VERSION => Ok(()),
        other => Err(SignedError::Version(other)),
    }
}

/// A voter's word that it holds a block and everything before it. Invariant: the signature is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Who holds it.
    pub voter: AuthorId,
    /// The group that the block is of: ranks of another one, where the same people vote, say nothing here.
    pub group: GroupId,
    /// The block's rank.
    pub rank: Rank,
    /// The block.
    pub block: BlockId,
    signature: Signature,
}

impl Hold {
    fn message(group: &GroupId, rank: &Rank, block: &BlockId) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.put(&group.0);
        for number in [rank.recovery.0, rank.set.0, rank.epoch.0, rank.height.0] {
            out.put_varint(number);
        }
        out.put(&block.0);
        out
    }

    /// Gives one's word.
    pub fn sign(group: GroupId, rank: Rank, block: BlockId, keypair: &Keypair) -> Self {
        let signature = keypair.sign(HOLD_DOMAIN, &Self::message(&group, &rank, &block));
        Self { voter: keypair.author(), group, rank, block, signature }
    }

    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put(self.voter.as_bytes());
        out.put(&Self::message(&self.group, &self.rank, &self.block));
        out.put(&self.signature.0);
    }

    /// Reads one and checks its signature.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, SignedError> {
        let voter = AuthorId::from_bytes(reader.array()?)?;
        let group = GroupId(reader.array()?);
        let rank = Rank {
            recovery: Recovery(reader.varint()?),
            set: SetNumber(reader.varint()?),
            epoch: Epoch(reader.varint()?),
            height: Height(reader.varint()?),
        };
        let block = BlockId(reader.array()?);
        let signature = Signature(reader.array()?);
        if !verify(&voter, HOLD_DOMAIN, &Self::message(&group, &rank, &block), &signature) {
            return Err(SignedError::Signature);
        }
        Ok(Self { voter, group, rank, block, signature })
    }
}

/// Two blocks of one rank under one signature: their sealer lied to somebody. Judged without context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubleSeal {
    a: SignedBlock,
    b: SignedBlock,
}

impl DoubleSeal {
    /// Puts two blocks beside each other, the one with the lower id first.
    pub fn new(one: &SignedBlock, other: &SignedBlock) -> Result<Self, SignedError> {
        let (a, b) = if one.id() <= other.id() { (one, other) } else { (other, one) };
        let of = |signed: &SignedBlock| (signed.signer(), signed.block().group, signed.block().rank());
        if of(a) != of(b) || a.id() == b.id() {
            return Err(SignedError::NoProof);
        }
        Ok(Self { a: a.bare(), b: b.bare() })
    }

    /// Who sealed twice.
    pub fn signer(&self) -> AuthorId {
        self.a.signer()
    }

    /// The rank that was sealed twice.
    pub fn rank(&self) -> Rank {
        self.a.block().rank()
    }

    /// The two blocks, ids ascending.
    pub fn blocks(&self) -> [&SignedBlock; 2] {
        [&self.a, &self.b]
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(SEAL_VERSION);
        self.a.write_bare(&mut out);
        self.b.write_bare(&mut out);
        out
    }

    /// Reads bytes that hold a proof and nothing else, and checks it.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignedError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let (a, b) = (SignedBlock::read_bare(&mut reader)?, SignedBlock::read_bare(&mut reader)?);
        reader.finish()?;
        if a.id() >= b.id() {
            return Err(DecodeError::Rule("the blocks of a proof do not ascend").into());
        }
        Self::new(&a, &b)
    }
}
