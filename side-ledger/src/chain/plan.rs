//! Which cut the next block has, and what a cut covers.

use std::collections::HashSet;

use bft_json_crdt::causality::{Causality as _, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::replica::Replica;

use super::{Chain, Fault, MAX_UNKNOWN};
use crate::block::MAX_CUT;

/// What the next block would seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its cut.
    pub cut: Vec<ChangeId>,
    /// What it seals, in the one order.
    pub changes: Vec<ChangeIdx>,
}

impl Chain {
    /// The plan of the next block: the first pending changes in the one order, as many as a block may seal and a cut can name. What a proven equivocator
    /// wrote waits until a change of somebody else depends on it: other members may not hold it before.
    pub fn plan(&self, replica: &Replica) -> Plan {
        let dag = replica.dag();
        let most = usize::try_from(self.governance.block_changes).unwrap_or(usize::MAX);
        let pending = self.pending.iter().map(|(_, _, index)| *index);
        let mut changes: Vec<ChangeIdx> = if replica.proof_count() == 0 {
            pending.take(most).collect()
        } else {
            let mut needed: HashSet<ChangeIdx> = HashSet::new();
            let mut kept: Vec<ChangeIdx> = Vec::new();
            for index in pending.rev() {
                if needed.contains(&index) || !replica.is_proven(&dag.author(index)) {
                    needed.extend(dag.parents(index));
                    kept.push(index);
                }
            }
            kept.into_iter().rev().take(most).collect()
        };
        // In the one order parents stand before their children, so that every beginning of it covers its past.
        let mut heads: HashSet<ChangeId> = self.cut().iter().copied().collect();
        let mut fits = 0;
        for (count, index) in changes.iter().enumerate() {
            for parent in dag.parents(*index) {
                heads.remove(&dag.id(parent));
            }
            heads.insert(dag.id(*index));
            if heads.len() <= MAX_CUT {
                fits = count + 1;
            }
        }
        changes.truncate(fits);
        Plan { cut: self.frontier(replica, &changes), changes }
    }

    /// The cut of the last block.
    fn cut(&self) -> &[ChangeId] {
        self.tip().map_or(&[], |sealed| &sealed.block.cut)
    }

    /// The heads of everything sealed and `changes`, ascending.
    fn frontier(&self, replica: &Replica, changes: &[ChangeIdx]) -> Vec<ChangeId> {
        let dag = replica.dag();
        let named: HashSet<ChangeIdx> = changes.iter().flat_map(|index| dag.parents(*index)).collect();
        let old = self.cut().iter().filter(|id| dag.lookup(id).is_none_or(|index| !named.contains(&index)));
        let mut cut: Vec<ChangeId> = old.copied().collect();
        cut.extend(changes.iter().filter(|index| !named.contains(index)).map(|index| dag.id(*index)));
        cut.sort_unstable();
        cut
    }

    /// What a cut covers and the chain does not, in the one order. Walks what it finds and no further.
    pub(super) fn uncovered(&self, replica: &Replica, cut: &[ChangeId]) -> Result<Vec<ChangeIdx>, Fault> {
        let unknown: Vec<ChangeId> = cut.iter().filter(|id| replica.index_of(id).is_none()).copied().collect();
        if !unknown.is_empty() {
            return Err(Fault::Unknown(unknown.into_iter().take(MAX_UNKNOWN).collect()));
        }
        let dag = replica.dag();
        let most = usize::try_from(self.governance.block_changes).unwrap_or(usize::MAX);
        let mut found: HashSet<ChangeIdx> = HashSet::new();
        let mut stack: Vec<ChangeIdx> = cut.iter().filter_map(|id| replica.index_of(id)).collect();
        while let Some(index) = stack.pop() {
            if self.sealed_at(index).is_none() && found.insert(index) {
                if found.len() > most {
                    return Err(Fault::TooMany);
                }
                stack.extend(dag.parents(index));
            }
        }
        let mut changes: Vec<ChangeIdx> = found.into_iter().collect();
        changes.sort_unstable_by(|a, b| dag.order(*a, *b));
        if self.frontier(replica, &changes) != cut {
            return Err(Fault::Cut);
        }
        Ok(changes)
    }
}
