//! automerge: transactions of the size of our changes; saved as one compressed document, loaded with its own check of the head hashes.

use automerge::transaction::Transactable as _;
use automerge::{ActorId, AutoSerde, Automerge as Doc, Change, ObjId, ObjType, ROOT, ReadDoc as _};

use crate::engine::{Engine, How, MESSAGES_A_BATCH, Saved, Set, Todo, Value, WRITES_A_CHANGE};
use crate::measure::Meter;
use crate::trace::{Edit, Trace};

/// See the module.
pub struct Automerge;

fn edit(txn: &mut automerge::transaction::Transaction<'_>, text: &ObjId, edit: &Edit) {
    txn.splice_text(text, edit.at, edit.deleted as isize, &edit.inserted).expect("within the text");
}

/// Makes an object at the root, in a change of its own.
fn make(doc: &mut Doc, key: &str, kind: ObjType) -> ObjId {
    let mut txn = doc.transaction();
    let made = txn.put_object(ROOT, key, kind).expect("the root takes it");
    txn.commit();
    made
}

fn find(doc: &Doc, key: &str) -> ObjId {
    doc.get(ROOT, key).expect("the root is there").expect("it was made").1
}

fn load(bytes: &[u8]) -> Doc {
    Doc::load(bytes).expect("its own bytes")
}

fn json(doc: &Doc, key: &str) -> Value {
    serde_json::to_value(AutoSerde::from(doc)).expect("JSON")[key].take()
}

impl Engine for Automerge {
    fn text_local(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        meter.begin();
        let mut doc = Doc::new();
        let text = make(&mut doc, "body", ObjType::Text);
        for span in &trace.spans {
            let mut txn = doc.transaction();
            for one in &span.edits {
                edit(&mut txn, &text, one);
            }
            txn.commit();
        }
        let (read, bytes) = (doc.text(&text).expect("a text"), doc.save());
        meter.end();
        Some((read, bytes.into()))
    }

    fn text_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<String> {
        if how == How::Other {
            return None;
        }
        meter.begin();
        let doc = load(&bytes);
        let read = doc.text(find(&doc, "body")).expect("a text");
        meter.end();
        Some(read)
    }

    fn concurrent(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        let steps = trace.steps();
        meter.begin();
        let mut first = Doc::new().with_actor(ActorId::from([0; 16]));
        let text = make(&mut first, "body", ObjType::Text);
        let mut docs: Vec<Doc> =
            (1..trace.authors as u8 + 1).map(|author| first.fork().with_actor(ActorId::from([author; 16]))).collect();
        let mut sent: Vec<Change> = Vec::with_capacity(trace.spans.len());
        for (index, step) in steps.iter().enumerate() {
            let doc = &mut docs[step.author];
            if !step.missing.is_empty() {
                let missing: Vec<Change> = step.missing.iter().map(|span| sent[*span].clone()).collect();
                doc.apply_changes(missing).expect("it applies");
            }
            if let Some(span) = trace.spans.get(index) {
                let mut txn = doc.transaction();
                for one in &span.edits {
                    edit(&mut txn, &text, one);
                }
                txn.commit();
                sent.push(doc.get_last_local_change().expect("it was just written"));
            }
        }
        let (read, bytes) = (docs[0].text(&text).expect("a text"), docs[0].save());
        meter.end();
        Some((read, bytes.into()))
    }

    fn messages(&self, trace: &Trace) -> Option<Vec<Vec<u8>>> {
        let mut doc = Doc::new();
        let text = make(&mut doc, "body", ObjType::Text);
        let mut messages = vec![doc.get_last_local_change().expect("it was just written").raw_bytes().to_vec()];
        for one in trace.edits() {
            let mut txn = doc.transaction();
            edit(&mut txn, &text, one);
            txn.commit();
            messages.push(doc.get_last_local_change().expect("it was just written").raw_bytes().to_vec());
        }
        Some(messages)
    }

    fn receive(&self, _: &Trace, messages: Vec<Vec<u8>>, meter: &mut Meter) -> Option<String> {
        meter.begin();
        let mut doc = Doc::new();
        for batch in messages.chunks(MESSAGES_A_BATCH) {
            let changes: Vec<Change> =
                batch.iter().map(|message| Change::from_bytes(message.clone()).expect("its own bytes")).collect();
            doc.apply_changes(changes).expect("it applies");
        }
        let read = doc.text(find(&doc, "body")).expect("a text");
        meter.end();
        Some(read)
    }

    fn map_local(&self, sets: &[Set], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let mut doc = Doc::new();
        let map = make(&mut doc, "map", ObjType::Map);
        for change in sets.chunks(WRITES_A_CHANGE) {
            let mut txn = doc.transaction();
            for set in change {
                txn.put(&map, &*set.key, set.value).expect("a map takes it");
            }
            txn.commit();
        }
        let (read, bytes) = (json(&doc, "map"), doc.save());
        meter.end();
        Some((read, bytes.into()))
    }

    fn map_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value> {
        if how == How::Other {
            return None;
        }
        meter.begin();
        let doc = load(&bytes);
        let read = json(&doc, "map");
        meter.end();
        Some(read)
    }

    fn list_local(&self, todos: &[Todo], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let mut doc = Doc::new();
        let list = make(&mut doc, "list", ObjType::List);
        let mut len = 0;
        for change in todos.chunks(WRITES_A_CHANGE) {
            let mut txn = doc.transaction();
            for todo in change {
                let node = txn.insert_object(&list, len, ObjType::Map).expect("a list takes it");
                txn.put(&node, "id", todo.id).expect("a map takes it");
                txn.put(&node, "name", &*todo.name).expect("a map takes it");
                txn.put(&node, "done", todo.done).expect("a map takes it");
                len += 1;
            }
            txn.commit();
        }
        assert_eq!(doc.length(&list), todos.len());
        let bytes = doc.save();
        meter.end();
        Some((json(&doc, "list"), bytes.into()))
    }

    fn list_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value> {
        if how == How::Other {
            return None;
        }
        meter.begin();
        let doc = load(&bytes);
        std::hint::black_box(doc.length(find(&doc, "list")));
        meter.end();
        Some(json(&doc, "list"))
    }
}
