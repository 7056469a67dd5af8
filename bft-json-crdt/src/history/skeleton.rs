//! What compaction leaves of a change's operations: everything that shapes the document, and the contents that can still show.
//!
//! Below a frontier that everybody builds upon, a deleted character, an overwritten value or a deleted element's value can never show again. A skeleton has the
//! same units as the operations that it is of, but such contents are gone from it: values are null, characters are not there at all. So applying skeletons makes the
//! same document for every version that holds the frontier. They do not hash to `ops_hash`: nobody else takes them for operations, and a file of them is
//! believed under its own store's authentication code alone.
//!
//! ```text
//! skeleton = varint length ‖ columns 1 to 19 (docs/protocol.md, section 4.5), dropped values as null
//!            ‖ varint count ‖ count × varint: how many characters were dropped, kept, dropped, … of all in column 20
//!            ‖ the kept characters
//! ```

use std::collections::HashMap;

use super::Past;
use crate::causality::ChangeIdx;
use crate::change::{MAX_OPS_BYTES, VERSION};
use crate::dag::{Content, Record};
use crate::document::{ContainerIdx, Element};
use crate::encoding::{DecodeError, Reader, Write as _};
use crate::ops::{Elements, Kind, Ops, OpsError, Run};
use crate::value::Value;

/// Stands where a character was. It never shows; one byte, so that no text grows.
const DROPPED: char = '\0';

/// What of a change's contents can still show.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// Units that inserted something that shows: first and one behind the last, ascending.
    units: Vec<(u32, u32)>,
    /// Values of registers.
    values: Vec<Value>,
}

impl Kept {
    fn has(&self, unit: u32) -> bool {
        let behind = self.units.partition_point(|(first, _)| *first <= unit);
        self.units[..behind].last().is_some_and(|(_, end)| unit < *end)
    }
}

/// What shows in a past, by the replica's numbers of changes; of registers also what is hidden behind a greater write.
pub(super) fn kept(past: &Past) -> HashMap<ChangeIdx, Kept> {
    let mut kept: HashMap<ChangeIdx, Kept> = HashMap::new();
    let document = &past.document;
    let mut open = vec![ContainerIdx::ROOT];
    while let Some(container) = open.pop() {
        match document.kind(container) {
            Kind::Map => {
                for key in document.keys(container) {
                    open.extend(document.kinds_present(container, key).map(|(_, child)| child));
                }
            }
            Kind::Register | Kind::MultiRegister => {
                for (change, value) in document.writes_of(container) {
                    kept.entry(past.numbers.theirs(change)).or_default().values.push(value.clone());
                }
            }
            Kind::Counter => {}
            Kind::List | Kind::Text => {
                for shown in document.shown_from(container, 0) {
                    let units = (shown.offset, shown.offset + shown.len);
                    kept.entry(past.numbers.theirs(shown.change)).or_default().units.push(units);
                }
                open.extend(document.elements(container, 0).filter_map(|(_, element)| match element {
                    Element::Container(_, inner) => Some(inner),
                    Element::Value(_) => None,
                }));
            }
        }
    }
    kept.values_mut().for_each(|kept| kept.units.sort_unstable());
    kept
}

/// The skeleton of operations.
pub(super) fn skeleton(mut ops: Ops, kept: &Kept) -> Vec<u8> {
    // How many characters were dropped, kept, dropped, … so far, and those that were kept.
    let mut turns: Vec<u64> = vec![0];
    let mut left = String::new();
    let mut blanks = 0;
    let mut unit = 0;
    for run in &mut ops.runs {
        let len = run.len();
        match run {
            Run::Text { characters, len, .. } => {
                for (character, unit) in characters.chars().zip(unit..) {
                    let keep = kept.has(unit);
                    if keep != turns.len().is_multiple_of(2) {
                        turns.push(0);
                    }
                    *turns.last_mut().expect("there is one from the start on") += 1;
                    if keep {
                        left.push(character);
                    }
                }
                *characters = String::from(DROPPED).repeat(*len as usize);
                blanks += characters.len();
            }
            Run::Insert { elements: Elements::Values(values), .. } => {
                for (value, unit) in values.iter_mut().zip(unit..) {
                    if !kept.has(unit) {
                        *value = Value::Null;
                    }
                }
            }
            // Another register's equal value may keep one that was overwritten: harmless, and no container has to be found for it.
            Run::Set(_, value) if !kept.values.contains(value) => *value = Value::Null,
            _ => {}
        }
        unit += len;
    }
    let encoded = ops.encode().expect("what is decoded can be encoded, and nothing in it grew");
    let mut out = Vec::with_capacity(encoded.len() - blanks + left.len() + 2 * turns.len() + 8);
    out.put_blob(&encoded[..encoded.len() - blanks]);
    out.put_varint(turns.len() as u64);
    turns.iter().for_each(|turn| out.put_varint(*turn));
    out.put(left.as_bytes());
    out
}

/// The operations of a skeleton: the same units, without what was dropped.
///
/// # Errors
/// The bytes are no skeleton. They may come from anywhere: no more is allocated than operations may have.
pub(crate) fn restore(skeleton: &[u8]) -> Result<Ops, DecodeError> {
    let mut reader = Reader::new(skeleton);
    let mut encoded = reader.blob()?.to_vec();
    let turns = reader.count(1)?;
    let turns: Vec<u64> = (0..turns).map(|_| reader.varint()).collect::<Result<_, _>>()?;
    let mut left = std::str::from_utf8(reader.rest()).map_err(|_| DecodeError::Utf8)?;
    let mut keep = false;
    for turn in turns {
        let turn = usize::try_from(turn).ok().filter(|turn| *turn <= MAX_OPS_BYTES);
        let turn = turn.ok_or(DecodeError::Rule("a skeleton is too long"))?;
        if keep {
            let end = left.char_indices().map(|(byte, _)| byte).chain([left.len()]).nth(turn);
            let (head, tail) = left.split_at(end.ok_or(DecodeError::Rule("a skeleton lacks characters"))?);
            encoded.put(head.as_bytes());
            left = tail;
        } else {
            encoded.resize(encoded.len() + turn, DROPPED as u8);
        }
        if encoded.len() > MAX_OPS_BYTES {
            return Err(DecodeError::Rule("a skeleton is too long"));
        }
        keep = !keep;
    }
    if !left.is_empty() {
        return Err(DecodeError::Trailing);
    }
    Ops::decode(VERSION, &encoded).map_err(|error| match error {
        OpsError::Malformed(fault) => fault,
        OpsError::Unsupported(_) => DecodeError::Rule("a skeleton has an unknown operation"),
    })
}

/// The operations of an applied change; without what was dropped if it is compacted.
pub(crate) fn operations(record: &Record<'_>) -> Ops {
    const PROOF: &str = "the operations were decoded before they were applied";
    match record.content() {
        Content::Whole(ops) => Ops::decode(VERSION, ops).expect(PROOF),
        Content::Compacted(_, skeleton) => restore(skeleton).expect(PROOF),
    }
}
