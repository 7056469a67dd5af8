//! What unlocks the secrets of a process: where the passphrase comes from, and the keys that were made of it.
//!
//! A passphrase is asked for once: the key that argon2id made of it stays in memory while the process runs, as the node's own key does, and is wiped when the
//! process is done with it. The passphrase itself is not kept.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::kdf::{Kdf, Key};
use super::locked::{Kind, Locked, WrongPassphrase};
use super::{Passphrase, Sources};
use crate::error::CommandError;
use crate::home::read_secret;

/// Most keys that are kept. A node has two secrets, and commands about two nodes have four.
const MAX_KEYS: usize = 8;

/// Opens locked secrets. Clones share what they know.
#[derive(Clone, Default)]
pub struct Keyring(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sources: Sources,
    known: Mutex<Vec<(Kdf, Key)>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    /// With a passphrase from `sources`, once it is needed.
    pub fn new(sources: Sources) -> Self {
        Self(Arc::new(Inner { sources, known: Mutex::default() }))
    }

    /// Where passphrases come from.
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Opens what was read from `path`. `what` is how a person calls it.
    pub fn open(&self, locked: &Locked, path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        self.unlock(locked, path, what).map(|(_, secret)| secret)
    }

    /// The key that opens `locked`, and what is in it.
    fn unlock(&self, locked: &Locked, path: &Path, what: &str) -> Result<(Key, Zeroizing<Vec<u8>>), CommandError> {
        let kdf = locked.kdf();
        let known = self.known().iter().find(|(known, _)| *known == kdf).map(|(_, key)| key.clone());
        if let Some(key) = known {
            let secret = locked.open(&key).map_err(|_| {
                CommandError::user(format!("{} was changed or damaged", path.display()))
                    .hint("another secret opens with this passphrase; put the file back from a backup")
            })?;
            return Ok((key, secret));
        }
        let key = kdf.derive(&self.0.sources.get(what)?)?;
        let secret = locked.open(&key).map_err(|error| wrong(error, path, what))?;
        self.remember(kdf, key.clone());
        Ok((key, secret))
    }

    /// What a new secret beside the one in `path` is to be locked with: the same as that one, or nothing. `path` may be missing.
    pub fn like(&self, path: &Path, what: &str) -> Result<Option<(Kdf, Key)>, CommandError> {
        if !path.exists() {
            return Ok(None);
        }
        let contents = read_secret(path)?;
        if !Locked::is(contents.as_bytes()) {
            return Ok(None);
        }
        let locked = Locked::from_text(&contents).map_err(|error| damaged(path, error))?;
        let (key, _) = self.unlock(&locked, path, what)?;
        Ok(Some((locked.kdf(), key)))
    }

    /// Makes a key of a passphrase that is at hand, and keeps it.
    pub(crate) fn learn(&self, kdf: Kdf, passphrase: &Passphrase) -> Result<Key, CommandError> {
        let key = kdf.derive(passphrase)?;
        self.remember(kdf, key.clone());
        Ok(key)
    }

    fn remember(&self, kdf: Kdf, key: Key) {
        let mut known = self.known();
        if known.len() == MAX_KEYS {
            known.remove(0);
        }
        known.push((kdf, key));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Vec<(Kdf, Key)>> {
        // Each change of the list is one step, so a panic elsewhere leaves it good.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a file's contents as a locked secret of this kind.
pub(crate) fn parse(contents: &str, kind: Kind, path: &Path) -> Result<Locked, CommandError> {
    let locked = Locked::from_text(contents).map_err(|error| damaged(path, error))?;
    if locked.kind() != kind {
        return Err(damaged(path, "it holds another secret"));
    }
    Ok(locked)
}

fn damaged(path: &Path, why: impl fmt::Display) -> CommandError {
    CommandError::user(format!("cannot read the locked secret {}: {why}", path.display()))
        .hint("put the file back from a backup (side-node restore); nobody can compute it anew")
}

pub(crate) fn wrong(error: WrongPassphrase, path: &Path, what: &str) -> CommandError {
    CommandError::user(format!("cannot unlock {what} ({}): {error}", path.display()))
        .hint("try again; if it is surely right, the file was changed: put it back from a backup (side-node restore)")
}
