//! Script verification by the rules of relay, which are stricter than consensus.
//!
//! Bitcoin Core's library checks scripts by consensus flags only, so a mempool that keeps Core's policy (clean stack, low S,
//! minimal pushes, and so on) needs an interpreter of its own. This one knows every flag of Core and names each failure in
//! Core's words. It never decides alone: whatever it lets pass is checked again by Core's own code.
//!
//! Follows BIP16, BIP62, BIP65, BIP66, BIP112, BIP141, BIP143, BIP146, BIP147, BIP341 and BIP342.

mod checker;
mod error;
mod flags;
mod interpreter;
mod multisig;
mod number;
pub(crate) mod reader;
mod signature;
mod verify;

#[cfg(test)]
mod tests;

pub(crate) use checker::{NoSignatures, SignatureChecker, TransactionChecker};
pub(crate) use error::ScriptError;
pub(crate) use flags::Flags;
pub(crate) use interpreter::{Execution, SigVersion, evaluate};
pub(crate) use verify::verify_transaction;

/// The most bytes that one stack element or push may have.
pub(crate) const MAX_ELEMENT_SIZE: usize = 520;
/// The most operations (beyond pushes) that a script before tapscript may have.
pub(crate) const MAX_OPS: usize = 201;
/// The most keys of one OP_CHECKMULTISIG.
pub(crate) const MAX_MULTISIG_KEYS: i64 = 20;
/// The most bytes that a script before tapscript may have.
pub(crate) const MAX_SCRIPT_SIZE: usize = 10_000;
/// The most elements on both stacks together.
pub(crate) const MAX_STACK_SIZE: usize = 1_000;
