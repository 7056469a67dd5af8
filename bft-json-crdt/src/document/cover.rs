//! What clears and deletes do (section 6): which operations are covered, and who lives then.
//!
//! Changes come in causal order, so nothing is ever covered by a delete that was applied before it: covering happens only when a clear or a delete is
//! applied. A clear by change c covers on each branch what has a `seq` up to a bound: c's causal past there, or, on c's own branch, c itself (of whose
//! units exactly the earlier ones are applied by then). So each container that clears may reach knows for each branch the least `seq` at and below
//! it, and a clear goes only where it covers something. That knowledge is gathered when the first clear comes, and kept from then on.

use std::ops::Range;

use super::apply::Author;
use super::container::{NONE, Up};
use super::list::Held;
use super::{ContainerIdx, Document};
use crate::causality::{BranchIdx, Causality};
use crate::ops::Kind;

impl Document {
    /// Gathers what clears need to know of a container, and of all below it that no list lies between. Costs the size of that, once. Recurses at
    /// most to MAX_DEPTH.
    pub(super) fn index<C: Causality>(&mut self, causality: &C, container: ContainerIdx) {
        let held = self.at_mut(container);
        if held.is_indexed() {
            return;
        }
        held.set_indexed();
        if held.body == NONE {
            return;
        }
        match held.kind {
            Kind::Map => {
                for child in self.children(container) {
                    self.index(causality, child);
                    for (branch, least) in self.leasts(causality, child) {
                        self.uncovered.add_below(container, branch, least, child);
                    }
                }
            }
            Kind::List | Kind::Text => {
                let mut pieces = Vec::new();
                self.pieces(container, 0, usize::MAX, |change, _, places| pieces.push((change, places)));
                for (change, places) in pieces {
                    let (branch, seq) = causality.position(change);
                    self.uncovered.insert(container, branch, seq, places);
                }
            }
            Kind::Register | Kind::MultiRegister | Kind::Counter => {}
        }
    }

    /// The least `seq` of the uncovered operations at or below an indexed container on a branch.
    pub(super) fn least<C: Causality>(&self, causality: &C, container: ContainerIdx, branch: BranchIdx) -> Option<u64> {
        let held = self.at(container);
        let ensure = if held.is_ensured() { self.uncovered.ensured(container, branch) } else { None };
        let own = match held.kind {
            _ if held.body == NONE => None,
            Kind::Register | Kind::MultiRegister => {
                let mut positions = self.bodies.registers.writes(held.body).map(|(at, _)| causality.position(at));
                positions.find(|(of, _)| *of == branch).map(|(_, seq)| seq)
            }
            Kind::Counter => self.uncovered.least_step(container, branch),
            Kind::Map => self.uncovered.least_below(container, branch),
            Kind::List | Kind::Text => self.uncovered.least_insert(container, branch),
        };
        lesser(ensure, own)
    }

    /// The same for each branch that has any, each once.
    pub(super) fn leasts<C: Causality>(&self, causality: &C, container: ContainerIdx) -> Vec<(BranchIdx, u64)> {
        let held = self.at(container);
        let mut leasts = match held.kind {
            _ if held.body == NONE => Vec::new(),
            Kind::Register | Kind::MultiRegister => {
                self.bodies.registers.writes(held.body).map(|(at, _)| causality.position(at)).collect()
            }
            Kind::Counter => self.uncovered.least_steps(container),
            Kind::Map => self.uncovered.leasts_below(container),
            Kind::List | Kind::Text => self.uncovered.least_inserts(container),
        };
        if held.is_ensured() {
            leasts.extend(self.uncovered.ensures(container));
            leasts.sort_unstable();
            leasts.dedup_by_key(|(branch, _)| *branch);
        }
        leasts
    }

    /// Covers everything at and below an indexed container that the author's clear reaches: on these branches, of which it takes the least `seq`
    /// each. Answers whether there was anything.
    pub(super) fn cover<C: Causality>(
        &mut self,
        author: &Author<'_, C>,
        container: ContainerIdx,
        leasts: Vec<(BranchIdx, u64)>,
    ) -> bool {
        let mut any = false;
        let reached = leasts.into_iter().map(|(branch, before)| (branch, before, author.bound(branch)));
        let mut reached = reached.filter(|(_, before, bound)| before <= bound).peekable();
        if matches!(self.at(container).kind, Kind::Register | Kind::MultiRegister) && reached.peek().is_some() {
            // All at once: searching the writes for each branch would cost their square.
            any |= self.cover_writes(author, container, None);
            let reached: Vec<_> = reached.collect();
            for (branch, _, bound) in &reached {
                any |= self.cover_ensure(container, *branch, *bound);
            }
            let mut left = self.leasts(author.causality, container);
            left.sort_unstable();
            for (branch, before, _) in reached {
                let after = left.binary_search_by_key(&branch, |(of, _)| *of).ok().map(|at| left[at].1);
                self.settle(container, branch, Some(before), after);
            }
        } else {
            for (branch, before, bound) in reached {
                any |= self.cover_branch(author, container, branch, bound);
                let after = self.least(author.causality, container, branch);
                self.settle(container, branch, Some(before), after);
            }
        }
        self.refresh(container);
        any
    }

