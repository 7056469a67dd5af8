//! Transactions that wait for a block.
//!
//! Transactions that spend from each other form a cluster. Each cluster is kept in its best order for mining, cut into chunks;
//! the chunks of all clusters stand in one list by fee rate. So the miner takes from its front, a full mempool gives up its end,
//! and a change costs what its clusters cost, never the whole mempool.

mod accept;
mod cluster;
mod diagram;
mod fees;
mod linearize;
mod package;
mod pool;
mod reorg;
mod replace;

pub(crate) use accept::Context;
pub(crate) use fees::RecentBlocks;
pub(crate) use pool::{Event, Mempool};
