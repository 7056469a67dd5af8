//! What two replicas compare (docs/protocol.md, section 6.4).

use super::Replica;
use crate::causality::Causality as _;
use crate::change::ChangeId;
use crate::hash::{DIGEST_DOMAIN, HEADS_DOMAIN, Hasher};
use crate::value::canonical_json;

impl Replica {
    /// The applied changes that no applied change names, ascending.
    pub fn heads(&self) -> Vec<ChangeId> {
        self.dag.heads().map(|(id, _)| id).collect()
    }

    /// Names the set of applied changes (section 6.4). Cached.
    pub fn heads_digest(&self) -> [u8; 32] {
        *self.heads_digest.get_or_init(|| {
            let mut hasher = Hasher::new(HEADS_DOMAIN);
            for (id, _) in self.dag.heads() {
                hasher.update(&id.0);
            }
            hasher.finish()
        })
    }

    /// A hash over the order of all changes and the canonical JSON of the view (section 6.4). O(n log n).
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Hasher::new(DIGEST_DOMAIN);
        hasher.update(&(self.len() as u64).to_be_bytes());
        for index in self.dag.in_order() {
            hasher.update(&self.dag.id(index).0);
        }
        hasher.update(canonical_json(&self.view()).as_bytes());
        hasher.finish()
    }
}
