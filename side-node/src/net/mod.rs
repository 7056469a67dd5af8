//! The ways to other nodes, behind one interface: the relay websocket and direct connections between members.
//!
//! ```text
//!  relay client ──▶ relay ─┐                       ┌─▶ member (one a group): a sync session and a seal session for each link
//!  direct peers ──▶ p2p  ──┴─ Event, bounded queue ┘
//!                     ▲─────────── Outlet ◀────────────┘
//! ```
//! Rules:
//! - A [`LinkId`] is one connection to one peer about one group, never used again. What is sent on it arrives in order and whole, or the link goes
//!   [down](Event::Down): a transport that loses a message ends the link and may bring up a new one, on which both sides begin anew.
//! - A node uses every link that it has; duplicates cost nothing.
//! - Nothing waits for a slow peer: an outlet that is full says so, and says [`Event::Room`] when it is worth asking again.
//! - The other end's key is proven by the transport. Everything that it says is checked by the member.

pub mod join;
pub mod p2p;
pub mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most bytes of a message on a link, whatever the transport: a sync frame (docs/protocol.md, section 8).
pub const MAX_MESSAGE: usize = 4 << 20;

/// One connection to one peer about one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// A number that no link of this process has had. For transports; whoever plays links from a seed numbers them itself.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Which conversation a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Changes: `bft_json_crdt::sync::Message` (docs/protocol.md, section 8).
    Sync,
    /// Blocks: `side_seal::Message` (section 11).
    Seal,
    /// Where members can be reached, under their signature, and what a newcomer fetches of the state.
    Side,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its key, proven on this connection.
    pub key: AuthorId,
    /// By which transport: `relay` or `direct`.
    pub transport: &'static str,
    /// Where it is, for people to read.
    pub address: String,
}

/// Why something could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Ask again after [`Event::Room`].
    Full,
    /// The link is down.
    Gone,
}

/// The sending half of a link.
pub trait Outlet: Send + Sync {
    /// How many messages it surely takes now.
    fn room(&self) -> usize;
    /// Queues a message of at most [`MAX_MESSAGE`] bytes.
    fn try_send(&self, stream: Stream, message: Bytes) -> Result<(), SendError>;
    /// Ends the connection: the peer broke a rule. The transport leaves it alone for a while; [`Event::Down`] follows.
    fn close(&self, reason: &str);
    /// Ends the connection through nobody's fault: this side has to begin anew. The transport brings up another link as soon as it can;
    /// [`Event::Down`] follows.
    fn renew(&self, reason: &str);
    /// The last measured time for a message to go there and back.
    fn round_trip(&self) -> Option<Duration> {
        None
    }
}

/// What a transport tells a member.
pub enum Event {
    /// A link stands.
    Up {
        /// The link.
        link: LinkId,
        /// Who is there.
        peer: Peer,
        /// The way out.
        outlet: Arc<dyn Outlet>,
    },
    /// A message came.
    Message {
        /// On which link.
        link: LinkId,
        /// Of which conversation.
        stream: Stream,
        /// What it says.
        message: Bytes,
    },
    /// An outlet that was full has room again.
    Room {
        /// The link.
        link: LinkId,
    },
    /// The link is gone.
    Down {
        /// The link.
        link: LinkId,
        /// Why, for people to read.
        reason: String,
    },
    /// Something that people want to know: a way that was asked for is not to be had, or is back. Nothing about each attempt.
    Notice(String),
}

/// A way to another node that a transport tries and that does not stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// By which transport: `relay` or `direct`.
    pub transport: String,
    /// Where, for people to read.
    pub address: String,
    /// The key that should be there, if it is known.
    pub key: Option<String>,
    /// Why there is no link; nothing while the first attempt runs.
    pub problem: Option<String>,
}

/// A transport that runs for one group. Dropping it ends it; its events stop.
pub trait Transport: Send + Sync {
    /// Whether a first attempt is still under way: whoever stops the node waits for it for a moment, so that what was just written goes out.
    fn is_trying(&self) -> bool;
    /// The ways that are tried and do not stand.
    fn attempts(&self) -> Vec<Attempt>;
}
