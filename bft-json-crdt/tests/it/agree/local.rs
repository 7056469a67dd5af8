//! What peers write through transactions: the same calls on both engines, which must record the same operations.

use bft_json_crdt::document::{self, NewElement, TxError};
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::value::Value;

use super::dice::Dice;
use super::graph::Graph;
use super::plan::{Call, Shape};
use crate::simple;

/// Keys of maps.
pub(super) const KEYS: [&str; 3] = ["a", "b", "ключ"];

/// A transaction of either engine.
pub(super) trait Writer {
    /// A container.
    type At: Copy;
    const ROOT: Self::At;

    fn kind(&self, at: Self::At) -> Kind;
    fn depth(&self, at: Self::At) -> u32;
    fn len(&self, at: Self::At) -> usize;
    fn inner(&self, list: Self::At, index: usize) -> Option<Self::At>;
    fn child(&mut self, map: Self::At, key: &str, kind: Kind) -> Result<Self::At, TxError>;
    fn put(&mut self, map: Self::At, key: &str, kind: Kind) -> Result<Self::At, TxError>;
    fn remove(&mut self, map: Self::At, key: &str) -> Result<bool, TxError>;
    fn ensure(&mut self, at: Self::At) -> Result<(), TxError>;
    fn clear(&mut self, at: Self::At) -> Result<(), TxError>;
    fn set(&mut self, register: Self::At, value: Value) -> Result<(), TxError>;
    fn add(&mut self, counter: Self::At, step: i64) -> Result<(), TxError>;
    fn insert_container(&mut self, list: Self::At, index: usize, kind: Kind) -> Result<Self::At, TxError>;
    fn insert_values(&mut self, list: Self::At, index: usize, values: Vec<Value>) -> Result<(), TxError>;
    fn insert_in_order(&mut self, list: Self::At, value: Value) -> Result<(), TxError>;
    fn push(&mut self, list: Self::At, value: Value) -> Result<(), TxError>;
    fn delete(&mut self, list: Self::At, index: usize, len: usize) -> Result<(), TxError>;
    fn move_element(&mut self, list: Self::At, from: usize, to: usize) -> Result<(), TxError>;
    fn text_insert(&mut self, text: Self::At, index: usize, characters: &str) -> Result<(), TxError>;
    fn text_delete(&mut self, text: Self::At, index: usize, len: usize) -> Result<(), TxError>;
}

macro_rules! writer {
    ($tx:ty, $at:ty, $element:path, $made:expr) => {
        impl Writer for $tx {
            type At = $at;
            const ROOT: $at = <$at>::ROOT;

            fn kind(&self, at: $at) -> Kind {
                self.document().kind(at)
            }

            fn depth(&self, at: $at) -> u32 {
                self.document().depth(at)
            }

            fn len(&self, at: $at) -> usize {
                self.document().len(at)
            }

            fn inner(&self, list: $at, index: usize) -> Option<$at> {
                match self.document().element(list, index) {
                    Some($element(_, inner)) => Some(inner),
                    _ => None,
                }
            }

            fn child(&mut self, map: $at, key: &str, kind: Kind) -> Result<$at, TxError> {
                self.child(map, key, kind)
            }

            fn put(&mut self, map: $at, key: &str, kind: Kind) -> Result<$at, TxError> {
                self.put(map, key, kind)
            }

            fn remove(&mut self, map: $at, key: &str) -> Result<bool, TxError> {
                self.remove(map, key)
            }

            fn ensure(&mut self, at: $at) -> Result<(), TxError> {
                self.ensure(at)
            }

            fn clear(&mut self, at: $at) -> Result<(), TxError> {
                self.clear(at)
            }

            fn set(&mut self, register: $at, value: Value) -> Result<(), TxError> {
                self.set(register, value)
            }

            fn add(&mut self, counter: $at, step: i64) -> Result<(), TxError> {
                self.add(counter, step)
            }

            fn insert_container(&mut self, list: $at, index: usize, kind: Kind) -> Result<$at, TxError> {
                let made = self.insert(list, index, NewElement::Container(kind))?;
                Ok($made(made).expect("the element holds a container"))
            }

            fn insert_values(&mut self, list: $at, index: usize, values: Vec<Value>) -> Result<(), TxError> {
                self.insert_values(list, index, values)
            }

            fn insert_in_order(&mut self, list: $at, value: Value) -> Result<(), TxError> {
                self.insert_in_order(list, NewElement::Value(value)).map(drop)
            }

            fn push(&mut self, list: $at, value: Value) -> Result<(), TxError> {
                self.push(list, NewElement::Value(value)).map(drop)
            }

            fn delete(&mut self, list: $at, index: usize, len: usize) -> Result<(), TxError> {
                self.delete(list, index, len)
            }

            fn move_element(&mut self, list: $at, from: usize, to: usize) -> Result<(), TxError> {
                self.move_element(list, from, to)
            }

            fn text_insert(&mut self, text: $at, index: usize, characters: &str) -> Result<(), TxError> {
                self.text_insert(text, index, characters)
            }

            fn text_delete(&mut self, text: $at, index: usize, len: usize) -> Result<(), TxError> {
                self.text_delete(text, index, len)
            }
        }
    };
}

