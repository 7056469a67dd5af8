//! Blocks, voters and who seals, where everybody is honest.

use std::collections::BTreeSet;

use super::*;

/// Everybody becomes a voter, everything is sealed, everybody agrees; then nothing happens while nothing is new.
fn found(mut world: World) -> World {
    let count = world.nodes.len();
    for number in 0..count {
        world.note(number, &format!("from {number}"));
    }
    world.until_voters(count);
    world.until("all is sealed", |world| (0..count).all(|number| world.status(number).pending == 0));
    let status = world.agree();
    assert!(status.sealers.iter().map(|who| who.name.as_deref()).eq([Some("node0")]));
    assert_eq!((status.set, status.epoch), (count as u64 - 1, 0), "each set ends for one voter");
    world.until("the last block is held", |world| world.status(0).held_height == world.height(0));
    let idle = world.status(count - 1);
    world.pass(20 * INTERVAL_MS);
    let later = world.agree();
    assert_eq!(
        (later.height, later.heads_digest),
        (idle.height, idle.heads_digest),
        "nothing is new, so nothing happens"
    );
    world
}

#[test]
fn four_members_that_all_reach_each_other_become_voters_and_agree() {
    let mut world = World::new(4, Admission::Open);
    world.mesh();
    found(world);
}

#[test]
fn four_members_in_a_line_become_voters_and_agree() {
    let mut world = World::new(4, Admission::Open);
    world.line();
    found(world);
}

#[test]
fn a_group_of_one_seals_by_itself() {
    found(World::new(1, Admission::Open));
}

#[test]
fn blocks_come_no_faster_than_the_interval_and_only_when_something_is_new() {
    let mut world = World::new(1, Admission::Open);
    world.settle();
    assert_eq!(world.height(0), 1, "the first change is sealed at once");
    world.note(0, "a");
    world.pass(INTERVAL_MS - 100);
    assert_eq!(world.height(0), 1);
    assert_eq!(world.member(0).deadline(), Some(world.now_ms + 100));
    world.pass(100);
    assert_eq!(world.height(0), 2);
    assert_eq!(world.member(0).deadline(), None, "it sleeps until something happens");
    world.pass(5 * INTERVAL_MS);
    assert_eq!(world.height(0), 2);
    world.note(0, "b");
    world.settle();
    assert_eq!(world.height(0), 3, "after a rest nobody waits");
}

#[test]
fn transfers_count_when_they_are_sealed_and_too_much_is_rejected_alike() {
    let mut world = World::new(3, Admission::Open);
    world.mesh();
    world.until_voters(3);
    let send = |to: &str, amount| Verb::Send { to: to.to_owned(), amount };
    let good = world.say(0, &send("node1", 700)).unwrap();
    assert_eq!((good.standing.status, good.about.as_deref()), (Stage::Pending, Some("node1")));
    let good_too = world.say(1, &send(&world.nodes[2].keypair.author().to_string(), 200)).unwrap();
    world.until("the first is sealed", |world| world.stage(2, &good) == Stage::Sealed);
    let bad = world.say(0, &send("node1", 301)).unwrap();
    world.until("all is sealed", |world| (0..3).all(|number| world.status(number).pending == 0));
    world.settle();
    let rejected = world.member(0).standing(&bad.position());
    assert_eq!((rejected.status, rejected.reason.as_deref()), (Stage::Rejected, Some("balance")));
    for number in 0..3 {
        let member = world.member(number);
        assert_eq!(member.standing(&bad.position()).reason, rejected.reason);
        assert_eq!(member.standing(&bad.position()).height, rejected.height);
        let balances = member.balances();
        assert_eq!(balances.supply, 1_000);
        assert_eq!(balances.accounts.iter().map(|account| account.balance).sum::<u64>(), 1_000);
        let of = |name: &str| {
            balances.accounts.iter().find(|account| account.who.name.as_deref() == Some(name)).map(|it| it.balance)
        };
        // Whether node1 had anything when it sent is decided by the one order, alike everywhere.
        let passed_on = member.standing(&good_too.position()).status == Stage::Sealed;
        let (one, two) = if passed_on { (500, Some(200)) } else { (700, None) };
        assert_eq!((of("node0"), of("node1"), of("node2")), (Some(300), Some(one), two));
    }
    world.agree();
    let told = &world.nodes[0].news;
    assert!(told.contains(&News::Standing(good.position())) && told.contains(&News::Standing(bad.position())));
    for (wrong, amount) in [("node9", 1), ("node1", 0)] {
        assert!(world.say(0, &send(wrong, amount)).unwrap_err().next_step().is_some() || amount == 0);
    }
}

