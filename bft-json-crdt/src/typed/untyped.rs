//! The same document without a type: by paths, as JSON.

use std::fmt;

use serde_json::Value as Json;

use super::error::{SchemaError, TransactError};
use super::node::{CrdtContainer, CrdtNode};
use super::place::Place;
use super::session::LocalTx;
use crate::document::{ContainerIdx, Document, Element, NewElement, TxError};
use crate::ops::Kind;
use crate::value::{Value, ValueError};

/// Untyped access to a map of the document: its root within [`transact_json`](super::BaseCrdt::transact_json) and
/// [`read_json`](super::BaseCrdt::read_json), or wherever a struct has a field of this type (for content that has no schema).
///
/// Paths are JSON pointers (RFC 6901): `""` is this map, `"/stock/apple"` an entry, `"/orders/0/item"` goes through a list, and `"/orders/-"` is the place
/// behind a list's last element. Under a key, paths follow the entry that shows.
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, Untyped, change::DocumentId, identity::Keypair};
/// # use serde_json::json;
/// let mut config = BaseCrdt::<Untyped>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// let start = json!({ "name": "Corner", "open": [9, 17], "staff": [], "stock": { "apple": { "price": 20 } } });
/// config.transact(0, |doc| doc.put_json("", &start))?;
/// assert_eq!(config.view(), start);
/// config.transact(0, |doc| {
///     doc.put_json("/stock/apple/price", &json!(25));
///     doc.put_json("/staff/-", &json!({ "name": "Ann" }));
///     doc.add("/visits", 3);
///     doc.remove("/open/0");
/// })?;
/// assert_eq!(config.read_json(|doc| doc.get("/staff/0/name")), Some(json!("Ann")));
/// assert_eq!(config.read_json(|doc| doc.get("/visits")), Some(json!(3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Untyped {
    /// `None` is an empty draft.
    place: Option<Place>,
}

/// What a path leads to.
enum Found<'a> {
    Container(Kind, ContainerIdx),
    Value(&'a Value),
}

/// What a path leads to when something shall be written there.
enum Target {
    /// This map itself.
    Whole(ContainerIdx),
    /// A key of a map.
    Key(ContainerIdx, String),
    /// A position in a list; the length stands for the place behind the last element.
    Index(ContainerIdx, usize),
}

impl Untyped {
    /// What shows at a path; `None` if there is nothing.
    pub fn get(&self, path: &str) -> Option<Json> {
        self.read(|document, map| match find(document, map, path)? {
            Found::Container(_, container) => Some(document.view_at(container).into()),
            Found::Value(value) => Some(value.into()),
        })
        .flatten()
    }

    /// The kind of the container that shows at a path; `None` if there is nothing, or a list's plain value.
    pub fn kind(&self, path: &str) -> Option<Kind> {
        self.read(|document, map| match find(document, map, path)? {
            Found::Container(kind, _) => Some(kind),
            Found::Value(_) => None,
        })
        .flatten()
    }

    /// All that lives under a key of the map at a path, the one that shows first. Concurrent writers of different kinds leave several.
    pub fn kinds(&self, map_path: &str, key: &str) -> Vec<(Kind, Json)> {
        self.read(|document, map| match find(document, map, map_path)? {
            Found::Container(Kind::Map, map) => Some(
                document
                    .kinds_present(map, key)
                    .map(|(kind, container)| (kind, document.view_at(container).into()))
                    .collect(),
            ),
            _ => None,
        })
        .flatten()
        .unwrap_or_default()
    }

    /// The keys of the map at a path, ascending by their UTF-8 bytes.
    pub fn keys(&self, path: &str) -> Vec<String> {
        self.read(|document, map| match find(document, map, path)? {
            Found::Container(Kind::Map, map) => Some(document.keys(map).map(str::to_owned).collect()),
            _ => None,
        })
        .flatten()
        .unwrap_or_default()
    }

