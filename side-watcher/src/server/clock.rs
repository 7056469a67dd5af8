//! The time that a relay puts on blocks and challenges.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bft_json_crdt::change::MAX_SAFE;

/// Milliseconds since 1970-01-01 UTC: the system's clock when this was first asked, and from then on a clock that nobody sets. A sealer whose clock is set back
/// would else rest until the old time has come again.
pub(super) fn now_ms() -> u64 {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, then_ms) = *START.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), u64::try_from(since.as_millis()).unwrap_or(MAX_SAFE))
    });
    let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap_or(MAX_SAFE);
    then_ms.saturating_add(elapsed).min(MAX_SAFE)
}
