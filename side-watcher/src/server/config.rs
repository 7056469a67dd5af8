//! What an operator can set, with the defaults and their reasons. How it is read from flags, environment and file is the business of
//! [`crate::cli`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::limits;

/// Where a relay listens unless it is told otherwise: this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Websocket connections in all: each takes some 100 kB, so 400 MB at worst.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4_096;
/// Connections from one address that is not loopback (behind a proxy on this machine, all clients share the loopback address).
pub const DEFAULT_MAX_CONNECTIONS_PER_IP: usize = 256;
/// Connections that have not finished their hello. When there are more, the oldest is cut: an honest one takes milliseconds.
pub const DEFAULT_MAX_HANDSHAKES: usize = 256;
/// Connections that speak for one key: a node has one for each of its groups, 64 at most, and there are leftovers after a network change.
pub const DEFAULT_MAX_CONNECTIONS_PER_KEY: usize = 96;
/// Groups carried in all: each is held in memory.
pub const DEFAULT_MAX_GROUPS: usize = 1_024;
/// Groups that are adopted because one key asked for them, while the relay runs.
pub const DEFAULT_MAX_GROUPS_PER_KEY: usize = 64;
/// Bytes of changes in one group: they are held in memory as well.
pub const DEFAULT_MAX_GROUP_BYTES: u64 = 1 << 30;
/// Messages a second of one connection; people type a few, programs some hundred, an upload comes in large frames.
pub const DEFAULT_MESSAGES_PER_SECOND: u64 = 2_000;
/// Messages of one connection that may come at once.
pub const DEFAULT_MESSAGE_BURST: u64 = 8_000;
/// Bytes a second of one connection: a long history of 30 MB uploads in a second or two.
pub const DEFAULT_BYTES_PER_SECOND: u64 = 16 << 20;
/// Bytes of one connection that may come at once.
pub const DEFAULT_BYTE_BURST: u64 = 64 << 20;
/// Faults that one connection is forgiven. Honest nodes make none; a few allow for a peer of another version.
pub const DEFAULT_STRIKES: u32 = 8;
/// How long a subscriber may take to read what was written, or to acknowledge something of what it was sent.
pub const DEFAULT_SLOW_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shutdown waits for connections to close in good order.
pub const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The bounds of a running relay.
#[derive(Debug, Clone)]
pub struct Limits {
    /// See [`DEFAULT_MAX_CONNECTIONS`].
    pub max_connections: usize,
    /// See [`DEFAULT_MAX_CONNECTIONS_PER_IP`].
    pub max_connections_per_ip: usize,
    /// See [`DEFAULT_MAX_HANDSHAKES`].
    pub max_handshakes: usize,
    /// See [`DEFAULT_MAX_CONNECTIONS_PER_KEY`].
    pub max_connections_per_key: usize,
    /// See [`DEFAULT_MAX_GROUPS`].
    pub max_groups: usize,
    /// See [`DEFAULT_MAX_GROUPS_PER_KEY`].
    pub max_groups_per_key: usize,
    /// See [`DEFAULT_MAX_GROUP_BYTES`].
    pub max_group_bytes: u64,
    /// See [`DEFAULT_MESSAGES_PER_SECOND`].
    pub messages_per_second: u64,
    /// See [`DEFAULT_MESSAGE_BURST`].
    pub message_burst: u64,
    /// See [`DEFAULT_BYTES_PER_SECOND`].
    pub bytes_per_second: u64,
    /// See [`DEFAULT_BYTE_BURST`].
    pub byte_burst: u64,
    /// See [`DEFAULT_STRIKES`].
    pub strikes: u32,
    /// See [`limits::HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// How long a challenge can be answered; at most the handshake timeout makes sense.
    pub challenge_lifetime: Duration,
    /// See [`limits::PING_INTERVAL`].
    pub ping_interval: Duration,
    /// See [`limits::IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`DEFAULT_SLOW_TIMEOUT`].
    pub slow_timeout: Duration,
    /// See [`DEFAULT_SHUTDOWN_TIMEOUT`].
    pub shutdown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_connections_per_ip: DEFAULT_MAX_CONNECTIONS_PER_IP,
            max_handshakes: DEFAULT_MAX_HANDSHAKES,
            max_connections_per_key: DEFAULT_MAX_CONNECTIONS_PER_KEY,
            max_groups: DEFAULT_MAX_GROUPS,
            max_groups_per_key: DEFAULT_MAX_GROUPS_PER_KEY,
            max_group_bytes: DEFAULT_MAX_GROUP_BYTES,
            messages_per_second: DEFAULT_MESSAGES_PER_SECOND,
            message_burst: DEFAULT_MESSAGE_BURST,
            bytes_per_second: DEFAULT_BYTES_PER_SECOND,
            byte_burst: DEFAULT_BYTE_BURST,
            strikes: DEFAULT_STRIKES,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            challenge_lifetime: limits::HANDSHAKE_TIMEOUT,
            ping_interval: limits::PING_INTERVAL,
            idle_timeout: limits::IDLE_TIMEOUT,
            slow_timeout: DEFAULT_SLOW_TIMEOUT,
            shutdown_timeout: DEFAULT_SHUTDOWN_TIMEOUT,
        }
    }
}

/// What a relay is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The data folder: identity key, lock and store. Made with mode 0700 if it does not exist.
    pub data: PathBuf,
    /// A small file outside of the data folder that tells whether the folder was put back to an older state (see [`side_store::identity`]). Within the folder if
    /// there is none, or if it cannot be written.
    pub witness: Option<PathBuf>,
    /// Seal although the data folder looks restored: the operator knows that nothing is missing.
    pub seal_restored: bool,
    /// Web origins whose pages may open a websocket, beside the relay's own (`https://example.org`).
    pub allow_origins: Vec<String>,
    /// The bounds.
    pub limits: Limits,
}

impl Config {
    /// A relay with its data in `data`, listening where the system chooses on the loopback interface: for tests and embedding.
    pub fn local(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: data.into(),
            witness: None,
            seal_restored: false,
            allow_origins: Vec::new(),
            limits: Limits::default(),
        }
    }
}
