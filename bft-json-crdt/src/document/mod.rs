//! What the changes of a document add up to: its registers, maps, lists, texts and counters (`docs/protocol.md`, section 6).
//!
//! The parts:
//! ```text
//! judge   is a change valid? references, kinds, sequences, depth; mutates nothing
//! apply   what its units do; which operations a clear or delete covers
//! read    what shows: the access that the typed and the untyped layers stand on; view: all of it as one value
//! tx      local writing: units that are applied and recorded at once
//! ```
//! A container is named by its place in the structure, and made in memory when something first mentions it. So a handle, a
//! [`ContainerIdx`], stays good for ever, whether or not the container lives.

mod apply;
mod check;
mod container;
mod cover;
mod event;
mod judge;
mod keys;
mod list;
mod map;
mod origin;
mod read;
mod register;
#[allow(dead_code, reason = "its own tests and figures use more of it than the engine")]
mod sequence;
mod text;
mod tx;
mod uncovered;
mod units;

pub use event::{Event, Happened, MAX_EVENTS, Step};
pub(crate) use origin::Shown;
pub use read::Element;
pub(crate) use tx::record::Effect;
pub(crate) use tx::take_back::Reborn;
pub use tx::{Finished, Inserted, NewElement, Tx, TxError};

use thiserror::Error;

use self::apply::{Author, Resolved, Scope};
use self::container::{Bodies, Container, Up};
use self::judge::{Tables, foreign_table};
use self::keys::Keys;
use self::sequence::pages::Pages;
use self::uncovered::Uncovered;
use self::units::Units;
use crate::causality::{Causality, ChangeIdx};
use crate::ops::{Kind, Ops};

/// A container's number in this replica's memory; never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerIdx(pub(crate) u32);

impl ContainerIdx {
    /// The root map. It always lives.
    pub const ROOT: Self = Self(0);
}

/// A list element's number in this replica's memory: stable across moves and other edits; never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementId(pub(crate) u32);

/// Why a change is invalid by what it says of the document (section 5, verdict 6). The least one that applies is the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum InvalidReason {
    /// A reference names a change outside the causal past, uses the wrong form, or an offset that the change does not have.
    #[error("a reference names nothing in the change's causal past, or in the wrong form")]
    Reference,
    /// A reference names the wrong kind of thing.
    #[error("a reference names the wrong kind of thing")]
    Kind,
    /// A place stands in another container than the operation.
    #[error("a place stands in another container than the operation that names it")]
    Sequence,
    /// A container is deeper than [`crate::ops::MAX_DEPTH`].
    #[error("a container lies too deep")]
    Depth,
}

/// The state of one document. It holds no clock and no socket; all knowledge about changes comes from a [`Causality`].
#[derive(Clone)]
pub struct Document {
    /// The root first; none is ever taken out. Invariant: a container stands behind what it hangs from.
    containers: Pages<Container>,
    bodies: Bodies,
    keys: Keys,
    uncovered: Uncovered,
    units: Units,
    scratch: Scratch,
}

impl Default for Document {
    fn default() -> Self {
        let mut containers = Pages::default();
        containers.push(Container::new(Up::Root, Kind::Map, 0));
        Self {
            containers,
            bodies: Bodies::default(),
            keys: Keys::default(),
            uncovered: Uncovered::default(),
            units: Units::default(),
            scratch: Scratch::default(),
        }
    }
}

/// Room for the tables of a change while it is applied.
#[derive(Default)]
struct Scratch {
    tables: Tables,
    resolved: Resolved,
}

/// Entries of each table for which room is kept between changes.
const KEPT_ENTRIES: usize = 1024;

impl Scratch {
    fn shrink(&mut self) {
        self.tables.shrink(KEPT_ENTRIES);
        self.resolved.shrink(KEPT_ENTRIES);
    }
}

/// It holds nothing between changes.
impl Clone for Scratch {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Document {
    /// An empty document: a living root map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a change by its references, mutating nothing, and then applies it. Events are computed only if asked for, in the order of
    /// the change's units.
    ///
    /// Changes must come in causal order, each once; `causality` already knows `change`.
    ///
    /// # Errors
    /// The change is invalid, and the document as it was.
    pub fn apply(
        &mut self,
        causality: &impl Causality,
        change: ChangeIdx,
        ops: &Ops,
        events: Option<&mut Vec<Event>>,
    ) -> Result<(), InvalidReason> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let Scratch { tables, resolved } = &mut scratch;
        let result = foreign_table(causality, change, ops, &mut resolved.foreign)
            .and_then(|()| self.judge(causality, change, ops, &resolved.foreign, tables))
            .and_then(|()| {
                let scope = &mut Scope::new(causality, change);
                self.apply_runs(&mut Author { causality, scope, events }, ops, resolved)
            });
        scratch.shrink();
        self.scratch = scratch;
        result
    }

    /// Applies a change without judging it as a whole first, which saves a load of one's own changes the half of the work. No events. The values are moved
    /// out of the operations.
    ///
    /// # Errors
    /// The change is invalid, and the document fit only to be thrown away. If several reasons apply it need not be the least.
    pub fn apply_or_spoil(
        &mut self,
        causality: &impl Causality,
        change: ChangeIdx,
        ops: &mut Ops,
    ) -> Result<(), InvalidReason> {
        let mut resolved = std::mem::take(&mut self.scratch.resolved);
        let result = foreign_table(causality, change, ops, &mut resolved.foreign).and_then(|()| {
            let scope = &mut Scope::new(causality, change);
            self.apply_owned_runs(&mut Author { causality, scope, events: None }, ops, &mut resolved)
        });
        self.scratch.resolved = resolved;
        self.scratch.shrink();
        result
    }
}
