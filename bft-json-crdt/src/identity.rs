//! Keys and signatures as types that are checked once, at the door (docs/protocol.md, section 2).

use std::fmt;

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signer as _, SigningKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why 32 bytes are not an author's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The bytes are no point of the curve, or not the canonical encoding of one.
    #[error("the key is not the canonical encoding of a point of the curve")]
    NotCanonical,
    /// The point is of small order: anybody could sign for it.
    #[error("the key is of small order: anybody could sign for it")]
    SmallOrder,
    /// The text is not 64 hexadecimal digits.
    #[error("a key is written as 64 hexadecimal digits")]
    Text,
}

/// An author: a canonical Ed25519 public key that is not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorId([u8; 32]);

impl AuthorId {
    /// Checks the key. Costs one point decompression (some microseconds): keep the result rather than checking again.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, IdentityError> {
        if !is_reduced(&bytes) {
            return Err(IdentityError::NotCanonical);
        }
        let point = CompressedEdwardsY(bytes).decompress().ok_or(IdentityError::NotCanonical)?;
        if point.is_small_order() {
            // A zero x has no sign; those two points are of small order. For all others the encoding was read as the only one, and encoding them again would cost as much as reading did.
            let canonical = point.compress().0 == bytes;
            return Err(if canonical { IdentityError::SmallOrder } else { IdentityError::NotCanonical });
        }
        Ok(Self(bytes))
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| IdentityError::Text)?;
        Self::from_bytes(bytes)
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Whether the y coordinate of a key is below the field's prime, 2²⁵⁵ − 19.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let high = bytes[31] & 0x7f == 0x7f && bytes[1..31].iter().all(|byte| *byte == 0xff);
    !high || bytes[0] < 0xed
}

/// Look-ups by raw bytes: equal keys have equal bytes, so hashes and order agree.
impl std::borrow::Borrow<[u8; 32]> for AuthorId {
    fn borrow(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for AuthorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuthorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorId({})", hex::encode(&self.0[..4]))
    }
}

/// An Ed25519 signature, `R ‖ s`. Says nothing about being good; see [`crate::verify`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..4]))
    }
}

/// A member's secret key. Never printed; wiped from memory on drop.
#[derive(Clone)]
pub struct Keypair {
    signing: SigningKey,
    author: AuthorId,
}

impl Keypair {
    /// The key pair of a 32-byte secret seed (RFC 8032), which the caller draws from a secure random source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        // A public key derived from a clamped scalar is canonical and never of small order.
        let author = AuthorId(signing.verifying_key().to_bytes());
        Self { signing, author }
    }

    /// The public half.
    pub fn author(&self) -> AuthorId {
        self.author
    }

    /// The secret seed, for storage. The buffer is wiped on drop.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// Signs `message` under `domain` (a documented constant that no other kind of message uses).
    pub fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        Signature(self.signing.sign(&signed_bytes(domain, message)).to_bytes())
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({:?})", self.author)
    }
}

/// What is really signed: `domain ‖ 0x00 ‖ message`.
pub(crate) fn signed_bytes(domain: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(domain.len() + 1 + message.len());
    bytes.extend_from_slice(domain.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_small_order_is_refused() {
        // The eight points of small order have eight canonical encodings (RFC 7748, section 7 speaks of them for X25519).
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(AuthorId::from_bytes(neutral), Err(IdentityError::SmallOrder));
        for point in curve25519_dalek::constants::EIGHT_TORSION {
            assert_eq!(AuthorId::from_bytes(point.compress().0), Err(IdentityError::SmallOrder));
        }
    }

    #[test]
    fn a_key_in_a_second_encoding_is_refused() {
        // y = 1 with the sign bit set, and y = p + 1: further encodings of the neutral element.
        let mut signed = [0; 32];
        signed[0] = 1;
        signed[31] = 0x80;
        assert_eq!(AuthorId::from_bytes(signed), Err(IdentityError::NotCanonical));
        let mut beyond = [0xff; 32];
        beyond[0] = 0xee;
        beyond[31] = 0x7f;
        assert_eq!(AuthorId::from_bytes(beyond), Err(IdentityError::NotCanonical));
    }

    #[test]
    fn a_key_is_good_if_its_point_encodes_as_it_and_is_not_of_small_order() {
        let literally = |bytes: [u8; 32]| {
            let point = CompressedEdwardsY(bytes).decompress().ok_or(IdentityError::NotCanonical)?;
            if point.compress().0 != bytes {
                return Err(IdentityError::NotCanonical);
            }
            if point.is_small_order() { Err(IdentityError::SmallOrder) } else { Ok(AuthorId(bytes)) }
        };
        // All y around zero and around the prime, and beyond it, with either sign.
        let mut cases: Vec<[u8; 32]> = Vec::new();
        for low in 0..=255u8 {
            for (middle, top) in [(0, 0), (0xff, 0x7f), (0xff, 0x7e), (0, 0x7f)] {
                let mut bytes = [middle; 32];
                (bytes[0], bytes[31]) = (low, top);
                cases.push(bytes);
            }
            let mut bytes = crate::hash::hash("test", &[low]);
            cases.push(bytes);
            bytes[31] |= 0x7f;
            cases.push(bytes);
        }
        for point in curve25519_dalek::constants::EIGHT_TORSION {
            cases.push(point.compress().0);
        }
        let mut good = 0;
        for mut bytes in cases {
            for _ in 0..2 {
                bytes[31] ^= 0x80;
                assert_eq!(AuthorId::from_bytes(bytes), literally(bytes), "{}", hex::encode(bytes));
                good += usize::from(literally(bytes).is_ok());
            }
        }
        assert!(good > 500);
    }

    #[test]
    fn every_derived_key_passes_its_own_check() {
        for seed in 0..32u8 {
            let keypair = Keypair::from_seed(&[seed; 32]);
            assert_eq!(AuthorId::from_bytes(*keypair.author().as_bytes()), Ok(keypair.author()));
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let keypair = Keypair::from_seed(&[7; 32]);
        assert!(!format!("{keypair:?}").contains(&hex::encode([7u8; 32])));
    }
}
