//! How programs on this machine talk to a running node: HTTP over a Unix socket, described in docs/api.
//!
//! ```text
//!  client ── HTTP, Unix socket ─▶ server ─▶ routes ── verbs ─▶ daemon
//!                        page ────────────▶ (GET)  └─ stream: events, export, import
//! ```

pub mod client;
pub mod control;
pub mod routes;
pub mod server;
mod stream;
