//! Recordings of text editing in the format of the public editing-traces family, cut to equal changes for everybody.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

/// Edits a change, and a peer's commit.
pub const EDITS_A_CHANGE: usize = 256;

/// One edit: at a position in Unicode scalar values, so many deleted, this inserted.
#[derive(Debug, Clone)]
pub struct Edit {
    /// Position.
    pub at: usize,
    /// How many are deleted there.
    pub deleted: usize,
    /// What is inserted there.
    pub inserted: String,
}

/// One author's edits in a row.
#[derive(Debug, Clone)]
pub struct Span {
    /// Who, from 0. One agent of the trace that writes on two branches at once counts as two authors.
    pub author: usize,
    /// The spans whose merge is the state that the first edit is made in.
    pub parents: Vec<usize>,
    /// At most [`EDITS_A_CHANGE`].
    pub edits: Vec<Edit>,
}

/// A step of a replay in which every author has a replica of its own.
pub struct Step {
    /// Whose replica.
    pub author: usize,
    /// The spans that it takes in first, parents before children.
    pub missing: Vec<usize>,
}

/// A recording.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its name: the file's without endings.
    pub name: String,
    /// Whether anything in it is concurrent.
    pub concurrent: bool,
    /// What it ends at.
    pub end: String,
    /// The edits, in causal order; in a sequential one each span's parent is the one before.
    pub spans: Vec<Span>,
    /// How many authors there are.
    pub authors: usize,
    /// Whether positions in bytes equal positions in scalar values.
    pub ascii: bool,
    /// Whether positions in UTF-16 units equal positions in scalar values.
    pub basic: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    start_content: String,
    end_content: String,
    txns: Vec<RawTxn>,
}

#[derive(Deserialize)]
struct RawTxn {
    parents: Option<Vec<usize>>,
    #[serde(default)]
    agent: usize,
    patches: Vec<(usize, usize, String)>,
}

