//! The engine of the BFT mode: four or more sealers agree on each block with simplex (commonware-consensus), and a block is *final* once they have.
//!
//! ```text
//!  every node      Bft (here, sans-IO): final blocks with their certificates, and what this node would propose or vote for
//!                    ▲ Request   │ Effect::Reply
//!  sealers only    simplex: one run of the agreement for each epoch, see [`simplex`]
//!
//!  seat         who seals in an epoch              pool      proposed blocks that are not final
//!  certificate  that a block is final              follow    what is final becomes the chain
//!  run          final blocks as they travel        consent   what to propose, and what to vote for
//!  renewal      a further epoch for those who      spoken    which votes were sent, beside simplex' journal
//!               stay out of the present one
//! ```
//! Rules:
//! - Between two calls the group's chain is exactly the final blocks; they are settled. What is proposed is executed upon them and taken back.
//! - A certificate proves its block and all blocks before it. It is checked against the sealers of its epoch, which follow from the final blocks before.
//! - A sealer votes for a block only after it has executed it and has it on disk.
//! - The last block of an epoch has no child in its epoch; the next epoch is another run of simplex under another namespace.
//! - A node whose disk may be older than what it has voted takes no part in the epoch that it finds: it must not contradict itself.

pub mod certificate;
mod consent;
pub mod evidence;
mod follow;
mod pool;
pub mod proposal;
mod renewal;
pub mod request;
pub mod run;
pub mod seat;
pub mod simplex;
pub mod spoken;

use std::collections::{BTreeMap, HashMap};

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::block::{Block, BlockId, Epoch, Height};
use side_ledger::chain::Switch;
use side_ledger::governance::two_thirds;
use side_ledger::group::Group;
use side_ledger::transaction::{HeldBlock, SealersVote};

use self::certificate::Certificate;
pub use self::consent::{ASK_AFTER_MS, IDLE_MS, MAX_AHEAD_MS, MAX_QUESTIONS, PATIENCE_MS, START_MS};
use self::consent::{Judging, Proposing};
use self::evidence::Evidence;
pub use self::follow::ASK_AGAIN_MS;
pub use self::pool::MAX_PROPOSALS;
use self::pool::Pool;
pub use self::renewal::RENEWAL_MS;
use self::request::Reply;
use self::run::{FinalRun, MAX_RUN};
use self::seat::{MAX_EPOCH_STEP, Seat};
use crate::effect::{Effect, Event, Guilt, Office, Record, Refusal, VoteError};
use crate::message::{ANSWER_BYTES, MAX_HAVE, Message};

/// How far proposed blocks run ahead of the last final one, so that runs of final blocks stay short and little is executed twice.
pub const MAX_UNFINAL: u64 = 8;
/// Most proofs against sealers that are kept, one for each sealer and epoch. All are in one greeting. Fewer than a third of the sealers lie, and epochs begin by votes.
pub const MAX_EVIDENCE: usize = 256;
/// How long the sealers wait for one another to close a set, in ms: the first by key closes at once, the next a step later, and so on.
pub const CLOSE_STEP_MS: u64 = 3_000;

/// The engine. See the [module](self).
pub struct Bft {
    keypair: Option<Keypair>,
    may_seal: bool,
    /// The last epoch in which this node takes no part, because an older life of it may have voted there.
    abstains: Option<Epoch>,
    /// Final blocks, the first at height 1.
    blocks: Vec<(BlockId, Block)>,
    heights: HashMap<BlockId, u64>,
    /// By height. The last final block has one, and so has the last of each epoch.
    certificates: BTreeMap<u64, Certificate>,
    /// The one of the highest view of the present epoch: idle views finalize the last block again.
    latest: Option<Certificate>,
    /// Final blocks that wait for changes.
    ready: Option<FinalRun>,
    /// Of a final block that is not here, or whose ancestors are not.
    wanted: Option<Certificate>,
    /// A block of a later epoch that somebody has: asked for again as long as the answers bring something.
    sought: Option<BlockId>,
    pool: Pool,
    evidence: BTreeMap<(AuthorId, Epoch), (Evidence, Guilt)>,
    /// What is final contradicts itself: nothing is voted for or proposed any more.
    halted: bool,
    proposing: Option<Proposing>,
    judging: Vec<Judging>,
    /// When this node last proposed or voted for a new block.
    paced_ms: Option<u64>,
    /// Since when something is new that no final block seals.
    pending_since_ms: Option<u64>,
    /// Since when the set waits to be closed.
    close_since_ms: Option<u64>,
    /// When the last ask for a missing final block went out.
    asked_ms: Option<u64>,
    /// The epoch in which this node was last asked to propose, and when it may for the first time.
    begun: Option<(Epoch, u64)>,
    /// The clock, as it was told last.
    now_ms: u64,
    /// The seat of the next block and the switch that it brings, beside the block that it follows: finding them costs a look at all votes.
    next: Option<(BlockId, Seat, Option<Switch>)>,
}

