//! Choices from one number.

/// A stream of choices (the generator is SplitMix64, Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        (((self.next() >> 32) * sides as u64) >> 32) as usize
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }

    /// A number with this one of these weights.
    pub(super) fn weigh<const N: usize>(&mut self, weights: [u16; N]) -> usize {
        let mut left = self.roll(weights.iter().map(|weight| usize::from(*weight)).sum());
        for (number, weight) in weights.iter().enumerate() {
            match left.checked_sub(usize::from(*weight)) {
                Some(rest) => left = rest,
                None => return number,
            }
        }
        0
    }
}
