//! Elements in an order that everybody shares.

use std::fmt;

use super::Mut;
use super::element::{self, CrdtElement, Position, Slot};
use super::error::{SchemaError, TransactError};
use super::node::{CrdtContainer, CrdtNode, State, load_mut};
use super::place::Place;
use super::register::IntoValue;
use crate::document::TxError;
use crate::ops::Kind;

/// A list. It holds nodes (derived structs and enums, and the CRDTs of this module), which are edited in place, or plain values, which never
/// change; see [`CrdtElement`].
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, CounterCrdt, ListCrdt, LwwRegisterCrdt, CrdtNode, change::DocumentId, identity::Keypair};
/// #[derive(CrdtNode)]
/// struct Order { item: LwwRegisterCrdt<String>, count: CounterCrdt }
/// #[derive(CrdtNode)]
/// struct Shop { orders: ListCrdt<Order>, tags: ListCrdt<String> }
///
/// let mut shop = BaseCrdt::<Shop>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// shop.transact(0, |s| {
///     s.tags.push("open");
///     s.orders.push(Order { item: "apple".into(), count: 3.into() });
///     s.orders.push(Order { item: "pear".into(), count: 1.into() });
///     s.orders.move_to(1, 0);
///     if let Ok(Some(mut order)) = s.orders.get_mut(0) {
///         order.count.add(1);
///     }
/// })?;
/// assert_eq!(shop.read(|s| s.orders.get(0).map(|o| o.map(|o| o.count.get())))?, Some(2));
/// assert_eq!(shop.read(|s| s.tags.get(0))?, Some("open".to_string()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ListCrdt<T> {
    state: State<Draft<T>>,
}

/// A list that no document holds yet.
struct Draft<T> {
    items: Vec<T>,
    /// The first edit outside the list.
    error: Option<TxError>,
}

impl<T> Default for Draft<T> {
    fn default() -> Self {
        Self { items: Vec::new(), error: None }
    }
}

impl<T> Draft<T> {
    /// Whether an index is below `len`; one beyond is remembered as the draft's error.
    fn within(&mut self, index: usize, len: usize) -> bool {
        if index >= len {
            self.error.get_or_insert(TxError::OutOfBounds { index, len: self.items.len() });
        }
        index < len
    }
}

impl<T: CrdtElement> ListCrdt<T> {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        match &self.state {
            State::Draft(draft) => draft.items.len(),
            State::At(place) => place.read(|document, container| document.len(container)).unwrap_or(0),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index; `None` beyond the end.
    ///
    /// # Errors
    /// What stands there is no `T`. The other elements stay readable.
    pub fn get(&self, index: usize) -> Result<Option<T::Ref<'_>>, SchemaError> {
        match &self.state {
            State::Draft(draft) => Ok(draft.items.get(index).map(T::look)),
            State::At(place) => element::find(place, index).map(T::read).transpose(),
        }
    }

