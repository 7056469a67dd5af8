//! How to open a chain.

use std::{path::PathBuf, time::Duration};

use bitcoin::ScriptBuf;

/// How to open a chain. The default is a chain that is thrown away, mined on demand, with a filled faucet.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the chain is kept. `None`: in a temporary folder that is deleted when the node is dropped.
    pub dir: Option<PathBuf>,
    /// Whose coins a new chain starts with, beside the faucet's. All of them are mature when the chain is open. A chain that
    /// exists already is left as it is.
    pub premine: Vec<Premine>,
    /// When blocks are mined by themselves.
    pub mining: Mining,
    /// Whom the blocks pay that are mined by themselves. `None`: the faucet.
    pub reward: Option<ScriptBuf>,
    /// The time at which the chain's clock starts, in seconds since 1970. `None`: now. It runs at the pace of the system's
    /// clock from there. Bitcoin Core refuses blocks more than two hours ahead of the system's clock: a test that moves the
    /// clock by days starts that much earlier. A chain that exists already goes on at its tip's time if that is later.
    pub start_time: Option<u32>,
    /// How much memory the mempool may take, in bytes. `None`: Core's 300 MB. A test of eviction wants less.
    pub mempool_bytes: Option<usize>,
}

/// Coins that a new chain starts with: the rewards of its first blocks, 50 BTC each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Premine {
    /// Who gets them.
    pub script_pubkey: ScriptBuf,
    /// How many blocks' rewards. The reward halves every 150 blocks on regtest.
    pub blocks: u32,
}

/// When blocks are mined by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mining {
    /// Only by command.
    #[default]
    OnDemand,
    /// One block each time this long has passed.
    Interval(Duration),
    /// One block after each accepted transaction or package.
    OnTransaction,
}
