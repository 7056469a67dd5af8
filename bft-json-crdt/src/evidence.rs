//! Header chains under one signature: vouchers and equivocation proofs (docs/protocol.md, section 7).

use crate::change::Header;
use crate::identity::Signature;

/// Most headers in one half of a proof or in a voucher.
pub const MAX_CHAIN: usize = 256;

/// A header chain and a signature on the id of its last header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedChain {
    /// Each one's `previous` is the id of the one before.
    pub headers: Vec<Header>,
    /// Over the id of the last one.
    pub signature: Signature,
}

/// Vouches for the change that its first header names as `previous`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher(pub SignedChain);

/// Two signed chains whose first headers have the same author, document and seq and different ids, `a`'s id the lower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EquivocationProof {
    /// One branch.
    pub a: SignedChain,
    /// The other.
    pub b: SignedChain,
}

#[allow(clippy::todo, unused_variables, missing_docs)]
impl EquivocationProof {
    pub fn author(&self) -> crate::identity::AuthorId {
        self.a.headers[0].author
    }
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::encoding::DecodeError> {
        todo!()
    }
}

#[allow(clippy::todo, unused_variables, missing_docs)]
impl Voucher {
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::encoding::DecodeError> {
        todo!()
    }
}
