//! Whole nodes in a world that fails, from seeds: members with their stores on simulated disks, links that delay, break and part, crashes with torn writes, disks that are
//! set back, keys that are replaced, and one member that lies; in leader mode with each kind of liar, in BFT mode with an ideal agreement ([`agreement`]). What must hold is checked at every step; see
//! [`invariants`].
//!
//! `SIDE_SEEDS` says how many seeds each test plays, `SIDE_SEED` which one is the first. With `SIDE_TELL` in the environment a play is told as it goes.

mod agreement;
mod bft_plays;
mod early;
mod evil;
mod invariants;
mod node;
mod plan;
mod rng;
mod world;

use crate::plan::{EVILS, Evil, Plan};
use crate::world::{Tally, World};

/// How long everything may take to come to rest once nothing fails any more, in ms of the simulated clock.
const HEALING_MS: u64 = 90_000;
/// How often the owners of machines that were set back look themselves: a silent liar can keep such a machine waiting for its word for ever. Again and again, since a disk may fail as an
/// owner gives its word.
const OWNERS_MS: u64 = 20_000;
/// Plays that failed once, whatever was wrong then: each run plays them again.
const FAILED_ONCE: [(Evil, u64); 5] = [
    // A liar alone held the last block of a sealer whose disk was set back: that one sealed its rank again (docs/adr/0016).
    (Evil::TwoFaces, 6098),
    // The electors voted for a sealer that its own vote of an earlier set bound to a higher epoch, and waited for it for ever (docs/adr/0009).
    (Evil::TwoFaces, 2014),
    // All voted for a sealer whose disk was set back after it had heard of most votes: it sealed nothing in that epoch, and everybody, itself included, waited for it (docs/adr/0016).
    (Evil::WrongRoots, 100_231),
    (Evil::Stalls, 100_078),
    // A disk failed as its owner said that the copy was good.
    (Evil::Withholds, 100_108),
];
/// Plays with rotated keys that failed once.
const ROTATING_FAILED_ONCE: [u64; 6] = [
    // Of four voters one was being replaced and could not vote for another sealer any more, though its vote was needed.
    7,
    // One of three had voted for the present sealer again; the others could not join it, so no word came from it and no set was closed.
    130,
    // The only voter abstained after it was set back. Nothing but its set waited to be closed, and it could not vote for itself.
    176,
    // The others had somebody else seal as a sealer's new key came: its node waited for that key to leave again, which took its word.
    100_243,
    // A restored sealer had been shown its own word for a block that it had forgotten, was off, and forgot that; and whoever had shown it was restored, too. Its owner believed its copy.
    100_520,
    // Nobody gave its word for the last block, since somebody was bound to a higher epoch, and nothing else waited: a node waits for that word to go on under its next key.
    100_933,
];
/// Seeds of each kind that a run plays unless it is told otherwise.
const SEEDS: u64 = 4;

fn play(plan: Plan) -> World {
    let mut world = World::new(plan);
    let (trouble_ms, writing_ms) = (world.plan.trouble_ms, world.plan.writing_ms);
    world.run(trouble_ms);
    world.heal();
    world.run(writing_ms);
    let mut until = writing_ms;
    while until < writing_ms + HEALING_MS && !world.is_calm() {
        until += 500;
        world.run(until);
        if (until - writing_ms).is_multiple_of(OWNERS_MS) {
            world.owners_trust();
        }
    }
    world.all_is_well();
    world
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Plays the seeds with one kind of liar. What happened in all of them together has to show that the trouble was real, if they are not fewer than usual.
fn play_all(evil: Evil, was_real: impl Fn(&Tally) -> bool) {
    play_all_of(|seed| Plan::of(seed, evil), &format!("{evil:?}"), |all| all.restores > 0 && was_real(all));
}

fn play_all_of(plan: impl Fn(u64) -> Plan, what: &str, was_real: impl Fn(&Tally) -> bool) {
    let (first, seeds) = (number("SIDE_SEED", 0), number("SIDE_SEEDS", SEEDS));
    let mut sum = Tally::default();
    for seed in first..first + seeds {
        let one = play(plan(seed)).tally;
        sum = Tally {
            events: sum.events + one.events,
            crashes: sum.crashes + one.crashes,
            restores: sum.restores + one.restores,
            cuts: sum.cuts + one.cuts,
            partings: sum.partings + one.partings,
            votes: sum.votes + one.votes,
            rotations: sum.rotations + one.rotations,
            blocks: sum.blocks + one.blocks,
            forks: sum.forks + one.forks,
            proofs: sum.proofs + one.proofs,
            refused_links: sum.refused_links + one.refused_links,
        };
    }
    println!("{what}, {seeds} seeds: {sum:?}");
    // A sealer that was set back seals no more in its epoch, so some plays have few blocks.
    let always = sum.blocks > 2 * seeds && sum.crashes > seeds && sum.cuts > seeds;
    assert!(seeds < SEEDS || always && was_real(&sum), "the trouble was not real: {sum:?}");
}

#[test]
fn honest_members_agree_through_crashes_partitions_and_restores() {
    play_all(Evil::Nobody, |all| (all.proofs, all.refused_links) == (0, 0));
}

#[test]
fn a_member_with_two_faces_is_found_out_and_the_others_agree() {
    play_all(Evil::TwoFaces, |all| all.proofs > 0 && all.votes > 0);
}

#[test]
fn a_sealer_that_withholds_is_replaced() {
    play_all(Evil::Withholds, |all| all.votes > 0);
}

#[test]
fn a_sealer_that_stalls_is_replaced() {
    play_all(Evil::Stalls, |all| all.votes > 0);
}

#[test]
fn a_sealer_that_lies_about_the_state_is_replaced() {
    play_all(Evil::WrongRoots, |all| all.votes > 0);
}

#[test]
fn floods_and_repeats_hold_nobody_up() {
    play_all(Evil::Floods, |all| all.refused_links > 0);
}

#[test]
fn keys_are_rotated_whatever_fails_and_nothing_is_forged_lost_or_stuck() {
    play_all_of(Plan::rotating, "rotation", |all| all.rotations > 0 && all.restores > 0);
}

#[test]
fn plays_that_failed_once_do_not_fail_again() {
    for (evil, seed) in FAILED_ONCE {
        play(Plan::of(seed, evil));
    }
    for seed in ROTATING_FAILED_ONCE {
        play(Plan::rotating(seed));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for evil in EVILS {
        let (one, other) = (play(Plan::of(1, evil)), play(Plan::of(1, evil)));
        assert_eq!((one.trace(), one.tally), (other.trace(), other.tally), "{evil:?}");
    }
    for plan in [Plan::bft(1), Plan::bft_set_back(1), Plan::bft_two_faces(1), Plan::rotating(1)] {
        assert_eq!(play(plan.clone()).trace(), play(plan).trace());
    }
    assert_ne!(play(Plan::new(6)).trace(), play(Plan::new(12)).trace());
}
