//! Versions: states of a document, named by heads. What one holds and another does not is reckoned by clocks and branches, never by a walk.

use std::cmp::Ordering;

use super::HistoryError;
use crate::causality::{BranchIdx, Causality as _, ChangeIdx};
use crate::change::ChangeId;
use crate::clock::Clock;
use crate::identity::AuthorId;
use crate::replica::Replica;

/// A state of a document: these changes with their causal past. It means the same on every replica that holds them.
///
/// Two versions are equal if they name the same heads. A head in another one's past is allowed and changes nothing about the state, so that
/// [`Replica::compare`] is what tells whether two versions are one state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Version {
    /// Invariant: strictly ascending.
    heads: Vec<ChangeId>,
}

impl Version {
    /// The state before any change.
    pub const EMPTY: Self = Self { heads: Vec::new() };

    /// The state that these changes and their causal past make, in any order.
    pub fn new(heads: impl IntoIterator<Item = ChangeId>) -> Self {
        let mut heads: Vec<ChangeId> = heads.into_iter().collect();
        heads.sort_unstable();
        heads.dedup();
        Self { heads }
    }

    /// The changes that name it, ascending.
    pub fn heads(&self) -> &[ChangeId] {
        &self.heads
    }
}

impl From<ChangeId> for Version {
    fn from(change: ChangeId) -> Self {
        Self { heads: vec![change] }
    }
}

impl FromIterator<ChangeId> for Version {
    fn from_iter<T: IntoIterator<Item = ChangeId>>(heads: T) -> Self {
        Self::new(heads)
    }
}

/// Changes that follow one another on a branch of an author's own chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Who wrote them.
    pub author: AuthorId,
    /// On which branch; an honest author has one.
    pub branch: BranchIdx,
    /// The `seq` of the first.
    pub first_seq: u64,
    /// The `seq` of the last.
    pub last_seq: u64,
}

impl Stretch {
    /// How many changes it is.
    pub fn count(&self) -> u64 {
        self.last_seq - self.first_seq + 1
    }
}

impl Replica {
    /// The present version: all heads.
    pub fn version(&self) -> Version {
        Version::new(self.dag().heads().map(|(id, _)| id))
    }

    /// Which changes are in `version` and not in `without`, as stretches of branches. Cost: the heads' clocks and the branches, whatever the length of
    /// the history.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`] for a head that is not applied here.
    pub fn only_in(&self, version: &Version, without: &Version) -> Result<Vec<Stretch>, HistoryError> {
        Ok(self.stretches(&self.cut(version)?, &self.cut(without)?).collect())
    }

    /// The changes in `to` that are not in `from`, each behind those that it names. Like [`Replica::only_in`], and d · log d for d changes.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`].
    pub fn changes_between(&self, from: &Version, to: &Version) -> Result<Vec<ChangeIdx>, HistoryError> {
        Ok(self.missing_in(&self.cut(from)?, &self.cut(to)?))
    }

    /// How two versions stand to each other: `Less` if everything in `a` is in `b` and more, `None` if each holds something that the other does not.
    ///
    /// # Errors
    /// [`HistoryError::Unknown`].
    pub fn compare(&self, a: &Version, b: &Version) -> Result<Option<Ordering>, HistoryError> {
        let (a, b) = (self.cut(a)?, self.cut(b)?);
        let (more, less) = (!self.contains(&b, &a), !self.contains(&a, &b));
        Ok(match (more, less) {
            (false, false) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (true, true) => None,
        })
    }

    /// For each branch the last `seq` that a version holds of it.
    pub(super) fn cut(&self, version: &Version) -> Result<Clock, HistoryError> {
        let heads = version.heads.iter().map(|id| self.dag().lookup(id).ok_or(HistoryError::Unknown(*id)));
        Ok(self.dag().clock_of(heads.collect::<Result<Vec<_>, _>>()?))
    }

    /// What one cut holds and another does not.
    pub(super) fn stretches<'a>(&'a self, cut: &'a Clock, without: &'a Clock) -> impl Iterator<Item = Stretch> + 'a {
        (0..self.dag().branch_count() as u32).map(BranchIdx).filter_map(|branch| {
            let (first, last_seq) = (without.get(branch) + 1, cut.get(branch));
            if first > last_seq {
                return None;
            }
            let view = self.dag().branch(branch);
            let author = self.dag().author(*view.changes.first()?);
            Some(Stretch { author, branch, first_seq: first.max(view.first_seq), last_seq })
        })
    }

    /// Whether a cut holds all that another one holds.
    pub(super) fn contains(&self, cut: &Clock, other: &Clock) -> bool {
        self.stretches(other, cut).next().is_none()
    }

    /// The changes in `to` that are not in `from`, in the order of their application here.
    pub(super) fn missing_in(&self, from: &Clock, to: &Clock) -> Vec<ChangeIdx> {
        let mut missing = Vec::new();
        for stretch in self.stretches(to, from) {
            let view = self.dag().branch(stretch.branch);
            let first = (stretch.first_seq - view.first_seq) as usize;
            missing.extend_from_slice(&view.changes[first..first + stretch.count() as usize]);
        }
        missing.sort_unstable();
        missing
    }
}
