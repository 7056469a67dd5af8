//! The rules of a Side group: who founded it, what its transactions mean, in which order they stand, and what a block says.
//!
//! A group is one signed document ([`bft_json_crdt`]) with a [`genesis::Genesis`] before it and a [`ledger::Ledger`] upon it. Nothing here
//! has a clock, a socket, a file or a random source: time and entropy come in as arguments, effects go out as values.
//! `docs/protocol.md` fixes every byte format of this crate.
//!
//! - [`genesis`]: what a group is founded on; its hash is the group's id
//! - [`names`]: what members and groups may be called
//! - [`transaction`]: notes, name claims, transfers, votes, and whatever later kinds bring
//! - [`ledger`]: the transactions of all members in the one order, and who is called what
//! - [`group`]: genesis, replica and ledger, kept in step
//! - [`block`]: the format of a sealed cut of the history
//! - [`chain`]: blocks extend it, and what their transactions come to: [`accounts`], [`governance`], [`receipt`]s
//! - [`merkle`]: the trees that a state root covers
//! - [`proof`]: what stands in the state of a block, shown to somebody who holds no more than the block
//! - [`snapshot`]: the state of a block in pieces, for somebody who has not the history
//! - [`base64url`]: how bytes are written for people to paste
//! - [`invitation`]: everything that a newcomer needs, as one text; [`address`]: where a node is reached

pub mod accounts;
pub mod address;
pub mod base64url;
pub mod block;
pub mod chain;
pub mod genesis;
pub mod governance;
pub mod group;
pub mod invitation;
pub mod ledger;
pub mod merkle;
pub mod names;
pub mod proof;
pub mod receipt;
pub mod snapshot;
pub mod transaction;

pub use block::{Block, BlockId};
pub use chain::Chain;
pub use genesis::{Admission, Genesis, GroupId, GroupSpec, Limits, Rules, Sealing};
pub use group::{Admitter, Group, GroupError};
pub use invitation::Invitation;
pub use ledger::{Entry, Ledger, Position};
pub use names::Name;
pub use transaction::Transaction;
