//! Where a node keeps its things: the root, the node's own folder in it, and the lock that lets one process in.
//!
//! ```text
//! ROOT/                 --home, else SIDE_HOME, else ~/.side            0700
//!   registry.json       the nodes and groups of this machine
//!   .witness/KEY        how far each node's database had come (see side-store)
//!   NAME/               one node                                       0700
//!     config.toml
//!     groups.json       the invitations to its groups, and which one is the default (see daemon::membership)
//!     invited.json      secrets that were given to newcomers, hashed (see daemon::invited)
//!     keys/node.key     the secret seed, with a passphrase or without 0700/0600
//!     keys/bitcoin.seed the Bitcoin wallet's words, likewise           0600
//!     keys/next.key     the key that is to take the place of node.key, while it is rotated (see rotation)
//!     keys/rotation.json how far that is
//!     keys/retired/     keys that were rotated, by their public keys
//!     btc/NETWORK/      the wallet and the swaps on a network (see btc::wallet)
//!     side.sqlite       changes, blocks, indexes
//!     .backup/          copies of databases while a backup is made
//!     lock              held by the running process
//!     control.sock      the running process listens here
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs4::TryLockError;
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::secrets::Keyring;

/// The environment variable that names the root.
pub const HOME_VARIABLE: &str = "SIDE_HOME";
/// How long a folder's lock is waited for: a command on a stopped node takes less.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two attempts at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Most bytes of a file with a secret: the longest one, locked, has less than a quarter of it.
const MAX_SECRET_BYTES: u64 = crate::secrets::locked::MAX_FILE_BYTES;
/// What the name of a file that is about to take another one's place says behind its stem.
const NEW_MARK: &str = "new-";
/// Longest path of a Unix socket on Linux, less the closing zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// The root that holds every node of this machine's user, and what unlocks their secrets.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    keyring: Keyring,
}

impl Root {
    /// Finds the root: the flag, else `SIDE_HOME`, else `.side` in the user's home.
    pub fn find(flag: Option<PathBuf>) -> Result<Self, CommandError> {
        let path = match flag.or_else(|| std::env::var_os(HOME_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from)) {
            Some(path) => path,
            None => std::env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())
                .ok_or_else(|| {
                    CommandError::user("cannot tell where your home folder is")
                        .hint(format!("name a root with --home or {HOME_VARIABLE}"))
                })?
                .join(".side"),
        };
        let path = std::path::absolute(&path).map_err(|e| CommandError::io(path.display(), &e))?;
        Ok(Self { path, keyring: Keyring::default() })
    }

    /// With what unlocks secrets. Without it, locked ones stay so.
    pub fn with_keyring(self, keyring: Keyring) -> Self {
        Self { keyring, ..self }
    }

    /// What unlocks secrets.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the root if it is missing.
    pub fn create(&self) -> Result<(), CommandError> {
        create_private_dir_all(&self.path)
            .map_err(|e| CommandError::io(format!("cannot create the root {}", self.path.display()), &e))
    }

    /// The folder of the node `name` (which the caller has validated), existing or not.
    pub fn node(&self, name: &str) -> NodeHome {
        NodeHome { name: name.to_owned(), path: self.path.join(name), keyring: self.keyring.clone() }
    }

    /// The registry of local nodes and groups.
    pub fn registry_file(&self) -> PathBuf {
        self.path.join("registry.json")
    }

    /// Where the witness of the node with this key lies: outside of the node's folder, so that a copy of the folder does not bring it along.
    pub fn witness_file(&self, key: &str) -> PathBuf {
        self.path.join(".witness").join(key)
    }
}

/// One node's folder.
#[derive(Debug, Clone)]
pub struct NodeHome {
    name: String,
    path: PathBuf,
    keyring: Keyring,
}

impl NodeHome {
    /// The node's local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What unlocks its secrets.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Whether the node was initialised.
    pub fn exists(&self) -> bool {
        self.key_file().exists()
    }

    /// Fails with what to do next unless the node was initialised.
    pub fn require(&self) -> Result<(), CommandError> {
        if self.exists() {
            return Ok(());
        }
        Err(CommandError::user(format!("there is no node {:?} at {}", self.name, self.path.display()))
            .hint(format!("make it with: side-node init {}", self.name)))
    }

