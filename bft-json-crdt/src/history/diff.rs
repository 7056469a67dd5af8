//! What changed between two versions, told as events.
//!
//! Two pasts are compared by their structure: containers match by their place in it, elements and characters by the units that inserted them. Told is the net
//! difference, so what came and went in between is not, and all that came can be read from the later past. [`Past::advance`] tells the steps instead.
//!
//! In one list or text the order of events is: what went, from the front to the back; what moved; what came, from the front to the back. So when something
//! comes, everything before it is as it will be, and an insert's characters or elements stand in the later past at the very index that the event names.
//! What a container holds that came is told by events of its own, behind the one that brought it, as if it had come empty.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{HistoryError, Past, Version};
use crate::causality::{Causality as _, ChangeIdx};
use crate::document::{ContainerIdx, Element, Event, Happened, MAX_EVENTS, Shown, Step};
use crate::ops::Kind;
use crate::replica::Replica;
use crate::value::Value;

impl Replica {
    /// What turns the document as of `from` into the one as of `to`, whichever is the later one. Cost: two checkouts, and one pass over both documents.
    /// For what the events say see [`Past::diff`].
    ///
    /// # Errors
    /// [`HistoryError::Unknown`] for a head that is not applied here; [`HistoryError::Compacted`].
    pub fn diff(&self, from: &Version, to: &Version) -> Result<Vec<Event>, HistoryError> {
        let from = self.checkout(from)?;
        // Shares with the first what the two have in common, if it can.
        let to = match self.contains(&self.cut(to)?, &from.cut) {
            true => {
                let mut past = from.clone();
                past.move_to(self, to, None)?;
                past
            }
            false => self.checkout(to)?,
        };
        from.diff(self, &to)
    }
}

impl Past {
    /// What turns this document into `to`. At most [`MAX_EVENTS`] events and one [`Happened::Untold`].
    ///
    /// - `container` is a handle into the replica's present document, as in every other event; [`Past::locate`] finds it in a past. `path` is the way to it at the
    ///   moment of the event.
    /// - `change` is in all events the last change, in the one order, that only one of the two versions holds: it tells which difference this is, not who
    ///   did it. For that see [`Replica::blame`].
    /// - [`Happened::Set`] says that a register shows something else, [`Happened::Cleared`] that a map's entry is gone with all that it held;
    ///   [`Happened::Ensured`] that there is an empty one now. A counter's step that exceeds 64 bits is told in several.
    /// - What came with an event is told by [`Past::content`] of `to`.
    ///
    /// # Errors
    /// [`HistoryError::Stale`] if one of the two was not taken from this replica.
    pub fn diff(&self, replica: &Replica, to: &Past) -> Result<Vec<Event>, HistoryError> {
        self.at_home(replica)?;
        to.at_home(replica)?;
        let only = [replica.stretches(&self.cut, &to.cut), replica.stretches(&to.cut, &self.cut)];
        // A branch's last change is its greatest.
        let last = only.into_iter().flatten().map(|stretch| {
            let view = replica.dag().branch(stretch.branch);
            view.changes[(stretch.last_seq - view.first_seq) as usize]
        });
        let Some(change) = last.max_by(|a, b| replica.dag().order(*a, *b)) else { return Ok(Vec::new()) };
        let mut diff = Diff { replica, from: self, to, change, path: Vec::new(), events: Vec::new() };
        diff.contents(Some(ContainerIdx::ROOT), ContainerIdx::ROOT);
        Ok(diff.events)
    }

    /// A container of the replica's document in this past; `None` if nothing had mentioned it by then. O(depth · log n).
    ///
    /// # Errors
    /// [`HistoryError::Stale`].
    pub fn locate(&self, replica: &Replica, container: ContainerIdx) -> Result<Option<ContainerIdx>, HistoryError> {
        self.at_home(replica)?;
        let ours = |theirs| self.numbers.ours(theirs);
        Ok(self.document.counterpart(replica.document(), container, &ours))
    }

    /// What came with an event of a difference that leads to this past: the characters as a string, the elements as an array of what they show, what a
    /// register or counter shows now; `None` for what brought nothing.
    ///
    /// # Errors
    /// [`HistoryError::Stale`].
    pub fn content(&self, replica: &Replica, event: &Event) -> Result<Option<Value>, HistoryError> {
        let Some(container) = self.locate(replica, event.container)? else { return Ok(None) };
        let document = &self.document;
        Ok(match event.happened {
            Happened::Set | Happened::Added(_) => Some(document.view_at(container)),
            Happened::Inserted { index, len } if event.kind == Kind::Text => {
                Some(Value::String(document.text_slice(container, index, len)))
            }
            Happened::Inserted { index, len } => {
                let show = |(_, element)| match element {
                    Element::Value(value) => Value::clone(value),
                    Element::Container(_, inner) => document.view_at(inner),
                };
                Some(Value::Array(document.elements(container, index).take(len).map(show).collect()))
            }
            _ => None,
        })
    }
}

/// A unit of a change, by the replica's number of the change.
type Unit = (ChangeIdx, u32);

