//! Sealing when it is this node's turn, and voting.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::block::{BlockId, Epoch, Height, Rank, SetNumber};
use side_ledger::chain::{Fault, Switch};
use side_ledger::group::Group;
use side_ledger::ledger::Position;
use side_ledger::transaction::{HeldBlock, SealersVote};

use super::judge::{base_of, id_at};
use super::{Leader, in_force};
use crate::effect::{Effect, Event, Record, VoteError};
use crate::message::Message;
use crate::signed::{Hold, SignedBlock};
use crate::warrant::{MAX_VOTE_BYTES, Warrant, single};

/// How far above the lowest possible epoch a vote joins others: whoever voted for the last possible one would leave no further switch in the set.
pub const MAX_EPOCH_JUMP: u64 = 64;
/// Within how many blocks of the end of the chain an elector's word counts as a sign of life, where the sealer thinks of closing the set.
pub const NEAR: u64 = 4;

impl Leader {
    /// When to call [`Leader::tick`] next, if nothing else happens before: never, while nothing is new or it is not this node's turn.
    pub fn deadline(&self, group: &Group) -> Option<u64> {
        let chain = group.chain();
        let mine = self.me().is_some_and(|me| chain.governance().sealers.contains(&me));
        (self.may_seal && mine && chain.pending() > 0 && !self.abstains(group))
            .then(|| self.sealed_ms.map_or(0, |last| last.saturating_add(chain.governance().interval_ms)))
    }

    /// Seals if it is this node's turn: the first block of an epoch as soon as the votes for it are here, others when the interval has passed and something is
    /// new. To be called at the [deadline](Leader::deadline) and after votes came.
    pub fn tick(&mut self, group: &mut Group, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.may_seal && self.me().is_some() && !self.begin_epoch(group, now_ms, &mut effects) {
            self.go_on(group, now_ms, &mut effects);
        }
        effects
    }

    /// The vote that somebody else shall seal, to be written into the group as a transaction. It joins an epoch that others vote for alike, if there is one.
    pub fn vote(&self, group: &Group, sealer: AuthorId) -> Result<SealersVote, VoteError> {
        let (chain, electorate) = (group.chain(), in_force(group));
        let set = electorate.set;
        let me = self.me().filter(|me| electorate.elects(me)).ok_or(VoteError::NotElector)?;
        if chain.is_retired(&sealer) {
            return Err(VoteError::Retired);
        }
        // Whoever seals and has stopped may be voted for again: it abstains where its copy was old, and goes on in a further epoch. It may have stopped where something waits for it, be
        // it a set to be closed; it knows itself whether it has. And where somebody votes for it others may: a vote binds whoever gave it, and where every word is needed no set is
        // closed before they vote alike.
        let waits = || chain.pending() > 0 || !chain.governance().pending.is_empty();
        let has_stopped = || waits() || (sealer == me && self.abstains(group)) || self.is_wanted_again(group, sealer);
        if chain.governance().sealers == [sealer] && !has_stopped() {
            return Err(VoteError::SealsAlready);
        }
        if let Some(have) = self.still_open(group, me, sealer) {
            return Err(VoteError::Waiting { have, needed: electorate.needed });
        }
        let mut lowest = chain.governance().epoch.max(self.bound(group)).0 + 1;
        if sealer == me {
            // An older life of this node may have sealed in an epoch that was voted for it.
            lowest = lowest.max(self.past.abstains().map_or(0, |epoch| epoch.0.saturating_add(1)));
        }
        let mut alike: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for (epoch, voter, _, vote) in group.ledger().sealers_votes(set) {
            if (lowest..=lowest + MAX_EPOCH_JUMP).contains(&epoch.0) && voter != me && electorate.elects(&voter) {
                let count = alike.entry(epoch.0).or_default();
                if vote.sealers == [sealer] {
                    count.0 += 1;
                } else {
                    count.1 += 1;
                }
            }
        }
        let spare = electorate.electors.len() - electorate.needed;
        // What the sealer to be has voted for binds it, in whichever set that was.
        let bound = group.ledger().last_voted(&sealer).unwrap_or_default().0;
        let open = |epoch: &u64| *epoch >= bound && alike.get(epoch).is_none_or(|(_, others)| *others <= spare);
        let joined = alike.iter().filter(|(epoch, (same, _))| *same > 0 && open(epoch));
        let joined =
            joined.max_by_key(|(epoch, (same, _))| (*same, std::cmp::Reverse(**epoch))).map(|(epoch, _)| *epoch);
        let epoch = joined.or_else(|| (lowest..=lowest + MAX_EPOCH_JUMP).find(open)).ok_or(VoteError::NoEpoch)?;
        if epoch > bft_json_crdt::change::MAX_SAFE {
            return Err(VoteError::NoEpoch);
        }
        let highest = HeldBlock { rank: chain.rank(), id: chain.tip_id() };
        let recovery = chain.rank().recovery;
        Ok(SealersVote { recovery, set, epoch: Epoch(epoch), sealers: vec![sealer], highest })
    }

