//! What newcomers and members tell one another about the state (docs/protocol.md, section "Catch-up by state").

use std::ops::RangeInclusive;

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use side_ledger::block::{Block, BlockId};
use side_ledger::genesis::GroupSpec;
use side_ledger::snapshot::{MAX_PIECE_BYTES, MAX_PIECES, Manifest};

use crate::certificate::{MAX_STEPS, Opening, Seal, Step, bounded, write_block};
use crate::signed::SignedError;

/// Most pieces that are asked for at once: one and a half megabytes under way.
pub const MAX_WANTED: usize = 64;

/// A message. Its first number tells it apart from others of the same stream: [`StateMessage::TAGS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateMessage {
    /// A newcomer asks for the state of the last block that is the group's beyond doubt.
    Ask {
        /// The block that it trusts; the group's id if it begins with the genesis.
        from: BlockId,
        /// The block whose state it has.
        known: Option<BlockId>,
    },
    /// The answer.
    State(Box<StateOffer>),
    /// A newcomer asks for pieces of the state of a block, at most [`MAX_WANTED`].
    Want {
        /// The block.
        block: BlockId,
        /// Their numbers, ascending.
        numbers: Vec<usize>,
    },
    /// A piece of the state of a block.
    Piece {
        /// The block.
        block: BlockId,
        /// Its number.
        number: usize,
        /// The piece.
        bytes: Vec<u8>,
    },
    /// There is nothing: beginning with this block, newer than the state of this block, or of the pieces of its state.
    Nothing(BlockId),
}

/// The state of a block, but for its accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateOffer {
    /// What members had decided after the block that the newcomer trusts; `None` where it begins with the genesis.
    pub anchor: Option<Opening>,
    /// From there to the set and epoch of the block.
    pub steps: Vec<Step>,
    /// The block, and what shows that it is held or final.
    pub seal: Seal,
    /// Its state.
    pub opening: Opening,
    /// The roots of the pieces of its accounts.
    pub manifest: Manifest,
}

impl StateMessage {
    /// The numbers that such messages begin with.
    pub const TAGS: RangeInclusive<u64> = 16..=20;
    const ASK: u64 = 16;
    pub(super) const STATE: u64 = 17;
    const WANT: u64 = 18;
    const PIECE: u64 = 19;
    pub(super) const NOTHING: u64 = 20;

    /// The number that bytes begin with, if they are such a message.
    pub fn tag(bytes: &[u8]) -> Option<u64> {
        Reader::new(bytes).varint().ok().filter(|tag| Self::TAGS.contains(tag))
    }

    /// Whether bytes begin like something that a newcomer is told, not like one of its questions.
    pub fn is_answer(bytes: &[u8]) -> bool {
        matches!(Self::tag(bytes), Some(Self::STATE | Self::PIECE | Self::NOTHING))
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Ask { from, known } => {
                out.put_varint(Self::ASK);
                out.put(&from.0);
                out.put_varint(known.is_some().into());
                known.iter().for_each(|known| out.put(&known.0));
            }
            Self::State(offer) => {
                out.put_varint(Self::STATE);
                offer.write(&mut out);
            }
            Self::Want { block, numbers } => {
                out.put_varint(Self::WANT);
                out.put(&block.0);
                out.put_varint(numbers.len() as u64);
                numbers.iter().for_each(|number| out.put_varint(*number as u64));
            }
            Self::Piece { block, number, bytes } => {
                out.put_varint(Self::PIECE);
                out.put(&block.0);
                out.put_varint(*number as u64);
                out.put_blob(bytes);
            }
            Self::Nothing(block) => {
                out.put_varint(Self::NOTHING);
                out.put(&block.0);
            }
        }
        out
    }

    /// Reads bytes that hold a message about a group with this genesis and nothing else. Signatures of blocks and words are checked.
    pub fn decode(bytes: &[u8], spec: &GroupSpec) -> Result<Self, SignedError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.varint()? {
            Self::ASK => {
                let from = BlockId(reader.array()?);
                let known = if flag(&mut reader)? { Some(BlockId(reader.array()?)) } else { None };
                Self::Ask { from, known }
            }
            Self::STATE => Self::State(Box::new(StateOffer::read(&mut reader, spec)?)),
            Self::WANT => {
                let block = BlockId(reader.array()?);
                let count = bounded(&mut reader, MAX_WANTED)?;
                let numbers = (0..count).map(|_| number(&mut reader)).collect::<Result<Vec<_>, _>>()?;
                if !numbers.windows(2).all(|pair| pair[0] < pair[1]) {
                    return Err(DecodeError::Rule("numbers of pieces do not ascend").into());
                }
                Self::Want { block, numbers }
            }
            Self::PIECE => {
                let (block, number) = (BlockId(reader.array()?), number(&mut reader)?);
                let bytes = reader.blob()?;
                if bytes.len() > MAX_PIECE_BYTES {
                    return Err(DecodeError::Rule("a piece is too long").into());
                }
                Self::Piece { block, number, bytes: bytes.to_vec() }
            }
            Self::NOTHING => Self::Nothing(BlockId(reader.array()?)),
            _ => return Err(DecodeError::Rule("an unknown kind of message").into()),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl StateOffer {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.anchor.is_some().into());
        self.anchor.iter().for_each(|opening| opening.write(out));
        out.put_varint(self.steps.len() as u64);
        self.steps.iter().for_each(|step| step.write(out));
        write_block(self.seal.block(), out);
        self.seal.write(out);
        self.opening.write(out);
        self.manifest.write(out);
    }

    fn read(reader: &mut Reader<'_>, spec: &GroupSpec) -> Result<Self, SignedError> {
        let anchor = if flag(reader)? { Some(Opening::read(reader, spec)?) } else { None };
        let count = bounded(reader, MAX_STEPS)?;
        let steps = (0..count).map(|_| Step::read(reader, spec)).collect::<Result<_, _>>()?;
        let block = Block::decode(reader.blob()?)?;
        let seal = Seal::read(reader, &block)?;
        let opening = Opening::read(reader, spec)?;
        Ok(Self { anchor, steps, seal, opening, manifest: Manifest::read(reader)? })
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.varint()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Rule("a flag is neither 0 nor 1")),
    }
}

fn number(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let number = reader.varint()?;
    usize::try_from(number)
        .ok()
        .filter(|number| *number < MAX_PIECES)
        .ok_or(DecodeError::Rule("no piece has this number"))
}
