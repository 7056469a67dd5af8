//! An atomic swap between two chains from two locks with one payment hash: both sides get what they agreed on, or each gets its own back.
//!
//! The *initiator* knows the preimage. It funds the first leg; the *follower* is its payee. Once that is buried, the follower funds the second leg, whose payee
//! is the initiator. The initiator claims there and thereby shows the preimage, with which the follower claims the first leg.
//!
//! ```text
//!  chain A, first leg    fund ── buried ───────────────────────────────── claim (follower) ─────── T1: refund (initiator)
//!  chain B, second leg            fund (follower) ── buried ── claim (initiator) ── T2: refund (follower)
//! ```
//!
//! The second timeout comes first, by enough: when the second leg is over for good, even if its blocks came slowly, the first one must still leave the follower
//! time to claim, even if its blocks came fast. Two chains share no clock, so this is reckoned in time, each side of it with
//! [`SIGMAS`](super::margins::SIGMAS) standard deviations of its chain's blocks, and with each chain's own depth of burial.
//!
//! The follower's rule: it locks nothing before the first leg is buried as its amount deserves, all servers of both chains agree, and the order of the timeouts
//! still holds at that moment. The initiator's rule is the second leg's own: it reveals only into a sound lock with time left.

use bitcoin::absolute::Height;
use bitcoin::{Amount, Transaction};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::margins::{
    AWAY_BLOCKS, BUMP_ROOM_BLOCKS, INCLUSION_BLOCKS, blocks_covering, burial, confirmations, latest_seconds,
    min_timeout, reveal_margin,
};
use super::secrets::Preimage;
use super::swap::{
    Command, Effect, Event, Hold, NewSwap, Outcome, Outlook, Own, Refusal, Role, Servers, Stage, StateError, Step, Swap,
};
use super::terms::{ChainId, LockKind, Offer};

/// The version of an atomic swap's stored state.
pub const ATOMIC_VERSION: u16 = 1;

/// Why an atomic swap does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AtomicError {
    /// One leg refuses.
    #[error("the {leg} leg: {refusal}")]
    Leg {
        /// Which one.
        leg: Leg,
        /// Why.
        refusal: Refusal,
    },
    /// The legs do not belong together.
    #[error("the two offers make no atomic swap: {0}")]
    Mismatch(&'static str),
    /// The first timeout does not leave the follower enough time after the second.
    #[error("the first leg's timeout is {left} blocks away; after the second leg's it must be at least {least}")]
    TooClose {
        /// Blocks to the first timeout.
        left: u32,
        /// Blocks that there must be.
        least: u32,
    },
    /// There is no block height that far ahead.
    #[error("no block height lies that far ahead")]
    Height,
    /// The first leg is not as it must be before the second is funded.
    #[error("the second leg is not funded yet: {0}")]
    FirstLeg(Hold),
}

/// One of the two locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leg {
    /// Paid by the initiator, with the later timeout.
    First,
    /// Paid by the follower, with the earlier timeout.
    Second,
}

impl std::fmt::Display for Leg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::First { "first" } else { "second" })
    }
}

/// Which of the two parties we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Knows the preimage, funds the first leg.
    Initiator,
    /// Funds the second leg.
    Follower,
}

/// One leg before it has terms: what the timeouts are reckoned from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegPlan {
    /// The chain.
    pub chain: ChainId,
    /// The kind of output.
    pub kind: LockKind,
    /// What is to be locked.
    pub amount: Amount,
    /// The tip's height now.
    pub tip: Height,
    /// Seconds between two blocks, on average: [`ChainId::block_interval_seconds`], or what a local chain was told to do.
    pub interval_seconds: u32,
}

/// The two timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Of the first leg, on its chain.
    pub first: Height,
    /// Of the second leg, on its chain.
    pub second: Height,
}

