//! Small counters that bound connections: by key, by address, and those whose hello is outstanding.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many there are of each.
#[derive(Debug)]
pub(super) struct Counted<K> {
    counts: Mutex<HashMap<K, usize>>,
}

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self { counts: Mutex::default() }
    }
}

impl<K: Eq + Hash + Copy> Counted<K> {
    fn counts(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more of `key`, unless there are `most` already.
    pub(super) fn enter(&self, key: &K, most: usize) -> bool {
        let mut counts = self.counts();
        let count = counts.entry(*key).or_insert(0);
        if *count >= most {
            if *count == 0 {
                counts.remove(key);
            }
            return false;
        }
        *count += 1;
        true
    }

    /// One fewer.
    pub(super) fn leave(&self, key: &K) {
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

/// Connections whose hello is outstanding, oldest first. When there are too many the oldest is cut: an honest client takes milliseconds, so
/// whoever holds connections half open only ever harms itself.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    waiting: Mutex<VecDeque<(u64, CancellationToken)>>,
}

impl Handshakes {
    /// Adds connection `id` and answers the token that will tell it that it was cut.
    pub(super) fn enter(&self, id: u64, most: usize) -> CancellationToken {
        let token = CancellationToken::new();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.len() >= most.max(1) {
            if let Some((_, oldest)) = waiting.pop_front() {
                oldest.cancel();
            }
        }
        waiting.push_back((id, token.clone()));
        token
    }

    /// Connection `id` is through, or gone.
    pub(super) fn leave(&self, id: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Ids ascend in the queue.
        if let Ok(at) = waiting.binary_search_by_key(&id, |(id, _)| *id) {
            waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded_and_given_back() {
        let counted = Counted::default();
        assert!(counted.enter(&1, 2) && counted.enter(&1, 2) && !counted.enter(&1, 2));
        assert!(counted.enter(&2, 2));
        assert!(!counted.enter(&3, 0));
        counted.leave(&1);
        assert!(counted.enter(&1, 2));
        counted.leave(&2);
        counted.leave(&2);
        assert_eq!(counted.counts().len(), 1);
    }

    #[test]
    fn the_oldest_half_open_connection_makes_room() {
        let handshakes = Handshakes::default();
        let first = handshakes.enter(1, 2);
        let second = handshakes.enter(2, 2);
        assert!(!first.is_cancelled());
        let third = handshakes.enter(3, 2);
        assert!(first.is_cancelled() && !second.is_cancelled());
        handshakes.leave(2);
        let fourth = handshakes.enter(4, 2);
        assert!(!third.is_cancelled() && !fourth.is_cancelled());
    }
}
