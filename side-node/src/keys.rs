//! The node's secret key on disk: created once, never overwritten with another, never printed. With a passphrase or without (see [`crate::secrets`]).

use std::path::Path;

use bft_json_crdt::identity::{AuthorId, Keypair};
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::home::{NodeHome, create_private_dir_all, create_secret_file, read_secret};
use crate::secrets::kdf::{Kdf, Key};
use crate::secrets::keyring;
use crate::secrets::locked::{Kind, Locked};

/// Draws a fresh key from the system's random source and writes it to the node's folder, locked if `lock` is given.
pub fn create(home: &NodeHome, lock: Option<&(Kdf, Key)>) -> Result<Keypair, CommandError> {
    create_at(&home.key_file(), lock)
}

/// The same in another file.
pub(crate) fn create_at(path: &Path, lock: Option<&(Kdf, Key)>) -> Result<Keypair, CommandError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|e| CommandError::bug(format!("the system's random source does not answer: {e}")))?;
    let keypair = Keypair::from_seed(&seed);
    if let Some(folder) = path.parent() {
        create_private_dir_all(folder)
            .map_err(|e| CommandError::io(format!("cannot create {}", folder.display()), &e))?;
    }
    let digits = Zeroizing::new(hex::encode(*seed));
    let text = match lock {
        None => Zeroizing::new(format!("{}\n", *digits)),
        Some((kdf, key)) => {
            let public = Some(*keypair.author().as_bytes());
            Zeroizing::new(Locked::lock(Kind::NodeKey, public, digits.as_bytes(), *kdf, key)?.to_text())
        }
    };
    create_secret_file(path, text.as_bytes()).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => CommandError::user(format!("{} exists already", path.display()))
            .hint("a key is never overwritten; choose another name, or move the old folder away yourself"),
        _ => CommandError::io(format!("cannot write the key {}", path.display()), &e),
    })?;
    Ok(keypair)
}

/// Reads the key, with the passphrase if it has one. Files that others could read are refused.
pub fn load(home: &NodeHome) -> Result<Keypair, CommandError> {
    load_at(home, &home.key_file())
}

/// The same from another file of the node's.
pub(crate) fn load_at(home: &NodeHome, path: &Path) -> Result<Keypair, CommandError> {
    let text = read_secret(path)?;
    if !Locked::is(text.as_bytes()) {
        return parse(&text, path);
    }
    let locked = keyring::parse(&text, Kind::NodeKey, path)?;
    let secret = home.keyring().open(&locked, path, &home.key_called())?;
    let keypair = std::str::from_utf8(&secret).map_err(|_| damaged(path)).and_then(|text| parse(text, path))?;
    match locked.public() {
        Some(public) if public == *keypair.author().as_bytes() => Ok(keypair),
        _ => Err(damaged(path)),
    }
}

/// Who the node is. Takes no passphrase.
pub fn public(home: &NodeHome) -> Result<AuthorId, CommandError> {
    let path = home.key_file();
    let text = read_secret(&path)?;
    if !Locked::is(text.as_bytes()) {
        return Ok(parse(&text, &path)?.author());
    }
    let public = keyring::parse(&text, Kind::NodeKey, &path)?.public().ok_or_else(|| damaged(&path))?;
    AuthorId::from_bytes(public).map_err(|_| damaged(&path))
}

/// Reads a key's text; `path` is for the error.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Keypair, CommandError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut()).map_err(|_| damaged(path))?;
    Ok(Keypair::from_seed(&seed))
}

fn damaged(path: &Path) -> CommandError {
    CommandError::user(format!("{} is damaged: a key is 64 hexadecimal digits", path.display()))
        .hint("restore the file from a backup; nobody can compute it anew")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::home::Root;

    fn home(folder: &tempfile::TempDir) -> NodeHome {
        Root::find(Some(folder.path().to_owned())).unwrap().node("node1")
    }

    #[test]
    fn a_key_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let path = home.key_file();
        let made = create(&home, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(load(&home).unwrap().author(), made.author());
        assert_eq!(public(&home).unwrap(), made.author());
        assert!(create(&home, None).unwrap_err().to_string().contains("exists already"));
        assert_eq!(load(&home).unwrap().author(), made.author());
    }

    #[test]
    fn wrong_permissions_on_keys_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        create(&home, None).unwrap();
        fs::set_permissions(home.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = load(&home).unwrap_err().to_string();
        assert!(error.contains("mode 644") && error.contains("chmod go-rwx"), "{error}");
    }
}
