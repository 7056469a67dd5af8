//! A signed JSON CRDT that stays correct when members lie.
//!
//! Members sign *changes* (transactions of operations) to one shared JSON document, offline if need be. Replicas that hold the same set
//! of changes show the same document, byte for byte, whatever the order of arrival and whoever lies. `docs/protocol.md` fixes the
//! bytes and the merge rules; this crate is sans-IO: no clock, socket, file or random source inside.

pub mod causality;
pub mod change;
mod clock;
pub mod dag;
pub mod document;
pub mod encoding;
pub mod evidence;
pub mod hash;
pub mod identity;
pub mod ops;
pub mod replica;
pub mod sync;
pub mod value;
pub mod verify;