    /// The blocks that electors name who want this node to seal in an epoch to come. A sealer may have shown one to a single voter, who has left it since.
    pub(super) fn named(&self, group: &Group) -> Vec<BlockId> {
        let Some(me) = self.me() else { return Vec::new() };
        let electorate = in_force(group);
        let origin = id_at(group, base_of(group, electorate.set));
        let votes = group.ledger().sealers_votes(electorate.set).rev();
        votes
            .take_while(|(epoch, ..)| *epoch > group.chain().governance().epoch)
            .filter(|(_, voter, _, vote)| vote.sealers == [me] && electorate.elects(voter) && vote.highest.id != origin)
            .map(|(.., vote)| vote.highest.id)
            .collect()
    }

    /// Whether an elector votes for this sealer in an epoch to come.
    fn is_wanted_again(&self, group: &Group, sealer: AuthorId) -> bool {
        let electorate = in_force(group);
        let votes = group.ledger().sealers_votes(electorate.set).rev();
        let mut votes = votes.take_while(|(epoch, ..)| *epoch > group.chain().governance().epoch);
        votes.any(|(_, voter, _, vote)| vote.sealers == [sealer] && electorate.elects(&voter))
    }

    /// If this node's last vote was for this sealer and enough electors have voted alike or still can: how many have.
    fn still_open(&self, group: &Group, me: AuthorId, sealer: AuthorId) -> Option<usize> {
        let (electorate, bound) = (in_force(group), self.bound(group));
        if bound <= group.chain().governance().epoch {
            return None;
        }
        if sealer == me && !self.past.may_begin(group.chain().rank().recovery, bound) {
            // Nobody but this node knows that it will not begin this epoch. Its vote for a further one tells the others.
            return None;
        }
        let (mut alike, mut lost) = (BTreeSet::new(), BTreeSet::new());
        let votes = group.ledger().sealers_votes(electorate.set).rev();
        for (epoch, voter, _, vote) in votes.take_while(|(epoch, ..)| *epoch >= bound) {
            if epoch == bound && vote.sealers == [sealer] {
                alike.insert(voter);
            } else {
                lost.insert(voter);
            }
        }
        if lost.contains(&sealer) || group.ledger().last_voted(&sealer) > Some(bound) {
            // The sealer to be has voted for a higher epoch, perhaps in a set before this one, and will not begin this one.
            return None;
        }
        let open = electorate.electors.iter().filter(|key| alike.contains(*key) || !lost.contains(*key)).count();
        let have = electorate.electors.iter().filter(|key| alike.contains(*key)).count();
        (alike.contains(&me) && open >= electorate.needed).then_some(have)
    }

