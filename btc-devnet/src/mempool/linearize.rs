//! In which order a cluster's transactions are best mined.
//!
//! A cluster is cut into chunks: each is the set of remaining transactions, closed under parents, with the highest fee rate.
//! That set is a maximum-density closure. It is found by Dinkelbach's method: from a set of rate r, look for a closure whose
//! fees exceed r times its weight by a minimum cut, until there is none. The result is optimal, so its fee-rate diagram is the
//! one that Core's linearization approaches. Clusters have at most 64 transactions: a set is one 64-bit word.

use crate::policy::CLUSTER_LIMIT;

/// A set of the cluster's transactions, one bit each.
pub(crate) type Set = u64;

/// One transaction of a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Fee in satoshis.
    pub(crate) fee: u64,
    /// Weight, adjusted for signature operations.
    pub(crate) weight: u64,
    /// The transactions that it spends from.
    pub(crate) parents: Set,
}

/// Transactions that are mined together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) fee: u64,
    pub(crate) weight: u64,
    /// Indexes of its transactions, parents first.
    pub(crate) members: Vec<usize>,
}

/// Cuts a cluster of at most 64 transactions into chunks of falling fee rate. Parents form no circle.
pub(crate) fn linearize(nodes: &[Node]) -> Vec<Chunk> {
    debug_assert!(nodes.len() <= CLUSTER_LIMIT);
    let ancestors = ancestors(nodes);
    let mut left: Set = if nodes.len() == 64 { Set::MAX } else { (1 << nodes.len()) - 1 };
    let mut chunks = Vec::new();
    while left != 0 {
        let best = densest_closure(nodes, &ancestors, left);
        left &= !best;
        let (fee, weight) = sums(nodes, best);
        let mut members: Vec<usize> = bits(best).collect();
        // A child has more ancestors than any of its parents.
        members.sort_by_key(|&index| ancestors[index].count_ones());
        chunks.push(Chunk { fee, weight, members });
    }
    chunks
}

/// For each transaction the set of those it depends on, itself included.
pub(crate) fn ancestors(nodes: &[Node]) -> Vec<Set> {
    let mut ancestors: Vec<Set> = nodes.iter().enumerate().map(|(index, node)| node.parents | 1 << index).collect();
    loop {
        let mut changed = false;
        for index in 0..nodes.len() {
            let all = bits(ancestors[index]).fold(0, |set, ancestor| set | ancestors[ancestor]);
            changed |= all != ancestors[index];
            ancestors[index] = all;
        }
        if !changed {
            return ancestors;
        }
    }
}

fn bits(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (set != 0).then(|| {
            let index = set.trailing_zeros() as usize;
            set &= set - 1;
            index
        })
    })
}

fn sums(nodes: &[Node], set: Set) -> (u64, u64) {
    bits(set).fold((0, 0), |(fee, weight), index| (fee + nodes[index].fee, weight + nodes[index].weight))
}

/// Compares fee rates without rounding.
pub(crate) fn compare_rates(a: (u64, u64), b: (u64, u64)) -> std::cmp::Ordering {
    (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1)))
}

fn densest_closure(nodes: &[Node], ancestors: &[Set], left: Set) -> Set {
    let start = bits(left)
        .map(|index| ancestors[index] & left)
        .max_by(|&a, &b| compare_rates(sums(nodes, a), sums(nodes, b)))
        .unwrap_or(left);
    let mut best = start;
    while left.count_ones() > 1 {
        let (fee, weight) = sums(nodes, best);
        // What a transaction adds beyond the rate of the best set so far.
        let gain = |index: usize| {
            i128::from(nodes[index].fee) * i128::from(weight) - i128::from(nodes[index].weight) * i128::from(fee)
        };
        let better = heaviest_closure(nodes, left, gain);
        if bits(better).map(gain).sum::<i128>() <= 0 {
            break;
        }
        best = better;
    }
    best
}

/// The closure with the largest sum of gains: the source's side of a minimum cut (Picard 1976).
fn heaviest_closure(nodes: &[Node], left: Set, gain: impl Fn(usize) -> i128) -> Set {
    let (source, sink) = (nodes.len(), nodes.len() + 1);
    let mut network = Network::new(nodes.len() + 2);
    for index in bits(left) {
        match gain(index) {
            gain if gain > 0 => network.connect(source, index, gain),
            gain => network.connect(index, sink, -gain),
        }
        for parent in bits(nodes[index].parents & left) {
            network.connect(index, parent, i128::MAX / 4);
        }
    }
    let reached = network.saturate(source, sink);
    bits(left).filter(|&index| reached[index]).fold(0, |set, index| set | 1 << index)
}

