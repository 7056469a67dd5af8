//! One link: a sync session, what is to be told about blocks, and what the peer may cost.
//!
//! Changes are never queued: the session reads what the peer lacks off the replica. About blocks a few messages wait, bounded, and newer ones take the place of
//! older ones: what is dropped is asked for again. Answers are made when they are sent.

use std::collections::{HashSet, VecDeque};

use bft_json_crdt::replica::Replica;
use bft_json_crdt::sync::{SessionLimits, SyncSession};
use bytes::Bytes;
use side_ledger::block::{BlockId, Rank};
use side_ledger::group::Group;
use side_seal::message::MAX_BLOCKS;
use side_seal::{Engine, Message};

use super::newcomer::StateLane;
use crate::net::{Peer, Stream};

/// Most messages about blocks that wait for one peer. Words of all voters of the largest set fit, and some blocks.
const MAX_QUEUED: usize = 512;
/// Most questions of one peer that wait for their answer. An honest one asks for a few blocks at a time, and asks again.
const MAX_ANSWERS: usize = 16;
/// Most proofs of one peer that wait until the chain here has come to their epoch: as many as an honest one has.
pub(super) const MAX_EARLY: usize = side_seal::bft::MAX_EVIDENCE;
/// Most ids of blocks that are remembered as known to the peer. A forgotten one costs an echo, nothing else.
const MAX_KNOWN: usize = 256;
/// Most messages about blocks that are refused on one link before it is ended: more is no accident.
pub(super) const MAX_REFUSED_SEALS: u32 = 32;
/// Most changes that are refused on one link before it is ended: more is no accident.
const MAX_REFUSED_CHANGES: u64 = 1_000;
/// Signatures a second that a peer's messages about blocks may cost us without being asked for: an eighth of a processor. Words of 256 voters on ten blocks a
/// second are less.
pub(super) const SIGNATURES_PER_SECOND: u64 = 4_096;
/// How much of it may come at once: what gathered on a slow connection.
pub(super) const SIGNATURES_AT_ONCE: u64 = 4 * SIGNATURES_PER_SECOND;

/// A link.
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) sync: SyncSession,
    /// Applied batches whose effects are staged, and those that are on their way to disk.
    unhandled: usize,
    in_flight: usize,
    refused_changes: u64,
    refused_seals: u32,
    budget: Budget,
    queue: VecDeque<Message>,
    answers: VecDeque<(BlockId, Vec<BlockId>)>,
    /// What the peer has said of epochs to which the chain here has not come.
    early: VecDeque<Message>,
    known: Known,
    /// The highest block that the peer has told of.
    pub(super) told: Option<(Rank, BlockId)>,
    /// Whether the peer says that its copy may be old: it has asked where the chain ends.
    pub(super) learns: bool,
    /// Whether the peer has told where its chain ends.
    pub(super) greeted: bool,
    /// What is said about the state to newcomers, or by one.
    pub(super) state: StateLane,
    /// Whose turn it is: no conversation waits for another.
    turn: usize,
}

impl Link {
    /// A fresh link. `greeting` is what the peer is told first.
    pub(super) fn new(
        peer: Peer,
        replica: &Replica,
        own: bft_json_crdt::identity::AuthorId,
        greeting: Vec<Message>,
    ) -> Self {
        let mut sync = SyncSession::new(replica, SessionLimits::default());
        sync.watch(own);
        let mut link = Self {
            peer,
            sync,
            unhandled: 0,
            in_flight: 0,
            refused_changes: 0,
            refused_seals: 0,
            budget: Budget { left: SIGNATURES_AT_ONCE, at_ms: 0 },
            queue: VecDeque::new(),
            answers: VecDeque::new(),
            early: VecDeque::new(),
            known: Known::default(),
            told: None,
            learns: false,
            greeted: false,
            state: StateLane::default(),
            turn: 0,
        };
        greeting.into_iter().for_each(|message| link.tell(&message));
        link
    }

