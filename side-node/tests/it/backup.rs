//! Backups of real nodes: made while they run, restored, and what becomes of them then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use side_node::api::client;
use side_node::api::control::Verb;
use side_node::backup::make::make;
use side_node::backup::restore::{check, restore};
use side_node::daemon::{Daemon, DaemonConfig, offline};
use side_node::error::CommandError;
use side_node::home::{Root, create_secret_file};
use side_node::secrets::kdf::Cost;
use side_node::secrets::{Passphrase, Sources};

use crate::support::*;

const WORDS: &[u8] = b"correct horse";

fn sources(folder: &Path) -> Sources {
    let file = folder.join("passphrase");
    if !file.exists() {
        create_secret_file(&file, WORDS).unwrap();
    }
    Sources::file(file)
}

/// Makes a backup as the command does: a running node is asked through its socket.
fn back_up(root: &Root, name: &str, file: &Path) -> Result<(), CommandError> {
    let home = root.node(name);
    let passphrase = Passphrase::new(WORDS.to_vec()).unwrap();
    let mut copy = |to: &Path| {
        let verb = Verb::Backup { to: to.to_owned() };
        match client::ask::<serde_json::Value>(&home, None, verb.clone())? {
            Some(_) => Ok(()),
            None => offline::answer(root, &home, None, verb).map(drop),
        }
    };
    make(root, &home, file, &passphrase, Cost::LEAST, &mut copy, &mut |_| {}).map(drop)
}

