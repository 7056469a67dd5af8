//! BFT mode from the outside: single rules, and whole groups of sealers under commonware's deterministic runtime and simulated network.

mod epochs;
mod evil;
mod members;
mod node;
pub(crate) mod rules;
mod sim;
mod votes;
mod world;
