//! What the end-to-end tests share.
//!
//! - [`process`] — our programs as processes: built, started, watched, killed
//! - [`world`] — a relay, nodes, and what they say about themselves
//! - [`mesh`] — nodes without a relay, and lines between them; [`wire`] — a line that can be cut
//! - [`coins`] — a Bitcoin chain with coins for wallets, and servers that lie about it
//! - [`attacker`] — a raw websocket that knows the protocol and keeps to none of it
//! - [`chain`] — a regtest chain that tests command: a devnet, or a bitcoind that the environment names
//! - [`proxy`] — a server between a node and an Esplora server that lies
//! - [`swaps`] — two nodes that swap
//! - [`pty`] — a person at a terminal
//! - [`browser`] — a real browser, for the page
//! - [`docs`] — a person who follows a page of the documentation
//! - [`bare`] — simplex by itself, for the benchmarks
//! - [`measure`] — clocks and tables for the benchmarks
//!
//! And a test of what docs/security.md says about tests, in `papers`.

pub mod attacker;
pub mod bare;
pub mod browser;
pub mod chain;
pub mod coins;
pub mod docs;
pub mod measure;
pub mod mesh;
#[cfg(test)]
mod papers;
pub mod process;
pub mod proxy;
pub mod pty;
pub mod swaps;
pub mod wire;
pub mod world;
