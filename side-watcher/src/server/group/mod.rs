//! One group: the task that follows it as a member does, with the sessions of its subscribers, and nothing else.
//!
//! ```text
//! connections ──Frame, Join, Leave, Acked──▶ mailbox ─▶ changes: collect ─▶ apply in one batch ─▶ encode once, hand to everybody
//!                                               │                             │      │
//!                                               │                  Durable ◀──┼── commit thread ◀┘   ─▶ acknowledge
//!                                               └──▶ seals: hear ─▶ keep ─────┘                      ─▶ tell, ask, answer
//! ```
//! - [`changes`] — what comes on the sync lane, and the live stream
//! - [`seals`] — blocks: hears of them, passes them on, seals where it is the relay's turn
//! - [`subscriber`] — one connection that takes part
//! - [`caution`] — a relay whose store may be older than what it has told
//!
//! Rules:
//! - Forwarded after checking, acknowledged after disk. What was acknowledged survives a crash.
//! - Of blocks nothing is told before it is on disk: a sealer that forgot what it has told would seal a rank twice.
//! - A live frame is encoded once and shared. A subscriber whose window or mailbox is full keeps its place in the log, is told if it falls far
//!   behind, and is served from the log when it can take more: nothing is skipped, and nobody waits for anybody.
//! - The replica counts as a writer's though the relay hardly ever writes: a reader would take changes out again when somebody is proven to
//!   have forked its chain, and rebuild, which anybody with a few keys could make it do over and over. The members' own acknowledgements settle
//!   such branches.
//! - No panic and no unbounded queue on hostile input: what a connection has in the mailbox is bounded by its permits, what waits for the disk
//!   by [`MAX_UNPERSISTED_BYTES`].

mod caution;
mod changes;
mod seals;
mod subscriber;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::Incoming;
use bytes::Bytes;
use side_ledger::group::Group;
use side_seal::Engine;
use side_seal::newcomer::{StateMessage, serve};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use self::caution::Caution;
use self::seals::{Out, Seals};
use self::subscriber::Subscriber;
use super::peer::{Acks, Peer, PeerId};
use super::persist::Persist;
use super::quota::Bucket;
use crate::metrics::{GroupMetrics, Metrics};
use crate::protocol::limits::{MAX_SIDE_BYTES, SIDE_GROUP_BURST, SIDE_GROUP_RATE};
use crate::protocol::{Channel, Lane, NoticeCode};

pub(super) use self::caution::{CAUTIOUS, cautious_key};

/// Messages that are taken from the mailbox at once, before what they brought is applied.
const COLLECT: usize = 1_024;
/// Bytes applied and not yet on disk above which the group takes nothing more until the disk has caught up.
const MAX_UNPERSISTED_BYTES: usize = 64 << 20;
/// How often slow subscribers are looked for, and served again if their mailbox had been full.
const TICK: Duration = Duration::from_millis(500);

/// What a group is told.
#[derive(Debug)]
pub(super) enum Command {
    /// A connection takes part.
    Join {
        /// The connection.
        peer: Arc<Peer>,
        /// Where its acknowledgements arrive.
        acks: Arc<Acks>,
    },
    /// A connection has ended.
    Leave(PeerId),
    /// A message came.
    Frame {
        /// From which connection.
        from: PeerId,
        /// On which lane.
        lane: Lane,
        /// The encoded message.
        payload: Bytes,
        /// Its share of the connection's room; given back when the message has been handled.
        _room: OwnedSemaphorePermit,
    },
    /// An acknowledgement came that the group waits for.
    Acked(PeerId),
}

/// The address of a group. Sending never waits: what one connection may have in it is bounded by its permits.
#[derive(Debug, Clone)]
pub(super) struct Mailbox(mpsc::UnboundedSender<Command>);

impl Mailbox {
    pub(super) fn send(&self, command: Command) {
        // A group whose task has ended is being shut down together with the connections.
        let _ = self.0.send(command);
    }
}

/// What a group's task works with.
pub(super) struct Setup {
    pub(super) channel: Channel,
    /// The relay's own key: a group may have made it a sealer or a voter.
    pub(super) identity: Keypair,
    pub(super) group: Group,
    pub(super) engine: Engine,
    /// The store may be older than what the relay has told.
    pub(super) cautious: bool,
    pub(super) bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) slow_timeout: Duration,
    pub(super) persist: Persist,
    pub(super) metrics: Arc<Metrics>,
    pub(super) of_group: GroupMetrics,
}

