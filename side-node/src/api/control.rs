//! What a node can be asked, and the bounds of asking: the verbs behind the API's paths ([`super::routes`]) and the console's commands.
//!
//! The API is HTTP over the Unix socket in the node's folder. The socket has mode 0600 in a folder of mode 0700: whoever reaches it is the user that
//! owns the key, so there is no further authentication.

use std::path::PathBuf;
use std::time::Duration;

use bft_json_crdt::replica::Incoming;
use serde::{Deserialize, Serialize};

use crate::daemon::exchange::Cursor;
use crate::daemon::groups::GroupAction;
use crate::error::CommandError;

/// Most bytes of a request's body, but for an import: the longest note, each character escaped in JSON, and room for what is around it.
pub const MAX_REQUEST_BYTES: usize = 6 * side_ledger::transaction::MAX_NOTE_BYTES + 4096;
/// Most bytes of an answer that a client takes: a history of a million notes.
pub const MAX_RESPONSE_BYTES: usize = 1 << 30;
/// How many blocks are answered where it is not said how many.
pub const DEFAULT_BLOCKS: u64 = 20;
/// Most connections at once: shells and scripts of one user. Further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 32;
/// How long a glance waits for something new: less than a client waits for an answer.
pub const MAX_GLANCE_WAIT: Duration = Duration::from_secs(25);

/// What to do when a node stopped between taking a request that writes and answering it.
pub const UNKNOWN_OUTCOME: &str =
    "it may have been written all the same: look at side-node history before you repeat it";

/// The verbs, the same ones that the console has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Write a note; answered once it is on disk, with [`crate::daemon::view::Accepted`].
    Note {
        /// The text.
        text: String,
    },
    /// The history, or its last entries; answered with [`crate::daemon::view::History`].
    History {
        /// How many entries at most; all if absent.
        limit: Option<u64>,
    },
    /// Answered with [`crate::daemon::view::Status`].
    Status,
    /// Answered with [`crate::daemon::view::Peers`].
    Peers,
    /// Who belongs to the group; answered with [`crate::daemon::roll::Roll`].
    Members,
    /// The block that a newcomer may start from; answered with a [`crate::daemon::roll::Mark`], or null before there is one.
    Checkpoint,
    /// Say something about a swap; answered once it is on disk, with [`crate::daemon::view::Accepted`].
    Swap {
        /// `swap.offer`, `swap.accept`, `swap.funded` or `swap.cancel`.
        kind: String,
        /// The body (docs/protocol.md, section 10.1).
        body: serde_json::Value,
    },
    /// What was said about swaps by this node or to it; answered with [`crate::daemon::view::Swaps`].
    Swaps,
    /// Give some of the group's unit to a key; answered once it is on disk, with [`crate::daemon::view::Accepted`].
    Send {
        /// Whom: a local name, a name in the group, a key or the beginning of one.
        to: String,
        /// How much, in the smallest unit.
        amount: u64,
    },
    /// Vote; answered once it is on disk, with [`crate::daemon::view::Accepted`].
    Vote {
        /// On what, and how.
        ballot: Ballot,
    },
    /// The last blocks; answered with [`crate::daemon::view::Blocks`].
    Blocks {
        /// How many at most.
        limit: u64,
    },
    /// Who owns what; answered with [`crate::daemon::view::Balances`].
    Balance,
    /// Prove what became of a transaction; answered with [`crate::daemon::view::Proven`].
    Proof {
        /// The id of its change, or the beginning of it; its place in the history does as well.
        transaction: String,
        /// The height of a block that whoever checks it trusts; the genesis if absent.
        from: Option<u64>,
    },
    /// The group at a glance; answered with [`crate::daemon::glance::Glance`].
    Glance {
        /// Wait until it has another revision than this, for at most [`MAX_GLANCE_WAIT`]; answer at once if absent.
        unlike: Option<u64>,
    },
    /// Write a copy of the node's database to a new file, for a backup; answered with null once it is written.
    Backup {
        /// The file.
        to: PathBuf,
    },
    /// What has happened in the group since; answered with [`crate::daemon::exchange::Events`].
    Events {
        /// Where the follower stands; nothing at the beginning.
        cursor: Option<Cursor>,
        /// At the beginning: the number of the first change that is told.
        from: Option<u64>,
        /// At the beginning: the height above which blocks are told.
        height: Option<u64>,
    },
    /// Some of the signed changes, as lines of an export; answered with [`crate::daemon::exchange::Page`].
    Changes {
        /// The number of the first one.
        from: u64,
        /// The number of the first one that is not wanted any more.
        until: u64,
    },
    /// Take in changes whose signatures were checked; answered with [`crate::daemon::exchange::Imported`] once they are on disk.
    Import {
        /// The changes, each after those that it names.
        changes: Vec<Incoming>,
    },
    /// Do something about the groups that the node belongs to.
    Groups {
        /// What.
        action: GroupAction,
    },
}

