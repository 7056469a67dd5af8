//! What is final becomes the chain.

use std::collections::HashMap;

use side_ledger::block::{Block, BlockId, Height};
use side_ledger::chain::Fault;
use side_ledger::group::Group;

use super::Bft;
use super::certificate::Certificate;
use super::run::{FinalRun, MAX_RUN};
use super::seat::Seat;
use crate::effect::{Effect, Event, Record, Refusal};
use crate::message::{MAX_HAVE, Message};

/// After how long without an answer a missing final block is asked for again, in ms.
pub const ASK_AGAIN_MS: u64 = 2_000;

impl Bft {
    /// A certificate came, with blocks that lead to its block or without.
    pub(super) fn hear_final(
        &mut self,
        group: &mut Group,
        blocks: Vec<(BlockId, Block)>,
        certificate: Certificate,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if blocks.iter().any(|(_, block)| block.group != group.id()) {
            return Err(Refusal::Group);
        }
        self.advance(group, effects);
        let (seat, _) = self.next(group);
        if self.halted || certificate.epoch() < seat.epoch {
            return Ok(());
        }
        let known = |id| self.heights.contains_key(&id) || id == BlockId::origin(group.id());
        if known(certificate.block()) {
            // An idle view finalizes the last block again.
            return if self.is_latest(&seat, &certificate) { self.take_latest(&seat, certificate) } else { Ok(()) };
        }
        if certificate.epoch() > seat.epoch {
            // Who sealed there follows from blocks that are not here. Whoever sent it has them.
            self.sought = Some(certificate.block());
            effects.push(Effect::Ask(Message::Ask { want: certificate.block(), have: self.locator() }));
            return Ok(());
        }
        if !certificate.check(&seat) {
            return Err(Refusal::Certificate);
        }
        if self.is_latest(&seat, &certificate) {
            self.latest = Some(certificate.clone());
        }
        let refused = self.finalize(group, blocks, certificate, effects);
        if refused == Err(Refusal::Contradiction) {
            self.halted = true;
        }
        refused
    }

    fn is_latest(&self, seat: &Seat, certificate: &Certificate) -> bool {
        let of = |certificate: &Certificate| (certificate.epoch(), certificate.view());
        certificate.epoch() == seat.epoch && self.latest.as_ref().is_none_or(|latest| of(latest) < of(certificate))
    }

    fn take_latest(&mut self, seat: &Seat, certificate: Certificate) -> Result<(), Refusal> {
        if !certificate.check(seat) {
            return Err(Refusal::Certificate);
        }
        self.latest = Some(certificate);
        Ok(())
    }

    /// A block of the present epoch is final.
    fn finalize(
        &mut self,
        group: &mut Group,
        blocks: Vec<(BlockId, Block)>,
        certificate: Certificate,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let (tip, height) = (self.tip_id(group), self.blocks.len() as u64);
        let waiting = self.ready.iter().flat_map(|run| run.blocks().iter().cloned());
        let known: HashMap<BlockId, Block> = waiting.chain(blocks).collect();
        let (mut way, mut at) = (Vec::new(), certificate.block());
        while at != tip {
            let proposed = || self.pool.get(&at).map(|candidate| candidate.proposal.block());
            let Some(block) = known.get(&at).or_else(proposed) else {
                effects.push(Effect::Ask(Message::Ask { want: at, have: self.locator() }));
                self.asked_ms = Some(self.now_ms);
                if self.wanted.as_ref().is_none_or(|other| other.view() < certificate.view()) {
                    self.wanted = Some(certificate);
                }
                return Ok(());
            };
            if block.height.0 <= height {
                effects.push(Effect::Show(Event::Refused(at, Refusal::Contradiction)));
                return Err(Refusal::Contradiction);
            }
            at = block.parent;
            way.push(block.clone());
            if way.len() > MAX_RUN {
                // A lower certificate comes first: whoever is asked answers with the lowest.
                effects.push(Effect::Ask(Message::Ask { want: certificate.block(), have: self.locator() }));
                return Ok(());
            }
        }
        way.reverse();
        let Some(run) = FinalRun::new(way, certificate) else { return Ok(()) };
        if self.ready.as_ref().is_none_or(|other| other.certificate().view() < run.certificate().view()) {
            self.ready = Some(run);
        }
        self.advance(group, effects);
        Ok(())
    }

    /// Extends the chain by what is final, as far as the changes are here.
    pub(super) fn advance(&mut self, group: &mut Group, effects: &mut Vec<Effect>) {
        self.extend(group, effects);
        self.remember_next(group);
    }

