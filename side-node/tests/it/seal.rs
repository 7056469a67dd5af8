//! Blocks, balances and votes, of running nodes around a relay and of stopped ones.

use side_node::api::control::{Ballot, Verb};
use side_node::daemon::view::{Accepted, Balances, Blocks, History, Stage};
use side_node::daemon::{Announcement, Daemon, offline};

use crate::support::{NOWHERE, TestRoot, history, relay, until};

fn ask<T: serde::de::DeserializeOwned>(test: &TestRoot, name: &str, verb: Verb) -> T {
    let answer = offline::answer(&test.root, &test.root.node(name), None, verb).unwrap();
    serde_json::from_value(answer).unwrap()
}

/// Waits until an own transaction has this status, by what the node announces.
async fn until_standing(daemon: &mut Daemon, sent: &Accepted, stage: Stage) {
    let mut announcements = daemon.take_announcements();
    loop {
        let standing = daemon.mailbox().history(None).await.unwrap();
        let line = standing.entries.iter().find(|line| line.position() == sent.entry.position()).unwrap();
        if line.standing.status == stage {
            return;
        }
        assert_eq!(line.standing.status, Stage::Pending);
        while !matches!(announcements.recv().await.unwrap(), Announcement::Standing(_)) {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_arrives_and_two_nodes_show_equal_blocks() {
    let test = TestRoot::new();
    let (first, second) = (test.init("node1"), test.init("node2"));
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let mut one = test.start("node1", &server.url()).await;
    let mut two = test.start("node2", &server.url()).await;
    // The registry of this machine knows the name, whether or not the group has heard of it.
    let sent = one.mailbox().send("node2", 250).await.unwrap();
    assert_eq!((sent.entry.standing.status, sent.entry.body["to"].as_str()), (Stage::Pending, Some(&*second.key)));
    until_standing(&mut one, &sent, Stage::Sealed).await;
    let height = one.mailbox().status().await.unwrap().height;
    until(&two, "the block has come", |status| status.height >= height).await;
    let balances = two.mailbox().balances().await.unwrap();
    assert_eq!((balances.balance, balances.supply), (250, 1_000_000));

    let too_much = two.mailbox().send(&first.key, 251).await.unwrap();
    until_standing(&mut two, &too_much, Stage::Rejected).await;
    assert!(two.mailbox().send("nobody", 1).await.unwrap_err().message().contains("nobody"));

    // The second one asks to vote, and is let in.
    until(&one, "two voters", |status| status.voters.len() == 2).await;
    until(&two, "two voters", |status| status.voters.len() == 2).await;
    let status = until(&one, "the last block is held", |status| status.held_height == status.height).await;
    assert_eq!((status.mode.as_str(), status.quorum, status.final_height), ("leader", 2, None));
    assert_eq!(status.sealers[0].key, first.key);
    assert!(status.peers.iter().any(|link| link.connected && link.transport == "relay" && link.in_sync));
    let same = |a: &Blocks, b: &Blocks| {
        a.height == b.height
            && a.blocks.iter().zip(&b.blocks).all(|(a, b)| (&a.block, &a.state_root) == (&b.block, &b.state_root))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let (a, b) = (one.mailbox().blocks(100).await.unwrap(), two.mailbox().blocks(100).await.unwrap());
        if same(&a, &b) {
            assert!(a.blocks.len() > 2);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{a:?}\n{b:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();

    // A stopped node tells the same, and takes what is to be sealed later.
    let balances: Balances = ask(&test, "node2", Verb::Balance);
    assert_eq!(balances.balance, 250);
    let blocks: Blocks = ask(&test, "node1", Verb::Blocks { limit: 1 });
    assert_eq!(blocks.blocks.len(), 1);
    let sent: Accepted = ask(&test, "node2", Verb::Send { to: "node1".to_owned(), amount: 50 });
    assert_eq!((sent.running, sent.entry.standing.status), (false, Stage::Pending));
}

#[tokio::test]
async fn the_json_of_a_status_keeps_its_shape() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let node = test.start("node1", NOWHERE).await;
    until(&node, "a block", |status| status.height == 1).await;
    let json = node.mailbox().ask(Verb::Status).await.unwrap();
    node.stop().await.unwrap();
    for (field, digits) in
        [("group", 64), ("block", 64), ("state_root", 64), ("digest", 64), ("heads_digest", 64), ("key", 64)]
    {
        assert_eq!(json[field].as_str().unwrap().len(), digits, "{field}");
    }
    for (field, number) in [("height", 1), ("held_height", 1), ("epoch", 0), ("set", 0), ("quorum", 1), ("pending", 0)]
    {
        assert_eq!(json[field], number, "{field}");
    }
    assert!(json["final_height"].is_null(), "nothing is final in leader mode");
    assert_eq!(json["sealers"], serde_json::json!([{ "key": made.key, "name": "node1" }]));
    assert_eq!(json["voters"][0]["name"], "node1");
    for field in ["voters", "heads"] {
        assert_eq!(json[field].as_array().unwrap().len(), 1, "{field}");
    }
    for field in ["peers", "offences", "equivocators", "pending_voters"] {
        assert!(json[field].is_array(), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_its_own_seals_and_goes_on_after_a_restart() {
    let test = TestRoot::new();
    test.init("node1");
    let node = test.start("node1", NOWHERE).await;
    let before = until(&node, "its name is sealed", |status| status.height == 1 && status.pending == 0).await;
    node.stop().await.unwrap();
    let node = test.start("node1", NOWHERE).await;
    let after = node.mailbox().status().await.unwrap();
    assert_eq!((&after.block, &after.state_root), (&before.block, &before.state_root));
    node.mailbox().note("more").await.unwrap();
    let later = until(&node, "a second block", |status| status.height == 2).await;
    assert_eq!((later.pending, later.held_height, later.offences.len()), (0, 2, 0));
    let history: History = history(&node).await;
    assert!(history.entries.iter().all(|line| line.standing.holders == Some(1)), "{history:?}");
    let error = node.mailbox().vote(Ballot::Leader { node: "node1".to_owned() }).await.unwrap_err();
    assert!(error.message().contains("seals already"), "{error}");
    node.stop().await.unwrap();
}
