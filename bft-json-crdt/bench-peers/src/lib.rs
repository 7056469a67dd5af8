//! bft-json-crdt beside the fast CRDTs that trust their peers. Programs: `peers` (the table), `curves` (cost against size), `agree` (diamond-types as
//! an oracle for text).
//!
//! ```text
//! measure   CPU time over all threads, peak heap       trace, generate   what is played: recordings, or such as them
//! engine    what every engine does                     engines           ours, diamond-types, loro, yrs, automerge, cola
//! sync      a few missing changes in a long history
//! ```

pub mod engine;
pub mod engines;
pub mod generate;
pub mod measure;
pub mod sync;
pub mod trace;

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;
