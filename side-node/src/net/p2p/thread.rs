//! The network thread: commonware's runtime, its connections, and our links on one of its channels.
//!
//! Commonware's runner owns its threads, so it lives on one of its own and the node talks to it by channels. It does not tell who connects and disconnects;
//! whom a sender could reach is looked up ten times a second, and whoever is heard is connected.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bft_json_crdt::identity::{AuthorId, Keypair};
use commonware_cryptography::ChaCha20Poly1305;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::authenticated::lookup;
use commonware_p2p::utils::mux::{MuxHandle, Muxer};
use commonware_p2p::{
    Address, AddressableManager as _, AddressableTrackedPeers, Blocker as _, CheckedSender as _, LimitedSender as _,
    Receiver as _, Recipients,
};
use commonware_runtime::{IoBuf, Quota, Runner as _, Spawner as _, Supervisor as _, tokio as runtime};
use commonware_stream::cups::{self, Cups};
use commonware_stream::sake::{self, Sake};
use commonware_utils::ordered::Map;
use futures_util::FutureExt as _;
use side_ledger::GroupId;
use side_ledger::address::{HostPort, NodeAddress};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::book::{Book, LocalPeer, MAX_PEERS};
use super::dials::Dialled;
use super::door::{Door, TurnedAway};
use super::frame::MAX_FRAME;
use super::gate::Gate;
use super::keys;
use super::lanes::{ChannelSender, EngineError, Muxes, Run};
use super::links::{LinkStatus, Links};
use crate::net::{Attempt, Event, LinkId};

/// Keeps our connections apart from those of other programs.
const NAMESPACE: &[u8] = b"side/1/p2p";
/// Largest message on any channel: a link's frame, or what consensus sends with its sub-channel before it.
const MAX_CHANNEL_MESSAGE: u32 = 256 << 10;
/// Link frames a second and peer. At the largest size that is half a gigabyte; who sends more is read more slowly.
const LINK_RATE: NonZeroU32 = NonZeroU32::new(4096).expect("not 0");
/// Link frames of a peer at once: those under way on a link, and some beside. Commonware keeps a place for each of them and of every peer there may be, from
/// the start, in each of its queues; so this costs memory whether or not anybody is there.
const LINK_BURST: NonZeroU32 = NonZeroU32::new(128).expect("not 0");
/// Messages of consensus at once, by peer and lane.
const LANE_BURST: NonZeroU32 = NonZeroU32::new(64).expect("not 0");
/// Messages of consensus a second, peer and lane.
const LANE_RATE: NonZeroU32 = NonZeroU32::new(2048).expect("not 0");
/// Frames that wait for one peer's connection: those under way on all links with it, and what consensus adds.
const MAILBOX: NonZeroUsize = NonZeroUsize::new(1024).expect("not 0");
/// Clocks of two nodes may differ by this much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);
/// How often a connection is kept alive. Three are lost before it is given up (see `gate`).
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How often one of the peers that are away is dialled.
const DIAL_EVERY: Duration = Duration::from_millis(100);
/// Commonware's pause between two attempts to connect to one peer. It takes no connection of a peer that it has tried to reach itself within that time, also where the address rests and nothing
/// was tried: with a pause, whoever comes back is turned away most of the time. `dials` has pauses that keep nobody out; how often a peer may come is bounded by the handshakes below.
const DIAL_PAUSE: Duration = Duration::ZERO;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Most handshakes at once, from all addresses.
const MAX_HANDSHAKES: NonZeroU32 = NonZeroU32::new(128).expect("not 0");
/// Handshakes a second from one address: members on one machine share it.
const HANDSHAKES_A_SECOND: NonZeroU32 = NonZeroU32::new(64).expect("not 0");
/// How long a peer that broke a rule may not connect.
const BLOCK_FOR: Duration = Duration::from_secs(15);
/// How often we look who is connected.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the state is told at the least, when nothing seems to happen.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Most frames that are taken in before what they cause goes out.
const MAX_BURST: usize = 64;
/// Most peers whose last fault is remembered.
const MAX_FAULTS: usize = 64;
/// How long after a group was taken up an attempt counts as the first.
const FIRST_ATTEMPTS: Duration = Duration::from_secs(3);

const LINKS: u64 = 0;
const VOTES: u64 = 1;
const CERTIFICATES: u64 = 2;
const RESOLVER: u64 = 3;
/// Nothing is ever sent on it: asking whom it could reach costs the other channels none of their quota.
const PRESENCE: u64 = 4;

