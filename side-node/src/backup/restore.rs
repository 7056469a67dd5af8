//! Reading a backup: checking it, and making a node of it.
//!
//! Rules:
//! - A node is restored where it is absent. Nothing is overwritten, and no root gets a second node with the same key: two that write under one key convict each other.
//! - The folder is put together under another name and appears as a whole, once everything in the backup was read to its end and found good. Whoever is interrupted
//!   before has nothing; the next attempt removes what is left.
//! - The database is marked before the folder appears: the node reads only until it has learnt its own last change.
//! - Wallets skip the numbers that swaps may have been given since: no key and no preimage serves twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use side_ledger::Name;

use super::contents::{Item, List, MAX_LIST_BYTES};
use super::inspect;
use super::make::Step;
use super::stream::{Opener, StreamError};
use crate::btc::wallet::skip_swap_numbers;
use crate::clock;
use crate::daemon::membership::Memberships;
use crate::error::CommandError;
use crate::home::{NodeHome, Root, create_private_dir_all, sync_parent};
use crate::keys;
use crate::registry::LockedRegistry;
use crate::secrets::Sources;

/// What a backup holds.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// The backup.
    pub file: String,
    /// The node.
    pub node: String,
    /// Its public key.
    pub key: String,
    /// When the backup was made, in milliseconds since 1970-01-01 UTC.
    pub made_ms: u64,
    /// The version of the program that made it.
    pub program: String,
    /// How many groups the node is in.
    pub groups: u64,
    /// How many changes are stored.
    pub changes: u64,
    /// Whether the key in it has a passphrase of its own.
    pub locked: bool,
    /// The files in it.
    pub contents: Vec<String>,
}

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// What the backup held.
    #[serde(flatten)]
    pub backup: Checked,
    /// What the node is called now.
    pub restored_as: String,
    /// Its folder.
    pub home: String,
    /// The next command.
    pub next: String,
}

