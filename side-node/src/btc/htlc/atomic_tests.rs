//! Atomic swaps on two models of a chain.

use std::convert::Infallible;

use bitcoin::Transaction;
use bitcoin::consensus::encode;
use proptest::prelude::*;

use super::super::sim::{Chain, height, own};
use super::super::swap::Message;
use super::super::terms::Acceptance;
use super::super::witness::preimage_in;
use super::*;

const LEGS: [Leg; 2] = [Leg::First, Leg::Second];

/// A party with a disk, on two chains.
struct Trader {
    atomic: Atomic,
    disk: String,
    messages: Vec<(Leg, Message)>,
    broadcast: Vec<Transaction>,
}

impl Trader {
    fn new(step: Step<Atomic, LegEffect>) -> Self {
        let mut disk = String::new();
        let (atomic, effects) = step
            .commit(|atomic| {
                disk = atomic.to_json();
                Ok::<(), Infallible>(())
            })
            .expect("the disk is fine");
        let mut trader = Self { atomic, disk, messages: Vec::new(), broadcast: Vec::new() };
        trader.act(effects, None);
        trader
    }

    fn feed(&mut self, chains: &mut [Chain; 2], leg: Leg, event: Event) -> Result<(), AtomicError> {
        let (atomic, effects) = self
            .atomic
            .handle(leg, event)?
            .commit(|atomic| {
                self.disk = atomic.to_json();
                Ok::<(), Infallible>(())
            })
            .expect("the disk is fine");
        self.atomic = atomic;
        self.act(effects, Some(chains));
        Ok(())
    }

    fn restart(&mut self, chains: &mut [Chain; 2]) {
        let before = self.atomic.clone();
        self.atomic = Atomic::from_json(&self.disk).expect("our own state");
        assert_eq!(self.atomic, before);
        let effects = self.atomic.resume();
        self.act(effects, Some(chains));
    }

    fn act(&mut self, effects: Vec<LegEffect>, mut chains: Option<&mut [Chain; 2]>) {
        for (leg, effect) in effects {
            match effect {
                Effect::Broadcast(transaction) => {
                    assert!(self.disk.contains(&encode::serialize_hex(&transaction)), "broadcast before durable");
                    if let Some(chains) = chains.as_deref_mut() {
                        let _ = chains[leg as usize].submit(&transaction);
                    }
                    self.broadcast.push(transaction);
                }
                Effect::Publish(message) => self.messages.push((leg, message)),
                Effect::Revealed(_) | Effect::Notify(_) => {}
            }
        }
    }

    fn look(&mut self, chains: &mut [Chain; 2]) {
        for leg in LEGS {
            let Some(lock) = self.atomic.leg(leg).lock_script() else { continue };
            let observation = chains[leg as usize].observe(&lock);
            self.feed(chains, leg, Event::Observed(observation)).expect("never refused");
        }
    }

    /// Funds its leg, if the rules allow it.
    fn fund(&mut self, chains: &mut [Chain; 2], coin: bitcoin::OutPoint) -> Result<(), AtomicError> {
        self.atomic.may_fund()?;
        let leg = self.atomic.paid_leg();
        let output = self.atomic.leg(leg).funding_output().expect("agreed");
        let funding = chains[leg as usize].pay(coin, output);
        self.feed(chains, leg, Event::Funded(funding))
    }
}

struct Market {
    chains: [Chain; 2],
    initiator: Trader,
    follower: Trader,
    coins: [bitcoin::OutPoint; 2],
    preimage: Preimage,
}

fn leg_plan(label: &str, kind: LockKind, sats: u64, interval_seconds: u32) -> LegPlan {
    LegPlan {
        chain: format!("regtest:{label}").parse().expect("a label"),
        kind,
        amount: Amount::from_sat(sats),
        tip: height(1_000),
        interval_seconds,
    }
}

impl Market {
    fn new(kind: LockKind) -> Self {
        let mut chains = [Chain::new(), Chain::new()];
        let preimage = Preimage::from_bytes([200; 32]);
        let legs = [leg_plan("east", kind, 200_000, 600), leg_plan("west", kind, 150_000, 600)];
        let step = Atomic::offer(legs, own(1, None), own(2, Some(preimage.clone()))).expect("sound");
        let mut initiator = Trader::new(step);
        let offers: Vec<Offer> = initiator
            .messages
            .iter()
            .filter_map(|(_, message)| match message {
                Message::Offer { offer } => Some(offer.clone()),
                _ => None,
            })
            .collect();
        let offers: [Offer; 2] = offers.try_into().expect("two");
        let step = Atomic::accept(offers, [own(3, None), own(4, None)], [height(1_000); 2], [600; 2]).expect("sound");
        let mut follower = Trader::new(step);
        for (leg, message) in std::mem::take(&mut follower.messages) {
            let Message::Accept { acceptance, .. } = message else { panic!("no acceptance") };
            initiator.feed(&mut chains, leg, Event::Accepted(acceptance)).expect("accepted");
        }
        for leg in LEGS {
            let lock = initiator.atomic.leg(leg).lock_script().expect("agreed");
            assert_eq!(lock.script_pubkey(), follower.atomic.leg(leg).lock_script().expect("agreed").script_pubkey());
            chains[leg as usize].enforce(lock);
        }
        let coins = [chains[0].coin(Amount::from_sat(400_000)), chains[1].coin(Amount::from_sat(400_000))];
        Self { chains, initiator, follower, coins, preimage }
    }

