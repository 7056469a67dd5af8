//! The bounded reader and the writer that every format of the protocol shares (docs/protocol.md, section 1).
//!
//! Reading never panics and never allocates more than the input is long: counts are checked against the bytes that are left before
//! anything is reserved.

use thiserror::Error;

/// Why bytes could not be read. The position speaks of the buffer that the reader was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended inside a value.
    #[error("the input ends in the middle of a value")]
    Truncated,
    /// A varint was longer than needed or exceeded 64 bits.
    #[error("a varint is not minimal or exceeds 64 bits")]
    Varint,
    /// A string was not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// Bytes were left over.
    #[error("bytes are left over")]
    Trailing,
    /// A value broke a rule of its format; the text names the rule.
    #[error("{0}")]
    Rule(&'static str),
}

/// Reads protocol values off a byte slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&head, tail) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// A minimal varint.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        // Most numbers are small.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        if let [low @ 0x80..=0xff, high @ 1..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7);
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if i == 9 && byte > 1 {
                return Err(DecodeError::Varint);
            }
            value |= bits << (7 * i);
            if byte & 0x80 == 0 {
                if byte == 0 && i > 0 {
                    return Err(DecodeError::Varint);
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() >= 10 { DecodeError::Varint } else { DecodeError::Truncated })
    }

    /// A varint that counts things of which each takes at least `min_bytes` of what is left, so that a short input cannot ask for a large
    /// allocation.
    pub fn count(&mut self, min_bytes: usize) -> Result<usize, DecodeError> {
        let n = self.varint()?;
        match usize::try_from(n) {
            Ok(n) if n.checked_mul(min_bytes.max(1)).is_some_and(|b| b <= self.rest.len()) => Ok(n),
            _ => Err(DecodeError::Truncated),
        }
    }

    /// A varint that fits a `u32`.
    pub fn varint_u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::Rule("a number exceeds 32 bits"))
    }

    /// A zigzag-coded signed number.
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// Length-prefixed bytes.
    pub fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.count(1)?;
        self.bytes(n)
    }

    /// A string.
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.blob()?).map_err(|_| DecodeError::Utf8)
    }

    /// Ends the reading; whatever is left over is an error.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Writes protocol values into a growing buffer.
pub trait Write {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends a minimal varint.
    #[inline]
    fn put_varint(&mut self, n: u64) {
        // Of a length that is known to the compiler, which spares the common ones a copy in a loop.
        match n {
            0..0x80 => self.put(&[n as u8]),
            0x80..0x4000 => self.put(&[n as u8 | 0x80, (n >> 7) as u8]),
            _ => {
                let (mut n, mut buffer, mut len) = (n, [0u8; 10], 0);
                while n >= 0x80 {
                    buffer[len] = n as u8 | 0x80;
                    n >>= 7;
                    len += 1;
                }
                buffer[len] = n as u8;
                self.put(&buffer[..=len]);
            }
        }
    }

    /// Appends a zigzag-coded signed number.
    fn put_zigzag(&mut self, n: i64) {
        self.put_varint(((n << 1) ^ (n >> 63)) as u64);
    }

    /// Appends length-prefixed bytes.
    fn put_blob(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put(bytes);
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_are_minimal() {
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            bytes.put_varint(n);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint(), Ok(n));
            reader.finish().unwrap();
        }
        for bad in [&[0x80, 0x00][..], &[0xff; 10], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]] {
            assert_eq!(Reader::new(bad).varint(), Err(DecodeError::Varint));
        }
        assert_eq!(Reader::new(&[0x80]).varint(), Err(DecodeError::Truncated));
    }

    #[test]
    fn zigzag_round_trips() {
        for n in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut bytes = Vec::new();
            bytes.put_zigzag(n);
            assert_eq!(Reader::new(&bytes).zigzag(), Ok(n));
        }
    }

    #[test]
    fn a_count_beyond_the_input_is_refused_before_allocating() {
        let mut bytes = Vec::new();
        bytes.put_varint(u64::MAX);
        assert_eq!(Reader::new(&bytes).count(1), Err(DecodeError::Truncated));
    }
}
