//! The mempool's data and the two changes that everything comes down to: add and remove.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bitcoin::{Block, BlockHash, OutPoint, Transaction, TxOut, Txid};

use super::{
    cluster::{Candidate, Cluster, ClusterId, Plan, Rank},
    fees::FloorFee,
};
use crate::{
    node::{Departure, MempoolEntry},
    policy::{
        BLOCK_MIN_FEERATE, BLOCK_RESERVED_SIGOPS, BLOCK_RESERVED_WEIGHT, CLUSTER_LIMIT, FeeRate, MAX_BLOCK_SIGOPS_COST,
        MAX_BLOCK_WEIGHT, MEMPOOL_EXPIRY,
    },
};

/// How much memory an entry takes beside its transaction, in bytes, roughly.
const ENTRY_OVERHEAD: usize = 1_000;
/// How many chunks that do not fit a block in a row end the search (`MAX_CONSECUTIVE_FAILURES`, `node/miner.cpp`).
const MAX_MISFITS: usize = 1_000;

/// What happened, for the observer.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Entered(MempoolEntry),
    Left(Txid, Departure),
}

/// One transaction and its place.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) public: MempoolEntry,
    /// Weight adjusted for signature operations.
    pub(super) weight: u64,
    pub(super) parents: BTreeSet<Txid>,
    pub(super) children: BTreeSet<Txid>,
    pub(super) cluster: ClusterId,
    /// Whether a reorganisation could make it premature: it has a lock time or spends a coinbase.
    pub(super) timed: bool,
}

impl Entry {
    pub(super) fn candidate(&self, txid: Txid) -> Candidate {
        Candidate { txid, fee: self.public.fee.to_sat(), weight: self.weight, parents: self.parents.clone() }
    }

    fn bytes(&self) -> usize {
        self.public.transaction.total_size() + ENTRY_OVERHEAD
    }
}

/// A transaction that was accepted and is about to be added.
pub(super) struct Addition {
    pub(super) public: MempoolEntry,
    pub(super) weight: u64,
    pub(super) parents: BTreeSet<Txid>,
    pub(super) timed: bool,
}

/// The transactions that wait for a block.
///
/// Invariants, checked by [`Mempool::debug_check`]: no two entries spend one coin; parents and children mirror each other; every
/// entry is in exactly one cluster within the limits; `order` lists exactly the chunks of all clusters; the sums are those of
/// the entries.
pub(crate) struct Mempool {
    pub(super) entries: HashMap<Txid, Entry>,
    /// Which entry spends a coin.
    pub(super) spends: HashMap<OutPoint, Txid>,
    pub(super) clusters: HashMap<ClusterId, Cluster>,
    next_cluster: ClusterId,
    pub(super) order: BTreeSet<Rank>,
    by_time: BTreeSet<(u32, Txid)>,
    pub(super) timed: BTreeSet<Txid>,
    pub(super) bytes: usize,
    vsize: u64,
    fees: u64,
    pub(super) limit: usize,
    pub(super) floor: FloorFee,
    pub(super) events: Vec<Event>,
}

impl Mempool {
    /// An empty mempool that keeps to about `limit` bytes.
    pub(crate) fn new(limit: usize) -> Mempool {
        Mempool {
            entries: HashMap::new(),
            spends: HashMap::new(),
            clusters: HashMap::new(),
            next_cluster: 0,
            order: BTreeSet::new(),
            by_time: BTreeSet::new(),
            timed: BTreeSet::new(),
            bytes: 0,
            vsize: 0,
            fees: 0,
            limit,
            floor: FloorFee::default(),
            events: Vec::new(),
        }
    }