/// Reckons timeouts that leave everybody their time.
///
/// # Errors
/// [`AtomicError::Height`].
pub fn plan(first: &LegPlan, second: &LegPlan) -> Result<Timeouts, AtomicError> {
    // The follower waits for the first leg: it gets in and is buried, slowly; meanwhile the second chain may be fast.
    let buried = latest_seconds(INCLUSION_BLOCKS + confirmations(&first.chain, first.amount), first.interval_seconds);
    let second_blocks =
        blocks_covering(buried, second.interval_seconds).saturating_add(min_timeout(&second.chain, second.amount));
    let first_blocks = least_first(first, second, second_blocks).saturating_add(AWAY_BLOCKS);
    Ok(Timeouts { first: above(first.tip, first_blocks)?, second: above(second.tip, second_blocks)? })
}

/// Checks that the first timeout still comes late enough after the second, seen from now.
///
/// # Errors
/// [`AtomicError::TooClose`].
pub fn check_order(first: &LegPlan, second: &LegPlan, timeouts: Timeouts) -> Result<(), AtomicError> {
    let left = blocks_to(first.tip, timeouts.first);
    let least = least_first(first, second, blocks_to(second.tip, timeouts.second));
    if left < least { Err(AtomicError::TooClose { left, least }) } else { Ok(()) }
}

/// Blocks to the first timeout at least, if it is so many to the second one.
fn least_first(first: &LegPlan, second: &LegPlan, second_blocks: u32) -> u32 {
    // At its timeout the second leg is not over: the refund and a late claim race, and what wins must be buried.
    let over = second_blocks
        .saturating_add(INCLUSION_BLOCKS + BUMP_ROOM_BLOCKS)
        .saturating_add(burial(&second.chain, second.amount));
    blocks_covering(latest_seconds(over, second.interval_seconds), first.interval_seconds)
        .saturating_add(reveal_margin(&first.chain, first.amount))
}

fn above(tip: Height, blocks: u32) -> Result<Height, AtomicError> {
    let height = tip.to_consensus_u32().checked_add(blocks).ok_or(AtomicError::Height)?;
    Height::from_consensus(height).map_err(|_| AtomicError::Height)
}

fn blocks_to(tip: Height, height: Height) -> u32 {
    height.to_consensus_u32().saturating_sub(tip.to_consensus_u32())
}

/// An atomic swap, as it is stored. It holds the secrets of both legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Atomic {
    version: u16,
    side: Side,
    first: Swap,
    second: Swap,
    /// Seconds between two blocks on each chain.
    intervals: [u32; 2],
}

/// An effect and the leg, that is the chain, that it belongs to.
pub type LegEffect = (Leg, Effect);

impl Atomic {
    /// Offers an atomic swap as its initiator, with timeouts from [`plan`]. `first` is paid out to us only as a refund.
    ///
    /// # Errors
    /// [`AtomicError::Mismatch`] without a preimage, [`AtomicError::Height`], [`AtomicError::Leg`].
    pub fn offer(legs: [LegPlan; 2], first: Own, second: Own) -> Result<Step<Self, LegEffect>, AtomicError> {
        let timeouts = plan(&legs[0], &legs[1])?;
        let Some(hash) = second.preimage.as_ref().map(Preimage::payment_hash) else {
            return Err(AtomicError::Mismatch("the initiator needs the preimage in the second leg"));
        };
        let [one, two] = legs;
        let new = |leg: &LegPlan, role, timeout, own| NewSwap {
            role,
            chain: leg.chain.clone(),
            kind: leg.kind,
            amount: leg.amount,
            timeout,
            payment_hash: Some(hash),
            own,
        };
        // The first leg never needs the preimage on our side.
        let first = Own { preimage: None, ..first };
        let paid = Swap::offer(new(&one, Role::Payer, timeouts.first, first), one.tip).map_err(in_leg(Leg::First))?;
        let taken =
            Swap::offer(new(&two, Role::Payee, timeouts.second, second), two.tip).map_err(in_leg(Leg::Second))?;
        Self::join(Side::Initiator, paid, taken, [one.interval_seconds, two.interval_seconds])
    }

