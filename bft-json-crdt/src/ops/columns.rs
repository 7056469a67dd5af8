//! A change's columns, to be read side by side: what is asked of them wherever they stand ([`ColumnReader`]), and those in a change's bytes, where a first pass has to
//! find out where each begins.

use super::decode::{has_duplicates, rule};
use super::{MAX_UNITS, OpsError, Run, Unsupported, op};
use crate::change::ChangeId;
use crate::encoding::{DecodeError, Reader};
use crate::value::Value;

/// What is known of a change's columns before they are read side by side. All of it was checked.
pub(crate) struct Shape<'a> {
    pub(crate) op_kinds: &'a [u8],
    pub(crate) container_kinds: &'a [u8],
    pub(crate) element_kinds: &'a [u8],
    pub(crate) forms: &'a [u8],
    pub(crate) anchors: &'a [u8],
    /// Entries of the foreign table.
    pub(crate) foreign: usize,
    /// Entries of the key table.
    pub(crate) keys: usize,
}

/// A change's columns, each read from its own place. Numbers come as they are: whoever asks holds them to the rules.
pub(crate) trait ColumnReader {
    /// What can go wrong: the operations break a rule, or something of the reader's own.
    type Fault: From<DecodeError>;

    /// The next entry of the key table.
    fn key(&mut self) -> Result<&str, Self::Fault>;
    /// Source and offset of the next container's element.
    fn element(&mut self) -> Result<(u64, u64), Self::Fault>;
    /// How far back the next container's parent stands.
    fn parent_step(&mut self) -> Result<u64, Self::Fault>;
    /// The next container's key.
    fn entry_key(&mut self) -> Result<u64, Self::Fault>;
    /// The next run's container.
    fn run_container(&mut self) -> Result<u64, Self::Fault>;
    /// The next run's length.
    fn length(&mut self) -> Result<u64, Self::Fault>;
    /// The direction of the next long delete: 0 or 1.
    fn direction(&mut self) -> Result<u8, Self::Fault>;
    /// Source and offset of the next reference.
    fn reference(&mut self) -> Result<(u64, u64), Self::Fault>;
    /// A run was read whose first unit has the offset `start`.
    fn ran(&mut self, run: &Run, start: u32);
    /// The next value.
    fn value(&mut self) -> Result<Value, Self::Fault>;
    /// An upper bound of the values that are left.
    fn most_values(&self) -> usize;
    /// The next counter's step, behind all values.
    fn step(&mut self) -> Result<i64, Self::Fault>;
    /// The next so many characters, behind all steps.
    fn characters(&mut self, count: usize) -> Result<&str, Self::Fault>;
}

/// The columns of a change's bytes: where each begins, after the first pass.
pub(super) struct Columns<'a> {
    keys: Reader<'a>,
    element_sources: Reader<'a>,
    element_offsets: Reader<'a>,
    parent_steps: Reader<'a>,
    entry_keys: Reader<'a>,
    lengths: Reader<'a>,
    directions: std::slice::Iter<'a, u8>,
    run_containers: Reader<'a>,
    sources: Reader<'a>,
    offsets: Reader<'a>,
    /// Columns 18 to 20, which have no boundary that shows without reading the values.
    tail: Reader<'a>,
    /// The rest of column 20, once it has begun.
    text: Option<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn walk(
        mut reader: Reader<'a>,
        op_kinds: &'a [u8],
        tally: &[usize; op::LAST as usize + 1],
        container_kinds: &'a [u8],
        element_kinds: &'a [u8],
        foreign: &mut Vec<ChangeId>,
    ) -> Result<(Shape<'a>, Self), DecodeError> {
        let of = |kind: u8| tally[usize::from(kind)];

        let foreign_count = reader.count(32)?;
        foreign.reserve(foreign_count);
        for _ in 0..foreign_count {
            foreign.push(ChangeId(reader.array()?));
        }
        if has_duplicates(foreign) {
            return rule("the foreign table has a duplicate");
        }

        let key_count = reader.count(1)?;
        let keys = reader.clone();
        for _ in 0..key_count {
            reader.blob()?;
        }

        let forms = closed_column(&mut reader, container_kinds.len(), 2)?;
        let of_element = forms.iter().filter(|form| **form == 1).count();
        let of_entry = forms.iter().filter(|form| **form == 2).count();
        let element_sources = column(&mut reader, of_element)?;
        let element_offsets = column(&mut reader, of_element)?;
        let parent_steps = column(&mut reader, of_entry)?;
        let entry_keys = column(&mut reader, forms.len() - of_element)?;

        let lengths = reader.clone();
        let mut units = 0u64;
        let mut long_deletes = 0;
        let mut elements = element_kinds.iter();
        for kind in op_kinds {
            let has_length = match *kind {
                op::INSERT => elements.next() == Some(&0),
                op::DELETE | op::TEXT => true,
                _ => false,
            };
            let length = if has_length { reader.varint()? } else { 1 };
            if length == 0 {
                return rule("a run has no units");
            }
            if length > u64::from(MAX_UNITS) - units {
                return rule("more units than a change may have");
            }
            units += length;
            long_deletes += usize::from(*kind == op::DELETE && length > 1);
        }
        let directions = closed_column(&mut reader, long_deletes, 1)?;

        let run_containers = column(&mut reader, op_kinds.len() - of(op::DELETE) - of(op::MOVE))?;
        let anchors = closed_column(&mut reader, of(op::INSERT) + of(op::MOVE) + of(op::TEXT), 2)?;
        let at_places = anchors.iter().filter(|anchor| **anchor != 0).count();
        let references = of(op::DELETE) + of(op::MOVE) + at_places;
        let sources = column(&mut reader, references)?;
        let offsets = column(&mut reader, references)?;

        let shape =
            Shape { op_kinds, container_kinds, element_kinds, forms, anchors, foreign: foreign_count, keys: key_count };
        let directions = directions.iter();
        let columns = Self {
            keys,
            element_sources,
            element_offsets,
            parent_steps,
            entry_keys,
            lengths,
            directions,
            run_containers,
            sources,
            offsets,
            tail: reader,
            text: None,
        };
        Ok((shape, columns))
    }

    /// Nothing may be left over.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.tail.is_empty() && self.text.is_none_or(str::is_empty) { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

