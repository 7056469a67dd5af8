//! What this sealer proposes, and what it votes for.
//!
//! - A new block is proposed once the interval has passed since this node last proposed or voted for one, and something is new. As long as nothing is, or the
//!   proposed blocks run too far ahead of what is final, the leader waits; after [`IDLE_MS`] it names the parent again, which makes no block. So an idle
//!   group goes from view to view slowly, and a leader that is gone is noticed before something is new.
//! - Upon one block a sealer proposes one block, in however many views.
//! - It votes for a block that it has executed upon its parent and that comes to what it says. As long as blocks or changes are missing it does not answer: the view
//!   ends without its vote, or what is missing comes.
//! - It waits with its vote until half the interval has passed since it last proposed or voted for a new block, so that no leader can hurry the others.
//! - A leader that names the parent again though this node has had something new for [`PATIENCE_MS`] is refused: it may be withholding.

use side_ledger::block::{Block, BlockId, Epoch};
use side_ledger::chain::{Fault, Switch};
use side_ledger::group::Group;

use super::follow::has_cut;
use super::proposal::Proposal;
use super::request::{Reply, Request, Ticket};
use super::seat::Seat;
use super::{Bft, MAX_UNFINAL};
use crate::effect::{Effect, Event, Record, Refusal};
use crate::message::Message;

/// How long a leader waits for something new before it names the parent again, in ms. It lies below the time after which the others give the view up.
pub const IDLE_MS: u64 = 1_500;
/// How long a leader waits with its first proposal of an epoch, in ms: a vote that comes before the others have begun is lost, and with it the term.
pub const START_MS: u64 = 500;
/// For how long something may be new without a leader's sealing it, in ms, beside the interval: the others vote against it then.
pub const PATIENCE_MS: u64 = 10_000;
/// How far a block's time may lie ahead of the clock of whoever votes for it, in ms.
pub const MAX_AHEAD_MS: u64 = 30_000;
/// Most questions that wait for an answer: simplex asks about few views at a time. The oldest give way.
pub const MAX_QUESTIONS: usize = 32;
/// After how long a block or parent that is still missing is asked for, in ms: mostly it is on its way.
pub const ASK_AFTER_MS: u64 = 300;

/// A view that this node leads.
#[derive(Debug)]
pub(super) struct Proposing {
    ticket: Ticket,
    epoch: Epoch,
    parent: BlockId,
    since_ms: u64,
    ask_ms: u64,
    /// How many changes the group had when nothing new was found.
    tried: Option<usize>,
}

/// A block to vote for or not.
#[derive(Debug)]
pub(super) struct Judging {
    ticket: Ticket,
    epoch: Epoch,
    parent: BlockId,
    block: BlockId,
    ask_ms: u64,
}

/// What leads from the last final block to another one.
enum Way {
    /// These blocks, lowest first.
    Found(Vec<Block>),
    /// This block has to be here first.
    Missing(BlockId),
    /// It leads past what is final.
    Contradicts,
}

impl Bft {
    /// The agreement asks or tells something. Replies are among the effects, now or later.
    pub fn request(&mut self, group: &mut Group, request: Request, now_ms: u64) -> (Vec<Effect>, Option<Refusal>) {
        self.note_time(group, now_ms);
        let mut effects = Vec::new();
        let mut refused = Ok(());
        let ask_ms = self.now_ms.saturating_add(ASK_AFTER_MS);
        match request {
            Request::Propose { ticket, epoch, parent } => {
                if self.begun.is_none_or(|(begun, _)| begun != epoch) {
                    self.begun = Some((epoch, self.now_ms.saturating_add(START_MS)));
                }
                self.proposing = Some(Proposing { ticket, epoch, parent, since_ms: self.now_ms, ask_ms, tried: None });
            }
            Request::Verify { ticket, epoch, parent, block } => {
                if self.judging.len() >= MAX_QUESTIONS {
                    self.judging.remove(0);
                }
                self.judging.push(Judging { ticket, epoch, parent, block, ask_ms });
            }
            Request::Relay { block } => {
                if let Some(candidate) = self.pool.get(&block) {
                    effects.push(Effect::Tell(Message::Proposal(candidate.proposal.clone())));
                }
            }
            Request::Finalized(certificate) => {
                refused = self.hear_final(group, Vec::new(), certificate, &mut effects);
            }
            Request::Offence(found) => refused = self.convict(group, found, &mut effects),
        }
        self.consider(group, &mut effects);
        (effects, refused.err())
    }