    /// A batch of changes was given to the replica.
    pub(super) fn applied(&mut self) {
        self.unhandled += 1;
    }

    /// What is staged now goes to disk.
    pub(super) fn taken(&mut self) {
        self.in_flight += std::mem::take(&mut self.unhandled);
    }

    /// It is there.
    pub(super) fn durable(&mut self) {
        for _ in 0..std::mem::take(&mut self.in_flight) {
            self.sync.handled();
        }
    }

    /// So many changes were refused; why the link is to be ended for it, if it is.
    pub(super) fn refuses_changes(&mut self, more: u64) -> Option<&'static str> {
        self.refused_changes += more;
        (self.refused_changes > MAX_REFUSED_CHANGES).then_some("it sent too many changes without a good signature")
    }

    /// Whether the peer may cost anything more just now.
    pub(super) fn may_cost(&mut self, now_ms: u64) -> bool {
        self.budget.refill(now_ms);
        self.budget.left > 0
    }

    /// A message about blocks came: what it cost, and what the peer knows by it.
    pub(super) fn heard(&mut self, message: &Message) {
        self.budget.left = self.budget.left.saturating_sub(cost(message));
        match message {
            Message::Blocks(blocks) => {
                self.greeted = true;
                for signed in blocks {
                    self.known.insert(signed.id());
                    self.told = self.told.max(Some((signed.block().rank(), signed.id())));
                }
            }
            Message::Final(run) => {
                self.greeted = true;
                let (id, block) = run.last();
                self.known.insert(*id);
                self.told = self.told.max(Some((block.rank(), *id)));
            }
            Message::Proposal(proposal) => {
                self.known.insert(proposal.id());
            }
            Message::Hold(_) | Message::Double(_) | Message::Ask { .. } | Message::Evidence(_) => {}
        }
    }

    /// A message about blocks was refused; whether that was one too many.
    pub(super) fn refused(&mut self) -> bool {
        self.refused_seals += 1;
        self.refused_seals > MAX_REFUSED_SEALS
    }

    /// Tells the peer about blocks what it does not know by then.
    pub(super) fn tell(&mut self, message: &Message) {
        match message {
            Message::Blocks(blocks) => {
                let news = blocks.iter().filter(|signed| self.known.insert(signed.id())).count();
                if news == 0 {
                    return;
                }
            }
            Message::Hold(hold) => {
                // The newer word covers the older one.
                self.queue.retain(|waiting| !matches!(waiting, Message::Hold(older) if older.voter == hold.voter));
            }
            // It is known as proposed, and final is more.
            Message::Final(_) | Message::Double(_) | Message::Ask { .. } | Message::Evidence(_) => {}
            Message::Proposal(proposal) => {
                if !self.known.insert(proposal.id()) {
                    return;
                }
            }
        }
        self.push(message.clone());
    }

    /// Asks the peer for blocks. Its answer costs it nothing.
    pub(super) fn ask(&mut self, question: Message) {
        self.budget.left = (self.budget.left + MAX_BLOCKS as u64).min(SIGNATURES_AT_ONCE);
        self.push(question);
    }

    fn push(&mut self, message: Message) {
        if self.queue.len() >= MAX_QUEUED {
            // Of blocks the latest suffices: what lies before it is asked for.
            let is_block =
                |waiting: &Message| matches!(waiting, Message::Blocks(_) | Message::Final(_) | Message::Proposal(_));
            let block = self.queue.iter().position(is_block);
            self.queue.remove(block.unwrap_or(0));
        }
        self.queue.push_back(message);
    }

    /// The peer asks for blocks.
    pub(super) fn asked(&mut self, want: BlockId, have: Vec<BlockId>) {
        self.answers.retain(|(other, _)| *other != want);
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((want, have));
    }

    /// Keeps what the peer says too early. Of too much the oldest goes.
    pub(super) fn keep_early(&mut self, message: Message) {
        if self.early.len() >= MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back(message);
    }

    /// What is not early any more.
    pub(super) fn take_due(&mut self, is_early: impl Fn(&Message) -> bool) -> Vec<Message> {
        let (early, due) = std::mem::take(&mut self.early).into_iter().partition(|message| is_early(message));
        self.early = early;
        due.into()
    }

    /// Whether what there is for the peer may wait for a moment.
    pub(super) fn may_wait(&self, replica: &Replica) -> bool {
        self.queue.is_empty() && self.answers.is_empty() && self.state.is_empty() && self.sync.may_wait(replica)
    }

    /// The next message for the peer, if there is one. Everything in the group is on disk. With `hold_back` nothing is said about changes.
    pub(super) fn poll_send(&mut self, engine: &Engine, group: &Group, hold_back: bool) -> Option<(Stream, Bytes)> {
        const STREAMS: [Stream; 3] = [Stream::Sync, Stream::Seal, Stream::Side];
        for _ in STREAMS {
            let stream = STREAMS[self.turn % STREAMS.len()];
            self.turn = (self.turn + 1) % STREAMS.len();
            let message = match stream {
                Stream::Sync if hold_back => None,
                Stream::Sync => self.sync.poll_send(group.replica()).map(|message| message.encode().into()),
                Stream::Seal => self.next_seal(engine, group).map(|message| message.encode().into()),
                Stream::Side => self.state.pop(),
            };
            if let Some(message) = message {
                return Some((stream, message));
            }
        }
        None
    }

    fn next_seal(&mut self, engine: &Engine, group: &Group) -> Option<Message> {
        if let Some(message) = self.queue.pop_front() {
            return Some(message);
        }
        while let Some((want, have)) = self.answers.pop_front() {
            if let Some(answer) = engine.answer(group, &want, &have) {
                return Some(answer);
            }
        }
        None
    }

    /// Whether, on this link, everything that either side lacked of the changes has been passed.
    pub(super) fn in_sync(&self, replica: &Replica) -> bool {
        self.sync.is_current(replica)
            && self.sync.unacknowledged() == 0
            && self.sync.watched_tip_learnt(replica)
            && replica.len() as u64 >= self.sync.peer_changes()
    }

    /// Whether the peer has told everything that it holds of this node's own changes and all of that is here. A peer that holds nothing of the
    /// group knows nothing and proves nothing.
    pub(super) fn knows_own_tip(&self, replica: &Replica) -> bool {
        self.sync.watched_tip_learnt(replica) && self.sync.peer_changes() > 0
    }

    /// Whether the chain here is as good as what the peer has told of.
    pub(super) fn chain_learnt(&self, engine: &Engine, group: &Group) -> bool {
        self.greeted && self.told.is_none_or(|(rank, id)| engine.block(&id).is_some() && group.chain().rank() >= rank)
    }
}

/// How many signatures a message has us check.
fn cost(message: &Message) -> u64 {
    match message {
        Message::Blocks(blocks) => {
            blocks.iter().map(|signed| 1 + (signed.warrant().votes.len() + signed.warrant().holds.len()) as u64).sum()
        }
        Message::Final(run) => run.certificate().signers() as u64,
        Message::Hold(_) | Message::Ask { .. } | Message::Proposal(_) => 1,
        Message::Double(_) | Message::Evidence(_) => 2,
    }
}

/// What is left of a peer's quota, refilled as time goes by.
struct Budget {
    left: u64,
    at_ms: u64,
}

impl Budget {
    fn refill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms);
        let more = passed.saturating_mul(SIGNATURES_PER_SECOND) / 1000;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(SIGNATURES_AT_ONCE);
            self.at_ms = now_ms;
        }
    }
}

/// The last blocks that came from a peer or went to it.
#[derive(Default)]
struct Known {
    ids: HashSet<BlockId>,
    order: VecDeque<BlockId>,
}

impl Known {
    /// Whether it is news.
    fn insert(&mut self, id: BlockId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
