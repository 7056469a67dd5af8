//! The steps and the seal of a block of one's own chain. Costs go by the number of sets and voters, never by the chain.

use std::collections::BTreeMap;

use bft_json_crdt::hash::CHANGE_SIGNATURE_DOMAIN;
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::verify::verify;
use bytes::Bytes;
use side_ledger::block::{Block, BlockId, Epoch, Height, SetNumber};
use side_ledger::chain::Sealed;
use side_ledger::group::Group;
use thiserror::Error;

use super::{Authority, CertificateFault, MAX_LINKS, MAX_SEALERS_VOTE_BYTES, MAX_STEPS, Opening, Seal, Step};
use crate::bft::Bft;
use crate::engine::Engine;
use crate::leader::Leader;
use crate::signed::Hold;

/// Why nothing can be shown of a block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProveError {
    /// The block, or what was signed about it, is not here.
    #[error("the block {0}, or what was signed about it, is not here")]
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

/// Whether somebody can begin to follow with the chain's block at this height. In leader mode the last block of a set does not serve.
pub fn can_anchor(group: &Group, engine: &Engine, height: Height) -> bool {
    let (sealed, after) = (group.chain().at(height), group.chain().governance_after(height));
    let same_set = sealed.zip(after).is_some_and(|(sealed, after)| sealed.block.set == after.set);
    same_set || (sealed.is_some() && matches!(engine, Engine::Bft(_)))
}

/// The steps from the block at `from` (0: the genesis) to that at `to`, as far as a follower needs them to judge the latter.
pub fn steps(group: &Group, engine: &Engine, from: Height, to: Height) -> Result<Vec<Step>, ProveError> {
    let chain = group.chain();
    let start = chain.governance_after(from).filter(|_| from <= to);
    let start = start.ok_or(ProveError::Missing(BlockId::origin(group.id())))?;
    if from.0 > 0 && !can_anchor(group, engine, from) {
        return Err(CertificateFault::LastOfSet.into());
    }
    let Some(target) = chain.at(to) else { return Ok(Vec::new()) };
    if start.set > target.block.set {
        // Whoever begins here is in the next set already.
        return Err(CertificateFault::LastOfSet.into());
    }
    match engine {
        Engine::Leader(leader) => leader_steps(group, leader, (start.set, start.epoch), target),
        Engine::Bft(bft) => {
            let ended = chain.at(from).is_some_and(|sealed| sealed.block.set < start.set);
            let epoch = Epoch(start.epoch.0 + u64::from(ended));
            bft_steps(group, bft, (start.set, epoch), target)
        }
    }
}

/// The last block of the way to `target` that is of this set, by its place among the blocks.
fn last_of(blocks: &[Sealed], set: SetNumber, target: &Sealed) -> usize {
    let end = if set == target.block.set {
        target.block.height.0 as usize
    } else {
        blocks.partition_point(|sealed| sealed.block.set <= set)
    };
    end - 1
}

fn leader_steps(
    group: &Group,
    leader: &Leader,
    (mut set, mut epoch): (SetNumber, Epoch),
    target: &Sealed,
) -> Result<Vec<Step>, ProveError> {
    let blocks = group.chain().blocks();
    let signed = |at: usize| leader.block(&blocks[at].id).cloned().ok_or(ProveError::Missing(blocks[at].id));
    let mut steps = Vec::new();
    loop {
        let end = last_of(blocks, set, target);
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
        (set, epoch) = (next.block().set, next.block().epoch);
        let authority = if epoch == last.block.epoch {
            Authority::Words(next.warrant().holds.clone())
        } else {
            Authority::Epoch(next)
        };
        steps.push(Step::Close { last: signed(end)?.bare(), opening: Box::new(opening), authority });
        if steps.len() >= MAX_STEPS {
            return Err(ProveError::TooLong);
        }
    }
}

