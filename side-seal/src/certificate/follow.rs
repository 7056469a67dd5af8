//! The follower: what a step and a seal have to be.

use std::collections::BTreeSet;

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::block::{Block, BlockId, Epoch, Height, Rank, Recovery};
use side_ledger::genesis::{Genesis, GroupId, MIN_BFT_FOUNDERS, Rules, Sealing};
use side_ledger::governance::{Electorate, Governance, two_thirds};
use side_ledger::invitation::Checkpoint;
use side_ledger::transaction::HeldBlock;

use super::{Authority, CertificateFault, Opening, Seal, Standing, Step};
use crate::bft::certificate::Certificate;
use crate::bft::seat::Seat;
use crate::signed::{Hold, SignedBlock};
use crate::warrant::{Warrant, WarrantFault, votes_in};

/// Whoever follows a group by certificates alone. See the [module](super).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    group: GroupId,
    bft: bool,
    rules: Rules,
    electorate: Electorate,
    recovery: Recovery,
    epoch: Epoch,
    /// Who seals in the epoch.
    sealers: Vec<AuthorId>,
    /// That of the last block that it was shown; 0 before the first.
    height: Height,
}

impl Follower {
    /// Begins with what the group was founded on.
    pub fn genesis(genesis: &Genesis) -> Self {
        let Governance { epoch, sealers, .. } = Governance::new(genesis.spec());
        let electorate = Governance::new(genesis.spec()).electorate();
        let (group, bft, rules) = (genesis.id(), is_bft(genesis), genesis.rules());
        Self { group, bft, rules, electorate, recovery: Recovery(0), epoch, sealers, height: Height(0) }
    }

    /// Begins with a block that is trusted, and the state after it.
    pub fn checkpoint(genesis: &Genesis, checkpoint: &Checkpoint, opening: &Opening) -> Result<Self, CertificateFault> {
        opening.check(&checkpoint.state_root)?;
        let (rank, governance, bft) = (checkpoint.rank, &opening.governance, is_bft(genesis));
        let ends_set = governance.set.0 == rank.set.0 + 1;
        if governance.epoch != rank.epoch || !(ends_set || governance.set == rank.set) {
            return Err(CertificateFault::State);
        }
        if ends_set && !bft {
            return Err(CertificateFault::LastOfSet);
        }
        let (epoch, sealers) = if ends_set { after_set(governance) } else { (rank.epoch, governance.sealers.clone()) };
        let (group, rules, electorate) = (genesis.id(), genesis.rules(), governance.electorate());
        Ok(Self { group, bft, rules, electorate, recovery: rank.recovery, epoch, sealers, height: rank.height })
    }

    /// The height of the last block that it was shown.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The voters in force for the next block.
    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// Goes on by a step. After an error it is where it was.
    pub fn step(&mut self, step: &Step) -> Result<(), CertificateFault> {
        if self.bft != matches!(step, Step::Votes(_) | Step::Ended { .. }) {
            return Err(CertificateFault::Sealing);
        }
        match step {
            Step::Epoch(first) => {
                if first.block().set != self.electorate.set {
                    return Err(CertificateFault::Rank);
                }
                let sealers = self.voted(first)?;
                (self.epoch, self.sealers, self.height) = (first.block().epoch, sealers, first.block().height);
            }
            Step::Close { last, opening, authority } => self.close(last, opening, authority)?,
            Step::Votes(votes) => (self.epoch, self.sealers) = self.decided(votes)?,
            Step::Ended { last, opening, certificate } => {
                self.finalized(last, certificate)?;
                opening.check(&last.state_root)?;
                self.electorate = self.next_set(&opening.governance)?;
                (self.epoch, self.sealers) = after_set(&opening.governance);
                self.height = last.height;
            }
        }
        Ok(())
    }

    /// How it stands with the block of a seal, if that is good.
    pub fn judge(&self, seal: &Seal) -> Result<Standing, CertificateFault> {
        match seal {
            Seal::Held { signed, links, holds } if !self.bft => self.held(signed, links, holds),
            Seal::Final { block, certificate } if self.bft => self.finalized(block, certificate),
            _ => Err(CertificateFault::Sealing),
        }
    }

