//! Whether a transaction enters: the steps of Core's `MemPoolAccept` (`validation.cpp`), in the same order, so that the same
//! rule speaks first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid, Wtxid};

use super::{
    cluster::{Candidate, Plan},
    pool::{Addition, Mempool},
};
use crate::{
    chain::Chain,
    coins::Coins,
    kernel,
    node::{Departure, MempoolEntry},
    policy::{self, FeeRate, MempoolParent, Refusal, SpentCoin},
    script::{Flags, verify_transaction},
};

/// What the mempool looks at beyond itself.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) coins: &'a Coins,
    /// Seconds since 1970 by the chain's clock.
    pub(crate) now: u32,
}

/// How strictly a transaction is judged (`ATMPArgs`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Args {
    /// It may replace transactions that spend the same coins.
    pub(super) allow_replacement: bool,
    /// It may replace the other child of a TRUC parent.
    pub(super) allow_sibling_eviction: bool,
    /// Fees are judged for the whole package, not here.
    pub(super) package_feerates: bool,
    /// It comes from a dropped block: fees, TRUC and ephemeral dust are not judged.
    pub(super) bypass_limits: bool,
    /// More than this is taken for a mistake.
    pub(super) max_feerate: Option<FeeRate>,
}

impl Args {
    /// A single broadcast transaction.
    pub(super) const SINGLE: Args = Args {
        allow_replacement: true,
        allow_sibling_eviction: true,
        package_feerates: false,
        bypass_limits: false,
        max_feerate: None,
    };
    /// A transaction of a dropped block.
    pub(super) const RETURNING: Args = Args { bypass_limits: true, ..Args::SINGLE };
}

/// A transaction on its way through the checks.
#[derive(Debug, Clone)]
pub(super) struct Workspace {
    pub(super) transaction: Arc<Transaction>,
    pub(super) txid: Txid,
    pub(super) wtxid: Wtxid,
    pub(super) spent: Vec<SpentCoin>,
    pub(super) fee: u64,
    pub(super) weight: u64,
    pub(super) sigop_cost: u64,
    pub(super) vsize: u64,
    /// Mempool transactions that spend the same coins, or a TRUC sibling.
    pub(super) conflicts: BTreeSet<Txid>,
    pub(super) sibling_eviction: bool,
    /// What it spends from in the mempool.
    pub(super) parents: BTreeSet<Txid>,
}

/// A transaction that may enter, and what changes by it.
pub(super) struct Judged {
    pub(super) workspace: Workspace,
    plan: Plan,
    replaced: BTreeSet<Txid>,
}

/// What was accepted.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) vsize: u64,
    pub(super) fee: u64,
}

impl Workspace {
    /// Weight adjusted for signature operations.
    pub(super) fn adjusted_weight(&self) -> u64 {
        policy::adjusted_weight(self.weight, self.sigop_cost)
    }

    fn spent_outputs(&self) -> Vec<TxOut> {
        self.spent.iter().map(|coin| coin.output.clone()).collect()
    }

    /// As part of a plan. `package` are transactions that would be added with it.
    pub(super) fn candidate(&self, package: &HashSet<Txid>) -> Candidate {
        let inputs = self.transaction.input.iter().map(|input| input.previous_output.txid);
        let parents = self.parents.iter().copied().chain(inputs.filter(|txid| package.contains(txid))).collect();
        Candidate { txid: self.txid, fee: self.fee, weight: self.adjusted_weight(), parents }
    }

    pub(super) fn addition(&self, package: &HashSet<Txid>, context: &Context<'_>) -> Addition {
        let has_lock = self.transaction.lock_time.to_consensus_u32() != 0
            || self.transaction.input.iter().any(|input| input.sequence.is_relative_lock_time());
        Addition {
            public: MempoolEntry {
                transaction: self.transaction.clone(),
                txid: self.txid,
                wtxid: self.wtxid,
                spent: self.spent_outputs().into(),
                fee: Amount::from_sat(self.fee),
                weight: self.weight,
                vsize: self.vsize,
                sigop_cost: self.sigop_cost,
                time: context.now,
                height: context.chain.height(),
            },
            weight: self.adjusted_weight(),
            parents: self.candidate(package).parents,
            timed: has_lock || self.spent.iter().any(|coin| coin.coinbase),
        }
    }
}

impl Mempool {
    /// Judges a transaction and takes it in. The caller keeps the mempool within its size afterwards.
    pub(super) fn accept(
        &mut self,
        transaction: Arc<Transaction>,
        args: Args,
        context: &Context<'_>,
    ) -> Result<Accepted, Refusal> {
        let judged = self.judge(transaction, args, context)?;
        let accepted = Accepted { vsize: judged.workspace.vsize, fee: judged.workspace.fee };
        self.admit(judged, context);
        Ok(accepted)
    }

