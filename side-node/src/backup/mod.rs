//! A node in one encrypted file: made while it runs or not, checked without restoring, restored where the node is absent.
//!
//! ```text
//! folder, databases (copied as they are at one moment) ─► contents: a list, then the files ─► stream: chunks under a passphrase ─► FILE
//! FILE ─► stream ─► contents ─► staged folder ─► inspect ─┬─► removed (check)
//!                                                         └─► the node's folder, as a whole (restore)
//! ```
//! What is in it: the key, the wallet's words, the configuration, the groups, the database, the swaps, the wallets with what they signed, and where members were.
//!
//! What is not, and why:
//! - The votes on blocks (`consensus/`). A node that came back with old votes could vote twice; without any it stays out of the present epoch.
//! - Secrets that were given to newcomers (`invited.json`). One that was spent since would let a second one in.
//! - What is found again: headers of Bitcoin's chain, the console's lines, the log of the process.
//!
//! A restored node cannot equivocate: the copy of the database is marked in the backup and once more when it is restored, so the node reads only until it has learnt
//! its own last change (docs/adr/0016).

pub mod contents;
pub mod make;
pub mod restore;
pub mod stream;

mod inspect;
