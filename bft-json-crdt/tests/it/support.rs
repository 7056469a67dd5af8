//! What several test modules share.

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::ops::{
    Anchor, ContainerEntry, ContainerNo, Direction, Element, Kind, Ops, OpsBuilder, Parent, Ref, Source, Unit,
};
use bft_json_crdt::value::Value;
use proptest::prelude::*;

/// A change's id that is easy to see in bytes.
pub(crate) fn id(n: u8) -> ChangeId {
    ChangeId([n; 32])
}

/// All units with what their numbers stand for, so that operations with differently numbered tables compare.
pub(crate) fn meaning(ops: &Ops) -> Vec<String> {
    let mut units = Vec::new();
    ops.for_each_unit(|offset, unit| {
        units.push(format!("{offset} {}", describe(&unit, &ops.containers, &ops.foreign)))
    });
    units
}

/// A unit in words that do not depend on table numbers.
pub(crate) fn describe(unit: &Unit, containers: &[ContainerEntry], foreign: &[ChangeId]) -> String {
    let reference = |r: Ref| match r.source {
        Source::Own => format!("own@{}", r.offset),
        Source::Back(steps) => format!("back{steps}@{}", r.offset),
        Source::Foreign(number) => format!("{:?}@{}", foreign[number as usize], r.offset),
    };
    let anchor = |a: Anchor| match a {
        Anchor::Start => "start".to_owned(),
        Anchor::Right(place) => format!("right of {}", reference(place)),
        Anchor::Left(place) => format!("left of {}", reference(place)),
    };
    let container = |mut number: ContainerNo| {
        let mut path = String::new();
        while number != ContainerNo::ROOT {
            let entry = &containers[number.0 as usize - 1];
            path.push_str(&format!("/{:?} in ", entry.kind));
            match &entry.parent {
                Parent::Key(map, key) => {
                    path.push_str(&format!("{key:?}"));
                    number = *map;
                }
                Parent::Element(element) => {
                    path.push_str(&reference(*element));
                    break;
                }
            }
        }
        path
    };
    match unit {
        Unit::Ensure(c) => format!("ensure {}", container(*c)),
        Unit::Clear(c) => format!("clear {}", container(*c)),
        Unit::Set(c, value) => format!("set {} {value:?}", container(*c)),
        Unit::Add(c, step) => format!("add {} {step}", container(*c)),
        Unit::Insert { list, anchor: a, element } => format!("insert {} {} {element:?}", container(*list), anchor(*a)),
        Unit::Delete { target } => format!("delete {}", reference(*target)),
        Unit::Move { element, anchor: a } => format!("move {} {}", reference(*element), anchor(*a)),
        Unit::Text { text, anchor: a, character } => format!("text {} {} {character:?}", container(*text), anchor(*a)),
    }
}

/// One call on a builder, with free choices as raw numbers that [`play`] fits to what exists at that point.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Any single unit.
    Unit { op: u8, container: u8, reference: u16, anchor: u8, value: Value, character: char },
    /// A run of values at an anchor.
    Values { container: u8, reference: u16, anchor: u8, values: Vec<Value> },
    /// A run of characters at an anchor.
    Text { container: u8, reference: u16, anchor: u8, text: String },
    /// A range of deletes.
    Delete { reference: u16, len: u32, backward: bool },
    /// A container that may stay unused.
    Container { parent: u8, key: u8, kind: u8 },
    /// A container of an element.
    ElementContainer { reference: u16, kind: u8 },
}

/// Any value that operations carry, not deep.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| Value::Int(n.into())),
        any::<u64>().prop_map(|n| Value::Int(n.into())),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::Float),
        ".{0,6}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(".{0,3}", inner, 0..4).prop_map(Value::Object),
        ]
    })
}

