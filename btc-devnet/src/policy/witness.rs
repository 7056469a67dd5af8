//! Which witnesses are relayed (`IsWitnessStandard`, `policy/policy.cpp`).

use bitcoin::Transaction;

use super::SpentCoin;
use crate::script::{Execution, Flags, NoSignatures, SigVersion, evaluate, reader};

/// `MAX_STANDARD_P2WSH_SCRIPT_SIZE` in bytes.
const MAX_P2WSH_SCRIPT_SIZE: usize = 3600;
/// `MAX_STANDARD_P2WSH_STACK_ITEMS`.
const MAX_P2WSH_STACK_ITEMS: usize = 100;
/// `MAX_STANDARD_P2WSH_STACK_ITEM_SIZE` in bytes.
const MAX_P2WSH_STACK_ITEM_SIZE: usize = 80;
/// `MAX_STANDARD_TAPSCRIPT_STACK_ITEM_SIZE` in bytes.
const MAX_TAPSCRIPT_STACK_ITEM_SIZE: usize = 80;
const ANNEX_TAG: u8 = 0x50;
const TAPSCRIPT_LEAF: u8 = 0xc0;
const LEAF_MASK: u8 = 0xfe;

/// Whether every witness keeps the limits of its kind. `spent` has a coin for each input.
pub(crate) fn is_witness_standard(transaction: &Transaction, spent: &[SpentCoin]) -> bool {
    transaction.input.iter().zip(spent).filter(|(input, _)| !input.witness.is_empty()).all(|(input, coin)| {
        let mut script = coin.output.script_pubkey.as_bytes().to_vec();
        if reader::is_anchor(&script) {
            return false;
        }
        let is_p2sh = reader::is_p2sh(&script);
        if is_p2sh {
            let mut stack = Vec::new();
            let mut execution = Execution::new(Flags::NONE, SigVersion::Base);
            let pushed = evaluate(&mut stack, input.script_sig.as_bytes(), &mut execution, &NoSignatures);
            match (pushed, stack.pop()) {
                (Ok(()), Some(redeem)) => script = redeem,
                _ => return false,
            }
        }
        let Some((version, program)) = reader::witness_program(&script) else { return false };
        let items: Vec<&[u8]> = input.witness.iter().collect();
        match (version, program.len()) {
            (0, 32) => is_p2wsh_standard(&items),
            (1, 32) if !is_p2sh => is_taproot_standard(&items),
            _ => true,
        }
    })
}

fn is_p2wsh_standard(items: &[&[u8]]) -> bool {
    items.split_last().is_none_or(|(script, stack)| {
        script.len() <= MAX_P2WSH_SCRIPT_SIZE
            && stack.len() <= MAX_P2WSH_STACK_ITEMS
            && stack.iter().all(|item| item.len() <= MAX_P2WSH_STACK_ITEM_SIZE)
    })
}

fn is_taproot_standard(items: &[&[u8]]) -> bool {
    match items {
        [_, .., [ANNEX_TAG, ..]] => false,
        // Script path: the stack, the script, the control block.
        [stack @ .., _, control] => match control.first() {
            None => false,
            Some(first) if first & LEAF_MASK == TAPSCRIPT_LEAF => {
                stack.iter().all(|item| item.len() <= MAX_TAPSCRIPT_STACK_ITEM_SIZE)
            }
            Some(_) => true,
        },
        _ => items.len() == 1,
    }
}
