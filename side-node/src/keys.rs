//! The node's secret key on disk: created once, never overwritten, never printed.

use std::fs;
use std::path::Path;

use bft_json_crdt::identity::Keypair;
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::home::{create_private_dir_all, create_secret_file, require_private};

/// Draws a fresh key from the system's random source and writes it to `path`.
pub fn create(path: &Path) -> Result<Keypair, CommandError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|e| CommandError::bug(format!("the system's random source does not answer: {e}")))?;
    let keypair = Keypair::from_seed(&seed);
    if let Some(folder) = path.parent() {
        create_private_dir_all(folder)
            .map_err(|e| CommandError::io(format!("cannot create {}", folder.display()), &e))?;
    }
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*seed))));
    create_secret_file(path, text.as_bytes()).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => CommandError::user(format!("{} exists already", path.display()))
            .hint("a key is never overwritten; choose another name, or move the old folder away yourself"),
        _ => CommandError::io(format!("cannot write the key {}", path.display()), &e),
    })?;
    Ok(keypair)
}

/// Reads the key. Files that others could read are refused.
pub fn load(path: &Path) -> Result<Keypair, CommandError> {
    if let Some(folder) = path.parent() {
        require_private(folder)?;
    }
    require_private(path)?;
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|e| CommandError::io(format!("cannot read the key {}", path.display()), &e))?;
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut()).map_err(|_| {
        CommandError::user(format!("{} is damaged: a key is 64 hexadecimal digits", path.display()))
            .hint("restore the file from a backup; nobody can compute it anew")
    })?;
    Ok(Keypair::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys").join("node.key");
        let made = create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(load(&path).unwrap().author(), made.author());
        assert!(create(&path).unwrap_err().to_string().contains("exists already"));
        assert_eq!(load(&path).unwrap().author(), made.author());
    }

    #[test]
    fn wrong_permissions_on_keys_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys").join("node.key");
        create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("mode 644") && error.contains("chmod go-rwx"), "{error}");
    }
}