#[test]
fn a_name_that_two_keys_claim_is_refused_with_both() {
    let mut world = World::new(2, Admission::Open);
    let twin = world.add(keypair(7), "node1".to_owned());
    world.mesh();
    world.settle();
    let error = world.say(0, &Verb::Send { to: "node1".to_owned(), amount: 1 }).unwrap_err();
    for number in [1, twin] {
        assert!(error.message().contains(&world.nodes[number].keypair.author().to_string()), "{error}");
    }
    // What a name means on this machine goes first.
    let local = |word: &str| (word == "node1").then(|| keypair(7).author());
    let (now_ms, verb) = (world.now_ms, Verb::Send { to: "node1".to_owned(), amount: 1 });
    let position = world.member(0).say(&verb, &local, now_ms).unwrap().unwrap();
    assert_eq!(world.member(0).entry(&position).unwrap().body["to"], keypair(7).author().to_string());
}

#[test]
fn a_silent_leader_is_replaced_by_the_others_and_follows_when_it_is_back() {
    let mut world = World::new(4, Admission::Open);
    world.mesh();
    world.until_voters(4);
    world.pass(2 * INTERVAL_MS);
    world.stop(0);
    let note = world.note(3, "nobody seals this");
    world.pass(10 * INTERVAL_MS);
    assert_eq!(world.stage(3, &note), Stage::Pending);
    assert_eq!(world.status(1).switch_needs, 3);
    for number in [1, 2] {
        world.vote_leader(number, "node2");
        world.pass(INTERVAL_MS);
        assert_eq!(world.stage(3, &note), Stage::Pending, "two of four do not decide");
        // Whoever looks sees who has voted how, and what it can do.
        let votes = world.status(3).sealer_votes;
        let by: BTreeSet<Option<&str>> = votes[0].by.iter().map(|who| who.name.as_deref()).collect();
        assert_eq!(by, (1..=number).map(|voter| Some(["node0", "node1", "node2"][voter])).collect());
        assert_eq!((votes.len(), votes[0].epoch, votes[0].needed, votes[0].own), (1, 1, 3, false));
        let status = crate::output::status(&world.status(3));
        assert!(status.contains("if you agree: side-node vote node3 leader node2"), "{status}");
        let status = crate::output::status(&world.status(1));
        assert!(status.contains("the others: side-node vote NODE leader node2"), "{status}");
    }
    let again = Verb::Vote { ballot: Ballot::Leader { node: "node2".to_owned() } };
    let error = world.say(1, &again).unwrap_err();
    assert!(error.message().contains("2 of 3"), "{error}");
    world.vote_leader(3, "node2");
    world.until("the new leader seals", |world| world.stage(1, &note) == Stage::Sealed);
    let status = world.agree();
    assert!(status.epoch > 0 && status.sealer_votes.is_empty());
    assert_eq!(status.sealers[0].name.as_deref(), Some("node2"));

    world.start(0);
    for other in 1..4 {
        world.connect(0, other);
    }
    let late = world.note(0, "back again");
    world.until("it follows", |world| (0..4).all(|number| world.stage(number, &late) == Stage::Sealed));
    // It leaves the set, and does not ask to return by itself.
    world.until_voters(3);
    world.pass(10 * INTERVAL_MS);
    let status = world.agree();
    assert!(status.voters.iter().all(|voter| voter.who.name.as_deref() != Some("node0")));
    world.say(0, &Verb::Vote { ballot: Ballot::Ask {} }).unwrap();
    world.until_voters(4);
    world.agree();
}

/// What counts is what each has said last; and whoever does not decide about the sealer says nothing here.
#[test]
fn a_vote_for_a_higher_epoch_takes_the_place_of_the_one_before() {
    let mut world = World::new(4, Admission::Open);
    world.mesh();
    world.until_voters(4);
    world.stop(0);
    world.note(3, "nobody seals this");
    world.vote_leader(1, "node2");
    world.vote_leader(2, "node3");
    world.settle();
    world.vote_leader(1, "node3");
    world.settle();
    let votes = world.status(3).sealer_votes;
    let said: Vec<_> = votes.iter().map(|votes| (votes.who.name.as_deref(), votes.by.len())).collect();
    assert_eq!(said.iter().map(|(_, by)| by).sum::<usize>(), 2, "{said:?}");
    assert!(said.iter().all(|(whom, _)| *whom == Some("node3")), "{said:?}");
}

