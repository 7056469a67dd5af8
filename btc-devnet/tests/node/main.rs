//! The node as its users see it: mining, the mempool, reorganisations, restarts.

mod blocks;
mod mining;
mod properties;
mod reorg;
mod restart;
mod scripts;
mod support;
mod transactions;
