//! One group: the task that owns its replica, the sync sessions of its subscribers, and nothing else.
//!
//! ```text
//! connections ──Frame, Join, Leave, Acked──▶ mailbox ─▶ collect ─▶ apply in one batch ─▶ encode once, hand to everybody
//!                                                                        │
//!                                             Durable ◀── commit thread ◀┘   ─▶ acknowledge
//! ```
//!
//! Rules:
//! - Forwarded after checking, acknowledged after disk. What was acknowledged survives a crash.
//! - A live frame is encoded once and shared. A subscriber whose window or mailbox is full keeps its place in the log, is told if it falls far
//!   behind, and is served from the log when it can take more: nothing is skipped, and nobody waits for anybody.
//! - The replica counts as a writer's though the relay never writes: a reader would take changes out again when somebody is proven to
//!   have forked its chain, and rebuild, which anybody with a few keys could make it do over and over. The members' own acknowledgements settle
//!   such branches.
//! - No panic and no unbounded queue on hostile input: what a connection has in the mailbox is bounded by its permits, what waits for the disk
//!   by [`MAX_UNPERSISTED_BYTES`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::evidence::EquivocationProof;
use bft_json_crdt::replica::{Incoming, Outcome, Replica, Verdict};
use bft_json_crdt::sync::{Action, Message, Packet, SessionLimits, SyncSession};
use bytes::Bytes;
use side_ledger::GroupId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::admission::Admit;
use super::peer::{Acks, Peer, PeerId};
use super::persist::{Job, Persist};
use crate::metrics::{Metrics, count};
use crate::protocol::{Channel, CloseReason, NoticeCode};

/// Messages that are taken from the mailbox at once, before what they brought is applied.
const COLLECT: usize = 1_024;
/// Changes that are applied in one batch: enough to check signatures cheaply, few enough to keep other groups' tasks waiting for a few
/// milliseconds only.
const APPLY_BATCH: usize = 256;
/// Most bytes of changes in one shared live frame; a batch of large changes is cut into several.
const LIVE_FRAME_BYTES: usize = 256 << 10;
/// Bytes applied and not yet on disk above which the group takes nothing more until the disk has caught up.
const MAX_UNPERSISTED_BYTES: usize = 64 << 20;
/// A subscriber that is this many changes behind the live stream is told so.
const LAG_NOTICE: usize = 4_096;
/// How often slow subscribers are looked for, and served again if their mailbox had been full.
const TICK: Duration = Duration::from_millis(500);

/// Flow control toward one subscriber. A megabyte in flight keeps a fast connection busy through a commit of some milliseconds at the other
/// end; thousands of subscribers that all stop reading cost a few gigabytes at most.
const SESSION: SessionLimits =
    SessionLimits { window_frames: 1_024, window_bytes: 1 << 20, chunk_bytes: 128 << 10, chunk_changes: 1_024 };

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
    /// A sync message came.
    Frame {
        /// From which connection.
        from: PeerId,
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
    pub(super) id: GroupId,
    pub(super) channel: Channel,
    pub(super) replica: Replica,
    pub(super) admit: Admit,
    pub(super) bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) slow_timeout: Duration,
    pub(super) persist: Persist,
    pub(super) metrics: Arc<Metrics>,
}

struct Subscriber {
    peer: Arc<Peer>,
    acks: Arc<Acks>,
    /// The acknowledgement that the session has been told of.
    acked: u64,
    session: SyncSession,
    /// When something was last acknowledged, or nothing was outstanding.
    progress: Instant,
    /// Whether it has been told that it is behind.
    lagging: bool,
    /// Something may be sent to it.
    due: bool,
}

/// Messages of some peers whose changes become durable with one commit.
struct Waiting {
    ticket: u64,
    bytes: usize,
    changes: usize,
    from: Vec<PeerId>,
}

struct Group {
    setup: Setup,
    /// Cheap numbers instead of hashes: there are many lookups a frame.
    subscribers: Vec<Subscriber>,
    index: HashMap<PeerId, usize>,
    /// Changes collected for the next batch, and the messages that they came in.
    batch: Vec<Incoming>,
    origins: Vec<(PeerId, usize)>,
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
    let group = Group {
        setup,
        subscribers: Vec::new(),
        index: HashMap::new(),
        batch: Vec::new(),
        origins: Vec::new(),
        waiting: VecDeque::new(),
        unpersisted: 0,
        next_ticket: 0,
        durable,
        full: false,
        told_of_fault: false,
    };
    tracker.spawn(group.run(mailbox, durable_rx));
    Mailbox(sender)
}

