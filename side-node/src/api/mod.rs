//! How programs on this machine talk to a running node.

pub mod client;
pub mod control;
pub mod server;
