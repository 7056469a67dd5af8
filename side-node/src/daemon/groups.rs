//! What can be done about the groups that a node belongs to: list, join, leave, choose the default, invite.
//!
//! Here is what it does to the node's folder and to the root's registry. The running node does it when it is asked, and begins or ends the group's work
//! at once; a command does it to the folder of a stopped node. Either holds the folder's lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bft_json_crdt::identity::AuthorId;
use serde::{Deserialize, Serialize};
use side_ledger::invitation::{Checkpoint, InvitationError, JoinSecret, MAX_ADDRESSES};
use side_ledger::{Admission, Invitation, Name, Sealing};

use super::direct::port::node_addresses;
use super::invited::Invited;
use super::membership::{Joined, Membership, Memberships};
use super::offline::to_json;
use crate::clock;
use crate::config::{ConfigFile, Settings};
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::registry::LockedRegistry;

/// What is to be done. The groups that it speaks of are named by alias, id or the beginning of an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupAction {
    /// Which groups there are; answered with [`GroupList`].
    List,
    /// What a group is founded on; answered with [`GroupInfo`].
    Show {
        /// Which; the default if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    /// Join the group of an invitation; answered with [`Entered`].
    Join {
        /// The invitation's text.
        invitation: String,
        /// What the node calls the group; its own name if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alias: Option<String>,
    },
    /// Follow a group no more; answered with [`GroupInfo`].
    Leave {
        /// Which.
        group: String,
    },
    /// Mean this group where none is named; answered with [`GroupInfo`].
    Use {
        /// Which.
        group: String,
    },
    /// Make an invitation; answered with [`Invitee`].
    Invite(InviteOptions),
}

/// How an invitation is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteOptions {
    /// To which group; to the default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The relay's address as flag or environment say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// With a secret that lets one newcomer in.
    #[serde(default)]
    pub secret: bool,
    /// Without a block to start from.
    #[serde(default)]
    pub no_checkpoint: bool,
}

impl GroupAction {
    /// Whether it changes nothing, so that asking again does no harm.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::List | Self::Show { .. } => true,
            Self::Invite(options) => !options.secret,
            Self::Join { .. } | Self::Leave { .. } | Self::Use { .. } => false,
        }
    }
}

/// A group as one node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// The group's id.
    pub group: String,
    /// What this node calls it.
    pub alias: String,
    /// What its founders called it.
    pub name: String,
    /// Whether it is the one that is meant where none is named.
    pub default: bool,
    /// `open` or `closed`.
    pub admission: String,
    /// `leader` or `bft`.
    pub sealing: String,
    /// Time between blocks in milliseconds, as the group was founded.
    pub interval_ms: u64,
    /// Its founders' keys.
    pub founders: Vec<String>,
    /// Whether this node is one of them.
    pub founder: bool,
    /// When it was founded, by its founder's clock, in milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// What its members owned at the beginning, all together.
    pub supply: u64,
    /// The group that it goes on from, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginInfo>,
    /// Where the invitation said that it is reached.
    pub addresses: Vec<String>,
    /// Secrets that this node gave and that nobody has used yet.
    pub pending_secrets: u64,
}

/// The group that another one goes on from, as that one says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginInfo {
    /// Its id.
    pub group: String,
    /// The height of its last block.
    pub height: u64,
    /// That block.
    pub block: String,
    /// The state after it.
    pub state_root: String,
    /// What each key owns at the beginning of the group that goes on: by its own words what it owned then.
    pub allocation: BTreeMap<String, u64>,
}

/// How it stands with a group, briefly. What is unknown while it does not run is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupBrief {
    /// The group's id.
    pub group: String,
    /// What this node calls it.
    pub alias: String,
    /// What its founders called it.
    pub name: String,
    /// Whether it is the one that is meant where none is named.
    pub default: bool,
    /// Whether its task runs.
    pub running: bool,
    /// Why it does not run, if something went wrong.
    pub problem: Option<String>,
    /// The height of its last block.
    pub height: Option<u64>,
    /// How many changes are applied.
    pub changes: Option<u64>,
    /// How many entries its history has.
    pub entries: Option<u64>,
    /// How many links to others stand.
    pub links: Option<u64>,
}

/// The groups of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupList {
    /// The node's local name.
    pub node: String,
    /// Its key.
    pub key: String,
    /// The groups, in the order in which it joined them.
    pub groups: Vec<GroupInfo>,
}

/// What came of joining a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// The node's local name.
    pub node: String,
    /// Its key.
    pub key: String,
    /// The group.
    pub group: GroupInfo,
    /// Whether the node was not in it before.
    pub new: bool,
    /// Whether the node runs, so that it follows the group from now on.
    pub running: bool,
}

