//! A field that holds one of an enum's variants.

use std::fmt;

use super::error::{SchemaError, SchemaProblem};
use super::node::{CrdtContainer, CrdtEnum, CrdtNode, State, load_mut};
use super::place::{Place, VARIANT_KEY};
use super::{Mut, Ref};
use crate::ops::Kind;

/// A field for an enum that derives [`CrdtNode`](derive@crate::CrdtNode): nothing at first, then one of its variants.
///
/// In the document an enum is a map. Its entry `"variant"` is a register with the current variant's key; under that key stands the content: a map of
/// the fields, or the single unnamed field itself, or an empty map.
///
/// **Merging.** Edits within one variant merge like those of a struct. A switch to another variant deletes what its writer saw of all others. Of
/// concurrent switches the greatest in the one order is current; what the others wrote, and what was written in the old variant at the same
/// time, is kept beside it until somebody who has seen it switches again: [`EnumCrdt::leftovers`] names it, `view` shows it.
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, EnumCrdt, LwwRegisterCrdt, CrdtNode, change::DocumentId, identity::Keypair};
/// #[derive(CrdtNode)]
/// enum Payment { Cash, Card { number: LwwRegisterCrdt<String> } }
/// #[derive(CrdtNode)]
/// struct Order { payment: EnumCrdt<Payment> }
///
/// let mut order = BaseCrdt::<Order>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// order.transact(0, |o| o.payment.set(Payment::Card { number: "42".into() }))?;
/// assert_eq!(order.view(), serde_json::json!({ "payment": { "variant": "Card", "Card": { "number": "42" } } }));
/// order.transact(0, |o| o.payment.set(Payment::Cash))?;
/// assert!(order.read(|o| o.payment.get().map(|p| matches!(p.as_deref(), Some(Payment::Cash))))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EnumCrdt<E> {
    // Boxed, so that an enum can contain itself.
    state: State<Option<Box<E>>>,
}

impl<E: CrdtEnum> EnumCrdt<E> {
    /// The current variant; `None` if there is none yet.
    ///
    /// # Errors
    /// The variant is not one of `E`'s.
    pub fn get(&self) -> Result<Option<Ref<'_, E>>, SchemaError> {
        match &self.state {
            State::Draft(value) => Ok(value.as_deref().map(Ref::draft)),
            State::At(place) => if_any(place, E::load(place)).map(|value| value.map(Ref::handle)),
        }
    }

    /// The current variant, to write to (or to assign another one); `None` if there is none yet.
    ///
    /// # Errors
    /// The variant is not one of `E`'s.
    pub fn get_mut(&mut self) -> Result<Option<Mut<'_, E>>, SchemaError> {
        match &mut self.state {
            State::Draft(value) => Ok(value.as_deref_mut().map(Mut::draft)),
            State::At(place) => if_any(place, load_mut(place.clone(), false)),
        }
    }

    /// Switches to a variant, or replaces the content if it is the current one.
    pub fn set(&mut self, value: E) {
        match &mut self.state {
            State::Draft(draft) => *draft = Some(Box::new(value)),
            State::At(place) => {
                let mut value = value;
                value.settle(place);
            }
        }
    }

    /// Deletes all that is seen: there is no variant then.
    pub fn clear(&mut self) {
        match &mut self.state {
            State::Draft(draft) => *draft = None,
            State::At(place) => place.replace(),
        }
    }

    /// The keys of variants that are not current but hold something: they were written at the same time as a switch away from them.
    pub fn leftovers(&self) -> Vec<String> {
        let State::At(place) = &self.state else { return Vec::new() };
        let current = place.variant().ok();
        let keys = place.read(|document, container| document.keys(container).map(str::to_owned).collect::<Vec<_>>());
        let beside = |key: &String| key != VARIANT_KEY && Some(key) != current.as_ref();
        keys.unwrap_or_default().into_iter().filter(beside).collect()
    }
}

/// No variant named is no error where nothing is at all.
fn if_any<T>(place: &Place, loaded: Result<T, SchemaError>) -> Result<Option<T>, SchemaError> {
    match loaded {
        Err(error) if error.problem == SchemaProblem::NoVariant && !place.is_present() => {
            place.check_kind().map(|()| None)
        }
        loaded => loaded.map(Some),
    }
}

impl<E: CrdtEnum> CrdtNode for EnumCrdt<E> {
    const KIND: Kind = Kind::Map;

    fn load(place: &Place) -> Result<Self, SchemaError> {
        Ok(Self::attach(place))
    }

    fn settle(&mut self, place: &Place) {
        self.state.settle(place, |value, place| {
            if let Some(mut value) = value {
                value.settle(place);
            }
        });
    }
}

impl<E: CrdtEnum> CrdtContainer for EnumCrdt<E> {
    fn attach(place: &Place) -> Self {
        Self { state: State::At(place.clone()) }
    }

    fn draft() -> Self {
        Self::default()
    }
}

/// A draft without a variant.
impl<E> Default for EnumCrdt<E> {
    fn default() -> Self {
        Self { state: State::default() }
    }
}

/// A draft with a variant.
impl<E: CrdtEnum> From<E> for EnumCrdt<E> {
    fn from(value: E) -> Self {
        Self { state: State::Draft(Some(Box::new(value))) }
    }
}

impl<E: CrdtEnum + fmt::Debug> fmt::Debug for EnumCrdt<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EnumCrdt").field(&self.get()).finish()
    }
}
