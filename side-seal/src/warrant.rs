//! What entitles a block to begin an epoch (votes) or a set of voters (words that its last block is held).
//!
//! A vote is a change of the group's document, so it is carried here as that change and judged by its signature alone. Which block an epoch continues from
//! follows from the votes: see [`start`].

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::CHANGE_SIGNATURE_DOMAIN;
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::verify::verify;
use bytes::Bytes;
use side_ledger::block::{BlockId, Epoch, Rank, Recovery};
use side_ledger::genesis::GroupId;
use side_ledger::governance::{Electorate, MAX_VOTERS};
use side_ledger::ledger::said_in;
use side_ledger::transaction::{HeldBlock, Known, SealersVote};
use thiserror::Error;

use crate::signed::{Hold, SignedError};

/// Most bytes of a change that counts as a vote beside a block, so that a warrant stays a message: a vote alone takes less than two thousand.
pub const MAX_VOTE_BYTES: usize = 4096;

/// What a block brings along. Empty for most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Warrant {
    /// The votes that an epoch starts from: encoded changes, in the order of their voters' keys.
    pub votes: Vec<Bytes>,
    /// The words of voters of the set before that they hold its last block, in the order of their keys.
    pub holds: Vec<Hold>,
}

/// Why a warrant does not entitle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WarrantFault {
    /// A vote is no change of this group with a good signature and such a vote in it.
    #[error("a vote is not one")]
    Vote,
    /// A voter is no elector of the set, or stands twice.
    #[error("a voter is no elector of the set, or is counted twice")]
    Elector,
    /// There are too few.
    #[error("there are {found} of the {needed} electors that it takes")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many it takes.
        needed: usize,
    },
    /// A word is about another block.
    #[error("a word is about another block")]
    OtherBlock,
}

impl Warrant {
    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.votes.len() as u64);
        self.votes.iter().for_each(|vote| out.put_blob(vote));
        out.put_varint(self.holds.len() as u64);
        self.holds.iter().for_each(|hold| hold.write(out));
    }

    /// Reads one. Votes are not looked at yet.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, SignedError> {
        let count = bounded(reader)?;
        let mut votes = Vec::with_capacity(count);
        for _ in 0..count {
            let vote = reader.blob()?;
            if vote.len() > MAX_VOTE_BYTES {
                return Err(DecodeError::Rule("a vote is too long").into());
            }
            votes.push(Bytes::copy_from_slice(vote));
        }
        let count = bounded(reader)?;
        let holds = (0..count).map(|_| Hold::read(reader)).collect::<Result<_, _>>()?;
        Ok(Self { votes, holds })
    }

    /// Checks the votes: all of electors of this set, each once, for one and the same epoch and sealers, and enough of them. Gives the sealers and
    /// the blocks that the votes name.
    pub fn check_votes(
        &self,
        document: DocumentId,
        electorate: &Electorate,
        recovery: Recovery,
        epoch: Epoch,
    ) -> Result<(Vec<AuthorId>, Vec<HeldBlock>), WarrantFault> {
        let mut sealers: Option<Vec<AuthorId>> = None;
        let votes = votes_in(
            &self.votes,
            document,
            |author| electorate.elects(author),
            |vote| {
                let fits = fits(vote, electorate, recovery, epoch, sealers.as_deref());
                if fits {
                    sealers = Some(vote.sealers.clone());
                }
                fits
            },
        )?;
        let sealers = sealers.filter(|_| votes.len() >= electorate.needed);
        let named = votes.into_iter().map(|vote| vote.highest).collect();
        sealers
            .map(|sealers| (sealers, named))
            .ok_or(WarrantFault::TooFew { found: self.votes.len(), needed: electorate.needed })
    }

    /// Checks the words: all of voters of the set that ended, each once, that they hold its last block, and more than two thirds of them.
    pub fn check_holds(
        &self,
        group: GroupId,
        electorate: &Electorate,
        rank: Rank,
        block: BlockId,
    ) -> Result<(), WarrantFault> {
        if self.holds.iter().any(|hold| (hold.group, hold.rank, hold.block) != (group, rank, block)) {
            return Err(WarrantFault::OtherBlock);
        }
        if !self.holds.iter().all(|hold| electorate.voters.binary_search(&hold.voter).is_ok())
            || !self.holds.windows(2).all(|pair| pair[0].voter < pair[1].voter)
        {
            return Err(WarrantFault::Elector);
        }
        let (found, needed) = (self.holds.len(), electorate.quorum);
        if found < needed { Err(WarrantFault::TooFew { found, needed }) } else { Ok(()) }
    }
}

