//! Transactions that are judged together, so that a child can pay for its parents: Core's `testmempoolaccept` and
//! `submitpackage` (`rpc/mempool.cpp`, `AcceptPackage` in `validation.cpp`).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bitcoin::{Amount, Transaction, Txid, Wtxid};

use super::{
    accept::{Accepted, Args, Context, Workspace, check_scripts, outputs_of},
    cluster::{Plan, TooLarge},
    pool::{Event, Mempool},
    replace::Reason,
};
use crate::{
    coins::is_unspendable,
    node::{Departure, PackageReport, PackageTransaction, Rejection, TestAccept},
    policy::{
        self, FeeRate, Kind, MAX_BROADCAST_FEERATE, MAX_PACKAGE_COUNT, MAX_PACKAGE_WEIGHT, Refusal,
        WITNESS_SCALE_FACTOR,
    },
};

/// What Core says of a package in which a transaction failed.
const TRANSACTION_FAILED: &str = "transaction failed";

/// A package refused, and whose fault it is.
#[derive(Debug)]
struct PackageRefusal {
    /// About the package itself, rather than one of its transactions.
    policy: bool,
    message: String,
    /// The transaction that failed, by its place.
    failed: Option<(usize, Refusal)>,
}

impl PackageRefusal {
    fn policy(reason: impl Into<String>) -> PackageRefusal {
        PackageRefusal { policy: true, message: reason.into(), failed: None }
    }

    fn transaction(message: &str, index: usize, refusal: Refusal) -> PackageRefusal {
        PackageRefusal { policy: false, message: message.to_owned(), failed: Some((index, refusal)) }
    }
}

/// A package whose every transaction may enter.
struct JudgedPackage {
    workspaces: Vec<Workspace>,
    plan: Plan,
    replaced: BTreeSet<Txid>,
}

