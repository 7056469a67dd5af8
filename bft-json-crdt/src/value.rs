//! JSON values with exact integers: their bytes, their canonical text, and the way to and from `serde` (docs/protocol.md, sections 4.6 and
//! 6.4).
//!
//! A value that comes from bytes nests at most [`MAX_VALUE_DEPTH`] deep, one that comes from JSON at most [`MAX_JSON_DEPTH`], so the
//! recursions here (and the drop of a value) are bounded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::encoding::{DecodeError, Reader, Write};

/// Arrays and objects within one value; a scalar has depth 0. Together with `MAX_DEPTH` a view stays under 128 levels, what common JSON
/// parsers accept.
pub const MAX_VALUE_DEPTH: u32 = 48;
/// Levels that conversions from JSON follow: more than any view has, less than any stack minds.
pub const MAX_JSON_DEPTH: u32 = 128;
/// What is reserved at most on the word of a count alone: nested counts must not multiply into a large allocation.
const MAX_RESERVED: usize = 64;

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

/// Why a value cannot be carried by an operation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    /// An integer lies outside −2⁶³ … 2⁶⁴ − 1.
    #[error("an integer lies outside −2⁶³ … 2⁶⁴ − 1")]
    IntegerRange,
    /// A floating-point number is infinite or not a number.
    #[error("a floating-point number is infinite or not a number")]
    NotFinite,
    /// Arrays and objects nest too deep.
    #[error("arrays and objects nest more than {0} deep")]
    TooDeep(u32),
    /// A type could not be written as, or read from, a JSON value; the text is serde's.
    #[error("{0}")]
    Serde(String),
}

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INTEGER: u8 = 3;
    pub(super) const NEGATIVE: u8 = 4;
    pub(super) const FLOAT: u8 = 5;
    pub(super) const STRING: u8 = 6;
    pub(super) const ARRAY: u8 = 7;
    pub(super) const OBJECT: u8 = 8;
}

