//! What a transaction must pay to enter, and what it should pay to be mined soon.

use std::collections::{BTreeMap, VecDeque};

use super::pool::Mempool;
use crate::{
    node::FeeEstimates,
    policy::{self, BLOCK_RESERVED_WEIGHT, FeeRate, INCREMENTAL_RELAY_FEERATE, MAX_BLOCK_WEIGHT, MIN_RELAY_FEERATE},
};

/// After this many seconds an eviction's floor has halved (`ROLLING_FEE_HALFLIFE`, `txmempool.h`).
const HALFLIFE: f64 = 12.0 * 60.0 * 60.0;
/// The floor is reckoned anew at most this often, in seconds.
const FLOOR_STEP: u32 = 10;
/// Confirmation targets, in blocks, as Esplora servers give them.
const TARGETS: [u16; 28] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 144, 504, 1008];
/// No estimate is lower, in sat/vB: wallets round to whole numbers, and one must never become zero.
const LEAST_ESTIMATE: f64 = 1.0;
/// How many recent blocks an estimate looks back on.
const RECENT_BLOCKS: usize = 6;
/// A block is full from this weight on.
const FULL_BLOCK: u64 = (MAX_BLOCK_WEIGHT - BLOCK_RESERVED_WEIGHT) / 100 * 95;

/// The fee rate below which nothing enters: it rises when a full mempool evicts, and falls with time
/// (`CTxMemPool::GetMinFee`, `txmempool.cpp`).
#[derive(Debug, Clone, Default)]
pub(super) struct FloorFee {
    /// In sat/kvB.
    rate: f64,
    /// When it was reckoned, in seconds since 1970.
    updated: u32,
    /// A block came since it last rose; it does not fall before.
    block_since: bool,
}

impl FloorFee {
    /// A chunk of this rate was evicted.
    pub(super) fn evicted(&mut self, rate: FeeRate, now: u32) {
        let rate = (rate.0 + INCREMENTAL_RELAY_FEERATE.0) as f64;
        if rate > self.rate {
            self.rate = rate;
            self.updated = now;
            self.block_since = false;
        }
    }

    pub(super) fn block_connected(&mut self, now: u32) {
        self.block_since = true;
        self.updated = now;
    }

    /// The floor now. `fullness` is the share of its limit that the mempool takes.
    pub(super) fn at(&mut self, now: u32, fullness: f64) -> FeeRate {
        if self.block_since && self.rate > 0.0 && now > self.updated.saturating_add(FLOOR_STEP) {
            let speed = if fullness < 0.25 {
                4.0
            } else if fullness < 0.5 {
                2.0
            } else {
                1.0
            };
            self.rate /= 2f64.powf(f64::from(now - self.updated) * speed / HALFLIFE);
            self.updated = now;
            if self.rate < INCREMENTAL_RELAY_FEERATE.0 as f64 / 2.0 {
                self.rate = 0.0;
            }
        }
        if self.rate == 0.0 {
            return FeeRate(0);
        }
        FeeRate(self.rate.round() as u64).max(INCREMENTAL_RELAY_FEERATE)
    }
}

/// Weight and lowest fee rate (sat/kvB) of recent blocks.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecentBlocks {
    blocks: VecDeque<(u64, FeeRate)>,
}

impl RecentBlocks {
    pub(crate) fn connected(&mut self, weight: u64, lowest: FeeRate) {
        self.blocks.push_back((weight, lowest));
        if self.blocks.len() > RECENT_BLOCKS {
            self.blocks.pop_front();
        }
    }

    pub(crate) fn disconnected(&mut self) {
        self.blocks.pop_back();
    }

    /// What it took to get into the recent blocks, if they were full: the middle one of their lowest rates.
    fn price(&self) -> FeeRate {
        let mut rates: Vec<FeeRate> = self
            .blocks
            .iter()
            .map(|&(weight, lowest)| if weight >= FULL_BLOCK { lowest } else { FeeRate(0) })
            .collect();
        rates.sort_unstable();
        rates.get(rates.len() / 2).copied().unwrap_or(FeeRate(0))
    }
}

impl Mempool {
    /// The lowest fee rate that enters now.
    pub(crate) fn minimum(&mut self, now: u32) -> FeeRate {
        let fullness = self.bytes as f64 / self.limit.max(1) as f64;
        self.floor.at(now, fullness).max(MIN_RELAY_FEERATE)
    }

    /// Estimates from what waits and from the recent blocks: a target of n blocks costs what is paid n blocks deep in the
    /// mempool; the next blocks cost at least what full blocks cost lately.
    pub(crate) fn estimate(&mut self, recent: &RecentBlocks, now: u32) -> FeeEstimates {
        let minimum = self.minimum(now);
        let block = MAX_BLOCK_WEIGHT - BLOCK_RESERVED_WEIGHT;
        let per_vbyte = |rate: FeeRate| rate.0 as f64 / 1000.0;
        let mut targets = BTreeMap::new();
        let (mut weight, mut edge, mut chunks) = (0, minimum, self.order.iter());
        for target in TARGETS {
            let depth = block * u64::from(target);
            while weight < depth {
                let Some(rank) = chunks.next() else { break };
                weight += rank.weight;
                edge = FeeRate::of(rank.fee, policy::vsize(rank.weight));
            }
            // Only a mempool that fills the blocks up to the target makes it cost more than the minimum.
            let waiting = if weight >= depth { edge } else { minimum };
            let lately = if usize::from(target) <= RECENT_BLOCKS { recent.price() } else { minimum };
            let rate = per_vbyte(waiting.max(lately).max(minimum)).max(LEAST_ESTIMATE);
            targets.insert(target, rate);
        }
        // A later target never costs more than an earlier one.
        let mut least = f64::INFINITY;
        for rate in targets.values_mut() {
            least = least.min(*rate);
            *rate = least;
        }
        FeeEstimates { targets, minimum: per_vbyte(minimum) }
    }
}
