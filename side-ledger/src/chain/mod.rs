//! The chain of blocks as one member holds it, and the ledger state after its last block (docs/protocol.md, sections "Blocks" and "State").
//!
//! ```text
//! plan      which cut the next block has
//! execute   what a cut comes to: transactions in the one order against accounts and governance
//! ```
//! Rules:
//! - A block seals what its cut covers and the block before did not. Its cost follows what it seals, never the history.
//! - Whether a block is good is a function of the block, of what it covers and of the chain before it. Clocks and arrival do not matter.
//! - Every block can be undone until it is [settled](Chain::settle): what it sealed returns to pending.
//! - The sum of all balances never changes.
//!
//! Who may seal is not told here: see side-seal.

mod execute;
mod plan;
mod rotate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::replica::Replica;
use thiserror::Error;

pub use self::plan::Plan;
pub use self::rotate::MAX_HOPS;
use crate::accounts::{Account, Accounts, Journal};
use crate::block::{Block, BlockError, BlockId, Epoch, Height, Rank, Recovery};
use crate::genesis::{Admission, Genesis, GroupId, Rules};
use crate::governance::{Electorate, Governance};
use crate::ledger::{Ledger, Position};
use crate::merkle::{self, Hash, Tree};
use crate::receipt::{Reason, Receipt, Status};

/// Domain of the state root.
pub const STATE_DOMAIN: &str = "side/1/state";
/// The version of what the state root covers.
pub const STATE_VERSION: u64 = 1;
/// How far back a block may lie that somebody names as recent.
pub const RECENT_BLOCKS: usize = 64;
/// Most ids that [`Fault::Unknown`] lists.
pub const MAX_UNKNOWN: usize = 64;

/// What a state root is the hash of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateParts {
    /// How many changes are sealed.
    pub changes: u64,
    /// The root of the tree of sealed changes; leaves are [`Receipt`]s in the order of sealing.
    pub changes_root: Hash,
    /// How many accounts there are.
    pub accounts: u64,
    /// The root of the tree of accounts.
    pub accounts_root: Hash,
    /// The hash of what the members decide ([`Governance::hash`]).
    pub governance: Hash,
}

impl StateParts {
    /// The state root.
    pub fn root(&self) -> Hash {
        let mut out = Vec::with_capacity(128);
        out.put_varint(STATE_VERSION);
        self.write(&mut out);
        hash(STATE_DOMAIN, &out)
    }

    /// Appends the parts, as `state` has them after its version.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.changes);
        out.put(&self.changes_root);
        out.put_varint(self.accounts);
        out.put(&self.accounts_root);
        out.put(&self.governance);
    }

    /// Reads the parts.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            changes: reader.varint()?,
            changes_root: reader.array()?,
            accounts: reader.varint()?,
            accounts_root: reader.array()?,
            governance: reader.array()?,
        })
    }
}

/// The first block of an epoch brings this along. Whether the voters want it is side-seal's to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The epoch that begins.
    pub epoch: Epoch,
    /// Who seals in it, ascending.
    pub sealers: Vec<AuthorId>,
}

/// Why a block does not extend the chain. The chain is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The block covers changes that are not applied here. It is neither good nor bad; it is to be tried again once they are.
    #[error("the block covers changes that are not here yet")]
    Unknown(Vec<ChangeId>),
    /// It breaks its form.
    #[error(transparent)]
    Form(#[from] BlockError),
    /// It belongs to another group.
    #[error("the block belongs to another group")]
    Group,
    /// It does not follow the last block.
    #[error("the block does not follow the last one")]
    Parent,
    /// Its set or epoch is not what follows from the chain.
    #[error("the block's recovery, set or epoch is not what follows from the chain")]
    Seat,
    /// Its time lies before its parent's.
    #[error("the block's time lies before that of the block before")]
    Time,
    /// It seals nothing and begins no epoch.
    #[error("the block seals nothing")]
    Nothing,
    /// It seals more than a block may.
    #[error("the block seals more than a block may")]
    TooMany,
    /// Its cut names what another head covers, or does not cover the cut before.
    #[error("the block's cut is not the frontier of what it covers")]
    Cut,
    /// Executing it comes to another state.
    #[error("executing the block comes to another state root")]
    StateRoot,
    /// Executing it comes to other receipts.
    #[error("executing the block comes to other receipts")]
    ReceiptsRoot,
    /// This build would change the sum of all balances. A bug: the block is refused.
    #[error("executing the block would change the sum of all balances: a bug")]
    Supply,
    /// The chain is as long as this build can count.
    #[error("the chain is full")]
    Full,
}