impl Group {
    async fn run(mut self, mut mailbox: mpsc::UnboundedReceiver<Command>, mut durable: mpsc::UnboundedReceiver<u64>) {
        let mut commands = Vec::with_capacity(COLLECT);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(ticket) = durable.recv() => {
                    self.on_durable(ticket);
                    while let Ok(ticket) = durable.try_recv() {
                        self.on_durable(ticket);
                    }
                }
                _ = tick.tick() => self.on_tick(),
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
            self.serve();
            // Batches are long work: let the connections write what was handed to them.
            tokio::task::yield_now().await;
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Join { peer, acks } => {
                let session = SyncSession::new(&self.setup.replica, SESSION);
                self.index.insert(peer.id, self.subscribers.len());
                self.subscribers.push(Subscriber {
                    peer,
                    acks,
                    acked: 0,
                    session,
                    progress: Instant::now(),
                    lagging: false,
                    due: true,
                });
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
            Command::Frame { from, payload, .. } => self.on_frame(from, &payload),
        }
    }

    fn on_frame(&mut self, from: PeerId, payload: &Bytes) {
        let Some(&at) = self.index.get(&from) else { return };
        let subscriber = &mut self.subscribers[at];
        if subscriber.peer.is_closed() {
            return;
        }
        let Ok(message) = Message::decode(payload) else {
            return subscriber.peer.strike("malformed-message");
        };
        subscriber.due = true;
        match subscriber.session.receive(&self.setup.replica, message) {
            Ok(actions) => {
                for action in actions {
                    match action {
                        Action::Apply(changes) => self.collect(from, changes),
                        Action::Proof(proof) => self.on_proof(from, proof),
                    }
                }
            }
            Err(fault) => {
                count(&self.setup.metrics.strikes, "peer-fault");
                subscriber.peer.close(CloseReason::Strikes, &fault.to_string());
            }
        }
    }

