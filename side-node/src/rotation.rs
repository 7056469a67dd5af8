//! A node's key is rotated: what lies in its folder meanwhile, and the moment in which the new key takes the old one's place (docs/adr/0017-rotating-a-key.md).
//!
//! ```text
//! prepare   keys/next.key, then keys/rotation.json (stage "proposed"): from here on the node proposes it in its groups
//! switch    stage "switching" ─► the witness also for the new key ─► retired/OLD.key ─► next.key becomes node.key ─► registry ─► no rotation.json
//! ```
//! Each step is durable before the next, and each is done once however often it is begun: whoever opens the folder next finishes a switch that was cut short. There is a `node.key` at every
//! moment, and no secret is removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bft_json_crdt::identity::{AuthorId, Keypair};
use serde::{Deserialize, Serialize};
use side_ledger::Name;

use crate::error::CommandError;
use crate::home::{NodeHome, Root, create_private_dir_all, replace_file, sync_parent};
use crate::keys;
use crate::registry::LockedRegistry;

/// The version of the file's format that this build reads and writes.
const VERSION: u32 = 1;
/// Most bytes of the file: two keys and a word.
const MAX_BYTES: u64 = 4096;
/// Longest witness: two short records (see side-store).
const MAX_WITNESS_BYTES: u64 = 4096;

/// How far a rotation is, as far as the folder goes. How far it is in each group, the group says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The node proposes the new key wherever it has not been decided yet.
    Proposed,
    /// All groups have it: the new key is taking the old one's place.
    Switching,
}

/// A rotation that is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The key that is to be retired.
    pub old: AuthorId,
    /// The key that takes its place.
    pub new: AuthorId,
    /// How far it is.
    pub stage: Stage,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    old: String,
    new: String,
    stage: Stage,
}

/// The rotation that is going on in this folder, if there is one.
pub fn read(home: &NodeHome) -> Result<Option<Rotation>, CommandError> {
    let path = home.rotation_file();
    match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CommandError::io(format!("cannot read {}", path.display()), &error)),
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(damaged(&path, "it is far too long")),
        Ok(_) => {}
    }
    let text =
        fs::read_to_string(&path).map_err(|e| CommandError::io(format!("cannot read {}", path.display()), &e))?;
    let written: Written = serde_json::from_str(&text).map_err(|e| damaged(&path, e))?;
    if written.version != VERSION {
        return Err(damaged(&path, format!("it has version {}", written.version)));
    }
    let key = |text: &str| AuthorId::from_hex(text).map_err(|e| damaged(&path, e));
    Ok(Some(Rotation { old: key(&written.old)?, new: key(&written.new)?, stage: written.stage }))
}

/// Makes the new key, or takes the one that was made before a crash, and writes down that it is to take the old one's place. The caller holds the folder's lock.
pub fn prepare(home: &NodeHome) -> Result<Rotation, CommandError> {
    if let Some(rotation) = read(home)? {
        return Ok(rotation);
    }
    let old = keys::load(home)?.author();
    let path = home.next_key_file();
    let new = match path.exists() {
        true => keys::load_at(home, &path)?,
        false => {
            let lock = home.keyring().like(&home.key_file(), &home.key_called())?;
            keys::create_at(&path, lock.as_ref())?
        }
    };
    let rotation = Rotation { old, new: new.author(), stage: Stage::Proposed };
    write(home, &rotation)?;
    Ok(rotation)
}

/// The key pair that the node proposes, if it does.
pub fn next_keypair(home: &NodeHome) -> Result<Option<Keypair>, CommandError> {
    let Some(rotation) = read(home)?.filter(|rotation| rotation.stage == Stage::Proposed) else { return Ok(None) };
    let keypair = keys::load_at(home, &home.next_key_file())?;
    match keypair.author() == rotation.new {
        true => Ok(Some(keypair)),
        false => Err(damaged(&home.rotation_file(), "it names another key than the one in next.key")),
    }
}

/// Puts the new key in the old one's place. All groups of the node have it, the database is closed, and the caller holds the folder's lock.
pub fn switch(root: &Root, home: &NodeHome) -> Result<(), CommandError> {
    if let Some(rotation) = read(home)? {
        write(home, &Rotation { stage: Stage::Switching, ..rotation })?;
        finish(root, home)?;
    }
    Ok(())
}

