//! Transactions that wait for a block, by id, by spent output, by script, and in the order of their arrival.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut, Txid};

use super::chain::spendable;
use super::script::{ScriptHash, Stats, Unspent};
use super::{Found, Spend, sum};

/// How many of the last arrivals `/mempool/recent` tells.
pub const RECENT: usize = 10;
/// A step of the fee histogram closes once it holds more virtual bytes than this, as Electrum servers do it.
const HISTOGRAM_STEP: u64 = 50_000;

/// A transaction in the mempool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTransaction {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// What its inputs spend.
    pub spent: Arc<[TxOut]>,
    /// Its fee in satoshis.
    pub fee: u64,
    /// Its virtual size: a quarter of its weight, rounded up.
    pub vsize: u64,
    /// When it entered, in seconds since 1970.
    pub time: u64,
    arrival: u64,
}

impl PoolTransaction {
    /// With what it spends; not confirmed.
    pub fn found(&self) -> Found<'_> {
        Found { transaction: &self.transaction, spent: &self.spent, confirmation: None }
    }

    /// Satoshis a virtual byte.
    pub fn fee_rate(&self) -> f64 {
        self.fee as f64 / self.vsize as f64
    }
}

/// What `/mempool/recent` says of an arrival. It may have left again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Arrival {
    /// The transaction.
    pub txid: Txid,
    /// Its fee in satoshis.
    pub fee: u64,
    /// Its virtual size.
    pub vsize: u64,
    /// What its inputs held, in satoshis.
    pub value: u64,
}

/// The mempool's sums.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Backlog {
    /// How many transactions wait.
    pub count: usize,
    /// Their virtual sizes together.
    pub vsize: u64,
    /// Their fees together, in satoshis.
    pub total_fee: u64,
    /// (satoshis a virtual byte, virtual bytes that pay at least that and less than the step before), dearest first.
    pub fee_histogram: Vec<(f64, u64)>,
}

/// The mempool's tables.
#[derive(Debug, Default)]
pub struct Pool {
    transactions: HashMap<Txid, PoolTransaction>,
    spends: HashMap<OutPoint, Spend>,
    scripts: HashMap<ScriptHash, Waiting>,
    arrivals: BTreeMap<u64, Txid>,
    recent: VecDeque<Arrival>,
    next: u64,
}

/// Transactions that pay or spend a script, by arrival.
#[derive(Debug)]
struct Waiting {
    script: ScriptBuf,
    arrivals: BTreeMap<u64, Txid>,
}

impl Pool {
    /// How many transactions wait.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// A waiting transaction.
    pub fn get(&self, txid: &Txid) -> Option<&PoolTransaction> {
        self.transactions.get(txid)
    }

    /// What spends an output here.
    pub fn spend(&self, outpoint: &OutPoint) -> Option<Spend> {
        self.spends.get(outpoint).copied()
    }

    /// Ids in the order of arrival.
    pub fn txids(&self) -> impl DoubleEndedIterator<Item = &Txid> {
        self.arrivals.values()
    }

    /// Ids in the order of arrival, from the one after `last` on; all, if `last` is not here.
    pub fn txids_after(&self, last: Option<&Txid>) -> impl Iterator<Item = &Txid> {
        let from = last.and_then(|txid| self.get(txid)).map_or(0, |transaction| transaction.arrival + 1);
        self.arrivals.range(from..).map(|(_, txid)| txid)
    }

    /// The last arrivals, newest first.
    pub fn recent(&self) -> &VecDeque<Arrival> {
        &self.recent
    }

    /// A script's waiting transactions, newest first.
    pub fn history(&self, script: &ScriptHash) -> impl Iterator<Item = &PoolTransaction> {
        let arrivals = self.scripts.get(script).into_iter().flat_map(|waiting| waiting.arrivals.values().rev());
        arrivals.map(|txid| &self.transactions[txid])
    }

