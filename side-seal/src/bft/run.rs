//! Final blocks as they travel and as they are kept: a run of them, and the certificate of the last one, which proves them all.

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use side_ledger::block::{Block, BlockId};

use super::certificate::Certificate;
use crate::signed::SignedError;

/// Most blocks of a run. Sealers leave fewer unfinal than [`super::MAX_UNFINAL`], so that longer ones never come about.
pub const MAX_RUN: usize = 64;

/// Blocks of one epoch, each the parent of the next, and a certificate of the last one's finality. Invariant: the links are good; the certificate is not
/// checked by itself ([`Certificate::check`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalRun {
    blocks: Vec<(BlockId, Block)>,
    certificate: Certificate,
}

impl FinalRun {
    /// Puts a run together; `None` if it does not hang together, is empty or has more than [`MAX_RUN`] blocks.
    pub fn new(blocks: Vec<Block>, certificate: Certificate) -> Option<Self> {
        if blocks.is_empty() || blocks.len() > MAX_RUN {
            return None;
        }
        let named: Option<Vec<(BlockId, Block)>> =
            blocks.into_iter().map(|block| Some((block.id().ok()?, block))).collect();
        let blocks = named?;
        let linked = blocks.windows(2).all(|pair| {
            pair[1].1.parent == pair[0].0
                && pair[1].1.height.0 == pair[0].1.height.0 + 1
                && pair[1].1.epoch == pair[0].1.epoch
                && pair[1].1.group == pair[0].1.group
        });
        let (last, block) = blocks.last()?;
        let certified = *last == certificate.block() && block.epoch == certificate.epoch();
        (linked && certified).then_some(Self { blocks, certificate })
    }

    /// The blocks with their ids, lowest first; never empty.
    pub fn blocks(&self) -> &[(BlockId, Block)] {
        &self.blocks
    }

    /// The certificate of the last one.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The last block.
    pub fn last(&self) -> &(BlockId, Block) {
        self.blocks.last().expect("a run is not empty: its constructor sees to it")
    }

    /// The parts.
    pub fn into_parts(self) -> (Vec<(BlockId, Block)>, Certificate) {
        (self.blocks, self.certificate)
    }

    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.blocks.len() as u64);
        for (_, block) in &self.blocks {
            out.put_blob(&block.encode().expect("a block of a run has an encoding: its id was made from it"));
        }
        out.put_blob(&self.certificate.encode());
    }

    /// Reads one.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, SignedError> {
        let count = reader.count(1)?;
        if count > MAX_RUN {
            return Err(DecodeError::Rule("a run has too many blocks").into());
        }
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            blocks.push(Block::decode(reader.blob()?)?);
        }
        let certificate = Certificate::decode(reader.blob()?)?;
        Self::new(blocks, certificate).ok_or(DecodeError::Rule("a run of blocks does not hang together").into())
    }
}
