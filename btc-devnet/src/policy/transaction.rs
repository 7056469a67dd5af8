//! What can be said of a transaction without its inputs (`CheckTransaction`, `consensus/tx_check.cpp`).

use std::collections::HashSet;

use bitcoin::{OutPoint, Transaction};

use super::{MAX_BLOCK_WEIGHT, MAX_MONEY, Refusal, WITNESS_SCALE_FACTOR};

/// Bytes that the scriptSig of a coinbase may have.
const COINBASE_SCRIPT_SIZE: std::ops::RangeInclusive<usize> = 2..=100;

/// Checks the rules that need no context.
pub(crate) fn check_transaction(transaction: &Transaction) -> Result<(), Refusal> {
    let refuse = |reason: &'static str| Err(Refusal::new(reason));
    if transaction.input.is_empty() {
        return refuse("bad-txns-vin-empty");
    }
    if transaction.output.is_empty() {
        return refuse("bad-txns-vout-empty");
    }
    if transaction.base_size() as u64 * WITNESS_SCALE_FACTOR > MAX_BLOCK_WEIGHT {
        return refuse("bad-txns-oversize");
    }
    let mut total = 0u64;
    for output in &transaction.output {
        let value = output.value.to_sat();
        // Core's amounts are signed.
        if value > i64::MAX as u64 {
            return refuse("bad-txns-vout-negative");
        }
        if value > MAX_MONEY {
            return refuse("bad-txns-vout-toolarge");
        }
        total += value;
        if total > MAX_MONEY {
            return refuse("bad-txns-txouttotal-toolarge");
        }
    }
    let mut inputs = HashSet::with_capacity(transaction.input.len());
    if !transaction.input.iter().all(|input| inputs.insert(input.previous_output)) {
        return refuse("bad-txns-inputs-duplicate");
    }
    if transaction.is_coinbase() {
        if !COINBASE_SCRIPT_SIZE.contains(&transaction.input[0].script_sig.len()) {
            return refuse("bad-cb-length");
        }
    } else if transaction.input.iter().any(|input| input.previous_output == OutPoint::null()) {
        return refuse("bad-txns-prevout-null");
    }
    Ok(())
}