    /// When to call [`Bft::tick`] next, if nothing else happens before.
    pub fn deadline(&self, group: &Group) -> Option<u64> {
        let proposing = self.proposing.iter().flat_map(|asked| {
            let is_new = asked.tried != Some(group.replica().len()) && group.chain().pending() > 0;
            let due = is_new.then(|| self.due_ms(group)).filter(|due| *due > self.now_ms);
            [Some(asked.since_ms + IDLE_MS), due]
        });
        let early = Some(self.early_ms(group)).filter(|early| *early > self.now_ms && !self.judging.is_empty());
        let judging = self.judging.iter().map(|asked| Some(asked.ask_ms)).chain([early]);
        let wanted = self.wanted.as_ref().map(|_| self.asked_ms.map_or(0, |at| at + super::follow::ASK_AGAIN_MS));
        let close = self.close_at(group).filter(|at| *at > self.now_ms);
        proposing.chain(judging).chain([wanted, close]).flatten().min()
    }

    /// A sealer proposes a block. Those of strangers, of other epochs and of heights that are of no use are dropped.
    pub(super) fn hear_proposal(&mut self, group: &Group, proposal: Proposal) {
        let (block, (seat, _)) = (proposal.block(), self.next(group));
        let height = self.blocks.len() as u64;
        let of_use = block.group == group.id()
            && (block.recovery, block.set, block.epoch) == (seat.recovery, seat.set, seat.epoch)
            && (height + 1..=height + 2 * MAX_UNFINAL).contains(&block.height.0)
            && seat.sealers.binary_search(&proposal.proposer()).is_ok();
        if of_use {
            self.pool.insert(proposal, false);
        }
    }

    /// Answers what can be answered.
    pub(super) fn consider(&mut self, group: &mut Group, effects: &mut Vec<Effect>) {
        let seat = self.seat(group);
        let open = |epoch: Epoch| seat.as_ref().is_some_and(|seat| seat.epoch == epoch);
        self.proposing.take_if(|asked| !open(asked.epoch));
        self.judging.retain(|asked| open(asked.epoch));
        let Some(seat) = seat.filter(|_| self.blocks.len() as u64 == group.chain().height().0) else { return };
        let mut at = 0;
        while at < self.judging.len() {
            let asked = &self.judging[at];
            let (ticket, parent, block, ask) = (asked.ticket, asked.parent, asked.block, asked.ask_ms);
            match self.judge(group, &seat, parent, block, effects) {
                Ok(verdict) => {
                    effects.push(Effect::Reply(Reply::Verify(ticket, verdict)));
                    self.judging.remove(at);
                    continue;
                }
                Err(Some(want)) if ask <= self.now_ms => effects.push(self.ask(want)),
                Err(_) => {}
            }
            if ask <= self.now_ms {
                self.judging[at].ask_ms = self.now_ms.saturating_add(ASK_AFTER_MS);
            }
            at += 1;
        }
        if let Some(mut asked) = self.proposing.take()
            && !self.propose(group, &seat, &mut asked, effects)
        {
            self.proposing = Some(asked);
        }
    }

    fn ask(&self, want: BlockId) -> Effect {
        Effect::Ask(Message::Ask { want, have: self.locator() })
    }

    /// When the interval has passed, and the others have begun.
    fn due_ms(&self, group: &Group) -> u64 {
        let due = self.paced_ms.map_or(0, |last| last.saturating_add(group.chain().governance().interval_ms));
        due.max(self.begun.map_or(0, |(_, start)| start))
    }

    /// When the least time between two votes for new blocks has passed.
    fn early_ms(&self, group: &Group) -> u64 {
        self.paced_ms.map_or(0, |last| last.saturating_add(group.chain().governance().interval_ms / 2))
    }

    /// Tells whether the question is answered.
    fn propose(&mut self, group: &mut Group, seat: &Seat, asked: &mut Proposing, effects: &mut Vec<Effect>) -> bool {
        if let Some(id) = self.next_block(group, seat, asked, effects) {
            effects.push(Effect::Reply(Reply::Propose(asked.ticket, id)));
            return true;
        }
        if self.now_ms >= asked.since_ms.saturating_add(IDLE_MS) {
            effects.push(Effect::Reply(Reply::Propose(asked.ticket, asked.parent)));
            return true;
        }
        false
    }

    fn next_block(
        &mut self,
        group: &mut Group,
        seat: &Seat,
        asked: &mut Proposing,
        effects: &mut Vec<Effect>,
    ) -> Option<BlockId> {
        let keypair = self.keypair.clone()?;
        let way = match self.way_to(group, asked.parent) {
            Way::Found(way) => way,
            Way::Missing(want) => {
                if asked.ask_ms <= self.now_ms {
                    asked.ask_ms = self.now_ms.saturating_add(ASK_AFTER_MS);
                    effects.push(self.ask(want));
                }
                return None;
            }
            Way::Contradicts => return None,
        };
        if way.len() as u64 >= MAX_UNFINAL || self.now_ms < self.due_ms(group) {
            return None;
        }
        if let Some(proposal) = self.pool.upon(&asked.parent, &keypair.author()) {
            let (id, again) = (proposal.id(), Effect::Tell(Message::Proposal(proposal.clone())));
            if self.pool.get(&id).is_some_and(|candidate| candidate.kept) {
                self.paced_ms = Some(self.now_ms);
                effects.push(again);
                return Some(id);
            }
        }
        let changes = group.replica().len();
        if group.chain().pending() == 0
            || asked.tried == Some(changes)
            || !way.iter().all(|block| has_cut(group, block))
        {
            return None;
        }
        asked.tried = Some(changes);
        let now_ms = self.now_ms;
        let block = upon(group, seat, &way, |group, switch| group.seal(now_ms, switch))?.ok()?;
        let proposal = Proposal::sign(block, &keypair).ok()?;
        let id = proposal.id();
        self.paced_ms = Some(now_ms);
        self.pool.insert(proposal.clone(), true);
        if let Some(candidate) = self.pool.get_mut(&id) {
            (candidate.verdict, candidate.kept) = (Some(true), true);
        }
        effects.push(Effect::Keep(Record::Proposal(proposal.clone())));
        effects.push(Effect::Tell(Message::Proposal(proposal)));
        Some(id)
    }

