//! What shows that a block is the group's to somebody who holds no other block (docs/protocol.md, section "Certificates").
//!
//! A [`Follower`] knows the set of voters in force and who seals, at first from the genesis or from a checkpoint that it trusts. It follows the members from set to
//! set by [`Step`]s: of all blocks only those that end a set or begin an epoch, each with the voters' words or votes. What the voters are after a set ended is
//! opened from the state root of its last block.
//!
//! What it rests on: of no set a third of the voters lie. Of an epoch whose voters named blocks of a forked chain it is not checked at which of them it had
//! to begin; the words for what was sealed since say that its voters did.

use std::collections::BTreeSet;

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::AuthorId;
use side_ledger::block::{Block, BlockId, Height, Rank};
use side_ledger::chain::StateParts;
use side_ledger::genesis::{Genesis, GroupId, GroupSpec, Sealing};
use side_ledger::governance::{Electorate, Governance, MAX_GOVERNANCE_BYTES, MAX_VOTERS};
use side_ledger::group::Group;
use side_ledger::invitation::Checkpoint;
use thiserror::Error;

use crate::leader::Leader;
use crate::signed::{Hold, SignedBlock, SignedError};
use crate::warrant::{Warrant, WarrantFault};

/// Most blocks between a block and one that a voter's word names: a word for a block covers those before, and busy groups seal before all words are in.
pub const MAX_LINKS: usize = 64;
/// Most steps: one for each change of a voter and one for a switch of the sealer between two of them. A group that has had more hands out checkpoints.
pub const MAX_STEPS: usize = 4096;

/// Why something does not show that a block is the group's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateFault {
    /// The group's sealing is of a kind that this build cannot follow.
    #[error("the group's blocks are not sealed by one leader at a time")]
    Sealing,
    /// The checkpoint's state is not what it is said to be.
    #[error("the state is not that of its block")]
    State,
    /// The checkpoint is the last block of its set: who had to confirm it cannot be told from the state after it.
    #[error("this block is the last of its set of voters; a later one serves as a checkpoint")]
    LastOfSet,
    /// It belongs to another group.
    #[error("a block belongs to another group")]
    Group,
    /// A block's recovery, set, epoch or height is not what follows from the blocks before.
    #[error("a block's rank does not follow from the blocks before it")]
    Rank,
    /// Whoever signed a block was not the sealer.
    #[error("a block is signed by somebody who is not the sealer")]
    Signer,
    /// A block does not follow the one it has to.
    #[error("a block does not follow the one before")]
    Parent,
    /// The votes or words beside a block do not carry it.
    #[error(transparent)]
    Warrant(#[from] WarrantFault),
    /// The set of voters that follows is not made from the one before by one voter's coming or going.
    #[error("the next set of voters does not follow from the one before")]
    NextSet,
}

/// What members had decided after a block, opened from the block's state root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What the state root is the hash of.
    pub state: StateParts,
    /// What members had decided.
    pub governance: Governance,
}

impl Opening {
    /// Whether this is the state of a block with this state root.
    pub fn check(&self, state_root: &[u8; 32]) -> Result<(), CertificateFault> {
        let good = self.state.root() == *state_root && self.state.governance == self.governance.hash();
        if good { Ok(()) } else { Err(CertificateFault::State) }
    }

    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.state.write(out);
        out.put_blob(&self.governance.encode());
    }

    /// Reads one of a group with this genesis.
    pub fn read(reader: &mut Reader<'_>, spec: &GroupSpec) -> Result<Self, DecodeError> {
        let state = StateParts::read(reader)?;
        let bytes = reader.blob()?;
        if bytes.len() > MAX_GOVERNANCE_BYTES {
            return Err(DecodeError::Rule("decisions are too long"));
        }
        Ok(Self { state, governance: Governance::decode(bytes, spec)? })
    }

    /// That of the chain's block at a height; `None` if there is none.
    pub fn of(group: &Group, height: Height) -> Option<Self> {
        let state = group.chain().at(height)?.state;
        Some(Self { state, governance: group.chain().governance_after(height)?.clone() })
    }
}

/// What leads from one set of voters or sealer to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The first block of an epoch of the set, with the votes for it. Epochs before it that sealed nothing of interest are left out: votes stand for themselves.
    Epoch(SignedBlock),
    /// The last block of a set, without warrant.
    Close {
        /// The block.
        last: SignedBlock,
        /// The state after it, with the next set.
        opening: Box<Opening>,
        /// What carries it.
        authority: Authority,
    },
}

/// What carries the last block of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The words of voters of the set that they hold it, in the order of their keys.
    Words(Vec<Hold>),
    /// It is what an epoch starts from that they voted for: the first block of the epoch and of the next set, with the votes.
    Epoch(SignedBlock),
}

