//! The history of a document: versions, checkouts, what changed between two versions, and who wrote what shows.
//!
//! ```text
//! version   states named by heads; which changes one has and another has not
//! checkout  the document as of a past version; checkpoints
//! diff      what changed between two versions, as events
//! ```
//!
//! ```
//! use bft_json_crdt::document::Happened;
//! use bft_json_crdt::{BaseCrdt, CrdtNode, TextCrdt, change::DocumentId, identity::Keypair};
//!
//! #[derive(CrdtNode)]
//! struct Page { body: TextCrdt }
//!
//! let mut page = BaseCrdt::<Page>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
//! page.transact(0, |p| p.body.push("first"))?;
//! let before = page.version();
//! page.transact(1, |p| p.body.push(" and second"))?;
//!
//! let past = page.checkout(&before)?;
//! assert_eq!(serde_json::Value::from(past.view())["body"], "first");
//! assert_eq!(page.view()["body"], "first and second");
//!
//! let now = page.checkout(&page.version())?;
//! let [event] = &past.diff(page.replica(), &now)?[..] else { panic!("one thing happened") };
//! assert_eq!(event.happened, Happened::Inserted { index: 5, len: 11 });
//! assert_eq!(now.content(page.replica(), event)?, Some(" and second".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkout;
mod diff;
mod numbers;
mod version;

use thiserror::Error;

pub use checkout::{CHECKPOINT_DISTANCE, Checkpoints, MAX_CHECKPOINTS, Past};
pub use version::{Stretch, Version};

use crate::change::ChangeId;

/// Why a question about the history cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HistoryError {
    /// A version names a change that is not applied here.
    #[error("change {0} is not applied here")]
    Unknown(ChangeId),
    /// A past can only move on to versions that hold all that it holds.
    #[error("the version does not hold all that the past to start from holds")]
    NotLater,
    /// A past was taken from another replica, or before this one was rebuilt.
    #[error("the past belongs to another replica, or to this one before it was rebuilt")]
    Stale,
}
