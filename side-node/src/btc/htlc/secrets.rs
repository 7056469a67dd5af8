//! Payment hash, preimage and spending key. The two secrets never show in `Debug` and are wiped when dropped.
//!
//! They do serialize, as lower-case hex, because a swap's state must survive a crash: what holds them belongs into a file that only
//! its owner can read.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{All, Keypair, PublicKey, Secp256k1, SecretKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use zeroize::Zeroize;

/// Bytes of a preimage. The scripts enforce it: a preimage of another length might fit one chain's limits and not the other's, and then one
/// side could claim where the other cannot.
pub const PREIMAGE_BYTES: usize = 32;

/// Why a text is not a hash, preimage or key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Not 64 hexadecimal digits in lower case.
    #[error("64 hexadecimal digits in lower case are expected")]
    Hex,
    /// Zero, or not below the order of the curve.
    #[error("these bytes are no secp256k1 secret key")]
    Key,
}

/// SHA-256 of a preimage: whoever shows the preimage may claim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaymentHash([u8; 32]);

impl PaymentHash {
    /// Takes the 32 bytes of a SHA-256.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaymentHash({self})")
    }
}

impl FromStr for PaymentHash {
    type Err = SecretError;
    fn from_str(text: &str) -> Result<Self, SecretError> {
        Ok(Self(decode(text)?))
    }
}

/// The 32 bytes that open the claim branch. Secret until the claim is broadcast.
#[derive(Clone, PartialEq, Eq)]
pub struct Preimage([u8; PREIMAGE_BYTES]);

impl Preimage {
    /// Takes 32 bytes, which must come from a cryptographic random source if they are to be a secret.
    pub const fn from_bytes(bytes: [u8; PREIMAGE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the claim's witness.
    pub const fn as_bytes(&self) -> &[u8; PREIMAGE_BYTES] {
        &self.0
    }

    /// SHA-256 of the bytes.
    pub fn payment_hash(&self) -> PaymentHash {
        PaymentHash(sha256::Hash::hash(&self.0).to_byte_array())
    }

    /// The bytes as hex, for a person who asked to see the secret.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }
}

impl Drop for Preimage {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preimage(secret)")
    }
}

impl FromStr for Preimage {
    type Err = SecretError;
    fn from_str(text: &str) -> Result<Self, SecretError> {
        Ok(Self(decode(text)?))
    }
}

/// The secret key that signs this party's branch of one lock. One key serves one swap.
#[derive(Clone, PartialEq, Eq)]
pub struct SpendKey(SecretKey);

impl SpendKey {
    /// Takes 32 bytes from a wallet's derivation or a cryptographic random source.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, SecretError> {
        SecretKey::from_slice(&bytes).map(Self).map_err(|_| SecretError::Key)
    }

    /// The public key, as it stands in the terms.
    pub fn public(&self) -> PublicKey {
        self.0.public_key(secp())
    }

    pub(super) fn secret(&self) -> &SecretKey {
        &self.0
    }

    pub(super) fn keypair(&self) -> Keypair {
        Keypair::from_secret_key(secp(), &self.0)
    }
}

impl Drop for SpendKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for SpendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpendKey(secret of {})", self.public())
    }
}

/// The one context of this module. It holds tables only.
pub(super) fn secp() -> &'static Secp256k1<All> {
    static CONTEXT: OnceLock<Secp256k1<All>> = OnceLock::new();
    CONTEXT.get_or_init(Secp256k1::new)
}

/// Exactly 64 hex digits in lower case: one spelling a value.
fn decode(text: &str) -> Result<[u8; 32], SecretError> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(SecretError::Hex);
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| SecretError::Hex)?;
    Ok(bytes)
}

impl Serialize for PaymentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PaymentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Preimage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for Preimage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for SpendKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0.secret_bytes()))
    }
}

impl<'de> Deserialize<'de> for SpendKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = decode(&String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        Self::from_bytes(bytes).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let (preimage, key) = (Preimage::from_bytes([0xab; 32]), SpendKey::from_bytes([0xcd; 32]).expect("a key"));
        let shown = format!("{preimage:?} {key:?}");
        assert!(!shown.contains("abab") && !shown.contains("cdcd"), "{shown}");
    }

    #[test]
    fn one_spelling_a_value() {
        assert_eq!("AB".repeat(32).parse::<PaymentHash>(), Err(SecretError::Hex));
        assert_eq!("ab".repeat(31).parse::<Preimage>(), Err(SecretError::Hex));
        assert_eq!(SpendKey::from_bytes([0; 32]), Err(SecretError::Key));
        let preimage = "ab".repeat(32).parse::<Preimage>().expect("64 digits");
        assert_eq!(preimage.payment_hash().to_string().parse(), Ok(preimage.payment_hash()));
    }
}
