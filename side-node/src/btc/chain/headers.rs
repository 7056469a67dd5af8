//! A chain of block headers from an anchor to a tip: linkage, proof of work, difficulty, time, most work, reorganisations.
//!
//! A header that was accepted here is worth its work, whoever sent it. Headers *below* the first one need no check but their hashes: the first
//! one names them.

use bitcoin::block::Header;
use bitcoin::{BlockHash, Target, Transaction, Work, constants};
use thiserror::Error;

use super::difficulty;
use super::merkle::{self, InclusionProof, MerkleError};
use super::rules::{Anchor, Rules};

/// Most headers that are kept, at 144 bytes each; the oldest go first and are fetched again, by hash, where one is needed.
pub const MAX_HEADERS: usize = 100_000;
/// How many are left after a pruning: several retargets and more than any swap's life.
const PRUNED_TO: usize = 50_000;
/// How many blocks the median time past looks at (BIP113).
const MEDIAN_SPAN: u32 = 11;

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It does not name the header before it.
    #[error("block {height} does not follow the block before it")]
    Unlinked {
        /// Its height.
        height: u32,
    },
    /// Its hash is above its own target.
    #[error("block {height} lacks the work that it states")]
    Work {
        /// Its height.
        height: u32,
    },
    /// It states another difficulty than the network's rules ask for.
    #[error("block {height} states a difficulty ({bits:#010x}) that the network's rules do not allow there")]
    Difficulty {
        /// Its height.
        height: u32,
        /// What it states.
        bits: u32,
    },
    /// Its time is not after the median of those before it.
    #[error("block {height} is not later than the median of the eleven before it")]
    Time {
        /// Its height.
        height: u32,
    },
    /// It is not the block that the network's anchor names.
    #[error("block {height} is not the one that this program knows at that height: this is another network")]
    Anchor {
        /// The anchor's height.
        height: u32,
    },
    /// There are no heights above.
    #[error("heights end at 2^32 - 1")]
    Height,
}

/// Why a transaction does not count as confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unconfirmed {
    /// The block's header is not held: above the tip, or below the first header that is kept.
    #[error("block {height} is not part of the chain that is known (blocks {first} to {tip})")]
    UnknownBlock {
        /// The height that the proof names.
        height: u32,
        /// The lowest height held.
        first: u32,
        /// The tip.
        tip: u32,
    },
    /// The branch does not prove it.
    #[error("block {height} does not hold the transaction: {error}")]
    Merkle {
        /// The height that the proof names.
        height: u32,
        /// Why.
        error: MerkleError,
    },
}

/// That a transaction is in a block of the chain. Only [`HeaderChain::confirm`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    height: u32,
    block: BlockHash,
    depth: u32,
}

impl Confirmation {
    /// The block's height.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The block.
    pub fn block(&self) -> BlockHash {
        self.block
    }

    /// How many blocks confirm it: 1 in the tip.
    pub fn depth(&self) -> u32 {
        self.depth
    }
}

/// A header with what is derived from it.
#[derive(Debug, Clone, Copy)]
struct Link {
    header: Header,
    hash: BlockHash,
    /// The work of all headers from the first one on, this one included.
    work: Work,
}

/// What adopting a branch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The height of the first header that is new.
    pub from: u32,
    /// How many headers it replaced: 0 if the chain only grew.
    pub replaced: u32,
}

/// The chain.
#[derive(Debug, Clone)]
pub struct HeaderChain {
    rules: Rules,
    /// The height of `links[0]`.
    first: u32,
    /// Invariant: each names the one before it.
    links: Vec<Link>,
}

/// Headers that continue a chain from some height on, checked against it, and not part of it yet.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The height of `links[0]`.
    first: u32,
    links: Vec<Link>,
}

impl HeaderChain {
    /// The chain of a network, as far as it is known without asking anybody: the first block, or nothing.
    pub fn new(rules: Rules) -> Self {
        let mut chain = Self { rules, first: 0, links: Vec::new() };
        if chain.rules.anchor() == Anchor::Genesis {
            let header = constants::genesis_block(chain.rules.network()).header;
            chain.links.push(Link { header, hash: header.block_hash(), work: header.work() });
        }
        chain
    }