/// The block is settled: nothing puts it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("block {0} is settled and cannot be undone")]
pub struct Settled(pub Height);

/// A block of the chain.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Its id.
    pub id: BlockId,
    /// The block.
    pub block: Block,
    /// What began with it.
    pub switch: Option<Switch>,
    /// Whoever decides about the sealers of the set that it was sealed under.
    pub electorate: Arc<Electorate>,
    /// What the members had decided before it.
    pub before: Arc<Governance>,
    /// What its state root is the hash of.
    pub state: StateParts,
    /// What it sealed, in the one order.
    changes: Vec<ChangeIdx>,
    /// What undoes it, unless it is settled.
    undo: Option<Journal>,
}

impl Sealed {
    /// How many changes it sealed.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it sealed none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What it sealed, in the one order.
    pub fn changes(&self) -> &[ChangeIdx] {
        &self.changes
    }
}

/// Where a sealed change stands; zeros for one that is pending. Eight bytes a change.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    height: u32,
    leaf: u32,
}

/// The chain and the state after it. See the [module](self).
#[derive(Debug, Clone)]
pub struct Chain {
    group: GroupId,
    closed_group: bool,
    rules: Rules,
    supply: u64,
    blocks: Vec<Sealed>,
    accounts: Accounts,
    governance: Arc<Governance>,
    electorate: Arc<Electorate>,
    log: Tree,
    /// By the number of the change.
    places: Vec<Place>,
    /// Applied changes that no block covers, in the one order.
    pending: BTreeSet<(u64, ChangeId, ChangeIdx)>,
    /// Sealed changes that do not count.
    verdicts: HashMap<ChangeIdx, Reason>,
    /// Transactions that do not count in changes that do.
    rejected: BTreeMap<Position, Reason>,
}

impl Chain {
    /// The chain before its first block.
    pub fn new(genesis: &Genesis) -> Self {
        let spec = genesis.spec();
        let mut accounts = Accounts::default();
        let closed_group = spec.admission == Admission::Closed;
        for (key, amount) in &spec.allocation {
            accounts.update(key, |account| account.balance = *amount);
        }
        for founder in spec.founders.iter().filter(|_| closed_group) {
            accounts.update(founder, |account| account.member = true);
        }
        accounts.settle();
        let governance = Governance::new(spec);
        Self {
            group: genesis.id(),
            closed_group,
            rules: genesis.rules(),
            supply: spec.allocation.values().sum(),
            blocks: Vec::new(),
            electorate: Arc::new(governance.electorate()),
            governance: Arc::new(governance),
            accounts,
            log: Tree::default(),
            places: Vec::new(),
            pending: BTreeSet::new(),
            verdicts: HashMap::new(),
            rejected: BTreeMap::new(),
        }
    }

    /// The blocks, the first at height 1.
    pub fn blocks(&self) -> &[Sealed] {
        &self.blocks
    }

    /// The block at a height.
    pub fn at(&self, height: Height) -> Option<&Sealed> {
        self.blocks.get(usize::try_from(height.0.checked_sub(1)?).ok()?)
    }

    /// The last block.
    pub fn tip(&self) -> Option<&Sealed> {
        self.blocks.last()
    }

    /// The id of the last block; [`BlockId::origin`] before the first.
    pub fn tip_id(&self) -> BlockId {
        self.tip().map_or(BlockId::origin(self.group), |sealed| sealed.id)
    }

    /// The height of the last block; 0 before the first.
    pub fn height(&self) -> Height {
        Height(self.blocks.len() as u64)
    }

    /// The rank of the last block. Before the first: all zeros.
    pub fn rank(&self) -> Rank {
        self.tip().map_or_else(
            || Rank { recovery: Recovery(0), set: self.governance.set, epoch: Epoch(0), height: Height(0) },
            |sealed| sealed.block.rank(),
        )
    }