/// A list of builder calls that produces many runs that touch.
pub(crate) fn steps(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..8u8, any::<u8>(), any::<u16>(), 0..5u8, values(), any::<char>()).prop_map(
            |(op, container, reference, anchor, value, character)| Step::Unit {
                op, container, reference, anchor, value, character
            }
        ),
        2 => (any::<u8>(), any::<u16>(), 0..5u8, prop::collection::vec(values(), 0..4)).prop_map(
            |(container, reference, anchor, values)| Step::Values { container, reference, anchor, values }
        ),
        2 => (any::<u8>(), any::<u16>(), 0..5u8, ".{0,5}").prop_map(|(container, reference, anchor, text)| Step::Text {
            container, reference, anchor, text
        }),
        3 => (any::<u16>(), 0..5u32, any::<bool>()).prop_map(|(reference, len, backward)| Step::Delete {
            reference, len, backward
        }),
        2 => (any::<u8>(), 0..4u8, 0..6u8).prop_map(|(parent, key, kind)| Step::Container { parent, key, kind }),
        1 => (any::<u16>(), 0..6u8).prop_map(|(reference, kind)| Step::ElementContainer { reference, kind }),
    ];
    prop::collection::vec(step, 0..len)
}

/// Plays steps on a builder, unit by unit if `singly`, in runs otherwise. Returns the builder and the units in words.
pub(crate) fn play(steps: &[Step], singly: bool) -> (OpsBuilder, Vec<String>) {
    let mut player = Player { builder: OpsBuilder::new(), foreign: Vec::new(), table: Vec::new(), said: Vec::new() };
    for step in steps {
        player.step(step, singly);
    }
    (player.builder, player.said)
}

struct Player {
    builder: OpsBuilder,
    foreign: Vec<ChangeId>,
    table: Vec<ContainerEntry>,
    said: Vec<String>,
}

impl Player {
    /// Small numbers for offsets, so that references often touch.
    fn reference(&mut self, raw: u16) -> Ref {
        let offset = u32::from(raw >> 4) % 12;
        match raw % 16 {
            0..6 if self.builder.units() > 0 => Ref { source: Source::Own, offset: offset % self.builder.units() },
            0..10 => Ref { source: Source::Back(u64::from(raw % 3) + 1), offset },
            n => {
                let id = id(n as u8);
                if !self.foreign.contains(&id) {
                    self.foreign.push(id);
                }
                Ref { source: self.builder.foreign(id).unwrap(), offset }
            }
        }
    }

    fn anchor(&mut self, anchor: u8, raw: u16) -> Anchor {
        match anchor {
            0 => Anchor::Start,
            1 => Anchor::Right(self.reference(raw)),
            2 => Anchor::Left(self.reference(raw)),
            _ if self.builder.units() == 0 => Anchor::Start,
            _ => Anchor::Right(Ref { source: Source::Own, offset: self.builder.units() - 1 }),
        }
    }

    fn add_container(&mut self, parent: Parent, kind: Kind) -> ContainerNo {
        let entry = ContainerEntry { parent: parent.clone(), kind };
        let number = self.builder.container(parent, kind).unwrap();
        if number.0 as usize > self.table.len() {
            self.table.push(entry);
        }
        number
    }

    /// A container that fits; made under the root if there is none.
    fn container(&mut self, raw: u8, fits: impl Fn(Kind) -> bool) -> ContainerNo {
        let fitting: Vec<u32> =
            (0..self.table.len()).filter(|i| fits(self.table[*i].kind)).map(|i| i as u32 + 1).collect();
        if fitting.is_empty() || raw.is_multiple_of(8) {
            let kind = Kind::ALL.into_iter().find(|kind| fits(*kind)).unwrap();
            let key = ["", "a", "b", "é"][usize::from(raw >> 6)];
            return self.add_container(Parent::Key(ContainerNo::ROOT, key.into()), kind);
        }
        ContainerNo(fitting[usize::from(raw) % fitting.len()])
    }

    fn push(&mut self, unit: Unit) {
        let offset = self.builder.push(unit.clone()).unwrap();
        self.say(offset, &unit);
    }

