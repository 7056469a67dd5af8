//! The data folder: who may read it, who holds it, and the relay's identity key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bft_json_crdt::identity::Keypair;
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// The identity key's file: 64 hexadecimal digits, mode 0600.
pub const IDENTITY_FILE: &str = "identity.key";
/// The witness's file, where it cannot lie beside the folder; see [`side_store::identity`].
const WITNESS_FILE: &str = "witness";
/// The lock's file: one process a folder.
pub const LOCK_FILE: &str = "lock";

/// What is wrong with the data folder. Each message names the remedy.
#[derive(Debug, Error)]
pub enum DataError {
    /// Something could not be read or written.
    #[error(
        "cannot {what} {path}: {cause}; check that the folder exists, that the disk has room and that you may write there, or choose another with --data"
    )]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another process holds the folder.
    #[error("another side-watcher{} uses {path}; stop it, or choose another folder with --data", holder.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, if it said so.
        holder: Option<u32>,
    },
    /// Others may read the identity key.
    #[error("others can read the relay's identity key {path} (mode {mode:o}); if nobody has, run: chmod 600 {path}")]
    Permissions {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key's file holds something else.
    #[error(
        "{0} does not hold a key (64 hexadecimal digits); restore it from a copy, or move it away: the relay then gets a new identity, and nodes that pinned the old one refuse it"
    )]
    Key(PathBuf),
    /// The system has no randomness to give.
    #[error("the system gives no randomness for a new key: {0}")]
    Random(getrandom::Error),
}

/// A data folder that this process holds, until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder (mode 0700) if it is not there, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("make the folder", path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            return Err(DataError::Locked { path: path.to_owned(), holder: holder.trim().parse().ok() });
        }
        lock.set_len(0).map_err(io_error("write", &lock_path))?;
        writeln!(lock, "{}", std::process::id()).map_err(io_error("write", &lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether no relay has ever run with this folder.
    pub fn is_new(&self) -> bool {
        !self.path.join(IDENTITY_FILE).exists()
    }

    /// Where the witness lies that tells whether the folder was put back: where it was asked to; else within, where it tells less.
    pub fn witness(&self, asked: Option<&Path>) -> PathBuf {
        let outside = asked.filter(|path| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let may_write = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok();
            if !may_write {
                tracing::warn!(
                    path = %path.display(),
                    "cannot keep the witness there: a folder that is put back as a whole will not be noticed. Choose another place with --witness"
                );
            }
            may_write
        });
        outside.map_or_else(|| self.path.join(WITNESS_FILE), Path::to_owned)
    }

    /// The relay's identity: read, or made on the first start and then never overwritten.
    pub fn identity(&self) -> Result<Keypair, DataError> {
        let path = self.path.join(IDENTITY_FILE);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let made = make_key(&mut file, &path);
                if made.is_err() {
                    // Half a key would stand in the way of the next start. It has never been used.
                    let _ = fs::remove_file(&path);
                }
                made
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_key(&path),
            Err(error) => Err(io_error("make", &path)(error)),
        }
    }
}

fn make_key(file: &mut File, path: &Path) -> Result<Keypair, DataError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(DataError::Random)?;
    let keypair = Keypair::from_seed(&seed);
    writeln!(file, "{}", hex::encode(seed)).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("write", path))?;
    Ok(keypair)
}

fn read_key(path: &Path) -> Result<Keypair, DataError> {
    let mut file = File::open(path).map_err(io_error("read", path))?;
    let mode = file.metadata().map_err(io_error("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DataError::Permissions { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io_error("read", path))?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| DataError::Key(path.to_owned()))?;
    Ok(Keypair::from_seed(&seed))
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> DataError {
    move |cause| DataError::Io { what, path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_made_once_kept_private_and_read_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = DataFolder::open(&path).unwrap().identity().unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(IDENTITY_FILE)), 0o600);
        let again = DataFolder::open(&path).unwrap().identity().unwrap();
        assert_eq!(first.author(), again.author());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused_with_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        folder.identity().unwrap();
        let path = root.path().join(IDENTITY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = folder.identity().unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(folder.identity(), Err(DataError::Key(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "short", "a damaged key is not overwritten");
    }

    #[test]
    fn a_second_process_on_the_same_folder_is_told_who_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let held = DataFolder::open(root.path()).unwrap();
        let error = DataFolder::open(root.path()).unwrap_err();
        assert!(matches!(error, DataError::Locked { holder: Some(pid), .. } if pid == std::process::id()));
        drop(held);
        DataFolder::open(root.path()).unwrap();
    }
}
