//! The answer to who belongs to a group, for programs and for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use side_ledger::block::{BlockId, Epoch, Height, Rank, Recovery, SetNumber};
use side_ledger::invitation::Checkpoint;

use super::view::Who;
use crate::output::{printable, short};

/// The members of a group after its last block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// The group's id.
    pub group: String,
    /// The group's name.
    pub group_name: String,
    /// `open` or `closed`.
    pub admission: String,
    /// The height of the last block.
    pub height: u64,
    /// The number of the set of voters.
    pub set: u64,
    /// How many voters it takes to decide.
    pub quorum: u64,
    /// Everybody who is a member, votes, seals, owns something or is about to, this node first, then by name and key.
    pub members: Vec<Person>,
    /// Votes on what a key is that have not decided yet.
    pub ballots: Vec<Ballot>,
}

/// What a key is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who.
    #[serde(flatten)]
    pub who: Who,
    /// Whether it is this node.
    pub this_node: bool,
    /// Whether it founded the group.
    pub founder: bool,
    /// Whether it is a member: in an open group everybody is.
    pub member: bool,
    /// Whether it votes in the present set.
    pub voter: bool,
    /// `voter` if it votes from the next set on, `no-voter` if it does so no more; nothing if this stays as it is.
    pub pending: Option<String>,
    /// Whether it seals.
    pub sealer: bool,
    /// What it owns.
    pub balance: u64,
    /// Whether it is frozen because it forked its chain.
    pub frozen: bool,
    /// The key that has taken this one's place; this one counts for nothing any more.
    pub replaced_by: Option<String>,
    /// How many changes its own chain has, as far as they are here.
    pub changes: u64,
}

/// Votes of one kind on one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// On whom.
    #[serde(flatten)]
    pub who: Who,
    /// What it is to be: `none`, `member` or `voter`.
    pub role: String,
    /// Who votes so.
    pub voters: Vec<Who>,
    /// How many it takes.
    pub needed: u64,
}

/// A block that a newcomer may start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// How often the group had recovered.
    pub recovery: u64,
    /// The set of voters that it was sealed under.
    pub set: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its height.
    pub height: u64,
    /// Its id.
    pub block: String,
    /// The state after it.
    pub state_root: String,
}

impl From<Checkpoint> for Mark {
    fn from(checkpoint: Checkpoint) -> Self {
        let Checkpoint { rank, block, state_root } = checkpoint;
        Self {
            recovery: rank.recovery.0,
            set: rank.set.0,
            epoch: rank.epoch.0,
            height: rank.height.0,
            block: block.to_string(),
            state_root: hex::encode(state_root),
        }
    }
}

impl Mark {
    /// The block, unless the texts are none of ours.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let mut hashes = [[0; 32]; 2];
        hex::decode_to_slice(&self.block, &mut hashes[0]).ok()?;
        hex::decode_to_slice(&self.state_root, &mut hashes[1]).ok()?;
        let [block, state_root] = hashes;
        let rank = Rank {
            recovery: Recovery(self.recovery),
            set: SetNumber(self.set),
            epoch: Epoch(self.epoch),
            height: Height(self.height),
        };
        Some(Checkpoint { rank, block: BlockId(block), state_root })
    }
}

impl Roll {
    /// The members for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for person in &self.members {
            let mut words = Vec::new();
            let mut say = |so: bool, word: &str| {
                if so {
                    words.push(word.to_owned());
                }
            };
            say(person.this_node, "this node");
            say(person.founder, "founder");
            say(!person.member && person.replaced_by.is_none(), "no member");
            say(person.voter, "voter");
            say(person.sealer, "seals");
            say(person.pending.as_deref() == Some("voter"), "votes from the next set on");
            say(person.pending.as_deref() == Some("no-voter"), "leaves the voters");
            say(person.frozen, "frozen: forked its own chain");
            if let Some(new) = &person.replaced_by {
                words.push(format!("replaced by {}", short(new)));
            }
            let _ = writeln!(
                out,
                "{:<20} {}  {:>6} changes  {:>12}  {}",
                name(&person.who),
                short(&person.who.key),
                person.changes,
                person.balance,
                words.join(", ")
            );
        }
        for ballot in &self.ballots {
            let voters: Vec<String> = ballot.voters.iter().map(name).collect();
            let _ = writeln!(
                out,
                "vote: {} ({}) to be {}: {} of {} ({})",
                name(&ballot.who),
                short(&ballot.who.key),
                if ballot.role == "none" { "no member" } else { &ballot.role },
                ballot.voters.len(),
                ballot.needed,
                voters.join(", ")
            );
        }
        let voters = self.members.iter().filter(|person| person.voter).count();
        let _ = writeln!(
            out,
            "group {} ({}), {}; block {}, set {}: {} of {voters} voters decide",
            printable(&self.group_name),
            short(&self.group),
            self.admission,
            self.height,
            self.set,
            self.quorum
        );
        out
    }
}

fn name(who: &Who) -> String {
    who.name.as_deref().map_or_else(|| "(no name)".to_owned(), printable)
}