    /// Whether this block is of the set and epoch, not below the last one shown.
    fn follows(&self, block: &Block) -> Result<(), CertificateFault> {
        if block.group != self.group {
            return Err(CertificateFault::Group);
        }
        let here = Rank { recovery: self.recovery, set: self.electorate.set, epoch: self.epoch, height: block.height };
        if block.rank() != here || block.height < self.height {
            return Err(CertificateFault::Rank);
        }
        Ok(())
    }

    /// Whether the present sealer signed this block.
    fn sealed(&self, signed: &SignedBlock) -> Result<(), CertificateFault> {
        self.follows(signed.block())?;
        if self.sealers.contains(&signed.signer()) { Ok(()) } else { Err(CertificateFault::Signer) }
    }

    /// Whether enough voters hold a block of the present sealer: it, or one of `links`, which follow on it one after the other.
    fn held(&self, signed: &SignedBlock, links: &[Block], holds: &[Hold]) -> Result<Standing, CertificateFault> {
        self.sealed(signed)?;
        let mut last = (signed.block().rank(), signed.id());
        let mut named = vec![last];
        for link in links {
            if link.group != self.group || link.parent != last.1 || link.height.0 != last.0.height.0 + 1 {
                return Err(CertificateFault::Parent);
            }
            last = (link.rank(), link.id().map_err(|_| CertificateFault::Parent)?);
            named.push(last);
        }
        let names = |hold: &Hold| (hold.rank, hold.block);
        if holds.iter().any(|hold| hold.group != self.group) {
            return Err(CertificateFault::Group);
        }
        // Nothing stands here that nobody's word is about.
        let needless = !links.is_empty() && !holds.iter().any(|hold| names(hold) == last);
        if needless || !holds.iter().all(|hold| named.contains(&names(hold))) {
            return Err(WarrantFault::OtherBlock.into());
        }
        let voters = &self.electorate.voters;
        if !holds.iter().all(|hold| voters.binary_search(&hold.voter).is_ok())
            || !holds.windows(2).all(|pair| pair[0].voter < pair[1].voter)
        {
            return Err(WarrantFault::Elector.into());
        }
        let (found, needed) = (holds.len(), self.electorate.quorum);
        if found < needed {
            return Err(WarrantFault::TooFew { found, needed }.into());
        }
        Ok(Standing { is_final: false, holders: found, voters: voters.len(), quorum: needed })
    }

    /// Whether the sealers of the epoch finalized this block.
    fn finalized(&self, block: &Block, certificate: &Certificate) -> Result<Standing, CertificateFault> {
        self.follows(block)?;
        let seat = Seat {
            group: self.group,
            recovery: self.recovery,
            set: self.electorate.set,
            epoch: self.epoch,
            sealers: self.sealers.clone(),
            // What an epoch continues from is no part of what its sealers sign under.
            floor: BlockId::origin(self.group),
            floor_height: Height(0),
        };
        if block.id().ok() != Some(certificate.block()) || !certificate.check(&seat) {
            return Err(CertificateFault::Final);
        }
        let voters = self.sealers.len();
        Ok(Standing { is_final: true, holders: certificate.signers(), voters, quorum: two_thirds(voters) })
    }

    /// A set ends, in leader mode.
    fn close(&mut self, last: &SignedBlock, opening: &Opening, authority: &Authority) -> Result<(), CertificateFault> {
        self.sealed(last)?;
        let block = last.block();
        opening.check(&block.state_root)?;
        let next = self.next_set(&opening.governance)?;
        match authority {
            Authority::Words(holds) => {
                let warrant = Warrant { votes: Vec::new(), holds: holds.clone() };
                warrant.check_holds(self.group, &self.electorate, block.rank(), last.id())?;
                self.height = block.height;
                self.sealers.clone_from(&opening.governance.sealers);
            }
            Authority::Epoch(first) => {
                let first_block = first.block();
                if (first_block.parent, first_block.height.0) != (last.id(), block.height.0 + 1) {
                    return Err(CertificateFault::Parent);
                }
                if first_block.set != next.set {
                    return Err(CertificateFault::Rank);
                }
                let sealers = self.voted(first)?;
                (self.epoch, self.sealers, self.height) = (first_block.epoch, sealers, first_block.height);
            }
        }
        self.electorate = next;
        Ok(())
    }

