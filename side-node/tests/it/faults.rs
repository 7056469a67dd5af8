//! Broken folders and full disks: a clear error that names the remedy, nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use side_node::api::control::Verb;
use side_node::daemon::{Daemon, DaemonConfig, offline};
use side_node::error::{Blame, CommandError};
use side_node::home::Root;

use crate::support::{NOWHERE, TestRoot, history, notes};

async fn refused(test: &TestRoot) -> CommandError {
    let error = Daemon::start(test.config("node1", NOWHERE)).await.unwrap_err();
    assert_eq!(error.blame(), Blame::User, "{error}");
    error
}

#[tokio::test]
async fn a_corrupt_database_is_named_with_the_remedy() {
    let test = TestRoot::new();
    test.init("node1");
    let database = test.root.node("node1").database_file();
    let mut bytes = fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle - 3000..middle + 3000].fill(0xa5);
    fs::write(&database, &bytes).unwrap();
    let error = refused(&test).await.to_string();
    assert!(error.contains("side.sqlite is damaged") && error.contains("put it aside"), "{error}");
    // It was not made worse.
    assert_eq!(fs::read(&database).unwrap(), bytes);
}

#[tokio::test]
async fn keys_that_others_can_read_are_refused() {
    let test = TestRoot::new();
    test.init("node1");
    let key = test.root.node("node1").key_file();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&test).await.to_string();
    assert!(error.contains("can be read by others") && error.contains("chmod go-rwx"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(key.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(refused(&test).await.to_string().contains("can be read by others"));
}

#[tokio::test]
async fn a_damaged_key_is_never_replaced() {
    let test = TestRoot::new();
    test.init("node1");
    let key = test.root.node("node1").key_file();
    fs::write(&key, "half a k").unwrap();
    let error = refused(&test).await.to_string();
    assert!(error.contains("is damaged") && error.contains("backup"), "{error}");
    assert!(!error.contains("half a k"), "a secret was shown: {error}");
    assert_eq!(fs::read_to_string(&key).unwrap(), "half a k");
}

#[tokio::test]
async fn an_unknown_key_in_the_config_is_refused_with_the_nearest() {
    let test = TestRoot::new();
    test.init("node1");
    fs::write(test.root.node("node1").config_file(), "relais = \"ws://x\"\n").unwrap();
    let error = refused(&test).await.to_string();
    assert!(error.contains("unknown key \"relais\"") && error.contains("did you mean \"relay\"?"), "{error}");
}

#[tokio::test]
async fn a_home_that_cannot_be_written_is_named_with_the_remedy() {
    // The kernel's own file system takes no folders from anybody, not even from root.
    let root = Root::find(Some("/proc/side-node-test".into())).unwrap();
    let error = root.create().unwrap_err();
    assert_eq!(error.blame(), Blame::User);
    let text = error.to_string();
    assert!(text.contains("/proc/side-node-test") && text.contains("--home"), "{text}");
    if rustix::process::geteuid().is_root() {
        // Permissions do not bind root.
        return;
    }
    let test = TestRoot::new();
    test.init("node1");
    let home = test.root.node("node1");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let text = refused(&test).await.to_string();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(text.contains("permissions"), "{text}");
}

#[tokio::test]
async fn an_unknown_node_is_told_how_to_be_made() {
    let test = TestRoot::new();
    let error = Daemon::start(test.config("node1", NOWHERE)).await.unwrap_err();
    assert!(error.next_step().unwrap().contains("side-node init node1"), "{error}");
    assert!(!test.root.path().exists(), "asking made a folder");
}

#[tokio::test]
async fn a_full_disk_stops_the_node_and_loses_nothing() {
    let test = TestRoot::new();
    test.init("node1");
    let config = DaemonConfig { max_store_bytes: Some(256 << 10), ..test.config("node1", NOWHERE) };
    let mut node = Daemon::start(config).await.unwrap();
    let mut accepted = Vec::new();
    let error = loop {
        let text = format!("{:01000}", accepted.len());
        match node.mailbox().note(&text).await {
            Ok(_) => accepted.push(text),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1000, "the quota had no effect");
    };
    assert!(error.message().contains("disk is full") && error.message().contains("Free some space"), "{error}");
    assert!(accepted.len() > 10);
    assert_eq!(node.ends().await, side_node::daemon::End::Failed(error));
    let later =
        offline::answer(&test.root, &test.root.node("node1"), None, Verb::Note { text: "with space again".into() });
    later.unwrap();
    let node = test.start("node1", NOWHERE).await;
    accepted.push("with space again".to_owned());
    assert_eq!(notes(&history(&node).await), accepted);
    node.stop().await.unwrap();
}
