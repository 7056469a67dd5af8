//! What this root holds: the local nodes and the groups, in `ROOT/registry.json`.
//!
//! The registry is a convenience over the folders, not the truth: a node's folder has everything that the node needs. It tells a second
//! `init` which group the first one founded, and gives local names to keys. Whoever changes it holds the lock file meanwhile and
//! replaces the whole file, so a reader sees the old or the new contents and two `init`s at once found one group, not two.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;

use serde::{Deserialize, Serialize};
use side_ledger::{Invitation, Name};

use crate::error::CommandError;
use crate::home::{Root, replace_file};

/// The version of the registry's format that this build writes. It reads version 1 too, in which a node had one group.
const VERSION: u32 = 2;
/// Most bytes of a registry: thousands of nodes.
const MAX_REGISTRY_BYTES: u64 = 4 << 20;

/// A local node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNode {
    /// Its public key, in hexadecimal digits.
    pub key: String,
    /// The ids of its groups, in hexadecimal digits, in the order in which it joined them.
    pub groups: Vec<String>,
    /// The loopback port at which the other nodes of this root reach it. Chosen by `init`, and anew by `run` where something else has taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The loopback port at which its page was served last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u16>,
}

/// A group that a local node belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalGroup {
    /// Its name.
    pub name: String,
    /// An invitation to it: genesis and addresses. Without a secret, which only one node could use.
    pub invitation: String,
}

/// A registry of version 1.
#[derive(Deserialize)]
struct Old {
    home_group: Option<String>,
    #[serde(default)]
    nodes: BTreeMap<Name, OldNode>,
    #[serde(default)]
    groups: BTreeMap<String, LocalGroup>,
}

#[derive(Deserialize)]
struct OldNode {
    key: String,
    group: String,
    #[serde(default)]
    port: Option<u16>,
}

impl From<Old> for Registry {
    fn from(old: Old) -> Self {
        let node = |node: OldNode| LocalNode { key: node.key, groups: vec![node.group], port: node.port, page: None };
        let nodes = old.nodes.into_iter().map(|(name, old)| (name, node(old))).collect();
        Self { version: VERSION, home_group: old.home_group, nodes, groups: old.groups }
    }
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The registry's contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    version: u32,
    /// The group that an `init` without further words joins: the first one of this root.
    pub home_group: Option<String>,
    /// Local nodes by name.
    #[serde(default)]
    pub nodes: BTreeMap<Name, LocalNode>,
    /// Groups by id.
    #[serde(default)]
    pub groups: BTreeMap<String, LocalGroup>,
}

impl Registry {
    /// Reads the registry; a root without one has an empty one.
    pub fn load(root: &Root) -> Result<Self, CommandError> {
        let path = root.registry_file();
        let what = || format!("cannot read {}", path.display());
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, ..Self::default() });
            }
            Err(error) => return Err(CommandError::io(what(), &error)),
            Ok(metadata) if metadata.len() > MAX_REGISTRY_BYTES => return Err(damaged(root, "it is far too large")),
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(|e| CommandError::io(what(), &e))?;
        let Versioned { version } = serde_json::from_str(&text).map_err(|e| damaged(root, e))?;
        match version {
            1 => serde_json::from_str::<Old>(&text).map(Self::from).map_err(|e| damaged(root, e)),
            VERSION => serde_json::from_str(&text).map_err(|e| damaged(root, e)),
            other => Err(CommandError::user(format!("{} has version {other}", path.display()))
                .hint("it was written by another version of Side; use that one, or another root with --home")),
        }
    }

    /// Enters that the node `name` belongs to the group of `invitation`.
    pub fn enter(&mut self, name: &Name, key: &str, invitation: &Invitation) {
        let id = invitation.group().to_string();
        let fresh = |port| LocalNode { key: key.to_owned(), groups: Vec::new(), port, page: None };
        let port = if self.nodes.contains_key(name) { None } else { self.free_port() };
        let node = self.nodes.entry(name.clone()).or_insert_with(|| fresh(port));
        if !node.groups.contains(&id) {
            node.groups.push(id.clone());
        }
        self.groups.entry(id).or_insert_with(|| LocalGroup {
            name: invitation.genesis().name().to_string(),
            invitation: invitation.clone().without_secret().to_string(),
        });
    }

    /// Strikes out that the node `name` belongs to a group; the group too, if no other node of this root is in it.
    pub fn strike(&mut self, name: &Name, group: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.groups.retain(|id| id != group);
        }
        let in_use = self.nodes.values().any(|node| node.groups.iter().any(|id| id == group));
        if !in_use && self.home_group.as_deref() != Some(group) {
            self.groups.remove(group);
        }
    }

    /// A loopback port that is free at this moment and that no node of this root has. `None` where the system gives none.
    pub fn free_port(&self) -> Option<u16> {
        let taken = |port: u16| self.nodes.values().any(|node| node.port == Some(port));
        // All are bound until one is chosen, so each try gives another port.
        let mut tried = Vec::new();
        for _ in 0..=self.nodes.len() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
            let port = listener.local_addr().ok()?.port();
            if !taken(port) {
                return Some(port);
            }
            tried.push(listener);
        }
        None
    }

    /// The local name of a key.
    pub fn name_of(&self, key: &str) -> Option<&Name> {
        self.nodes.iter().find(|(_, node)| node.key == key).map(|(name, _)| name)
    }
}

