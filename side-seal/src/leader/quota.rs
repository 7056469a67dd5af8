//! Who may fill what is bounded: proofs, and blocks that wait for others.
//!
//! Keys cost nothing. So whoever has a say in the group (voters and sealers, as far as the chain here tells) comes before strangers, and among equals whoever has most
//! gives way.

use std::collections::BTreeMap;

use bft_json_crdt::identity::AuthorId;
use side_ledger::group::Group;

use super::{Leader, MAX_PROOFS, MAX_PROOFS_OF_ONE, Seat, in_force};

/// Whether a key votes or seals, did so in the set in force, or is about to.
pub(super) fn has_say(group: &Group, key: &AuthorId) -> bool {
    let (chain, governance) = (group.chain(), group.chain().governance());
    let votes = [chain.electorate(), in_force(group)].into_iter().any(|set| set.voters.binary_search(key).is_ok());
    votes || governance.sealers.contains(key) || governance.pending.contains_key(key) || governance.voters.contains(key)
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
}
