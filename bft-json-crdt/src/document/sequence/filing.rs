//! In which leaf each place stands, in runs.

use std::ops::Range;

/// Most runs in a chunk: what an insertion in the middle moves.
const CHUNK: usize = 256;
/// Runs in a line of memory.
const NEAR: usize = 8;

/// Successive places in one leaf; they end where the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    leaf: u32,
}

/// The leaves of all places, which are numbered from 0: a sorted vector in chunks.
#[derive(Clone, Debug, Default)]
pub(super) struct Filing {
    /// The first place of each chunk.
    firsts: Vec<u32>,
    /// Invariant: no chunk is empty.
    chunks: Vec<Vec<Run>>,
    /// How many places there are.
    end: u32,
}

impl Filing {
    /// The leaf of a place.
    pub(super) fn leaf_of(&self, place: u32) -> u32 {
        let (chunk, at) = self.find(place);
        self.chunks[chunk][at].leaf
    }

    /// Adds the next `len` places.
    pub(super) fn append(&mut self, len: u32, leaf: u32) {
        let run = Run { first: self.end, leaf };
        self.end += len;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.last().is_some_and(|last| last.leaf == leaf) => {}
            Some(chunk) if chunk.len() < CHUNK => chunk.push(run),
            _ => {
                self.firsts.push(run.first);
                self.chunks.push(vec![run]);
            }
        }
    }

    /// Files places, which stood in one leaf together, in another one.
    pub(super) fn refile(&mut self, places: Range<u32>, leaf: u32) {
        let (chunk, at) = self.find(places.start);
        let old = self.chunks[chunk][at];
        // Two runs in one leaf may stand side by side, where something was between them once or a chunk ends.
        while self.next_first(chunk, at) < places.end {
            match at + 1 < self.chunks[chunk].len() {
                true => self.remove(chunk, at + 1),
                false => self.remove(chunk + 1, 0),
            }
        }
        if self.next_first(chunk, at) > places.end {
            self.chunks[chunk].insert(at + 1, Run { first: places.end, ..old });
        }
        let at = if old.first < places.start {
            self.chunks[chunk].insert(at + 1, Run { first: places.start, leaf });
            at + 1
        } else {
            self.chunks[chunk][at].leaf = leaf;
            at
        };
        let runs = &mut self.chunks[chunk];
        if runs.get(at + 1).is_some_and(|next| next.leaf == leaf) {
            runs.remove(at + 1);
        }
        if at > 0 && runs[at - 1].leaf == leaf {
            runs.remove(at);
        }
        if runs.len() > CHUNK {
            let upper = runs.split_off(CHUNK / 2);
            self.firsts.insert(chunk + 1, upper[0].first);
            self.chunks.insert(chunk + 1, upper);
        }
    }

    fn find(&self, place: u32) -> (usize, usize) {
        let chunk = self.firsts.partition_point(|&first| first <= place) - 1;
        let runs = &self.chunks[chunk];
        // No run stands further behind than it would among runs of one place each. In a document of small pieces it stands there or little before, which
        // spares the search: each step of it would be another line of memory.
        let most = ((place - self.firsts[chunk]) as usize).min(runs.len() - 1);
        if runs[most].first <= place {
            return (chunk, most);
        }
        let near = most.saturating_sub(NEAR);
        let at = if runs[near].first <= place {
            near + runs[near..most].partition_point(|run| run.first <= place)
        } else {
            runs[..near].partition_point(|run| run.first <= place)
        };
        (chunk, at - 1)
    }

    /// Where a run ends.
    fn next_first(&self, chunk: usize, at: usize) -> u32 {
        match self.chunks[chunk].get(at + 1) {
            Some(next) => next.first,
            None => self.firsts.get(chunk + 1).copied().unwrap_or(self.end),
        }
    }

    fn remove(&mut self, chunk: usize, at: usize) {
        self.chunks[chunk].remove(at);
        match self.chunks[chunk].first() {
            Some(first) => self.firsts[chunk] = first.first,
            None => {
                self.chunks.remove(chunk);
                self.firsts.remove(chunk);
            }
        }
    }

    /// Bytes held on the heap, spare capacity included.
    pub(super) fn heap_bytes(&self) -> usize {
        let runs: usize = self.chunks.iter().map(Vec::capacity).sum();
        runs * size_of::<Run>()
            + self.chunks.capacity() * size_of::<Vec<Run>>()
            + self.firsts.capacity() * size_of::<u32>()
    }

    /// Checks the order of the runs.
    pub(super) fn debug_check(&self, places: u32) {
        assert_eq!(self.end, places, "places are not filed");
        assert_eq!(self.firsts.len(), self.chunks.len());
        for (first, chunk) in self.firsts.iter().zip(&self.chunks) {
            assert_eq!(chunk.first().map(|run| run.first), Some(*first), "a chunk begins elsewhere");
            assert!(chunk.len() <= CHUNK, "a chunk is too full");
        }
        let runs: Vec<Run> = self.chunks.iter().flatten().copied().collect();
        assert!(runs.first().is_none_or(|run| run.first == 0));
        assert!(runs.windows(2).all(|pair| pair[0].first < pair[1].first), "runs out of order");
        assert!(runs.last().is_none_or(|run| run.first < places), "a run without places");
    }
}
