//! A Bitcoin regtest chain for demos and tests: consensus by Bitcoin Core's own code, an Esplora API in front of it.
//!
//! [`node`] is the chain itself: it validates, mines, keeps the mempool and tells an observer what changed.

mod chain;
mod clock;
mod coins;
mod faucet;
mod journal;
mod kernel;
mod mempool;
mod miner;
pub mod node;
mod policy;
mod script;