/// An invitation that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitee {
    /// The text.
    pub invitation: String,
    /// The group's id.
    pub group: String,
    /// The group's name.
    pub group_name: String,
    /// Where it leads to, nodes and relays, best first.
    pub addresses: Vec<String>,
    /// The relays among them.
    pub relays: Vec<String>,
    /// Whether a secret is in it.
    pub secret: bool,
    /// The height of the block to start from, if one is in it.
    pub checkpoint: Option<u64>,
}

/// A node's folder, as far as its groups go. Whoever has this value holds the folder's lock.
#[derive(Debug)]
pub struct Folder {
    root: Root,
    home: NodeHome,
    key: AuthorId,
    /// As they are on disk.
    memberships: Mutex<Memberships>,
    invited: Arc<Mutex<Invited>>,
}

impl Folder {
    /// Reads what the folder of the node with this key says.
    pub fn open(root: &Root, home: &NodeHome, key: AuthorId) -> Result<Self, CommandError> {
        Ok(Self {
            root: root.clone(),
            home: home.clone(),
            key,
            memberships: Mutex::new(Memberships::load(home)?),
            invited: Arc::new(Mutex::new(Invited::load(home)?)),
        })
    }

    /// The root that the node is in.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The node's folder.
    pub fn home(&self) -> &NodeHome {
        &self.home
    }

    /// The groups as they are now.
    pub fn memberships(&self) -> Memberships {
        lock(&self.memberships).clone()
    }

    /// The secrets that this node gave, for whoever answers newcomers.
    pub fn invited(&self) -> Arc<Mutex<Invited>> {
        Arc::clone(&self.invited)
    }

    /// The groups for people.
    pub fn list(&self) -> GroupList {
        let memberships = lock(&self.memberships);
        let groups = memberships.iter().map(|membership| self.info(&memberships, membership)).collect();
        GroupList { node: self.home.name().to_owned(), key: self.key.to_string(), groups }
    }

    /// The groups, as far as the folder knows about them.
    pub fn briefs(&self) -> Vec<GroupBrief> {
        let memberships = lock(&self.memberships);
        let default = memberships.default().group();
        let brief = |membership: &Membership| GroupBrief {
            group: membership.group().to_string(),
            alias: membership.alias.to_string(),
            name: membership.invitation.genesis().name().to_string(),
            default: membership.group() == default,
            ..GroupBrief::default()
        };
        memberships.iter().map(brief).collect()
    }

    /// Enters the group of an invitation; durable when this returns.
    pub fn join(&self, invitation: &str, alias: Option<&str>) -> Result<Joined, CommandError> {
        let invitation: Invitation = invitation.parse().map_err(|e| CommandError::user(format!("cannot join: {e}")))?;
        let alias = alias.map(Name::new).transpose().map_err(|e| CommandError::usage(e.to_string()))?;
        let joined = self.change(|memberships| memberships.add(invitation.clone(), alias))?;
        let mut registry = LockedRegistry::open(&self.root)?;
        registry.registry.enter(&self.name()?, &self.key.to_string(), &invitation);
        registry.save()?;
        Ok(joined)
    }

    /// Takes a group off the node's list. What was stored of it stays in the database: whoever joins again goes on where they stopped, and never signs
    /// two different changes of one number.
    pub fn leave(&self, group: &str) -> Result<GroupInfo, CommandError> {
        let info = self.show(Some(group))?;
        self.change(|memberships| memberships.remove(group))?;
        let mut registry = LockedRegistry::open(&self.root)?;
        registry.registry.strike(&self.name()?, &info.group);
        registry.save()?;
        Ok(info)
    }

    /// Makes a group the default.
    pub fn make_default(&self, group: &str) -> Result<GroupInfo, CommandError> {
        self.change(|memberships| memberships.make_default(group).map(drop))?;
        self.show(None)
    }

    /// One group for people.
    pub fn show(&self, group: Option<&str>) -> Result<GroupInfo, CommandError> {
        let memberships = lock(&self.memberships);
        memberships.choose(group).map(|membership| self.info(&memberships, membership))
    }

