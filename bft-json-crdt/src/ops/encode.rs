//! From operations to their one encoding (docs/protocol.md, section 4.5).

use std::collections::HashMap;

use thiserror::Error;

use super::{Anchor, Direction, Elements, Ops, Parent, Ref, Run, Source, op};
use crate::change::MAX_OPS_BYTES;
use crate::encoding::Write as _;
use crate::value::ValueError;

/// Up to this many keys are searched one by one; beyond, through a hash map.
const TINY: usize = 8;

/// Why operations have no encoding.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The encoding would exceed [`MAX_OPS_BYTES`].
    #[error("the operations take {0} bytes, more than a change may have")]
    TooLong(usize),
    /// A value cannot be carried.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl Ops {
    /// Writes the one encoding. Canonical operations (those of [`Ops::decode`] and of a builder) decode to themselves again.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::with_capacity(64 + 8 * self.runs.len());
        // 1 to 4: runs, op kinds, container kinds, element kinds
        out.put_varint(self.runs.len() as u64);
        out.extend(self.runs.iter().map(op_number));
        out.put_varint(self.containers.len() as u64);
        out.extend(self.containers.iter().map(|entry| entry.kind as u8));
        for run in &self.runs {
            if let Run::Insert { elements, .. } = run {
                out.push(match elements {
                    Elements::Values(_) => 0,
                    Elements::Container(kind) => *kind as u8,
                });
            }
        }
        // 5: foreign table
        out.put_varint(self.foreign.len() as u64);
        for id in &self.foreign {
            out.put(&id.0);
        }
        self.put_containers(&mut out);
        self.put_runs(&mut out);
        self.put_payloads(&mut out)?;
        if out.len() > MAX_OPS_BYTES {
            return Err(EncodeError::TooLong(out.len()));
        }
        Ok(out)
    }

    /// Columns 6 to 11.
    fn put_containers(&self, out: &mut Vec<u8>) {
        let mut keys: Vec<&str> = Vec::new();
        let mut by_key: HashMap<&str, usize> = HashMap::new();
        let mut entry_keys: Vec<u32> = Vec::new();
        for entry in &self.containers {
            if let Parent::Key(_, key) = &entry.parent {
                let found = if keys.len() <= TINY {
                    keys.iter().position(|known| *known == &**key)
                } else {
                    if by_key.is_empty() {
                        by_key.extend(keys.iter().enumerate().map(|(index, key)| (*key, index)));
                    }
                    by_key.get(&**key).copied()
                };
                let index = found.unwrap_or_else(|| {
                    keys.push(key);
                    if !by_key.is_empty() {
                        by_key.insert(key, keys.len() - 1);
                    }
                    keys.len() - 1
                });
                entry_keys.push(index as u32);
            }
        }
        out.put_varint(keys.len() as u64);
        for key in keys {
            out.put_blob(key.as_bytes());
        }
        out.extend(self.containers.iter().map(|entry| match &entry.parent {
            Parent::Key(parent, _) if parent.0 == 0 => 0,
            Parent::Element(_) => 1,
            Parent::Key(..) => 2,
        }));
        let elements = || {
            self.containers.iter().filter_map(|entry| match &entry.parent {
                Parent::Element(element) => Some(element),
                Parent::Key(..) => None,
            })
        };
        for element in elements() {
            out.put_varint(source_number(element.source));
        }
        for element in elements() {
            out.put_varint(element.offset.into());
        }
        for (index, entry) in self.containers.iter().enumerate() {
            if let Parent::Key(parent, _) = &entry.parent
                && parent.0 > 0
            {
                out.put_varint((index + 1 - parent.0 as usize) as u64);
            }
        }
        for key in entry_keys {
            out.put_varint(key.into());
        }
    }

    /// Columns 12 to 17.
    fn put_runs(&self, out: &mut Vec<u8>) {
        for run in &self.runs {
            match run {
                Run::Insert { elements: Elements::Values(values), .. } => out.put_varint(values.len() as u64),
                Run::Delete { len, .. } | Run::Text { len, .. } => out.put_varint((*len).into()),
                _ => {}
            }
        }
        for run in &self.runs {
            if let Run::Delete { len: 2.., direction, .. } = run {
                out.push(u8::from(*direction == Direction::Backward));
            }
        }
        for run in &self.runs {
            if let Some(container) = run.container() {
                out.put_varint(container.0.into());
            }
        }
        for run in &self.runs {
            if let Some(anchor) = run.anchor() {
                out.push(match anchor {
                    Anchor::Start => 0,
                    Anchor::Right(_) => 1,
                    Anchor::Left(_) => 2,
                });
            }
        }
        for run in &self.runs {
            run.references().for_each(|reference| out.put_varint(source_number(reference.source)));
        }
        for run in &self.runs {
            run.references().for_each(|reference| out.put_varint(reference.offset.into()));
        }
    }

    /// Columns 18 to 20.
    fn put_payloads(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        for run in &self.runs {
            match run {
                Run::Set(_, value) => value.encode(out)?,
                Run::Insert { elements: Elements::Values(values), .. } => {
                    for value in values {
                        value.encode(out)?;
                    }
                }
                _ => {}
            }
        }
        for run in &self.runs {
            if let Run::Add(_, step) = run {
                out.put_zigzag(*step);
            }
        }
        for run in &self.runs {
            if let Run::Text { characters, .. } = run {
                out.put(characters.as_bytes());
            }
        }
        Ok(())
    }
}

impl Run {
    /// The references of column 16, in its order.
    pub(super) fn references(&self) -> impl Iterator<Item = Ref> {
        let named = match self {
            Run::Delete { target, .. } => Some(*target),
            Run::Move { element, .. } => Some(*element),
            _ => None,
        };
        let place = self.anchor().and_then(|anchor| match anchor {
            Anchor::Start => None,
            Anchor::Right(place) | Anchor::Left(place) => Some(place),
        });
        named.into_iter().chain(place)
    }
}

fn op_number(run: &Run) -> u8 {
    match run {
        Run::Ensure(_) => op::ENSURE,
        Run::Clear(_) => op::CLEAR,
        Run::Set(..) => op::SET,
        Run::Add(..) => op::ADD,
        Run::Insert { .. } => op::INSERT,
        Run::Delete { .. } => op::DELETE,
        Run::Move { .. } => op::MOVE,
        Run::Text { .. } => op::TEXT,
    }
}

/// The number of a source (section 4.3).
pub(super) fn source_number(source: Source) -> u64 {
    match source {
        Source::Own => 0,
        Source::Back(steps) => steps << 1,
        Source::Foreign(entry) => u64::from(entry) << 1 | 1,
    }
}
