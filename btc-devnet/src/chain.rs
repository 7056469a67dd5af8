//! The best chain's headers: what lock times and the next block need.

use std::collections::HashMap;

use bitcoin::{BlockHash, block::Header};

/// How many block times the median time past looks at (BIP113).
const MEDIAN_TIME_SPAN: usize = 11;

/// One block of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) hash: BlockHash,
    pub(crate) time: u32,
    /// Median of this block's time and the ten before it.
    pub(crate) median_time_past: u32,
}

/// The best chain, from the genesis block on.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Chain {
    links: Vec<Link>,
    heights: HashMap<BlockHash, u32>,
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Height of the tip.
    pub(crate) fn height(&self) -> u32 {
        self.links.len().saturating_sub(1) as u32
    }

    /// The tip. A chain that is open has at least its genesis block.
    pub(crate) fn tip(&self) -> &Link {
        self.links.last().expect("a chain has a genesis block")
    }

    pub(crate) fn at(&self, height: u32) -> Option<&Link> {
        self.links.get(height as usize)
    }

    pub(crate) fn connect(&mut self, header: &Header) {
        let from = self.links.len().saturating_sub(MEDIAN_TIME_SPAN - 1);
        let times: Vec<u32> = self.links[from..].iter().map(|link| link.time).chain([header.time]).collect();
        let hash = header.block_hash();
        self.heights.insert(hash, self.links.len() as u32);
        self.links.push(Link { hash, time: header.time, median_time_past: median_time_past(&times) });
    }

    pub(crate) fn disconnect(&mut self) {
        if let Some(link) = self.links.pop() {
            self.heights.remove(&link.hash);
        }
    }

    pub(crate) fn contains(&self, hash: &BlockHash) -> bool {
        self.heights.contains_key(hash)
    }
}

/// The median of the last eleven block times, or of as many as there are (BIP113).
pub(crate) fn median_time_past(times: &[u32]) -> u32 {
    let mut last = times[times.len().saturating_sub(MEDIAN_TIME_SPAN)..].to_vec();
    last.sort_unstable();
    last.get(last.len() / 2).copied().unwrap_or(0)
}
