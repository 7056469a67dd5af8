//! OP_CHECKMULTISIG: m signatures by n keys, in the same order.

use super::{Flags, MAX_MULTISIG_KEYS, ScriptError, SigVersion, interpreter::Machine, signature};

/// Runs on the stack `dummy, signatures…, m, keys…, n`, takes all of it off, and tells whether the signatures fit.
pub(super) fn check(machine: &mut Machine<'_, '_>) -> Result<bool, ScriptError> {
    if machine.execution.version == SigVersion::Tapscript {
        return Err(ScriptError::TapscriptCheckMultisig);
    }
    let (flags, version) = (machine.execution.flags, machine.execution.version);
    // Places count from the top of the stack, which is 1.
    let keys = match machine.number(1)? {
        keys @ 0..=MAX_MULTISIG_KEYS => keys as usize,
        _ => return Err(ScriptError::PubkeyCount),
    };
    machine.count_operations(keys)?;
    let first_key = 2;
    let signatures = match machine.number(first_key + keys)? {
        signatures if signatures >= 0 && signatures <= keys as i64 => signatures as usize,
        _ => return Err(ScriptError::SigCount),
    };
    let first_signature = first_key + keys + 1;
    let dummy = first_signature + signatures;
    machine.need(dummy)?;

    let mut code = machine.code().to_vec();
    if version == SigVersion::Base {
        for place in first_signature..dummy {
            code = machine.delete_signature(&code, machine.top(place)?)?;
        }
    }
    let (mut signature_at, mut key_at) = (first_signature, first_key);
    let success = loop {
        let (signatures_left, keys_left) = (dummy - signature_at, first_key + keys - key_at);
        if signatures_left == 0 || signatures_left > keys_left {
            break signatures_left == 0;
        }
        let (signature, key) = (machine.top(signature_at)?, machine.top(key_at)?);
        signature::check_signature_encoding(signature, flags)?;
        signature::check_key_encoding(key, flags, version)?;
        if machine.checker.check_ecdsa(signature, key, &code, version) {
            signature_at += 1;
        }
        key_at += 1;
    };
    if !success && flags.has(Flags::NULLFAIL) {
        for place in first_signature..dummy {
            if !machine.top(place)?.is_empty() {
                return Err(ScriptError::SigNullFail);
            }
        }
    }
    // The first version took one element too many, and so do all since.
    if !machine.top(dummy)?.is_empty() && flags.has(Flags::NULLDUMMY) {
        return Err(ScriptError::SigNullDummy);
    }
    machine.drop(dummy);
    Ok(success)
}
