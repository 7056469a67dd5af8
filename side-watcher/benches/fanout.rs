//! Relay fan-out: deliveries a second and CPU a delivery to 4, 32 and 256 subscribers, beside a bare relay in the same run.
//!
//! Both get the same pre-signed 300-byte changes over one websocket, as fast as they take them. The *bare relay* checks one signature a
//! message, commits in groups with the same fsync (an append to a file), and sends in batches (feeds what is queued, flushes once). It judges
//! nothing, merges nothing, remembers nothing and needs no acknowledgement. Relays run in this process, so CPU counts the load too; it is the same for both.
//!
//! `cargo bench -p side-watcher --bench fanout [-- SECONDS]`

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bft_json_crdt::change::Change;
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::hash::CHANGE_SIGNATURE_DOMAIN;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Limits as ReplicaLimits, Replica};
use bft_json_crdt::sync::{Message as Sync, Packet};
use bft_json_crdt::verify::verify;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use side_ledger::{Admission, Genesis, GroupSpec, Limits as GroupLimits, Name, Sealing};
use side_watcher::protocol::{Channel, Control, GroupReply, Hello, HelloGroup};
use side_watcher::server::{Config, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async_with_config, connect_async_with_config};

/// Messages that a publisher has under way before it waits for the first of them to be durable.
const WINDOW: u64 = 8192;
/// Text that makes a change about 300 bytes long.
const TEXT_BYTES: usize = 90;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn main() {
    let seconds: f64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(4.0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("fan-out of changes, {} worker threads, {seconds} s a run\n", 2);
    println!(
        "{:>11}  {:>9}  {:>13}  {:>11}  {:>13}  {:>11}  {:>7}",
        "subscribers", "bytes", "side/s", "CPU µs each", "bare/s", "CPU µs each", "ratio"
    );
    for subscribers in [4, 32, 256] {
        let load = Load::new(changes_for(subscribers, seconds));
        let bare = runtime.block_on(run(Kinds::Bare, subscribers, seconds, &load));
        let side = runtime.block_on(run(Kinds::Side, subscribers, seconds, &load));
        println!(
            "{:>11}  {:>9}  {:>13.0}  {:>11.2}  {:>13.0}  {:>11.2}  {:>7.2}",
            subscribers,
            load.changes[0].bytes().len(),
            side.rate,
            side.cpu_us,
            bare.rate,
            bare.cpu_us,
            side.rate / bare.rate
        );
    }
}

/// Enough changes that no run sees the end of them.
fn changes_for(subscribers: usize, seconds: f64) -> usize {
    let rate = if subscribers < 16 {
        60_000.0
    } else if subscribers < 100 {
        40_000.0
    } else {
        20_000.0
    };
    (rate * seconds) as usize
}

struct Load {
    genesis: Genesis,
    changes: Vec<Change>,
}

impl Load {
    fn new(count: usize) -> Self {
        let author = Keypair::from_seed(&[1; 32]);
        let genesis = Genesis::new(GroupSpec {
            name: Name::new("bench").unwrap(),
            created_ms: 1,
            nonce: [1; 32],
            founders: vec![author.author()],
            admission: Admission::Open,
            allocation: Default::default(),
            sealing: Sealing::Leader { interval_ms: 1000 },
            limits: GroupLimits::default(),
        })
        .unwrap();
        let mut replica = Replica::new(genesis.id().document(), ReplicaLimits::default());
        replica.set_writer(Some(author.author()));
        let text = "x".repeat(TEXT_BYTES);
        let changes = (0..count)
            .map(|_| {
                let write = replica.transact(&author, 1, |tx| {
                    let list = tx.child(ContainerIdx::ROOT, "transactions", Kind::List)?;
                    tx.insert_in_order(list, NewElement::Value(text.as_str().into()))
                });
                write.unwrap().0
            })
            .collect();
        Self { genesis, changes }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kinds {
    Side,
    Bare,
}

struct Figures {
    rate: f64,
    cpu_us: f64,
}

async fn run(kind: Kinds, subscribers: usize, seconds: f64, load: &Load) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let mut side = None;
    let url = match kind {
        Kinds::Side => {
            let mut config = Config::local(folder.path());
            // The load stands for many people at once.
            config.limits.messages_per_second = u64::from(u32::MAX);
            config.limits.message_burst = u64::from(u32::MAX);
            config.limits.bytes_per_second = u64::from(u32::MAX);
            config.limits.byte_burst = u64::from(u32::MAX);
            config.limits.max_connections_per_key = 1_000;
            let server = Server::start(config).await.unwrap();
            let url = server.url();
            side = Some(server);
            url
        }
        Kinds::Bare => bare::start(folder.path().join("log")).await,
    };
    let delivered = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for number in 0..subscribers {
        let (socket, channel) = connect(&url, kind, load, number as u8).await;
        tasks.push(tokio::spawn(subscribe(socket, channel, kind, delivered.clone())));
    }
    let (socket, channel) = connect(&url, kind, load, 255).await;
    let changes = load.changes.clone();
    let publisher = tokio::spawn(publish(socket, channel, kind, changes, stop.clone()));
    // The first half second warms up.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (start, cpu, before) = (Instant::now(), cpu_time(), delivered.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs_f64(seconds - 0.5)).await;
    let (elapsed, cpu, count) = (start.elapsed(), cpu_time() - cpu, delivered.load(Ordering::Relaxed) - before);
    stop.store(true, Ordering::Relaxed);
    let ran_dry = publisher.is_finished();
    publisher.abort();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    if let Some(server) = side {
        let lagged = server.metrics().lagging.get();
        if lagged > 0 {
            eprintln!("  ({lagged} times a subscriber was told that it lags)");
        }
        server.shutdown().await.unwrap();
    }
    if ran_dry {
        eprintln!("  (the load ran out: the figure is too low)");
    }
    Figures { rate: count as f64 / elapsed.as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / count.max(1) as f64 }
}

fn cpu_time() -> Duration {
    // clk_tck is 100 everywhere that Linux runs; user and system time are fields 14 and 15 of proc(5).
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

async fn connect(url: &str, kind: Kinds, load: &Load, seed: u8) -> (Socket, Channel) {
    let config = WebSocketConfig::default().read_buffer_size(16 << 10);
    let (mut socket, _) = connect_async_with_config(url, Some(config), true).await.unwrap();
    if kind == Kinds::Bare {
        return (socket, Channel(1));
    }
    let keypair = Keypair::from_seed(&[seed.wrapping_add(2); 32]);
    let Some(Ok(Message::Binary(frame))) = socket.next().await else { panic!("no challenge") };
    let Ok(Control::Challenge(challenge)) = Control::decode(&frame[1..]) else { panic!("no challenge") };
    let genesis = Bytes::copy_from_slice(load.genesis.bytes());
    let groups = vec![HelloGroup { group: load.genesis.id().document(), genesis }];
    let hello = Hello::sign(&challenge, keypair.author(), [0; 32], groups, |d, m| keypair.sign(d, m));
    socket.send(Message::Binary(Control::Hello(hello).encode())).await.unwrap();
    let Some(Ok(Message::Binary(frame))) = socket.next().await else { panic!("no welcome") };
    let Ok(Control::Welcome(welcome)) = Control::decode(&frame[1..]) else { panic!("no welcome") };
    let GroupReply::Open(channel) = welcome.replies[0] else { panic!("not open") };
    let empty = Replica::new(load.genesis.id().document(), ReplicaLimits::default());
    let heads = Sync::Heads { digest: empty.heads_digest(), changes: 0 }.encode();
    socket.send(Message::Binary(channel.envelope(&heads))).await.unwrap();
    (socket, channel)
}

/// Counts what arrives, and acknowledges once for all that has arrived together.
async fn subscribe(socket: Socket, channel: Channel, kind: Kinds, delivered: Arc<AtomicU64>) {
    let (mut sink, stream) = socket.split();
    let mut stream = stream.ready_chunks(64);
    let mut frames = 0;
    while let Some(messages) = stream.next().await {
        let mut changes = 0;
        let before = frames;
        for message in messages {
            let Ok(Message::Binary(frame)) = message else { return };
            match kind {
                Kinds::Bare => changes += 1,
                Kinds::Side => {
                    let Ok((on, payload)) = Channel::open(&frame) else { return };
                    // tag 3, then the number of changes
                    if on == channel && payload.first() == Some(&3) {
                        let mut reader = bft_json_crdt::encoding::Reader::new(&payload[1..]);
                        changes += reader.varint().unwrap_or(0);
                        frames += 1;
                    }
                }
            }
        }
        delivered.fetch_add(changes, Ordering::Relaxed);
        if frames > before {
            let ack = channel.envelope(&Sync::Ack(frames).encode());
            if sink.send(Message::Binary(ack)).await.is_err() {
                return;
            }
        }
    }
}

/// One change a message, at most [`WINDOW`] of them not yet durable.
async fn publish(socket: Socket, channel: Channel, kind: Kinds, changes: Vec<Change>, stop: Arc<AtomicBool>) {
    let (mut sink, mut stream) = socket.split();
    let acked = Arc::new(AtomicU64::new(0));
    let woken = Arc::new(Notify::new());
    let reader = {
        let (acked, woken) = (acked.clone(), woken.clone());
        tokio::spawn(async move {
            while let Some(Ok(Message::Binary(frame))) = stream.next().await {
                let count = match kind {
                    Kinds::Bare => frame.as_ref().try_into().ok().map(u64::from_be_bytes),
                    Kinds::Side => match Channel::open(&frame).map(|(_, payload)| Sync::decode(&payload)) {
                        Ok(Ok(Sync::Ack(count))) => Some(count),
                        _ => None,
                    },
                };
                if let Some(count) = count {
                    acked.store(count, Ordering::Release);
                    woken.notify_one();
                }
            }
        })
    };
    for (sent, change) in (0..).zip(changes) {
        while sent - acked.load(Ordering::Acquire) >= WINDOW {
            sink.flush().await.unwrap();
            woken.notified().await;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let frame = match kind {
            Kinds::Bare => change.bytes().clone(),
            Kinds::Side => {
                let packet = Packet { change: change.bytes().clone(), voucher: None };
                channel.envelope(&Sync::Changes(vec![packet]).encode())
            }
        };
        sink.feed(Message::Binary(frame)).await.unwrap();
    }
    let _ = sink.flush().await;
    reader.abort();
}

/// The relay that does the least that a relay must.
mod bare {
    use super::*;

    struct Item {
        frame: Bytes,
        from: mpsc::UnboundedSender<Bytes>,
    }

    pub(super) async fn start(path: std::path::PathBuf) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (items, queue) = mpsc::unbounded_channel();
        let (joins, joined) = mpsc::unbounded_channel();
        tokio::spawn(hub(queue, joined, path));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, items.clone(), joins.clone()));
            }
        });
        url
    }

    async fn connection(
        stream: TcpStream,
        items: mpsc::UnboundedSender<Item>,
        joins: mpsc::UnboundedSender<mpsc::UnboundedSender<Bytes>>,
    ) {
        stream.set_nodelay(true).unwrap();
        let config = WebSocketConfig::default().read_buffer_size(8 << 10).write_buffer_size(64 << 10);
        let Ok(socket) = accept_async_with_config(stream, Some(config)).await else { return };
        let (mut sink, mut source) = socket.split();
        let (out, mut outgoing) = mpsc::unbounded_channel::<Bytes>();
        let _ = joins.send(out.clone());
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while outgoing.recv_many(&mut batch, 1024).await > 0 {
                for frame in batch.drain(..) {
                    if sink.feed(Message::Binary(frame)).await.is_err() {
                        return;
                    }
                }
                if sink.flush().await.is_err() {
                    return;
                }
            }
        });
        while let Some(Ok(Message::Binary(frame))) = source.next().await {
            let change = Change::decode(frame.clone()).unwrap();
            if verify(&change.author(), CHANGE_SIGNATURE_DOMAIN, change.id().as_bytes(), &change.signature()) {
                let _ = items.send(Item { frame, from: out.clone() });
            }
        }
    }

    /// Hands every message to everybody but its sender at once; tells the sender how many are on disk after each flush.
    async fn hub(
        mut queue: mpsc::UnboundedReceiver<Item>,
        mut joined: mpsc::UnboundedReceiver<mpsc::UnboundedSender<Bytes>>,
        path: std::path::PathBuf,
    ) {
        let (disk, disk_queue) = std::sync::mpsc::channel::<Item>();
        std::thread::spawn(move || commit(&disk_queue, &path));
        let mut members: Vec<mpsc::UnboundedSender<Bytes>> = Vec::new();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(member) = joined.recv() => members.push(member),
                count = queue.recv_many(&mut batch, 1024) => {
                    if count == 0 {
                        return;
                    }
                    for item in batch.drain(..) {
                        for member in members.iter().filter(|member| !member.same_channel(&item.from)) {
                            let _ = member.send(item.frame.clone());
                        }
                        let _ = disk.send(item);
                    }
                }
            }
        }
    }

    fn commit(queue: &std::sync::mpsc::Receiver<Item>, path: &std::path::Path) {
        let mut file = std::fs::File::create(path).unwrap();
        let mut count = 0u64;
        while let Ok(first) = queue.recv() {
            let mut buffer = first.frame.to_vec();
            count += 1;
            for item in queue.try_iter().take(1023) {
                buffer.extend_from_slice(&item.frame);
                count += 1;
            }
            file.write_all(&buffer).unwrap();
            file.sync_data().unwrap();
            let _ = first.from.send(Bytes::copy_from_slice(&count.to_be_bytes()));
        }
    }
}
