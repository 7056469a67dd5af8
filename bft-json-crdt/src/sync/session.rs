//! One side of one connection about one document.
//!
//! The sending half is a cursor, not a queue: what the peer lacks is read off the replica's log when the window allows it, so a slow peer
//! costs a few numbers, never memory, and a peer that falls behind just goes on where it stopped.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use thiserror::Error;

use crate::causality::{BranchIdx, Causality as _, ChangeIdx};
use crate::change::{Change, ChangeError, ChangeId};
use crate::evidence::{EquivocationProof, EvidenceError, Voucher};
use crate::identity::AuthorId;
use crate::replica::{Incoming, Replica};

use super::message::{Leaf, MAX_GET, MAX_PROBE_CHAINS, MAX_PROBE_IDS, MAX_SUMMARY_LEAVES, Message, Packet, RawAuthor};

/// Most ids that the peer asked for and that wait to be sent; what it asks beyond is dropped, it may ask again.
const MAX_QUEUED_GETS: usize = 4 * MAX_GET;
/// Most probe replies that wait to be sent: a peer that asks and never takes the answers would else fill the memory. An honest one has asked about half a
/// million branches by then.
const MAX_QUEUED_REPLIES: usize = 1024;
/// Most ids remembered as "came from this peer, do not echo". A forgotten one costs an echo, nothing else.
const MAX_ECHO_MEMORY: usize = 16_384;
/// Most missing ids remembered as asked for.
const MAX_ASKED: usize = 4_096;
/// How often one id is asked for on a connection. A quota can push out what came, so once may not be enough; without a bound, two changes that push each
/// other out would be fetched for ever.
const MAX_ASKS: u8 = 3;
/// Most of the peer's leaves of the watched author that are remembered as not held.
const MAX_WATCHED_MISSING: usize = 4_096;

/// Frames received since the last acknowledgement from which on the next one is not to wait: far below any window.
const PROMPT_FRAMES: u64 = 64;
/// The same in bytes: less than a chunk of catch-up, so that one who fills windows is not held up.
const PROMPT_BYTES: usize = 64 << 10;
/// More changes than this are not gathered: they make a frame of their own.
const LEISURELY_CHANGES: usize = 256;
/// Frames of others' changes that are passed on at leisure after the peer has sent one that was here already. If none of that kind comes meanwhile, the peer may
/// depend on this side by now.
const OVERLAP_FRAMES: u32 = 16;

/// Flow control of the sending half.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Most `changes` frames that may be unacknowledged.
    pub window_frames: usize,
    /// Most bytes that may be unacknowledged (one more frame may exceed it).
    pub window_bytes: usize,
    /// A chunk is closed when it reaches this many bytes.
    pub chunk_bytes: usize,
    /// A chunk is closed when it reaches this many changes.
    pub chunk_changes: usize,
}

impl Default for SessionLimits {
    /// Two chunks of catch-up in flight keep both ends busy; single live changes may be many.
    fn default() -> Self {
        Self { window_frames: 1024, window_bytes: 2 << 20, chunk_bytes: 256 << 10, chunk_changes: 1024 }
    }
}

