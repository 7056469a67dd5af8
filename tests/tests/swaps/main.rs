//! Swaps against a chain that validates, with servers that fail and lie. One test for each thing that must be survived, by its name.

mod atomic;
mod commands;
mod kills;
mod money;
mod reorgs;
mod servers;