    /// How many entries, elements or characters the container at a path has; 0 if there is none.
    pub fn len(&self, path: &str) -> usize {
        self.read(|document, map| match find(document, map, path)? {
            Found::Container(Kind::Map, map) => Some(document.map_len(map)),
            Found::Container(Kind::List | Kind::Text, sequence) => Some(document.len(sequence)),
            _ => None,
        })
        .flatten()
        .unwrap_or(0)
    }

    /// Whether there is nothing in this map.
    pub fn is_empty(&self) -> bool {
        self.len("") == 0
    }

    /// Puts JSON at a path, in place of what is seen there. Objects become maps, arrays lists, and everything else registers or plain values of lists;
    /// `{}` and `[]` survive the round trip. At a list's index the element is replaced by a new one.
    pub fn put_json(&mut self, path: &str, json: &Json) {
        self.write(path, |tx, target| match target {
            Target::Whole(map) => {
                let Json::Object(entries) = json else {
                    return Err(Fault::Path("the whole map can only be an object"));
                };
                let keys: Vec<String> = tx.document().keys(map).map(str::to_owned).collect();
                for key in keys {
                    tx.remove(map, &key)?;
                }
                for (key, value) in entries {
                    put_entry(tx, map, key, value)?;
                }
                Ok(())
            }
            Target::Key(map, key) => {
                tx.remove(map, &key)?;
                put_entry(tx, map, &key, json)
            }
            Target::Index(list, index) => {
                if index < tx.document().len(list) {
                    tx.delete(list, index, 1)?;
                }
                insert_element(tx, list, index, json)
            }
        });
    }

    /// Inserts JSON before the list element at a path (`-` for the end).
    pub fn insert_json(&mut self, path: &str, json: &Json) {
        self.write(path, |tx, target| match target {
            Target::Index(list, index) => insert_element(tx, list, index, json),
            _ => Err(Fault::Path("not an element of a list")),
        });
    }

    /// Moves the list element at a path so that it stands at an index of its list afterwards.
    pub fn move_to(&mut self, path: &str, index: usize) {
        self.write(path, |tx, target| match target {
            Target::Index(_, from) if from == index => Ok(()),
            Target::Index(list, from) => Ok(tx.move_element(list, from, index)?),
            _ => Err(Fault::Path("not an element of a list")),
        });
    }

    /// Deletes what is seen at a path: an entry with all its kinds, an element, or (`""`) all entries.
    pub fn remove(&mut self, path: &str) {
        self.write(path, |tx, target| {
            match target {
                Target::Whole(map) => {
                    let keys: Vec<String> = tx.document().keys(map).map(str::to_owned).collect();
                    for key in keys {
                        tx.remove(map, &key)?;
                    }
                }
                Target::Key(map, key) => {
                    tx.remove(map, &key)?;
                }
                Target::Index(list, index) => tx.delete(list, index, 1)?,
            }
            Ok(())
        });
    }

    /// Adds a step to the counter at a path, which is made if need be.
    pub fn add(&mut self, path: &str, step: i64) {
        self.write(path, |tx, target| {
            let counter = container(tx, target, Kind::Counter)?;
            Ok(tx.add(counter, step)?)
        });
    }

    /// Writes a register (`Kind::Register`) or a multi-value one (`Kind::MultiRegister`) with any JSON as one value, objects and arrays too: it is
    /// always replaced as a whole.
    pub fn set(&mut self, path: &str, kind: Kind, json: &Json) {
        self.write(path, |tx, target| {
            let value = value(json)?;
            let register = container(tx, target, kind)?;
            Ok(tx.set(register, value)?)
        });
    }

    /// Replaces `deleted` characters from an index on of the text at a path, which is made if need be.
    pub fn edit_text(&mut self, path: &str, index: usize, deleted: usize, inserted: &str) {
        self.write(path, |tx, target| {
            let text = container(tx, target, Kind::Text)?;
            if deleted > 0 {
                tx.text_delete(text, index, deleted)?;
            }
            if !inserted.is_empty() {
                tx.text_insert(text, index, inserted)?;
            }
            Ok(())
        });
    }