/// Reads a backup to its end and everything in it as a node would, and leaves nothing behind. Secrets are looked at in memory; databases are written to a private
/// temporary folder meanwhile.
pub fn check(file: &Path, sources: &Sources, told: &mut dyn FnMut(Step<'_>)) -> Result<Checked, CommandError> {
    let folder = std::env::temp_dir().join(format!("side-check-{}", hex::encode(clock::random::<12>()?)));
    let root = Root::find(Some(folder))?;
    let staged = Staged::begin(root.node("checked"), Some(root.path().to_owned()))?;
    let backup = Backup::open(file, sources)?;
    backup.read(&staged.home, false, told)
}

/// Makes a node of a backup, under its own name or another one.
pub fn restore(
    root: &Root,
    file: &Path,
    sources: &Sources,
    name: Option<Name>,
    told: &mut dyn FnMut(Step<'_>),
) -> Result<Restored, CommandError> {
    let backup = Backup::open(file, sources)?;
    let (name, port, key) =
        (name.unwrap_or_else(|| backup.list.node.clone()), backup.list.port, backup.list.key.clone());
    root.create()?;
    // Held to the end: no `init` and no other `restore` meanwhile.
    let mut registry = LockedRegistry::open(root)?;
    let home = root.node(name.as_str());
    if home.path().exists() {
        return Err(CommandError::user(format!("{} exists already", home.path().display())).hint(
            "a node is restored only where it is absent: choose another root with --home, or another name with --name",
        ));
    }
    if let Some(known) = registry.registry.nodes.get(&name)
        && known.key != key
    {
        return Err(CommandError::user(format!("this root knows another node as {name}"))
            .hint("choose another name with --name"));
    }
    if let Some(other) = holder(root, &key)? {
        return Err(CommandError::user(format!("this root has the node already, as {other}")).hint(
            "two nodes with one key shut each other out of their groups; if the other one is broken, move its folder away first",
        ));
    }
    // Names begin with a letter or a digit, so this is no node's folder.
    let staged = Staged::begin(root.node(&format!(".restoring-{name}")), None)?;
    let checked = backup.read(&staged.home, true, told)?;
    let memberships = Memberships::load(&staged.home)?;
    staged.publish(&home)?;

    registry.registry.nodes.retain(|known, node| *known == name || node.key != key);
    for membership in memberships.iter() {
        registry.registry.enter(&name, &key, &membership.invitation);
    }
    let taken = registry.registry.nodes.iter().any(|(other, node)| *other != name && node.port == port);
    if let (Some(node), Some(port), false) = (registry.registry.nodes.get_mut(&name), port, taken) {
        node.port = Some(port);
    }
    registry.registry.home_group.get_or_insert_with(|| memberships.default().group().to_string());
    registry.save()?;
    Ok(Restored {
        backup: checked,
        restored_as: name.to_string(),
        home: home.path().display().to_string(),
        next: format!("side-node run {name}"),
    })
}

/// The node of this root with this key, whatever the registry says.
fn holder(root: &Root, key: &str) -> Result<Option<String>, CommandError> {
    let failed = |e: &io::Error| CommandError::io(format!("cannot read {}", root.path().display()), e);
    for entry in fs::read_dir(root.path()).map_err(|e| failed(&e))? {
        let Ok(name) = entry.map_err(|e| failed(&e))?.file_name().into_string() else { continue };
        let home = root.node(&name);
        // Folders that are being put together are no nodes.
        if !name.starts_with('.') && home.exists() && keys::public(&home).is_ok_and(|found| found.to_string() == key) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A backup whose list was read.
struct Backup {
    file: PathBuf,
    opener: Opener<File>,
    list: List,
    items: Vec<(Item, u64)>,
}

impl Backup {
    fn open(file: &Path, sources: &Sources) -> Result<Self, CommandError> {
        let input = File::open(file).map_err(|e| CommandError::io(format!("cannot read {}", file.display()), &e))?;
        let mut opener = Opener::begin(input, || sources.get(&format!("the backup {}", file.display())))
            .map_err(|e| bad(file, e))?;
        let mut length = [0; 4];
        length.copy_from_slice(&opener.bytes(4).map_err(|e| bad(file, e))?);
        let length = u32::from_be_bytes(length);
        let wrong = |why: String| CommandError::user(format!("cannot read the backup {}: {why}", file.display()));
        if length > MAX_LIST_BYTES {
            return Err(wrong("its list is far too long".to_owned()));
        }
        let text = opener.bytes(u64::from(length)).map_err(|e| bad(file, e))?;
        let (list, items) = List::parse(&text).map_err(wrong)?;
        Ok(Self { file: file.to_owned(), opener, list, items })
    }

    /// Reads everything into a folder. `restoring` writes secrets, too, makes everything durable and prepares the wallets.
    fn read(
        mut self,
        home: &NodeHome,
        restoring: bool,
        told: &mut dyn FnMut(Step<'_>),
    ) -> Result<Checked, CommandError> {
        let total = self.items.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let mut done = 0;
        let mut locked = false;
        for (item, length) in self.items.clone() {
            let path = item.path(home.path());
            if let Some(folder) = path.parent() {
                create_private_dir_all(folder)
                    .map_err(|e| CommandError::io(format!("cannot create {}", folder.display()), &e))?;
            }
            if matches!(item, Item::NodeKey | Item::NextKey | Item::Seed) {
                let bytes = self.opener.bytes(length).map_err(|e| bad(&self.file, e))?;
                locked |= inspect::secret(&item, &bytes, &self.list)?;
                if restoring {
                    write(&path, |out| out.write_all(&bytes))?;
                }
                done += length;
                continue;
            }
            let (opener, file) = (&mut self.opener, &self.file);
            let mut failed = None;
            write(&path, |out| {
                let taken = opener.take(length, |part| {
                    out.write_all(part)?;
                    done += part.len() as u64;
                    told(Step::Bytes(done, total));
                    Ok(())
                });
                failed = taken.err();
                Ok(())
            })?;
            if let Some(error) = failed {
                return Err(bad(file, error));
            }
        }
        self.opener.end().map_err(|e| bad(&self.file, e))?;

        let reason = format!("it was restored from a backup of {}", self.list.made_ms / 1000);
        let mut inspected = inspect::folder(home, &self.items, &reason)?;
        inspected.locked = locked;
        if restoring {
            for (item, _) in &self.items {
                let path = item.path(home.path());
                if let Item::Wallet(_) = item {
                    skip_swap_numbers(&path).map_err(|why| {
                        CommandError::user(format!("cannot prepare the wallet {}: {why}", path.display()))
                    })?;
                }
                let synced = File::open(&path).and_then(|file| file.sync_all()).and_then(|()| sync_parent(&path));
                synced.map_err(|e| CommandError::io(format!("cannot write {}", path.display()), &e))?;
            }
        }
        Ok(Checked {
            file: self.file.display().to_string(),
            node: self.list.node.to_string(),
            key: self.list.key,
            made_ms: self.list.made_ms,
            program: self.list.program,
            groups: inspected.groups,
            changes: inspected.changes,
            locked: inspected.locked,
            contents: self.items.iter().map(|(item, _)| item.name()).collect(),
        })
    }
}

fn write(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), CommandError> {
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| fill(&mut file));
    written.map_err(|e| CommandError::io(format!("cannot write {}", path.display()), &e))
}

fn bad(file: &Path, error: StreamError) -> CommandError {
    let text = format!("cannot read the backup {}: {error}", file.display());
    match error {
        StreamError::Key(error) => error,
        StreamError::Read(why) => CommandError::io(format!("cannot read the backup {}", file.display()), &why),
        StreamError::Write(why) => CommandError::io("cannot write what is in the backup", &why),
        StreamError::Passphrase => {
            CommandError::user(text).hint("it is the passphrase that was given when the backup was made")
        }
        StreamError::Version(_) => {
            CommandError::user(text).hint("use the version of Side that made it, or a later one")
        }
        StreamError::Foreign => CommandError::user(text).hint("a backup is made with: side-node backup NODE FILE"),
        StreamError::Cost(_) | StreamError::Changed(_) | StreamError::Short | StreamError::Long => {
            CommandError::user(text).hint("nothing was restored; use another copy of the backup")
        }
    }
}

/// A folder that is being put together; removed unless it is published.
struct Staged {
    home: NodeHome,
    /// What is removed.
    whole: PathBuf,
    published: bool,
}

impl Staged {
    /// `around` is a folder of its own around the node's, if there is one.
    fn begin(home: NodeHome, around: Option<PathBuf>) -> Result<Self, CommandError> {
        let what = || format!("cannot create {}", home.path().display());
        match fs::remove_dir_all(home.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(CommandError::io(what(), &error)),
            _ => {}
        }
        create_private_dir_all(home.path()).map_err(|e| CommandError::io(what(), &e))?;
        let whole = around.unwrap_or_else(|| home.path().to_owned());
        Ok(Self { home, whole, published: false })
    }

    fn publish(mut self, home: &NodeHome) -> Result<(), CommandError> {
        // `rename` replaces an empty folder at most, and the caller has seen that there is none.
        let renamed = File::open(self.home.path())
            .and_then(|folder| folder.sync_all())
            .and_then(|()| fs::rename(self.home.path(), home.path()))
            .and_then(|()| sync_parent(home.path()));
        renamed.map_err(|e| CommandError::io(format!("cannot create {}", home.path().display()), &e))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(&self.whole);
        }
    }
}
