//! Stepping over encoded values without reading them: where they end.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Write as _;

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