fn bft_steps(
    group: &Group,
    bft: &Bft,
    (mut set, mut epoch): (SetNumber, Epoch),
    target: &Sealed,
) -> Result<Vec<Step>, ProveError> {
    let blocks = group.chain().blocks();
    let mut steps = Vec::new();
    loop {
        let end = last_of(blocks, set, target);
        let last = &blocks[end];
        if last.block.epoch > epoch {
            epoch = last.block.epoch;
            let first = &blocks[blocks.partition_point(|sealed| sealed.block.epoch < epoch)];
            let missing = ProveError::Missing(first.id);
            let sealers = first.switch.as_ref().map(|switch| &switch.sealers).ok_or(missing.clone())?;
            steps.push(Step::Votes(votes_for(group, &last.before, set, epoch, sealers).ok_or(missing)?));
        }
        if set == target.block.set {
            return Ok(steps);
        }
        let missing = ProveError::Missing(last.id);
        let certificate = bft.certificate(last.block.height).filter(|(height, _)| *height == last.block.height);
        let (_, certificate) = certificate.ok_or(missing.clone())?;
        let opening = Opening::of(group, last.block.height).ok_or(missing)?;
        let (last, opening) = (Box::new(last.block.clone()), Box::new(opening));
        steps.push(Step::Ended { last, opening, certificate: certificate.clone() });
        (set, epoch) = (SetNumber(set.0 + 1), Epoch(epoch.0 + 1));
        if steps.len() >= MAX_STEPS {
            return Err(ProveError::TooLong);
        }
    }
}

/// The changes with the votes of more than two thirds of the voters for an epoch, in the order of their keys.
fn votes_for(
    group: &Group,
    governance: &side_ledger::governance::Governance,
    set: SetNumber,
    epoch: Epoch,
    sealers: &[AuthorId],
) -> Option<Vec<Bytes>> {
    let mut votes: BTreeMap<AuthorId, Bytes> = BTreeMap::new();
    for (other, voter, position, vote) in group.ledger().sealers_votes(set) {
        if other != epoch || vote.sealers != sealers || !governance.voters.contains(&voter) {
            continue;
        }
        let change = group.replica().change(group.replica().index_of(&position.id)?);
        let good = verify(&voter, CHANGE_SIGNATURE_DOMAIN, &change.id().0, &change.signature());
        if good && change.bytes().len() <= MAX_SEALERS_VOTE_BYTES {
            votes.insert(voter, change.bytes().clone());
        }
    }
    let needed = side_ledger::governance::two_thirds(governance.voters.len());
    (votes.len() >= needed).then(|| votes.into_values().take(needed).collect())
}

/// The highest block, not below `least`, that enough voters hold; in BFT mode the last final one.
pub fn held_at(group: &Group, engine: &Engine, least: Height) -> Result<Height, ProveError> {
    let chain = group.chain();
    let lowest = chain.height().0.saturating_sub(MAX_LINKS as u64).max(least.0).max(1);
    let found = (lowest..=chain.height().0).rev().map(Height).find(|height| match engine {
        Engine::Leader(leader) => leader.is_held(group, *height),
        Engine::Bft(bft) => bft.certificate(*height).is_some_and(|(certified, _)| certified == *height),
    });
    found.ok_or_else(|| {
        let electorate = chain.at(least).map_or(chain.electorate(), |sealed| &sealed.electorate);
        let (voters, needed) = (electorate.voters.len(), electorate.quorum);
        ProveError::NotHeld { have: engine.holders(group, least), voters, needed }
    })
}

/// What shows that the block at a height is held, or final.
pub fn seal_of(group: &Group, engine: &Engine, height: Height) -> Result<Seal, ProveError> {
    let chain = group.chain();
    let sealed = chain.at(height).ok_or(ProveError::Missing(BlockId::origin(group.id())))?;
    let missing = ProveError::Missing(sealed.id);
    match engine {
        Engine::Bft(bft) => {
            let certificate = bft.certificate(height).filter(|(certified, _)| *certified == height);
            let (_, certificate) = certificate.ok_or(missing)?;
            Ok(Seal::Final { block: Box::new(sealed.block.clone()), certificate: certificate.clone() })
        }
        Engine::Leader(leader) => {
            let signed = leader.block(&sealed.id).ok_or(missing)?.bare();
            let top = height.0.saturating_add(MAX_LINKS as u64);
            let names_chain = |hold: &&Hold| {
                (height.0..=top).contains(&hold.rank.height.0)
                    && chain.at(hold.rank.height).is_some_and(|sealed| sealed.id == hold.block)
            };
            let voter = |hold: &&Hold| sealed.electorate.voters.binary_search(&hold.voter).is_ok();
            let holds: Vec<Hold> = leader.words().filter(voter).filter(names_chain).copied().collect();
            let last = holds.iter().map(|hold| hold.rank.height).max().unwrap_or(height);
            let links: Vec<Block> = (height.0 + 1..=last.0)
                .filter_map(|at| chain.at(Height(at)))
                .map(|sealed| sealed.block.clone())
                .collect();
            Ok(Seal::Held { signed, links, holds })
        }
    }
}
