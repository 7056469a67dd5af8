//! Backups of real nodes: made while they run, restored, and what becomes of them then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use side_node::api::client;
use side_node::api::control::Verb;
use side_node::backup::contents::{Item, List};
use side_node::backup::make::make;
use side_node::backup::restore::{check, restore};
use side_node::backup::stream::{Opener, Sealer};
use side_node::daemon::{Daemon, DaemonConfig, offline};
use side_node::error::CommandError;
use side_node::home::{Root, create_secret_file};
use side_node::secrets::kdf::Cost;
use side_node::secrets::{Passphrase, Sources};
use side_store::{OpenOptions, SqliteStore, Store as _};

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

/// A backup with other files in it, under the same passphrase: what only somebody who has it can make, or a program that went wrong.
fn forged(good: &Path, to: &Path, change: impl FnOnce(&mut Vec<(Item, Vec<u8>)>)) {
    let passphrase = || Passphrase::new(WORDS.to_vec()).unwrap();
    let mut opener = Opener::begin(fs::File::open(good).unwrap(), || Ok(passphrase())).unwrap();
    let length = u32::from_be_bytes(opener.bytes(4).unwrap()[..].try_into().unwrap());
    let (list, items) = List::parse(&opener.bytes(length.into()).unwrap()).unwrap();
    let mut files: Vec<(Item, Vec<u8>)> =
        items.into_iter().map(|(item, length)| (item, opener.bytes(length).unwrap().to_vec())).collect();
    change(&mut files);
    let sizes: Vec<(Item, u64)> = files.iter().map(|(item, bytes)| (item.clone(), bytes.len() as u64)).collect();
    let list = serde_json::to_vec(&List::new(list.node, list.key, list.made_ms, list.port, &sizes)).unwrap();
    let _ = fs::remove_file(to);
    let mut sealer = Sealer::begin(fs::File::create(to).unwrap(), &passphrase(), Cost::LEAST).unwrap();
    sealer.put(&(list.len() as u32).to_be_bytes()).unwrap();
    sealer.put(&list).unwrap();
    files.iter().for_each(|(_, bytes)| sealer.put(bytes).unwrap());
    sealer.end().unwrap();
}

