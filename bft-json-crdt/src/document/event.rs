//! What a change did to the document, told for those who show it.

use std::sync::Arc;

use super::ContainerIdx;
use crate::causality::ChangeIdx;
use crate::ops::Kind;

/// Most events that one call tells. A change of a megabyte can hold hundreds of thousands of operations, each in a container with a long path: told one by
/// one they would take gigabytes. Whoever hears of [`Happened::Untold`] reads the document again.
pub const MAX_EVENTS: usize = 16_384;

/// One step of the way from the root to a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// An entry of a map.
    Key(Arc<str>),
    /// An element of a list, by its index when the event happened.
    Index(usize),
}

/// One thing that happened to one container. Several units of a change may be told as one event; indexes are those at the moment of the
/// event, so that applying events one after another to a copy of the lists keeps it equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The change that did it.
    pub change: ChangeIdx,
    /// The container.
    pub container: ContainerIdx,
    /// Its kind.
    pub kind: Kind,
    /// The way from the root to it.
    pub path: Vec<Step>,
    /// What happened.
    pub happened: Happened,
}

/// What happened to a container. Nothing is told of what nobody can see: operations that were covered when they arrived, and operations inside
/// deleted elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It was made present while empty.
    Ensured,
    /// Operations at or below it were deleted.
    Cleared,
    /// A register was written (a greater concurrent write may still be the one that shows).
    Set,
    /// A counter was stepped.
    Added(i64),
    /// List elements or characters were inserted.
    Inserted {
        /// The first one's index.
        index: usize,
        /// How many.
        len: usize,
    },
    /// List elements or characters were deleted.
    Deleted {
        /// The first one's index.
        index: usize,
        /// How many.
        len: usize,
    },
    /// A list element was moved.
    Moved {
        /// Its index before.
        from: usize,
        /// Its index after.
        to: usize,
    },
    /// More happened, anywhere in the document, than [`MAX_EVENTS`] allow to tell: the last event of a call, told of the root.
    Untold,
}
