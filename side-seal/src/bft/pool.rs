//! The proposed blocks that are known and not final yet.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::BlockId;

use super::proposal::Proposal;

/// Most proposals of one sealer that are kept. An honest one has at most one upon each block that is not final, and only its own can push its own out.
pub const MAX_PROPOSALS: usize = 32;

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) proposal: Proposal,
    /// Whether it is good, once that is known. It depends on nothing but the block and its ancestors.
    pub(super) verdict: Option<bool>,
    /// Whether it is on disk.
    pub(super) kept: bool,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    candidates: HashMap<BlockId, Candidate>,
    /// Oldest first.
    by_proposer: BTreeMap<AuthorId, VecDeque<BlockId>>,
}

impl Pool {
    pub(super) fn get(&self, id: &BlockId) -> Option<&Candidate> {
        self.candidates.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &BlockId) -> Option<&mut Candidate> {
        self.candidates.get_mut(id)
    }

    /// What this proposer proposed upon that block.
    pub(super) fn upon(&self, parent: &BlockId, proposer: &AuthorId) -> Option<&Proposal> {
        let own = self.by_proposer.get(proposer)?;
        own.iter().map(|id| &self.candidates[id].proposal).find(|proposal| proposal.block().parent == *parent)
    }

    /// The good ones, in the order of their heights.
    pub(super) fn good(&self) -> Vec<&Proposal> {
        let good = self.candidates.values().filter(|candidate| candidate.verdict == Some(true));
        let mut good: Vec<&Proposal> = good.map(|candidate| &candidate.proposal).collect();
        good.sort_unstable_by_key(|proposal| (proposal.block().height, proposal.id()));
        good
    }

    /// Tells whether it was news.
    pub(super) fn insert(&mut self, proposal: Proposal, kept: bool) -> bool {
        let id = proposal.id();
        if self.candidates.contains_key(&id) {
            return false;
        }
        let own = self.by_proposer.entry(proposal.proposer()).or_default();
        if own.len() >= MAX_PROPOSALS {
            // What was voted for may be needed to build upon.
            let voted = |id: &BlockId| self.candidates[id].verdict == Some(true);
            let at = own.iter().position(|id| !voted(id)).unwrap_or(0);
            if let Some(id) = own.remove(at) {
                self.candidates.remove(&id);
            }
        }
        own.push_back(id);
        self.candidates.insert(id, Candidate { proposal, verdict: None, kept });
        true
    }

    /// Forgets what lies at or below a final height.
    pub(super) fn prune(&mut self, height: u64) {
        self.candidates.retain(|_, candidate| candidate.proposal.block().height.0 > height);
        for own in self.by_proposer.values_mut() {
            own.retain(|id| self.candidates.contains_key(id));
        }
        self.by_proposer.retain(|_, own| !own.is_empty());
    }
}