impl Bft {
    /// An engine without blocks. With a key pair it proposes and votes where that is a sealer's.
    pub fn new(keypair: Option<Keypair>) -> Self {
        Self {
            keypair,
            may_seal: true,
            abstains: None,
            blocks: Vec::new(),
            heights: HashMap::new(),
            certificates: BTreeMap::new(),
            latest: None,
            ready: None,
            wanted: None,
            sought: None,
            pool: Pool::default(),
            evidence: BTreeMap::new(),
            halted: false,
            proposing: None,
            judging: Vec::new(),
            paced_ms: None,
            pending_since_ms: None,
            close_since_ms: None,
            asked_ms: None,
            begun: None,
            now_ms: 0,
            next: None,
        }
    }

    /// Takes in what was kept, in the order in which it was, after the group has loaded its changes.
    pub fn restore(&mut self, group: &mut Group, records: impl IntoIterator<Item = Record>) {
        let mut evidence = Vec::new();
        for record in records {
            match record {
                Record::Final(run) => self.append(run),
                Record::Proposal(proposal) => drop(self.pool.insert(proposal, true)),
                Record::Evidence(found) => evidence.push(found),
                Record::Abstain(epoch) => self.abstains = self.abstains.max(Some(epoch)),
                // Of another mode.
                Record::Block(_) | Record::Double(_) => {}
            }
        }
        let mut effects = Vec::new();
        self.advance(group, &mut effects);
        for found in evidence {
            // It was checked when it was kept.
            let _ = self.convict(group, found, &mut effects);
        }
    }

    /// Says whether this node takes part. A node whose disk may be older than what it has voted must not; once it may again, it takes part from the epoch
    /// after the present one on.
    pub fn set_sealing(&mut self, group: &Group, may_seal: bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        if may_seal != self.may_seal {
            let (seat, _) = self.next(group);
            self.abstains = self.abstains.max(Some(seat.epoch));
            effects.push(Effect::Keep(Record::Abstain(seat.epoch)));
        }
        self.may_seal = may_seal;
        effects
    }

    /// The epoch in which this node is to take part now: simplex is to run for it, and for no other. Ask after each call that may have changed the chain.
    pub fn seat(&self, group: &Group) -> Option<Seat> {
        let me = self.me()?;
        let (seat, _) = self.next(group);
        let takes_part = self.may_seal && !self.halted && self.abstains.is_none_or(|epoch| seat.epoch > epoch);
        (takes_part && seat.sealers.binary_search(&me).is_ok()).then_some(seat)
    }

    /// A message came. An error is the sender's fault; effects may have come before it.
    pub fn hear(&mut self, group: &mut Group, message: Message) -> (Vec<Effect>, Option<Refusal>) {
        let mut effects = Vec::new();
        let heard = match message {
            Message::Final(run) => {
                let (blocks, certificate) = run.into_parts();
                let before = self.latest.as_ref().map(|latest| (latest.epoch(), latest.view()));
                let heard = self.hear_final(group, blocks, certificate, &mut effects);
                // Its own simplex may lag behind the others'.
                let news = self.latest.as_ref().filter(|latest| Some((latest.epoch(), latest.view())) > before);
                let news = news.filter(|_| self.seat(group).is_some());
                effects.extend(news.map(|latest| Effect::Reply(Reply::Final(latest.clone()))));
                heard
            }
            Message::Proposal(proposal) => {
                self.hear_proposal(group, proposal);
                Ok(())
            }
            Message::Evidence(found) => self.convict(group, found, &mut effects),
            // Answered by `answer`, to whoever asked.
            Message::Ask { .. } => Ok(()),
            // There is no final block where it comes from: the answer to whoever wants the group's origin.
            Message::Blocks(blocks) if blocks.is_empty() => Ok(()),
            Message::Blocks(_) | Message::Hold(_) | Message::Double(_) => Err(Refusal::Mode),
        };
        self.consider(group, &mut effects);
        (effects, heard.err())
    }

    /// Whether a message says nothing yet, since the chain has not come to the epoch that it is about. Such a one is dropped by [`Bft::hear`], and nobody says it again:
    /// keep it, and give it once it is not early any more. Its signatures cannot be checked before, so keep few.
    pub fn is_early(&self, group: &Group, message: &Message) -> bool {
        matches!(message, Message::Evidence(found) if found.epoch() > self.next(group).0.epoch)
    }

