//! What a node tells about itself: the answers of `history`, `status` and `peers`, as the console shows them and as `--json` prints them.
//!
//! The JSON forms are a promise to scripts: fields are added, never renamed or removed.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use side_ledger::Entry;

use super::groups::GroupBrief;
use crate::net::p2p::TurnedAway;

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// No block covers it yet.
    Pending,
    /// A block covers it, and it counts.
    Sealed,
    /// Nothing takes its block back any more.
    Final,
    /// A block covers it, and it does not count.
    Rejected,
}

/// Where a transaction stands, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Where.
    pub status: Stage,
    /// The height of the block that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// How many voters hold that block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<u64>,
    /// How many voters there are in the set that it was sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders_of: Option<u64>,
    /// Why it does not count: the same word on every node (docs/protocol.md, section 11.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_text: Option<String>,
}

/// An entry of the history and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// What the key is called that it is about (`to` of a transfer, `key` of a vote), if it is about one with a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
}

impl Deref for Line {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

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
    pub entries: Vec<Line>,
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

/// A key and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The key.
    pub key: String,
    /// What it calls itself.
    pub name: Option<String>,
}

/// A voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// Whether it is among those who decide about the sealer.
    pub elector: bool,
    /// Up to which height of this node's chain it has given its word.
    pub holds: u64,
}

/// A change of the voters that is decided and waits for the set to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingVoter {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// Whether it comes or goes.
    pub joins: bool,
}

/// How far a rotation of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationStage {
    /// No block has the proposal yet, or it did not count.
    Written,
    /// The others are to approve.
    Proposed,
    /// It is decided; the seat moves with the next ends of the set of voters.
    Moving,
}

/// A key that is to take another one's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationLine {
    /// Whose place: the old key.
    #[serde(flatten)]
    pub who: Who,
    /// The new key.
    pub new: String,
    /// Whether it is this node's.
    pub own: bool,
    /// How far it is.
    pub stage: RotationStage,
    /// How many voters have approved.
    pub approvals: u64,
    /// How many it takes.
    pub needed: u64,
}

/// That some want somebody else to seal, but not enough of them yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealerVotes {
    /// Whom: in BFT mode who is to propose first.
    #[serde(flatten)]
    pub who: Who,
    /// In which epoch.
    pub epoch: u64,
    /// Who has voted so and for no higher epoch since.
    pub by: Vec<Who>,
    /// How many it takes.
    pub needed: u64,
    /// Whether this node is one of them.
    pub own: bool,
}

/// A proof against a sealer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offence {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// What it did: `double-seal`, or how it voted against itself (BFT mode).
    pub offence: Option<String>,
    /// In which epoch.
    pub epoch: u64,
    /// At which height (`double-seal`), in which view of the epoch (else).
    pub place: u64,
}

/// A way to another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// By which transport: `relay` or `direct`.
    pub transport: String,
    /// Where.
    pub address: String,
    /// The key at the other end, if it is known.
    pub key: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// Whether the link stands.
    pub connected: bool,
    /// Whether everything that either side lacked of the changes has been passed.
    pub in_sync: bool,
    /// The last measured time for a message to go there and back, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// How many changes wait to be sent there, roughly.
    pub changes_behind: u64,
    /// The height of the last block that it has told of.
    pub height: Option<u64>,
    /// How many blocks this node lacks of those that it has told of.
    pub blocks_missing: u64,
    /// Why there is no link, or why the last one was ended.
    pub problem: Option<String>,
}

/// A block of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockLine {
    /// Its height; the first block has 1.
    pub height: u64,
    /// Its id.
    pub block: String,
    /// Who signed it; in BFT mode nobody does alone.
    pub sealer: Option<Who>,
    /// The set of voters and the epoch that it was sealed in.
    pub set: u64,
    /// See `set`.
    pub epoch: u64,
    /// When, by the sealer's clock, in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// How many changes it sealed.
    pub changes: u64,
    /// The state after it.
    pub state_root: String,
    /// How many voters of its set hold it.
    pub holders: u64,
    /// How many voters its set has.
    pub voters: u64,
    /// How many it takes for it to stay, whatever honest voters decide.
    pub quorum: u64,
}

/// The last blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// The group's id.
    pub group: String,
    /// The height of the chain.
    pub height: u64,
    /// The blocks, the latest last.
    pub blocks: Vec<BlockLine>,
}

