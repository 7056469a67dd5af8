//! The relay hub of Side groups.
//!
//! A relay passes signed changes between the members of a group, keeps what it passed on, and serves it to whoever was away. It is a replica
//! that checks every signature and trusted with nothing: it can withhold, never forge.
//!
//! - [`protocol`] — what travels: channels, the signed hello, close codes, bounds (docs/protocol.md, "Relay"). A leaf.
//! - [`client`] — a connection to a relay that heals itself, for nodes. A leaf.
//! - [`metrics`] — what is counted.
//! - [`cli`] — flags, environment, config file, signals: what the binary does.
//! - [`server`] — the relay itself; a test starts it in-process on a port of the system's choice.

pub mod cli;
pub mod client;
pub mod metrics;
pub mod protocol;
pub mod server;
