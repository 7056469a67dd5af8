//! A block that a sealer proposes. The signature says who made it, so that nobody can fill the others' memory in its name; it makes nothing final.

use std::sync::Arc;

use bft_json_crdt::encoding::{Reader, Write as _};
use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bft_json_crdt::verify::verify;
use side_ledger::block::{Block, BlockError, BlockId};

use crate::signed::SignedError;

/// Domain of a sealer's signature over the id of a block that it proposes.
pub const PROPOSAL_DOMAIN: &str = "side/1/proposal";

/// A proposed block. Invariant: the signature is good. Cloning costs a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    block: Block,
    id: BlockId,
    proposer: AuthorId,
    signature: Signature,
}

impl Proposal {
    /// Proposes a block.
    pub fn sign(block: Block, keypair: &Keypair) -> Result<Self, BlockError> {
        let id = block.id()?;
        let signature = keypair.sign(PROPOSAL_DOMAIN, &id.0);
        Ok(Self(Arc::new(Parts { block, id, proposer: keypair.author(), signature })))
    }

    /// The block.
    pub fn block(&self) -> &Block {
        &self.0.block
    }

    /// Its id.
    pub fn id(&self) -> BlockId {
        self.0.id
    }

    /// Who proposes it.
    pub fn proposer(&self) -> AuthorId {
        self.0.proposer
    }

    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_blob(&self.0.block.encode().expect("a proposed block has an encoding: its id was made from it"));
        out.put(self.0.proposer.as_bytes());
        out.put(&self.0.signature.0);
    }

    /// Reads one and checks its signature.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, SignedError> {
        let block = Block::decode(reader.blob()?)?;
        let id = block.id()?;
        let proposer = AuthorId::from_bytes(reader.array()?)?;
        let signature = Signature(reader.array()?);
        if !verify(&proposer, PROPOSAL_DOMAIN, &id.0, &signature) {
            return Err(SignedError::Signature);
        }
        Ok(Self(Arc::new(Parts { block, id, proposer, signature })))
    }
}
