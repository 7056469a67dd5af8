//! One connection, from its first byte to its last.
//!
//! ```text
//! open (http)  →  challenge, hello, welcome  →  read ∥ write ∥ clock  →  close frame, linger
//! ```
//!
//! Everything up to the welcome runs under one deadline and with small buffers. Afterwards three futures share one task: `read` passes messages
//! to the groups and waits where a quota says so; `write` empties the mailbox, feeding everything that waits and flushing once; `clock` pings and
//! ends what is idle or does not read. None of them waits for another connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bft_json_crdt::encoding::Reader;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use super::group::{Command, Mailbox};
use super::http::{self, Opening};
use super::hub::Joined;
use super::peer::{Acks, Peer, PeerId};
use super::quota::Rates;
use super::{Shared, pages};
use crate::metrics::count;
use crate::protocol::limits::{MAX_FRAME, MAX_HELLO_BYTES};
use crate::protocol::{Challenge, Channel, CloseReason, Control, GroupReply, Hello, HelloGroup, Lane, Welcome};

/// Read buffer of a websocket: acknowledgements and single changes are small, larger frames grow it.
const READ_BUFFER: usize = 8 << 10;
/// Write buffer of a websocket: what is fed between two writes to the socket.
const WRITE_BUFFER: usize = 64 << 10;
/// Bytes that are taken from the mailbox before one flush. The slow timeout speaks of one such batch.
const WRITE_BATCH: usize = 256 << 10;
/// Bytes of messages of one connection that may wait in groups' mailboxes; the next is read when they have been handled.
const INBOUND_BYTES: usize = 2 * MAX_FRAME;
/// What a message in a mailbox costs beside its bytes.
const INBOUND_OVERHEAD: usize = 256;
/// How long a closing connection waits for its last frames to be written and read.
const LINGER: Duration = Duration::from_secs(1);
/// The tag of an acknowledgement (docs/protocol.md, section 8), which need not pass through the group's mailbox.
const ACK_TAG: u8 = 4;

type Socket = WebSocketStream<TcpStream>;

/// How a connection's beginning ended without a peer.
enum Turned {
    /// A page was served, or the other end left.
    Served,
    /// Before the hello was accepted, with a websocket to say why on.
    Refused(Box<Socket>, CloseReason, String),
}

/// A group on one connection.
struct Subscription {
    mailbox: Mailbox,
    acks: Arc<Acks>,
}

/// Serves one TCP connection. `evicted` ends it while its hello is outstanding; `settled` is called when it is not any more.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    from: SocketAddr,
    evicted: CancellationToken,
    settled: impl FnOnce() + Send,
) {
    let deadline = shared.config.limits.handshake_timeout;
    let began = tokio::select! {
        // Past the deadline there is a moment to say so, if there is a websocket to say it on.
        began = timeout(deadline + LINGER, begin(&shared, stream, tokio::time::Instant::now() + deadline)) => began,
        () = evicted.cancelled() => {
            count(&shared.metrics.turned_away, "handshake-evicted");
            return;
        }
        () = shared.stop.cancelled() => return,
    };
    settled();
    let (socket, peer, joined) = match began {
        Ok(Ok(Ok(begun))) => begun,
        Ok(Ok(Err(Turned::Served))) => return,
        Ok(Ok(Err(Turned::Refused(socket, reason, text)))) => {
            tracing::debug!(%from, %reason, text, "connection refused");
            shared.metrics.close(reason);
            goodbye(*socket, reason, &text).await;
            return;
        }
        Ok(Err(error)) => {
            tracing::trace!(%from, %error, "connection broke before its hello");
            count(&shared.metrics.turned_away, "broken");
            return;
        }
        // There may not even be a websocket to say it on.
        Err(_) => {
            count(&shared.metrics.turned_away, CloseReason::HandshakeTimeout.label());
            return;
        }
    };
    tracing::info!(%from, peer = peer.id.0, key = %peer.key, groups = joined.len(), "connected");
    shared.metrics.connections.inc();
    let reason = run(&shared, socket, &peer, joined).await;
    shared.metrics.connections.dec();
    shared.metrics.close(reason);
    shared.keys.leave(&peer.key);
    let text = peer.close_reason().map_or("", |(_, text)| text);
    tracing::info!(peer = peer.id.0, %reason, text, "disconnected");
}

type Begun = (Socket, Arc<Peer>, Vec<Joined>);

