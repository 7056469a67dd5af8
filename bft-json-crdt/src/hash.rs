//! Domain-separated SHA-256: `H(domain, data) = SHA-256(domain ‖ 0x00 ‖ data)` (docs/protocol.md, section 1).

use sha2::{Digest as _, Sha256};

/// Domain of a change's id.
pub const CHANGE_DOMAIN: &str = "side/1/change";
/// Domain of the hash of a change's operations.
pub const OPS_DOMAIN: &str = "side/1/ops";
/// Domain of the signature over a change's id.
pub const CHANGE_SIGNATURE_DOMAIN: &str = "side/1/change-signature";
/// Domain of `heads_digest`.
pub const HEADS_DOMAIN: &str = "side/1/heads";
/// Domain of `digest`.
pub const DIGEST_DOMAIN: &str = "side/1/digest";

/// A hash under construction, for data that comes in pieces.
#[derive(Clone, Debug)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts a hash under `domain`.
    pub fn new(domain: &str) -> Self {
        let mut inner = Sha256::new();
        inner.update(domain.as_bytes());
        inner.update([0]);
        Self(inner)
    }

    /// Adds data.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Ends the hash.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The hash of `data` under `domain`.
pub fn hash(domain: &str, data: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new(domain);
    hasher.update(data);
    hasher.finish()
}
