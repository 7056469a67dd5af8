//! A group at a glance: what the page and the terminal view draw, and what `glance` prints.
//!
//! Everything in it is bounded, however long the history: the last changes as a graph, the last blocks with their transactions, and the status. The
//! JSON form is a promise, as that of [`super::view`]: fields are added, never renamed or removed.

use serde::{Deserialize, Serialize};

use super::view::{Balances, BlockLine, Line, Peers, Stage, Status, Who};

/// The version of this form.
pub const GLANCE_VERSION: u32 = 1;
/// Most changes that the graph shows: more do not fit a screen, and a reader follows about as many.
pub const MAX_GRAPH_CHANGES: usize = 256;
/// Most blocks that are shown.
pub const MAX_GLANCE_BLOCKS: usize = 32;
/// Most transactions of one block that are shown; [`GlanceBlock::transactions_total`] says how many there are.
pub const MAX_BLOCK_TRANSACTIONS: usize = 64;
/// Most accounts that are shown; [`Glance::accounts_total`] says how many there are.
pub const MAX_GLANCE_ACCOUNTS: usize = 256;
/// Most members that are shown, beside this node.
pub const MAX_GLANCE_MEMBERS: usize = 256;
/// Most heads, equivocators and offences that the status in a glance shows.
pub const MAX_GLANCE_LIST: usize = 64;
/// Most swaps that are shown, those that wait for something first.
pub const MAX_GLANCE_SWAPS: usize = 64;

/// A group at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Glance {
    /// [`GLANCE_VERSION`].
    pub version: u32,
    /// Grows with whatever changes what is shown, from the node's start on: who has this number has this picture.
    pub revision: u64,
    /// When it was taken, by this node's clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// The status, with voters, sealers, links and offences. Its `digest` is empty where it is not known: it takes a walk over everything, which the
    /// verb `status` does; `heads_digest` compares what two nodes hold as well. Lists are cut to [`MAX_GLANCE_LIST`].
    pub status: Status,
    /// The members, the first [`MAX_GLANCE_MEMBERS`], and the ways to other nodes.
    pub peers: Peers,
    /// The last changes as a graph.
    pub graph: Graph,
    /// The last blocks, newest last.
    pub blocks: Vec<GlanceBlock>,
    /// Who owns what, the first [`MAX_GLANCE_ACCOUNTS`].
    pub balances: Balances,
    /// How many accounts there are, empty ones included.
    pub accounts_total: u64,
    /// This node's swaps in this group, and offers that it has not answered.
    pub swaps: Vec<GlanceSwap>,
    /// Why this node's swaps cannot be read, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swaps_problem: Option<String>,
}

/// The last changes: a lane an author, oldest change first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// The authors that have a change here, this node first, then by name and key.
    pub lanes: Vec<Lane>,
    /// The changes, in the one order of the history (causes before effects).
    pub changes: Vec<GraphChange>,
    /// How many changes there are in all.
    pub total: u64,
    /// Where blocks cut the graph, oldest first.
    pub cuts: Vec<Cut>,
}

/// The chain of an author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Whose.
    #[serde(flatten)]
    pub who: Who,
    /// Whether it is this node's.
    pub this_node: bool,
    /// Whether its author is proven to have forked it.
    pub equivocator: bool,
}

/// A change in the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphChange {
    /// Its id.
    pub id: String,
    /// The place of its author in [`Graph::lanes`].
    pub lane: usize,
    /// Its number in its author's chain.
    pub seq: u64,
    /// When its author says that it was written.
    pub time_ms: u64,
    /// The places in [`Graph::changes`] of those it was made upon, as far as they are shown.
    pub parents: Vec<usize>,
    /// How many more it was made upon.
    pub parents_not_shown: u64,
    /// Whether no other change names it yet.
    pub head: bool,
    /// Whether its author wrote another change with the same number.
    pub forked: bool,
    /// What kinds of transactions it holds, such as `note`, each once.
    pub kinds: Vec<String>,
    /// The first of them in one short line.
    pub summary: String,
    /// Where it stands.
    pub status: Stage,
    /// The height of the block that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
}

/// Where a block cuts the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The block's height.
    pub height: u64,
    /// The places in [`Graph::changes`] of the heads it names, as far as they are shown.
    pub heads: Vec<usize>,
}

/// A block and what it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GlanceBlock {
    /// The block.
    #[serde(flatten)]
    pub block: BlockLine,
    /// Whether nothing takes it back any more.
    pub is_final: bool,
    /// Its transactions in their order, the first [`MAX_BLOCK_TRANSACTIONS`].
    pub transactions: Vec<Line>,
    /// How many it has.
    pub transactions_total: u64,
}

/// A swap of this node's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlanceSwap {
    /// Its id, as the commands `btc-htlc` and `btc-swap` name it.
    pub id: String,
    /// The other side.
    pub with: Who,
    /// What it is about, in a short line: amounts and networks.
    pub summary: String,
    /// Where it stands: the words of `btc-htlc show`.
    pub stage: String,
    /// What happens or has to be done next, in a sentence.
    pub next_step: String,
    /// Whether that waits for this node's owner.
    pub waits_for_you: bool,
    /// Whether it is over.
    pub done: bool,
}

/// What a follower of a group is told, one JSON object a line: `side-node follow NAME --json`, and the events of the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Told {
    /// The first one: where the group stood when following began.
    Start {
        /// [`GLANCE_VERSION`].
        version: u32,
        /// The group's id.
        group: String,
        /// The number of the first change that is told.
        changes: u64,
        /// The height above which blocks are told.
        height: u64,
    },
    /// A transaction is on this node's disk and in the history.
    Entry {
        /// The number of its change, from 0, in the order in which this node took them in: one more than the last one's is where to go on later.
        number: u64,
        /// It, and where it stands.
        line: Box<Line>,
    },
    /// A block was added to the chain.
    Block {
        /// It.
        block: BlockLine,
    },
    /// The chain goes on from a lower block: whoever leads now had not seen those above; what they sealed is pending again.
    TakenBack {
        /// The height it goes on from.
        height: u64,
    },
    /// Everything up to this height is final.
    Final {
        /// The height.
        height: u64,
    },
    /// A way to another node stands or broke, a voter or sealer came or went: the status has news.
    Status {
        /// See [`Glance::revision`].
        revision: u64,
    },
    /// The node took changes out of the group again, so that the others have new numbers, and so many were not told. Look at the history anew.
    Missed {
        /// How many.
        events: u64,
    },
    /// The last one: the node stops, or does not run the group any more.
    End {
        /// Why.
        reason: String,
    },
}