/// The votes in changes that are carried beside a block, in the order of their authors' keys: each of this group, with a good signature, by somebody who `elects`, and with a vote that
/// `fits` in it.
pub(crate) fn votes_in(
    changes: &[Bytes],
    document: DocumentId,
    elects: impl Fn(&AuthorId) -> bool,
    mut fits: impl FnMut(&SealersVote) -> bool,
) -> Result<Vec<SealersVote>, WarrantFault> {
    let (mut votes, mut last): (Vec<SealersVote>, Option<AuthorId>) = (Vec::with_capacity(changes.len()), None);
    for bytes in changes {
        let change = Change::decode(bytes.clone()).map_err(|_| WarrantFault::Vote)?;
        let author = change.author();
        if !elects(&author) || last.is_some_and(|last| last >= author) {
            return Err(WarrantFault::Elector);
        }
        last = Some(author);
        if change.header().document != document
            || !verify(&author, CHANGE_SIGNATURE_DOMAIN, &change.id().0, &change.signature())
        {
            return Err(WarrantFault::Vote);
        }
        let vote = said_in(&change).into_iter().find_map(|(_, known)| match known {
            Known::SealersVote(vote) => fits(&vote).then_some(vote),
            _ => None,
        });
        votes.push(vote.ok_or(WarrantFault::Vote)?);
    }
    Ok(votes)
}

/// Whether a vote is for this epoch and, if some are given, these sealers. In leader mode one sealer is named.
fn fits(
    vote: &SealersVote,
    electorate: &Electorate,
    recovery: Recovery,
    epoch: Epoch,
    sealers: Option<&[AuthorId]>,
) -> bool {
    (vote.recovery, vote.set, vote.epoch) == (recovery, electorate.set, epoch)
        && vote.sealers.len() == 1
        && sealers.is_none_or(|sealers| vote.sealers == sealers)
}

fn bounded(reader: &mut Reader<'_>) -> Result<usize, SignedError> {
    let count = reader.count(1)?;
    if count > MAX_VOTERS {
        return Err(DecodeError::Rule("a warrant lists more than a set has voters").into());
    }
    Ok(count)
}

/// The block that an epoch continues from, given for each vote that names a block of the highest epoch among them the way there: the blocks after `base` up to the
/// named one. At every fork the way goes where more votes are, then to the lower id; it ends where nobody goes further.
///
/// Without a forked chain that is the highest block that the votes name. With one it still keeps every block that more than two thirds hold, as long as the
/// electors are honest: among q votes out of n - 1 electors more than half name it or a descendant.
pub fn start(base: BlockId, ways: &[Vec<BlockId>]) -> BlockId {
    let mut at = base;
    let mut going: Vec<&[BlockId]> = ways.iter().map(Vec::as_slice).collect();
    loop {
        let mut votes: BTreeMap<BlockId, usize> = BTreeMap::new();
        for way in &going {
            if let Some(next) = way.first() {
                *votes.entry(*next).or_default() += 1;
            }
        }
        let most = votes.values().copied().max();
        let Some((next, _)) = votes.into_iter().find(|(_, count)| Some(*count) == most) else { return at };
        going.retain(|way| way.first() == Some(&next));
        going.iter_mut().for_each(|way| *way = &way[1..]);
        at = next;
    }
}

/// The voters of a list of votes that are counted: those who gave one vote only.
pub fn single<'a, T>(votes: impl IntoIterator<Item = (AuthorId, &'a T)>) -> BTreeMap<AuthorId, &'a T>
where
    T: PartialEq,
{
    let (mut counted, mut double): (BTreeMap<AuthorId, &T>, BTreeSet<AuthorId>) = Default::default();
    for (voter, vote) in votes {
        if counted.insert(voter, vote).is_some_and(|before| before != vote) {
            double.insert(voter);
        }
    }
    counted.retain(|voter, _| !double.contains(voter));
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(ids: &[u8]) -> Vec<BlockId> {
        ids.iter().map(|id| BlockId([*id; 32])).collect()
    }

    fn from(ways: &[&[u8]]) -> u8 {
        start(BlockId([0; 32]), &ways.iter().map(|ids| way(ids)).collect::<Vec<_>>()).0[0]
    }

    #[test]
    fn an_epoch_starts_from_the_highest_named_block_and_at_a_fork_where_more_votes_are() {
        assert_eq!(from(&[]), 0);
        assert_eq!(from(&[&[], &[]]), 0);
        assert_eq!(from(&[&[1], &[1, 2, 3], &[]]), 3);
        // The sealer sealed 2 to two voters, and 9 with 8 on top of it to one: the higher block does not win.
        assert_eq!(from(&[&[1, 2], &[1, 2], &[1, 9, 8]]), 2);
        assert_eq!(from(&[&[1, 2], &[1, 9, 8], &[1, 9, 7]]), 7);
        assert_eq!(from(&[&[5], &[4]]), 4);
    }

    #[test]
    fn whoever_votes_twice_differently_is_not_counted() {
        let key = |seed: u8| bft_json_crdt::identity::Keypair::from_seed(&[seed; 32]).author();
        let counted = single([(key(1), &1), (key(2), &2), (key(1), &1), (key(2), &3)]);
        assert_eq!(counted, [(key(1), &1)].into());
    }
}
