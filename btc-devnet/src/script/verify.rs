//! Verifies that an input may spend its output.

use std::{cell::RefCell, sync::LazyLock};

use bitcoin::{
    TapLeafHash, TapNodeHash, TapTweakHash, Transaction, TxOut, Witness, XOnlyPublicKey,
    consensus::encode::VarInt,
    hashes::{Hash, HashEngine, sha256},
    secp256k1::{Parity, Secp256k1, VerifyOnly},
    sighash::SighashCache,
};

use super::{
    Execution, Flags, MAX_ELEMENT_SIZE, MAX_STACK_SIZE, ScriptError, SigVersion, SignatureChecker, TransactionChecker,
    checker::TaprootContext,
    evaluate,
    interpreter::Stack,
    number,
    reader::{self, Reader},
};

static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

const TAPSCRIPT_LEAF: u8 = 0xc0;
const LEAF_MASK: u8 = 0xfe;
const ANNEX_TAG: u8 = 0x50;
const CONTROL_BASE_SIZE: usize = 33;
const CONTROL_NODE_SIZE: usize = 32;
const CONTROL_MAX_NODES: usize = 128;
/// What a tapscript may check beyond what its witness weighs (BIP342).
const VALIDATION_WEIGHT_OFFSET: i64 = 50;

/// Verifies all inputs. `spent` has one output for each. The error names the first input that fails.
pub(crate) fn verify_transaction(
    transaction: &Transaction,
    spent: &[TxOut],
    flags: Flags,
) -> Result<(), (usize, ScriptError)> {
    let cache = RefCell::new(SighashCache::new(transaction));
    for (index, (input, output)) in transaction.input.iter().zip(spent).enumerate() {
        let checker = TransactionChecker::new(transaction, spent, index, &cache, &SECP);
        let (signature, key) = (input.script_sig.as_bytes(), output.script_pubkey.as_bytes());
        verify(signature, key, &input.witness, flags, &checker).map_err(|error| (index, error))?;
    }
    Ok(())
}

/// Verifies that `script_sig` and `witness` satisfy `script_pubkey`.
pub(crate) fn verify(
    script_sig: &[u8],
    script_pubkey: &[u8],
    witness: &Witness,
    flags: Flags,
    checker: &dyn SignatureChecker,
) -> Result<(), ScriptError> {
    if flags.has(Flags::SIGPUSHONLY) && !reader::is_push_only(script_sig) {
        return Err(ScriptError::SigPushOnly);
    }
    let run = |stack: &mut Stack, script: &[u8]| {
        evaluate(stack, script, &mut Execution::new(flags, SigVersion::Base), checker)
    };
    let must_be_true = |stack: &Stack| match stack.last() {
        Some(top) if number::is_true(top) => Ok(()),
        _ => Err(ScriptError::EvalFalse),
    };
    let mut stack = Stack::new();
    run(&mut stack, script_sig)?;
    let pushed = stack.clone();
    run(&mut stack, script_pubkey)?;
    must_be_true(&stack)?;

    let mut had_witness = false;
    if flags.has(Flags::WITNESS)
        && let Some((version, program)) = reader::witness_program(script_pubkey)
    {
        had_witness = true;
        if !script_sig.is_empty() {
            return Err(ScriptError::WitnessMalleated);
        }
        verify_witness_program(witness, version, program, flags, checker, false)?;
        stack.truncate(1);
    }
    if flags.has(Flags::P2SH) && reader::is_p2sh(script_pubkey) {
        if !reader::is_push_only(script_sig) {
            return Err(ScriptError::SigPushOnly);
        }
        stack = pushed;
        // The script compared the hash of the top, so there is one.
        let redeem = stack.pop().ok_or(ScriptError::EvalFalse)?;
        run(&mut stack, &redeem)?;
        must_be_true(&stack)?;
        if flags.has(Flags::WITNESS)
            && let Some((version, program)) = reader::witness_program(&redeem)
        {
            had_witness = true;
            if script_sig != reader::push_script(&redeem) {
                return Err(ScriptError::WitnessMalleatedP2sh);
            }
            verify_witness_program(witness, version, program, flags, checker, true)?;
            stack.truncate(1);
        }
    }
    if flags.has(Flags::CLEANSTACK) && stack.len() != 1 {
        return Err(ScriptError::CleanStack);
    }
    if flags.has(Flags::WITNESS) && !had_witness && !witness.is_empty() {
        return Err(ScriptError::WitnessUnexpected);
    }
    Ok(())
}

fn verify_witness_program(
    witness: &Witness,
    version: u8,
    program: &[u8],
    flags: Flags,
    checker: &dyn SignatureChecker,
    is_p2sh: bool,
) -> Result<(), ScriptError> {
    let mut items: Vec<&[u8]> = witness.iter().collect();
    match (version, program.len()) {
        (0, 32) => {
            let script = items.pop().ok_or(ScriptError::WitnessProgramWitnessEmpty)?;
            if sha256::Hash::hash(script).as_byte_array() != program {
                return Err(ScriptError::WitnessProgramMismatch);
            }
            execute(&items, script, &mut Execution::new(flags, SigVersion::WitnessV0), checker)
        }
        (0, 20) => {
            if items.len() != 2 {
                return Err(ScriptError::WitnessProgramMismatch);
            }
            // OP_DUP OP_HASH160 <program> OP_EQUALVERIFY OP_CHECKSIG
            let script = [&[0x76, 0xa9, 0x14], program, &[0x88, 0xac]].concat();
            execute(&items, &script, &mut Execution::new(flags, SigVersion::WitnessV0), checker)
        }
        (0, _) => Err(ScriptError::WitnessProgramWrongLength),
        (1, 32) if !is_p2sh => verify_taproot(witness, items, program, flags, checker),
        (1, 2) if !is_p2sh && program == [0x4e, 0x73] => Ok(()),
        _ if flags.has(Flags::DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM) => {
            Err(ScriptError::DiscourageUpgradableWitnessProgram)
        }
        _ => Ok(()),
    }
}