impl Mempool {
    /// Broadcasts a transaction as Core's `sendrawtransaction` does. One that is in the mempool already is fine.
    pub(crate) fn submit(&mut self, transaction: Transaction, context: &Context<'_>) -> Result<Txid, Rejection> {
        refuse_burn(&transaction)?;
        let txid = transaction.compute_txid();
        if outputs_of(&transaction).keys().any(|outpoint| context.coins.get(outpoint).is_some()) {
            let reason = "Transaction outputs already in utxo set".to_owned();
            return Err(Rejection { code: Rejection::ALREADY_IN_CHAIN, reason });
        }
        if self.get(&txid).is_some() {
            return Ok(txid);
        }
        // Core reckons its highest fee with the plain virtual size.
        let most = MAX_BROADCAST_FEERATE.fee(transaction.weight().to_wu().div_ceil(WITNESS_SCALE_FACTOR));
        let judged = self.judge(Arc::new(transaction), Args::SINGLE, context)?;
        if judged.workspace.fee > most {
            let reason = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)".to_owned();
            return Err(Rejection { code: Rejection::ERROR, reason });
        }
        self.admit(judged, context);
        self.trim(context.now);
        if self.get(&txid).is_none() {
            return Err(Refusal::reconsiderable("mempool full", String::new()).into());
        }
        Ok(txid)
    }

    /// Judges transactions without taking them in.
    pub(crate) fn test_accept(
        &mut self,
        transactions: Vec<Transaction>,
        context: &Context<'_>,
    ) -> Result<Vec<TestAccept>, Rejection> {
        refuse_count(&transactions)?;
        let transactions: Vec<Arc<Transaction>> = transactions.into_iter().map(Arc::new).collect();
        let (mut package_error, mut results) = (None, HashMap::new());
        if let [transaction] = &transactions[..] {
            let judged = self.judge(transaction.clone(), Args::SINGLE, context);
            results.insert(0, judged.map(|judged| (judged.workspace.vsize, judged.workspace.fee)));
        } else {
            let args = Args { allow_replacement: false, allow_sibling_eviction: false, ..Args::SINGLE };
            match self.judge_package(&transactions, args, context) {
                Ok(judged) => {
                    for (index, workspace) in judged.workspaces.iter().enumerate() {
                        results.insert(index, Ok((workspace.vsize, workspace.fee)));
                    }
                }
                Err(refusal) => {
                    package_error = refusal.policy.then_some(refusal.message);
                    results.extend(refusal.failed.map(|(index, refusal)| (index, Err(refusal))));
                }
            }
        }
        let report = |(index, transaction): (usize, &Arc<Transaction>)| {
            let mut report = TestAccept {
                txid: transaction.compute_txid(),
                wtxid: transaction.compute_wtxid(),
                package_error: package_error.clone(),
                allowed: None,
                vsize: None,
                fee: None,
                effective_feerate: None,
                effective_includes: Vec::new(),
                reject_reason: None,
                reject_details: None,
            };
            match results.remove(&index) {
                None => {}
                Some(Ok((vsize, fee))) => {
                    report.allowed = Some(true);
                    report.vsize = Some(vsize);
                    report.fee = Some(Amount::from_sat(fee));
                    report.effective_feerate = Some(FeeRate::of(fee, vsize).0);
                    report.effective_includes = vec![report.wtxid];
                }
                Some(Err(refusal)) => {
                    report.allowed = Some(false);
                    if refusal.kind == Kind::MissingInputs {
                        report.reject_reason = Some("missing-inputs".to_owned());
                    } else {
                        report.reject_details = Some(refusal.text());
                        report.reject_reason = Some(refusal.reason.into_owned());
                    }
                }
            }
            report
        };
        Ok(transactions.iter().enumerate().map(report).collect())
    }

    /// Broadcasts a child with its parents, or a single transaction. A transaction that pays more than `max_feerate` is refused.
    pub(crate) fn submit_package(
        &mut self,
        transactions: Vec<Transaction>,
        max_feerate: Option<FeeRate>,
        context: &Context<'_>,
    ) -> Result<PackageReport, Rejection> {
        refuse_count(&transactions)?;
        if transactions.len() > 1 && !is_child_with_parents_tree(&transactions) {
            let reason =
                "package topology disallowed. not child-with-parents or parents depend on each other.".to_owned();
            return Err(Rejection { code: Rejection::ERROR, reason });
        }
        let package: Vec<Arc<Transaction>> = transactions.into_iter().map(Arc::new).collect();
        let before = self.events.len();
        let (message, mut results) = self.accept_package(&package, max_feerate, context);
        let mut report = PackageReport { message, transactions: Vec::new(), replaced: Vec::new() };
        for transaction in &package {
            let (txid, wtxid) = (transaction.compute_txid(), transaction.compute_wtxid());
            let result = results.remove(&wtxid).unwrap_or_else(|| failed("package-not-validated".to_owned()));
            report.transactions.push((wtxid, PackageTransaction { txid, ..result }));
        }
        let replaced = self.events[before..].iter().filter_map(|event| match event {
            Event::Left(txid, Departure::Replaced(_)) => Some(*txid),
            _ => None,
        });
        report.replaced = replaced.collect::<BTreeSet<_>>().into_iter().collect();
        Ok(report)
    }

    /// Each transaction alone first; what pays too little or lacks its parents then is judged together.
    fn accept_package(
        &mut self,
        package: &[Arc<Transaction>],
        max_feerate: Option<FeeRate>,
        context: &Context<'_>,
    ) -> (String, HashMap<Wtxid, PackageTransaction>) {
        if let Err(refusal) = check_well_formed(package) {
            return (refusal.message, HashMap::new());
        }
        let args = Args { max_feerate, ..Args::SINGLE };
        let mut message = None;
        let mut results = HashMap::new();
        let (mut rest, mut quit) = (Vec::new(), false);
        for transaction in package {
            let (txid, wtxid) = (transaction.compute_txid(), transaction.compute_wtxid());
            if let Some(entry) = self.entry(&txid) {
                let known = if entry.wtxid == wtxid {
                    PackageTransaction { vsize: Some(entry.vsize), fee: Some(entry.fee), ..nothing() }
                } else {
                    PackageTransaction { other_wtxid: Some(entry.wtxid), ..nothing() }
                };
                results.insert(wtxid, known);
                continue;
            }
            match self.accept(transaction.clone(), args, context) {
                Ok(accepted) => {
                    results.insert(wtxid, entered(&accepted, FeeRate::of(accepted.fee, accepted.vsize), vec![wtxid]));
                }
                Err(refusal) => {
                    if package.len() == 1 || refusal.kind == Kind::Final {
                        quit = true;
                        message = Some(TRANSACTION_FAILED.to_owned());
                    } else {
                        rest.push(transaction.clone());
                    }
                    results.insert(wtxid, failed(refusal.text()));
                }
            }
        }
        if !quit && !rest.is_empty() {
            message = self.accept_together(&rest, args, context, &mut results);
        }
        self.trim(context.now);
        for transaction in package {
            let wtxid = transaction.compute_wtxid();
            let entered = results.get(&wtxid).is_some_and(|result| result.error.is_none());
            if entered && self.get(&transaction.compute_txid()).is_none() {
                message = Some(TRANSACTION_FAILED.to_owned());
                results.insert(wtxid, failed("mempool full".to_owned()));
            }
        }
        (message.unwrap_or_else(|| "success".to_owned()), results)
    }

    /// Takes in transactions that could not enter alone. Returns what is wrong with the package, if anything is.
    fn accept_together(
        &mut self,
        rest: &[Arc<Transaction>],
        args: Args,
        context: &Context<'_>,
        results: &mut HashMap<Wtxid, PackageTransaction>,
    ) -> Option<String> {
        if let [transaction] = rest {
            // Its parents are in by now.
            let wtxid = transaction.compute_wtxid();
            return match self.accept(transaction.clone(), args, context) {
                Ok(accepted) => {
                    let rate = FeeRate::of(accepted.fee, accepted.vsize);
                    results.insert(wtxid, entered(&accepted, rate, vec![wtxid]));
                    None
                }
                Err(refusal) => {
                    results.insert(wtxid, failed(refusal.text()));
                    Some(TRANSACTION_FAILED.to_owned())
                }
            };
        }
        let args = Args { allow_sibling_eviction: false, package_feerates: true, ..args };
        match self.judge_package(rest, args, context) {
            Ok(judged) => {
                let (fee, vsize) = totals(&judged.workspaces);
                let all: Vec<Wtxid> = judged.workspaces.iter().map(|workspace| workspace.wtxid).collect();
                for workspace in &judged.workspaces {
                    let accepted = Accepted { vsize: workspace.vsize, fee: workspace.fee };
                    results.insert(workspace.wtxid, entered(&accepted, FeeRate::of(fee, vsize), all.clone()));
                }
                self.take_in(judged, context);
                None
            }
            Err(refusal) => {
                if let Some((index, why)) = refusal.failed {
                    results.insert(rest[index].compute_wtxid(), failed(why.text()));
                }
                Some(refusal.message)
            }
        }
    }

    fn take_in(&mut self, judged: JudgedPackage, context: &Context<'_>) {
        let JudgedPackage { workspaces, plan, replaced } = judged;
        let package: HashSet<Txid> = workspaces.iter().map(|workspace| workspace.txid).collect();
        // The child is what pays.
        let by = workspaces.last().map(|workspace| workspace.txid);
        let removed = self
            .children_first(&replaced)
            .into_iter()
            .zip(std::iter::repeat(by))
            .filter_map(|(old, by)| Some((old, Departure::Replaced(by?))))
            .collect();
        let added = workspaces.iter().map(|workspace| workspace.addition(&package, context)).collect();
        self.apply(plan, added, removed);
    }

    /// Judges transactions as one package (`AcceptMultipleTransactionsInternal`).
    fn judge_package(
        &mut self,
        package: &[Arc<Transaction>],
        args: Args,
        context: &Context<'_>,
    ) -> Result<JudgedPackage, PackageRefusal> {
        check_well_formed(package)?;
        let mut workspaces: Vec<Workspace> = Vec::with_capacity(package.len());
        let mut outputs = HashMap::new();
        for (index, transaction) in package.iter().enumerate() {
            let fail = |refusal| PackageRefusal::transaction(TRANSACTION_FAILED, index, refusal);
            let workspace = self.pre_checks(transaction.clone(), args, context, &outputs).map_err(fail)?;
            if let Some(limit) = args.max_feerate
                && limit.is_exceeded_by(workspace.fee, workspace.vsize)
            {
                return Err(fail(Refusal::new("max feerate exceeded")));
            }
            outputs.extend(outputs_of(transaction));
            workspaces.push(workspace);
        }
        let transactions: Vec<&Transaction> = package.iter().map(|transaction| &**transaction).collect();
        for workspace in &workspaces {
            let parents = self.truc_parents(&workspace.parents);
            policy::check_package_truc(&workspace.transaction, workspace.vsize, &parents, &transactions)
                .map_err(|error| PackageRefusal::policy(format!("TRUC-violation, {}", error.detail)))?;
        }
        let (fee, vsize) = totals(&workspaces);
        if args.package_feerates {
            self.check_feerate(fee, vsize, context.now)
                .map_err(|refusal| PackageRefusal::transaction(TRANSACTION_FAILED, workspaces.len() - 1, refusal))?;
        }
        let replaced = if workspaces.iter().any(|workspace| !workspace.conflicts.is_empty()) {
            self.check_package_replacement(&workspaces, fee, vsize)?
        } else {
            BTreeSet::new()
        };
        let inside: HashSet<Txid> = workspaces.iter().map(|workspace| workspace.txid).collect();
        let candidates: Vec<_> = workspaces.iter().map(|workspace| workspace.candidate(&inside)).collect();
        let removed: HashSet<Txid> = replaced.iter().copied().collect();
        let plan = self.plan(&candidates, &removed).map_err(|TooLarge| PackageRefusal::policy("too-large-cluster"))?;
        if !replaced.is_empty() && !self.improves_diagram(&plan) {
            let why = "package RBF failed: insufficient feerate: does not improve feerate diagram";
            return Err(PackageRefusal::policy(why));
        }
        self.check_ephemeral(&workspaces.iter().collect::<Vec<_>>())
            .map_err(|(index, refusal)| PackageRefusal::transaction("unspent-dust", index, refusal))?;
        for (index, workspace) in workspaces.iter().enumerate() {
            check_scripts(workspace)
                .map_err(|refusal| PackageRefusal::transaction(TRANSACTION_FAILED, index, refusal))?;
        }
        Ok(JudgedPackage { workspaces, plan, replaced })
    }

    /// A package replaces only as one parent and one child with no other unconfirmed ancestor (`PackageRBFChecks`).
    fn check_package_replacement(
        &self,
        workspaces: &[Workspace],
        fee: u64,
        vsize: u64,
    ) -> Result<BTreeSet<Txid>, PackageRefusal> {
        let refuse = |why: &str| Err(PackageRefusal::policy(format!("package RBF failed: {why}")));
        let [parent, child] = workspaces else { return refuse("package must be 1-parent-1-child") };
        if workspaces.iter().any(|workspace| !workspace.parents.is_empty()) {
            return refuse("new transaction cannot have mempool ancestors");
        }
        let conflicts = workspaces.iter().flat_map(|workspace| workspace.conflicts.iter().copied()).collect();
        let replaced = match self.replaced_by(child.txid, &conflicts) {
            Ok(replaced) => replaced,
            Err(Reason(detail)) => return refuse(&format!("too many potential replacements, {detail}")),
        };
        if let Err(Reason(detail)) = self.pays_for(&replaced, fee, vsize, child.txid) {
            return refuse(&format!("insufficient anti-DoS fees, {detail}"));
        }
        let is_higher = u128::from(fee) * u128::from(parent.vsize) > u128::from(parent.fee) * u128::from(vsize);
        if !is_higher {
            let rate = |fee, vsize| {
                let rate = FeeRate::of(fee, vsize).0;
                format!("{}.{:08} BTC/kvB", rate / 100_000_000, rate % 100_000_000)
            };
            return refuse(&format!(
                "package feerate is less than or equal to parent feerate, package feerate {} <= parent feerate is {}",
                rate(fee, vsize),
                rate(parent.fee, parent.vsize)
            ));
        }
        Ok(replaced)
    }
}