    fn collect(&mut self, from: PeerId, changes: Vec<Incoming>) {
        if self.setup.bytes >= self.setup.max_bytes {
            // Neither kept nor acknowledged: the sender sees that it is not stored.
            count(&self.setup.metrics.changes, "group-full");
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(group = %self.setup.id, bytes = self.setup.bytes, "the group has reached its size limit");
            }
            if let Some(subscriber) = self.index.get(&from).map(|&at| &self.subscribers[at]) {
                subscriber.peer.notice(
                    NoticeCode::GroupFull,
                    self.setup.channel,
                    "the relay stores no more of this group; raise --max-group-bytes",
                );
            }
            return;
        }
        let before = self.batch.len();
        let admit = &mut self.setup.admit;
        self.batch.extend(changes.into_iter().filter(|incoming| admit.admits(&incoming.change)));
        self.origins.push((from, self.batch.len() - before));
        if self.batch.len() >= APPLY_BATCH {
            self.apply();
        }
    }

    fn on_proof(&mut self, from: PeerId, proof: EquivocationProof) {
        // What came before it is judged before it.
        self.apply();
        let first = self.setup.replica.len();
        match self.setup.replica.apply_proof(proof) {
            Some(outcome) => self.took(first, outcome, Vec::new(), &[], &HashMap::new()),
            None => self.strike(from, "bad-proof"),
        }
    }

    fn strike(&self, peer: PeerId, kind: &'static str) {
        match self.index.get(&peer) {
            Some(&at) => self.subscribers[at].peer.strike(kind),
            None => count(&self.setup.metrics.strikes, kind),
        }
    }

    /// Applies what was collected, hands it on, and gives it to the disk.
    fn apply(&mut self) {
        if self.origins.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let origins = std::mem::take(&mut self.origins);
        let senders: Vec<PeerId> = origins.iter().flat_map(|&(peer, count)| std::iter::repeat_n(peer, count)).collect();
        let from = batch.iter().zip(&senders).map(|(incoming, peer)| (incoming.change.id(), *peer)).collect();
        let first = self.setup.replica.len();
        let outcome = if batch.is_empty() { Outcome::default() } else { self.setup.replica.apply_batch(batch) };
        self.took(first, outcome, origins.into_iter().map(|(peer, _)| peer).collect(), &senders, &from);
    }

    /// Deals with what came of handing something to the replica, whose log had `first` changes before.
    /// `senders` sent what the verdicts speak of, one for each; `from` names one who sent a change.
    fn took(
        &mut self,
        first: usize,
        outcome: Outcome,
        messages: Vec<PeerId>,
        senders: &[PeerId],
        from: &HashMap<ChangeId, PeerId>,
    ) {
        for (peer, verdict) in blame(&outcome, senders, from) {
            count(&self.setup.metrics.changes, label(verdict));
            let Some(peer) = peer else { continue };
            match verdict {
                Verdict::Unauthenticated => self.strike(peer, "unauthenticated"),
                Verdict::Malformed(_) => self.strike(peer, "malformed-change"),
                Verdict::Waiting { missing } => {
                    self.setup.admit.want(missing);
                    if let Some(&at) = self.index.get(&peer) {
                        let subscriber = &mut self.subscribers[at];
                        subscriber.session.missing(missing.iter().copied());
                        subscriber.due = true;
                    }
                }
                _ => {}
            }
        }
        if !outcome.proofs.is_empty() {
            // Nothing in the log tells the sessions of a proof: they pass it on when they are asked.
            for subscriber in &mut self.subscribers {
                subscriber.due = true;
            }
        }
        if outcome.rebuilt {
            // All numbers are void. Does not happen to a writer's replica (see above).
            for subscriber in &self.subscribers {
                subscriber.peer.close(CloseReason::Restart, "the relay has rebuilt this group");
            }
        } else {
            self.broadcast(first, from);
        }
        if !outcome.proofs.is_empty() {
            // Everybody gets the proof, also those to whom no change brought it.
            for subscriber in &mut self.subscribers {
                subscriber.due = true;
            }
        }
        self.keep(&outcome, messages);
    }

    /// Encodes the log from `first` on, once for all, cut where the origin changes, and hands it to every subscriber that is in step.
    fn broadcast(&mut self, first: usize, from: &HashMap<ChangeId, PeerId>) {
        let end = self.setup.replica.len();
        let mut start = first;
        while start < end {
            let replica = &self.setup.replica;
            let origin_of = |at: usize| from.get(&replica.id(ChangeIdx(at as u32))).copied();
            let origin = origin_of(start);
            let mut packets = Vec::new();
            let mut bytes = 0;
            let mut to = start;
            while to < end && bytes < LIVE_FRAME_BYTES && origin_of(to) == origin {
                let index = ChangeIdx(to as u32);
                let change = replica.bytes(index);
                let voucher = replica.voucher(index).map(|voucher| Bytes::from(voucher.encode()));
                bytes += change.len() + voucher.as_ref().map_or(0, Bytes::len);
                packets.push(Packet { change, voucher });
                to += 1;
            }
            let frame = self.setup.channel.envelope(&Message::Changes(packets).encode());
            let mut delivered = 0;
            for subscriber in &mut self.subscribers {
                if Some(subscriber.peer.id) == origin {
                    subscriber.due |= !subscriber.session.skip_live(start, to);
                    continue;
                }
                subscriber.absorb_ack(&self.setup.replica);
                if subscriber.peer.has_room() && subscriber.session.take_live(start, to, frame.len()) {
                    subscriber.peer.push(frame.clone());
                    delivered += 1;
                } else {
                    subscriber.due = true;
                }
            }
            self.setup.metrics.deliveries.inc_by(delivered * (to - start) as u64);
            start = to;
        }
    }

    /// Gives what is new to the disk. `messages` are acknowledged when it is there.
    fn keep(&mut self, outcome: &Outcome, messages: Vec<PeerId>) {
        let records: Vec<Incoming> = outcome
            .applied
            .iter()
            .map(|&index| Incoming {
                change: self.setup.replica.change(index),
                voucher: self.setup.replica.voucher(index),
            })
            .collect();
        if records.is_empty() && outcome.proofs.is_empty() && self.waiting.is_empty() {
            return self.handled(&messages);
        }
        let bytes: usize = records.iter().map(|incoming| incoming.change.bytes().len()).sum();
        self.setup.bytes += bytes as u64;
        self.unpersisted += bytes;
        self.setup.metrics.unpersisted.inc_by(records.len() as i64);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.push_back(Waiting { ticket, bytes, changes: records.len(), from: messages });
        self.setup.persist.submit(Job {
            group: self.setup.id,
            records,
            proofs: outcome.proofs.clone(),
            ticket,
            done: self.durable.clone(),
        });
    }

    fn on_durable(&mut self, ticket: u64) {
        while self.waiting.front().is_some_and(|waiting| waiting.ticket <= ticket)
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.unpersisted -= waiting.bytes;
            self.setup.metrics.unpersisted.dec_by(waiting.changes as i64);
            self.setup.metrics.durable.inc_by(waiting.changes as u64);
            self.handled(&waiting.from);
        }
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
        let Self { setup, subscribers, .. } = self;
        for subscriber in subscribers.iter_mut().filter(|subscriber| subscriber.due) {
            subscriber.due = false;
            subscriber.serve(setup);
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
            subscriber.absorb_ack(&self.setup.replica);
            if subscriber.session.unacknowledged() == 0 {
                subscriber.progress = now;
            } else if now.saturating_duration_since(subscriber.progress) > self.setup.slow_timeout {
                subscriber.peer.close(CloseReason::Slow, "it acknowledges nothing of what it is sent");
            }
            subscriber.due |= !subscriber.session.is_current(&self.setup.replica);
        }
    }
}

