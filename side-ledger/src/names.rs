//! What members and groups may be called.
//!
//! A name is typed on a command line, is the name of a folder, and stands in signed bytes that strangers read. So it is short plain ASCII that no
//! shell, file system or terminal takes for something else, and never looks like a key.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Most bytes of a name: it fits a console column and every file system.
pub const MAX_NAME_BYTES: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty; take for example `node1`")]
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    #[error("a name has at most {MAX_NAME_BYTES} characters, this one has {0}")]
    TooLong(usize),
    /// It begins with something other than a letter or a digit.
    #[error("a name begins with a letter or a digit, not with {0:?}")]
    Start(char),
    /// It has a character that names do not have.
    #[error("a name has only the letters a-z and A-Z, digits, `-`, `_` and `.`, not {0:?}")]
    Character(char),
    /// It could be taken for a key: 64 hexadecimal digits.
    #[error("a name of 64 hexadecimal digits would be taken for a key; choose another")]
    LooksLikeKey,
}

/// The name of a member or of a group. Invariant: 1 to [`MAX_NAME_BYTES`] characters out of `[A-Za-z0-9._-]`, the first a letter or a digit, and not
/// 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(text.chars().count()));
        }
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
            return Err(NameError::Character(bad));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::Start(first));
        }
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NameError::LooksLikeKey);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass() {
        for good in ["node1", "a", "7", "Ann_B.c-d", &"x".repeat(MAX_NAME_BYTES), &"a".repeat(63)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn names_that_something_else_could_misread_are_refused() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(65)), Err(NameError::TooLong(65)));
        assert_eq!(Name::new(".."), Err(NameError::Start('.')));
        assert_eq!(Name::new("-rf"), Err(NameError::Start('-')));
        assert_eq!(Name::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(Name::new("n\u{f6}de"), Err(NameError::Character('\u{f6}')));
        assert_eq!(Name::new("a\u{1b}[2J"), Err(NameError::Character('\u{1b}')));
        assert_eq!(Name::new("a~b"), Err(NameError::Character('~')));
        assert_eq!(Name::new(&"aB".repeat(32)), Err(NameError::LooksLikeKey));
    }
}
