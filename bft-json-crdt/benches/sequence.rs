//! What the sequence alone costs: a trace of typing, by index as its author does it and by place as it is applied elsewhere, and hostile shapes by
//! size. `cargo bench -p bft-json-crdt --bench sequence`.
//!
//! `SIDE_TRACES` names a folder with `automerge-paper.json.gz`; without it a trace of the same size and manner is made up. `SIDE_ROWS` is
//! `trace` or `shapes` for one of the two. The sequence is
//! private to the library, so that its source is taken in here. Times are of this thread's CPU, the mean of several rounds.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a bench reads a trace and the clock, and prints; what it takes in is public in the library"
)]

#[path = "../src/causality.rs"]
#[allow(dead_code, reason = "only the order of changes is asked")]
mod causality;
#[path = "../src/document/sequence/mod.rs"]
#[allow(dead_code, unused, reason = "the document uses the rest, and the tests are the library's")]
mod sequence;

/// What the two modules know of changes.
mod change {
    /// Stands for a change's id.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct ChangeId(pub [u8; 32]);
}

use std::io::Read;
use std::ops::Range;
use std::time::Instant;

use causality::{BranchIdx, Causality, ChangeIdx};
use change::ChangeId;
use sequence::{Anchor, Characters, PlaceIdx, Sequence, Weigh};

/// Edits in a change, as in the other benches.
const GRANULARITY: u32 = 256;
/// Rounds of each figure.
const ROUNDS: usize = 40;

/// Changes in the order of their numbers, times a factor.
struct Order {
    factor: u32,
}

impl Causality for Order {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        (BranchIdx(0), u64::from(change.0))
    }
    fn lamport(&self, change: ChangeIdx) -> u64 {
        u64::from(change.0.wrapping_mul(self.factor))
    }
    fn id(&self, _: ChangeIdx) -> ChangeId {
        ChangeId([0; 32])
    }
    fn past(&self, _: ChangeIdx, _: BranchIdx) -> u64 {
        0
    }
    fn back(&self, _: ChangeIdx, _: u64) -> Option<ChangeIdx> {
        None
    }
    fn lookup(&self, _: &ChangeId) -> Option<ChangeIdx> {
        None
    }
}

/// Deletes `deleted` characters at `at`, and inserts there.
struct Edit {
    at: usize,
    deleted: usize,
    inserted: String,
}

/// What an edit came to.
enum Applied {
    Insert(Anchor, ChangeIdx, u32, String),
    Hide(Range<u32>),
}

struct Text {
    sequence: Sequence,
    characters: Characters,
}

impl Text {
    fn new() -> Self {
        Self { sequence: Sequence::new(), characters: Characters::default() }
    }

    fn insert(&mut self, anchor: Anchor, change: ChangeIdx, offset: u32, inserted: &str) -> u32 {
        let len = self.characters.push_str(inserted);
        self.sequence.insert(&Order { factor: 1 }, &self.characters, anchor, change, offset, len, true);
        len
    }

    fn hide(&mut self, places: Range<u32>) {
        self.sequence.hide(&self.characters, places, None);
    }

    /// As an author does it: the places are found by index, and told by the units that made them.
    fn edit(&mut self, edits: &[Edit], mut applied: Option<&mut Vec<Applied>>) {
        let mut offset = 0;
        let mut gone = Vec::new();
        for (edit, number) in edits.iter().zip(0..) {
            let change = ChangeIdx(number / GRANULARITY);
            if number % GRANULARITY == 0 {
                offset = 0;
            }
            if edit.deleted > 0 {
                let mut left = edit.deleted as u32;
                gone.clear();
                for run in self.sequence.runs_from(edit.at) {
                    let taken = run.start..run.end.min(run.start + left);
                    left -= taken.end - taken.start;
                    gone.push(taken);
                    if left == 0 {
                        break;
                    }
                }
                for places in gone.drain(..) {
                    offset += places.end - places.start;
                    std::hint::black_box(self.sequence.origin_of(PlaceIdx::from_number(places.start)));
                    self.hide(places.clone());
                    if let Some(applied) = &mut applied {
                        applied.push(Applied::Hide(places));
                    }
                }
            }
            if !edit.inserted.is_empty() {
                let anchor = self.sequence.anchor_for(edit.at);
                if let Anchor::Right(place) | Anchor::Left(place) = anchor {
                    std::hint::black_box(self.sequence.origin_of(place));
                }
                if let Some(applied) = &mut applied {
                    applied.push(Applied::Insert(anchor, change, offset, edit.inserted.clone()));
                }
                offset += self.insert(anchor, change, offset, &edit.inserted);
            }
        }
    }

