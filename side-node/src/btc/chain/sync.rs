//! How one server's chain is followed, page by page. A value: it says what to ask, and takes the answer in.
//!
//! ```text
//!  Newest ──▶ its tip is ours ────────────────────────────────────────────▶ Done: on our chain, n behind
//!     │
//!     ├─▶ links to ours ─▶ checked ─▶ more work ─▶ (signet: Coinbase) ─▶ adopted ─▶ Page above … ─▶ Done
//!     │                        └─▶ less work, server at its tip ─▶ Done: on a fork
//!     └─▶ links lower down ─▶ Page below … (at most MAX_REORG)
//! ```

use bitcoin::block::{Header, Version};
use bitcoin::{BlockHash, CompactTarget, TxMerkleNode};
use serde::Deserialize;
use thiserror::Error;

use super::headers::{Adopted, Branch, HeaderChain, HeaderError};
use super::rules::Anchor;
use super::signet::{self, CoinbaseProof, SignetError};

/// Blocks on a page of Esplora's `/blocks`.
pub const PAGE: u32 = 10;
/// Deepest reorganisation that is followed: deeper than any swap waits; whatever shows a deeper one is another chain.
pub const MAX_REORG: u32 = 1_000;
/// How far below the tip a signed anchor lies: deeper than the confirmations that swaps wait for.
const SIGNED_ANCHOR_DEPTH: u32 = 100;
/// Headers between two solutions that are asked for on signets while catching up.
const SIGNET_STRIDE: usize = 500;

/// What the server is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `/blocks`: the newest page.
    Newest,
    /// `/blocks/:height`: the page that ends at this height.
    Page(u32),
    /// The coinbase of this block and its merkle branch: `/block/:hash/txid/0`, `/tx/:txid/raw`, `/tx/:txid/merkle-proof`.
    Coinbase(BlockHash),
}

/// What the server answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Ask::Newest`] and [`Ask::Page`]: the body.
    Page(Vec<Entry>),
    /// To [`Ask::Coinbase`].
    Coinbase(CoinbaseProof),
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask this.
    Ask(Ask),
    /// Nothing: this is where the server stands.
    Done(Standing),
}

/// Where a server stands beside the chain that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its tip is part of it.
    OnChain {
        /// Its tip.
        height: u32,
        /// How many blocks it lacks.
        behind: u32,
    },
    /// Its tip lies on a valid branch with no more work.
    OnFork {
        /// The last block that both have.
        shared: u32,
        /// Its tip.
        height: u32,
    },
}

/// Why a server's chain is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyncError {
    /// A page does not read.
    #[error("its page of blocks does not read: {0}")]
    Page(String),
    /// A page is not what was asked.
    #[error("its page of blocks does not end at the height asked for ({0})")]
    OtherPage(u32),
    /// A header is not valid.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A block is not signed by the network.
    #[error(transparent)]
    Signet(#[from] SignetError),
    /// No common block within reach.
    #[error(
        "its chain shares none of the last {MAX_REORG} blocks with the one that is known: another chain, or one that began anew"
    )]
    Unrelated,
    /// Its blocks changed between two answers. Ask again.
    #[error("its chain changed while it was read")]
    Moved,
    /// The answer fits no question.
    #[error("its answer fits no question")]
    Unasked,
}

/// A block on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its height, as the server says.
    pub height: u32,
    /// Its header, put together from the fields; its hash is the stated id.
    pub header: Header,
}