    /// Whether to vote for a block; an error while that cannot be told, with what is missing if that is a block.
    fn judge(
        &mut self,
        group: &mut Group,
        seat: &Seat,
        parent: BlockId,
        id: BlockId,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, Option<BlockId>> {
        if id == parent {
            return Ok(!self.withholds(group, parent));
        }
        if let Some(height) = self.heights.get(&id) {
            return Ok(self.blocks[*height as usize - 1].1.parent == parent);
        }
        let candidate = self.pool.get(&id).ok_or(Some(id))?;
        let (proposal, verdict, kept) = (candidate.proposal.clone(), candidate.verdict, candidate.kept);
        let block = proposal.block();
        if block.parent != parent {
            return Ok(false);
        }
        let verdict = match verdict {
            Some(verdict) => verdict,
            None => {
                let way = match self.way_to(group, parent) {
                    Way::Found(way) => way,
                    Way::Missing(want) => return Err(Some(want)),
                    Way::Contradicts => return Ok(false),
                };
                // What is final is to come first, and time is to pass.
                if way.len() as u64 >= MAX_UNFINAL || self.now_ms < self.early_ms(group) {
                    return Err(None);
                }
                let refusal = if block.time_ms > self.now_ms.saturating_add(MAX_AHEAD_MS) {
                    Some(Refusal::Ahead)
                } else if !way.iter().chain([block]).all(|block| has_cut(group, block)) {
                    return Err(None);
                } else {
                    match upon(group, seat, &way, |group, switch| group.accept(block, switch)) {
                        None => Some(Refusal::Parent),
                        Some(Ok(_)) => None,
                        Some(Err(fault)) => Some(Refusal::Ledger(fault)),
                    }
                };
                let good = refusal.is_none();
                effects.extend(refusal.map(|refusal| Effect::Show(Event::Refused(id, refusal))));
                good
            }
        };
        if let Some(candidate) = self.pool.get_mut(&id) {
            candidate.verdict = Some(verdict);
            candidate.kept |= verdict;
        }
        if verdict && !kept {
            effects.push(Effect::Keep(Record::Proposal(proposal)));
            self.paced_ms = Some(self.now_ms);
        }
        Ok(verdict)
    }

    /// Whether something has been new for long and could follow this block, which the leader names again instead.
    fn withholds(&self, group: &Group, parent: BlockId) -> bool {
        let interval_ms = group.chain().governance().interval_ms;
        let patience = PATIENCE_MS.saturating_add(interval_ms.saturating_mul(2));
        let waited = self.pending_since_ms.is_some_and(|since| self.now_ms >= since.saturating_add(patience));
        waited && parent == self.tip_id(group) && !group.chain().plan(group.replica()).changes.is_empty()
    }

    fn way_to(&self, group: &Group, id: BlockId) -> Way {
        let (tip, mut way, mut at) = (self.tip_id(group), Vec::new(), id);
        while at != tip {
            if self.heights.contains_key(&at) || at == BlockId::origin(group.id()) {
                return Way::Contradicts;
            }
            let Some(candidate) = self.pool.get(&at) else { return Way::Missing(at) };
            way.push(candidate.proposal.block().clone());
            at = candidate.proposal.block().parent;
        }
        way.reverse();
        Way::Found(way)
    }
}

/// Executes a way of blocks, does something upon it, and takes all back. `None` if the way is not good or its last block has no child in the epoch.
fn upon<R>(
    group: &mut Group,
    seat: &Seat,
    way: &[Block],
    run: impl FnOnce(&mut Group, Option<&Switch>) -> Result<R, Fault>,
) -> Option<Result<R, Fault>> {
    let height = group.chain().height();
    let good = way.iter().all(|block| super::follow::accept(group, block).is_ok());
    let (next, switch) = Seat::next(group);
    let result = (good && next.epoch == seat.epoch).then(|| run(group, switch.as_ref()));
    while group.chain().height() > height && matches!(group.undo(), Ok(Some(_))) {}
    result
}
