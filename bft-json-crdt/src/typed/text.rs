//! Text that several people edit at once.

use std::fmt;

use super::error::{SchemaError, TransactError};
use super::node::{CrdtContainer, CrdtNode, State};
use super::place::Place;
use crate::document::TxError;
use crate::ops::Kind;

/// A text. Indexes and lengths count Unicode scalar values (`char`s); others say their unit in the name.
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
///
/// # Other units
/// Rust's strings count bytes of UTF-8, JavaScript's (and so a browser's editors, CodeMirror, ProseMirror, Monaco, and the language server protocol) units of
/// UTF-16. Convert at the edge, each way in O(log n), right before an edit and right after:
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, TextCrdt, CrdtNode, change::DocumentId, identity::Keypair};
/// # #[derive(CrdtNode)]
/// # struct Page { body: TextCrdt }
/// # let mut page = BaseCrdt::<Page>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// page.transact(0, |p| p.body.push("a😀b"))?;
/// page.transact(0, |p| {
///     // The editor says: at unit 1 replace two units by "ä". The emoji takes two.
///     let (from, to) = (p.body.index_of_utf16(1), p.body.index_of_utf16(1 + 2));
///     p.body.delete(from, to - from);
///     p.body.insert(from, "ä");
///     // It puts its cursor behind what was inserted.
///     assert_eq!(p.body.utf16_index(from + 1), 2);
/// })?;
/// assert_eq!(page.read(|p| (p.body.get(), p.body.len_utf16(), p.body.len_utf8())), ("aäb".into(), 3, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What comes from others is told as [`Happened::Inserted`](crate::document::Happened::Inserted) and `Deleted`, in characters, at the moment of each event.
/// An editor that keeps a copy of the text converts with its copy (a deletion's length in other units is not known to the document any more).
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
                place.text_insert(index, text);
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
                place.text_delete(index, len);
            }
        }
    }

    /// Makes the text equal to `text` by the one edit between the longest common start and end: what others write elsewhere at the same time
    /// keeps its place. Costs a copy of the text and two comparisons of bytes, whatever the difference.
    pub fn set(&mut self, text: &str) {
        let old = self.get();
        let start = common_start(&old, text);
        let end = common_end(&old[start..], &text[start..]);
        let (gone, new) = (&old[start..old.len() - end], &text[start..text.len() - end]);
        let index = old[..start].chars().count();
        self.delete(index, gone.chars().count());
        self.insert(index, new);
    }

    /// How many bytes of UTF-8 it has. O(log n).
    pub fn len_utf8(&self) -> usize {
        self.utf8_index(usize::MAX)
    }

    /// How many units of UTF-16 it has. O(log n).
    pub fn len_utf16(&self) -> usize {
        self.utf16_index(usize::MAX)
    }

    /// The byte of the text's UTF-8 at which the character at an index begins; the length in bytes for an index at or beyond the end. O(log n).
    pub fn utf8_index(&self, index: usize) -> usize {
        match &self.state {
            State::Draft(draft) => draft.text.chars().take(index).map(char::len_utf8).sum(),
            State::At(place) => place.read(|document, text| document.utf8_before(text, index)).unwrap_or(0),
        }
    }

    /// The unit of the text's UTF-16 at which the character at an index begins; the length in units for an index at or beyond the end. O(log n).
    pub fn utf16_index(&self, index: usize) -> usize {
        match &self.state {
            State::Draft(draft) => draft.text.chars().take(index).map(char::len_utf16).sum(),
            State::At(place) => place.read(|document, text| document.utf16_before(text, index)).unwrap_or(0),
        }
    }

    /// The index of the character that a byte of the text's UTF-8 belongs to: rounds down where the byte is not a character's first. The length for a
    /// byte at or beyond the end. O(log n).
    pub fn index_of_utf8(&self, byte: usize) -> usize {
        match &self.state {
            State::Draft(draft) => position(&draft.text, byte, char::len_utf8),
            State::At(place) => place.read(|document, text| document.index_of_utf8(text, byte)).unwrap_or(0),
        }
    }

    /// The index of the character that a unit of the text's UTF-16 belongs to: rounds down in the middle of a surrogate pair. The length for a unit at or
    /// beyond the end. O(log n).
    pub fn index_of_utf16(&self, unit: usize) -> usize {
        match &self.state {
            State::Draft(draft) => position(&draft.text, unit, char::len_utf16),
            State::At(place) => place.read(|document, text| document.index_of_utf16(text, unit)).unwrap_or(0),
        }
    }
}

/// The index of the character in which a position lies, with characters of different widths.
fn position(text: &str, at: usize, width: impl Fn(char) -> usize) -> usize {
    let mut end = 0;
    let before = |character: &char| {
        end += width(*character);
        end <= at
    };
    text.chars().take_while(before).count()
}

/// Bytes that are compared at once.
const STRIDE: usize = 64;

/// How many bytes two texts have in common at their starts, whole characters only.
fn common_start(a: &str, b: &str) -> usize {
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let strides = x.chunks_exact(STRIDE).zip(y.chunks_exact(STRIDE)).take_while(|(x, y)| x == y).count();
    let from = strides * STRIDE;
    let mut common = from + x[from..].iter().zip(&y[from..]).take_while(|(x, y)| x == y).count();
    // What is a boundary in one is one in the other: no character's bytes begin another's.
    while !a.is_char_boundary(common) {
        common -= 1;
    }
    common
}

/// How many bytes two texts have in common at their ends, whole characters only.
fn common_end(a: &str, b: &str) -> usize {
    let (x, y) = (a.as_bytes(), b.as_bytes());
    let strides = x.rchunks_exact(STRIDE).zip(y.rchunks_exact(STRIDE)).take_while(|(x, y)| x == y).count();
    let (x, y) = (&x[..x.len() - strides * STRIDE], &y[..y.len() - strides * STRIDE]);
    let mut common = strides * STRIDE + x.iter().rev().zip(y.iter().rev()).take_while(|(x, y)| x == y).count();
    while !a.is_char_boundary(a.len() - common) {
        common -= 1;
    }
    common
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
