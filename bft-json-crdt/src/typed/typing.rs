//! Typing ahead: keystrokes that go on where the last one ended are gathered and reach the transaction as one edit.
//!
//! The first insert (or delete) at a spot goes to the transaction at once, which judges it: the kind of the container, that it is attached, the index. What
//! continues it cannot fail but for the bounds of a change, so it waits here, at the price of a copy into a buffer, until anything else is read or
//! written. What the transaction writes is the same text; a stretch that was deleted backwards is one delete of a range.

use super::session::LocalTx;
use crate::document::ContainerIdx;

/// Most bytes that wait: more would only put off the error of a change that is full.
const MAX_AHEAD: usize = 16 * 1024;

/// What was typed and not handed on yet.
#[derive(Default)]
pub(super) struct Typing {
    last: Last,
    /// The characters that wait. Kept when it is emptied, so that it is allocated once a transaction.
    buffer: String,
}

/// The last edit, if it was one of a text.
#[derive(Default, Clone, Copy)]
enum Last {
    #[default]
    Other,
    Insert {
        text: ContainerIdx,
        /// The index behind all that was typed.
        end: usize,
        /// Characters in the buffer.
        ahead: usize,
    },
    Delete {
        text: ContainerIdx,
        /// The index where characters went, with all that was typed.
        at: usize,
        /// Characters from there on that the transaction has and that are to go.
        ahead: usize,
        /// Characters that are left, with all that was typed.
        left: usize,
    },
}

/// The number of Unicode scalar values.
pub(super) fn count(characters: &str) -> usize {
    if characters.len() == 1 { 1 } else { characters.chars().count() }
}

impl Typing {
    /// Whether anything waits.
    pub(super) fn is_ahead(&self) -> bool {
        match self.last {
            Last::Other => false,
            Last::Insert { ahead, .. } | Last::Delete { ahead, .. } => ahead > 0,
        }
    }

    /// Takes characters that go on where the last ones ended.
    pub(super) fn goes_on(&mut self, text: ContainerIdx, index: usize, characters: &str) -> bool {
        let Last::Insert { text: of, end, ahead } = &mut self.last else { return false };
        if *of != text || *end != index || self.buffer.len() + characters.len() > MAX_AHEAD {
            return false;
        }
        self.buffer.push_str(characters);
        let count = count(characters);
        *end += count;
        *ahead += count;
        true
    }

    /// Takes a delete right before or right behind what was deleted last.
    pub(super) fn deletes_on(&mut self, text: ContainerIdx, index: usize, len: usize) -> bool {
        let Last::Delete { text: of, at, ahead, left } = &mut self.last else { return false };
        let backward = index.checked_add(len) == Some(*at);
        let forward = index == *at && len <= *left - *at;
        if *of != text || !(backward || forward) {
            return false;
        }
        *at = index;
        *ahead += len;
        *left -= len;
        true
    }

    /// The transaction has inserted into a text, up to an index.
    pub(super) fn inserted(&mut self, text: ContainerIdx, end: usize) {
        self.last = Last::Insert { text, end, ahead: 0 };
    }

    /// The transaction has deleted at an index of a text that has so many characters left.
    pub(super) fn deleted(&mut self, text: ContainerIdx, at: usize, left: usize) {
        self.last = Last::Delete { text, at, ahead: 0, left };
    }

    /// Hands on what waits. If the change is full, the transaction keeps the error.
    pub(super) fn settle(&mut self, tx: &mut LocalTx) {
        match std::mem::take(&mut self.last) {
            Last::Insert { text, end, ahead: ahead @ 1.. } => {
                let _ = tx.text_insert(text, end - ahead, &self.buffer);
                self.buffer.clear();
            }
            Last::Delete { text, at, ahead: ahead @ 1.., .. } => {
                let _ = tx.text_delete(text, at, ahead);
            }
            _ => {}
        }
    }
}
