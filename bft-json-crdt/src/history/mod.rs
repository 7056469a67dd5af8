//! The history of a document: versions, checkouts, what changed between two versions, and who wrote what shows.
//!
//! ```text
//! version   states named by heads; which changes one has and another has not
//! checkout  the document as of a past version; checkpoints
//! diff      what changed between two versions, as events
//! blame     who wrote what shows, and what proves it
//! compact   below a frontier, what was deleted and overwritten is forgotten; skeleton: what is left of a change then
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
//!
//! let blames = page.blame("/body", 0..10)?;
//! assert_eq!(blames.iter().map(|blame| blame.range.clone()).collect::<Vec<_>>(), [0..5, 5..10]);
//! assert_eq!(blames[1].authorship.author, page.author());
//! // Anybody can check it.
//! let evidence = blames[1].authorship.evidence(page.replica())?;
//! evidence.verify()?;
//! assert_eq!(evidence.content(blames[1].offset, 5), Some(" and ".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blame;
mod checkout;
mod compact;
mod diff;
mod numbers;
mod skeleton;
mod version;

use thiserror::Error;

pub use blame::{Authorship, Blame, Evidence, Standing};
pub use checkout::{CHECKPOINT_DISTANCE, Checkpoints, MAX_CHECKPOINTS, Past};
pub(crate) use compact::Floor;
pub use compact::{CompactError, Compacted, Frontier};
pub(crate) use skeleton::{operations, restore};
pub use version::{Stretch, Version};

use crate::change::ChangeId;
use crate::ops::Kind;

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
    /// The version does not hold all that was compacted ([`Replica::compact`](crate::replica::Replica::compact)): what it showed is forgotten.
    #[error("the version lies below what was compacted")]
    Compacted,
    /// A change is being gathered, and what it wrote is not signed yet.
    #[error("the range holds what nobody has signed yet")]
    Unsigned,
    /// Only lists and texts are made of stretches.
    #[error("a {0:?} is neither a list nor a text")]
    Kind(Kind),
    /// A range ends behind what it is a range of, or before it begins.
    #[error("the range up to {end} does not fit a length of {len}")]
    OutOfBounds {
        /// The range's end.
        end: usize,
        /// How many elements or characters there are.
        len: usize,
    },
    /// A path leads to no container.
    #[error("the path leads to no container")]
    Path,
    /// No good signature was found for the change, neither its own nor one of the next few on its author's chain.
    #[error("no good signature near change {0}")]
    Unproven(ChangeId),
}
