//! Typed access to a document: plain Rust structs and enums whose fields merge.
//!
//! ```text
//! base      BaseCrdt<T>: a replica whose root has the shape T; transact, read, apply, view
//! gather    BatchWriter<T>: edits gather into one change until a pause, a bound or something from elsewhere
//! undo      UndoManager: undo and redo of one's own edits
//! register  LwwRegisterCrdt<T> (last writer wins), MvRegisterCrdt<T> (all concurrent values)
//! counter   CounterCrdt        map  MapCrdt<T>        list  ListCrdt<T>        text  TextCrdt
//! variant   EnumCrdt<E>: a field that holds one of an enum's variants
//! element   what a list can hold: nodes and plain values
//! untyped   Untyped: the same document by paths, as JSON
//! node      the traits that the derive implements; place, session: what a handle stands on; typing: keystrokes on their way
//! ```
//!
//! # Shapes
//! `#[derive(CrdtNode)]` takes a struct with named fields. Each field stands in the document under its name (or `#[crdt(rename = "…")]`), and is one of the
//! CRDTs here, a struct that derives `CrdtNode`, or an `Option` of those; generics are fine. It takes an enum too: use it in lists and maps as it
//! is, and as a field within [`EnumCrdt`], since a field may be empty and an enum cannot.
//!
//! # Handles and drafts
//! Within `transact` and `read` the fields are handles: they say where something stands and look it up when asked. A value made with `From` or
//! `Default` is a draft: it belongs to no document until it is pushed, inserted or assigned, and then replaces what stood there:
//!
//! ```
//! # use bft_json_crdt::{BaseCrdt, CounterCrdt, CrdtNode, ListCrdt, LwwRegisterCrdt, change::DocumentId, identity::Keypair};
//! #[derive(CrdtNode)]
//! struct Order { item: LwwRegisterCrdt<String>, count: CounterCrdt, remark: Option<LwwRegisterCrdt<String>> }
//! #[derive(CrdtNode)]
//! struct Shop { orders: ListCrdt<Order> }
//!
//! let mut shop = BaseCrdt::<Shop>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
//! shop.transact(0, |s| s.orders.push(Order { item: "apple".into(), count: 3.into(), remark: None }))?;
//! shop.transact(0, |s| {
//!     if let Ok(Some(mut order)) = s.orders.get_mut(0) {
//!         order.remark = Some("ripe ones".into());
//!         order.count.add(1);
//!     }
//! })?;
//! assert_eq!(shop.view(), serde_json::json!({ "orders": [{ "item": "apple", "count": 4, "remark": "ripe ones" }] }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Setters answer nothing. The first that fails fails the transaction, and then nothing of it is written.
//! A handle that is smuggled out of its closure reads as empty and writes nothing.
//!
//! # Schemas
//! The type never decides what is valid: another version of a program, or a hostile member, may have written something else. Reading it is a
//! [`SchemaError`] with the path, at just that place.

mod base;
mod counter;
mod element;
mod error;
mod finite;
mod gather;
mod guard;
mod list;
mod map;
mod node;
mod place;
mod register;
mod session;
mod text;
mod typing;
mod undo;
mod untyped;
mod variant;

pub use base::{BaseCrdt, Commit};
pub use counter::CounterCrdt;
pub use element::{CrdtElement, Json, PlainValue};
pub use error::{Applied, ApplyError, SchemaError, SchemaProblem, TransactError};
pub use gather::{BatchWriter, Edited, Flushed, GatherBounds};
pub use guard::{Mut, Ref};
pub use list::ListCrdt;
pub use map::MapCrdt;
pub use node::{CrdtContainer, CrdtEnum, CrdtField, CrdtNode};
pub use place::VARIANT_KEY;
pub use register::{IntoValue, LwwRegisterCrdt, MvRegisterCrdt};
pub use text::TextCrdt;
pub use undo::{UndoBounds, UndoManager, UndoTarget};
pub use untyped::Untyped;
pub use variant::EnumCrdt;

/// What the derive macro's output names. Not for direct use; it may change with the macro.
#[doc(hidden)]
pub mod derive {
    pub use super::SchemaError;
    pub use super::node::{CrdtContainer, CrdtEnum, CrdtField, CrdtNode};
    pub use super::place::{Content, Key, Place};
    pub use crate::ops::Kind;
}
