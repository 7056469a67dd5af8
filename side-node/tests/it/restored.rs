//! Folders that were restored, rolled back or copied: no node convicts itself.

use std::fs;

use side_node::api::control::Verb;
use side_node::daemon::groups::{GroupAction, GroupInfo};
use side_node::daemon::{Daemon, DaemonConfig, offline};
use side_watcher::server::{Config, Server};

use crate::groups::{founded, join_running};
use crate::support::{
    NOWHERE, TestRoot, copy_folder, history, notes, relay, until, until_agreed, until_in_sync, until_notes,
};

/// Runs a node, backs its folder up after one note, writes two more that reach the relay, and puts the backup back.
pub(crate) async fn roll_back(test: &TestRoot, url: &str) {
    test.init("node1");
    let home = test.root.node("node1");
    let backup = test.folder.path().join("backup");
    let node = test.start("node1", url).await;
    node.mailbox().note("in the backup").await.unwrap();
    until_in_sync(&node).await;
    node.stop().await.unwrap();
    copy_folder(home.path(), &backup);
    let node = test.start("node1", url).await;
    node.mailbox().note("after the backup").await.unwrap();
    node.mailbox().note("and on").await.unwrap();
    until_in_sync(&node).await;
    node.stop().await.unwrap();
    fs::remove_dir_all(home.path()).unwrap();
    copy_folder(&backup, home.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_node_is_read_only_until_it_has_learnt_its_own_tip() {
    let test = TestRoot::new();
    let server = relay(&test.folder.path().join("relay"), 0).await;
    roll_back(&test, &server.url()).await;

    // Without the relay: it can be read, not written, neither running nor stopped.
    let home = test.root.node("node1");
    let error = offline::answer(&test.root, &home, None, Verb::Note { text: "no".into() }).unwrap_err();
    assert!(error.next_step().unwrap().contains("--trust-this-copy"), "{error}");
    let node = test.start("node1", NOWHERE).await;
    let error = node.mailbox().note("no").await.unwrap_err();
    assert!(error.message().contains("nothing can be written"), "{error}");
    assert_eq!(notes(&history(&node).await), ["in the backup"]);
    assert!(node.mailbox().status().await.unwrap().read_only.is_some());
    node.stop().await.unwrap();

    // With it: it learns what it wrote, and goes on behind that.
    let node = test.start("node1", &server.url()).await;
    until(&node, "it can be written", |status| status.read_only.is_none()).await;
    node.mailbox().note("and further").await.unwrap();
    let status = until_in_sync(&node).await;
    assert!(status.equivocators.is_empty(), "{status:?}");
    let all = history(&node).await;
    assert_eq!(notes(&all), ["in the backup", "after the backup", "and on", "and further"]);
    let seqs: Vec<u64> = all.entries.iter().map(|entry| entry.seq).collect();
    // Perhaps a vote for itself is among them: the only voter begins another epoch, for it may have sealed in this one what it has forgotten.
    assert!(seqs.len() >= 5 && seqs == (1..=seqs.len() as u64).collect::<Vec<u64>>(), "{seqs:?}");
    node.stop().await.unwrap();

    // It stays so.
    let node = test.start("node1", NOWHERE).await;
    node.mailbox().note("again").await.unwrap();
    node.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_insists_writes_and_is_convicted_if_wrong() {
    let test = TestRoot::new();
    let server = relay(&test.folder.path().join("relay"), 0).await;
    roll_back(&test, &server.url()).await;
    test.init("node2");
    let honest = test.start("node2", &server.url()).await;
    until_notes(&honest, 3).await;
    let config = DaemonConfig { trust_this_copy: true, ..test.config("node1", NOWHERE) };
    let node = Daemon::start(config).await.unwrap();
    node.mailbox().note("a second change of this number").await.unwrap();
    node.stop().await.unwrap();
    let node = test.start("node1", &server.url()).await;
    let status = until(&node, "the proof is there", |status| !status.equivocators.is_empty()).await;
    assert_eq!(status.equivocators[0].key, status.key);
    let error = node.mailbox().note("no").await.unwrap_err();
    assert!(error.message().contains("two different changes"), "{error}");

    // Whoever is honest sees it, goes on, and holds the same as before and as the other.
    until(&honest, "the proof is there", |status| status.equivocators.len() == 1).await;
    honest.mailbox().note("nothing happened").await.unwrap();
    let status = until_in_sync(&honest).await;
    assert_eq!(status.equivocators[0].name.as_deref(), Some("node1"));
    until_agreed(&honest, &node).await;
    honest.stop().await.unwrap();
    node.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

/// What a node has forgotten of one group it does not learn from the members of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_node_writes_again_in_the_groups_where_it_has_learnt_its_own_tip() {
    let test = TestRoot::new();
    let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::local(test.folder.path().join("relay")) };
    // It takes the first group, and has no room for the second one.
    config.limits.max_groups = 1;
    let server = Server::start(config).await.unwrap();
    let made = test.init("node1");
    let node = test.start("node1", &server.url()).await;
    until_in_sync(&node).await;
    let invitation = founded(&made, "team");
    join_running(&node, &invitation).await;
    node.mailbox().of("team").unwrap().note("in the backup").await.unwrap();
    node.stop().await.unwrap();
    let (home, backup) = (test.root.node("node1"), test.folder.path().join("backup"));
    copy_folder(home.path(), &backup);
    let node = test.start("node1", &server.url()).await;
    node.mailbox().note("after the backup").await.unwrap();
    node.mailbox().of("team").unwrap().note("after the backup").await.unwrap();
    until_in_sync(&node).await;
    node.stop().await.unwrap();
    fs::remove_dir_all(home.path()).unwrap();
    copy_folder(&backup, home.path());

    let node = test.start("node1", &server.url()).await;
    until(&node, "it can be written", |status| status.read_only.is_none()).await;
    node.mailbox().note("and on").await.unwrap();
    let refused = node.mailbox().of("team").unwrap().note("no").await.unwrap_err();
    assert!(refused.message().contains("nothing can be written"), "{refused}");
    node.stop().await.unwrap();
    // At the next start it learns again, and only where it can; leaving and joining again is no way around it.
    let node = test.start("node1", &server.url()).await;
    until(&node, "it can be written", |status| status.read_only.is_none()).await;
    node.mailbox().groups::<GroupInfo>(GroupAction::Leave { group: "team".into() }).await.unwrap();
    join_running(&node, &invitation).await;
    assert!(node.mailbox().of("team").unwrap().note("no").await.is_err());
    // Nor is it when everything else is settled meanwhile.
    node.mailbox().groups::<GroupInfo>(GroupAction::Leave { group: "team".into() }).await.unwrap();
    node.stop().await.unwrap();
    let node = test.start("node1", &server.url()).await;
    until(&node, "it can be written", |status| status.read_only.is_none()).await;
    node.stop().await.unwrap();
    let node = test.start("node1", NOWHERE).await;
    node.mailbox().note("the database is known as the latest copy").await.unwrap();
    join_running(&node, &invitation).await;
    let refused = node.mailbox().of("team").unwrap().note("no").await.unwrap_err();
    assert!(refused.message().contains("this group was left before"), "{refused}");
    node.stop().await.unwrap();
    // Its owner may insist.
    let config = DaemonConfig { trust_this_copy: true, ..test.config("node1", NOWHERE) };
    let node = Daemon::start(config).await.unwrap();
    node.mailbox().of("team").unwrap().note("by its owner's word").await.unwrap();
    node.stop().await.unwrap();
    let node = test.start("node1", NOWHERE).await;
    node.mailbox().of("team").unwrap().note("and it stays so").await.unwrap();
    node.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_copied_folder_and_a_lost_database_are_read_only() {
    let test = TestRoot::new();
    test.init("node1");
    let home = test.root.node("node1");
    test.start("node1", NOWHERE).await.stop().await.unwrap();
    // A copy beside the original, under another name.
    copy_folder(home.path(), test.root.node("copy").path());
    let note = |name: &str| offline::answer(&test.root, &test.root.node(name), None, Verb::Note { text: "x".into() });
    assert!(note("copy").unwrap_err().message().contains("copied or restored"));
    note("node1").unwrap();
    fs::remove_file(home.database_file()).unwrap();
    let error = note("node1").unwrap_err();
    assert!(error.message().contains("its history was lost"), "{error}");
}
