//! Nodes that reach each other directly, as real processes on loopback: no watcher, no flag.

mod discovery;
mod hostile;
mod join;
mod trouble;
