//! Links that lose messages, nodes that restart, copies that are old.

use super::*;

#[test]
fn links_that_lose_messages_only_cost_time() {
    let mut world = World::new(4, Admission::Open);
    let mut count = 0u32;
    world.way = Box::new(move |_, _, _| {
        count += 1;
        if count.is_multiple_of(37) { Fate::Breaks } else { Fate::Arrives }
    });
    world.line();
    for number in 0..4 {
        world.note(number, "all the same");
    }
    world.until_voters(4);
    world.until("all is sealed", |world| (0..4).all(|number| world.status(number).pending == 0));
    world.agree();
}

#[test]
fn whatever_is_sent_is_on_disk() {
    let mut world = World::new(2, Admission::Open);
    let (link, _) = world.connect(0, 1);
    world.settle();
    world.pass(2 * INTERVAL_MS);
    world.note(0, "x");
    let now_ms = world.now_ms + INTERVAL_MS;
    let member = world.member(0);
    assert_eq!(member.poll_send(link), None, "a note that is not on disk");
    member.tick(now_ms);
    let batch = member.take_staged();
    let seals = batch.writes().iter().filter(|write| matches!(write, side_store::Write::Seal { .. })).count();
    assert_eq!(seals, 1, "the block is written together with what it seals");
    assert_eq!(member.poll_send(link), None, "what is on its way to disk is not there");
    assert_eq!(member.take_news(), []);
    member.durable();
    assert!(member.poll_send(link).is_some());
    assert!(member.take_news().iter().any(|news| matches!(news, News::Sealed(..))));
}

#[test]
fn a_member_that_restarts_goes_on_where_it_stopped() {
    let mut world = World::new(3, Admission::Open);
    world.mesh();
    world.until_voters(3);
    let before = world.agree();
    for number in [0, 1, 2] {
        world.stop(number);
        world.start(number);
        let after = world.status(number);
        assert_eq!((after.block, after.state_root), (before.block.clone(), before.state_root.clone()));
        assert_eq!((after.height, after.may_seal, after.digest), (before.height, true, before.digest.clone()));
        for other in (0..3).filter(|other| *other != number) {
            world.connect(number, other);
        }
        world.settle();
    }
    let note = world.note(1, "after the restart");
    world.until("it is sealed", |world| (0..3).all(|number| world.stage(number, &note) == Stage::Sealed));
    assert!(world.agree().height > before.height);
}

/// A leader's store is set back by some blocks. It seals nothing until it has learnt from others what it sealed, and then only in an epoch that the others begin.
#[test]
fn a_leader_that_is_restored_from_an_old_backup_never_convicts_itself() {
    let (mut world, note) = restored(true);
    assert!(!world.status(0).may_seal);
    assert!(world.say(0, &Verb::Note { text: "no".to_owned() }).is_err(), "it is read-only");
    world.pass(5 * INTERVAL_MS);
    let behind = world.height(0);
    assert!(behind < world.height(1), "alone it seals nothing");

    // Of one of them it hears no blocks.
    world.way = Box::new(
        |from, to, stream| {
            if (from, to, stream) == (2, 0, Stream::Seal) { Fate::Vanishes } else { Fate::Arrives }
        },
    );
    let mut links = vec![world.connect(0, 1).0];
    world.pass(5 * INTERVAL_MS);
    assert!(!world.member(0).knows_own_tip(), "the other voter may hold what this one has never seen");
    links.push(world.connect(0, 2).0);
    world.until("it has learnt its own tip", |world| world.member(0).knows_own_tip());
    world.member(0).allow_writing();
    world.pass(5 * INTERVAL_MS);
    assert!(!world.status(0).may_seal && !world.member(0).sealing, "it may write, and neither seal nor give its word");
    let ballot = Ballot::Leader { node: "node1".to_owned() };
    let error = world.say(0, &Verb::Vote { ballot }).unwrap_err();
    assert!(error.message().contains("may have forgotten"), "a vote would name the highest block: {error}");

    links.into_iter().for_each(|link| world.disconnect(0, link));
    world.way = Box::new(|_, _, _| Fate::Arrives);
    for other in 1..3 {
        world.connect(0, other);
    }
    world.until("it gives its word again", |world| world.member(0).sealing);
    world.pass(5 * INTERVAL_MS);
    assert!(world.height(0) > behind && world.height(0) == world.height(1), "it follows");
    assert!(!world.status(0).may_seal, "somebody may hold a block of this epoch that it has forgotten");
    assert_eq!(world.stage(1, &note), Stage::Pending);
    // That it waits for another epoch is on disk too.
    world.stop(0);
    world.start(0);
    assert!(world.member(0).sealing && !world.status(0).may_seal);
    for other in 1..3 {
        world.connect(0, other);
    }
    for other in 1..3 {
        world.vote_leader(other, "node0");
    }
    world.until("it seals again", |world| (0..3).all(|number| world.stage(number, &note) == Stage::Sealed));
    let status = world.agree();
    assert!(status.may_seal && status.read_only.is_none());

    // That it may is on disk too.
    world.stop(0);
    world.start(0);
    assert!(world.status(0).may_seal);
}