/// What the peer did wrong. The connection should be closed and the reason kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerFault {
    /// A change was malformed.
    #[error("sent a malformed change: {0}")]
    Change(#[from] ChangeError),
    /// A voucher or proof was malformed.
    #[error("sent malformed evidence: {0}")]
    Evidence(#[from] EvidenceError),
    /// It acknowledged what was never sent.
    #[error("acknowledged {acked} frames of {sent} sent")]
    Ack {
        /// What it claims.
        acked: u64,
        /// What was sent.
        sent: u64,
    },
    /// It answered a probe that was never sent, or answered it wrongly.
    #[error("answered a probe that was not sent")]
    ProbeReply,
    /// It sent probe after probe without taking the replies.
    #[error("sent more probes than it takes replies")]
    Probes,
    /// It sent a summary twice.
    #[error("sent its summary twice")]
    Summary,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Action {
    /// Give these to the replica in one batch, store what was applied, then call [`SyncSession::handled`].
    Apply(Vec<Incoming>),
    /// Give this proof to the replica, which checks it.
    Proof(EquivocationProof),
}

/// How far the sending half has come.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The peer's heads have not come.
    Heads,
    /// The digests differ; the peer's summary has not come whole.
    Summary,
    /// Probes are unanswered.
    Probe,
    /// The peer lacks what `ranges` and the log from `cursor` hold.
    Stream,
}

/// Sync with one peer about one document, from one connection's start to its end.
#[derive(Debug)]
pub struct SyncSession {
    limits: SessionLimits,
    /// The replica's numbering that all positions here speak of.
    generation: u64,
    /// The digest that `start` announced, and the log's length then.
    announced: ([u8; 32], usize),
    summary_sent: bool,
    peer_summary_done: bool,
    stage: Stage,
    /// What the peer is known to hold, by branch: everything up to this `seq`.
    known: HashMap<BranchIdx, u64>,
    /// Authors of whom the peer named a leaf that is not held here: `seq` alone cannot tell what it has.
    uncertain: BTreeSet<RawAuthor>,
    /// Probes in flight, oldest first.
    probes: VecDeque<(RawAuthor, Vec<ChangeIdx>)>,
    /// Next change of each branch that the peer lacks, below `cursor`; the least is next in causal order.
    ranges: BinaryHeap<Reverse<(ChangeIdx, BranchIdx, u64)>>,
    /// Where the live part of the log begins for this peer.
    cursor: usize,
    gets: VecDeque<ChangeIdx>,
    outbox: VecDeque<Message>,
    /// How many probe replies `outbox` holds.
    replies: usize,
    proofs_sent: HashSet<AuthorId>,
    sent_frames: u64,
    unacked: VecDeque<usize>,
    unacked_bytes: usize,
    received_frames: u64,
    acked_frames: u64,
    handled_frames: u64,
    /// What came since the last acknowledgement.
    owed_bytes: usize,
    /// The peer gets what we get without us, as far as is known: for so many frames more.
    overlap: u32,
    echo: HashSet<ChangeId>,
    echo_order: VecDeque<ChangeId>,
    /// What was asked for: how often, and whether the answer is still out.
    asked: HashMap<ChangeId, (u8, bool)>,
    watched: Option<AuthorId>,
    watched_missing: HashSet<ChangeId>,
    peer_changes: u64,
    unserved: Unserved,
}

/// What the peer lacks and cannot get here, because it was compacted away ([`Replica::compact`]). It is left out of what is sent; what stands upon it comes, and
/// waits there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unserved {
    /// How many changes; one that was asked for again counts again.
    pub count: u64,
    /// The last of them.
    pub last: Option<ChangeId>,
}

impl SyncSession {
    /// A session for a fresh connection. Its first message, the heads, comes from [`SyncSession::poll_send`].
    pub fn new(replica: &Replica, limits: SessionLimits) -> Self {
        let announced = (replica.heads_digest(), replica.len());
        let heads = Message::Heads { digest: announced.0, changes: announced.1 as u64 };
        Self {
            limits,
            generation: replica.generation(),
            announced,
            summary_sent: false,
            peer_summary_done: false,
            stage: Stage::Heads,
            known: HashMap::new(),
            uncertain: BTreeSet::new(),
            probes: VecDeque::new(),
            ranges: BinaryHeap::new(),
            cursor: 0,
            gets: VecDeque::new(),
            outbox: VecDeque::from([heads]),
            replies: 0,
            proofs_sent: HashSet::new(),
            sent_frames: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            received_frames: 0,
            acked_frames: 0,
            handled_frames: 0,
            owed_bytes: 0,
            overlap: 0,
            echo: HashSet::new(),
            echo_order: VecDeque::new(),
            asked: HashMap::new(),
            watched: None,
            watched_missing: HashSet::new(),
            peer_changes: 0,
            unserved: Unserved::default(),
        }
    }

    /// What the peer was found to lack and cannot get here. A driver that sees the count grow tells so, and lets the peer find another source.
    pub fn unserved(&self) -> Unserved {
        self.unserved
    }

    /// Watches what the peer holds of `author`, so that [`SyncSession::watched_tip_learnt`] can answer. To be called before the first
    /// message is received.
    pub fn watch(&mut self, author: AuthorId) {
        self.watched = Some(author);
    }

