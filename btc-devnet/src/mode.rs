//! When blocks are mined by themselves, as people and programs write it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node::Mining;

/// The longest time between two blocks: a day. Whoever wants fewer blocks than that mines on demand.
const LONGEST: u64 = 24 * 60 * 60;

/// `{"mode": "on-demand"}`, `{"mode": "interval", "seconds": 10}` or `{"mode": "on-transaction"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mode {
    /// Only by command.
    OnDemand,
    /// A block each time so many seconds have passed.
    Interval {
        /// Seconds between two blocks.
        seconds: u64,
    },
    /// A block after each accepted transaction or package.
    OnTransaction,
}

/// An interval of no time, or of more than a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block time of {0} seconds is not possible: it is between 1 and {LONGEST}")]
pub struct BadMode(u64);

impl TryFrom<Mode> for Mining {
    type Error = BadMode;

    fn try_from(mode: Mode) -> Result<Self, BadMode> {
        match mode {
            Mode::OnDemand => Ok(Self::OnDemand),
            Mode::Interval { seconds: seconds @ 1..=LONGEST } => Ok(Self::Interval(Duration::from_secs(seconds))),
            Mode::Interval { seconds } => Err(BadMode(seconds)),
            Mode::OnTransaction => Ok(Self::OnTransaction),
        }
    }
}

impl From<Mining> for Mode {
    fn from(mining: Mining) -> Self {
        match mining {
            Mining::OnDemand => Self::OnDemand,
            Mining::Interval(time) => Self::Interval { seconds: time.as_secs() },
            Mining::OnTransaction => Self::OnTransaction,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OnDemand => f.write_str("on demand"),
            Self::Interval { seconds: 1 } => f.write_str("every second"),
            Self::Interval { seconds } => write!(f, "every {seconds} seconds"),
            Self::OnTransaction => f.write_str("on each transaction"),
        }
    }
}
