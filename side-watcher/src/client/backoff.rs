//! How long to wait before the next attempt: doubling, capped, jittered, so that the clients of a relay that restarts do not all come back
//! in the same instant.

use std::time::Duration;

/// The first wait after a failure: short, because most failures are a restart of the relay.
pub const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest wait: whoever switches the relay on again sees its nodes within this time.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A connection that stood this long counts as a success: the next failure starts with the shortest wait again.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The waits between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), next: min }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// The next wait: between half and all of what is due, as `random` says.
    pub(super) fn wait(&mut self, random: u32) -> Duration {
        let due = self.next;
        self.next = (due * 2).min(self.max);
        let share = 0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0;
        due.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_are_capped_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        let waits: Vec<u128> = (0..5).map(|_| backoff.wait(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 500, 500]);
        backoff.reset();
        assert_eq!(backoff.wait(0), Duration::from_millis(50));
    }
}
