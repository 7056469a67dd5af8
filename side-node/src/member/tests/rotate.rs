//! Keys that are rotated, and who refuses what.

use side_ledger::genesis::Rules;

use super::*;
use crate::daemon::view::RotationStage;

/// So many founders of a group with the rule that keys can be rotated.
fn founders(count: usize, admission: Admission) -> World {
    let spec = World::new(0, admission).genesis.spec().clone();
    let founders: Vec<AuthorId> = (0..count).map(|number| keypair(number).author()).collect();
    let allocation = founders.iter().map(|key| (*key, 100)).collect();
    World::of(Genesis::founded(GroupSpec { founders, allocation, ..spec }, None, Rules::LATEST).unwrap(), count)
}

fn approve(world: &mut World, number: usize, node: usize, new: &str) -> Result<Line, crate::error::CommandError> {
    let node = keypair(node).author().to_string();
    world.say(number, &Verb::Vote { ballot: Ballot::Key { node, new: new.to_owned() } })
}

fn why_not(world: &mut World, number: usize) -> Option<String> {
    world.member(number).cannot_rotate().map(|error| error.to_string())
}

/// Its key is proposed and everybody else approves. Gives how the new one is written.
fn decide(world: &mut World, number: usize) -> String {
    let new = keypair(number + 20).author().to_string();
    world.member(number).rotate_to(Some(keypair(number + 20)));
    world.until("it is proposed", |world| world.on().into_iter().all(|other| world.status(other).rotations.len() == 1));
    for other in world.on().into_iter().filter(|other| *other != number) {
        approve(world, other, number, &new).unwrap();
    }
    new
}

/// The node goes on under its new key, with what it has on disk, as it does once it may.
fn switch(world: &mut World, number: usize) {
    world.until("its seat has moved", |world| world.member(number).is_replaced());
    world.stop(number);
    world.nodes[number].keypair = keypair(number + 20);
    world.start(number);
    world.mesh();
}

/// The sealer's key and another one's, in groups in which each word is needed and in one in which it is not.
#[test]
fn a_seat_moves_also_where_every_word_is_needed_and_where_the_node_was_away() {
    for (count, number, away) in [2, 3, 4]
        .into_iter()
        .flat_map(|count| [0, count - 1].map(|number| (count, number)))
        .flat_map(|(count, number)| [false, true].map(|away| (count, number, away)))
    {
        eprintln!("{count} voters, node{number}, away: {away}");
        let mut world = founders(count, Admission::Closed);
        world.mesh();
        world.note(0, "hello");
        world.pass(2 * INTERVAL_MS);
        let new = decide(&mut world, number);
        if away {
            // Between the two closes; the others go on beyond the second one.
            world.until("the old key has left", |world| world.status(number).set == 1);
            world.stop(number);
            let other = usize::from(number == 0);
            for _ in 0..3 {
                world.note(other, "meanwhile");
                world.pass(2 * INTERVAL_MS);
            }
            world.start(number);
            world.member(number).rotate_to(Some(keypair(number + 20)));
            world.mesh();
        }
        switch(&mut world, number);
        let line = world.note(number, "under the new key");
        world.until("it is sealed", |world| world.stage(0, &line) == Stage::Sealed);
        let voters: Vec<String> = world.status(0).voters.into_iter().map(|voter| voter.who.key).collect();
        assert!(voters.contains(&new) && voters.len() == count, "{voters:?}");
        world.agree();
    }
}

/// A sealer is off from the close with which its new key came, and the others, of whom every word is needed, have somebody else seal. So the new key is to leave again, which takes its
/// word: its node must not wait for that close before it goes on under it. Seed 100,243 of the plays with rotated keys.
#[test]
fn a_sealer_that_is_voted_away_as_its_new_key_comes_goes_on_under_it() {
    let mut world = founders(3, Admission::Closed);
    world.mesh();
    world.note(0, "hello");
    world.pass(2 * INTERVAL_MS);
    let first = world.status(0).sealers[0].key.clone();
    let sealer = (0..3).find(|number| keypair(*number).author().to_string() == first).unwrap();
    let [one, other] = [(sealer + 1) % 3, (sealer + 2) % 3];
    decide(&mut world, sealer);
    let set = |world: &mut World, number: usize| world.member(number).group().chain().governance().set.0;
    world.until("its new key has come", |world| set(world, one) == 2 && set(world, other) == 2);
    world.stop(sealer);
    world.note(one, "nobody seals this");
    let node = keypair(one).author();
    for voter in [one, other] {
        world.say(voter, &Verb::Vote { ballot: Ballot::Leader { node: node.to_string() } }).unwrap();
    }
    world.until("another one seals", |world| world.status(one).sealers[0].key == node.to_string());
    let governance = world.member(one).group().chain().governance();
    assert_eq!(governance.pending, [(keypair(sealer + 20).author(), false)].into());
    world.start(sealer);
    world.member(sealer).rotate_to(Some(keypair(sealer + 20)));
    world.mesh();
    switch(&mut world, sealer);
    world.until("the set is closed", |world| set(world, one) == 3);
    let voters = [keypair(one).author(), keypair(other).author()].into();
    assert_eq!(world.member(one).group().chain().governance().voters, voters);
    world.agree();
}

