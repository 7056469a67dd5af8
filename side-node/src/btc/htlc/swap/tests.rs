//! Scenarios, each under its name, on the model of a chain in [`sim`](super::super::sim). Both kinds of lock go through all of them.

use bitcoin::{Amount, FeeRate, ScriptBuf};

use super::super::margins::{FeeRates, LATE_CLAIM_GRACE_BLOCKS};
use super::super::sim::{Chain, Party, Setup};
use super::super::transactions::SpendPlan;
use super::super::witness::{SpentBy, spent_by};
use super::*;

const SATS: u64 = 100_000;

fn each_kind(test: impl Fn(&mut Chain, Setup)) {
    for kind in [LockKind::P2wsh, LockKind::Taproot] {
        let mut chain = Chain::new();
        let setup = Setup::new(&mut chain, kind, SATS, 10);
        test(&mut chain, setup);
    }
}

fn lock_of(party: &Party) -> std::sync::Arc<LockScript> {
    party.swap.lock_script().expect("agreed")
}

/// A spend that a hostile party would make by hand.
fn by_hand<'a>(lock: &'a LockScript, chain: &Chain, rate: u32) -> SpendPlan<'a> {
    let seen = &chain.observe(lock).locks[0];
    SpendPlan {
        lock,
        outpoint: seen.outpoint(),
        value: seen.transaction.output[seen.vout as usize].value,
        payout: ScriptBuf::from_hex(&format!("0014{}", "ee".repeat(20))).expect("hex"),
        tip: chain.tip(),
        rate: FeeRate::from_sat_per_vb_u32(rate),
        least_fee: Amount::ZERO,
    }
}

#[test]
fn the_payee_claims_and_the_payer_learns_the_preimage() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Funding);
        swap.mine(chain, 1);
        assert_eq!(swap.payee.swap.hold(), Some(Hold::NotDeep { have: 1, need: 2 }));
        assert!(!swap.payee.has_revealed(&swap.preimage));
        chain.mine(1);
        swap.payee.look(chain);
        assert_eq!(swap.payee.swap.stage(), Stage::Claiming);
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.preimage(), Some(&swap.preimage), "from the mempool already");
        swap.mine(chain, 5);
        assert_eq!(swap.payee.swap.stage(), Stage::Claimed);
        swap.mine(chain, 1);
        assert_eq!((swap.payer.done(), swap.payee.done()), (Some(Outcome::Claimed), Some(Outcome::Claimed)));
        assert!(swap.payee.coins(chain) > Amount::from_sat(SATS - 1_000));
    });
}

#[test]
fn a_funding_made_after_a_backup_is_recalled_and_taken_back() {
    each_kind(|chain, mut swap| {
        swap.payer.look(chain);
        let backup = swap.payer.swap.clone();
        swap.fund(chain);
        let funding = swap.payer.swap.fundings().next().expect("funded").clone();
        let timeout = swap.timeout();
        while chain.tip().to_consensus_u32() < timeout - 1 {
            chain.mine(1);
        }
        // Set back, long after there would be time to fund: what stands at the lock could be anybody's.
        swap.payer.swap = backup;
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Accepted);
        let mut other = funding.clone();
        other.output[0].value -= Amount::from_sat(1);
        assert!(matches!(swap.payer.feed(chain, Event::Recalled(other)), Err(Refusal::Funding { .. })));
        for _ in 0..2 {
            swap.payer.feed(chain, Event::Recalled(funding.clone())).expect("a fact");
            assert_eq!(swap.payer.swap.fundings().count(), 1);
        }
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Locked);
        let coin = chain.coin(Amount::from_sat(300_000));
        let again = chain.pay(coin, swap.payer.swap.funding_output().expect("agreed"));
        assert!(swap.payer.feed(chain, Event::Funded(again)).is_err(), "funded twice");
        for _ in 0..7 {
            chain.mine(1);
            swap.payer.look(chain);
        }
        assert_eq!(swap.payer.done(), Some(Outcome::Refunded));
        assert!(swap.payer.coins(chain) > Amount::from_sat(SATS - 1_000));
        // Whoever is paid has nothing to recall.
        assert!(swap.payee.feed(chain, Event::Recalled(funding)).is_err());
    });
}

