//! From a passphrase to a key: argon2id (RFC 9106), with what it costs written beside what it locks.
//!
//! The costs come from a file, so they are bounded before anything is done: a hostile file asks for no more than [`MAX_MEMORY_KIB`] and a few seconds.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use thiserror::Error;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use super::Passphrase;
use crate::clock;
use crate::error::CommandError;

/// Bytes of a salt: what RFC 9106 recommends.
pub const SALT_BYTES: usize = 16;
/// Most memory that a file may ask for: four times what this build uses, and what a small computer still has.
pub const MAX_MEMORY_KIB: u32 = 256 << 10;
/// Most passes over the memory that a file may ask for.
pub const MAX_PASSES: u32 = 16;
/// Most lanes that a file may ask for. They are worked on one after the other here.
pub const MAX_LANES: u32 = 4;

/// What one attempt at a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Costs that this build does not pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "it asks for {memory_kib} KiB of memory, {passes} passes and {lanes} lanes; at most {MAX_MEMORY_KIB}, {MAX_PASSES} and {MAX_LANES} are allowed"
)]
pub struct CostError {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// What new files cost: 64 MiB and six passes. RFC 9106 recommends 64 MiB and three passes where memory is short; twice that is still less than half a
    /// second on the machine of docs/benchmarks.md, which a person who types a passphrase does not mind.
    pub const USUAL: Self = Self { memory_kib: 64 << 10, passes: 6, lanes: 1 };
    /// The least that argon2 knows: for tests, which lock many things.
    #[doc(hidden)]
    pub const LEAST: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    /// Costs as a file names them.
    ///
    /// # Errors
    /// If they are out of bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        let good = (1..=MAX_LANES).contains(&lanes)
            && (8 * lanes..=MAX_MEMORY_KIB).contains(&memory_kib)
            && (1..=MAX_PASSES).contains(&passes);
        if good { Ok(Self { memory_kib, passes, lanes }) } else { Err(CostError { memory_kib, passes, lanes }) }
    }

    /// Memory in KiB.
    pub fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over it.
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes.
    pub fn lanes(&self) -> u32 {
        self.lanes
    }
}

/// How a passphrase becomes a key: costs and salt. No secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kdf {
    /// What it costs.
    pub cost: Cost,
    /// Makes the same passphrase another key elsewhere.
    pub salt: [u8; SALT_BYTES],
}

/// What locks and unlocks.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Key(pub(crate) [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Kdf {
    /// With a fresh salt.
    pub fn fresh(cost: Cost) -> Result<Self, CommandError> {
        Ok(Self { cost, salt: clock::random()? })
    }

    /// The key of a passphrase. Takes its time and memory; nothing of it stays behind.
    pub fn derive(&self, passphrase: &Passphrase) -> Result<Key, CommandError> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let bug = |e: argon2::Error| CommandError::bug(format!("argon2id does not take its parameters: {e}"));
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(bug)?;
        let count = params.block_count();
        let mut memory: Vec<Block> = Vec::new();
        memory.try_reserve_exact(count).map_err(|_| {
            CommandError::user(format!("a passphrase takes {memory_kib} KiB of memory to check, which are not there"))
                .hint("end other programs, or do this on a larger machine")
        })?;
        memory.resize(count, Block::default());
        let mut key = Zeroizing::new([0; 32]);
        let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
            passphrase.bytes(),
            &self.salt,
            key.as_mut(),
            &mut memory[..],
        );
        memory.iter_mut().for_each(|block| block.zeroize());
        derived.map_err(bug)?;
        Ok(Key(*key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the reference implementation through Python's argon2-cffi 25.1:
    /// `hash_secret_raw(b"correct horse", bytes(range(16)), 3, 64, 1, 32, Type.ID)`.
    #[test]
    fn a_known_answer() {
        let kdf = Kdf { cost: Cost::new(64, 3, 1).unwrap(), salt: std::array::from_fn(|n| n as u8) };
        let key = kdf.derive(&Passphrase::new(b"correct horse".to_vec()).unwrap()).unwrap();
        assert_eq!(hex::encode(key.0), "a1dc6a57c61d5fb470584e24085ea3216fd369c61bcd5f845745f9cb0ed02fca");
    }

    #[test]
    fn costs_out_of_bounds_are_refused_before_anything_is_done() {
        for (memory, passes, lanes) in [
            (u32::MAX, 1, 1),
            (MAX_MEMORY_KIB + 1, 1, 1),
            (7, 1, 1),
            (31, 1, 4),
            (64, 0, 1),
            (64, MAX_PASSES + 1, 1),
            (64, u32::MAX, 1),
            (64, 1, 0),
            (64, 1, MAX_LANES + 1),
        ] {
            assert!(Cost::new(memory, passes, lanes).is_err(), "{memory} {passes} {lanes}");
        }
        assert_eq!(Cost::new(64 << 10, 6, 1), Ok(Cost::USUAL));
        assert_eq!(Cost::new(8, 1, 1), Ok(Cost::LEAST));
    }
}