    /// Takes in what has been judged, on the mempool as it was then.
    pub(super) fn admit(&mut self, judged: Judged, context: &Context<'_>) {
        let Judged { workspace, plan, replaced } = judged;
        let by = Departure::Replaced(workspace.txid);
        let removed = self.children_first(&replaced).into_iter().map(|old| (old, by)).collect();
        self.apply(plan, vec![workspace.addition(&HashSet::new(), context)], removed);
    }

    /// Judges a single transaction. Returns what would change.
    pub(super) fn judge(
        &mut self,
        transaction: Arc<Transaction>,
        args: Args,
        context: &Context<'_>,
    ) -> Result<Judged, Refusal> {
        let workspace = self.pre_checks(transaction, args, context, &HashMap::new())?;
        let candidate = workspace.candidate(&HashSet::new());
        let (plan, replaced) = if workspace.conflicts.is_empty() {
            let plan = self.plan(&[candidate], &HashSet::new()).map_err(|_| Refusal::new("too-large-cluster"))?;
            (plan, BTreeSet::new())
        } else {
            self.replacement_checks(&workspace, candidate)?
        };
        if let Some(limit) = args.max_feerate
            && limit.is_exceeded_by(workspace.fee, workspace.vsize)
        {
            return Err(Refusal::new("max feerate exceeded"));
        }
        if !args.bypass_limits {
            self.check_ephemeral(&[&workspace]).map_err(|(_, refusal)| refusal)?;
        }
        check_scripts(&workspace)?;
        Ok(Judged { workspace, plan, replaced })
    }

    /// Every check but those of replacements, clusters and scripts. `package` holds outputs of transactions that come with it.
    pub(super) fn pre_checks(
        &mut self,
        transaction: Arc<Transaction>,
        args: Args,
        context: &Context<'_>,
        package: &HashMap<OutPoint, TxOut>,
    ) -> Result<Workspace, Refusal> {
        policy::check_transaction(&transaction)?;
        if transaction.is_coinbase() {
            return Err(Refusal::new("coinbase"));
        }
        policy::check_standard(&transaction)?;
        if transaction.base_size() < policy::MIN_STANDARD_TX_NONWITNESS_SIZE {
            return Err(Refusal::new("tx-size-small"));
        }
        if !policy::is_final(&transaction, context.chain) {
            return Err(Refusal::new("non-final"));
        }
        let (txid, wtxid) = (transaction.compute_txid(), transaction.compute_wtxid());
        if let Some(entry) = self.get(&txid) {
            let same = entry.public.wtxid == wtxid;
            return Err(Refusal::new(if same {
                "txn-already-in-mempool"
            } else {
                "txn-same-nonwitness-data-in-mempool"
            }));
        }
        let spenders = transaction.input.iter().filter_map(|input| self.spender(&input.previous_output));
        let mut conflicts: BTreeSet<Txid> = spenders.copied().collect();
        if !conflicts.is_empty() && !args.allow_replacement {
            return Err(Refusal::new("bip125-replacement-disallowed"));
        }
        let spent = self.look_up(&transaction, txid, context, package)?;
        if !policy::check_sequence_locks(&transaction, &spent, context.chain) {
            return Err(Refusal::new("non-BIP68-final"));
        }
        let fee = policy::check_inputs(&transaction, &spent, context.chain.height() + 1)?.to_sat();
        policy::check_input_standardness(&transaction, &spent)?;
        if !policy::is_witness_standard(&transaction, &spent) {
            return Err(Refusal::new("bad-witness-nonstandard"));
        }
        let outputs: HashMap<OutPoint, &TxOut> =
            transaction.input.iter().zip(&spent).map(|(input, coin)| (input.previous_output, &coin.output)).collect();
        let sigop_cost =
            transaction.total_sigop_cost(|outpoint| outputs.get(outpoint).map(|&output| output.clone())) as u64;
        let weight = transaction.weight().to_wu();
        let vsize = policy::vsize(policy::adjusted_weight(weight, sigop_cost));
        if fee != 0 && policy::dust_outputs(&transaction).next().is_some() {
            return Err(Refusal::with("dust", "tx with dust output must be 0-fee".into()));
        }
        if sigop_cost > policy::MAX_STANDARD_TX_SIGOPS_COST {
            return Err(Refusal::with("bad-txns-too-many-sigops", sigop_cost.to_string()));
        }
        if !args.bypass_limits && !args.package_feerates {
            self.check_feerate(fee, vsize, context.now)?;
        }
        let parents = self.parents_of(&transaction);
        let mut sibling_eviction = false;
        if !args.bypass_limits {
            let truc_parents = self.truc_parents(&parents);
            let checked =
                policy::check_single_truc(&transaction, vsize, &truc_parents, |txid| conflicts.contains(txid));
            match checked {
                Ok(()) => {}
                Err(policy::TrucError { sibling: Some(sibling), .. }) if args.allow_sibling_eviction => {
                    conflicts.insert(sibling);
                    sibling_eviction = true;
                }
                Err(error) => return Err(Refusal::with("TRUC-violation", error.detail)),
            }
        }
        Ok(Workspace {
            transaction,
            txid,
            wtxid,
            spent,
            fee,
            weight,
            sigop_cost,
            vsize,
            conflicts,
            sibling_eviction,
            parents,
        })
    }