    /// One block on each chain, both parties looking.
    fn round(&mut self) {
        self.chains.iter_mut().for_each(|chain| chain.mine(1));
        self.look();
    }

    fn look(&mut self) {
        self.initiator.look(&mut self.chains);
        self.follower.look(&mut self.chains);
    }

    fn balance(&self, leg: Leg, seed: u8) -> Amount {
        self.chains[leg as usize].balance(&own(seed, None).payout)
    }

    fn initiate(&mut self) {
        self.look();
        self.initiator.fund(&mut self.chains, self.coins[0]).expect("nothing against it");
    }
}

#[test]
fn both_get_what_they_agreed_on() {
    for kind in [LockKind::P2wsh, LockKind::Taproot] {
        let mut market = Market::new(kind);
        market.initiate();
        let refused = market.follower.fund(&mut market.chains, market.coins[1]);
        assert_eq!(refused, Err(AtomicError::FirstLeg(Hold::NotLocked)));
        market.round();
        let refused = market.follower.fund(&mut market.chains, market.coins[1]);
        assert_eq!(refused, Err(AtomicError::FirstLeg(Hold::NotDeep { have: 1, need: 2 })));
        market.round();
        market.chains[0].servers = Servers::Disagree;
        market.look();
        let refused = market.follower.fund(&mut market.chains, market.coins[1]);
        assert_eq!(refused, Err(AtomicError::FirstLeg(Hold::ServersDisagree)));
        market.chains[0].servers = Servers::Agree;
        market.look();
        market.follower.fund(&mut market.chains, market.coins[1]).expect("buried");
        let given_up = market.follower.feed(&mut market.chains, Leg::First, Event::Command(Command::GiveUp));
        assert!(matches!(given_up, Err(AtomicError::Leg { .. })));
        for _ in 0..12 {
            market.initiator.restart(&mut market.chains);
            market.follower.restart(&mut market.chains);
            market.round();
        }
        assert!(market.initiator.atomic.is_done() && market.follower.atomic.is_done());
        assert!(market.balance(Leg::First, 3) > Amount::from_sat(198_000), "the follower has the first leg");
        assert!(market.balance(Leg::Second, 2) > Amount::from_sat(148_000), "the initiator has the second leg");
    }
}

#[test]
fn the_follower_claims_as_soon_as_the_mempool_shows_the_preimage() {
    let mut market = Market::new(LockKind::Taproot);
    market.initiate();
    market.round();
    market.round();
    market.follower.fund(&mut market.chains, market.coins[1]).expect("buried");
    market.chains[1].mine(2);
    market.initiator.look(&mut market.chains);
    assert_eq!(market.initiator.atomic.leg(Leg::Second).stage(), Stage::Claiming);
    // The follower looks at the second chain alone, and acts on the first in the same step.
    let lock = market.follower.atomic.leg(Leg::Second).lock_script().expect("agreed");
    let observation = market.chains[1].observe(&lock);
    market.follower.feed(&mut market.chains, Leg::Second, Event::Observed(observation)).expect("never refused");
    assert_eq!(market.follower.atomic.leg(Leg::First).stage(), Stage::Claiming);
}

#[test]
fn the_initiator_that_never_claims_leaves_everybody_with_their_own() {
    let mut market = Market::new(LockKind::P2wsh);
    market.initiate();
    market.round();
    market.round();
    market.follower.fund(&mut market.chains, market.coins[1]).expect("buried");
    for _ in 0..200 {
        market.chains.iter_mut().for_each(|chain| chain.mine(1));
        market.follower.look(&mut market.chains);
    }
    market.look();
    for _ in 0..8 {
        market.round();
    }
    assert!(market.balance(Leg::First, 1) > Amount::ZERO && market.balance(Leg::Second, 4) > Amount::ZERO);
    assert!(
        market.initiator.broadcast.iter().all(|known| preimage_in(market.preimage.payment_hash(), known).is_none())
    );
}

#[test]
fn the_follower_that_never_funds_costs_the_initiator_only_time() {
    let mut market = Market::new(LockKind::Taproot);
    market.initiate();
    for _ in 0..200 {
        market.round();
    }
    assert!(market.balance(Leg::First, 1) > Amount::ZERO);
    assert_eq!(market.follower.atomic.leg(Leg::Second).stage(), Stage::Done(Outcome::Expired));
    assert!(market.follower.fund(&mut market.chains, market.coins[1]).is_err());
}

