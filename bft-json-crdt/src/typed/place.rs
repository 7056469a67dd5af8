//! Where a handle stands: a way from the root, looked up when it is needed.
//!
//! Containers have no creating operation, so a handle to something that nobody has written yet is as good as any other. Reading looks the
//! container up and finds nothing if it was never mentioned; only writing makes it.

use std::cell::Cell;
use std::rc::Rc;

use super::error::{SchemaError, SchemaProblem, TransactError, kind_name};
use super::session::{LocalTx, Session};
use crate::document::{ContainerIdx, Document, ElementId, TxError};
use crate::ops::Kind;
use crate::value::Value;

/// The key of an enum's register that names its current variant. (The derive macro has the same constant.)
pub const VARIANT_KEY: &str = "variant";

/// A map's key: a field's name or a key that came at run time. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Key {
    /// A field's name.
    Static(&'static str),
    /// Any other key.
    Shared(Rc<str>),
}

impl Key {
    /// A key that came at run time.
    pub(crate) fn shared(key: &str) -> Self {
        Self::Shared(key.into())
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Key::Static(key) => key,
            Key::Shared(key) => key,
        }
    }
}

/// What an enum's variant holds under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A map: of a struct variant's fields, or an empty one.
    Map,
    /// A single field, which writes itself.
    Field,
}

/// A container's place in the document, during one run of a closure. Cheap to clone.
#[derive(Clone)]
pub struct Place(Rc<Inner>);

struct Inner {
    session: Rc<Session>,
    at: At,
    /// The container, once it was found. Containers keep their number for ever.
    found: Cell<Option<ContainerIdx>>,
    /// Whether other kinds under the same key were cleared, and the place made, for writing.
    prepared: Cell<bool>,
}

enum At {
    Root,
    Entry { map: Place, key: Key, kind: Kind },
    Element { list: Place, element: ElementId },
}

impl Place {
    fn new(session: Rc<Session>, at: At, found: Option<ContainerIdx>) -> Self {
        let prepared = Cell::new(found.is_some());
        Self(Rc::new(Inner { session, at, found: Cell::new(found), prepared }))
    }

    /// The root of a session's document.
    pub(crate) fn root(session: &Rc<Session>) -> Self {
        Self::new(session.clone(), At::Root, Some(ContainerIdx::ROOT))
    }

    /// An entry of the map at this place.
    pub fn entry(&self, key: Key, kind: Kind) -> Self {
        Self::new(self.0.session.clone(), At::Entry { map: self.clone(), key, kind }, None)
    }

    /// What an element of the list at this place holds.
    pub(crate) fn element(&self, element: ElementId, container: ContainerIdx) -> Self {
        Self::new(self.0.session.clone(), At::Element { list: self.clone(), element }, Some(container))
    }