async fn begin(
    shared: &Shared,
    mut stream: TcpStream,
    deadline: tokio::time::Instant,
) -> Result<Result<Begun, Turned>, WsError> {
    stream.set_nodelay(true)?;
    let allow = |origin: &str, host: Option<&str>| {
        http::same_origin(origin, host) || shared.config.allow_origins.iter().any(|allowed| allowed == origin)
    };
    let opening = match timeout_at(deadline, http::open(&mut stream, &allow)).await {
        Ok(opening) => opening?,
        Err(_) => {
            count(&shared.metrics.turned_away, CloseReason::HandshakeTimeout.label());
            return Ok(Err(Turned::Served));
        }
    };
    let rest = match opening {
        Opening::Websocket(rest) => rest,
        Opening::Page(path) => {
            let (status, kind, body) = pages::page(shared, &path);
            http::answer(&mut stream, status, kind, &body).await?;
            return Ok(Err(Turned::Served));
        }
        Opening::Refused(status, why) => {
            count(&shared.metrics.turned_away, "http");
            http::answer(&mut stream, status, "text/plain; charset=utf-8", &format!("{why}\n")).await?;
            return Ok(Err(Turned::Served));
        }
        Opening::Closed => return Ok(Err(Turned::Served)),
    };
    let mut socket = WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(ws(MAX_HELLO_BYTES))).await;
    let challenge = challenge(shared)?;
    socket.send(Message::Binary(Control::Challenge(challenge.clone()).encode())).await?;
    let hello = match timeout_at(deadline, next_hello(&mut socket)).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) => return Ok(refused(socket, CloseReason::HelloMalformed, "this is not a hello")),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(refused(socket, CloseReason::HandshakeTimeout, "no hello came in time")),
    };
    if let Err(error) = hello.check(&challenge, shared.now_ms()) {
        return Ok(refused(socket, error.close_reason(), &error.to_string()));
    }
    if !shared.keys.enter(&hello.key, shared.config.limits.max_connections_per_key) {
        return Ok(refused(socket, CloseReason::KeyConnections, "this key has too many connections open"));
    }
    // From here on the key's place is given back in `serve`, or here if the welcome cannot be sent.
    match welcome(shared, socket, &hello).await {
        Ok(begun) => Ok(Ok(begun)),
        Err(error) => {
            shared.keys.leave(&hello.key);
            Err(error)
        }
    }
}

fn refused(socket: Socket, reason: CloseReason, text: &str) -> Result<Begun, Turned> {
    Err(Turned::Refused(Box::new(socket), reason, text.to_owned()))
}

fn ws(max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max))
        .max_frame_size(Some(max))
}

fn challenge(shared: &Shared) -> Result<Challenge, WsError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| WsError::Io(std::io::Error::other(error.to_string())))?;
    let lifetime = u64::try_from(shared.config.limits.challenge_lifetime.as_millis()).unwrap_or(u64::MAX);
    Ok(Challenge::new(shared.identity.author(), nonce, shared.now_ms().saturating_add(lifetime)))
}

/// The hello, or `None` if something else came.
async fn next_hello(socket: &mut Socket) -> Result<Option<Hello>, WsError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(frame))) => {
                let opened = Channel::open(&frame).ok().filter(|(channel, _)| *channel == Channel::CONTROL);
                return Ok(match opened.map(|(_, payload)| Control::decode(&payload)) {
                    Some(Ok(Control::Hello(hello))) => Some(hello),
                    _ => None,
                });
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_) | Message::Frame(_))) => return Ok(None),
            Some(Ok(Message::Close(_))) | None => return Err(WsError::ConnectionClosed),
            Some(Err(WsError::Capacity(_))) => return Ok(None),
            Some(Err(error)) => return Err(error),
        }
    }
}