    /// The coins that a transaction spends: from its package, the mempool or the chain.
    fn look_up(
        &self,
        transaction: &Transaction,
        txid: Txid,
        context: &Context<'_>,
        package: &HashMap<OutPoint, TxOut>,
    ) -> Result<Vec<SpentCoin>, Refusal> {
        let coins = transaction.input.iter().map(|input| self.coin(&input.previous_output, context, package));
        coins.collect::<Option<Vec<_>>>().ok_or_else(|| {
            let outputs = (0..transaction.output.len() as u32).map(|vout| OutPoint { txid, vout });
            let known = outputs.into_iter().any(|outpoint| context.coins.get(&outpoint).is_some());
            if known { Refusal::new("txn-already-known") } else { Refusal::missing_inputs() }
        })
    }

    pub(super) fn coin(
        &self,
        outpoint: &OutPoint,
        context: &Context<'_>,
        package: &HashMap<OutPoint, TxOut>,
    ) -> Option<SpentCoin> {
        if let Some(output) = package.get(outpoint).or_else(|| self.output(outpoint)) {
            return Some(SpentCoin { output: output.clone(), height: None, coinbase: false });
        }
        let coin = context.coins.get(outpoint)?;
        Some(SpentCoin { output: coin.output.clone(), height: Some(coin.height), coinbase: coin.coinbase })
    }

    pub(super) fn check_feerate(&mut self, fee: u64, vsize: u64, now: u32) -> Result<(), Refusal> {
        let fullness = self.bytes as f64 / self.limit.max(1) as f64;
        let floors = [
            ("mempool min fee not met", self.floor.at(now, fullness).fee(vsize)),
            ("min relay fee not met", policy::MIN_RELAY_FEERATE.fee(vsize)),
        ];
        for (reason, least) in floors {
            if fee < least {
                return Err(Refusal::reconsiderable(reason, format!("{fee} < {least}")));
            }
        }
        Ok(())
    }

    pub(super) fn check_ephemeral(&self, package: &[&Workspace]) -> Result<(), (usize, Refusal)> {
        let transactions: Vec<&Transaction> = package.iter().map(|workspace| &*workspace.transaction).collect();
        policy::check_ephemeral_spends(&transactions, |txid| Some(&*self.get(txid)?.public.transaction))
    }

    pub(super) fn truc_parents(&self, parents: &BTreeSet<Txid>) -> Vec<MempoolParent> {
        let ancestors = |txid: Txid| self.with_ancestors([txid]).len();
        parents
            .iter()
            .filter_map(|txid| {
                let entry = self.get(txid)?;
                let mut descendants = self.with_descendants([*txid]);
                descendants.remove(txid);
                Some(MempoolParent {
                    txid: *txid,
                    wtxid: entry.public.wtxid,
                    version: entry.public.transaction.version.0,
                    ancestors: ancestors(*txid),
                    descendants: descendants.into_iter().map(|txid| (txid, ancestors(txid))).collect(),
                })
            })
            .collect()
    }
}

/// Checks scripts by policy, then by Core's own code.
pub(super) fn check_scripts(workspace: &Workspace) -> Result<(), Refusal> {
    let spent = workspace.spent_outputs();
    let transaction = &*workspace.transaction;
    verify_transaction(transaction, &spent, Flags::STANDARD).map_err(|(index, error)| {
        let outpoint = transaction.input[index].previous_output;
        let (txid, wtxid) = (workspace.txid, workspace.wtxid);
        Refusal::with(
            format!("mempool-script-verify-flag-failed ({error})"),
            format!("input {index} of {txid} (wtxid {wtxid}), spending {}:{}", outpoint.txid, outpoint.vout),
        )
    })?;
    if kernel::scripts_are_valid(transaction, &spent) {
        return Ok(());
    }
    // The stricter rules must not let anything pass that consensus refuses.
    tracing::error!(txid = %workspace.txid, "Core refuses scripts that this program's policy accepts: a bug, please report it");
    Err(Refusal::new("block-script-verify-flag-failed (unknown error)"))
}

/// The outputs of transactions by outpoint.
pub(super) fn outputs_of(transaction: &Transaction) -> BTreeMap<OutPoint, TxOut> {
    let txid = transaction.compute_txid();
    (0..).zip(&transaction.output).map(|(vout, output)| (OutPoint { txid, vout }, output.clone())).collect()
}