impl Subscriber {
    /// Tells the session of what was acknowledged since it was last told.
    fn absorb_ack(&mut self, replica: &Replica) {
        let count = self.acks.count();
        if count == self.acked {
            return;
        }
        self.acked = count;
        self.progress = Instant::now();
        if let Err(fault) = self.session.receive(replica, Message::Ack(count)) {
            self.peer.close(CloseReason::Strikes, &fault.to_string());
        }
    }

    fn serve(&mut self, setup: &Setup) {
        let replica = &setup.replica;
        loop {
            self.absorb_ack(replica);
            while self.peer.has_room()
                && let Some(message) = self.session.poll_send(replica)
            {
                if let Message::Changes(packets) = &message {
                    setup.metrics.deliveries.inc_by(packets.len() as u64);
                }
                self.peer.push(setup.channel.envelope(&message.encode()));
            }
            if self.session.is_current(replica) {
                break;
            }
            self.acks.want();
            // One may have come between the look and the wish.
            if self.acks.count() == self.acked {
                break;
            }
        }
        let behind = self.session.behind(replica);
        if self.session.is_live() && behind >= LAG_NOTICE && !self.lagging {
            self.lagging = true;
            setup.metrics.lagging.inc();
            setup.metrics.lagging_now.inc();
            let text = format!("{behind} changes behind the live stream; they follow as fast as they are acknowledged");
            self.peer.notice(NoticeCode::Lagging, setup.channel, &text);
        } else if self.lagging && self.session.is_current(replica) {
            self.lagging = false;
            setup.metrics.lagging_now.dec();
            self.peer.notice(NoticeCode::CaughtUp, setup.channel, "in step with the live stream again");
        }
    }
}

/// Each verdict with who sent the copy that it judges. By place, not by id: somebody else may have sent the same change under a signature that is
/// not good, and the honest one must not be struck for it.
fn blame<'a>(
    outcome: &'a Outcome,
    senders: &'a [PeerId],
    from: &'a HashMap<ChangeId, PeerId>,
) -> impl Iterator<Item = (Option<PeerId>, &'a Verdict)> {
    let fresh = outcome.verdicts.iter().enumerate().map(|(at, (_, verdict))| (senders.get(at).copied(), verdict));
    fresh.chain(outcome.settled.iter().map(|(id, verdict)| (from.get(id).copied(), verdict)))
}

fn label(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Applied => "applied",
        Verdict::AlreadyKnown => "already-known",
        Verdict::Waiting { .. } => "waiting",
        Verdict::Unsupported => "unsupported",
        Verdict::Unauthenticated => "unauthenticated",
        Verdict::Malformed(_) => "malformed",
        Verdict::Invalid(_) => "invalid",
        Verdict::HeldBack => "held-back",
        Verdict::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sent_the_bad_copy_is_struck() {
        let (mallory, honest, id) = (PeerId(1), PeerId(2), ChangeId([7; 32]));
        let verdicts = vec![(id, Verdict::Unauthenticated), (id, Verdict::Applied)];
        let outcome = Outcome { verdicts, ..Outcome::default() };
        let from = HashMap::from([(id, honest)]);
        let senders = [mallory, honest];
        let blamed: Vec<_> = blame(&outcome, &senders, &from).collect();
        assert_eq!(blamed, [(Some(mallory), &Verdict::Unauthenticated), (Some(honest), &Verdict::Applied)]);
        let outcome = Outcome { settled: vec![(id, Verdict::Unsupported)], ..Outcome::default() };
        assert_eq!(blame(&outcome, &[], &from).collect::<Vec<_>>(), [(Some(honest), &Verdict::Unsupported)]);
    }
}
