//! The first document engine, kept as an oracle: one place a character, every part as plain as it was when the rules were first written down, and checked
//! against the protocol's text by `merge`. The engine of the crate may change its inside as it likes: it must go on agreeing with this one, change for change
//! (`agree`, and the fuzz target `apply`). So nothing here is ever made faster or mended together with it; what is left out is what an oracle has no use
//! for: events, self-checks, figures.

mod apply;
mod compare;
mod container;
mod cover;
mod judge;
mod live;
mod read;
mod sequence;
mod tx;
mod units;

pub(crate) use compare::{assert_agrees, assert_same};
pub(crate) use read::Element;
pub(crate) use tx::Tx;

use std::sync::Arc;

use self::apply::Author;
use self::container::{Body, Container, Stamp, Up};
use self::sequence::PlaceIdx;
use self::units::Units;
use bft_json_crdt::causality::{Causality, ChangeIdx};
use bft_json_crdt::document::InvalidReason;
use bft_json_crdt::ops::{Kind, Ops};

/// A container's number in this replica's memory; never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContainerIdx(pub(crate) u32);

impl ContainerIdx {
    /// The root map. It always lives.
    pub(crate) const ROOT: Self = Self(0);
}

/// A list element's number in this replica's memory: stable across moves and other edits; never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ElementId(pub(crate) u32);

/// The state of one document. It holds no clock and no socket; all knowledge about changes comes from a [`Causality`].
#[derive(Clone)]
pub(crate) struct Document {
    /// The root first; none is ever taken out. Invariant: a container stands behind what it hangs from.
    containers: Vec<Container>,
    units: Units,
}

impl Default for Document {
    fn default() -> Self {
        Self { containers: vec![Container::new(Up::Root, Kind::Map, 0)], units: Units::default() }
    }
}

impl Document {
    /// An empty document: a living root map.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Judges a change by its references, mutating nothing, and then applies it.
    ///
    /// Changes must come in causal order, each once; `causality` already knows `change`.
    ///
    /// # Errors
    /// The change is invalid, and the document as it was.
    pub(crate) fn apply(
        &mut self,
        causality: &impl Causality,
        change: ChangeIdx,
        ops: &Ops,
    ) -> Result<(), InvalidReason> {
        self.judge(causality, change, ops)?;
        self.apply_judged(&mut Author::new(causality, change), ops);
        Ok(())
    }

    /// Tells the document the id of the local change that a [`Tx`] wrote: `causality` answers it by now. Must come before the next change
    /// is applied.
    pub(crate) fn seal(&mut self, causality: &impl Causality, change: ChangeIdx) {
        let id = causality.id(change);
        let Self { containers, units } = self;
        for run in units.runs(change) {
            let sequence = match &mut containers[run.container.0 as usize].body {
                Body::List(list) => &mut Arc::make_mut(list).sequence,
                Body::Text(text) => &mut Arc::make_mut(text).sequence,
                _ => continue,
            };
            for place in (run.place..run.place + run.len).map(PlaceIdx::from_number) {
                let stamp = sequence.stamp_of(place);
                sequence.restamp(place, Stamp { id, ..stamp });
            }
        }
    }

    /// # Panics
    /// If another document handed the number out.
    fn at(&self, container: ContainerIdx) -> &Container {
        &self.containers[container.0 as usize]
    }

    fn at_mut(&mut self, container: ContainerIdx) -> &mut Container {
        &mut self.containers[container.0 as usize]
    }
}