#[test]
fn counterparty_gone_the_payer_takes_back() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        let timeout = swap.timeout();
        while chain.tip().to_consensus_u32() < timeout - 1 {
            chain.mine(1);
            swap.payer.look(chain);
        }
        assert_eq!(swap.payer.swap.stage(), Stage::Locked);
        assert!(matches!(swap.payer.command(chain, Command::Refund), Err(Refusal::Transaction(_))));
        chain.mine(1);
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Refunding);
        for _ in 0..6 {
            chain.mine(1);
            swap.payer.look(chain);
        }
        assert_eq!(swap.payer.done(), Some(Outcome::Refunded));
        assert!(swap.payer.coins(chain) > Amount::from_sat(SATS - 1_000));
        swap.payee.look(chain);
        assert_eq!(swap.payee.done(), Some(Outcome::Refunded));
        assert!(!swap.payee.has_revealed(&swap.preimage), "it came back too late to reveal");
    });
}

#[test]
fn counterparty_gone_before_anything_was_locked() {
    each_kind(|chain, mut swap| {
        let timeout = swap.timeout();
        swap.mine_to(chain, timeout);
        assert_eq!((swap.payer.done(), swap.payee.done()), (Some(Outcome::Expired), Some(Outcome::Expired)));
        assert!(matches!(swap.payer.feed(chain, Event::Funded(swap.funding(chain))), Err(Refusal::Stage { .. })));
    });
}

#[test]
fn wrong_preimage_is_refused_everywhere() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        swap.mine(chain, 1);
        let wrong = Preimage::from_bytes([9; 32]);
        let event = Event::Learned { preimage: wrong.clone(), public: true };
        assert!(matches!(swap.payee.feed(chain, event), Err(Refusal::WrongPreimage(_))));
        let lock = lock_of(&swap.payee);
        let plan = by_hand(&lock, chain, 5);
        assert_eq!(plan.claim(&wrong, &swap.payee.swap.key), Err(TransactionError::WrongPreimage));
        // Forged past the check, the chain refuses it, and a payer to whom it is shown learns nothing.
        let mut forged = plan.claim(&swap.preimage, &swap.payee.swap.key).expect("signed").transaction;
        let mut witness = forged.input[0].witness.to_vec();
        witness[0] = wrong.as_bytes().to_vec();
        forged.input[0].witness = bitcoin::Witness::from_slice(&witness);
        assert!(chain.submit(&forged).is_err());
        let mut observation = chain.observe(&lock);
        observation.locks[0].spend = Some(SpendSeen { transaction: forged, place: Place::Mempool });
        swap.payer.feed(chain, Event::Observed(observation)).expect("never refused");
        assert_eq!((swap.payer.swap.preimage(), swap.payer.swap.stage()), (None, Stage::Locked));
    });
}

#[test]
fn wrong_key_is_refused_everywhere() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        swap.mine(chain, 1);
        let lock = lock_of(&swap.payee);
        let plan = by_hand(&lock, chain, 5);
        let stranger = SpendKey::from_bytes([77; 32]).expect("a key");
        assert!(matches!(plan.claim(&swap.preimage, &stranger), Err(TransactionError::WrongKey { .. })));
        let mut forged = plan.claim(&swap.preimage, &swap.payee.swap.key).expect("signed").transaction;
        forged.output[0].value -= Amount::from_sat(1);
        assert_eq!(chain.submit(&forged), Err("bad signature"));
    });
}

#[test]
fn early_refund_is_refused_and_does_not_frighten_the_payee() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        chain.mine(2);
        let lock = lock_of(&swap.payer);
        let mut plan = by_hand(&lock, chain, 500);
        assert!(matches!(plan.refund(&swap.payer.swap.key), Err(TransactionError::TooEarly { .. })));
        plan.tip = lock.terms().timeout();
        let early = plan.refund(&swap.payer.swap.key).expect("signed").transaction;
        assert_eq!(chain.submit(&early), Err("non-final"));
        // A lying server shows it all the same: the payee claims, and does not bid against a fiction.
        let mut observation = chain.observe(&lock);
        observation.locks[0].spend = Some(SpendSeen { transaction: early, place: Place::Mempool });
        swap.payee.feed(chain, Event::Observed(observation)).expect("never refused");
        assert_eq!(swap.payee.swap.stage(), Stage::Claiming);
        assert!(swap.payee.swap.spends[0].fee < Amount::from_sat(1_000));
    });
}

