//! The engine and the simple one, which is kept as an oracle, agree: random histories over nested containers, written by both engines' transactions and by hand,
//! by authors some of whom fork, learnt by every peer in an order of its own. After a step the whole document is compared: what shows, entries of every kind,
//! lengths, indexes, elements, values, what events tell; and in the end all peers with each other.
//!
//! ```text
//! SIDE_HISTORIES=1000000 cargo test --release -p bft-json-crdt --test it agree:: -- --ignored --nocapture
//! ```
//! plays a million of them on all cores (`SIDE_SEED` is the first one's seed, 0 if not said). A failure is cut down to what is needed for it, and printed.

mod dice;
mod foreign;
mod graph;
mod local;
mod plan;
mod play;
mod replay;

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use self::plan::{Plan, Step};
use self::play::{Care, play};

thread_local! {
    /// Whether panics of this thread are expected.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Plays a plan and answers how many changes it had, or with which words it failed.
fn attempt(plan: &Plan, care: Care, said: Option<&RefCell<String>>) -> Result<usize, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                LAST.set(info.location().map(ToString::to_string));
            } else {
                usual(info);
            }
        }));
    });
    thread_local!(static LAST: Cell<Option<String>> = const { Cell::new(None) });
    QUIET.set(true);
    let played = panic::catch_unwind(AssertUnwindSafe(|| play(plan, care, said)));
    QUIET.set(false);
    played.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("{} ({})", text.unwrap_or("a panic without words"), LAST.take().unwrap_or_default())
    })
}

/// Most plans that are tried to find a smaller one that fails.
const MAX_SHRINKS: usize = 20_000;

/// The smallest plan found that fails, whatever with.
fn shrink(mut plan: Plan) -> Plan {
    let mut left = MAX_SHRINKS;
    loop {
        let fails = |smaller: &Plan| attempt(smaller, Care::Always, None).is_err();
        let found = plan.smaller().take(left).enumerate().find(|(_, smaller)| fails(smaller));
        let Some((tried, smaller)) = found else { return plan };
        left -= tried + 1;
        plan = smaller;
    }
}

/// Plays the history of a seed; panics with a small case in words if the engines differ.
fn check(seed: u64) -> usize {
    match attempt(&Plan::from_seed(seed), Care::Sampled, None) {
        Ok(changes) => changes,
        Err(first) => panic!("{}", report(seed, &first)),
    }
}

/// What fails, in words: the seed, the plan cut down, the changes that came of it.
fn report(seed: u64, first: &str) -> String {
    let plan = shrink(Plan::from_seed(seed));
    let said = RefCell::new(String::new());
    let fault = match attempt(&plan, Care::Always, Some(&said)) {
        Ok(_) => first.to_owned(),
        Err(fault) => fault,
    };
    format!(
        "history {seed} fails: {first}\ncut down to {} steps, it fails with: {fault}\n{:?}\n{}",
        plan.steps.len(),
        plan.shape,
        said.into_inner()
    )
}

#[test]
fn the_engines_agree_on_random_histories() {
    let count = if cfg!(debug_assertions) { 300 } else { 10_000 };
    for seed in 0..count {
        check(seed);
    }
}

/// A number from the environment.
#[allow(clippy::disallowed_methods, reason = "tests are told by their caller how long to run")]
fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "slow: a million histories; in release"]
#[allow(clippy::disallowed_macros, reason = "a long run tells what it has done")]
fn the_engines_agree_on_a_million_random_histories() {
    let (first, count) = (from_environment("SIDE_SEED", 0), from_environment("SIDE_HISTORIES", 1_000_000));
    let (next, changes) = (AtomicU64::new(first), AtomicU64::new(0));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            changes.fetch_add(check(seed) as u64, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    println!("{count} histories from seed {first} on, {} changes: the engines agree", changes.load(Ordering::Relaxed));
}

/// Plans cut down stay plans: whatever is left out, the rest can be played.
#[test]
fn any_part_of_a_history_is_a_history() {
    for seed in 0..6 {
        let plan = Plan::from_seed(seed);
        for smaller in plan.smaller().step_by(5) {
            assert!(smaller.steps.len() <= plan.steps.len());
            attempt(&smaller, Care::Sampled, None).expect("the engines agree");
        }
    }
}

/// Random histories reach what they are meant to reach: else they would agree on little.
#[test]
fn histories_are_of_many_kinds() {
    let mut seen = [0usize; 4];
    for seed in 0..200 {
        for step in &Plan::from_seed(seed).steps {
            seen[match step {
                Step::Write { .. } => 0,
                Step::Foreign { .. } => 1,
                Step::Take { .. } => 2,
                Step::Copy { .. } => 3,
            }] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count >= 20), "{seen:?}");
}