writer!(document::Tx<Graph>, document::ContainerIdx, document::Element::Container, |made: document::Inserted| made
    .container);
writer!(simple::Tx<Graph>, simple::ContainerIdx, simple::Element::Container, |made| made);

/// Makes one call. `cursor` is where the peer last wrote in a list or text.
pub(super) fn call<W: Writer>(writer: &mut W, shape: &Shape, call: Call, cursor: &mut usize) -> Result<(), TxError> {
    let at = wander(writer, shape, call.walk)?;
    let mut dice = Dice::new(call.act);
    if dice.one_in(shape.clears.into()) {
        return match dice.roll(3) {
            0 => writer.ensure(at),
            // All of the document not too often: little is left then.
            _ if writer.depth(at) > 0 || dice.one_in(4) => writer.clear(at),
            _ => Ok(()),
        };
    }
    match writer.kind(at) {
        Kind::Register | Kind::MultiRegister => writer.set(at, value(&mut dice)),
        Kind::Counter => writer.add(at, dice.pick(&[1, -1, 7, 250, i64::MAX, i64::MIN])),
        Kind::Map => match dice.roll(3) {
            0 => writer.ensure(at),
            _ => writer.remove(at, dice.pick(&KEYS)).map(drop),
        },
        Kind::List => edit_list(writer, at, shape, &mut dice, cursor),
        Kind::Text => edit_text(writer, at, &mut dice, cursor),
    }
}

/// Deeper is rarely of interest.
const DEEP: u32 = 5;

/// A container that a random walk from the root comes to.
fn wander<W: Writer>(writer: &mut W, shape: &Shape, walk: u64) -> Result<W::At, TxError> {
    let mut dice = Dice::new(walk);
    let mut at = W::ROOT;
    loop {
        let stop = writer.depth(at) > 0 && dice.one_in(3) || writer.depth(at) >= DEEP;
        match writer.kind(at) {
            Kind::Map if !stop => {
                let key = KEYS[dice.roll(shape.keys.into())];
                let kind = kind(shape, &mut dice);
                at = match dice.roll(6) {
                    0 => writer.put(at, key, kind)?,
                    _ => writer.child(at, key, kind)?,
                };
            }
            Kind::List if !stop && writer.len(at) > 0 => {
                let index = dice.roll(writer.len(at));
                match writer.inner(at, index) {
                    Some(inner) => at = inner,
                    None => return Ok(at),
                }
            }
            _ => return Ok(at),
        }
    }
}

pub(super) fn kind(shape: &Shape, dice: &mut Dice) -> Kind {
    Kind::ALL[dice.weigh(shape.kinds)]
}

pub(super) fn value(dice: &mut Dice) -> Value {
    match dice.roll(12) {
        0 => Value::Null,
        1 => Value::String("s".into()),
        2 => Value::Array(vec![Value::Bool(true), Value::Float(0.5)]),
        _ => Value::Int(dice.roll(1000) as i128),
    }
}

/// How long a run is: mostly short, sometimes around the sizes at which trees of any kind split.
pub(super) fn run_len(dice: &mut Dice) -> usize {
    match dice.roll(16) {
        0..8 => 1,
        8..11 => 2 + dice.roll(3),
        11..14 => 4 + dice.roll(14),
        14 => dice.pick(&[31, 32, 33, 61, 63, 64, 65]),
        _ => 60 + dice.roll(160),
    }
}

pub(super) fn characters(dice: &mut Dice, len: usize) -> String {
    let first = dice.roll(26) as u8;
    match dice.roll(5) {
        // One, two, three and four bytes in UTF-8, one and two units in UTF-16.
        0 => (0..len).map(|n| ['é', 'x', '漢', '😀', 'y'][(usize::from(first) + n) % 5]).collect(),
        1 => std::iter::repeat_n('😀', len).collect(),
        _ => (0..len).map(|n| char::from(b'a' + ((usize::from(first) + n) % 26) as u8)).collect(),
    }
}

