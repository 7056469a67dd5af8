//! What clears and deletes do (section 6): which operations are covered, and who lives then.
//!
//! Changes come in causal order, so nothing is ever covered by a delete that was applied before it: covering happens only when a clear or a delete is
//! applied. A clear by change c covers on each branch what has a `seq` up to a bound: c's causal past there, or, on c's own branch, c itself (of whose
//! units exactly the earlier ones are applied by then). So each container keeps for each branch the least `seq` at and below it, and a
//! clear goes only where it covers something.

use std::sync::Arc;

use super::container::{Body, Content, Entry, MapBody, Up};
use super::sequence::PlaceIdx;
use super::{ContainerIdx, Document};
use bft_json_crdt::causality::BranchIdx;

impl Document {
    /// Covers everything at and below a container that `bound` says, on each of these branches. Answers whether there was anything.
    pub(super) fn cover(
        &mut self,
        container: ContainerIdx,
        branches: Vec<BranchIdx>,
        bound: impl Fn(BranchIdx) -> u64,
    ) -> bool {
        let mut any = false;
        for branch in branches {
            let before = self.at(container).least(branch);
            let bound = bound(branch);
            if before.is_some_and(|least| least <= bound) {
                any = true;
                self.cover_branch(container, branch, bound);
                self.settle(container, branch, before);
            }
        }
        any
    }

    /// Covers one branch at and below a container, up to `seq` = `bound`. What stands above is not told. Recurses at most to MAX_DEPTH.
    fn cover_branch(&mut self, container: ContainerIdx, branch: BranchIdx, bound: u64) {
        let held = self.at_mut(container);
        held.ensures.retain(|(of, seq)| *of != branch || *seq > bound);
        match &mut held.body {
            Body::Register(writes) => writes.retain(|write| write.branch != branch || write.seq > bound),
            Body::Counter(steps) => {
                steps.cover(branch, bound);
            }
            // Empty ones are shared, and stay so.
            Body::List(list) if list.runs.living() > 0 => {
                let list = Arc::make_mut(list);
                for run in list.runs.cover(branch, bound) {
                    for place in run.places() {
                        let entry = &mut list.elements[list.element_of[place as usize] as usize];
                        if entry.alive {
                            entry.die();
                            list.sequence.set_visible(entry.place, false);
                        }
                    }
                }
            }
            Body::Text(text) if text.runs.living() > 0 => {
                let text = Arc::make_mut(text);
                for run in text.runs.cover(branch, bound) {
                    for place in run.places().map(PlaceIdx::from_number) {
                        if text.sequence.is_visible(place) {
                            text.sequence.set_visible(place, false);
                        }
                    }
                }
            }
            Body::List(_) | Body::Text(_) => {}
            Body::Map(_) => {
                while let Some(child) = self.take_covered_child(container, branch, bound) {
                    self.cover_branch(child, branch, bound);
                    if let Some(least) = self.at(child).least(branch) {
                        if let Body::Map(map) = &mut self.at_mut(container).body {
                            map.index.insert((branch, least, child));
                        }
                    } else {
                        self.file(child);
                    }
                }
            }
        }
    }

    /// Takes out of a map's index a child with something that is covered.
    fn take_covered_child(&mut self, map: ContainerIdx, branch: BranchIdx, bound: u64) -> Option<ContainerIdx> {
        let Body::Map(map) = &mut self.at_mut(map).body else { return None };
        let first = map.index.range((branch, 0, ContainerIdx(0))..).next().copied();
        let first = first.filter(|(of, seq, _)| *of == branch && *seq <= bound)?;
        map.index.remove(&first);
        Some(first.2)
    }

    /// Tells the maps above that the least `seq` of a branch at and below a container is no longer `before`. O(depth · log n), and mostly
    /// O(log n): it stops where nothing changes.
    pub(super) fn settle(&mut self, container: ContainerIdx, branch: BranchIdx, before: Option<u64>) {
        let (mut container, mut before) = (container, before);
        loop {
            let after = self.at(container).least(branch);
            if before == after {
                return;
            }
            // An element's container ends it: elements live by their insert alone.
            let Up::Key(above, _) = self.at(container).up else { return };
            let before_above = self.at(above).least(branch);
            if let Body::Map(map) = &mut self.at_mut(above).body {
                if let Some(least) = before {
                    map.index.remove(&(branch, least, container));
                }
                if let Some(least) = after {
                    map.index.insert((branch, least, container));
                }
            }
            if before.is_none() != after.is_none() {
                self.file(container);
            }
            (container, before) = (above, before_above);
        }
    }

    /// Sorts the key of a map's entry among the living or the gone ones.
    fn file(&mut self, container: ContainerIdx) {
        let Up::Key(above, key) = self.at(container).up.clone() else { return };
        let Body::Map(map) = &self.at(above).body else { return };
        let was = map.living.contains_key(&key);
        let lives = map.slot(&key).is_some_and(|slot| slot.iter().any(|(_, child)| self.at(*child).lives()));
        if was == lives {
            return;
        }
        if let Body::Map(map) = &mut self.at_mut(above).body {
            let MapBody { living, gone, .. } = &mut **map;
            let (from, to) = if lives { (gone, living) } else { (living, gone) };
            if let Some((key, slot)) = from.remove_entry(&key) {
                to.insert(key, slot);
            }
        }
    }
}

impl Entry {
    /// Marks a living element as deleted. Its place is for the caller to hide.
    pub(super) fn die(&mut self) {
        self.alive = false;
        if matches!(self.content, Content::Value(_)) {
            self.content = Content::Gone;
        }
    }
}
