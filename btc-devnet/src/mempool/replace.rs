//! When a transaction may take the place of others that spend the same coins: full RBF, by the fee-rate diagram
//! (`ReplacementChecks`, `validation.cpp`; `policy/rbf.cpp`). No transaction has to signal that it may be replaced.

use std::collections::{BTreeSet, HashSet};

use bitcoin::Txid;

use super::{
    accept::Workspace,
    cluster::{Candidate, Plan},
    diagram,
    pool::Mempool,
};
use crate::policy::{INCREMENTAL_RELAY_FEERATE, MAX_REPLACEMENT_CLUSTERS, Refusal, format_money};

/// What a broken rule of replacement says beside its name.
pub(super) struct Reason(pub(super) String);

impl Mempool {
    /// Everything that goes with these transactions, if it is not too much at once.
    pub(super) fn replaced_by(&self, txid: Txid, conflicts: &BTreeSet<Txid>) -> Result<BTreeSet<Txid>, Reason> {
        let clusters: HashSet<_> = conflicts.iter().filter_map(|txid| Some(self.get(txid)?.cluster)).collect();
        if clusters.len() > MAX_REPLACEMENT_CLUSTERS {
            return Err(Reason(format!(
                "rejecting replacement {txid}; too many conflicting clusters ({} > {MAX_REPLACEMENT_CLUSTERS})",
                clusters.len()
            )));
        }
        Ok(self.with_descendants(conflicts.iter().copied()))
    }

    /// A replacement pays at least what it replaces, and for its own relay on top.
    pub(super) fn pays_for(&self, replaced: &BTreeSet<Txid>, fee: u64, vsize: u64, txid: Txid) -> Result<(), Reason> {
        let old: u64 = replaced.iter().filter_map(|txid| self.get(txid)).map(|entry| entry.public.fee.to_sat()).sum();
        let Some(additional) = fee.checked_sub(old) else {
            let (fee, old) = (format_money(fee), format_money(old));
            return Err(Reason(format!("rejecting replacement {txid}, less fees than conflicting txs; {fee} < {old}")));
        };
        let least = INCREMENTAL_RELAY_FEERATE.fee(vsize);
        if additional < least {
            let (additional, least) = (format_money(additional), format_money(least));
            return Err(Reason(format!(
                "rejecting replacement {txid}, not enough additional fees to relay; {additional} < {least}"
            )));
        }
        Ok(())
    }

    /// Whether the mempool's fee-rate diagram gets better by `plan`.
    pub(super) fn improves_diagram(&self, plan: &Plan) -> bool {
        diagram::improves(&self.dissolved_chunks(plan), &plan.chunks())
    }

    /// Checks a single transaction that conflicts with the mempool. Returns the plan and what it replaces.
    pub(super) fn replacement_checks(
        &self,
        workspace: &Workspace,
        candidate: Candidate,
    ) -> Result<(Plan, BTreeSet<Txid>), Refusal> {
        let (txid, conflicts) = (workspace.txid, &workspace.conflicts);
        let suffix = if workspace.sibling_eviction { " (including sibling eviction)" } else { "" };
        let replaced = self
            .replaced_by(txid, conflicts)
            .map_err(|Reason(detail)| Refusal::with(format!("too many potential replacements{suffix}"), detail))?;
        self.pays_for(&replaced, workspace.fee, workspace.vsize, txid)
            .map_err(|Reason(detail)| Refusal::reconsiderable(format!("insufficient fee{suffix}"), detail))?;
        let removed: HashSet<Txid> = replaced.iter().copied().collect();
        let plan = self.plan(&[candidate], &removed).map_err(|_| Refusal::new("too-large-cluster"))?;
        if !self.improves_diagram(&plan) {
            let detail = "insufficient feerate: does not improve feerate diagram".to_owned();
            return Err(Refusal::reconsiderable("replacement-failed", detail));
        }
        let ancestors = self.with_ancestors(workspace.parents.iter().copied());
        if let Some(ancestor) = ancestors.iter().find(|ancestor| conflicts.contains(*ancestor)) {
            let detail = format!("{txid} spends conflicting transaction {ancestor}");
            return Err(Refusal::with("bad-txns-spends-conflicting-tx", detail));
        }
        Ok((plan, replaced))
    }
}
