//! What a transaction did, recorded by names that last, so that it can be taken back later ([`super::take_back`]).
//!
//! Places and elements are named by the unit that made them, containers by their way from the root: both outlive a rebuild of the document in memory.

use std::sync::Arc;

use super::{Tx, Up};
use crate::causality::{BranchIdx, Causality, ChangeIdx};
use crate::document::list::Held;
use crate::document::sequence::{Origin, PlaceIdx};
use crate::document::{ContainerIdx, Document};
use crate::ops::Kind;
use crate::value::Value;

/// A container's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Root,
    Key(Arc<Name>, Arc<str>, Kind),
    /// What the element holds that a unit inserted.
    Element(Origin),
}

/// One thing that a transaction did. Those of a transaction are taken back from the last to the first.
#[derive(Debug)]
pub(crate) enum Effect {
    /// An entry of a map began to live with what follows.
    Appeared(Arc<Name>),
    /// A register was written.
    Set { register: Arc<Name>, before: Vec<Value>, ensured: bool, after: Value },
    /// A counter was stepped, by the change of the own chain with this `seq`.
    Added { counter: Arc<Name>, step: i64, seq: u64 },
    /// Successive units inserted elements or characters.
    Inserted { container: Arc<Name>, first: Origin, len: u32 },
    /// Characters were deleted.
    Characters { text: Arc<Name>, gone: GoneCharacters },
    /// List elements were deleted.
    Elements { list: Arc<Name>, gone: GoneElements },
    /// An element was moved: the units that inserted it, that made its place before, and that made its place after.
    Moved { element: Origin, from: Origin, to: Origin, behind: Option<Behind> },
    /// Everything at and below a container was deleted.
    Cleared { container: Arc<Name>, content: Snapshot },
}

/// What stands before something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    /// The unit that inserted it.
    pub(super) born: Origin,
    /// The unit that made its place.
    pub(super) place: Origin,
}

/// Characters that were deleted, in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct GoneCharacters {
    /// The character before them.
    pub(super) behind: Option<Behind>,
    /// The units that had inserted them, as runs: the first one and how many, ascending.
    pub(super) units: Vec<(Origin, u32)>,
    pub(super) characters: String,
}

/// List elements that were deleted, in the order of the list.
#[derive(Debug, Default)]
pub(crate) struct GoneElements {
    /// The element before them.
    pub(super) behind: Option<Behind>,
    pub(super) elements: Vec<GoneElement>,
}

/// A list element that was deleted.
#[derive(Debug)]
pub(crate) struct GoneElement {
    /// The unit that had inserted it.
    pub(super) born: Origin,
    /// The unit that had made its place.
    pub(super) place: Origin,
    pub(super) content: GoneContent,
}

#[derive(Debug)]
pub(crate) enum GoneContent {
    Value(Value),
    Container(Kind, Snapshot),
}

/// All that lived at and below a container.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(super) ensured: bool,
    pub(super) body: SnapshotBody,
}

#[derive(Debug)]
pub(crate) enum SnapshotBody {
    Register(Vec<Value>),
    /// The sum, and by which of the author's own changes it was stepped.
    Counter(i128, Vec<u64>),
    Map(Vec<(Arc<str>, Kind, Snapshot)>),
    List(GoneElements),
    Text(GoneCharacters),
}

impl Effect {
    /// About how much room it takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        const OWN: usize = size_of::<Effect>();
        OWN + match self {
            Effect::Appeared(_) | Effect::Added { .. } | Effect::Inserted { .. } | Effect::Moved { .. } => 0,
            Effect::Set { before, after, .. } => weigh(after) + before.iter().map(weigh).sum::<usize>(),
            Effect::Characters { gone, .. } => gone.weight(),
            Effect::Elements { gone, .. } => gone.weight(),
            Effect::Cleared { content, .. } => content.weight(),
        }
    }
}

/// The length of a value's encoding; what cannot be encoded was refused before it came here.
fn weigh(value: &Value) -> usize {
    size_of::<Value>() + value.measure().unwrap_or(0)
}

impl GoneCharacters {
    fn weight(&self) -> usize {
        self.characters.len() + self.units.len() * size_of::<(Origin, u32)>()
    }
}

impl GoneElements {
    fn weight(&self) -> usize {
        let of = |element: &GoneElement| match &element.content {
            GoneContent::Value(value) => weigh(value),
            GoneContent::Container(_, content) => content.weight(),
        };
        self.elements.iter().map(|element| size_of::<GoneElement>() + of(element)).sum()
    }
}