/// Elements or characters with successive units that show next to each other.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: Unit,
    len: u32,
    /// Where a moved element stands now; it is a piece of one.
    moved: Option<Unit>,
    /// Whether the other side shows them too.
    shared: bool,
}

struct Diff<'a> {
    replica: &'a Replica,
    from: &'a Past,
    to: &'a Past,
    change: ChangeIdx,
    path: Vec<Step>,
    events: Vec<Event>,
}

impl Diff<'_> {
    fn full(&self) -> bool {
        self.events.len() > MAX_EVENTS
    }

    /// Tells of a container of the later past.
    fn tell(&mut self, container: ContainerIdx, happened: Happened) {
        self.tell_of(self.to, container, happened);
    }

    fn tell_of(&mut self, past: &Past, container: ContainerIdx, happened: Happened) {
        if self.full() {
            return;
        }
        let change = self.change;
        if self.events.len() == MAX_EVENTS {
            let (container, kind, path) = (ContainerIdx::ROOT, Kind::Map, Vec::new());
            return self.events.push(Event { change, container, kind, path, happened: Happened::Untold });
        }
        let kind = past.document.kind(container);
        let theirs = |ours| Some(past.numbers.theirs(ours));
        let container = self.replica.document().counterpart(&past.document, container, &theirs);
        let container = container.expect("the replica has applied whatever a past of it mentions");
        self.events.push(Event { change, container, kind, path: self.path.clone(), happened });
    }

    /// What a container that lives in the later past holds, against what it held, if it lived, in the earlier one. Recurses at most to MAX_DEPTH.
    fn contents(&mut self, before: Option<ContainerIdx>, now: ContainerIdx) {
        if self.full() {
            return;
        }
        let (from, to) = (&self.from.document, &self.to.document);
        match to.kind(now) {
            Kind::Register => {
                let (old, new) = (before.and_then(|before| from.register(before)), to.register(now));
                // Nothing written shows as null.
                if old.unwrap_or(&Value::Null) != new.unwrap_or(&Value::Null) {
                    self.tell(now, Happened::Set);
                }
            }
            Kind::MultiRegister => {
                if !to.values(now).eq(before.into_iter().flat_map(|before| from.values(before))) {
                    self.tell(now, Happened::Set);
                }
            }
            Kind::Counter => {
                let mut step = to.counter(now) - before.map_or(0, |before| from.counter(before));
                while step != 0 && !self.full() {
                    let told = step.clamp(i64::MIN.into(), i64::MAX.into());
                    step -= told;
                    self.tell(now, Happened::Added(told as i64));
                }
            }
            Kind::Map => self.map(before, now),
            Kind::List | Kind::Text => self.sequence(before, now),
        }
    }

    fn map(&mut self, before: Option<ContainerIdx>, now: ContainerIdx) {
        let (from, to) = (&self.from.document, &self.to.document);
        let mut keys: BTreeSet<&str> = to.keys(now).collect();
        keys.extend(before.into_iter().flat_map(|before| from.keys(before)));
        for key in keys {
            if self.full() {
                return;
            }
            let old: Vec<_> = before.into_iter().flat_map(|before| from.kinds_present(before, key)).collect();
            let new: Vec<_> = to.kinds_present(now, key).collect();
            self.path.push(Step::Key(Arc::from(key)));
            for (kind, before) in &old {
                if !new.iter().any(|(of, _)| of == kind) {
                    self.tell_of(self.from, *before, Happened::Cleared);
                }
            }
            for (kind, now) in new {
                let before = old.iter().find(|(of, _)| *of == kind).map(|(_, before)| *before);
                let told = self.events.len();
                self.contents(before, now);
                if before.is_none() && self.events.len() == told {
                    self.tell(now, Happened::Ensured);
                }
            }
            self.path.pop();
        }
    }

    fn sequence(&mut self, before: Option<ContainerIdx>, now: ContainerIdx) {
        let mut old = before.map_or(Vec::new(), |before| pieces(self.from, before));
        let mut new = pieces(self.to, now);
        let (known_old, known_new) = (sorted(&old), sorted(&new));
        old = share(old, &known_new);
        new = share(new, &known_old);

        let mut index = 0;
        for group in old.chunk_by(|a, b| a.shared == b.shared) {
            let len = group.iter().map(|piece| piece.len as usize).sum();
            if group[0].shared {
                index += len;
            } else {
                self.tell(now, Happened::Deleted { index, len });
            }
        }
        for (from, to) in moves(&old, &new) {
            self.tell(now, Happened::Moved { from, to });
        }
        let mut index = 0;
        for group in new.chunk_by(|a, b| a.shared == b.shared) {
            let len = group.iter().map(|piece| piece.len as usize).sum();
            if !group[0].shared {
                self.tell(now, Happened::Inserted { index, len });
            }
            index += len;
        }

        let (from, to) = (&self.from.document, &self.to.document);
        for (index, (_, element)) in to.elements(now, 0).enumerate() {
            let Element::Container(_, inner) = element else { continue };
            if self.full() {
                return;
            }
            let ours = |change| self.from.numbers.ours(self.to.numbers.theirs(change));
            // Its element may be deleted on the one side and not on the other.
            let known = before.and_then(|_| from.counterpart(to, inner, &ours));
            self.path.push(Step::Index(index));
            self.contents(known.filter(|known| from.is_attached(*known)), inner);
            self.path.pop();
        }
    }
}