    /// Makes an empty container present at a path.
    pub fn ensure(&mut self, path: &str, kind: Kind) {
        self.write(path, |tx, target| {
            let in_list = matches!(target, Target::Index(..));
            let container = container(tx, target, kind)?;
            // A list element lives by its insert.
            if !in_list {
                tx.ensure(container)?;
            }
            Ok(())
        });
    }

    fn read<R>(&self, f: impl FnOnce(&Document, ContainerIdx) -> R) -> Option<R> {
        self.place.as_ref()?.read(f)
    }

    fn write(&mut self, path: &str, f: impl FnOnce(&mut LocalTx, Target) -> Result<(), Fault>) {
        let Some(place) = &self.place else { return };
        let mut fault = None;
        place.write(|tx, map| {
            let written = target(tx, map, path).and_then(|target| f(tx, target));
            match written {
                Err(Fault::Tx(error)) => Err(error),
                Err(other) => {
                    fault = Some(other);
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        });
        let path = || format!("{}{path}", place.path());
        match fault {
            Some(Fault::Path(problem)) => place.fail(TransactError::Path { path: path(), problem }),
            Some(Fault::Value(error)) => place.fail(TransactError::Value { path: path(), error }),
            Some(Fault::Tx(_)) | None => {}
        }
    }
}

/// Why a write by path failed.
enum Fault {
    Tx(TxError),
    Path(&'static str),
    Value(ValueError),
}

impl From<TxError> for Fault {
    fn from(error: TxError) -> Self {
        Fault::Tx(error)
    }
}

fn value(json: &Json) -> Result<Value, Fault> {
    let value = Value::try_from(json.clone()).map_err(Fault::Value)?;
    value.check().map_err(Fault::Value)?;
    Ok(value)
}

/// The steps of a JSON pointer; `None` if it is none.
fn steps(path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    let path = path.strip_prefix('/')?;
    Some(path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

/// An index without leading zeros, as RFC 6901 has it.
fn index(step: &str) -> Option<usize> {
    (step == "0" || !step.starts_with('0')).then_some(())?;
    step.bytes().all(|byte| byte.is_ascii_digit()).then(|| step.parse().ok())?
}

/// Follows a path for reading, into plain values too.
fn find<'a>(document: &'a Document, map: ContainerIdx, path: &str) -> Option<Found<'a>> {
    let mut found = Found::Container(Kind::Map, map);
    for step in steps(path)? {
        found = match found {
            Found::Container(Kind::Map, map) => {
                let (kind, container) = document.shown(map, &step)?;
                Found::Container(kind, container)
            }
            Found::Container(Kind::List, list) => match document.element(list, index(&step)?)? {
                Element::Value(value) => Found::Value(value),
                Element::Container(kind, container) => Found::Container(kind, container),
            },
            Found::Container(Kind::Register, register) => Found::Value(within(document.register(register)?, &step)?),
            Found::Container(..) => return None,
            Found::Value(value) => Found::Value(within(value, &step)?),
        };
    }
    Some(found)
}

/// The container that shows at a path.
pub(super) fn container_at(document: &Document, path: &str) -> Option<ContainerIdx> {
    match find(document, ContainerIdx::ROOT, path)? {
        Found::Container(_, container) => Some(container),
        Found::Value(_) => None,
    }
}

fn within<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Object(entries) => entries.get(step),
        Value::Array(items) => items.get(index(step)?),
        _ => None,
    }
}

/// Follows a path for writing. Maps on the way that are missing are made; everything else must be there.
fn target(tx: &mut LocalTx, map: ContainerIdx, path: &str) -> Result<Target, Fault> {
    let mut steps = steps(path).ok_or(Fault::Path("not a JSON pointer"))?;
    let Some(last) = steps.pop() else { return Ok(Target::Whole(map)) };
    let mut at = (Kind::Map, map);
    for step in steps {
        at = match at {
            (Kind::Map, map) => match tx.document().shown(map, &step) {
                Some(shown) => shown,
                None => (Kind::Map, tx.put(map, &step, Kind::Map)?),
            },
            (Kind::List, list) => match index(&step).and_then(|index| tx.document().element(list, index)) {
                Some(Element::Container(kind, container)) => (kind, container),
                Some(Element::Value(_)) => return Err(Fault::Path("a plain value of a list never changes")),
                None => return Err(Fault::Path("no such element")),
            },
            _ => return Err(Fault::Path("nothing can be below a register, counter or text")),
        };
    }
    match at {
        (Kind::Map, map) => Ok(Target::Key(map, last)),
        (Kind::List, list) if last == "-" => Ok(Target::Index(list, tx.document().len(list))),
        (Kind::List, list) => index(&last).map(|index| Target::Index(list, index)).ok_or(Fault::Path("not an index")),
        _ => Err(Fault::Path("nothing can be below a register, counter or text")),
    }
}

/// The container of a kind at a target, made if need be.
fn container(tx: &mut LocalTx, target: Target, kind: Kind) -> Result<ContainerIdx, Fault> {
    match target {
        Target::Whole(_) => Err(Fault::Path("this is a map")),
        Target::Key(map, key) => Ok(tx.put(map, &key, kind)?),
        Target::Index(list, index) => {
            if index == tx.document().len(list) {
                let inserted = tx.insert(list, index, NewElement::Container(kind))?;
                return inserted.container.ok_or(Fault::Path("no such element"));
            }
            match tx.document().element(list, index) {
                Some(Element::Container(found, container)) if found == kind => Ok(container),
                Some(_) => Err(Fault::Path("the element is of another kind")),
                None => Err(Fault::Path("no such element")),
            }
        }
    }
}

/// Writes JSON under a key where nothing shows. Containers nest at most `MAX_DEPTH` deep, and so does this.
fn put_entry(tx: &mut LocalTx, map: ContainerIdx, key: &str, json: &Json) -> Result<(), Fault> {
    match json {
        Json::Object(_) | Json::Array(_) => {
            let inner = tx.put(map, key, if json.is_object() { Kind::Map } else { Kind::List })?;
            if is_empty(json) { Ok(tx.ensure(inner)?) } else { fill(tx, inner, json) }
        }
        _ => {
            let register = tx.put(map, key, Kind::Register)?;
            Ok(tx.set(register, value(json)?)?)
        }
    }
}

/// Writes JSON as a new list element.
fn insert_element(tx: &mut LocalTx, list: ContainerIdx, index: usize, json: &Json) -> Result<(), Fault> {
    let element = match json {
        Json::Object(_) => NewElement::Container(Kind::Map),
        Json::Array(_) => NewElement::Container(Kind::List),
        _ => NewElement::Value(value(json)?),
    };
    match tx.insert(list, index, element)?.container {
        Some(inner) => fill(tx, inner, json),
        None => Ok(()),
    }
}

/// Writes the entries or elements of JSON into an empty container.
fn fill(tx: &mut LocalTx, inner: ContainerIdx, json: &Json) -> Result<(), Fault> {
    match json {
        Json::Object(entries) => entries.iter().try_for_each(|(key, value)| put_entry(tx, inner, key, value)),
        Json::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| insert_element(tx, inner, index, item))
        }
        _ => Ok(()),
    }
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Object(entries) => entries.is_empty(),
        Json::Array(items) => items.is_empty(),
        _ => false,
    }
}

impl CrdtNode for Untyped {
    const KIND: Kind = Kind::Map;

    fn load(place: &Place) -> Result<Self, SchemaError> {
        Ok(Self::attach(place))
    }

    fn settle(&mut self, place: &Place) {
        match &self.place {
            Some(own) if own.same(place) => {}
            Some(_) => place.fail(TransactError::Moved { path: place.path() }),
            None => {
                place.replace();
                place.ensure();
                self.place = Some(place.clone());
            }
        }
    }
}

impl CrdtContainer for Untyped {
    fn attach(place: &Place) -> Self {
        Self { place: Some(place.clone()) }
    }

    fn draft() -> Self {
        Self { place: None }
    }
}

/// An empty map; assigning it empties the field.
impl Default for Untyped {
    fn default() -> Self {
        Self::draft()
    }
}

impl fmt::Debug for Untyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Untyped").field(&self.get("")).finish()
    }
}
