//! A relay's client: one task that keeps a connection to one relay, for as long as its handle lives.
//!
//! It carries the messages of any number of groups, each on its [`Lane`], and knows nothing of what is in them: whoever holds the group runs a
//! session for each connection and lane. It reconnects with a jittered, capped backoff and never gives up, since a relay that is away may come
//! back; a new connection has a new [`ConnectionId`], and messages that belong to an older one are dropped, because a session starts
//! anew with its connection.
//!
//! ```text
//! caller ──send(connection, group, lane, m)──▶ bounded queue ──▶ ┌────────────┐ ◀──▶ relay
//! caller ◀──Event: Connected, Message, …──── bounded queue ◀──── │ client task │
//!                                                                └────────────┘
//! ```

mod backoff;
mod connection;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::protocol::{Carried, CloseReason, GroupReply, HelloGroup, Lane, NoticeCode, WelcomeError};

pub use backoff::{BACKOFF_MAX, BACKOFF_MIN, STABLE_AFTER};
pub use tls::{Roots, RootsError};

/// Events that wait for the caller. When they are not taken, reading from the relay pauses, which its flow control notices.
pub const EVENT_QUEUE: usize = 256;
/// Messages that wait to be sent. A full queue makes [`RelayClient::send`] wait; the sync session's window keeps it far from full.
pub const SEND_QUEUE: usize = 1024;

type Sign = dyn Fn(&str, &[u8]) -> Signature + Send + Sync;

/// Signs a message under a domain with the key that the client speaks for.
#[derive(Clone)]
pub struct Signer {
    key: AuthorId,
    sign: Arc<Sign>,
}

impl Signer {
    /// A signer for `key`, whose secret half `sign` has access to (in memory, in an agent, on a device).
    pub fn new(key: AuthorId, sign: impl Fn(&str, &[u8]) -> Signature + Send + Sync + 'static) -> Self {
        Self { key, sign: Arc::new(sign) }
    }

    /// The key it signs for.
    pub fn key(&self) -> AuthorId {
        self.key
    }
}

impl From<Keypair> for Signer {
    fn from(keypair: Keypair) -> Self {
        Self::new(keypair.author(), move |domain, message| keypair.sign(domain, message))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.key)
    }
}

/// What a client is told when it starts.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where the relay listens: `ws://host:port`, or `wss://host:port` with TLS.
    pub url: String,
    /// Who may vouch for its name in TLS.
    pub roots: Roots,
    /// The key that the connection speaks for.
    pub signer: Signer,
    /// The groups to take part in, with their geneses.
    pub groups: Vec<HelloGroup>,
    /// The relay's identity, if it is known: every other is refused.
    pub pinned: Option<AuthorId>,
    /// The first wait after a failure; it doubles up to `backoff_max`, and each wait is jittered.
    pub backoff_min: Duration,
    /// The longest wait between two attempts.
    pub backoff_max: Duration,
}

impl ClientConfig {
    /// A client of the relay at `url` with the usual backoff.
    pub fn new(url: impl Into<String>, signer: impl Into<Signer>, groups: Vec<HelloGroup>) -> Self {
        Self {
            url: url.into(),
            roots: Roots::default(),
            signer: signer.into(),
            groups,
            pinned: None,
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
        }
    }
}

/// Numbers the connections of one client, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnectionId(pub u64);

