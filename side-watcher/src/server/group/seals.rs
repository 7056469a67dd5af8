//! The seal lane: the relay hears of blocks, checks and keeps them, passes them on, answers what is asked, and seals where the group has made it the sealer.
//! In a group that is sealed by Byzantine agreement it has no seat: it follows, keeps and passes on what is final.
//!
//! Nothing is sent here before what it rests upon is on disk: everything waits behind whatever is on its way there.

use std::time::{Duration, Instant};

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::replica::TransactError;
use bytes::Bytes;
use side_ledger::block::SetNumber;
use side_ledger::group::GroupError;
use side_ledger::ledger::Position;
use side_ledger::receipt::Status;
use side_ledger::transaction::SetClose;
use side_ledger::{BlockId, Transaction};
use side_seal::effect::Refusal;
use side_seal::message::MessageError;
use side_seal::{Effect, Event, Message, Record};

use super::{Task, Waiting};
use crate::metrics::count;
use crate::protocol::Lane;
use crate::server::clock::now_ms;
use crate::server::peer::PeerId;
use crate::server::persist::Job;

/// How many subscribers are asked where nobody in particular is known to have the answer.
const ASKED: usize = 3;
/// How long a sealer that could not seal though it was time rests before it tries again unprompted.
const REST: Duration = Duration::from_millis(500);

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Out {
    frame: Bytes,
    to: To,
}

#[derive(Debug)]
enum To {
    /// All subscribers but whoever it came from.
    Everybody(Option<PeerId>),
    One(PeerId),
    /// A few, by turns.
    Somebody,
}

/// What came on the lane, to tell what need not go back.
struct Heard<'a> {
    from: PeerId,
    payload: &'a Bytes,
    blocks: Vec<BlockId>,
}

impl Heard<'_> {
    fn brought(&self, message: &Message, encoded: &[u8]) -> bool {
        match message {
            Message::Blocks(blocks) => blocks.iter().all(|signed| self.blocks.contains(&signed.id())),
            _ => encoded == self.payload,
        }
    }
}

/// What the task remembers of sealing.
#[derive(Debug, Default)]
pub(super) struct Seals {
    /// Something has happened since the engine was last asked whether it seals.
    stirred: bool,
    /// After the deadline had passed in vain.
    rest_until: Option<Instant>,
    /// The last job that holds records of sealing.
    last_kept: Option<u64>,
    /// The last job that holds changes of the relay's own.
    last_own: Option<u64>,
    /// The transaction by which this relay has asked for the end of the set.
    closing: Option<Position>,
    /// The set for whose first block it has written something.
    begun: Option<SetNumber>,
    /// Somebody is to be greeted.
    greeting: bool,
    /// Whose turn it is to be asked.
    turn: usize,
}

impl Seals {
    /// Something has happened: it may be time to seal.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }
}

impl Task {
    /// At the task's start.
    pub(super) fn begin_sealing(&mut self) {
        let effects = self.setup.engine.set_sealing(&self.setup.group, !self.caution.is_on());
        self.carry_out(effects, None);
        self.setup.of_group.height(self.setup.group.chain().height().0);
        self.seals.stir();
    }

    pub(super) fn on_seal(&mut self, at: usize, payload: &Bytes) {
        let peer = self.subscribers[at].peer.clone();
        let message = match Message::decode(payload) {
            Ok(message) => message,
            // A later version says more.
            Err(MessageError::Unknown(_)) => return,
            Err(_) => return peer.strike("malformed-block"),
        };
        let mut heard = Heard { from: peer.id, payload, blocks: Vec::new() };
        match &message {
            Message::Ask { want, have } => return self.answer(at, want, have),
            Message::Blocks(blocks) => {
                heard.blocks = blocks.iter().map(side_seal::SignedBlock::id).collect();
                self.subscribers[at].has_told_tip = true;
                let own = self.setup.identity.author();
                blocks.iter().filter(|signed| signed.signer() == own).for_each(|own| self.caution.told(own));
            }
            _ => {}
        }
        if self.is_full(peer.id) {
            return count(&self.setup.metrics.blocks, "group-full");
        }
        // What it seals may have come right before it.
        self.apply();
        let (effects, refusal) = self.setup.engine.hear(&mut self.setup.group, message);
        match refusal {
            // No fault of the sender's.
            None | Some(Refusal::Full | Refusal::Ahead | Refusal::Contradiction) => {}
            Some(refusal) => {
                tracing::debug!(group = %self.setup.group.id(), peer = peer.id.0, %refusal, "a block is not good");
                peer.strike("bad-block");
            }
        }
        let lied = effects.iter().any(|effect| match effect {
            Effect::Show(Event::Refused(id, _)) => heard.blocks.contains(id),
            _ => false,
        });
        if lied {
            peer.strike("bad-block");
        }
        self.carry_out(effects, Some(&heard));
        self.reconsider();
        self.seals.stir();
    }

