//! Hash time locked contracts (HTLCs): terms, scripts, transactions, and the life of a swap as a state machine.
//!
//! A payer locks coins at a script with two ways out: the payee takes them with a preimage that the payer wants to learn, or, from a height
//! on, the payer takes them back. Nothing here has a clock, a socket, a file or a random source: entropy, heights and what servers say
//! come in as arguments; transactions and words go out as values.
//!
//! - [`secrets`]: payment hash, preimage and spending key; secrets are never printed and wiped when dropped
//! - [`margins`]: how many blocks and what fees safety takes, as named constants with their reasons
//! - [`terms`]: what the two parties agree on, checked at the door
//! - [`script`]: the lock's script, which both parties derive from the terms on their own
//! - [`transactions`]: claim and refund, their weight, fees and signatures
//! - [`witness`]: what a spend of the lock says: which branch it took, and the preimage
//! - [`swap`]: one swap's life as a state machine: events in, durable state and effects out
//! - [`atomic`]: an atomic swap between two chains, from two of them

pub mod atomic;
pub mod margins;
pub mod script;
pub mod secrets;
pub mod swap;
pub mod terms;
pub mod transactions;
pub mod witness;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod sim;