    /// Whether the peer has told all it holds of the watched author and all of that is applied here. A restored node may write again
    /// only after this.
    pub fn watched_tip_learnt(&self, replica: &Replica) -> bool {
        self.peer_summary_done && self.watched_missing.iter().all(|id| replica.index_of(id).is_some())
    }

    /// Whether the replica has renumbered its log (see [`Replica::generation`]): the positions here are void, and the connection has to
    /// begin anew.
    pub fn is_stale(&self, replica: &Replica) -> bool {
        self.generation != replica.generation()
    }

    /// How many changes the peer said it has, at the connection's start.
    pub fn peer_changes(&self) -> u64 {
        self.peer_changes
    }

    /// Whether everything applied here was sent (perhaps not yet acknowledged).
    pub fn is_current(&self, replica: &Replica) -> bool {
        self.is_live() && self.cursor == replica.len()
    }

    /// Whether catch-up is over and only the live tail of the log is left to send.
    pub fn is_live(&self) -> bool {
        self.stage == Stage::Stream && self.ranges.is_empty() && self.gets.is_empty()
    }

    /// How many applied changes wait to be sent to the peer, roughly (the live tail only).
    pub fn behind(&self, replica: &Replica) -> usize {
        replica.len().saturating_sub(self.cursor)
    }

