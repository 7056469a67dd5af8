//! The payee's side: when to reveal the preimage, and how to press the claim once it is out.

use bitcoin::Amount;

use super::super::margins::{MAX_REVEAL_FEE_PERCENT, claim_rate, confirmations, reveal_margin, share};
use super::super::script::Branch;
use super::super::terms::Terms;
use super::super::transactions::{fee_at, weight};
use super::act::Scene;
use super::{Effect, Hold, Level, LockView, Outcome, Place, Servers, Stage, Swap, View, notify};

impl Swap {
    /// Acts on the view just taken. Returns why it does not claim.
    pub(super) fn collect(&mut self, scene: &Scene<'_>, effects: &mut Vec<Effect>) -> Option<Hold> {
        let view = self.view.clone()?;
        let Some(lock) = view.lock.clone() else { return self.collect_nothing(scene, effects) };
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
        self.stage = if lock.place == Place::Mempool { Stage::Funding } else { Stage::Locked };
        if self.preimage.is_none() {
            return Some(Hold::NoPreimage);
        }
        if !self.preimage_public {
            if let Err(hold) = self.may_reveal(scene, &view, &lock) {
                return Some(hold);
            }
            if view.servers == Servers::Single {
                let text =
                    "only one server is configured: if it lies about the lock, the preimage is given away for nothing";
                effects.push(notify(Level::Warning, format!("swap {}: {text}", self.short_id())));
            }
        } else if lock.place == Place::Mempool {
            effects.extend(self.fundings.last().map(|raw| Effect::Broadcast(raw.0.clone())));
        }
        match self.press(scene, Branch::Claim, claim_rate(scene.left, view.fees, lock.value), effects) {
            Ok(()) => {
                self.stage = Stage::Claiming;
                None
            }
            Err(_) => {
                let fee = fee_at(view.fees.fast, weight(scene.lock, Branch::Claim, self.payout.len()));
                Some(Hold::FeesTooHigh { fee, most: lock.value })
            }
        }
    }

    /// Nothing stands at the script: not yet, or no longer.
    fn collect_nothing(&mut self, scene: &Scene<'_>, effects: &mut Vec<Effect>) -> Option<Hold> {
        if self.preimage_public && !self.fundings.is_empty() {
            // A reorg took the lock away. Whoever has the raw transaction can bring it back, and the claim after it.
            self.stage = Stage::Funding;
            effects.extend(self.again());
            return Some(Hold::NotLocked);
        }
        let gone = scene.due_since.is_some_and(|blocks| self.fundings.is_empty() || blocks >= scene.burial);
        self.stage = if gone {
            Stage::Done(Outcome::Expired)
        } else if self.fundings.is_empty() {
            Stage::Accepted
        } else {
            Stage::Funding
        };
        Some(Hold::NotLocked)
    }

    /// Whether the lock is sound and buried as its amount deserves, and nobody contradicts: what a second leg may be funded upon.
    pub(in super::super) fn check_buried(&self) -> Result<(), Hold> {
        let (Some(terms), Some(view)) = (&self.terms, &self.view) else { return Err(Hold::NotLocked) };
        let lock = view.lock.as_ref().filter(|lock| lock.spend.is_none()).ok_or(Hold::NotLocked)?;
        check_sound(terms, view, lock)
    }

    /// Whether the preimage may be shown for the first time.
    fn may_reveal(&self, scene: &Scene<'_>, view: &View, lock: &LockView) -> Result<(), Hold> {
        let terms = scene.lock.terms();
        let (chain, agreed) = (terms.chain(), terms.amount());
        check_sound(scene.lock.terms(), view, lock)?;
        let margin = reveal_margin(chain, agreed);
        if scene.left < margin {
            return Err(Hold::TooLate { left: scene.left, need: margin });
        }
        let fee = fee_at(view.fees.fast.max(view.fees.normal), weight(scene.lock, Branch::Claim, self.payout.len()));
        let most: Amount = share(agreed, MAX_REVEAL_FEE_PERCENT);
        if fee > most {
            return Err(Hold::FeesTooHigh { fee, most });
        }
        Ok(())
    }
}

fn check_sound(terms: &Terms, view: &View, lock: &LockView) -> Result<(), Hold> {
    let agreed = terms.amount();
    if lock.value < agreed {
        return Err(Hold::Underpaid { found: lock.value, agreed });
    }
    let (have, need) = (lock.place.depth(view.tip), confirmations(terms.chain(), lock.value));
    if have == 0 {
        return Err(Hold::NotLocked);
    }
    if have < need {
        return Err(Hold::NotDeep { have, need });
    }
    if view.servers == Servers::Disagree { Err(Hold::ServersDisagree) } else { Ok(()) }
}

/// The branch and depth of a spend that is in a block.
pub(super) fn confirmed_spend(lock: &LockView, view: &View) -> Option<(Branch, u32)> {
    let spend = lock.spend.as_ref().filter(|spend| spend.place != Place::Mempool)?;
    Some((spend.branch, spend.place.depth(view.tip)))
}
