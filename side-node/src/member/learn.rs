//! What a node has to learn before it writes, seals and gives its word again where its copy may be old.
//!
//! Whatever it has told and forgotten, somebody else holds. One peer may hold none of it: the node's last change may have reached only another one. So it listens to each
//! voter that has ever written something, and to more of them than may lie, or to a relay, which keeps all that went through it; where there is no other voter, to anybody. One of them at least must not say
//! that its own copy may be old: two old copies would teach each other that nothing has happened. Whether a liar among them
//! tells of blocks that nobody can show does not matter: of blocks and words only those under the node's own signature count, and nobody else makes those. A voter
//! that never comes back keeps the node waiting until its owner says that the copy is good.
//!
//! In BFT mode nothing is under its signature alone. There its chain has to come to where the chains of all those end whom it listens to, before it notes the present epoch as
//! one in which it may have voted.
//!
//! A block that it sealed may still be held by somebody alone who shows it to nobody. So having learnt all this it seals in no epoch in which it may have sealed before
//! ([`side_seal::Leader::set_sealing`]).

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::block::{Epoch, Height, Rank, Recovery, SetNumber};
use side_ledger::governance::two_thirds;
use side_seal::{Engine, Message};

use super::{Member, News};

/// How long a node that has heard all whom it has to hear listens to the others to whom it is connected, if they have not told everything yet: its last change may have reached
/// only somebody who does not vote. No longer, for a stranger may say nothing for ever.
const LISTEN_MS: u64 = 3_000;
/// How what is kept begins.
const KEPT: u8 = b'1';

/// What others have told so far.
#[derive(Debug, Default)]
pub(super) struct Learning {
    /// Voters that have told what they hold of this node's changes; all of that is here.
    own: BTreeSet<AuthorId>,
    /// Those of them whose own copy is not old, as far as they say.
    sound: BTreeSet<AuthorId>,
    /// Where the chain ends of those of them that have told that, too; nothing where there is no block.
    ends: BTreeMap<AuthorId, Option<Rank>>,
    /// The highest block that this node has sealed or given its word for, as others show it. It outlives a restart: whoever has shown it may forget it as well.
    made: Option<Rank>,
    /// Since when all were heard who have to be, and whether the others were as well or had their time.
    taught_ms: Option<u64>,
    listened: bool,
}

impl Learning {
    /// What the store keeps while this node must not seal.
    pub(super) fn kept(&self) -> Bytes {
        let parts = self.made.iter().flat_map(|rank| [rank.recovery.0, rank.set.0, rank.epoch.0, rank.height.0]);
        std::iter::once(KEPT).chain(parts.flat_map(u64::to_be_bytes)).collect()
    }

    /// What it has kept, if that is good.
    pub(super) fn of_kept(bytes: &[u8]) -> Option<Self> {
        let parts: Vec<u64> = bytes
            .strip_prefix(&[KEPT])?
            .chunks(8)
            .map(|part| part.try_into().ok().map(u64::from_be_bytes))
            .collect::<Option<_>>()?;
        let made = match parts[..] {
            [] => None,
            [recovery, set, epoch, height] => Some(Rank {
                recovery: Recovery(recovery),
                set: SetNumber(set),
                epoch: Epoch(epoch),
                height: Height(height),
            }),
            _ => return None,
        };
        Some(Self { made, ..Self::default() })
    }

    /// The highest block that this node has sealed or given its word for, as others show it.
    pub(super) fn made(&self) -> Option<Rank> {
        self.made
    }
}

impl Member {
    /// The other voters.
    fn others(&self) -> BTreeSet<AuthorId> {
        let (me, chain) = (self.core.author(), self.core.group.chain());
        let sets = [Some(chain.electorate()), chain.tip().map(|tip| &tip.electorate)];
        let voters = sets.into_iter().flatten().flat_map(|set| set.voters.iter().copied());
        voters.filter(|voter| *voter != me).collect()
    }

    /// Whoever has to be heard: those of them that have written something.
    fn teachers(&self) -> BTreeSet<AuthorId> {
        let replica = self.core.group.replica();
        self.others().into_iter().filter(|voter| replica.author(voter.as_bytes()).is_some()).collect()
    }

    /// Whether one of those who were heard does not say that its own copy may be old; or nobody has to be heard.
    fn has_sound_teacher(&self) -> bool {
        !self.learning.sound.is_empty() || self.least() == 0
    }