#[test]
fn underpaid_lock_is_not_claimed() {
    each_kind(|chain, mut swap| {
        swap.payer.look(chain);
        let mut output = swap.payer.swap.funding_output().expect("agreed");
        output.value -= Amount::from_sat(1);
        let short = chain.pay(swap.coin, output);
        let refused = swap.payer.feed(chain, Event::Funded(short.clone()));
        assert!(matches!(refused, Err(Refusal::Funding { .. })), "not even from our own wallet");
        chain.submit(&short).expect("relayed");
        for _ in 0..10 {
            chain.mine(1);
            swap.payee.look(chain);
        }
        assert!(matches!(swap.payee.swap.hold(), Some(Hold::Underpaid { .. })));
        assert!(!swap.payee.has_revealed(&swap.preimage));
        // The same payer mends it with a second, whole lock.
        let coin = chain.coin(Amount::from_sat(300_000));
        let whole = chain.pay(coin, swap.payer.swap.funding_output().expect("agreed"));
        chain.submit(&whole).expect("relayed");
        chain.mine(2);
        swap.payee.look(chain);
        assert_eq!(swap.payee.swap.stage(), Stage::Claiming);
    });
}

#[test]
fn a_lock_at_another_script_is_no_lock() {
    each_kind(|chain, mut swap| {
        swap.payer.look(chain);
        let elsewhere = TxOut { value: Amount::from_sat(SATS), script_pubkey: swap.payee.payout.clone() };
        let other = chain.pay(swap.coin, elsewhere);
        let refused = swap.payer.feed(chain, Event::Funded(other.clone()));
        assert!(matches!(refused, Err(Refusal::Funding { outputs: 0, .. })));
        let lock = lock_of(&swap.payee);
        let mut observation = chain.observe(&lock);
        for vout in [0, 1, 9, u32::MAX] {
            let transaction = other.clone();
            observation.locks.push(LockSeen { transaction, vout, place: Place::Confirmed(chain.tip()), spend: None });
        }
        swap.payee.feed(chain, Event::Observed(observation)).expect("never refused");
        assert_eq!(swap.payee.swap.hold(), Some(Hold::NotLocked));
    });
}

#[test]
fn servers_that_disagree_get_no_preimage_and_no_funding() {
    each_kind(|chain, mut swap| {
        chain.servers = Servers::Disagree;
        swap.payer.look(chain);
        let refused = swap.payer.feed(chain, Event::Funded(swap.funding(chain)));
        assert_eq!(refused, Err(Refusal::Hold(Hold::ServersDisagree)));
        chain.servers = Servers::Single;
        swap.fund(chain);
        assert!(swap.payer.notices.iter().any(|notice| notice.text.contains("only one server")));
        chain.servers = Servers::Disagree;
        swap.mine(chain, 4);
        assert_eq!(swap.payee.swap.hold(), Some(Hold::ServersDisagree));
        assert_eq!(swap.payee.command(chain, Command::Claim), Err(Refusal::Hold(Hold::ServersDisagree)));
        chain.servers = Servers::Agree;
        swap.look(chain);
        assert_eq!(swap.payee.swap.stage(), Stage::Claiming);
    });
}

#[test]
fn too_late_the_preimage_stays_secret() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        let timeout = swap.timeout();
        let last = timeout - 14;
        chain.mine(last + 1 - chain.tip().to_consensus_u32());
        swap.payee.look(chain);
        assert_eq!(swap.payee.swap.hold(), Some(Hold::TooLate { left: 13, need: 14 }));
        assert!(swap.payee.swap.outlook().words.contains("too late"));
        swap.mine_to(chain, timeout + 7);
        assert!(!swap.payee.has_revealed(&swap.preimage));
        assert_eq!((swap.payer.done(), swap.payee.done()), (Some(Outcome::Refunded), Some(Outcome::Refunded)));
    });
}

#[test]
fn fee_spikes_are_outbid_toward_the_deadline() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        swap.mine(chain, 2);
        let first = swap.payee.swap.spends.last().expect("made").fee;
        chain.floor = 120;
        swap.mine(chain, 6);
        assert_eq!(swap.payee.swap.stage(), Stage::Claimed);
        let paid = Amount::from_sat(SATS) - swap.payee.coins(chain);
        assert!(paid > first && paid < Amount::from_sat(SATS / 2), "{first} {paid}");
    });
}

#[test]
fn fee_spikes_before_the_reveal_keep_the_preimage_secret() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        chain.mine(1);
        chain.floor = 1_000;
        swap.mine(chain, 3);
        assert!(matches!(swap.payee.swap.hold(), Some(Hold::FeesTooHigh { .. })));
        assert!(!swap.payee.has_revealed(&swap.preimage));
        chain.floor = 3;
        swap.mine(chain, 2);
        assert_eq!(swap.payee.swap.stage(), Stage::Claimed);
    });
}

