//! The stack machine.

use bitcoin::{
    TapLeafHash,
    hashes::{Hash, hash160, ripemd160, sha1, sha256, sha256d},
    opcodes::all as op,
};

use super::{
    Flags, MAX_ELEMENT_SIZE, MAX_OPS, MAX_SCRIPT_SIZE, MAX_STACK_SIZE, ScriptError, SignatureChecker,
    checker::TaprootContext,
    multisig,
    number::{self, OPERAND_SIZE},
    reader::{self, Operation, Reader},
    signature,
};

/// Which generation of scripts runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SigVersion {
    /// Before segregated witness, and P2SH.
    Base,
    /// P2WPKH and P2WSH (BIP143).
    WitnessV0,
    /// Leaf version 0xc0 (BIP342).
    Tapscript,
}

/// What a script runs with beside its stack.
#[derive(Debug, Clone)]
pub(crate) struct Execution<'a> {
    pub(crate) flags: Flags,
    pub(crate) version: SigVersion,
    /// The leaf that runs, for tapscript.
    pub(crate) leaf: Option<TapLeafHash>,
    /// The annex, with its first byte.
    pub(crate) annex: Option<&'a [u8]>,
    /// How much signature checking a tapscript has left, in weight units.
    pub(crate) weight_left: i64,
}

impl Execution<'_> {
    pub(crate) fn new(flags: Flags, version: SigVersion) -> Self {
        Execution { flags, version, leaf: None, annex: None, weight_left: 0 }
    }
}

/// What each signature check that passes costs a tapscript, in weight units (BIP342).
const WEIGHT_PER_SIGNATURE: i64 = 50;
/// Lock times may have a byte more than other operands, since they are unsigned in transactions.
const LOCK_TIME_SIZE: usize = 5;
const SEQUENCE_DISABLE: i64 = 1 << 31;
const FIRST_COUNTED_OPCODE: u8 = 0x61;

pub(super) type Stack = Vec<Vec<u8>>;

/// Runs `script` on `stack`.
pub(crate) fn evaluate(
    stack: &mut Stack,
    script: &[u8],
    execution: &mut Execution<'_>,
    checker: &dyn SignatureChecker,
) -> Result<(), ScriptError> {
    if execution.version != SigVersion::Tapscript && script.len() > MAX_SCRIPT_SIZE {
        return Err(ScriptError::ScriptSize);
    }
    let mut machine = Machine {
        script,
        reader: Reader::new(script),
        stack,
        alt: Vec::new(),
        branches: Vec::new(),
        code_from: 0,
        separator: u32::MAX,
        operations: 0,
        execution,
        checker,
    };
    let mut position = 0u32;
    while !machine.reader.is_at_end() {
        machine.step(position)?;
        position += 1;
        if machine.stack.len() + machine.alt.len() > MAX_STACK_SIZE {
            return Err(ScriptError::StackSize);
        }
    }
    if machine.branches.is_empty() { Ok(()) } else { Err(ScriptError::UnbalancedConditional) }
}

pub(super) struct Machine<'m, 'a> {
    script: &'m [u8],
    reader: Reader<'m>,
    pub(super) stack: &'m mut Stack,
    alt: Stack,
    /// One entry for each open OP_IF: whether its branch runs.
    branches: Vec<bool>,
    /// Where the code that signatures commit to begins.
    code_from: usize,
    /// Position of the last executed OP_CODESEPARATOR, counted in operations.
    separator: u32,
    pub(super) operations: usize,
    pub(super) execution: &'m mut Execution<'a>,
    pub(super) checker: &'m dyn SignatureChecker,
}

impl Machine<'_, '_> {
    fn step(&mut self, position: u32) -> Result<(), ScriptError> {
        // The number of open branches that do not run would do; the lists are short.
        let runs = self.branches.iter().all(|&branch| branch);
        let operation = self.reader.next().ok_or(ScriptError::BadOpcode)?;
        let opcode = bitcoin::Opcode::from(operation.opcode);
        if operation.push.len() > MAX_ELEMENT_SIZE {
            return Err(ScriptError::PushSize);
        }
        if self.execution.version != SigVersion::Tapscript && operation.opcode >= FIRST_COUNTED_OPCODE {
            self.count_operations(1)?;
        }
        if is_disabled(opcode) {
            return Err(ScriptError::DisabledOpcode);
        }
        if opcode == op::OP_CODESEPARATOR
            && self.execution.version == SigVersion::Base
            && self.has(Flags::CONST_SCRIPTCODE)
        {
            return Err(ScriptError::OpCodeSeparator);
        }
        if operation.opcode <= 0x4e {
            return if runs { self.push(&operation) } else { Ok(()) };
        }
        let is_branching = (op::OP_IF.to_u8()..=op::OP_ENDIF.to_u8()).contains(&operation.opcode);
        if runs || is_branching { self.execute(opcode, runs, position) } else { Ok(()) }
    }