#[test]
fn the_follower_locks_nothing_when_time_has_run_out() {
    let mut market = Market::new(LockKind::P2wsh);
    market.initiate();
    // The first chain runs ahead: the order of the timeouts no longer holds.
    market.chains[0].mine(60);
    market.chains[1].mine(2);
    market.look();
    let refused = market.follower.fund(&mut market.chains, market.coins[1]);
    assert!(matches!(refused, Err(AtomicError::TooClose { .. })), "{refused:?}");
}

#[test]
fn offers_that_do_not_belong_together_are_refused() {
    let market = Market::new(LockKind::P2wsh);
    let first = market.initiator.atomic.leg(Leg::First).offer_made().clone();
    let second = market.initiator.atomic.leg(Leg::Second).offer_made().clone();
    let accept = |offers| Atomic::accept(offers, [own(3, None), own(4, None)], [height(1_000); 2], [600; 2]).map(drop);
    assert_eq!(accept([first.clone(), second.clone()]), Ok(()));
    let mismatch = |result| assert!(matches!(result, Err(AtomicError::Mismatch(_))), "{result:?}");
    let other = Preimage::from_bytes([9; 32]).payment_hash();
    mismatch(accept([first.clone(), Offer { payment_hash: Some(other), ..second.clone() }]));
    mismatch(accept([Offer { payment_hash: None, ..first.clone() }, Offer { payment_hash: None, ..second.clone() }]));
    mismatch(accept([second.clone(), first.clone()]));
    let close = Offer { timeout: second.timeout, ..first.clone() };
    assert!(matches!(accept([close, second.clone()]), Err(AtomicError::TooClose { .. })));
    assert!(first.complete(&Acceptance { payment_hash: Some(other), key: own(3, None).key.public() }).is_err());
}

#[test]
fn margins_are_reckoned_in_time_on_both_chains() {
    let (fast, slow) =
        (leg_plan("fast", LockKind::Taproot, 100_000, 30), leg_plan("slow", LockKind::Taproot, 100_000, 600));
    for (first, second) in [(&fast, &slow), (&slow, &fast), (&slow, &slow), (&fast, &fast)] {
        let timeouts = plan(first, second).expect("within reach");
        check_order(first, second, timeouts).expect("what was planned holds");
        let blocks = |leg: &LegPlan, timeout: Height| u64::from(blocks_to(leg.tip, timeout));
        let (one, two) = (blocks(first, timeouts.first), blocks(second, timeouts.second));
        let seconds = (one * u64::from(first.interval_seconds), two * u64::from(second.interval_seconds));
        assert!(seconds.0 > seconds.1, "{timeouts:?}");
        // One block less than needed is refused.
        let least = least_first(first, second, blocks_to(second.tip, timeouts.second));
        let early = Timeouts { first: height(1_000 + least - 1), ..timeouts };
        assert_eq!(check_order(first, second, early), Err(AtomicError::TooClose { left: least - 1, least }));
    }
    let end = LegPlan { tip: height(499_999_990), ..slow.clone() };
    assert_eq!(plan(&end, &slow), Err(AtomicError::Height));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Blocks come at random on both chains, within the spread that the margins allow for; parties restart; one may leave for good at any time.
    #[test]
    fn an_atomic_swap_ends_whole_or_not_at_all(
        taproot in any::<bool>(),
        steps in proptest::collection::vec((0u32..3, 0u32..3, any::<bool>(), 1u32..40), 40..80),
        leaves in proptest::option::of((any::<bool>(), 0usize..60)),
    ) {
        let mut market = Market::new(if taproot { LockKind::Taproot } else { LockKind::P2wsh });
        market.initiate();
        let end = (0..).zip(steps.into_iter().map(Some).chain(std::iter::repeat(None))).take(260);
        for (number, step) in end {
            let (first, second, restart, floor) = step.unwrap_or((1, 1, false, 1));
            market.chains[0].mine(first);
            market.chains[1].mine(second);
            market.chains.iter_mut().for_each(|chain| chain.floor = floor);
            let gone = |initiator| leaves.is_some_and(|(who, when)| who == initiator && number >= when);
            if !gone(true) {
                market.initiator.look(&mut market.chains);
            }
            if !gone(false) {
                market.follower.look(&mut market.chains);
                let _ = market.follower.fund(&mut market.chains, market.coins[1]);
                if restart {
                    market.follower.restart(&mut market.chains);
                }
            }
        }
        let [initiator_back, follower_took] = [1, 3].map(|seed| market.balance(Leg::First, seed) > Amount::ZERO);
        let [initiator_took, follower_back] = [2, 4].map(|seed| market.balance(Leg::Second, seed) > Amount::ZERO);
        let locked = market.chains[1].is_spent(market.coins[1]);
        match leaves {
            None => prop_assert!((initiator_took && follower_took) || (initiator_back && (follower_back || !locked))),
            // Who leaves may lose; who stays never does.
            Some((true, _)) => prop_assert!(!locked || follower_took || follower_back),
            Some((false, _)) => prop_assert!(initiator_back || initiator_took),
        }
    }
}
