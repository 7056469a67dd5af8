//! Making a backup: databases are copied as they are at one moment, then everything goes into one encrypted file.
//!
//! A running node copies its own database, which only it can open; the swaps and wallets are files that several processes open, and are copied from here. Swaps come before
//! wallets: a wallet then knows of every number that was given to a swap in the backup.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bdk_wallet::rusqlite::{Connection, OpenFlags, params};
use fs4::TryLockError;
use serde::Serialize;
use side_ledger::{GroupId, Name};
use zeroize::Zeroizing;

use super::contents::{Item, List, MAX_SMALL_BYTES};
use super::stream::{CHUNK, Sealer, StreamError};
use crate::clock;
use crate::daemon::membership::Memberships;
use crate::error::CommandError;
use crate::home::{NodeHome, Root, create_private_dir_all, sync_parent};
use crate::keys;
use crate::registry::Registry;
use crate::secrets::Passphrase;
use crate::secrets::kdf::Cost;

/// Where copies of databases lie meanwhile, in the node's folder.
const WORK_FOLDER: &str = ".backup";
/// How long another process may hold a database: it writes a few rows.
const BUSY_PATIENCE: Duration = Duration::from_secs(20);

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// This database is being copied.
    Copying(&'a str),
    /// So many bytes of so many went through.
    Bytes(u64, u64),
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// The node.
    pub node: String,
    /// Its public key.
    pub key: String,
    /// The backup.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What is in it.
    pub contents: Vec<String>,
}

/// Where an item comes from.
enum Source {
    Memory(Zeroizing<Vec<u8>>),
    Copy(PathBuf),
}

/// Writes a backup of the node to `file`, a new file; it is on disk when this returns. What was begun is removed if it fails. `copy` has whoever can open the node's
/// database write a copy of it to a path.
pub fn make(
    root: &Root,
    home: &NodeHome,
    file: &Path,
    passphrase: &Passphrase,
    cost: Cost,
    copy: &mut dyn FnMut(&Path) -> Result<(), CommandError>,
    told: &mut dyn FnMut(Step<'_>),
) -> Result<Made, CommandError> {
    let work = Work::begin(home)?;
    let before = keys::public(home)?;
    let gathered = gather(home, &work, copy, told)?;
    if keys::public(home)? != before {
        return Err(CommandError::user("the node went on under its new key while its files were copied")
            .hint("make the backup again"));
    }
    let name: Name =
        home.name().parse().map_err(|e| CommandError::user(format!("{:?} is no name of a node: {e}", home.name())))?;
    let key = keys::public(home)?.to_string();
    let port = Registry::load(root).ok().and_then(|registry| registry.nodes.get(&name).and_then(|node| node.port));
    let mut items = Vec::new();
    for (item, source) in &gathered {
        items.push((item.clone(), length(source)?));
    }
    let list = List::new(name, key.clone(), clock::now_ms(), port, &items);

    let out = create(file)?;
    match write(out, &list, &gathered, passphrase, cost, told) {
        Ok(bytes) => Ok(Made {
            node: home.name().to_owned(),
            key,
            file: file.display().to_string(),
            bytes,
            contents: items.iter().map(|(item, _)| item.name()).collect(),
        }),
        Err(error) => {
            let _ = fs::remove_file(file);
            Err(match error {
                StreamError::Key(error) => error,
                StreamError::Write(why) => {
                    CommandError::io(format!("cannot write the backup {}", file.display()), &why)
                }
                other => CommandError::user(format!("cannot make the backup {}: {other}", file.display()))
                    .hint("nothing was left behind; try again"),
            })
        }
    }
}

/// Makes the new file. Never overwrites.
fn create(file: &Path) -> Result<File, CommandError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(file),
        _ => CommandError::io(format!("cannot write the backup {}", file.display()), &error),
    })
}

/// There is something already.
pub(crate) fn exists(file: &Path) -> CommandError {
    CommandError::user(format!("{} exists already", file.display()))
        .hint("a backup never overwrites anything; choose another name")
}

