//! How a newcomer comes in: a short conversation at a member's front door, before the newcomer's key may connect (docs/protocol.md, section "Direct connections").
//!
//! ```text
//!  newcomer                                              member
//!  "SJ" 1, group, own key, nonce            ──▶
//!                                           ◀──          its key, nonce, signature
//!  token and its signature, or none;        ──▶
//!  own addresses; signature
//!                                           ◀──          let in, and where members are | why not; signature
//! ```
//! Every signature is over all that was said before, both keys and nonces included, so nothing of one conversation serves in another. Of the invitation's
//! secret, which is the seed of a key pair, only that pair's signature is shown. The secret is spent on disk before the member says so.
//!
//! - `message`: the bytes
//! - [`server`]: the member's side, bounded in everything
//! - [`client`]: the newcomer's side

pub mod client;
mod message;
pub mod server;
#[cfg(test)]
mod tests;

pub use message::Refused;