#[test]
fn servers_that_lie_about_fees_are_overtaken_by_raising() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        chain.mine(2);
        (chain.floor, chain.fee_percent) = (3, 0);
        swap.payee.look(chain);
        // Nothing gets in at what the servers say; a raise of a quarter every three blocks does.
        let timeout = swap.timeout();
        swap.mine_to(chain, timeout);
        assert!(matches!(swap.payee.swap.stage(), Stage::Claimed | Stage::Done(Outcome::Claimed)));
        let mut observation = chain.observe(&lock_of(&swap.payee));
        observation.fees = FeeRates::flat(FeeRate::MAX);
        swap.payee.feed(chain, Event::Observed(observation)).expect("never refused");
    });
}

#[test]
fn reorg_of_the_funding_is_followed() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        swap.mine(chain, 1);
        chain.reorg(1, |_| false, true);
        swap.payee.look(chain);
        assert_eq!(swap.payee.swap.stage(), Stage::Funding, "back to waiting");
        assert_eq!(swap.payee.swap.hold(), Some(Hold::NotLocked));
        swap.payer.look(chain);
        assert!(chain.in_mempool(swap.funding(chain).compute_txid()), "broadcast again");
        swap.mine(chain, 8);
        assert!(swap.payee.coins(chain) > Amount::ZERO);
        // Also with the claim upon it: whoever has the raw transactions brings both back.
        chain.reorg(8, |_| false, true);
        assert_eq!(swap.payee.coins(chain), Amount::ZERO);
        swap.payee.look(chain);
        assert_eq!(swap.payee.swap.stage(), Stage::Funding);
        chain.mine(1);
        swap.payee.look(chain);
        swap.mine(chain, 8);
        assert_eq!(swap.payee.done(), Some(Outcome::Claimed));
    });
}

#[test]
fn reorg_of_a_claim_is_followed() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        swap.mine(chain, 3);
        assert_eq!((swap.payer.swap.stage(), swap.payee.swap.stage()), (Stage::Claimed, Stage::Claimed));
        chain.reorg(1, |_| false, true);
        swap.payee.look(chain);
        assert_eq!(swap.payee.swap.stage(), Stage::Claiming);
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Claiming);
        swap.mine(chain, 6);
        assert_eq!(swap.payee.done(), Some(Outcome::Claimed));
    });
}

#[test]
fn reorg_of_a_refund_is_followed() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        let timeout = swap.timeout();
        chain.mine(timeout - chain.tip().to_consensus_u32());
        swap.payer.look(chain);
        chain.mine(1);
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Refunded);
        chain.reorg(1, |_| false, true);
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Refunding);
        swap.mine(chain, 6);
        assert_eq!((swap.payer.done(), swap.payee.done()), (Some(Outcome::Refunded), Some(Outcome::Refunded)));
    });
}

#[test]
fn a_late_claim_is_let_through_for_a_while_then_the_refund_races() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        chain.mine(2);
        swap.payee.look(chain);
        chain.floor = 1_000;
        chain.fee_percent = 0;
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Claiming);
        let timeout = swap.timeout();
        // The payee is gone; its claim lies in the mempool at a fee that no block takes.
        while chain.tip().to_consensus_u32() < timeout + LATE_CLAIM_GRACE_BLOCKS - 1 {
            chain.mine(1);
            swap.payer.look(chain);
        }
        assert!(swap.payer.swap.spends.is_empty(), "the preimage is what the coins were for");
        chain.mine(1);
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.stage(), Stage::Refunding);
        chain.floor = 1;
        chain.mine(6);
        swap.payer.look(chain);
        assert_eq!(swap.payer.done(), Some(Outcome::Refunded));
    });
}

#[test]
fn claim_and_refund_racing_end_in_one_of_both() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        swap.mine(chain, 2);
        assert_eq!(swap.payee.swap.stage(), Stage::Claiming);
        chain.floor = 5_000;
        let timeout = swap.timeout();
        swap.mine_to(chain, timeout);
        swap.payer.command(chain, Command::Refund).expect("due, and ordered against the claim");
        chain.floor = 20;
        swap.mine(chain, 8);
        let coins = (swap.payer.coins(chain), swap.payee.coins(chain));
        assert!((coins.0 == Amount::ZERO) != (coins.1 == Amount::ZERO), "{coins:?}");
        assert_eq!(swap.payer.done(), swap.payee.done());
        assert!(swap.payer.swap.preimage().is_some());
    });
}

