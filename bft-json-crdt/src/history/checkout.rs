//! The document as of a past version.

use std::sync::Arc;

use super::numbers::{Numbers, Renumbered};
use super::skeleton::operations;
use super::{HistoryError, Version};
use crate::causality::ChangeIdx;
use crate::change::DocumentId;
use crate::clock::Clock;
use crate::document::{Document, Event};
use crate::replica::Replica;
use crate::value::Value;

/// Most pasts that [`Checkpoints`] keep: each can be as large as the document.
pub const MAX_CHECKPOINTS: usize = 8;
/// A checkout that had to apply more changes than this is worth keeping as a checkpoint: about what is applied within a blink.
pub const CHECKPOINT_DISTANCE: usize = 1024;

/// A document as of a version. It is a copy of its own: the replica that it was taken from may go on, and the past can be moved on to later versions.
#[derive(Clone)]
pub struct Past {
    /// Which replica numbered its changes, and in which generation.
    home: Home,
    id: DocumentId,
    version: Version,
    /// What `version` holds.
    pub(super) cut: Clock,
    /// The document's numbers of changes.
    pub(super) numbers: Numbers,
    pub(super) document: Document,
}

/// The numbering of changes that a past stands on.
#[derive(Clone)]
struct Home {
    replica: Arc<()>,
    generation: u64,
}

impl Home {
    fn of(replica: &Replica) -> Self {
        Self { replica: replica.incarnation().clone(), generation: replica.generation() }
    }

    fn is(&self, replica: &Replica) -> bool {
        Arc::ptr_eq(&self.replica, replica.incarnation()) && self.generation == replica.generation()
    }
}

impl Past {
    /// The state before any change.
    fn empty(replica: &Replica) -> Self {
        let (home, id) = (Home::of(replica), replica.document_id());
        let (version, numbers, document) = (Version::EMPTY, Numbers::default(), Document::new());
        Self { home, id, version, cut: Clock::new(), numbers, document }
    }

    /// Which version it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The document's id.
    pub fn document_id(&self) -> DocumentId {
        self.id
    }

    /// The document as of that version. Handles ([`ContainerIdx`](crate::document::ContainerIdx), element ids) are its own and good for no other
    /// document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The whole document as one value.
    pub fn view(&self) -> Value {
        self.document.view()
    }

    /// Moves on to a later version, which holds all that this one holds. Cost: the changes between. Answers what happened, change by change: everything that
    /// came and went in between, told as applying the changes would have told it.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`], [`HistoryError::NotLater`], [`HistoryError::Stale`], [`HistoryError::Compacted`]; nothing has moved then.
    pub fn advance(&mut self, replica: &Replica, to: &Version) -> Result<Vec<Event>, HistoryError> {
        let mut events = Vec::new();
        self.move_to(replica, to, Some(&mut events))?;
        Ok(events)
    }

    /// An error unless it was taken from this replica, as it is now numbered.
    pub(super) fn at_home(&self, replica: &Replica) -> Result<(), HistoryError> {
        if self.home.is(replica) { Ok(()) } else { Err(HistoryError::Stale) }
    }

    pub(super) fn move_to(
        &mut self,
        replica: &Replica,
        to: &Version,
        events: Option<&mut Vec<Event>>,
    ) -> Result<usize, HistoryError> {
        self.at_home(replica)?;
        let cut = replica.cut(to)?;
        if !replica.contains(&cut, &self.cut) {
            return Err(HistoryError::NotLater);
        }
        if !replica.contains(&cut, &replica.floor_cut().cut) {
            return Err(HistoryError::Compacted);
        }
        let missing = replica.missing_in(&self.cut, &cut);
        self.apply(replica, &missing, events);
        (self.version, self.cut) = (to.clone(), cut);
        Ok(missing.len())
    }

    fn apply(&mut self, replica: &Replica, changes: &[ChangeIdx], mut events: Option<&mut Vec<Event>>) {
        const PROOF: &str = "the change was applied before, and its verdict depends on its past alone";
        let told = events.as_ref().map_or(0, |events| events.len());
        for index in changes {
            let mut ops = operations(&replica.dag().record(*index));
            let ours = self.numbers.add(*index);
            let causality = Renumbered { dag: replica.dag(), numbers: &self.numbers };
            match events.as_deref_mut() {
                Some(events) => self.document.apply(&causality, ours, &ops, Some(events)).expect(PROOF),
                // Half the work: it was judged when it was applied here.
                None => self.document.apply_or_spoil(&causality, ours, &mut ops).expect(PROOF),
            }
        }
        for event in events.into_iter().flatten().skip(told) {
            event.change = self.numbers.theirs(event.change);
        }
    }
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Past({:?} at {:?})", self.id, self.version.heads())
    }
}

impl Replica {
    /// The document as of a version. Cost: a copy of the document for the present version; for others, applying the changes of its causal past once, no
    /// signature checks. [`Checkpoints`] make a row of checkouts cheaper.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`] for a head that is not applied here; [`HistoryError::Compacted`].
    pub fn checkout(&self, version: &Version) -> Result<Past, HistoryError> {
        let cut = self.cut(version)?;
        // While a change is being gathered, the document is ahead of all versions.
        if self.contains(&cut, &self.cut(&self.version())?) && !self.document().holds_beyond(self.len()) {
            let (home, document) = (Home::of(self), self.document().clone());
            let (id, numbers) = (self.document_id(), Numbers::identical(self.len()));
            return Ok(Past { home, id, version: version.clone(), cut, numbers, document });
        }
        let mut past = Past::empty(self);
        past.move_to(self, version, None)?;
        Ok(past)
    }
}

/// Pasts kept for the next checkout: it starts from the nearest one that the wanted version contains. At most [`MAX_CHECKPOINTS`], the longest unused
/// goes first.
#[derive(Default)]
pub struct Checkpoints {
    /// The last used at the end.
    kept: Vec<Past>,
}

impl Checkpoints {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// [`Replica::checkout`], from the nearest checkpoint. Cost: a copy of it, and the changes between. Checkpoints of another replica, or from before a rebuild, are
    /// dropped.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`], [`HistoryError::Compacted`].
    pub fn checkout(&mut self, replica: &Replica, version: &Version) -> Result<Past, HistoryError> {
        let cut = replica.cut(version)?;
        self.kept.retain(|past| past.home.is(replica));
        let distance = |past: &Past| replica.stretches(&cut, &past.cut).map(|stretch| stretch.count()).sum::<u64>();
        let below = self.kept.iter().enumerate().filter(|(_, past)| replica.contains(&cut, &past.cut));
        let Some((_, nearest)) = below.map(|(at, past)| (distance(past), at)).min() else {
            let past = replica.checkout(version)?;
            self.keep(&past);
            return Ok(past);
        };
        let start = self.kept.remove(nearest);
        let mut past = start.clone();
        self.kept.push(start);
        if past.move_to(replica, version, None)? > CHECKPOINT_DISTANCE {
            self.keep(&past);
        }
        Ok(past)
    }

    fn keep(&mut self, past: &Past) {
        if self.kept.len() >= MAX_CHECKPOINTS {
            self.kept.remove(0);
        }
        self.kept.push(past.clone());
    }
}