#[test]
fn a_backup_whose_files_are_swapped_or_damaged_restores_nothing() {
    let test = TestRoot::new();
    test.init("node1");
    test.init("node2");
    for n in 0..40 {
        let verb = Verb::Note { text: format!("{n}: {}", "x".repeat(1_000)) };
        offline::answer(&test.root, &test.root.node("node1"), None, verb).unwrap();
    }
    let good = test.folder.path().join("node1.backup");
    back_up(&test.root, "node1", &good).unwrap();
    let sources = sources(test.folder.path());
    let elsewhere = Root::find(Some(test.folder.path().join("elsewhere"))).unwrap();
    let broken = test.folder.path().join("broken");
    let refused = |words: &str| {
        let error = check(&broken, &sources, &mut |_| {}).unwrap_err();
        assert!(error.message().contains(words), "{words}: {error}");
        let error = restore(&elsewhere, &broken, &sources, None, &mut |_| {}).unwrap_err();
        assert!(error.message().contains(words), "{words}: {error}");
        let left: Vec<_> =
            files(elsewhere.path()).into_iter().filter(|path| !path.ends_with("registry.lock")).collect();
        assert_eq!(left, [] as [PathBuf; 0], "{error}");
    };
    let set = |wanted: Item, bytes: Vec<u8>| {
        forged(&good, &broken, |files| match files.iter_mut().find(|(item, _)| *item == wanted) {
            Some((_, file)) => *file = bytes,
            None => files.push((wanted, bytes)),
        });
    };
    // Another node's key would sign in the name of the one that the list speaks of.
    set(Item::NodeKey, fs::read(test.root.node("node2").key_file()).unwrap());
    refused("the key of another node");
    set(Item::NodeKey, b"not a key".to_vec());
    refused("damaged");
    set(Item::Groups, b"{}".to_vec());
    refused("groups.json");
    for database in [Item::Swaps, Item::Wallet("regtest".into())] {
        set(database.clone(), b"no database, but long enough to be looked at as if it were one".repeat(100));
        refused(&format!("{} in the backup is damaged", database.name()));
    }
    // A page in the middle of the database.
    forged(&good, &broken, |files| {
        let (_, bytes) = files.iter_mut().find(|(item, _)| *item == Item::Store).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle - 3_000..middle + 3_000].fill(0xa5);
    });
    refused("damaged");
    // A database that reads well, but whose header counts free pages (bytes 36 to 39, SQLite's file format, section 1.3) that there are not.
    forged(&good, &broken, |files| {
        let (_, bytes) = files.iter_mut().find(|(item, _)| *item == Item::Store).unwrap();
        let free = u32::from_be_bytes(bytes[36..40].try_into().unwrap());
        bytes[36..40].copy_from_slice(&(free + 1).to_be_bytes());
    });
    refused("damaged");
    set(Item::Store, Vec::new());
    refused("side.sqlite");
    // A list that is longer than any, and one that speaks of more than there is.
    let passphrase = Passphrase::new(WORDS.to_vec()).unwrap();
    let mut sealer = Sealer::begin(fs::File::create(&broken).unwrap(), &passphrase, Cost::LEAST).unwrap();
    sealer.put(&u32::MAX.to_be_bytes()).unwrap();
    sealer.put(&[b' '; 1000]).unwrap();
    sealer.end().unwrap();
    refused("its list is far too long");
    // A database that was put in as it is, without the mark of a copy, is marked all the same.
    set(Item::Store, fs::read(test.root.node("node1").database_file()).unwrap());
    fs::remove_dir_all(test.root.node("node1").path()).unwrap();
    restore(&test.root, &broken, &sources, None, &mut |_| {}).unwrap();
    let home = test.root.node("node1");
    let mut restored = SqliteStore::open(home.database_file(), &OpenOptions::default()).unwrap();
    let mark = restored.meta("identity-suspected").unwrap().expect("a mark, whatever file and witness tell");
    assert!(String::from_utf8_lossy(&mark).starts_with("it was restored from a backup of "));
    restored.close().unwrap();
    let error = offline::answer(&test.root, &home, None, Verb::Note { text: "no".into() });
    assert!(error.unwrap_err().message().contains("nothing can be written"));
}

#[test]
fn a_backup_is_restored_over_no_node_that_the_root_knows() {
    let test = TestRoot::new();
    test.init("node1");
    let file = test.folder.path().join("node1.backup");
    back_up(&test.root, "node1", &file).unwrap();
    let sources = sources(test.folder.path());
    // Another node has the name, with its folder and, once that is lost, without: what others know under it stays its own.
    let other = TestRoot::new();
    other.init("node1");
    let key = fs::read(other.root.node("node1").key_file()).unwrap();
    let error = restore(&other.root, &file, &sources, None, &mut |_| {}).unwrap_err();
    assert!(error.message().contains("exists already"), "{error}");
    assert_eq!(fs::read(other.root.node("node1").key_file()).unwrap(), key);
    fs::remove_dir_all(other.root.node("node1").path()).unwrap();
    let error = restore(&other.root, &file, &sources, None, &mut |_| {}).unwrap_err();
    assert!(error.message().contains("knows another node as node1"), "{error}");
    restore(&other.root, &file, &sources, Some("again".parse().unwrap()), &mut |_| {}).unwrap();
}

#[test]
fn one_backup_of_a_node_is_made_at_a_time() {
    let test = TestRoot::new();
    test.init("node1");
    let (first, second) = (test.folder.path().join("first"), test.folder.path().join("second"));
    let home = test.root.node("node1");
    let passphrase = Passphrase::new(WORDS.to_vec()).unwrap();
    let mut copy = |to: &Path| {
        // While the first one is being made.
        let error = back_up(&test.root, "node1", &second).unwrap_err();
        assert!(error.is_busy() && error.message().contains("another backup of node1"), "{error}");
        offline::answer(&test.root, &home, None, Verb::Backup { to: to.to_owned() }).map(drop)
    };
    make(&test.root, &home, &first, &passphrase, Cost::LEAST, &mut copy, &mut |_| {}).unwrap();
    assert!(first.exists() && !second.exists() && !home.path().join(".backup").exists());
    back_up(&test.root, "node1", &second).unwrap();
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
