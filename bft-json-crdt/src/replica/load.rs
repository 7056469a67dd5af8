//! Loading a replica's own stored history: hashes, and one signature for each leaf of an author's tree, which vouches for all before it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::ingest::Progress;
use super::pending::Vouching;
use super::{Check, Incoming, Invalid, LoadError, LoadFault, Malformed, Outcome, Replica, Verdict};
use crate::causality::{Causality as _, ChangeIdx};
use crate::evidence::{MAX_CHAIN, SignedChain, Voucher};
use crate::ops::OpsError;

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
        // A reader does not settle here: what an unproven author's change depends on may stand in this piece, and that change in the next.
        match self.check_loaded(from, Check::Tips) {
            Ok(()) => Ok(progress.outcome),
            Err(error) => Err(LoadError { position: positions[error.position - from], ..error }),
        }
    }

    /// Checks signatures of the changes from number `from` on, which were just loaded. The position in an error is the change's number.
    pub(super) fn check_loaded(&mut self, from: usize, check: Check) -> Result<(), LoadError> {
        let bad = match check {
            Check::Tips => {
                self.unchecked = self.len() as u32;
                let mut leaves: Vec<ChangeIdx> = Vec::new();
                for author in self.dag.authors() {
                    // Older ones were checked when they were loaded.
                    let new = self.dag.leaves(&author).map(|leaf| leaf.index).filter(|leaf| leaf.0 as usize >= from);
                    leaves.extend(new);
                }
                self.claims(leaves).run(NonZeroUsize::MIN).bad.into_iter().map(|bad| bad.0).min()
            }
            Check::All { threads } => {
                let audit = self.claims((from as u32..self.len() as u32).map(ChangeIdx));
                let report = self.vouch_for(&audit.run(threads).bad);
                report.unvouched.into_iter().filter_map(|id| self.dag.lookup(&id)).min()
            }
        };
        match bad {
            None => Ok(()),
            Some(index) => Err(LoadError { position: index.0 as usize, fault: LoadFault::Signature }),
        }
    }

    /// Takes in what vouches for a change that was just loaded.
    pub(super) fn load_voucher(&mut self, index: ChangeIdx, voucher: Voucher) -> Result<(), LoadFault> {
        let SignedChain { headers, signature } = &voucher.0;
        if headers.len() >= MAX_CHAIN {
            return Err(LoadFault::Signature);
        }
        let headers = std::iter::once(self.dag.header(index)).chain(headers.iter().cloned()).collect();
        if (SignedChain { headers, signature: *signature }).verify().is_err() {
            return Err(LoadFault::Signature);
        }
        self.vouchers.insert(self.dag.id(index), Vouching { chain: Arc::new(voucher.0), skip: 0 });
        Ok(())
    }
}
