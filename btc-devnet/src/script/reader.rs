//! Reads a script operation by operation.

use super::number;

/// One operation: the opcode byte and what it pushes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    /// The opcode byte.
    pub(crate) opcode: u8,
    /// The pushed bytes; empty for anything but a push.
    pub(crate) push: &'a [u8],
}

/// Walks through a script.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    script: &'a [u8],
    /// Where the next operation begins.
    pub(crate) position: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(script: &'a [u8]) -> Self {
        Reader { script, position: 0 }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.script.len()
    }

    /// The next operation. `None` at the end, or where a push runs over it; the position stays then.
    pub(crate) fn next(&mut self) -> Option<Operation<'a>> {
        let (&opcode, rest) = self.script.get(self.position..)?.split_first()?;
        let (prefix, length): (usize, usize) = match opcode {
            0..=0x4b => (0, usize::from(opcode)),
            0x4c => (1, usize::from(*rest.first()?)),
            0x4d => (2, usize::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?))),
            0x4e => (4, usize::try_from(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?)).ok()?),
            _ => (0, 0),
        };
        let push = rest.get(prefix..prefix.checked_add(length)?)?;
        self.position += 1 + prefix + length;
        Some(Operation { opcode, push })
    }
}

/// Whether the push is the shortest that pushes these bytes.
pub(crate) fn is_minimal_push(operation: &Operation<'_>) -> bool {
    let (opcode, push) = (operation.opcode, operation.push);
    match push {
        [] => opcode == 0,
        // OP_1 to OP_16 and OP_1NEGATE push these.
        [1..=16] | [0x81] => false,
        _ if push.len() <= 75 => usize::from(opcode) == push.len(),
        _ if push.len() <= 255 => opcode == 0x4c,
        _ if push.len() <= 65_535 => opcode == 0x4d,
        _ => true,
    }
}

/// Whether the script consists of pushes, OP_RESERVED and small numbers only.
pub(crate) fn is_push_only(script: &[u8]) -> bool {
    let mut reader = Reader::new(script);
    while !reader.is_at_end() {
        match reader.next() {
            Some(operation) if operation.opcode <= 0x60 => {}
            _ => return false,
        }
    }
    true
}

/// The script that pushes `bytes` as Core's `CScript() << bytes` does.
pub(crate) fn push_script(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let mut script = match length {
        0..=0x4b => vec![length as u8],
        0x4c..=0xff => vec![0x4c, length as u8],
        0x100..=0xffff => [&[0x4d][..], &(length as u16).to_le_bytes()].concat(),
        _ => [&[0x4e][..], &(length as u32).to_le_bytes()].concat(),
    };
    script.extend_from_slice(bytes);
    script
}

/// Removes every occurrence of `pattern` that begins at an operation, as signatures before segwit ask for.
pub(crate) fn find_and_delete(script: &[u8], pattern: &[u8]) -> (Vec<u8>, usize) {
    let mut reader = Reader::new(script);
    let (mut kept, mut found, mut from) = (Vec::with_capacity(script.len()), 0, 0);
    if pattern.is_empty() {
        return (script.to_vec(), 0);
    }
    loop {
        kept.extend_from_slice(&script[from..reader.position]);
        while script[reader.position..].starts_with(pattern) {
            reader.position += pattern.len();
            found += 1;
        }
        from = reader.position;
        if reader.next().is_none() {
            break;
        }
    }
    kept.extend_from_slice(&script[from..]);
    (kept, found)
}

/// The script without its OP_CODESEPARATORs, as signature hashes before segwit ask for.
pub(crate) fn without_code_separators(script: &[u8]) -> Vec<u8> {
    const CODE_SEPARATOR: u8 = 0xab;
    let mut reader = Reader::new(script);
    let mut kept = Vec::with_capacity(script.len());
    loop {
        let from = reader.position;
        match reader.next() {
            Some(operation) if operation.opcode == CODE_SEPARATOR => {}
            Some(_) => kept.extend_from_slice(&script[from..reader.position]),
            None => {
                kept.extend_from_slice(&script[from..]);
                return kept;
            }
        }
    }
}

/// Version and program, if the script is a witness program (BIP141).
pub(crate) fn witness_program(script: &[u8]) -> Option<(u8, &[u8])> {
    let (version, program) = match script {
        [version @ (0 | 0x51..=0x60), length, program @ ..] if usize::from(*length) == program.len() => {
            (if *version == 0 { 0 } else { version - 0x50 }, program)
        }
        _ => return None,
    };
    (2..=40).contains(&program.len()).then_some((version, program))
}

/// Whether the script is pay-to-script-hash (BIP16).
pub(crate) fn is_p2sh(script: &[u8]) -> bool {
    matches!(script, [0xa9, 0x14, .., 0x87] if script.len() == 23)
}

/// Whether the script is pay-to-anchor, which anybody can spend.
pub(crate) fn is_anchor(script: &[u8]) -> bool {
    script == [0x51, 0x02, 0x4e, 0x73]
}

/// The number that a small-number opcode pushes.
pub(crate) fn small_number(opcode: u8) -> Option<i64> {
    matches!(opcode, 0x4f | 0x51..=0x60).then(|| i64::from(opcode) - 0x50)
}

/// The bytes that a small-number opcode pushes.
pub(crate) fn small_number_bytes(opcode: u8) -> Option<Vec<u8>> {
    small_number(opcode).map(number::write)
}
