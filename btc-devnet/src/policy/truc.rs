//! Transactions of version 3, "topologically restricted until confirmation" (BIP431, `policy/truc_policy.cpp`): one parent and
//! one child at most, both small, so that a child's fee can always be raised.

use bitcoin::{Transaction, Txid, Wtxid};

const TRUC_VERSION: i32 = 3;
/// `TRUC_MAX_VSIZE` in virtual bytes.
const MAX_VSIZE: u64 = 10_000;
/// `TRUC_CHILD_MAX_VSIZE` in virtual bytes.
const CHILD_MAX_VSIZE: u64 = 1_000;
/// `TRUC_ANCESTOR_LIMIT`, itself included.
const ANCESTOR_LIMIT: usize = 2;
/// `TRUC_DESCENDANT_LIMIT`, itself included.
const DESCENDANT_LIMIT: usize = 2;

/// A parent in the mempool.
#[derive(Debug, Clone)]
pub(crate) struct MempoolParent {
    pub(crate) txid: Txid,
    pub(crate) wtxid: Wtxid,
    pub(crate) version: i32,
    /// Ancestors in the mempool, itself included.
    pub(crate) ancestors: usize,
    /// Descendants in the mempool beside itself, each with the number of its ancestors, itself included.
    pub(crate) descendants: Vec<(Txid, usize)>,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrucError {
    pub(crate) detail: String,
    /// The parent's other child, if replacing it would heal this.
    pub(crate) sibling: Option<Txid>,
}

impl TrucError {
    fn new(detail: String) -> TrucError {
        TrucError { detail, sibling: None }
    }
}

fn name(transaction: &Transaction) -> String {
    format!("tx {} (wtxid={})", transaction.compute_txid(), transaction.compute_wtxid())
}

/// Versions must be inherited: version 3 spends from unconfirmed version 3 only, and the other way round.
fn check_inheritance(transaction: &Transaction, version: i32, txid: Txid, wtxid: Wtxid) -> Result<(), TrucError> {
    let own = name(transaction);
    match (transaction.version.0 == TRUC_VERSION, version == TRUC_VERSION) {
        (false, true) => {
            Err(TrucError::new(format!("non-version=3 {own} cannot spend from version=3 tx {txid} (wtxid={wtxid})")))
        }
        (true, false) => {
            Err(TrucError::new(format!("version=3 {own} cannot spend from non-version=3 tx {txid} (wtxid={wtxid})")))
        }
        _ => Ok(()),
    }
}

fn too_big(transaction: &Transaction, what: &str, vsize: u64, limit: u64) -> TrucError {
    TrucError::new(format!("version=3 {what}{} is too big: {vsize} > {limit} virtual bytes", name(transaction)))
}

fn too_many_ancestors(transaction: &Transaction) -> TrucError {
    TrucError::new(format!("{} would have too many ancestors", name(transaction)))
}

/// Checks a transaction against its parents in the mempool. `replaces` tells which mempool transactions it would replace.
pub(crate) fn check_single_truc(
    transaction: &Transaction,
    vsize: u64,
    parents: &[MempoolParent],
    replaces: impl Fn(&Txid) -> bool,
) -> Result<(), TrucError> {
    for parent in parents {
        check_inheritance(transaction, parent.version, parent.txid, parent.wtxid)?;
    }
    if transaction.version.0 != TRUC_VERSION {
        return Ok(());
    }
    if vsize > MAX_VSIZE {
        return Err(too_big(transaction, "", vsize, MAX_VSIZE));
    }
    if parents.len() + 1 > ANCESTOR_LIMIT {
        return Err(too_many_ancestors(transaction));
    }
    let Some(parent) = parents.first() else { return Ok(()) };
    if parent.ancestors + 1 > ANCESTOR_LIMIT {
        return Err(too_many_ancestors(transaction));
    }
    if vsize > CHILD_MAX_VSIZE {
        return Err(too_big(transaction, "child ", vsize, CHILD_MAX_VSIZE));
    }
    let replaced = parent.descendants.iter().any(|(txid, _)| replaces(txid));
    if parent.descendants.len() + 2 > DESCENDANT_LIMIT && !replaced {
        // A sibling can make room only if it is the one descendant and has no other ancestor.
        let sibling = match parent.descendants[..] {
            [(txid, 2)] => Some(txid),
            _ => None,
        };
        let detail = format!("tx {} (wtxid={}) would exceed descendant count limit", parent.txid, parent.wtxid);
        return Err(TrucError { detail, sibling });
    }
    Ok(())
}

/// Checks one transaction of a package against its parents in the mempool and in the package.
pub(crate) fn check_package_truc(
    transaction: &Transaction,
    vsize: u64,
    parents: &[MempoolParent],
    package: &[&Transaction],
) -> Result<(), TrucError> {
    let own = transaction.compute_txid();
    let inside: Vec<&Transaction> = package
        .iter()
        .copied()
        .filter(|other| {
            let txid = other.compute_txid();
            txid != own && transaction.input.iter().any(|input| input.previous_output.txid == txid)
        })
        .collect();
    if transaction.version.0 != TRUC_VERSION {
        for parent in parents {
            check_inheritance(transaction, parent.version, parent.txid, parent.wtxid)?;
        }
        for parent in inside {
            check_inheritance(transaction, parent.version.0, parent.compute_txid(), parent.compute_wtxid())?;
        }
        return Ok(());
    }
    if parents.len() + inside.len() + 1 > ANCESTOR_LIMIT
        || parents.first().is_some_and(|parent| parent.ancestors + inside.len() + 1 > ANCESTOR_LIMIT)
    {
        return Err(too_many_ancestors(transaction));
    }
    let (txid, wtxid, version, has_descendant) = match (parents.first(), inside.first()) {
        (Some(parent), _) => (parent.txid, parent.wtxid, parent.version, !parent.descendants.is_empty()),
        (None, Some(parent)) => (parent.compute_txid(), parent.compute_wtxid(), parent.version.0, false),
        (None, None) => return Ok(()),
    };
    if vsize > CHILD_MAX_VSIZE {
        return Err(too_big(transaction, "child ", vsize, CHILD_MAX_VSIZE));
    }
    check_inheritance(transaction, version, txid, wtxid)?;
    let too_many_descendants =
        || TrucError::new(format!("tx {txid} (wtxid={wtxid}) would exceed descendant count limit"));
    for other in package.iter().filter(|other| other.compute_txid() != own) {
        for input in &other.input {
            if input.previous_output.txid == txid {
                return Err(too_many_descendants());
            }
            if input.previous_output.txid == own {
                return Err(too_many_ancestors(other));
            }
        }
    }
    if has_descendant { Err(too_many_descendants()) } else { Ok(()) }
}