/// What the node tells the network thread.
pub(super) enum Command {
    Open {
        group: GroupId,
        events: mpsc::Sender<Event>,
    },
    Shut {
        group: GroupId,
    },
    Members {
        group: GroupId,
        members: Vec<(AuthorId, Vec<HostPort>)>,
    },
    Local(Vec<LocalPeer>),
    Fixed(Vec<NodeAddress>),
    Engine {
        lane: u64,
        participants: Vec<AuthorId>,
        stop: CancellationToken,
        run: Run,
    },
    Blocked {
        key: AuthorId,
        reason: String,
    },
    /// A frame that no link makes.
    #[cfg(test)]
    Raw {
        key: AuthorId,
        bytes: Vec<u8>,
    },
    Stop,
}

/// How the network stands, as the thread last told.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// All links, those that do not stand too.
    pub links: Vec<LinkStatus>,
    /// The groups that are taken up.
    pub groups: BTreeSet<GroupId>,
    /// Where peers that are away are tried.
    pub tried: BTreeMap<AuthorId, HostPort>,
    /// Connections that were turned away at the door.
    pub turned_away: TurnedAway,
    /// Peers that broke a rule of the connection, the latest last, and which.
    pub faults: Vec<(AuthorId, String)>,
}

/// What both sides see.
pub(super) struct Shared {
    pub(super) door: Arc<Door>,
    status: Mutex<Status>,
    opened: Mutex<HashMap<GroupId, Instant>>,
    /// The status speaks of the nodes of this root as well.
    informed: AtomicBool,
}

impl Shared {
    pub(super) fn new(door: Arc<Door>) -> Arc<Self> {
        Arc::new(Self { door, status: Mutex::default(), opened: Mutex::default(), informed: AtomicBool::new(false) })
    }

    pub(super) fn status(&self) -> Status {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.turned_away = self.door.turned().count();
        status
    }

    pub(super) fn note_opened(&self, group: GroupId) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(group, Instant::now());
    }

    fn outcome(&self, at: &HostPort) -> Option<Dialled> {
        at.socket().and_then(|socket| self.door.dials().outcome(&socket))
    }

    /// The peers of a group that are tried and to whom there is no link.
    pub(super) fn attempts(&self, group: &GroupId) -> Vec<Attempt> {
        let status = self.status();
        let away = status.links.iter().filter(|link| link.group == *group && !link.up);
        let attempt = |link: &LinkStatus| {
            let at = status.tried.get(&link.key)?;
            let problem = link.reason.clone().filter(|_| link.connected).or_else(|| match self.outcome(at)? {
                Dialled::Failed(reason) => Some(reason),
                Dialled::Answered => Some("it answers, but not as this key, or takes no connection yet".to_owned()),
            });
            Some(Attempt {
                transport: super::links::TRANSPORT.to_owned(),
                address: at.to_string(),
                key: Some(link.key.to_string()),
                problem: problem.or_else(|| link.reason.clone()),
            })
        };
        away.filter_map(attempt).collect()
    }

    /// Whether a peer of the group has not been tried even once.
    pub(super) fn is_trying(&self, group: &GroupId) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(group).copied();
        if opened.is_none_or(|opened| opened.elapsed() > FIRST_ATTEMPTS) {
            return false;
        }
        let status = self.status();
        if !self.informed.load(Ordering::Acquire) || !status.groups.contains(group) {
            return true;
        }
        status.links.iter().filter(|link| link.group == *group && !link.up).any(|link| {
            link.connected
                || status.tried.get(&link.key).is_some_and(|at| {
                    // Both may dial at once, or the other side has tried in vain a moment ago: it takes another attempt.
                    matches!(self.outcome(at), None | Some(Dialled::Answered))
                })
        })
    }
}

/// How to start the thread.
pub(super) struct Start {
    pub(super) keypair: Keypair,
    pub(super) storage: PathBuf,
    pub(super) first_number: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    /// For engines that have something to tell.
    pub(super) own_commands: mpsc::UnboundedSender<Command>,
    /// Dropped when the thread ends, however it ends.
    pub(super) stopped: DropGuard,
}

