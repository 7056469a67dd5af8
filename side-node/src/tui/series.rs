//! What the plots compare over time, gathered from one glance to the next.

use std::collections::VecDeque;

use crate::daemon::glance::Glance;

/// Most samples that are kept: as many as a wide terminal has columns.
pub const MAX_SAMPLES: usize = 240;
/// Least time between two samples, in milliseconds: rates are told in seconds.
const SAMPLE_MS: u64 = 1_000;
/// Most blocks whose latency is kept.
pub const MAX_LATENCIES: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    time_ms: u64,
    changes: u64,
    sealed: u64,
}

/// A rate at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Changes a second.
    pub changes: f64,
    /// Sealed transactions a second.
    pub sealed: f64,
}

/// How long the changes of a block waited for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// The block.
    pub height: u64,
    /// The middle one of them, in milliseconds: authors' clocks against the sealer's.
    pub median_ms: u64,
}

/// The series of a group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Of which group.
    group: String,
    last: Option<Mark>,
    /// The height up to which transactions were counted, and how many.
    counted: Option<(u64, u64)>,
    /// The rates, oldest first.
    pub samples: VecDeque<Sample>,
    /// The latencies, by block.
    pub latencies: VecDeque<Latency>,
}

impl Series {
    /// Takes what a glance adds.
    pub fn take(&mut self, glance: &Glance) {
        if self.group != glance.status.group {
            *self = Self { group: glance.status.group.clone(), ..Self::default() };
        }
        self.count(glance);
        self.wait(glance);
    }

    fn count(&mut self, glance: &Glance) {
        let top = glance.blocks.last().map_or(0, |block| block.block.height);
        let (height, sealed) = self.counted.unwrap_or((top, 0));
        let new = glance.blocks.iter().filter(|block| block.block.height > height);
        // A chain that was taken back is counted on from where it is.
        let sealed = sealed + new.map(|block| block.transactions_total).sum::<u64>();
        self.counted = Some((top, sealed));
        self.mark(Mark { time_ms: glance.time_ms, changes: glance.graph.total, sealed });
    }

    /// Time has passed and the node told nothing new: nothing has happened.
    pub fn tick(&mut self, time_ms: u64) {
        if let Some(last) = self.last {
            self.mark(Mark { time_ms, ..last });
        }
    }

    fn mark(&mut self, mark: Mark) {
        let Some(last) = self.last else {
            self.last = Some(mark);
            return;
        };
        let passed = mark.time_ms.saturating_sub(last.time_ms);
        if mark.time_ms < last.time_ms {
            // The clock was set back.
            self.last = Some(mark);
        }
        if passed < SAMPLE_MS {
            return;
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 * 1_000.0 / passed as f64;
        self.samples.push_back(Sample {
            time_ms: mark.time_ms,
            changes: rate(mark.changes, last.changes),
            sealed: rate(mark.sealed, last.sealed),
        });
        while self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.last = Some(mark);
    }

    fn wait(&mut self, glance: &Glance) {
        for block in &glance.blocks {
            let (height, sealed_ms) = (block.block.height, block.block.time_ms);
            let mut waits: Vec<u64> = glance
                .graph
                .changes
                .iter()
                .filter(|change| change.height == Some(height))
                .map(|change| sealed_ms.saturating_sub(change.time_ms))
                .collect();
            if waits.is_empty() {
                continue;
            }
            waits.sort_unstable();
            let latency = Latency { height, median_ms: waits[waits.len() / 2] };
            match self.latencies.iter().position(|known| known.height >= height) {
                Some(at) if self.latencies[at].height == height => self.latencies[at] = latency,
                Some(at) => self.latencies.insert(at, latency),
                None => self.latencies.push_back(latency),
            }
        }
        while self.latencies.len() > MAX_LATENCIES {
            self.latencies.pop_front();
        }
    }
}
