//! What can go wrong in a node apart from a transaction that is refused.

use bitcoin::{Amount, BlockHash};

use super::Rejection;

/// Why a command of a `Node` failed. Nothing has changed then, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be created, read or locked.
    #[error("state directory {path}: {source}")]
    Directory {
        /// The directory that was tried.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has this state directory open.
    #[error("state directory {0} is in use by another process; stop it, or give another directory")]
    InUse(String),
    /// Bitcoin Core's library failed, not because of a block but because of the disk or its databases.
    #[error("Bitcoin Core's kernel: {0}")]
    Kernel(String),
    /// A block breaks a consensus rule. The chain is where it was.
    #[error("block {hash} refused: {rejection}")]
    InvalidBlock {
        /// The block that was refused.
        hash: BlockHash,
        /// Core's words for it.
        rejection: Rejection,
    },
    /// The block does not extend anything that this node knows.
    #[error("block {0} refused: its parent is not known")]
    UnknownParent(BlockHash),
    /// The block is valid, but its branch has no more work than the chain, so it is kept aside.
    #[error("block {0} is valid but not part of the best chain")]
    NotBest(BlockHash),
    /// Core refuses block times more than two hours ahead of the system's clock, so the chain's clock stops there.
    #[error(
        "the chain's clock cannot be {wanted}: the latest time that Bitcoin Core accepts now is {latest}; \
         open the chain with an earlier start time to have room"
    )]
    TooFarAhead {
        /// The time asked for, in seconds since 1970.
        wanted: u32,
        /// The latest block time allowed now.
        latest: u32,
    },
    /// A block's time must be later than the median of the eleven before it.
    #[error("the chain's clock cannot be {wanted}: blocks must be later than {earliest}, the median time past")]
    TooFarBack {
        /// The time asked for, in seconds since 1970.
        wanted: u32,
        /// The median time past of the tip.
        earliest: u32,
    },
    /// A reorganisation must leave the genesis block and end in more work than it drops.
    #[error("cannot replace {depth} blocks by {new_length} at height {height}: {why}")]
    Reorg {
        /// Blocks to drop.
        depth: u32,
        /// Blocks to put in their place.
        new_length: u32,
        /// Height of the chain now.
        height: u32,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// More blocks were asked for than one command mines.
    #[error("{asked} blocks are too many for one command; at most {most}")]
    TooManyBlocks {
        /// Blocks asked for.
        asked: u32,
        /// The limit.
        most: u32,
    },
    /// The faucet has not enough mature coins.
    #[error("the faucet holds {available}, not enough for {wanted} and a fee; mine some blocks to it first")]
    FaucetEmpty {
        /// Amount asked for.
        wanted: Amount,
        /// What it could spend now.
        available: Amount,
    },
    /// A transaction was refused by the mempool (the faucet's own ones are subject to the same rules).
    #[error(transparent)]
    Rejected(#[from] Rejection),
}
