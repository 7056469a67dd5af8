//! What arrives becomes the chain, if its rank is higher.

use side_ledger::block::{BlockId, Height};
use side_ledger::chain::{Fault, Sealed};
use side_ledger::group::Group;

use super::judge::Doubt;
use super::quota::has_say;
use super::{Leader, MAX_ASKS, seat};
use crate::effect::{Effect, Event, Record, Refusal};
use crate::message::{MAX_HAVE, Message};
use crate::signed::{DoubleSeal, Hold, SignedBlock};

impl Leader {
    /// Takes a block in that somebody sent.
    pub(super) fn offer(
        &mut self,
        group: &mut Group,
        signed: SignedBlock,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if signed.block().group != group.id() {
            return Err(Refusal::Group);
        }
        let mut first = Some(self.offer_one(group, signed, effects));
        while let Some(Ok(Some(id))) = first {
            // Whatever waited for it, and for that, and so on.
            let mut ready = self.tree.waited_for(&id);
            first = None;
            while let Some(signed) = ready.pop() {
                if let Ok(Some(id)) = self.offer_one(group, signed, effects) {
                    ready.extend(self.tree.waited_for(&id));
                }
            }
        }
        first.map_or(Ok(()), |offered| offered.map(drop))
    }

    /// Gives the id if the block was news and is in the tree now.
    fn offer_one(
        &mut self,
        group: &mut Group,
        signed: SignedBlock,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<BlockId>, Refusal> {
        let (id, block) = (signed.id(), signed.block());
        if self.tree.get(&id).is_some() {
            return if self.tree.is_refused(&id) { Err(Refusal::Parent) } else { Ok(None) };
        }
        let parent = if block.height.0 == 1 {
            Some(Height(0))
        } else {
            let Some(parent) = self.tree.get(&block.parent) else {
                self.tree.wait(block.parent, signed, |key| has_say(group, key));
                return Ok(None);
            };
            if self.tree.is_refused(&block.parent) {
                return Err(Refusal::Parent);
            }
            let before = parent.block().height;
            if before.0 + 1 != block.height.0 {
                return Err(Refusal::Seat);
            }
            let on_chain = self.on_chain(group, parent);
            if !on_chain {
                self.judge_beside(group, parent, &signed)?;
            }
            on_chain.then_some(before)
        };
        if let Some(parent) = parent {
            match self.judge(group, parent, &signed) {
                Ok(_) => {}
                Err(Doubt::Missing(missing)) => {
                    self.tree.wait(missing, signed, |key| has_say(group, key));
                    return Ok(None);
                }
                Err(Doubt::Bad(refusal)) => return Err(refusal),
            }
        }
        // A block that may extend the chain where it stands always has a place: one at each height, since whoever makes a second is convicted.
        let extends = parent.is_some() && !self.proofs.contains_key(&seat(&signed));
        if !extends && !self.has_place(group, &signed) {
            return Err(Refusal::Full);
        }
        self.insert(group, signed, effects);
        Ok(Some(id))
    }

    /// Adds a block to the tree.
    pub(super) fn insert(&mut self, group: &Group, signed: SignedBlock, effects: &mut Vec<Effect>) {
        effects.push(Effect::Keep(Record::Block(signed.clone())));
        if Some(signed.signer()) == self.me() {
            self.past.sealed(signed.block().rank());
        }
        self.take_place(&signed);
        let proof = self.tree.insert(signed.clone()).map(|other| DoubleSeal::new(other, &signed));
        if let Some(Ok(proof)) = proof {
            self.convict(group, proof, effects);
        }
    }

    /// Keeps a proof, and shows it to everybody.
    pub(super) fn convict(&mut self, group: &Group, proof: DoubleSeal, effects: &mut Vec<Effect>) {
        let seat = seat(proof.blocks()[0]);
        if self.proofs.contains_key(&seat) || !self.make_room(group, &seat) {
            return;
        }
        effects.push(Effect::Keep(Record::Double(proof.clone())));
        effects.push(Effect::Show(Event::Doubled(proof.signer(), proof.rank())));
        effects.push(Effect::Tell(Message::Double(proof.clone())));
        self.proofs.insert(seat, proof);
    }

    /// Asks for what is waited for, and for what votes for this node name: a vote serves whoever can show its block, and whoever named it has it.
    pub(super) fn ask_missing(&self, group: &Group, effects: &mut Vec<Effect>) {
        let wanted = self.tree.missing().into_iter().chain(self.named(group));
        for want in wanted.filter(|id| self.tree.get(id).is_none()).take(MAX_ASKS) {
            effects.push(Effect::Ask(Message::Ask { want, have: self.locator(group) }));
        }
    }

    /// Blocks of the chain, the latest first, each further back than the one before.
    fn locator(&self, group: &Group) -> Vec<BlockId> {
        let (chain, mut back) = (group.chain(), 0u64);
        let mut have = Vec::new();
        while let Some(sealed) = chain.height().0.checked_sub(back).and_then(|height| chain.at(Height(height))) {
            have.push(sealed.id);
            if have.len() == MAX_HAVE {
                break;
            }
            back = (2 * back).max(back + 1);
        }
        have
    }

    /// Makes the best block that is good the end of the chain.
    pub(super) fn advance(&mut self, group: &mut Group, effects: &mut Vec<Effect>) {
        let before = group.chain().tip_id();
        while self.rise(group, effects) {}
        if group.chain().tip_id() != before {
            self.give_word(group, effects);
        }
    }

    /// Tries what ranks above the end of the chain, the highest first, until the chain has changed.
    fn rise(&mut self, group: &mut Group, effects: &mut Vec<Effect>) -> bool {
        let above = self.tree.above(group.chain().rank());
        above.into_iter().any(|id| self.is_allowed(group, &id) && self.move_to(group, id, effects))
    }

    /// Whether the proofs that this node holds let it end its chain with this block.
    fn is_allowed(&self, group: &Group, id: &BlockId) -> bool {
        self.tree
            .get(id)
            .is_some_and(|signed| !self.proofs.contains_key(&seat(signed)) || self.begins_set(group, signed))
    }

    /// Whether a block begins a set later than that of the chain's last block. The set before is over then, whatever else its sealer has done, and whoever took no first block would vote
    /// in a set that has ended for the others.
    fn begins_set(&self, group: &Group, signed: &SignedBlock) -> bool {
        let set = signed.block().set;
        group.chain().rank().set < set
            && self.tree.get(&signed.block().parent).is_some_and(|parent| parent.block().set < set)
    }

    /// Makes the chain end with a known block, whatever its rank, or, where one on the way is bad, with the last good one if that ranks above where the chain ended. Tells whether
    /// the chain has changed.
    pub(super) fn move_to(&mut self, group: &mut Group, id: BlockId, effects: &mut Vec<Effect>) -> bool {
        let (mut way, mut at, mut fork) = (Vec::new(), id, 0);
        while let Some(signed) = self.tree.get(&at) {
            if self.on_chain(group, signed) {
                fork = signed.block().height.0;
                break;
            }
            if self.tree.is_refused(&at) {
                return false;
            }
            way.push(at);
            at = signed.block().parent;
        }
        way.reverse();
        let known = |id: &BlockId| {
            self.tree
                .get(id)
                .is_some_and(|signed| signed.block().cut.iter().all(|head| group.replica().index_of(head).is_some()))
        };
        if !way.iter().all(known) {
            return false;
        }
        let rank = group.chain().rank();
        let Some(undone) = undo_to(group, fork) else { return false };
        let mut extended = Vec::new();
        for id in &way {
            let Some(signed) = self.tree.get(id) else { break };
            let parent = group.chain().height();
            let refusal = match self.judge(group, parent, signed) {
                Err(Doubt::Missing(want)) => {
                    // It was taken in beside the chain, where its votes were not looked at.
                    effects.push(Effect::Ask(Message::Ask { want, have: self.locator(group) }));
                    break;
                }
                Err(Doubt::Bad(refusal)) => refusal,
                Ok(switch) => match group.accept(signed.block(), switch.as_ref()) {
                    Ok(_) => {
                        extended.push(*id);
                        continue;
                    }
                    Err(Fault::Unknown(_)) => break,
                    Err(fault) => Refusal::Ledger(fault),
                },
            };
            effects.push(Effect::Show(Event::Refused(*id, refusal)));
            self.tree.refuse(*id);
            break;
        }
        if group.chain().tip_id() != id && group.chain().rank() <= rank {
            undo_to(group, fork);
            for sealed in undone.iter().rev() {
                let again = group.accept(&sealed.block, sealed.switch.as_ref());
                debug_assert!(again.is_ok(), "a block that was good is good again: {again:?}");
            }
            return false;
        }
        self.show(&undone, &extended, effects);
        true
    }

    fn show(&self, undone: &[Sealed], extended: &[BlockId], effects: &mut Vec<Effect>) {
        for sealed in undone {
            effects.push(Effect::Show(Event::Returned(sealed.block.height, sealed.id)));
        }
        for signed in extended.iter().filter_map(|id| self.tree.get(id)) {
            effects.push(Effect::Show(Event::Extended(signed.block().height, signed.id())));
            effects.push(Effect::Tell(Message::Blocks(vec![signed.clone()])));
        }
    }

    /// A voter gives its word that it holds the end of its chain.
    pub(super) fn give_word(&mut self, group: &Group, effects: &mut Vec<Effect>) {
        let (true, Some(keypair), Some(tip)) = (self.may_seal, &self.keypair, group.chain().tip()) else { return };
        let me = keypair.author();
        let is_doubled = self.tree.get(&tip.id).is_some_and(|signed| self.proofs.contains_key(&seat(signed)));
        if tip.electorate.voters.binary_search(&me).is_ok() && tip.block.epoch >= self.bound(group) && !is_doubled {
            let hold = Hold::sign(group.id(), tip.block.rank(), tip.id, keypair);
            self.holds.insert(me, hold);
            effects.push(Effect::Tell(Message::Hold(hold)));
        }
    }

    /// Somebody gives its word. Words of strangers, and older ones, are dropped; those of another group are refused.
    pub(super) fn hear_hold(&mut self, group: &Group, hold: Hold, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        if hold.group != group.id() {
            return Err(Refusal::Group);
        }
        let chain = group.chain();
        let voters = [Some(chain.electorate()), chain.tip().map(|tip| &tip.electorate)];
        let is_voter = voters.into_iter().flatten().any(|set| set.voters.binary_search(&hold.voter).is_ok());
        let is_news = self.holds.get(&hold.voter).is_none_or(|known| known.rank < hold.rank);
        if is_voter && is_news {
            self.holds.insert(hold.voter, hold);
            effects.push(Effect::Tell(Message::Hold(hold)));
        }
        Ok(())
    }
}

/// Takes blocks back until the chain has this height; `None`, with the chain as it was, if one of them is settled.
fn undo_to(group: &mut Group, height: u64) -> Option<Vec<Sealed>> {
    let mut undone = Vec::new();
    while group.chain().height().0 > height {
        match group.undo() {
            Ok(Some(sealed)) => undone.push(sealed),
            Ok(None) => break,
            Err(_) => {
                for sealed in undone.iter().rev() {
                    let again = group.accept(&sealed.block, sealed.switch.as_ref());
                    debug_assert!(again.is_ok(), "a block that was good is good again: {again:?}");
                }
                return None;
            }
        }
    }
    Some(undone)
}
