//! The payer's side: keep the funding alive while it is of use, learn the preimage, take back when it is time.

use super::super::margins::{LATE_CLAIM_GRACE_BLOCKS, refund_rate};
use super::super::script::Branch;
use super::super::transactions::{fee_at, weight};
use super::act::Scene;
use super::payee::confirmed_spend;
use super::{Effect, Hold, LockView, Outcome, Place, Stage, Swap};

impl Swap {
    /// Acts on the view just taken. Returns why a refund that is due is not made.
    pub(super) fn pay(&mut self, scene: &Scene<'_>, effects: &mut Vec<Effect>) -> Option<Hold> {
        let view = self.view.clone()?;
        let Some(lock) = view.lock.clone() else {
            self.pay_nothing(scene, effects);
            return None;
        };
        if let Some((branch, depth)) = confirmed_spend(&lock, &view) {
            let buried = depth >= scene.burial;
            self.stage = match branch {
                Branch::Claim if buried => Stage::Done(Outcome::Claimed),
                Branch::Claim => Stage::Claimed,
                Branch::Refund if buried => Stage::Done(Outcome::Refunded),
                Branch::Refund => Stage::Refunded,
            };
            return None;
        }
        self.stage = match (&lock.spend, lock.place) {
            (Some(spend), _) if spend.branch == Branch::Claim => Stage::Claiming,
            (_, Place::Mempool) => Stage::Funding,
            (_, Place::Confirmed(_)) => Stage::Locked,
        };
        if lock.place == Place::Mempool && self.keeps_funding_alive(scene.tip) {
            effects.extend(self.fundings.last().map(|raw| Effect::Broadcast(raw.0.clone())));
        }
        let waited = scene.due_since.filter(|waited| !self.leaves_it_to_the_claim(&lock, *waited))?;
        match self.press(scene, Branch::Refund, refund_rate(waited, view.fees, lock.value), effects) {
            Ok(()) => {
                self.stage = Stage::Refunding;
                None
            }
            Err(_) => {
                let fee = fee_at(view.fees.normal, weight(scene.lock, Branch::Refund, self.payout.len()));
                Some(Hold::FeesTooHigh { fee, most: lock.value })
            }
        }
    }

    /// Nothing stands at the script: not yet, or no longer.
    fn pay_nothing(&mut self, scene: &Scene<'_>, effects: &mut Vec<Effect>) {
        if self.fundings.is_empty() {
            self.stage = if scene.due_since.is_some() { Stage::Done(Outcome::Expired) } else { Stage::Accepted };
            return;
        }
        self.stage = Stage::Funding;
        effects.extend(self.again());
    }

    /// Whether a late claim is let through: the preimage came before any refund was made, and so is what the coins were for.
    fn leaves_it_to_the_claim(&self, lock: &LockView, waited: u32) -> bool {
        self.preimage_public
            && !self.refund_ordered
            && waited < LATE_CLAIM_GRACE_BLOCKS
            && self.latest(lock.outpoint).is_none()
    }
}
