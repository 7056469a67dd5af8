//! The node's folder and the files in it: whose they are, who may read them, whether they can be understood.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::{Found, Patient};
use crate::config::ConfigFile;
use crate::daemon::membership::Memberships;
use crate::home::require_private;
use crate::keys;
use crate::registry::Registry;
use crate::secrets;
use crate::secrets::protect::{self, Protection};

/// Whether the folder and what lies in it belong to this user and to nobody else, and can be written.
pub fn folder(patient: &Patient) -> Vec<Found> {
    let home = &patient.home;
    let mut found = Vec::new();
    for path in [home.path().to_owned(), home.database_file(), home.groups_file(), home.config_file(), home.key_file()]
    {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // The database and the configuration have checks of their own.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path != home.path() => continue,
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                found.push(Found::trouble(what, format!("check who owns it: ls -ld {}", path.display())));
                continue;
            }
        };
        let me = rustix::process::geteuid().as_raw();
        if metadata.uid() != me {
            found.push(Found::trouble(
                format!("{} belongs to user {}, and you are {me}", path.display(), metadata.uid()),
                format!("run as the user who made the node, or: sudo chown -R {me} {}", home.path().display()),
            ));
        } else if metadata.permissions().mode() & 0o200 == 0 {
            let what = format!("{} cannot be written", path.display());
            found.push(Found::trouble(what, format!("chmod u+w {}", path.display())));
        }
        if metadata.is_dir()
            && let Err(error) = require_private(&path)
        {
            found.push(Found::error(&error));
        }
    }
    if let Err(error) = Memberships::load(home) {
        found.push(Found::error(&error));
    }
    if found.is_empty() {
        found.push(Found::good(format!("{} is yours alone", home.path().display())));
    }
    found
}

/// Whether the node's key is there, readable by this user alone, the one that the registry knows, and opened by the passphrase that is given.
pub fn key(patient: &Patient) -> Vec<Found> {
    let path = patient.home.key_file();
    if !path.exists() {
        return vec![Found::trouble(
            format!("{} is missing", path.display()),
            "restore the node from a backup; without its key nobody can write as this node",
        )];
    }
    for private in [path.parent(), Some(path.as_path())].into_iter().flatten() {
        if let Err(error) = require_private(private) {
            return vec![Found::error(&error)];
        }
    }
    // Takes no passphrase.
    match keys::public(&patient.home).map(|key| key.to_string()) {
        Err(error) => vec![Found::error(&error)],
        Ok(key) => match patient.registered_key() {
            Some(registered) if registered != key => vec![Found::trouble(
                format!("the registry has another key for {}", patient.home.name()),
                format!(
                    "the folder was exchanged; if that is meant, put {} aside and run: side-node init {}",
                    patient.root.registry_file().display(),
                    patient.home.name()
                ),
            )],
            _ => vec![passphrase(patient)],
        },
    }
}

/// Whether the passphrase that is at hand opens what is locked. Nobody is asked for one.
fn passphrase(patient: &Patient) -> Found {
    let home = &patient.home;
    let name = home.name();
    match protect::state(home) {
        Err(error) => Found::error(&error),
        Ok(Protection::None) => Found::good("the key can be read, by you alone"),
        Ok(Protection::Partly) => Found::trouble(
            "not all of the node's secrets are locked: the command that locks or unlocks them was interrupted",
            format!("give it again: side-node key protect {name}"),
        ),
        Ok(Protection::Full) if !home.keyring().sources().is_written() => Found::good(format!(
            "the key is locked; a terminal is asked for the passphrase, and a service needs a file: {}=FILE",
            secrets::passphrase::FILE_VARIABLE
        )),
        Ok(Protection::Full) => match secrets::unlock(home) {
            Ok(()) => Found::good("the key is locked, and the passphrase that is given opens it"),
            Err(error) => Found::trouble(
                error.message(),
                format!(
                    "look into the file that --passphrase-file, {} or the service's credential names; nobody can compute a passphrase anew, but a backup has one \
                     of its own: side-node restore FILE",
                    secrets::passphrase::FILE_VARIABLE
                ),
            ),
        },
    }
}

/// Whether the configuration can be understood.
pub fn config(patient: &Patient) -> Vec<Found> {
    let path = patient.home.config_file();
    match ConfigFile::load(&path) {
        Err(error) => vec![Found::error(&error)],
        Ok(_) if !path.exists() => vec![Found::good("there is no config.toml; all settings are the defaults")],
        Ok(_) => vec![Found::good("config.toml is understood")],
    }
}

/// Whether the registry of this root can be read and has the node.
pub fn registry(patient: &Patient) -> Vec<Found> {
    let name = patient.home.name();
    match Registry::load(&patient.root) {
        Err(error) => vec![Found::error(&error)],
        Ok(registry) if !registry.nodes.keys().any(|known| known.as_str() == name) => vec![Found::trouble(
            format!("the registry of {} does not have {name}", patient.root.path().display()),
            format!("enter it: side-node init {name}"),
        )],
        Ok(registry) => {
            let count = registry.nodes.len();
            vec![Found::good(format!("{count} node{} in this root", if count == 1 { "" } else { "s" }))]
        }
    }
}
