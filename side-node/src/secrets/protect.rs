//! All secrets of a node get a passphrase, another one, or none.
//!
//! Each file is replaced as a whole, one after the other. A crash in between leaves some with and some without, or some with the old and some with the new
//! passphrase; the same command, given again, brings the rest to where the first ones are. The caller holds the folder's lock.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::kdf::{Cost, Kdf, Key};
use super::keyring::{parse, wrong};
use super::locked::{Kind, Locked, WrongPassphrase};
use super::{Keyring, Passphrase};
use crate::error::CommandError;
use crate::home::{NodeHome, read_secret, remove_leftovers, replace_secret};
use crate::{keys, rotation};

/// Whether secrets are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// None is.
    None,
    /// Some are: a command was interrupted.
    Partly,
    /// All are.
    Full,
}

/// A secret's file as it is.
struct Place {
    kind: Kind,
    path: PathBuf,
    what: String,
    contents: Contents,
}

enum Contents {
    Plain(Zeroizing<String>),
    Locked(Locked),
}

/// How a node's secrets are kept.
pub fn state(home: &NodeHome) -> Result<Protection, CommandError> {
    let places = places(home)?;
    let locked = places.iter().filter(|place| matches!(place.contents, Contents::Locked(_))).count();
    Ok(match locked {
        0 => Protection::None,
        all if all == places.len() => Protection::Full,
        _ => Protection::Partly,
    })
}

/// Locks what is not locked yet. Where some is, `passphrase` has to be the one that opens it.
pub fn protect(home: &NodeHome, passphrase: &Passphrase, cost: Cost) -> Result<(), CommandError> {
    remove_leftovers(&home.keys_folder())?;
    let places = places(home)?;
    let mut lock: Option<(Kdf, Key)> = None;
    for place in &places {
        if let Contents::Locked(locked) = &place.contents {
            let key = locked.kdf().derive(passphrase)?;
            locked.open(&key).map_err(|error| wrong(error, &place.path, &place.what))?;
            lock = Some((locked.kdf(), key));
        }
    }
    let (kdf, key) = match lock {
        Some(lock) => lock,
        None => {
            let kdf = Kdf::fresh(cost)?;
            (kdf, kdf.derive(passphrase)?)
        }
    };
    for place in places {
        if let Contents::Plain(text) = &place.contents {
            place.write(&place.lock(text.trim(), kdf, &key)?)?;
        }
    }
    Ok(())
}

/// Opens everything for good.
pub fn unprotect(home: &NodeHome, keyring: &Keyring) -> Result<(), CommandError> {
    remove_leftovers(&home.keys_folder())?;
    // Everything is opened before anything is written.
    let mut opened = Vec::new();
    for place in places(home)? {
        if let Contents::Locked(locked) = &place.contents {
            let secret = text(keyring.open(locked, &place.path, &place.what)?, &place.path)?;
            opened.push((place, secret));
        }
    }
    opened.into_iter().try_for_each(|(place, secret)| place.write(&Zeroizing::new(format!("{}\n", *secret))))
}

/// Locks everything with another passphrase. What opens with the new one already was changed before a crash.
pub fn change(home: &NodeHome, old: &Passphrase, new: &Passphrase, cost: Cost) -> Result<(), CommandError> {
    remove_leftovers(&home.keys_folder())?;
    let kdf = Kdf::fresh(cost)?;
    let key = kdf.derive(new)?;
    let mut opened = Vec::new();
    for place in places(home)? {
        let secret = match &place.contents {
            Contents::Plain(text) => Zeroizing::new(text.trim().to_owned()),
            Contents::Locked(locked) => {
                let with = |passphrase: &Passphrase| -> Result<Result<_, WrongPassphrase>, CommandError> {
                    Ok(locked.open(&locked.kdf().derive(passphrase)?))
                };
                let secret = match with(old)? {
                    Ok(secret) => secret,
                    Err(error) => with(new)?.map_err(|_| wrong(error, &place.path, &place.what))?,
                };
                text(secret, &place.path)?
            }
        };
        opened.push((place, secret));
    }
    opened.into_iter().try_for_each(|(place, secret)| place.write(&place.lock(&secret, kdf, &key)?))
}