    /// A script's counts and sums here.
    pub fn stats(&self, script: &ScriptHash) -> Stats {
        let mut stats = Stats::default();
        let Some(waiting) = self.scripts.get(script) else { return stats };
        for transaction in self.history(script) {
            stats.tx_count += 1;
            for output in transaction.transaction.output.iter().filter(|output| output.script_pubkey == waiting.script)
            {
                stats.funded_txo_count += 1;
                stats.funded_txo_sum += output.value.to_sat();
            }
            for output in transaction.spent.iter().filter(|output| output.script_pubkey == waiting.script) {
                stats.spent_txo_count += 1;
                stats.spent_txo_sum += output.value.to_sat();
            }
        }
        stats
    }

    /// Outputs that pay a script, oldest first, spent or not.
    pub(super) fn funded(&self, script: &ScriptHash) -> impl Iterator<Item = Unspent> {
        self.scripts.get(script).into_iter().flat_map(|waiting| {
            waiting.arrivals.values().flat_map(|txid| {
                let outputs = (0..).zip(&self.transactions[txid].transaction.output);
                outputs.filter(|(_, output)| output.script_pubkey == waiting.script).map(|(vout, output)| Unspent {
                    outpoint: OutPoint::new(*txid, vout),
                    value: output.value.to_sat(),
                })
            })
        })
    }

    /// Sums over all waiting transactions, and how their fee rates are spread.
    pub fn backlog(&self) -> Backlog {
        let mut rates: Vec<(f64, u64)> = self.transactions.values().map(|t| (t.fee_rate(), t.vsize)).collect();
        rates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut fee_histogram = Vec::new();
        let (mut step, mut last) = (0, 0.0);
        for &(rate, vsize) in &rates {
            if step > HISTOGRAM_STEP && rate != last {
                fee_histogram.push((last, step));
                step = 0;
            }
            step += vsize;
            last = rate;
        }
        if step > 0 {
            fee_histogram.push((last, step));
        }
        Backlog {
            count: rates.len(),
            vsize: rates.iter().map(|(_, vsize)| vsize).sum(),
            total_fee: self.transactions.values().map(|t| t.fee).sum(),
            fee_histogram,
        }
    }

    pub(super) fn enter(&mut self, transaction: Arc<Transaction>, spent: Arc<[TxOut]>, time: u64) {
        let txid = transaction.compute_txid();
        let arrival = self.next;
        self.next += 1;
        let value = sum(spent.iter());
        let fee =
            value.checked_sub(sum(&transaction.output)).expect("a mempool transaction pays no more than it spends");
        let entered =
            PoolTransaction { fee: fee.to_sat(), vsize: transaction.vsize() as u64, transaction, spent, time, arrival };
        self.recent.push_front(Arrival { txid, fee: entered.fee, vsize: entered.vsize, value: value.to_sat() });
        self.recent.truncate(RECENT);
        for (input, number) in entered.transaction.input.iter().zip(0..) {
            self.spends.insert(input.previous_output, Spend { txid, input: number });
        }
        for script in scripts(&entered) {
            let waiting = self.scripts.entry(ScriptHash::of(script));
            let waiting = waiting.or_insert_with(|| Waiting { script: script.clone(), arrivals: BTreeMap::new() });
            waiting.arrivals.insert(arrival, txid);
        }
        self.arrivals.insert(arrival, txid);
        self.transactions.insert(txid, entered);
    }

    pub(super) fn leave(&mut self, txid: &Txid) {
        let Some(left) = self.transactions.remove(txid) else { return };
        self.arrivals.remove(&left.arrival);
        for input in &left.transaction.input {
            if self.spends.get(&input.previous_output).is_some_and(|spend| spend.txid == *txid) {
                self.spends.remove(&input.previous_output);
            }
        }
        for script in scripts(&left) {
            let script = ScriptHash::of(script);
            if let Some(waiting) = self.scripts.get_mut(&script) {
                waiting.arrivals.remove(&left.arrival);
                if waiting.arrivals.is_empty() {
                    self.scripts.remove(&script);
                }
            }
        }
    }
}

/// The scripts that a transaction pays or spends; one may come twice.
fn scripts(transaction: &PoolTransaction) -> impl Iterator<Item = &ScriptBuf> {
    let paid = spendable(&transaction.transaction).map(|(_, output)| output);
    paid.chain(transaction.spent.iter()).map(|output| &output.script_pubkey)
}
