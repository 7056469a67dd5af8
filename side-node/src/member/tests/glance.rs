//! What a member shows at a glance: the end of the graph, the last blocks, and a mark that moves when one of them does.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::replica::{Incoming, Limits};
use side_ledger::group::Group;
use side_ledger::{Admission, GroupSpec};

use super::{Around, World, keypair};
use crate::daemon::glance::{
    Glance, MAX_BLOCK_TRANSACTIONS, MAX_GLANCE_ACCOUNTS, MAX_GLANCE_BLOCKS, MAX_GLANCE_MEMBERS, MAX_GRAPH_CHANGES,
};
use crate::daemon::view::Stage;

fn glance(world: &mut World, number: usize) -> Glance {
    world.member(number).glance(Around::default())
}

/// Causes stand before effects, each in the lane of its author, and the heads are those of the group.
fn assert_sound(glance: &Glance) {
    let changes = &glance.graph.changes;
    for (place, change) in changes.iter().enumerate() {
        assert!(change.parents.iter().all(|parent| *parent < place), "{change:?}");
        assert!(change.lane < glance.graph.lanes.len());
        assert!(change.kinds.is_empty() == change.summary.is_empty(), "{change:?}");
    }
    let mut heads: Vec<&str> = changes.iter().filter(|change| change.head).map(|change| change.id.as_str()).collect();
    heads.sort_unstable();
    assert_eq!(heads, glance.status.heads);
    assert!(glance.graph.cuts.iter().flat_map(|cut| &cut.heads).all(|place| *place < changes.len()));
}

#[test]
fn it_shows_who_wrote_what_upon_what_and_which_block_covers_it() {
    let mut world = World::new(2, Admission::Open);
    world.mesh();
    world.note(0, "one");
    world.until_voters(2);
    // Apart, so that both write at the same time.
    let link = *world.nodes[0].links.keys().next().unwrap();
    world.disconnect(0, link);
    world.note(0, "left");
    world.note(1, "right");
    world.connect(0, 1);
    world.settle();
    world.note(1, "both");
    world.pass(3_000);
    let shown = glance(&mut world, 0);
    assert_sound(&shown);
    let graph = &shown.graph;
    assert_eq!((graph.changes.len() as u64, graph.total), (shown.status.changes, shown.status.changes));
    assert_eq!(graph.lanes.len(), 2);
    assert!(graph.lanes[0].this_node && graph.lanes[0].who.name.as_deref() == Some("node0"));
    let find = |text: &str| graph.changes.iter().find(|change| change.summary == text).unwrap();
    let (left, right, both) = (find("left"), find("right"), find("both"));
    assert_eq!((left.lane, right.lane, both.lane), (0, 1, 1));
    let parents: Vec<&str> = both.parents.iter().map(|place| graph.changes[*place].summary.as_str()).collect();
    assert!(parents.contains(&"left") && parents.contains(&"right") && both.parents_not_shown == 0, "{parents:?}");
    assert_eq!((left.kinds.as_slice(), left.status), (&["note".to_owned()][..], Stage::Sealed));
    // The block that covers a change has it among its transactions.
    let block = shown.blocks.iter().find(|block| Some(block.block.height) == left.height).unwrap();
    assert!(block.transactions.iter().any(|line| line.body == "left" && line.id.to_string() == left.id));
    assert_eq!(block.transactions.len() as u64, block.transactions_total);
    assert!(!block.is_final);
    assert_eq!(graph.cuts.last().unwrap().height, shown.status.height);
    assert_eq!((shown.balances.supply, shown.accounts_total), (1_000, 2));

    // The digest costs a walk over everything: it is shown where somebody has asked for it.
    assert_eq!(shown.status.digest, "");
    let digest = world.status(0).digest;
    assert_eq!(glance(&mut world, 0).status.digest, digest);
    world.note(0, "more");
    assert_eq!(glance(&mut world, 0).status.digest, "");
}

#[test]
fn it_is_bounded_and_shows_the_end() {
    let mut world = World::new(1, Admission::Open);
    for number in 0..MAX_GRAPH_CHANGES + 50 {
        world.note(0, &format!("note {number}"));
        if number % 4 == 0 && number < 160 {
            world.pass(1_000);
        }
    }
    let before = glance(&mut world, 0);
    assert_sound(&before);
    assert_eq!(before.graph.changes.len(), MAX_GRAPH_CHANGES);
    let last: Vec<String> = before.graph.changes.iter().rev().take(2).map(|change| change.summary.clone()).collect();
    assert_eq!(last, [format!("note {}", MAX_GRAPH_CHANGES + 49), format!("note {}", MAX_GRAPH_CHANGES + 48)]);
    assert_eq!((before.graph.changes[0].parents.len(), before.graph.changes[0].parents_not_shown), (0, 1));
    assert_eq!(before.blocks.len(), MAX_GLANCE_BLOCKS);
    assert!(before.blocks.len() < world.height(0) as usize);

    // One block for the rest: more than are shown, counted all the same, the second time as well.
    world.pass(2_000);
    for _ in 0..2 {
        let after = glance(&mut world, 0);
        let block = after.blocks.last().unwrap();
        assert_eq!(block.block.height, after.status.height);
        assert_eq!(block.transactions.len(), MAX_BLOCK_TRANSACTIONS);
        assert!(block.transactions_total > 2 * MAX_BLOCK_TRANSACTIONS as u64);
        assert_eq!(block.transactions_total, block.block.changes);
        assert_sound(&after);
    }
}