/// What the group's ledger says of balances, after the last block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balances {
    /// The group's id.
    pub group: String,
    /// The height of that block.
    pub height: u64,
    /// What this node owns.
    pub balance: u64,
    /// The sum of all balances.
    pub supply: u64,
    /// All accounts that own something, in the order in which they came up.
    pub accounts: Vec<AccountLine>,
}

/// What a key owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLine {
    /// Whose.
    #[serde(flatten)]
    pub who: Who,
    /// How much.
    pub balance: u64,
    /// Whether it is frozen because its owner forked its chain.
    pub frozen: bool,
}

/// Whether the whole history is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// It is, and what is shown comes from executing it.
    Complete,
    /// It is not: the state came first.
    Incomplete,
}

/// How far the history has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// How many changes are here.
    pub have: u64,
    /// How many are sealed by the block that is shown.
    pub want: u64,
}

/// A proof of what became of a change, for `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// The change.
    pub change: String,
    /// The height of the block that it rests on.
    pub height: u64,
    /// The proof: one word that begins with `side-proof:`.
    pub proof: String,
}

/// A node in one page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Whether the group is `open` or `closed`.
    pub admission: String,
    /// How it seals: `leader` or `bft`.
    pub mode: String,
    /// The height of the last block; 0 before the first.
    pub height: u64,
    /// Its id; before the first block the group's.
    pub block: String,
    /// The state after it.
    pub state_root: String,
    /// The height of the last block that more than two thirds of its voters hold.
    pub held_height: u64,
    /// The height of the last block that is final; nothing is final in leader mode.
    pub final_height: Option<u64>,
    /// How many changes no block covers.
    pub pending: u64,
    /// How often the group has recovered from sealers that were lost for good.
    pub recovery: u64,
    /// The number of the set of voters that is in force.
    pub set: u64,
    /// How often the sealers were switched.
    pub epoch: u64,
    /// Who seals.
    pub sealers: Vec<Who>,
    /// The voters of the set that is in force, by key.
    pub voters: Vec<Voter>,
    /// How many of the voters have to hold a block for it to stay.
    pub quorum: u64,
    /// How many of the electors it takes to choose another sealer.
    pub switch_needs: u64,
    /// Votes for the sealers of epochs to come.
    #[serde(default)]
    pub sealer_votes: Vec<SealerVotes>,
    /// Changes of the voters that are decided and wait for the set to end.
    pub pending_voters: Vec<PendingVoter>,
    /// Keys that are to take others' places: proposed, or decided and not done yet.
    #[serde(default)]
    pub rotations: Vec<RotationLine>,
    /// The least time between blocks, in milliseconds.
    pub interval_ms: u64,
    /// Whether this node seals when it is its turn and gives its word as a voter: not while its copy may be old.
    pub may_seal: bool,
    /// Why this node takes no part in the agreement on blocks though it is a sealer, or not as it should (BFT mode); absent if all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealer_problem: Option<String>,
    /// Whether the whole history is here. While it is not, height, block and state are those that the others' certificates vouch for.
    pub document: Document,
    /// How far the history has come, where it is not complete and it is known how much there is.
    pub backfill: Option<Backfill>,
    /// Proofs against sealers.
    pub offences: Vec<Offence>,
    /// The ways to other nodes: those that stand, those that are tried, and the last ones that were ended for a fault.
    pub peers: Vec<LinkStatus>,
    /// All groups of the node, briefly; everything above is about one of them.
    #[serde(default)]
    pub groups: Vec<GroupBrief>,
    /// Where the node's page is, while one is served.
    #[serde(default)]
    pub page: Option<String>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// The group's id.
    pub group: String,
    /// The group's name.
    pub group_name: String,
    /// The members.
    pub members: Vec<Member>,
    /// The ways to other nodes: those that stand, those that are tried, and the last ones that were ended for a fault.
    pub links: Vec<LinkStatus>,
    /// How it stands with the relay; nothing while the node is stopped.
    pub relay: Option<RelayStatus>,
    /// Connections of the node, whatever the group, that were turned away at its door since it started; nothing while it is stopped.
    #[serde(default)]
    pub turned_away: Option<TurnedAway>,
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
    pub entry: Line,
    /// Whether the node is running, so that it goes out at once; otherwise it is sent at the next run.
    pub running: bool,
}