/// Finishes a switch that was cut short, if one was. The caller holds the folder's lock.
pub fn finish(root: &Root, home: &NodeHome) -> Result<(), CommandError> {
    let Some(rotation) = read(home)?.filter(|rotation| rotation.stage == Stage::Switching) else { return Ok(()) };
    let (old, new) = (rotation.old.to_string(), rotation.new.to_string());
    if keys::public(home)? != rotation.new {
        // The database is as new for the new key as it is for the old one.
        copy_witness(&root.witness_file(&old), &root.witness_file(&new))?;
        retire(home, &old)?;
        let (from, to) = (home.next_key_file(), home.key_file());
        fs::rename(&from, &to)
            .and_then(|()| sync_parent(&to))
            .map_err(|e| CommandError::io(format!("cannot move {} to {}", from.display(), to.display()), &e))?;
    }
    enter(root, home, &old, &new)?;
    let path = home.rotation_file();
    fs::remove_file(&path)
        .and_then(|()| sync_parent(&path))
        .map_err(|e| CommandError::io(format!("cannot remove {}", path.display()), &e))
}

/// The files of keys in a node's folder beside its present one: the next one, and those that were rotated.
pub fn other_keys(home: &NodeHome) -> Result<Vec<PathBuf>, CommandError> {
    let mut files: Vec<PathBuf> = Some(home.next_key_file()).filter(|path| path.exists()).into_iter().collect();
    let folder = home.retired_folder();
    let failed = |e: &std::io::Error| CommandError::io(format!("cannot read {}", folder.display()), e);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(failed(&error)),
    };
    for entry in entries {
        let path = entry.map_err(|e| failed(&e))?.path();
        if path.extension().is_some_and(|extension| extension == "key") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The key's file gets a second name, under which it stays.
fn retire(home: &NodeHome, old: &str) -> Result<(), CommandError> {
    let folder = home.retired_folder();
    let place = folder.join(format!("{old}.key"));
    let linked = create_private_dir_all(&folder).and_then(|()| match fs::hard_link(home.key_file(), &place) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    linked
        .and_then(|()| sync_parent(&place))
        .and_then(|()| sync_parent(&folder))
        .map_err(|e| CommandError::io(format!("cannot keep the old key as {}", place.display()), &e))
}

/// A witness that is missing or unreadable stays so: then the copy is suspected under the new key as it was under the old one.
fn copy_witness(from: &Path, to: &Path) -> Result<(), CommandError> {
    let failed = |e: &std::io::Error| CommandError::io(format!("cannot write {}", to.display()), e);
    match fs::metadata(from) {
        Ok(metadata) if metadata.len() <= MAX_WITNESS_BYTES => {
            let witness = fs::read(from).map_err(|e| failed(&e))?;
            replace_file(to, &witness).map_err(|e| failed(&e))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

/// Other nodes of this machine find the node under its new key.
fn enter(root: &Root, home: &NodeHome, old: &str, new: &str) -> Result<(), CommandError> {
    let Ok(name) = Name::new(home.name()) else { return Ok(()) };
    let mut locked = LockedRegistry::open(root)?;
    if let Some(node) = locked.registry.nodes.get_mut(&name)
        && node.key == old
    {
        new.clone_into(&mut node.key);
        locked.save()?;
    }
    Ok(())
}

fn write(home: &NodeHome, rotation: &Rotation) -> Result<(), CommandError> {
    let path = home.rotation_file();
    let written = Written {
        version: VERSION,
        old: rotation.old.to_string(),
        new: rotation.new.to_string(),
        stage: rotation.stage,
    };
    let text = serde_json::to_string_pretty(&written)
        .map_err(|e| CommandError::bug(format!("cannot write a rotation as JSON: {e}")))?;
    replace_file(&path, (text + "\n").as_bytes())
        .map_err(|e| CommandError::io(format!("cannot write {}", path.display()), &e))
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> CommandError {
    CommandError::user(format!("{} is damaged: {why}", path.display()))
        .hint("put keys/rotation.json and keys/next.key back from a backup; the new key may own what the old one did")
}

#[cfg(test)]
mod tests {
    use side_ledger::Name;

    use super::*;
    use crate::registry::LocalNode;

    fn node(folder: &tempfile::TempDir) -> (Root, NodeHome, AuthorId) {
        let root = Root::find(Some(folder.path().to_owned())).unwrap();
        let home = root.node("node1");
        let old = keys::create(&home, None).unwrap().author();
        let witness = root.witness_file(&old.to_string());
        create_private_dir_all(witness.parent().unwrap()).unwrap();
        fs::write(&witness, b"as far as this").unwrap();
        let mut registry = LockedRegistry::open(&root).unwrap();
        let local = LocalNode { key: old.to_string(), groups: vec![], port: Some(7), page: None };
        registry.registry.nodes.insert(Name::new("node1").unwrap(), local);
        registry.save().unwrap();
        (root, home, old)
    }

    fn is_switched(root: &Root, home: &NodeHome, old: &AuthorId, new: &AuthorId) {
        assert_eq!(keys::load(home).unwrap().author(), *new);
        let retired = home.retired_folder().join(format!("{old}.key"));
        assert_eq!(keys::load_at(home, &retired).unwrap().author(), *old);
        assert_eq!(other_keys(home).unwrap(), [retired]);
        assert_eq!(fs::read(root.witness_file(&new.to_string())).unwrap(), b"as far as this");
        let registry = crate::registry::Registry::load(root).unwrap();
        let local = &registry.nodes[&Name::new("node1").unwrap()];
        assert_eq!((local.key.clone(), local.port), (new.to_string(), Some(7)));
        assert_eq!((read(home), next_keypair(home).unwrap().is_none()), (Ok(None), true));
    }

    #[test]
    fn a_prepared_key_stays_the_same_until_it_takes_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let (root, home, old) = node(&folder);
        assert_eq!(read(&home), Ok(None));
        finish(&root, &home).unwrap();
        let rotation = prepare(&home).unwrap();
        assert_eq!((rotation.old, rotation.stage), (old, Stage::Proposed));
        assert_eq!(prepare(&home).unwrap(), rotation);
        assert_eq!(next_keypair(&home).unwrap().unwrap().author(), rotation.new);
        // Nothing is finished that was not begun.
        finish(&root, &home).unwrap();
        assert_eq!(keys::load(&home).unwrap().author(), old);
        // A crash between the key and the word about it: the key is not made twice.
        fs::remove_file(home.rotation_file()).unwrap();
        assert_eq!(prepare(&home).unwrap(), rotation);
        switch(&root, &home).unwrap();
        is_switched(&root, &home, &old, &rotation.new);
        switch(&root, &home).unwrap();
        // And the next time.
        let again = prepare(&home).unwrap();
        assert_eq!(again.old, rotation.new);
        assert_ne!(again.new, old);
    }

    /// Each state that a crash may leave, made by hand.
    #[test]
    fn a_switch_that_was_cut_short_anywhere_is_finished() {
        for done in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let (root, home, old) = node(&folder);
            let rotation = prepare(&home).unwrap();
            let new = rotation.new;
            write(&home, &Rotation { stage: Stage::Switching, ..rotation }).unwrap();
            assert!(next_keypair(&home).unwrap().is_none());
            if done > 0 {
                copy_witness(&root.witness_file(&old.to_string()), &root.witness_file(&new.to_string())).unwrap();
            }
            if done > 1 {
                retire(&home, &old.to_string()).unwrap();
            }
            if done > 2 {
                fs::rename(home.next_key_file(), home.key_file()).unwrap();
            }
            if done > 3 {
                enter(&root, &home, &old.to_string(), &new.to_string()).unwrap();
            }
            finish(&root, &home).unwrap();
            is_switched(&root, &home, &old, &new);
        }
    }

    #[test]
    fn a_file_that_is_none_is_refused_and_nothing_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (root, home, old) = node(&folder);
        let rotation = prepare(&home).unwrap();
        let good = fs::read_to_string(home.rotation_file()).unwrap();
        let long = "x".repeat(MAX_BYTES as usize + 1);
        let newer = good.replace("\"version\": 1", "\"version\": 2");
        let other = good.replace(&rotation.new.to_string(), &rotation.old.to_string());
        for bad in ["", "{}", &good[1..], &long, &newer, &good.replace("proposed", "done"), &other] {
            fs::write(home.rotation_file(), bad).unwrap();
            assert!(next_keypair(&home).is_err(), "{bad}");
            assert!(finish(&root, &home).is_err() || bad == other, "{bad}");
            assert_eq!(keys::load(&home).unwrap().author(), old);
        }
    }
}
