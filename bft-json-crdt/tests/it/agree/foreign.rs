//! Changes that no transaction of ours would write: on what is long deleted, hidden, or hangs anywhere; now and then with a reference to what they may not
//! name. Both engines must say the same of them.

use bft_json_crdt::ops::{
    Anchor, ContainerNo, Direction, Element, Elements, Kind, Ops, OpsBuilder, Parent, Ref, Run, Source, Unit,
};

use super::dice::Dice;
use super::graph::{Set, Written};
use super::local::{KEYS, characters, kind, run_len, value};
use super::plan::{Call, Shape};

/// A container of a history, named by its place in the structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Root,
    Key(u32, u8, Kind),
    /// What the element holds that this unit inserted.
    Element(Name, Kind),
}

/// A unit: its change (`OWN` for one that is being written) and its offset.
type Name = (u8, u32);

/// In a name: the change that is being written.
const OWN: u8 = u8::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Value,
    Container,
    Move,
    Character,
}

/// Units that made places, one behind the other.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    change: u8,
    start: u32,
    len: u32,
    made: Made,
    path: u32,
}

/// Everything in a history that can be named.
#[derive(Clone)]
pub(super) struct Registry {
    paths: Vec<Path>,
    stretches: Vec<Stretch>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { paths: vec![Path::Root], stretches: Vec::new() }
    }
}

impl Registry {
    fn intern(&mut self, path: Path) -> u32 {
        let known = self.paths.iter().position(|known| *known == path);
        known.unwrap_or_else(|| {
            self.paths.push(path);
            self.paths.len() - 1
        }) as u32
    }

    fn kind(&self, path: u32) -> Kind {
        match self.paths[path as usize] {
            Path::Root => Kind::Map,
            Path::Key(.., kind) | Path::Element(_, kind) => kind,
        }
    }

    fn path_of(&self, (change, offset): Name) -> u32 {
        let made = |held: &&Stretch| held.change == change && (held.start..held.start + held.len).contains(&offset);
        self.stretches.iter().find(made).map_or(0, |stretch| stretch.path)
    }

    /// Takes note of what a valid change made.
    pub(super) fn learn(&mut self, change: &Written, changes: &[Written]) {
        let name = |to: Ref| {
            let of = match to.source {
                Source::Own => change.number,
                Source::Back(steps) => {
                    let at = (0..steps).try_fold(change, |at, _| Some(&changes[usize::from(at.previous?)]));
                    at.map_or(0, |at| at.number)
                }
                Source::Foreign(number) => change.ops.foreign[number as usize].0[31],
            };
            (of, to.offset)
        };
        let mut table = vec![0];
        for entry in &change.ops.containers {
            let path = match &entry.parent {
                Parent::Key(map, key) => {
                    let key = KEYS.iter().position(|known| **known == **key).unwrap_or(0);
                    Path::Key(table[map.0 as usize], key as u8, entry.kind)
                }
                Parent::Element(to) => Path::Element(name(*to), entry.kind),
            };
            table.push(self.intern(path));
        }
        let mut start = 0;
        for run in &change.ops.runs {
            let made = match run {
                Run::Insert { list, elements: Elements::Values(_), .. } => Some((Made::Value, table[list.0 as usize])),
                Run::Insert { list, elements: Elements::Container(kind), .. } => {
                    self.intern(Path::Element((change.number, start), *kind));
                    Some((Made::Container, table[list.0 as usize]))
                }
                Run::Text { text, .. } => Some((Made::Character, table[text.0 as usize])),
                Run::Move { element, .. } => Some((Made::Move, self.path_of(name(*element)))),
                _ => None,
            };
            if let Some((made, path)) = made {
                self.stretches.push(Stretch { change: change.number, start, len: run.len(), made, path });
            }
            start += run.len();
        }
    }
}

/// Makes up operations for `next`, whose operations are still to come.
pub(super) fn make_up(registry: &Registry, changes: &[Written], next: &Written, shape: &Shape, calls: &[Call]) -> Ops {
    let known = registry.stretches.iter().filter(|held| next.past >> held.change & 1 == 1).copied().collect();
    let own = next.previous.map_or(0, |previous| changes[usize::from(previous)].chain);
    let mut hand = Hand { registry: registry.clone(), known, changes, next, own, shape, builder: OpsBuilder::new() };
    for call in calls {
        // What the builder refuses is left out.
        let _ = hand.call(*call);
    }
    hand.builder.finish()
}

struct Hand<'a> {
    registry: Registry,
    /// What may be named.
    known: Vec<Stretch>,
    changes: &'a [Written],
    next: &'a Written,
    /// The author's own chain.
    own: Set,
    shape: &'a Shape,
    builder: OpsBuilder,
}