/// Starts the thread.
pub(super) fn start(start: Start) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("side-p2p".to_owned()).spawn(move || {
        let config = runtime::Config::new()
            .with_worker_threads(2)
            // A consensus engine that fails takes neither the connections nor the other groups with it.
            .with_catch_panics(true)
            .with_storage_directory(&start.storage);
        // As a task: what waits for it and what it wakes runs on the same threads, and the way between them is short. The runner's own thread only waits.
        runtime::Runner::new(config).start(|context| async move {
            let _ = context.child("links").spawn(|context| run(context, start)).await;
        });
    })
}

async fn run(context: runtime::Context, start: Start) {
    let Start { keypair, first_number, shared, commands, own_commands, stopped, .. } = start;
    let Some(key) = keys::private(&keypair) else { return };
    let signer = Sake {
        signer: key,
        synchrony_bound: CLOCK_TOLERANCE,
        max_handshake_age: CLOCK_TOLERANCE,
        version: sake::Version::V1,
    };
    let config = lookup::Config {
        handshake: Cups::<_, ChaCha20Poly1305>::new(signer, cups::Version::V1),
        namespace: NAMESPACE.to_vec(),
        listen: shared.door.address(),
        // Members on one machine or in one house are the common case.
        allow_private_ips: true,
        allow_dns: true,
        // A member may come from anywhere; its key says who it is.
        bypass_ip_check: true,
        max_message_size: MAX_CHANNEL_MESSAGE,
        max_peers_per_set: NonZeroUsize::new(MAX_PEERS + 1).expect("not 0"),
        mailbox_size: MAILBOX,
        send_batch_size: NonZeroUsize::new(16).expect("not 0"),
        handshake_timeout: HANDSHAKE,
        dial_timeout: HANDSHAKE,
        peer_connection_cooldown: DIAL_PAUSE,
        max_concurrent_handshakes: MAX_HANDSHAKES,
        allowed_handshake_rate_per_ip: Quota::per_second(HANDSHAKES_A_SECOND),
        allowed_handshake_rate_per_subnet: Quota::per_second(HANDSHAKES_A_SECOND.saturating_mul(HANDSHAKES_A_SECOND)),
        ping_frequency: KEEP_ALIVE,
        dial_frequency: DIAL_EVERY,
        tracked_peer_sets: NonZeroUsize::MIN,
        block_duration: BLOCK_FOR,
    };
    let gate = Gate::new(context.child("p2p"), shared.door.clone());
    let (mut network, oracle) = lookup::Network::new(gate, config);
    let (sender, mut receiver) = network.register(LINKS, Quota::per_second(LINK_RATE).allow_burst(LINK_BURST));
    let mut lane = |channel, label| -> MuxHandle<ChannelSender> {
        let (sender, receiver) = network.register(channel, Quota::per_second(LANE_RATE).allow_burst(LANE_BURST));
        let (muxer, handle) = Muxer::new(context.child(label), sender, receiver);
        muxer.start();
        handle
    };
    let muxes = Muxes {
        votes: lane(VOTES, "votes"),
        certificates: lane(CERTIFICATES, "certificates"),
        resolver: lane(RESOLVER, "resolver"),
        oracle: oracle.clone(),
        commands: own_commands,
    };
    let (presence, _silence) = network.register(PRESENCE, Quota::per_second(LANE_RATE).allow_burst(NonZeroU32::MIN));
    let mut running = network.start();

    let links = Links::new(first_number, LinkId::fresh);
    let bell = links.bell();
    let now = Instant::now();
    let mut hub = Hub {
        context,
        shared,
        links,
        book: Book::new(keypair.author()),
        oracle,
        index: 0,
        sender,
        presence,
        muxes,
        groups: HashMap::new(),
        connected: BTreeSet::new(),
        look_at: now,
        tell_at: now,
        changed: true,
        held_back: None,
        faults: Vec::new(),
        informed: false,
    };
    let mut commands = commands;
    loop {
        let wake = hub.go_on();
        tokio::select! {
            command = commands.recv() => match command {
                None | Some(Command::Stop) => break,
                Some(command) => hub.command(command),
            },
            () = bell.rung() => hub.links.ring(Instant::now()),
            received = receiver.recv() => {
                let Ok((key, message)) = received else { break };
                hub.receive(&key, &message);
                for _ in 1..MAX_BURST {
                    let Some(Ok((key, message))) = receiver.recv().now_or_never() else { break };
                    hub.receive(&key, &message);
                }
            }
            () = tokio::time::sleep_until(wake.into()) => {}
            _ = &mut running => break,
        }
    }
    drop(stopped);
}