    pub(super) fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid)
    }

    /// The entry of a transaction.
    pub(crate) fn entry(&self, txid: &Txid) -> Option<&MempoolEntry> {
        self.get(txid).map(|entry| &entry.public)
    }

    /// All entries, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &MempoolEntry> {
        self.entries.values().map(|entry| &entry.public)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Which transaction of the mempool spends this coin.
    pub(crate) fn spender(&self, outpoint: &OutPoint) -> Option<&Txid> {
        self.spends.get(outpoint)
    }

    /// An output of a transaction in the mempool, spent or not.
    pub(crate) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.get(&outpoint.txid)?.public.transaction.output.get(outpoint.vout as usize)
    }

    /// Whether a transaction's cluster takes one more.
    pub(crate) fn has_room_beside(&self, txid: &Txid) -> bool {
        self.get(txid).is_none_or(|entry| self.clusters[&entry.cluster].members.len() < CLUSTER_LIMIT)
    }

    /// What happened since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Ancestors of a set of transactions, themselves included.
    pub(super) fn with_ancestors(&self, from: impl IntoIterator<Item = Txid>) -> BTreeSet<Txid> {
        self.reach(from, |entry| &entry.parents)
    }

    /// Descendants of a set of transactions, themselves included.
    pub(super) fn with_descendants(&self, from: impl IntoIterator<Item = Txid>) -> BTreeSet<Txid> {
        self.reach(from, |entry| &entry.children)
    }

    fn reach(&self, from: impl IntoIterator<Item = Txid>, next: fn(&Entry) -> &BTreeSet<Txid>) -> BTreeSet<Txid> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<Txid> = from.into_iter().collect();
        while let Some(txid) = open.pop() {
            if let Some(entry) = self.get(&txid)
                && reached.insert(txid)
            {
                open.extend(next(entry));
            }
        }
        reached
    }

    /// Which transactions of the mempool a transaction spends from.
    pub(super) fn parents_of(&self, transaction: &Transaction) -> BTreeSet<Txid> {
        let parents = transaction.input.iter().map(|input| input.previous_output.txid);
        parents.filter(|txid| self.entries.contains_key(txid)).collect()
    }

    /// Does what `plan` says: takes `removed` out, each with its reason, and puts `added` in.
    pub(super) fn apply(&mut self, plan: Plan, added: Vec<Addition>, removed: Vec<(Txid, Departure)>) {
        for cluster in &plan.dissolved {
            if let Some(gone) = self.clusters.remove(cluster) {
                for (index, chunk) in gone.chunks.iter().enumerate() {
                    self.order.remove(&Rank { fee: chunk.fee, weight: chunk.weight, cluster: *cluster, index });
                }
            }
        }
        for (txid, why) in removed {
            self.detach(&txid);
            self.events.push(Event::Left(txid, why));
        }
        for addition in added {
            self.attach(addition);
        }
        for cluster in plan.clusters {
            let id = self.next_cluster;
            self.next_cluster += 1;
            for txid in &cluster.members {
                if let Some(entry) = self.entries.get_mut(txid) {
                    entry.cluster = id;
                }
            }
            for (index, chunk) in cluster.chunks.iter().enumerate() {
                self.order.insert(Rank { fee: chunk.fee, weight: chunk.weight, cluster: id, index });
            }
            self.clusters.insert(id, cluster);
        }
    }

    /// Removes transactions for `why`. Whoever stays must not spend from them, unless they are mined.
    pub(super) fn remove(&mut self, removed: Vec<(Txid, Departure)>) {
        if removed.is_empty() {
            return;
        }
        let set: HashSet<Txid> = removed.iter().map(|(txid, _)| *txid).collect();
        let plan = self.plan(&[], &set).expect("taking away makes no cluster larger");
        self.apply(plan, Vec::new(), removed);
    }

    /// Children before parents.
    pub(super) fn children_first(&self, set: &BTreeSet<Txid>) -> Vec<Txid> {
        let mut sorted: Vec<(usize, Txid)> =
            set.iter().map(|&txid| (self.with_ancestors([txid]).len(), txid)).collect();
        sorted.sort_by(|a, b| b.cmp(a));
        sorted.into_iter().map(|(_, txid)| txid).collect()
    }

    fn attach(&mut self, addition: Addition) {
        let Addition { public, weight, parents, timed } = addition;
        let txid = public.txid;
        for input in &public.transaction.input {
            self.spends.insert(input.previous_output, txid);
        }
        for parent in &parents {
            if let Some(parent) = self.entries.get_mut(parent) {
                parent.children.insert(txid);
            }
        }
        self.by_time.insert((public.time, txid));
        if timed {
            self.timed.insert(txid);
        }
        self.vsize += public.vsize;
        self.fees += public.fee.to_sat();
        self.events.push(Event::Entered(public.clone()));
        // The plan that is being applied names its cluster.
        let entry = Entry { public, weight, parents, children: BTreeSet::new(), cluster: ClusterId::MAX, timed };
        self.bytes += entry.bytes();
        self.entries.insert(txid, entry);
    }

    fn detach(&mut self, txid: &Txid) {
        let Some(entry) = self.entries.remove(txid) else { return };
        for input in &entry.public.transaction.input {
            self.spends.remove(&input.previous_output);
        }
        for parent in &entry.parents {
            if let Some(parent) = self.entries.get_mut(parent) {
                parent.children.remove(txid);
            }
        }
        for child in &entry.children {
            if let Some(child) = self.entries.get_mut(child) {
                child.parents.remove(txid);
            }
        }
        self.by_time.remove(&(entry.public.time, *txid));
        self.timed.remove(txid);
        self.bytes -= entry.bytes();
        self.vsize -= entry.public.vsize;
        self.fees -= entry.public.fee.to_sat();
    }

    /// Takes out what a connected block contains and what it rules out.
    pub(crate) fn connect(&mut self, block: &Block, hash: BlockHash, now: u32) {
        let mined: Vec<Txid> =
            block.txdata.iter().map(Transaction::compute_txid).filter(|txid| self.entries.contains_key(txid)).collect();
        let is_mined: HashSet<Txid> = mined.iter().copied().collect();
        let spent = block.txdata.iter().flat_map(|transaction| &transaction.input);
        let conflicts: BTreeSet<Txid> = spent
            .filter_map(|input| self.spends.get(&input.previous_output))
            .filter(|txid| !is_mined.contains(*txid))
            .copied()
            .collect();
        let conflicts = self.with_descendants(conflicts);
        let removed = mined.into_iter().map(|txid| (txid, Departure::Mined(hash)));
        let conflicts = self.children_first(&conflicts).into_iter().map(|txid| (txid, Departure::Conflict(hash)));
        self.remove(removed.chain(conflicts).collect());
        self.floor.block_connected(now);
    }

    /// The best transactions for the next block, parents first, with their fees.
    pub(crate) fn select(&self) -> (Vec<Arc<Transaction>>, u64) {
        let (mut weight, mut sigops) = (BLOCK_RESERVED_WEIGHT, BLOCK_RESERVED_SIGOPS);
        let (mut selected, mut fees, mut misfits) = (Vec::new(), 0, 0);
        let mut skipped: HashSet<ClusterId> = HashSet::new();
        for rank in &self.order {
            if skipped.contains(&rank.cluster) {
                continue;
            }
            if rank.fee < BLOCK_MIN_FEERATE.fee(crate::policy::vsize(rank.weight)) {
                break;
            }
            let chunk: Vec<&Entry> = self.chunk(rank).collect();
            let chunk_weight: u64 = chunk.iter().map(|entry| entry.public.weight).sum();
            let chunk_sigops: u64 = chunk.iter().map(|entry| entry.public.sigop_cost).sum();
            if weight + chunk_weight >= MAX_BLOCK_WEIGHT || sigops + chunk_sigops >= MAX_BLOCK_SIGOPS_COST {
                // Later chunks of this cluster may depend on this one.
                skipped.insert(rank.cluster);
                misfits += 1;
                if misfits > MAX_MISFITS {
                    break;
                }
                continue;
            }
            misfits = 0;
            weight += chunk_weight;
            sigops += chunk_sigops;
            fees += rank.fee;
            selected.extend(chunk.into_iter().map(|entry| entry.public.transaction.clone()));
        }
        (selected, fees)
    }

    pub(super) fn chunk(&self, rank: &Rank) -> impl Iterator<Item = &Entry> {
        let cluster = &self.clusters[&rank.cluster];
        let chunk = cluster.chunks[rank.index];
        cluster.members[chunk.start..chunk.start + chunk.count].iter().map(|txid| &self.entries[txid])
    }

    /// Drops what is too old, and the worst chunks while the mempool is over its limit.
    pub(super) fn trim(&mut self, now: u32) {
        let oldest = now.saturating_sub(MEMPOOL_EXPIRY);
        let expired: Vec<Txid> =
            self.by_time.iter().take_while(|(time, _)| *time < oldest).map(|(_, txid)| *txid).collect();
        let expired = self.with_descendants(expired);
        let expired = self.children_first(&expired);
        self.remove(expired.into_iter().map(|txid| (txid, Departure::Expired)).collect());
        while self.bytes > self.limit
            && let Some(worst) = self.order.last().copied()
        {
            let chunk: BTreeSet<Txid> = self.chunk(&worst).map(|entry| entry.public.txid).collect();
            self.floor.evicted(FeeRate::of(worst.fee, crate::policy::vsize(worst.weight)), now);
            // The worst chunk of all is the last of its cluster, so nothing depends on it.
            let chunk = self.children_first(&chunk);
            self.remove(chunk.into_iter().map(|txid| (txid, Departure::Evicted)).collect());
        }
    }

    /// Checks every invariant, at the cost of looking at everything.
    ///
    /// # Panics
    /// If one does not hold.
    pub(crate) fn debug_check(&self) {
        let mut spends = HashMap::new();
        let (mut bytes, mut vsize, mut fees) = (0, 0, 0);
        for (txid, entry) in &self.entries {
            assert_eq!(entry.public.txid, *txid);
            assert_eq!(entry.public.transaction.compute_txid(), *txid);
            for input in &entry.public.transaction.input {
                assert_eq!(spends.insert(input.previous_output, *txid), None, "a coin is spent twice");
            }
            assert_eq!(entry.parents, self.parents_of(&entry.public.transaction));
            for parent in &entry.parents {
                assert!(self.entries[parent].children.contains(txid));
                assert_eq!(self.entries[parent].cluster, entry.cluster);
            }
            for child in &entry.children {
                assert!(self.entries[child].parents.contains(txid));
            }
            let paid: u64 = entry.public.spent.iter().map(|output| output.value.to_sat()).sum();
            let kept: u64 = entry.public.transaction.output.iter().map(|output| output.value.to_sat()).sum();
            assert_eq!(paid - kept, entry.public.fee.to_sat());
            assert!(self.by_time.contains(&(entry.public.time, *txid)));
            assert_eq!(self.timed.contains(txid), entry.timed);
            assert!(self.clusters[&entry.cluster].members.contains(txid));
            bytes += entry.bytes();
            vsize += entry.public.vsize;
            fees += entry.public.fee.to_sat();
        }
        assert_eq!(self.spends, spends);
        assert_eq!((self.bytes, self.vsize, self.fees), (bytes, vsize, fees));
        assert_eq!(self.by_time.len(), self.entries.len());
        let mut ranks = BTreeSet::new();
        let mut members = 0;
        for (&id, cluster) in &self.clusters {
            members += cluster.members.len();
            let set: HashSet<Txid> = cluster.members.iter().copied().collect();
            assert_eq!(set.len(), cluster.members.len());
            for txid in &set {
                assert_eq!(self.entries[txid].cluster, id);
            }
            let start = cluster.members[0];
            let whole = self.reach([start], |entry| &entry.parents);
            assert!(whole.iter().all(|txid| set.contains(txid)));
            let mut at = 0;
            let mut seen = HashSet::new();
            for (index, chunk) in cluster.chunks.iter().enumerate() {
                assert_eq!(chunk.start, at);
                at += chunk.count;
                let (mut fee, mut weight) = (0, 0);
                for txid in &cluster.members[chunk.start..at] {
                    let entry = &self.entries[txid];
                    assert!(entry.parents.iter().all(|parent| seen.contains(parent)), "a parent comes too late");
                    seen.insert(*txid);
                    fee += entry.public.fee.to_sat();
                    weight += entry.weight;
                }
                assert_eq!((chunk.fee, chunk.weight), (fee, weight));
                ranks.insert(Rank { fee, weight, cluster: id, index });
            }
            assert_eq!(at, cluster.members.len());
            assert!(at <= crate::policy::CLUSTER_LIMIT);
        }
        assert_eq!(members, self.entries.len());
        assert_eq!(self.order, ranks);
    }
}
