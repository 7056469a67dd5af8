//! How signatures and keys must be written.

use bitcoin::secp256k1::ecdsa;

use super::{Flags, ScriptError, SigVersion};

const SIGHASH_ANYONE_CAN_PAY: u8 = 0x80;

/// Checks the form of an ECDSA signature with its hash type. An empty signature is a well-formed way to fail.
pub(crate) fn check_signature_encoding(signature: &[u8], flags: Flags) -> Result<(), ScriptError> {
    let Some((&hash_type, der)) = signature.split_last() else { return Ok(()) };
    if flags.has(Flags::DERSIG | Flags::LOW_S | Flags::STRICTENC) && !is_strict_der(signature) {
        return Err(ScriptError::SigDer);
    }
    if flags.has(Flags::LOW_S) && !has_low_s(der) {
        return Err(ScriptError::SigHighS);
    }
    if flags.has(Flags::STRICTENC) && !(1..=3).contains(&(hash_type & !SIGHASH_ANYONE_CAN_PAY)) {
        return Err(ScriptError::SigHashtype);
    }
    Ok(())
}

/// Checks the form of a key for an ECDSA signature.
pub(crate) fn check_key_encoding(key: &[u8], flags: Flags, version: SigVersion) -> Result<(), ScriptError> {
    let compressed = matches!(key, [2 | 3, ..] if key.len() == 33);
    let uncompressed = matches!(key, [4, ..] if key.len() == 65);
    if flags.has(Flags::STRICTENC) && !compressed && !uncompressed {
        return Err(ScriptError::PubkeyType);
    }
    if flags.has(Flags::WITNESS_PUBKEYTYPE) && version == SigVersion::WitnessV0 && !compressed {
        return Err(ScriptError::WitnessPubkeyType);
    }
    Ok(())
}

/// BIP66: `30 len 02 len R 02 len S hashtype`, R and S positive and not padded.
fn is_strict_der(signature: &[u8]) -> bool {
    let length = signature.len();
    if !(9..=73).contains(&length) || signature[0] != 0x30 || usize::from(signature[1]) != length - 3 {
        return false;
    }
    let r_length = usize::from(signature[3]);
    if 5 + r_length >= length {
        return false;
    }
    let s_length = usize::from(signature[5 + r_length]);
    if r_length + s_length + 7 != length {
        return false;
    }
    let is_integer = |tag: u8, bytes: &[u8]| match bytes {
        _ if tag != 0x02 => false,
        [] => false,
        [first, ..] if first & 0x80 != 0 => false,
        [0, second, ..] => second & 0x80 != 0,
        _ => true,
    };
    is_integer(signature[2], &signature[4..4 + r_length])
        && is_integer(signature[4 + r_length], &signature[6 + r_length..6 + r_length + s_length])
}

/// Whether S is at most half the group's order.
fn has_low_s(der: &[u8]) -> bool {
    ecdsa::Signature::from_der_lax(der).is_ok_and(|signature| {
        let mut low = signature;
        low.normalize_s();
        low == signature
    })
}
