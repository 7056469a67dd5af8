//! Finding the bracket that matches another: where subtrees begin and end.
//!
//! The brackets' depth before the first token is 0, and all brackets but the start's own (which is not written) are closed. A closing bracket
//! always stands behind the places of a token and an opening one always before them or at one of them, so that it is enough to look at the
//! depth at the boundaries of tokens: the depth falls to that before an opening bracket first inside the closing brackets of some token,
//! behind which the boundary is at most as deep. Nodes keep the depth of the shallowest boundary below each child, so that whole subtrees
//! are skipped, to the right and to the left (as in the range min-max trees of Navarro and Sadakane, "Fully functional static and dynamic
//! succinct trees", 2014, arXiv:0905.0768).

use super::tree::{NONE, Spot, Tree};

impl<const L: usize, const N: usize> Tree<L, N> {
    /// Where `open` (> 0) brackets have closed that are open behind the token at `spot`: the token, and how many of its closing brackets that
    /// takes. `None` if that many are never closed.
    pub(super) fn close(&self, spot: Spot, open: i32) -> Option<(Spot, u32)> {
        debug_assert!(open > 0);
        let mut open = open;
        if let Some((slot, ends)) = self.close_in(spot.leaf, spot.slot + 1, &mut open) {
            return Some((Spot { slot, ..spot }, ends));
        }
        let leaf = &self.leaves[spot.leaf];
        let (mut above, mut from) = (leaf.parent, usize::from(leaf.at) + 1);
        let mut child = loop {
            if above == NONE {
                return None;
            }
            let node = &self.nodes[above as usize];
            match closing(node.net(), node.min(), from, &mut open) {
                Some(slot) => break node.children()[slot],
                None => (above, from) = (node.parent, usize::from(node.at) + 1),
            }
        };
        for _ in 1..self.nodes[above as usize].level {
            let node = &self.nodes[child as usize];
            child = node.children()[closing(node.net(), node.min(), 0, &mut open)?];
        }
        self.close_in(child, 0, &mut open).map(|(slot, ends)| (Spot { leaf: child, slot }, ends))
    }

    fn close_in(&self, leaf: u32, from: usize, open: &mut i32) -> Option<(usize, u32)> {
        for (slot, token) in self.tokens(leaf).iter().enumerate().skip(from) {
            let before_ends = *open + token.opens();
            *open = before_ends - token.ends() as i32;
            if *open <= 0 {
                return Some((slot, before_ends as u32));
            }
        }
        None
    }

    /// Where the bracket opens that the last closing bracket before the token at `spot` closes: the token before whose places it stands, and
    /// which of its brackets it is, counted from 1.
    pub(super) fn opening(&self, spot: Spot) -> Option<(Spot, u32)> {
        let mut depth = 0;
        let (mut leaf, mut until) = (spot.leaf, spot.slot);
        if until == 0 {
            // The boundary that it starts from is no answer, so that the token before must be looked at by itself.
            leaf = self.leaves[leaf].previous;
            until = self.leaves.get(leaf)?.tokens().len();
        }
        if let Some((slot, begin)) = self.open_in(leaf, until, &mut depth) {
            return Some((Spot { leaf, slot }, begin));
        }
        let leaf = &self.leaves[leaf];
        let (mut above, mut until) = (leaf.parent, usize::from(leaf.at));
        let mut child = loop {
            if above == NONE {
                return None;
            }
            let node = &self.nodes[above as usize];
            match opening(node.net(), node.min(), until, &mut depth) {
                Some(slot) => break node.children()[slot],
                None => (above, until) = (node.parent, usize::from(node.at)),
            }
        };
        for _ in 1..self.nodes[above as usize].level {
            let node = &self.nodes[child as usize];
            let slot = opening(node.net(), node.min(), node.children().len(), &mut depth)?;
            child = node.children()[slot];
        }
        let len = self.tokens(child).len();
        self.open_in(child, len, &mut depth).map(|(slot, begin)| (Spot { leaf: child, slot }, begin))
    }

    fn open_in(&self, leaf: u32, until: usize, depth: &mut i32) -> Option<(usize, u32)> {
        for (slot, token) in self.tokens(leaf)[..until].iter().enumerate().rev() {
            *depth -= token.net();
            if *depth <= 0 {
                return Some((slot, (1 - *depth) as u32));
            }
        }
        None
    }

    /// The place at the root of the subtree that begins before the token at `spot`, behind `outer` of the brackets there.
    pub(super) fn root_of(&self, spot: Spot, outer: u32) -> Option<u32> {
        let token = self.token(spot);
        if token.begins() == outer {
            return Some(token.start());
        }
        // The first bracket further in is the root's own; the root is the place right behind where that closes.
        let open = token.net() - outer as i32;
        let closed = if open <= 0 { spot } else { self.close(spot, open)?.0 };
        self.next(closed).map(|spot| self.token(spot).start())
    }
}

/// The first child from a slot on below which the brackets close; takes those before it into account.
fn closing(net: &[i32], min: &[i32], from: usize, open: &mut i32) -> Option<usize> {
    for slot in from..net.len() {
        if *open + min[slot] <= 0 {
            return Some(slot);
        }
        *open += net[slot];
    }
    None
}

/// The last child before a slot below which a boundary is as shallow as the one the search began at.
fn opening(net: &[i32], min: &[i32], until: usize, depth: &mut i32) -> Option<usize> {
    for slot in (0..until).rev() {
        let start = *depth - net[slot];
        if start + min[slot] <= 0 {
            return Some(slot);
        }
        *depth = start;
    }
    None
}