    /// Covers one branch at and below a container, up to `seq` = `bound`; of a register all branches, since all of them are on the way. What stands above
    /// is not told. Recurses at most to MAX_DEPTH.
    fn cover_branch<C: Causality>(
        &mut self,
        author: &Author<'_, C>,
        container: ContainerIdx,
        branch: BranchIdx,
        bound: u64,
    ) -> bool {
        let held = *self.at(container);
        let mut any = self.cover_ensure(container, branch, bound);
        if held.body == NONE {
            return any;
        }
        match held.kind {
            Kind::Register | Kind::MultiRegister => {
                let Up::Key(map, _) = held.up() else { unreachable!("a clear comes down through maps") };
                any |= self.cover_writes(author, container, Some(map));
            }
            Kind::Counter => {
                while let Some(step) = self.uncovered.cover_step(container, branch, bound) {
                    self.bodies.counters[held.body] -= step;
                    any = true;
                }
            }
            Kind::List | Kind::Text => {
                while let Some(places) = self.uncovered.cover_inserts(container, branch, bound) {
                    any |= self.kill(container, places, None) > 0;
                }
            }
            Kind::Map => {
                while let Some(child) = self.uncovered.take_below(container, branch, bound) {
                    any |= self.cover_branch(author, child, branch, bound);
                    if let Some(least) = self.least(author.causality, child, branch) {
                        self.uncovered.add_below(container, branch, least, child);
                    }
                    self.refresh(child);
                }
            }
        }
        any
    }

    fn cover_ensure(&mut self, container: ContainerIdx, branch: BranchIdx, bound: u64) -> bool {
        if !self.at(container).is_ensured() {
            return false;
        }
        let (covered, left) = self.uncovered.cover_ensure(container, branch, bound);
        self.at_mut(container).set_ensured(left);
        covered
    }

    /// Covers the writes of a register, on all branches. If the clear has come down from a map, that forgets them too.
    fn cover_writes<C: Causality>(
        &mut self,
        author: &Author<'_, C>,
        register: ContainerIdx,
        map: Option<ContainerIdx>,
    ) -> bool {
        let held = *self.at(register);
        if held.body == NONE {
            return false;
        }
        let mut writes = self.bodies.registers.take(held.body);
        let before = writes.len();
        writes.retain(|write| {
            let (branch, seq) = author.causality.position(write.change);
            let covered = seq <= author.bound(branch);
            // Else the map would send the clear here once more for each branch. What stands above the map settles itself when the clear
            // comes to that branch.
            if let (true, Some(map)) = (covered, map)
                && self.uncovered.ensured(register, branch).is_none()
            {
                self.uncovered.remove_below(map, branch, seq, register);
            }
            !covered
        });
        let covered = writes.len() < before;
        self.bodies.registers.put(held.body, writes);
        covered
    }

    /// Hides the elements or characters that were inserted with these places. Answers how many of them lived; `told` gets the stretches that
    /// went, each with its index at that moment.
    pub(super) fn kill(
        &mut self,
        container: ContainerIdx,
        places: Range<u32>,
        told: Option<&mut Vec<(usize, usize)>>,
    ) -> u32 {
        let held = *self.at(container);
        match held.kind {
            _ if held.body == NONE => 0,
            Kind::Text => self.bodies.texts[held.body].kill(places, told),
            Kind::List => {
                let list = &mut self.bodies.lists[held.body];
                let gone = list.kill(places.clone(), told);
                if gone > 0 {
                    for born in places {
                        if let Held::Container(inner) = list.held(born) {
                            self.containers[inner.0].die();
                        }
                    }
                }
                gone
            }
            _ => 0,
        }
    }

    /// Tells the maps above that the least `seq` of a branch at and below an indexed container is no longer `before`. O(depth · log n), and mostly
    /// O(log n): it stops where nothing changes, and where nobody has ever cleared.
    pub(super) fn settle(
        &mut self,
        container: ContainerIdx,
        branch: BranchIdx,
        before: Option<u64>,
        after: Option<u64>,
    ) {
        let (mut container, mut before, mut after) = (container, before, after);
        while before != after {
            // An element's container ends it: elements live by their insert alone.
            let Up::Key(map, _) = self.at(container).up() else { return };
            let above = self.at(map);
            if !above.is_indexed() {
                return;
            }
            let ensure = if above.is_ensured() { self.uncovered.ensured(map, branch) } else { None };
            let before_above = lesser(ensure, self.uncovered.least_below(map, branch));
            if let Some(least) = before {
                self.uncovered.remove_below(map, branch, least, container);
            }
            if let Some(least) = after {
                self.uncovered.add_below(map, branch, least, container);
            }
            after = lesser(ensure, self.uncovered.least_below(map, branch));
            (container, before) = (map, before_above);
        }
    }
}

fn lesser(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
