//! Numbers and booleans as the script stack carries them: little-endian, sign in the highest bit.

use super::ScriptError;

/// The most bytes of an ordinary operand; lock times may have one more.
pub(crate) const OPERAND_SIZE: usize = 4;

/// Reads a number of at most `limit` bytes, which must be its shortest form if `minimal`.
pub(crate) fn read(bytes: &[u8], minimal: bool, limit: usize) -> Result<i64, ScriptError> {
    if bytes.len() > limit {
        return Err(ScriptError::ScriptNum);
    }
    let Some((&last, rest)) = bytes.split_last() else { return Ok(0) };
    // A last byte of 0x00 or 0x80 is needed only where the byte before it uses the sign bit.
    if minimal && last & 0x7f == 0 && rest.last().is_none_or(|byte| byte & 0x80 == 0) {
        return Err(ScriptError::ScriptNum);
    }
    let magnitude = rest.iter().chain([&(last & 0x7f)]).rev().fold(0i64, |value, &byte| (value << 8) | i64::from(byte));
    Ok(if last & 0x80 != 0 { -magnitude } else { magnitude })
}

/// The shortest form of `value`.
pub(crate) fn write(value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value.unsigned_abs();
    while rest > 0 {
        bytes.push(rest as u8);
        rest >>= 8;
    }
    let sign = if value < 0 { 0x80 } else { 0 };
    match bytes.last_mut() {
        Some(last) if *last & 0x80 == 0 => *last |= sign,
        Some(_) => bytes.push(sign),
        None => {}
    }
    bytes
}

/// Anything but zeros is true; a negative zero is false.
pub(crate) fn is_true(bytes: &[u8]) -> bool {
    match bytes.split_last() {
        Some((&last, rest)) => last & 0x7f != 0 || rest.iter().any(|&byte| byte != 0),
        None => false,
    }
}

/// A boolean as operations push it.
pub(crate) fn boolean(value: bool) -> Vec<u8> {
    if value { vec![1] } else { Vec::new() }
}