fn totals(workspaces: &[Workspace]) -> (u64, u64) {
    workspaces.iter().fold((0, 0), |(fee, vsize), workspace| (fee + workspace.fee, vsize + workspace.vsize))
}

fn nothing() -> PackageTransaction {
    PackageTransaction {
        // Its place in the report fills this in.
        txid: <Txid as bitcoin::hashes::Hash>::all_zeros(),
        other_wtxid: None,
        vsize: None,
        fee: None,
        effective_feerate: None,
        effective_includes: Vec::new(),
        error: None,
    }
}

fn failed(error: String) -> PackageTransaction {
    PackageTransaction { error: Some(error), ..nothing() }
}

fn entered(accepted: &Accepted, rate: FeeRate, includes: Vec<Wtxid>) -> PackageTransaction {
    PackageTransaction {
        vsize: Some(accepted.vsize),
        fee: Some(Amount::from_sat(accepted.fee)),
        effective_feerate: Some(rate.0),
        effective_includes: includes,
        ..nothing()
    }
}

fn refuse_count(transactions: &[Transaction]) -> Result<(), Rejection> {
    if (1..=MAX_PACKAGE_COUNT).contains(&transactions.len()) {
        return Ok(());
    }
    let reason = format!("Array must contain between 1 and {MAX_PACKAGE_COUNT} transactions.");
    Err(Rejection { code: Rejection::PARAMETER, reason })
}

