//! `POST /tx`, `GET /broadcast`, `POST /txs/package` and `POST /txs/test`: transactions that come in.
//!
//! An Esplora server hands them to Bitcoin Core's RPC and passes on what it says, so that errors have its form: the command, its code, its
//! words. `maxfeerate` and `maxburnamount` are Core's guards against a slip of the hand: what pays or burns more is refused.

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use bitcoin::consensus::encode::deserialize;
use bitcoin::{Amount, Transaction, Txid, Wtxid};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::reply::{Refusal, Reply, body, json, text};
use crate::handle::Handle;
use crate::node::{PackageReport, PackageTransaction, Rejection, TestAccept};

/// The longest body, as on the real server: a package of Core's greatest weight, 404,000, fits in as hex.
const MAX_BODY: usize = 1_000_000;
/// Transactions in one package or test.
const MOST_TRANSACTIONS: usize = 25;
/// A transaction in a package or test has at least this many hex digits ...
const SHORTEST_HEX: usize = 120;
/// ... and fewer than this: Core relays none heavier than 400,000 weight units.
const TOO_LONG_HEX: usize = 800_000;
/// Core's `maxfeerate`, in satoshis a thousand virtual bytes, where the caller names none: 0.1 BTC.
const MAX_FEE_RATE: u64 = 10_000_000;
/// Virtual bytes that a fee rate of Core's speaks of.
const KILO: u64 = 1000;

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/tx", post(broadcast))
        .route("/broadcast", get(broadcast_by_query))
        .route("/txs/package", post(package))
        .route("/txs/test", post(test))
}

async fn broadcast(State(chain): State<Handle>, sent: Body) -> Reply {
    let sent = body(sent, MAX_BODY).await?;
    let hex = std::str::from_utf8(&sent).map_err(|error| Refusal::bad(error.to_string()))?;
    send(&chain, hex).await
}

/// How old servers took a transaction.
async fn broadcast_by_query(State(chain): State<Handle>, Query(query): Query<HashMap<String, String>>) -> Reply {
    let hex = query.get("tx").ok_or_else(|| Refusal::bad("Missing tx"))?;
    send(&chain, hex).await
}

async fn send(chain: &Handle, hex: &str) -> Reply {
    const COMMAND: &str = "sendrawtransaction";
    let transaction = decode(hex.trim_ascii()).ok_or_else(|| {
        let reason = "TX decode failed. Make sure the tx has at least one input.".to_string();
        refused(COMMAND, &Rejection { code: Rejection::DECODE, reason })
    })?;
    match chain.submit(transaction).await? {
        Ok(txid) => Ok(text(txid)),
        Err(rejection) => Err(refused(COMMAND, &rejection)),
    }
}

async fn test(State(chain): State<Handle>, Query(query): Query<HashMap<String, String>>, sent: Body) -> Reply {
    const COMMAND: &str = "testmempoolaccept";
    let transactions = several(COMMAND, &body(sent, MAX_BODY).await?)?;
    let guard = Guard::of(&query)?;
    let verdicts = chain.test_accept(transactions).await?.map_err(|rejection| refused(COMMAND, &rejection))?;
    Ok(json(&verdicts.iter().map(|verdict| Verdict::new(verdict, &guard)).collect::<Vec<_>>()))
}

async fn package(State(chain): State<Handle>, Query(query): Query<HashMap<String, String>>, sent: Body) -> Reply {
    const COMMAND: &str = "submitpackage";
    let transactions = several(COMMAND, &body(sent, MAX_BODY).await?)?;
    let guard = Guard::of(&query)?;
    if let Some(rejection) = transactions.iter().find_map(|transaction| guard.burns(transaction)) {
        return Err(refused(COMMAND, &rejection));
    }
    let report = chain.submit_package(transactions, guard.fee_rate).await?;
    Ok(json(&Report(&report.map_err(|rejection| refused(COMMAND, &rejection))?)))
}

/// The transactions of a package or test: a JSON list of hex strings.
fn several(command: &str, sent: &[u8]) -> Result<Vec<Transaction>, Refusal> {
    let hexes: Vec<String> = serde_json::from_slice(sent).map_err(|error| Refusal::bad(error.to_string()))?;
    if hexes.len() > MOST_TRANSACTIONS {
        return Err(Refusal::bad(format!("Exceeded maximum of {MOST_TRANSACTIONS} transactions")));
    }
    for (number, hex) in hexes.iter().enumerate() {
        if !(SHORTEST_HEX..TOO_LONG_HEX).contains(&hex.len()) {
            return Err(Refusal::bad(format!("Invalid transaction size for item {number}")));
        }
        if hex.len() % 2 != 0 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Refusal::bad(format!("Invalid transaction hex for item {number}")));
        }
    }
    let decoded = hexes.iter().map(|hex| {
        decode(hex).ok_or_else(|| {
            let reason = format!("TX decode failed: {hex} Make sure the tx has at least one input.");
            refused(command, &Rejection { code: Rejection::DECODE, reason })
        })
    });
    decoded.collect()
}

fn decode(hex: &str) -> Option<Transaction> {
    deserialize(&hex::decode(hex).ok()?).ok()
}