    /// Accepts an atomic swap as its follower. `tips` and `intervals` are those of the two chains, first and second.
    ///
    /// # Errors
    /// [`AtomicError::Mismatch`], [`AtomicError::TooClose`], [`AtomicError::Leg`].
    pub fn accept(
        [first, second]: [Offer; 2],
        own: [Own; 2],
        tips: [Height; 2],
        intervals: [u32; 2],
    ) -> Result<Step<Self, LegEffect>, AtomicError> {
        if first.payment_hash.is_none() || first.payment_hash != second.payment_hash {
            return Err(AtomicError::Mismatch("both offers must name the same payment hash"));
        }
        if first.refund_key.is_none() || second.claim_key.is_none() {
            return Err(AtomicError::Mismatch("the initiator pays the first leg and is paid by the second"));
        }
        let timeouts = Timeouts { first: first.timeout, second: second.timeout };
        check_order(&leg_of(&first, tips[0], intervals[0]), &leg_of(&second, tips[1], intervals[1]), timeouts)?;
        let [own_first, own_second] = own;
        let taken = Swap::accept(first, Own { preimage: None, ..own_first }, tips[0]).map_err(in_leg(Leg::First))?;
        let paid = Swap::accept(second, Own { preimage: None, ..own_second }, tips[1]).map_err(in_leg(Leg::Second))?;
        Self::join(Side::Follower, taken, paid, intervals)
    }

    fn join(side: Side, first: Step, second: Step, intervals: [u32; 2]) -> Result<Step<Self, LegEffect>, AtomicError> {
        let (first, first_effects, _) = first.into_parts();
        let (second, second_effects, _) = second.into_parts();
        if first.id() == second.id() {
            return Err(AtomicError::Mismatch("both legs are one"));
        }
        let mut effects = tagged(Leg::First, first_effects);
        effects.extend(tagged(Leg::Second, second_effects));
        Ok(Step::new(Self { version: ATOMIC_VERSION, side, first, second, intervals }, effects, true))
    }

    /// Takes an event for one leg. The same contract as [`Swap::handle`]; what one leg learns, the other one acts on in the same step.
    ///
    /// # Errors
    /// [`AtomicError`]: the leg refuses, or the order of the legs forbids it.
    pub fn handle(&self, leg: Leg, event: Event) -> Result<Step<Self, LegEffect>, AtomicError> {
        if let Event::Funded(transaction) = &event {
            self.check_funding(leg, transaction)?;
        }
        let withdrawn = matches!(event, Event::Command(Command::GiveUp) | Event::Cancelled);
        if withdrawn && self.side == Side::Follower && self.second.fundings().next().is_some() {
            let refusal = Refusal::AtStake("the second leg is funded; wait for its claim, or for its refund");
            return Err(AtomicError::Leg { leg, refusal });
        }
        let mut next = self.clone();
        let (swap, effects, _) = self.leg(leg).handle(event).map_err(in_leg(leg))?.into_parts();
        *next.leg_mut(leg) = swap;
        let mut effects = tagged(leg, effects);
        next.cascade(&mut effects);
        let changed = next != *self;
        Ok(Step::new(next, effects, changed))
    }

    /// What one leg knows, for the other.
    fn cascade(&mut self, effects: &mut Vec<LegEffect>) {
        if self.side != Side::Follower {
            return;
        }
        let Some(preimage) = self.second.preimage().filter(|_| self.second.is_preimage_public()).cloned() else {
            return;
        };
        if !self.first.is_preimage_public()
            && let Ok(step) = self.first.handle(Event::Learned { preimage, public: true })
        {
            let (first, more, _) = step.into_parts();
            self.first = first;
            effects.extend(tagged(Leg::First, more));
        }
        // The initiator took the first leg back: what is left of the second is ours by its timeout, claim or no claim.
        let lost = matches!(self.first.stage(), Stage::Refunded | Stage::Done(Outcome::Refunded | Outcome::Expired));
        if lost && let Ok(step) = self.second.handle(Event::Command(Command::Refund)) {
            let (second, more, _) = step.into_parts();
            self.second = second;
            effects.extend(tagged(Leg::Second, more));
        }
    }