    pub(super) fn has(&self, flags: Flags) -> bool {
        self.execution.flags.has(flags)
    }

    pub(super) fn count_operations(&mut self, count: usize) -> Result<(), ScriptError> {
        self.operations += count;
        if self.operations > MAX_OPS { Err(ScriptError::OpCount) } else { Ok(()) }
    }

    fn push(&mut self, operation: &Operation<'_>) -> Result<(), ScriptError> {
        if self.has(Flags::MINIMALDATA) && !reader::is_minimal_push(operation) {
            return Err(ScriptError::MinimalData);
        }
        self.stack.push(operation.push.to_vec());
        Ok(())
    }

    fn execute(&mut self, opcode: bitcoin::Opcode, runs: bool, position: u32) -> Result<(), ScriptError> {
        if let Some(bytes) = reader::small_number_bytes(opcode.to_u8()) {
            self.stack.push(bytes);
            return Ok(());
        }
        match opcode {
            op::OP_NOP => {}
            op::OP_CLTV => self.check_lock_time()?,
            op::OP_CSV => self.check_sequence()?,
            op::OP_NOP1
            | op::OP_NOP4
            | op::OP_NOP5
            | op::OP_NOP6
            | op::OP_NOP7
            | op::OP_NOP8
            | op::OP_NOP9
            | op::OP_NOP10 => {
                if self.has(Flags::DISCOURAGE_UPGRADABLE_NOPS) {
                    return Err(ScriptError::DiscourageUpgradableNops);
                }
            }
            op::OP_IF | op::OP_NOTIF => {
                let branch = if runs { self.condition()? == (opcode == op::OP_IF) } else { false };
                self.branches.push(branch);
            }
            op::OP_ELSE => {
                let branch = self.branches.last_mut().ok_or(ScriptError::UnbalancedConditional)?;
                *branch = !*branch;
            }
            op::OP_ENDIF => {
                self.branches.pop().ok_or(ScriptError::UnbalancedConditional)?;
            }
            op::OP_VERIFY => {
                if !number::is_true(self.top(1)?) {
                    return Err(ScriptError::Verify);
                }
                self.stack.pop();
            }
            op::OP_RETURN => return Err(ScriptError::OpReturn),
            op::OP_CODESEPARATOR => {
                self.code_from = self.reader.position;
                self.separator = position;
            }
            op::OP_CHECKSIG | op::OP_CHECKSIGVERIFY => {
                let success = self.check_signature(2, 1)?;
                self.drop(2);
                self.verdict(success, opcode == op::OP_CHECKSIGVERIFY, ScriptError::CheckSigVerify)?;
            }
            op::OP_CHECKSIGADD => {
                if self.execution.version != SigVersion::Tapscript {
                    return Err(ScriptError::BadOpcode);
                }
                self.need(3)?;
                let count = self.number(2)?;
                let success = self.check_signature(3, 1)?;
                self.drop(3);
                self.stack.push(number::write(count + i64::from(success)));
            }
            op::OP_CHECKMULTISIG | op::OP_CHECKMULTISIGVERIFY => {
                let success = multisig::check(self)?;
                self.verdict(success, opcode == op::OP_CHECKMULTISIGVERIFY, ScriptError::CheckMultisigVerify)?;
            }
            _ => {
                if !self.shuffle(opcode)? && !self.calculate(opcode)? && !self.hash(opcode)? {
                    return Err(ScriptError::BadOpcode);
                }
            }
        }
        Ok(())
    }