    /// A chain out of a store of our own: `headers` from height `first` on. They are checked again, as a file may be damaged. On signets the
    /// solution of the last one was checked before it was stored.
    pub fn restore(rules: Rules, first: u32, headers: &[Header]) -> Result<Self, HeaderError> {
        let mut chain = Self { rules, first, links: Vec::new() };
        let mut branch = Branch { first, links: Vec::new() };
        for header in headers {
            branch.push(&chain, *header)?;
        }
        if let (Anchor::Genesis, Some(link)) = (chain.rules.anchor(), branch.links.first()) {
            let genesis = constants::genesis_block(chain.rules.network()).block_hash();
            if first == 0 && link.hash != genesis {
                return Err(HeaderError::Anchor { height: 0 });
            }
        }
        chain.links = branch.links;
        if chain.links.is_empty() { Ok(Self::new(chain.rules)) } else { Ok(chain) }
    }

    /// The network's rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Height and hash of the last block; none before the first contact with a network that is not anchored in its first block.
    pub fn tip(&self) -> Option<(u32, BlockHash)> {
        let last = self.links.last()?;
        Some((self.first + (self.links.len() - 1) as u32, last.hash))
    }

    /// The lowest height that is held.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// The header at a height.
    pub fn header(&self, height: u32) -> Option<&Header> {
        self.link(height).map(|link| &link.header)
    }

    /// The hash at a height.
    pub fn hash(&self, height: u32) -> Option<BlockHash> {
        self.link(height).map(|link| link.hash)
    }

    fn link(&self, height: u32) -> Option<&Link> {
        self.links.get(height.checked_sub(self.first)? as usize)
    }

    /// The median time past of the block at `height` (BIP113), in seconds since 1970: what a time lock is compared with in the next block. It
    /// looks at fewer blocks near the first one held.
    pub fn median_time_past(&self, height: u32) -> Option<u32> {
        median(height, |at| self.header(at).copied())
    }

    /// Starts a branch after the block at `after`, or, with nothing held yet, with the block after that.
    pub fn branch(&self, after: Option<u32>) -> Branch {
        Branch { first: after.map_or(0, |height| height.saturating_add(1)), links: Vec::new() }
    }

    /// Takes a branch over if it has more work than what it would replace; gives it back otherwise.
    ///
    /// On signets the caller has checked the solution of its last block.
    pub fn adopt(&mut self, branch: Branch) -> Result<Adopted, Branch> {
        if branch.links.is_empty() || !self.is_outworked_by(&branch) {
            return Err(branch);
        }
        // Another server's walk may have changed the chain since this branch was begun.
        let parent = branch.first.checked_sub(1).and_then(|before| self.hash(before));
        if !self.links.is_empty() && parent != Some(branch.links[0].header.prev_blockhash) {
            return Err(branch);
        }
        if self.links.is_empty() {
            self.first = branch.first;
            self.links = branch.links;
            return Ok(Adopted { from: self.first, replaced: 0 });
        }
        let kept = (branch.first - self.first) as usize;
        let replaced = (self.links.len() - kept) as u32;
        let from = branch.first;
        self.links.truncate(kept);
        self.links.extend(branch.links);
        if self.links.len() > MAX_HEADERS {
            let dropped = self.links.len() - PRUNED_TO;
            self.links.drain(..dropped);
            self.first += dropped as u32;
        }
        Ok(Adopted { from, replaced })
    }

