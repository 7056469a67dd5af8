//! Signatures that a load left unchecked, checked off the edit path.
//!
//! A load that checks tips only leaves an author's other signatures unlooked at: the tip vouches for the changes, but not for the signatures that stand beside
//! them. One that was damaged on disk would be passed on, and the peer would charge whoever sent it. An [`Audit`] is handed to any thread; what it finds
//! comes back with [`Replica::take_audit`]: bad signatures get a voucher from the nearest good one above, as if they had arrived so.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::Replica;
use super::pending::Vouching;
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::ChangeId;
use crate::evidence::{MAX_CHAIN, SignedChain};
use crate::identity::{AuthorId, Signature};
use crate::verify::{Claim, verify_changes_on};

/// Signatures to be checked, apart from the replica: can be sent to another thread.
#[derive(Debug, Clone)]
pub struct Audit {
    /// By author, so that batches share keys.
    claims: Vec<Unchecked>,
    generation: u64,
    /// All unchecked changes have lower numbers.
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Unchecked {
    index: ChangeIdx,
    id: ChangeId,
    author: AuthorId,
    signature: Signature,
}

/// What an [`Audit`] found.
#[derive(Debug, Clone)]
pub struct Findings {
    pub(super) bad: Vec<(ChangeIdx, ChangeId)>,
    checked: usize,
    generation: u64,
    end: u32,
}

/// What became of the changes whose signatures are not good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// A good signature nearby vouches for them: from now on they are passed on and stored with it.
    pub vouched: Vec<ChangeId>,
    /// Nothing within [`MAX_CHAIN`] − 1 changes above vouches for them, so that peers would refuse them: to be fetched again from somebody who has the signature.
    pub unvouched: Vec<ChangeId>,
}

impl Audit {
    /// How many signatures there are to check.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Checks, spread over at most this many threads. Costs 5 to 8 µs a signature, and more for each bad one.
    pub fn run(self, threads: NonZeroUsize) -> Findings {
        let claims: Vec<Claim<'_>> = self
            .claims
            .iter()
            .map(|claim| Claim { author: claim.author, message: claim.id.as_bytes(), signature: claim.signature })
            .collect();
        let good = verify_changes_on(threads.get(), &claims);
        let bad = self.claims.iter().zip(good).filter(|(_, good)| !good).map(|(claim, _)| (claim.index, claim.id));
        Findings { bad: bad.collect(), checked: claims.len(), generation: self.generation, end: self.end }
    }
}

impl Findings {
    /// How many signatures were checked.
    pub fn checked(&self) -> usize {
        self.checked
    }

    /// The changes whose signatures are not good.
    pub fn bad(&self) -> impl ExactSizeIterator<Item = ChangeId> + '_ {
        self.bad.iter().map(|(_, id)| *id)
    }
}

impl Replica {
    /// The signatures that were not checked when their changes were loaded ([`Check::Tips`](super::Check::Tips), [`Replica::load`]), copied out. Cheap beside checking them.
    pub fn audit(&self) -> Audit {
        self.claims((0..self.unchecked).map(ChangeIdx))
    }

    /// Whether there are changes that an [`Replica::audit`] would look at.
    pub fn needs_audit(&self) -> bool {
        self.unchecked > 0
    }

    /// Takes in what an audit of this replica found. What stands in a file already gets its voucher by [`Replica::save_since`].
    pub fn take_audit(&mut self, findings: &Findings) -> AuditReport {
        if findings.generation == self.generation && findings.end >= self.unchecked {
            self.unchecked = 0;
        }
        self.vouch_for(&findings.bad)
    }

    /// The signatures of these changes, without those that a voucher stands in for.
    pub(super) fn claims(&self, indices: impl IntoIterator<Item = ChangeIdx>) -> Audit {
        let mut claims: Vec<Unchecked> = indices
            .into_iter()
            .map(|index| Unchecked {
                index,
                id: self.dag.id(index),
                author: self.dag.author(index),
                signature: self.dag.signature(index),
            })
            .filter(|claim| !self.vouchers.contains_key(&claim.id))
            .collect();
        if self.dag.authors().nth(1).is_some() {
            claims.sort_by_key(|claim| claim.author);
        }
        Audit { claims, generation: self.generation, end: self.unchecked }
    }

    /// Finds what vouches for changes whose own signatures are not good: the nearest good one above, along `previous`.
    pub(super) fn vouch_for(&mut self, bad: &[(ChangeIdx, ChangeId)]) -> AuditReport {
        let mut report = AuditReport::default();
        let mut bad: Vec<ChangeIdx> = bad
            .iter()
            .filter_map(|(_, id)| self.dag.lookup(id))
            .filter(|index| !self.vouchers.contains_key(&self.dag.id(*index)))
            .collect();
        bad.sort_unstable();
        if bad.is_empty() {
            return report;
        }
        // How many steps it is from each change to the nearest good signature above, and which way. Children have higher numbers, and forks several ways.
        const FAR: (u8, ChangeIdx) = (u8::MAX, ChangeIdx(u32::MAX));
        let mut ways = vec![FAR; self.len()];
        for number in (bad[0].0..self.len() as u32).rev() {
            let index = ChangeIdx(number);
            let good = bad.binary_search(&index).is_err() && !self.vouchers.contains_key(&self.dag.id(index));
            let steps = if good { 0 } else { ways[number as usize].0 };
            if let Some(previous) = self.dag.previous(index) {
                let way = &mut ways[previous.0 as usize];
                *way = (*way).min((steps.saturating_add(1), index));
            }
        }
        for index in bad {
            let id = self.dag.id(index);
            let (steps, mut above) = ways[index.0 as usize];
            if usize::from(steps) >= MAX_CHAIN {
                report.unvouched.push(id);
                continue;
            }
            let mut headers = vec![self.dag.header(above)];
            for _ in 1..steps {
                above = ways[above.0 as usize].1;
                headers.push(self.dag.header(above));
            }
            let chain = Arc::new(SignedChain { headers, signature: self.dag.signature(above) });
            self.vouchers.insert(id, Vouching { chain, skip: 0 });
            self.late_vouchers.push(id);
            report.vouched.push(id);
        }
        report
    }
}
