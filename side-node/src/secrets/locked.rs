//! One secret in one file, locked with a passphrase.
//!
//! ```text
//! side-locked-secret 1
//! holds node-key
//! public 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c     or -
//! argon2id memory=65536 passes=6 lanes=1 salt=…
//! nonce …
//! box …
//! ```
//! Rules:
//! - The box is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under the key that argon2id makes of the passphrase. Every line above it is authenticated with
//!   it: who changes one gets an error, not another key.
//! - There is one spelling of a file; what is read is written again and compared.
//! - The secret is padded to a multiple of 256 bytes, so that a file's length tells nothing of it.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

use super::kdf::{Cost, CostError, Kdf, Key, SALT_BYTES};
use crate::clock;
use crate::error::CommandError;

/// What a locked file begins with.
const MAGIC: &str = "side-locked-secret";
/// The version of the format that this build reads and writes.
const VERSION: &str = "1";
/// Most bytes of a file: a locked secret has less than half of it.
pub const MAX_FILE_BYTES: u64 = 4096;
/// A secret is filled up to a multiple of this: the longest, 24 words, are less.
const PAD: usize = 256;
/// Bytes of a nonce, which is drawn at random: there are enough of them that none comes twice.
const NONCE_BYTES: usize = 24;
/// Bytes of the authentication tag behind what is encrypted.
const TAG_BYTES: usize = 16;

/// What a file holds. Part of what is authenticated, so that no file passes for another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The seed of the node's key.
    NodeKey,
    /// The words of the Bitcoin wallet.
    BitcoinSeed,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::NodeKey => "node-key",
            Self::BitcoinSeed => "bitcoin-seed",
        }
    }
}

/// Why a file is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LockedError {
    /// Another form.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// A version that this build does not know.
    #[error("it has another version than {VERSION}")]
    Version,
    /// It would cost too much.
    #[error(transparent)]
    Cost(#[from] CostError),
}

/// The passphrase is another one, or the file was changed: nobody can tell which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the passphrase is wrong")]
pub struct WrongPassphrase;

/// A locked secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    kind: Kind,
    public: Option<[u8; 32]>,
    kdf: Kdf,
    nonce: [u8; NONCE_BYTES],
    sealed: Vec<u8>,
}

impl Locked {
    /// Whether a file's contents are a locked secret, of whatever version.
    pub fn is(contents: &[u8]) -> bool {
        contents.starts_with(MAGIC.as_bytes())
    }

    /// Locks a secret with the key that `kdf` made. `public` is what everybody may know of it.
    pub fn lock(
        kind: Kind,
        public: Option<[u8; 32]>,
        secret: &[u8],
        kdf: Kdf,
        key: &Key,
    ) -> Result<Self, CommandError> {
        let bug = || CommandError::bug("a secret is too long to be locked");
        let padded_length = (secret.len() + 2).next_multiple_of(PAD);
        let mut padded = Zeroizing::new(Vec::with_capacity(padded_length + TAG_BYTES));
        padded.extend_from_slice(&u16::try_from(secret.len()).map_err(|_| bug())?.to_be_bytes());
        padded.extend_from_slice(secret);
        padded.resize(padded_length, 0);
        let mut locked = Self { kind, public, kdf, nonce: clock::random()?, sealed: Vec::new() };
        let head = locked.head();
        let payload = Payload { msg: &padded, aad: head.as_bytes() };
        locked.sealed = cipher(key).encrypt(XNonce::from_slice(&locked.nonce), payload).map_err(|_| bug())?;
        Ok(locked)
    }

    /// Opens it.
    pub fn open(&self, key: &Key) -> Result<Zeroizing<Vec<u8>>, WrongPassphrase> {
        let head = self.head();
        let payload = Payload { msg: &self.sealed, aad: head.as_bytes() };
        let padded = cipher(key).decrypt(XNonce::from_slice(&self.nonce), payload).map_err(|_| WrongPassphrase)?;
        let padded = Zeroizing::new(padded);
        let (length, rest) = padded.split_first_chunk::<2>().ok_or(WrongPassphrase)?;
        let secret = rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or(WrongPassphrase)?;
        Ok(Zeroizing::new(secret.to_vec()))
    }

