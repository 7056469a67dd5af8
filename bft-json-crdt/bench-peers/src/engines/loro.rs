//! loro: commits of the size of our changes; saved and loaded as updates. Its snapshot, which carries the state, is the second way.

use std::sync::{Arc, Mutex};

use loro::{ExportMode, LoroDoc, LoroMap, ToJson as _};

use crate::engine::{Engine, How, MESSAGES_A_BATCH, Saved, Set, Todo, Value, WRITES_A_CHANGE};
use crate::measure::Meter;
use crate::trace::{Edit, Trace};

/// See the module.
pub struct Loro;

fn edit(text: &loro::LoroText, edit: &Edit) {
    if edit.deleted > 0 {
        text.delete(edit.at, edit.deleted).expect("within the text");
    }
    if !edit.inserted.is_empty() {
        text.insert(edit.at, &edit.inserted).expect("within the text");
    }
}

/// Gathers what each commit would send.
fn outbox(doc: &LoroDoc) -> Arc<Mutex<Vec<Vec<u8>>>> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let into = sent.clone();
    doc.subscribe_local_update(Box::new(move |bytes| {
        into.lock().expect("one thread").push(bytes.clone());
        true
    }))
    .detach();
    sent
}

fn updates(doc: &LoroDoc) -> Vec<u8> {
    doc.export(ExportMode::all_updates()).expect("it can be exported")
}

fn snapshot(doc: &LoroDoc) -> Vec<u8> {
    doc.export(ExportMode::Snapshot).expect("it can be exported")
}

fn load(bytes: &[u8]) -> LoroDoc {
    let doc = LoroDoc::new();
    doc.import(bytes).expect("its own bytes");
    doc
}

impl Engine for Loro {
    fn text_local(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        meter.begin();
        let doc = LoroDoc::new();
        let text = doc.get_text("body");
        for span in &trace.spans {
            for one in &span.edits {
                edit(&text, one);
            }
            doc.commit();
        }
        let (text, bytes) = (text.to_string(), updates(&doc));
        meter.end();
        Some((text, Saved { bytes, other: Some(snapshot(&doc)) }))
    }

    fn text_load(&self, bytes: Vec<u8>, _: How, meter: &mut Meter) -> Option<String> {
        meter.begin();
        let doc = load(&bytes);
        let text = doc.get_text("body").to_string();
        meter.end();
        Some(text)
    }

    fn concurrent(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        let steps = trace.steps();
        meter.begin();
        let docs: Vec<LoroDoc> = (0..trace.authors)
            .map(|author| {
                let doc = LoroDoc::new();
                doc.set_peer_id(author as u64 + 1).expect("nothing is written yet");
                doc
            })
            .collect();
        let outboxes: Vec<_> = docs.iter().map(outbox).collect();
        let mut sent: Vec<Vec<u8>> = Vec::with_capacity(trace.spans.len());
        for (index, step) in steps.iter().enumerate() {
            let doc = &docs[step.author];
            let missing: Vec<Vec<u8>> = step.missing.iter().map(|span| sent[*span].clone()).collect();
            match &missing[..] {
                [] => {}
                [one] => drop(doc.import(one).expect("its own bytes")),
                many => drop(doc.import_batch(many).expect("its own bytes")),
            }
            if let Some(span) = trace.spans.get(index) {
                let text = doc.get_text("body");
                for one in &span.edits {
                    edit(&text, one);
                }
                doc.commit();
                sent.push(outboxes[step.author].lock().expect("one thread").pop().expect("a commit sends"));
            }
        }
        let (text, bytes) = (docs[0].get_text("body").to_string(), updates(&docs[0]));
        meter.end();
        Some((text, Saved { bytes, other: Some(snapshot(&docs[0])) }))
    }

    fn messages(&self, trace: &Trace) -> Option<Vec<Vec<u8>>> {
        let doc = LoroDoc::new();
        let sent = outbox(&doc);
        let text = doc.get_text("body");
        for one in trace.edits() {
            edit(&text, one);
            doc.commit();
        }
        let sent = std::mem::take(&mut *sent.lock().expect("one thread"));
        Some(sent)
    }

    fn receive(&self, _: &Trace, messages: Vec<Vec<u8>>, meter: &mut Meter) -> Option<String> {
        meter.begin();
        let doc = LoroDoc::new();
        for batch in messages.chunks(MESSAGES_A_BATCH) {
            doc.import_batch(batch).expect("its own bytes");
        }
        let text = doc.get_text("body").to_string();
        meter.end();
        Some(text)
    }

    fn map_local(&self, sets: &[Set], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let doc = LoroDoc::new();
        let map = doc.get_map("map");
        for change in sets.chunks(WRITES_A_CHANGE) {
            for set in change {
                map.insert(&set.key, set.value).expect("a map takes it");
            }
            doc.commit();
        }
        let (read, bytes) = (map.get_deep_value(), updates(&doc));
        meter.end();
        Some((read.to_json_value(), Saved { bytes, other: Some(snapshot(&doc)) }))
    }

    fn map_load(&self, bytes: Vec<u8>, _: How, meter: &mut Meter) -> Option<Value> {
        meter.begin();
        let doc = load(&bytes);
        let read = doc.get_map("map").get_deep_value();
        meter.end();
        Some(read.to_json_value())
    }

    fn list_local(&self, todos: &[Todo], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let doc = LoroDoc::new();
        let list = doc.get_list("list");
        for change in todos.chunks(WRITES_A_CHANGE) {
            for todo in change {
                let map = list.push_container(LoroMap::new()).expect("a list takes it");
                map.insert("id", todo.id).expect("a map takes it");
                map.insert("name", &*todo.name).expect("a map takes it");
                map.insert("done", todo.done).expect("a map takes it");
            }
            doc.commit();
        }
        assert_eq!(list.len(), todos.len());
        let bytes = updates(&doc);
        meter.end();
        Some((list.get_deep_value().to_json_value(), Saved { bytes, other: Some(snapshot(&doc)) }))
    }

    fn list_load(&self, bytes: Vec<u8>, _: How, meter: &mut Meter) -> Option<Value> {
        meter.begin();
        let doc = load(&bytes);
        let list = doc.get_list("list");
        std::hint::black_box(list.len());
        meter.end();
        Some(list.get_deep_value().to_json_value())
    }
}