    /// The argument of OP_IF and OP_NOTIF.
    fn condition(&mut self) -> Result<bool, ScriptError> {
        let argument = self.top(1)?;
        let minimal = argument.is_empty() || argument[..] == [1];
        match self.execution.version {
            SigVersion::Tapscript if !minimal => return Err(ScriptError::TapscriptMinimalIf),
            SigVersion::WitnessV0 if !minimal && self.has(Flags::MINIMALIF) => return Err(ScriptError::MinimalIf),
            _ => {}
        }
        let value = number::is_true(argument);
        self.stack.pop();
        Ok(value)
    }

    fn check_lock_time(&mut self) -> Result<(), ScriptError> {
        if !self.has(Flags::CHECKLOCKTIMEVERIFY) {
            return Ok(());
        }
        let lock_time = number::read(self.top(1)?, self.has(Flags::MINIMALDATA), LOCK_TIME_SIZE)?;
        match lock_time {
            ..0 => Err(ScriptError::NegativeLocktime),
            _ if !self.checker.check_lock_time(lock_time) => Err(ScriptError::UnsatisfiedLocktime),
            _ => Ok(()),
        }
    }

    fn check_sequence(&mut self) -> Result<(), ScriptError> {
        if !self.has(Flags::CHECKSEQUENCEVERIFY) {
            return Ok(());
        }
        let sequence = number::read(self.top(1)?, self.has(Flags::MINIMALDATA), LOCK_TIME_SIZE)?;
        match sequence {
            ..0 => Err(ScriptError::NegativeLocktime),
            _ if sequence & SEQUENCE_DISABLE != 0 => Ok(()),
            _ if !self.checker.check_sequence(sequence) => Err(ScriptError::UnsatisfiedLocktime),
            _ => Ok(()),
        }
    }

    /// Checks the signature and key at these places from the top.
    fn check_signature(&mut self, signature: usize, key: usize) -> Result<bool, ScriptError> {
        self.need(signature.max(key))?;
        let (signature, key) = (self.top(signature)?.clone(), self.top(key)?.clone());
        if self.execution.version == SigVersion::Tapscript {
            return self.check_tapscript_signature(&signature, &key);
        }
        let mut code = self.code().to_vec();
        if self.execution.version == SigVersion::Base {
            code = self.delete_signature(&code, &signature)?;
        }
        signature::check_signature_encoding(&signature, self.execution.flags)?;
        signature::check_key_encoding(&key, self.execution.flags, self.execution.version)?;
        let success = self.checker.check_ecdsa(&signature, &key, &code, self.execution.version);
        if !success && self.has(Flags::NULLFAIL) && !signature.is_empty() {
            return Err(ScriptError::SigNullFail);
        }
        Ok(success)
    }

    /// BIP342: unknown key types pass, an empty signature fails quietly, any other failure ends the script.
    fn check_tapscript_signature(&mut self, signature: &[u8], key: &[u8]) -> Result<bool, ScriptError> {
        let success = !signature.is_empty();
        if success {
            self.execution.weight_left -= WEIGHT_PER_SIGNATURE;
            if self.execution.weight_left < 0 {
                return Err(ScriptError::TapscriptValidationWeight);
            }
        }
        match key.len() {
            0 => return Err(ScriptError::TapscriptEmptyPubkey),
            32 if success => {
                let leaf = self.execution.leaf.map(|leaf| (leaf, self.separator));
                self.checker.check_schnorr(signature, key, &TaprootContext { annex: self.execution.annex, leaf })?;
            }
            32 => {}
            _ if self.has(Flags::DISCOURAGE_UPGRADABLE_PUBKEYTYPE) => {
                return Err(ScriptError::DiscourageUpgradablePubkeyType);
            }
            _ => {}
        }
        Ok(success)
    }

    /// The part of the script that ECDSA signatures commit to.
    pub(super) fn code(&self) -> &[u8] {
        &self.script[self.code_from..]
    }

    /// Before segwit a signature cannot sign itself, so it is removed from the code.
    pub(super) fn delete_signature(&self, code: &[u8], signature: &[u8]) -> Result<Vec<u8>, ScriptError> {
        let (code, found) = reader::find_and_delete(code, &reader::push_script(signature));
        if found > 0 && self.has(Flags::CONST_SCRIPTCODE) {
            return Err(ScriptError::SigFindAndDelete);
        }
        Ok(code)
    }