impl Verb {
    /// Whether it may take as long as it takes: a copy of a database of any size.
    pub fn takes_long(&self) -> bool {
        matches!(self, Self::Backup { .. })
    }

    /// Whether it changes nothing, so that asking again does no harm.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::History { .. }
            | Self::Status
            | Self::Peers
            | Self::Members
            | Self::Checkpoint
            | Self::Swaps
            | Self::Blocks { .. }
            | Self::Balance
            | Self::Glance { .. }
            | Self::Events { .. }
            | Self::Changes { .. }
            | Self::Proof { .. } => true,
            // Changes that are here already are not taken in twice.
            Self::Import { .. } => false,
            Self::Note { .. } | Self::Swap { .. } | Self::Send { .. } | Self::Vote { .. } | Self::Backup { .. } => {
                false
            }
            Self::Groups { action } => action.only_reads(),
        }
    }
}

/// What is voted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ballot {
    /// That this node seals.
    Leader {
        /// Which node.
        node: String,
    },
    /// That this node is a member, or none any more.
    Member {
        /// Which node.
        node: String,
        /// Whether it comes or stays, rather than goes.
        joins: bool,
    },
    /// That this node votes, or does not any more.
    Voter {
        /// Which node.
        node: String,
        /// Whether it comes or stays, rather than goes.
        joins: bool,
    },
    /// That the key which this node proposes takes the place of its present one.
    Key {
        /// Which node.
        node: String,
        /// The new key, or its first digits: eight at least.
        new: String,
    },
    /// That the least time between blocks is this.
    Interval {
        /// In milliseconds.
        ms: u64,
    },
    /// That a block seals at most so many changes.
    BlockChanges {
        /// How many.
        changes: u64,
    },
    /// No vote: this node asks to become a voter of an open group. With braces, for serde passes over unknown fields of a variant without.
    Ask {},
}

/// A [`CommandError`] on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// `user`, `usage`, `remote` or `bug`.
    pub kind: String,
    /// What was tried and why it failed.
    pub message: String,
    /// The next step to take.
    pub hint: Option<String>,
    /// Whether the node only cannot answer now, so that the same request may be repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub busy: bool,
}

impl From<CommandError> for WireError {
    fn from(error: CommandError) -> Self {
        Self {
            kind: error.blame().label().to_owned(),
            message: error.message().to_owned(),
            hint: error.next_step().map(str::to_owned),
            busy: error.is_busy(),
        }
    }
}

impl From<WireError> for CommandError {
    fn from(error: WireError) -> Self {
        let command_error = match error.kind.as_str() {
            "usage" => CommandError::usage(error.message),
            "remote" => CommandError::remote(error.message),
            "bug" => CommandError::bug(error.message),
            _ => CommandError::user(error.message),
        };
        let command_error = if error.busy { command_error.busy() } else { command_error };
        match error.hint {
            Some(hint) => command_error.hint(hint),
            None => command_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_way() {
        let error = CommandError::remote("no relay").hint("start one");
        let back: CommandError = WireError::from(error).into();
        assert_eq!(back.message(), "no relay");
        assert_eq!(back.next_step(), Some("start one"));
        assert_eq!(back.blame(), crate::error::Blame::Remote);
    }
}
