//! Several nodes around a relay.

use side_node::api::control::Verb;
use side_node::daemon::{Announcement, offline};

use crate::support::{NOWHERE, TestRoot, relay, until, until_agreed, until_in_sync, until_notes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_converge_to_equal_digests() {
    let test = TestRoot::new();
    test.init("node1");
    test.init("node2");
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let (one, two) = (test.start("node1", &server.url()).await, test.start("node2", &server.url()).await);
    for round in 0..20 {
        let (a, b) = (format!("one {round}"), format!("two {round}"));
        let (a, b) = tokio::join!(one.mailbox().note(&a), two.mailbox().note(&b));
        a.unwrap();
        b.unwrap();
    }
    until_notes(&one, 40).await;
    until_notes(&two, 40).await;
    until_agreed(&one, &two).await;
    until_in_sync(&one).await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_off_catches_up() {
    let test = TestRoot::new();
    test.init("node1");
    test.init("node2");
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let two = test.start("node2", &server.url()).await;
    two.mailbox().note("before").await.unwrap();
    until_in_sync(&two).await;
    two.stop().await.unwrap();

    let one = test.start("node1", &server.url()).await;
    for n in 0..50 {
        one.mailbox().note(&format!("{n}")).await.unwrap();
    }
    until_in_sync(&one).await;
    one.stop().await.unwrap();

    // The other one is off now: only the relay can have kept it.
    let two = test.start("node2", &server.url()).await;
    until_notes(&two, 51).await;
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_may_restart() {
    let test = TestRoot::new();
    test.init("node1");
    test.init("node2");
    let data = test.folder.path().join("relay");
    let server = relay(&data, 0).await;
    let (url, port) = (server.url(), server.address().port());
    let (one, two) = (test.start("node1", &url).await, test.start("node2", &url).await);
    one.mailbox().note("with the relay").await.unwrap();
    until_notes(&two, 1).await;
    server.shutdown().await.unwrap();

    let away = |status: &side_node::daemon::view::Status| status.relay.as_ref().is_some_and(|relay| !relay.connected);
    until(&one, "the first has noticed", away).await;
    until(&two, "the second has noticed", away).await;
    one.mailbox().note("one without it").await.unwrap();
    two.mailbox().note("two without it").await.unwrap();

    let server = relay(&data, port).await;
    until_notes(&one, 3).await;
    until_notes(&two, 3).await;
    until_agreed(&one, &two).await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_alone_says_so_and_what_the_relay_carries() {
    let (test, other) = (TestRoot::new(), TestRoot::new());
    let made = test.init("node1");
    other.init("stranger");
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let stranger = other.start("stranger", &server.url()).await;
    until_in_sync(&stranger).await;
    let mut one = test.start("node1", &server.url()).await;
    let mut announcements = one.take_announcements();
    let text = loop {
        match announcements.recv().await.unwrap() {
            Announcement::Notice(text) if text.contains("alone") => break text,
            _ => {}
        }
    };
    assert!(text.contains(&made.group[..12]), "{text}");
    let carried = one.mailbox().status().await.unwrap().relay.unwrap().carried;
    assert_eq!(carried.len(), 2, "{carried:?}");
    one.stop().await.unwrap();
    stranger.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_relay_that_is_away_is_told_once_and_does_not_stop_anybody() {
    let test = TestRoot::new();
    test.init("node1");
    let mut one = test.start("node1", NOWHERE).await;
    let mut announcements = one.take_announcements();
    let text = loop {
        if let Announcement::Notice(text) = announcements.recv().await.unwrap() {
            break text;
        }
    };
    assert!(text.contains("no connection to the relay") && text.contains(NOWHERE), "{text}");
    one.mailbox().note("all the same").await.unwrap();
    one.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_just_before_the_end_is_sent() {
    let test = TestRoot::new();
    test.init("node1");
    test.init("node2");
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let verb = Verb::Note { text: "and off".into() };
    offline::answer(&test.root, &test.root.node("node1"), None, verb).unwrap();
    // Told to stop before it can have reached the relay.
    test.start("node1", &server.url()).await.stop().await.unwrap();
    let two = test.start("node2", &server.url()).await;
    until_notes(&two, 1).await;
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();
}