    fn answer(&mut self, at: usize, want: &BlockId, have: &[BlockId]) {
        let subscriber = &mut self.subscribers[at];
        if !subscriber.peer.has_room() {
            // It will be greeted when it reads again, and ask anew.
            subscriber.ungreeted = true;
            return;
        }
        let peer = subscriber.peer.id;
        if let Some(answer) = self.setup.engine.answer(&self.setup.group, want, have) {
            let out = vec![Out { frame: self.enveloped(&answer.encode()), to: To::One(peer) }];
            self.send_behind(out);
        }
    }

    /// The group has more changes, or others.
    pub(super) fn group_changed(&mut self) {
        let effects = self.setup.engine.changed(&mut self.setup.group);
        self.carry_out(effects, None);
        self.seals.stir();
    }

    /// When it is time to seal.
    pub(super) fn seal_at(&self) -> Option<Instant> {
        if self.has_unkept() {
            return None;
        }
        let due = self.setup.engine.deadline(&self.setup.group)?;
        let at = Instant::now() + Duration::from_millis(due.saturating_sub(now_ms()));
        Some(self.seals.rest_until.map_or(at, |rest| rest.max(at)))
    }

    /// Seals if it is this relay's turn. One block at a time: the next one only when the last is on disk.
    pub(super) fn seal(&mut self) {
        if self.has_unkept() || !std::mem::take(&mut self.seals.stirred) {
            return;
        }
        let now = now_ms();
        let due = self.setup.engine.deadline(&self.setup.group).is_some_and(|at| at <= now);
        let effects = self.setup.engine.tick(&mut self.setup.group, now);
        self.seals.rest_until = (due && effects.is_empty()).then(|| Instant::now() + REST);
        if !effects.is_empty() {
            count(&self.setup.metrics.blocks, "sealed");
        }
        self.carry_out(effects, None);
    }

    /// Asks a few others, by turns, for what was asked for and has not come.
    pub(super) fn ask_again(&mut self) {
        let wanted = self.setup.engine.wanted(&self.setup.group);
        let out =
            wanted.iter().map(|message| Out { frame: self.enveloped(&message.encode()), to: To::Somebody }).collect();
        self.send_behind(out);
    }

    /// Writes what a sealer owes its group: the end of a set of voters where the engine finds that it is time, and something that the next set's first block can
    /// seal where nothing is new.
    pub(super) fn do_duties(&mut self) {
        if self.caution.is_on() {
            return;
        }
        let (group, chain) = (&self.setup.group, self.setup.group.chain());
        let set = chain.governance().set;
        let is_open = |position| group.status(position) == Some(Status::Pending);
        if self.setup.engine.wants_close(group) {
            if !self.seals.closing.as_ref().is_some_and(is_open) {
                self.seals.closing = self.write(&[SetClose { set }.into()]);
            }
            return;
        }
        let is_mine = chain.governance().sealers.contains(&self.setup.identity.author());
        let has_ended = chain.tip().is_some_and(|tip| tip.block.set < set);
        if is_mine && has_ended && chain.pending() == 0 && self.seals.begun != Some(set) {
            self.seals.begun = Some(set);
            self.write(&[]);
        }
    }

    /// Writes a change of the relay's own; gives the place of its first transaction.
    fn write(&mut self, transactions: &[Transaction]) -> Option<Position> {
        let group = &mut self.setup.group;
        let (identity, now, first) = (&self.setup.identity, now_ms(), group.replica().len());
        let written = match group.write(transactions, identity, now) {
            Err(GroupError::Replica(TransactError::TooManyHeads(_))) => {
                group.acknowledge(identity, now).and_then(|_| group.write(transactions, identity, now))
            }
            other => other,
        };
        let applied: Vec<ChangeIdx> = (first..group.replica().len()).map(|index| ChangeIdx(index as u32)).collect();
        if !applied.is_empty() {
            self.seals.last_own = Some(self.next_ticket);
            self.keep_changes(&applied, Vec::new(), Vec::new());
            self.subscribers.iter_mut().for_each(|subscriber| subscriber.due = true);
            self.group_changed();
        }
        match written {
            Ok(written) => written.entries.first().copied(),
            Err(error) => {
                tracing::debug!(group = %self.setup.group.id(), %error, "cannot write what a sealer owes");
                None
            }
        }
    }

