//! Compaction: below a frontier that nobody goes back behind, what was deleted and overwritten is forgotten.
//!
//! Of a change below the frontier stay its id, its header with `ops_hash`, its signature or voucher, and a [skeleton](super::skeleton) of its operations. So chains,
//! vouchers and proofs of equivocation hold as before, what comes later may refer to places below, and blame still names its authors under their signatures. What is gone is
//! gone: the change cannot be sent to anybody any more, and versions that do not hold the frontier cannot be checked out.

use thiserror::Error;

use super::skeleton::{Kept, kept, operations, skeleton};
use super::{HistoryError, Version};
use crate::causality::{Causality as _, ChangeIdx};
use crate::clock::Clock;
use crate::identity::AuthorId;
use crate::replica::Replica;

/// Below what to compact, and why nobody goes back behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frontier {
    /// The caller knows it to be final: the cut of a sealed block, say. Whoever has not got what is below has to get it elsewhere.
    Final(Version),
    /// All have built upon it: every author of whom something is applied here has a change that holds it. Authors who are proven to have forked their chains are
    /// not asked: they get a hearing only through others.
    Acknowledged(Version),
}

/// Why nothing was compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompactError {
    /// The frontier is no version of this replica.
    #[error(transparent)]
    Frontier(#[from] HistoryError),
    /// This author has not acknowledged it, as far as is known here.
    #[error("author {0} has no change that holds the frontier")]
    Unacknowledged(AuthorId),
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Changes that were compacted for the first time.
    pub changes: usize,
    /// Bytes of memory that the log of changes takes now less than before.
    pub bytes_freed: usize,
}

/// Below what a replica is compacted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floor {
    /// Empty as long as nothing is.
    pub(crate) version: Version,
    /// What that holds.
    pub(crate) cut: Clock,
}

impl Replica {
    /// Forgets what was deleted and overwritten below a frontier. It adds up: everything below any frontier so far is compacted, and what has been overwritten
    /// since an earlier compaction goes as well. Numbers of changes stay. Cost: one checkout of the frontier, and one pass over the log.
    ///
    /// Afterwards, for changes below: [`Replica::get`] answers `None`, [`Replica::change`] and [`Replica::bytes`] must not be asked, [`Replica::log`] leaves them out, a
    /// [sync session](crate::sync::SyncSession::unserved) too, and [`Replica::save_compacted`] takes the place of
    /// [`Replica::save`], which must not be asked.
    ///
    /// # Errors
    /// See [`CompactError`]; nothing has changed then.
    pub fn compact(&mut self, frontier: &Frontier) -> Result<Compacted, CompactError> {
        let (Frontier::Final(version) | Frontier::Acknowledged(version)) = frontier;
        let cut = self.cut(version)?;
        if let Frontier::Acknowledged(_) = frontier {
            let holds = |leaf: ChangeIdx| self.contains(&self.dag().clock_of([leaf]), &cut);
            let missing =
                |author: &AuthorId| !self.is_proven(author) && !self.dag().leaves(author).any(|leaf| holds(leaf.index));
            if let Some(author) = self.authors().find(missing) {
                return Err(CompactError::Unacknowledged(author));
            }
        }
        let version = self.together(&self.floor_cut().version, version);
        let past = self.checkout(&version)?;
        let (kept, none, cut) = (kept(&past), Kept::default(), past.cut);
        let before = self.dag().heap_bytes();
        let mut compacted = Compacted::default();
        let (floor, dag) = self.floor_mut();
        let positions: Vec<_> = (0..dag.len() as u32).map(|number| dag.position(ChangeIdx(number))).collect();
        dag.compact(|index, record| {
            let (branch, seq) = positions[index.0 as usize];
            if cut.get(branch) < seq {
                return None;
            }
            compacted.changes += usize::from(record.ops().is_some());
            Some(skeleton(operations(record), kept.get(&index).unwrap_or(&none)))
        });
        *floor = Floor { version, cut };
        compacted.bytes_freed = before.saturating_sub(self.dag().heap_bytes());
        Ok(compacted)
    }

    /// Whether an applied change was compacted: its operations are gone.
    ///
    /// # Panics
    /// If `index` was not handed out by this replica in its present generation.
    pub fn is_compacted(&self, index: ChangeIdx) -> bool {
        let (branch, seq) = self.dag().position(index);
        self.floor_cut().cut.get(branch) >= seq
    }

    /// Below what this replica is compacted: exactly the changes that this version holds. Only versions that hold it can be checked out.
    pub fn floor(&self) -> &Version {
        &self.floor_cut().version
    }

    /// What two versions hold together, named by as few heads as that takes.
    fn together(&self, a: &Version, b: &Version) -> Version {
        let all = Version::new(a.heads().iter().chain(b.heads()).copied());
        let numbers: Vec<ChangeIdx> = all.heads().iter().filter_map(|id| self.dag().lookup(id)).collect();
        let below = |index: &ChangeIdx| numbers.iter().any(|other| self.dag().precedes(*index, *other));
        Version::new(numbers.iter().filter(|index| !below(index)).map(|index| self.dag().id(*index)))
    }
}
