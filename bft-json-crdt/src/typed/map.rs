//! Nodes under string keys.

use std::collections::BTreeMap;
use std::fmt;

use super::error::SchemaError;
use super::node::{CrdtContainer, CrdtNode, State, load_mut};
use super::place::{Key, Place};
use super::{Mut, Ref};
use crate::ops::Kind;

/// A map of nodes under string keys. Two members who start an entry under one key at the same time share it.
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, LwwRegisterCrdt, MapCrdt, CrdtNode, change::DocumentId, identity::Keypair};
/// #[derive(CrdtNode)]
/// struct Shop { prices: MapCrdt<LwwRegisterCrdt<u32>> }
///
/// let mut shop = BaseCrdt::<Shop>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// shop.transact(0, |s| { s.prices.entry("apple").set(20); s.prices.entry("pear").set(30); s.prices.remove("pear"); })?;
/// assert_eq!(shop.read(|s| s.prices.keys()), ["apple"]);
/// assert_eq!(shop.read(|s| s.prices.get("apple")?.map(|price| price.get()).transpose())?, Some(Some(20)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MapCrdt<T> {
    state: State<BTreeMap<String, T>>,
}

impl<T: CrdtNode> MapCrdt<T> {
    /// The entry under a key; `None` if there is none.
    ///
    /// # Errors
    /// What stands there is no `T`.
    pub fn get(&self, key: &str) -> Result<Option<Ref<'_, T>>, SchemaError> {
        match &self.state {
            State::Draft(entries) => Ok(entries.get(key).map(Ref::draft)),
            State::At(map) => match living(map, key, T::KIND)? {
                Some(place) => T::load(&place).map(|node| Some(Ref::handle(node))),
                None => Ok(None),
            },
        }
    }

    /// The entry under a key, to write to; `None` if there is none.
    ///
    /// # Errors
    /// What stands there is no `T`.
    pub fn get_mut(&mut self, key: &str) -> Result<Option<Mut<'_, T>>, SchemaError> {
        match &mut self.state {
            State::Draft(entries) => Ok(entries.get_mut(key).map(Mut::draft)),
            State::At(map) => {
                let place = living(map, key, T::KIND)?;
                place.map(|place| load_mut(place, false)).transpose()
            }
        }
    }

    /// Whether there is an entry under a key.
    pub fn contains_key(&self, key: &str) -> bool {
        match &self.state {
            State::Draft(entries) => entries.contains_key(key),
            State::At(map) => map.entry(Key::shared(key), T::KIND).is_present(),
        }
    }

    /// Puts a new node under a key, in place of what is seen there.
    pub fn insert(&mut self, key: &str, node: T) {
        match &mut self.state {
            State::Draft(entries) => {
                entries.insert(key.to_owned(), node);
            }
            State::At(map) => {
                map.write(|tx, container| tx.remove(container, key));
                put(map, key, node);
            }
        }
    }

    /// Deletes the entry under a key with everything in it, as far as it is seen: what others write there at the same time stays.
    pub fn remove(&mut self, key: &str) {
        match &mut self.state {
            State::Draft(entries) => {
                entries.remove(key);
            }
            State::At(map) => {
                map.write(|tx, container| tx.remove(container, key));
            }
        }
    }

    /// The keys, ascending by their UTF-8 bytes. (Keys whose entries are of another kind than `T` are not counted as this map's.)
    pub fn keys(&self) -> Vec<String> {
        match &self.state {
            State::Draft(entries) => entries.keys().cloned().collect(),
            State::At(map) => map
                .read(|document, container| {
                    let of_kind = |key: &&str| document.kinds_present(container, key).any(|(kind, _)| kind == T::KIND);
                    document.keys(container).filter(of_kind).map(str::to_owned).collect()
                })
                .unwrap_or_default(),
        }
    }

    /// How many entries there are. Walks the keys.
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    /// The entries in the order of their keys, each with a verdict of its own.
    pub fn iter(&self) -> impl Iterator<Item = (String, Result<Ref<'_, T>, SchemaError>)> {
        self.keys().into_iter().filter_map(|key| {
            let entry = self.get(&key).transpose()?;
            Some((key, entry))
        })
    }

    /// Deletes all entries that are seen.
    pub fn clear(&mut self) {
        for key in self.keys() {
            self.remove(&key);
        }
    }
}

impl<T: CrdtContainer> MapCrdt<T> {
    /// The entry under a key, to write to. If there is none it is made, empty unless something is written to it.
    pub fn entry(&mut self, key: &str) -> Mut<'_, T> {
        match &mut self.state {
            State::Draft(entries) => Mut::draft(entries.entry(key.to_owned()).or_insert_with(T::draft)),
            State::At(map) => {
                let place = map.entry(Key::shared(key), T::KIND);
                Mut::owned(T::attach(&place), place, true)
            }
        }
    }
}

/// The place of a living entry.
fn living(map: &Place, key: &str, kind: Kind) -> Result<Option<Place>, SchemaError> {
    let place = map.entry(Key::shared(key), kind);
    if place.is_present() {
        return Ok(Some(place));
    }
    place.check_kind().map(|()| None)
}

/// Writes a node under a key where nothing is.
fn put<T: CrdtNode>(map: &Place, key: &str, mut node: T) {
    let place = map.entry(Key::shared(key), T::KIND);
    node.settle(&place);
    if !place.is_present() {
        place.ensure();
    }
}

impl<T: CrdtNode> CrdtNode for MapCrdt<T> {
    const KIND: Kind = Kind::Map;

    fn load(place: &Place) -> Result<Self, SchemaError> {
        Ok(Self::attach(place))
    }

    fn settle(&mut self, place: &Place) {
        self.state.settle(place, |entries, place| {
            if entries.is_empty() {
                place.ensure();
            }
            for (key, node) in entries {
                put(place, &key, node);
            }
        });
    }
}

impl<T: CrdtNode> CrdtContainer for MapCrdt<T> {
    fn attach(place: &Place) -> Self {
        Self { state: State::At(place.clone()) }
    }

    fn draft() -> Self {
        Self::default()
    }
}

/// An empty draft.
impl<T> Default for MapCrdt<T> {
    fn default() -> Self {
        Self { state: State::default() }
    }
}

/// A draft with entries.
impl<K: Into<String>, T> FromIterator<(K, T)> for MapCrdt<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(entries: I) -> Self {
        Self { state: State::Draft(entries.into_iter().map(|(key, node)| (key.into(), node)).collect()) }
    }
}

impl<T: CrdtNode + fmt::Debug> fmt::Debug for MapCrdt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
