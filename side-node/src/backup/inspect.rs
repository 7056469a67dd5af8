//! Whether what came out of a backup is a node: every file is read as the node would read it.

use std::path::Path;

use bdk_wallet::rusqlite::{Connection, OpenFlags};
use side_ledger::GroupId;
use side_store::identity::suspect;
use side_store::{LoadBounds, OpenOptions, SqliteStore, Store as _};

use super::contents::{Item, List};
use crate::btc::seed::Seed;
use crate::config::ConfigFile;
use crate::daemon::membership::Memberships;
use crate::error::CommandError;
use crate::home::NodeHome;
use crate::keys;
use crate::member::store_error;
use crate::secrets::keyring;
use crate::secrets::locked::{Kind, Locked};

/// What a backup holds, once everything in it was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inspected {
    pub(super) groups: u64,
    pub(super) changes: u64,
    pub(super) locked: bool,
}

/// A secret, in memory. Says whether it is locked.
pub(super) fn secret(item: &Item, bytes: &[u8], list: &List) -> Result<bool, CommandError> {
    let name = item.name();
    let path = Path::new(&name);
    let bad = |why: &str| CommandError::user(format!("{name} in the backup is damaged: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|_| bad("it is no text"))?;
    let locked = Locked::is(bytes);
    match item {
        Item::NodeKey => {
            let public = match locked {
                true => hex::encode(keyring::parse(text, Kind::NodeKey, path)?.public().unwrap_or_default()),
                false => keys::parse(text, path)?.author().to_string(),
            };
            if public != list.key {
                return Err(bad("it is the key of another node"));
            }
        }
        Item::NextKey if locked => drop(keyring::parse(text, Kind::NodeKey, path)?),
        Item::NextKey => drop(keys::parse(text, path)?),
        Item::Seed if locked => drop(keyring::parse(text, Kind::BitcoinSeed, path)?),
        Item::Seed => {
            Seed::parse(text, path).map_err(|error| bad(&error.to_string()))?;
        }
        _ => {}
    }
    Ok(locked)
}

/// The files in a folder. `reason` is why the database is suspected from now on.
pub(super) fn folder(home: &NodeHome, items: &[(Item, u64)], reason: &str) -> Result<Inspected, CommandError> {
    let mut inspected = Inspected::default();
    ConfigFile::load(&home.config_file())?;
    let memberships = Memberships::load(home)?;
    inspected.groups = memberships.iter().len() as u64;
    for (item, _) in items {
        let path = item.path(home.path());
        match item {
            Item::Store => inspected.changes = store(&path, reason)?,
            Item::Swaps | Item::Wallet(_) => database(&path, &item.name())?,
            _ => {}
        }
    }
    Ok(inspected)
}

/// Reads every change; how many there are. Marks the database.
fn store(path: &Path, reason: &str) -> Result<u64, CommandError> {
    let options = OpenOptions { create: false, check: true, ..OpenOptions::default() };
    let mut store = SqliteStore::open(path, &options).map_err(store_error)?;
    suspect(&mut store, reason).map_err(store_error)?;
    let groups: Vec<GroupId> = store.groups().map_err(store_error)?.into_iter().map(|record| record.group).collect();
    let mut changes = 0;
    for group in groups {
        let mut from = 0;
        loop {
            let page = store.load(&group, from, LoadBounds::default()).map_err(store_error)?.len() as u64;
            if page == 0 {
                break;
            }
            from += page;
        }
        changes += from;
    }
    store.close().map_err(store_error)?;
    Ok(changes)
}

/// The structure of a database of another kind.
fn database(path: &Path, name: &str) -> Result<(), CommandError> {
    let report = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|db| {
        db.pragma_update(None, "trusted_schema", "OFF")?;
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    match report {
        Ok(report) if report == "ok" => Ok(()),
        Ok(report) => Err(CommandError::user(format!("{name} in the backup is damaged: {report}"))),
        Err(why) => Err(CommandError::user(format!("{name} in the backup is damaged: {why}"))),
    }
}