impl Snapshot {
    fn weight(&self) -> usize {
        size_of::<Snapshot>()
            + match &self.body {
                SnapshotBody::Register(values) => values.iter().map(weigh).sum(),
                SnapshotBody::Counter(_, seqs) => seqs.len() * size_of::<u64>(),
                SnapshotBody::Map(entries) => entries.iter().map(|(key, _, inner)| key.len() + inner.weight()).sum(),
                SnapshotBody::List(gone) => gone.weight(),
                SnapshotBody::Text(gone) => gone.weight(),
            }
    }
}

/// Collects what a transaction does.
#[derive(Default)]
pub(super) struct Recorder {
    effects: Vec<Effect>,
    /// The container that was named last: most edits go to one.
    named: Option<(ContainerIdx, Arc<Name>)>,
}

impl Recorder {
    fn name(&mut self, document: &Document, container: ContainerIdx) -> Arc<Name> {
        match &self.named {
            Some((named, name)) if *named == container => name.clone(),
            _ => {
                let name = document.name(container);
                self.named = Some((container, name.clone()));
                name
            }
        }
    }
}

impl Document {
    /// A container's name. Recurses at most to MAX_DEPTH.
    pub(super) fn name(&self, container: ContainerIdx) -> Arc<Name> {
        Arc::new(match self.at(container).up() {
            Up::Root => Name::Root,
            Up::Key(map, key) => Name::Key(self.name(map), self.keys.name(key).clone(), self.kind(container)),
            Up::Element(list, born) => Name::Element(self.unit_of(list, PlaceIdx::from_number(born))),
        })
    }

    /// The unit that made a place of a list or text.
    pub(super) fn unit_of(&self, container: ContainerIdx, place: PlaceIdx) -> Origin {
        super::places(self, container).map_or((ChangeIdx(0), 0), |sequence| sequence.origin_of(place))
    }

    /// Characters of a text, as they are before they are deleted.
    fn characters_to_go(&self, text: ContainerIdx, index: usize, len: usize) -> GoneCharacters {
        let Some(body) = self.text_body(text) else { return GoneCharacters::default() };
        let before = index.checked_sub(1).and_then(|index| body.sequence.place_at(index));
        let mut gone = GoneCharacters {
            behind: before.map(|place| {
                let unit = body.sequence.origin_of(place);
                Behind { born: unit, place: unit }
            }),
            units: Vec::new(),
            characters: self.text_slice(text, index, len),
        };
        self.pieces(text, index, len, |change, offset, places| {
            gone.units.push(((change, offset), places.end - places.start));
        });
        gone
    }

    /// Elements of a list, as they are before they are deleted. Recurses at most to MAX_DEPTH.
    fn elements_to_go(&self, list: ContainerIdx, index: usize, len: usize, own: BranchIdx) -> GoneElements {
        let Some(body) = self.list(list) else { return GoneElements::default() };
        let born = |place: PlaceIdx| PlaceIdx::from_number(body.born(place.index() as u32));
        let before = index.checked_sub(1).and_then(|index| body.sequence.place_at(index));
        let element = |place: PlaceIdx| GoneElement {
            born: body.sequence.origin_of(born(place)),
            place: body.sequence.origin_of(place),
            content: match body.held(born(place).index() as u32) {
                Held::Value(value) => GoneContent::Value(value.clone()),
                // Never of a living element.
                Held::Gone => GoneContent::Value(Value::Null),
                Held::Container(inner) => GoneContent::Container(self.kind(inner), self.snapshot(inner, own)),
            },
        };
        let shown = body.sequence.runs_from(index).flatten().take(len).map(PlaceIdx::from_number);
        GoneElements {
            behind: before.map(|place| Behind {
                born: body.sequence.origin_of(born(place)),
                place: body.sequence.origin_of(place),
            }),
            elements: shown.map(element).collect(),
        }
    }

    /// All that lives at and below a container. `own` is the branch of the author who is about to delete it. Recurses at most to MAX_DEPTH.
    fn snapshot(&self, container: ContainerIdx, own: BranchIdx) -> Snapshot {
        let body = match self.kind(container) {
            Kind::Register | Kind::MultiRegister => SnapshotBody::Register(self.values(container).cloned().collect()),
            Kind::Counter => {
                let steps = self.uncovered.stepped(container, own).collect();
                SnapshotBody::Counter(self.counter(container), steps)
            }
            Kind::Map => SnapshotBody::Map(
                self.keys(container)
                    .flat_map(|key| self.kinds_present(container, key).map(move |(kind, child)| (key, kind, child)))
                    .map(|(key, kind, child)| (Arc::from(key), kind, self.snapshot(child, own)))
                    .collect(),
            ),
            Kind::List => SnapshotBody::List(self.elements_to_go(container, 0, self.len(container), own)),
            Kind::Text => SnapshotBody::Text(self.characters_to_go(container, 0, self.len(container))),
        };
        Snapshot { ensured: self.at(container).is_ensured(), body }
    }
}

