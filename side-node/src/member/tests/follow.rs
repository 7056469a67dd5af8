//! What a follower is told where the chain is taken back and where changes are taken out.

use side_ledger::Admission;

use super::{Around, World};
use crate::daemon::exchange::{Cursor, Events};
use crate::daemon::glance::Told;

/// All that a follower is told from where it stands, and where it stands then.
fn told(world: &mut World, number: usize, mut cursor: Option<Cursor>) -> (Vec<Told>, Cursor) {
    let mut all = Vec::new();
    loop {
        let Events { events, cursor: next, more } =
            world.member(number).events(cursor, Some(0), Some(0), &Around::default());
        all.extend(events);
        cursor = Some(next.clone());
        if !more {
            return (all, next);
        }
    }
}

fn heights(told: &[Told]) -> Vec<u64> {
    told.iter().filter_map(|event| if let Told::Block { block } = event { Some(block.height) } else { None }).collect()
}

#[test]
fn a_long_history_comes_in_pieces_and_each_event_once() {
    let mut world = World::new(1, Admission::Open);
    for number in 0..700 {
        world.note(0, &format!("note {number}"));
        if number % 2 == 0 {
            world.pass(1_000);
        }
    }
    world.pass(2_000);
    let first = world.member(0).events(None, Some(0), Some(0), &Around::default());
    assert!(first.more && first.events.len() <= 300, "{}", first.events.len());
    let (events, cursor) = told(&mut world, 0, None);
    let numbers: Vec<u64> = events
        .iter()
        .filter_map(|event| if let Told::Entry { number, .. } = event { Some(*number) } else { None })
        .collect();
    assert_eq!(numbers, (0..world.status(0).changes).collect::<Vec<_>>());
    assert_eq!(heights(&events), (1..=world.height(0)).collect::<Vec<_>>());
    let (events, cursor) = told(&mut world, 0, Some(cursor));
    assert_eq!(events, [], "nothing has happened");
    world.note(0, "more");
    let (events, _) = told(&mut world, 0, Some(cursor));
    assert!(matches!(&events[0], Told::Entry { line, .. } if line.body == "more"), "{events:?}");
}

#[test]
fn blocks_that_are_taken_back_are_said_to_be_and_told_anew() {
    let mut world = World::new(1, Admission::Open);
    for number in 0..6 {
        world.note(0, &format!("note {number}"));
        world.pass(1_000);
    }
    let (events, mut cursor) = told(&mut world, 0, None);
    let height = world.height(0);
    assert_eq!(heights(&events).last(), Some(&height));
    // As if the last two blocks had been others.
    for place in [height, height - 1] {
        let known = cursor.blocks.iter_mut().find(|(known, _)| *known == place).unwrap();
        known.1 = "00".repeat(32);
    }
    let (events, cursor) = told(&mut world, 0, Some(cursor));
    assert_eq!(events[0], Told::TakenBack { height: height - 2 });
    assert_eq!(heights(&events), [height - 1, height]);
    // A chain that is shorter than what was told, and nothing below is remembered.
    let cursor = Cursor { base: height + 5, blocks: Default::default(), ..cursor };
    let (events, _) = told(&mut world, 0, Some(cursor));
    assert_eq!(events, [Told::TakenBack { height }]);
}

#[test]
fn where_numbers_are_new_a_follower_is_told_that_it_missed_some() {
    let mut world = World::new(1, Admission::Open);
    world.note(0, "one");
    let (_, cursor) = told(&mut world, 0, None);
    world.note(0, "two");
    let cursor = Cursor { generation: cursor.generation + 1, ..cursor };
    let (events, cursor) = told(&mut world, 0, Some(cursor));
    assert_eq!(events[0], Told::Missed { events: 1 });
    world.note(0, "three");
    let (events, _) = told(&mut world, 0, Some(cursor));
    assert!(matches!(&events[0], Told::Entry { line, .. } if line.body == "three"), "{events:?}");
}
