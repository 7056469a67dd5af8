//! What a list can hold: nodes, which are edited in place, and plain values, which never change.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{SchemaError, SchemaProblem, TransactError, kind_name};
use super::node::CrdtNode;
use super::place::Place;
use super::register::{Encoded, IntoValue, decode, encode};
use super::{Ref, place};
use crate::document::{ContainerIdx, ElementId, Inserted, NewElement};
use crate::ops::Kind;
use crate::value::Value;

/// What a [`ListCrdt`](super::ListCrdt) can hold: every [`CrdtNode`], and the plain values `bool`, integers, floats, `char`, `String`,
/// `serde_json::Value`, and `Option`, `Vec` and `BTreeMap<String, _>` of those. [`Json<T>`] makes a plain value of any other serde type.
///
/// Reading yields a [`Ref`] to a node, and a plain value as itself.
#[diagnostic::on_unimplemented(
    message = "a list cannot hold `{Self}`",
    label = "neither a CRDT nor a plain value",
    note = "derive `CrdtNode` for `{Self}` if its fields shall merge; use ListCrdt<Json<{Self}>> if an element never changes"
)]
pub trait CrdtElement: Sized {
    /// What reading yields.
    type Ref<'a>
    where
        Self: 'a;

    /// Looks at an element that no document holds yet.
    #[doc(hidden)]
    fn look(&self) -> Self::Ref<'_>;

    /// Reads an element.
    #[doc(hidden)]
    fn read<'a>(found: Found) -> Result<Self::Ref<'a>, SchemaError>
    where
        Self: 'a;

    /// Writes itself as a new element.
    #[doc(hidden)]
    fn write(self, slot: Slot<'_>);
}

/// An element that was found in a list.
#[doc(hidden)]
pub struct Found {
    pub(crate) list: Place,
    pub(crate) id: ElementId,
    pub(crate) holds: Holds,
}

/// What an element holds.
pub(crate) enum Holds {
    Value(Value),
    Container(Kind, ContainerIdx),
}

impl Found {
    fn path(&self) -> String {
        let index = self.list.read(|document, list| document.index_of(list, self.id)).flatten();
        format!("{}/{}", self.list.path(), index.map_or("-".into(), |index| index.to_string()))
    }

    fn wrong(&self, expected: &'static str) -> SchemaError {
        let found = match self.holds {
            Holds::Value(_) => "a plain value",
            Holds::Container(kind, _) => kind_name(kind),
        };
        SchemaError { path: self.path(), problem: SchemaProblem::Kind { expected, found } }
    }

    /// The place of a node of this kind.
    pub(crate) fn node(&self, expected: Kind) -> Result<Place, SchemaError> {
        match self.holds {
            Holds::Container(kind, container) if kind == expected => Ok(self.list.element(self.id, container)),
            _ => Err(self.wrong(kind_name(expected))),
        }
    }

    fn value<T: DeserializeOwned>(&self) -> Result<T, SchemaError> {
        match &self.holds {
            Holds::Value(value) => {
                decode(value, &self.list).map_err(|error| SchemaError { path: self.path(), problem: error.problem })
            }
            Holds::Container(..) => Err(self.wrong("a plain value")),
        }
    }
}

/// Where a new element goes.
#[doc(hidden)]
pub struct Slot<'a> {
    pub(crate) list: &'a Place,
    pub(crate) position: Position,
}

/// A position in a list.
#[derive(Clone, Copy)]
pub(crate) enum Position {
    /// Before the element at an index, or at the end if it is the length.
    At(usize),
    /// At the end.
    End,
    /// Where the one order puts it among others written so.
    InOrder,
}

impl Slot<'_> {
    fn insert(&self, element: NewElement) -> Option<Inserted> {
        self.list.write(|tx, list| match self.position {
            Position::At(index) => tx.insert(list, index, element),
            Position::End => tx.push(list, element),
            Position::InOrder => tx.insert_in_order(list, element),
        })
    }

    fn value(self, value: Encoded) {
        match value {
            Ok(value) => {
                self.insert(NewElement::Value(value));
            }
            Err(error) => self.list.fail(TransactError::Value { path: self.list.path(), error }),
        }
    }

    fn node(self, kind: Kind) -> Option<Place> {
        let inserted = self.insert(NewElement::Container(kind))?;
        Some(self.list.element(inserted.element, inserted.container?))
    }
}

impl<T: CrdtNode> CrdtElement for T {
    type Ref<'a>
        = Ref<'a, T>
    where
        T: 'a;

    fn look(&self) -> Ref<'_, T> {
        Ref::draft(self)
    }

    fn read<'a>(found: Found) -> Result<Ref<'a, T>, SchemaError>
    where
        T: 'a,
    {
        T::load(&found.node(T::KIND)?).map(Ref::handle)
    }

    fn write(mut self, slot: Slot<'_>) {
        if let Some(place) = slot.node(T::KIND) {
            self.settle(&place);
        }
    }
}

macro_rules! plain {
    ($([$($generics:tt)*] $ty:ty),* $(,)?) => { $(
        impl<$($generics)*> CrdtElement for $ty {
            type Ref<'a> = $ty where Self: 'a;

            fn look(&self) -> $ty {
                self.clone()
            }

            fn read<'a>(found: Found) -> Result<$ty, SchemaError>
            where
                Self: 'a,
            {
                found.value()
            }

            fn write(self, slot: Slot<'_>) {
                slot.value(encode(&self));
            }
        }
    )* };
}

plain!(
    [] bool, [] char, [] String, [] serde_json::Value,
    [] i8, [] i16, [] i32, [] i64, [] isize, [] u8, [] u16, [] u32, [] u64, [] usize,
    [] f32, [] f64,
    [T: PlainValue] Option<T>, [T: PlainValue] Vec<T>, [T: PlainValue] BTreeMap<String, T>,
    [T: Serialize + DeserializeOwned + Clone] Json<T>,
);

/// A plain value within an `Option`, `Vec` or `BTreeMap` in a list.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plain value",
    note = "wrap the whole element: ListCrdt<Json<…>> takes any serde type"
)]
pub trait PlainValue: Serialize + DeserializeOwned + Clone {}

macro_rules! plain_value {
    ($([$($generics:tt)*] $ty:ty),* $(,)?) => { $( impl<$($generics)*> PlainValue for $ty {} )* };
}

plain_value!(
    [] bool, [] char, [] String, [] serde_json::Value,
    [] i8, [] i16, [] i32, [] i64, [] isize, [] u8, [] u16, [] u32, [] u64, [] usize,
    [] f32, [] f64,
    [T: PlainValue] Option<T>, [T: PlainValue] Vec<T>, [T: PlainValue] BTreeMap<String, T>,
    [T: Serialize + DeserializeOwned + Clone] Json<T>,
);

/// A plain value of any serde type, for lists: `ListCrdt<Json<Reading>>`. It is written once and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json<T>(pub T);

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Json<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> IntoValue<Json<T>> for T {
    fn into_value(self) -> Json<T> {
        Json(self)
    }
}

/// Finds the element at an index of the list at a place.
pub(crate) fn find(list: &place::Place, index: usize) -> Option<Found> {
    let (id, holds) = list.read(|document, container| {
        let id = document.element_id(container, index)?;
        let holds = match document.element(container, index)? {
            crate::document::Element::Value(value) => Holds::Value(value.clone()),
            crate::document::Element::Container(kind, inner) => Holds::Container(kind, inner),
        };
        Some((id, holds))
    })??;
    Some(Found { list: list.clone(), id, holds })
}
