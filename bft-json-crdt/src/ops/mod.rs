//! Unit operations and their one columnar, run-length encoding (docs/protocol.md, section 4).

mod builder;
mod columns;
mod decode;
mod encode;
mod unit;

use std::sync::Arc;

use thiserror::Error;

pub use self::builder::{BuildError, BuilderMark, OpsBuilder};
pub(crate) use self::columns::{ColumnReader, Shape, split_characters};
pub(crate) use self::decode::Decoder;
pub use self::encode::EncodeError;
pub use self::unit::{Element, Unit};
use crate::change::ChangeId;
use crate::encoding::DecodeError;
use crate::value::Value;

/// Most unit operations in one change: bounds the work that a few run-length bytes can cause.
pub const MAX_UNITS: u32 = 1 << 18;
/// Most bytes of a map key: keys are names, not documents.
pub const MAX_KEY_BYTES: usize = 1024;
/// Containers within containers; the root has depth 0.
pub const MAX_DEPTH: u32 = 48;

/// The numbers of the operations (section 4.2).
pub(crate) mod op {
    pub(crate) const ENSURE: u8 = 0;
    pub(crate) const CLEAR: u8 = 1;
    pub(crate) const SET: u8 = 2;
    pub(crate) const ADD: u8 = 3;
    pub(crate) const INSERT: u8 = 4;
    pub(crate) const DELETE: u8 = 5;
    pub(crate) const MOVE: u8 = 6;
    pub(crate) const TEXT: u8 = 7;
    pub(crate) const LAST: u8 = TEXT;
}

/// Why bytes are not operations that this build can apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpsError {
    /// The bytes break the form: the sender is to blame.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The bytes are of a protocol that this build does not know: the change waits.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// What this build does not know. Nothing behind it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unsupported {
    /// The version of `ops`.
    #[error("operations of version {0} are not known here")]
    Version(u64),
    /// The number of an operation.
    #[error("operation {0} is not known here")]
    Operation(u64),
    /// The kind of a container.
    #[error("container kind {0} is not known here")]
    ContainerKind(u64),
    /// The kind of an element.
    #[error("element kind {0} is not known here")]
    ElementKind(u64),
}

/// What a container holds. The numbers are the protocol's; where several kinds live under one key, the lowest shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One value, last writer wins.
    Register = 1,
    /// All concurrent values.
    MultiRegister = 2,
    /// A sum.
    Counter = 3,
    /// Containers under string keys.
    Map = 4,
    /// Elements in order.
    List = 5,
    /// Unicode scalar values in order.
    Text = 6,
}

impl Kind {
    /// All kinds, lowest first.
    pub const ALL: [Kind; 6] = [Kind::Register, Kind::MultiRegister, Kind::Counter, Kind::Map, Kind::List, Kind::Text];

    /// The lowest number.
    const FIRST: Kind = Kind::Register;
    /// The highest number.
    pub(crate) const LAST: Kind = Kind::Text;

    /// The kind with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }
}

/// Which change a reference speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The change that carries the reference.
    Own,
    /// The author's own change this many (≥ 1) steps of `previous` back.
    Back(u64),
    /// An entry of the foreign table.
    Foreign(u32),
}

/// One operation of some change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ref {
    /// The change.
    pub source: Source,
    /// The unit's offset in it.
    pub offset: u32,
}

/// Where a place hangs in its sequence's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// From the sequence's start.
    Start,
    /// On the right side of a place.
    Right(Ref),
    /// On the left side of a place.
    Left(Ref),
}

/// A container's number within one change: 0 is the root, i is entry i − 1 of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerNo(pub u32);

impl ContainerNo {
    /// The document's root map.
    pub const ROOT: Self = Self(0);
}

/// What a container hangs from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Parent {
    /// An entry of the map with this number (the root or an earlier entry of kind map).
    Key(ContainerNo, Arc<str>),
    /// A list element.
    Element(Ref),
}

/// An entry of a change's container table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerEntry {
    /// What it hangs from.
    pub parent: Parent,
    /// What it holds.
    pub kind: Kind,
}

/// What inserted elements are.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// A run of values that never change, one a unit; never empty.
    Values(Vec<Value>),
    /// One element that holds a container of this kind.
    Container(Kind),
}

/// Which way a delete run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Each target is one offset above the one before.
    Forward,
    /// Each target is one offset below the one before.
    Backward,
}

/// A maximal run of unit operations.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// Makes an empty container present.
    Ensure(ContainerNo),
    /// Deletes everything at and below a container.
    Clear(ContainerNo),
    /// Writes a register.
    Set(ContainerNo, Value),
    /// Adds to a counter.
    Add(ContainerNo, i64),
    /// Inserts list elements; unit k + 1 hangs on the right of unit k.
    Insert {
        /// The list.
        list: ContainerNo,
        /// Where the first element hangs.
        anchor: Anchor,
        /// The elements.
        elements: Elements,
    },
    /// Deletes elements or characters.
    Delete {
        /// The first target.
        target: Ref,
        /// How many units, ≥ 1.
        len: u32,
        /// Where the next target lies; `Forward` when `len` is 1.
        direction: Direction,
    },
    /// Gives a list element a further place.
    Move {
        /// The element, named by its insert.
        element: Ref,
        /// Where the new place hangs.
        anchor: Anchor,
    },
    /// Inserts characters; unit k + 1 hangs on the right of unit k.
    Text {
        /// The text.
        text: ContainerNo,
        /// Where the first character hangs.
        anchor: Anchor,
        /// The characters; never empty.
        characters: String,
        /// How many Unicode scalar values `characters` has.
        len: u32,
    },
}

impl Run {
    /// How many unit operations the run covers.
    pub fn len(&self) -> u32 {
        match self {
            Run::Insert { elements: Elements::Values(values), .. } => values.len() as u32,
            Run::Delete { len, .. } | Run::Text { len, .. } => *len,
            _ => 1,
        }
    }

    /// The container that the run names: none for deletes and moves, whose targets know theirs.
    pub fn container(&self) -> Option<ContainerNo> {
        match self {
            Run::Ensure(container) | Run::Clear(container) | Run::Set(container, _) | Run::Add(container, _) => {
                Some(*container)
            }
            Run::Insert { list, .. } => Some(*list),
            Run::Text { text, .. } => Some(*text),
            Run::Delete { .. } | Run::Move { .. } => None,
        }
    }

    /// Where the first unit's place hangs, for runs that make places.
    pub fn anchor(&self) -> Option<Anchor> {
        match self {
            Run::Insert { anchor, .. } | Run::Move { anchor, .. } | Run::Text { anchor, .. } => Some(*anchor),
            _ => None,
        }
    }

    /// Never: a run has at least one unit.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// The decoded operations of one change. Made by [`Ops::decode`] or an `OpsBuilder`, so always canonical.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ops {
    /// Changes of others (or off the own chain) that references name, in first-use order.
    pub foreign: Vec<ChangeId>,
    /// The container table, in first-use order.
    pub containers: Vec<ContainerEntry>,
    /// The runs.
    pub runs: Vec<Run>,
}

impl Ops {
    /// The entry of a container; none for the root (and for numbers that are not in the table).
    pub fn entry(&self, container: ContainerNo) -> Option<&ContainerEntry> {
        self.containers.get((container.0 as usize).checked_sub(1)?)
    }

    /// How many unit operations there are.
    pub fn units(&self) -> u32 {
        self.runs.iter().map(Run::len).sum()
    }
}