impl ColumnReader for Columns<'_> {
    type Fault = DecodeError;

    fn key(&mut self) -> Result<&str, DecodeError> {
        self.keys.string()
    }

    fn element(&mut self) -> Result<(u64, u64), DecodeError> {
        Ok((self.element_sources.varint()?, self.element_offsets.varint()?))
    }

    fn parent_step(&mut self) -> Result<u64, DecodeError> {
        self.parent_steps.varint()
    }

    fn entry_key(&mut self) -> Result<u64, DecodeError> {
        self.entry_keys.varint()
    }

    fn run_container(&mut self) -> Result<u64, DecodeError> {
        self.run_containers.varint()
    }

    fn length(&mut self) -> Result<u64, DecodeError> {
        self.lengths.varint()
    }

    fn direction(&mut self) -> Result<u8, DecodeError> {
        self.directions.next().copied().ok_or(DecodeError::Truncated)
    }

    fn reference(&mut self) -> Result<(u64, u64), DecodeError> {
        Ok((self.sources.varint()?, self.offsets.varint()?))
    }

    fn ran(&mut self, _: &Run, _: u32) {}

    fn value(&mut self) -> Result<Value, DecodeError> {
        Value::read(&mut self.tail)
    }

    fn most_values(&self) -> usize {
        self.tail.remaining()
    }

    fn step(&mut self) -> Result<i64, DecodeError> {
        self.tail.zigzag()
    }

    fn characters(&mut self, count: usize) -> Result<&str, DecodeError> {
        let text = match self.text {
            Some(text) => text,
            None => {
                let tail = std::mem::replace(&mut self.tail, Reader::new(&[]));
                std::str::from_utf8(tail.rest()).map_err(|_| DecodeError::Utf8)?
            }
        };
        let (head, rest) = split_characters(text, count)?;
        self.text = Some(rest);
        Ok(head)
    }
}

/// A column of `count` numbers in `first..=last`, one byte each. A number beyond `last` is unsupported. What goes wrong first from the left
/// decides.
pub(super) fn open_column<'a>(
    reader: &mut Reader<'a>,
    count: u64,
    first: u8,
    last: u8,
    unsupported: fn(u64) -> Unsupported,
) -> Result<&'a [u8], OpsError> {
    let column = reader.rest();
    let fast = column.iter().take(usize::try_from(count).unwrap_or(usize::MAX));
    let known = fast.take_while(|byte| (first..=last).contains(byte)).count();
    if known as u64 == count {
        return Ok(reader.bytes(known)?);
    }
    reader.bytes(known)?;
    let number = reader.varint()?;
    if number < u64::from(first) {
        return Err(DecodeError::Rule("a container table entry has no container kind").into());
    }
    Err(unsupported(number).into())
}

/// A column of `count` numbers up to `last`, one byte each.
fn closed_column<'a>(reader: &mut Reader<'a>, count: usize, last: u8) -> Result<&'a [u8], DecodeError> {
    let column = reader.bytes(count)?;
    if column.iter().any(|byte| *byte > last) {
        return rule("a parent form, direction or anchor is unknown");
    }
    Ok(column)
}

/// Steps over a column of `count` varints and returns a reader that begins with it.
fn column<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Reader<'a>, DecodeError> {
    let start = reader.clone();
    // Each takes a byte at least, so a count beyond the input fails early.
    for _ in 0..count {
        reader.varint()?;
    }
    Ok(start)
}

/// Splits off the first `count` Unicode scalar values.
pub(crate) fn split_characters(text: &str, count: usize) -> Result<(&str, &str), DecodeError> {
    if let Some((head, tail)) = text.split_at_checked(count)
        && head.is_ascii()
    {
        return Ok((head, tail));
    }
    let mut seen = 0;
    for (at, _) in text.char_indices() {
        if seen == count {
            return Ok(text.split_at(at));
        }
        seen += 1;
    }
    if seen == count { Ok((text, "")) } else { Err(DecodeError::Truncated) }
}