#[test]
fn many_members_and_accounts_do_not_make_it_long() {
    let many = MAX_GLANCE_MEMBERS.max(MAX_GLANCE_ACCOUNTS) + 4;
    let keypairs = (0..many as u64).map(|n| {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        bft_json_crdt::identity::Keypair::from_seed(&seed)
    });
    let spec: GroupSpec = World::new(1, Admission::Open).genesis.spec().clone();
    let allocation = keypairs.clone().map(|keypair| (keypair.author(), 5)).collect();
    let genesis = side_ledger::Genesis::new(GroupSpec { allocation, ..spec }).unwrap();
    let mut world = World::of(genesis.clone(), 1);
    let written: Vec<Incoming> = keypairs
        .flat_map(|keypair| {
            let mut group = Group::open(genesis.clone(), Some(keypair.author()), Limits::default());
            group.note("hello", &keypair, 5).unwrap();
            group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(world.member(0).import(written, 1).new, many as u64);
    world.settle();
    let shown = glance(&mut world, 0);
    assert_eq!(shown.balances.accounts.len(), MAX_GLANCE_ACCOUNTS);
    assert!(shown.accounts_total >= many as u64);
    // This node itself beside them.
    assert!((MAX_GLANCE_MEMBERS..=MAX_GLANCE_MEMBERS + 1).contains(&shown.peers.members.len()));
    assert!(shown.status.members > MAX_GLANCE_MEMBERS as u64 + 1);
}

#[test]
fn long_notes_do_not_make_it_large() {
    let mut world = World::new(1, Admission::Open);
    let text = "x".repeat(16 * 1024);
    for _ in 0..60 {
        world.note(0, &text);
    }
    world.pass(2_000);
    let shown = glance(&mut world, 0);
    let block = shown.blocks.last().unwrap();
    assert!(block.transactions.len() < 20 && block.transactions_total >= 60, "{}", block.transactions.len());
    assert!(shown.graph.changes.iter().all(|change| change.summary.chars().count() <= 81));
    assert!(serde_json::to_vec(&shown).unwrap().len() < 512 * 1024);
}

#[test]
fn both_sides_of_a_fork_are_marked() {
    let mut world = World::new(4, Admission::Open);
    // The same key in two places, and an honest member with each.
    let twin = world.add(keypair(1), "twin".to_owned());
    world.note(1, "one face");
    world.note(twin, "another face");
    world.connect(1, 2);
    world.connect(twin, 3);
    world.settle();
    world.note(2, "upon the one");
    world.note(3, "upon the other");
    world.connect(2, 0);
    world.connect(3, 0);
    world.settle();
    let shown = glance(&mut world, 0);
    assert_sound(&shown);
    let forked: Vec<&str> =
        shown.graph.changes.iter().filter(|change| change.forked).map(|change| change.summary.as_str()).collect();
    assert!(forked.contains(&"one face") && forked.contains(&"another face"), "{forked:?}");
    let key = keypair(1).author().to_string();
    for change in shown.graph.changes.iter().filter(|change| change.forked) {
        assert!(shown.graph.lanes[change.lane].equivocator && shown.graph.lanes[change.lane].who.key == key);
    }
    assert_eq!(shown.graph.lanes.iter().filter(|lane| lane.equivocator).count(), 1);
}

#[test]
fn the_mark_moves_with_what_is_shown_and_stands_else() {
    let mut world = World::new(2, Admission::Open);
    world.mesh();
    world.note(0, "hello");
    world.until_voters(2);
    world.pass(5_000);
    let mark = world.member(1).glance_mark();
    world.pass(5_000);
    world.status(1);
    assert_eq!(world.member(1).glance_mark(), mark, "nothing happened");
    let mut seen = std::collections::HashSet::from([mark]);
    world.note(0, "more");
    world.settle();
    assert!(seen.insert(world.member(1).glance_mark()), "a change came, and perhaps its block");
    world.pass(3_000);
    seen.insert(world.member(1).glance_mark());
    let link = *world.nodes[1].links.keys().next().unwrap();
    world.disconnect(1, link);
    assert!(seen.insert(world.member(1).glance_mark()), "a link broke");
}
