//! Members who meet through a relay: they converge, across restarts and absences.

use side_ledger::Admission;
use side_watcher::client::Disconnect;
use side_watcher::protocol::{CloseReason, GroupReply};

use crate::support::{Member, Relay, converge, genesis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_converge_and_none_hears_itself() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let [a, b, c] = [1, 2, 3].map(|seed| Member::start(&relay.url(), seed, &group));
    for round in 0..20 {
        a.write(&format!("a{round}"));
        b.write(&format!("b{round}"));
        c.write(&format!("c{round}"));
    }
    converge(&[&a, &b, &c], 60).await;
    for member in [&a, &b, &c] {
        member.acknowledged().await;
        assert!(member.seen().faults.is_empty());
    }
    // One writes alone, while all are in step: the others hear it and the writer does not.
    let before = a.seen().live_frames;
    a.write("alone");
    b.holds(61).await;
    c.holds(61).await;
    a.acknowledged().await;
    assert_eq!(a.seen().live_frames, before, "the writer heard its own change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_catches_up_from_the_relay_alone() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let a = Member::start(&relay.url(), 1, &group);
    for round in 0..200 {
        a.write(&format!("{round}"));
    }
    a.acknowledged().await;
    let digest = a.replica().digest();
    drop(a);
    let late = Member::start(&relay.url(), 2, &group);
    late.holds(200).await;
    assert_eq!(late.replica().digest(), digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_relay_keeps_everything_and_members_come_back() {
    let mut relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let a = Member::start(&relay.url(), 1, &group);
    for round in 0..50 {
        a.write(&format!("before {round}"));
    }
    a.acknowledged().await;
    let identity = relay.server().identity();
    relay.restart().await;
    assert_eq!(relay.server().identity(), identity);
    a.write("after");
    let b = Member::start(&relay.url(), 2, &group);
    converge(&[&a, &b], 51).await;
    let seen = a.until("it is back", |seen| seen.connections >= 2).await;
    assert!(
        matches!(seen.disconnects[0], Disconnect::Closed { reason: CloseReason::GoingAway, .. }),
        "{:?}",
        seen.disconnects
    );
    // Everything, once more, from a relay that nobody has told anything since it started.
    a.acknowledged().await;
    drop((a, b));
    relay.restart().await;
    let c = Member::start(&relay.url(), 3, &group);
    c.holds(51).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_alone_in_its_group_learns_which_groups_the_relay_carries() {
    let relay = Relay::start().await;
    let first = genesis("first", Admission::Open, &[1]);
    let second = genesis("second", Admission::Closed, &[2]);
    let a = Member::start(&relay.url(), 1, &first);
    assert!(matches!(a.connected().await.groups[0].1, GroupReply::Open(_)));
    let b = Member::start(&relay.url(), 2, &second);
    let connected = b.connected().await;
    assert_eq!(connected.relay, relay.server().identity());
    assert_eq!(connected.carried_total, 2);
    let names: Vec<_> = connected.carried.iter().map(|c| (c.name.as_str(), c.group)).collect();
    assert_eq!(names, [("first", first.id().document()), ("second", second.id().document())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_do_not_leak_into_each_other() {
    let relay = Relay::start().await;
    let first = genesis("first", Admission::Open, &[1]);
    let second = genesis("second", Admission::Open, &[2]);
    let a = Member::start(&relay.url(), 1, &first);
    let b = Member::start(&relay.url(), 1, &second);
    let a2 = Member::start(&relay.url(), 2, &first);
    for round in 0..10 {
        a.write(&format!("{round}"));
    }
    b.write("other");
    converge(&[&a, &a2], 10).await;
    b.acknowledged().await;
    assert_eq!(b.replica().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_group_takes_a_stranger_only_where_a_founder_depends_on_it() {
    let relay = Relay::start().await;
    let group = genesis("closed", Admission::Closed, &[1, 2]);
    let stranger = Member::start(&relay.url(), 9, &group);
    let change = stranger.write("let me in");
    stranger.acknowledged().await;
    let founder = Member::start(&relay.url(), 1, &group);
    founder.write("first");
    founder.acknowledged().await;
    assert_eq!(founder.replica().len(), 1, "the stranger's change was carried");

    // A founder who got the stranger's change elsewhere builds upon it.
    founder.apply(change);
    founder.write("I know the stranger");
    let other = Member::start(&relay.url(), 2, &group);
    converge(&[&founder, &other], 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_identity_refuses_every_other_relay() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let identity = relay.server().identity();
    let good = Member::with(&relay.url(), 1, &group, |config| config.pinned = Some(identity));
    good.connected().await;
    let other = crate::support::keypair(99).author();
    let bad = Member::with(&relay.url(), 2, &group, |config| config.pinned = Some(other));
    let seen = bad.until("it is refused", |seen| !seen.disconnects.is_empty()).await;
    assert_eq!(seen.disconnects[0], Disconnect::OtherIdentity { pinned: other, found: identity });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_says_why_nobody_answers_and_connects_once_somebody_does() {
    let mut relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let url = relay.url();
    let listen = relay.server().address();
    relay.stop().await;
    let a = Member::start(&url, 1, &group);
    a.write("offline");
    let seen = a.until("it has tried", |seen| !seen.disconnects.is_empty()).await;
    assert!(matches!(seen.disconnects[0], Disconnect::Unreachable { .. }), "{:?}", seen.disconnects);
    let relay = Relay::with(|config| config.listen = listen).await;
    a.acknowledged().await;
    assert_eq!(relay.server().metrics().durable.get(), 1);
}