async fn welcome(shared: &Shared, mut socket: Socket, hello: &Hello) -> Result<Begun, WsError> {
    let mut replies = Vec::with_capacity(hello.groups.len());
    let mut joined = Vec::new();
    for HelloGroup { group, genesis } in &hello.groups {
        replies.push(match shared.hub.join(*group, genesis, &hello.key).await {
            Ok(group) => {
                let channel = group.channel;
                joined.push(group);
                GroupReply::Open(channel)
            }
            Err(reply) => reply,
        });
    }
    let (total, carried) = shared.hub.carried();
    let welcome = Welcome::sign(hello, replies, total, carried, &shared.identity);
    socket.send(Message::Binary(Control::Welcome(welcome).encode())).await?;
    // A client says nothing between its hello and the welcome, so no bytes of it are lost when the small buffers are exchanged.
    let socket = WebSocketStream::from_raw_socket(socket.into_inner(), Role::Server, Some(ws(MAX_FRAME))).await;
    let id = PeerId(shared.next_peer.fetch_add(1, Ordering::Relaxed));
    let peer = Peer::new(id, hello.key, shared.config.limits.strikes, shared.metrics.clone());
    Ok((socket, Arc::new(peer), joined))
}

async fn run(shared: &Shared, socket: Socket, peer: &Arc<Peer>, joined: Vec<Joined>) -> CloseReason {
    let mut groups = HashMap::with_capacity(joined.len());
    for Joined { channel, mailbox } in joined {
        let acks = Arc::new(Acks::default());
        mailbox.send(Command::Join { peer: peer.clone(), acks: acks.clone() });
        groups.insert(channel, Subscription { mailbox, acks });
    }
    let (mut sink, mut stream) = socket.split();
    let clock = Clock::new(shared);
    let reason = tokio::select! {
        reason = read(shared, &mut stream, peer, &groups, &clock) => reason,
        reason = write(shared, &mut sink, peer, &clock) => reason,
        reason = clock.run(shared, peer) => reason,
        () = peer.closed() => CloseReason::Normal,
        () = shared.stop.cancelled() => CloseReason::GoingAway,
    };
    for group in groups.values() {
        group.mailbox.send(Command::Leave(peer.id));
    }
    peer.close(reason, if reason == CloseReason::GoingAway { "the relay is shutting down" } else { reason.label() });
    // Whoever closed the peer first has given the reason.
    let (reason, text) = peer.close_reason().unwrap_or((reason, ""));
    if let Ok(socket) = sink.reunite(stream) {
        goodbye(socket, reason, text).await;
    }
    reason
}

async fn read(
    shared: &Shared,
    stream: &mut SplitStream<Socket>,
    peer: &Arc<Peer>,
    groups: &HashMap<Channel, Subscription>,
    clock: &Clock,
) -> CloseReason {
    let limits = &shared.config.limits;
    let mut rates = Rates::new(
        (limits.messages_per_second, limits.message_burst),
        (limits.bytes_per_second, limits.byte_burst),
        Instant::now(),
    );
    let room = Arc::new(Semaphore::new(INBOUND_BYTES));
    loop {
        let message = match stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return fault(&error),
            None => return CloseReason::Normal,
        };
        let now = Instant::now();
        clock.heard(now);
        shared.metrics.frames_in.inc();
        shared.metrics.bytes_in.inc_by(message.len() as u64);
        let wait = rates.message(message.len(), now);
        match message {
            Message::Binary(frame) => dispatch(frame, peer, groups, &room).await,
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) | Message::Frame(_) => peer.strike("text-message"),
            Message::Close(_) => return CloseReason::Normal,
        }
        if !wait.is_zero() {
            shared.metrics.throttled.inc();
            // Its pings wait as well; they must not make it look silent.
            clock.busy(wait);
            tokio::time::sleep(wait).await;
        }
    }
}

async fn dispatch(frame: Bytes, peer: &Peer, groups: &HashMap<Channel, Subscription>, room: &Arc<Semaphore>) {
    let Ok((channel, payload)) = Channel::open(&frame) else {
        return peer.strike("malformed-frame");
    };
    if channel == Channel::CONTROL {
        match Control::decode(&payload) {
            // What a later client may say and this relay need not understand.
            Ok(Control::Unknown(_)) => {}
            Ok(_) => peer.strike("control-out-of-turn"),
            Err(_) => peer.strike("malformed-control"),
        }
        return;
    }
    let lane = channel.lane().and_then(|(number, lane)| Some((groups.get(&number)?, lane)));
    let Some((group, lane)) = lane else {
        return peer.strike("unknown-channel");
    };
    if lane == Lane::Sync
        && payload.first() == Some(&ACK_TAG)
        && let Some(acked) = ack(&payload)
    {
        if group.acks.note(acked) {
            group.mailbox.send(Command::Acked(peer.id));
        }
        return;
    }
    let cost = (payload.len() + INBOUND_OVERHEAD).min(INBOUND_BYTES) as u32;
    // The semaphore lives as long as this task and is never closed.
    if let Ok(permit) = room.clone().acquire_many_owned(cost).await {
        group.mailbox.send(Command::Frame { from: peer.id, lane, payload, _room: permit });
    }
}