fn places(home: &NodeHome) -> Result<Vec<Place>, CommandError> {
    let key = |path| (Kind::NodeKey, path, home.key_called());
    let mut all = vec![key(home.key_file())];
    // The next key and retired ones, if there are any, and the wallet's words.
    all.extend(rotation::other_keys(home)?.into_iter().map(key));
    if home.seed_file().exists() {
        all.push((Kind::BitcoinSeed, home.seed_file(), home.seed_called()));
    }
    let mut places = Vec::new();
    for (kind, path, what) in all {
        let text = read_secret(&path)?;
        let contents = match Locked::is(text.as_bytes()) {
            true => Contents::Locked(parse(&text, kind, &path)?),
            false => Contents::Plain(text),
        };
        places.push(Place { kind, path, what, contents });
    }
    Ok(places)
}

impl Place {
    /// The text of a locked file with this secret.
    fn lock(&self, secret: &str, kdf: Kdf, key: &Key) -> Result<Zeroizing<String>, CommandError> {
        let public = match self.kind {
            Kind::NodeKey => Some(*keys::parse(secret, &self.path)?.author().as_bytes()),
            Kind::BitcoinSeed => None,
        };
        let locked = Locked::lock(self.kind, public, secret.as_bytes(), kdf, key)?;
        Ok(Zeroizing::new(locked.to_text()))
    }

    fn write(&self, text: &str) -> Result<(), CommandError> {
        replace_secret(&self.path, text.as_bytes())
            .map_err(|e| CommandError::io(format!("cannot write {}", self.path.display()), &e))
    }
}