mod tag {
    pub(super) const EPOCH: u64 = 0;
    pub(super) const CLOSE: u64 = 1;
    pub(super) const WORDS: u64 = 0;
    pub(super) const VOTES: u64 = 1;
}

impl Step {
    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Epoch(signed) => {
                out.put_varint(tag::EPOCH);
                out.put_blob(&signed.encode());
            }
            Self::Close { last, opening, authority } => {
                out.put_varint(tag::CLOSE);
                last.write_bare(out);
                opening.write(out);
                match authority {
                    Authority::Words(holds) => {
                        out.put_varint(tag::WORDS);
                        write_holds(holds, out);
                    }
                    Authority::Epoch(signed) => {
                        out.put_varint(tag::VOTES);
                        out.put_blob(&signed.encode());
                    }
                }
            }
        }
    }

    /// Reads one of a group with this genesis. Signatures of blocks and words are checked, votes are not.
    pub fn read(reader: &mut Reader<'_>, spec: &GroupSpec) -> Result<Self, SignedError> {
        match reader.varint()? {
            tag::EPOCH => Ok(Self::Epoch(SignedBlock::decode(reader.blob()?)?)),
            tag::CLOSE => {
                let last = SignedBlock::read_bare(reader)?;
                let opening = Box::new(Opening::read(reader, spec)?);
                let authority = match reader.varint()? {
                    tag::WORDS => Authority::Words(read_holds(reader)?),
                    tag::VOTES => Authority::Epoch(SignedBlock::decode(reader.blob()?)?),
                    _ => return Err(DecodeError::Rule("an unknown kind of authority").into()),
                };
                Ok(Self::Close { last, opening, authority })
            }
            _ => Err(DecodeError::Rule("an unknown kind of step").into()),
        }
    }
}

/// Appends words.
pub(crate) fn write_holds(holds: &[Hold], out: &mut Vec<u8>) {
    out.put_varint(holds.len() as u64);
    holds.iter().for_each(|hold| hold.write(out));
}

/// Reads words and checks their signatures.
pub(crate) fn read_holds(reader: &mut Reader<'_>) -> Result<Vec<Hold>, SignedError> {
    let count = reader.count(1)?;
    if count > MAX_VOTERS {
        return Err(DecodeError::Rule("there are more words than a set has voters").into());
    }
    (0..count).map(|_| Hold::read(reader)).collect()
}

/// How many voters of its set hold a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How many said so.
    pub holders: usize,
    /// How many voters there are.
    pub voters: usize,
    /// How many it takes for no switch by honest voters to drop the block.
    pub quorum: usize,
}

/// Whoever follows a group by certificates alone. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    group: GroupId,
    electorate: Electorate,
    sealers: Vec<AuthorId>,
    /// The last block that it was shown; before the first all zeros. Its epoch is the one that `sealers` seal in.
    rank: Rank,
}

impl Follower {
    /// Begins with what the group was founded on.
    pub fn genesis(genesis: &Genesis) -> Result<Self, CertificateFault> {
        let Sealing::Leader { .. } = genesis.spec().sealing else { return Err(CertificateFault::Sealing) };
        let governance = Governance::new(genesis.spec());
        let rank = Rank { set: governance.set, epoch: governance.epoch, ..Rank::default() };
        Ok(Self { group: genesis.id(), electorate: governance.electorate(), sealers: governance.sealers, rank })
    }

    /// Begins with a block that is trusted, and the state after it.
    pub fn checkpoint(genesis: &Genesis, checkpoint: &Checkpoint, opening: &Opening) -> Result<Self, CertificateFault> {
        let Sealing::Leader { .. } = genesis.spec().sealing else { return Err(CertificateFault::Sealing) };
        opening.check(&checkpoint.state_root)?;
        let (rank, governance) = (checkpoint.rank, &opening.governance);
        if governance.set > rank.set {
            return Err(CertificateFault::LastOfSet);
        }
        if (governance.set, governance.epoch) != (rank.set, rank.epoch) {
            return Err(CertificateFault::State);
        }
        let (electorate, sealers) = (governance.electorate(), governance.sealers.clone());
        Ok(Self { group: genesis.id(), electorate, sealers, rank })
    }