    /// What is known of it without the passphrase.
    pub fn public(&self) -> Option<[u8; 32]> {
        self.public
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How a passphrase becomes its key.
    pub fn kdf(&self) -> Kdf {
        self.kdf
    }

    /// Everything above the box.
    fn head(&self) -> String {
        let Kdf { cost, salt } = self.kdf;
        format!(
            "{MAGIC} {VERSION}\nholds {}\npublic {}\nargon2id memory={} passes={} lanes={} salt={}\nnonce {}\n",
            self.kind.word(),
            self.public.map_or_else(|| "-".to_owned(), hex::encode),
            cost.memory_kib(),
            cost.passes(),
            cost.lanes(),
            hex::encode(salt),
            hex::encode(self.nonce),
        )
    }

    /// The file's contents.
    pub fn to_text(&self) -> String {
        format!("{}box {}\n", self.head(), hex::encode(&self.sealed))
    }

    /// Reads a file's contents.
    ///
    /// # Errors
    /// [`LockedError`]; whatever the contents, no more is done and kept than their length.
    pub fn from_text(text: &str) -> Result<Self, LockedError> {
        let damaged = LockedError::Damaged;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(damaged("it is too long"));
        }
        let mut lines = text.lines();
        let mut field = |name: &str, why| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name))
                .and_then(|rest| rest.strip_prefix(' '))
                .ok_or(damaged(why))
        };
        if field(MAGIC, "it does not begin as it should")? != VERSION {
            return Err(LockedError::Version);
        }
        let kind = match field("holds", "it does not say what it holds")? {
            "node-key" => Kind::NodeKey,
            "bitcoin-seed" => Kind::BitcoinSeed,
            _ => return Err(damaged("it holds something unknown")),
        };
        let public = match field("public", "its public part is missing")? {
            "-" => None,
            digits => Some(bytes(digits).ok_or(damaged("its public part is unreadable"))?),
        };
        let kdf = kdf(field("argon2id", "it does not say what it costs")?)?;
        let nonce = bytes(field("nonce", "its nonce is missing")?).ok_or(damaged("its nonce is unreadable"))?;
        let sealed = hex::decode(field("box", "its box is missing")?).map_err(|_| damaged("its box is unreadable"))?;
        let locked = Self { kind, public, kdf, nonce, sealed };
        if locked.to_text() != text {
            return Err(damaged("it is spelt in another way"));
        }
        Ok(locked)
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(chacha20poly1305::Key::from_slice(&key.0))
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

fn kdf(text: &str) -> Result<Kdf, LockedError> {
    let damaged = || LockedError::Damaged("what it costs is unreadable");
    let mut words = text.split(' ');
    let mut word = |name: &str| {
        words
            .next()
            .and_then(|word| word.strip_prefix(name))
            .and_then(|rest| rest.strip_prefix('='))
            .ok_or_else(damaged)
    };
    let number = |text: &str| text.parse::<u32>().map_err(|_| damaged());
    let (memory, passes, lanes) = (number(word("memory")?)?, number(word("passes")?)?, number(word("lanes")?)?);
    let salt: [u8; SALT_BYTES] = bytes(word("salt")?).ok_or_else(damaged)?;
    Ok(Kdf { cost: Cost::new(memory, passes, lanes)?, salt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Passphrase;

    fn key(kdf: &Kdf, words: &str) -> Key {
        kdf.derive(&Passphrase::new(words.as_bytes().to_vec()).unwrap()).unwrap()
    }

    fn example() -> (Locked, Key) {
        let kdf = Kdf::fresh(Cost::LEAST).unwrap();
        let key = key(&kdf, "correct horse");
        (Locked::lock(Kind::NodeKey, Some([7; 32]), b"the secret", kdf, &key).unwrap(), key)
    }

    #[test]
    fn a_secret_comes_back_with_its_passphrase_only() {
        let (locked, right) = example();
        let text = locked.to_text();
        assert!(Locked::is(text.as_bytes()) && !text.contains("secret\n"));
        let read = Locked::from_text(&text).unwrap();
        assert_eq!(read, locked);
        assert_eq!(read.open(&right).unwrap()[..], b"the secret"[..]);
        assert_eq!(read.open(&key(&locked.kdf, "correct horsf")), Err(WrongPassphrase));
        assert_eq!((read.public(), read.kind()), (Some([7; 32]), Kind::NodeKey));
    }

    #[test]
    fn every_changed_byte_is_noticed_and_none_panics() {
        let (locked, right) = example();
        let text = locked.to_text().into_bytes();
        for at in 0..text.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = text.clone();
                changed[at] ^= flip;
                let read = std::str::from_utf8(&changed).ok().and_then(|text| Locked::from_text(text).ok());
                // Costs or a salt that were changed make another key of the passphrase; here the right key is tried, so the change itself is noticed.
                assert!(read.is_none_or(|read| read.open(&right).is_err()), "byte {at} with {flip}");
            }
            let cut = std::str::from_utf8(&text[..at]).unwrap();
            assert!(Locked::from_text(cut).is_err(), "cut at {at}");
        }
        assert!(Locked::from_text(&format!("{}\n", locked.to_text())).is_err());
        assert!(Locked::from_text(&"x".repeat(1 << 20)).is_err());
    }

    #[test]
    fn a_file_that_asks_for_a_terabyte_or_for_hours_is_refused() {
        let (locked, _) = example();
        for (from, to) in
            [("memory=8 ", "memory=1073741824 "), ("passes=1 ", "passes=4000000000 "), ("lanes=1 ", "lanes=9999999 ")]
        {
            let text = locked.to_text().replace(from, to);
            assert!(matches!(Locked::from_text(&text), Err(LockedError::Cost(_))), "{to}");
        }
        assert_eq!(Locked::from_text(&locked.to_text().replace("secret 1", "secret 2")), Err(LockedError::Version));
    }

    #[test]
    fn lengths_tell_nothing() {
        let kdf = Kdf::fresh(Cost::LEAST).unwrap();
        let key = key(&kdf, "correct horse");
        let length = |secret: &[u8]| Locked::lock(Kind::BitcoinSeed, None, secret, kdf, &key).unwrap().to_text().len();
        assert_eq!(length(b"a"), length(&[b'x'; 200]));
    }
}