    fn apply(&mut self, applied: &[Applied]) {
        for step in applied {
            match step {
                Applied::Insert(anchor, change, offset, inserted) => {
                    self.insert(*anchor, *change, *offset, inserted);
                }
                Applied::Hide(places) => self.hide(places.clone()),
            }
        }
    }

    fn shown(&self) -> String {
        self.sequence.runs_from(0).map(|run| self.characters.slice(run)).collect()
    }
}

fn recorded(folder: &str) -> (Vec<Edit>, Option<String>) {
    let path = std::path::Path::new(folder).join("automerge-paper.json.gz");
    let file = std::fs::File::open(&path).expect("SIDE_TRACES names a folder with automerge-paper.json.gz");
    let mut json = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut json).expect("the trace is gzip");
    let trace: serde_json::Value = serde_json::from_str(&json).expect("the trace is JSON");
    let array = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut edits = Vec::new();
    for transaction in array(&trace["txns"]) {
        for patch in array(&transaction["patches"]) {
            let number = |at: usize| patch[at].as_u64().expect("a patch begins with two numbers") as usize;
            let inserted = patch[2].as_str().expect("a patch ends with a text").into();
            edits.push(Edit { at: number(0), deleted: number(1), inserted });
        }
    }
    (edits, trace["endContent"].as_str().map(String::from))
}

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX constants; the upper half is the good one.
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (((self.0 >> 32) as usize) * bound) >> 32
    }
}

fn made_up() -> Vec<Edit> {
    let mut numbers = Numbers(1);
    let (mut len, mut at) = (0, 0);
    let mut edits = Vec::new();
    while edits.len() < 260_000 {
        // One spell of typing: some letters, with some of them taken back.
        if len > 0 {
            at = numbers.below(len + 1);
        }
        for _ in 0..1 + numbers.below(60) {
            if at > 0 && numbers.below(10) < 3 {
                at -= 1;
                len -= 1;
                edits.push(Edit { at, deleted: 1, inserted: String::new() });
            } else {
                edits.push(Edit { at, deleted: 0, inserted: "x".into() });
                at += 1;
                len += 1;
            }
        }
    }
    edits
}

/// This thread's CPU time in nanoseconds, where the system tells it; else the time that went by. It may lag by some milliseconds.
fn cpu(begun: Instant) -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    told.unwrap_or_else(|| begun.elapsed().as_nanos() as u64)
}

/// The mean CPU time of a run, in nanoseconds a piece.
fn mean(pieces: usize, mut run: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let before = cpu(begun);
    (0..ROUNDS).for_each(|_| run());
    (cpu(begun) - before) as f64 / (ROUNDS * pieces) as f64
}

fn trace() {
    let (edits, expected) = match std::env::var("SIDE_TRACES") {
        Ok(folder) => recorded(&folder),
        Err(_) => (made_up(), None),
    };
    let mut applied = Vec::new();
    let mut text = Text::new();
    text.edit(&edits, Some(&mut applied));
    let shown = text.shown();
    assert!(expected.is_none_or(|expected| expected == shown), "the trace ends elsewhere");
    text.sequence.debug_check(&text.characters);

    let by_index = mean(edits.len(), || {
        let mut text = Text::new();
        text.edit(&edits, None);
        std::hint::black_box(&text);
    });
    let by_place = mean(edits.len(), || {
        let mut again = Text::new();
        again.apply(&applied);
        std::hint::black_box(&again);
    });
    let mut again = Text::new();
    again.apply(&applied);
    assert!(again.shown() == shown, "the same steps end elsewhere");
    let read = mean(1, || {
        std::hint::black_box(text.shown());
    });
    println!("edits {:>7}   by index {by_index:5.1} ns   by place {by_place:5.1} ns an edit", edits.len());
    println!(
        "places {:>6}   tokens {}   reading all {:.0} µs",
        text.sequence.place_count(),
        text.sequence.token_count(),
        read / 1e3
    );
    let (sequence, characters) = (text.sequence.heap_bytes(), text.characters.heap_bytes());
    println!("bytes {:>7}   of them characters {characters}   {}", sequence + characters, text.sequence.debug_bytes());
}

