//! The groups that a node belongs to: their invitations in its folder, a local name for each, and which one is meant where none is named.
//!
//! One file holds them all and is replaced as a whole. Whoever changes it holds the folder's lock: the running node, or a command on a stopped one.
//! Nothing here is global: another node of the same root may call the same group something else, and have another default.

use std::fs;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};
use side_ledger::names::MAX_NAME_BYTES;
use side_ledger::{GroupId, Invitation, Name};

use crate::error::CommandError;
use crate::home::{NodeHome, replace_file};

/// The version of the file's format that this build reads and writes.
const VERSION: u32 = 1;
/// Most groups of a node: a relay's hello names no more (docs/protocol.md, section 13.1).
pub const MAX_GROUPS: usize = 64;
/// Most bytes of the file: that many of the longest invitations are less.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Fewest digits of a group's id that name it.
const MIN_PREFIX: usize = 4;

/// One group of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// What this node calls the group. No two of its groups share it.
    pub alias: Name,
    /// What the group is founded on and where it is reached. Whoever came by a secret keeps it here until it is spent.
    pub invitation: Invitation,
}

impl Membership {
    /// The group's id.
    pub fn group(&self) -> GroupId {
        self.invitation.group()
    }
}

/// The groups of a node, in the order in which it joined them. Invariant: at least one; no id and no alias twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memberships {
    list: Vec<Membership>,
    default: GroupId,
}

impl Memberships {
    /// A node with its first group, called by the group's own name.
    pub fn first(invitation: Invitation) -> Self {
        let default = invitation.group();
        let alias = invitation.genesis().name().clone();
        Self { list: vec![Membership { alias, invitation }], default }
    }

    /// Reads what the node's folder says.
    pub fn load(home: &NodeHome) -> Result<Self, CommandError> {
        let path = home.groups_file();
        let what = || format!("cannot read {}", path.display());
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return load_single(home),
            Err(error) => return Err(CommandError::io(what(), &error)),
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => return Err(damaged(home, "it is far too large")),
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(|e| CommandError::io(what(), &e))?;
        let file: File = serde_json::from_str(&text).map_err(|e| damaged(home, e))?;
        file.check().map_err(|why| damaged(home, why))
    }

    /// Writes them to the node's folder, whose lock the caller holds; durable when this returns.
    pub fn save(&self, home: &NodeHome) -> Result<(), CommandError> {
        let path = home.groups_file();
        replace_file(&path, self.to_json()?.as_bytes())
            .map_err(|e| CommandError::io(format!("cannot write {}", path.display()), &e))?;
        match fs::remove_file(single_file(home)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(CommandError::io(format!("cannot remove {}", single_file(home).display()), &error))
            }
            _ => Ok(()),
        }
    }

    /// The contents of the file.
    pub fn to_json(&self) -> Result<String, CommandError> {
        let groups = self.list.iter().map(|membership| FileGroup {
            alias: membership.alias.to_string(),
            invitation: membership.invitation.to_string(),
        });
        let file = File { version: VERSION, default: self.default.to_string(), groups: groups.collect() };
        let mut text = serde_json::to_string_pretty(&file)
            .map_err(|e| CommandError::bug(format!("cannot write the groups as JSON: {e}")))?;
        text.push('\n');
        Ok(text)
    }

    /// The groups, in the order in which the node joined them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Membership> {
        self.list.iter()
    }

    /// The group that is meant where none is named.
    pub fn default(&self) -> &Membership {
        self.get(&self.default).unwrap_or(&self.list[0])
    }

    /// The group with this id.
    pub fn get(&self, group: &GroupId) -> Option<&Membership> {
        self.list.iter().find(|membership| membership.group() == *group)
    }

    /// The group that a person means: its alias here, its id, or the beginning of its id; the default without a word.
    pub fn choose(&self, word: Option<&str>) -> Result<&Membership, CommandError> {
        let Some(word) = word else { return Ok(self.default()) };
        if let Some(named) = self.list.iter().find(|membership| membership.alias.as_str() == word) {
            return Ok(named);
        }
        let prefix = word.to_ascii_lowercase();
        let long_enough = prefix.len() >= MIN_PREFIX;
        let found: Vec<&Membership> = self
            .list
            .iter()
            .filter(|membership| long_enough && membership.group().to_string().starts_with(&prefix))
            .collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(CommandError::user(format!("this node has no group {:?}", crate::output::printable(word)))
                .hint(format!("it has: {}", self.names()))),
            _ => Err(CommandError::user(format!("several groups begin with {word:?}"))
                .hint(format!("give more digits, or the alias: {}", self.names()))),
        }
    }

    fn names(&self) -> String {
        let names = self.list.iter().map(|membership| {
            format!("{} ({})", membership.alias, crate::output::short(&membership.group().to_string()))
        });
        names.collect::<Vec<_>>().join(", ")
    }

    /// Adds a group. Without an alias it is called by its own name, with a number behind it where that is taken. A group that is there already keeps its
    /// alias and takes the newer invitation's addresses, secret and checkpoint.
    pub fn add(&mut self, invitation: Invitation, alias: Option<Name>) -> Result<Joined, CommandError> {
        let group = invitation.group();
        if let Some(alias) = &alias
            && let Some(other) = self.list.iter().find(|other| other.alias == *alias && other.group() != group)
        {
            return Err(CommandError::user(format!("this node has a group {alias} already ({})", other.group()))
                .hint("choose another alias with --alias"));
        }
        if let Some(known) = self.list.iter_mut().find(|membership| membership.group() == group) {
            known.invitation = invitation;
            known.alias = alias.unwrap_or_else(|| known.alias.clone());
            return Ok(Joined { group, alias: known.alias.clone(), new: false });
        }
        if self.list.len() >= MAX_GROUPS {
            return Err(CommandError::user(format!("a node belongs to at most {MAX_GROUPS} groups"))
                .hint("leave one with `side-node group leave`, or make another node"));
        }
        let alias = alias.unwrap_or_else(|| self.free_alias(invitation.genesis().name()));
        self.list.push(Membership { alias: alias.clone(), invitation });
        Ok(Joined { group, alias, new: true })
    }

    fn free_alias(&self, name: &Name) -> Name {
        let taken = |alias: &Name| self.list.iter().any(|membership| membership.alias == *alias);
        let numbered = (2..).map_while(|number: usize| {
            let suffix = format!("-{number}");
            // Names are ASCII, so every place is a boundary.
            let base = &name.as_str()[..name.as_str().len().min(MAX_NAME_BYTES - suffix.len())];
            Name::new(&format!("{base}{suffix}")).ok()
        });
        std::iter::once(name.clone()).chain(numbered).find(|alias| !taken(alias)).unwrap_or_else(|| name.clone())
    }

    /// Makes a group the default.
    pub fn make_default(&mut self, word: &str) -> Result<&Membership, CommandError> {
        self.default = self.choose(Some(word))?.group();
        Ok(self.default())
    }

    /// Takes a group off the list. The default stays, since commands that name no group would mean another one from then on.
    pub fn remove(&mut self, word: &str) -> Result<Membership, CommandError> {
        let group = self.choose(Some(word))?.group();
        if group == self.default {
            let error = CommandError::user(format!("{} is this node's default group", self.default().alias));
            return Err(match self.list.iter().find(|membership| membership.group() != group) {
                Some(other) => {
                    error.hint(format!("choose another one first: side-node group use NODE {}", other.alias))
                }
                None => error.hint("it is the only one, and a node has at least one: join or create another one first"),
            });
        }
        let at = self.list.iter().position(|membership| membership.group() == group);
        at.map(|at| self.list.remove(at)).ok_or_else(|| CommandError::bug("a chosen group is not on the list"))
    }
}

