//! What nodes tell one another about blocks (docs/protocol.md, section "Sealing").

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use side_ledger::BlockId;
use thiserror::Error;

use crate::bft::evidence::Evidence;
use crate::bft::proposal::Proposal;
use crate::bft::run::FinalRun;
use crate::signed::{DoubleSeal, Hold, SignedBlock, SignedError};

/// Most blocks in a message.
pub const MAX_BLOCKS: usize = 64;
/// An answer ends after the block that brings it over this many bytes, so that it fits a frame with the largest block.
pub const ANSWER_BYTES: usize = 1 << 20;
/// Most ids by which an ask tells what is there already: they lie exponentially further back.
pub const MAX_HAVE: usize = 64;

mod tag {
    pub(super) const BLOCKS: u64 = 1;
    pub(super) const HOLD: u64 = 2;
    pub(super) const DOUBLE: u64 = 3;
    pub(super) const ASK: u64 = 4;
    pub(super) const PROPOSAL: u64 = 5;
    pub(super) const FINAL: u64 = 6;
    pub(super) const EVIDENCE: u64 = 7;
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Blocks, parents before their children. At most [`MAX_BLOCKS`].
    Blocks(Vec<SignedBlock>),
    /// A voter holds a block.
    Hold(Hold),
    /// A sealer sealed twice.
    Double(DoubleSeal),
    /// The sender lacks a block; the answer is [`Message::Blocks`], in BFT mode [`Message::Final`] or [`Message::Proposal`].
    Ask {
        /// The block.
        want: BlockId,
        /// Blocks that the sender has, the latest first; at most [`MAX_HAVE`].
        have: Vec<BlockId>,
    },
    /// A sealer proposes a block (BFT mode).
    Proposal(Proposal),
    /// Blocks are final (BFT mode).
    Final(FinalRun),
    /// A sealer voted against itself (BFT mode).
    Evidence(Evidence),
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// What it carries is not good: the sender is to blame.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// A later version of Side knows this kind. To be ignored.
    #[error("an unknown kind of message, {0}")]
    Unknown(u64),
}

impl From<DecodeError> for MessageError {
    fn from(error: DecodeError) -> Self {
        SignedError::from(error).into()
    }
}

impl Message {
    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Blocks(blocks) => {
                out.put_varint(tag::BLOCKS);
                out.put_varint(blocks.len() as u64);
                blocks.iter().for_each(|block| out.put_blob(&block.encode()));
            }
            Self::Hold(hold) => {
                out.put_varint(tag::HOLD);
                hold.write(&mut out);
            }
            Self::Double(proof) => {
                out.put_varint(tag::DOUBLE);
                out.put(&proof.encode());
            }
            Self::Ask { want, have } => {
                out.put_varint(tag::ASK);
                out.put(&want.0);
                out.put_varint(have.len() as u64);
                have.iter().for_each(|id| out.put(&id.0));
            }
            Self::Proposal(proposal) => {
                out.put_varint(tag::PROPOSAL);
                proposal.write(&mut out);
            }
            Self::Final(run) => {
                out.put_varint(tag::FINAL);
                run.write(&mut out);
            }
            Self::Evidence(evidence) => {
                out.put_varint(tag::EVIDENCE);
                evidence.write(&mut out);
            }
        }
        out
    }

    /// Reads bytes that hold a message and nothing else. Signatures are checked, but for those of certificates and evidence.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.varint()? {
            tag::BLOCKS => {
                let count = reader.count(1)?;
                if count > MAX_BLOCKS {
                    return Err(DecodeError::Rule("a message has too many blocks").into());
                }
                let blocks: Result<Vec<_>, MessageError> =
                    (0..count).map(|_| Ok(SignedBlock::decode(reader.blob()?)?)).collect();
                Self::Blocks(blocks?)
            }
            tag::HOLD => Self::Hold(Hold::read(&mut reader)?),
            tag::DOUBLE => return Ok(Self::Double(DoubleSeal::decode(reader.rest())?)),
            tag::ASK => {
                let want = BlockId(reader.array()?);
                let count = reader.count(32)?;
                if count > MAX_HAVE {
                    return Err(DecodeError::Rule("an ask names too many blocks").into());
                }
                let have = (0..count).map(|_| reader.array().map(BlockId)).collect::<Result<_, _>>()?;
                Self::Ask { want, have }
            }
            tag::PROPOSAL => Self::Proposal(Proposal::read(&mut reader)?),
            tag::FINAL => Self::Final(FinalRun::read(&mut reader)?),
            tag::EVIDENCE => Self::Evidence(Evidence::read(&mut reader)?),
            other => return Err(MessageError::Unknown(other)),
        };
        reader.finish()?;
        Ok(message)
    }
}
