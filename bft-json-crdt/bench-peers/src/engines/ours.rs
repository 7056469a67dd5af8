//! bft-json-crdt: signed changes, through the typed layer that its users have. Events are not told, as the peers have no listeners either.

use std::num::NonZeroUsize;

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::{Check, Incoming, Limits, LoadOptions, Replica};
use bft_json_crdt::verify::{Claim, verify_changes};
use bft_json_crdt::{BaseCrdt, CrdtNode, ListCrdt, LwwRegisterCrdt, MapCrdt, TextCrdt};
use bytes::Bytes;

use crate::engine::{Engine, How, MESSAGES_A_BATCH, Random, Saved, Set, Todo, Value, WRITES_A_CHANGE};
use crate::measure::Meter;
use crate::trace::{Edit, Trace};

/// See the module.
pub struct Ours;

/// The document's id in every row.
pub const DOCUMENT: DocumentId = DocumentId([7; 32]);

#[derive(CrdtNode)]
struct Page {
    body: TextCrdt,
}

#[derive(CrdtNode)]
struct Table {
    map: MapCrdt<LwwRegisterCrdt<i64>>,
}

#[derive(CrdtNode)]
struct Item {
    id: LwwRegisterCrdt<i64>,
    name: LwwRegisterCrdt<String>,
    done: LwwRegisterCrdt<bool>,
}

#[derive(CrdtNode)]
struct Board {
    list: ListCrdt<Item>,
}

/// An author's key.
pub fn keypair(author: usize) -> Keypair {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&(author as u64).to_le_bytes());
    Keypair::from_seed(&seed)
}

fn fresh<T: bft_json_crdt::CrdtContainer>(author: usize) -> BaseCrdt<T> {
    let mut base = BaseCrdt::new(DOCUMENT, keypair(author));
    base.replica_mut().tell_events(false);
    base
}

fn edit(page: &mut Page, edit: &Edit) {
    if edit.deleted > 0 {
        page.body.delete(edit.at, edit.deleted);
    }
    if !edit.inserted.is_empty() {
        page.body.insert(edit.at, &edit.inserted);
    }
}

/// Loads saved bytes with the check asked for.
pub fn load(bytes: &[u8], how: How) -> Option<Replica> {
    let check = match how {
        How::Other => return None,
        How::Tips => Check::Tips,
        // What counts here is CPU time over all threads: two that share a core's multipliers would each take longer.
        How::Full => Check::All { threads: NonZeroUsize::MIN },
    };
    let options = LoadOptions { check, ..LoadOptions::default() };
    Some(Replica::load_file(bytes, &options).expect("our own bytes").replica)
}

fn typed<T: bft_json_crdt::CrdtContainer>(bytes: Vec<u8>, how: How) -> Option<BaseCrdt<T>> {
    load(&bytes, how).map(|replica| BaseCrdt::from_replica(replica, keypair(usize::MAX)))
}

/// Changes as they came over a wire, each author's key checked once.
fn decode(messages: impl IntoIterator<Item = Bytes>, replica: &Replica) -> Vec<Change> {
    let mut last = None;
    messages
        .into_iter()
        .map(|bytes| {
            let change = Change::decode_with(bytes, |raw| {
                replica
                    .author(raw)
                    .or(last)
                    .filter(|author: &bft_json_crdt::identity::AuthorId| author.as_bytes() == raw)
            });
            let change = change.expect("our own bytes");
            last = Some(change.author());
            change
        })
        .collect()
}

/// The batch check of these changes' signatures and nothing else.
fn bare_check(changes: &[Change], batch: usize) -> bool {
    changes.chunks(batch.min(changes.len()).max(1)).all(|changes| {
        let ids: Vec<_> = changes.iter().map(Change::id).collect();
        let claims: Vec<Claim<'_>> = changes
            .iter()
            .zip(&ids)
            .map(|(change, id)| Claim {
                author: change.author(),
                message: id.as_bytes(),
                signature: change.signature(),
            })
            .collect();
        verify_changes(&claims).into_iter().all(|good| good)
    })
}

/// Measures the bare batch check of the signatures of the messages, in batches of this many.
pub fn check_messages(messages: Vec<Vec<u8>>, batch: usize, meter: &mut Meter) {
    let changes = decode(messages.into_iter().map(Bytes::from), &Replica::new(DOCUMENT, Limits::default()));
    meter.begin();
    let good = bare_check(&changes, batch);
    meter.end();
    assert!(good, "every signature is good");
}

impl Engine for Ours {
    fn text_local(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        meter.begin();
        let mut page = fresh::<Page>(0);
        for span in &trace.spans {
            page.transact(0, |page| span.edits.iter().for_each(|one| edit(page, one))).expect("within the text");
        }
        let (text, bytes) = (page.read(|page| page.body.get()), page.save());
        meter.end();
        Some((text, bytes.into()))
    }

    fn text_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<String> {
        meter.begin();
        let page = typed::<Page>(bytes, how)?;
        let text = page.read(|page| page.body.get());
        meter.end();
        Some(text)
    }