/// A shape: where the place with a number hangs.
type Shape = fn(u32) -> Anchor;

fn place(number: u32) -> PlaceIdx {
    PlaceIdx::from_number(number)
}

fn first(number: u32, other: impl Fn(u32) -> Anchor) -> Anchor {
    number.checked_sub(1).map_or(Anchor::Start, other)
}

const SHAPES: [(&str, u32, Shape); 9] = [
    ("a chain to the right", 1, |n| first(n, |last| Anchor::Right(place(last)))),
    ("a chain to the left", 1, |n| first(n, |last| Anchor::Left(place(last)))),
    ("a log: siblings in order", 1, |_| Anchor::Start),
    ("siblings in reverse order", u32::MAX, |_| Anchor::Start),
    ("siblings in any order", 0x9e37_79b1, |_| Anchor::Start),
    ("all at one place, both sides", 0x9e37_79b1, |n| {
        first(n, |last| if last % 2 == 0 { Anchor::Left(place(0)) } else { Anchor::Right(place(0)) })
    }),
    ("a zigzag", 1, |n| {
        first(n, |last| if last % 2 == 0 { Anchor::Right(place(last)) } else { Anchor::Left(place(last)) })
    }),
    ("two authors, interleaved", 1, |n| match n {
        0 | 1 => Anchor::Start,
        n => Anchor::Right(place(n - 2)),
    }),
    ("anywhere", 1, |n| {
        first(n, |_| {
            let parent = place(((u64::from(n) * u64::from(n.wrapping_mul(0x9e37_79b1))) >> 32) as u32);
            if n % 3 == 0 { Anchor::Left(parent) } else { Anchor::Right(parent) }
        })
    }),
];

/// Each place in a change of its own; then half of them are hidden, all over, and looked up.
fn shapes() {
    println!(
        "ns an operation (inserts; then hides and look-ups) at 1,000, 10,000, 100,000, 1,000,000 places; bytes a place"
    );
    for (name, factor, anchor) in SHAPES {
        let mut row = format!("{name:30}");
        let mut bytes = 0;
        for size in [1_000u32, 10_000, 100_000, 1_000_000] {
            // Small ones several times, so that the clock's steps do not matter.
            let rounds = (1_000_000 / size).min(100);
            let (mut inserts, mut hides) = (0, 0);
            for _ in 0..rounds {
                let order = Order { factor };
                let mut sequence = Sequence::new();
                let begun = Instant::now();
                let before = cpu(begun);
                for number in 0..size {
                    sequence.insert(&order, &(), anchor(number), ChangeIdx(number), 0, 1, true);
                }
                let between = cpu(begun);
                let mut numbers = Numbers(2);
                for _ in 0..size / 2 {
                    let number = numbers.below(size as usize) as u32;
                    sequence.hide(&(), number..number + 1, None);
                    std::hint::black_box(sequence.index_of(place(number)));
                }
                (inserts, hides) = (inserts + between - before, hides + cpu(begun) - between);
                bytes = sequence.heap_bytes() / size as usize;
            }
            let pieces = f64::from(size) * f64::from(rounds);
            let (inserts, hides) = (inserts as f64 / pieces, hides as f64 * 2.0 / pieces);
            row += &format!("{inserts:6.0} {hides:5.0} |");
        }
        println!("{row} {bytes:4}");
    }
}

fn main() {
    let rows = std::env::var("SIDE_ROWS").unwrap_or_default();
    if rows.is_empty() || rows == "trace" {
        trace();
    }
    if rows.is_empty() || rows == "shapes" {
        shapes();
    }
    // Lists weigh nothing.
    assert_eq!(().weigh(0..1), sequence::Extra::default());
}
