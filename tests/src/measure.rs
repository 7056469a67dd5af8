//! Reading clocks and memory for the bench programs, and printing their tables.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Wall and CPU time (all threads of this process) since a moment.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

/// What a stopwatch read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lap {
    /// Wall time.
    pub wall: Duration,
    /// CPU time of the whole process.
    pub cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    /// Reads without stopping.
    pub fn lap(&self) -> Lap {
        Lap { wall: self.wall.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A line of `/proc/self/status` in bytes: `VmRSS` (now) or `VmHWM` (the peak).
pub fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    value.and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The middle of several readings.
pub fn median(mut readings: Vec<f64>) -> f64 {
    readings.sort_by(f64::total_cmp);
    readings.get(readings.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line of a table: what, our figure, the limit, how they compare, and whether the bar is reached; nothing, where there is no bar.
pub fn row(what: &str, ours: &str, limit: &str, ratio: &str, reached: impl Into<Option<bool>>) {
    let bar = match reached.into() {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "",
    };
    println!("| {what:<58} | {ours:>26} | {limit:>26} | {ratio:>8} | {bar:<7} |");
}

/// The head of a table.
pub fn head() {
    println!("| {:<58} | {:>26} | {:>26} | {:>8} | bar     |", "what", "ours", "limit in the same run", "ratio");
    println!("|{:-<60}|{:->28}|{:->28}|{:->10}|---------|", "", "", "", "");
}
