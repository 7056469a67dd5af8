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
