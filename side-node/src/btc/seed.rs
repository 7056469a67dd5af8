//! The wallet's seed: twelve words (BIP 39), made once, kept in a file for the user alone, and everything that is derived from them.
//!
//! ```text
//! m/86'/COIN'/0'/0/i   addresses to be paid at            BIP 86: taproot, key path
//! m/86'/COIN'/0'/1/i   change
//! m/20958'/COIN'/0'/i' keys of swaps, one a swap          20958 = 0x51de; not of any BIP
//! m/20958'/COIN'/1'/i' preimages of swaps
//! ```
//!
//! COIN is 0 on bitcoin and 1 elsewhere (SLIP 44). The words are shown where a person asks to see them and nowhere else; the wallet's database holds public
//! keys only.

use std::fmt;
use std::path::{Path, PathBuf};

use bdk_wallet::KeychainKind;
use bdk_wallet::keys::bip39::{Language, Mnemonic};
use bdk_wallet::template::Bip86Public;
use bitcoin::bip32::{ChildNumber, DerivationPath, Fingerprint, Xpriv, Xpub};
use bitcoin::secp256k1::{Keypair, Secp256k1};
use zeroize::Zeroizing;

use super::network::Network;
use crate::clock;
use crate::error::CommandError;
use crate::home::{create_private_dir_all, create_secret_file, read_secret};
use crate::secrets::kdf::{Kdf, Key};
use crate::secrets::locked::{Kind, Locked};
use crate::secrets::{Keyring, keyring};

/// Bytes of entropy: 128 bits make twelve words, as strong as the curve itself.
const ENTROPY: usize = 16;
/// The purpose (BIP 43) of the keys for swaps: no BIP claims it.
const SWAP_PURPOSE: u32 = 0x51de;
/// Which branch of the swaps' keys: signing keys.
const SWAP_KEYS: u32 = 0;
/// Which branch of the swaps' keys: preimages.
const SWAP_PREIMAGES: u32 = 1;

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There is one, and it stays.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// There is none yet.
    #[error("there is no Bitcoin seed at {}", .0.display())]
    Missing(PathBuf),
    /// What lies there is none. The text says nothing about its contents.
    #[error("{} is damaged: a seed is twelve words of the English list of BIP 39", .0.display())]
    Damaged(PathBuf),
    /// It cannot be read: others can read it too, it is locked and does not open, or the operating system refuses.
    #[error(transparent)]
    Unreadable(CommandError),
    /// The operating system refuses.
    #[error("cannot use the seed {}: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        why: std::io::Error,
    },
    /// No random numbers.
    #[error(transparent)]
    Random(CommandError),
}

/// The seed in memory. It is printed by [`Seed::words`] only.
pub struct Seed {
    mnemonic: Mnemonic,
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

impl Seed {
    /// Draws a fresh seed from the system's random source and writes it to `path`: a new file with mode 0600 in a folder with mode 0700, durable when this
    /// returns, and locked if `lock` is given.
    ///
    /// # Errors
    /// [`SeedError::Exists`] if there is one: a seed is never overwritten.
    pub fn create(path: &Path, lock: Option<&(Kdf, Key)>) -> Result<Self, SeedError> {
        let entropy: Zeroizing<[u8; ENTROPY]> = Zeroizing::new(clock::random().map_err(SeedError::Random)?);
        let mnemonic = Mnemonic::from_entropy(entropy.as_ref()).expect("128 bits are a length of BIP 39");
        Self { mnemonic }.store(path, lock)
    }

    /// Writes words that a person brings from a backup, under the rules of [`Seed::create`].
    ///
    /// # Errors
    /// [`SeedError::Damaged`] if they are no seed, [`SeedError::Exists`] if there is one already.
    pub fn restore(path: &Path, words: &str, lock: Option<&(Kdf, Key)>) -> Result<Self, SeedError> {
        let mnemonic = Mnemonic::parse_in(Language::English, words).map_err(|_| SeedError::Damaged(path.to_owned()))?;
        Self { mnemonic }.store(path, lock)
    }

