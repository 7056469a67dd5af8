//! What passes between a group's task and whoever follows it, exports from it or imports into it, piece by piece.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::glance::Told;

/// Where a follower stands. It is the node's own affair: it means nothing to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Of the numbers of the changes.
    pub(crate) generation: u64,
    /// The number of the next change.
    pub(crate) change: u64,
    /// The height below the first block of `blocks`.
    pub(crate) base: u64,
    /// The last blocks that were told, without gaps: height and id.
    pub(crate) blocks: VecDeque<(u64, String)>,
    pub(crate) final_height: Option<u64>,
    /// What a glance showed.
    pub(crate) mark: u64,
}

impl Cursor {
    /// The height of the last block that was told.
    pub(crate) fn height(&self) -> u64 {
        self.blocks.back().map_or(self.base, |(height, _)| *height)
    }
}

/// What happened since a follower asked last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// In order.
    pub events: Vec<Told>,
    /// Where the follower stands now.
    pub cursor: Cursor,
    /// Whether there is more already.
    pub more: bool,
}

/// Some lines of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The lines, without their ends.
    pub lines: Vec<String>,
    /// The number of the next change.
    pub next: u64,
    /// How many changes there are.
    pub total: u64,
    /// Of the numbers of the changes: pages of two generations do not belong together.
    pub generation: u64,
}

/// What became of some changes that were handed in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// How many are new here.
    pub new: u64,
    /// How many were here before.
    pub known: u64,
    /// The places of those that are kept in memory until what they wait for has come: see docs/protocol.md for when a change waits.
    pub aside: Vec<u64>,
    /// What those wait for that nobody has handed in: ids.
    pub missing: Vec<String>,
    /// The ids of those that are new here now, handed in this time or before.
    pub applied: Vec<String>,
    /// The places of those that nothing remembers: their authors are no members here, and no member has built on them so far.
    pub strangers: Vec<u64>,
    /// The place of the first one that was refused, and why.
    pub refused: Option<(u64, String)>,
}

/// What an import came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// The group's id.
    pub group: String,
    /// Lines that were taken in, the header included.
    pub lines: u64,
    /// Changes that the file's header speaks of.
    pub expected: u64,
    /// Changes that are new here, and on disk.
    pub new: u64,
    /// Changes that were here before.
    pub known: u64,
    /// Changes that wait for others, which the file does not have; they are not on disk.
    pub aside: u64,
    /// Changes of authors who are no members as far as this node knows, on which no member has built: they are left out.
    #[serde(default)]
    pub strangers: u64,
    /// Whether the file holds all that its header speaks of.
    pub complete: bool,
    /// What is wrong with the next line, if something is: what stands before it was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