    fn extend(&mut self, group: &mut Group, effects: &mut Vec<Effect>) {
        // After a start, and where the group put blocks back.
        while !self.halted && group.chain().height().0 < self.blocks.len() as u64 {
            let (id, block) = self.blocks[group.chain().height().0 as usize].clone();
            match accept(group, &block) {
                Ok(()) => group.settle(block.height),
                Err(Fault::Unknown(_)) => return,
                Err(fault) => {
                    effects.push(Effect::Show(Event::Refused(id, Refusal::Ledger(fault))));
                    self.halted = true;
                    return;
                }
            }
        }
        while let Some(run) = self.ready.take_if(|run| !self.halted && is_covered(group, run)) {
            self.carry_out(group, run, effects);
            if let Some(certificate) = self.wanted.take() {
                // It was good when it came, or is void now.
                let _ = self.hear_final(group, Vec::new(), certificate, effects);
            }
            self.sought = self.sought.filter(|id| !self.heights.contains_key(id));
            if let Some(want) = self.sought {
                effects.push(Effect::Ask(Message::Ask { want, have: self.locator() }));
            }
        }
    }

    /// Extends the chain by a run whose changes are all here.
    fn carry_out(&mut self, group: &mut Group, run: FinalRun, effects: &mut Vec<Effect>) {
        let before = group.chain().height();
        for (id, block) in run.blocks() {
            if let Err(fault) = accept(group, block) {
                while group.chain().height() > before && matches!(group.undo(), Ok(Some(_))) {}
                // More than two thirds of the sealers found it good.
                effects.push(Effect::Show(Event::Refused(*id, Refusal::Ledger(fault))));
                self.halted = true;
                return;
            }
        }
        group.settle(group.chain().height());
        effects.push(Effect::Keep(Record::Final(run.clone())));
        for (id, block) in run.blocks() {
            effects.push(Effect::Show(Event::Extended(block.height, *id)));
        }
        effects.push(Effect::Tell(Message::Final(run.clone())));
        self.append(run);
        self.pending_since_ms = None;
        self.note_time(group, self.now_ms);
    }

    /// Adds a run to the final blocks. One that does not continue them is dropped.
    pub(super) fn append(&mut self, run: FinalRun) {
        let (blocks, certificate) = run.into_parts();
        let height = self.blocks.len() as u64;
        let continues = blocks.first().is_some_and(|(_, block)| {
            block.height.0 == height + 1 && self.blocks.last().is_none_or(|(id, _)| *id == block.parent)
        });
        if !continues {
            return;
        }
        for (id, block) in blocks {
            self.heights.insert(id, block.height.0);
            self.blocks.push((id, block));
        }
        let height = self.blocks.len() as u64;
        let of = |certificate: &Certificate| (certificate.epoch(), certificate.view());
        if self.latest.as_ref().is_none_or(|latest| of(latest) < of(&certificate)) {
            self.latest = Some(certificate.clone());
        }
        self.certificates.insert(height, certificate);
        self.pool.prune(height);
    }

    /// The last final block, executed here or not yet.
    pub(super) fn tip_id(&self, group: &Group) -> BlockId {
        self.blocks.last().map_or(BlockId::origin(group.id()), |(id, _)| *id)
    }

    /// Asks again for what is final and not here.
    pub(super) fn ask_again(&mut self, _group: &Group, effects: &mut Vec<Effect>) {
        let due = self.asked_ms.is_none_or(|asked| self.now_ms >= asked.saturating_add(ASK_AGAIN_MS));
        if let Some(certificate) = self.wanted.as_ref().filter(|_| due) {
            effects.push(Effect::Ask(Message::Ask { want: certificate.block(), have: self.locator() }));
            self.asked_ms = Some(self.now_ms);
        }
    }

    /// The final blocks that are here, exponentially further back.
    pub(super) fn locator(&self) -> Vec<BlockId> {
        let (mut have, mut back) = (Vec::new(), 0usize);
        while let Some(at) = self.blocks.len().checked_sub(back + 1) {
            have.push(self.blocks[at].0);
            if have.len() == MAX_HAVE {
                break;
            }
            back = (2 * back).max(back + 1);
        }
        have
    }
}

/// Whether every change that a run's cuts name is here.
fn is_covered(group: &Group, run: &FinalRun) -> bool {
    run.blocks().iter().all(|(_, block)| has_cut(group, block))
}

/// Whether every change that a block's cut names is here.
pub(super) fn has_cut(group: &Group, block: &Block) -> bool {
    block.cut.iter().all(|head| group.replica().index_of(head).is_some())
}

/// Extends the chain by a block, with the switch that follows from the chain where it begins an epoch.
pub(super) fn accept(group: &mut Group, block: &Block) -> Result<(), Fault> {
    let (seat, switch) = Seat::next(group);
    if block.height == Height(seat.floor_height.0 + 1) {
        return group.accept(block, switch.as_ref()).map(drop);
    }
    group.accept(block, None).map(drop)
}
