//! Recordings of text editing: read from files, or made up in like shape.
//!
//! Files are gzipped JSON. Sequential: `{startContent, endContent, txns: [{patches: [[position, deleted, inserted], …]}]}`. Concurrent: each txn adds `agent` and
//! `parents` (indexes of earlier txns; none is the empty document, several are their merge), and positions hold in the state that the parents give.

use std::io::Read as _;

use serde_json::Value;

/// What one edit takes out and puts in at a position, in characters.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    pub(super) position: usize,
    pub(super) deleted: usize,
    pub(super) inserted: String,
}

#[derive(Debug, Clone)]
pub(super) struct Txn {
    pub(super) agent: usize,
    pub(super) parents: Vec<usize>,
    pub(super) patches: Vec<Patch>,
}

#[derive(Debug, Clone)]
pub(super) struct Trace {
    pub(super) name: String,
    pub(super) end: String,
    pub(super) txns: Vec<Txn>,
}

/// The traces in the folder that the environment names, or two that are made up.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real traces are no part of the project: a caller brings them"
)]
pub(super) fn traces() -> Vec<Trace> {
    let Some(folder) = std::env::var_os("SIDE_TRACES") else {
        // Debug builds are slow.
        let scale = if cfg!(debug_assertions) { 1 } else { 8 };
        return vec![sequential(1, 1_500 * scale), concurrent(2, 12 * scale)];
    };
    let entries = std::fs::read_dir(folder).expect("SIDE_TRACES names a folder");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut paths: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(".json.gz")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "SIDE_TRACES has no *.json.gz");
    let read = |path: &std::path::PathBuf| {
        let mut json = String::new();
        let file = std::fs::File::open(path).expect("a trace can be read");
        flate2::read::GzDecoder::new(file).read_to_string(&mut json).expect("a trace is gzipped text");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        from_json(&name, &serde_json::from_str(&json).expect("a trace is JSON"))
    };
    paths.iter().map(read).collect()
}

fn from_json(name: &str, json: &Value) -> Trace {
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let patch = |value: &Value| Patch {
        position: number(&value[0]),
        deleted: number(&value[1]),
        inserted: value[2].as_str().expect("inserted text").to_owned(),
    };
    let mut txns = Vec::new();
    if let Some(start) = json["startContent"].as_str().filter(|start| !start.is_empty()) {
        let patches = vec![Patch { position: 0, deleted: 0, inserted: start.to_owned() }];
        txns.push(Txn { agent: 0, parents: Vec::new(), patches });
    }
    for value in json["txns"].as_array().expect("txns") {
        let parents = match value["parents"].as_array() {
            Some(parents) => parents.iter().map(number).collect(),
            None => txns.len().checked_sub(1).into_iter().collect(),
        };
        let patches = value["patches"].as_array().expect("patches").iter().map(patch).collect();
        txns.push(Txn { agent: value["agent"].as_u64().unwrap_or(0) as usize, parents, patches });
    }
    Trace { name: name.to_owned(), end: json["endContent"].as_str().expect("endContent").to_owned(), txns }
}

/// A small generator of numbers (Knuth's MMIX constants), so that a trace comes from its seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Edits like a writer's: typing on at the cursor, backspaces, jumps, words replaced, two cursors at once.
fn edit(dice: &mut Dice, text: &mut Vec<char>, cursor: &mut usize) -> Vec<Patch> {
    *cursor = (*cursor).min(text.len());
    if dice.roll(40) == 0 {
        *cursor = dice.roll(text.len() + 1);
    }
    let mut patches = Vec::new();
    let mut patch = |text: &mut Vec<char>, position: usize, deleted: usize, inserted: String| {
        text.splice(position..position + deleted, inserted.chars());
        patches.push(Patch { position, deleted, inserted });
    };
    let letter = ['e', 't', 'a', 'o', ' ', 'n', 'ü', '漢', '😀'][dice.roll(100).min(8)];
    match dice.roll(100) {
        0..70 => {
            patch(text, *cursor, 0, letter.to_string());
            *cursor += 1;
        }
        70..90 if *cursor > 0 => {
            *cursor -= 1;
            patch(text, *cursor, 1, String::new());
        }
        90..93 => {
            let gone = dice.roll(12).min(text.len() - *cursor);
            let word: String = (0..dice.roll(12)).map(|n| char::from(b'a' + n as u8)).collect();
            patch(text, *cursor, gone, word);
        }
        93..95 => {
            let pasted: String = (0..dice.roll(300)).map(|n| if n % 9 == 8 { ' ' } else { letter }).collect();
            patch(text, *cursor, 0, pasted);
        }
        95..97 => {
            for _ in 0..2 {
                let position = dice.roll(text.len() + 1);
                patch(text, position, 0, "//".to_owned());
            }
        }
        _ => {
            let gone = (text.len() - *cursor).min(1);
            patch(text, *cursor, gone, String::new());
        }
    }
    patches
}

/// One author who edits one text.
fn sequential(seed: u64, edits: usize) -> Trace {
    let mut dice = Dice(seed);
    let (mut text, mut cursor) = (Vec::new(), 0);
    let txns = (0..edits)
        .map(|n| {
            let patches = edit(&mut dice, &mut text, &mut cursor);
            Txn { agent: 0, parents: n.checked_sub(1).into_iter().collect(), patches }
        })
        .collect();
    Trace { name: format!("sequential from seed {seed}"), end: text.into_iter().collect(), txns }
}

/// Three authors, each at home in a paragraph of its own: they write at the same time for a while, then learn of each other, and may change places. What the
/// merge must be follows without any merging: no edits of one round touch the same paragraph.
fn concurrent(seed: u64, rounds: usize) -> Trace {
    const AGENTS: usize = 3;
    let mut dice = Dice(seed);
    let mut paragraphs: Vec<Vec<char>> = vec![Vec::new(); AGENTS];
    let first = Patch { position: 0, deleted: 0, inserted: "\n".repeat(AGENTS - 1) };
    let mut txns = vec![Txn { agent: 0, parents: Vec::new(), patches: vec![first] }];
    let mut heads = vec![0];
    for round in 0..rounds {
        let before: Vec<usize> = paragraphs.iter().map(|paragraph| paragraph.len() + 1).collect();
        let known = std::mem::take(&mut heads);
        let mut parents = [const { Vec::new() }; AGENTS];
        let mut cursors = [0; AGENTS];
        // In turns, so that the changes of one author do not stand together.
        for _ in 0..dice.roll(120) {
            let agent = dice.roll(AGENTS);
            let at = (agent + round) % AGENTS;
            let offset: usize = before[..at].iter().sum();
            let mut patches = edit(&mut dice, &mut paragraphs[at], &mut cursors[agent]);
            patches.iter_mut().for_each(|patch| patch.position += offset);
            let after = if parents[agent].is_empty() { known.clone() } else { std::mem::take(&mut parents[agent]) };
            parents[agent] = vec![txns.len()];
            txns.push(Txn { agent, parents: after, patches });
        }
        heads.extend(parents.into_iter().flatten());
        if heads.is_empty() {
            heads = known;
        }
    }
    let paragraphs: Vec<String> = paragraphs.into_iter().map(|paragraph| paragraph.into_iter().collect()).collect();
    Trace { name: format!("concurrent from seed {seed}"), end: paragraphs.join("\n"), txns }
}
