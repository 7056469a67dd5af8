//! `init`: what it makes, and that it never overwrites.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use side_ledger::Invitation;
use side_node::daemon::membership::Memberships;

use crate::support::TestRoot;

#[test]
fn the_first_node_founds_a_group_and_later_ones_join_it() {
    let test = TestRoot::new();
    let first = test.init("node1");
    let second = test.init("node2");
    assert!(first.founded && !second.founded);
    assert_eq!(first.group, second.group);
    assert_ne!(first.key, second.key);
    assert_eq!(first.next, "side-node run node1");
}

#[test]
fn init_never_overwrites() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let key = fs::read(test.root.node("node1").key_file()).unwrap();
    let error = test.try_init("node1", None).unwrap_err();
    assert!(error.message().contains("exists already"), "{error}");
    assert_eq!(fs::read(test.root.node("node1").key_file()).unwrap(), key);
    // A folder that somebody else put there is not touched either.
    fs::create_dir(test.root.path().join("mine")).unwrap();
    fs::write(test.root.path().join("mine/file"), "mine").unwrap();
    assert!(test.try_init("mine", None).is_err());
    assert_eq!(fs::read_to_string(test.root.path().join("mine/file")).unwrap(), "mine");
    assert_eq!(test.init("node2").group, made.group);
}

#[test]
fn everything_is_for_the_user_alone() {
    let test = TestRoot::new();
    test.init("node1");
    let home = test.root.node("node1");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(test.root.path()), 0o700);
    assert_eq!(mode(home.path()), 0o700);
    assert_eq!(mode(home.key_file().parent().unwrap()), 0o700);
    for file in
        [home.key_file(), home.database_file(), home.groups_file(), home.config_file(), test.root.registry_file()]
    {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn an_init_that_was_interrupted_is_finished_with_the_same_key() {
    let test = TestRoot::new();
    let made = test.init("node1");
    fs::remove_file(test.root.registry_file()).unwrap();
    let again = test.init("node1");
    assert_eq!((again.key, again.group), (made.key, made.group));
    assert!(test.try_init("node1", None).is_err());
}

#[test]
fn an_invitation_brings_a_node_of_another_root_into_the_group() {
    let (here, there) = (TestRoot::new(), TestRoot::new());
    let made = here.init("node1");
    let groups = Memberships::load(&here.root.node("node1")).unwrap();
    let group = &groups.default().invitation;
    let text = Invitation::new(group.genesis().clone(), vec!["ws://relay.example:80".into()]).unwrap().to_string();
    let joined = there.try_init("node1", Some(text.clone())).unwrap();
    assert_eq!(joined.group, made.group);
    assert!(!joined.founded);
    let groups = Memberships::load(&there.root.node("node1")).unwrap();
    assert_eq!(groups.default().invitation.addresses(), ["ws://relay.example:80"]);

    let mut broken = text;
    broken.pop();
    let error = there.try_init("node2", Some(broken)).unwrap_err();
    assert!(error.message().contains("cannot join"), "{error}");
    assert!(!there.root.node("node2").path().exists());
}

#[test]
fn inits_at_the_same_time_found_one_group() {
    let test = TestRoot::new();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn({
                    let test = &test;
                    move || test.init(&format!("node{n}"))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| made.founded).count(), 1);
    assert!(made.iter().all(|other| other.group == made[0].group));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_stands_in_the_key_file_and_nowhere_else() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => files(&entry.path(), found),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    let test = TestRoot::new();
    test.init("node1");
    let server = crate::support::relay(&test.folder.path().join("relay"), 0).await;
    let node = test.start("node1", &server.url()).await;
    node.mailbox().note("hello").await.unwrap();
    let status = crate::support::until_in_sync(&node).await;
    let key_file = test.root.node("node1").key_file();
    let hex = fs::read_to_string(&key_file).unwrap().trim().to_owned();
    let shown =
        format!("{status:?} {:?} {:?}", node.mailbox().peers().await.unwrap(), crate::support::history(&node).await);
    node.stop().await.unwrap();
    server.shutdown().await.unwrap();

    let seed = hex::decode(&hex).unwrap();
    assert!(!shown.contains(&hex));
    let mut found = Vec::new();
    files(test.folder.path(), &mut found);
    assert!(found.len() > 5, "{found:?}");
    for file in found.into_iter().filter(|file| *file != key_file) {
        let bytes = fs::read(&file).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(&seed) && !holds(hex.as_bytes()), "{} holds the secret", file.display());
    }
}
