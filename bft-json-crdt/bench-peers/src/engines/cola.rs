//! cola: text only, and no text: it keeps places, so a rope stands beside it (the one that diamond-types uses). It has no history to load; what it
//! saves is its present state, to which the text is added here.

use cola::{Deletion, Insertion, Replica};
use jumprope::JumpRope;

use crate::engine::{Engine, How, Saved, Set, Todo, Value};
use crate::measure::Meter;
use crate::trace::{Edit, Trace};

/// See the module.
pub struct Cola;

/// What one edit sends: kept as objects, since cola leaves the bytes to others.
struct Sent<'a> {
    deletion: Option<Deletion>,
    insertion: Option<(Insertion, &'a str)>,
}

struct Doc {
    replica: Replica,
    text: JumpRope,
}

impl Doc {
    fn edit<'a>(&mut self, edit: &'a Edit) -> Sent<'a> {
        let deletion = (edit.deleted > 0).then(|| {
            self.text.remove(edit.at..edit.at + edit.deleted);
            self.replica.deleted(edit.at..edit.at + edit.deleted)
        });
        let insertion = (!edit.inserted.is_empty()).then(|| {
            self.text.insert(edit.at, &edit.inserted);
            (self.replica.inserted(edit.at, edit.inserted.chars().count()), &*edit.inserted)
        });
        Sent { deletion, insertion }
    }

    fn take(&mut self, sent: &Sent<'_>) {
        if let Some(deletion) = &sent.deletion {
            for range in self.replica.integrate_deletion(deletion).into_iter().rev() {
                self.text.remove(range);
            }
        }
        if let Some((insertion, text)) = &sent.insertion
            && let Some(at) = self.replica.integrate_insertion(insertion)
        {
            self.text.insert(at, text);
        }
    }

    fn save(&self, text: &str) -> Vec<u8> {
        let mut bytes = self.replica.encode().as_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }
}

impl Engine for Cola {
    fn text_local(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        meter.begin();
        let mut doc = Doc { replica: Replica::new(1, 0), text: JumpRope::new() };
        for edit in trace.edits() {
            doc.edit(edit);
        }
        let text = doc.text.to_string();
        let bytes = doc.save(&text);
        meter.end();
        Some((text, bytes.into()))
    }

    fn text_load(&self, _: Vec<u8>, _: How, _: &mut Meter) -> Option<String> {
        None
    }

    fn concurrent(&self, trace: &Trace, meter: &mut Meter) -> Option<(String, Saved)> {
        let steps = trace.steps();
        meter.begin();
        let root = Replica::new(u64::MAX, 0);
        let mut docs: Vec<Doc> = (0..trace.authors)
            .map(|author| Doc { replica: root.fork(author as u64 + 1), text: JumpRope::new() })
            .collect();
        let mut sent: Vec<Vec<Sent<'_>>> = Vec::with_capacity(trace.spans.len());
        for (index, step) in steps.iter().enumerate() {
            let doc = &mut docs[step.author];
            for span in &step.missing {
                sent[*span].iter().for_each(|one| doc.take(one));
            }
            if let Some(span) = trace.spans.get(index) {
                sent.push(span.edits.iter().map(|edit| doc.edit(edit)).collect());
            }
        }
        let text = docs[0].text.to_string();
        let bytes = docs[0].save(&text);
        meter.end();
        Some((text, bytes.into()))
    }

    fn messages(&self, _: &Trace) -> Option<Vec<Vec<u8>>> {
        Some(Vec::new())
    }

    fn receive(&self, trace: &Trace, _: Vec<Vec<u8>>, meter: &mut Meter) -> Option<String> {
        let root = Replica::new(u64::MAX, 0);
        let mut writer = Doc { replica: root.fork(1), text: JumpRope::new() };
        let sent: Vec<Sent<'_>> = trace.edits().map(|edit| writer.edit(edit)).collect();
        meter.begin();
        let mut doc = Doc { replica: root.fork(2), text: JumpRope::new() };
        for one in &sent {
            doc.take(one);
        }
        let text = doc.text.to_string();
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