/// What is done once something is on disk.
#[derive(Debug, Default)]
struct Waiting {
    ticket: u64,
    bytes: usize,
    changes: usize,
    /// Whose messages are acknowledged.
    from: Vec<PeerId>,
    /// What is sent, in this order.
    out: Vec<Out>,
}

struct Task {
    setup: Setup,
    /// Cheap numbers instead of hashes: there are many lookups a frame.
    subscribers: Vec<Subscriber>,
    index: HashMap<PeerId, usize>,
    /// Changes collected for the next batch, and the messages that they came in.
    batch: Vec<Incoming>,
    origins: Vec<(PeerId, usize)>,
    seals: Seals,
    caution: Caution,
    /// What all members together may say on the side lane.
    side: Bucket,
    waiting: VecDeque<Waiting>,
    unpersisted: usize,
    next_ticket: u64,
    durable: mpsc::UnboundedSender<u64>,
    /// Whether the log was told that the group is full.
    full: bool,
    /// Whether the members were told that the disk takes nothing.
    told_of_fault: bool,
}

/// Starts the task of a group. It ends when every mailbox is dropped, or at once when `stop` says so.
pub(super) fn spawn(setup: Setup, tracker: &tokio_util::task::TaskTracker) -> Mailbox {
    let (sender, mailbox) = mpsc::unbounded_channel();
    let (durable, durable_rx) = mpsc::unbounded_channel();
    let caution = Caution::new(setup.cautious);
    let mut task = Task {
        setup,
        subscribers: Vec::new(),
        index: HashMap::new(),
        batch: Vec::new(),
        origins: Vec::new(),
        seals: Seals::default(),
        caution,
        side: Bucket::new(SIDE_GROUP_RATE, SIDE_GROUP_BURST, Instant::now()),
        waiting: VecDeque::new(),
        unpersisted: 0,
        next_ticket: 0,
        durable,
        full: false,
        told_of_fault: false,
    };
    task.begin_sealing();
    tracker.spawn(task.run(mailbox, durable_rx));
    Mailbox(sender)
}