    /// What the members have decided, as it holds for the next block.
    pub fn governance(&self) -> &Governance {
        &self.governance
    }

    /// Whoever decides about the sealers of the set that the next block is sealed under.
    pub fn electorate(&self) -> &Arc<Electorate> {
        &self.electorate
    }

    /// What the ledger knows of a key.
    pub fn account(&self, key: &AuthorId) -> Account {
        self.accounts.get(key)
    }

    /// All accounts, in the order in which they came up.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The sum of all balances, which never changes.
    pub fn supply(&self) -> u64 {
        self.supply
    }

    /// How many applied changes no block covers.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What the state root of the last block is the hash of.
    pub fn state(&mut self) -> StateParts {
        StateParts {
            changes: self.log.len() as u64,
            changes_root: self.log.root(),
            accounts: self.accounts.len() as u64,
            accounts_root: self.accounts.root(),
            governance: self.governance.hash(),
        }
    }

    /// The state root after the last block, or of the genesis.
    pub fn state_root(&mut self) -> Hash {
        self.state().root()
    }

    /// Writes down with the last block what its state root is the hash of. Gives the root.
    fn keep_state(&mut self) -> Hash {
        let state = self.state();
        if let Some(sealed) = self.blocks.last_mut() {
            sealed.state = state;
        }
        state.root()
    }

    /// What the members had decided after the block at a height; at 0 the genesis'.
    pub fn governance_after(&self, height: Height) -> Option<&Governance> {
        let next = usize::try_from(height.0).ok()?;
        match self.blocks.get(next) {
            Some(next) => Some(&next.before),
            None => (next == self.blocks.len()).then_some(&self.governance),
        }
    }

    /// Where a transaction stands; `None` if its change is not applied here.
    pub fn status(&self, replica: &Replica, position: &Position) -> Option<Status> {
        let index = replica.index_of(&position.id)?;
        let Some(height) = self.sealed_at(index) else { return Some(Status::Pending) };
        let reason = self.verdicts.get(&index).or_else(|| self.rejected.get(position));
        Some(match reason {
            None => Status::Sealed { height },
            Some(reason) => Status::Rejected { height, reason: *reason },
        })
    }

    /// The height of the block that sealed a change.
    pub fn sealed_at(&self, index: ChangeIdx) -> Option<Height> {
        self.places.get(index.0 as usize).filter(|place| place.height > 0).map(|place| Height(place.height.into()))
    }

    /// What became of a sealed change, and its place among all sealed ones.
    pub fn receipt(&self, replica: &Replica, index: ChangeIdx) -> Option<(u64, Receipt)> {
        self.sealed_at(index)?;
        let leaf = self.places[index.0 as usize].leaf;
        Some((leaf.into(), self.receipt_of(replica, index)))
    }

    /// The members of a closed group whose accounts the last block touched.
    pub(crate) fn new_members(&self) -> Vec<AuthorId> {
        let Some(undo) = self.tip().and_then(|sealed| sealed.undo.as_ref()) else { return Vec::new() };
        self.accounts
            .numbered(undo.keys().copied())
            .filter(|(_, account)| account.member)
            .map(|(key, _)| *key)
            .collect()
    }

    /// The path of a sealed change in the tree of the first `changes` sealed changes.
    pub(crate) fn change_path(&mut self, index: u64, changes: u64) -> Vec<Hash> {
        self.log.path_among(index as usize, changes as usize)
    }

    /// A key's account, its number and its path in the tree of accounts.
    pub(crate) fn account_path(&mut self, key: &AuthorId) -> Option<(u64, Account, Vec<Hash>)> {
        let number = self.accounts.number(key)?;
        Some((number.into(), self.accounts.get(key), self.accounts.path(number)))
    }

    /// The root of a complete subtree of the tree of accounts.
    pub(crate) fn accounts_subtree(&mut self, level: usize, index: usize) -> Option<Hash> {
        self.accounts.subtree(level, index)
    }