/// What came of joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The group.
    pub group: GroupId,
    /// What the node calls it.
    pub alias: Name,
    /// Whether the node was not in it before.
    pub new: bool,
}

/// The file: see [`Memberships`].
#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    default: String,
    groups: Vec<FileGroup>,
}

#[derive(Serialize, Deserialize)]
struct FileGroup {
    alias: String,
    invitation: String,
}

impl File {
    fn check(self) -> Result<Memberships, String> {
        if self.version != VERSION {
            return Err(format!("it has version {}, this build reads version {VERSION}", self.version));
        }
        if self.groups.len() > MAX_GROUPS {
            return Err(format!("it names more than {MAX_GROUPS} groups"));
        }
        let mut list: Vec<Membership> = Vec::with_capacity(self.groups.len());
        for group in self.groups {
            let alias: Name = group.alias.parse().map_err(|e| format!("an alias: {e}"))?;
            let invitation: Invitation = group.invitation.parse().map_err(|e| format!("the group {alias}: {e}"))?;
            if list.iter().any(|other| other.alias == alias || other.group() == invitation.group()) {
                return Err(format!("the group {alias} stands twice in it"));
            }
            list.push(Membership { alias, invitation });
        }
        let default = list.iter().find(|membership| membership.group().to_string() == self.default);
        let default = default.ok_or("its default is none of its groups")?.group();
        Ok(Memberships { list, default })
    }
}

/// Before there were several, a node had one group, in this file.
fn single_file(home: &NodeHome) -> std::path::PathBuf {
    home.path().join("group")
}

fn load_single(home: &NodeHome) -> Result<Memberships, CommandError> {
    let text = fs::read_to_string(single_file(home))
        .map_err(|e| CommandError::io(format!("cannot read {}", home.groups_file().display()), &e))?;
    text.parse().map(Memberships::first).map_err(|e| damaged(home, e))
}

fn damaged(home: &NodeHome, why: impl std::fmt::Display) -> CommandError {
    CommandError::user(format!("{} is damaged: {why}", home.groups_file().display())).hint(
        "restore it from a backup; what the groups wrote is in the database. Or write the invitation that `side-node invite` prints for another \
         node of the group, one line, into the file `group` beside it, and move the damaged file away",
    )
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
