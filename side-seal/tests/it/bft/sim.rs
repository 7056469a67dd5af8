//! Groups of four sealers in a world that fails, from seeds: four for each kind of liar. `SIDE_SEEDS` says how many seeds each test plays, `SIDE_SEED`
//! which one is the first.

use super::evil::Evil;
use super::world::{Outcome, Plan, play, run};
use crate::sim::number;

fn plan(seed: u64, evil: Evil) -> Plan {
    Plan {
        seed,
        askers: (seed % 2) as usize,
        evil,
        // One leader as long as it is live, rotation, and terms in between.
        term: [0, 1, 5][(seed % 3) as usize],
        trouble_ms: 12_000,
        writing_ms: 14_000,
        cuts: false,
    }
}

fn play_seeds(evil: Evil) -> Vec<Outcome> {
    let first = number("SIDE_SEED", 0);
    let played = (first..first + number("SIDE_SEEDS", 4)).map(|seed| play(plan(seed, evil)));
    let played: Vec<Outcome> = played.collect();
    assert!(played.iter().all(|outcome| outcome.height > 3));
    played
}

#[test]
fn honest_sealers_agree_whatever_the_network_and_the_machines_do() {
    let played = play_seeds(Evil::Nobody);
    assert!(played.iter().all(|outcome| outcome.offences.is_empty() && outcome.refused == 0));
    assert!(played.iter().any(|outcome| outcome.crashes > 0), "the trouble was real");
    assert!(played.iter().any(|outcome| outcome.sets > 0), "nobody became a sealer");
}

#[test]
fn a_sealer_that_proposes_two_blocks_in_a_view_divides_nobody() {
    play_seeds(Evil::Equivocates);
}

#[test]
fn a_sealer_that_votes_twice_divides_nobody_and_is_convicted() {
    let played = play_seeds(Evil::DoubleVotes);
    // Of the proofs against it in an epoch one is kept.
    assert!(played.iter().all(|outcome| !outcome.offences.is_empty()));
}

#[test]
fn a_sealer_that_lies_about_the_state_gets_no_votes() {
    assert!(play_seeds(Evil::LiesAboutState).iter().any(|outcome| outcome.refused > 0));
}

#[test]
fn a_sealer_that_withholds_its_blocks_stops_nobody() {
    play_seeds(Evil::Withholds);
}

#[test]
fn three_of_four_sealers_are_enough() {
    play_seeds(Evil::Silent);
}

#[test]
fn a_sealer_whose_journal_was_cut_or_damaged_votes_nowhere_twice_and_comes_back() {
    let (first, seeds) = (number("SIDE_SEED", 0), number("SIDE_SEEDS", 4));
    let plan = |seed| Plan { cuts: true, askers: 0, ..plan(seed, Evil::Nobody) };
    let played: Vec<Outcome> = (first..first + seeds).map(|seed| play(plan(seed))).collect();
    assert!(played.iter().all(|outcome| outcome.offences.is_empty() && outcome.height > 3));
    let (cut, noticed) = played.iter().fold((0, 0), |sum, one| (sum.0 + one.cut, sum.1 + one.noticed));
    assert!(seeds < 4 || (cut > 0 && noticed > 0), "the trouble was real: {cut} cut, {noticed} noticed");
}

/// A sealer's machine stopped when simplex had taken out of its journal what lay below a final block, and the group had not that one's certificate yet: it seemed to have lost votes.
#[test]
fn whoever_stops_between_a_final_block_and_its_certificate_comes_back_seeds_100365_and_100911() {
    play(plan(100_365, Evil::Silent));
    play(Plan { cuts: true, askers: 0, ..plan(100_911, Evil::Nobody) });
}

#[test]
fn two_from_two_make_no_block_and_go_on_when_they_meet_again() {
    let calm = Plan { trouble_ms: 0, writing_ms: 20_000, ..plan(1, Evil::Nobody) };
    let outcome = run(Plan { askers: 0, ..calm }, |driver| {
        Box::pin(async move {
            driver.sleep(3_000).await;
            driver.part(&[0, 0, 1, 1]).await;
            // What is under way arrives.
            driver.sleep(1_000).await;
            let parted = driver.height();
            assert!(parted > 3, "blocks come while all is well: {parted}");
            driver.sleep(10_000).await;
            assert_eq!(driver.height(), parted, "a block without a quorum");
            driver.part(&[0, 0, 0, 0]).await;
            driver.sleep(5_000).await;
            assert!(driver.height() > parted, "no block after the healing");
        })
    });
    assert!(outcome.height > 10);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let plan = plan(1, Evil::DoubleVotes);
    let (one, other) = (play(plan), play(plan));
    assert_eq!((one.audit.clone(), one.height), (other.audit, other.height));
    assert_ne!(one.audit, play(Plan { seed: 2, ..plan }).audit);
}