    /// Whether our leg may be funded now. A driver asks before it lets the wallet build the transaction.
    ///
    /// # Errors
    /// [`AtomicError::FirstLeg`], [`AtomicError::TooClose`], [`AtomicError::Leg`].
    pub fn may_fund(&self) -> Result<Servers, AtomicError> {
        let leg = self.paid_leg();
        let servers = self.leg(leg).may_fund().map_err(in_leg(leg))?;
        let both_agreed = self.first.terms().is_some() && self.second.terms().is_some();
        let (Some(tip_first), Some(tip_second), true) = (self.first.tip(), self.second.tip(), both_agreed) else {
            return Err(AtomicError::Leg { leg, refusal: Refusal::NoView });
        };
        let (one, two) = (self.first.offer_made(), self.second.offer_made());
        let timeouts = Timeouts { first: one.timeout, second: two.timeout };
        check_order(&leg_of(one, tip_first, self.intervals[0]), &leg_of(two, tip_second, self.intervals[1]), timeouts)?;
        if self.side == Side::Follower {
            self.first.check_buried().map_err(AtomicError::FirstLeg)?;
        }
        Ok(servers)
    }

    fn check_funding(&self, leg: Leg, transaction: &Transaction) -> Result<(), AtomicError> {
        let known = self.leg(leg).fundings().any(|known| known == transaction);
        if known || leg != self.paid_leg() {
            // Repeated, or refused by the leg itself.
            return Ok(());
        }
        self.may_fund().map(drop)
    }

    /// What a crash may have swallowed, of both legs.
    pub fn resume(&self) -> Vec<LegEffect> {
        let mut effects = tagged(Leg::First, self.first.resume());
        effects.extend(tagged(Leg::Second, self.second.resume()));
        effects
    }

    /// What happens next, on both chains. The first of the two is the one that matters more.
    pub fn outlook(&self) -> [(Leg, Outlook); 2] {
        let (first, second) = ((Leg::First, self.first.outlook()), (Leg::Second, self.second.outlook()));
        let first_matters = match self.side {
            _ if first.1.level != second.1.level => first.1.level > second.1.level,
            Side::Initiator => !matches!(self.first.stage(), Stage::Locked | Stage::Done(_)),
            Side::Follower => self.second.stage() != Stage::Locked,
        };
        if first_matters { [first, second] } else { [second, first] }
    }

    /// Reads a stored state.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        let damaged = |error: serde_json::Error| StateError::Damaged(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(damaged)?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(ATOMIC_VERSION) => {}
            Some(version) => return Err(StateError::Version(version)),
            None => return Err(StateError::Damaged("it names no version".to_owned())),
        }
        for leg in ["first", "second"] {
            Swap::from_json(&value[leg].to_string())?;
        }
        serde_json::from_value(value).map_err(damaged)
    }

    /// The form that is stored. It holds secrets.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and fixed keys always serialize")
    }

    /// Which of the two parties we are.
    pub fn side(&self) -> Side {
        self.side
    }
    /// One of the two swaps.
    pub fn leg(&self, leg: Leg) -> &Swap {
        if leg == Leg::First { &self.first } else { &self.second }
    }
    /// The leg that we fund.
    pub fn paid_leg(&self) -> Leg {
        if self.side == Side::Initiator { Leg::First } else { Leg::Second }
    }
    /// Whether both legs have ended.
    pub fn is_done(&self) -> bool {
        self.first.stage().is_done() && self.second.stage().is_done()
    }

    fn leg_mut(&mut self, leg: Leg) -> &mut Swap {
        if leg == Leg::First { &mut self.first } else { &mut self.second }
    }
}

fn leg_of(offer: &Offer, tip: Height, interval_seconds: u32) -> LegPlan {
    LegPlan { chain: offer.chain.clone(), kind: offer.kind, amount: offer.amount, tip, interval_seconds }
}

fn in_leg(leg: Leg) -> impl Fn(Refusal) -> AtomicError {
    move |refusal| AtomicError::Leg { leg, refusal }
}

fn tagged(leg: Leg, effects: Vec<Effect>) -> Vec<LegEffect> {
    effects.into_iter().map(|effect| (leg, effect)).collect()
}

#[cfg(test)]
#[path = "atomic_tests.rs"]
mod tests;
