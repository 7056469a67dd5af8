//! A signed JSON CRDT that stays correct when members lie.
//!
//! Members sign *changes* (transactions of operations) to one shared JSON document, offline if need be. Replicas that hold the same set
//! of changes show the same document, byte for byte, whatever the order of arrival and whoever lies. `docs/protocol.md` fixes the
//! bytes and the merge rules; this crate is sans-IO: no clock, socket, file or random source inside.
//!
//! ```
//! use bft_json_crdt::{Applied, BaseCrdt, CounterCrdt, CrdtNode, ListCrdt, LwwRegisterCrdt, MapCrdt, TextCrdt};
//! use bft_json_crdt::{change::DocumentId, identity::Keypair};
//!
//! #[derive(CrdtNode)]
//! struct Order { item: LwwRegisterCrdt<String>, count: CounterCrdt }
//!
//! #[derive(CrdtNode)]
//! struct Shop { name: LwwRegisterCrdt<String>, stock: MapCrdt<CounterCrdt>, orders: ListCrdt<Order>, notes: TextCrdt }
//!
//! # let document_id = DocumentId([7; 32]);
//! # let (keypair, other_keypair) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
//! # let now_ms = 1_764_000_000_000;
//! let mut shop = BaseCrdt::<Shop>::new(document_id, keypair);
//! let mut peer = BaseCrdt::<Shop>::new(document_id, other_keypair);
//!
//! // One signed change with several operations: all of them, or none.
//! let change = shop.transact(now_ms, |s| {
//!     s.name.set("Corner");
//!     s.stock.entry("apple").add(5);
//!     s.orders.push(Order { item: "apple".into(), count: 2.into() });
//!     s.notes.push("closed on Monday");
//! })?;
//!
//! match peer.apply(change)? {
//!     Applied::Merged(events) => println!("{} things happened", events.len()),
//!     Applied::Waiting { missing } => println!("{} changes are still missing", missing.len()),
//!     Applied::AlreadyKnown | Applied::Unsupported => {}
//! }
//! assert_eq!(peer.view()["stock"]["apple"], 5);
//! assert_eq!(peer.read(|s| s.name.get())?.as_deref(), Some("Corner"));
//! assert_eq!(peer.digest(), shop.digest());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! From the outside in:
//! - [`typed`]: Rust structs as documents ([`BaseCrdt`], `#[derive(CrdtNode)]`), and the same by paths ([`Untyped`]);
//! - [`replica`]: what arrives is judged, applied or kept waiting; equivocation; local writing; save and load;
//! - [`document`]: what the operations add up to; [`dag`]: who knew what when ([`causality`] is the seam between the two);
//! - [`history`]: versions, checkouts, differences between versions, who wrote what;
//! - [`sync`]: two replicas bring each other up to date;
//! - [`ops`], [`value`], [`change`], [`evidence`], [`encoding`]: the bytes; [`identity`], [`verify`], [`hash`]: keys, signatures, ids.

pub mod causality;
pub mod change;
mod clock;
pub mod dag;
pub mod document;
pub mod encoding;
pub mod evidence;
pub mod hash;
pub mod history;
pub mod identity;
mod mixer;
pub mod ops;
pub mod replica;
pub mod sync;
pub mod typed;
pub mod value;
pub mod verify;

pub use crdt_macros::CrdtNode;
pub use typed::{
    Applied, ApplyError, BaseCrdt, BatchWriter, Commit, CounterCrdt, CrdtContainer, CrdtElement, CrdtField, CrdtNode,
    Edited, EnumCrdt, Flushed, GatherBounds, Json, ListCrdt, LwwRegisterCrdt, MapCrdt, Mut, MvRegisterCrdt, Ref,
    SchemaError, SchemaProblem, TextCrdt, TransactError, UndoBounds, UndoManager, UndoTarget, Untyped,
};
