//! Clusters, and the plan of a change: what clusters there would be with some transactions added and others removed.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, HashSet},
};

use bitcoin::Txid;

use super::{
    linearize::{self, Node, compare_rates},
    pool::Mempool,
};
use crate::policy::{CLUSTER_LIMIT, CLUSTER_WEIGHT_LIMIT};

pub(super) type ClusterId = u64;

/// Transactions that spend from each other, in the best order for mining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Chunk after chunk, parents first within each.
    pub(super) members: Vec<Txid>,
    pub(super) chunks: Vec<Chunk>,
}

/// Transactions of a cluster that are mined together: `count` members from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) fee: u64,
    pub(super) weight: u64,
    pub(super) start: usize,
    pub(super) count: usize,
}

/// A chunk's place among all chunks: the highest fee rate first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) fee: u64,
    pub(super) weight: u64,
    pub(super) cluster: ClusterId,
    pub(super) index: usize,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_rates((other.fee, other.weight), (self.fee, self.weight))
            .then(self.cluster.cmp(&other.cluster))
            .then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A transaction that may be added.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) txid: Txid,
    pub(super) fee: u64,
    pub(super) weight: u64,
    /// What it spends from, in the mempool or among the candidates.
    pub(super) parents: BTreeSet<Txid>,
}

/// A cluster would have more transactions or weight than the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// What clusters a change dissolves and what stands in their place.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) dissolved: BTreeSet<ClusterId>,
    pub(super) clusters: Vec<Cluster>,
}

impl Plan {
    /// Fees and weights of the new chunks.
    pub(super) fn chunks(&self) -> Vec<(u64, u64)> {
        self.clusters.iter().flat_map(|cluster| &cluster.chunks).map(|chunk| (chunk.fee, chunk.weight)).collect()
    }
}

impl Mempool {
    /// Plans to add `added` and to remove `removed`, without doing it. Removed transactions take their descendants with them
    /// or are mined: no one that stays may spend from one that goes, unless that one is mined.
    pub(super) fn plan(&self, added: &[Candidate], removed: &HashSet<Txid>) -> Result<Plan, TooLarge> {
        let touched = added.iter().flat_map(|candidate| &candidate.parents).chain(removed);
        let dissolved: BTreeSet<ClusterId> = touched.filter_map(|txid| Some(self.get(txid)?.cluster)).collect();
        let mut members: Vec<Candidate> = dissolved
            .iter()
            .flat_map(|cluster| &self.clusters[cluster].members)
            .filter(|txid| !removed.contains(*txid))
            .map(|txid| self.entries[txid].candidate(*txid))
            .collect();
        members.extend(added.iter().cloned());
        let places: HashMap<Txid, usize> =
            members.iter().enumerate().map(|(place, member)| (member.txid, place)).collect();

        let mut neighbours = vec![Vec::new(); members.len()];
        for (place, member) in members.iter().enumerate() {
            for &parent in member.parents.iter().filter_map(|parent| places.get(parent)) {
                neighbours[place].push(parent);
                neighbours[parent].push(place);
            }
        }
        let mut seen = vec![false; members.len()];
        let mut clusters = Vec::new();
        for start in 0..members.len() {
            if seen[start] {
                continue;
            }
            seen[start] = true;
            let mut component = vec![start];
            let mut next = 0;
            while let Some(&place) = component.get(next) {
                next += 1;
                for &neighbour in &neighbours[place] {
                    if !std::mem::replace(&mut seen[neighbour], true) {
                        component.push(neighbour);
                    }
                }
            }
            let weight: u64 = component.iter().map(|&place| members[place].weight).sum();
            if component.len() > CLUSTER_LIMIT || weight > CLUSTER_WEIGHT_LIMIT {
                return Err(TooLarge);
            }
            // Equal sets give equal orders, whatever they grew from.
            component.sort_by_key(|&place| members[place].txid);
            clusters.push(order(&component.iter().map(|&place| &members[place]).collect::<Vec<_>>()));
        }
        Ok(Plan { dissolved, clusters })
    }

    /// Fees and weights of the chunks that `plan` dissolves.
    pub(super) fn dissolved_chunks(&self, plan: &Plan) -> Vec<(u64, u64)> {
        let chunks = plan.dissolved.iter().flat_map(|cluster| &self.clusters[cluster].chunks);
        chunks.map(|chunk| (chunk.fee, chunk.weight)).collect()
    }
}

fn order(members: &[&Candidate]) -> Cluster {
    let places: HashMap<Txid, usize> = members.iter().enumerate().map(|(place, member)| (member.txid, place)).collect();
    let nodes: Vec<Node> = members
        .iter()
        .map(|member| Node {
            fee: member.fee,
            weight: member.weight,
            parents: member
                .parents
                .iter()
                .filter_map(|parent| places.get(parent))
                .fold(0, |set, place| set | 1 << place),
        })
        .collect();
    let mut cluster = Cluster { members: Vec::with_capacity(members.len()), chunks: Vec::new() };
    for chunk in linearize::linearize(&nodes) {
        let (start, count) = (cluster.members.len(), chunk.members.len());
        cluster.members.extend(chunk.members.iter().map(|&place| members[place].txid));
        cluster.chunks.push(Chunk { fee: chunk.fee, weight: chunk.weight, start, count });
    }
    cluster
}