    /// The group has more changes: what waited for them may go on. Also to be called where the group put blocks back.
    pub fn changed(&mut self, group: &mut Group) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.advance(group, &mut effects);
        self.consider(group, &mut effects);
        effects
    }

    /// To be called at the [deadline](Bft::deadline).
    pub fn tick(&mut self, group: &mut Group, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.note_time(group, now_ms);
        self.ask_again(group, &mut effects);
        self.consider(group, &mut effects);
        effects
    }

    fn last_final(&self) -> Option<Message> {
        let ((_, block), first) = self.blocks.last().zip(self.certificates.values().next_back())?;
        let run = |certificate: &Certificate| FinalRun::new(vec![block.clone()], certificate.clone());
        self.latest.as_ref().and_then(run).or_else(|| run(first)).map(Message::Final)
    }

    /// What a node that has just connected is told.
    pub fn greet(&self) -> Vec<Message> {
        let proposals = self.pool.good().into_iter().cloned().map(Message::Proposal);
        let evidence = self.evidence.values().map(|(found, _)| Message::Evidence(found.clone()));
        self.last_final().into_iter().chain(proposals).chain(evidence).collect()
    }

    /// The answer to [`Message::Ask`]: the lowest final blocks that the asker lacks, with a certificate, or a proposed block. Whoever wants the group's origin is told the
    /// last final block, or that there is none: a node that may have forgotten votes asks so.
    pub fn answer(&self, group: &Group, want: &BlockId, have: &[BlockId]) -> Option<Message> {
        if *want == BlockId::origin(group.id()) {
            return Some(self.last_final().unwrap_or(Message::Blocks(Vec::new())));
        }
        if !self.heights.contains_key(want) {
            return self.pool.get(want).map(|candidate| Message::Proposal(candidate.proposal.clone()));
        }
        let low = have.iter().take(MAX_HAVE).filter_map(|id| self.heights.get(id)).max().copied().unwrap_or(0);
        let epoch = self.blocks.get(low as usize)?.1.epoch;
        // As many as a message holds, but at least up to the next certificate; within one epoch.
        let (mut end, mut bytes, mut counted) = (None, 0, low);
        for (height, certificate) in self.certificates.range(low + 1..=low + MAX_RUN as u64) {
            let blocks = &self.blocks[counted as usize..*height as usize];
            bytes += blocks.iter().map(|(_, block)| 180 + 32 * block.cut.len()).sum::<usize>();
            counted = *height;
            if certificate.epoch() != epoch || (end.is_some() && bytes > ANSWER_BYTES) {
                break;
            }
            end = Some((*height, certificate));
        }
        let (height, certificate) = end?;
        let blocks = self.blocks[low as usize..height as usize].iter().map(|(_, block)| block.clone()).collect();
        FinalRun::new(blocks, certificate.clone()).map(Message::Final)
    }

    /// The height of the last final block.
    pub fn final_height(&self, group: &Group) -> Height {
        group.chain().height()
    }

    /// How many sealers are known to have finalized the block at this height, or one after it.
    pub fn holders(&self, height: Height) -> usize {
        self.certificates.range(height.0..).next().map_or(0, |(_, certificate)| certificate.signers())
    }

    /// The certificate that proves the block at this height, and the height of the block that it is about: this one, or the next one that has one.
    pub fn certificate(&self, height: Height) -> Option<(Height, &Certificate)> {
        self.certificates.range(height.0..).next().map(|(height, certificate)| (Height(*height), certificate))
    }

    /// A block that is final or proposed.
    pub fn block(&self, id: &BlockId) -> Option<&Block> {
        let last = self.heights.get(id).map(|height| &self.blocks[*height as usize - 1].1);
        last.or_else(|| self.pool.get(id).map(|candidate| candidate.proposal.block()))
    }

    /// The certificate of the highest view of the present epoch, for simplex to begin with.
    pub fn latest(&self) -> Option<&Certificate> {
        self.latest.as_ref()
    }

    /// Who seals and who decides about it.
    pub fn office(&self, group: &Group) -> Office {
        let (seat, _) = self.next(group);
        let voters = group.chain().governance().voters.len();
        Office {
            set: seat.set,
            epoch: seat.epoch,
            sealers: seat.sealers,
            voters,
            needed: two_thirds(voters),
            electors: voters,
        }
    }

    /// What is proven against sealers.
    pub fn proofs(&self) -> impl Iterator<Item = Guilt> {
        self.evidence.values().map(|(_, guilt)| *guilt)
    }

    /// The vote that a new epoch shall begin with this sealer as its first leader and the voters as its sealers, to be written into the group as a transaction.
    /// It takes effect once more than two thirds of the voters have one in final blocks.
    pub fn vote(&self, group: &Group, leader: AuthorId) -> Result<SealersVote, VoteError> {
        let (chain, governance) = (group.chain(), group.chain().governance());
        let me = self.me().filter(|me| governance.voters.contains(me)).ok_or(VoteError::NotElector)?;
        let sealers: Vec<AuthorId> = governance.voters.iter().copied().collect();
        let place = sealers.binary_search(&leader).map_err(|_| VoteError::NotSealer)? as u64;
        let (present, count) = (governance.epoch.0, sealers.len() as u64);
        // Simplex begins an epoch with the sealer at the place after the epoch's number, modulo their count.
        let epoch = present + 1 + (place + count - (present + 2) % count) % count;
        if epoch > present + MAX_EPOCH_STEP || epoch > bft_json_crdt::change::MAX_SAFE {
            return Err(VoteError::NoEpoch);
        }
        let votes = group.ledger().sealers_votes(governance.set).filter(|(other, ..)| other.0 == epoch);
        let alike = votes.filter(|(_, voter, _, vote)| vote.sealers == sealers && governance.voters.contains(voter));
        let alike: std::collections::BTreeSet<AuthorId> = alike.map(|(_, voter, ..)| voter).collect();
        if alike.contains(&me) {
            return Err(VoteError::Waiting { have: alike.len(), needed: two_thirds(sealers.len()) });
        }
        let highest = HeldBlock { rank: chain.rank(), id: chain.tip_id() };
        let recovery = chain.rank().recovery;
        Ok(SealersVote { recovery, set: governance.set, epoch: Epoch(epoch), sealers, highest })
    }

    /// Whether this sealer should write `set.close` now: changes of the voters are pending, and those sealers who come before it have had their time.
    pub fn wants_close(&self, group: &Group) -> bool {
        self.close_at(group).is_some_and(|at| at <= self.now_ms)
    }

    fn close_at(&self, group: &Group) -> Option<u64> {
        let since = self.close_since_ms?;
        let place = self.seat(group)?.sealers.binary_search(&self.me()?).ok()?;
        Some(since.saturating_add(CLOSE_STEP_MS * place as u64))
    }

    fn note_time(&mut self, group: &Group, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let chain = group.chain();
        if chain.pending() == 0 {
            self.pending_since_ms = None;
        } else if self.pending_since_ms.is_none() {
            self.pending_since_ms = Some(self.now_ms);
        }
        if chain.governance().pending.is_empty() {
            self.close_since_ms = None;
        } else if self.close_since_ms.is_none() {
            self.close_since_ms = Some(self.now_ms);
        }
    }

    /// [`Seat::next`], remembered.
    fn next(&self, group: &Group) -> (Seat, Option<Switch>) {
        match &self.next {
            Some((tip, seat, switch)) if *tip == group.chain().tip_id() => (seat.clone(), switch.clone()),
            _ => Seat::next(group),
        }
    }

    fn remember_next(&mut self, group: &Group) {
        if self.next.as_ref().is_none_or(|(tip, ..)| *tip != group.chain().tip_id()) {
            let (seat, switch) = Seat::next(group);
            self.next = Some((group.chain().tip_id(), seat, switch));
        }
    }

    fn me(&self) -> Option<AuthorId> {
        self.keypair.as_ref().map(Keypair::author)
    }

    /// Keeps a proof against a sealer, and shows it to everybody.
    fn convict(&mut self, group: &Group, found: Evidence, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        // Of an epoch that is not known here it says nothing: see `is_early`.
        let Some(seat) = Seat::of_epoch(group, found.epoch()) else { return Ok(()) };
        let sealer = found.check(&seat).ok_or(Refusal::Evidence)?;
        let key = (sealer, found.epoch());
        if self.evidence.contains_key(&key) || self.evidence.len() >= MAX_EVIDENCE {
            return Ok(());
        }
        let guilt = Guilt { sealer, offence: found.offence(), epoch: found.epoch(), place: found.view() };
        effects.push(Effect::Keep(Record::Evidence(found.clone())));
        effects.push(Effect::Show(Event::Offended(guilt)));
        effects.push(Effect::Tell(Message::Evidence(found.clone())));
        self.evidence.insert(key, (found, guilt));
        Ok(())
    }
}
