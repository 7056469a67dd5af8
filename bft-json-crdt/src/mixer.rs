//! Hashes for tables in memory whose keys others choose: ids, names. Keyed, so that nobody outside can make keys meet in one slot, and cheaper than SipHash.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

/// A keyed hash: folded multiplications with secret operands. It decides nothing that can be seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct Mixer([u64; 4]);

impl Default for Mixer {
    fn default() -> Self {
        Self::new()
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Mixer {
    /// One for the whole process: an empty graph takes the place of one that is lent, and should cost nothing.
    pub(crate) fn new() -> Self {
        static WORDS: OnceLock<[u64; 4]> = OnceLock::new();
        let state = RandomState::new;
        Self(*WORDS.get_or_init(|| std::array::from_fn(|n| state().hash_one(n))))
    }

    /// Of 32 bytes that look random or can be made to.
    pub(crate) fn mix(&self, bytes: &[u8; 32]) -> u64 {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |n: usize| u64::from_le_bytes(words[n]) ^ self.0[n];
        fold(word(0), word(1)) ^ fold(word(2), word(3)).rotate_left(23)
    }

    /// Of a name.
    pub(crate) fn mix_name(&self, name: &str) -> u64 {
        let [first, second, third, fourth] = self.0;
        let take = |hash: u64, low: u64, high: u64| fold(low ^ first ^ hash, high ^ second);
        let (blocks, rest) = name.as_bytes().as_chunks::<16>();
        let mut hash = third;
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            hash = take(hash, u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]));
        }
        // What is left, in two words that may overlap: the length at the end tells them apart.
        let (low, high) = if let (Some(low), Some(high)) = (rest.first_chunk(), rest.last_chunk()) {
            (u64::from_le_bytes(*low), u64::from_le_bytes(*high))
        } else if let (Some(low), Some(high)) = (rest.first_chunk(), rest.last_chunk()) {
            (u32::from_le_bytes(*low).into(), u32::from_le_bytes(*high).into())
        } else {
            (rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0)
        };
        fold(take(hash, low, high) ^ fourth, third ^ name.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_of_every_length_that_differ_anywhere_differ_in_their_hash() {
        let mixer = Mixer::new();
        let mut seen = HashSet::new();
        for len in 0..70 {
            assert!(seen.insert(mixer.mix_name(&"a".repeat(len))), "{len}");
            for at in 0..len {
                let name = format!("{}b{}", "a".repeat(at), "a".repeat(len - at - 1));
                assert!(seen.insert(mixer.mix_name(&name)), "{name}");
            }
        }
        // No bit of the hash stands still: tables look at the high ones and at the low ones.
        let (mut and, mut or) = (u64::MAX, 0);
        for n in 0..1_000 {
            let hash = mixer.mix_name(&format!("key{n}"));
            (and, or) = (and & hash, or | hash);
        }
        assert_eq!((and, or), (0, u64::MAX));
    }
}
