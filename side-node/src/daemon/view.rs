//! What a node tells about itself: the answers of `history`, `status` and `peers`, as the console shows them and as `--json` prints them.
//!
//! The JSON forms are a promise to scripts: fields are added, never renamed or removed.

use serde::{Deserialize, Serialize};
use side_ledger::Entry;

/// The history of a group, or its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The group's id.
    pub group: String,
    /// The group's name.
    pub group_name: String,
    /// A hash over the order of all changes and the document: equal on nodes that hold the same.
    pub digest: String,
    /// Names the set of changes.
    pub heads_digest: String,
    /// The changes that no other one names.
    pub heads: Vec<String>,
    /// How many changes are applied.
    pub changes: u64,
    /// How many entries the whole history has; `entries` holds the last of them if a limit was given.
    pub total: u64,
    /// The entries in the one order.
    pub entries: Vec<Entry>,
}

/// A group that a relay says it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedGroup {
    /// Its id.
    pub group: String,
    /// Its name.
    pub name: String,
}

/// How it stands with a relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Where it is looked for.
    pub url: String,
    /// Whether a connection stands.
    pub connected: bool,
    /// Whether, on this connection, everything that either side lacked has been passed.
    pub in_sync: bool,
    /// The relay's key, proven on this connection.
    pub identity: Option<String>,
    /// Why there is no connection, or why the relay does not carry the group.
    pub problem: Option<String>,
    /// How many groups the relay carries.
    pub carried_total: u64,
    /// The groups that it lists.
    pub carried: Vec<CarriedGroup>,
}

/// A member whose chain is proven to be forked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equivocator {
    /// The key.
    pub key: String,
    /// What it is called.
    pub name: Option<String>,
}

/// A node in one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's local name.
    pub node: String,
    /// Its key.
    pub key: String,
    /// The group's id.
    pub group: String,
    /// The group's name.
    pub group_name: String,
    /// The process that runs it, if one does.
    pub pid: Option<u32>,
    /// How many changes are applied.
    pub changes: u64,
    /// How many entries the history has.
    pub entries: u64,
    /// How many keys have written here.
    pub members: u64,
    /// Whether nobody else has written here.
    pub alone: bool,
    /// The changes that no other one names.
    pub heads: Vec<String>,
    /// Names the set of changes.
    pub heads_digest: String,
    /// A hash over the order of all changes and the document.
    pub digest: String,
    /// Whether something is held that waits for what it names.
    pub incomplete: bool,
    /// Why nothing can be written, if so.
    pub read_only: Option<String>,
    /// Members whose chain is proven to be forked.
    pub equivocators: Vec<Equivocator>,
    /// How it stands with the relay; nothing while the node is stopped.
    pub relay: Option<RelayStatus>,
}

/// A member of the group, as far as it has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The key.
    pub key: String,
    /// What it calls itself.
    pub name: Option<String>,
    /// Whether it is this node.
    pub this_node: bool,
    /// How many changes its own chain has.
    pub seq: u64,
    /// Its clock at its last change, in milliseconds since 1970-01-01 UTC: a claim.
    pub time_ms: u64,
    /// Whether its chain is proven to be forked.
    pub equivocator: bool,
}

/// The members of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// The group's id.
    pub group: String,
    /// The group's name.
    pub group_name: String,
    /// The members.
    pub members: Vec<Member>,
    /// How it stands with the relay; nothing while the node is stopped.
    pub relay: Option<RelayStatus>,
}

/// What was said about swaps by a node or to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swaps {
    /// The node's key.
    pub key: String,
    /// The entries in the one order.
    pub entries: Vec<Entry>,
}

/// A transaction that is signed and on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The entry.
    pub entry: Entry,
    /// Whether the node is running, so that it goes out at once; otherwise it is sent at the next run.
    pub running: bool,
}