    /// The elements in order, each with a verdict of its own.
    pub fn iter(&self) -> impl Iterator<Item = Result<T::Ref<'_>, SchemaError>> {
        (0..self.len()).map_while(|index| self.get(index).transpose())
    }

    /// Appends an element.
    pub fn push(&mut self, element: impl IntoValue<T>) {
        match &mut self.state {
            State::Draft(draft) => draft.items.push(element.into_value()),
            State::At(list) => element.into_value().write(Slot { list, position: Position::End }),
        }
    }

    /// Inserts an element before the one at an index (at the end if the index is the length).
    pub fn insert(&mut self, index: usize, element: impl IntoValue<T>) {
        match &mut self.state {
            State::Draft(draft) => {
                if draft.within(index, draft.items.len() + 1) {
                    draft.items.insert(index, element.into_value());
                }
            }
            State::At(list) => element.into_value().write(Slot { list, position: Position::At(index) }),
        }
    }

    /// Records an element as in a log: elements that are recorded, and never pushed or inserted, stand in the one order of changes on every
    /// replica, an author's later ones after the earlier.
    pub fn record_in_order(&mut self, element: impl IntoValue<T>) {
        match &mut self.state {
            State::Draft(draft) => draft.items.push(element.into_value()),
            State::At(list) => element.into_value().write(Slot { list, position: Position::InOrder }),
        }
    }

    /// Deletes the element at an index, with everything in it. What others write in it at the same time is deleted too.
    pub fn remove(&mut self, index: usize) {
        self.remove_range(index, 1);
    }

    /// Deletes `len` elements from an index on.
    pub fn remove_range(&mut self, index: usize, len: usize) {
        match &mut self.state {
            State::Draft(draft) => {
                let end = index.saturating_add(len);
                if len > 0 && draft.within(end - 1, draft.items.len()) {
                    draft.items.drain(index..end);
                }
            }
            State::At(place) => {
                place.write(|tx, container| if len == 0 { Ok(()) } else { tx.delete(container, index, len) });
            }
        }
    }

    /// Deletes all elements that are seen.
    pub fn clear(&mut self) {
        self.remove_range(0, self.len());
    }

    /// Moves the element at `from` so that it stands at `to` afterwards. Of concurrent moves of one element the greatest in the one order wins; edits in
    /// it are kept.
    pub fn move_to(&mut self, from: usize, to: usize) {
        match &mut self.state {
            State::Draft(draft) => {
                if draft.within(from, draft.items.len()) && draft.within(to, draft.items.len()) {
                    let item = draft.items.remove(from);
                    draft.items.insert(to, item);
                }
            }
            State::At(place) => {
                place.write(|tx, container| if from == to { Ok(()) } else { tx.move_element(container, from, to) });
            }
        }
    }
}

impl<T: CrdtNode> ListCrdt<T> {
    /// The node at an index, to write to; `None` beyond the end.
    ///
    /// # Errors
    /// What stands there is no `T`.
    pub fn get_mut(&mut self, index: usize) -> Result<Option<Mut<'_, T>>, SchemaError> {
        match &mut self.state {
            State::Draft(draft) => Ok(draft.items.get_mut(index).map(Mut::draft)),
            State::At(place) => {
                let found = element::find(place, index);
                found.map(|found| load_mut(found.node(T::KIND)?, false)).transpose()
            }
        }
    }
}

impl<T: CrdtElement> CrdtNode for ListCrdt<T> {
    const KIND: Kind = Kind::List;

    fn load(place: &Place) -> Result<Self, SchemaError> {
        Ok(Self::attach(place))
    }

    fn settle(&mut self, place: &Place) {
        self.state.settle(place, |draft, place| {
            if let Some(error) = draft.error {
                place.fail(TransactError::Write(error));
            } else if draft.items.is_empty() {
                place.ensure();
            } else {
                for item in draft.items {
                    item.write(Slot { list: place, position: Position::End });
                }
            }
        });
    }
}

impl<T: CrdtElement> CrdtContainer for ListCrdt<T> {
    fn attach(place: &Place) -> Self {
        Self { state: State::At(place.clone()) }
    }

    fn draft() -> Self {
        Self::default()
    }
}

/// An empty draft.
impl<T> Default for ListCrdt<T> {
    fn default() -> Self {
        Self { state: State::default() }
    }
}

/// A draft with elements.
impl<T: CrdtElement, V: IntoValue<T>> FromIterator<V> for ListCrdt<T> {
    fn from_iter<I: IntoIterator<Item = V>>(items: I) -> Self {
        let items = items.into_iter().map(IntoValue::into_value).collect();
        Self { state: State::Draft(Draft { items, error: None }) }
    }
}

/// A draft with elements.
impl<T: CrdtElement> From<Vec<T>> for ListCrdt<T> {
    fn from(items: Vec<T>) -> Self {
        Self { state: State::Draft(Draft { items, error: None }) }
    }
}

impl<T: CrdtElement, V: IntoValue<T>> Extend<V> for ListCrdt<T> {
    fn extend<I: IntoIterator<Item = V>>(&mut self, items: I) {
        for item in items {
            self.push(item);
        }
    }
}

impl<T: CrdtElement> fmt::Debug for ListCrdt<T>
where
    for<'a> T::Ref<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