    fn store(self, path: &Path, lock: Option<&(Kdf, Key)>) -> Result<Self, SeedError> {
        let io = |why| SeedError::Io { path: path.to_owned(), why };
        if let Some(folder) = path.parent() {
            create_private_dir_all(folder).map_err(io)?;
        }
        let words = self.words();
        let text = Zeroizing::new(match lock {
            None => format!("{}\n", *words),
            Some((kdf, key)) => Locked::lock(Kind::BitcoinSeed, None, words.as_bytes(), *kdf, key)
                .map_err(SeedError::Unreadable)?
                .to_text(),
        });
        create_secret_file(path, text.as_bytes()).map_err(|why| match why.kind() {
            std::io::ErrorKind::AlreadyExists => SeedError::Exists(path.to_owned()),
            _ => io(why),
        })?;
        Ok(self)
    }

    /// Reads the seed, with the passphrase if it has one.
    ///
    /// # Errors
    /// [`SeedError::Missing`], [`SeedError::Unreadable`] if others on this machine can read it or it does not open, [`SeedError::Damaged`].
    pub fn load(path: &Path, keyring: &Keyring) -> Result<Self, SeedError> {
        if !path.exists() {
            return Err(SeedError::Missing(path.to_owned()));
        }
        let text = read_secret(path).map_err(SeedError::Unreadable)?;
        if !Locked::is(text.as_bytes()) {
            return Self::parse(&text, path);
        }
        let locked = keyring::parse(&text, Kind::BitcoinSeed, path).map_err(SeedError::Unreadable)?;
        let secret = keyring.open(&locked, path, "the wallet's words").map_err(SeedError::Unreadable)?;
        Self::parse(std::str::from_utf8(&secret).map_err(|_| SeedError::Damaged(path.to_owned()))?, path)
    }

    /// Reads a seed's text; `path` is for the error.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, SeedError> {
        match Mnemonic::parse_in(Language::English, text.trim()) {
            Ok(mnemonic) => Ok(Self { mnemonic }),
            Err(_) => Err(SeedError::Damaged(path.to_owned())),
        }
    }

    /// The words, to be shown to the person who asked for them.
    pub fn words(&self) -> Zeroizing<String> {
        Zeroizing::new(self.mnemonic.to_string())
    }

    /// How many words there are.
    pub fn word_count(&self) -> usize {
        self.mnemonic.word_count()
    }

    /// The root of all keys.
    pub(super) fn root(&self, network: Network) -> Xpriv {
        // Without a passphrase: it would be one more thing to lose, and the file protects the words as it would protect the passphrase.
        let seed = Zeroizing::new(self.mnemonic.to_seed_normalized(""));
        Xpriv::new_master(network.chain(), seed.as_ref())
            .expect("a SHA-512 output is a seed but for a chance of 2^-127")
    }

    /// The public half of the wallet's account: what addresses are made from.
    pub(super) fn account(&self, network: Network) -> Account {
        let secp = Secp256k1::new();
        let root = self.root(network);
        let path = [hardened(86), hardened(network.coin_type()), hardened(0)];
        let account = root.derive_priv(&secp, &path).expect("hardened steps always lead to a key");
        Account { xpub: Xpub::from_priv(&secp, &account), root: root.fingerprint(&secp) }
    }

    /// The signing key of the swap with this number.
    pub fn swap_key(&self, network: Network, index: u32) -> Keypair {
        let secp = Secp256k1::new();
        self.derive(network, SWAP_KEYS, index).to_keypair(&secp)
    }

    /// The preimage of the swap with this number: 32 bytes that nobody else can know, and that the words bring back after a loss.
    pub fn swap_preimage(&self, network: Network, index: u32) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.derive(network, SWAP_PREIMAGES, index).private_key.secret_bytes())
    }

    /// Where [`Seed::swap_key`] finds its key, for backups and other programs.
    pub fn swap_path(network: Network, index: u32) -> DerivationPath {
        swap_path(network, SWAP_KEYS, index).into()
    }

    fn derive(&self, network: Network, branch: u32, index: u32) -> Xpriv {
        let path = swap_path(network, branch, index);
        self.root(network).derive_priv(&Secp256k1::new(), &path).expect("hardened steps always lead to a key")
    }
}

