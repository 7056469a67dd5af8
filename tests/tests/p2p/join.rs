//! A newcomer from another machine's folder: by an invitation, and by nothing else.

use side_tests::mesh::{direct_links, lonely};
use side_tests::process::{Process, eventually};
use side_tests::world::{History, Home};

fn run(home: &Home, names: &[&str]) -> Vec<Process> {
    names.iter().map(|name| home.init(name)).for_each(drop);
    names.iter().map(|name| home.run(name)).collect()
}

/// Waits until both show the same, with `notes` in it.
fn agree(homes: &[(&Home, &str)], notes: &[&str]) {
    eventually(&format!("agree on {notes:?}"), || {
        let histories: Vec<History> = homes.iter().map(|(home, name)| home.history(name)).collect();
        let complete = histories.iter().all(|it| notes.iter().all(|note| it.notes().contains(note)));
        (complete && histories.iter().all(|it| it.digest() == histories[0].digest())).then_some(())
    });
}

#[test]
fn a_fifth_node_joins_by_invitation_from_another_root_and_catches_up() {
    let home = lonely();
    let names = ["node1", "node2", "node3", "node4"];
    let mut nodes = run(&home, &names);
    for (name, node) in names.iter().zip(&mut nodes) {
        node.type_line(&format!("from {name}"));
    }
    home.converge(&names, &["from node1", "from node2", "from node3", "from node4"]);
    let invitation = home.ok(&["invite", "node1"]);
    let elsewhere = lonely();
    elsewhere.ok(&["init", "node5", "--join", invitation.trim()]);
    let mut fifth = elsewhere.run("node5");
    fifth.type_line("from node5");
    let all = ["from node1", "from node2", "from node3", "from node4", "from node5"];
    agree(&[(&home, "node1"), (&home, "node4"), (&elsewhere, "node5")], &all);
    // It was let in by one and learns from it where the others are.
    eventually("node5 reaches all four", || (direct_links(&elsewhere.status("node5")) == 4).then_some(()));
    // Whoever invited it may be gone: a restarted node knows the others.
    nodes[0].kill_9();
    fifth.kill_9();
    let mut fifth = elsewhere.run("node5");
    fifth.type_line("without node1");
    agree(&[(&home, "node2"), (&home, "node3"), (&elsewhere, "node5")], &["without node1"]);
}

#[test]
fn a_closed_group_lets_in_who_has_a_secret_and_refuses_who_has_none() {
    let home = lonely();
    let mut nodes = run(&home, &["node1"]);
    home.ok(&["group", "create", "node1", "inner", "--closed"]);
    home.ok(&["note", "node1", "--group", "inner", "within"]);
    let invite = |secret: bool| {
        let mut args = vec!["group", "invite", "node1", "inner"];
        if secret {
            args.push("--secret");
        }
        home.ok(&args).trim().to_owned()
    };
    let (open, secret) = (invite(false), invite(true));
    let stranger = lonely();
    stranger.ok(&["init", "mallory", "--join", &open]);
    let mut refused = stranger.run("mallory");
    refused.expect("does not let this node in");
    let friend = lonely();
    friend.ok(&["init", "alice", "--join", &secret]);
    let _alice = friend.run("alice");
    let entries = |home: &Home, name: &str| {
        let text = home.ok(&["history", name, "--json"]);
        History(serde_json::from_str(&text).expect("JSON"))
    };
    eventually("alice reads the group", || entries(&friend, "alice").notes().contains(&"within").then_some(()));
    // The secret lets one in once: a copy of the invitation is of no use.
    let thief = lonely();
    thief.ok(&["init", "eve", "--join", &secret]);
    let mut eve = thief.run("eve");
    eve.expect("used before");
    assert!(entries(&thief, "eve").notes().is_empty() && entries(&stranger, "mallory").notes().is_empty());
    // Alice is known after a restart of the one that let her in.
    nodes[0].kill_9();
    nodes[0] = home.run("node1");
    home.ok(&["note", "node1", "--group", "inner", "again"]);
    eventually("alice is let in again", || entries(&friend, "alice").notes().contains(&"again").then_some(()));
}
