//! The wall clock and the system's random source: read here and nowhere else, and handed on as arguments.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bft_json_crdt::change::MAX_SAFE;

use crate::error::CommandError;

/// Milliseconds since 1970-01-01 UTC by this machine's clock, within what a change can carry. A clock before 1970 reads as 0: time is a claim
/// that orders nothing, so a wrong one must not stop a node.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(MAX_SAFE).min(MAX_SAFE)
}

/// The wall clock as it was when a node started, going on evenly. Whoever sets the clock back must not make the node wait for the time to come again; what is
/// set forward is followed, since a machine that slept does not count that time.
#[derive(Debug)]
pub struct Steady {
    started: Instant,
    started_ms: u64,
}

impl Steady {
    /// Begins at what the wall clock says.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_ms: now_ms() }
    }

    /// Milliseconds since 1970-01-01 UTC; never less than before.
    pub fn now_ms(&mut self) -> u64 {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(MAX_SAFE);
        let even = self.started_ms.saturating_add(passed).min(MAX_SAFE);
        let wall = now_ms();
        if wall > even {
            self.started_ms = self.started_ms.saturating_add(wall - even);
        }
        even.max(wall)
    }
}

/// Fresh random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], CommandError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| CommandError::bug(format!("the system's random source does not answer: {e}")))?;
    Ok(bytes)
}
