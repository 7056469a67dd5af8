//! One chain: consensus, mempool and miner, owned by one thread.
//!
//! A [`Node`] blocks while it works and holds no thread of its own. Whoever wants to reach it from several tasks gives it a
//! thread and a mailbox. Everything it does is told to an [`Observer`], in order and before the call returns, so that an
//! index built from these calls alone always equals one rebuilt from the blocks.
//!
//! ```text
//!   mine, reorg, submit_block ──► kernel (Bitcoin Core's validation) ──► coins ──► Observer::connected, disconnected
//!   submit, fund              ──► policy (Core's relay rules) ──► mempool ───────► Observer::entered, left
//!                                                          each command ends with  Observer::settled
//! ```

mod commands;
mod error;
mod follow;
mod observer;
mod open;
mod options;
mod outcome;

pub use commands::{MAX_BLOCKS, Node};
pub use error::Error;
pub use observer::{Coin, Departure, MempoolEntry, NoObserver, Observer};
pub use options::{Mining, Options, Premine};
pub use outcome::{FeeEstimates, PackageReport, PackageTransaction, Rejection, Reorg, TestAccept, Tip};
