//! Local writing: transactions, and acknowledgements of what others wrote.

use super::{Replica, TransactError};
use crate::causality::ChangeIdx;
use crate::change::{Change, ChangeId, Header, MAX_DEPS, MAX_SAFE, VERSION};
use crate::dag::{Dag, Leaf, MAX_CHANGES};
use crate::document::{Event, Tx};
use crate::identity::{AuthorId, Keypair};
use crate::ops::Ops;

impl Replica {
    /// The author's last change, on which the next one will build; the longest branch's if the chain is forked.
    pub fn own_tip(&self, author: &AuthorId) -> Option<Leaf> {
        self.dag.leaves(author).max_by_key(|leaf| (leaf.seq, std::cmp::Reverse(leaf.id)))
    }

    /// Writes one change: all that `f` writes, atomically. It names all heads; it is applied here, and to be stored and then sent by the caller.
    ///
    /// A panic in `f` leaves the replica empty and unusable.
    ///
    /// # Errors
    /// See [`TransactError`]; the document is as it was.
    pub fn transact<R>(
        &mut self,
        keypair: &Keypair,
        time_ms: u64,
        f: impl FnOnce(&mut Tx<Dag>) -> R,
    ) -> Result<(Change, R, Vec<Event>), TransactError> {
        let (tip, heads) = self.next_parents(keypair, time_ms)?;
        let index = self.dag.stage(
            keypair.author(),
            ChangeId([0; 32]),
            tip.map(|tip| tip.index),
            heads.iter().map(|(_, index)| *index),
        );
        let mut tx = Tx::new(std::mem::take(&mut self.dag), std::mem::take(&mut self.document), index);
        if self.events {
            tx = tx.with_events();
        }
        let result = f(&mut tx);
        let finished = tx.finish();
        (self.dag, self.document) = (finished.causality, finished.document);
        let ops = match finished.ops {
            Ok(ops) => ops.encode().expect("a transaction keeps to what a change can carry"),
            Err(error) => {
                self.dag.discard();
                if finished.spoilt {
                    self.replay_all();
                }
                return Err(error.into());
            }
        };
        let change = self.commit_written(keypair, time_ms, tip, &heads, &ops);
        Ok((change, result, finished.events))
    }

    /// Signs and commits the staged change, whose operations are applied already.
    pub(super) fn commit_written(
        &mut self,
        keypair: &Keypair,
        time_ms: u64,
        tip: Option<Leaf>,
        heads: &[(ChangeId, ChangeIdx)],
        ops: &[u8],
    ) -> Change {
        let change = self.sign(keypair, time_ms, tip, heads.iter().map(|(id, _)| *id).collect(), ops);
        self.dag.commit(&change);
        self.heads_digest = std::sync::OnceLock::new();
        change
    }

    /// Writes as many empty changes as it takes to name all heads. Empty if the author's tip is the only head.
    ///
    /// # Errors
    /// `Forked`, `Time` or `Full`.
    pub fn acknowledge(&mut self, keypair: &Keypair, time_ms: u64) -> Result<Vec<Change>, TransactError> {
        let empty = Ops::default();
        let bytes = empty.encode().expect("no operations can be encoded");
        let mut changes = Vec::new();
        loop {
            let tip = self.may_continue(keypair, time_ms)?;
            let mut heads = self.heads_beside(tip);
            if heads.is_empty() {
                return Ok(changes);
            }
            heads.truncate(MAX_DEPS);
            let change = self.sign(keypair, time_ms, tip, heads.iter().map(|(id, _)| *id).collect(), &bytes);
            let index = self.stage(&change).expect("heads are applied");
            self.document.apply(&self.dag, index, &empty, None).expect("a change without operations is valid");
            self.dag.commit(&change);
            self.heads_digest = std::sync::OnceLock::new();
            changes.push(change);
        }
    }

    /// What a local change that is written now follows: the author's last change, and all other heads.
    #[allow(clippy::type_complexity, reason = "two answers of one question, used twice")]
    pub(super) fn next_parents(
        &self,
        keypair: &Keypair,
        time_ms: u64,
    ) -> Result<(Option<Leaf>, Vec<(ChangeId, ChangeIdx)>), TransactError> {
        let tip = self.may_continue(keypair, time_ms)?;
        let heads = self.heads_beside(tip);
        if heads.len() > MAX_DEPS {
            return Err(TransactError::TooManyHeads(heads.len()));
        }
        Ok((tip, heads))
    }

    /// Where a local change goes on, if it may be written.
    fn may_continue(&self, keypair: &Keypair, time_ms: u64) -> Result<Option<Leaf>, TransactError> {
        if self.is_proven(&keypair.author()) {
            return Err(TransactError::Forked);
        }
        if time_ms > MAX_SAFE {
            return Err(TransactError::Time(time_ms));
        }
        if self.len() >= MAX_CHANGES {
            return Err(TransactError::Full);
        }
        let tip = self.own_tip(&keypair.author());
        if self.aside.holds_from(keypair.author(), tip.map_or(1, |tip| tip.seq + 1)) {
            return Err(TransactError::Behind);
        }
        Ok(tip)
    }

    fn heads_beside(&self, tip: Option<Leaf>) -> Vec<(ChangeId, ChangeIdx)> {
        self.dag.heads().filter(|(_, index)| tip.is_none_or(|tip| tip.index != *index)).collect()
    }

    fn sign(&self, keypair: &Keypair, time_ms: u64, tip: Option<Leaf>, deps: Vec<ChangeId>, ops: &[u8]) -> Change {
        let header = Header {
            version: VERSION,
            document: self.id,
            author: keypair.author(),
            seq: tip.map_or(1, |tip| tip.seq + 1),
            previous: tip.map(|tip| tip.id),
            deps,
            time_ms,
            ops_hash: [0; 32],
        };
        Change::sign(keypair, header, ops)
    }
}