/// What the caller learns.
#[derive(Debug, Clone)]
pub enum Event {
    /// The hello was accepted. A sync session of each open group starts now.
    Connected(Connected),
    /// A message of an open group, not yet decoded.
    Message {
        /// The connection it came on.
        connection: ConnectionId,
        /// The group.
        group: DocumentId,
        /// What it belongs to.
        lane: Lane,
        /// The message.
        message: Bytes,
    },
    /// The relay says something that needs no answer.
    Notice {
        /// What it says.
        code: NoticeCode,
        /// The group it speaks of, if of one.
        group: Option<DocumentId>,
        /// One line for a person.
        text: String,
    },
    /// There is no connection, or none any more.
    Disconnected {
        /// Why.
        reason: Disconnect,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

/// A connection that stands.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its number.
    pub connection: ConnectionId,
    /// The relay's identity, proven by its signature.
    pub relay: AuthorId,
    /// What the relay says to each group that was asked for.
    pub groups: Vec<(DocumentId, GroupReply)>,
    /// How many groups the relay carries.
    pub carried_total: u64,
    /// The groups that it carries, or the first of them.
    pub carried: Vec<Carried>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Disconnect {
    /// The address cannot be used.
    #[error("{0:?} is not the address of a relay: {1}")]
    Url(String, String),
    /// Nobody answered.
    #[error("no relay answers at {url}: {cause}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// The connection or the websocket under it broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The relay ended the connection and said why.
    #[error("the relay closed the connection ({reason}): {text}")]
    Closed {
        /// The reason.
        reason: CloseReason,
        /// Its words.
        text: String,
    },
    /// The relay ended the connection without a reason that this build knows.
    #[error("the relay closed the connection")]
    Ended,
    /// The relay did not greet in time, or fell silent.
    #[error("the relay does not answer")]
    Silent,
    /// The relay speaks another version.
    #[error("the relay speaks version {0} of the relay protocol, this build version {ours}; update the older one", ours = crate::protocol::RELAY_VERSION)]
    Version(u64),
    /// The relay is not the pinned one.
    #[error(
        "the relay is {found}, not the pinned {pinned}: somebody else answers at this address, or the relay has a new key"
    )]
    OtherIdentity {
        /// The pinned identity.
        pinned: AuthorId,
        /// The identity that it showed.
        found: AuthorId,
    },
    /// The welcome is not good.
    #[error("the relay's welcome is not good: {0}")]
    Welcome(#[from] WelcomeError),
    /// The relay broke the protocol.
    #[error("the relay broke the protocol: {0}")]
    Protocol(&'static str),
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The client's task has ended.
    #[error("the relay client has stopped")]
    Stopped,
    /// The queue is full (only from [`RelayClient::try_send`]).
    #[error("the queue to the relay is full")]
    Full,
}

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    connection: ConnectionId,
    group: DocumentId,
    lane: Lane,
    message: Bytes,
}

/// The handle of a client. Cheap to clone; the client stops when the last handle is dropped or the event receiver is.
#[derive(Debug, Clone)]
pub struct RelayClient {
    outgoing: mpsc::Sender<Outgoing>,
    retry: Arc<watch::Sender<u64>>,
    _stop: Arc<DropGuard>,
}

impl RelayClient {
    /// Starts a client on the current tokio runtime.
    pub fn spawn(config: ClientConfig) -> (RelayClient, mpsc::Receiver<Event>) {
        let (outgoing, outgoing_rx) = mpsc::channel(SEND_QUEUE);
        let (events, events_rx) = mpsc::channel(EVENT_QUEUE);
        let (retry, retry_rx) = watch::channel(0);
        let stop = CancellationToken::new();
        tokio::spawn(connection::run(config, outgoing_rx, events, retry_rx, stop.clone()));
        (RelayClient { outgoing, retry: Arc::new(retry), _stop: Arc::new(stop.drop_guard()) }, events_rx)
    }

    /// Queues a message for `group` on `connection`; waits while the queue is full. If that connection is gone by the time it would be
    /// sent, the message is dropped: its session is over. Messages of one lane arrive in order.
    pub async fn send(
        &self,
        connection: ConnectionId,
        group: DocumentId,
        lane: Lane,
        message: Bytes,
    ) -> Result<(), SendError> {
        let outgoing = Outgoing { connection, group, lane, message };
        self.outgoing.send(outgoing).await.map_err(|_| SendError::Stopped)
    }

    /// Like [`RelayClient::send`], but answers [`SendError::Full`] instead of waiting.
    pub fn try_send(
        &self,
        connection: ConnectionId,
        group: DocumentId,
        lane: Lane,
        message: Bytes,
    ) -> Result<(), SendError> {
        self.outgoing.try_send(Outgoing { connection, group, lane, message }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Stopped,
        })
    }

    /// How many messages the queue takes before [`RelayClient::try_send`] answers [`SendError::Full`].
    pub fn room(&self) -> usize {
        self.outgoing.capacity()
    }

    /// Ends the current wait between two attempts, if there is one (a person asked, or the network came back).
    pub fn retry_now(&self) {
        self.retry.send_modify(|n| *n = n.wrapping_add(1));
    }
}