    /// What undoes the blocks above a height, lowest first; `None` if one of them is settled.
    pub(crate) fn undone_above(&self, height: Height) -> Option<impl DoubleEndedIterator<Item = &Journal>> {
        let above = self.blocks.get(usize::try_from(height.0).ok()?..)?;
        // Settled blocks are the first ones.
        above.first().is_none_or(|sealed| sealed.undo.is_some()).then(|| above.iter().filter_map(|s| s.undo.as_ref()))
    }

    /// Takes note of an applied change, which is pending now.
    pub(crate) fn note(&mut self, replica: &Replica, index: ChangeIdx) {
        if self.places.len() <= index.0 as usize {
            self.places.resize(index.0 as usize + 1, Place::default());
        }
        if self.places[index.0 as usize].height == 0 {
            self.pending.insert((replica.lamport(index), replica.id(index), index));
        }
    }

    /// Extends the chain by a block if that is good. `switch` comes with the first block of an epoch.
    pub fn accept(
        &mut self,
        replica: &Replica,
        ledger: &Ledger,
        block: &Block,
        switch: Option<&Switch>,
    ) -> Result<BlockId, Fault> {
        let id = block.id()?;
        self.check_link(block, switch)?;
        let changes = self.uncovered(replica, &block.cut)?;
        if changes.is_empty() && switch.is_none() {
            return Err(Fault::Nothing);
        }
        let receipts_root = self.execute(replica, ledger, block, id, switch, changes);
        let fault = match receipts_root {
            Err(fault) => Some(fault),
            Ok(root) if root != block.receipts_root => Some(Fault::ReceiptsRoot),
            Ok(_) if self.keep_state() != block.state_root => Some(Fault::StateRoot),
            Ok(_) => None,
        };
        if let Some(fault) = fault {
            self.take_back(replica);
            return Err(fault);
        }
        Ok(id)
    }

    /// Makes the next block of this plan and extends the chain by it. `now_ms` is the clock; a block's time is never before its parent's.
    pub fn seal(
        &mut self,
        replica: &Replica,
        ledger: &Ledger,
        plan: Plan,
        now_ms: u64,
        switch: Option<&Switch>,
    ) -> Result<Block, Fault> {
        if plan.changes.is_empty() && switch.is_none() {
            return Err(Fault::Nothing);
        }
        let mut block = Block {
            group: self.group,
            recovery: self.rank().recovery,
            set: self.governance.set,
            epoch: switch.map_or(self.governance.epoch, |switch| switch.epoch),
            height: Height(self.height().0 + 1),
            parent: self.tip_id(),
            cut: plan.cut,
            time_ms: now_ms.max(self.tip().map_or(0, |sealed| sealed.block.time_ms)),
            state_root: [0; 32],
            receipts_root: [0; 32],
        };
        block.encode()?;
        self.check_link(&block, switch)?;
        match self.execute(replica, ledger, &block, BlockId([0; 32]), switch, plan.changes) {
            Ok(root) => block.receipts_root = root,
            Err(fault) => {
                self.take_back(replica);
                return Err(fault);
            }
        }
        block.state_root = self.keep_state();
        let id = block.id()?;
        if let Some(sealed) = self.blocks.last_mut() {
            sealed.id = id;
            sealed.block = block.clone();
        }
        Ok(block)
    }

    /// Takes the last block back: what it sealed is pending again. `None` at the beginning of the chain.
    pub fn undo(&mut self, replica: &Replica) -> Result<Option<Sealed>, Settled> {
        match self.blocks.last() {
            None => Ok(None),
            Some(sealed) if sealed.undo.is_none() => Err(Settled(sealed.block.height)),
            Some(_) => Ok(self.take_back(replica)),
        }
    }

    /// Forgets how to undo the blocks up to this height.
    pub fn settle(&mut self, height: Height) {
        let end = usize::try_from(height.0).unwrap_or(usize::MAX).min(self.blocks.len());
        for sealed in self.blocks[..end].iter_mut().rev() {
            if sealed.undo.take().is_none() {
                return;
            }
        }
    }

