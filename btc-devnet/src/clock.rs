//! The chain's clock: the system's, moved by an offset.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::node::Error;

/// How far ahead of the system's clock Core lets a block's time be, in seconds (`MAX_FUTURE_BLOCK_TIME`, `src/chain.h`).
pub(crate) const MAX_FUTURE_BLOCK_TIME: u32 = 2 * 60 * 60;

/// Runs at the pace of the system's clock, but may be ahead of it or behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    offset: i64,
}

impl Clock {
    /// Starts at `time`, or now.
    pub(crate) fn new(time: Option<u32>) -> Result<Clock, Error> {
        let mut clock = Clock { offset: 0 };
        if let Some(time) = time {
            clock.set(time)?;
        }
        Ok(clock)
    }

    /// Seconds since 1970.
    pub(crate) fn now(self) -> u32 {
        (i64::from(system_time()) + self.offset).clamp(0, i64::from(u32::MAX)) as u32
    }

    /// The latest time that a block may have now.
    pub(crate) fn latest() -> u32 {
        system_time().saturating_add(MAX_FUTURE_BLOCK_TIME)
    }

    pub(crate) fn set(&mut self, time: u32) -> Result<(), Error> {
        let latest = Self::latest();
        if time > latest {
            return Err(Error::TooFarAhead { wanted: time, latest });
        }
        self.offset = i64::from(time) - i64::from(system_time());
        Ok(())
    }
}

fn system_time() -> u32 {
    // A clock before 1970 or after 2106 cannot make blocks anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().try_into().unwrap_or(u32::MAX))
}