    fn say(&mut self, offset: u32, unit: &Unit) {
        self.said.push(format!("{offset} {}", describe(unit, &self.table, &self.foreign)));
    }

    fn step(&mut self, step: &Step, singly: bool) {
        match step.clone() {
            Step::Unit { op, container, reference, anchor, value, character } => {
                let anchor = self.anchor(anchor, reference);
                let unit = match op {
                    0 => Unit::Ensure(self.container(container, |_| true)),
                    1 => match container % 4 {
                        0 => Unit::Clear(ContainerNo::ROOT),
                        _ => Unit::Clear(self.container(container, |_| true)),
                    },
                    2 => Unit::Set(
                        self.container(container, |kind| matches!(kind, Kind::Register | Kind::MultiRegister)),
                        value,
                    ),
                    3 => {
                        Unit::Add(self.container(container, |kind| kind == Kind::Counter), i64::from(reference) - 9000)
                    }
                    4 => {
                        let list = self.container(container, |kind| kind == Kind::List);
                        let element = match container % 3 {
                            0 => Element::Container(Kind::ALL[usize::from(container) % 6]),
                            _ => Element::Value(value),
                        };
                        Unit::Insert { list, anchor, element }
                    }
                    5 => Unit::Delete { target: self.reference(reference) },
                    6 => Unit::Move { element: self.reference(reference), anchor },
                    _ => Unit::Text { text: self.container(container, |kind| kind == Kind::Text), anchor, character },
                };
                // A delete needs something to name.
                self.push(unit);
            }
            Step::Values { container, reference, anchor, values } => {
                let list = self.container(container, |kind| kind == Kind::List);
                let mut anchor = self.anchor(anchor, reference);
                let start = self.builder.units();
                if !singly {
                    assert_eq!(self.builder.insert_values(list, anchor, values.clone()), Ok(start));
                }
                for (at, value) in (start..).zip(values) {
                    let unit = Unit::Insert { list, anchor, element: Element::Value(value) };
                    if singly {
                        self.push(unit)
                    } else {
                        self.say(at, &unit)
                    }
                    anchor = Anchor::Right(Ref { source: Source::Own, offset: at });
                }
            }
            Step::Text { container, reference, anchor, text } => {
                let number = self.container(container, |kind| kind == Kind::Text);
                let mut anchor = self.anchor(anchor, reference);
                let start = self.builder.units();
                if !singly {
                    assert_eq!(self.builder.text(number, anchor, &text), Ok(start));
                }
                for (at, character) in (start..).zip(text.chars()) {
                    let unit = Unit::Text { text: number, anchor, character };
                    if singly {
                        self.push(unit)
                    } else {
                        self.say(at, &unit)
                    }
                    anchor = Anchor::Right(Ref { source: Source::Own, offset: at });
                }
            }
            Step::Delete { reference, len, backward } => {
                let mut target = self.reference(reference);
                let len = if backward { len.min(target.offset + 1) } else { len };
                let start = self.builder.units();
                if !singly {
                    let direction = if backward { Direction::Backward } else { Direction::Forward };
                    assert_eq!(self.builder.delete(target, len, direction), Ok(start));
                }
                for at in start..start + len {
                    let unit = Unit::Delete { target };
                    if singly {
                        self.push(unit)
                    } else {
                        self.say(at, &unit)
                    }
                    target.offset = if backward { target.offset.wrapping_sub(1) } else { target.offset + 1 };
                }
            }
            Step::Container { parent, key, kind } => {
                let parent = match parent % 3 {
                    0 => ContainerNo::ROOT,
                    _ => self.container(parent, |kind| kind == Kind::Map),
                };
                let key = ["x", "y", "", "z"][usize::from(key)].into();
                self.add_container(Parent::Key(parent, key), Kind::ALL[usize::from(kind)]);
            }
            Step::ElementContainer { reference, kind } => {
                let element = self.reference(reference);
                self.add_container(Parent::Element(element), Kind::ALL[usize::from(kind)]);
            }
        }
    }
}
