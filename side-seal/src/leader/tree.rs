//! The signed blocks that are known, those of the chain included.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::{BlockId, Rank};

use super::MAX_ORPHANS;
use super::quota::crowd;
use crate::signed::SignedBlock;

#[derive(Debug, Default)]
pub(super) struct Tree {
    blocks: HashMap<BlockId, SignedBlock>,
    /// What each signer sealed at each rank first.
    first: HashMap<(AuthorId, Rank), BlockId>,
    /// By rank, without the refused ones.
    ranked: BTreeSet<(Rank, BlockId)>,
    refused: HashSet<BlockId>,
    /// Blocks that wait for another block, oldest first: beside each what it waits for.
    orphans: VecDeque<(BlockId, SignedBlock)>,
}

impl Tree {
    pub(super) fn get(&self, id: &BlockId) -> Option<&SignedBlock> {
        self.blocks.get(id)
    }

    /// All of them, in no order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &SignedBlock> {
        self.blocks.values()
    }

    pub(super) fn waiting(&self) -> usize {
        self.orphans.len()
    }

    /// Adds a block; gives another one of the same rank by the same signer.
    pub(super) fn insert(&mut self, signed: SignedBlock) -> Option<&SignedBlock> {
        let (id, rank) = (signed.id(), signed.block().rank());
        let first = *self.first.entry((signed.signer(), rank)).or_insert(id);
        self.ranked.insert((rank, id));
        self.blocks.insert(id, signed);
        (first != id).then(|| &self.blocks[&first])
    }

    pub(super) fn refuse(&mut self, id: BlockId) {
        if let Some(signed) = self.blocks.get(&id) {
            self.ranked.remove(&(signed.block().rank(), id));
            self.refused.insert(id);
        }
    }

    pub(super) fn is_refused(&self, id: &BlockId) -> bool {
        self.refused.contains(id)
    }

    /// The blocks above a rank that were not refused, highest first.
    pub(super) fn above(&self, rank: Rank) -> Vec<BlockId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = Excluded((rank, BlockId([0xff; 32])));
        self.ranked.range((from, Unbounded)).rev().map(|(_, id)| *id).collect()
    }

    /// Keeps a block until `missing` is here. Where there is no room the oldest of whoever has most gives way, strangers first.
    pub(super) fn wait(&mut self, missing: BlockId, signed: SignedBlock, has_say: impl Fn(&AuthorId) -> bool) {
        if self.orphans.iter().any(|(_, other)| other.id() == signed.id()) {
            return;
        }
        if self.orphans.len() == MAX_ORPHANS {
            let holders = self.orphans.iter().map(|(_, other)| other.signer());
            let crowd = crowd(holders, signed.signer(), has_say);
            let most = crowd.values().copied().max();
            let oldest = self.orphans.iter().position(|(_, other)| crowd.get(&other.signer()).copied() == most);
            // Nobody gives way to a stranger but strangers.
            let Some(oldest) = oldest else { return };
            self.orphans.remove(oldest);
        }
        self.orphans.push_back((missing, signed));
    }

    /// The blocks that waited for this one.
    pub(super) fn waited_for(&mut self, id: &BlockId) -> Vec<SignedBlock> {
        let (ready, still) = std::mem::take(&mut self.orphans).into_iter().partition(|(missing, _)| missing == id);
        self.orphans = still;
        let ready: VecDeque<(BlockId, SignedBlock)> = ready;
        ready.into_iter().map(|(_, signed)| signed).collect()
    }

    /// What is waited for and does not wait itself: what the latest block waits for first. Whoever brought that one is asked, so a liar that makes parents up, whatever
    /// their ids, does not come before what others bring.
    pub(super) fn missing(&self) -> Vec<BlockId> {
        let waiting: HashSet<BlockId> = self.orphans.iter().map(|(_, signed)| signed.id()).collect();
        let mut seen = HashSet::new();
        let missing = self.orphans.iter().rev().map(|(missing, _)| *missing);
        missing.filter(|id| !waiting.contains(id) && seen.insert(*id)).collect()
    }
}
