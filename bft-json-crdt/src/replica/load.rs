//! Loading a replica's own stored history: hashes, and one signature for each leaf of an author's tree, which vouches for all before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ingest::Progress;
use super::pending::Vouching;
use super::{Incoming, Invalid, LoadError, LoadFault, Malformed, Outcome, Replica, Verdict};
use crate::causality::{Causality as _, ChangeIdx};
use crate::ops::OpsError;
use crate::verify::{Claim, verify_changes};

impl Replica {
    /// Loads changes from one's own store, in the order in which they were applied; can be called several times, piece by piece. Ids are
    /// checked by hashing, and one signature for each leaf of an author's tree: it vouches for what is before it. Already applied ones are skipped.
    /// Quotas and proofs do not count here, and no events are told; to be called before anything is applied from elsewhere.
    ///
    /// # Errors
    /// A record is damaged or does not follow from those before. The replica is empty afterwards.
    pub fn load(&mut self, stored: Vec<Incoming>) -> Result<Outcome, LoadError> {
        let events = std::mem::replace(&mut self.events, false);
        let result = self.load_checked(stored);
        if result.is_err() {
            let (writer, generation) = (self.writer, self.generation);
            *self = Self::new(self.id, self.limits);
            (self.writer, self.generation) = (writer, generation + 1);
        }
        self.events = events;
        result
    }

    fn load_checked(&mut self, stored: Vec<Incoming>) -> Result<Outcome, LoadError> {
        let from = self.len();
        let mut progress = Progress::default();
        // Where the changes of this call stood.
        let mut positions: Vec<usize> = Vec::with_capacity(stored.len());
        // Own signatures of vouched changes are not good: their vouchers are asked instead.
        for (position, incoming) in stored.into_iter().enumerate() {
            let at = |fault| LoadError { position, fault };
            let Incoming { change, voucher } = incoming;
            if self.dag.lookup(&change.id()).is_some() {
                progress.outcome.verdicts.push((change.id(), Verdict::AlreadyKnown));
                continue;
            }
            if change.header().document != self.id {
                return Err(at(Malformed::Document.into()));
            }
            progress.decoder.decode(change.header().version, change.ops()).map_err(|error| match error {
                OpsError::Malformed(fault) => at(Malformed::Ops(fault).into()),
                OpsError::Unsupported(_) => at(LoadFault::Unsupported),
            })?;
            if let Some(voucher) = &voucher
                && voucher.verify(&change).is_err()
            {
                return Err(at(LoadFault::Signature));
            }
            let parents = self.parents(&change).ok_or_else(|| at(LoadFault::Parent))?;
            let vouching = voucher.map(|voucher| Vouching { chain: Arc::new(voucher.0), skip: 0 });
            self.judge(&change, parents.0, &parents.1, vouching.as_ref(), &mut progress)
                .map_err(|reason: Invalid| at(reason.into()))?;
            positions.push(position);
            progress.outcome.verdicts.push((change.id(), Verdict::Applied));
        }
        // The leaves among what was loaded now; older ones were checked when they were loaded.
        let mut tips: BTreeMap<ChangeIdx, usize> = BTreeMap::new();
        for author in self.dag.authors() {
            for leaf in self.dag.leaves(&author) {
                if let Some(position) = (leaf.index.0 as usize).checked_sub(from)
                    && !self.vouchers.contains_key(&leaf.id)
                {
                    tips.insert(leaf.index, positions[position]);
                }
            }
        }
        let ids: Vec<_> = tips.keys().map(|index| self.dag.id(*index)).collect();
        let claims: Vec<Claim<'_>> = tips
            .keys()
            .zip(&ids)
            .map(|(index, id)| {
                let change = self.dag.change(*index);
                Claim { author: change.author(), message: id.as_bytes(), signature: change.signature() }
            })
            .collect();
        for (position, good) in tips.values().zip(verify_changes(&claims)) {
            if !good {
                return Err(LoadError { position: *position, fault: LoadFault::Signature });
            }
        }
        // A reader does not settle here: what an unproven author's change depends on may stand in this piece, and that change in the next.
        Ok(progress.outcome)
    }
}
