//! The traits that tie Rust types to containers. Users derive or use them; the methods are for the derive and this crate.

use super::place::{Key, Place};
use super::{Mut, SchemaError};
use crate::ops::Kind;

/// A type that lives in a container of the document: every CRDT of this module, and what derives [`CrdtNode`](derive@crate::CrdtNode).
///
/// A value of such a type is a *handle* (it came from the document, and reads and writes there) or a *draft* (it was made with `Default` or
/// `From`, and becomes part of the document when it is pushed, inserted or assigned).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a CRDT",
    label = "not a CRDT",
    note = "derive `CrdtNode` for your own structs and enums; for plain data use LwwRegisterCrdt<{Self}>, or in a list ListCrdt<Json<{Self}>>"
)]
pub trait CrdtNode: Sized {
    /// The kind of the container.
    #[doc(hidden)]
    const KIND: Kind;

    /// The handle to what stands at a place.
    #[doc(hidden)]
    fn load(place: &Place) -> Result<Self, SchemaError>;

    /// Writes what is a draft in `self` to the place, and makes it a handle. What is a handle already has written itself.
    #[doc(hidden)]
    fn settle(&mut self, place: &Place);
}

/// A node that can be a handle to a place where nothing is yet: every CRDT and derived struct. Enums are not: nothing is no variant.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand for something that is not there yet",
    label = "not a container",
    note = "if `{Self}` is an enum that derives CrdtNode, wrap it: EnumCrdt<{Self}>"
)]
pub trait CrdtContainer: CrdtNode {
    /// The handle to a place, whatever is there.
    #[doc(hidden)]
    fn attach(place: &Place) -> Self;

    /// An empty draft.
    #[doc(hidden)]
    fn draft() -> Self;
}

/// What a field of a derived struct can be: a container, or an `Option` of one, which is `None` while nothing is there.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a CrdtNode",
    label = "not a CRDT field",
    note = "a field is a CRDT (LwwRegisterCrdt, MvRegisterCrdt, CounterCrdt, MapCrdt, ListCrdt, TextCrdt), a struct that derives CrdtNode, or an Option of those",
    note = "if `{Self}` is an enum that derives CrdtNode, use EnumCrdt<{Self}>; if it is plain data, use LwwRegisterCrdt<{Self}>, or ListCrdt for a Vec and MapCrdt for a map"
)]
pub trait CrdtField: Sized {
    /// The field's value in the map at a place.
    #[doc(hidden)]
    fn attach_at(map: &Place, key: Key) -> Self;

    /// Writes the field if it was assigned.
    #[doc(hidden)]
    fn settle_at(&mut self, map: &Place, key: Key);

    /// An empty draft.
    #[doc(hidden)]
    fn draft_field() -> Self;
}

/// An enum that derives [`CrdtNode`](derive@crate::CrdtNode).
pub trait CrdtEnum: CrdtNode {
    /// The keys of its variants.
    const VARIANTS: &'static [&'static str];
}

impl<T: CrdtContainer> CrdtField for T {
    fn attach_at(map: &Place, key: Key) -> Self {
        T::attach(&map.entry(key, T::KIND))
    }

    fn settle_at(&mut self, map: &Place, key: Key) {
        self.settle(&map.entry(key, T::KIND));
    }

    fn draft_field() -> Self {
        T::draft()
    }
}

/// `None` while the entry does not live. Assigning `Some(new)` writes it (an empty one too), assigning `None` deletes it.
impl<T: CrdtContainer> CrdtField for Option<T> {
    fn attach_at(map: &Place, key: Key) -> Self {
        let place = map.entry(key, T::KIND);
        place.is_present().then(|| T::attach(&place))
    }

    fn settle_at(&mut self, map: &Place, key: Key) {
        let place = map.entry(key, T::KIND);
        match self {
            Some(node) => {
                node.settle(&place);
                if !place.is_present() {
                    place.ensure();
                }
            }
            None => place.clear(),
        }
    }

    fn draft_field() -> Self {
        None
    }
}

/// For types that contain themselves: `Option<Box<Self>>`.
impl<T: CrdtNode> CrdtNode for Box<T> {
    const KIND: Kind = T::KIND;

    fn load(place: &Place) -> Result<Self, SchemaError> {
        T::load(place).map(Box::new)
    }

    fn settle(&mut self, place: &Place) {
        (**self).settle(place);
    }
}

impl<T: CrdtContainer> CrdtContainer for Box<T> {
    fn attach(place: &Place) -> Self {
        Box::new(T::attach(place))
    }

    fn draft() -> Self {
        Box::new(T::draft())
    }
}

/// A field that is a handle or a draft: the state of every CRDT of this module.
pub(crate) enum State<D> {
    /// Not part of a document (yet).
    Draft(D),
    /// Stands at a place.
    At(Place),
}

impl<D: Default> Default for State<D> {
    fn default() -> Self {
        State::Draft(D::default())
    }
}

impl<D: Default> State<D> {
    /// Settles a CRDT: a draft replaces what stands at the place, and `write` writes it there.
    pub(crate) fn settle(&mut self, place: &Place, write: impl FnOnce(D, &Place)) {
        match self {
            State::At(own) => {
                if !own.same(place) {
                    place.fail(super::TransactError::Moved { path: place.path() });
                }
            }
            State::Draft(draft) => {
                let draft = std::mem::take(draft);
                place.replace();
                write(draft, place);
                *self = State::At(place.clone());
            }
        }
    }
}

/// A guarded handle for a node that stands at `place`.
pub(crate) fn load_mut<'a, T: CrdtNode>(place: Place, ensure: bool) -> Result<Mut<'a, T>, SchemaError> {
    Ok(Mut::owned(T::load(&place)?, place, ensure))
}