    /// Does what the engine says, in its order.
    fn carry_out(&mut self, effects: Vec<Effect>, heard: Option<&Heard<'_>>) {
        let (mut seals, mut out) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Keep(record) => seals.push(encoded(&record)),
                Effect::Tell(message) => {
                    let bytes = message.encode();
                    let but = heard.filter(|heard| heard.brought(&message, &bytes)).map(|heard| heard.from);
                    out.push(Out { frame: self.enveloped(&bytes), to: To::Everybody(but) });
                }
                Effect::Ask(message) => {
                    let to = heard.map_or(To::Somebody, |heard| To::One(heard.from));
                    out.push(Out { frame: self.enveloped(&message.encode()), to });
                }
                Effect::Show(event) => self.show(&event),
                // The relay has no agreement that could have asked.
                Effect::Reply(_) => {}
            }
        }
        if seals.is_empty() {
            return self.send_behind(out);
        }
        self.seals.last_kept = Some(self.next_ticket);
        let waiting = Waiting { out, ..Waiting::default() };
        self.submit(Job { seals, ..Job::new(self.setup.group.id(), &self.durable) }, waiting);
    }

    fn show(&self, event: &Event) {
        let group = self.setup.group.id();
        match event {
            Event::Extended(height, _) => {
                count(&self.setup.metrics.blocks, "extended");
                self.setup.of_group.height(height.0);
            }
            Event::Returned(height, id) => {
                count(&self.setup.metrics.blocks, "returned");
                tracing::info!(%group, height = height.0, %id, "a block is no longer on the chain");
            }
            Event::Refused(id, refusal) => {
                count(&self.setup.metrics.blocks, "refused");
                tracing::warn!(%group, %id, %refusal, "a sealer's block is not good");
            }
            Event::Doubled(sealer, rank) => {
                count(&self.setup.metrics.blocks, "doubled");
                tracing::warn!(%group, %sealer, height = rank.height.0, "a sealer has sealed twice");
            }
            Event::Offended(guilt) => {
                count(&self.setup.metrics.blocks, "offended");
                tracing::warn!(%group, sealer = %guilt.sealer, offence = ?guilt.offence, "a sealer has voted against itself");
            }
        }
    }

    fn enveloped(&self, payload: &[u8]) -> Bytes {
        self.setup.channel.on(Lane::Seal).envelope(payload)
    }

    /// Whether something that the engine wants kept is not on disk yet.
    fn has_unkept(&self) -> bool {
        self.is_unkept(self.seals.last_kept)
    }

    /// Whether a change that the relay itself wrote is not on disk yet.
    pub(super) fn has_unkept_own(&self) -> bool {
        self.is_unkept(self.seals.last_own)
    }

    fn is_unkept(&self, ticket: Option<u64>) -> bool {
        ticket.is_some_and(|ticket| self.waiting.front().is_some_and(|first| first.ticket <= ticket))
    }

    /// Sends once everything that is on its way to the disk has got there.
    fn send_behind(&mut self, out: Vec<Out>) {
        match self.waiting.back_mut() {
            Some(last) => last.out.extend(out),
            None => self.send(out),
        }
    }

    /// Hands messages over. Whoever has no room is told the end of the chain when it has.
    pub(super) fn send(&mut self, out: Vec<Out>) {
        for Out { frame, to } in out {
            match to {
                To::Everybody(but) => {
                    for subscriber in self.subscribers.iter_mut().filter(|other| Some(other.peer.id) != but) {
                        // Who has not been greeted yet learns of it then.
                        if !subscriber.ungreeted && subscriber.peer.has_room() {
                            subscriber.peer.push(frame.clone());
                        } else {
                            subscriber.ungreeted = true;
                        }
                    }
                }
                To::One(peer) => {
                    if let Some(&at) = self.index.get(&peer) {
                        self.subscribers[at].peer.push(frame);
                    }
                }
                To::Somebody => {
                    let count = self.subscribers.len();
                    for turn in 0..count.min(ASKED) {
                        let peer = &self.subscribers[(self.seals.turn + turn) % count].peer;
                        if peer.has_room() {
                            peer.push(frame.clone());
                        }
                    }
                    self.seals.turn = self.seals.turn.wrapping_add(1);
                }
            }
        }
    }

    /// Somebody has joined, or has room again.
    pub(super) fn greet_newcomer(&mut self) {
        self.seals.greeting = true;
    }

    /// Tells whoever has just joined, or had no room, where the chain ends and who holds what.
    pub(super) fn greet(&mut self) {
        if !self.seals.greeting || self.has_unkept() {
            return;
        }
        self.seals.greeting = false;
        let mut messages: Vec<Message> = Vec::new();
        if self.caution.is_on() {
            messages.push(Message::Ask { want: BlockId::origin(self.setup.group.id()), have: Vec::new() });
        }
        messages.extend(self.setup.engine.greet(&self.setup.group));
        let frames: Vec<Bytes> = messages.iter().map(|message| self.enveloped(&message.encode())).collect();
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.ungreeted) {
            if subscriber.peer.has_room() {
                subscriber.ungreeted = false;
                frames.iter().for_each(|frame| subscriber.peer.push(frame.clone()));
            }
        }
    }
}

fn encoded(record: &Record) -> Bytes {
    record.encode().into()
}
