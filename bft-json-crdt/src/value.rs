//! JSON values with exact integers (docs/protocol.md, section 4.6).

use std::collections::BTreeMap;

/// A JSON value. Integers are exact; `1` and `1.0` are different values.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer in −2⁶³ … 2⁶⁴ − 1. (Views may hold any `i128`: a counter's sum never saturates.)
    Int(i128),
    /// A finite floating-point number.
    Float(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object, keys ascending by their UTF-8 bytes.
    Object(BTreeMap<String, Value>),
}
