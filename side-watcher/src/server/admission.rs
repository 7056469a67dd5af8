//! Whose changes a relay carries: in an open group everybody's; in a closed one the founders', and whatever one of theirs depends on (docs/DESIGN:
//! "any key that was ever a member, plus whatever an admitted change depends on").

use std::collections::{HashSet, VecDeque};

use bft_json_crdt::change::{Change, ChangeId};
use side_ledger::{Admission, Genesis};

/// Most ids that are remembered as wanted by an admitted change. A forgotten one is wanted again when a further change waits for it.
const MAX_WANTED: usize = 16_384;

/// The admission rule of one group, with what it has to remember.
#[derive(Debug)]
pub(super) struct Admit {
    genesis: Genesis,
    wanted: HashSet<ChangeId>,
    order: VecDeque<ChangeId>,
}

impl Admit {
    pub(super) fn new(genesis: Genesis) -> Self {
        Self { genesis, wanted: HashSet::new(), order: VecDeque::new() }
    }

    /// Whether the replica is to see this change. A refused one may be sent again once somebody needs it.
    pub(super) fn admits(&mut self, change: &Change) -> bool {
        match self.genesis.spec().admission {
            Admission::Open => true,
            Admission::Closed => self.genesis.is_founder(&change.author()) || self.wanted.contains(&change.id()),
        }
    }

    /// An admitted change waits for these: they are admitted as well, whoever wrote them.
    pub(super) fn want(&mut self, ids: &[ChangeId]) {
        if self.genesis.spec().admission == Admission::Open {
            return;
        }
        for &id in ids {
            if self.wanted.insert(id) {
                self.order.push_back(id);
                if self.order.len() > MAX_WANTED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.wanted.remove(&oldest);
                }
            }
        }
    }
}