    /// The rank of the last block that it was shown.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The voters whose words count for the next block.
    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// Goes on by a step. After an error it is where it was.
    pub fn step(&mut self, step: &Step) -> Result<(), CertificateFault> {
        match step {
            Step::Epoch(signed) => {
                if signed.block().set != self.electorate.set {
                    return Err(CertificateFault::Rank);
                }
                self.sealers = self.voted(signed)?;
                self.rank = signed.block().rank();
            }
            Step::Close { last, opening, authority } => {
                self.sealed(last)?;
                opening.check(&last.block().state_root)?;
                let rank = last.block().rank();
                let next = self.next_set(&opening.governance)?;
                let (sealers, rank) = match authority {
                    Authority::Words(holds) => {
                        let warrant = Warrant { votes: Vec::new(), holds: holds.clone() };
                        warrant.check_holds(&self.electorate, rank, last.id())?;
                        (self.sealers.clone(), rank)
                    }
                    Authority::Epoch(first) => {
                        let block = first.block();
                        if (block.parent, block.height.0) != (last.id(), rank.height.0 + 1) {
                            return Err(CertificateFault::Parent);
                        }
                        if block.set != next.set {
                            return Err(CertificateFault::Rank);
                        }
                        (self.voted(first)?, block.rank())
                    }
                };
                (self.electorate, self.sealers, self.rank) = (next, sealers, rank);
            }
        }
        Ok(())
    }

    /// Whether the present sealer signed this block, of the present epoch and above the last one shown.
    pub fn sealed(&self, signed: &SignedBlock) -> Result<(), CertificateFault> {
        let block = signed.block();
        if block.group != self.group {
            return Err(CertificateFault::Group);
        }
        let (rank, here) = (block.rank(), self.rank);
        if (rank.recovery, rank.set, rank.epoch) != (here.recovery, self.electorate.set, here.epoch)
            || rank.height < here.height
        {
            return Err(CertificateFault::Rank);
        }
        if !self.sealers.contains(&signed.signer()) {
            return Err(CertificateFault::Signer);
        }
        Ok(())
    }

    /// Whether enough voters hold a block of the present sealer: it, or one of `links`, which follow on it one after the other.
    pub fn held(&self, signed: &SignedBlock, links: &[Block], holds: &[Hold]) -> Result<Standing, CertificateFault> {
        self.sealed(signed)?;
        let mut named = vec![(signed.block().rank(), signed.id())];
        for link in links {
            let (last, id) = named[named.len() - 1];
            if link.group != self.group || link.parent != id || link.height.0 != last.height.0 + 1 {
                return Err(CertificateFault::Parent);
            }
            named.push((link.rank(), link.id().map_err(|_| CertificateFault::Parent)?));
        }
        let voters = &self.electorate.voters;
        if !holds.iter().all(|hold| named.contains(&(hold.rank, hold.block))) {
            return Err(WarrantFault::OtherBlock.into());
        }
        // Nothing stands here that nobody's word is about.
        if !links.is_empty() && !holds.iter().any(|hold| Some(&(hold.rank, hold.block)) == named.last()) {
            return Err(WarrantFault::OtherBlock.into());
        }
        if !holds.iter().all(|hold| voters.binary_search(&hold.voter).is_ok())
            || !holds.windows(2).all(|pair| pair[0].voter < pair[1].voter)
        {
            return Err(WarrantFault::Elector.into());
        }
        let (found, needed) = (holds.len(), self.electorate.quorum);
        if found < needed {
            return Err(WarrantFault::TooFew { found, needed }.into());
        }
        Ok(Standing { holders: found, voters: voters.len(), quorum: needed })
    }

