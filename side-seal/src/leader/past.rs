//! What this node has sealed or may have sealed, and must not seal again.
//!
//! A block under this node's signature may be in the hands of a single peer that shows it to nobody, so no list of peers to listen to makes sure that a rank is
//! unused (docs/adr/0016). Epochs do: one begins with votes of enough electors, and of those votes the honest ones are known by the time that the other
//! voters have told what they hold.

use std::collections::BTreeMap;

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::{Epoch, Height, Rank, Recovery, SetNumber};
use side_ledger::group::Group;

use super::{Leader, in_force};
use crate::effect::{Effect, Record};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Past {
    /// An older life of this node may have sealed in this epoch and in those before.
    abstains: Option<Epoch>,
    /// The highest block under this node's signature in each epoch and set, on the chain or not.
    sealed: BTreeMap<(Recovery, Epoch, SetNumber), Height>,
}

impl Past {
    /// Seals nothing up to this epoch.
    pub(super) fn abstain(&mut self, epoch: Epoch) {
        self.abstains = self.abstains.max(Some(epoch));
    }

    /// Up to where it seals nothing.
    pub(super) fn abstains(&self) -> Option<Epoch> {
        self.abstains
    }

    /// There is a block of this rank under this node's signature.
    pub(super) fn sealed(&mut self, rank: Rank) {
        let height = self.sealed.entry((rank.recovery, rank.epoch, rank.set)).or_default();
        *height = rank.height.max(*height);
    }

    /// Whether this node may begin an epoch: it has sealed nothing in it, nor may have.
    pub(super) fn may_begin(&self, recovery: Recovery, epoch: Epoch) -> bool {
        let of_epoch = (recovery, epoch, SetNumber(0))..=(recovery, epoch, SetNumber(u64::MAX));
        Some(epoch) > self.abstains && self.sealed.range(of_epoch).next().is_none()
    }

    /// Whether this node may seal a block of this rank: it has sealed none so high there, nor may have.
    pub(super) fn may_seal(&self, rank: Rank) -> bool {
        let height = self.sealed.get(&(rank.recovery, rank.epoch, rank.set));
        Some(rank.epoch) > self.abstains && height.is_none_or(|height| *height < rank.height)
    }
}

impl Leader {
    /// Says whether this node seals when it is its turn and gives its word. A node whose disk may be older than what it has told must not: it would seal twice, or hold
    /// what its votes bind it against. Once it has heard from the other voters what it may have forgotten it gives its word again, and seals in the epochs that begin from then on.
    pub fn set_sealing(&mut self, group: &Group, may_seal: bool) -> Vec<Effect> {
        let might = std::mem::replace(&mut self.may_seal, may_seal);
        let learnt = may_seal && !might;
        let Some(me) = self.me().filter(|_| learnt) else { return Vec::new() };
        let epoch = self.may_have_begun(group, me);
        self.past.abstain(epoch);
        vec![Effect::Keep(Record::Abstain(epoch))]
    }

    /// Others show a block under this node's signature, or a word, of this rank. It counts as sealed by this node, whoever sealed it.
    pub fn shown(&mut self, rank: Rank) {
        self.past.sealed(rank);
    }

    /// The owner says that this copy is the latest one: as long as this engine lives it seals and gives its word as if nothing had been forgotten.
    pub fn trust(&mut self) {
        self.may_seal = true;
        self.past.abstains = None;
    }

    /// Whether this node is the sealer and does not seal: it may have sealed in the present epoch already, and waits for the voters to begin another one.
    pub fn abstains(&self, group: &Group) -> bool {
        let governance = group.chain().governance();
        self.me().is_some_and(|me| governance.sealers.contains(&me)) && Some(governance.epoch) <= self.past.abstains
    }

    /// The highest epoch in which this node may have sealed something. It takes as many votes to begin one as cannot all be of liars, whose votes for epochs far ahead
    /// count for nothing here.
    fn may_have_begun(&self, group: &Group, me: AuthorId) -> Epoch {
        let electorate = in_force(group);
        let liars = electorate.voters.len() - electorate.quorum;
        let enough = electorate.needed.saturating_sub(liars).max(1);
        let mut voters: BTreeMap<Epoch, Vec<AuthorId>> = BTreeMap::new();
        for (epoch, voter, _, vote) in group.ledger().sealers_votes(electorate.set) {
            let votes = voters.entry(epoch).or_default();
            if vote.sealers == [me] && electorate.elects(&voter) && !votes.contains(&voter) {
                votes.push(voter);
            }
        }
        let voted = voters.into_iter().rev().find(|(_, voters)| voters.len() >= enough).map(|(epoch, _)| epoch);
        let sealed = self.past.sealed.keys().map(|(_, epoch, _)| *epoch).max();
        group.chain().governance().epoch.max(voted.unwrap_or_default()).max(sealed.unwrap_or_default())
    }
}
