//! What the changes of a document add up to: its registers, maps, lists, texts and counters (`docs/protocol.md`, section 6).

#[allow(dead_code, reason = "lists and texts stand on it as soon as the engine does")]
mod sequence;