/// A flow network, saturated by Dinic's method.
struct Network {
    /// Edges by pairs: the edge and its reverse.
    edges: Vec<(usize, i128)>,
    from: Vec<Vec<usize>>,
}

impl Network {
    fn new(size: usize) -> Network {
        Network { edges: Vec::new(), from: vec![Vec::new(); size] }
    }

    fn connect(&mut self, from: usize, to: usize, capacity: i128) {
        self.from[from].push(self.edges.len());
        self.edges.push((to, capacity));
        self.from[to].push(self.edges.len());
        self.edges.push((from, 0));
    }

    /// Sends as much as fits and returns which nodes the source still reaches.
    fn saturate(&mut self, source: usize, sink: usize) -> Vec<bool> {
        loop {
            let levels = self.levels(source);
            if levels[sink].is_none() {
                return levels.iter().map(Option::is_some).collect();
            }
            let mut next = vec![0; self.from.len()];
            while self.send(source, sink, i128::MAX, &levels, &mut next) > 0 {}
        }
    }

    fn levels(&self, source: usize) -> Vec<Option<usize>> {
        let mut levels = vec![None; self.from.len()];
        levels[source] = Some(0);
        let mut queue = std::collections::VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for &edge in &self.from[node] {
                let (to, capacity) = self.edges[edge];
                if capacity > 0 && levels[to].is_none() {
                    levels[to] = levels[node].map(|level| level + 1);
                    queue.push_back(to);
                }
            }
        }
        levels
    }

    /// Sends along one path. No deeper than the cluster has transactions.
    fn send(&mut self, node: usize, sink: usize, limit: i128, levels: &[Option<usize>], next: &mut [usize]) -> i128 {
        if node == sink {
            return limit;
        }
        while let Some(&edge) = self.from[node].get(next[node]) {
            let (to, capacity) = self.edges[edge];
            if capacity > 0 && levels[to] == levels[node].map(|level| level + 1) {
                let sent = self.send(to, sink, limit.min(capacity), levels, next);
                if sent > 0 {
                    self.edges[edge].1 -= sent;
                    self.edges[edge ^ 1].1 += sent;
                    return sent;
                }
            }
            next[node] += 1;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(fee: u64, weight: u64, parents: &[usize]) -> Node {
        Node { fee, weight, parents: parents.iter().fold(0, |set, parent| set | 1 << parent) }
    }

    #[test]
    fn a_child_pays_for_its_parents() {
        let chunks = linearize(&[node(0, 400, &[]), node(100, 400, &[]), node(1000, 400, &[0])]);
        assert_eq!(chunks[0], Chunk { fee: 1000, weight: 800, members: vec![0, 2] });
        assert_eq!(chunks[1].members, [1]);
    }

    #[test]
    fn several_children_pay_for_one_parent_together() {
        // No single child's ancestors beat the lone transaction 3; all children together do.
        let nodes = [node(0, 1000, &[]), node(700, 100, &[0]), node(700, 100, &[0]), node(700, 1000, &[])];
        assert_eq!(linearize(&nodes)[0].members, [0, 1, 2]);
    }

    proptest! {
        /// Against every subset of small clusters.
        #[test]
        fn the_first_chunk_is_the_densest_closure(
            parts in prop::collection::vec((0u64..50, 1u64..20, any::<u64>()), 1..9)
        ) {
            let nodes: Vec<Node> = parts.iter().enumerate()
                .map(|(index, &(fee, weight, parents))| Node { fee, weight, parents: parents & ((1 << index) - 1) })
                .collect();
            let ancestors = ancestors(&nodes);
            let chunks = linearize(&nodes);
            let densest = (1..1u64 << nodes.len())
                .filter(|&set| bits(set).all(|index| ancestors[index] & !set == 0))
                .map(|set| sums(&nodes, set))
                .max_by(|&a, &b| compare_rates(a, b))
                .expect("the whole cluster is closed");
            prop_assert_eq!(compare_rates((chunks[0].fee, chunks[0].weight), densest), std::cmp::Ordering::Equal);
            let mut done = 0u64;
            for chunk in &chunks {
                for &member in &chunk.members {
                    done |= 1 << member;
                    prop_assert_eq!(ancestors[member] & !done, 0, "a parent comes too late");
                }
            }
            prop_assert_eq!(done.count_ones() as usize, nodes.len());
            for pair in chunks.windows(2) {
                prop_assert!(compare_rates((pair[0].fee, pair[0].weight), (pair[1].fee, pair[1].weight)).is_ge());
            }
        }
    }
}
