//! The node as its users see it: mining, the mempool, reorganisations, restarts.

mod mining;
mod support;
