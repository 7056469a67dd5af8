//! Who agrees on the next block: the sealers of an epoch, what their votes are bound to, and the block that the epoch continues from.
//!
//! Everything here is a function of the chain of final blocks, so every node comes to the same. An epoch is one run of the agreement protocol (*simplex*). It
//! ends with the block that closes a set of voters, or with the one after which more than two thirds of the voters have sealed votes for other sealers
//! or a further epoch. The first block after it begins the next epoch.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::identity::{AuthorId, Keypair};
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_utils::ordered::Set;
use side_ledger::block::{BlockId, Epoch, Height, Recovery, SetNumber};
use side_ledger::chain::Switch;
use side_ledger::genesis::{GroupId, MIN_BFT_FOUNDERS};
use side_ledger::governance::two_thirds;
use side_ledger::group::Group;
use side_ledger::receipt::Status;

/// What begins the namespace that simplex signs under; the group, the recovery, the set and the epoch follow.
pub const SIMPLEX_DOMAIN: &str = "side/1/simplex";
/// How far above the present epoch a vote may set the next one: more than there can be sealers, so that every sealer can be made the first leader, and little enough that votes do not use the
/// numbers up.
pub const MAX_EPOCH_STEP: u64 = 512;

/// The sealers of one epoch. Equal on every node that has the same final blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The group.
    pub group: GroupId,
    /// The recovery.
    pub recovery: Recovery,
    /// The set of voters.
    pub set: SetNumber,
    /// The epoch.
    pub epoch: Epoch,
    /// Who agrees on its blocks, ascending. At least [`MIN_BFT_FOUNDERS`].
    pub sealers: Vec<AuthorId>,
    /// The last block before the epoch; the group's origin in the first.
    pub floor: BlockId,
    /// Its height.
    pub floor_height: Height,
}

impl Seat {
    /// The seat that the next block belongs to, and the switch that this block brings if it begins the epoch. The chain ends with a final block.
    pub fn next(group: &Group) -> (Self, Option<Switch>) {
        let chain = group.chain();
        let governance = chain.governance();
        let switch = next_switch(group);
        let (epoch, sealers) = match &switch {
            Some(switch) => (switch.epoch, switch.sealers.clone()),
            None => (governance.epoch, governance.sealers.clone()),
        };
        let before = chain.blocks().partition_point(|sealed| sealed.block.epoch < epoch);
        let floor = chain.at(Height(before as u64)).map_or(BlockId::origin(group.id()), |sealed| sealed.id);
        let seat = Self {
            group: group.id(),
            recovery: chain.rank().recovery,
            set: governance.set,
            epoch,
            sealers,
            floor,
            floor_height: Height(before as u64),
        };
        (seat, switch)
    }

    /// The seat of an epoch that has blocks on the chain, or of the next block's.
    pub fn of_epoch(group: &Group, epoch: Epoch) -> Option<Self> {
        let chain = group.chain();
        let (next, _) = Self::next(group);
        if next.epoch == epoch {
            return Some(next);
        }
        let before = chain.blocks().partition_point(|sealed| sealed.block.epoch < epoch);
        let first = chain.blocks().get(before).filter(|sealed| sealed.block.epoch == epoch)?;
        let sealers = first.switch.as_ref().map_or(&first.before.sealers, |switch| &switch.sealers);
        Some(Self {
            group: group.id(),
            recovery: first.block.recovery,
            set: first.block.set,
            epoch,
            sealers: sealers.clone(),
            floor: first.block.parent,
            floor_height: Height(before as u64),
        })
    }

    /// What simplex signs under. No other group, recovery, set or epoch has the same.
    pub fn namespace(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIMPLEX_DOMAIN.len() + 64);
        out.put(SIMPLEX_DOMAIN.as_bytes());
        out.put(&self.group.0);
        for number in [self.recovery.0, self.set.0, self.epoch.0] {
            out.put_varint(number);
        }
        out
    }

    /// The sealers' keys as simplex numbers them: in the order of [`Seat::sealers`]. `None` if one is no key to it, which no [`AuthorId`] is.
    pub fn participants(&self) -> Option<Set<PublicKey>> {
        let keys: Option<Vec<PublicKey>> = self.sealers.iter().map(public_key).collect();
        Some(Set::from_iter_dedup(keys?))
    }

    /// What this key signs its votes with; `None` if it is no sealer's.
    pub fn signer(&self, keypair: &Keypair) -> Option<Scheme> {
        Scheme::signer(&self.namespace(), self.participants()?, private_key(keypair)?)
    }
}

/// A member's key as simplex and its transport name it.
pub fn public_key(author: &AuthorId) -> Option<PublicKey> {
    PublicKey::decode(Copying(author.as_bytes())).ok()
}

/// A member's key pair as simplex and its transport take it.
pub fn private_key(keypair: &Keypair) -> Option<PrivateKey> {
    PrivateKey::decode(Copying(keypair.to_seed().as_slice())).ok()
}

/// What the block after the last one begins, if the last one ended its epoch.
fn next_switch(group: &Group) -> Option<Switch> {
    let (chain, governance) = (group.chain(), group.chain().governance());
    if chain.tip().is_some_and(|tip| tip.block.set < governance.set) {
        // The voters seal. Where too few are left for agreement to tolerate a fault, those who sealed go on.
        let voters: Vec<AuthorId> = governance.voters.iter().copied().collect();
        let sealers = if voters.len() >= MIN_BFT_FOUNDERS { voters } else { governance.sealers.clone() };
        return Some(Switch { epoch: Epoch(governance.epoch.0 + 1), sealers });
    }
    let highest = Epoch(governance.epoch.0.saturating_add(MAX_EPOCH_STEP));
    let mut counts: BTreeMap<(Epoch, &[AuthorId]), BTreeSet<AuthorId>> = BTreeMap::new();
    for (epoch, voter, position, vote) in group.ledger().sealers_votes(governance.set).rev() {
        if epoch <= governance.epoch {
            break;
        }
        let counts_here = epoch <= highest
            && vote.recovery == chain.rank().recovery
            && vote.sealers.len() >= MIN_BFT_FOUNDERS
            && governance.voters.contains(&voter)
            && matches!(group.status(&position), Some(Status::Sealed { .. }));
        if counts_here {
            counts.entry((epoch, &vote.sealers)).or_default().insert(voter);
        }
    }
    let needed = two_thirds(governance.voters.len());
    let decided = counts.into_iter().rev().find(|(_, voters)| voters.len() >= needed);
    decided.map(|((epoch, sealers), _)| Switch { epoch, sealers: sealers.to_vec() })
}