    /// How many of the other voters have to be heard at least. A copy may be so old that it knows of few who have written: of so many one is no liar, and shows who else has.
    fn least(&self) -> usize {
        let voters = self.core.group.chain().electorate().voters.len();
        (voters - two_thirds(voters) + 1).min(self.others().len())
    }

    /// Notes which peers have told everything.
    pub(super) fn learn(&mut self, now_ms: u64) {
        if self.sealing && !self.core.is_read_only() {
            self.learning = Learning::default();
            return;
        }
        let others = self.others();
        for there in self.links.values().filter(|there| others.contains(&there.peer.key)) {
            if there.sync.watched_tip_learnt(self.core.replica()) {
                self.learning.own.insert(there.peer.key);
                if there.greeted {
                    self.learning.ends.insert(there.peer.key, there.told.map(|(rank, _)| rank));
                    // What it has said of itself came before the answer to this node's question.
                    if !there.learns {
                        self.learning.sound.insert(there.peer.key);
                    }
                }
            }
        }
        self.learning.taught_ms = self.was_taught().then(|| self.learning.taught_ms.unwrap_or(now_ms));
        let told = |there: &super::link::Link| there.sync.watched_tip_learnt(self.core.replica());
        let listened = |since: u64| self.links.values().all(told) || now_ms >= since.saturating_add(LISTEN_MS);
        self.learning.listened = self.learning.taught_ms.is_some_and(listened);
        self.learn_chain();
    }

    /// When it has listened long enough.
    pub(super) fn listening_deadline(&self) -> Option<u64> {
        self.learning.taught_ms.filter(|_| !self.learning.listened).map(|since| since.saturating_add(LISTEN_MS))
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
        if let Some(rank) = made.filter(|_| made > self.learning.made) {
            self.learning.made = made;
            self.engine.shown(rank);
            self.keep_suspended();
        }
    }

    /// Whether a node that is read-only has learnt its own last change from the others, so that it may [write again](Member::allow_writing).
    pub fn knows_own_tip(&self) -> bool {
        self.learning.listened && self.was_taught()
    }

    /// Whether this copy may have forgotten something that it has told.
    pub fn may_have_forgotten(&self) -> bool {
        !self.sealing || self.core.is_read_only()
    }

    fn was_taught(&self) -> bool {
        let replica = self.core.replica();
        let knows = |by_relay: bool| {
            let told = |there: &super::link::Link| there.knows_own_tip(replica);
            self.links.values().any(|there| (!by_relay || there.peer.transport == "relay") && told(there))
        };
        let learning = &self.learning;
        let heard = || learning.own.len() >= self.least() && self.teachers().is_subset(&learning.own);
        knows(true) || (knows(false) && heard() && self.has_sound_teacher())
    }

    /// Whether others show a block under this node's signature, or a word, above where its own chain ends.
    pub(super) fn has_forgotten_blocks(&self) -> bool {
        self.learning.made > Some(self.core.group.chain().rank())
    }

    /// A node that must not seal may again once it has heard where the others' chains end, and its own has come as far as what it once sealed or gave its word for; in BFT
    /// mode as far as all of theirs.
    fn learn_chain(&mut self) {
        if self.sealing || self.core.is_read_only() || self.catch_up.is_some() {
            return;
        }
        let (replica, here) = (self.core.replica(), Some(self.core.group.chain().rank()));
        // In BFT mode it takes part from the epoch after the one in which it finds the others: it has to have found them.
        let bft = matches!(self.engine, Engine::Bft(_));
        let reached = |end: Option<Rank>| !bft || end <= here;
        let told = |by_relay: bool| {
            self.links.values().any(|there| {
                (!by_relay || there.peer.transport == "relay")
                    && there.greeted
                    && reached(there.told.map(|(rank, _)| rank))
                    && there.knows_own_tip(replica)
            })
        };
        let ends = &self.learning.ends;
        let by_all = ends.len() >= self.least()
            && self.has_sound_teacher()
            && ends.values().all(|end| reached(*end))
            && self.teachers().iter().all(|teacher| ends.contains_key(teacher));
        let heard = told(true) || (told(false) && by_all);
        if heard && !self.has_forgotten_blocks() {
            self.allow_sealing();
            let text = if self.engine.abstains(&self.core.group) {
                "this node has learnt where the chain ends and gives its word again. It may have forgotten blocks that it sealed in this epoch, so it seals in \
                 the next one: the other voters begin it with /vote leader NODE for one of them; afterwards this node may be voted back"
            } else {
                "this node has learnt where the chain ends: it seals and gives its word again"
            };
            self.news[0].push(News::Notice(text.to_owned()));
        }
    }
}