/// The same without the caution: so the test above can fail.
#[test]
fn a_leader_that_insists_on_an_old_copy_is_convicted_and_replaced() {
    let (mut world, note) = restored(false);
    for other in 1..3 {
        world.connect(0, other);
    }
    world.until("the others hold the proof", |world| (1..3).all(|number| !world.status(number).offences.is_empty()));
    let offence = world.status(1).offences[0].clone();
    assert_eq!((offence.who.name.as_deref(), offence.offence.as_deref()), (Some("node0"), Some("double-seal")));
    assert_eq!(world.stage(1, &note), Stage::Pending);
    for number in 1..3 {
        world.vote_leader(number, "node1");
    }
    world.until("another one seals", |world| (1..3).all(|number| world.stage(number, &note) == Stage::Sealed));
}

/// Whoever may not seal remembers it over a restart, although nothing is suspected any more.
#[test]
fn caution_outlives_a_restart() {
    let (mut world, _) = restored(true);
    world.member(0).allow_writing();
    world.settle();
    world.stop(0);
    world.start(0);
    assert!(!world.status(0).may_seal);
    world.pass(5 * INTERVAL_MS);
    assert!(world.height(0) < world.height(1));
}

/// Three voters; the leader's store is as it was some blocks ago, and it is not connected. A note waits for it.
fn restored(careful: bool) -> (World, Line) {
    let mut world = World::new(3, Admission::Open);
    world.mesh();
    world.until_voters(3);
    world.pass(2 * INTERVAL_MS);
    let backup = world.nodes[0].store.clone();
    for n in 0..3 {
        // Of others, so that it knows its own tip from the backup: only blocks are forgotten.
        world.note(1, &format!("after the backup {n}"));
        world.pass(2 * INTERVAL_MS);
    }
    world.stop(0);
    let note = world.note(2, "who seals this?");
    world.pass(INTERVAL_MS);
    world.nodes[0].store = backup;
    let mut member = world.load(0);
    if careful {
        member.distrust(crate::error::CommandError::user("this copy may be old"));
    }
    world.nodes[0].member = Some(member);
    if !careful {
        // It writes something and seals it: a rank that it has sealed before.
        let now_ms = world.now_ms;
        world.member(0).begin(now_ms).unwrap();
        world.note(0, "a second time");
    }
    world.settle();
    (world, note)
}

#[test]
fn a_peer_that_does_not_answer_is_not_asked_for_ever() {
    let mut world = World::new(3, Admission::Open);
    world.mesh();
    world.until_voters(3);
    world.pass(2 * INTERVAL_MS);
    // No further block brings it up.
    world.stop(0);
    // The newcomer hears of the last block from node1 first, which keeps what leads there to itself.
    let late = world.add(keypair(9), "late".to_owned());
    let mut told = 0;
    world.way = Box::new(move |from, to, stream| {
        told += usize::from((from, to, stream) == (1, late, Stream::Seal));
        if (from, to, stream) == (1, late, Stream::Seal) && told > 1 { Fate::Vanishes } else { Fate::Arrives }
    });
    world.connect(1, late);
    world.settle();
    assert_eq!(world.height(late), 0, "it has heard of a block that it cannot place");
    world.connect(2, late);
    world.until("it has caught up", |world| world.height(late) == world.height(2));
    world.agree();
}
