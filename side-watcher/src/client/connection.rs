//! The client's task: connect, greet, pass messages, wait, again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bft_json_crdt::change::DocumentId;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, STABLE_AFTER};
use super::{ClientConfig, Connected, ConnectionId, Disconnect, Event, Outgoing, tls};
use crate::protocol::limits::{HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, MAX_FRAME, PING_INTERVAL};
use crate::protocol::{Channel, CloseReason, Control, GroupReply, Hello, RELAY_VERSION};

type Socket = WebSocketStream<Box<dyn tls::Stream>>;

/// Messages that are taken off the queue and written at once, before one flush.
const SEND_BATCH: usize = 256;
/// Read buffer of the websocket: a few live frames. Larger frames grow it.
const READ_BUFFER: usize = 16 << 10;

/// The caller is gone: stop without a word.
struct Gone;

pub(super) async fn run(
    config: ClientConfig,
    mut outgoing: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
    mut retry: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(config.backoff_min, config.backoff_max);
    let mut connection = ConnectionId::default();
    loop {
        connection.0 += 1;
        let started = Instant::now();
        let ended = tokio::select! {
            ended = attempt(&config, connection, &mut outgoing, &events) => ended,
            () = stop.cancelled() => return,
            () = events.closed() => return,
        };
        let Ok(reason) = ended else { return };
        if started.elapsed() >= STABLE_AFTER {
            backoff.reset();
        }
        let retry_in = backoff.wait(random());
        tracing::debug!(url = %config.url, %reason, ?retry_in, "no connection to the relay");
        retry.mark_unchanged();
        let event = Event::Disconnected { reason, retry_in };
        let wait = async {
            if events.send(event).await.is_err() {
                return;
            }
            let deadline = tokio::time::sleep(retry_in);
            tokio::pin!(deadline);
            loop {
                tokio::select! {
                    () = &mut deadline => return,
                    changed = retry.changed() => {
                        if changed.is_ok() { return }
                        deadline.as_mut().await;
                        return;
                    }
                    // What is queued now belongs to a connection that is over.
                    stale = outgoing.recv() => if stale.is_none() { return },
                }
            }
        };
        tokio::select! {
            () = wait => {}
            () = stop.cancelled() => return,
            () = events.closed() => return,
        }
        if events.is_closed() || (outgoing.is_closed() && outgoing.is_empty()) {
            return;
        }
    }
}

/// Jitter need not be secret; if the system has no randomness to give, waits are just not jittered.
fn random() -> u32 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return u32::MAX;
    }
    u32::from_be_bytes(bytes)
}

async fn attempt(
    config: &ClientConfig,
    connection: ConnectionId,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    events: &mpsc::Sender<Event>,
) -> Result<Disconnect, Gone> {
    let (socket, connected, channels) = match timeout(HANDSHAKE_TIMEOUT, greet(config, connection)).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(reason)) => return Ok(reason),
        Err(_) => return Ok(Disconnect::Silent),
    };
    events.send(Event::Connected(connected)).await.map_err(|_| Gone)?;
    let heard = Mutex::new(Instant::now());
    let (sink, stream) = socket.split();
    tokio::select! {
        ended = read(stream, connection, &channels, events, &heard) => ended,
        ended = write(sink, connection, &channels, outgoing, &heard) => ended,
    }
}

async fn greet(
    config: &ClientConfig,
    connection: ConnectionId,
) -> Result<(Socket, Connected, HashMap<Channel, DocumentId>), Disconnect> {
    let websocket = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let connecting = async {
        let request = config.url.as_str().into_client_request()?;
        let stream = tls::connect(&request, &config.roots).await?;
        client_async_with_config(request, stream, Some(websocket)).await
    };
    let (mut socket, _) = connecting.await.map_err(|error| match error {
        WsError::Url(cause) => Disconnect::Url(config.url.clone(), cause.to_string()),
        WsError::HttpFormat(cause) => Disconnect::Url(config.url.clone(), cause.to_string()),
        WsError::Http(response) => Disconnect::Unreachable {
            url: config.url.clone(),
            cause: format!("the server answers {}", response.status()),
        },
        cause => Disconnect::Unreachable { url: config.url.clone(), cause: cause.to_string() },
    })?;

    let Control::Challenge(challenge) = next_control(&mut socket).await? else {
        return Err(Disconnect::Protocol("it did not open with a challenge"));
    };
    if challenge.version != RELAY_VERSION {
        return Err(Disconnect::Version(challenge.version));
    }
    if let Some(pinned) = config.pinned
        && pinned != challenge.relay
    {
        return Err(Disconnect::OtherIdentity { pinned, found: challenge.relay });
    }
    let mut own_nonce = [0; 32];
    getrandom::fill(&mut own_nonce).map_err(|error| Disconnect::Broken(format!("no randomness: {error}")))?;
    let hello = Hello::sign(&challenge, config.signer.key, own_nonce, config.groups.clone(), |domain, message| {
        (config.signer.sign)(domain, message)
    });
    let frame = Control::Hello(hello.clone()).encode();
    socket.send(Message::Binary(frame)).await.map_err(|error| broken(&error))?;
    let Control::Welcome(welcome) = next_control(&mut socket).await? else {
        return Err(Disconnect::Protocol("it did not answer the hello with a welcome"));
    };
    welcome.check(&hello)?;

    let groups: Vec<_> = hello.groups.iter().map(|g| g.group).zip(welcome.replies).collect();
    let channels = groups
        .iter()
        .filter_map(|(group, reply)| match reply {
            GroupReply::Open(channel) => Some((*channel, *group)),
            _ => None,
        })
        .collect();
    let connected = Connected {
        connection,
        relay: challenge.relay,
        groups,
        carried_total: welcome.carried_total,
        carried: welcome.carried,
    };
    Ok((socket, connected, channels))
}