    /// Whether a branch has more work than the part of the chain that it would replace. Of two equals the one that came first stays, as in Core.
    pub fn is_outworked_by(&self, branch: &Branch) -> bool {
        match (self.links.last(), branch.links.last()) {
            (Some(own), Some(other)) => other.work > own.work,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// Adds headers below the first one, the highest first. They are genuine because the header above names them.
    pub fn extend_down(&mut self, headers: impl IntoIterator<Item = Header>) -> Result<(), HeaderError> {
        let mut below = Vec::new();
        let Some(mut above) = self.links.first().map(|link| link.header) else { return Ok(()) };
        let mut height = self.first;
        for header in headers {
            height = height.checked_sub(1).ok_or(HeaderError::Height)?;
            let hash = header.block_hash();
            if above.prev_blockhash != hash {
                return Err(HeaderError::Unlinked { height: height + 1 });
            }
            below.push(Link { header, hash, work: header.work() });
            above = header;
        }
        below.reverse();
        // Works are sums from the first header on: all of them move up by the same amount.
        let mut sum: Option<Work> = None;
        for link in below.iter_mut().chain(&mut self.links) {
            let own = link.header.work();
            let total = sum.map_or(own, |sum| sum + own);
            link.work = total;
            sum = Some(total);
        }
        below.append(&mut self.links);
        self.links = below;
        self.first = height;
        Ok(())
    }

    /// Makes a confirmation out of a proof, if the proof is good.
    pub fn confirm(&self, tx: &Transaction, proof: &InclusionProof) -> Result<Confirmation, Unconfirmed> {
        let tip = self.tip().map_or(0, |(height, _)| height);
        let Some(link) = self.link(proof.height) else {
            return Err(Unconfirmed::UnknownBlock { height: proof.height, first: self.first, tip });
        };
        merkle::verify(tx, proof, link.header.merkle_root)
            .map_err(|error| Unconfirmed::Merkle { height: proof.height, error })?;
        Ok(Confirmation { height: proof.height, block: link.hash, depth: tip - proof.height + 1 })
    }

    /// The headers from a height on, for a store.
    pub fn headers_from(&self, height: u32) -> impl Iterator<Item = &Header> {
        let at = height.saturating_sub(self.first) as usize;
        self.links.iter().skip(at).map(|link| &link.header)
    }
}

impl Branch {
    /// Checks a header and adds it.
    pub fn push(&mut self, chain: &HeaderChain, header: Header) -> Result<(), HeaderError> {
        let height =
            u32::try_from(self.links.len()).ok().and_then(|n| self.first.checked_add(n)).ok_or(HeaderError::Height)?;
        let hash = header.block_hash();
        let target = header.target();
        if target == Target::ZERO || !target.is_met_by(hash) {
            return Err(HeaderError::Work { height });
        }
        let last = match self.links.last() {
            Some(last) => Some(*last),
            None => self.first.checked_sub(1).and_then(|before| chain.link(before).copied()),
        };
        let work = match last {
            Some(last) => {
                if header.prev_blockhash != last.hash {
                    return Err(HeaderError::Unlinked { height });
                }
                let lookup = |at: u32| match at.checked_sub(self.first) {
                    Some(nth) => self.links.get(nth as usize).map(|link| link.header),
                    None => chain.header(at).copied(),
                };
                let required = difficulty::required(&chain.rules, height - 1, &header, lookup);
                if !required.is_some_and(|required| required.allows(header.bits)) {
                    return Err(HeaderError::Difficulty { height, bits: header.bits.to_consensus() });
                }
                // The rule needs the eleven before; right after an anchor fewer are known, and their median may be too late.
                let whole = lookup(height.saturating_sub(MEDIAN_SPAN)).is_some();
                if whole && median(height - 1, lookup).is_some_and(|median| header.time <= median) {
                    return Err(HeaderError::Time { height });
                }
                last.work + header.work()
            }
            // The first one of all: an anchor.
            None => {
                if target > chain.rules.params().max_attainable_target {
                    return Err(HeaderError::Difficulty { height, bits: header.bits.to_consensus() });
                }
                header.work()
            }
        };
        self.links.push(Link { header, hash, work });
        Ok(())
    }

    /// Height and hash of its last block.
    pub fn tip(&self) -> Option<(u32, BlockHash)> {
        let last = self.links.last()?;
        Some((self.first + (self.links.len() - 1) as u32, last.hash))
    }

    /// The last header.
    pub fn last(&self) -> Option<&Header> {
        self.links.last().map(|link| &link.header)
    }

    /// How many headers it has.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The height that its first header has, or would have.
    pub fn first(&self) -> u32 {
        self.first
    }
}

fn median(height: u32, header: impl Fn(u32) -> Option<Header>) -> Option<u32> {
    let mut times = [0u32; MEDIAN_SPAN as usize];
    let mut count = 0;
    for back in 0..MEDIAN_SPAN {
        let Some(header) = height.checked_sub(back).and_then(&header) else { break };
        times[count] = header.time;
        count += 1;
    }
    let times = &mut times[..count];
    times.sort_unstable();
    times.get(count / 2).copied()
}

#[cfg(test)]
pub(super) mod tests {
    use bitcoin::hashes::Hash as _;
    use bitcoin::{CompactTarget, Network, TxMerkleNode, block};

    use super::*;
    use crate::btc::chain::merkle::tests::{branch as merkle_branch, leaves, transaction};

    /// Mines a header at regtest's difficulty; `salt` tells branches apart.
    pub(in super::super) fn mine(previous: &Header, spacing: u32, salt: u8) -> Header {
        mine_root(previous, spacing, TxMerkleNode::from_byte_array([salt; 32]))
    }

    pub(in super::super) fn mine_root(previous: &Header, spacing: u32, merkle_root: TxMerkleNode) -> Header {
        let mut header = Header {
            version: block::Version::TWO,
            prev_blockhash: previous.block_hash(),
            merkle_root,
            time: previous.time + spacing,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        while !header.target().is_met_by(header.block_hash()) {
            header.nonce += 1;
        }
        header
    }

    pub(in super::super) fn genesis() -> Header {
        constants::genesis_block(Network::Regtest).header
    }

    pub(in super::super) fn run(from: &Header, count: usize, salt: u8) -> Vec<Header> {
        let mut headers = Vec::new();
        let mut last = *from;
        for _ in 0..count {
            last = mine(&last, 600, salt);
            headers.push(last);
        }
        headers
    }

    fn chain_of(headers: &[Header]) -> HeaderChain {
        let mut chain = HeaderChain::new(Rules::new(Network::Regtest));
        extend(&mut chain, 0, headers).unwrap().unwrap();
        chain
    }

    fn extend(chain: &mut HeaderChain, after: u32, headers: &[Header]) -> Result<Option<Adopted>, HeaderError> {
        let mut branch = chain.branch(Some(after));
        for header in headers {
            branch.push(chain, *header)?;
        }
        Ok(chain.adopt(branch).ok())
    }

    #[test]
    fn a_chain_grows_and_counts_heights() {
        let headers = run(&genesis(), 20, 1);
        let chain = chain_of(&headers);
        assert_eq!(chain.tip(), Some((20, headers[19].block_hash())));
        assert_eq!(chain.header(1), Some(&headers[0]));
        assert_eq!(chain.header(21), None);
        // Eleven blocks of 600 s: the median is the sixth from the end.
        assert_eq!(chain.median_time_past(20), Some(headers[14].time));
        assert_eq!(chain.median_time_past(0), Some(genesis().time));
    }

    #[test]
    fn a_branch_with_more_work_replaces_and_one_with_as_much_does_not() {
        let headers = run(&genesis(), 10, 1);
        let mut chain = chain_of(&headers);
        let other = run(&headers[6], 4, 2);
        assert_eq!(extend(&mut chain, 7, &other[..3]), Ok(None), "as much work");
        assert_eq!(extend(&mut chain, 7, &other), Ok(Some(Adopted { from: 8, replaced: 3 })));
        assert_eq!(chain.tip(), Some((11, other[3].block_hash())));
        assert_eq!(chain.hash(7), Some(headers[6].block_hash()));
    }

    #[test]
    fn forged_headers_are_named() {
        let headers = run(&genesis(), 12, 1);
        let mut chain = chain_of(&headers);
        let mut check = |change: &dyn Fn(&mut Header), remine: bool| {
            let mut header = mine(&headers[11], 600, 1);
            change(&mut header);
            while remine && !header.target().is_met_by(header.block_hash()) {
                header.nonce = header.nonce.wrapping_add(1);
            }
            extend(&mut chain, 12, &[header]).unwrap_err()
        };
        assert_eq!(check(&|h| h.prev_blockhash = headers[10].block_hash(), true), HeaderError::Unlinked { height: 13 });
        let idle = |h: &mut Header| {
            while h.target().is_met_by(h.block_hash()) {
                h.nonce += 1;
            }
        };
        assert_eq!(check(&idle, false), HeaderError::Work { height: 13 });
        assert_eq!(
            check(&|h| h.bits = CompactTarget::from_consensus(0x207f_fffe), true),
            HeaderError::Difficulty { height: 13, bits: 0x207f_fffe }
        );
        assert_eq!(check(&|h| h.bits = CompactTarget::from_consensus(0), false), HeaderError::Work { height: 13 });
        assert_eq!(check(&|h| h.time = headers[6].time, true), HeaderError::Time { height: 13 });
    }

    #[test]
    fn confirmations_need_the_header_and_the_branch() {
        let transactions: Vec<Transaction> = (0..5).map(transaction).collect();
        let leaves = leaves(&transactions);
        let root = bitcoin::merkle_tree::calculate_root(leaves.iter().copied()).unwrap();
        let mut headers = run(&genesis(), 3, 1);
        headers.push(mine_root(&headers[2], 600, root));
        headers.extend(run(&headers[3].clone(), 2, 1));
        let chain = chain_of(&headers);
        let mut proof = InclusionProof { height: 4, position: 2, branch: merkle_branch(&leaves, 2) };
        let confirmation = chain.confirm(&transactions[2], &proof).unwrap();
        assert_eq!(
            (confirmation.height(), confirmation.depth(), confirmation.block()),
            (4, 3, headers[3].block_hash())
        );
        assert!(matches!(
            chain.confirm(&transactions[1], &proof),
            Err(Unconfirmed::Merkle { height: 4, error: MerkleError::OtherRoot })
        ));
        proof.height = 3;
        assert!(matches!(chain.confirm(&transactions[2], &proof), Err(Unconfirmed::Merkle { height: 3, .. })));
        proof.height = 7;
        assert_eq!(
            chain.confirm(&transactions[2], &proof),
            Err(Unconfirmed::UnknownBlock { height: 7, first: 0, tip: 6 })
        );
    }

    #[test]
    fn a_stored_chain_reads_back_and_a_damaged_one_does_not() {
        let headers = run(&genesis(), 30, 1);
        let chain = chain_of(&headers);
        let stored: Vec<Header> = chain.headers_from(0).copied().collect();
        let rules = || Rules::new(Network::Regtest);
        let restored = HeaderChain::restore(rules(), 0, &stored).unwrap();
        assert_eq!(restored.tip(), chain.tip());
        // A pruned one begins anywhere.
        let restored = HeaderChain::restore(rules(), 9, &stored[9..]).unwrap();
        assert_eq!((restored.first(), restored.tip()), (9, chain.tip()));
        let mut damaged = stored.clone();
        damaged[15].time += 1;
        assert!(HeaderChain::restore(rules(), 0, &damaged).is_err());
        assert_eq!(HeaderChain::restore(rules(), 0, &stored[1..]).err(), Some(HeaderError::Anchor { height: 0 }));
    }

    #[test]
    fn headers_below_the_first_are_genuine_by_their_hashes() {
        let headers = run(&genesis(), 30, 1);
        let mut chain = HeaderChain::restore(Rules::new(Network::Regtest), 20, &headers[19..]).unwrap();
        let down = |from: usize, to: usize| headers[to..from].iter().rev().copied();
        assert_eq!(chain.extend_down([mine(&headers[17], 600, 2)]), Err(HeaderError::Unlinked { height: 20 }));
        chain.extend_down(down(19, 4)).unwrap();
        assert_eq!((chain.first(), chain.hash(5)), (5, Some(headers[4].block_hash())));
        // The works are sums over more headers now: a branch is still compared rightly.
        let other = run(&headers[27], 3, 2);
        assert_eq!(extend(&mut chain, 28, &other[..2]), Ok(None));
        assert_eq!(extend(&mut chain, 28, &other), Ok(Some(Adopted { from: 29, replaced: 2 })));
    }

    /// Two servers are asked at once: the chain may change while a branch grows beside it.
    #[test]
    fn a_branch_whose_parent_is_gone_is_not_adopted() {
        let headers = run(&genesis(), 10, 1);
        let mut chain = chain_of(&headers);
        let mut late = chain.branch(Some(10));
        for header in run(&headers[9], 9, 1) {
            late.push(&chain, header).unwrap();
        }
        extend(&mut chain, 7, &run(&headers[6], 5, 2)).unwrap().unwrap();
        let tip = chain.tip();
        assert!(chain.adopt(late).is_err());
        assert_eq!(chain.tip(), tip);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let links = |count: usize| {
            let header = genesis();
            let link = Link { header, hash: header.block_hash(), work: header.work() };
            vec![link; count]
        };
        let mut chain = HeaderChain { rules: Rules::new(Network::Regtest), first: 0, links: links(MAX_HEADERS) };
        let tip = *chain.header(0).unwrap();
        let mut branch = chain.branch(Some(MAX_HEADERS as u32 - 1));
        let next = mine(&tip, 600, 1);
        // Work that exceeds the made-up sums.
        branch.links = vec![Link { header: next, hash: next.block_hash(), work: tip.work() + tip.work() }];
        chain.adopt(branch).unwrap();
        assert_eq!(chain.links.len(), PRUNED_TO);
        assert_eq!(chain.tip().unwrap().0, MAX_HEADERS as u32);
    }
}