    /// Whether the voters in force want this block's signer from this block on. Gives the sealers.
    fn voted(&self, signed: &SignedBlock) -> Result<Vec<AuthorId>, CertificateFault> {
        let block = signed.block();
        if block.group != self.group {
            return Err(CertificateFault::Group);
        }
        if block.recovery != self.rank.recovery || block.epoch <= self.rank.epoch {
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
        let starts = |held: &side_ledger::transaction::HeldBlock| {
            held.id == block.parent && held.rank.height.0 + 1 == block.height.0 && Some(held.rank.epoch) == latest
        };
        if !named.iter().any(starts) {
            return Err(CertificateFault::Parent);
        }
        Ok(sealers)
    }

    /// The set that begins after a block with this state.
    fn next_set(&self, governance: &Governance) -> Result<Electorate, CertificateFault> {
        let before: BTreeSet<AuthorId> = self.electorate.voters.iter().copied().collect();
        let one = before.symmetric_difference(&governance.voters).count() <= 1;
        let follows = governance.set.0 == self.electorate.set.0 + 1
            && governance.epoch == self.rank.epoch
            && governance.sealers == self.sealers
            && governance.office == self.sealers;
        if one && follows && !governance.voters.is_empty() {
            Ok(governance.electorate())
        } else {
            Err(CertificateFault::NextSet)
        }
    }
}

/// Why nothing can be shown of a block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProveError {
    /// The block is not known by its signature.
    #[error("the block {0} is not here")]
    Missing(BlockId),
    /// Too few voters have said that they hold it, as far as this node has heard.
    #[error("{have} of {voters} voters have said that they hold the block; it takes {needed}")]
    NotHeld {
        /// How many have.
        have: usize,
        /// How many voters there are.
        voters: usize,
        /// How many it takes.
        needed: usize,
    },
    /// The checkpoint does not serve.
    #[error(transparent)]
    Anchor(#[from] CertificateFault),
    /// There have been too many changes of voters.
    #[error("the voters have changed more than {MAX_STEPS} times since; take a later checkpoint")]
    TooLong,
}

/// Whether somebody can begin to follow with the chain's block at this height. The last block of a set does not serve.
pub fn can_anchor(group: &Group, height: Height) -> bool {
    let (sealed, after) = (group.chain().at(height), group.chain().governance_after(height));
    sealed.zip(after).is_some_and(|(sealed, after)| sealed.block.set == after.set)
}

/// The steps from the block at `from` (0: the genesis) to that at `to`, as far as a follower needs them to judge the latter. Cost: by the number of sets in between.
pub fn steps(group: &Group, leader: &Leader, from: Height, to: Height) -> Result<Vec<Step>, ProveError> {
    let (chain, blocks) = (group.chain(), group.chain().blocks());
    let signed = |at: usize| leader.block(&blocks[at].id).cloned().ok_or(ProveError::Missing(blocks[at].id));
    let start = chain.governance_after(from).filter(|_| from <= to);
    let start = start.ok_or(ProveError::Missing(BlockId::origin(group.id())))?;
    if from.0 > 0 && !can_anchor(group, from) {
        return Err(CertificateFault::LastOfSet.into());
    }
    let Some(target) = chain.at(to) else { return Ok(Vec::new()) };
    let (mut set, mut epoch, mut steps) = (start.set, start.epoch, Vec::new());
    loop {
        let end = if set == target.block.set {
            to.0 as usize - 1
        } else {
            blocks.partition_point(|sealed| sealed.block.set <= set) - 1
        };
        let last = &blocks[end];
        if last.block.epoch > epoch {
            epoch = last.block.epoch;
            let first = blocks.partition_point(|sealed| (sealed.block.set, sealed.block.epoch) < (set, epoch));
            steps.push(Step::Epoch(signed(first)?));
        }
        if set == target.block.set {
            return Ok(steps);
        }
        let next = signed(end + 1)?;
        let opening = Opening::of(group, last.block.height).ok_or(ProveError::Missing(last.id))?;
        let authority = if next.block().epoch == epoch {
            Authority::Words(next.warrant().holds.clone())
        } else {
            Authority::Epoch(next.clone())
        };
        (set, epoch) = (next.block().set, next.block().epoch);
        steps.push(Step::Close { last: signed(end)?.bare(), opening: Box::new(opening), authority });
        if steps.len() >= MAX_STEPS {
            return Err(ProveError::TooLong);
        }
    }
}

/// The highest block, not below `least`, that enough voters hold.
pub fn held_at(group: &Group, leader: &Leader, least: Height) -> Result<Height, ProveError> {
    let chain = group.chain();
    let lowest = chain.height().0.saturating_sub(MAX_LINKS as u64).max(least.0).max(1);
    let found = (lowest..=chain.height().0).rev().map(Height).find(|height| leader.is_held(group, *height));
    found.ok_or_else(|| {
        let electorate = chain.at(least).map_or(chain.electorate(), |sealed| &sealed.electorate);
        let (voters, needed) = (electorate.voters.len(), electorate.quorum);
        ProveError::NotHeld { have: leader.holders(group, least), voters, needed }
    })
}

/// What shows that the block at a height is held: it, those after it, and the words.
pub fn words(
    group: &Group,
    leader: &Leader,
    height: Height,
) -> Result<(SignedBlock, Vec<Block>, Vec<Hold>), ProveError> {
    let chain = group.chain();
    let sealed = chain.at(height).ok_or(ProveError::Missing(BlockId::origin(group.id())))?;
    let signed = leader.block(&sealed.id).ok_or(ProveError::Missing(sealed.id))?.bare();
    let top = height.0.saturating_add(MAX_LINKS as u64);
    let names_chain = |hold: &&Hold| {
        (height.0..=top).contains(&hold.rank.height.0)
            && chain.at(hold.rank.height).is_some_and(|sealed| sealed.id == hold.block)
    };
    let voter = |hold: &&Hold| sealed.electorate.voters.binary_search(&hold.voter).is_ok();
    let holds: Vec<Hold> = leader.words().filter(voter).filter(names_chain).copied().collect();
    let last = holds.iter().map(|hold| hold.rank.height).max().unwrap_or(height);
    let links = (height.0 + 1..=last.0).filter_map(|at| chain.at(Height(at))).map(|sealed| sealed.block.clone());
    Ok((signed, links.collect(), holds))
}