    /// The session.
    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.0.session
    }

    /// The container, if anything ever mentioned it.
    pub(crate) fn find(&self) -> Option<ContainerIdx> {
        if let Some(found) = self.0.found.get() {
            return Some(found);
        }
        let At::Entry { map, key, kind } = &self.0.at else { return None };
        let map = map.find()?;
        let found = self.0.session.read(|document| document.child(map, key.as_str(), *kind))??;
        self.0.found.set(Some(found));
        Some(found)
    }

    /// The container, made if need be; other kinds under its key, and under the keys above, are cleared, as the protocol asks of writers.
    fn prepare(&self) -> Option<ContainerIdx> {
        if self.0.prepared.get() {
            return self.0.found.get();
        }
        let At::Entry { map, key, kind } = &self.0.at else { return None };
        let map = map.prepare()?;
        let found = self.0.session.write(|tx| tx.put(map, key.as_str(), *kind))?;
        self.0.found.set(Some(found));
        self.0.prepared.set(true);
        Some(found)
    }

    /// Looks at the container; `None` if nothing ever mentioned it or the session is closed.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&Document, ContainerIdx) -> R) -> Option<R> {
        let container = self.find()?;
        self.0.session.read(|document| f(document, container))
    }

    /// Writes to the container; `None` if the transaction has failed or is over.
    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut LocalTx, ContainerIdx) -> Result<R, TxError>) -> Option<R> {
        let container = self.prepare()?;
        self.0.session.write(|tx| f(tx, container))
    }

    /// Inserts into the text at this place; nothing for no characters.
    pub(crate) fn text_insert(&self, index: usize, characters: &str) {
        if let Some(text) = self.prepare()
            && !characters.is_empty()
        {
            self.0.session.text_insert(text, index, characters);
        }
    }

    /// Deletes from the text at this place; nothing for no characters.
    pub(crate) fn text_delete(&self, index: usize, len: usize) {
        if let Some(text) = self.prepare()
            && len > 0
        {
            self.0.session.text_delete(text, index, len);
        }
    }

    /// Fails the transaction.
    pub(crate) fn fail(&self, error: TransactError) {
        self.0.session.fail(error);
    }

    /// Whether the container lives.
    pub(crate) fn is_present(&self) -> bool {
        self.read(Document::is_present).unwrap_or(false)
    }

    /// Makes the empty container present.
    pub(crate) fn ensure(&self) {
        // A list element lives by its insert, the root always.
        if matches!(self.0.at, At::Entry { .. }) {
            self.write(|tx, container| tx.ensure(container));
        }
    }

    /// Deletes everything at and below the container.
    pub(crate) fn clear(&self) {
        if self.is_present() {
            self.write(|tx, container| tx.clear(container));
        }
    }

    /// Empties the place for a value that replaces what it held. Nothing happens in a list element that is being written for the first time.
    pub(crate) fn replace(&self) {
        match &self.0.at {
            At::Entry { .. } => self.clear(),
            // Clearing is needed only where there is something; a new element has nothing.
            At::Element { .. } | At::Root => {
                if self.read(|document, container| !is_blank(document, container)).unwrap_or(false) {
                    self.write(|tx, container| tx.clear(container));
                }
            }
        }
    }

    /// Whether both name the same place of the same session.
    pub(crate) fn same(&self, other: &Place) -> bool {
        if Rc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        Rc::ptr_eq(&self.0.session, &other.0.session)
            && match (&self.0.at, &other.0.at) {
                (At::Root, At::Root) => true,
                (At::Entry { map: a, key: k, kind: m }, At::Entry { map: b, key: l, kind: n }) => {
                    m == n && k.as_str() == l.as_str() && a.same(b)
                }
                (At::Element { element: a, list: k }, At::Element { element: b, list: l }) => a == b && k.same(l),
                _ => false,
            }
    }

    /// The way from the root as a JSON pointer (RFC 6901).
    pub(crate) fn path(&self) -> String {
        match &self.0.at {
            At::Root => String::new(),
            At::Entry { map, key, .. } => format!("{}/{}", map.path(), escape(key.as_str())),
            At::Element { list, element } => {
                let index = list.read(|document, container| document.index_of(container, *element)).flatten();
                // "-" is the pointer's name for an element that is not there.
                format!("{}/{}", list.path(), index.map_or("-".into(), |index| index.to_string()))
            }
        }
    }

    /// A schema error at this place.
    pub(crate) fn error(&self, problem: SchemaProblem) -> SchemaError {
        SchemaError { path: self.path(), problem }
    }

    /// An error if the place's own kind is absent but another kind shows under its key.
    pub(crate) fn check_kind(&self) -> Result<(), SchemaError> {
        let At::Entry { map, key, kind } = &self.0.at else { return Ok(()) };
        let shown =
            map.read(|document, container| document.shown(container, key.as_str()).map(|(kind, _)| kind)).flatten();
        match shown {
            Some(shown) if shown != *kind && !self.is_present() => {
                Err(self.error(SchemaProblem::Kind { expected: kind_name(*kind), found: kind_name(shown) }))
            }
            _ => Ok(()),
        }
    }

    /// The current variant of the enum at this place.
    pub fn variant(&self) -> Result<String, SchemaError> {
        let tag = self.entry(Key::Static(VARIANT_KEY), Kind::Register);
        match tag.read(|document, container| document.register(container).cloned()).flatten() {
            Some(Value::String(variant)) => Ok(variant),
            Some(_) => Err(tag.error(SchemaProblem::Value("a variant is named by a string".into()))),
            None => {
                tag.check_kind()?;
                Err(self.error(SchemaProblem::NoVariant))
            }
        }
    }

    /// The error for a variant that the type does not have.
    pub fn unknown_variant(&self, found: &str, expected: &'static [&'static str]) -> SchemaError {
        self.error(SchemaProblem::Variant { expected, found: found.to_owned() })
    }

    /// Switches the enum at this place to a variant, unless it is the current one: what is seen of all variants is cleared.
    pub fn become_variant(&self, variant: &'static str, content: Content) {
        if self.variant().is_ok_and(|current| current == variant) {
            return;
        }
        self.write(|tx, container| {
            let keys: Vec<String> = tx.document().keys(container).map(str::to_owned).collect();
            for key in keys.iter().filter(|key| *key != VARIANT_KEY) {
                tx.remove(container, key)?;
            }
            let tag = tx.put(container, VARIANT_KEY, Kind::Register)?;
            tx.set(tag, Value::String(variant.to_owned()))
        });
        if content == Content::Map {
            self.entry(Key::Static(variant), Kind::Map).ensure();
        }
    }
}

/// Whether a living container holds nothing.
fn is_blank(document: &Document, container: ContainerIdx) -> bool {
    match document.kind(container) {
        Kind::Register | Kind::MultiRegister => document.register(container).is_none(),
        Kind::Counter => document.counter(container) == 0,
        Kind::Map => document.keys(container).next().is_none(),
        Kind::List | Kind::Text => document.is_empty(container),
    }
}

/// A key within a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
