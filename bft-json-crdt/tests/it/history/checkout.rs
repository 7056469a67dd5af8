//! Versions as sets of changes, and the document as of each of them.

use std::cmp::Ordering;

use bft_json_crdt::causality::Causality as _;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::document::Happened;
use bft_json_crdt::history::{CHECKPOINT_DISTANCE, Checkpoints, HistoryError, MAX_CHECKPOINTS, Version};
use proptest::prelude::*;

use super::world::{Dice, held, must_apply, only, random_history, random_version, steps, typed};
use crate::world::{key, reader, writer};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn versions_are_reckoned_like_sets_of_changes(steps in steps(24), seed in any::<u64>()) {
        let replica = random_history(&steps);
        let mut dice = Dice(seed);
        if replica.is_empty() {
            return Ok(());
        }
        for _ in 0..6 {
            let (a, b) = (random_version(&replica, &mut dice), random_version(&replica, &mut dice));
            let (in_a, in_b) = (held(&replica, &a), held(&replica, &b));
            let expected: Vec<ChangeId> = in_b.difference(&in_a).copied().collect();
            let between = replica.changes_between(&a, &b).unwrap();
            prop_assert!(between.windows(2).all(|pair| pair[0] < pair[1]));
            let mut ids: Vec<ChangeId> = between.iter().map(|index| replica.id(*index)).collect();
            ids.sort();
            prop_assert_eq!(&ids, &expected);
            let mut counted = Vec::new();
            for stretch in replica.only_in(&b, &a).unwrap() {
                let changes = replica.dag().branch(stretch.branch).changes;
                let of = changes.iter().filter(|index| {
                    (stretch.first_seq..=stretch.last_seq).contains(&replica.dag().seq(**index))
                });
                let of: Vec<ChangeId> = of.map(|index| replica.id(*index)).collect();
                prop_assert_eq!(of.len() as u64, stretch.count());
                prop_assert!(of.iter().all(|id| replica.get(id).unwrap().author() == stretch.author));
                counted.extend(of);
            }
            counted.sort();
            prop_assert_eq!(&counted, &expected);
            let order = match (in_a.is_subset(&in_b), in_b.is_subset(&in_a)) {
                (true, true) => Some(Ordering::Equal),
                (true, false) => Some(Ordering::Less),
                (false, true) => Some(Ordering::Greater),
                (false, false) => None,
            };
            prop_assert_eq!(replica.compare(&a, &b).unwrap(), order);
        }
    }

    #[test]
    fn a_checkout_shows_what_a_replica_with_that_past_shows(steps in steps(24), seed in any::<u64>()) {
        let replica = random_history(&steps);
        let mut dice = Dice(seed);
        let mut checkpoints = Checkpoints::new();
        let whole = replica.version();
        for round in 0..5 {
            let version =
                if round == 0 || replica.is_empty() { whole.clone() } else { random_version(&replica, &mut dice) };
            let expected = only(&replica, &held(&replica, &version));
            let mut past = replica.checkout(&version).unwrap();
            past.document().debug_check();
            prop_assert_eq!(past.view(), expected.view());
            prop_assert_eq!(past.version(), &version);
            let kept = checkpoints.checkout(&replica, &version).unwrap();
            kept.document().debug_check();
            prop_assert_eq!(kept.view(), expected.view());
            past.advance(&replica, &whole).unwrap();
            past.document().debug_check();
            prop_assert_eq!(past.view(), replica.view());
        }
    }
}

#[test]
fn a_version_with_an_unknown_change_is_refused() {
    let (replica, changes) = typed(&key(1), &["a", "b"]);
    let unknown = ChangeId([7; 32]);
    let (bad, good) = (Version::new([changes[0].id(), unknown]), Version::from(changes[0].id()));
    assert_eq!(replica.checkout(&bad).unwrap_err(), HistoryError::Unknown(unknown));
    assert_eq!(replica.only_in(&good, &bad), Err(HistoryError::Unknown(unknown)));
    assert_eq!(replica.compare(&bad, &good), Err(HistoryError::Unknown(unknown)));
    assert_eq!(reader().checkout(&good).unwrap_err(), HistoryError::Unknown(changes[0].id()));
    assert_eq!(replica.checkout(&Version::EMPTY).unwrap().view(), reader().view());
    // A redundant head changes nothing about the state.
    let redundant = Version::new(changes.iter().map(|change| change.id()));
    assert_eq!(replica.compare(&redundant, &replica.version()), Ok(Some(Ordering::Equal)));
}

#[test]
fn a_past_moves_on_to_later_versions_only() {
    let (mut replica, changes) = typed(&key(1), &["a", "b", "c"]);
    let versions: Vec<Version> = changes.iter().map(|change| Version::from(change.id())).collect();
    let mut past = replica.checkout(&versions[1]).unwrap();
    assert_eq!(past.advance(&replica, &versions[0]).unwrap_err(), HistoryError::NotLater);
    let events = past.advance(&replica, &versions[2]).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].happened, Happened::Inserted { index: 2, len: 1 });
    assert_eq!(events[0].change, replica.dag().lookup(&changes[2].id()).unwrap());

    // A past goes on when its replica does, and knows another one.
    let mut other = writer(&key(2));
    changes.iter().for_each(|change| must_apply(&mut other, change));
    assert_eq!(past.advance(&other, &other.version()).unwrap_err(), HistoryError::Stale);
    let note = crate::world::note(&mut other, &key(2), "n");
    must_apply(&mut replica, &note);
    assert_eq!(past.advance(&replica, &replica.version()).unwrap().len(), 2);
    assert_eq!(past.view(), replica.view());
}

#[test]
fn checkpoints_are_bounded_and_give_way_to_a_rebuild() {
    let texts = vec!["x"; 3 * CHECKPOINT_DISTANCE + 10];
    let (replica, changes) = typed(&key(1), &texts);
    let mut checkpoints = Checkpoints::new();
    assert!(checkpoints.is_empty());
    let at = |n: usize| Version::from(changes[n].id());
    for n in [10, 11, 500, 12] {
        assert_eq!(
            checkpoints.checkout(&replica, &at(n)).unwrap().document().view(),
            replica.checkout(&at(n)).unwrap().view()
        );
        assert_eq!(checkpoints.len(), 1, "near ones are not worth keeping");
    }
    checkpoints.checkout(&replica, &at(2 * CHECKPOINT_DISTANCE)).unwrap();
    assert_eq!(checkpoints.len(), 2);
    for n in (0..10).rev() {
        let past = checkpoints.checkout(&replica, &at(n)).unwrap();
        assert_eq!(past.view(), replica.checkout(&at(n)).unwrap().view());
    }
    assert_eq!(checkpoints.len(), MAX_CHECKPOINTS);
    let (other, _) = typed(&key(2), &["y"]);
    assert_eq!(checkpoints.checkout(&other, &other.version()).unwrap().view(), other.view());
    assert_eq!(checkpoints.len(), 1, "of the other replica");
}