#[test]
fn a_hostile_late_claim_is_outbid_by_a_refund_that_was_there_first() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        let timeout = swap.timeout();
        chain.mine(timeout - chain.tip().to_consensus_u32());
        chain.floor = 100;
        swap.payer.look(chain);
        let lock = lock_of(&swap.payee);
        let claim = by_hand(&lock, chain, 150).claim(&swap.preimage, &swap.payee.swap.key).expect("signed");
        chain.submit(&claim.transaction).expect("it pays more");
        chain.floor = 1_000;
        swap.payer.look(chain);
        assert_eq!(swap.payer.swap.preimage(), Some(&swap.preimage));
        assert!(!chain.in_mempool(claim.transaction.compute_txid()), "outbid");
    });
}

#[test]
fn restart_at_every_stage_changes_nothing() {
    each_kind(|chain, mut swap| {
        let both = |chain: &mut Chain, swap: &mut Setup| {
            swap.payer.restart(chain);
            swap.payee.restart(chain);
        };
        both(chain, &mut swap);
        swap.payer.look(chain);
        swap.payer.dies = true;
        let funding = swap.funding(chain);
        swap.payer.feed(chain, Event::Funded(funding)).expect("time enough");
        assert!(chain.in_mempool(swap.funding(chain).compute_txid()), "resumed");
        for _ in 0..9 {
            chain.mine(1);
            swap.payee.dies = true;
            swap.payer.dies = true;
            swap.look(chain);
            both(chain, &mut swap);
        }
        assert_eq!((swap.payer.done(), swap.payee.done()), (Some(Outcome::Claimed), Some(Outcome::Claimed)));
    });
}

#[test]
fn two_swaps_at_once_do_not_meet() {
    for kind in [LockKind::P2wsh, LockKind::Taproot] {
        let mut chain = Chain::new();
        let mut one = Setup::with_seed(&mut chain, kind, SATS, 5, 1);
        let mut two = Setup::with_seed(&mut chain, kind, SATS, 5, 11);
        assert_ne!(one.payer.swap.id(), two.payer.swap.id());
        one.fund(&mut chain);
        two.fund(&mut chain);
        for _ in 0..9 {
            chain.mine(1);
            one.look(&mut chain);
            two.payer.look(&mut chain);
        }
        assert_eq!(one.payee.done(), Some(Outcome::Claimed));
        assert_eq!(two.payer.swap.stage(), Stage::Locked);
        let timeout = two.timeout();
        while chain.tip().to_consensus_u32() < timeout + 6 {
            chain.mine(1);
            two.payer.look(&mut chain);
        }
        assert_eq!(two.payer.done(), Some(Outcome::Refunded));
        assert!(one.payee.coins(&chain) > Amount::ZERO && two.payer.coins(&chain) > Amount::ZERO);
    }
}

#[test]
fn clock_jumps_decide_nothing() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        for time in [0, u32::MAX - 10_000, 1, 1_700_000_000] {
            chain.median_time = time;
            swap.mine(chain, 1);
        }
        assert_eq!(swap.payee.swap.stage(), Stage::Claimed);
    });
}

#[test]
fn mempools_that_forget_are_reminded() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        chain.forget(|_| true);
        swap.payer.feed(chain, Event::Tick).expect("never refused");
        swap.mine(chain, 2);
        chain.forget(|_| true);
        swap.payee.feed(chain, Event::Tick).expect("never refused");
        chain.mine(1);
        swap.look(chain);
        assert_eq!(swap.payee.swap.stage(), Stage::Claimed);
    });
}

#[test]
fn a_second_funding_must_replace_the_first() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        let output = swap.payer.swap.funding_output().expect("agreed");
        let other = chain.coin(Amount::from_sat(500_000));
        let beside = chain.pay(other, output.clone());
        assert!(matches!(swap.payer.feed(chain, Event::Funded(beside)), Err(Refusal::SecondFunding(_))));
        let mut raised = chain.pay(swap.coin, output);
        raised.output[1].value -= Amount::from_sat(20_000);
        swap.payer.feed(chain, Event::Funded(raised.clone())).expect("a replacement");
        assert!(chain.in_mempool(raised.compute_txid()));
        swap.mine(chain, 9);
        assert_eq!(swap.payee.done(), Some(Outcome::Claimed));
    });
}

