//! What a server says of the chain, and what it must show before it is believed. No socket, no file, no clock: bytes in, verdicts out.
//!
//! ```text
//!  server ──page of headers──▶ sync ──▶ headers: linkage, proof of work, difficulty, most work ──▶ one chain for all servers
//!           └─ coinbase, on signets ──▶ signet: the challenge's solution                             │
//!  server ──transaction + merkle proof ───────────────▶ merkle: in this block? ──────────────▶ Confirmation: height, depth
//! ```
//! Rules:
//! - A number of confirmations exists only as a [`Confirmation`], which only [`HeaderChain::confirm`] makes.
//! - The chain that counts is the valid one with the most work, whichever server showed it. Where the others stand is a
//!   [`Standing`] each.
//! - The local clock decides nothing here: it may jump. Time is the chain's own median time past (BIP113).
//! - Memory is bounded whatever a server sends: headers are pruned from below and fetched again by hash where they are needed.
//!
//! - [`rules`]: what a network demands, and where its chain is anchored
//! - [`headers`]: the chain of headers, its branches and reorganisations
//! - [`difficulty`]: which difficulty a header must state
//! - [`signet`]: the solution of a signet's challenge (BIP325)
//! - [`merkle`]: whether a transaction is in a block
//! - [`sync`]: how a server's chain is followed, page by page
//! - [`agreement`]: what several servers have shown together, and who objects

pub mod agreement;
pub mod difficulty;
pub mod headers;
pub mod merkle;
pub mod rules;
pub mod signet;
pub mod sync;

pub use agreement::{Agreement, Fact, Fault, Objection, Report, Seen, agree};
pub use headers::{Adopted, Confirmation, HeaderChain, HeaderError, Unconfirmed};
pub use merkle::{InclusionProof, MerkleError};
pub use rules::{Anchor, Rules};
pub use signet::{CoinbaseProof, SignetError};
pub use sync::{Answer, Ask, Entry, HeaderSync, Next, Standing, SyncError};
