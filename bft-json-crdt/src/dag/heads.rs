//! The changes that no other names, ascending by id. There is mostly one or a handful; an attacker or a long partition can make it thousands.

use std::collections::BTreeMap;

use crate::causality::ChangeIdx;
use crate::change::ChangeId;

/// Up to this many heads stand in a sorted vector: no allocation comes and goes with each change. Beyond, in a tree, so that many cost O(log n).
const FEW: usize = 32;

#[derive(Debug, Clone, Default)]
pub(super) struct Heads {
    /// Ascending by id. Empty while `many` is not.
    few: Vec<(ChangeId, ChangeIdx)>,
    many: BTreeMap<ChangeId, ChangeIdx>,
}

impl Heads {
    /// A new change takes the place of those that it names.
    pub(super) fn replace(&mut self, parents: impl Iterator<Item = ChangeId>, id: ChangeId, index: ChangeIdx) {
        if self.many.is_empty() {
            for parent in parents {
                if let Ok(at) = self.find(&parent) {
                    self.few.remove(at);
                }
            }
            let at = self.find(&id).unwrap_or_else(|at| at);
            self.few.insert(at, (id, index));
            if self.few.len() > FEW {
                self.many = std::mem::take(&mut self.few).into_iter().collect();
            }
            return;
        }
        for parent in parents {
            self.many.remove(&parent);
        }
        self.many.insert(id, index);
        // Half, so that it does not go back and forth.
        if self.many.len() <= FEW / 2 {
            self.few = std::mem::take(&mut self.many).into_iter().collect();
        }
    }

    fn find(&self, id: &ChangeId) -> Result<usize, usize> {
        self.few.binary_search_by(|(other, _)| other.cmp(id))
    }

    /// All of them, ascending by id.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (ChangeId, ChangeIdx)> + '_ {
        Merged { few: self.few.iter(), many: self.many.iter() }
    }
}

/// One of the two is empty.
struct Merged<'a> {
    few: std::slice::Iter<'a, (ChangeId, ChangeIdx)>,
    many: std::collections::btree_map::Iter<'a, ChangeId, ChangeIdx>,
}

impl Iterator for Merged<'_> {
    type Item = (ChangeId, ChangeIdx);

    fn next(&mut self) -> Option<Self::Item> {
        self.few.next().copied().or_else(|| self.many.next().map(|(id, index)| (*id, *index)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.few.len() + self.many.len();
        (len, Some(len))
    }
}

impl ExactSizeIterator for Merged<'_> {}