fn text(secret: Zeroizing<Vec<u8>>, path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let text = std::str::from_utf8(&secret).map(|text| Zeroizing::new(text.to_owned()));
    text.map_err(|_| CommandError::user(format!("what is locked in {} is no text", path.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use bft_json_crdt::identity::Keypair;

    use super::*;
    use crate::btc::seed::Seed;
    use crate::home::Root;
    use crate::secrets::Sources;

    struct Test {
        folder: tempfile::TempDir,
        key: Keypair,
        words: Zeroizing<String>,
    }

    fn passphrase(words: &str) -> Passphrase {
        Passphrase::new(words.as_bytes().to_vec()).unwrap()
    }

    impl Test {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Root::find(Some(folder.path().to_owned())).unwrap().node("node1");
            let key = keys::create(&home, None).unwrap();
            let words = Seed::create(&home.seed_file(), None).unwrap().words();
            Self { folder, key, words }
        }

        /// As a process that reads its passphrase from a file sees the node.
        fn home(&self, words: &str) -> NodeHome {
            let file = self.folder.path().join("passphrase");
            let _ = fs::remove_file(&file);
            crate::home::create_secret_file(&file, words.as_bytes()).unwrap();
            let root = Root::find(Some(self.folder.path().to_owned())).unwrap();
            root.with_keyring(Keyring::new(Sources::file(file))).node("node1")
        }

        fn opens_with(&self, words: &str) {
            let home = self.home(words);
            assert_eq!(keys::load(&home).unwrap().to_seed(), self.key.to_seed());
            assert_eq!(Seed::load(&home.seed_file(), home.keyring()).unwrap().words(), self.words);
        }

        /// Every byte below the node's folder of secrets.
        fn bytes(&self) -> Vec<u8> {
            let files = fs::read_dir(self.home("-").keys_folder()).unwrap();
            files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
        }

        fn shows(&self, text: &str) -> bool {
            self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
        }
    }

    #[test]
    fn secrets_are_locked_changed_and_opened_again() {
        let test = Test::new();
        let home = test.home("first passphrase");
        let digits = hex::encode(test.key.to_seed());
        assert!(test.shows(&digits) && test.shows(&test.words));
        assert_eq!(state(&home).unwrap(), Protection::None);
        protect(&home, &passphrase("first passphrase"), Cost::LEAST).unwrap();
        assert_eq!(state(&home).unwrap(), Protection::Full);
        assert!(!test.shows(&digits) && !test.shows(&test.words));
        for path in [home.key_file(), home.seed_file()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        test.opens_with("first passphrase");
        // Who the node is, is no secret.
        assert_eq!(keys::public(&test.home("wrong")).unwrap(), test.key.author());
        let error = keys::load(&test.home("wrong")).unwrap_err();
        assert!(error.message().contains("the passphrase is wrong"), "{error}");
        let home = test.home("wrong");
        assert!(Seed::load(&home.seed_file(), home.keyring()).is_err());
        assert!(unprotect(&home, home.keyring()).is_err());
        assert!(change(&home, &passphrase("wrong"), &passphrase("second passphrase"), Cost::LEAST).is_err());
        test.opens_with("first passphrase");

        let home = test.home("first passphrase");
        change(&home, &passphrase("first passphrase"), &passphrase("second passphrase"), Cost::LEAST).unwrap();
        assert!(keys::load(&test.home("first passphrase")).is_err());
        test.opens_with("second passphrase");
        let home = test.home("second passphrase");
        unprotect(&home, home.keyring()).unwrap();
        assert_eq!(state(&home).unwrap(), Protection::None);
        test.opens_with("-");
        assert!(test.shows(&format!("{digits}\n")));
    }

    #[test]
    fn a_command_that_was_interrupted_is_finished_by_itself() {
        let test = Test::new();
        let home = test.home("first passphrase");
        let (key, seed) = (home.key_file(), home.seed_file());
        let plain = [fs::read(&key).unwrap(), fs::read(&seed).unwrap()];
        let put = |path: &Path, contents: &[u8]| fs::write(path, contents).unwrap();
        let (first, second) = (passphrase("first passphrase"), passphrase("second passphrase"));
        protect(&home, &first, Cost::LEAST).unwrap();
        let locked = fs::read(&key).unwrap();

        // Locking ended after one file.
        put(&seed, &plain[1]);
        assert_eq!(state(&home).unwrap(), Protection::Partly);
        assert!(protect(&home, &second, Cost::LEAST).is_err());
        assert_eq!(fs::read(&seed).unwrap(), plain[1]);
        protect(&home, &first, Cost::LEAST).unwrap();
        assert_eq!((state(&home).unwrap(), fs::read(&key).unwrap()), (Protection::Full, locked.clone()));
        test.opens_with("first passphrase");

        // Changing did.
        change(&home, &first, &second, Cost::LEAST).unwrap();
        put(&key, &locked);
        change(&home, &first, &second, Cost::LEAST).unwrap();
        test.opens_with("second passphrase");

        // Opening did, in the middle of a file.
        put(&seed, &plain[1]);
        put(&home.keys_folder().join("node.new-1234"), &plain[0]);
        let home = test.home("second passphrase");
        unprotect(&home, home.keyring()).unwrap();
        test.opens_with("-");
        assert!(!home.keys_folder().join("node.new-1234").exists());
    }

    #[test]
    fn a_new_wallet_of_a_locked_node_is_locked_as_well() {
        let test = Test::new();
        fs::remove_file(test.home("-").seed_file()).unwrap();
        let home = test.home("first passphrase");
        protect(&home, &passphrase("first passphrase"), Cost::LEAST).unwrap();
        let place = crate::btc::wallet::WalletPlace::new(&home, crate::btc::network::Network::Regtest);
        assert!(place.ensure_seed().unwrap());
        assert_eq!(state(&home).unwrap(), Protection::Full);
        let words = place.seed().unwrap().words();
        assert!(!test.shows(&words));
        // One derivation serves both.
        let text = |path| fs::read_to_string(path).unwrap().lines().nth(3).unwrap().to_owned();
        assert_eq!(text(home.key_file()), text(home.seed_file()));
    }

    #[test]
    fn a_locked_file_in_the_place_of_another_is_refused() {
        let test = Test::new();
        let home = test.home("first passphrase");
        protect(&home, &passphrase("first passphrase"), Cost::LEAST).unwrap();
        fs::copy(home.seed_file(), home.key_file()).unwrap();
        assert!(keys::load(&home).unwrap_err().message().contains("another secret"));
    }
}
