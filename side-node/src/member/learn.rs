//! What a node has to learn before it writes, seals and gives its word again where its copy may be old.
//!
//! Whatever it has told and forgotten, somebody else holds. One peer may hold none of it: the node's last change may have reached only another one. So it listens to each
//! voter that has ever written something, or to a relay, which keeps all that went through it; where there is no other voter, to anybody. Whether a liar among them
//! tells of blocks that nobody can show does not matter: of blocks and words only those under the node's own signature count, and nobody else makes those. A voter
//! that never comes back keeps the node waiting until its owner says that the copy is good.
//!
//! A block that it sealed may still be held by somebody alone who shows it to nobody. So having learnt all this it seals in no epoch in which it may have sealed before
//! ([`side_seal::Leader::set_sealing`]).

use std::collections::BTreeSet;

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::Rank;
use side_seal::{Engine, Message};

use super::{Member, News};

/// What others have told so far.
#[derive(Debug, Default)]
pub(super) struct Learning {
    /// Voters that have told what they hold of this node's changes; all of that is here.
    own: BTreeSet<AuthorId>,
    /// Those of them that have told where their chain ends, too.
    tips: BTreeSet<AuthorId>,
    /// The highest block that this node has sealed or given its word for, as others show it.
    made: Option<Rank>,
}

impl Member {
    /// Whoever has to be heard: the other voters that have written something.
    fn teachers(&self) -> BTreeSet<AuthorId> {
        let (me, group) = (self.core.author(), &self.core.group);
        let sets = [Some(group.chain().electorate()), group.chain().tip().map(|tip| &tip.electorate)];
        let voters = sets.into_iter().flatten().flat_map(|set| set.voters.iter().copied());
        voters.filter(|voter| *voter != me && group.replica().author(voter.as_bytes()).is_some()).collect()
    }

    /// Notes which peers have told everything.
    pub(super) fn learn(&mut self) {
        if self.sealing && !self.core.is_read_only() {
            self.learning = Learning::default();
            return;
        }
        let teachers = self.teachers();
        for there in self.links.values().filter(|there| teachers.contains(&there.peer.key)) {
            if there.sync.watched_tip_learnt(self.core.replica()) {
                self.learning.own.insert(there.peer.key);
                if there.greeted {
                    self.learning.tips.insert(there.peer.key);
                }
            }
        }
        self.learn_chain(&teachers);
    }

    /// Remembers what others show of this node's own blocks and words.
    pub(super) fn learn_from(&mut self, message: &Message) {
        if self.sealing {
            return;
        }
        let (me, group) = (self.core.author(), self.id());
        let made = match message {
            // Those of another group that it seals in say nothing here.
            Message::Blocks(blocks) => {
                let own = blocks.iter().filter(|signed| signed.signer() == me && signed.block().group == group);
                own.map(|signed| signed.block().rank()).max()
            }
            Message::Hold(hold) => (hold.voter == me && hold.group == group).then_some(hold.rank),
            _ => None,
        };
        self.learning.made = self.learning.made.max(made);
    }

    /// Whether a node that is read-only has learnt its own last change from the others, so that it may [write again](Member::allow_writing).
    pub fn knows_own_tip(&self) -> bool {
        let replica = self.core.replica();
        let knows = |by_relay: bool| {
            let told = |there: &super::link::Link| there.knows_own_tip(replica);
            self.links.values().any(|there| (!by_relay || there.peer.transport == "relay") && told(there))
        };
        knows(true) || (knows(false) && self.teachers().is_subset(&self.learning.own))
    }

    /// A node that must not seal may again once it has heard where the others' chains end, and its own has come as far as what it once sealed or gave its word for.
    fn learn_chain(&mut self, teachers: &BTreeSet<AuthorId>) {
        if self.sealing || self.core.is_read_only() || self.catch_up.is_some() {
            return;
        }
        let replica = self.core.replica();
        // In BFT mode it takes part from the next epoch on only, in which it has voted for nothing.
        let bft = matches!(self.engine, Engine::Bft(_));
        let told = |by_relay: bool| {
            self.links.values().any(|there| {
                (!by_relay || there.peer.transport == "relay") && (bft || there.greeted) && there.knows_own_tip(replica)
            })
        };
        let heard = told(true) || (told(false) && (bft || teachers.is_subset(&self.learning.tips)));
        if heard && self.learning.made <= Some(self.core.group.chain().rank()) {
            self.allow_sealing();
            let text = if self.engine.abstains(&self.core.group) {
                "this node has learnt where the chain ends and gives its word again. It may have forgotten blocks that it sealed in this epoch, so it seals in \
                 the next one: the other voters begin it with /vote leader NODE, for this node or for another"
            } else {
                "this node has learnt where the chain ends: it seals and gives its word again"
            };
            self.news[0].push(News::Notice(text.to_owned()));
        }
    }
}
