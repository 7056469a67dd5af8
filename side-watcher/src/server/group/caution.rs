//! A relay whose store may be older than what it has told: restored from a backup, copied, or set back. If such a relay sealed, it would seal ranks twice
//! and convict itself. So it seals nothing and writes nothing until the others have told it what it has forgotten.
//!
//! It has learnt enough when each voter other than itself (where there is none: each author of the group) has been here, has said where its chain ends and
//! what it holds of the relay's own changes, and everything of that is here; and when its chain has reached each block of its own that it was told of. What nobody
//! of those holds, nobody but a stranger can show. An operator who knows better says so (`--seal-restored`).

use std::collections::HashSet;

use bft_json_crdt::identity::AuthorId;
use side_ledger::GroupId;
use side_ledger::block::Rank;
use side_seal::SignedBlock;

use super::Task;
use crate::server::persist::Job;

/// The store's mark that it was found to be restored: groups that are adopted from then on may have been carried before.
pub(in crate::server) const CAUTIOUS: &str = "cautious";
/// Most keys that are remembered as heard. Beyond it a relay of a huge group stays cautious until all voters are connected at once.
const MAX_HEARD: usize = 4_096;

/// The store's mark that the relay has not yet learnt what it may have told in this group.
pub(in crate::server) fn cautious_key(group: &GroupId) -> String {
    format!("{CAUTIOUS}/{group}")
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Caution {
    on: bool,
    heard: HashSet<AuthorId>,
    /// The highest rank that others say this relay has sealed. They cannot lie about it: it is under the relay's signature.
    sealed: Option<Rank>,
}

impl Caution {
    pub(super) fn new(on: bool) -> Self {
        Self { on, heard: HashSet::new(), sealed: None }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Somebody has shown a block of the relay's own.
    pub(super) fn told(&mut self, own: &SignedBlock) {
        self.sealed = self.sealed.max(Some(own.block().rank()));
    }
}

impl Task {
    /// Looks whether caution can end.
    pub(super) fn reconsider(&mut self) {
        if !self.caution.on {
            return;
        }
        let group = &self.setup.group;
        for subscriber in &self.subscribers {
            if self.caution.heard.len() < MAX_HEARD
                && subscriber.has_told_tip
                && subscriber.session.watched_tip_learnt(group.replica())
            {
                self.caution.heard.insert(subscriber.peer.key);
            }
        }
        let (me, chain) = (self.setup.identity.author(), group.chain());
        let sets = [Some(chain.electorate()), chain.tip().map(|tip| &tip.electorate)];
        let voters = sets.into_iter().flatten().flat_map(|set| set.voters.iter().copied());
        let mut needed: HashSet<AuthorId> = voters.filter(|voter| *voter != me).collect();
        if needed.is_empty() {
            needed = group.replica().authors().filter(|author| *author != me).collect();
        }
        if self.caution.heard.is_empty()
            || !needed.is_subset(&self.caution.heard)
            || Some(chain.rank()) < self.caution.sealed
        {
            return;
        }
        tracing::info!(group = %group.id(), "the members have told what this relay may have forgotten: it may seal again");
        self.caution.on = false;
        let forget = vec![(cautious_key(&group.id()), None)];
        self.submit(Job { meta: forget, ..Job::new(self.setup.group.id(), &self.durable) }, super::Waiting::default());
        self.begin_sealing();
    }
}
