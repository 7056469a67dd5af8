//! Which forms of transactions are relayed (`IsStandardTx`, `policy/policy.cpp`).

use bitcoin::{Script, Transaction};

use super::{MAX_STANDARD_TX_WEIGHT, Refusal, dust_outputs};
use crate::script::reader::{self, Reader};

/// Versions that are relayed; 3 is TRUC (BIP431).
const STANDARD_VERSIONS: std::ops::RangeInclusive<i32> = 1..=3;
/// `MAX_STANDARD_SCRIPTSIG_SIZE` in bytes.
const MAX_STANDARD_SCRIPTSIG_SIZE: usize = 1650;
/// `MAX_OP_RETURN_RELAY` in bytes: all data outputs of a transaction together.
const MAX_DATA_CARRIER_SIZE: usize = 100_000;
/// The most keys of a bare multisig output.
const MAX_BARE_MULTISIG_KEYS: i64 = 3;
/// `MAX_DUST_OUTPUTS_PER_TX`.
const MAX_DUST_OUTPUTS: usize = 1;
/// `MAX_PUBKEYS_PER_MULTISIG`, as far as a script is recognised as multisig at all.
const MAX_MULTISIG_KEYS: i64 = 20;

/// What an output script is (`Solver`, `script/solver.cpp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputType {
    NonStandard,
    PublicKey,
    PublicKeyHash,
    ScriptHash,
    Multisig { required: i64, keys: i64 },
    NullData,
    WitnessV0,
    Taproot,
    Anchor,
    UnknownWitness,
}

pub(super) fn output_type(script: &Script) -> OutputType {
    let bytes = script.as_bytes();
    if reader::is_p2sh(bytes) {
        return OutputType::ScriptHash;
    }
    if let Some((version, program)) = reader::witness_program(bytes) {
        return match (version, program.len()) {
            (0, 20 | 32) => OutputType::WitnessV0,
            (0, _) => OutputType::NonStandard,
            (1, 32) => OutputType::Taproot,
            _ if reader::is_anchor(bytes) => OutputType::Anchor,
            _ => OutputType::UnknownWitness,
        };
    }
    match bytes {
        [0x6a, data @ ..] if reader::is_push_only(data) => OutputType::NullData,
        [33 | 65, key @ .., 0xac] if usize::from(bytes[0]) == key.len() && is_key_size(key) => OutputType::PublicKey,
        [0x76, 0xa9, 0x14, .., 0x88, 0xac] if bytes.len() == 25 => OutputType::PublicKeyHash,
        _ => multisig(bytes).unwrap_or(OutputType::NonStandard),
    }
}

fn is_key_size(key: &[u8]) -> bool {
    matches!((key.first(), key.len()), (Some(2 | 3), 33) | (Some(4 | 6 | 7), 65))
}

/// `m keys… n OP_CHECKMULTISIG`
fn multisig(script: &[u8]) -> Option<OutputType> {
    const CHECKMULTISIG: u8 = 0xae;
    let body = script.strip_suffix(&[CHECKMULTISIG])?;
    let mut reader = Reader::new(body);
    let count = |operation: &reader::Operation<'_>| {
        let number = match operation.push {
            [] => reader::small_number(operation.opcode)?,
            [byte] if reader::is_minimal_push(operation) => i64::from(*byte),
            _ => return None,
        };
        (1..=MAX_MULTISIG_KEYS).contains(&number).then_some(number)
    };
    let required = count(&reader.next()?)?;
    let mut keys = 0;
    loop {
        let operation = reader.next()?;
        if is_key_size(operation.push) {
            keys += 1;
            continue;
        }
        let stated = count(&operation)?;
        return (reader.is_at_end() && stated == keys && required <= keys)
            .then_some(OutputType::Multisig { required, keys });
    }
}

/// Checks version, size, scriptSigs, output forms and the number of dust outputs.
pub(crate) fn check_standard(transaction: &Transaction) -> Result<(), Refusal> {
    let refuse = |reason: &'static str| Err(Refusal::new(reason));
    if !STANDARD_VERSIONS.contains(&transaction.version.0) {
        return refuse("version");
    }
    if transaction.weight().to_wu() > MAX_STANDARD_TX_WEIGHT {
        return refuse("tx-size");
    }
    for input in &transaction.input {
        if input.script_sig.len() > MAX_STANDARD_SCRIPTSIG_SIZE {
            return refuse("scriptsig-size");
        }
        if !reader::is_push_only(input.script_sig.as_bytes()) {
            return refuse("scriptsig-not-pushonly");
        }
    }
    let mut data_left = MAX_DATA_CARRIER_SIZE;
    for output in &transaction.output {
        match output_type(&output.script_pubkey) {
            OutputType::NonStandard => return refuse("scriptpubkey"),
            OutputType::Multisig { keys, .. } if keys > MAX_BARE_MULTISIG_KEYS => return refuse("scriptpubkey"),
            OutputType::NullData => match data_left.checked_sub(output.script_pubkey.len()) {
                Some(left) => data_left = left,
                None => return refuse("datacarrier"),
            },
            _ => {}
        }
    }
    if dust_outputs(transaction).count() > MAX_DUST_OUTPUTS {
        return refuse("dust");
    }
    Ok(())
}
