//! A local change that stays open while edits gather in it, so that typing does not cost a signature a key.
//!
//! While no edit runs, document and graph are in the replica: the document with what was gathered, so that reads see it; the graph without the open
//! change, so that nobody names, sends or saves what is not signed. Nothing else may be applied meanwhile: the open change's place in the causal order was
//! fixed when it was opened. The layer above ([`BatchWriter`](crate::BatchWriter)) closes it first.
//!
//! **An edit that fails** takes only itself back. Mostly it fails at its first write (an index beyond the end), and there is nothing to take back. Else the
//! document is made again from the log, and what was gathered before is applied to it again; the open change stays open.

use super::{Replica, TransactError};
use crate::causality::ChangeIdx;
use crate::change::{Change, ChangeId, MAX_SAFE};
use crate::dag::{Dag, Leaf};
use crate::document::{Event, Tx};
use crate::identity::Keypair;

/// A change that is being gathered.
pub(crate) struct Open {
    /// Invariant: `None` only while an edit runs; its graph and document are empty ones.
    tx: Option<Box<Tx<Dag>>>,
    tip: Option<Leaf>,
    heads: Vec<(ChangeId, ChangeIdx)>,
}

/// Why the transaction is always there when it is wanted.
const PARKED: &str = "an edit puts the transaction back before it returns";

impl Open {
    fn tx(&self) -> &Tx<Dag> {
        self.tx.as_ref().expect(PARKED)
    }

    /// How many unit operations were gathered.
    pub(crate) fn units(&self) -> u32 {
        self.tx().units()
    }

    /// An upper bound of their bytes, close to it.
    pub(crate) fn bytes(&self) -> usize {
        self.tx().bytes()
    }
}

impl Replica {
    /// Opens a change.
    ///
    /// # Errors
    /// Those of [`Replica::transact`] but the transaction's own.
    pub(crate) fn open(&mut self, keypair: &Keypair, time_ms: u64) -> Result<Open, TransactError> {
        let (tip, heads) = self.next_parents(keypair, time_ms)?;
        let mut open = Open { tx: None, tip, heads };
        let index = self.stage_open(&open, keypair);
        let mut tx = Tx::new(Dag::new(), std::mem::take(&mut self.document), index);
        if self.events {
            tx = tx.with_events();
        }
        let mut empty = Dag::new();
        tx.exchange(&mut empty, &mut self.document);
        self.dag.discard();
        open.tx = Some(Box::new(tx));
        Ok(open)
    }

    /// Runs an edit. `f` gets the transaction and gives it back, with whether all that it has written since shall stay.
    ///
    /// # Errors
    /// The clock's reading is beyond what a change can carry; `f` has not run.
    pub(crate) fn edit<R, E>(
        &mut self,
        open: &mut Open,
        keypair: &Keypair,
        time_ms: u64,
        f: impl FnOnce(Box<Tx<Dag>>) -> (Box<Tx<Dag>>, Result<R, E>),
    ) -> Result<(Result<R, E>, Vec<Event>), TransactError> {
        if time_ms > MAX_SAFE {
            return Err(TransactError::Time(time_ms));
        }
        self.stage_open(open, keypair);
        let mut tx = open.tx.take().expect(PARKED);
        tx.exchange(&mut self.dag, &mut self.document);
        let mark = tx.mark();
        let (mut tx, result) = f(tx);
        tx.exchange(&mut self.dag, &mut self.document);
        self.dag.discard();
        let mut events = Vec::new();
        if result.is_ok() {
            events = tx.take_events();
        } else {
            let spoilt = tx.units() > mark.units();
            tx.rewind(&mark);
            if spoilt {
                self.replay_all();
                let index = self.stage_open(open, keypair);
                self.document
                    .apply(&self.dag, index, &tx.recorded(), None)
                    .expect("operations that were written here are valid, and nothing was applied since");
                self.dag.discard();
            }
        }
        open.tx = Some(tx);
        Ok((result, events))
    }

    /// Signs what was gathered; `None` if nothing was. `time_ms` is one that [`Replica::open`] or [`Replica::edit`] has taken.
    pub(crate) fn close(&mut self, open: Open, keypair: &Keypair, time_ms: u64) -> Option<Change> {
        if open.units() == 0 {
            return None;
        }
        self.stage_open(&open, keypair);
        let Open { tx, tip, heads } = open;
        let ops = tx.expect(PARKED).finish().ops.expect("an edit that failed was taken back");
        let ops = ops.encode().expect("a transaction keeps to what a change can carry");
        Some(self.commit_written(keypair, time_ms, tip, &heads, &ops))
    }

    fn stage_open(&mut self, open: &Open, keypair: &Keypair) -> ChangeIdx {
        let deps = open.heads.iter().map(|(_, index)| *index);
        self.dag.stage(keypair.author(), ChangeId([0; 32]), open.tip.map(|tip| tip.index), deps)
    }
}
