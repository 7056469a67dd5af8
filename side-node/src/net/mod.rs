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

pub mod relay;

use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;

/// Most bytes of a message on a link, whatever the transport: a sync frame (docs/protocol.md, section 8).
pub const MAX_MESSAGE: usize = 4 << 20;

/// One connection to one peer about one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

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
}
