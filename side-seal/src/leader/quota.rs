//! Who may fill what is bounded: proofs, blocks that wait for others, and blocks beside the chain.
//!
//! Keys cost nothing. So whoever has a say in the group (voters and sealers, as far as the chain here tells) comes before strangers, and among equals whoever has most
//! gives way. Blocks beside the chain are on disk and have descendants, so nothing gives way there: whoever votes or seals has a share of its own, and all others
//! have one together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::{BlockId, Height};
use side_ledger::group::Group;

use super::{
    Leader, MAX_ASIDE, MAX_ASIDE_OF_STRANGERS, MAX_PROOFS, MAX_PROOFS_OF_ONE, MIN_ASIDE_OF_ONE, Seat, in_force,
};
use crate::signed::SignedBlock;

/// Whether a key votes or seals, did so in the set in force, or is about to.
pub(super) fn has_say(group: &Group, key: &AuthorId) -> bool {
    let (chain, governance) = (group.chain(), group.chain().governance());
    let votes = [chain.electorate(), in_force(group)].into_iter().any(|set| set.voters.binary_search(key).is_ok());
    votes || governance.sealers.contains(key) || governance.pending.contains_key(key) || governance.voters.contains(key)
}

/// Whoever votes or seals, or did so in the set in force. In an open group anybody can be about to, so those who are have no share of their own.
fn seated(group: &Group) -> BTreeSet<AuthorId> {
    let (chain, governance) = (group.chain(), group.chain().governance());
    let sets = [chain.electorate(), in_force(group)].into_iter().flat_map(|set| &set.voters);
    sets.chain(&governance.voters).chain(&governance.sealers).copied().collect()
}

/// How many places a block takes beside the chain: one for each kibibyte begun, so that places bound memory.
fn places(signed: &SignedBlock) -> usize {
    signed.encode().len().div_ceil(1024)
}

/// The blocks beside the chain, as they were when the chain had this end.
#[derive(Debug)]
pub(super) struct Beside {
    tip: BlockId,
    height: Height,
    blocks: HashMap<BlockId, (AuthorId, usize)>,
    /// How many places each signer takes up.
    places: HashMap<AuthorId, usize>,
}

/// How much each of those has who may have to give way to `new`, itself included: strangers, or everybody where there is none among them.
pub(super) fn crowd(
    holders: impl Iterator<Item = AuthorId>,
    new: AuthorId,
    has_say: impl Fn(&AuthorId) -> bool,
) -> BTreeMap<AuthorId, usize> {
    let mut counts = BTreeMap::from([(new, 1)]);
    for key in holders {
        *counts.entry(key).or_default() += 1;
    }
    if counts.keys().any(|key| !has_say(key)) {
        counts.retain(|key, _| !has_say(key));
    }
    counts
}

impl Leader {
    /// Makes room for a proof about this seat, if it matters more than what would have to go.
    pub(super) fn make_room(&mut self, group: &Group, seat: &Seat) -> bool {
        // What is proven in the present epoch counts most: a liar can have proofs against itself in as many others as it likes.
        let (rank, governance) = (group.chain().rank(), group.chain().governance());
        let far = |(_, recovery, set, epoch): &Seat| {
            let others = (recovery.0.abs_diff(rank.recovery.0), set.0.abs_diff(governance.set.0));
            (others, epoch.0.abs_diff(governance.epoch.0))
        };
        let farthest = |of: AuthorId| self.proofs.keys().filter(|other| other.0 == of).max_by_key(|other| far(other));
        if self.proofs.keys().filter(|other| other.0 == seat.0).count() >= MAX_PROOFS_OF_ONE {
            let Some(last) = farthest(seat.0).copied().filter(|last| far(last) > far(seat)) else { return false };
            self.proofs.remove(&last);
        } else if self.proofs.len() >= MAX_PROOFS {
            let crowd = crowd(self.proofs.keys().map(|other| other.0), seat.0, |key| has_say(group, key));
            let most = crowd.values().copied().max().unwrap_or(0);
            // Whoever has no less than anybody else gets no more: nothing is thrown out again and again.
            if crowd.get(&seat.0) == Some(&most) {
                return false;
            }
            let giver = crowd.into_iter().find(|(_, count)| *count == most).map(|(key, _)| key);
            let Some(last) = giver.and_then(farthest).copied() else { return false };
            self.proofs.remove(&last);
        }
        true
    }

    /// Whether there is a place beside the chain for this block.
    pub(super) fn has_place(&mut self, group: &Group, signed: &SignedBlock) -> bool {
        let (signer, seated) = (signed.signer(), seated(group));
        let taken = &self.count_beside(group).places;
        let (taken, share) = if seated.contains(&signer) {
            (taken.get(&signer).copied().unwrap_or(0), MIN_ASIDE_OF_ONE.max(MAX_ASIDE / seated.len()))
        } else {
            let strangers = taken.iter().filter(|(key, _)| !seated.contains(*key));
            (strangers.map(|(_, places)| places).sum(), MAX_ASIDE_OF_STRANGERS)
        };
        taken + places(signed) <= share
    }

    fn count_beside(&mut self, group: &Group) -> &Beside {
        let chain = group.chain();
        let (tip, height) = (chain.tip_id(), chain.height());
        let mut blocks = match self.beside.take() {
            Some(beside) if beside.tip == tip => return self.beside.insert(beside),
            // The chain has only grown: what was beside may be on it.
            Some(beside) if chain.at(beside.height).is_some_and(|sealed| sealed.id == beside.tip) => beside.blocks,
            // A walk over all blocks, where some were taken back.
            _ => self.tree.blocks().map(|signed| (signed.id(), (signed.signer(), places(signed)))).collect(),
        };
        blocks.retain(|id, _| self.tree.get(id).is_some_and(|signed| !self.on_chain(group, signed)));
        let mut taken: HashMap<AuthorId, usize> = HashMap::new();
        for (signer, places) in blocks.values() {
            *taken.entry(*signer).or_default() += places;
        }
        self.beside.insert(Beside { tip, height, blocks, places: taken })
    }

    /// A block is in the tree now, wherever it stands.
    pub(super) fn take_place(&mut self, signed: &SignedBlock) {
        let Some(beside) = &mut self.beside else { return };
        let places = places(signed);
        if beside.blocks.insert(signed.id(), (signed.signer(), places)).is_none() {
            *beside.places.entry(signed.signer()).or_default() += places;
        }
    }
}