    /// Whether the voters in force want this block's signer from this block on. Gives the sealers.
    fn voted(&self, signed: &SignedBlock) -> Result<Vec<AuthorId>, CertificateFault> {
        let block = signed.block();
        if block.group != self.group {
            return Err(CertificateFault::Group);
        }
        if block.recovery != self.recovery || block.epoch <= self.epoch || block.height <= self.height {
            return Err(CertificateFault::Rank);
        }
        let warrant = signed.warrant();
        if !warrant.holds.is_empty() {
            return Err(WarrantFault::OtherBlock.into());
        }
        let (sealers, named) =
            warrant.check_votes(self.group.document(), &self.electorate, block.recovery, block.epoch)?;
        if !sealers.contains(&signed.signer()) {
            return Err(CertificateFault::Signer);
        }
        // Wherever the chain forked, an epoch starts from a block that one of its votes names, of the highest epoch among those.
        let latest = named.iter().map(|held| held.rank.epoch).max();
        let starts = |held: &HeldBlock| {
            held.id == block.parent && held.rank.height.0 + 1 == block.height.0 && Some(held.rank.epoch) == latest
        };
        if named.iter().any(starts) { Ok(sealers) } else { Err(CertificateFault::Parent) }
    }

    /// What more than two thirds of the voters want, in BFT mode: an epoch and who seals in it. That these votes were sealed is not asked: no honest sealer begins an epoch before they are.
    fn decided(&self, votes: &[Bytes]) -> Result<(Epoch, Vec<AuthorId>), CertificateFault> {
        let voters = &self.electorate.voters;
        let mut decided: Option<(Epoch, Vec<AuthorId>)> = None;
        let votes = votes_in(
            votes,
            self.group.document(),
            |author| voters.binary_search(author).is_ok(),
            |vote| {
                let fits = (vote.recovery, vote.set) == (self.recovery, self.electorate.set)
                    && vote.epoch > self.epoch
                    && vote.sealers.len() >= MIN_BFT_FOUNDERS
                    && decided.as_ref().is_none_or(|decided| *decided == (vote.epoch, vote.sealers.clone()));
                if fits {
                    decided = Some((vote.epoch, vote.sealers.clone()));
                }
                fits
            },
        )?;
        let (found, needed) = (votes.len(), two_thirds(voters.len()));
        decided.filter(|_| found >= needed).ok_or(WarrantFault::TooFew { found, needed }.into())
    }

    /// The set that begins after a block with this state.
    fn next_set(&self, governance: &Governance) -> Result<Electorate, CertificateFault> {
        let before: BTreeSet<AuthorId> = self.electorate.voters.iter().copied().collect();
        let one = before.symmetric_difference(&governance.voters).count() <= 1;
        let came = governance.voters.iter().find(|key| !before.contains(*key));
        let same_sealers = governance.sealers == self.sealers
            || self.rules.rotates() && came.is_some_and(|new| is_handed_over(&self.sealers, &governance.sealers, new));
        let follows = governance.set.0 == self.electorate.set.0 + 1
            && governance.epoch == self.epoch
            && same_sealers
            && governance.office == governance.sealers;
        if one && follows && !governance.voters.is_empty() {
            Ok(governance.electorate())
        } else {
            Err(CertificateFault::NextSet)
        }
    }
}

/// Whether of those who seal one gave its place to this key, and nothing else changed.
fn is_handed_over(before: &[AuthorId], after: &[AuthorId], new: &AuthorId) -> bool {
    let stay = before.iter().filter(|key| after.contains(key)).count();
    before.len() == after.len() && stay + 1 == before.len() && after.contains(new) && !before.contains(new)
}

fn is_bft(genesis: &Genesis) -> bool {
    matches!(genesis.spec().sealing, Sealing::Bft { .. })
}

/// The epoch after a block that ended a set in BFT mode, and who seals in it: the voters; where too few are left for agreement to tolerate a fault, those who sealed.
fn after_set(governance: &Governance) -> (Epoch, Vec<AuthorId>) {
    let voters: Vec<AuthorId> = governance.voters.iter().copied().collect();
    let sealers = if voters.len() >= MIN_BFT_FOUNDERS { voters } else { governance.sealers.clone() };
    (Epoch(governance.epoch.0 + 1), sealers)
}
