//! What is kept of one text.

use std::ops::Range;

use super::sequence::{Characters, Sequence};

#[derive(Clone)]
pub(super) struct TextBody {
    /// A character lives while its place is visible.
    pub(super) sequence: Sequence,
    /// For each place its character.
    pub(super) characters: Characters,
}

impl Default for TextBody {
    fn default() -> Self {
        Self { sequence: Sequence::new(), characters: Characters::default() }
    }
}

impl TextBody {
    /// Hides characters; see [`Sequence::hide`].
    pub(super) fn kill(&mut self, places: Range<u32>, told: Option<&mut Vec<(usize, usize)>>) -> u32 {
        self.sequence.hide(&self.characters, places, told)
    }
}
