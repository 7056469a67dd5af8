//! Whether a block may extend the chain at a place, and where an epoch starts.

use side_ledger::block::{BlockId, Epoch, Height, SetNumber};
use side_ledger::chain::Switch;
use side_ledger::governance::Electorate;
use side_ledger::group::Group;
use side_ledger::transaction::HeldBlock;

use super::Leader;
use crate::effect::Refusal;
use crate::signed::SignedBlock;
use crate::warrant::{WarrantFault, start};

/// Why a block cannot be judged, or is bad.
#[derive(Debug)]
pub(super) enum Doubt {
    /// This block has to be here first.
    Missing(BlockId),
    /// It is bad.
    Bad(Refusal),
}

impl<R: Into<Refusal>> From<R> for Doubt {
    fn from(refusal: R) -> Self {
        Self::Bad(refusal.into())
    }
}

/// The height at which the chain stood when a set began.
pub(super) fn base_of(group: &Group, set: SetNumber) -> u64 {
    group.chain().blocks().partition_point(|sealed| sealed.block.set < set) as u64
}

/// The block at a height of the chain; at 0 its origin.
pub(super) fn id_at(group: &Group, height: u64) -> BlockId {
    group.chain().at(Height(height)).map_or(BlockId::origin(group.id()), |sealed| sealed.id)
}

impl Leader {
    /// Whether `signed` may follow the block at `parent` (0: the beginning) of the chain, as far as that can be told without executing it. Gives the
    /// switch that it makes.
    pub(super) fn judge(&self, group: &Group, parent: Height, signed: &SignedBlock) -> Result<Option<Switch>, Doubt> {
        let (chain, block) = (group.chain(), signed.block());
        let next = chain.at(Height(parent.0 + 1));
        let governance = next.map_or(chain.governance(), |next| &next.before);
        let before = chain.at(parent);
        // A set is in force until the next one has begun: votes are of the set that the block before was sealed under.
        let first = next.map_or(chain.electorate(), |next| &next.electorate);
        let electorate = before.map_or(first, |before| &before.electorate);
        if block.set != governance.set || block.recovery != before.map_or_else(Default::default, |b| b.block.recovery) {
            return Err(Refusal::Seat.into());
        }
        let warrant = signed.warrant();
        let last = before.filter(|last| last.block.set < governance.set && block.epoch == governance.epoch);
        match last {
            Some(last) => warrant.check_holds(group.id(), &last.electorate, last.block.rank(), last.id)?,
            None if warrant.holds.is_empty() => {}
            None => return Err(WarrantFault::OtherBlock.into()),
        }
        if block.epoch == governance.epoch {
            if !warrant.votes.is_empty() {
                return Err(WarrantFault::Vote.into());
            }
            if !governance.sealers.contains(&signed.signer()) {
                return Err(Refusal::Signer.into());
            }
            return Ok(None);
        }
        if block.epoch < governance.epoch {
            return Err(Refusal::Seat.into());
        }
        let document = group.id().document();
        let (sealers, named) = warrant.check_votes(document, electorate, block.recovery, block.epoch)?;
        if !sealers.contains(&signed.signer()) {
            return Err(Refusal::Signer.into());
        }
        if self.start_of(group, electorate.set, &named)? != block.parent {
            return Err(Refusal::Start.into());
        }
        Ok(Some(Switch { epoch: block.epoch, sealers }))
    }

    /// Whether a block may follow one that is beside the chain, as far as that can be told while the chain ends elsewhere: by everything but what blocks come to. Whom a
    /// set that ended beside the chain left as voters is among that.
    pub(super) fn judge_beside(
        &self,
        group: &Group,
        parent: &SignedBlock,
        signed: &SignedBlock,
    ) -> Result<(), Refusal> {
        let (before, block, warrant) = (parent.block(), signed.block(), signed.warrant());
        let ends = before.set.0.checked_add(1) == Some(block.set.0);
        if block.recovery != before.recovery || !(ends || block.set == before.set) || block.epoch < before.epoch {
            return Err(Refusal::Seat);
        }
        let further = block.epoch > before.epoch;
        // The end of a set changes no sealer.
        if !further && signed.signer() != parent.signer() {
            return Err(Refusal::Signer);
        }
        if !further && !warrant.votes.is_empty() {
            return Err(WarrantFault::Vote.into());
        }
        if (further || !ends) && !warrant.holds.is_empty() {
            return Err(WarrantFault::OtherBlock.into());
        }
        if !further && !ends {
            return Ok(());
        }
        let Some(electorate) = self.electorate_of(group, parent) else { return Ok(()) };
        if !further {
            return Ok(warrant.check_holds(group.id(), electorate, before.rank(), parent.id())?);
        }
        let (sealers, _) = warrant.check_votes(group.id().document(), electorate, block.recovery, block.epoch)?;
        if sealers.contains(&signed.signer()) { Ok(()) } else { Err(Refusal::Signer) }
    }

    /// The set that a block beside the chain was sealed under, if that is the one in which its way left the chain.
    fn electorate_of<'a>(&self, group: &'a Group, signed: &SignedBlock) -> Option<&'a Electorate> {
        let mut at = signed;
        while at.block().height.0 > 1 {
            let parent = self.tree.get(&at.block().parent)?;
            if self.on_chain(group, parent) {
                break;
            }
            at = parent;
        }
        let electorate =
            group.chain().at(at.block().height).map_or(group.chain().electorate(), |next| &next.electorate);
        (electorate.set == signed.block().set).then_some(&**electorate)
    }

    /// The block that an epoch of this set continues from, if its votes name these.
    pub(super) fn start_of(&self, group: &Group, set: SetNumber, named: &[HeldBlock]) -> Result<BlockId, Doubt> {
        let base = base_of(group, set);
        let on_chain = |height| id_at(group, height);
        let mut ways: Vec<(Epoch, &HeldBlock)> = Vec::new();
        for held in named.iter().filter(|held| held.id != on_chain(base)) {
            let signed = self.tree.get(&held.id).ok_or(Doubt::Missing(held.id))?;
            if signed.block().rank() != held.rank || held.rank.set != set {
                return Err(Refusal::Start.into());
            }
            ways.push((held.rank.epoch, held));
        }
        let Some(epoch) = ways.iter().map(|(epoch, _)| *epoch).max() else { return Ok(on_chain(base)) };
        // Each way: where it leaves the chain, and what lies beside the chain, lowest first.
        let mut beside: Vec<(u64, Vec<BlockId>)> = Vec::new();
        for (_, held) in ways.into_iter().filter(|(other, _)| *other == epoch) {
            let (mut way, mut at) = (Vec::new(), held.id);
            let height = loop {
                let Some(signed) = self.tree.get(&at) else { break 0 };
                if self.on_chain(group, signed) {
                    break signed.block().height.0;
                }
                way.push(at);
                at = signed.block().parent;
            };
            if height < base {
                return Err(Refusal::Start.into());
            }
            way.reverse();
            beside.push((height, way));
        }
        let low = beside.iter().map(|(height, _)| *height).min().unwrap_or(base);
        let ways: Vec<Vec<BlockId>> =
            beside.into_iter().map(|(height, way)| (low + 1..=height).map(on_chain).chain(way).collect()).collect();
        Ok(start(on_chain(low), &ways))
    }
}