    fn concurrent(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        let steps = trace.steps();
        meter.begin();
        let mut pages: Vec<BaseCrdt<Page>> = (0..trace.authors).map(fresh).collect();
        let mut sent: Vec<Change> = Vec::with_capacity(trace.spans.len());
        for (index, step) in steps.iter().enumerate() {
            let page = &mut pages[step.author];
            if !step.missing.is_empty() {
                page.apply_batch(step.missing.iter().map(|span| &sent[*span]));
            }
            if let Some(span) = trace.spans.get(index) {
                let written = page.transact(0, |page| span.edits.iter().for_each(|one| edit(page, one)));
                sent.push(written.expect("within the text").change);
            }
        }
        let (text, bytes) = (pages[0].read(|page| page.body.get()), pages[0].save());
        meter.end();
        assert_eq!(pages[0].replica().len(), trace.spans.len(), "every change is there");
        Some((text, bytes.into()))
    }

    fn messages(&self, trace: &Trace) -> Option<Vec<Vec<u8>>> {
        let mut page = fresh::<Page>(0);
        let messages = trace.edits().map(|one| {
            let written = page.transact(0, |page| edit(page, one)).expect("within the text");
            written.change.bytes().to_vec()
        });
        Some(messages.collect())
    }

    fn receive(&self, trace: &Trace, messages: Vec<Vec<u8>>, meter: &mut Meter) -> Option<String> {
        let messages: Vec<Bytes> = messages.into_iter().map(Bytes::from).collect();
        meter.begin();
        let mut page = fresh::<Page>(1);
        for batch in messages.chunks(MESSAGES_A_BATCH) {
            let changes = decode(batch.iter().cloned(), page.replica());
            page.replica_mut().apply_batch(changes.into_iter().map(Incoming::from).collect());
        }
        let text = page.read(|page| page.body.get());
        meter.end();
        assert_eq!(page.replica().len(), trace.len(), "every change is there");
        Some(text)
    }

    fn map_local(&self, sets: &[Set], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let mut table = fresh::<Table>(0);
        for change in sets.chunks(WRITES_A_CHANGE) {
            table
                .transact(0, |table| change.iter().for_each(|set| table.map.entry(&set.key).set(set.value)))
                .expect("a map takes it");
        }
        let (mut read, bytes) = (table.view(), table.save());
        meter.end();
        Some((read["map"].take(), bytes.into()))
    }

    fn map_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value> {
        meter.begin();
        let mut read = typed::<Table>(bytes, how)?.view();
        meter.end();
        Some(read["map"].take())
    }

    fn list_local(&self, todos: &[Todo], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let mut board = fresh::<Board>(0);
        for change in todos.chunks(WRITES_A_CHANGE) {
            let written = board.transact(0, |board| {
                for todo in change {
                    let item = Item { id: todo.id.into(), name: todo.name.clone().into(), done: todo.done.into() };
                    board.list.push(item);
                }
            });
            written.expect("a list takes it");
        }
        assert_eq!(board.read(|board| board.list.len()), todos.len());
        let bytes = board.save();
        meter.end();
        Some((board.view()["list"].take(), bytes.into()))
    }

    fn list_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value> {
        meter.begin();
        let board = typed::<Board>(bytes, how)?;
        std::hint::black_box(board.read(|board| board.list.len()));
        meter.end();
        Some(board.view()["list"].take())
    }
}

/// A trace's text by four ways: as its first author has it, on a replica that gets all changes shuffled and some twice, from that one's saved bytes, and on one
/// that gets them one by one.
pub fn texts(trace: &Trace, random: &mut Random) -> Vec<String> {
    let mut pages: Vec<BaseCrdt<Page>> = (0..trace.authors).map(fresh).collect();
    let mut sent: Vec<Change> = Vec::with_capacity(trace.spans.len());
    for (index, step) in trace.steps().iter().enumerate() {
        let page = &mut pages[step.author];
        if !step.missing.is_empty() {
            page.apply_batch(step.missing.iter().map(|span| &sent[*span]));
        }
        if let Some(span) = trace.spans.get(index) {
            let written = page.transact(0, |page| span.edits.iter().for_each(|one| edit(page, one)));
            sent.push(written.expect("within the text").change);
        }
    }
    let read = |page: &BaseCrdt<Page>| page.read(|page| page.body.get());
    let mut shuffled = sent.clone();
    for _ in 0..1 + sent.len() / 10 {
        shuffled.push(sent[random.below(sent.len())].clone());
    }
    for index in (1..shuffled.len()).rev() {
        shuffled.swap(index, random.below(index + 1));
    }
    let (mut any, mut single) = (fresh::<Page>(usize::MAX), fresh::<Page>(usize::MAX));
    any.apply_batch(&shuffled);
    for change in sent.iter().filter(|_| sent.len() < 1_000) {
        single.apply(change).expect("an honest change");
    }
    let saved =
        BaseCrdt::<Page>::from_replica(load(&any.save(), How::Full).expect("there is a full way"), keypair(usize::MAX));
    let mut texts = vec![read(&pages[0]), read(&any), read(&saved)];
    if sent.len() < 1_000 {
        texts.push(read(&single));
    }
    texts
}