/// What shows in a list or text, in order.
fn pieces(past: &Past, sequence: ContainerIdx) -> Vec<Piece> {
    let theirs = |(change, offset)| (past.numbers.theirs(change), offset);
    let piece = |shown: Shown| {
        let (first, moved) = (theirs((shown.change, shown.offset)), shown.moved.map(theirs));
        Piece { first, len: shown.len, moved, shared: false }
    };
    past.document.shown_from(sequence, 0).map(piece).collect()
}

/// For each piece its first unit and one behind its last offset, ascending.
fn sorted(pieces: &[Piece]) -> Vec<(Unit, u32)> {
    let mut sorted: Vec<_> = pieces.iter().map(|piece| (piece.first, piece.first.1 + piece.len)).collect();
    sorted.sort_unstable();
    sorted
}

/// Splits pieces into those that the other side shows and those that it does not. O(n log n) for n pieces of both sides.
fn share(pieces: Vec<Piece>, other: &[(Unit, u32)]) -> Vec<Piece> {
    let mut split = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let (change, mut at) = piece.first;
        let end = at + piece.len;
        let mut add = |from: u32, until: u32, shared: bool| {
            if from < until {
                split.push(Piece { first: (change, from), len: until - from, shared, ..piece });
            }
        };
        let nearest = other.partition_point(|((of, _), until)| (*of, *until) <= (change, at));
        for ((of, from), until) in &other[nearest..] {
            if (*of, *from) >= (change, end) {
                break;
            }
            add(at, *from, false);
            add(at.max(*from), end.min(*until), true);
            at = end.min(*until);
        }
        add(at, end, false);
    }
    split
}

/// The moves that bring the shared elements from their old into their new order. Elements with the same place on both sides stay: they stand in one order
/// on both. The others are moved one by one, in their new order, each right behind the element that it shall follow; so each one's index is the number of those
/// that stay before it, and of the others' old and new slots in use before it. O(m log m) for m moved ones.
fn moves(old: &[Piece], new: &[Piece]) -> Vec<(usize, usize)> {
    let mut places: BTreeMap<Unit, [Option<Unit>; 2]> = BTreeMap::new();
    for (side, pieces) in [old, new].into_iter().enumerate() {
        for piece in pieces.iter().filter(|piece| piece.shared) {
            if piece.moved.is_some() {
                places.entry(piece.first).or_default()[side] = piece.moved;
            }
        }
    }
    places.retain(|_, [old, new]| old != new);
    if places.is_empty() {
        return Vec::new();
    }
    // (how many that stay are before it, old, its number): new slots stand before the old ones of their gap.
    let mut slots: Vec<(usize, bool, usize)> = Vec::new();
    let mut found: HashMap<Unit, [(usize, bool, usize); 2]> = HashMap::new();
    let mut order = Vec::new();
    for (side, pieces) in [old, new].into_iter().enumerate() {
        let mut stay = 0;
        for piece in pieces.iter().filter(|piece| piece.shared) {
            // One that moved on one side is a piece of one there, and within a longer one on the other.
            let behind = (piece.first.0, piece.first.1 + piece.len);
            for (met, (unit, _)) in places.range(piece.first..behind).enumerate() {
                let slot = (stay + (unit.1 - piece.first.1) as usize - met, side == 0, slots.len());
                slots.push(slot);
                found.entry(*unit).or_default()[side] = slot;
                if side == 1 {
                    order.push(*unit);
                }
            }
            stay += piece.len as usize - places.range(piece.first..behind).count();
        }
    }
    slots.sort_unstable();
    let position = |slot| slots.binary_search(&slot).expect("every slot was sorted in");
    let mut used = Counts::new(slots.len());
    for slot in slots.iter().filter(|(_, old, _)| *old) {
        used.add(position(*slot), 1);
    }
    let mut moves = Vec::new();
    for unit in order {
        let [old, new] = found[&unit];
        let from = old.0 + used.before(position(old));
        used.add(position(old), -1);
        let to = new.0 + used.before(position(new));
        used.add(position(new), 1);
        if from != to {
            moves.push((from, to));
        }
    }
    moves
}

/// Counts with sums of all before one in O(log n) (Fenwick: A new data structure for cumulative frequency tables, 1994).
struct Counts(Vec<i64>);

impl Counts {
    fn new(len: usize) -> Self {
        Self(vec![0; len + 1])
    }

    fn add(&mut self, at: usize, n: i64) {
        let mut node = at + 1;
        while node < self.0.len() {
            self.0[node] += n;
            node += node & node.wrapping_neg();
        }
    }

    fn before(&self, at: usize) -> usize {
        let (mut node, mut sum) = (at, 0);
        while node > 0 {
            sum += self.0[node];
            node &= node - 1;
        }
        sum as usize
    }
}