fn damaged(root: &Root, why: impl std::fmt::Display) -> CommandError {
    let path = root.registry_file();
    CommandError::user(format!("{} is damaged: {why}", path.display())).hint(format!(
        "move it away; the nodes keep everything they need in their own folders, and `side-node init NODE` enters a node again ({})",
        root.path().display()
    ))
}

/// The registry, held by this process for a change.
#[derive(Debug)]
pub struct LockedRegistry {
    root: Root,
    /// What will be written by [`LockedRegistry::save`].
    pub registry: Registry,
    /// Held, never read: dropping it frees the lock.
    _lock: File,
}

impl LockedRegistry {
    /// Waits for the lock and reads the registry. The root exists.
    pub fn open(root: &Root) -> Result<Self, CommandError> {
        let path = root.path().join("registry.lock");
        let what = || format!("cannot lock {}", path.display());
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| CommandError::io(what(), &e))?;
        // Held for the length of an `init` only, so there is no need for a deadline.
        fs4::FileExt::lock(&lock).map_err(|e| CommandError::io(what(), &e))?;
        let registry = Registry::load(root)?;
        Ok(Self { root: root.clone(), registry, _lock: lock })
    }

    /// Writes the changes; they are durable when this returns.
    pub fn save(&self) -> Result<(), CommandError> {
        let mut text = serde_json::to_string_pretty(&self.registry)
            .map_err(|e| CommandError::bug(format!("cannot write the registry as JSON: {e}")))?;
        text.push('\n');
        let path = self.root.registry_file();
        replace_file(&path, text.as_bytes())
            .map_err(|e| CommandError::io(format!("cannot write {}", path.display()), &e))
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::identity::Keypair;
    use side_ledger::invitation::JoinSecret;
    use side_ledger::{Admission, Genesis, GroupSpec, Limits, Sealing};

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::find(Some(folder.path().to_owned())).unwrap();
        (folder, root)
    }

    #[test]
    fn the_registry_reads_back() {
        let (_folder, root) = root();
        let mut locked = LockedRegistry::open(&root).unwrap();
        locked.registry.home_group = Some("ab".into());
        let node = LocalNode { key: "cd".into(), groups: vec!["ab".into()], port: Some(4001), page: None };
        locked.registry.nodes.insert(Name::new("node1").unwrap(), node);
        locked.registry.groups.insert("ab".into(), LocalGroup { name: "g".into(), invitation: "side://".into() });
        locked.save().unwrap();
        let read = Registry::load(&root).unwrap();
        assert_eq!(read, locked.registry);
        assert_eq!(read.name_of("cd").unwrap().as_str(), "node1");
    }

    #[test]
    fn a_free_port_is_nobodys() {
        let mut registry = Registry::default();
        for n in 0..50 {
            let port = registry.free_port();
            assert!(registry.nodes.values().all(|node| node.port != port), "{port:?}");
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap())).unwrap();
            let node = LocalNode { key: String::new(), groups: vec![], port, page: None };
            registry.nodes.insert(Name::new(&format!("node{n}")).unwrap(), node);
        }
    }

    #[test]
    fn a_registry_of_version_1_is_read_and_written_as_version_2() {
        let (_folder, root) = root();
        let old = r#"{ "version": 1, "home_group": "ab",
            "nodes": { "node1": { "key": "cd", "group": "ab" }, "node2": { "key": "ef", "group": "12" } },
            "groups": { "ab": { "name": "g", "invitation": "side://" } } }"#;
        fs::write(root.registry_file(), old).unwrap();
        let locked = LockedRegistry::open(&root).unwrap();
        assert_eq!(locked.registry.home_group.as_deref(), Some("ab"));
        assert_eq!(locked.registry.nodes[&Name::new("node2").unwrap()].groups, ["12"]);
        assert_eq!(locked.registry.groups["ab"].name, "g");
        locked.save().unwrap();
        assert!(fs::read_to_string(root.registry_file()).unwrap().contains("\"version\": 2"));
        assert_eq!(Registry::load(&root).unwrap(), locked.registry);
    }

    #[test]
    fn a_registry_of_a_later_version_is_refused() {
        let (_folder, root) = root();
        fs::write(root.registry_file(), r#"{ "version": 3, "nodes": 7 }"#).unwrap();
        let error = Registry::load(&root).unwrap_err().to_string();
        assert!(error.contains("has version 3") && error.contains("another version of Side"), "{error}");
    }

    #[test]
    fn a_group_is_forgotten_with_its_last_node_unless_it_is_the_home() {
        let genesis = |byte: u8| {
            Genesis::new(GroupSpec {
                name: Name::new("g").unwrap(),
                created_ms: 0,
                nonce: [byte; 32],
                founders: vec![Keypair::from_seed(&[1; 32]).author()],
                admission: Admission::Open,
                allocation: BTreeMap::new(),
                sealing: Sealing::Leader { interval_ms: 1000 },
                limits: Limits::default(),
            })
            .unwrap()
        };
        let names = ["node1", "node2"].map(|name| Name::new(name).unwrap());
        let home = Invitation::new(genesis(1), vec![]).unwrap();
        let other = Invitation::new(genesis(2), vec![]).unwrap().with_secret(JoinSecret([7; 32]));
        let ids = [&home, &other].map(|invitation| invitation.group().to_string());
        let mut registry = Registry { home_group: Some(ids[0].clone()), ..Registry::default() };
        for name in &names {
            registry.enter(name, "key", &home);
            registry.enter(name, "key", &other);
            registry.enter(name, "key", &other);
        }
        assert_eq!(registry.nodes[&names[0]].groups, ids);
        let kept: Invitation = registry.groups[&ids[1]].invitation.parse().unwrap();
        assert_eq!((kept.group(), kept.secret()), (other.group(), None));
        registry.strike(&names[0], &ids[1]);
        assert!(registry.groups.contains_key(&ids[1]));
        registry.strike(&names[1], &ids[1]);
        assert!(!registry.groups.contains_key(&ids[1]));
        names.iter().for_each(|name| registry.strike(name, &ids[0]));
        assert!(registry.groups.contains_key(&ids[0]));
    }

    #[test]
    fn a_damaged_registry_names_the_remedy() {
        let (_folder, root) = root();
        fs::write(root.registry_file(), "{ not json").unwrap();
        let error = Registry::load(&root).unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("move it away"), "{error}");
    }

    #[test]
    fn changes_of_two_holders_are_both_kept() {
        let (_folder, root) = root();
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let root = root.clone();
                std::thread::spawn(move || {
                    let mut locked = LockedRegistry::open(&root).unwrap();
                    let node = LocalNode { key: n.to_string(), groups: vec![], port: None, page: None };
                    locked.registry.nodes.insert(Name::new(&format!("node{n}")).unwrap(), node);
                    locked.save().unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(Registry::load(&root).unwrap().nodes.len(), 8);
    }
}
