//! The loop of an editor: keys gather into changes, a pause signs them, changes from elsewhere come in between, and undo takes back what was typed here.
//!
//! Run with `cargo run -p bft-json-crdt --example editor`.

#![allow(clippy::disallowed_macros, reason = "an example prints")]

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::{BaseCrdt, BatchWriter, Commit, CrdtNode, GatherBounds, TextCrdt, UndoManager};

#[derive(CrdtNode)]
struct Page {
    body: TextCrdt,
}

/// What happens in the editor's window, in the units of its toolkit: positions in UTF-16.
enum Input {
    Key { at: usize, text: &'static str },
    Timer,
    FromElsewhere(Change),
    Undo,
    Redo,
}

struct Editor {
    page: BatchWriter<Page>,
    undo: UndoManager,
    /// Signed changes, in the order in which they are to be stored and then sent.
    stored: Vec<Change>,
}

impl Editor {
    fn handle(&mut self, now_ms: u64, input: Input) -> Result<(), Box<dyn std::error::Error>> {
        let commit = match input {
            Input::Key { at, text } => {
                let edit = |p: &mut Page| p.body.insert(p.body.index_of_utf16(at), text);
                self.undo.edit(&mut self.page, now_ms, edit)?.commit
            }
            // A real program sleeps until `next_tick_ms`.
            Input::Timer => self.page.tick(now_ms),
            Input::FromElsewhere(change) => {
                let flushed = self.page.apply(&change);
                // What was typed here before is stored first: the next change depends on both.
                self.store(flushed.commit);
                flushed.then?;
                None
            }
            Input::Undo => self.undo.undo(&mut self.page, now_ms)?.and_then(|edited| edited.commit),
            Input::Redo => self.undo.redo(&mut self.page, now_ms)?.and_then(|edited| edited.commit),
        };
        self.store(commit);
        println!("{now_ms:>6} ms  {:>2} signed  {:?}", self.stored.len(), self.page.read(|p| p.body.get()));
        Ok(())
    }

    fn store(&mut self, commit: Option<Commit>) {
        self.stored.extend(commit.map(|commit| commit.change));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A real program draws its seeds from a secure random source, and asks its clock.
    let open = |seed| BaseCrdt::<Page>::new(DocumentId([7; 32]), Keypair::from_seed(&[seed; 32]));
    let mut bob = open(2);
    let page = open(1).gather(GatherBounds::default());
    let mut ann = Editor { page, undo: UndoManager::default(), stored: Vec::new() };

    let mut now_ms = 1_000;
    for (at, text) in ["H", "i", " ", "👋", "!"].into_iter().scan(0, |at, text| {
        let here = *at;
        *at += text.encode_utf16().count();
        Some((here, text))
    }) {
        ann.handle(now_ms, Input::Key { at, text })?;
        now_ms += 120;
    }
    ann.handle(now_ms + GatherBounds::IDLE_MS, Input::Timer)?;
    for change in &ann.stored {
        bob.apply(change)?;
    }
    let from_bob = bob.transact(now_ms, |p| p.body.insert(2, ", Ann"))?;

    now_ms += 2_000;
    ann.handle(now_ms, Input::Key { at: 6, text: "?" })?;
    ann.handle(now_ms + 10, Input::FromElsewhere(from_bob.change))?;
    ann.handle(now_ms + 20, Input::Undo)?;
    ann.handle(now_ms + 30, Input::Undo)?;
    ann.handle(now_ms + 40, Input::Redo)?;

    let ended = ann.page.finish();
    ann.stored.extend(ended.commit.map(|commit| commit.change));
    for change in &ann.stored {
        bob.apply(change)?;
    }
    assert_eq!(bob.digest(), ended.then.digest());
    println!("{} changes for what was typed here; both read {:?}", ann.stored.len(), bob.read(|p| p.body.get()));
    Ok(())
}