impl Value {
    /// Appends the one encoding. On an error `out` may hold a part of it.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.encode_at(out, 0)
    }

    fn encode_at(&self, out: &mut Vec<u8>, depth: u32) -> Result<(), ValueError> {
        match self {
            Value::Null => out.push(tag::NULL),
            Value::Bool(false) => out.push(tag::FALSE),
            Value::Bool(true) => out.push(tag::TRUE),
            Value::Int(n) => {
                if let Ok(n) = u64::try_from(*n) {
                    out.push(tag::INTEGER);
                    out.put_varint(n);
                } else if let Ok(n) = i64::try_from(*n) {
                    out.push(tag::NEGATIVE);
                    // −1 − n, which is the bitwise complement.
                    out.put_varint(!n as u64);
                } else {
                    return Err(ValueError::IntegerRange);
                }
            }
            Value::Float(f) => {
                if !f.is_finite() {
                    return Err(ValueError::NotFinite);
                }
                out.push(tag::FLOAT);
                out.put(&f.to_be_bytes());
            }
            Value::String(s) => {
                out.push(tag::STRING);
                out.put_blob(s.as_bytes());
            }
            Value::Array(items) => {
                let depth = deeper(depth)?;
                out.push(tag::ARRAY);
                out.put_varint(items.len() as u64);
                for item in items {
                    item.encode_at(out, depth)?;
                }
            }
            Value::Object(entries) => {
                let depth = deeper(depth)?;
                out.push(tag::OBJECT);
                out.put_varint(entries.len() as u64);
                for (key, value) in entries {
                    out.put_blob(key.as_bytes());
                    value.encode_at(out, depth)?;
                }
            }
        }
        Ok(())
    }

    /// Whether operations can carry the value.
    pub fn check(&self) -> Result<(), ValueError> {
        self.measure().map(drop)
    }

    /// The length of the encoding in bytes, if there is one.
    pub fn measure(&self) -> Result<usize, ValueError> {
        self.measure_at(0)
    }

    fn measure_at(&self, depth: u32) -> Result<usize, ValueError> {
        Ok(match self {
            Value::Null | Value::Bool(_) => 1,
            Value::Int(n) => {
                let carried = match (u64::try_from(*n), i64::try_from(*n)) {
                    (Ok(n), _) => n,
                    (_, Ok(n)) => !n as u64,
                    _ => return Err(ValueError::IntegerRange),
                };
                1 + varint_len(carried)
            }
            Value::Float(f) if !f.is_finite() => return Err(ValueError::NotFinite),
            Value::Float(_) => 9,
            Value::String(s) => 1 + blob_len(s),
            Value::Array(items) => {
                let depth = deeper(depth)?;
                let mut sum = 1 + varint_len(items.len() as u64);
                for item in items {
                    sum += item.measure_at(depth)?;
                }
                sum
            }
            Value::Object(entries) => {
                let depth = deeper(depth)?;
                let mut sum = 1 + varint_len(entries.len() as u64);
                for (key, value) in entries {
                    sum += blob_len(key) + value.measure_at(depth)?;
                }
                sum
            }
        })
    }

    /// Reads one value off the front of `reader` and refuses every encoding but the one.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read_at(reader, 0)
    }

    fn read_at(reader: &mut Reader<'_>, depth: u32) -> Result<Self, DecodeError> {
        Ok(match reader.byte()? {
            tag::NULL => Value::Null,
            tag::FALSE => Value::Bool(false),
            tag::TRUE => Value::Bool(true),
            tag::INTEGER => Value::Int(reader.varint()?.into()),
            tag::NEGATIVE => {
                let n = i64::try_from(reader.varint()?)
                    .map_err(|_| DecodeError::Rule("a negative integer is below −2⁶³"))?;
                Value::Int((!n).into())
            }
            tag::FLOAT => {
                let f = f64::from_be_bytes(reader.array()?);
                if !f.is_finite() {
                    return Err(DecodeError::Rule("a floating-point number is not finite"));
                }
                Value::Float(f)
            }
            tag::STRING => Value::String(reader.string()?.to_owned()),
            tag::ARRAY => {
                let depth = deeper_read(depth)?;
                let count = reader.count(1)?;
                let mut items = Vec::with_capacity(count.min(MAX_RESERVED));
                for _ in 0..count {
                    items.push(Self::read_at(reader, depth)?);
                }
                Value::Array(items)
            }
            tag::OBJECT => {
                let depth = deeper_read(depth)?;
                let count = reader.count(2)?;
                let mut last: Option<&str> = None;
                let mut entries = Vec::with_capacity(count.min(MAX_RESERVED));
                for _ in 0..count {
                    let key = reader.string()?;
                    if last.is_some_and(|last| last >= key) {
                        return Err(DecodeError::Rule("object keys are not strictly ascending"));
                    }
                    last = Some(key);
                    entries.push((key.to_owned(), Self::read_at(reader, depth)?));
                }
                Value::Object(entries.into_iter().collect())
            }
            _ => return Err(DecodeError::Rule("a value's tag is unknown")),
        })
    }

    /// Reads bytes that hold one value and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// Writes any type that serde can write as JSON. Integers beyond 64 bits are refused; floats that are not finite become `null`, as
    /// `serde_json` has it.
    pub fn from_serialize<T: Serialize + ?Sized>(source: &T) -> Result<Self, ValueError> {
        let json = serde_json::to_value(source).map_err(|error| ValueError::Serde(error.to_string()))?;
        Self::try_from(json)
    }

    /// Reads any type that serde can read from JSON.
    pub fn to_deserialize<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        serde_json::from_value(self.into()).map_err(|error| ValueError::Serde(error.to_string()))
    }
}

fn deeper(depth: u32) -> Result<u32, ValueError> {
    if depth == MAX_VALUE_DEPTH { Err(ValueError::TooDeep(MAX_VALUE_DEPTH)) } else { Ok(depth + 1) }
}

fn deeper_read(depth: u32) -> Result<u32, DecodeError> {
    if depth == MAX_VALUE_DEPTH { Err(DecodeError::Rule("a value nests too deep")) } else { Ok(depth + 1) }
}

/// Bytes of the varint of `n`.
pub(crate) fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

fn blob_len(s: &str) -> usize {
    varint_len(s.len() as u64) + s.len()
}

/// The canonical JSON text of a value, the same on every replica (docs/protocol.md, section 6.4): no white space, ascending keys, least
/// escapes, exact integers, floats as shortest digits with an exponent.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(n) => write!(out, "{n}").expect("writing to a string does not fail"),
        // `{:e}` gives the shortest digits that read back to the same number, one of them before the point.
        Value::Float(f) => write!(out, "{f:e}").expect("writing to a string does not fail"),
        Value::String(s) => write_string(s, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
    }
}

