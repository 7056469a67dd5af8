//! `init`: what it makes, and that it never overwrites.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use side_ledger::Invitation;
use side_node::daemon::membership;

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
        [home.key_file(), home.database_file(), home.group_file(), home.config_file(), test.root.registry_file()]
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
    let group = membership::load(&here.root.node("node1")).unwrap();
    let text = Invitation::new(group.genesis().clone(), vec!["ws://relay.example:80".into()]).unwrap().to_string();
    let joined = there.try_init("node1", Some(text.clone())).unwrap();
    assert_eq!(joined.group, made.group);
    assert!(!joined.founded);
    assert_eq!(membership::load(&there.root.node("node1")).unwrap().addresses(), ["ws://relay.example:80"]);

    let mut broken = text;
    broken.pop();
    let error = there.try_init("node2", Some(broken)).unwrap_err();
    assert!(error.message().contains("cannot join"), "{error}");
    assert!(!there.root.node("node2").path().exists());
}
