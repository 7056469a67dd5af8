//! Bitcoin: wallets, transfers and swaps by hash time locked contracts (HTLCs).
//!
//! A server (Esplora) is asked for the chain and trusted with as little as can be: what it says is checked in [`chain`].
//! [`htlc`] holds the rules of a swap as a value, without clock, socket or file.
//!
//! - [`network`], [`amount`], [`fees`] — which chain, how much, at what cost
//! - [`esplora`] — a server, with limits on what it can do to us
//! - [`seed`], [`wallet`], [`scan`], [`sync`] — keys, coins, and how the one learns of the other
//! - [`swaps`] — a node's swaps: on disk, in the group, on the chains
//! - [`confirm`] — how deep a transaction lies
//! - [`transfer`] — a payment from its beginning to its confirmations
//! - [`settings`], [`link`] — what people say and see

pub mod amount;
pub mod chain;
pub mod confirm;
pub mod esplora;
#[cfg(test)]
mod fake;
pub mod fees;
pub mod htlc;
pub mod link;
pub mod network;
pub mod scan;
pub mod seed;
pub mod settings;
pub mod swaps;
pub mod sync;
pub mod transfer;
pub mod wallet;
