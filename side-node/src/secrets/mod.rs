//! Secrets under a passphrase: the node's key and the words of its Bitcoin wallet.
//!
//! ```text
//! file, credential, terminal ─► passphrase ─► kdf: argon2id ─► a key ─► locked: one secret in one file
//!                                                  ▲              │
//!                                              keyring: asked for once, kept in memory while the process runs
//! protect: all secrets of a node get a passphrase, another one, or none
//! ```
//! Whoever reads a locked file learns whose key it is and what it costs to try a passphrase, no more.

pub mod kdf;
pub mod keyring;
pub mod locked;
pub mod passphrase;
pub mod protect;

mod prompt;

pub use self::keyring::Keyring;
pub use self::passphrase::{Passphrase, Sources};
use crate::btc::seed::{Seed, SeedError};
use crate::error::CommandError;
use crate::home::NodeHome;
use crate::keys;

/// Opens all secrets of a node, so that nobody has to be asked later on.
pub fn unlock(home: &NodeHome) -> Result<(), CommandError> {
    keys::load(home)?;
    match Seed::load(&home.seed_file(), home.keyring()) {
        Err(SeedError::Unreadable(error)) => Err(error),
        // What is wrong with a wallet is told where the wallet is used.
        _ => Ok(()),
    }
}
