//! What the agreement (simplex, wherever it runs) asks of the member, and what it is answered.

use side_ledger::block::{BlockId, Epoch};

use super::certificate::Certificate;
use super::evidence::Evidence;

/// Names a question, so that the answer finds back. Whoever asks numbers upwards; a later question of the same kind replaces what has become void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What is asked or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// This node leads a view: it is to name the block that follows `parent`, or `parent` again if nothing is new.
    Propose {
        /// Whose answer it is.
        ticket: Ticket,
        /// The epoch.
        epoch: Epoch,
        /// The block to build upon.
        parent: BlockId,
    },
    /// Whether this node votes for `block` as what follows `parent`.
    Verify {
        /// Whose answer it is.
        ticket: Ticket,
        /// The epoch.
        epoch: Epoch,
        /// The block that it builds upon.
        parent: BlockId,
        /// The block.
        block: BlockId,
    },
    /// The block is to be shown to the other sealers (again).
    Relay {
        /// The block.
        block: BlockId,
    },
    /// A block, and all before it, is final.
    Finalized(Certificate),
    /// A sealer voted against itself.
    Offence(Evidence),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The block to propose.
    Propose(Ticket, BlockId),
    /// Whether to vote for the block.
    Verify(Ticket, bool),
    /// Nobody asked: another sealer has shown that this is final, and simplex may go on from there.
    Final(Certificate),
}