/// What Core's RPC says, as an Esplora server passes it on.
fn refused(command: &str, rejection: &Rejection) -> Refusal {
    #[derive(Serialize)]
    struct RpcError<'a> {
        code: i32,
        message: &'a str,
    }
    let error = RpcError { code: rejection.code, message: &rejection.reason };
    let error = serde_json::to_string(&error).expect("a number and a string serialise");
    Refusal::bad(format!("{command} RPC error: {error}"))
}

/// What the caller wants to be kept from.
struct Guard {
    /// Satoshis a thousand virtual bytes; none: whatever it costs.
    fee_rate: Option<u64>,
    /// What an output that nobody can spend may hold.
    burn: Amount,
}

impl Guard {
    fn of(query: &HashMap<String, String>) -> Result<Self, Refusal> {
        let bitcoins = |name: &str| {
            let amount = query.get(name).map(|text| {
                let bitcoins = text.parse().ok().and_then(|number| Amount::from_btc(number).ok());
                bitcoins.ok_or_else(|| Refusal::bad(format!("Invalid {name}")))
            });
            amount.transpose()
        };
        let fee_rate = match bitcoins("maxfeerate")? {
            None => Some(MAX_FEE_RATE),
            // In Core, 0 takes the guard away.
            Some(Amount::ZERO) => None,
            Some(rate) => Some(rate.to_sat()),
        };
        Ok(Self { fee_rate, burn: bitcoins("maxburnamount")?.unwrap_or(Amount::ZERO) })
    }

    /// The most that `vsize` virtual bytes may pay.
    fn allows(&self, fee: u64, vsize: u64) -> bool {
        self.fee_rate.is_none_or(|rate| u128::from(fee) * u128::from(KILO) <= u128::from(rate) * u128::from(vsize))
    }

    fn burns(&self, transaction: &Transaction) -> Option<Rejection> {
        let lost = transaction.output.iter().filter(|output| output.script_pubkey.is_op_return());
        let reason = "Unspendable output exceeds maximum configured by user (maxburnamount)".to_string();
        lost.map(|output| output.value)
            .any(|value| value > self.burn)
            .then_some(Rejection { code: Rejection::ERROR, reason })
    }
}

/// A satoshi amount as Core's RPC writes it: in bitcoins.
fn bitcoins(sats: u64) -> f64 {
    Amount::from_sat(sats).to_btc()
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Fees<'a> {
    base: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_feerate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_includes: Option<&'a [Wtxid]>,
}

impl<'a> Fees<'a> {
    fn new(fee: Option<Amount>, rate: Option<u64>, includes: &'a [Wtxid]) -> Option<Self> {
        fee.map(|fee| Fees {
            base: fee.to_btc(),
            effective_feerate: rate.map(bitcoins),
            effective_includes: rate.is_some().then_some(includes),
        })
    }
}

/// An element of `testmempoolaccept`'s answer.
#[derive(Serialize)]
struct Verdict<'a> {
    txid: Txid,
    wtxid: Wtxid,
    #[serde(rename = "package-error", skip_serializing_if = "Option::is_none")]
    package_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fees: Option<Fees<'a>>,
    #[serde(rename = "reject-reason", skip_serializing_if = "Option::is_none")]
    reject_reason: Option<&'a str>,
    #[serde(rename = "reject-details", skip_serializing_if = "Option::is_none")]
    reject_details: Option<&'a str>,
}

impl<'a> Verdict<'a> {
    fn new(verdict: &'a TestAccept, guard: &Guard) -> Self {
        let mut told = Self {
            txid: verdict.txid,
            wtxid: verdict.wtxid,
            package_error: verdict.package_error.as_deref(),
            allowed: verdict.allowed,
            vsize: verdict.vsize,
            fees: Fees::new(verdict.fee, verdict.effective_feerate, &verdict.effective_includes),
            reject_reason: verdict.reject_reason.as_deref(),
            reject_details: verdict.reject_details.as_deref(),
        };
        if let (Some(true), Some(fee), Some(vsize)) = (verdict.allowed, verdict.fee, verdict.vsize)
            && !guard.allows(fee.to_sat(), vsize)
        {
            told.allowed = Some(false);
            told.reject_reason = Some("max-fee-exceeded");
            (told.vsize, told.fees) = (None, None);
        }
        told
    }
}

/// `submitpackage`'s answer.
struct Report<'a>(&'a PackageReport);

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Results<'a>(&'a [(Wtxid, PackageTransaction)]);
        impl Serialize for Results<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(wtxid, result)| (wtxid, PackageResult::new(result))))
            }
        }
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("package_msg", &self.0.message)?;
        map.serialize_entry("tx-results", &Results(&self.0.transactions))?;
        map.serialize_entry("replaced-transactions", &self.0.replaced)?;
        map.end()
    }
}

#[derive(Serialize)]
struct PackageResult<'a> {
    txid: Txid,
    #[serde(rename = "other-wtxid", skip_serializing_if = "Option::is_none")]
    other_wtxid: Option<Wtxid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fees: Option<Fees<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> PackageResult<'a> {
    fn new(result: &'a PackageTransaction) -> Self {
        Self {
            txid: result.txid,
            other_wtxid: result.other_wtxid,
            vsize: result.vsize,
            fees: Fees::new(result.fee, result.effective_feerate, &result.effective_includes),
            error: result.error.as_deref(),
        }
    }
}