async fn back_up_running(root: &Root, name: &str, file: &Path) {
    let (root, name, file) = (root.clone(), name.to_owned(), file.to_owned());
    tokio::task::spawn_blocking(move || back_up(&root, &name, &file)).await.unwrap().unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A root that nobody has made yet has none.
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_restored_learns_what_it_wrote_since_and_writes_on() {
    let test = TestRoot::new();
    let server = relay(&test.folder.path().join("relay"), 0).await;
    test.init("node1");
    test.init("node2");
    let node = test.start("node1", &server.url()).await;
    let other = test.start("node2", &server.url()).await;
    node.mailbox().note("before").await.unwrap();

    // Typed while the backup is made.
    let file = test.folder.path().join("node1.backup");
    let mailbox = node.mailbox().clone();
    let typing = tokio::spawn(async move {
        for n in 0..40 {
            mailbox.note(&format!("meanwhile {n}")).await.unwrap();
            mailbox.send("node2", 1).await.unwrap();
        }
    });
    back_up_running(&test.root, "node1", &file).await;
    typing.await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let home = test.root.node("node1");
    assert!(!home.path().join(".backup").exists(), "a copy was left behind");
    node.mailbox().note("after").await.unwrap();
    until_agreed(&node, &other).await;
    let wrote = notes(&history(&node).await).len();
    node.stop().await.unwrap();
    fs::remove_dir_all(home.path()).unwrap();

    let sources = sources(test.folder.path());
    let checked = check(&file, &sources, &mut |_| {}).unwrap();
    assert_eq!((checked.node.as_str(), checked.groups, checked.locked), ("node1", 1, false));
    let restored = restore(&test.root, &file, &sources, None, &mut |_| {}).unwrap();
    assert_eq!(restored.backup.changes, checked.changes);
    for path in files(home.path()) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
    // Alone it reads only.
    let error = offline::answer(&test.root, &home, None, Verb::Note { text: "no".into() }).unwrap_err();
    assert!(error.message().contains("nothing can be written"), "{error}");

    let node = test.start("node1", &server.url()).await;
    until(&node, "it can be written", |status| status.read_only.is_none()).await;
    node.mailbox().note("restored").await.unwrap();
    node.mailbox().send("node2", 1).await.unwrap();
    let history = until_agreed(&node, &other).await;
    assert_eq!(notes(&history).len(), wrote + 1, "something was lost");
    for daemon in [&node, &other] {
        assert!(daemon.mailbox().status().await.unwrap().equivocators.is_empty());
    }
    node.stop().await.unwrap();
    // It is the latest copy from now on, without anybody to ask.
    offline::answer(&test.root, &home, None, Verb::Note { text: "settled".into() }).unwrap();
    other.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_node_that_reaches_nobody_stays_read_only_until_its_owner_insists() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let file = test.folder.path().join("node1.backup");
    // Of a stopped node.
    back_up(&test.root, "node1", &file).unwrap();
    assert!(back_up(&test.root, "node1", &file).unwrap_err().message().contains("exists already"));

    // On another machine, under another name.
    let elsewhere = Root::find(Some(test.folder.path().join("elsewhere"))).unwrap();
    let sources = sources(test.folder.path());
    let restored = restore(&elsewhere, &file, &sources, Some("again".parse().unwrap()), &mut |_| {}).unwrap();
    assert_eq!((restored.restored_as.as_str(), &restored.backup.key), ("again", &made.key));
    let config = |trust| DaemonConfig {
        relay: Some(NOWHERE.to_owned()),
        trust_this_copy: trust,
        ..DaemonConfig::new(elsewhere.clone(), elsewhere.node("again"))
    };
    for _ in 0..2 {
        let node = Daemon::start(config(false)).await.unwrap();
        assert!(node.mailbox().status().await.unwrap().read_only.is_some());
        let error = node.mailbox().note("no").await.unwrap_err();
        assert!(error.message().contains("nothing can be written"), "{error}");
        node.stop().await.unwrap();
    }
    let node = Daemon::start(config(true)).await.unwrap();
    node.mailbox().note("by its owner's word").await.unwrap();
    node.stop().await.unwrap();

    // Nothing is overwritten, and a root has a key once.
    for name in [None, Some("again".parse().unwrap()), Some("third".parse().unwrap())] {
        let error = restore(&elsewhere, &file, &sources, name, &mut |_| {}).unwrap_err();
        assert!(
            error.message().contains("has the node already") || error.message().contains("exists already"),
            "{error}"
        );
    }
    assert!(!elsewhere.node("third").path().exists() && !elsewhere.node("node1").path().exists());
}

#[test]
fn a_backup_that_was_cut_changed_or_is_of_another_passphrase_restores_nothing() {
    let test = TestRoot::new();
    test.init("node1");
    let file = test.folder.path().join("node1.backup");
    back_up(&test.root, "node1", &file).unwrap();
    let good = fs::read(&file).unwrap();
    let sources = sources(test.folder.path());
    let elsewhere = Root::find(Some(test.folder.path().join("elsewhere"))).unwrap();
    let refused = |bytes: &[u8]| {
        let broken = test.folder.path().join("broken");
        let _ = fs::remove_file(&broken);
        fs::write(&broken, bytes).unwrap();
        assert!(check(&broken, &sources, &mut |_| {}).is_err());
        let error = restore(&elsewhere, &broken, &sources, None, &mut |_| {}).unwrap_err();
        assert!(!elsewhere.node("node1").path().exists());
        let left: Vec<_> =
            files(elsewhere.path()).into_iter().filter(|path| !path.ends_with("registry.lock")).collect();
        assert_eq!(left, [] as [PathBuf; 0], "{error}");
        error
    };
    // At every region: header, list, each file, each chunk's end, the last bytes.
    for n in 0..40 {
        let at = if n < 20 { n * 9 } else { (n - 20) * (good.len() - 1) / 19 };
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        refused(&changed);
        refused(&good[..at]);
    }
    refused(&[&good[..], b"x"].concat());
    let wrong = Sources::file(test.folder.path().join("other"));
    create_secret_file(&test.folder.path().join("other"), b"battery staple").unwrap();
    let error = restore(&elsewhere, &file, &wrong, None, &mut |_| {}).unwrap_err();
    assert!(error.message().contains("the passphrase is wrong"), "{error}");
    // And the good one is good.
    restore(&elsewhere, &file, &sources, None, &mut |_| {}).unwrap();
}

#[test]
fn what_an_interrupted_restore_left_is_no_node_and_in_nobodys_way() {
    let test = TestRoot::new();
    test.init("node1");
    let file = test.folder.path().join("node1.backup");
    back_up(&test.root, "node1", &file).unwrap();
    let sources = sources(test.folder.path());
    let elsewhere = Root::find(Some(test.folder.path().join("elsewhere"))).unwrap();
    elsewhere.create().unwrap();
    // Killed when everything but the last step was done: the folder has not got its name yet.
    copy_folder(test.root.node("node1").path(), &elsewhere.path().join(".restoring-node1"));
    assert!(elsewhere.node("node1").require().is_err());
    restore(&elsewhere, &file, &sources, None, &mut |_| {}).unwrap();
    assert!(!elsewhere.path().join(".restoring-node1").exists());
    // Killed after the last step, before the registry knew: the node reads only all the same.
    fs::remove_file(elsewhere.registry_file()).unwrap();
    let error = offline::answer(&elsewhere, &elsewhere.node("node1"), None, Verb::Note { text: "no".into() });
    assert!(error.unwrap_err().message().contains("nothing can be written"));
}