    /// Builds everything anew after the replica renumbered its changes. Gives the blocks at the end that no longer stand, lowest first: something
    /// that they cover is gone.
    pub(crate) fn rebuild(&mut self, genesis: &Genesis, replica: &Replica, ledger: &Ledger) -> Vec<Sealed> {
        let mut old = std::mem::replace(self, Self::new(genesis)).blocks;
        for number in 0..replica.len() as u32 {
            self.note(replica, ChangeIdx(number));
        }
        let good =
            old.iter().take_while(|sealed| self.accept(replica, ledger, &sealed.block, sealed.switch.as_ref()).is_ok());
        let good = good.count();
        old.split_off(good)
    }

    /// Holds the chain to its invariants. Costs a walk over everything.
    pub fn debug_check(&mut self, replica: &Replica) {
        assert_eq!(self.accounts.sum(), u128::from(self.supply), "the supply changed");
        let sealed: Vec<ChangeIdx> = self.blocks.iter().flat_map(|sealed| sealed.changes.iter().copied()).collect();
        assert_eq!(sealed.len() + self.pending.len(), replica.len(), "a change is neither sealed nor pending, or both");
        let leaves = sealed.iter().map(|index| merkle::leaf(&self.receipt_of(replica, *index).encode()));
        assert_eq!(merkle::root_of(leaves), self.log.root(), "the tree of changes is not that of the receipts");
        for (leaf, index) in sealed.iter().enumerate() {
            assert_eq!(self.places[index.0 as usize].leaf as usize, leaf, "a change stands at another leaf");
        }
        let leaves = self.accounts.iter().map(|(key, account)| merkle::leaf(&account.encode(key)));
        let root = merkle::root_of(leaves);
        assert_eq!(root, self.accounts.root(), "the tree of accounts is not that of the accounts");
        if let Some(tip) = self.blocks.last().map(|sealed| sealed.block.state_root) {
            assert_eq!(tip, self.state_root(), "the state is not the last block's");
        }
        self.check_rotations();
    }

    fn check_link(&self, block: &Block, switch: Option<&Switch>) -> Result<(), Fault> {
        if block.group != self.group {
            return Err(Fault::Group);
        }
        if block.parent != self.tip_id() || block.height.0 != self.height().0 + 1 {
            return Err(Fault::Parent);
        }
        if block.height.0 > u64::from(u32::MAX) {
            return Err(Fault::Full);
        }
        let seat = match switch {
            None => block.epoch == self.governance.epoch,
            Some(switch) => {
                block.epoch == switch.epoch && switch.epoch > self.governance.epoch && !switch.sealers.is_empty()
            }
        };
        if !seat || block.set != self.governance.set || block.recovery != self.rank().recovery {
            return Err(Fault::Seat);
        }
        if self.tip().is_some_and(|sealed| block.time_ms < sealed.block.time_ms) {
            return Err(Fault::Time);
        }
        Ok(())
    }

    fn take_back(&mut self, replica: &Replica) -> Option<Sealed> {
        let mut sealed = self.blocks.pop()?;
        for index in &sealed.changes {
            let (lamport, id) = (replica.lamport(*index), replica.id(*index));
            self.places[index.0 as usize] = Place::default();
            self.pending.insert((lamport, id, *index));
            if self.verdicts.remove(index).is_none() {
                let positions: Vec<Position> = self.rejected_in(lamport, id).map(|(position, _)| *position).collect();
                for position in positions {
                    self.rejected.remove(&position);
                }
            }
        }
        self.log.truncate(self.log.len() - sealed.changes.len());
        if let Some(undo) = sealed.undo.take() {
            self.accounts.undo(&undo);
            self.electorate = Arc::clone(&sealed.electorate);
            self.governance = Arc::clone(&sealed.before);
        }
        Some(sealed)
    }

    fn rejected_in(&self, lamport: u64, id: ChangeId) -> impl Iterator<Item = (&Position, &Reason)> {
        let at = |offset| Position { lamport, id, offset };
        self.rejected.range(at(0)..=at(u32::MAX))
    }

    fn receipt_of(&self, replica: &Replica, index: ChangeIdx) -> Receipt {
        let (lamport, id) = (replica.lamport(index), replica.id(index));
        let verdict = self.verdicts.get(&index).copied();
        let rejected = self.rejected_in(lamport, id).map(|(position, reason)| (position.offset, *reason)).collect();
        Receipt { id, lamport, verdict, rejected }
    }
}