/// Whoever has voted for the present sealer again is bound to that epoch and gives no word before it begins. So the others may vote alike though all is sealed.
#[test]
fn a_vote_for_the_present_sealer_can_be_joined() {
    let mut world = World::new(3, Admission::Open);
    world.mesh();
    world.until_voters(3);
    world.pass(2 * INTERVAL_MS);
    let again = Verb::Vote { ballot: Ballot::Leader { node: "node0".to_owned() } };
    let error = world.say(1, &again).unwrap_err();
    assert!(error.message().contains("seals already"), "{error}");
    // It may have stopped, as long as something waits.
    let note = world.note(1, "is anybody sealing?");
    world.say(1, &again).unwrap();
    world.until("it has not", |world| world.stage(2, &note) == Stage::Sealed);
    world.pass(2 * INTERVAL_MS);
    let (tip, status) = (world.height(2), world.status(2));
    assert_eq!((status.pending, status.epoch), (0, 0));
    assert!(status.held_height < tip, "of three voters each word is needed");
    world.say(2, &again).unwrap();
    world.until("the next epoch has begun, and all hold", |world| {
        let status = world.status(2);
        status.epoch == 1 && status.held_height == status.height
    });
    assert_eq!(world.agree().sealers[0].name.as_deref(), Some("node0"));
}

#[test]
fn members_that_cannot_reach_the_leader_vote_through_others() {
    // 0 - 1 - 2 - 3: the votes of 2 and 3, and the blocks of 3, go through the others.
    let mut world = World::new(4, Admission::Open);
    world.line();
    world.until_voters(4);
    for number in [1, 2, 3] {
        world.vote_leader(number, "node3");
    }
    world.until("node3 seals", |world| {
        (0..4).all(|number| world.status(number).sealers[0].name.as_deref() == Some("node3"))
    });
    let note = world.note(0, "sealed by the other end");
    world.until("sealed everywhere", |world| (0..4).all(|number| world.stage(number, &note) == Stage::Sealed));
    world.agree();
}

#[test]
fn parameters_and_voters_change_by_vote() {
    let mut world = World::new(3, Admission::Open);
    world.mesh();
    world.until_voters(3);
    for number in 0..3 {
        world.say(number, &Verb::Vote { ballot: Ballot::Interval { ms: 300 } }).unwrap();
    }
    world.until("blocks come faster", |world| (0..3).all(|number| world.status(number).interval_ms == 300));
    for number in 0..2 {
        let ballot = Ballot::Voter { node: "node2".to_owned(), joins: false };
        world.say(number, &Verb::Vote { ballot }).unwrap();
    }
    world.until_voters(2);
    let error = world.say(2, &Verb::Vote { ballot: Ballot::Interval { ms: 500 } }).unwrap_err();
    assert!(error.message().contains("not a voter"), "{error}");
    let error = world.say(0, &Verb::Vote { ballot: Ballot::Interval { ms: 1 } }).unwrap_err();
    assert!(error.message().contains("cannot vote so"), "{error}");
    world.pass(10 * INTERVAL_MS);
    // Whoever was voted out does not ask again.
    assert_eq!(world.agree().voters.len(), 2);
}

#[test]
fn nobody_asks_to_vote_in_a_closed_group() {
    let mut world = World::new(1, Admission::Closed);
    let stranger = world.add(keypair(5), "stranger".to_owned());
    world.mesh();
    world.note(0, "among us");
    world.pass(10 * INTERVAL_MS);
    let history = world.member(stranger).history(None);
    assert!(history.entries.iter().all(|line| line.author == keypair(0).author()), "{history:?}");
    assert_eq!(world.status(0).voters.len(), 1);
    assert_eq!(world.height(stranger), world.height(0), "a reader follows the chain");
    assert!(world.say(0, &Verb::Vote { ballot: Ballot::Ask {} }).unwrap_err().message().contains("closed"));
}