/// The way to a group's member.
struct GroupEvents {
    direct: mpsc::Sender<Event>,
    /// What finds no room there waits here.
    queue: mpsc::UnboundedSender<Event>,
    waiting: Arc<AtomicUsize>,
}

impl GroupEvents {
    fn send(&self, event: Event) {
        let mut event = event;
        if self.waiting.load(Ordering::Acquire) == 0 {
            match self.direct.try_send(event) {
                Ok(()) => return,
                Err(TrySendError::Full(back) | TrySendError::Closed(back)) => event = back,
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = self.queue.send(event);
    }
}

/// What the thread's main task knows.
struct Hub {
    context: runtime::Context,
    shared: Arc<Shared>,
    links: Links,
    book: Book,
    oracle: lookup::Oracle<PublicKey>,
    index: u64,
    sender: ChannelSender,
    presence: ChannelSender,
    muxes: Muxes,
    groups: HashMap<GroupId, GroupEvents>,
    connected: BTreeSet<AuthorId>,
    look_at: Instant,
    tell_at: Instant,
    changed: bool,
    /// When a peer whose quota was used up may be sent to again.
    held_back: Option<Instant>,
    faults: Vec<(AuthorId, String)>,
    /// The nodes of this root were told.
    informed: bool,
}

impl Hub {
    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Open { group, events } => {
                let waiting = Arc::new(AtomicUsize::new(0));
                let (queue, mut queued) = mpsc::unbounded_channel();
                let count = waiting.clone();
                // The queue is bounded by the links' windows and by how often links come up (see `Links`).
                let direct = events.clone();
                self.context.child("member").spawn(|_| async move {
                    while let Some(event) = queued.recv().await {
                        let sent = events.send(event).await;
                        count.fetch_sub(1, Ordering::Release);
                        if sent.is_err() {
                            break;
                        }
                    }
                });
                self.links.open(group, waiting.clone());
                self.groups.insert(group, GroupEvents { direct, queue, waiting });
                self.book.open(group);
            }
            Command::Shut { group } => {
                self.groups.remove(&group);
                self.links.shut(now, &group);
                self.book.shut(&group);
            }
            Command::Members { group, members } => self.book.set_members(group, members),
            Command::Local(local) => {
                self.book.set_local(local);
                self.informed = true;
            }
            Command::Fixed(fixed) => self.book.set_fixed(fixed),
            Command::Engine { lane, participants, stop, run } => self.engine(lane, participants, stop, run),
            Command::Blocked { key, reason } => self.note_fault(key, reason),
            #[cfg(test)]
            Command::Raw { key, bytes } => {
                let to = keys::public(&key).map(Recipients::One).expect("a key");
                commonware_p2p::Sender::send(&mut self.sender, to, bytes, false);
            }
            Command::Stop => {}
        }
        self.changed = true;
        // New addresses are tried at once.
        self.look_at = now;
    }