impl Task {
    async fn run(mut self, mut mailbox: mpsc::UnboundedReceiver<Command>, mut durable: mpsc::UnboundedReceiver<u64>) {
        let mut commands = Vec::with_capacity(COLLECT);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let seal_at = self.seal_at();
            let sealing = async {
                match seal_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(ticket) = durable.recv() => {
                    self.on_durable(ticket);
                    while let Ok(ticket) = durable.try_recv() {
                        self.on_durable(ticket);
                    }
                }
                _ = tick.tick() => self.on_tick(),
                () = sealing => self.seals.stir(),
                count = mailbox.recv_many(&mut commands, COLLECT), if self.unpersisted < MAX_UNPERSISTED_BYTES => {
                    if count == 0 {
                        return;
                    }
                    for command in commands.drain(..) {
                        self.on_command(command);
                    }
                }
            }
            self.apply();
            self.seal();
            self.serve();
            // Batches are long work: let the connections write what was handed to them.
            tokio::task::yield_now().await;
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Join { peer, acks } => {
                let watch = self.caution.is_on().then(|| self.setup.identity.author());
                self.index.insert(peer.id, self.subscribers.len());
                self.subscribers.push(Subscriber::new(peer, acks, self.setup.group.replica(), watch));
                self.greet_newcomer();
            }
            Command::Leave(id) => {
                if let Some(at) = self.index.remove(&id) {
                    let gone = self.subscribers.swap_remove(at);
                    if gone.lagging {
                        self.setup.metrics.lagging_now.dec();
                    }
                    if let Some(moved) = self.subscribers.get(at) {
                        self.index.insert(moved.peer.id, at);
                    }
                }
            }
            Command::Acked(id) => {
                if let Some(&at) = self.index.get(&id) {
                    self.subscribers[at].due = true;
                }
            }
            Command::Frame { from, lane, payload, .. } => {
                let Some(&at) = self.index.get(&from) else { return };
                if self.subscribers[at].peer.is_closed() {
                    return;
                }
                match lane {
                    Lane::Sync => self.on_sync(at, &payload),
                    Lane::Seal => self.on_seal(at, &payload),
                    Lane::Side => self.on_side(at, &payload),
                }
            }
        }
    }

    /// A newcomer asks for the state of a block. The relay has followed the chain, and answers as a member does; what only a newcomer is told stays here.
    fn on_state(&mut self, at: usize, payload: &Bytes) {
        let setup = &mut self.setup;
        let subscriber = &mut self.subscribers[at];
        if StateMessage::is_answer(payload) || !subscriber.side.try_take(1, Instant::now()) {
            return crate::metrics::count(&setup.metrics.side, "dropped");
        }
        let Ok(question) = StateMessage::decode(payload, setup.group.genesis().spec()) else {
            return subscriber.peer.strike("malformed-state");
        };
        crate::metrics::count(&setup.metrics.side, "answered");
        for answer in serve(&mut setup.group, &setup.engine, &question) {
            // Whoever does not read what it asked for is asked nothing back: it asks again, or somebody else.
            if !subscriber.peer.has_room() {
                return;
            }
            subscriber.peer.push(setup.channel.on(Lane::Side).envelope(&answer.encode()));
        }
    }

    /// Passes a message of the side lane on to everybody else who has room, unread, within narrow bounds.
    fn on_side(&mut self, at: usize, payload: &Bytes) {
        if StateMessage::tag(payload).is_some() {
            return self.on_state(at, payload);
        }
        let now = Instant::now();
        let sender = &mut self.subscribers[at];
        if payload.len() > MAX_SIDE_BYTES
            || !sender.side.try_take(1, now)
            || !self.side.try_take(payload.len() as u64, now)
        {
            return crate::metrics::count(&self.setup.metrics.side, "dropped");
        }
        crate::metrics::count(&self.setup.metrics.side, "passed-on");
        let sender = sender.peer.id;
        let frame = self.setup.channel.on(Lane::Side).envelope(payload);
        for other in self.subscribers.iter().filter(|other| other.peer.id != sender && other.peer.has_room()) {
            other.peer.push(frame.clone());
        }
    }

    fn strike(&self, peer: PeerId, kind: &'static str) {
        match self.index.get(&peer) {
            Some(&at) => self.subscribers[at].peer.strike(kind),
            None => crate::metrics::count(&self.setup.metrics.strikes, kind),
        }
    }

    fn on_durable(&mut self, ticket: u64) {
        while self.waiting.front().is_some_and(|waiting| waiting.ticket <= ticket)
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.unpersisted -= waiting.bytes;
            self.setup.metrics.unpersisted.dec_by(waiting.changes as i64);
            self.setup.metrics.durable.inc_by(waiting.changes as u64);
            self.handled(&waiting.from);
            self.send(waiting.out);
        }
        self.seals.stir();
    }

    fn handled(&mut self, messages: &[PeerId]) {
        for peer in messages {
            if let Some(&at) = self.index.get(peer) {
                self.subscribers[at].session.handled();
                self.subscribers[at].due = true;
            }
        }
    }

    /// Sends whatever flow control allows to those for whom there may be something.
    fn serve(&mut self) {
        self.greet();
        if self.has_unkept_own() {
            // The log holds a change of the relay's own that may not be on disk: whoever tells of it and forgets it writes another in its place.
            return;
        }
        let Self { setup, subscribers, .. } = self;
        for subscriber in subscribers.iter_mut().filter(|subscriber| subscriber.due) {
            subscriber.due = false;
            subscriber.serve(setup.group.replica(), setup.channel, &setup.metrics);
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        let fault = self.setup.persist.fault();
        if fault.is_some() && !self.told_of_fault {
            for subscriber in &self.subscribers {
                let text = "the relay's disk takes nothing: changes are forwarded but not acknowledged";
                subscriber.peer.notice(NoticeCode::NotDurable, self.setup.channel, text);
            }
        }
        self.told_of_fault = fault.is_some();
        for subscriber in &mut self.subscribers {
            subscriber.look_after(self.setup.group.replica(), now, self.setup.slow_timeout);
        }
        self.reconsider();
        self.do_duties();
        self.ask_again();
        self.greet_newcomer();
        self.seals.stir();
    }

    /// Whether the group has reached its size limit. The sender of what is not kept is told.
    fn is_full(&mut self, from: PeerId) -> bool {
        if self.setup.bytes < self.setup.max_bytes {
            return false;
        }
        if !std::mem::replace(&mut self.full, true) {
            tracing::warn!(group = %self.setup.group.id(), bytes = self.setup.bytes, "the group has reached its size limit");
        }
        if let Some(subscriber) = self.index.get(&from).map(|&at| &self.subscribers[at]) {
            let text = "the relay stores no more of this group; raise --max-group-bytes";
            subscriber.peer.notice(NoticeCode::GroupFull, self.setup.channel, text);
        }
        true
    }
}