    /// Whether the sealer should write `set.close` now: changes of the voters are pending, and enough of them are there to confirm the set's last
    /// block. Without them the next set could not begin.
    pub fn wants_close(&self, group: &Group) -> bool {
        let (chain, governance) = (group.chain(), group.chain().governance());
        let mine = self.me().is_some_and(|me| governance.sealers.contains(&me));
        let near = |voter: &&AuthorId| {
            self.holds.get(*voter).is_some_and(|hold| hold.rank.height.0 + NEAR >= chain.height().0.max(1))
        };
        let electorate = in_force(group);
        let present = electorate.voters.iter().filter(near).count();
        mine && self.may_seal
            && !self.abstains(group)
            && !governance.pending.is_empty()
            && electorate.set == governance.set
            && present >= electorate.quorum
    }

    pub(super) fn me(&self) -> Option<AuthorId> {
        self.keypair.as_ref().map(bft_json_crdt::identity::Keypair::author)
    }

    /// The words that a set's first block brings: `Some` of nothing where none are needed, `None` where some are missing.
    fn holds_of_last(&self, group: &Group) -> Option<Vec<Hold>> {
        let chain = group.chain();
        let Some(last) = chain.tip().filter(|tip| tip.block.set < chain.governance().set) else {
            return Some(Vec::new());
        };
        let voters = last.electorate.voters.iter();
        let holds: Vec<Hold> =
            voters.filter_map(|key| self.holds.get(key)).filter(|hold| hold.block == last.id).copied().collect();
        (holds.len() >= last.electorate.quorum).then_some(holds)
    }

    /// Enough electors want somebody else.
    fn is_replaced(&self, group: &Group) -> bool {
        let (chain, electorate) = (group.chain(), in_force(group));
        let mut counts: BTreeMap<(Epoch, &[AuthorId]), Vec<AuthorId>> = BTreeMap::new();
        for (epoch, voter, _, vote) in group.ledger().sealers_votes(electorate.set) {
            if epoch > chain.governance().epoch && electorate.elects(&voter) {
                let voters = counts.entry((epoch, &vote.sealers)).or_default();
                if !voters.contains(&voter) {
                    voters.push(voter);
                }
            }
        }
        counts.values().any(|voters| voters.len() >= electorate.needed)
    }

    fn go_on(&mut self, group: &mut Group, now_ms: u64, effects: &mut Vec<Effect>) {
        let governance = group.chain().governance();
        let Some(me) = self.me().filter(|me| governance.sealers.contains(me)) else { return };
        let (set, epoch, interval) = (governance.set, governance.epoch, governance.interval_ms);
        let early = self.sealed_ms.is_some_and(|last| now_ms < last.saturating_add(interval));
        let chain = group.chain();
        let next = Rank { recovery: chain.rank().recovery, set, epoch, height: Height(chain.height().0 + 1) };
        let convicted = self.proofs.contains_key(&(me, next.recovery, set, epoch)) || !self.past.may_seal(next);
        if early || convicted || group.chain().pending() == 0 || self.bound(group) > epoch || self.is_replaced(group) {
            return;
        }
        let Some(holds) = self.holds_of_last(group) else { return };
        self.seal(group, now_ms, None, Warrant { votes: Vec::new(), holds }, effects);
    }

    /// Seals the first block of the highest epoch that enough electors want this node to seal in. Tells whether it did.
    fn begin_epoch(&mut self, group: &mut Group, now_ms: u64, effects: &mut Vec<Effect>) -> bool {
        let Some(me) = self.me() else { return false };
        let (set, present) = (in_force(group).set, group.chain().governance().epoch);
        let bound = self.bound(group);
        let epochs: Vec<Epoch> = group.ledger().sealers_votes(set).rev().map(|(epoch, ..)| epoch).collect();
        let mut last = None;
        for epoch in epochs.into_iter().take_while(|epoch| *epoch > present && *epoch >= bound) {
            if last.replace(epoch) == Some(epoch) || !self.past.may_begin(group.chain().rank().recovery, epoch) {
                continue;
            }
            if let Some((votes, named)) = self.certificate(group, set, epoch, me)
                && let Ok(start) = self.start_of(group, set, &named)
            {
                let from = group.chain().tip_id();
                if start != from && !self.go_back_to(group, start, effects) {
                    continue;
                }
                let switch = Switch { epoch, sealers: vec![me] };
                if self.seal(group, now_ms, Some(switch), Warrant { votes, holds: Vec::new() }, effects) {
                    return true;
                }
                self.advance(group, effects);
            }
        }
        false
    }

