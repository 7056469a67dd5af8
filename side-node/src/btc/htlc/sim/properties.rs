//! Random schedules: as long as a party's node runs before its deadline and the view of the chain is honest, the money ends at the right owner, whatever
//! the other party, the miners and the mempools do.
//!
//! What "runs" means: a node looks at every block, but for some pauses of up to [`PAUSE_BLOCKS`] and for restarts; no reorg goes deeper than the amount's
//! confirmations allow for; fees stay below [`HIGHEST_FLOOR`]. `PROPTEST_CASES=5000` plays more schedules; a failing one is printed, shrunk and kept.

use bitcoin::{Amount, FeeRate, ScriptBuf, Transaction};
use proptest::prelude::*;

use super::chain::Chain;
use super::party::Setup;
use crate::btc::htlc::margins::{burial, confirmations};
use crate::btc::htlc::swap::{Command, Event, Outcome, Servers, Stage};
use crate::btc::htlc::terms::LockKind;
use crate::btc::htlc::transactions::SpendPlan;

/// Longest pause of a node, in blocks.
const PAUSE_BLOCKS: u32 = 3;
/// Highest fee that blocks ask for, in sat/vB: a claim costs about a quarter of the smaller amount then.
const HIGHEST_FLOOR: u32 = 150;

/// What happens next in a schedule.
#[derive(Debug, Clone)]
enum Move {
    Mine(u32),
    Pause(u32),
    Floor(u32),
    FeesToldPercent(u64),
    Servers(Servers),
    Restart,
    Die,
    Tick,
    Forget,
    Reorg { depth: usize, drop: bool, empty: bool },
    ClockJump(u32),
    Order(Command),
    Hostile(Hostile),
}

/// What the other party tries.
#[derive(Debug, Clone)]
enum Hostile {
    /// Plays by the rules for a moment.
    Look,
    /// Spends the coin elsewhere while the funding is unconfirmed.
    DoubleSpend,
    /// Puts a lock of this percentage of the amount onto the chain.
    Lock(u64),
    /// Takes the coins by hand, at this rate, with the preimage or as a refund, whatever the time.
    Spend(u32),
    /// Withdraws, by message.
    Cancel,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let hostile = prop_oneof![
        4 => Just(Hostile::Look),
        1 => Just(Hostile::DoubleSpend),
        1 => (10u64..120).prop_map(Hostile::Lock),
        3 => (1u32..400).prop_map(Hostile::Spend),
        1 => Just(Hostile::Cancel),
    ];
    let servers =
        prop_oneof![Just(Servers::Agree), Just(Servers::Agree), Just(Servers::Single), Just(Servers::Disagree)];
    let command = prop_oneof![Just(Command::Claim), Just(Command::Refund), Just(Command::GiveUp)];
    let one = prop_oneof![
        12 => (1u32..5).prop_map(Move::Mine),
        2 => (1u32..=PAUSE_BLOCKS).prop_map(Move::Pause),
        2 => (1u32..HIGHEST_FLOOR).prop_map(Move::Floor),
        1 => (70u64..150).prop_map(Move::FeesToldPercent),
        1 => servers.prop_map(Move::Servers),
        1 => Just(Move::Restart),
        1 => Just(Move::Die),
        1 => Just(Move::Tick),
        1 => Just(Move::Forget),
        2 => (1usize..6, any::<bool>(), any::<bool>()).prop_map(|(depth, drop, empty)| Move::Reorg { depth, drop, empty }),
        1 => any::<u32>().prop_map(Move::ClockJump),
        1 => command.prop_map(Move::Order),
        5 => hostile.prop_map(Move::Hostile),
    ];
    proptest::collection::vec(one, 1..50)
}

struct Game {
    chain: Chain,
    swap: Setup,
    /// Whether the honest party is the payer.
    payer: bool,
    funding: Option<Transaction>,
}

impl Game {
    fn new(kind: LockKind, sats: u64, payer: bool, slack: u32) -> Self {
        let mut chain = Chain::new();
        let mut swap = Setup::new(&mut chain, kind, sats, slack);
        swap.fund(&mut chain);
        let funding = Some(swap.funding(&chain));
        Self { chain, swap, payer, funding }
    }

    fn depth(&self) -> usize {
        let terms = self.swap.payer.swap.terms().expect("agreed");
        confirmations(terms.chain(), terms.amount()) as usize
    }

    fn look(&mut self) {
        if self.payer { self.swap.payer.look(&mut self.chain) } else { self.swap.payee.look(&mut self.chain) }
    }

