//! A passphrase, and where it comes from: a file, a credential of systemd, or a person at a terminal. Never an argument or a variable's value, which other
//! programs can read.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::prompt;
use crate::error::CommandError;

/// The environment variable that names a file with the passphrase.
pub const FILE_VARIABLE: &str = "SIDE_PASSPHRASE_FILE";
/// The folder in which systemd gives a service its credentials.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The credential's name.
const CREDENTIAL: &str = "side-passphrase";
/// Most bytes of a passphrase: a long sentence. What is longer is another file.
pub const MAX_BYTES: usize = 1024;
/// Fewest characters of a new one: what is shorter is guessed whatever it costs.
pub const MIN_NEW_CHARACTERS: usize = 8;

/// What a person knows. Forgotten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Passphrase {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// Says why it is none.
    pub fn new(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0 => Err("it is empty"),
            1..=MAX_BYTES => Ok(Self(bytes)),
            _ => Err("it is longer than 1024 bytes"),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn check_new(self) -> Result<Self, CommandError> {
        let characters = String::from_utf8_lossy(&self.0).chars().count();
        if characters < MIN_NEW_CHARACTERS {
            return Err(CommandError::user(format!(
                "a new passphrase has at least {MIN_NEW_CHARACTERS} characters; this one has {characters}"
            ))
            .hint("several words that do not belong together are easy to keep in mind and hard to guess"));
        }
        Ok(self)
    }
}

/// Where a passphrase comes from: the first of these that there is.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    credential: Option<PathBuf>,
    terminal: bool,
}

impl Sources {
    /// The flag, else `SIDE_PASSPHRASE_FILE`, else the credential that systemd gives, else the terminal.
    pub fn find(flag: Option<PathBuf>) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            file: flag.or_else(|| variable(FILE_VARIABLE)),
            credential: variable(CREDENTIALS_VARIABLE)
                .map(|folder| folder.join(CREDENTIAL))
                .filter(|file| file.exists()),
            terminal: true,
        }
    }

    /// This file and nothing else.
    pub fn file(path: PathBuf) -> Self {
        Self { file: Some(path), ..Self::default() }
    }

    /// The terminal and nothing else.
    pub fn terminal() -> Self {
        Self { terminal: true, ..Self::default() }
    }

    /// Whether one is at hand without asking anybody.
    pub fn is_written(&self) -> bool {
        self.file.is_some() || self.credential.is_some()
    }

    /// The passphrase that `what` is locked with.
    pub fn get(&self, what: &str) -> Result<Passphrase, CommandError> {
        match self.written()? {
            Some(passphrase) => Ok(passphrase),
            None => self.typed(&format!("passphrase of {what}: "), what),
        }
    }

    /// A passphrase to lock `what` with from now on: a person types it twice.
    pub fn get_new(&self, what: &str) -> Result<Passphrase, CommandError> {
        if let Some(passphrase) = self.written()? {
            return passphrase.check_new();
        }
        let first = self.typed(&format!("new passphrase of {what}: "), what)?.check_new()?;
        if first != self.typed("the same once more: ", what)? {
            return Err(CommandError::user("the two passphrases differ").hint("nothing was changed; try again"));
        }
        Ok(first)
    }

    fn written(&self) -> Result<Option<Passphrase>, CommandError> {
        match (&self.file, &self.credential) {
            // Whoever is in the group of a service's credential is let in by systemd, which shows in the mode as the group's right to read.
            (Some(path), _) => read(path, 0o077).map(Some),
            (None, Some(path)) => read(path, 0o007).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn typed(&self, prompt: &str, what: &str) -> Result<Passphrase, CommandError> {
        let nowhere = |why: String| {
            CommandError::user(format!("{what} is locked with a passphrase, and {why}")).hint(format!(
                "put it in a file that only you can read: --passphrase-file FILE or {FILE_VARIABLE}=FILE; a service takes it as credential {CREDENTIAL}"
            ))
        };
        if !self.terminal {
            return Err(nowhere("nobody was asked for it".to_owned()));
        }
        let typed = prompt::ask(prompt, MAX_BYTES).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => CommandError::user("interrupted").hint("nothing was changed"),
            _ => nowhere(format!("it cannot be asked for: {error}")),
        })?;
        Passphrase::new(typed.to_vec()).map_err(|why| CommandError::user(format!("this is no passphrase: {why}")))
    }
}

/// Reads one line. `others` are the bits of the mode that must not be set.
fn read(path: &Path, others: u32) -> Result<Passphrase, CommandError> {
    let failed = |e: &std::io::Error| CommandError::io(format!("cannot read the passphrase in {}", path.display()), e);
    let file = File::open(path).map_err(|e| failed(&e))?;
    // Of the open file: what the path leads to may be another one by now.
    let mode = file.metadata().map_err(|e| failed(&e))?.permissions().mode() & 0o777;
    if mode & others != 0 {
        return Err(CommandError::user(format!("{} can be read by others (mode {mode:03o})", path.display()))
            .hint(format!("chmod go-rwx {}", path.display())));
    }
    // With room for the longest one and its line end: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 4));
    file.take(MAX_BYTES as u64 + 3).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let good = if line.contains(&b'\n') { Err("it has more than one line") } else { Passphrase::new(line.to_vec()) };
    good.map_err(|why| {
        CommandError::user(format!("{} holds no passphrase: {why}", path.display()))
            .hint(format!("it is one line of at most {MAX_BYTES} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(folder: &tempfile::TempDir, contents: &[u8], mode: u32) -> PathBuf {
        let path = folder.path().join("passphrase");
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_gives_its_one_line() {
        let folder = tempfile::tempdir().unwrap();
        for (contents, expected) in [
            (&b"correct horse"[..], Ok(&b"correct horse"[..])),
            (b"correct horse\n", Ok(b"correct horse")),
            (b" spaces count \r\n", Ok(b" spaces count ")),
            (b"", Err("it is empty")),
            (b"\n", Err("it is empty")),
            (b"one\ntwo\n", Err("more than one line")),
        ] {
            let got = Sources::file(write(&folder, contents, 0o600)).get("it");
            match expected {
                Ok(expected) => assert_eq!(got.unwrap().bytes(), expected),
                Err(why) => assert!(got.unwrap_err().message().contains(why)),
            }
        }
        let longest = vec![b'x'; MAX_BYTES];
        assert!(Sources::file(write(&folder, &longest, 0o600)).get("it").is_ok());
        let error = Sources::file(write(&folder, &vec![b'x'; 1 << 20], 0o600)).get("it").unwrap_err();
        assert!(error.message().contains("longer than 1024"), "{error}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o644] {
            let error = Sources::file(write(&folder, b"correct horse", mode)).get("it").unwrap_err();
            assert!(error.message().contains("can be read by others"), "{error}");
        }
        let mut sources = Sources { credential: Some(write(&folder, b"correct horse", 0o440)), ..Sources::default() };
        assert!(sources.get("it").is_ok());
        sources.credential = Some(write(&folder, b"correct horse", 0o444));
        assert!(sources.get("it").is_err());
    }

    #[test]
    fn a_new_one_is_not_short_and_an_old_one_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources::file(write(&folder, "sieben¾".as_bytes(), 0o600));
        assert!(sources.get("it").is_ok());
        assert!(sources.get_new("it").unwrap_err().message().contains("at least 8 characters; this one has 7"));
    }

    #[test]
    fn without_any_source_the_error_names_them() {
        let error = Sources::default().get("the key of node1").unwrap_err();
        assert!(error.message().contains("the key of node1 is locked"), "{error}");
        assert!(error.next_step().unwrap().contains(FILE_VARIABLE));
    }
}
