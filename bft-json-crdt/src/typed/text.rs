//! Text that several people edit at once.

use std::fmt;

use super::error::{SchemaError, TransactError};
use super::node::{CrdtContainer, CrdtNode, State};
use super::place::Place;
use crate::document::TxError;
use crate::ops::Kind;

/// A text. Indexes and lengths count Unicode scalar values (`char`s).
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, TextCrdt, CrdtNode, change::DocumentId, identity::Keypair};
/// #[derive(CrdtNode)]
/// struct Page { body: TextCrdt }
///
/// let mut page = BaseCrdt::<Page>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// page.transact(0, |p| { p.body.push("grün"); p.body.insert(0, "so "); p.body.delete(6, 1); })?;
/// assert_eq!(page.read(|p| p.body.get()), "so grü");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct TextCrdt {
    state: State<Draft>,
}

/// A text that no document holds yet.
#[derive(Default)]
struct Draft {
    text: String,
    /// The first edit outside the text.
    error: Option<TxError>,
}

impl Draft {
    /// The byte where character `index` begins; an index beyond the end is remembered as the draft's error.
    fn byte(&mut self, index: usize) -> Option<usize> {
        let byte = self.text.char_indices().map(|(byte, _)| byte).chain([self.text.len()]).nth(index);
        if byte.is_none() {
            self.error.get_or_insert(TxError::OutOfBounds { index, len: self.text.chars().count() });
        }
        byte
    }
}

impl TextCrdt {
    /// The whole text.
    pub fn get(&self) -> String {
        match &self.state {
            State::Draft(draft) => draft.text.clone(),
            State::At(place) => place.read(|document, container| document.text(container)).unwrap_or_default(),
        }
    }

    /// At most `len` characters from an index on.
    pub fn slice(&self, index: usize, len: usize) -> String {
        match &self.state {
            State::Draft(draft) => draft.text.chars().skip(index).take(len).collect(),
            State::At(place) => {
                place.read(|document, container| document.text_slice(container, index, len)).unwrap_or_default()
            }
        }
    }

    /// How many characters it has.
    pub fn len(&self) -> usize {
        match &self.state {
            State::Draft(draft) => draft.text.chars().count(),
            State::At(place) => place.read(|document, container| document.len(container)).unwrap_or(0),
        }
    }

    /// Whether it has no characters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inserts text before the character at an index (at the end if the index is the length).
    pub fn insert(&mut self, index: usize, text: &str) {
        match &mut self.state {
            State::Draft(draft) => {
                if let Some(byte) = draft.byte(index) {
                    draft.text.insert_str(byte, text);
                }
            }
            State::At(place) => {
                place.write(
                    |tx, container| {
                        if text.is_empty() { Ok(()) } else { tx.text_insert(container, index, text) }
                    },
                );
            }
        }
    }

    /// Appends text.
    pub fn push(&mut self, text: &str) {
        self.insert(self.len(), text);
    }

    /// Deletes `len` characters from an index on.
    pub fn delete(&mut self, index: usize, len: usize) {
        match &mut self.state {
            State::Draft(draft) => {
                if let (Some(from), Some(to)) = (draft.byte(index), draft.byte(index.saturating_add(len))) {
                    draft.text.replace_range(from..to, "");
                }
            }
            State::At(place) => {
                place.write(|tx, container| if len == 0 { Ok(()) } else { tx.text_delete(container, index, len) });
            }
        }
    }

    /// Makes the text equal to `text` by the one edit between the longest common start and end: what others write elsewhere at the same time
    /// keeps its place.
    pub fn set(&mut self, text: &str) {
        let (old, new): (Vec<char>, Vec<char>) = (self.get().chars().collect(), text.chars().collect());
        let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
        self.delete(start, old.len() - end - start);
        self.insert(start, &new[start..new.len() - end].iter().collect::<String>());
    }
}

impl CrdtNode for TextCrdt {
    const KIND: Kind = Kind::Text;

    fn load(place: &Place) -> Result<Self, SchemaError> {
        Ok(Self::attach(place))
    }

    fn settle(&mut self, place: &Place) {
        self.state.settle(place, |draft, place| {
            if let Some(error) = draft.error {
                place.fail(TransactError::Write(error));
            } else if draft.text.is_empty() {
                place.ensure();
            } else {
                place.write(|tx, container| tx.text_insert(container, 0, &draft.text));
            }
        });
    }
}

impl CrdtContainer for TextCrdt {
    fn attach(place: &Place) -> Self {
        Self { state: State::At(place.clone()) }
    }

    fn draft() -> Self {
        Self::default()
    }
}

/// A draft with a text.
impl From<String> for TextCrdt {
    fn from(text: String) -> Self {
        Self { state: State::Draft(Draft { text, error: None }) }
    }
}

/// A draft with a text.
impl From<&str> for TextCrdt {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Display for TextCrdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.get())
    }
}

impl fmt::Debug for TextCrdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TextCrdt").field(&self.get()).finish()
    }
}