#[test]
fn the_others_approve_the_key_that_its_owner_named_and_the_old_one_writes_no_more() {
    let mut world = founders(3, Admission::Closed);
    world.mesh();
    world.note(0, "hello");
    world.pass(2 * INTERVAL_MS);
    let new = keypair(9).author().to_string();
    assert_eq!(why_not(&mut world, 2), None);
    let error = approve(&mut world, 0, 2, &new).unwrap_err();
    assert!(error.to_string().contains("has not proposed another key"), "{error}");

    world.member(2).rotate_to(Some(keypair(9)));
    world.until("it is proposed", |world| world.status(0).rotations.len() == 1);
    let line = world.status(0).rotations.remove(0);
    assert_eq!(
        (line.stage, line.own, line.approvals, line.new.clone()),
        (RotationStage::Proposed, false, 0, new.clone())
    );
    assert!(world.status(2).rotations[0].own);
    for (digits, why) in [
        (&new[..7], "first 8 digits or more"),
        ("not-a-key", "first 8 digits or more"),
        ("00000000", "begins with"),
        (&keypair(8).author().to_string(), "begins with"),
    ] {
        let error = approve(&mut world, 0, 2, digits).unwrap_err();
        assert!(error.to_string().contains(why), "{digits}: {error}");
    }
    let error = approve(&mut world, 2, 2, &new).unwrap_err();
    assert!(error.to_string().contains("the others decide"), "{error}");
    assert!(!world.member(2).is_replaced());

    // By its first digits, in capitals too.
    approve(&mut world, 0, 2, &new[..8].to_uppercase()).unwrap();
    approve(&mut world, 1, 2, &new).unwrap();
    world.until("it is decided", |world| why_not(world, 2).is_some_and(|why| why.contains("was rotated already")));
    world.until("the seat has moved", |world| world.member(2).is_replaced());
    let error = world.say(2, &Verb::Note { text: "again".to_owned() }).unwrap_err();
    assert!(error.to_string().contains("has taken the place of this node's key"), "{error}");
    // The old one is given no office any more, and whoever tries is told what to do.
    let sealer = world.status(0).sealers[0].key.clone();
    let elector = (0..2).find(|number| keypair(*number).author().to_string() != sealer).unwrap();
    let ballot = Ballot::Leader { node: keypair(2).author().to_string() };
    let error = world.say(elector, &Verb::Vote { ballot }).unwrap_err();
    assert!(error.to_string().contains("another key has taken that one's place"), "{error}");
    world.agree();
}

#[test]
fn a_key_that_cannot_be_rotated_is_told_why() {
    // No rule.
    let mut world = World::new(1, Admission::Open);
    assert!(why_not(&mut world, 0).unwrap().contains("founded before keys could be rotated"));
    world.member(0).rotate_to(Some(keypair(9)));
    world.note(0, "hello");
    world.pass(2 * INTERVAL_MS);
    assert_eq!(world.status(0).rotations, [], "and it proposes none");
    // Nobody else votes.
    let mut world = founders(1, Admission::Open);
    assert!(why_not(&mut world, 0).unwrap().contains("nobody else votes"));
    // A copy that may be old.
    let mut world = founders(2, Admission::Open);
    world.member(0).distrust(crate::error::CommandError::user("this copy may be old"));
    assert!(why_not(&mut world, 0).unwrap().contains("this copy may be old"));
    assert_eq!(why_not(&mut world, 1), None);
    // Not in the group yet.
    let mut world = founders(1, Admission::Closed);
    let stranger = world.add(keypair(5), "stranger".to_owned());
    assert!(why_not(&mut world, stranger).unwrap().contains("not a member of this closed group yet"));
    // What it is changes with the next close.
    let mut world = founders(2, Admission::Open);
    let asker = world.add(keypair(5), "asker".to_owned());
    world.mesh();
    world.note(0, "hello");
    // It asks by itself.
    world.until("it is about to vote", |world| why_not(world, asker).is_some());
    assert!(why_not(&mut world, asker).unwrap().contains("the next end of a set of voters"));
    world.until_voters(3);
    assert_eq!(why_not(&mut world, asker), None);
}