    /// The folder of the node's secrets.
    pub fn keys_folder(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// The secret key's file.
    pub fn key_file(&self) -> PathBuf {
        self.keys_folder().join("node.key")
    }

    /// The file of the secret key that is to take the place of the present one.
    pub fn next_key_file(&self) -> PathBuf {
        self.keys_folder().join("next.key")
    }

    /// How far a rotation of the key is.
    pub fn rotation_file(&self) -> PathBuf {
        self.keys_folder().join("rotation.json")
    }

    /// The folder of keys that were rotated.
    pub fn retired_folder(&self) -> PathBuf {
        self.keys_folder().join("retired")
    }

    /// How people call the secret key.
    pub fn key_called(&self) -> String {
        format!("the key of {}", self.name)
    }

    /// How people call the words of the Bitcoin wallet.
    pub fn seed_called(&self) -> String {
        format!("the wallet's words of {}", self.name)
    }

    /// The invitations to the node's groups: what they were founded on and where they are reached.
    pub fn groups_file(&self) -> PathBuf {
        self.path.join("groups.json")
    }

    /// Secrets that were given to newcomers, hashed.
    pub fn invited_file(&self) -> PathBuf {
        self.path.join("invited.json")
    }

    /// The words of the Bitcoin wallet.
    pub fn seed_file(&self) -> PathBuf {
        self.keys_folder().join("bitcoin.seed")
    }

    /// What belongs to Bitcoin, with a folder for each network.
    pub fn btc_folder(&self) -> PathBuf {
        self.path.join("btc")
    }

    /// The configuration.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// What the agreement on blocks keeps: this node's votes.
    pub fn consensus_folder(&self) -> PathBuf {
        self.path().join("consensus")
    }

    /// The database.
    pub fn database_file(&self) -> PathBuf {
        self.path.join("side.sqlite")
    }

    /// The console's line history.
    pub fn history_file(&self) -> PathBuf {
        self.path.join("console-history")
    }

    /// The socket that the running process listens on. Socket paths are short: a folder that lies too deep gets its socket in the
    /// user's runtime folder or the system's temporary one, in a folder of its own with a name derived from the path.
    pub fn control_socket(&self) -> PathBuf {
        let direct = self.path.join("control.sock");
        if direct.as_os_str().len() <= MAX_SOCKET_PATH {
            return direct;
        }
        let digest = bft_json_crdt::hash::hash("side/node/control-socket", direct.as_os_str().as_encoded_bytes());
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        base.join(format!("side-{}", hex::encode(&digest[..12]))).join("control.sock")
    }

    /// Takes the folder for this process. The lock goes with the value. Commands on a stopped node hold it for a moment, so a short wait comes before the
    /// refusal.
    pub fn lock(&self) -> Result<FolderLock, CommandError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match self.try_lock() {
                Err(error) if error.is_busy() && Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
                other => return other,
            }
        }
    }

    fn try_lock(&self) -> Result<FolderLock, CommandError> {
        let path = self.path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| CommandError::io(format!("cannot open {}", path.display()), &e))?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {
                // The number is for people who look into the file; the lock itself is the kernel's.
                let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                Ok(FolderLock(file))
            }
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder = holder.trim();
                let holder = if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
                Err(CommandError::user(format!("node {:?} is already running ({holder})", self.name)).hint(format!(
                    "use it from here: side-node note {0} \"text\", side-node history {0}; or stop that process first",
                    self.name
                ))
                .busy())
            }
            Err(TryLockError::Error(e)) => Err(CommandError::io(format!("cannot lock {}", path.display()), &e)),
        }
    }
}

/// Proof that this process alone uses a node's folder. The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code, reason = "held, never read: dropping it frees the lock")] File);

/// Creates a folder and its parents, the new ones for the user alone.
pub fn create_private_dir_all(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a secret: a new file for the user alone, durable when this returns. Never overwrites.
pub fn create_secret_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    sync_parent(path)
}

/// Replaces a file as a whole: readers see the old or the new contents, after a crash too.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{NEW_MARK}{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Replaces a secret as [`replace_file`] does, and writes zeros over what the file held before, unless another name leads to it too. On disks that never
/// write in place, as many do, the old bytes may still be there for a while: no program can help that.
pub fn replace_secret(path: &Path, contents: &[u8]) -> io::Result<()> {
    let old = OpenOptions::new().write(true).open(path).ok();
    replace_file(path, contents)?;
    if let Some(mut old) = old {
        let metadata = old.metadata()?;
        if metadata.nlink() == 0 {
            let zeros = vec![0; metadata.len().min(MAX_SECRET_BYTES) as usize];
            old.write_all(&zeros)?;
            old.sync_all()?;
        }
    }
    Ok(())
}

/// Removes from a folder of secrets what a crash left of files that were to take another one's place. The caller holds the lock of the node.
pub fn remove_leftovers(folder: &Path) -> Result<(), CommandError> {
    let failed = |e: &io::Error| CommandError::io(format!("cannot tidy {}", folder.display()), e);
    for entry in fs::read_dir(folder).map_err(|e| failed(&e))? {
        let path = entry.map_err(|e| failed(&e))?.path();
        if path.extension().is_some_and(|extension| extension.as_encoded_bytes().starts_with(NEW_MARK.as_bytes())) {
            fs::remove_file(&path).map_err(|e| failed(&e))?;
        }
    }
    Ok(())
}

/// Reads a secret. Files that others can read are refused.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    if let Some(folder) = path.parent() {
        require_private(folder)?;
    }
    require_private(path)?;
    let failed = |e: &io::Error| CommandError::io(format!("cannot read {}", path.display()), e);
    // With all its room from the beginning: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET_BYTES as usize + 1));
    let file = File::open(path).map_err(|e| failed(&e))?;
    file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => damaged_secret(path, "it is no text"),
        _ => failed(&e),
    })?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(damaged_secret(path, "it is far too long"));
    }
    Ok(text)
}

fn damaged_secret(path: &Path, why: &str) -> CommandError {
    CommandError::user(format!("{} is damaged: {why}", path.display()))
        .hint("restore the file from a backup; nobody can compute it anew")
}

/// Makes a change of a folder (a file created, renamed) durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Refuses a secret that others on this machine can read.
pub fn require_private(path: &Path) -> Result<(), CommandError> {
    let metadata = fs::metadata(path).map_err(|e| CommandError::io(format!("cannot read {}", path.display()), &e))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CommandError::user(format!("{} can be read by others (mode {mode:03o})", path.display()))
            .hint(format!("chmod go-rwx {}", path.display())));
    }
    Ok(())
}