    /// Pushes a result, or ends the script if it must be true and is not.
    fn verdict(&mut self, success: bool, must: bool, error: ScriptError) -> Result<(), ScriptError> {
        match (success, must) {
            (true, true) => Ok(()),
            (false, true) => Err(error),
            (_, false) => {
                self.stack.push(number::boolean(success));
                Ok(())
            }
        }
    }

    /// Operations that move elements. `false`: it is none of them.
    fn shuffle(&mut self, opcode: bitcoin::Opcode) -> Result<bool, ScriptError> {
        match opcode {
            op::OP_TOALTSTACK => {
                let top = self.pop()?;
                self.alt.push(top);
            }
            op::OP_FROMALTSTACK => {
                let top = self.alt.pop().ok_or(ScriptError::InvalidAltstackOperation)?;
                self.stack.push(top);
            }
            op::OP_2DROP => {
                self.need(2)?;
                self.drop(2);
            }
            op::OP_2DUP => self.copy(2, 2)?,
            op::OP_3DUP => self.copy(3, 3)?,
            op::OP_2OVER => self.copy(4, 2)?,
            op::OP_2ROT => self.rotate(6, 2)?,
            op::OP_2SWAP => self.rotate(4, 2)?,
            op::OP_IFDUP => {
                if number::is_true(self.top(1)?) {
                    self.copy(1, 1)?;
                }
            }
            op::OP_DEPTH => self.stack.push(number::write(self.stack.len() as i64)),
            op::OP_DROP => {
                self.pop()?;
            }
            op::OP_DUP => self.copy(1, 1)?,
            op::OP_NIP => {
                self.need(2)?;
                self.stack.remove(self.stack.len() - 2);
            }
            op::OP_OVER => self.copy(2, 1)?,
            op::OP_PICK | op::OP_ROLL => {
                self.need(2)?;
                let depth = self.number(1)?;
                self.stack.pop();
                let place = usize::try_from(depth)
                    .ok()
                    .and_then(|depth| self.stack.len().checked_sub(depth.checked_add(1)?))
                    .ok_or(ScriptError::InvalidStackOperation)?;
                let element = if opcode == op::OP_ROLL { self.stack.remove(place) } else { self.stack[place].clone() };
                self.stack.push(element);
            }
            op::OP_ROT => self.rotate(3, 1)?,
            op::OP_SWAP => self.rotate(2, 1)?,
            op::OP_TUCK => {
                self.need(2)?;
                let top = self.top(1)?.clone();
                self.stack.insert(self.stack.len() - 2, top);
            }
            op::OP_SIZE => {
                let size = self.top(1)?.len();
                self.stack.push(number::write(size as i64));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Operations that compare and calculate. `false`: it is none of them.
    fn calculate(&mut self, opcode: bitcoin::Opcode) -> Result<bool, ScriptError> {
        match opcode {
            op::OP_EQUAL | op::OP_EQUALVERIFY => {
                self.need(2)?;
                let equal = self.top(1)? == self.top(2)?;
                self.drop(2);
                self.verdict(equal, opcode == op::OP_EQUALVERIFY, ScriptError::EqualVerify)?;
            }
            op::OP_1ADD | op::OP_1SUB | op::OP_NEGATE | op::OP_ABS | op::OP_NOT | op::OP_0NOTEQUAL => {
                let value = self.number(1)?;
                let result = match opcode {
                    op::OP_1ADD => value + 1,
                    op::OP_1SUB => value - 1,
                    op::OP_NEGATE => -value,
                    op::OP_ABS => value.abs(),
                    op::OP_NOT => i64::from(value == 0),
                    _ => i64::from(value != 0),
                };
                self.stack.pop();
                self.stack.push(number::write(result));
            }
            op::OP_ADD
            | op::OP_SUB
            | op::OP_BOOLAND
            | op::OP_BOOLOR
            | op::OP_NUMEQUAL
            | op::OP_NUMEQUALVERIFY
            | op::OP_NUMNOTEQUAL
            | op::OP_LESSTHAN
            | op::OP_GREATERTHAN
            | op::OP_LESSTHANOREQUAL
            | op::OP_GREATERTHANOREQUAL
            | op::OP_MIN
            | op::OP_MAX => {
                self.need(2)?;
                let (a, b) = (self.number(2)?, self.number(1)?);
                let result = match opcode {
                    op::OP_ADD => a + b,
                    op::OP_SUB => a - b,
                    op::OP_BOOLAND => i64::from(a != 0 && b != 0),
                    op::OP_BOOLOR => i64::from(a != 0 || b != 0),
                    op::OP_NUMEQUAL | op::OP_NUMEQUALVERIFY => i64::from(a == b),
                    op::OP_NUMNOTEQUAL => i64::from(a != b),
                    op::OP_LESSTHAN => i64::from(a < b),
                    op::OP_GREATERTHAN => i64::from(a > b),
                    op::OP_LESSTHANOREQUAL => i64::from(a <= b),
                    op::OP_GREATERTHANOREQUAL => i64::from(a >= b),
                    op::OP_MIN => a.min(b),
                    _ => a.max(b),
                };
                self.drop(2);
                if opcode == op::OP_NUMEQUALVERIFY {
                    self.verdict(result != 0, true, ScriptError::NumEqualVerify)?;
                } else {
                    self.stack.push(number::write(result));
                }
            }
            op::OP_WITHIN => {
                self.need(3)?;
                let (value, low, high) = (self.number(3)?, self.number(2)?, self.number(1)?);
                self.drop(3);
                self.stack.push(number::boolean((low..high).contains(&value)));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Operations that hash. `false`: it is none of them.
    fn hash(&mut self, opcode: bitcoin::Opcode) -> Result<bool, ScriptError> {
        let hash: fn(&[u8]) -> Vec<u8> = match opcode {
            op::OP_RIPEMD160 => |bytes| ripemd160::Hash::hash(bytes).to_byte_array().to_vec(),
            op::OP_SHA1 => |bytes| sha1::Hash::hash(bytes).to_byte_array().to_vec(),
            op::OP_SHA256 => |bytes| sha256::Hash::hash(bytes).to_byte_array().to_vec(),
            op::OP_HASH160 => |bytes| hash160::Hash::hash(bytes).to_byte_array().to_vec(),
            op::OP_HASH256 => |bytes| sha256d::Hash::hash(bytes).to_byte_array().to_vec(),
            _ => return Ok(false),
        };
        let top = self.pop()?;
        self.stack.push(hash(&top));
        Ok(true)
    }

    pub(super) fn need(&self, count: usize) -> Result<(), ScriptError> {
        if self.stack.len() < count { Err(ScriptError::InvalidStackOperation) } else { Ok(()) }
    }

    /// The element at this place from the top; the topmost is 1.
    pub(super) fn top(&self, place: usize) -> Result<&Vec<u8>, ScriptError> {
        self.stack.len().checked_sub(place).map(|index| &self.stack[index]).ok_or(ScriptError::InvalidStackOperation)
    }

    pub(super) fn number(&self, place: usize) -> Result<i64, ScriptError> {
        number::read(self.top(place)?, self.has(Flags::MINIMALDATA), OPERAND_SIZE)
    }

    fn pop(&mut self) -> Result<Vec<u8>, ScriptError> {
        self.stack.pop().ok_or(ScriptError::InvalidStackOperation)
    }

    pub(super) fn drop(&mut self, count: usize) {
        self.stack.truncate(self.stack.len() - count);
    }

    /// Pushes copies of the `count` elements that begin at `place` from the top.
    fn copy(&mut self, place: usize, count: usize) -> Result<(), ScriptError> {
        self.need(place)?;
        let from = self.stack.len() - place;
        self.stack.extend_from_within(from..from + count);
        Ok(())
    }

    /// Moves the `count` lowest of the topmost `among` elements to the top.
    fn rotate(&mut self, among: usize, count: usize) -> Result<(), ScriptError> {
        self.need(among)?;
        let from = self.stack.len() - among;
        self.stack[from..].rotate_left(count);
        Ok(())
    }
}

fn is_disabled(opcode: bitcoin::Opcode) -> bool {
    matches!(
        opcode,
        op::OP_CAT
            | op::OP_SUBSTR
            | op::OP_LEFT
            | op::OP_RIGHT
            | op::OP_INVERT
            | op::OP_AND
            | op::OP_OR
            | op::OP_XOR
            | op::OP_2MUL
            | op::OP_2DIV
            | op::OP_MUL
            | op::OP_DIV
            | op::OP_MOD
            | op::OP_LSHIFT
            | op::OP_RSHIFT
    )
}
