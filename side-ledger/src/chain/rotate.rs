//! A key is rotated: another one takes its balance, its membership and its seat, by one vote of the others (docs/protocol.md, section "Rotation of a key").
//!
//! - Balance and membership move with the block that decides, a seat with the two closes of the set after it: first the old key leaves, then the new one comes. At no height do both
//!   own, belong, or vote.
//! - The old key counts for nothing from the transaction on that decides. If it seals, it ends the sets until the new key seals in its place.
//! - A new key is nobody yet. So no two members become one, and the ways from keys to those in their place never meet.

use std::collections::BTreeSet;
use std::sync::Arc;

use bft_json_crdt::identity::AuthorId;

use super::Chain;
use crate::accounts::Rotation;
use crate::block::Height;
use crate::governance::Governance;
use crate::receipt::Reason;
use crate::transaction::{KeyApprove, KeyRotate};

/// Over how many rotations a payment to a key that has been rotated is led on. Whoever pays an older one is refused and keeps its coins: else somebody could make many keys, and make
/// everybody walk along them with each payment.
pub const MAX_HOPS: usize = 16;

/// Whether nothing but the sealer's place is left of the old key's seat, and the new one does not wait for a close to come. That it is to leave again is nothing that is left of the old
/// one's: of few voters its word is needed for the close with which it leaves.
fn is_retired(governance: &Governance, old: &AuthorId, new: &AuthorId) -> bool {
    !governance.voters.contains(old)
        && !governance.pending.contains_key(old)
        && governance.pending.get(new) != Some(&true)
}

/// Whether that place is not left either.
fn has_moved(governance: &Governance, old: &AuthorId, new: &AuthorId) -> bool {
    is_retired(governance, old, new) && !governance.sealers.contains(old)
}

impl Chain {
    /// The author wants another key in its place. In an open group a key without a vote needs nobody's consent: everybody is a member, and what it owns is its own.
    pub(super) fn propose(&mut self, old: AuthorId, rotate: &KeyRotate) -> Result<(), Reason> {
        self.governance.may_move(&old)?;
        if !rotate.is_proven(self.group, &old) {
            return Err(Reason::Proof);
        }
        self.require_nobody(&rotate.new)?;
        if self.accounts.get(&old).rotation == Some(Rotation::Proposed(rotate.new)) {
            return Err(Reason::NoChange);
        }
        Arc::make_mut(&mut self.governance).forget_approvals(&old);
        self.accounts.update(&old, |account| account.rotation = Some(Rotation::Proposed(rotate.new)));
        if !self.closed_group && !self.governance.voters.contains(&old) {
            self.carry_out(old, rotate.new);
        }
        Ok(())
    }

    /// A voter agrees to what the owner of a key proposes.
    pub(super) fn approve(&mut self, author: AuthorId, approve: &KeyApprove) -> Result<(), Reason> {
        self.governance.may_vote(&author, approve.set)?;
        let account = self.accounts.get(&approve.old);
        match account.rotation {
            Some(Rotation::Rotated(_)) => return Err(Reason::Rotated),
            Some(Rotation::Proposed(new)) if new == approve.new => {}
            _ => return Err(Reason::NotProposed),
        }
        if author == approve.old {
            // The others decide: whoever has got hold of a key does not help to move it.
            return Err(Reason::NotVoter);
        }
        if account.frozen.is_some() {
            return Err(Reason::Frozen);
        }
        if self.closed_group && !account.member {
            return Err(Reason::NotMember);
        }
        self.governance.may_move(&approve.old)?;
        self.require_nobody(&approve.new)?;
        if Arc::make_mut(&mut self.governance).approve(author, approve.set, approve.old)? {
            self.carry_out(approve.old, approve.new);
        }
        Ok(())
    }

    /// Who has what was this key's: itself, or the key that has taken its place, or the one that has taken that one's.
    pub(super) fn heir(&self, key: &AuthorId) -> Result<AuthorId, Reason> {
        let mut at = *key;
        for _ in 0..=MAX_HOPS {
            match self.accounts.get(&at).successor() {
                None => return Ok(at),
                Some(next) => at = next,
            }
        }
        Err(Reason::Rotated)
    }

    /// The key that has taken this one's place, once it has all of it: of the old key's seat nothing is left, and its own has come if there is to be one.
    pub fn replaced(&self, old: &AuthorId) -> Option<AuthorId> {
        let new = self.accounts.get(old).successor()?;
        has_moved(&self.governance, old, &new).then_some(new)
    }

    /// Whether no office is to be given to this key any more, since another one has taken its place.
    pub fn is_retired(&self, key: &AuthorId) -> bool {
        self.accounts.get(key).successor().is_some_and(|new| is_retired(&self.governance, key, &new))
    }

    /// Whether this key's seat had moved to the one in its place with the block at this height, or before. Never of a key without a seat, since nothing tells when it was replaced.
    pub fn seat_had_moved(&self, old: &AuthorId, height: Height) -> bool {
        let Some(new) = self.accounts.get(old).successor() else { return false };
        let governance = self.at(Height(height.0 + 1)).map_or(&self.governance, |next| &next.before);
        // A key that votes takes nobody's place: it was decided before this one voted.
        governance.voters.contains(&new) && has_moved(governance, old, &new)
    }

    /// Whether another key has taken this one's place.
    pub(super) fn is_rotated(&self, key: &AuthorId) -> bool {
        self.rules.rotates() && self.accounts.get(key).successor().is_some()
    }

    /// Which keys the last block put into which ones' places, by the old one. Nothing once it is settled.
    pub(crate) fn rotated_by_tip(&self) -> Vec<(AuthorId, AuthorId)> {
        let undo = self.tip().filter(|_| self.rules.rotates()).and_then(|sealed| sealed.undo.as_ref());
        let touched = undo.into_iter().flatten().filter_map(|(number, before)| {
            let (old, account) = self.accounts.nth(*number as usize)?;
            let new = account.successor()?;
            before.and_then(|before| before.successor()).is_none().then_some((*old, new))
        });
        touched.collect()
    }

    fn require_nobody(&self, key: &AuthorId) -> Result<(), Reason> {
        let account = self.accounts.get(key);
        // A balance is nothing that its owner has done: anybody can pay a key that it reads in a proposal.
        let is_nobody = account.tip.is_none() && account.rotation.is_none() && account.frozen.is_none();
        if is_nobody && !account.member && !self.governance.has_seat(key) { Ok(()) } else { Err(Reason::KeyInUse) }
    }

    fn carry_out(&mut self, old: AuthorId, new: AuthorId) {
        let (balance, member) = self.accounts.update(&old, |account| {
            account.rotation = Some(Rotation::Rotated(new));
            (std::mem::take(&mut account.balance), std::mem::take(&mut account.member))
        });
        self.accounts.update(&new, |account| {
            account.rotation = Some(Rotation::Succeeds(old));
            // All balances together fit 64 bits.
            account.balance = account.balance.saturating_add(balance);
            account.member = member;
        });
        Arc::make_mut(&mut self.governance).rotate(old, new);
    }

    /// Holds what is said above against the state.
    pub(super) fn check_rotations(&self) {
        let mut successors = BTreeSet::new();
        for (key, account) in self.accounts.iter() {
            let Some(new) = account.successor() else { continue };
            assert_eq!((account.balance, account.member), (0, false), "a rotated key has something");
            let voters = &self.governance.voters;
            assert!(!(voters.contains(key) && voters.contains(&new)), "a seat counts twice");
            assert_ne!(self.governance.pending.get(key), Some(&true), "a rotated key comes back");
            assert!(successors.insert(new), "two keys have one successor");
        }
    }
}