    fn play(&mut self, step: &Move) {
        let Self { chain, swap, .. } = self;
        let party = if self.payer { &mut swap.payer } else { &mut swap.payee };
        match step {
            Move::Mine(blocks) => {
                for _ in 0..*blocks {
                    self.chain.mine(1);
                    self.look();
                }
            }
            Move::Pause(blocks) => {
                chain.mine(*blocks);
                self.look();
            }
            Move::Floor(floor) => chain.floor = *floor,
            Move::FeesToldPercent(percent) => chain.fee_percent = *percent,
            Move::Servers(servers) => chain.servers = *servers,
            Move::Restart => party.restart(chain),
            Move::Die => party.dies = true,
            Move::Tick => party.feed(chain, Event::Tick).expect("never refused"),
            Move::Forget => chain.forget(|_| true),
            Move::Reorg { depth, drop, empty } => {
                let depth = (*depth).min(self.depth() - 1);
                self.chain.reorg(depth, |_| !drop, *empty);
                self.look();
            }
            Move::ClockJump(time) => chain.median_time = *time % 4_000_000_000,
            // Giving up is the operator's right; what must hold afterwards holds all the same.
            Move::Order(command) => drop(party.command(chain, *command)),
            Move::Hostile(hostile) => self.hostile(hostile),
        }
    }

    fn hostile(&mut self, hostile: &Hostile) {
        let Self { chain, swap, payer, .. } = self;
        let lock = swap.payer.swap.lock_script().expect("agreed");
        match hostile {
            Hostile::Look if *payer => swap.payee.look(chain),
            Hostile::Look => swap.payer.look(chain),
            Hostile::DoubleSpend if *payer => {}
            Hostile::DoubleSpend => {
                let mut elsewhere = self.funding.clone().expect("made");
                elsewhere.output[0].script_pubkey = swap.payer.payout.clone();
                elsewhere.output[1].value -= Amount::from_sat(50_000);
                let _ = chain.submit(&elsewhere);
            }
            Hostile::Lock(percent) => {
                let mut output = lock.output();
                output.value = Amount::from_sat(output.value.to_sat() * percent / 100);
                let coin = chain.coin(output.value + Amount::from_sat(20_000));
                let _ = chain.submit(&chain.pay(coin, output));
            }
            Hostile::Spend(rate) => {
                for seen in chain.observe(&lock).locks {
                    let plan = SpendPlan {
                        lock: &lock,
                        outpoint: seen.outpoint(),
                        value: seen.transaction.output[seen.vout as usize].value,
                        payout: ScriptBuf::from_hex(&format!("0014{}", "ee".repeat(20))).expect("hex"),
                        tip: if *payer { chain.tip() } else { chain.tip().max(lock.terms().timeout()) },
                        rate: FeeRate::from_sat_per_vb_u32(*rate),
                        least_fee: Amount::ZERO,
                    };
                    // The hostile payer has no preimage, the hostile payee no refund key.
                    let seed = |seed| super::party::own(seed, None).key;
                    let spend = if *payer { plan.claim(&swap.preimage, &seed(2)) } else { plan.refund(&seed(1)) };
                    if let Ok(spend) = spend {
                        let _ = chain.submit(&spend.transaction);
                    }
                }
            }
            Hostile::Cancel if *payer => swap.payer.feed(chain, Event::Cancelled).expect("heard"),
            Hostile::Cancel => swap.payee.feed(chain, Event::Cancelled).expect("heard"),
        }
    }

    /// Lets the chain run quietly until everything must have ended.
    fn finish(&mut self) {
        (self.chain.floor, self.chain.fee_percent, self.chain.servers) = (1, 100, Servers::Agree);
        let terms = self.swap.payer.swap.terms().expect("agreed").clone();
        let end = terms.timeout().to_consensus_u32() + 2 * burial(terms.chain(), terms.amount()) + 25;
        let mut rounds = 0;
        while self.chain.tip().to_consensus_u32() < end || rounds < 20 {
            self.play(&Move::Mine(1));
            rounds += 1;
        }
    }

    fn judge(&self) -> Result<(), TestCaseError> {
        let Self { chain, swap, payer, .. } = self;
        if *payer {
            let paid = chain.is_spent(swap.coin);
            let back = swap.payer.coins(chain) > Amount::ZERO;
            let learned = swap.payer.swap.preimage().is_some();
            prop_assert!(!paid || back || learned, "the payer lost coins and learned nothing");
            let ended = matches!(swap.payer.done(), Some(Outcome::Claimed | Outcome::Refunded));
            prop_assert!(!paid || ended, "{:?}", swap.payer.swap.stage());
            prop_assert!(!ended || back != (swap.payer.swap.stage() == Stage::Done(Outcome::Claimed)));
        } else if swap.payee.has_revealed(&swap.preimage) {
            prop_assert!(swap.payee.coins(chain) > Amount::ZERO, "the preimage was given away for nothing");
            prop_assert_eq!(swap.payee.done(), Some(Outcome::Claimed));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_money_ends_at_the_right_owner(
        taproot in any::<bool>(),
        payer in any::<bool>(),
        large in any::<bool>(),
        slack in 0u32..8,
        schedule in moves(),
    ) {
        let kind = if taproot { LockKind::Taproot } else { LockKind::P2wsh };
        let mut game = Game::new(kind, if large { 50_000_000 } else { 100_000 }, payer, slack);
        for step in &schedule {
            game.play(step);
        }
        game.finish();
        game.judge()?;
    }
}
