//! yrs: transactions of the size of our changes; saved and loaded as one update in its first encoding, which is the faster one. The second way is its
//! second encoding, which is smaller. What was deleted is dropped from its history (its default).

use std::cell::RefCell;
use std::rc::Rc;

use yrs::types::ToJson as _;
use yrs::updates::decoder::Decode as _;
use yrs::{
    Any, Array as _, ClientID, Doc, GetString as _, In, Map as _, MapPrelim, OffsetKind, Options, ReadTxn as _,
    StateVector, Text as _, TextRef, Transact as _, TransactionMut, Update,
};

use crate::engine::{Engine, How, MESSAGES_A_BATCH, Saved, Set, Todo, Value, WRITES_A_CHANGE};
use crate::measure::Meter;
use crate::trace::{Edit, Trace};

/// See the module.
pub struct Yrs;

fn doc(client: u64, kind: OffsetKind) -> Doc {
    let mut options = Options::with_client_id(ClientID::new(client));
    options.offset_kind = kind;
    Doc::with_options(options)
}

/// Positions of a trace as yrs counts; `None` if it counts in neither way like the trace.
fn kind(trace: &Trace) -> Option<OffsetKind> {
    match (trace.ascii, trace.basic) {
        (true, _) => Some(OffsetKind::Bytes),
        (_, true) => Some(OffsetKind::Utf16),
        _ => None,
    }
}

fn edit(text: &TextRef, txn: &mut TransactionMut<'_>, edit: &Edit) {
    if edit.deleted > 0 {
        text.remove_range(txn, edit.at as u32, edit.deleted as u32);
    }
    if !edit.inserted.is_empty() {
        text.insert(txn, edit.at as u32, &edit.inserted);
    }
}

/// Gathers what each transaction would send.
fn outbox(doc: &Doc) -> Rc<RefCell<Vec<Vec<u8>>>> {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let into = sent.clone();
    doc.observe_update_v1("outbox", move |_, event| into.borrow_mut().push(event.update.clone()))
        .expect("no transaction is open");
    sent
}

fn updates(doc: &Doc) -> Vec<u8> {
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

fn saved(doc: &Doc, bytes: Vec<u8>) -> Saved {
    Saved { bytes, other: Some(doc.transact().encode_state_as_update_v2(&StateVector::default())) }
}

fn load(bytes: &[u8], how: How) -> Doc {
    let doc = doc(99, OffsetKind::Bytes);
    let update = if how == How::Other { Update::decode_v2(bytes) } else { Update::decode_v1(bytes) };
    doc.transact_mut().apply_update(update.expect("its own bytes")).expect("it applies");
    doc
}

fn json(read: Any) -> Value {
    serde_json::to_value(read).expect("JSON")
}

impl Engine for Yrs {
    fn text_local(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        let kind = kind(trace)?;
        meter.begin();
        let doc = doc(1, kind);
        let text = doc.get_or_insert_text("body");
        for span in &trace.spans {
            let mut txn = doc.transact_mut();
            for one in &span.edits {
                edit(&text, &mut txn, one);
            }
        }
        let (read, bytes) = (text.get_string(&doc.transact()), updates(&doc));
        meter.end();
        Some((read, saved(&doc, bytes)))
    }

    fn text_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<String> {
        meter.begin();
        let doc = load(&bytes, how);
        let text = doc.get_or_insert_text("body");
        let read = text.get_string(&doc.transact());
        meter.end();
        Some(read)
    }

    fn concurrent(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        let kind = kind(trace)?;
        let steps = trace.steps();
        meter.begin();
        let docs: Vec<Doc> = (0..trace.authors).map(|author| doc(author as u64 + 1, kind)).collect();
        let outboxes: Vec<_> = docs.iter().map(outbox).collect();
        let mut sent: Vec<Vec<u8>> = Vec::with_capacity(trace.spans.len());
        for (index, step) in steps.iter().enumerate() {
            let doc = &docs[step.author];
            let text = doc.get_or_insert_text("body");
            if !step.missing.is_empty() {
                let mut txn = doc.transact_mut();
                for span in &step.missing {
                    txn.apply_update(Update::decode_v1(&sent[*span]).expect("its own bytes")).expect("it applies");
                }
            }
            if let Some(span) = trace.spans.get(index) {
                let mut txn = doc.transact_mut();
                for one in &span.edits {
                    edit(&text, &mut txn, one);
                }
                drop(txn);
                sent.push(outboxes[step.author].borrow_mut().pop().expect("a transaction sends"));
            }
        }
        let text = docs[0].get_or_insert_text("body");
        let (read, bytes) = (text.get_string(&docs[0].transact()), updates(&docs[0]));
        meter.end();
        Some((read, saved(&docs[0], bytes)))
    }

    fn messages(&self, trace: &Trace) -> Option<Vec<Vec<u8>>> {
        let kind = kind(trace)?;
        let doc = doc(1, kind);
        let text = doc.get_or_insert_text("body");
        let sent = outbox(&doc);
        for one in trace.edits() {
            edit(&text, &mut doc.transact_mut(), one);
        }
        let sent = std::mem::take(&mut *sent.borrow_mut());
        Some(sent)
    }

    fn receive(&self, _: &Trace, messages: Vec<Vec<u8>>, meter: &mut Meter) -> Option<String> {
        meter.begin();
        let doc = doc(99, OffsetKind::Bytes);
        let text = doc.get_or_insert_text("body");
        for batch in messages.chunks(MESSAGES_A_BATCH) {
            let mut txn = doc.transact_mut();
            for message in batch {
                txn.apply_update(Update::decode_v1(message).expect("its own bytes")).expect("it applies");
            }
        }
        let read = text.get_string(&doc.transact());
        meter.end();
        Some(read)
    }

    fn map_local(&self, sets: &[Set], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let doc = doc(1, OffsetKind::Bytes);
        let map = doc.get_or_insert_map("map");
        for change in sets.chunks(WRITES_A_CHANGE) {
            let mut txn = doc.transact_mut();
            for set in change {
                map.insert(&mut txn, &*set.key, set.value);
            }
        }
        let (read, bytes) = (map.to_json(&doc.transact()), updates(&doc));
        meter.end();
        Some((json(read), saved(&doc, bytes)))
    }

    fn map_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value> {
        meter.begin();
        let doc = load(&bytes, how);
        let map = doc.get_or_insert_map("map");
        let read = map.to_json(&doc.transact());
        meter.end();
        Some(json(read))
    }

    fn list_local(&self, todos: &[Todo], meter: &mut Meter) -> Option<(Value, Saved)> {
        meter.begin();
        let doc = doc(1, OffsetKind::Bytes);
        let list = doc.get_or_insert_array("list");
        for change in todos.chunks(WRITES_A_CHANGE) {
            let mut txn = doc.transact_mut();
            for todo in change {
                let node: MapPrelim =
                    [("id", In::from(todo.id)), ("name", In::from(&*todo.name)), ("done", In::from(todo.done))].into();
                list.push_back(&mut txn, node);
            }
        }
        assert_eq!(list.len(&doc.transact()) as usize, todos.len());
        let bytes = updates(&doc);
        meter.end();
        let read = list.to_json(&doc.transact());
        Some((json(read), saved(&doc, bytes)))
    }

    fn list_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<Value> {
        meter.begin();
        let doc = load(&bytes, how);
        let list = doc.get_or_insert_array("list");
        std::hint::black_box(list.len(&doc.transact()));
        meter.end();
        let read = list.to_json(&doc.transact());
        Some(json(read))
    }
}
