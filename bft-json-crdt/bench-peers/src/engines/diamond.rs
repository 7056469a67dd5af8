//! diamond-types: text only. It has no commits: operations in a row merge in its log, whatever their number.

use diamond_types::list::encoding::{ENCODE_FULL, ENCODE_PATCH};
use diamond_types::list::{ListCRDT, OpLog};

use crate::engine::{Engine, How, MESSAGES_A_BATCH, Saved, Set, Todo, Value};
use crate::measure::Meter;
use crate::trace::Trace;

/// See the module.
pub struct Diamond;

/// A concurrent trace as its log: it takes operations at any version, so no replicas are needed.
pub fn oplog(trace: &Trace) -> OpLog {
    let mut oplog = OpLog::new();
    let agents: Vec<_> = (0..trace.authors).map(|n| oplog.get_or_create_agent_id(&format!("author {n}"))).collect();
    let mut ends: Vec<usize> = Vec::with_capacity(trace.spans.len());
    for span in &trace.spans {
        let mut at: Vec<usize> = span.parents.iter().map(|parent| ends[*parent]).collect();
        for edit in &span.edits {
            if edit.deleted > 0 {
                at = vec![oplog.add_delete_at(agents[span.author], &at, edit.at..edit.at + edit.deleted)];
            }
            if !edit.inserted.is_empty() {
                at = vec![oplog.add_insert_at(agents[span.author], &at, edit.at, &edit.inserted)];
            }
        }
        ends.push(at[0]);
    }
    oplog
}

impl Engine for Diamond {
    fn text_local(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        meter.begin();
        let mut list = ListCRDT::new();
        let agent = list.get_or_create_agent_id("author 0");
        for edit in trace.edits() {
            if edit.deleted > 0 {
                list.delete_without_content(agent, edit.at..edit.at + edit.deleted);
            }
            if !edit.inserted.is_empty() {
                list.insert(agent, edit.at, &edit.inserted);
            }
        }
        let (text, bytes) = (list.branch.content().to_string(), list.oplog.encode(ENCODE_FULL));
        meter.end();
        Some((text, bytes.into()))
    }

    fn text_load(&self, bytes: Vec<u8>, how: How, meter: &mut Meter) -> Option<String> {
        if how == How::Other {
            return None;
        }
        meter.begin();
        let list = ListCRDT::load_from(&bytes).expect("its own bytes");
        let text = list.branch.content().to_string();
        meter.end();
        Some(text)
    }

    fn concurrent(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        meter.begin();
        let oplog = oplog(trace);
        let (text, bytes) = (oplog.checkout_tip().content().to_string(), oplog.encode(ENCODE_FULL));
        meter.end();
        Some((text, bytes.into()))
    }

    fn messages(&self, trace: &Trace) -> Option<Vec<Vec<u8>>> {
        let mut list = ListCRDT::new();
        let agent = list.get_or_create_agent_id("author 0");
        let messages = trace.edits().map(|edit| {
            let before = list.oplog.local_version();
            if edit.deleted > 0 {
                list.delete_without_content(agent, edit.at..edit.at + edit.deleted);
            }
            if !edit.inserted.is_empty() {
                list.insert(agent, edit.at, &edit.inserted);
            }
            list.oplog.encode_from(ENCODE_PATCH, &before)
        });
        Some(messages.collect())
    }

    fn receive(&self, _: &Trace, messages: Vec<Vec<u8>>, meter: &mut Meter) -> Option<String> {
        meter.begin();
        let mut list = ListCRDT::new();
        for batch in messages.chunks(MESSAGES_A_BATCH) {
            for message in batch {
                list.oplog.decode_and_add(message).expect("its own bytes");
            }
            list.branch.merge(&list.oplog, list.oplog.local_version_ref());
        }
        let text = list.branch.content().to_string();
        meter.end();
        Some(text)
    }

    fn map_local(&self, _: &[Set], _: &mut Meter) -> Option<(Value, Saved)> {
        None
    }

    fn map_load(&self, _: Vec<u8>, _: How, _: &mut Meter) -> Option<Value> {
        None
    }

    fn list_local(&self, _: &[Todo], _: &mut Meter) -> Option<(Value, Saved)> {
        None
    }

    fn list_load(&self, _: Vec<u8>, _: How, _: &mut Meter) -> Option<Value> {
        None
    }
}
