//! What the checks look at: the node's folder, and what the running node says, asked once.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use side_store::StoreError;
use side_store::examine::{Examined, examine};

use crate::api::client;
use crate::api::control::Verb;
use crate::config::ConfigFile;
use crate::daemon::membership::Memberships;
use crate::daemon::view::{Peers, Status};
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::registry::Registry;

/// How often a lock is asked again before somebody holds it for good: a command on a stopped node holds it for a moment.
const LOCK_LOOKS: u32 = 20;
/// Pause between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long a running node may take to tell how it stands with its groups.
const ANSWER: Duration = Duration::from_secs(6);
/// Most groups that are looked at.
const MAX_GROUPS: usize = 16;

/// What a running node says of one of its groups.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// What the node calls the group.
    pub alias: String,
    /// The status.
    pub status: Status,
    /// The members and the ways to other nodes.
    pub peers: Peers,
}

/// A node to look at.
#[derive(Debug)]
pub struct Patient {
    /// The root.
    pub root: Root,
    /// The node's folder.
    pub home: NodeHome,
    /// The relay's address as flag or environment say.
    pub relay: Option<String>,
    /// What this machine's clock says, in milliseconds since 1970.
    pub now_ms: u64,
    /// Bytes of the disk that have to be free.
    pub least_free: u64,
    running: OnceLock<Result<Vec<GroupView>, CommandError>>,
    holder: OnceLock<Option<String>>,
    examined: OnceLock<Result<Examined, StoreError>>,
}

impl Patient {
    /// A node whose folder is `home`.
    pub fn new(root: Root, home: NodeHome, relay: Option<String>) -> Self {
        Self {
            root,
            home,
            relay,
            now_ms: crate::clock::now_ms(),
            least_free: super::machine::LEAST_FREE,
            running: OnceLock::new(),
            holder: OnceLock::new(),
            examined: OnceLock::new(),
        }
    }

    /// Who holds the folder's lock, as far as the file tells; nothing if nobody does.
    pub fn holder(&self) -> Option<&str> {
        let holder = self.holder.get_or_init(|| {
            let path = self.lock_file();
            // Read, not written: the number of a process that runs stays in it.
            let file = OpenOptions::new().read(true).open(&path).ok()?;
            for _ in 0..LOCK_LOOKS {
                if is_free(&file) {
                    return None;
                }
                std::thread::sleep(LOCK_PAUSE);
            }
            Some(std::fs::read_to_string(&path).unwrap_or_default().trim().to_owned())
        });
        holder.as_deref()
    }

    /// The lock's file.
    pub fn lock_file(&self) -> PathBuf {
        self.home.path().join("lock")
    }

    /// What the running node says of its groups; nothing if it does not run or does not answer.
    pub fn groups(&self) -> &[GroupView] {
        self.running().as_deref().unwrap_or_default()
    }

    /// The same, with the reason why it does not answer.
    pub fn running(&self) -> &Result<Vec<GroupView>, CommandError> {
        self.running.get_or_init(|| {
            let home = self.home.clone();
            let (done, wait) = mpsc::sync_channel(1);
            let asking = move || drop(done.send(ask_all(&home)));
            let thread = std::thread::Builder::new().name("side-doctor-asks".to_owned()).spawn(asking);
            thread.map_err(|e| CommandError::io("cannot start a thread", &e))?;
            // A node that hangs must not hold up every check: it is asked once.
            wait.recv_timeout(ANSWER).unwrap_or_else(|_| {
                Err(CommandError::remote(format!("it gave no answer within {} seconds", ANSWER.as_secs())))
            })
        })
    }

    /// The process that runs the node.
    pub fn pid(&self) -> Option<u32> {
        self.groups().first().and_then(|view| view.status.pid)
    }

    /// Asks again how a group stands.
    pub fn again(&self, group: &str) -> Option<Status> {
        client::ask(&self.home, Some(group), Verb::Status).ok().flatten()
    }

    /// The configuration; the default if it cannot be read, which is the business of one check.
    pub fn config(&self) -> ConfigFile {
        ConfigFile::load(&self.home.config_file()).unwrap_or_default()
    }

    /// The groups of the node, as its folder says.
    pub fn memberships(&self) -> Option<Memberships> {
        Memberships::load(&self.home).ok()
    }

    /// The node's public key in hexadecimal digits, as the registry has it.
    pub fn registered_key(&self) -> Option<String> {
        let registry = Registry::load(&self.root).ok()?;
        registry.nodes.into_iter().find(|(name, _)| name.as_str() == self.home.name()).map(|(_, node)| node.key)
    }

    /// The registered port of the node.
    pub fn registered_port(&self) -> Option<u16> {
        let registry = Registry::load(&self.root).ok()?;
        registry.nodes.into_iter().find(|(name, _)| name.as_str() == self.home.name())?.1.port
    }

    /// The database of a node that does not run.
    pub fn examined(&self) -> &Result<Examined, StoreError> {
        self.examined.get_or_init(|| {
            let key = self.registered_key().unwrap_or_default();
            examine(&self.home.database_file(), &self.root.witness_file(&key))
        })
    }
}

/// Asks a running node about all of its groups.
fn ask_all(home: &NodeHome) -> Result<Vec<GroupView>, CommandError> {
    let view = |alias: String, group: &str| -> Result<Option<GroupView>, CommandError> {
        let status = client::ask(home, Some(group), Verb::Status)?;
        let peers = client::ask(home, Some(group), Verb::Peers)?;
        Ok(status.zip(peers).map(|(status, peers)| GroupView { alias, status, peers }))
    };
    let Some(first) = client::ask::<Status>(home, None, Verb::Status)? else { return Ok(Vec::new()) };
    let mut views = Vec::new();
    for brief in first.groups.iter().take(MAX_GROUPS) {
        // One that does not run has no status; its problem stands in the list of groups.
        views.extend(view(brief.alias.clone(), &brief.group).ok().flatten());
    }
    if views.is_empty() {
        views.extend(view(first.group_name.clone(), &first.group)?);
    }
    Ok(views)
}

/// Whether nobody holds the lock. A shared lock is taken and let go at once: whoever starts a node at this very instant asks again.
fn is_free(file: &File) -> bool {
    match fs4::FileExt::try_lock_shared(file) {
        Ok(()) => {
            let _ = fs4::FileExt::unlock(file);
            true
        }
        Err(_) => false,
    }
}