fn write_string(s: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (i, byte) in s.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            b'\t' => "\\t",
            b'\n' => "\\n",
            0x0c => "\\f",
            b'\r' => "\\r",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&s[plain..i]);
        plain = i + 1;
        if short.is_empty() {
            write!(out, "\\u{byte:04x}").expect("writing to a string does not fail");
        } else {
            out.push_str(short);
        }
    }
    out.push_str(&s[plain..]);
    out.push('"');
}

/// Fails where JSON nests deeper than [`MAX_JSON_DEPTH`]. A number that `serde_json` holds as a float stays a float.
impl TryFrom<serde_json::Value> for Value {
    type Error = ValueError;

    fn try_from(json: serde_json::Value) -> Result<Self, ValueError> {
        from_json(json, MAX_JSON_DEPTH)
    }
}

fn from_json(json: serde_json::Value, levels: u32) -> Result<Value, ValueError> {
    let below = || levels.checked_sub(1).ok_or(ValueError::TooDeep(MAX_JSON_DEPTH));
    Ok(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => {
            if let Some(n) = n.as_u64() {
                Value::Int(n.into())
            } else if let Some(n) = n.as_i64() {
                Value::Int(n.into())
            } else {
                match n.as_f64() {
                    Some(f) if f.is_finite() => Value::Float(f),
                    _ => return Err(ValueError::NotFinite),
                }
            }
        }
        serde_json::Value::String(s) => Value::String(s),
        serde_json::Value::Array(items) => {
            let levels = below()?;
            Value::Array(items.into_iter().map(|item| from_json(item, levels)).collect::<Result<_, _>>()?)
        }
        serde_json::Value::Object(entries) => {
            let levels = below()?;
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| Ok((key, from_json(value, levels)?)))
                    .collect::<Result<_, ValueError>>()?,
            )
        }
    })
}

/// Integers beyond 64 bits (only a counter's sum in a view can be one) become decimal strings: `serde_json` would turn them into floats
/// and lose digits without a word. Floats that are not finite become `null`.
impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => match (u64::try_from(*n), i64::try_from(*n)) {
                (Ok(n), _) => n.into(),
                (_, Ok(n)) => n.into(),
                _ => n.to_string().into(),
            },
            Value::Float(f) => (*f).into(),
            Value::String(s) => s.clone().into(),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(entries) => {
                Self::Object(entries.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
        }
    }
}

