//! What a follower is told where the chain is taken back and where changes are taken out; and whose changes are taken in from a file.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Limits, Replica};
use side_ledger::transaction::TRANSACTIONS_KEY;
use side_ledger::{Admission, Transaction};

use super::{Around, Genesis, GroupSpec, World, keypair};
use crate::daemon::exchange::{Cursor, Events, ImportReport};
use crate::daemon::glance::Told;
use crate::daemon::import::Importer;
use crate::export::{ChangeLine, Header};

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

/// A node of a group with another founder, number 5, who has written nothing yet.
fn with_another_founder(admission: Admission) -> World {
    let spec = World::new(0, admission).genesis.spec().clone();
    let founders = vec![keypair(0).author(), keypair(5).author()];
    World::of(Genesis::new(GroupSpec { founders, ..spec }).unwrap(), 1)
}

/// An export with notes by these authors, each upon the one before.
fn file_of(genesis: &Genesis, authors: &[usize]) -> Vec<Vec<u8>> {
    let mut twin = Replica::new(genesis.id().document(), Limits::default());
    for number in authors {
        let keypair = keypair(*number);
        twin.set_writer(Some(keypair.author()));
        let note = Transaction::note(&format!("by {number}"), 100).unwrap().to_value();
        let (_, result, _) = twin
            .transact(&keypair, 5, |tx| {
                let list = tx.child(ContainerIdx::ROOT, TRANSACTIONS_KEY, Kind::List)?;
                tx.insert_in_order(list, NewElement::Value(note)).map(drop)
            })
            .unwrap();
        result.unwrap();
    }
    let mut file = vec![Header::new(genesis, authors.len() as u64).line()];
    file.extend(twin.log(ChangeIdx(0)).map(|(_, incoming)| ChangeLine::of(&incoming, genesis).line()));
    file.into_iter().map(String::into_bytes).collect()
}

/// What comes of such a file in pieces of so many lines, on a fresh node, and what comes of it a second time.
fn imported(admission: Admission, authors: &[usize], lines: usize) -> [ImportReport; 2] {
    let mut world = with_another_founder(admission);
    let (genesis, before) = (world.genesis.clone(), world.status(0).changes);
    let mut import = || {
        let mut importer = Importer::new(genesis.clone());
        for piece in file_of(&genesis, authors).chunks(lines) {
            let mut changes = importer.read(piece.to_vec());
            while !changes.is_empty() {
                let imported = world.member(0).import(changes, 1);
                importer.took(imported);
                changes = importer.again();
            }
        }
        importer.end(false)
    };
    let reports = [import(), import()];
    // The node may write something by itself meanwhile.
    assert!(world.status(0).changes >= before + reports[0].new);
    reports
}

#[test]
fn what_a_stranger_wrote_is_imported_into_a_closed_group_only_where_a_member_went_on_from_it() {
    // A founder writes between two long runs of a stranger's changes.
    let long = [vec![5], vec![7; 600], vec![5], vec![7; 300]].concat();
    for (authors, new) in
        [(vec![5, 7, 7], 1), (vec![5, 7, 5, 7], 3), (vec![7, 8, 7, 5], 4), (vec![7, 8], 0), (long, 602)]
    {
        let count = authors.len() as u64;
        for lines in [1, 2, 256] {
            let [first, second] = imported(Admission::Closed, &authors, lines);
            let expected = ImportReport { lines: 1 + count, expected: count, complete: true, ..first.clone() };
            let expected = ImportReport { new, known: 0, aside: 0, strangers: count - new, problem: None, ..expected };
            assert_eq!(first, expected, "in pieces of {lines}");
            assert_eq!((second.known, second.strangers), (new, count - new), "in pieces of {lines}");
        }
        // In an open group nobody is a stranger.
        let [first, _] = imported(Admission::Open, &authors, 2);
        assert_eq!((first.new, first.strangers, first.problem), (count, 0, None));
    }
}