/// BIP341.
fn verify_taproot(
    witness: &Witness,
    mut items: Vec<&[u8]>,
    program: &[u8],
    flags: Flags,
    checker: &dyn SignatureChecker,
) -> Result<(), ScriptError> {
    if !flags.has(Flags::TAPROOT) {
        return Ok(());
    }
    let annex = match items.last() {
        Some([ANNEX_TAG, ..]) if items.len() >= 2 => items.pop(),
        _ => None,
    };
    let Some(last) = items.pop() else { return Err(ScriptError::WitnessProgramWitnessEmpty) };
    let Some(script) = items.pop() else {
        return checker.check_schnorr(last, program, &TaprootContext { annex, leaf: None });
    };
    let control = last;
    let path = control.len().checked_sub(CONTROL_BASE_SIZE).ok_or(ScriptError::TaprootWrongControlSize)?;
    if path % CONTROL_NODE_SIZE != 0 || path / CONTROL_NODE_SIZE > CONTROL_MAX_NODES {
        return Err(ScriptError::TaprootWrongControlSize);
    }
    let leaf = leaf_hash(control[0] & LEAF_MASK, script);
    if !commits_to(control, program, leaf) {
        return Err(ScriptError::WitnessProgramMismatch);
    }
    if control[0] & LEAF_MASK == TAPSCRIPT_LEAF {
        let mut execution = Execution::new(flags, SigVersion::Tapscript);
        execution.leaf = Some(leaf);
        execution.annex = annex;
        execution.weight_left = witness.size() as i64 + VALIDATION_WEIGHT_OFFSET;
        return execute(&items, script, &mut execution, checker);
    }
    if flags.has(Flags::DISCOURAGE_UPGRADABLE_TAPROOT_VERSION) {
        return Err(ScriptError::DiscourageUpgradableTaprootVersion);
    }
    Ok(())
}

fn leaf_hash(version: u8, script: &[u8]) -> TapLeafHash {
    let mut engine = TapLeafHash::engine();
    engine.input(&[version]);
    engine.input(&bitcoin::consensus::serialize(&VarInt::from(script.len())));
    engine.input(script);
    TapLeafHash::from_engine(engine)
}

/// Whether the output key commits to the leaf by the path in the control block.
fn commits_to(control: &[u8], program: &[u8], leaf: TapLeafHash) -> bool {
    let (Ok(internal), Ok(output)) =
        (XOnlyPublicKey::from_slice(&control[1..CONTROL_BASE_SIZE]), XOnlyPublicKey::from_slice(program))
    else {
        return false;
    };
    let root =
        control[CONTROL_BASE_SIZE..].chunks_exact(CONTROL_NODE_SIZE).fold(TapNodeHash::from(leaf), |node, step| {
            let step: [u8; CONTROL_NODE_SIZE] = step.try_into().expect("chunks have this size");
            TapNodeHash::from_node_hashes(node, TapNodeHash::assume_hidden(step))
        });
    let parity = if control[0] & 1 == 1 { Parity::Odd } else { Parity::Even };
    let tweak = TapTweakHash::from_key_and_tweak(internal, Some(root)).to_scalar();
    internal.tweak_add_check(&*SECP, &output, parity, tweak)
}

/// Runs a witness script. It must leave exactly one element, and that must be true.
fn execute(
    items: &[&[u8]],
    script: &[u8],
    execution: &mut Execution<'_>,
    checker: &dyn SignatureChecker,
) -> Result<(), ScriptError> {
    if execution.version == SigVersion::Tapscript {
        let mut reader = Reader::new(script);
        while !reader.is_at_end() {
            let operation = reader.next().ok_or(ScriptError::BadOpcode)?;
            if is_op_success(operation.opcode) {
                let discouraged = execution.flags.has(Flags::DISCOURAGE_OP_SUCCESS);
                return if discouraged { Err(ScriptError::DiscourageOpSuccess) } else { Ok(()) };
            }
        }
        if items.len() > MAX_STACK_SIZE {
            return Err(ScriptError::StackSize);
        }
    }
    if items.iter().any(|item| item.len() > MAX_ELEMENT_SIZE) {
        return Err(ScriptError::PushSize);
    }
    let mut stack: Stack = items.iter().map(|item| item.to_vec()).collect();
    evaluate(&mut stack, script, execution, checker)?;
    match &stack[..] {
        [top] if number::is_true(top) => Ok(()),
        [_] => Err(ScriptError::EvalFalse),
        _ => Err(ScriptError::CleanStack),
    }
}

/// BIP342: opcodes that make a tapscript succeed at once, kept for later rules.
fn is_op_success(opcode: u8) -> bool {
    matches!(opcode, 80 | 98 | 126..=129 | 131..=134 | 137..=138 | 141..=142 | 149..=153 | 187..=254)
}
