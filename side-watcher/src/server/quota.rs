//! Quotas as values: token buckets and strike counters that are told the time (docs/protocol.md, "Relay").
//!
//! Rules: strikes and rates bind a connection, not a key, because anybody can send anything in anybody's name; what binds a key counts only
//! what that key signed itself (its hellos). Nobody is banned: a connection ends, the next one starts afresh.

use std::time::{Duration, Instant};

/// A token bucket: `rate` tokens a second flow in, at most `burst` are kept.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket at time `now`.
    pub fn new(rate: u64, burst: u64, now: Instant) -> Self {
        Self { rate: rate.max(1) as f64, burst: burst.max(1) as f64, tokens: burst.max(1) as f64, at: now }
    }

    /// Takes `n` tokens, into debt if need be, and answers how long the taker must wait until the debt is paid (zero if there is none). A
    /// taker that waits as told never takes more than `burst + rate × time + one unit`.
    pub fn take(&mut self, n: u64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + elapsed * self.rate).min(self.burst) - n as f64;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.rate) }
    }

    /// Takes `n` tokens if that many are there.
    pub fn try_take(&mut self, n: u64, now: Instant) -> bool {
        self.take(0, now);
        let has = self.tokens >= n as f64;
        if has {
            self.tokens -= n as f64;
        }
        has
    }
}

/// The rates of one connection: messages and bytes. Whoever sends faster is read more slowly (the websocket and TCP windows fill up at its
/// end) and never cut off for it: an honest node that uploads a long history looks the same.
#[derive(Debug, Clone)]
pub struct Rates {
    messages: Bucket,
    bytes: Bucket,
}

impl Rates {
    /// Full buckets at `now`. Both pairs are (a second, burst).
    pub fn new(messages: (u64, u64), bytes: (u64, u64), now: Instant) -> Self {
        Self { messages: Bucket::new(messages.0, messages.1, now), bytes: Bucket::new(bytes.0, bytes.1, now) }
    }

    /// Accounts for a message of `bytes` bytes and answers how long to wait before the next is read.
    pub fn message(&mut self, bytes: usize, now: Instant) -> Duration {
        self.messages.take(1, now).max(self.bytes.take(bytes as u64, now))
    }
}

/// Faults on one connection.
#[derive(Debug, Clone)]
pub struct Strikes {
    left: u32,
}

impl Strikes {
    /// `allowed` faults are forgiven, the next one is not.
    pub fn new(allowed: u32) -> Self {
        Self { left: allowed }
    }

    /// Charges one fault and answers whether the connection may go on.
    pub fn charge(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_pass_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 5, start);
        for _ in 0..5 {
            assert_eq!(bucket.take(1, start), Duration::ZERO);
        }
        assert_eq!(bucket.take(1, start), Duration::from_millis(100));
        assert_eq!(bucket.take(1, start + Duration::from_millis(200)), Duration::ZERO);
        assert_eq!(bucket.take(100, start + Duration::from_secs(60)), Duration::from_millis(9500));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_no_tokens() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(1, 1, start);
        assert_eq!(bucket.take(1, start), Duration::ZERO);
        assert_eq!(bucket.take(1, start - Duration::from_secs(5)), Duration::from_secs(1));
        assert_eq!(bucket.take(1, start), Duration::from_secs(2));
    }

    #[test]
    fn both_rates_bind() {
        let start = Instant::now();
        let mut rates = Rates::new((10, 2), (1000, 1000), start);
        assert_eq!(rates.message(100, start), Duration::ZERO);
        assert_eq!(rates.message(1400, start), Duration::from_millis(500));
        assert_eq!(rates.message(0, start + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(rates.message(0, start + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(rates.message(0, start + Duration::from_secs(1)), Duration::from_millis(100));
    }

    #[test]
    fn what_is_not_there_is_not_taken() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, 2, start);
        assert!(bucket.try_take(2, start));
        assert!(!bucket.try_take(1, start));
        assert!(!bucket.try_take(2, start + Duration::from_secs(1)));
        assert!(bucket.try_take(1, start + Duration::from_secs(1)));
        assert!(bucket.try_take(2, start + Duration::from_secs(60)), "what was refused is no debt");
    }

    #[test]
    fn strikes_run_out() {
        let mut strikes = Strikes::new(2);
        assert!(strikes.charge() && strikes.charge());
        assert!(!strikes.charge() && !strikes.charge());
    }
}
