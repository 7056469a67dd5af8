//! The children of one place on one side, in the one order, where they are two or more.
//!
//! A chunked vector of place numbers: hostile changes can hang a million places from one, and an honest log hangs all of its
//! elements from the start, each behind all others.

/// Most siblings in a chunk: what an insertion in the middle moves.
const CHUNK: usize = 512;

/// The siblings. Invariant: no chunk is empty.
#[derive(Clone, Debug)]
pub(super) struct Siblings {
    chunks: Vec<Vec<u32>>,
}

impl Siblings {
    /// A first child.
    pub(super) fn new(only: u32) -> Self {
        Self { chunks: vec![vec![only]] }
    }

    /// Adds a child behind all those of which `before` is true; they stand first. Answers the child before it.
    /// O(log n) questions, and one if it goes last.
    pub(super) fn insert(&mut self, child: u32, before: impl Fn(u32) -> bool) -> Option<u32> {
        let last = self.chunks.last()?;
        let chunk = match last.last() {
            Some(&last) if before(last) => self.chunks.len() - 1,
            _ => self.chunks.partition_point(|chunk| before(chunk[0])).saturating_sub(1),
        };
        let held = &mut self.chunks[chunk];
        let at = match held.last() {
            Some(&last) if before(last) => held.len(),
            _ => held.partition_point(|&sibling| before(sibling)),
        };
        // Only the first chunk can begin with a greater one.
        let previous = at.checked_sub(1).map(|at| held[at]);
        held.insert(at, child);
        if held.len() > CHUNK {
            // What is appended fills chunks to the brim; else both halves have room.
            let keep = if at + 1 == held.len() { CHUNK } else { CHUNK / 2 };
            let upper = held.split_off(keep);
            self.chunks.insert(chunk + 1, upper);
        }
        previous
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.chunks.iter().flatten().copied()
    }

    /// Bytes held on the heap, spare capacity included.
    pub(super) fn heap_bytes(&self) -> usize {
        let items: usize = self.chunks.iter().map(Vec::capacity).sum();
        items * size_of::<u32>() + self.chunks.capacity() * size_of::<Vec<u32>>()
    }
}
