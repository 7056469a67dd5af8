//! Who takes part in a group, as far as connections go.

use std::collections::BTreeSet;

use bft_json_crdt::identity::AuthorId;

use super::Member;

impl Member {
    /// Everybody who has written, founded, votes, seals or was taken in by vote, or is about to: whoever may connect directly.
    pub fn parties(&self) -> BTreeSet<AuthorId> {
        let group = &self.core.group;
        let chain = group.chain();
        let governance = chain.governance();
        let taken_in = chain.accounts().iter().filter(|(_, account)| account.member || account.predecessor().is_some());
        let taken_in = taken_in.map(|(key, _)| *key);
        let mut keys: BTreeSet<AuthorId> = group.replica().authors().chain(taken_in).collect();
        keys.extend(group.genesis().spec().founders.iter().copied());
        keys.extend(governance.voters.iter().copied());
        keys.extend(governance.pending.keys().copied());
        keys.extend(governance.sealers.iter().copied());
        // Nobody is at a rotated key's address any more once its new key has been heard of. Before that its node has to hear that it may go on.
        let heard = |new: &AuthorId| *new == self.author() || group.replica().author(new.as_bytes()).is_some();
        keys.retain(|key| !chain.replaced(key).is_some_and(|new| heard(&new)));
        keys
    }

    /// Ends a link whose peer broke a rule of what is said beside changes and blocks.
    pub fn end_link(&mut self, link: crate::net::LinkId, reason: String) {
        self.fault(link, reason);
    }
}