    fn engine(&self, lane: u64, participants: Vec<AuthorId>, stop: CancellationToken, run: Run) {
        let muxes = self.muxes.clone();
        self.context.child("engine").spawn(move |context| async move {
            let engine = tokio::select! {
                engine = muxes.open(context, lane, &participants) => engine,
                () = stop.cancelled() => Err(EngineError::Stopped),
            };
            tokio::select! {
                () = run(engine) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn receive(&mut self, key: &PublicKey, message: &IoBuf) {
        let Some(key) = keys::author(key) else { return };
        let now = Instant::now();
        if !self.connected.contains(&key) {
            self.look(now);
        }
        self.links.receive(now, &key, message.as_ref());
    }

    /// Looks who is connected, and tells the links.
    fn look(&mut self, now: Instant) {
        self.look_at = now + LOOK_EVERY;
        // Where all are over their quota, which nothing uses, nobody has come or gone that we could tell.
        let Ok(reachable) = self.presence.check(Recipients::All) else { return };
        let connected: BTreeSet<AuthorId> = reachable.recipients().iter().filter_map(keys::author).collect();
        if connected == self.connected {
            return;
        }
        self.changed = true;
        self.connected = connected;
        let place =
            |key: &AuthorId| self.book.tried(key).map_or_else(|| "it came to us".to_owned(), ToString::to_string);
        let places = self.connected.iter().map(|key| (*key, place(key))).collect();
        self.links.set_connected(now, &places);
    }

    /// Tells the connection layer who may connect.
    fn track(&mut self, now: Instant) {
        let connected = &self.connected;
        let update = self.book.update(now, |key| connected.contains(key));
        if let Some(keys) = update.keys {
            self.changed = true;
            let mut primary: Vec<(PublicKey, Address)> = Vec::new();
            let mut secondary: Vec<(PublicKey, Address)> = Vec::new();
            for (key, at) in &keys {
                let Some(public) = keys::public(key) else { continue };
                let Some(address) = keys::address(at.as_ref()) else { continue };
                if at.is_some() { primary.push((public, address)) } else { secondary.push((public, address)) }
            }
            let peers = AddressableTrackedPeers::new(Map::from_iter_dedup(primary), Map::from_iter_dedup(secondary));
            self.index += 1;
            self.oracle.track(self.index, peers);
        }
        if !update.moved.is_empty() {
            self.changed = true;
            let moved =
                update.moved.iter().filter_map(|(key, at)| Some((keys::public(key)?, keys::address(Some(at))?)));
            self.oracle.overwrite(Map::from_iter_dedup(moved));
        }
        if self.changed {
            for group in self.book.groups() {
                self.links.set_peers(now, group, &self.book.peers_of(group));
            }
        }
    }

    fn note_fault(&mut self, key: AuthorId, reason: String) {
        tracing::warn!(peer = %key, reason = %crate::output::printable(&reason), "a peer broke a rule of the connection");
        self.faults.retain(|(known, _)| *known != key);
        if self.faults.len() >= MAX_FAULTS {
            self.faults.remove(0);
        }
        self.faults.push((key, reason));
        self.changed = true;
    }

    /// Everything that is due; when there will be more.
    fn go_on(&mut self) -> Instant {
        let now = Instant::now();
        if self.look_at <= now {
            self.look(now);
            self.track(now);
        }
        let next = self.links.tick(now);
        self.send(now);
        for (key, reason) in self.links.take_faults() {
            if let Some(public) = keys::public(&key) {
                self.oracle.block(public);
            }
            self.note_fault(key, reason);
        }
        let events = self.links.take_events();
        self.changed |= events.iter().any(|(_, event)| matches!(event, Event::Up { .. } | Event::Down { .. }));
        // Before the events: whoever hears that a link is down finds the reason in the status.
        self.tell(now);
        for (group, event) in events {
            if let Some(way) = self.groups.get(&group) {
                way.send(event);
            }
        }
        let next = next.min(self.look_at).min(self.tell_at);
        self.held_back.map_or(next, |at| next.min(at))
    }

    fn send(&mut self, now: Instant) {
        self.held_back = None;
        for key in self.links.ready() {
            let Some(public) = keys::public(&key) else { continue };
            // The link goes on to have something until its windows are full, which they are after a bounded number of frames.
            while self.links.is_ready(&key) {
                let checked = match self.sender.check(Recipients::One(public.clone())) {
                    Ok(checked) => checked,
                    Err(at) => {
                        let wait = at.duration_since(std::time::SystemTime::now()).unwrap_or_default();
                        let at = now + wait.max(Duration::from_millis(1));
                        self.held_back = Some(self.held_back.map_or(at, |before| before.min(at)));
                        break;
                    }
                };
                let Some(frame) = self.links.next_frame(now, &key) else { break };
                // A message over the limit would end the thread.
                if frame.bytes.len() > MAX_FRAME {
                    tracing::error!(bytes = frame.bytes.len(), "a frame is too large and was not sent");
                    continue;
                }
                // A frame that is not taken is missed by its number.
                let _ = checked.send(frame.bytes, frame.priority);
            }
        }
    }

    fn tell(&mut self, now: Instant) {
        if !self.changed && now < self.tell_at {
            return;
        }
        self.changed = false;
        self.tell_at = now + TELL_EVERY;
        let links = self.links.status();
        let tried = links.iter().filter_map(|link| Some((link.key, self.book.tried(&link.key)?.clone()))).collect();
        let groups = self.book.groups().copied().collect();
        let status = Status { links, groups, tried, turned_away: TurnedAway::default(), faults: self.faults.clone() };
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        self.shared.informed.store(self.informed, Ordering::Release);
    }
}
