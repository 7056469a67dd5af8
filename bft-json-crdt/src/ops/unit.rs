//! Unit operations one by one: the meaning that runs only abbreviate (docs/protocol.md, section 4.2).

use super::{Anchor, ContainerNo, Direction, Elements, Kind, Ops, Ref, Run, Source};
use crate::value::Value;

/// What one insert brings.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// A value that never changes.
    Value(Value),
    /// A container of this kind.
    Container(Kind),
}

/// One operation. Its offset is its number in the change.
#[derive(Debug, Clone, PartialEq)]
pub enum Unit {
    /// Makes an empty container present.
    Ensure(ContainerNo),
    /// Deletes everything at and below a container.
    Clear(ContainerNo),
    /// Writes a register.
    Set(ContainerNo, Value),
    /// Adds to a counter.
    Add(ContainerNo, i64),
    /// Inserts a list element.
    Insert {
        /// The list.
        list: ContainerNo,
        /// Where the element hangs.
        anchor: Anchor,
        /// The element.
        element: Element,
    },
    /// Deletes an element or a character.
    Delete {
        /// Its insert.
        target: Ref,
    },
    /// Gives a list element a further place.
    Move {
        /// The element's insert.
        element: Ref,
        /// Where the new place hangs.
        anchor: Anchor,
    },
    /// Inserts a character.
    Text {
        /// The text.
        text: ContainerNo,
        /// Where the character hangs.
        anchor: Anchor,
        /// The character.
        character: char,
    },
}

impl Ops {
    /// Calls `visit` with every unit operation in order, with its offset.
    pub fn for_each_unit(&self, mut visit: impl FnMut(u32, Unit)) {
        let mut offset = 0;
        for run in &self.runs {
            run.for_each_unit(&mut offset, &mut visit);
        }
    }
}

impl Run {
    fn for_each_unit(&self, offset: &mut u32, visit: &mut impl FnMut(u32, Unit)) {
        let mut unit = |unit| {
            visit(*offset, unit);
            *offset += 1;
            // The next unit of a run hangs on the right of this one.
            Anchor::Right(Ref { source: Source::Own, offset: *offset - 1 })
        };
        match self {
            Run::Ensure(container) => {
                unit(Unit::Ensure(*container));
            }
            Run::Clear(container) => {
                unit(Unit::Clear(*container));
            }
            Run::Set(container, value) => {
                unit(Unit::Set(*container, value.clone()));
            }
            Run::Add(container, step) => {
                unit(Unit::Add(*container, *step));
            }
            Run::Insert { list, anchor, elements: Elements::Container(kind) } => {
                unit(Unit::Insert { list: *list, anchor: *anchor, element: Element::Container(*kind) });
            }
            Run::Insert { list, anchor, elements: Elements::Values(values) } => {
                let mut anchor = *anchor;
                for value in values {
                    anchor = unit(Unit::Insert { list: *list, anchor, element: Element::Value(value.clone()) });
                }
            }
            Run::Delete { target, len, direction } => {
                for step in 0..*len {
                    let offset = match direction {
                        Direction::Forward => target.offset + step,
                        Direction::Backward => target.offset - step,
                    };
                    unit(Unit::Delete { target: Ref { source: target.source, offset } });
                }
            }
            Run::Move { element, anchor } => {
                unit(Unit::Move { element: *element, anchor: *anchor });
            }
            Run::Text { text, anchor, characters, .. } => {
                let mut anchor = *anchor;
                for character in characters.chars() {
                    anchor = unit(Unit::Text { text: *text, anchor, character });
                }
            }
        }
    }
}
