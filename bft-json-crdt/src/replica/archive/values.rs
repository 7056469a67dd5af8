//! Stepping over encoded values and characters without reading them: where they end. Whether they are well-formed is judged later, with all of the operations.

use crate::encoding::{DecodeError, Reader};

/// Steps over `count` values, however deep they nest: the stack is on the heap, and no deeper than the values are long.
pub(super) fn skip_values(reader: &mut Reader<'_>, count: u64) -> Result<(), DecodeError> {
    // What is open: how many values are still to come, and whether each has a key before it.
    let mut open: Vec<(u64, bool)> = Vec::new();
    let (mut left, mut keyed) = (count, false);
    loop {
        if left == 0 {
            match open.pop() {
                Some(outer) => (left, keyed) = outer,
                None => return Ok(()),
            }
            continue;
        }
        left -= 1;
        if keyed {
            reader.blob()?;
        }
        match reader.byte()? {
            0..=2 => {}
            3 | 4 => {
                reader.varint()?;
            }
            5 => {
                reader.bytes(8)?;
            }
            6 => {
                reader.blob()?;
            }
            tag @ (7 | 8) => {
                // Each value takes a byte at least.
                let inner = reader.count(1)? as u64;
                open.push((left, keyed));
                (left, keyed) = (inner, tag == 8);
            }
            _ => return Err(DecodeError::Rule("a value's tag is unknown")),
        }
    }
}

/// The first `count` characters off the front of a column of UTF-8.
pub(super) fn take_characters<'a>(reader: &mut Reader<'a>, count: usize) -> Result<&'a [u8], DecodeError> {
    if count == 0 {
        return Ok(&[]);
    }
    let rest = reader.rest();
    // Without characters of several bytes among them, this is all.
    let head = rest.get(..count).ok_or(DecodeError::Truncated)?;
    if head.is_ascii() && rest.get(count).is_none_or(|byte| !is_inner(*byte)) {
        return reader.bytes(count);
    }
    let mut end = count;
    let mut missing = head.iter().filter(|byte| is_inner(**byte)).count();
    while missing > 0 {
        let further = rest.get(end..end + missing).ok_or(DecodeError::Truncated)?;
        end += missing;
        missing = further.iter().filter(|byte| is_inner(**byte)).count();
    }
    // The last character's further bytes.
    end += rest[end..].iter().take(3).take_while(|byte| is_inner(**byte)).count();
    reader.bytes(end)
}

/// Whether a byte continues a character of several bytes.
fn is_inner(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Write as _;

    #[test]
    fn characters_of_every_width_are_counted() {
        let text = "aé€😀z\u{10ffff}ß";
        for count in 0..=text.chars().count() {
            let mut reader = Reader::new(text.as_bytes());
            let head: String = text.chars().take(count).collect();
            assert_eq!(take_characters(&mut reader, count), Ok(head.as_bytes()), "{count}");
            assert_eq!(reader.rest(), &text.as_bytes()[head.len()..]);
        }
        assert_eq!(take_characters(&mut Reader::new("é".as_bytes()), 2), Err(DecodeError::Truncated));
        // What is no UTF-8 ends somewhere, too.
        for bytes in [&[0x80; 9][..], &[0xff; 9], &[0xc3, 0x80, 0x80, 0x80, 0x80]] {
            let _ = take_characters(&mut Reader::new(bytes), 2);
        }
    }

    #[test]
    fn deep_values_are_stepped_over_without_recursion() {
        let mut bytes = [7, 1].repeat(500_000);
        bytes.push(0);
        bytes.put(&[8, 2, 1, b'a', 3, 5, 1, b'b', 7, 2, 0, 6, 1, b'x']);
        bytes.push(1);
        let mut reader = Reader::new(&bytes);
        skip_values(&mut reader, 3).unwrap();
        assert!(reader.is_empty());
        assert!(skip_values(&mut Reader::new(&bytes[..1000]), 1).is_err());
        assert_eq!(skip_values(&mut Reader::new(&[9]), 1), Err(DecodeError::Rule("a value's tag is unknown")));
        assert_eq!(skip_values(&mut Reader::new(&[]), u64::MAX), Err(DecodeError::Truncated));
    }
}