/// The next message of the greeting, which is on the control channel.
async fn next_control(socket: &mut Socket) -> Result<Control, Disconnect> {
    loop {
        let frame = match socket.next().await {
            Some(Ok(Message::Binary(frame))) => frame,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            other => return Err(end(other)),
        };
        let (channel, payload) = Channel::open(&frame).map_err(|_| Disconnect::Protocol("malformed frame"))?;
        if channel != Channel::CONTROL {
            return Err(Disconnect::Protocol("sync before the welcome"));
        }
        match Control::decode(&payload).map_err(|_| Disconnect::Protocol("malformed control message"))? {
            Control::Unknown(_) | Control::Notice(_) => {}
            control => return Ok(control),
        }
    }
}

async fn read(
    mut stream: SplitStream<Socket>,
    connection: ConnectionId,
    channels: &HashMap<Channel, DocumentId>,
    events: &mpsc::Sender<Event>,
    heard: &Mutex<Instant>,
) -> Result<Disconnect, Gone> {
    loop {
        let message = stream.next().await;
        *heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
        let frame = match message {
            Some(Ok(Message::Binary(frame))) => frame,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            other => return Ok(end(other)),
        };
        let Ok((channel, payload)) = Channel::open(&frame) else {
            return Ok(Disconnect::Protocol("malformed frame"));
        };
        let event = if channel == Channel::CONTROL {
            match Control::decode(&payload) {
                Ok(Control::Notice(notice)) => Event::Notice {
                    code: notice.code,
                    group: channels.get(&notice.channel).copied(),
                    text: notice.text,
                },
                Ok(_) => continue,
                Err(_) => return Ok(Disconnect::Protocol("malformed control message")),
            }
        } else {
            let lane = channel.lane().and_then(|(number, lane)| Some((*channels.get(&number)?, lane)));
            let Some((group, lane)) = lane else {
                return Ok(Disconnect::Protocol("message on a channel that was not opened"));
            };
            Event::Message { connection, group, lane, message: payload }
        };
        events.send(event).await.map_err(|_| Gone)?;
        // The relay was not silent while the caller took its time.
        *heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }
}

async fn write(
    mut sink: SplitSink<Socket, Message>,
    connection: ConnectionId,
    channels: &HashMap<Channel, DocumentId>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    heard: &Mutex<Instant>,
) -> Result<Disconnect, Gone> {
    let numbers: HashMap<DocumentId, Channel> = channels.iter().map(|(channel, group)| (*group, *channel)).collect();
    let mut tick = tokio::time::interval(PING_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    let mut batch = Vec::with_capacity(SEND_BATCH);
    loop {
        let sent = tokio::select! {
            count = outgoing.recv_many(&mut batch, SEND_BATCH) => {
                if count == 0 {
                    close(&mut sink).await;
                    return Err(Gone);
                }
                match timeout(IDLE_TIMEOUT, write_batch(&mut sink, connection, &numbers, &mut batch)).await {
                    Ok(written) => written,
                    Err(_) => return Ok(Disconnect::Silent),
                }
            }
            _ = tick.tick() => {
                let silence = heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed();
                if silence >= IDLE_TIMEOUT {
                    return Ok(Disconnect::Silent);
                }
                if silence >= PING_INTERVAL / 2 {
                    sink.send(Message::Ping(Bytes::new())).await
                } else {
                    // Lets an answer to the relay's ping go out, if one is queued.
                    sink.flush().await
                }
            }
        };
        if let Err(error) = sent {
            return Ok(broken(&error));
        }
    }
}

async fn write_batch(
    sink: &mut SplitSink<Socket, Message>,
    connection: ConnectionId,
    numbers: &HashMap<DocumentId, Channel>,
    batch: &mut Vec<Outgoing>,
) -> Result<(), WsError> {
    let mut fed = false;
    for outgoing in batch.drain(..) {
        let Some(channel) = numbers.get(&outgoing.group) else { continue };
        if outgoing.connection == connection {
            let frame = channel.on(outgoing.lane).envelope(&outgoing.message);
            sink.feed(Message::Binary(frame)).await?;
            fed = true;
        }
    }
    if fed { sink.flush().await } else { Ok(()) }
}

/// Says goodbye, briefly: the caller does not wait for it.
async fn close(sink: &mut SplitSink<Socket, Message>) {
    let _ = timeout(Duration::from_secs(1), sink.close()).await;
}

fn end(message: Option<Result<Message, WsError>>) -> Disconnect {
    match message {
        Some(Ok(Message::Close(Some(frame)))) => match CloseReason::from_code(frame.code.into()) {
            Some(reason) => Disconnect::Closed { reason, text: frame.reason.to_string() },
            None => Disconnect::Broken(format!("closed with code {}: {}", u16::from(frame.code), frame.reason)),
        },
        Some(Ok(Message::Text(_) | Message::Frame(_))) => Disconnect::Protocol("text message"),
        Some(Err(error)) => broken(&error),
        _ => Disconnect::Ended,
    }
}

fn broken(error: &WsError) -> Disconnect {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed => Disconnect::Ended,
        WsError::Capacity(_) => Disconnect::Protocol("message too long"),
        error => Disconnect::Broken(error.to_string()),
    }
}