    /// Makes the chain end where an epoch starts: mostly some blocks back.
    fn go_back_to(&mut self, group: &mut Group, start: side_ledger::BlockId, effects: &mut Vec<Effect>) -> bool {
        self.move_to(group, start, effects) && group.chain().tip_id() == start
    }

    /// The votes for this node as the sealer of an epoch: of electors who voted once in it, naming blocks that are here and good.
    fn certificate(
        &self,
        group: &Group,
        set: SetNumber,
        epoch: Epoch,
        me: AuthorId,
    ) -> Option<(Vec<Bytes>, Vec<HeldBlock>)> {
        let (chain, electorate) = (group.chain(), in_force(group));
        let of_epoch = group
            .ledger()
            .sealers_votes(set)
            .filter(|(other, voter, _, _)| *other == epoch && electorate.elects(voter));
        let of_epoch: Vec<(AuthorId, (Position, &SealersVote))> =
            of_epoch.map(|(_, voter, position, vote)| (voter, (position, vote))).collect();
        let counted = single(of_epoch.iter().map(|(voter, (_, vote))| (*voter, *vote)));
        let (base, origin): (Rank, _) = (chain.rank(), id_at(group, base_of(group, set)));
        let mut votes: BTreeMap<AuthorId, (Bytes, HeldBlock)> = BTreeMap::new();
        for (voter, (position, vote)) in of_epoch {
            let names_good = vote.highest.id == origin
                || self.tree.get(&vote.highest.id).is_some_and(|signed| {
                    signed.block().rank() == vote.highest.rank && !self.tree.is_refused(&vote.highest.id)
                });
            let index = group.replica().index_of(&position.id)?;
            let bytes = group.replica().bytes(index);
            if counted.contains_key(&voter)
                && vote.recovery == base.recovery
                && vote.sealers == [me]
                && names_good
                && bytes.len() <= MAX_VOTE_BYTES
            {
                votes.insert(voter, (bytes, vote.highest));
            }
        }
        (votes.len() >= electorate.needed).then(|| votes.into_values().unzip())
    }

    /// Seals the next block.
    fn seal(
        &mut self,
        group: &mut Group,
        now_ms: u64,
        switch: Option<Switch>,
        warrant: Warrant,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(keypair) = self.keypair.clone() else { return false };
        if switch.is_some() && group.chain().is_retired(&keypair.author()) {
            // Enough voted for it all the same. It would seal on, and its node would not have the word of the key that votes in its place.
            return false;
        }
        let block = match group.seal(now_ms, switch.as_ref()) {
            Ok(block) => block,
            Err(Fault::Nothing) => return false,
            Err(fault) => {
                debug_assert!(false, "a plan of one's own is good: {fault}");
                return false;
            }
        };
        let Ok(signed) = SignedBlock::sign(block, &keypair, warrant) else { return false };
        self.sealed_ms = Some(now_ms);
        effects.push(Effect::Keep(Record::Block(signed.clone())));
        self.past.sealed(signed.block().rank());
        self.take_place(&signed);
        self.tree.insert(signed.clone());
        effects.push(Effect::Show(Event::Extended(signed.block().height, signed.id())));
        effects.push(Effect::Tell(Message::Blocks(vec![signed])));
        self.give_word(group, effects);
        true
    }
}