/// Money in an output that nobody can spend is taken for a mistake (`maxburnamount`).
fn refuse_burn(transaction: &Transaction) -> Result<(), Rejection> {
    let has_valid_operations = |script: &bitcoin::Script| script.instructions().all(|instruction| instruction.is_ok());
    let burns = transaction.output.iter().any(|output| {
        output.value > Amount::ZERO
            && (is_unspendable(&output.script_pubkey) || !has_valid_operations(&output.script_pubkey))
    });
    if burns {
        let reason = "Unspendable output exceeds maximum configured by user (maxburnamount)".to_owned();
        return Err(Rejection { code: Rejection::ERROR, reason });
    }
    Ok(())
}

/// Size, order and consistency (`IsWellFormedPackage`, `policy/packages.cpp`).
fn check_well_formed(package: &[Arc<Transaction>]) -> Result<(), PackageRefusal> {
    if package.len() > MAX_PACKAGE_COUNT {
        return Err(PackageRefusal::policy("package-too-many-transactions"));
    }
    let weight: u64 = package.iter().map(|transaction| transaction.weight().to_wu()).sum();
    if package.len() > 1 && weight > MAX_PACKAGE_WEIGHT {
        return Err(PackageRefusal::policy("package-too-large"));
    }
    let mut later: HashSet<Txid> = package.iter().map(|transaction| transaction.compute_txid()).collect();
    if later.len() != package.len() {
        return Err(PackageRefusal::policy("package-contains-duplicates"));
    }
    let mut spent = HashSet::new();
    let mut consistent = true;
    for transaction in package {
        if transaction.input.iter().any(|input| later.contains(&input.previous_output.txid)) {
            return Err(PackageRefusal::policy("package-not-sorted"));
        }
        later.remove(&transaction.compute_txid());
        consistent &= !transaction.input.is_empty()
            && transaction.input.iter().all(|input| !spent.contains(&input.previous_output));
        spent.extend(transaction.input.iter().map(|input| input.previous_output));
    }
    if consistent { Ok(()) } else { Err(PackageRefusal::policy("conflict-in-package")) }
}

/// Whether the last is the child of all others, and none of these the parent of another (`IsChildWithParentsTree`).
fn is_child_with_parents_tree(package: &[Transaction]) -> bool {
    let Some((child, parents)) = package.split_last() else { return false };
    let spends: HashSet<Txid> = child.input.iter().map(|input| input.previous_output.txid).collect();
    let parents: HashMap<Txid, &Transaction> = parents.iter().map(|parent| (parent.compute_txid(), parent)).collect();
    parents.keys().all(|txid| spends.contains(txid))
        && parents
            .values()
            .all(|parent| parent.input.iter().all(|input| !parents.contains_key(&input.previous_output.txid)))
}