fn swap_path(network: Network, branch: u32, index: u32) -> Vec<ChildNumber> {
    // An index beyond 2^31 would need as many swaps.
    let index = index & (u32::MAX >> 1);
    vec![hardened(SWAP_PURPOSE), hardened(network.coin_type()), hardened(branch), hardened(index)]
}

fn hardened(index: u32) -> ChildNumber {
    ChildNumber::from_hardened_idx(index).expect("below 2^31")
}

/// The public half of an account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    xpub: Xpub,
    root: Fingerprint,
}

impl Account {
    /// The descriptor template of one of its two keychains.
    pub(super) fn template(&self, kind: KeychainKind) -> Bip86Public<Xpub> {
        Bip86Public(self.xpub, self.root, kind)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use bdk_wallet::descriptor::IntoWalletDescriptor as _;

    use super::*;

    /// The words of BIP 86's test vectors.
    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn file(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("keys").join("bitcoin.seed")
    }

    #[test]
    fn a_seed_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder);
        assert!(matches!(Seed::load(&path, &Keyring::default()), Err(SeedError::Missing(_))));
        let made = Seed::create(&path, None).unwrap();
        assert_eq!(made.word_count(), 12);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(Seed::load(&path, &Keyring::default()).unwrap().words(), made.words());
        assert!(matches!(Seed::create(&path, None), Err(SeedError::Exists(_))));
        assert!(matches!(Seed::restore(&path, WORDS, None), Err(SeedError::Exists(_))));
        assert_eq!(Seed::load(&path, &Keyring::default()).unwrap().words(), made.words());
        assert!(!format!("{made:?}").contains(made.words().split(' ').next().unwrap()));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Seed::load(&path, &Keyring::default()), Err(SeedError::Unreadable(_))));
    }

    #[test]
    fn a_damaged_seed_is_refused_without_a_word_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder);
        // The last word is the checksum.
        let damaged = WORDS.replace("about", "zebra");
        assert!(matches!(Seed::restore(&path, &damaged, None), Err(SeedError::Damaged(_))));
        create_private_dir_all(path.parent().unwrap()).unwrap();
        create_secret_file(&path, damaged.as_bytes()).unwrap();
        let error = Seed::load(&path, &Keyring::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("zebra"), "{error:?}");
    }

    #[test]
    fn addresses_are_those_of_bip_86() {
        let folder = tempfile::tempdir().unwrap();
        let seed = Seed::restore(&file(&folder), WORDS, None).unwrap();
        let secp = Secp256k1::new();
        let address = |kind, index| {
            let account = seed.account(Network::Bitcoin);
            let (descriptor, keys) =
                account.template(kind).into_wallet_descriptor(&secp, bitcoin::NetworkKind::Main).unwrap();
            assert!(keys.is_empty());
            descriptor.at_derivation_index(index).unwrap().address(bitcoin::Network::Bitcoin).unwrap().to_string()
        };
        // BIP 86, test vectors.
        assert_eq!(
            address(KeychainKind::External, 0),
            "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"
        );
        assert_eq!(
            address(KeychainKind::Internal, 0),
            "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"
        );
    }

    #[test]
    fn each_swap_has_a_key_and_a_preimage_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let seed = Seed::restore(&file(&folder), WORDS, None).unwrap();
        let mut seen = std::collections::HashSet::new();
        for network in [Network::Bitcoin, Network::Mutinynet] {
            for index in 0..3 {
                assert!(seen.insert(seed.swap_key(network, index).secret_bytes()));
                assert!(seen.insert(*seed.swap_preimage(network, index)));
            }
        }
        assert_eq!(Seed::swap_path(Network::Bitcoin, 7).to_string(), "20958'/0'/0'/7'");
    }
}
