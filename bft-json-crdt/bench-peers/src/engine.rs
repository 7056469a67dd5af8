//! What every engine does here, in the same pieces of work.

use std::collections::BTreeMap;

use crate::measure::Meter;
use crate::trace::Trace;

/// How saved bytes are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Ours: one signature for each leaf of an author's chain. Peers: the only way they have.
    Tips,
    /// Ours: every signature. Peers: as `Tips`, they have none.
    Full,
    /// Peers with a second way: loro's snapshot, yrs' second encoding.
    Other,
}

/// A document as bytes.
#[derive(Debug, Default)]
pub struct Saved {
    /// The whole history.
    pub bytes: Vec<u8>,
    /// The engine's second way to save, made outside the time that is measured.
    pub other: Option<Vec<u8>>,
}

impl From<Vec<u8>> for Saved {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, other: None }
    }
}

/// What was read of a map or a list.
pub use serde_json::Value;

/// One `key = value`.
#[derive(Debug, Clone)]
pub struct Set {
    /// The key.
    pub key: String,
    /// The value.
    pub value: i64,
}

/// An element of the list: a node with three registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Todo {
    /// A number.
    pub id: i64,
    /// A name.
    pub name: String,
    /// A flag.
    pub done: bool,
}

/// Sets of the map, and pushes of the list, in one change.
pub const WRITES_A_CHANGE: usize = 256;
/// Messages that a receiver takes at once.
pub const MESSAGES_A_BATCH: usize = 1024;

/// The sets: 100,000 on 1,000 keys in a random order.
pub fn sets(count: usize, keys: usize) -> Vec<Set> {
    let mut random = Random::new(7);
    (0..count).map(|n| Set { key: format!("key{}", random.below(keys)), value: n as i64 }).collect()
}

/// Whether a map holds what `sets` end at.
pub fn is_map(read: &Value, sets: &[Set]) -> bool {
    let expected: BTreeMap<&str, i64> = sets.iter().map(|set| (&*set.key, set.value)).collect();
    read.as_object().is_some_and(|read| {
        read.len() == expected.len()
            && expected.iter().all(|(key, value)| read.get(*key).and_then(Value::as_f64) == Some(*value as f64))
    })
}

/// The elements to push.
pub fn todos(count: usize) -> Vec<Todo> {
    (0..count as i64).map(|id| Todo { id, name: format!("item {id}"), done: id % 3 == 0 }).collect()
}

/// Whether a list holds what was pushed.
pub fn is_list(read: &Value, todos: &[Todo]) -> bool {
    read.as_array().is_some_and(|read| {
        read.len() == todos.len()
            && read.iter().zip(todos).all(|(read, todo)| {
                read["id"].as_f64() == Some(todo.id as f64)
                    && read["name"].as_str() == Some(&todo.name)
                    && read["done"].as_bool() == Some(todo.done)
            })
    })
}

/// A small generator (SplitMix64), so that every run does the same.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// A CRDT. `None` stands for what it cannot do. Each function calls the meter's `begin` and `end` around what is measured; what it returns is
/// checked afterwards.
pub trait Engine {
    /// Plays a trace of one author from nothing to its text and saved bytes.
    fn text_local(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)>;

    /// Loads saved bytes into a fresh replica and reads the text.
    fn text_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<String>;

    /// Plays a concurrent trace, a replica for each author unless the engine has something faster, to the text and bytes of one that holds all.
    fn concurrent(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)>;

    /// One message an edit, in order. Not measured.
    fn messages(&self, trace: &Trace) -> Option<Vec<Vec<u8>>>;

    /// Takes such messages in, [`MESSAGES_A_BATCH`] at a time, and reads the text.
    fn receive(&self, trace: &Trace, messages: Vec<Vec<u8>>, meter: &mut Meter) -> Option<String>;

    /// Writes a map, [`WRITES_A_CHANGE`] sets a change, reads it and saves it.
    fn map_local(&self, sets: &[Set], meter: &mut Meter) -> Option<(Value, Saved)>;

    /// Loads it and reads it.
    fn map_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value>;

    /// Pushes to a list, [`WRITES_A_CHANGE`] nodes a change, and saves it; the length is read within the time, the contents outside it.
    fn list_local(&self, todos: &[Todo], meter: &mut Meter) -> Option<(Value, Saved)>;

    /// Loads it and reads the length; the contents outside the time.
    fn list_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value>;
}
