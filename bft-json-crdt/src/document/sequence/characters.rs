//! The characters of a text, all that were ever inserted, by the number of their place.

use std::ops::{Add, Range, Sub};

/// Characters between checkpoints.
const STRIDE: u32 = 64;

/// What places weigh beyond one each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    /// Bytes of UTF-8 beyond one for each character.
    pub(crate) utf8: u32,
    /// Units of UTF-16 beyond one for each character.
    pub(crate) utf16: u32,
}

impl Add for Extra {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { utf8: self.utf8 + other.utf8, utf16: self.utf16 + other.utf16 }
    }
}

impl Sub for Extra {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { utf8: self.utf8 - other.utf8, utf16: self.utf16 - other.utf16 }
    }
}

/// What a sequence asks about the weight of its places. A place's weight never changes.
pub(crate) trait Weigh {
    /// What the places of a range of numbers weigh together.
    fn weigh(&self, places: Range<u32>) -> Extra;
}

/// Weighs nothing: for lists.
impl Weigh for () {
    fn weigh(&self, _: Range<u32>) -> Extra {
        Extra::default()
    }
}

/// A table of characters that only grows: UTF-8, with a checkpoint each 64 characters from the first on that is not ASCII.
#[derive(Clone, Debug, Default)]
pub(crate) struct Characters {
    utf8: String,
    len: u32,
    /// What all of them weigh.
    total: Extra,
    /// Where the checkpoints begin: what stands before this character, a multiple of 64, is ASCII.
    ascii: u32,
    /// For the characters numbered `ascii`, `ascii` + 64, and so on: what all before them weigh.
    checkpoints: Vec<Extra>,
}

impl Characters {
    /// Adds characters and answers how many.
    ///
    /// # Panics
    /// Beyond 4 GiB, which the sequence's bound on places precedes.
    pub(crate) fn push_str(&mut self, characters: &str) -> u32 {
        assert!(u32::try_from(self.utf8.len() + characters.len()).is_ok(), "a text's characters are exhausted");
        let known = self.len;
        self.utf8.push_str(characters);
        if self.checkpoints.is_empty() {
            if characters.is_ascii() {
                self.len += characters.len() as u32;
                return self.len - known;
            }
            self.ascii = known - known % STRIDE;
            self.checkpoints.push(Extra::default());
        }
        for character in characters.chars() {
            let due = self.ascii + self.checkpoints.len() as u32 * STRIDE;
            if self.len == due {
                self.checkpoints.push(self.total);
            }
            self.total = self.total + weight(character);
            self.len += 1;
        }
        self.len - known
    }

    /// How many characters there are.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The characters of a range of numbers.
    ///
    /// # Panics
    /// If there are not that many.
    pub(crate) fn slice(&self, places: Range<u32>) -> &str {
        let from = self.offset(places.start);
        let to = self.offset(places.end);
        &self.utf8[from..to]
    }

    fn checkpoint_offset(&self, index: usize) -> usize {
        (self.ascii + index as u32 * STRIDE + self.checkpoints[index].utf8) as usize
    }

    /// What all characters before a number weigh.
    fn before(&self, place: u32) -> Extra {
        if place <= self.ascii || self.checkpoints.is_empty() {
            return Extra::default();
        }
        let index = (((place - self.ascii) / STRIDE) as usize).min(self.checkpoints.len() - 1);
        let from = self.ascii + index as u32 * STRIDE;
        let text = &self.utf8[self.checkpoint_offset(index)..];
        let mut sum = self.checkpoints[index];
        for character in text.chars().take((place - from) as usize) {
            sum = sum + weight(character);
        }
        sum
    }

    fn offset(&self, place: u32) -> usize {
        (place + self.before(place).utf8) as usize
    }

    /// Bytes held on the heap, spare capacity included.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.utf8.capacity() + self.checkpoints.capacity() * size_of::<Extra>()
    }
}

impl Weigh for Characters {
    fn weigh(&self, places: Range<u32>) -> Extra {
        if self.checkpoints.is_empty() || places.end <= self.ascii {
            return Extra::default();
        }
        self.before(places.end) - self.before(places.start)
    }
}

fn weight(character: char) -> Extra {
    Extra { utf8: character.len_utf8() as u32 - 1, utf16: character.len_utf16() as u32 - 1 }
}
