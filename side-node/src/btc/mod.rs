//! Bitcoin: wallets, transfers and swaps by hash time locked contracts (HTLCs).
//!
//! A server (Esplora) is asked for the chain and trusted with as little as can be: what it says is checked in [`chain`].
//! [`htlc`] holds the rules of a swap as a value, without clock, socket or file.

pub mod chain;
pub mod htlc;