/// What the writing functions call; nothing is done unless the transaction records.
impl<C: Causality> Tx<C> {
    /// Records from here on what is done.
    pub(crate) fn record(&mut self) {
        self.recorder = Some(Box::default());
    }

    /// Ends recording.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        self.recorder.take().map(|recorder| recorder.effects).unwrap_or_default()
    }

    /// The author's branch and the `seq` of this change on it.
    pub(super) fn own(&self) -> (BranchIdx, u64) {
        self.causality.position(self.scope.change)
    }

    fn note(&mut self, container: ContainerIdx, effect: impl FnOnce(&Document, Arc<Name>) -> Effect) {
        if let Some(recorder) = &mut self.recorder {
            let name = recorder.name(&self.document, container);
            recorder.effects.push(effect(&self.document, name));
        }
    }

    /// Something is about to be written to a container.
    #[inline]
    pub(super) fn note_appearing(&mut self, container: ContainerIdx) {
        let Some(recorder) = &mut self.recorder else { return };
        let (mut at, from) = (container, recorder.effects.len());
        while let Up::Key(map, _) = self.document.at(at).up()
            && !self.document.at(at).lives()
        {
            let name = recorder.name(&self.document, at);
            recorder.effects.push(Effect::Appeared(name));
            at = map;
        }
        // The outermost appears first.
        recorder.effects[from..].reverse();
    }

    #[inline]
    pub(super) fn note_set(&mut self, register: ContainerIdx, after: &Value) {
        self.note_appearing(register);
        self.note(register, |document, register_name| Effect::Set {
            register: register_name,
            before: document.values(register).cloned().collect(),
            ensured: document.at(register).is_ensured(),
            after: after.clone(),
        });
    }

    #[inline]
    pub(super) fn note_add(&mut self, counter: ContainerIdx, step: i64) {
        if self.recorder.is_none() {
            return;
        }
        self.note_appearing(counter);
        let (_, seq) = self.own();
        self.note(counter, |_, counter| Effect::Added { counter, step, seq });
    }

    #[inline]
    pub(super) fn note_clear(&mut self, container: ContainerIdx) {
        if self.recorder.is_none() {
            return;
        }
        let (own, _) = self.own();
        self.note(container, |document, name| Effect::Cleared {
            container: name,
            content: document.snapshot(container, own),
        });
    }

    #[inline]
    pub(super) fn note_text(&mut self, text: ContainerIdx, characters: &str) {
        if self.recorder.is_some() {
            self.note_inserted(text, characters.chars().count());
        }
    }

    /// The next units insert elements or characters.
    #[inline]
    pub(super) fn note_inserted(&mut self, container: ContainerIdx, len: usize) {
        self.note_appearing(container);
        let (change, first, more) = (self.scope.change, self.builder.units(), len as u32);
        let Some(recorder) = &mut self.recorder else { return };
        let name = recorder.name(&self.document, container);
        if let Some(Effect::Inserted { container, first: begun, len }) = recorder.effects.last_mut()
            && *container == name
            && begun.0 == change
            && begun.1 + *len == first
        {
            *len += more;
            return;
        }
        recorder.effects.push(Effect::Inserted { container: name, first: (change, first), len: more });
    }

    #[inline]
    pub(super) fn note_delete(&mut self, container: ContainerIdx, index: usize, len: usize) {
        if self.recorder.is_none() {
            return;
        }
        let (own, _) = self.own();
        self.note(container, |document, name| match document.kind(container) {
            Kind::Text => Effect::Characters { text: name, gone: document.characters_to_go(container, index, len) },
            _ => Effect::Elements { list: name, gone: document.elements_to_go(container, index, len, own) },
        });
    }

    /// The next unit moves the element that shows at an index.
    #[inline]
    pub(super) fn note_move(&mut self, list: ContainerIdx, from: usize) {
        let (change, offset) = (self.scope.change, self.builder.units());
        self.note(list, |document, _| {
            let body = document.list(list);
            let place = |index| body.and_then(|body| body.sequence.place_at(index));
            let unit = |place| document.unit_of(list, place);
            let born = |place: PlaceIdx| {
                let body = body?;
                Some(unit(PlaceIdx::from_number(body.born(place.index() as u32))))
            };
            let nothing = (change, offset);
            Effect::Moved {
                element: place(from).and_then(born).unwrap_or(nothing),
                from: place(from).map_or(nothing, unit),
                to: (change, offset),
                behind: from
                    .checked_sub(1)
                    .and_then(place)
                    .and_then(|place| Some(Behind { born: born(place)?, place: unit(place) })),
            }
        });
    }
}
