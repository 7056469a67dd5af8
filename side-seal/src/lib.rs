//! Who seals the blocks of a Side group, and how the voters replace whoever does.
//!
//! *Leader mode*: one sealer makes a block when its interval has passed and something is new. It is trusted for order and liveness, not for content:
//! every node executes what it seals and accepts a block only if it comes to the same. It promises detection, not prevention: two blocks of one rank
//! under one signature are a proof that every node keeps, shows and stops on. A block is *sealed*, with the number of voters who hold it; nothing is
//! final in this mode.
//!
//! *BFT mode*: four or more sealers agree on each block with simplex. A block is *final* once they have, with a certificate that anybody can check.
//!
//! Nothing here has a clock, a socket, a file or a random source: events and the time go in, effects come out, to be carried out in their order.
//! `docs/protocol.md`, section "Sealing", fixes the bytes and the rules.
//!
//! - [`engine`]: one interface over both modes
//! - [`effect`]: what engines give: effects, events, records, refusals
//! - [`message`]: what nodes tell one another
//! - [`leader`]: the engine of the leader mode
//! - [`signed`], [`warrant`]: its blocks under a signature, words of voters, proofs of double sealing; what entitles a block to begin an epoch or a set
//! - [`bft`]: the engine of the BFT mode, its certificates and evidence
//! - [`certificate`]: what shows that a block is the group's to somebody who holds no other
//! - [`bundle`]: a proof of a transaction that needs nothing beside it
//! - [`newcomer`]: how somebody without the history comes to the state of a block

pub mod bft;
pub mod bundle;
pub mod certificate;
pub mod effect;
pub mod engine;
pub mod leader;
pub mod message;
pub mod newcomer;
pub mod signed;
pub mod warrant;

pub use bft::Bft;
pub use bundle::Bundle;
pub use effect::{Effect, Event, Record};
pub use engine::Engine;
pub use leader::Leader;
pub use message::Message;
pub use signed::{DoubleSeal, Hold, SignedBlock};
pub use warrant::Warrant;
