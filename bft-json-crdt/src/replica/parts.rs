//! Changes in parts, as a columnar file holds them: without what the graph knows, so that nothing has to be put together and taken apart again.

use super::{Invalid, LoadFault, Malformed, Replica};
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{ChangeId, HeaderFields, MAX_DEPS, MAX_OPS_BYTES, MAX_SAFE, VERSION};
use crate::dag::{Content, MAX_CHANGES};
use crate::encoding::DecodeError;
use crate::hash::{self, CHANGE_DOMAIN, OPS_DOMAIN};
use crate::history;
use crate::identity::{AuthorId, Signature};
use crate::ops::{Decoder, Ops, OpsError};

/// What a change carries beyond the graph. Nothing of it needs to be checked before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    /// The author: a checked key.
    pub(super) author: AuthorId,
    /// The author's change before, by number.
    pub(super) previous: Option<ChangeIdx>,
    /// The deps, by number, in the order of their ids.
    pub(super) deps: &'a [ChangeIdx],
    /// The author's clock.
    pub(super) time_ms: u64,
    /// The encoded operations, or what is left of them.
    pub(super) content: Content<'a>,
    /// The signature: kept, not checked.
    pub(super) signature: Signature,
}

/// Buffers that outlive one change.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    header: Vec<u8>,
    decoder: Decoder,
}

fn rule(text: &'static str) -> LoadFault {
    Malformed::Ops(DecodeError::Rule(text)).into()
}

