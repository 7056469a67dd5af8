//! Registers: one value, and all concurrent values.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{SchemaError, SchemaProblem, TransactError};
use super::finite::is_finite;
use super::node::{CrdtContainer, CrdtNode, State};
use super::place::Place;
use crate::ops::Kind;
use crate::value::{Value, ValueError};

/// What can be given where a `T` is wanted: a `T`, a `&str` for a `String`, or an `X` for a `Json<X>`.
pub trait IntoValue<T> {
    /// The value.
    fn into_value(self) -> T;
}

impl<T> IntoValue<T> for T {
    fn into_value(self) -> T {
        self
    }
}

impl IntoValue<String> for &str {
    fn into_value(self) -> String {
        self.to_owned()
    }
}

/// A value on its way into the document.
pub(crate) type Encoded = Result<Value, ValueError>;

/// The JSON form of any serde type.
pub(crate) fn encode<T: Serialize>(value: &T) -> Encoded {
    let encoded = Value::from_serialize(value)?;
    encoded.check()?;
    // Only a `null` can have been a float that is not finite.
    if has_null(&encoded) && !is_finite(value) {
        return Err(ValueError::NotFinite);
    }
    Ok(encoded)
}

/// Recursion is bounded: the value was checked.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(entries) => entries.values().any(has_null),
        _ => false,
    }
}

/// Reads a value that stands at or below a place.
pub(crate) fn decode<T: DeserializeOwned>(value: &Value, place: &Place) -> Result<T, SchemaError> {
    value.to_deserialize().map_err(|error| place.error(SchemaProblem::Value(error.to_string())))
}

/// Reads a value that no document holds.
fn decode_draft<T: DeserializeOwned>(value: &Value) -> Result<T, SchemaError> {
    value
        .to_deserialize()
        .map_err(|error| SchemaError { path: String::new(), problem: SchemaProblem::Value(error.to_string()) })
}

fn write(place: &Place, value: Encoded) {
    match value {
        Ok(value) => {
            place.write(|tx, container| tx.set(container, value));
        }
        Err(error) => place.fail(TransactError::Value { path: place.path(), error }),
    }
}

/// A register in which the last writer wins: it shows the greatest write in the one order. `T` is any type that serde can write as JSON.
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, CrdtNode, LwwRegisterCrdt, change::DocumentId, identity::Keypair};
/// #[derive(CrdtNode)]
/// struct Shop { name: LwwRegisterCrdt<String>, founded: LwwRegisterCrdt<u16> }
///
/// let mut shop = BaseCrdt::<Shop>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// shop.transact(0, |s| { s.name.set("Corner"); s.founded.set(1901); })?;
/// assert_eq!(shop.read(|s| s.name.get())?.as_deref(), Some("Corner"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LwwRegisterCrdt<T> {
    state: State<Option<Encoded>>,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> LwwRegisterCrdt<T> {
    /// The value; `None` if there is none.
    ///
    /// # Errors
    /// What stands there is no `T`.
    pub fn get(&self) -> Result<Option<T>, SchemaError> {
        match &self.state {
            State::Draft(Some(Ok(value))) => decode_draft(value).map(Some),
            State::Draft(_) => Ok(None),
            State::At(place) => {
                match place.read(|document, container| document.register(container).cloned()).flatten() {
                    Some(value) => decode(&value, place).map(Some),
                    None => place.check_kind().map(|()| None),
                }
            }
        }
    }

    /// Writes a value.
    pub fn set(&mut self, value: impl IntoValue<T>) {
        let value = encode(&value.into_value());
        match &mut self.state {
            State::Draft(draft) => *draft = Some(value),
            State::At(place) => write(place, value),
        }
    }

    /// Deletes the value. (A value that somebody writes at the same time stays.)
    pub fn clear(&mut self) {
        match &mut self.state {
            State::Draft(draft) => *draft = None,
            State::At(place) => place.replace(),
        }
    }
}

/// A register that keeps all concurrent values until somebody who has seen them writes the next.
pub struct MvRegisterCrdt<T> {
    state: State<Option<Encoded>>,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> MvRegisterCrdt<T> {
    /// The values, in the one order: none if it was never written, several if they were written concurrently.
    ///
    /// # Errors
    /// One of them is no `T`. (See [`Self::get_each`] for the others.)
    pub fn get(&self) -> Result<Vec<T>, SchemaError> {
        self.get_each().into_iter().collect()
    }

    /// Like [`Self::get`], with a verdict for each value of its own.
    pub fn get_each(&self) -> Vec<Result<T, SchemaError>> {
        match &self.state {
            State::Draft(Some(Ok(value))) => vec![decode_draft(value)],
            State::Draft(_) => Vec::new(),
            State::At(place) => {
                let values = place.read(|document, container| document.values(container).cloned().collect::<Vec<_>>());
                let values = values.unwrap_or_default();
                if values.is_empty()
                    && let Err(error) = place.check_kind()
                {
                    return vec![Err(error)];
                }
                values.iter().map(|value| decode(value, place)).collect()
            }
        }
    }

    /// Writes a value in place of all that are seen.
    pub fn set(&mut self, value: impl IntoValue<T>) {
        let value = encode(&value.into_value());
        match &mut self.state {
            State::Draft(draft) => *draft = Some(value),
            State::At(place) => write(place, value),
        }
    }

    /// Deletes all values that are seen.
    pub fn clear(&mut self) {
        match &mut self.state {
            State::Draft(draft) => *draft = None,
            State::At(place) => place.replace(),
        }
    }
}

macro_rules! register {
    ($name:ident, $kind:ident) => {
        impl<T: Serialize + DeserializeOwned> CrdtNode for $name<T> {
            const KIND: Kind = Kind::$kind;

            fn load(place: &Place) -> Result<Self, SchemaError> {
                Ok(Self::attach(place))
            }

            fn settle(&mut self, place: &Place) {
                self.state.settle(place, |draft, place| {
                    if let Some(value) = draft {
                        write(place, value);
                    }
                });
            }
        }

        impl<T: Serialize + DeserializeOwned> CrdtContainer for $name<T> {
            fn attach(place: &Place) -> Self {
                Self { state: State::At(place.clone()), of: PhantomData }
            }

            fn draft() -> Self {
                Self::default()
            }
        }

        /// An empty draft.
        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self { state: State::default(), of: PhantomData }
            }
        }

        /// A draft with a value.
        impl<T: Serialize + DeserializeOwned> From<T> for $name<T> {
            fn from(value: T) -> Self {
                Self { state: State::Draft(Some(encode(&value))), of: PhantomData }
            }
        }

        /// A draft with a value.
        impl From<&str> for $name<String> {
            fn from(value: &str) -> Self {
                Self::from(value.to_owned())
            }
        }

        impl<T: Serialize + DeserializeOwned + fmt::Debug> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.get()).finish()
            }
        }
    };
}

register!(LwwRegisterCrdt, Register);
register!(MvRegisterCrdt, MultiRegister);