    /// How many frames were sent and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacked.len()
    }

    /// Whether there is something to send that may wait for a moment, since nobody waits for it: an acknowledgement of little, or changes of others that the peer
    /// seems to get without us. In a mesh of members nearly all of what they tell each other is of that kind; a driver that gathers it for some milliseconds
    /// saves both sides most of the work. Takes the watched author for this side's own.
    pub fn may_wait(&self, replica: &Replica) -> bool {
        let owed = self.handled_frames - self.acked_frames;
        if !self.is_live()
            || !self.outbox.is_empty()
            || self.proofs_sent.len() < replica.proof_count()
            || owed >= PROMPT_FRAMES
            || self.owed_bytes >= PROMPT_BYTES
            || self.behind(replica) > LEISURELY_CHANGES
        {
            return false;
        }
        let mut tail = (self.cursor..replica.len()).map(|place| replica.id(ChangeIdx(place as u32)));
        let news = tail.any(|id| !self.echo.contains(&id));
        if news { self.overlap > 0 && !self.lacks_own(replica) } else { owed > 0 }
    }

    /// Whether a change of this side has not been sent.
    fn lacks_own(&self, replica: &Replica) -> bool {
        let tip = self.watched.and_then(|own| replica.own_tip(&own));
        tip.and_then(|tip| replica.index_of(&tip.id)).is_some_and(|idx| idx.0 as usize >= self.cursor)
    }

    /// Takes a message from the peer.
    pub fn receive(&mut self, replica: &Replica, message: Message) -> Result<Vec<Action>, PeerFault> {
        if self.is_stale(replica) {
            return Ok(Vec::new());
        }
        match message {
            Message::Heads { digest, changes } => self.on_heads(replica, digest, changes),
            Message::Summary { last, authors } => self.on_summary(replica, last, &authors)?,
            Message::Changes(packets) => return self.on_changes(replica, packets),
            Message::Ack(frames) => self.on_ack(frames)?,
            Message::Get(ids) => {
                for id in ids {
                    if self.gets.len() < MAX_QUEUED_GETS
                        && let Some(idx) = replica.index_of(&id)
                    {
                        self.gets.push_back(idx);
                    }
                }
            }
            Message::Probe(chains) => {
                let reply = chains
                    .into_iter()
                    .map(|(author, ids)| {
                        let position = ids.iter().position(|id| replica.index_of(id).is_some());
                        (author, position.map(|p| p as u64))
                    })
                    .collect();
                if self.replies == MAX_QUEUED_REPLIES {
                    return Err(PeerFault::Probes);
                }
                self.replies += 1;
                self.outbox.push_back(Message::ProbeReply(reply));
            }
            Message::ProbeReply(replies) => self.on_probe_reply(replica, &replies)?,
            Message::Evidence(bytes) => return Ok(vec![Action::Proof(EquivocationProof::decode(&bytes)?)]),
            Message::Unknown(_) => {}
        }
        Ok(Vec::new())
    }

    /// The driver has applied and durably stored what one [`Action::Apply`] held. The acknowledgement comes from
    /// [`SyncSession::poll_send`]; several are gathered into one.
    pub fn handled(&mut self) {
        self.handled_frames = (self.handled_frames + 1).min(self.received_frames);
    }

    /// Some changes wait for dependencies that nobody has sent: the request to send, if any of them is not on its way.
    pub fn missing(&mut self, ids: impl IntoIterator<Item = ChangeId>) {
        let mut request = Vec::new();
        for id in ids {
            let known = self.asked.len();
            match self.asked.get_mut(&id) {
                Some((times, out)) => {
                    if *out || *times == MAX_ASKS {
                        continue;
                    }
                    (*times, *out) = (*times + 1, true);
                }
                None if known == MAX_ASKED => continue,
                None => {
                    self.asked.insert(id, (1, true));
                }
            }
            request.push(id);
        }
        for part in request.chunks(MAX_GET) {
            self.outbox.push_back(Message::Get(part.to_vec()));
        }
    }

    /// The next message for the peer, if there is one that flow control allows. To be called until it answers `None`, whenever
    /// something was received, handled or applied.
    pub fn poll_send(&mut self, replica: &Replica) -> Option<Message> {
        if self.is_stale(replica) {
            return None;
        }
        if let Some(message) = self.outbox.pop_front() {
            self.replies -= usize::from(matches!(message, Message::ProbeReply(_)));
            return Some(message);
        }
        if self.handled_frames > self.acked_frames {
            self.acked_frames = self.handled_frames;
            self.owed_bytes = 0;
            return Some(Message::Ack(self.handled_frames));
        }
        // Not before the catch-up: whoever holds a proof holds the author's changes back until somebody depends on them, and a long
        // history of an author who forked in the end would not fit there.
        if self.is_live()
            && self.proofs_sent.len() < replica.proof_count()
            && let Some(proof) = replica.proofs().find(|proof| !self.proofs_sent.contains(&proof.author()))
        {
            self.proofs_sent.insert(proof.author());
            return Some(Message::Evidence(proof.encode().into()));
        }
        if self.unacked.len() >= self.limits.window_frames || self.unacked_bytes >= self.limits.window_bytes {
            return None;
        }
        let others = !self.lacks_own(replica);
        let packets = self.next_chunk(replica);
        if packets.is_empty() {
            return None;
        }
        self.overlap = self.overlap.saturating_sub(u32::from(others));
        let size = packets.iter().map(|p| p.change.len() + p.voucher.as_ref().map_or(0, |v| v.len())).sum();
        self.note_sent(size);
        Some(Message::Changes(packets))
    }

    /// For a hub that encodes a live frame once for all its peers: if this session is live, its window is open and its cursor stands at log
    /// position `from`, it takes the frame with the log up to `to` as sent and answers true. `size` is the frame's length in bytes.
    pub fn take_live(&mut self, from: usize, to: usize, size: usize) -> bool {
        let open = self.unacked.len() < self.limits.window_frames && self.unacked_bytes < self.limits.window_bytes;
        if !self.is_live() || self.cursor != from || !open || !self.outbox.is_empty() {
            return false;
        }
        self.cursor = to;
        self.note_sent(size);
        true
    }

    /// Like [`SyncSession::take_live`] for changes that came from this very peer: the cursor passes them, nothing is sent.
    pub fn skip_live(&mut self, from: usize, to: usize) -> bool {
        if !self.is_live() || self.cursor != from {
            return false;
        }
        self.cursor = to;
        true
    }

    fn note_sent(&mut self, size: usize) {
        self.sent_frames += 1;
        self.unacked.push_back(size);
        self.unacked_bytes += size;
    }

    fn on_heads(&mut self, replica: &Replica, digest: [u8; 32], changes: u64) {
        if self.stage != Stage::Heads {
            return;
        }
        self.peer_changes = changes;
        if digest == self.announced.0 {
            // Both compare what both announced, so both draw the same conclusion.
            self.peer_summary_done = true;
            self.cursor = self.announced.1;
            self.stage = Stage::Stream;
        } else {
            self.stage = Stage::Summary;
            self.send_summary(replica);
        }
    }

    fn send_summary(&mut self, replica: &Replica) {
        if std::mem::replace(&mut self.summary_sent, true) {
            return;
        }
        let mut part: Vec<(RawAuthor, Vec<Leaf>)> = Vec::new();
        let mut size = 0;
        for author in replica.authors() {
            let leaves: Vec<Leaf> =
                replica.leaves(&author).into_iter().map(|leaf| Leaf { seq: leaf.seq, id: leaf.id }).collect();
            for leaves in leaves.chunks(MAX_SUMMARY_LEAVES) {
                if size + leaves.len() > MAX_SUMMARY_LEAVES {
                    self.outbox.push_back(Message::Summary { last: false, authors: std::mem::take(&mut part) });
                    size = 0;
                }
                size += leaves.len();
                part.push((*author.as_bytes(), leaves.to_vec()));
            }
        }
        self.outbox.push_back(Message::Summary { last: true, authors: part });
    }

    fn on_summary(
        &mut self,
        replica: &Replica,
        last: bool,
        authors: &[(RawAuthor, Vec<Leaf>)],
    ) -> Result<(), PeerFault> {
        if self.peer_summary_done {
            return Err(PeerFault::Summary);
        }
        for (author, leaves) in authors {
            let watched = self.watched.is_some_and(|watched| watched.as_bytes() == author);
            for leaf in leaves {
                match replica.index_of(&leaf.id) {
                    Some(idx) => self.mark_known(replica, idx),
                    None => {
                        if replica.dag().known_author(author).is_some() {
                            self.uncertain.insert(*author);
                        }
                        if watched && self.watched_missing.len() < MAX_WATCHED_MISSING {
                            self.watched_missing.insert(leaf.id);
                        }
                    }
                }
            }
        }
        if last {
            self.peer_summary_done = true;
            self.send_summary(replica);
            self.send_probes(replica);
        }
        Ok(())
    }

    /// The peer holds `idx`, hence everything before it on its chain.
    fn mark_known(&mut self, replica: &Replica, idx: ChangeIdx) {
        let (mut branch, mut seq) = replica.dag().position(idx);
        loop {
            let known = self.known.entry(branch).or_insert(0);
            if *known >= seq {
                return;
            }
            *known = seq;
            match replica.dag().branch(branch).fork {
                Some(fork) => (branch, seq) = replica.dag().position(fork),
                None => return,
            }
        }
    }

    fn send_probes(&mut self, replica: &Replica) {
        let mut message = Vec::new();
        for author in &self.uncertain {
            for &branch in replica.dag().branches(author) {
                let known = self.known.get(&branch).copied().unwrap_or(0);
                let Some(&tip) = replica.dag().branch(branch).changes.last() else { continue };
                let (_, tip_seq) = replica.dag().position(tip);
                if tip_seq <= known {
                    continue;
                }
                let mut chain = vec![tip];
                let mut steps = 1u64;
                while chain.len() < MAX_PROBE_IDS && steps < tip_seq && tip_seq - steps > known {
                    let Some(idx) = replica.dag().back(tip, steps) else { break };
                    chain.push(idx);
                    steps *= 2;
                }
                if message.len() == MAX_PROBE_CHAINS {
                    self.outbox.push_back(Message::Probe(std::mem::take(&mut message)));
                }
                message.push((*author, chain.iter().map(|idx| replica.id(*idx)).collect()));
                self.probes.push_back((*author, chain));
            }
        }
        if !message.is_empty() {
            self.outbox.push_back(Message::Probe(message));
        }
        self.stage = Stage::Probe;
        self.stream_when_certain(replica);
    }

    fn on_probe_reply(&mut self, replica: &Replica, replies: &[(RawAuthor, Option<u64>)]) -> Result<(), PeerFault> {
        for (author, position) in replies {
            let (probed, chain) = self.probes.pop_front().ok_or(PeerFault::ProbeReply)?;
            if probed != *author {
                return Err(PeerFault::ProbeReply);
            }
            if let Some(position) = position {
                let idx = usize::try_from(*position).ok().and_then(|p| chain.get(p)).ok_or(PeerFault::ProbeReply)?;
                self.mark_known(replica, *idx);
            }
        }
        self.stream_when_certain(replica);
        Ok(())
    }

    /// When nothing is in doubt any more, reckons what the peer lacks.
    fn stream_when_certain(&mut self, replica: &Replica) {
        if self.stage != Stage::Probe || !self.probes.is_empty() {
            return;
        }
        self.cursor = replica.len();
        for author in replica.authors() {
            for &branch in replica.dag().branches(author.as_bytes()) {
                let known = self.known.get(&branch).copied().unwrap_or(0);
                let view = replica.dag().branch(branch);
                let first = known.saturating_add(1).max(view.first_seq);
                if let Some(&idx) = view.changes.get((first - view.first_seq) as usize) {
                    self.ranges.push(Reverse((idx, branch, first)));
                }
            }
        }
        self.known = HashMap::new();
        self.uncertain = BTreeSet::new();
        self.stage = Stage::Stream;
    }

    fn on_changes(&mut self, replica: &Replica, packets: Vec<Packet>) -> Result<Vec<Action>, PeerFault> {
        self.received_frames += 1;
        let mut batch = Vec::with_capacity(packets.len());
        for packet in packets {
            // Its own allocation: a small change must not keep a whole frame of junk in memory.
            let bytes = Bytes::copy_from_slice(&packet.change);
            let change = Change::decode_with(bytes, |author| replica.dag().known_author(author))?;
            let voucher = packet.voucher.map(|bytes| Voucher::decode(&bytes)).transpose()?;
            self.owed_bytes += packet.change.len();
            if replica.index_of(&change.id()).is_some() {
                self.overlap = OVERLAP_FRAMES;
            }
            self.remember_echo(change.id());
            if let Some((_, out)) = self.asked.get_mut(&change.id()) {
                *out = false;
            }
            batch.push(Incoming { change, voucher });
        }
        Ok(vec![Action::Apply(batch)])
    }

    fn remember_echo(&mut self, id: ChangeId) {
        if self.echo.insert(id) {
            self.echo_order.push_back(id);
            if self.echo_order.len() > MAX_ECHO_MEMORY
                && let Some(oldest) = self.echo_order.pop_front()
            {
                self.echo.remove(&oldest);
            }
        }
    }

    fn on_ack(&mut self, frames: u64) -> Result<(), PeerFault> {
        let acked = self.sent_frames - self.unacked.len() as u64;
        if frames > self.sent_frames {
            return Err(PeerFault::Ack { acked: frames, sent: self.sent_frames });
        }
        for _ in acked..frames {
            if let Some(size) = self.unacked.pop_front() {
                self.unacked_bytes -= size;
            }
        }
        Ok(())
    }

    fn next_chunk(&mut self, replica: &Replica) -> Vec<Packet> {
        let mut chunk = Vec::new();
        let mut size = 0;
        while chunk.len() < self.limits.chunk_changes && size < self.limits.chunk_bytes {
            let Some(idx) = self.next_change(replica) else { break };
            if replica.is_compacted(idx) {
                self.unserved = Unserved { count: self.unserved.count + 1, last: Some(replica.id(idx)) };
                continue;
            }
            let change = replica.bytes(idx);
            let voucher = replica.voucher(idx).map(|voucher| voucher.encode().into());
            size += change.len() + voucher.as_ref().map_or(0, Bytes::len);
            chunk.push(Packet { change, voucher });
        }
        chunk
    }

    fn next_change(&mut self, replica: &Replica) -> Option<ChangeIdx> {
        if let Some(idx) = self.gets.pop_front() {
            return Some(idx);
        }
        if self.stage != Stage::Stream {
            return None;
        }
        while let Some(Reverse((idx, branch, seq))) = self.ranges.pop() {
            let view = replica.dag().branch(branch);
            if let Some(&next) = view.changes.get((seq + 1 - view.first_seq) as usize)
                && (next.0 as usize) < self.cursor
            {
                self.ranges.push(Reverse((next, branch, seq + 1)));
            }
            if !self.echo.contains(&replica.id(idx)) {
                return Some(idx);
            }
        }
        while self.cursor < replica.len() {
            let idx = ChangeIdx(self.cursor as u32);
            self.cursor += 1;
            if !self.echo.contains(&replica.id(idx)) {
                return Some(idx);
            }
        }
        None
    }
}
