//! What a node answers.

use std::collections::BTreeMap;

use bitcoin::{Amount, BlockHash, Txid, Wtxid};

/// Why Bitcoin Core would refuse a transaction or block: its RPC error code and its words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason} (code {code})")]
pub struct Rejection {
    /// Bitcoin Core's RPC error code (`src/rpc/protocol.h`).
    pub code: i32,
    /// Core's reject reason, with its detail after a comma where Core gives one, such as
    /// `min relay fee not met, 0 < 11` or `bad-txns-inputs-missingorspent`.
    pub reason: String,
}

impl Rejection {
    /// `RPC_VERIFY_ERROR`: a general error during validation, such as missing inputs.
    pub const ERROR: i32 = -25;
    /// `RPC_VERIFY_REJECTED`: refused by the rules of consensus or policy.
    pub const REJECTED: i32 = -26;
    /// `RPC_VERIFY_ALREADY_IN_UTXO_SET`: the transaction is in the chain already.
    pub const ALREADY_IN_CHAIN: i32 = -27;
    /// `RPC_DESERIALIZATION_ERROR`: the bytes are no transaction or block.
    pub const DECODE: i32 = -22;
    /// `RPC_INVALID_PARAMETER`: the request itself breaks a limit.
    pub const PARAMETER: i32 = -8;
}

/// The end of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Hash of the last block.
    pub hash: BlockHash,
    /// Its height; the genesis block has 0.
    pub height: u32,
    /// Its time, in seconds since 1970.
    pub time: u32,
    /// The median of the last eleven block times (BIP113), in seconds since 1970.
    pub median_time_past: u32,
}

/// What a reorganisation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reorg {
    /// The dropped blocks, from the old tip down.
    pub disconnected: Vec<BlockHash>,
    /// The new blocks, upward.
    pub connected: Vec<BlockHash>,
}

/// Expected fee rates.
#[derive(Debug, Clone, PartialEq)]
pub struct FeeEstimates {
    /// Confirmation target in blocks → fee rate in sat/vB.
    pub targets: BTreeMap<u16, f64>,
    /// The lowest fee rate that the mempool accepts now, in sat/vB.
    pub minimum: f64,
}

/// What Core's `testmempoolaccept` says about one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct TestAccept {
    /// The transaction's id.
    pub txid: Txid,
    /// Its id with witness.
    pub wtxid: Wtxid,
    /// Why the transactions are no package at all; the other fields are empty then.
    pub package_error: Option<String>,
    /// Accepted or not; `None` where an earlier transaction's failure ended the test.
    pub allowed: Option<bool>,
    /// Virtual size in virtual bytes, if allowed.
    pub vsize: Option<u64>,
    /// What it pays, if allowed.
    pub fee: Option<Amount>,
    /// Fee rate that counts for it, in sat/kvB: its own, or that of a package it was judged in.
    pub effective_feerate: Option<u64>,
    /// Whose fees and sizes are in that rate.
    pub effective_includes: Vec<Wtxid>,
    /// Core's reject reason without detail, if refused (`missing-inputs` for unknown inputs, as in Core).
    pub reject_reason: Option<String>,
    /// Reject reason and detail, if refused.
    pub reject_details: Option<String>,
}

/// What Core's `submitpackage` says.
#[derive(Debug, Clone, PartialEq)]
pub struct PackageReport {
    /// `success`, or why the package as a whole failed.
    pub message: String,
    /// One result for each transaction, in the order of the request.
    pub transactions: Vec<(Wtxid, PackageTransaction)>,
    /// Mempool transactions that the package replaced.
    pub replaced: Vec<Txid>,
}

/// One transaction of a [`PackageReport`].
#[derive(Debug, Clone, PartialEq)]
pub struct PackageTransaction {
    /// Its id.
    pub txid: Txid,
    /// The same transaction with this other witness is in the mempool; the given one was ignored.
    pub other_wtxid: Option<Wtxid>,
    /// Virtual size in virtual bytes, if it is in the mempool now.
    pub vsize: Option<u64>,
    /// What it pays, if it is in the mempool now.
    pub fee: Option<Amount>,
    /// Fee rate that counted for it, in sat/kvB, if it entered by this request.
    pub effective_feerate: Option<u64>,
    /// Whose fees and sizes are in that rate.
    pub effective_includes: Vec<Wtxid>,
    /// Core's reason and detail, if it was refused; `package-not-validated` where another's failure ended the work.
    pub error: Option<String>,
}