impl Trace {
    /// Reads `NAME.json.gz` (or `NAME.json`).
    ///
    /// # Panics
    /// If it cannot be read: a benchmark without its data is over.
    pub fn read(path: &Path) -> Self {
        let mut text = Vec::new();
        let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".gz") {
            GzDecoder::new(file).read_to_end(&mut text).expect("gzip");
        } else {
            file.read_to_end(&mut text).expect("a readable file");
        }
        let raw: Raw = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::build(name.split('.').next().unwrap_or_default().to_owned(), raw)
    }

    fn build(name: String, raw: Raw) -> Self {
        let concurrent = raw.txns.iter().any(|txn| txn.parents.is_some());
        let edits = |txn: &RawTxn| -> Vec<Edit> {
            txn.patches
                .iter()
                .map(|(at, deleted, inserted)| Edit { at: *at, deleted: *deleted, inserted: inserted.clone() })
                .collect()
        };
        let (spans, authors) = if concurrent {
            assert!(raw.start_content.is_empty(), "a concurrent trace begins with the empty document");
            concurrent_spans(&raw.txns, edits)
        } else {
            let first =
                (!raw.start_content.is_empty()).then(|| Edit { at: 0, deleted: 0, inserted: raw.start_content });
            let all: Vec<Edit> = first.into_iter().chain(raw.txns.iter().flat_map(edits)).collect();
            (linear_spans(&all), 1)
        };
        Self::new(name, concurrent, raw.end_content, spans, authors)
    }

    pub(crate) fn new(name: String, concurrent: bool, end: String, spans: Vec<Span>, authors: usize) -> Self {
        let inserted = || spans.iter().flat_map(|span| &span.edits).map(|edit| &edit.inserted);
        let ascii = inserted().all(|text| text.is_ascii());
        let basic = inserted().all(|text| text.chars().all(|c| c.len_utf16() == 1));
        Self { name, concurrent, end, spans, authors, ascii, basic }
    }

    /// Every edit in the order of the file's spans.
    pub fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.spans.iter().flat_map(|span| &span.edits)
    }

    /// How many edits.
    pub fn len(&self) -> usize {
        self.spans.iter().map(|span| span.edits.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The replay with a replica for each author: one step a span, and a last one in which author 0 takes in the rest.
    pub fn steps(&self) -> Vec<Step> {
        let clocks = clocks(&self.spans, self.authors);
        let mut of: Vec<Vec<usize>> = vec![Vec::new(); self.authors];
        let mut held: Vec<Vec<u32>> = vec![vec![0; self.authors]; self.authors];
        let mut steps = Vec::new();
        for (index, span) in self.spans.iter().enumerate() {
            let mut missing = Vec::new();
            for (other, spans) in of.iter().enumerate() {
                if other != span.author {
                    let (from, to) = (held[span.author][other], clocks[index][other]);
                    missing.extend_from_slice(&spans[from as usize..to.max(from) as usize]);
                }
            }
            missing.sort_unstable();
            held[span.author].clone_from(&clocks[index]);
            of[span.author].push(index);
            steps.push(Step { author: span.author, missing });
        }
        let mut missing = Vec::new();
        for other in 1..self.authors {
            missing.extend_from_slice(&of[other][held[0][other] as usize..]);
        }
        missing.sort_unstable();
        steps.push(Step { author: 0, missing });
        steps
    }
}

/// Cuts edits in a row into spans.
pub fn linear_spans(edits: &[Edit]) -> Vec<Span> {
    let chunks = edits.chunks(EDITS_A_CHANGE).enumerate();
    chunks
        .map(|(index, edits)| Span {
            author: 0,
            parents: index.checked_sub(1).into_iter().collect(),
            edits: edits.to_vec(),
        })
        .collect()
}

/// How many spans of each author each span's past holds, itself included.
fn clocks(spans: &[Span], authors: usize) -> Vec<Vec<u32>> {
    let mut clocks: Vec<Vec<u32>> = Vec::with_capacity(spans.len());
    for span in spans {
        let mut clock = vec![0; authors];
        for parent in &span.parents {
            for (mine, theirs) in clock.iter_mut().zip(&clocks[*parent]) {
                *mine = (*mine).max(*theirs);
            }
        }
        clock[span.author] += 1;
        clocks.push(clock);
    }
    clocks
}

/// One span for each linear run of one agent: a transaction joins the span of its only parent if that is the same agent's and has no other child.
fn concurrent_spans(txns: &[RawTxn], edits: impl Fn(&RawTxn) -> Vec<Edit>) -> (Vec<Span>, usize) {
    let none = Vec::new();
    let parents = |txn: usize| txns[txn].parents.as_ref().unwrap_or(&none);
    let mut children = vec![0u32; txns.len()];
    for txn in 0..txns.len() {
        for parent in parents(txn) {
            children[*parent] += 1;
        }
    }
    let mut span_of: Vec<usize> = Vec::with_capacity(txns.len());
    let (mut spans, mut agents): (Vec<Span>, Vec<usize>) = (Vec::new(), Vec::new());
    for (index, txn) in txns.iter().enumerate() {
        let new = edits(txn);
        if let [parent] = parents(index)[..]
            && txns[parent].agent == txn.agent
            && children[parent] == 1
            && spans[span_of[parent]].edits.len() + new.len() <= EDITS_A_CHANGE
        {
            span_of.push(span_of[parent]);
            spans[span_of[parent]].edits.extend(new);
        } else {
            let mut above: Vec<usize> = parents(index).iter().map(|parent| span_of[*parent]).collect();
            above.sort_unstable();
            span_of.push(spans.len());
            agents.push(txn.agent);
            spans.push(Span { author: 0, parents: above, edits: new });
        }
    }
    // An author's changes are a chain. An agent that goes on from where its last span is not known gets another author.
    let mut authors: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut written: Vec<u32> = Vec::new();
    let mut clocks: Vec<Vec<u32>> = Vec::with_capacity(spans.len());
    for (index, span) in spans.iter_mut().enumerate() {
        let mut clock = vec![0; written.len()];
        for parent in &span.parents {
            for (mine, theirs) in clock.iter_mut().zip(&clocks[*parent]) {
                *mine = (*mine).max(*theirs);
            }
        }
        let mine = authors.entry(agents[index]).or_default();
        let known = mine.iter().copied().find(|author| clock[*author] == written[*author]);
        span.author = known.unwrap_or_else(|| {
            mine.push(written.len());
            clock.push(0);
            written.push(0);
            written.len() - 1
        });
        written[span.author] += 1;
        clock[span.author] += 1;
        clocks.push(clock);
    }
    (spans, written.len())
}
