//! Where a node's wallet lies, and the lock that lets one process at a time change it.
//!
//! ```text
//! NODE/keys/bitcoin.seed            the words                                  0600
//! NODE/btc/NETWORK/wallet.sqlite    addresses, transactions, what was signed   0600, public keys only
//! NODE/btc/NETWORK/lock             held while a wallet is open
//! ```
//!
//! The lock is not the node's: a wallet command works beside a running node as well as without. It is held while something is read or changed on this machine and
//! never while a server is waited for.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs4::TryLockError;

use super::WalletError;
use crate::btc::network::Network;
use crate::btc::seed::{Seed, SeedError};
use crate::home::{NodeHome, create_private_dir_all};

/// How long another process may keep the wallet: it only reads and writes files meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two attempts at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A wallet's place on disk, open or not.
#[derive(Debug, Clone)]
pub struct WalletPlace {
    network: Network,
    home: NodeHome,
    seed_file: PathBuf,
    folder: PathBuf,
}

impl WalletPlace {
    /// The wallet of a node on a network.
    pub fn new(home: &NodeHome, network: Network) -> Self {
        let folder = home.btc_folder().join(network.name());
        Self { network, home: home.clone(), seed_file: home.seed_file(), folder }
    }

    /// The wallet of the same node on a second chain of the same network: two devnets, say. `label` is part of the folder's name.
    pub fn labelled(mut self, label: &str) -> Self {
        self.folder.set_file_name(format!("{}-{label}", self.network));
        self
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The folder of this wallet: the swaps on this network are kept here, too.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with the words.
    pub fn seed_file(&self) -> &Path {
        &self.seed_file
    }

    /// The wallet's database.
    pub fn database_file(&self) -> PathBuf {
        self.folder.join("wallet.sqlite")
    }

    /// Reads the seed.
    ///
    /// # Errors
    /// [`WalletError::Seed`].
    pub fn seed(&self) -> Result<Seed, WalletError> {
        Ok(Seed::load(&self.seed_file, self.home.keyring())?)
    }

    /// Makes a seed if there is none, locked if the node's key is; says whether it did. Nodes that were made before wallets came have none.
    ///
    /// # Errors
    /// [`WalletError::Seed`].
    pub fn ensure_seed(&self) -> Result<bool, WalletError> {
        if self.seed_file.exists() {
            return Ok(false);
        }
        let lock = self.home.keyring().like(&self.home.key_file(), &self.home.key_called());
        match Seed::create(&self.seed_file, lock.map_err(SeedError::Unreadable)?.as_ref()) {
            Ok(_) => Ok(true),
            // Another process was faster.
            Err(SeedError::Exists(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the wallet for this process, waiting for another one a while.
    pub(super) fn lock(&self) -> Result<WalletLock, WalletError> {
        let io = |why| WalletError::Io { path: self.folder.clone(), why };
        create_private_dir_all(&self.folder).map_err(io)?;
        let path = self.folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match fs4::FileExt::try_lock(&file) {
                Ok(()) => {
                    // The number is for people who look into the file; the lock itself is the kernel's.
                    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                    return Ok(WalletLock(file));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(WalletError::Busy(self.folder.clone())),
                Err(TryLockError::Error(why)) => return Err(io(why)),
            }
        }
    }
}

/// Proof that this process alone has the wallet open. The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct WalletLock(#[allow(dead_code, reason = "held, never read: dropping it frees the lock")] File);