impl Replica {
    /// Hashes, judges and applies a change from one's own store; its number and its id come out. Like [`Replica::load`] it looks at neither quotas nor
    /// proofs and tells no events. The caller checks the signatures over the ids, of all or of the leaves. The change may be compacted: that a skeleton is its own, only the
    /// store's authentication code can tell. `decoded` is what its operations say, if the caller knows: the values are moved out of it.
    ///
    /// # Errors
    /// What is wrong with the record; nothing was applied.
    pub(super) fn load_parts(
        &mut self,
        parts: &Parts<'_>,
        decoded: Option<&mut Ops>,
        scratch: &mut Scratch,
    ) -> Result<(ChangeIdx, ChangeId), LoadFault> {
        let content = parts.content;
        let count = self.len();
        let known = |index: &ChangeIdx| (index.0 as usize) < count;
        if !parts.previous.iter().chain(parts.deps).all(known) {
            return Err(LoadFault::Parent);
        }
        let seq = match parts.previous {
            Some(previous) if self.dag.author(previous) != parts.author => return Err(Invalid::Previous.into()),
            Some(previous) => self.dag.seq(previous) + 1,
            None => 1,
        };
        if parts.deps.len() > MAX_DEPS {
            return Err(rule("too many deps"));
        }
        if parts.time_ms > MAX_SAFE {
            return Err(rule("time_ms is out of range"));
        }
        let ops_hash = match content {
            Content::Whole(ops) if ops.len() > MAX_OPS_BYTES => return Err(rule("ops are too long")),
            Content::Whole(ops) => hash::hash(OPS_DOMAIN, ops),
            Content::Compacted(hash, _) => *hash,
        };
        if count >= MAX_CHANGES {
            return Err(rule("no more changes can be numbered"));
        }
        let header = &mut scratch.header;
        header.clear();
        let previous = parts.previous.map(|previous| self.dag.id(previous));
        let ids = parts.deps.iter().map(|dep| self.dag.id(*dep));
        let repeats = |id: &ChangeId| previous == Some(*id);
        if !ids.clone().is_sorted_by(|a, b| a < b) || ids.clone().any(|id| repeats(&id)) {
            return Err(rule("deps are not strictly ascending, or repeat previous"));
        }
        HeaderFields {
            version: VERSION,
            document: &self.id,
            author: &parts.author,
            seq,
            previous,
            deps: ids,
            time_ms: parts.time_ms,
            ops_hash: &ops_hash,
        }
        .put(header);
        let id = ChangeId(hash::hash(CHANGE_DOMAIN, header));
        if self.dag.lookup(&id).is_some() {
            return Err(rule("a change stands twice"));
        }
        let mut restored;
        let ops = match (content, decoded) {
            (Content::Whole(ops), Some(decoded)) => {
                debug_assert_eq!(Ops::decode(VERSION, ops).as_ref(), Ok(&*decoded));
                decoded
            }
            (Content::Whole(ops), None) => {
                scratch.decoder.decode(VERSION, ops).map_err(|error| match error {
                    OpsError::Malformed(fault) => Malformed::Ops(fault).into(),
                    OpsError::Unsupported(_) => LoadFault::Unsupported,
                })?;
                scratch.decoder.ops_mut()
            }
            (Content::Compacted(_, skeleton), _) => {
                restored = history::restore(skeleton).map_err(Malformed::Ops)?;
                &mut restored
            }
        };
        let index = self.dag.stage(parts.author, id, parts.previous, parts.deps.iter().copied());
        if let Err(reason) = self.document.apply_or_spoil(&self.dag, index, ops) {
            self.dag.discard();
            // One's own file is rarely bad, so that judging each change before it is applied would be the dearer way.
            self.replay_all();
            return Err(Invalid::Content(reason).into());
        }
        self.dag.commit_parts(self.id, id, parts.time_ms, content, &parts.signature);
        self.heads_digest = std::sync::OnceLock::new();
        Ok((index, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::DocumentId;
    use crate::document::ContainerIdx;
    use crate::identity::Keypair;
    use crate::ops::Kind;
    use crate::replica::{Incoming, Limits};

    /// Three authors who see each other, one of them with a forked chain.
    fn history() -> Replica {
        let keys: Vec<Keypair> = (0..3u8).map(|n| Keypair::from_seed(&[n + 1; 32])).collect();
        let mut replicas: Vec<Replica> = (0..4).map(|_| Replica::new(DocumentId([5; 32]), Limits::default())).collect();
        for round in 0..12u64 {
            let mut written: Vec<Incoming> = Vec::new();
            for (n, replica) in replicas.iter_mut().enumerate() {
                let result = replica.transact(&keys[n % 3], 1_000 * round + n as u64, |tx| {
                    let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
                    tx.text_insert(text, 0, &format!("{n} in {round}. ")).unwrap();
                });
                if let Ok((change, ..)) = result {
                    written.push(change.into());
                }
            }
            if round % 3 == 2 {
                for replica in &mut replicas {
                    replica.apply_batch(written.clone());
                }
            }
        }
        replicas.swap_remove(1)
    }

    #[test]
    fn a_history_in_parts_is_the_same_history() {
        let whole = history();
        assert!(whole.len() > 10, "{}", whole.len());
        let mut parts = Replica::new(whole.document_id(), Limits::default());
        let mut scratch = Scratch::default();
        for number in 0..whole.len() as u32 {
            let index = ChangeIdx(number);
            let record = whole.dag().record(index);
            let deps: Vec<ChangeIdx> = record.deps().collect();
            let ops = record.ops().expect("nothing was compacted");
            let given = Parts {
                author: whole.dag().author(index),
                previous: whole.dag().previous(index),
                deps: &deps,
                time_ms: record.time_ms,
                content: Content::Whole(ops),
                signature: (&record).into(),
            };
            // What is wrong is refused and leaves no trace.
            let twice = [index, index];
            let shorter = Content::Whole(&ops[1..]);
            assert!(parts.load_parts(&Parts { deps: &twice, ..given }, None, &mut scratch).is_err());
            assert!(parts.load_parts(&Parts { content: shorter, ..given }, None, &mut scratch).is_err());
            assert!(parts.load_parts(&Parts { time_ms: MAX_SAFE + 1, ..given }, None, &mut scratch).is_err());
            if deps.len() == 2 {
                let wrong = [deps[1], deps[0]];
                assert!(parts.load_parts(&Parts { deps: &wrong, ..given }, None, &mut scratch).is_err());
            }
            let mut decoded = (number % 2 == 0).then(|| Ops::decode(VERSION, ops).unwrap());
            assert_eq!(parts.load_parts(&given, decoded.as_mut(), &mut scratch), Ok((index, whole.id(index))));
            assert_eq!(parts.bytes(index), whole.bytes(index));
            assert!(parts.load_parts(&given, None, &mut scratch).is_err(), "a change stands once");
        }
        parts.dag().debug_check();
        assert_eq!(parts.digest(), whole.digest());
        assert_eq!(parts.heads_digest(), whole.heads_digest());
    }
}
