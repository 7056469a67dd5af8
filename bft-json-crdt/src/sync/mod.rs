//! Sync between two replicas as a sans-IO state machine: message in, actions out (docs/protocol.md, section 8).
//!
//! ```text
//!   A                                  B
//!   heads            ───────────────▶
//!                    ◀───────────────  heads                  equal digests: both go live
//!   summary          ───────────────▶
//!                    ◀───────────────  summary
//!   probe            ───────────────▶                         only where seq alone cannot tell
//!                    ◀───────────────  probe reply
//!   changes …        ───────────────▶                         what B lacks, in causal order,
//!                    ◀───────────────  ack …                  within a window; then the live tail
//!   evidence         ───────────────▶                         once caught up
//! ```
//!
//! Both directions run at once and independently. Nothing here waits, retries or knows the time: a driver feeds
//! [`SyncSession::receive`], carries out its [`Action`]s, and sends whatever [`SyncSession::poll_send`] yields.

mod message;
mod session;

pub use message::{
    Leaf, MAX_FRAME, MAX_GET, MAX_PROBE_CHAINS, MAX_PROBE_IDS, MAX_SUMMARY_LEAVES, Message, Packet, RawAuthor,
};
pub use session::{Action, PeerFault, SessionLimits, SyncSession, Unserved};
