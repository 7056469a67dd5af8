//! Groups of nodes in a world that fails, from seeds: four for each kind of first sealer. `SIDE_SEEDS` says how many seeds each test plays, `SIDE_SEED` which
//! one is the first.

use crate::world::{Evil, Plan, World};

/// How long everything may take to be sealed once nothing fails any more, in ms.
const HEALING_MS: u64 = 60_000;

fn plan(seed: u64, evil: Evil) -> Plan {
    Plan {
        seed,
        voters: 4 + (seed % 3) as usize,
        askers: 1 + (seed % 2) as usize,
        evil,
        trouble_ms: 8_000,
        writing_ms: 8_500,
        rotates: false,
    }
}

fn play(plan: Plan) -> World {
    let mut world = World::new(plan);
    world.run(plan.trouble_ms);
    // Then it heals, and people need some rounds of votes at most.
    let mut now = plan.writing_ms;
    while now < plan.writing_ms + HEALING_MS && !world.is_calm() {
        now += 1_000;
        world.run(now);
    }
    world.all_is_sealed();
    world
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    #[allow(clippy::disallowed_methods, reason = "how long a test runs is said from outside")]
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Plays the seeds and gives what happened in all of them together.
fn play_seeds(evil: Evil) -> World {
    play_plans(|seed| plan(seed, evil))
}

fn play_plans(plan: impl Fn(u64) -> Plan) -> World {
    let first = number("SIDE_SEED", 0);
    let mut last: Option<World> = None;
    for seed in first..first + number("SIDE_SEEDS", 4) {
        let mut world = play(plan(seed));
        assert!(world.height().0 > 3, "seed {seed}: {:?}", world.height());
        assert!(world.crashes > 0, "seed {seed}: the trouble was real");
        world.joined += world.sets();
        if let Some(last) = last {
            world.joined += last.joined;
            world.switches += last.switches;
            world.doubles += last.doubles;
            world.returned += last.returned;
            world.refused += last.refused;
            world.rotated += last.rotated;
            world.rotated_sealers += last.rotated_sealers;
        }
        last = Some(world);
    }
    last.expect("at least one seed")
}

#[test]
fn with_an_honest_sealer_the_honest_agree_and_nothing_held_is_lost() {
    let world = play_seeds(Evil::Honest);
    assert_eq!((world.doubles, world.refused), (0, 0));
    assert!(world.joined > 0, "nobody became a voter");
}

#[test]
fn with_a_sealer_that_equivocates_the_honest_agree_and_nothing_held_is_lost() {
    let world = play_seeds(Evil::Equivocates);
    assert!(world.doubles > 0 && world.switches > 0 && world.returned > 0);
}

#[test]
fn with_a_sealer_that_withholds_the_honest_agree_and_nothing_held_is_lost() {
    play_seeds(Evil::Withholds);
}

#[test]
fn with_a_sealer_that_lies_about_the_state_the_honest_agree_and_nothing_held_is_lost() {
    let world = play_seeds(Evil::LiesAboutState);
    assert!(world.refused > 0 && world.switches > 0);
}

#[test]
fn with_a_sealer_that_stalls_the_honest_agree_and_nothing_held_is_lost() {
    assert!(play_seeds(Evil::Stalls).switches > 0);
}

#[test]
fn with_keys_that_are_rotated_the_honest_agree_and_nothing_held_is_lost() {
    let world = play_plans(|seed| Plan { rotates: true, writing_ms: 14_000, ..plan(seed, Evil::Honest) });
    assert_eq!((world.doubles, world.refused), (0, 0));
    assert!(world.rotated > 4 && world.rotated_sealers > 0, "{} {}", world.rotated, world.rotated_sealers);
    assert!(world.returned > 0, "no block was taken back meanwhile");
}

#[test]
fn with_rotated_keys_and_a_sealer_that_equivocates_the_honest_agree_and_nothing_held_is_lost() {
    let world = play_plans(|seed| Plan { rotates: true, writing_ms: 14_000, ..plan(seed, Evil::Equivocates) });
    assert!(world.rotated > 0 && world.doubles > 0 && world.returned > 0, "{}", world.rotated);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let plan = plan(1, Evil::Equivocates);
    let (one, other) = (play(plan), play(plan));
    assert_eq!((one.trace(), one.events()), (other.trace(), other.events()));
    assert_ne!(one.trace(), play(Plan { seed: 2, ..plan }).trace());
}

/// A node that had taken the new sealer's first block in beside its chain never asked for a block that its votes name.
#[test]
fn a_straggler_asks_for_what_votes_name_seed_124() {
    play(plan(124, Evil::Equivocates));
}

/// Two nodes took a first block of a set before they heard of its twin, two took neither: they voted in different sets for ever.
#[test]
fn nodes_that_took_neither_of_two_first_blocks_vote_with_those_that_took_one_seed_100338() {
    play(plan(100_338, Evil::Equivocates));
}
