//! Outputs that cost more to spend than they hold, and the one exception: ephemeral dust, which a child must spend
//! (`GetDustThreshold`, `policy/policy.cpp`; `policy/ephemeral_policy.cpp`).

use std::collections::{BTreeSet, HashMap};

use bitcoin::{OutPoint, Transaction, TxOut, Txid};

use super::{FeeRate, Refusal};
use crate::{coins::is_unspendable, script::reader};

/// `DUST_RELAY_TX_FEE` in sat/kvB.
const DUST_RELAY_FEERATE: FeeRate = FeeRate(3000);
/// Bytes of the input that would spend an output: outpoint, script length, signature and key, sequence.
const INPUT_SIZE: u64 = 32 + 4 + 1 + 107 + 4;
/// The same with signature and key in the witness.
const WITNESS_INPUT_SIZE: u64 = 32 + 4 + 1 + 107 / 4 + 4;

/// Below this many satoshis the output is dust: 546 for P2PKH, 294 for P2WPKH, 330 for taproot, 240 for an anchor.
pub(crate) fn dust_threshold(output: &TxOut) -> u64 {
    if is_unspendable(&output.script_pubkey) {
        return 0;
    }
    let is_witness = reader::witness_program(output.script_pubkey.as_bytes()).is_some();
    let input = if is_witness { WITNESS_INPUT_SIZE } else { INPUT_SIZE };
    DUST_RELAY_FEERATE.fee(output.size() as u64 + input)
}

/// Which outputs are dust.
pub(crate) fn dust_outputs(transaction: &Transaction) -> impl Iterator<Item = u32> + '_ {
    (0u32..)
        .zip(&transaction.output)
        .filter(|(_, output)| output.value.to_sat() < dust_threshold(output))
        .map(|(index, _)| index)
}

/// Whoever spends from an unconfirmed transaction must spend all of its dust. The error names the transaction that does not.
/// `parent` finds a transaction of the mempool.
pub(crate) fn check_ephemeral_spends<'a>(
    package: &[&'a Transaction],
    parent: impl Fn(&Txid) -> Option<&'a Transaction>,
) -> Result<(), (usize, Refusal)> {
    let inside: HashMap<Txid, &Transaction> = package.iter().map(|tx| (tx.compute_txid(), *tx)).collect();
    for (index, transaction) in package.iter().enumerate() {
        let parents: BTreeSet<Txid> = transaction.input.iter().map(|input| input.previous_output.txid).collect();
        let mut unspent: BTreeSet<OutPoint> = parents
            .iter()
            .filter_map(|txid| Some((txid, inside.get(txid).copied().or_else(|| parent(txid))?)))
            .flat_map(|(&txid, parent)| dust_outputs(parent).map(move |vout| OutPoint { txid, vout }))
            .collect();
        for input in &transaction.input {
            unspent.remove(&input.previous_output);
        }
        if !unspent.is_empty() {
            let (txid, wtxid) = (transaction.compute_txid(), transaction.compute_wtxid());
            let detail = format!("tx {txid} (wtxid={wtxid}) did not spend parent's ephemeral dust");
            return Err((index, Refusal::with("missing-ephemeral-spends", detail)));
        }
    }
    Ok(())
}