impl From<Value> for serde_json::Value {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

/// As `serde_json::Value::from` has it: integers beyond 64 bits become decimal strings.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(n) => match (u64::try_from(*n), i64::try_from(*n)) {
                (Ok(n), _) => serializer.serialize_u64(n),
                (_, Ok(n)) => serializer.serialize_i64(n),
                _ => serializer.collect_str(n),
            },
            Value::Float(f) => serializer.serialize_f64(*f),
            Value::String(s) => serializer.serialize_str(s),
            Value::Array(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        Self::try_from(json).map_err(serde::de::Error::custom)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n.into())
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Value::Int(n.into())
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::String(s.to_owned())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::String(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out).unwrap();
        out
    }

    fn nested(depth: u32) -> Value {
        (0..depth).fold(Value::Null, |value, _| Value::Array(vec![value]))
    }

    #[test]
    fn integers_are_exact_to_their_last_bit() {
        for n in
            [0, 1, -1, 127, 128, -128, -129, 1 << 53, (1 << 53) + 1, i64::MIN.into(), i64::MAX.into(), u64::MAX.into()]
        {
            let bytes = encoded(&Value::Int(n));
            assert_eq!(Value::decode(&bytes), Ok(Value::Int(n)));
            assert_eq!(Value::Int(n).measure(), Ok(bytes.len()));
            let json = serde_json::Value::from(&Value::Int(n));
            assert!(json.is_number());
            assert_eq!(Value::try_from(json), Ok(Value::Int(n)));
        }
        for n in [i128::from(u64::MAX) + 1, i128::from(i64::MIN) - 1, i128::MAX, i128::MIN] {
            assert_eq!(Value::Int(n).check(), Err(ValueError::IntegerRange));
            assert_eq!(Value::Int(n).encode(&mut Vec::new()), Err(ValueError::IntegerRange));
            assert_eq!(serde_json::Value::from(&Value::Int(n)), serde_json::Value::String(n.to_string()));
            assert_eq!(serde_json::to_string(&Value::Int(n)).unwrap(), format!("\"{n}\""));
        }
    }

    #[test]
    fn the_number_forms_do_not_mix() {
        assert_ne!(encoded(&Value::Int(1)), encoded(&Value::Float(1.0)));
        assert_ne!(encoded(&Value::Float(0.0)), encoded(&Value::Float(-0.0)));
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Value::Float(float).check(), Err(ValueError::NotFinite));
            assert_eq!(Value::Float(float).encode(&mut Vec::new()), Err(ValueError::NotFinite));
            let mut bytes = vec![5];
            bytes.extend(float.to_be_bytes());
            assert!(Value::decode(&bytes).is_err());
        }
        // A negative integer below −2⁶³.
        let mut bytes = vec![4];
        bytes.put_varint(1 << 63);
        assert!(Value::decode(&bytes).is_err());
    }

    #[test]
    fn depth_is_bounded_on_both_sides() {
        let deepest = nested(MAX_VALUE_DEPTH);
        assert_eq!(Value::decode(&encoded(&deepest)), Ok(deepest));
        let beyond = nested(MAX_VALUE_DEPTH + 1);
        assert_eq!(beyond.encode(&mut Vec::new()), Err(ValueError::TooDeep(MAX_VALUE_DEPTH)));
        assert_eq!(beyond.check(), Err(ValueError::TooDeep(MAX_VALUE_DEPTH)));
        let mut bytes = [7, 1].repeat(MAX_VALUE_DEPTH as usize + 1);
        bytes.push(0);
        assert_eq!(Value::decode(&bytes), Err(DecodeError::Rule("a value nests too deep")));
        // A bomb of a million levels ends at the bound too.
        assert!(Value::decode(&[7, 1].repeat(1 << 20)).is_err());
        let json = (0..=MAX_JSON_DEPTH).fold(serde_json::Value::Null, |json, _| serde_json::Value::Array(vec![json]));
        assert_eq!(Value::try_from(json), Err(ValueError::TooDeep(MAX_JSON_DEPTH)));
    }

    #[test]
    fn an_object_has_one_encoding() {
        let object = Value::Object([("b".into(), Value::Null), ("a".into(), Value::from(true))].into());
        let bytes = encoded(&object);
        assert_eq!(bytes, [8, 2, 1, b'a', 2, 1, b'b', 0]);
        assert_eq!(Value::decode(&bytes), Ok(object));
        assert!(Value::decode(&[8, 2, 1, b'b', 2, 1, b'a', 0]).is_err());
        assert!(Value::decode(&[8, 2, 1, b'a', 2, 1, b'a', 0]).is_err());
        assert_eq!(Value::decode(&[0, 0]), Err(DecodeError::Trailing));
        assert_eq!(Value::decode(&[6, 1, 0xff]), Err(DecodeError::Utf8));
        assert_eq!(Value::decode(&[9]), Err(DecodeError::Rule("a value's tag is unknown")));
    }

    #[test]
    fn canonical_json_is_as_the_protocol_says() {
        let floats =
            [(1.0, "1e0"), (-1.5e-7, "-1.5e-7"), (0.0, "0e0"), (-0.0, "-0e0"), (1e23, "1e23"), (5e-324, "5e-324")];
        for (float, text) in floats {
            assert_eq!(canonical_json(&Value::Float(float)), text);
        }
        let value = Value::Object(
            [
                ("é".into(), Value::Int(i128::MAX)),
                (
                    "a\"\\\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}/".into(),
                    Value::Array(vec![Value::Null, false.into(), true.into()]),
                ),
                (String::new(), Value::Int(-1)),
            ]
            .into(),
        );
        assert_eq!(
            canonical_json(&value),
            "{\"\":-1,\"a\\\"\\\\\\b\\t\\n\\f\\r\\u0001\\u001f\u{7f}/\":[null,false,true],\"é\":170141183460469231731687303715884105727}"
        );
    }

    #[test]
    fn types_go_through_serde_and_back() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Order {
            item: String,
            count: u64,
            price: f64,
            tags: Vec<Option<bool>>,
        }
        let order = Order { item: "apple".into(), count: u64::MAX, price: 1.0, tags: vec![None, Some(true)] };
        let value = Value::from_serialize(&order).unwrap();
        assert_eq!(value.to_deserialize::<Order>(), Ok(order));
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(matches!(value.to_deserialize::<u8>(), Err(ValueError::Serde(_))));
    }
}
