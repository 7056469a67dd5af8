//! A small deterministic model of a chain and of the parties to a swap, for tests: blocks, a mempool with replacement and a fee floor, reorgs, and
//! consensus on locks. What it knows of scripts comes from the code under test; that Bitcoin agrees is tested against Bitcoin Core's own code
//! in package `side-tests`.

mod chain;
mod party;
mod properties;

pub(super) use chain::{Chain, height};
pub(super) use party::{Party, Setup, own};
