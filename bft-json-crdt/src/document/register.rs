//! The writes of registers and multi-value registers: the uncovered sets that are in no other's causal past. A set that is in another's past can be
//! forgotten: whatever covers the later one covers it too, and it is lower in the one order.

use std::collections::BTreeMap;

use super::sequence::pages::Pages;
use crate::causality::ChangeIdx;
use crate::value::Value;

/// No write.
const NONE: u32 = u32::MAX;
/// The writes are two or more and stand in [`Registers::forked`].
const FORKED: u32 = NONE - 1;

/// A write.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) change: ChangeIdx,
    pub(super) value: Value,
}

/// All registers of a document. One write stands inline, which is what nearly all of them have.
#[derive(Debug, Clone, Default)]
pub(super) struct Registers {
    /// The change of the only write, or [`NONE`], or [`FORKED`].
    changes: Pages<u32>,
    /// Apart from the changes, which would take sixteen bytes each beside them.
    values: Pages<Value>,
    /// The writes of the others, in the one order; on one branch there is at most one. Invariant: at least two each.
    forked: BTreeMap<u32, Vec<Write>>,
}

impl Registers {
    /// A further register.
    pub(super) fn push(&mut self) -> u32 {
        self.values.push(Value::Null);
        self.changes.push(NONE)
    }

    pub(super) fn lives(&self, register: u32) -> bool {
        self.changes[register] != NONE
    }

    /// The change of its only write, if it has exactly one.
    pub(super) fn only(&self, register: u32) -> Option<ChangeIdx> {
        match self.changes[register] {
            NONE | FORKED => None,
            change => Some(ChangeIdx(change)),
        }
    }

    /// Makes this its only write.
    pub(super) fn set_only(&mut self, register: u32, change: ChangeIdx, value: Value) {
        if std::mem::replace(&mut self.changes[register], change.0) == FORKED {
            self.forked.remove(&register);
        }
        self.values[register] = value;
    }

    /// Its writes in the one order.
    pub(super) fn writes(&self, register: u32) -> impl DoubleEndedIterator<Item = (ChangeIdx, &Value)> {
        let only = self.only(register).map(|change| (change, &self.values[register]));
        let forked = match self.changes[register] {
            FORKED => self.forked.get(&register),
            _ => None,
        };
        only.into_iter().chain(forked.into_iter().flatten().map(|write| (write.change, &write.value)))
    }

    /// Takes the writes out, to be put back with [`Self::put`].
    pub(super) fn take(&mut self, register: u32) -> Vec<Write> {
        match std::mem::replace(&mut self.changes[register], NONE) {
            NONE => Vec::new(),
            FORKED => self.forked.remove(&register).unwrap_or_default(),
            change => {
                vec![Write { change: ChangeIdx(change), value: std::mem::take(&mut self.values[register]) }]
            }
        }
    }

    /// Gives a register, which has none, its writes in the one order.
    pub(super) fn put(&mut self, register: u32, mut writes: Vec<Write>) {
        match writes.len() {
            0 => {}
            1 => {
                let Some(Write { change, value }) = writes.pop() else { return };
                (self.changes[register], self.values[register]) = (change.0, value);
            }
            _ => {
                self.changes[register] = FORKED;
                self.forked.insert(register, writes);
            }
        }
    }

    /// Bytes held on the heap, without those of the values' own strings and arrays.
    pub(super) fn heap_bytes(&self) -> usize {
        let forked: usize = self.forked.values().map(|writes| writes.capacity() * size_of::<Write>()).sum();
        self.changes.heap_bytes() + self.values.heap_bytes() + forked
    }

    pub(super) fn debug_check(&self) {
        assert_eq!(self.changes.len(), self.values.len());
        for (register, writes) in &self.forked {
            assert!(self.changes[*register] == FORKED && writes.len() > 1);
        }
        assert_eq!(self.changes.iter().filter(|change| **change == FORKED).count(), self.forked.len());
    }
}