impl Hand<'_> {
    fn call(&mut self, call: Call) -> Option<()> {
        let mut dice = Dice::new(call.walk ^ call.act);
        let at = self.container(&mut dice);
        let number = self.number(at, &mut dice)?;
        let kind_here = self.registry.kind(at);
        let start = self.builder.units();
        match (kind_here, dice.roll(12)) {
            (_, 0) => drop(self.builder.push(Unit::Ensure(number))),
            (_, 1) if at != 0 || dice.one_in(4) => drop(self.builder.push(Unit::Clear(number))),
            (_, 2..5) => self.delete(&mut dice)?,
            (_, 5 | 6) => self.relocate(&mut dice)?,
            (Kind::Register | Kind::MultiRegister, _) => {
                drop(self.builder.push(Unit::Set(number, value(&mut dice))));
            }
            (Kind::Counter, _) => drop(self.builder.push(Unit::Add(number, i64::MAX))),
            (Kind::List, _) => {
                let anchor = self.anchor(at, &mut dice)?;
                if dice.one_in(2) {
                    let values = (0..run_len(&mut dice)).map(|_| value(&mut dice)).collect();
                    self.builder.insert_values(number, anchor, values).ok()?;
                    self.note(start, Made::Value, at);
                } else {
                    let kind = kind(self.shape, &mut dice);
                    let element = Element::Container(kind);
                    self.builder.push(Unit::Insert { list: number, anchor, element }).ok()?;
                    self.registry.intern(Path::Element((OWN, start), kind));
                    self.note(start, Made::Container, at);
                }
            }
            (Kind::Text, _) => {
                let anchor = self.anchor(at, &mut dice)?;
                let run = run_len(&mut dice);
                self.builder.text(number, anchor, &characters(&mut dice, run)).ok()?;
                self.note(start, Made::Character, at);
            }
            (Kind::Map, _) => drop(self.builder.push(Unit::Ensure(number))),
        }
        Some(())
    }

    fn note(&mut self, start: u32, made: Made, path: u32) {
        let len = self.builder.units() - start;
        self.known.push(Stretch { change: OWN, start, len, made, path });
    }

    fn slips(&self, dice: &mut Dice) -> bool {
        dice.one_in(self.shape.slips.into())
    }

    /// Some container, or a new entry of a map.
    fn container(&mut self, dice: &mut Dice) -> u32 {
        let mut at = dice.roll(self.registry.paths.len()) as u32;
        while self.registry.kind(at) == Kind::Map && !dice.one_in(4) {
            let path = Path::Key(at, dice.roll(self.shape.keys.into()) as u8, kind(self.shape, dice));
            at = self.registry.intern(path);
        }
        at
    }

    fn number(&mut self, path: u32, dice: &mut Dice) -> Option<ContainerNo> {
        let (parent, kind) = match self.registry.paths[path as usize] {
            Path::Root => return Some(ContainerNo::ROOT),
            Path::Key(map, key, kind) => (Parent::Key(self.number(map, dice)?, KEYS[usize::from(key)].into()), kind),
            Path::Element(name, kind) => (Parent::Element(self.name(name, dice)?), kind),
        };
        self.builder.container(parent, kind).ok()
    }

    /// How this change names a unit; nothing if it may not, unless it slips.
    fn name(&mut self, (change, offset): Name, dice: &mut Dice) -> Option<Ref> {
        if change == OWN {
            return Some(Ref { source: Source::Own, offset });
        }
        let slips = self.slips(dice);
        if self.next.past >> change & 1 == 0 && !slips {
            return None;
        }
        let offset = if slips && dice.one_in(3) { offset + 1 + dice.roll(3) as u32 } else { offset };
        let own = self.own >> change & 1 == 1;
        let named = &self.changes[usize::from(change)];
        let source = if own != (slips && dice.one_in(3)) {
            Source::Back(self.next.seq.saturating_sub(named.seq).max(1))
        } else {
            self.builder.foreign(named.id).ok()?
        };
        Some(Ref { source, offset })
    }

    /// Units that may be named, of one container if there are any.
    fn stretch(&mut self, path: Option<u32>, dice: &mut Dice) -> Option<Stretch> {
        if self.slips(dice) {
            let all = &self.registry.stretches;
            return (!all.is_empty()).then(|| dice.pick(all));
        }
        let there: Vec<Stretch> =
            self.known.iter().filter(|held| path.is_none_or(|path| held.path == path)).copied().collect();
        (!there.is_empty()).then(|| dice.pick(&there))
    }

    fn anchor(&mut self, path: u32, dice: &mut Dice) -> Option<Anchor> {
        if dice.one_in(6) {
            return Some(Anchor::Start);
        }
        let Some(stretch) = self.stretch(Some(path), dice) else { return Some(Anchor::Start) };
        let offset = match dice.roll(4) {
            0 => stretch.start,
            1 => stretch.start + stretch.len - 1,
            _ => stretch.start + dice.roll(stretch.len as usize) as u32,
        };
        let name = self.name((stretch.change, offset), dice)?;
        Some(if dice.one_in(2) { Anchor::Left(name) } else { Anchor::Right(name) })
    }

    fn delete(&mut self, dice: &mut Dice) -> Option<()> {
        let stretch = self.stretch(None, dice)?;
        if stretch.made == Made::Move && !self.slips(dice) {
            return None;
        }
        let first = dice.roll(stretch.len as usize) as u32;
        let (direction, room) = match dice.roll(2) {
            0 => (Direction::Forward, stretch.len - first),
            _ => (Direction::Backward, first + 1),
        };
        // Deletes may reach into what the change made next to it, if that can be deleted too.
        let beyond = if dice.one_in(2) { 1 + dice.roll(3) as u32 } else { 0 };
        let len = (run_len(dice) as u32).min(room);
        let len = if self.slips(dice) { room + beyond } else { len };
        let target = self.name((stretch.change, stretch.start + first), dice)?;
        self.builder.delete(target, len, direction).ok().map(drop)
    }

    fn relocate(&mut self, dice: &mut Dice) -> Option<()> {
        let stretch = self.stretch(None, dice)?;
        if matches!(stretch.made, Made::Move | Made::Character) && !self.slips(dice) {
            return None;
        }
        let offset = stretch.start + dice.roll(stretch.len as usize) as u32;
        let element = self.name((stretch.change, offset), dice)?;
        let anchor = self.anchor(stretch.path, dice)?;
        let start = self.builder.units();
        self.builder.push(Unit::Move { element, anchor }).ok()?;
        self.note(start, Made::Move, stretch.path);
        Some(())
    }
}
