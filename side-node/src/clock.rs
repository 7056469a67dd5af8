//! The wall clock and the system's random source: read here and nowhere else, and handed on as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use bft_json_crdt::change::MAX_SAFE;

use crate::error::CommandError;

/// Milliseconds since 1970-01-01 UTC by this machine's clock, within what a change can carry. A clock before 1970 reads as 0: time is a claim
/// that orders nothing, so a wrong one must not stop a node.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(MAX_SAFE).min(MAX_SAFE)
}

/// Fresh random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], CommandError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| CommandError::bug(format!("the system's random source does not answer: {e}")))?;
    Ok(bytes)
}
