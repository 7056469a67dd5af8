//! What a transaction's inputs must be (`Consensus::CheckTxInputs`, `consensus/tx_verify.cpp`, and
//! `ValidateInputsStandardness`, `policy/policy.cpp`).

use bitcoin::{Amount, Script, Transaction, TxOut};

use super::{
    COINBASE_MATURITY, MAX_MONEY, Refusal, format_money,
    standard::{OutputType, output_type},
};
use crate::script::{Execution, Flags, NoSignatures, SigVersion, evaluate, reader};

/// `MAX_P2SH_SIGOPS`.
const MAX_P2SH_SIGOPS: usize = 15;
/// `MAX_TX_LEGACY_SIGOPS` (BIP54).
const MAX_TX_LEGACY_SIGOPS: usize = 2_500;

/// A coin that an input spends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpentCoin {
    pub(crate) output: TxOut,
    /// Height of the block that created it; `None` while it is unconfirmed.
    pub(crate) height: Option<u32>,
    pub(crate) coinbase: bool,
}

/// Checks maturity and amounts for the block at `height`. Returns the fee.
pub(crate) fn check_inputs(transaction: &Transaction, spent: &[SpentCoin], height: u32) -> Result<Amount, Refusal> {
    let mut value_in = 0u64;
    for coin in spent {
        if let (true, Some(created)) = (coin.coinbase, coin.height) {
            let depth = height.saturating_sub(created);
            if depth < COINBASE_MATURITY {
                let detail = format!("tried to spend coinbase at depth {depth}");
                return Err(Refusal::with("bad-txns-premature-spend-of-coinbase", detail));
            }
        }
        value_in += coin.output.value.to_sat();
        if value_in > MAX_MONEY {
            return Err(Refusal::new("bad-txns-inputvalues-outofrange"));
        }
    }
    let value_out = transaction.output.iter().map(|output| output.value.to_sat()).sum();
    value_in.checked_sub(value_out).map(Amount::from_sat).ok_or_else(|| {
        let (value_in, value_out) = (format_money(value_in), format_money(value_out));
        Refusal::with("bad-txns-in-belowout", format!("value in ({value_in}) < value out ({value_out})"))
    })
}

/// Checks that the spent outputs have known forms and few signature operations outside witnesses.
pub(crate) fn check_input_standardness(transaction: &Transaction, spent: &[SpentCoin]) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::with("bad-txns-nonstandard-inputs", detail));
    let mut sigops = 0;
    for (input, coin) in transaction.input.iter().zip(spent) {
        sigops += input.script_sig.count_sigops() + executed_sigops(&coin.output.script_pubkey, &input.script_sig);
        if sigops > MAX_TX_LEGACY_SIGOPS {
            return refuse("non-witness sigops exceed bip54 limit".into());
        }
    }
    for (index, (input, coin)) in transaction.input.iter().zip(spent).enumerate() {
        match output_type(&coin.output.script_pubkey) {
            OutputType::NonStandard => return refuse(format!("input {index} script unknown")),
            OutputType::UnknownWitness => return refuse(format!("input {index} witness program is undefined")),
            OutputType::ScriptHash => {
                let mut stack = Vec::new();
                let mut execution = Execution::new(Flags::NONE, SigVersion::Base);
                if let Err(error) = evaluate(&mut stack, input.script_sig.as_bytes(), &mut execution, &NoSignatures) {
                    return refuse(format!("p2sh scriptsig malformed (input {index}: {error})"));
                }
                let Some(redeem) = stack.last() else {
                    return refuse(format!("input {index} P2SH redeemscript missing"));
                };
                let count = Script::from_bytes(redeem).count_sigops();
                if count > MAX_P2SH_SIGOPS {
                    return refuse(format!(
                        "p2sh redeemscript sigops exceed limit (input {index}: {count} > {MAX_P2SH_SIGOPS})"
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Signature operations of the spent script, or of the script that its hash stands for (`CScript::GetSigOpCount(scriptSig)`).
fn executed_sigops(script_pubkey: &Script, script_sig: &Script) -> usize {
    if !reader::is_p2sh(script_pubkey.as_bytes()) {
        return script_pubkey.count_sigops();
    }
    last_push(script_sig.as_bytes()).map_or(0, |redeem| Script::from_bytes(redeem).count_sigops())
}

/// What a push-only script pushes last.
fn last_push(script: &[u8]) -> Option<&[u8]> {
    let mut reader = reader::Reader::new(script);
    let mut last: &[u8] = &[];
    while !reader.is_at_end() {
        let operation = reader.next()?;
        if operation.opcode > 0x60 {
            return None;
        }
        last = operation.push;
    }
    Some(last)
}