    /// Makes an invitation. A secret in it is remembered, hashed, before the text is known to anybody.
    pub fn invite(&self, options: &InviteOptions, checkpoint: Option<Checkpoint>) -> Result<Invitee, CommandError> {
        let known = lock(&self.memberships).choose(options.group.as_deref())?.invitation.clone();
        let file = ConfigFile::load(&self.home.config_file())?;
        // The nodes before the relay: this one, where it listens.
        let nodes = node_addresses(&self.root, &self.key, &file).into_iter().map(|node| node.to_string());
        let mut addresses: Vec<String> = nodes.take(MAX_ADDRESSES - 1).collect();
        let relays: Vec<String> = known.relays().map(str::to_owned).collect();
        let settings = Settings::resolve(options.relay.clone(), 0, file, &relays)?;
        // The default relay is a guess for this machine, and none that others should be sent to.
        if settings.relay_named {
            addresses.push(settings.relay);
        }
        let refused =
            |e: InvitationError| CommandError::user(e.to_string()).hint("name the relay's address with --relay");
        let mut invitation = Invitation::new(known.genesis().clone(), addresses).map_err(refused)?;
        if let Some(checkpoint) = checkpoint.filter(|_| !options.no_checkpoint) {
            invitation = invitation.with_checkpoint(checkpoint).map_err(refused)?;
        }
        if options.secret {
            let secret = JoinSecret(clock::random()?);
            lock(&self.invited).give(&invitation.group(), &secret, clock::now_ms())?;
            invitation = invitation.with_secret(secret);
        }
        Ok(Invitee {
            invitation: invitation.to_string(),
            group: invitation.group().to_string(),
            group_name: invitation.genesis().name().to_string(),
            addresses: invitation.addresses().to_vec(),
            relays: invitation.relays().map(str::to_owned).collect(),
            secret: options.secret,
            checkpoint: invitation.checkpoint().map(|checkpoint| checkpoint.rank.height.0),
        })
    }

    /// What a join is answered with.
    pub fn entered(&self, joined: &Joined, running: bool) -> Result<Entered, CommandError> {
        Ok(Entered {
            node: self.home.name().to_owned(),
            key: self.key.to_string(),
            group: self.show(Some(&joined.group.to_string()))?,
            new: joined.new,
            running,
        })
    }

    /// Does what is to be done, on a stopped node.
    pub fn obey(&self, action: &GroupAction) -> Result<serde_json::Value, CommandError> {
        match action {
            GroupAction::List => to_json(&self.list()),
            GroupAction::Show { group } => to_json(&self.show(group.as_deref())?),
            GroupAction::Join { invitation, alias } => {
                let joined = self.join(invitation, alias.as_deref())?;
                to_json(&self.entered(&joined, false)?)
            }
            GroupAction::Leave { group } => to_json(&self.leave(group)?),
            GroupAction::Use { group } => to_json(&self.make_default(group)?),
            GroupAction::Invite(options) => to_json(&self.invite(options, None)?),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Memberships) -> Result<T, CommandError>) -> Result<T, CommandError> {
        let mut memberships = lock(&self.memberships);
        let mut changed = memberships.clone();
        let outcome = change(&mut changed)?;
        if changed != *memberships {
            changed.save(&self.home)?;
            *memberships = changed;
        }
        Ok(outcome)
    }

    fn name(&self) -> Result<Name, CommandError> {
        let name = self.home.name();
        Name::new(name).map_err(|e| CommandError::user(format!("{name:?} is no name of a node: {e}")))
    }

    fn info(&self, memberships: &Memberships, membership: &Membership) -> GroupInfo {
        let group = membership.group();
        let genesis = membership.invitation.genesis();
        let spec = genesis.spec();
        let (sealing, interval_ms) = match spec.sealing {
            Sealing::Leader { interval_ms } => ("leader", interval_ms),
            Sealing::Bft { interval_ms, .. } => ("bft", interval_ms),
        };
        GroupInfo {
            group: group.to_string(),
            alias: membership.alias.to_string(),
            name: genesis.name().to_string(),
            default: memberships.default().group() == group,
            admission: match spec.admission {
                Admission::Open => "open".to_owned(),
                Admission::Closed => "closed".to_owned(),
            },
            sealing: sealing.to_owned(),
            interval_ms,
            founders: spec.founders.iter().map(ToString::to_string).collect(),
            founder: genesis.is_founder(&self.key),
            created_ms: spec.created_ms,
            // A genesis whose sum exceeds 64 bits is refused.
            supply: spec.allocation.values().fold(0, |sum: u64, amount| sum.saturating_add(*amount)),
            origin: genesis.origin().map(|origin| OriginInfo {
                group: origin.group.to_string(),
                height: origin.height.0,
                block: origin.block.to_string(),
                state_root: hex::encode(origin.state_root),
                allocation: spec.allocation.iter().map(|(key, amount)| (key.to_string(), *amount)).collect(),
            }),
            addresses: membership.invitation.addresses().to_vec(),
            pending_secrets: lock(&self.invited).pending(&group, clock::now_ms()) as u64,
        }
    }
}

/// Neither value is ever left half changed, so a panic elsewhere does no harm to it.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