#[test]
fn giving_up_is_possible_until_something_is_at_stake() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        assert!(matches!(swap.payer.command(chain, Command::GiveUp), Err(Refusal::AtStake(_))));
        swap.mine(chain, 2);
        assert!(matches!(swap.payee.command(chain, Command::GiveUp), Err(Refusal::AtStake(_))));
        swap.payer.look(chain);
        swap.payer.feed(chain, Event::Cancelled).expect("heard, not obeyed");
        assert_eq!(swap.payer.swap.stage(), Stage::Claiming);
    });
    each_kind(|chain, mut swap| {
        swap.payer.command(chain, Command::GiveUp).expect("nothing at stake");
        assert_eq!(swap.payer.done(), Some(Outcome::Cancelled));
        assert!(matches!(swap.payer.messages.as_slice(), [Message::Cancel { .. }]));
        swap.payee.feed(chain, Event::Cancelled).expect("heard");
        assert_eq!(swap.payee.done(), Some(Outcome::Cancelled));
        swap.mine(chain, 60);
        assert_eq!(swap.payee.done(), Some(Outcome::Cancelled));
    });
}

#[test]
fn a_stored_state_is_read_only_by_the_build_that_knows_it() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        let json = swap.payer.swap.to_json();
        assert_eq!(Swap::from_json(&json).as_ref(), Ok(&swap.payer.swap));
        let newer = json.replacen("\"version\":1", "\"version\":2", 1);
        assert_eq!(Swap::from_json(&newer), Err(StateError::Version(2)));
        for damaged in ["", "{}", "[]", &json[..json.len() - 2], &json.replacen("\"role\"", "\"rule\"", 1)] {
            assert!(matches!(Swap::from_json(damaged), Err(StateError::Damaged(_))), "{damaged:.20}");
        }
    });
}

#[test]
fn debug_shows_no_secret() {
    let mut chain = Chain::new();
    let mut swap = Setup::with_seed(&mut chain, LockKind::Taproot, SATS, 5, 41);
    swap.fund(&mut chain);
    swap.mine(&mut chain, 2);
    let shown = format!("{:?} {:?}", swap.payee.swap, swap.payer.swap);
    let keys = [&swap.payer, &swap.payee].map(|party| hex::encode(party.swap.key.secret().secret_bytes()));
    assert!(!shown.contains(&swap.preimage.reveal()) && !keys.iter().any(|key| shown.contains(key)), "{shown}");
}

#[test]
fn a_forged_witness_under_a_proved_spend_hides_no_end() {
    each_kind(|chain, mut swap| {
        swap.fund(chain);
        swap.mine(chain, 3);
        let lock = lock_of(&swap.payer);
        let mut observation = chain.observe(&lock);
        let spend = observation.locks[0].spend.as_mut().expect("claimed");
        spend.transaction.input[0].witness.clear();
        assert_eq!(
            spent_by(
                &lock,
                observation.locks[0].outpoint(),
                &observation.locks[0].spend.as_ref().expect("there").transaction
            ),
            Some(SpentBy::Malformed)
        );
        swap.payer.feed(chain, Event::Observed(observation)).expect("never refused");
        assert_eq!(swap.payer.swap.stage(), Stage::Claimed, "a spend that is not ours is the payee's");
    });
}

#[test]
fn the_outlook_names_what_comes_next_and_by_when() {
    let mut chain = Chain::new();
    let mut swap = Setup::new(&mut chain, LockKind::Taproot, SATS, 10);
    swap.look(&mut chain);
    let words = |party: &Party| party.swap.outlook().words;
    assert_eq!(
        words(&swap.payer),
        "accepted, you fund the lock next; too late to fund at block 1011 (in 11 blocks, about 2 hours)"
    );
    swap.fund(&mut chain);
    swap.mine(&mut chain, 1);
    assert_eq!(
        words(&swap.payer),
        "locked with 1 confirmation, waiting for the claim; the refund becomes possible at block 1044 (in 43 blocks, about 7 hours)"
    );
    assert_eq!(
        words(&swap.payee),
        "locked, 1 of 2 confirmations; too late to claim safely at block 1031 (in 30 blocks, about 5 hours)"
    );
    swap.mine(&mut chain, 2);
    let next = swap.payee.swap.outlook().next.expect("burial");
    assert_eq!((next.what, next.blocks, next.seconds), ("it is final", 5, 3_000));
    swap.mine(&mut chain, 5);
    assert_eq!(words(&swap.payer), "done: the payee has the coins, you have the preimage");
    assert_eq!(words(&swap.payee), "done: you have the coins");
}
