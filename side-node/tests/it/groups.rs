//! Several groups in one folder: what joining, leaving and choosing do, to a stopped node and to a running one.

use side_ledger::Invitation;
use side_node::api::control::Verb;
use side_node::daemon::groups::{Entered, GroupAction, GroupInfo, GroupList, InviteOptions, Invitee};
use side_node::daemon::offline;
use side_node::daemon::view::History;
use side_node::error::CommandError;
use side_node::registry::Registry;

use crate::support::{TestRoot, notes};

/// Does something about the groups of a stopped node.
fn act<T: serde::de::DeserializeOwned>(test: &TestRoot, name: &str, action: GroupAction) -> Result<T, CommandError> {
    let answer = offline::answer(&test.root, &test.root.node(name), None, Verb::Groups { action })?;
    Ok(serde_json::from_value(answer).expect("the answer has its form"))
}

fn note(test: &TestRoot, name: &str, group: Option<&str>, text: &str) {
    offline::answer(&test.root, &test.root.node(name), group, Verb::Note { text: text.into() }).unwrap();
}

fn history(test: &TestRoot, name: &str, group: Option<&str>) -> History {
    let answer = offline::answer(&test.root, &test.root.node(name), group, Verb::History { limit: None }).unwrap();
    serde_json::from_value(answer).unwrap()
}

fn join(test: &TestRoot, name: &str, invitation: &str) -> Entered {
    act(test, name, GroupAction::Join { invitation: invitation.to_owned(), alias: None }).unwrap()
}

fn invite(test: &TestRoot, name: &str, options: InviteOptions) -> Invitee {
    act(test, name, GroupAction::Invite(options)).unwrap()
}

fn aliases(list: &GroupList) -> Vec<(&str, bool)> {
    list.groups.iter().map(|info| (info.alias.as_str(), info.default)).collect()
}

/// Two nodes in one root, each founder of a group of its own, and the first in both groups.
fn two_groups() -> (TestRoot, String) {
    let test = TestRoot::new();
    test.init("node1");
    let other = test.found("node2", "team");
    let invitation = invite(&test, "node2", InviteOptions::default()).invitation;
    assert!(join(&test, "node1", &invitation).new);
    (test, other.group)
}

#[test]
fn what_is_written_in_one_group_is_not_in_the_other() {
    let (test, team) = two_groups();
    note(&test, "node1", None, "for side");
    note(&test, "node1", Some("team"), "for team");
    note(&test, "node1", Some(&team[..8]), "more for team");
    assert_eq!(notes(&history(&test, "node1", None)), ["for side"]);
    let of_team = history(&test, "node1", Some("team"));
    assert_eq!((of_team.group.as_str(), notes(&of_team)), (team.as_str(), vec!["for team", "more for team"]));
    // Each chain is its own: the first change of both has the number 1.
    assert!([None, Some("team")].map(|group| history(&test, "node1", group)).iter().all(|it| it.entries[0].seq == 1));
}

#[test]
fn the_default_is_the_first_group_until_another_is_chosen() {
    let (test, team) = two_groups();
    let list: GroupList = act(&test, "node1", GroupAction::List).unwrap();
    assert_eq!(aliases(&list), [("side", true), ("team", false)]);
    let info: GroupInfo = act(&test, "node1", GroupAction::Use { group: "team".into() }).unwrap();
    assert_eq!((info.group.as_str(), info.default), (team.as_str(), true));
    note(&test, "node1", None, "by default");
    assert_eq!(notes(&history(&test, "node1", Some("team"))), ["by default"]);
    // The other node of the root has a default of its own.
    let list: GroupList = act(&test, "node2", GroupAction::List).unwrap();
    assert_eq!(aliases(&list), [("team", true)]);
}

#[test]
fn whoever_leaves_and_joins_again_goes_on_where_it_stopped() {
    let (test, team) = two_groups();
    note(&test, "node1", Some("team"), "before");
    let invitation = invite(&test, "node1", InviteOptions { group: Some("team".into()), ..Default::default() });
    let left: GroupInfo = act(&test, "node1", GroupAction::Leave { group: "team".into() }).unwrap();
    assert_eq!(left.group, team);
    let registry = Registry::load(&test.root).unwrap();
    assert_eq!(registry.nodes[&"node1".parse().unwrap()].groups.len(), 1);
    let gone =
        offline::answer(&test.root, &test.root.node("node1"), Some("team"), Verb::Status).unwrap_err().to_string();
    assert!(gone.contains("has no group \"team\""), "{gone}");

    assert!(join(&test, "node1", &invitation.invitation).new);
    note(&test, "node1", Some("team"), "after");
    let history = history(&test, "node1", Some("team"));
    assert_eq!(notes(&history), ["before", "after"]);
    let seqs: Vec<u64> = history.entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [1, 2, 3], "the chain goes on");
}

#[test]
fn the_default_group_and_the_only_one_are_not_left() {
    let (test, _) = two_groups();
    for (name, group) in [("node1", "side"), ("node2", "team")] {
        let error = act::<GroupInfo>(&test, name, GroupAction::Leave { group: group.into() }).unwrap_err();
        assert!(error.message().contains("default group") && error.next_step().is_some(), "{error}");
    }
}

#[test]
fn a_secret_stands_in_the_invitation_and_is_pending() {
    let (test, team) = two_groups();
    let options = InviteOptions { group: Some("team".into()), secret: true, ..Default::default() };
    let invitee = invite(&test, "node1", options);
    let invitation: Invitation = invitee.invitation.parse().unwrap();
    assert_eq!(invitation.group().to_string(), team);
    let secret = invitation.secret().unwrap();
    let info: GroupInfo = act(&test, "node1", GroupAction::Show { group: Some("team".into()) }).unwrap();
    assert_eq!(info.pending_secrets, 1);
    // The file knows its hash alone, and the registry, which later inits read, has no secret.
    let file = std::fs::read_to_string(test.root.node("node1").invited_file()).unwrap();
    assert!(!file.contains(&hex::encode(secret.0)));
    join(&test, "node2", &invitee.invitation);
    let registry = Registry::load(&test.root).unwrap();
    let kept: Invitation = registry.groups[&team].invitation.parse().unwrap();
    assert_eq!(kept.secret(), None);
}

#[test]
fn inits_and_groups_stand_in_the_registry() {
    let (test, team) = two_groups();
    let registry = Registry::load(&test.root).unwrap();
    let groups = |name: &str| registry.nodes[&name.parse().unwrap()].groups.clone();
    let home = registry.home_group.clone().unwrap();
    assert_eq!(groups("node1"), [home.clone(), team.clone()]);
    assert_eq!(groups("node2"), [team]);
    // A further init joins the first group of the root and no other.
    assert_eq!(test.init("node3").group, home);
}