/// Reads a page of `/blocks` (newest first) into entries, oldest first, each naming the one before it.
pub fn read_page(body: &[u8]) -> Result<Vec<Entry>, SyncError> {
    #[derive(Deserialize)]
    struct Block {
        id: BlockHash,
        height: u32,
        version: i32,
        timestamp: u32,
        merkle_root: TxMerkleNode,
        previousblockhash: Option<BlockHash>,
        nonce: u32,
        bits: u32,
    }
    let blocks: Vec<Block> = serde_json::from_slice(body).map_err(|e| SyncError::Page(e.to_string()))?;
    if blocks.is_empty() || blocks.len() > PAGE as usize + 5 {
        return Err(SyncError::Page(format!("{} blocks on it", blocks.len())));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(blocks.len());
    for block in blocks.iter().rev() {
        let header = Header {
            version: Version::from_consensus(block.version),
            prev_blockhash: block.previousblockhash.unwrap_or_else(|| {
                use bitcoin::hashes::Hash as _;
                BlockHash::all_zeros()
            }),
            merkle_root: block.merkle_root,
            time: block.timestamp,
            bits: CompactTarget::from_consensus(block.bits),
            nonce: block.nonce,
        };
        let hash = header.block_hash();
        if hash != block.id {
            return Err(SyncError::Page(format!("block {} has another hash than its fields", block.height)));
        }
        if let Some(last) = entries.last()
            && (last.height.checked_add(1) != Some(block.height) || last.header.block_hash() != header.prev_blockhash)
        {
            return Err(SyncError::Page(format!("block {} does not follow the one before it", block.height)));
        }
        entries.push(Entry { height: block.height, header });
    }
    Ok(entries)
}

#[derive(Debug, Clone)]
enum State {
    /// Waiting for the newest page.
    Newest,
    /// Waiting for the page that ends here, to extend the branch, or to find the shared block below what is collected.
    Page(u32),
    /// Waiting for the coinbase of the branch's last block.
    Coinbase(BlockHash),
    Done(Standing),
}

/// One walk along one server's chain.
#[derive(Debug, Clone)]
pub struct HeaderSync {
    state: State,
    /// The server's tip, from its newest page.
    tip: Option<(u32, BlockHash)>,
    /// Its headers whose link to the chain is not found yet, oldest first.
    loose: Vec<Entry>,
    /// Checked headers that continue the chain.
    branch: Option<Branch>,
    adopted: Vec<Adopted>,
}

impl Default for HeaderSync {
    fn default() -> Self {
        Self { state: State::Newest, tip: None, loose: Vec::new(), branch: None, adopted: Vec::new() }
    }
}

impl HeaderSync {
    /// What to do next.
    pub fn next(&self) -> Next {
        match &self.state {
            State::Newest => Next::Ask(Ask::Newest),
            State::Page(height) => Next::Ask(Ask::Page(*height)),
            State::Coinbase(hash) => Next::Ask(Ask::Coinbase(*hash)),
            State::Done(standing) => Next::Done(*standing),
        }
    }

    /// The server's tip, once it is known.
    pub fn server_tip(&self) -> Option<u32> {
        self.tip.map(|(height, _)| height)
    }

    /// What was adopted since the last call: to be stored.
    pub fn take_adopted(&mut self) -> Vec<Adopted> {
        std::mem::take(&mut self.adopted)
    }

    /// Takes an answer in. After an error the walk is over.
    pub fn take(&mut self, chain: &mut HeaderChain, answer: Answer) -> Result<(), SyncError> {
        match (self.state.clone(), answer) {
            (State::Newest, Answer::Page(page)) => self.newest(chain, page),
            (State::Page(height), Answer::Page(page)) => {
                let last = page.last().ok_or_else(|| SyncError::Page("no blocks on it".into()))?;
                if last.height != height {
                    return Err(SyncError::OtherPage(height));
                }
                self.page(chain, page)
            }
            (State::Coinbase(_), Answer::Coinbase(proof)) => {
                let branch = self.branch.take().ok_or(SyncError::Unasked)?;
                let (Some(challenge), Some((height, _)), Some(header)) =
                    (chain.rules().challenge(), branch.tip(), branch.last())
                else {
                    return Err(SyncError::Unasked);
                };
                signet::verify(challenge, header, height, &proof)?;
                self.adopt(chain, branch)
            }
            _ => Err(SyncError::Unasked),
        }
    }

    fn newest(&mut self, chain: &mut HeaderChain, page: Vec<Entry>) -> Result<(), SyncError> {
        let last = page.last().ok_or_else(|| SyncError::Page("no blocks on it".into()))?;
        let tip = (last.height, last.header.block_hash());
        self.tip = Some(tip);
        let Some((own, _)) = chain.tip() else {
            return match chain.rules().anchor() {
                Anchor::Checkpoint { height, .. } if tip.0 < height => Err(HeaderError::Anchor { height }.into()),
                Anchor::Checkpoint { height, .. } => self.ask_page(height),
                Anchor::Signed if tip.0 > SIGNED_ANCHOR_DEPTH => self.ask_page(tip.0 - SIGNED_ANCHOR_DEPTH),
                _ => self.page(chain, page),
            };
        };
        if chain.hash(tip.0) == Some(tip.1) {
            self.state = State::Done(Standing::OnChain { height: tip.0, behind: own - tip.0 });
            return Ok(());
        }
        if page[0].height > own.saturating_add(1) {
            return self.ask_page((own + PAGE).min(tip.0));
        }
        self.page(chain, page)
    }

    fn ask_page(&mut self, height: u32) -> Result<(), SyncError> {
        self.state = State::Page(height);
        Ok(())
    }

    fn page(&mut self, chain: &mut HeaderChain, page: Vec<Entry>) -> Result<(), SyncError> {
        if let Some(mut branch) = self.branch.take() {
            // The page ends where it was asked to; what the branch has already is skipped.
            let from = branch.first() + branch.len() as u32;
            for entry in page.iter().filter(|entry| entry.height >= from) {
                branch.push(chain, entry.header).map_err(|error| match error {
                    HeaderError::Unlinked { .. } => SyncError::Moved,
                    other => other.into(),
                })?;
            }
            if branch.first() + branch.len() as u32 <= from {
                return Err(SyncError::OtherPage(from));
            }
            return self.go_on(chain, branch);
        }
        if chain.tip().is_none() {
            return self.anchor(chain, page);
        }
        if let Some(above) = self.loose.first() {
            let last = page.last().ok_or(SyncError::Unasked)?;
            if last.header.block_hash() != above.header.prev_blockhash {
                return Err(SyncError::Moved);
            }
        }
        let mut loose = page;
        loose.append(&mut self.loose);
        // The highest block that both have.
        let shared = loose.iter().rposition(|entry| chain.hash(entry.height) == Some(entry.header.block_hash()));
        let (after, fresh) = match shared {
            Some(at) => (loose[at].height, &loose[at + 1..]),
            None => {
                let lowest = loose.first().ok_or(SyncError::Unasked)?;
                let below = lowest.height.checked_sub(1);
                match below {
                    Some(below) if chain.hash(below) == Some(lowest.header.prev_blockhash) => (below, &loose[..]),
                    Some(below) if loose.len() < MAX_REORG as usize && below >= chain.first() => {
                        self.loose = loose;
                        return self.ask_page(below);
                    }
                    _ => return Err(SyncError::Unrelated),
                }
            }
        };
        let mut branch = chain.branch(Some(after));
        for entry in fresh {
            branch.push(chain, entry.header)?;
        }
        self.go_on(chain, branch)
    }

    /// The first headers of a chain that is not anchored in its first block.
    fn anchor(&mut self, chain: &mut HeaderChain, page: Vec<Entry>) -> Result<(), SyncError> {
        let from = match chain.rules().anchor() {
            Anchor::Checkpoint { height, hash } => page
                .iter()
                .position(|entry| entry.height == height && entry.header.block_hash() == hash)
                .ok_or(HeaderError::Anchor { height })?,
            _ => 0,
        };
        let entries = &page[from..];
        let first = entries.first().ok_or(SyncError::Unasked)?;
        let mut branch = chain.branch(first.height.checked_sub(1));
        for entry in entries {
            branch.push(chain, entry.header)?;
        }
        self.go_on(chain, branch)
    }

    /// With a checked branch: adopt it, or ask for more of it.
    fn go_on(&mut self, chain: &mut HeaderChain, branch: Branch) -> Result<(), SyncError> {
        let (Some((tip, _)), Some((height, hash))) = (self.tip, branch.tip()) else {
            // A server whose newest page ends inside of ours has no fresh headers.
            return self.settle(chain);
        };
        let more = height < tip;
        let outworks = chain.is_outworked_by(&branch);
        if outworks && chain.rules().challenge().is_some() {
            let owes = !more || branch.len() >= SIGNET_STRIDE;
            self.state = if owes { State::Coinbase(hash) } else { State::Page(height.saturating_add(PAGE).min(tip)) };
            self.branch = Some(branch);
            return Ok(());
        }
        if outworks {
            return self.adopt(chain, branch);
        }
        if more && branch.len() < 2 * MAX_REORG as usize {
            self.branch = Some(branch);
            return self.ask_page(height.saturating_add(PAGE).min(tip));
        }
        self.state = State::Done(Standing::OnFork { shared: branch.first().saturating_sub(1), height: tip });
        Ok(())
    }

    fn adopt(&mut self, chain: &mut HeaderChain, branch: Branch) -> Result<(), SyncError> {
        let adopted = chain.adopt(branch).map_err(|_| SyncError::Moved)?;
        self.adopted.push(adopted);
        self.settle(chain)
    }

    /// After the chain grew: is the server's tip reached?
    fn settle(&mut self, chain: &HeaderChain) -> Result<(), SyncError> {
        let (Some((tip, hash)), Some((own, _))) = (self.tip, chain.tip()) else { return Err(SyncError::Unasked) };
        if chain.hash(tip) == Some(hash) {
            self.state = State::Done(Standing::OnChain { height: tip, behind: own.saturating_sub(tip) });
            return Ok(());
        }
        if own < tip {
            return self.ask_page(own.saturating_add(PAGE).min(tip));
        }
        Err(SyncError::Moved)
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