/// Where something is written: mostly where it was last, at the ends, or anywhere.
fn index(dice: &mut Dice, cursor: usize, len: usize) -> usize {
    match dice.roll(8) {
        0 => 0,
        1 => len,
        2 | 3 => dice.roll(len + 1),
        _ => cursor.min(len),
    }
}

fn edit_text<W: Writer>(writer: &mut W, text: W::At, dice: &mut Dice, cursor: &mut usize) -> Result<(), TxError> {
    let len = writer.len(text);
    let mut at = index(dice, *cursor, len);
    let times = 1 + dice.roll(6);
    match dice.roll(12) {
        // Typing.
        0..3 => {
            for _ in 0..times {
                writer.text_insert(text, at, &characters(dice, 1))?;
                at += 1;
            }
        }
        // A run at once.
        3 | 4 => {
            let run = run_len(dice);
            writer.text_insert(text, at, &characters(dice, run))?;
            at += run;
        }
        // Typing against the direction.
        5 | 6 => {
            for _ in 0..times {
                let run = 1 + dice.roll(2);
                writer.text_insert(text, at, &characters(dice, run))?;
            }
        }
        // Backspace, then typing on.
        7 | 8 => {
            for _ in 0..times.min(at) {
                at -= 1;
                writer.text_delete(text, at, 1)?;
            }
            if dice.one_in(2) {
                writer.text_insert(text, at, &characters(dice, times))?;
                at += times;
            }
        }
        // Deleting forwards.
        9 => {
            for _ in 0..times.min(len - at) {
                writer.text_delete(text, at, 1)?;
            }
        }
        // A range, and perhaps something in its place.
        _ => {
            let count = if dice.one_in(8) { len - at } else { run_len(dice).min(len - at) };
            writer.text_delete(text, at, count)?;
            if dice.one_in(2) {
                writer.text_insert(text, at, &characters(dice, times))?;
                at += times;
            }
        }
    }
    *cursor = at;
    Ok(())
}

fn edit_list<W: Writer>(
    writer: &mut W,
    list: W::At,
    shape: &Shape,
    dice: &mut Dice,
    cursor: &mut usize,
) -> Result<(), TxError> {
    let len = writer.len(list);
    let mut at = index(dice, *cursor, len);
    match dice.roll(14) {
        0 | 1 => {
            let run = run_len(dice);
            let values = (0..run).map(|_| value(dice)).collect();
            writer.insert_values(list, at, values)?;
            at += run;
        }
        2 => {
            for _ in 0..1 + dice.roll(5) {
                writer.insert_values(list, at, vec![value(dice)])?;
                at += dice.roll(2);
            }
        }
        3 => writer.insert_in_order(list, value(dice))?,
        4 => {
            writer.push(list, value(dice))?;
            at = len + 1;
        }
        5..8 => {
            let inner = writer.insert_container(list, at, kind(shape, dice))?;
            match (writer.kind(inner), dice.roll(3)) {
                (Kind::Text, 0) => writer.text_insert(inner, 0, &characters(dice, 3))?,
                (Kind::List, 0) => writer.push(inner, value(dice))?,
                (Kind::Map, 0 | 1) => {
                    let register = writer.child(inner, KEYS[0], Kind::Register)?;
                    writer.set(register, value(dice))?;
                }
                _ => {}
            }
        }
        8..11 if len > 0 => {
            for _ in 0..1 + dice.roll(3) {
                let from = if dice.one_in(2) { at.min(len - 1) } else { dice.roll(len) };
                let to = if dice.one_in(4) { (from + 1).min(len - 1) } else { dice.roll(len) };
                writer.move_element(list, from, to)?;
            }
        }
        _ => {
            let count = if dice.one_in(8) { len - at } else { run_len(dice).min(len - at) };
            writer.delete(list, at, count)?;
        }
    }
    *cursor = at;
    Ok(())
}

/// The operations of a transaction that went well, which can be carried.
pub(super) fn carried(ops: Result<Ops, TxError>) -> Ops {
    let ops = ops.expect("what is asked for can be done");
    let bytes = ops.encode().expect("a transaction keeps to what a change can carry");
    assert_eq!(Ops::decode(1, &bytes).as_ref(), Ok(&ops), "what a transaction writes is well-formed");
    ops
}