fn write(
    out: File,
    list: &List,
    gathered: &[(Item, Source)],
    passphrase: &Passphrase,
    cost: Cost,
    told: &mut dyn FnMut(Step<'_>),
) -> Result<u64, StreamError> {
    let text = serde_json::to_vec(list).map_err(|e| StreamError::Read(io::Error::other(e)))?;
    let length = u32::try_from(text.len()).map_err(|e| StreamError::Read(io::Error::other(e)))?;
    let mut sealer = Sealer::begin(out, passphrase, cost)?;
    sealer.put(&length.to_be_bytes())?;
    sealer.put(&text)?;
    let mut total = 0;
    for (_, source) in gathered {
        total += self::length(source).map_err(StreamError::Key)?;
    }
    let mut done = 0;
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    for (item, source) in gathered {
        match source {
            Source::Memory(bytes) => {
                sealer.put(bytes)?;
                done += bytes.len() as u64;
            }
            Source::Copy(path) => {
                let mut file = File::open(path).map_err(StreamError::Read)?;
                let (mut read, expected) = (0, file.metadata().map_err(StreamError::Read)?.len());
                loop {
                    let count = file.read(&mut buffer).map_err(StreamError::Read)?;
                    if count == 0 {
                        break;
                    }
                    sealer.put(&buffer[..count])?;
                    read += count as u64;
                    told(Step::Bytes(done + read, total));
                }
                if read != expected {
                    let why = format!("{} has changed meanwhile", item.name());
                    return Err(StreamError::Read(io::Error::other(why)));
                }
                done += read;
            }
        }
        told(Step::Bytes(done, total));
    }
    let mut out = sealer.end()?;
    (|| {
        out.flush()?;
        out.sync_all()?;
        Ok(out.metadata()?.len())
    })()
    .map_err(StreamError::Write)
}

fn gather(
    home: &NodeHome,
    work: &Work,
    copy: &mut dyn FnMut(&Path) -> Result<(), CommandError>,
    told: &mut dyn FnMut(Step<'_>),
) -> Result<Vec<(Item, Source)>, CommandError> {
    let mut gathered = vec![(Item::NodeKey, small(&home.key_file())?)];
    let others = [
        (Item::NextKey, home.next_key_file()),
        (Item::Rotation, home.rotation_file()),
        (Item::Seed, home.seed_file()),
        (Item::Config, home.config_file()),
    ];
    for (item, path) in others {
        if path.exists() {
            gathered.push((item, small(&path)?));
        }
    }
    let groups = Memberships::load(home)?.to_json()?;
    gathered.push((Item::Groups, Source::Memory(Zeroizing::new(groups.into_bytes()))));

    let store = work.path("store");
    told(Step::Copying("side.sqlite"));
    copy(&store)?;
    gathered.push((Item::Store, Source::Copy(store)));

    let btc = home.btc_folder();
    let swaps = Item::Swaps.path(home.path());
    if swaps.exists() {
        told(Step::Copying("swaps.sqlite"));
        let copy = work.path("swaps");
        copy_database(&swaps, &copy)?;
        gathered.push((Item::Swaps, Source::Copy(copy)));
    }
    for folder in names(&btc)? {
        let Some(item) = Item::wallet(&folder) else { continue };
        let path = item.path(home.path());
        if path.is_file() {
            told(Step::Copying(&item.name()));
            let copy = work.path(&format!("wallet-{folder}"));
            copy_database(&path, &copy)?;
            gathered.push((item, Source::Copy(copy)));
        }
    }
    for name in names(&home.path().join("peers"))? {
        if let Some(group) = GroupId::from_hex(&name) {
            let item = Item::Peers(group);
            let path = item.path(home.path());
            gathered.push((item, small(&path)?));
        }
    }
    Ok(gathered)
}

fn length(source: &Source) -> Result<u64, CommandError> {
    match source {
        Source::Memory(bytes) => Ok(bytes.len() as u64),
        Source::Copy(path) => fs::metadata(path)
            .map(|metadata| metadata.len())
            .map_err(|e| CommandError::io(format!("cannot read {}", path.display()), &e)),
    }
}

/// The names in a folder, in order. A folder that is not there has none.
fn names(folder: &Path) -> Result<Vec<String>, CommandError> {
    let failed = |e: &io::Error| CommandError::io(format!("cannot read {}", folder.display()), e);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| failed(&e))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(|e| failed(&e))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn small(path: &Path) -> Result<Source, CommandError> {
    let failed = |e: &io::Error| CommandError::io(format!("cannot read {}", path.display()), e);
    let file = File::open(path).map_err(|e| failed(&e))?;
    let length = file.metadata().map_err(|e| failed(&e))?.len();
    if length > MAX_SMALL_BYTES {
        return Err(CommandError::user(format!("{} is far too large", path.display())).hint("is this another file?"));
    }
    // With all its room from the beginning: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(MAX_SMALL_BYTES).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(Source::Memory(bytes))
}

/// Copies a database that other processes may have open, as it is at one moment.
fn copy_database(from: &Path, to: &Path) -> Result<(), CommandError> {
    // SQLite takes an empty file, and would make one that others can read.
    create(to)?;
    let copied = (|| {
        let db =
            Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY_PATIENCE)?;
        db.execute("VACUUM INTO ?1", params![to.to_string_lossy()])
    })();
    copied.map(drop).map_err(|why| {
        CommandError::user(format!("cannot copy {}: {why}", from.display()))
            .hint("check the disk; if another command uses the file, try again when it is done")
    })
}

/// A folder for copies, which are removed in the end. One backup of a node at a time.
struct Work {
    folder: PathBuf,
    _lock: File,
}

impl Work {
    fn begin(home: &NodeHome) -> Result<Self, CommandError> {
        let folder = home.path().join(WORK_FOLDER);
        let failed = |e: &io::Error| CommandError::io(format!("cannot use {}", folder.display()), e);
        create_private_dir_all(&folder).map_err(|e| failed(&e))?;
        // The folder itself is locked, so nothing has to be in it.
        let lock = File::open(&folder).map_err(|e| failed(&e))?;
        match fs4::FileExt::try_lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CommandError::user(format!("another backup of {} is being made", home.name()))
                    .hint("wait until it is done")
                    .busy());
            }
            Err(TryLockError::Error(e)) => return Err(failed(&e)),
        }
        // What a backup that was killed left here.
        for name in names(&folder)? {
            fs::remove_file(folder.join(name)).map_err(|e| failed(&e))?;
        }
        Ok(Self { folder, _lock: lock })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        let _ = sync_parent(&self.folder);
    }
}