/// The number in a well-formed acknowledgement.
fn ack(payload: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(payload);
    reader.varint().ok()?;
    let count = reader.varint().ok()?;
    reader.is_empty().then_some(count)
}

async fn write(shared: &Shared, sink: &mut SplitSink<Socket, Message>, peer: &Peer, clock: &Clock) -> CloseReason {
    let mut batch = Vec::new();
    loop {
        let bytes = tokio::select! {
            bytes = peer.take(&mut batch, WRITE_BATCH) => bytes,
            () = clock.ping_due() => {
                clock.writing();
                if let Err(error) = sink.send(Message::Ping(Bytes::new())).await {
                    return fault(&error);
                }
                clock.written();
                continue;
            }
        };
        clock.writing();
        shared.metrics.frames_out.inc_by(batch.len() as u64);
        shared.metrics.bytes_out.inc_by(bytes as u64);
        for frame in batch.drain(..) {
            if let Err(error) = sink.feed(Message::Binary(frame)).await {
                return fault(&error);
            }
        }
        if let Err(error) = sink.flush().await {
            return fault(&error);
        }
        clock.written();
    }
}

fn fault(error: &WsError) -> CloseReason {
    match error {
        WsError::Capacity(_) => CloseReason::TooBig,
        WsError::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
        | WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Io(_) => CloseReason::Normal,
        _ => CloseReason::Protocol,
    }
}

/// Says why, and reads a little longer: closing a socket with unread bytes would make the system drop what was just written.
async fn goodbye(mut socket: Socket, reason: CloseReason, text: &str) {
    let frame = CloseFrame { code: reason.code().into(), reason: CloseReason::text(text).into() };
    let _ = timeout(LINGER, async {
        if socket.close(Some(frame)).await.is_err() {
            let _ = socket.flush().await;
        }
        let mut stream = socket.into_inner();
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        let mut drain = [0; 4096];
        while matches!(stream.read(&mut drain).await, Ok(n) if n > 0) {}
    })
    .await;
}

/// Who has been heard when, in milliseconds since the connection began; 0 in `writing_since` means that nothing is being written.
struct Clock {
    start: Instant,
    heard: AtomicU64,
    writing_since: AtomicU64,
    ping: tokio::sync::Notify,
}

impl Clock {
    fn new(_: &Shared) -> Self {
        Self {
            start: Instant::now(),
            heard: AtomicU64::new(0),
            writing_since: AtomicU64::new(0),
            ping: tokio::sync::Notify::new(),
        }
    }

    fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_millis() as u64
    }

    fn heard(&self, now: Instant) {
        self.heard.store(self.ms(now), Ordering::Relaxed);
    }

    fn busy(&self, wait: Duration) {
        self.heard(Instant::now() + wait);
    }

    fn writing(&self) {
        self.writing_since.store(self.ms(Instant::now()).max(1), Ordering::Relaxed);
    }

    fn written(&self) {
        self.writing_since.store(0, Ordering::Relaxed);
    }

    async fn ping_due(&self) {
        self.ping.notified().await;
    }

    /// Pings what is silent; ends what stays silent, or does not read.
    async fn run(&self, shared: &Shared, peer: &Peer) -> CloseReason {
        let limits = &shared.config.limits;
        let period = (limits.ping_interval.min(limits.slow_timeout) / 2).max(Duration::from_millis(10));
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = self.ms(Instant::now());
            let writing = self.writing_since.load(Ordering::Relaxed);
            if writing > 0 && now.saturating_sub(writing) > limits.slow_timeout.as_millis() as u64 {
                peer.close(CloseReason::Slow, "it does not read what it is sent");
                return CloseReason::Slow;
            }
            let silent = now.saturating_sub(self.heard.load(Ordering::Relaxed));
            if silent >= limits.idle_timeout.as_millis() as u64 {
                peer.close(CloseReason::Idle, "nothing was heard, not even answers to pings");
                return CloseReason::Idle;
            }
            if silent >= limits.ping_interval.as_millis() as u64 {
                self.ping.notify_one();
            }
        }
    }
}
