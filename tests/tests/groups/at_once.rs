//! Two groups on the same nodes share nothing but the machine.

use std::collections::BTreeSet;

use serde_json::Value;
use side_tests::mesh::lonely;
use side_tests::process::{Process, eventually};
use side_tests::world::{History, Home};

const NODES: [&str; 3] = ["node1", "node2", "node3"];

fn json(home: &Home, args: &[&str]) -> Value {
    serde_json::from_str(&home.ok(args)).expect("JSON")
}

fn status(home: &Home, name: &str, group: &str) -> Value {
    json(home, &["status", name, "--group", group, "--json"])
}

fn history(home: &Home, name: &str, group: &str) -> History {
    History(json(home, &["history", name, "--group", group, "--json"]))
}

/// Waits until all nodes hold exactly these notes of a group and show the same digest.
fn converge(home: &Home, group: &str, notes: &BTreeSet<String>) {
    eventually(&format!("{group} converges"), || {
        let histories = NODES.map(|name| history(home, name, group));
        let held =
            histories.iter().all(|it| it.notes().into_iter().map(str::to_owned).collect::<BTreeSet<_>>() == *notes);
        (held && histories.iter().all(|it| it.digest() == histories[0].digest())).then_some(())
    });
}

/// Waits until all nodes have the same block at the end of a group's chain, above `height`; its height.
fn same_block(home: &Home, group: &str, height: u64) -> u64 {
    eventually(&format!("{group} has a block above {height} on all nodes"), || {
        let statuses = NODES.map(|name| status(home, name, group));
        let tip = |status: &Value| (status["height"].as_u64(), status["block"].clone(), status["state_root"].clone());
        let reached = statuses[0]["height"].as_u64().filter(|reached| *reached > height)?;
        statuses.iter().all(|status| tip(status) == tip(&statuses[0])).then_some(reached)
    })
}

#[test]
fn two_groups_at_once_on_the_same_nodes() {
    let home = lonely();
    NODES.iter().for_each(|name| home.init(name));
    let mut processes: Vec<Process> = NODES.iter().map(|name| home.run(name)).collect();
    // Founded and joined while all of them run: node1 leads the group of the first init, node2 leads this one.
    home.ok(&["group", "create", "node2", "team", "--interval", "100"]);
    let invitation = home.ok(&["group", "invite", "node2", "team"]);
    for name in ["node1", "node3"] {
        let text = home.ok(&["group", "join", name, invitation.trim()]);
        assert!(text.contains("calls it team") && text.contains("side-node status"), "{text}");
    }
    let leader = |group: &str| status(&home, "node3", group)["sealers"][0]["key"].clone();
    assert_eq!(leader("side").as_str(), Some(home.ok(&["key", "node1"]).trim()));
    assert_eq!(leader("team").as_str(), Some(home.ok(&["key", "node2"]).trim()));

    let (mut side, mut team) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..5 {
        for (at, name) in NODES.iter().enumerate() {
            let text = format!("side {round} from {name}");
            assert!(processes[at].type_line(&text));
            side.insert(text);
            let text = format!("team {round} from {name}");
            home.ok(&["note", name, "--group", "team", &text]);
            team.insert(text);
        }
    }
    converge(&home, "side", &side);
    converge(&home, "team", &team);
    let heights = ["side", "team"].map(|group| same_block(&home, group, 0));
    // The console is about the default group, and shows nothing of the other one.
    for process in &mut processes {
        assert!(process.stdout().iter().any(|line| line.contains("side 4 from node1")), "{}", process.report());
        assert!(process.stdout().iter().all(|line| !line.contains("team 4")), "{}", process.report());
    }
    // All groups stand in the status, briefly.
    let briefs = home.status("node1")["groups"].clone();
    let brief = |alias: &str| {
        let list = briefs.as_array().expect("a list");
        list.iter().find(|brief| brief["alias"] == alias).cloned().expect("the group is listed")
    };
    assert_eq!((&brief("side")["default"], &brief("team")["default"]), (&Value::Bool(true), &Value::Bool(false)));
    assert!(brief("team")["running"] == true && brief("team")["height"].as_u64() >= Some(heights[1]), "{briefs}");

    // A node that was killed has both again; what came meanwhile follows.
    processes[0].kill_9();
    home.ok(&["note", "node3", "--group", "team", "while node1 is off"]);
    team.insert("while node1 is off".to_owned());
    processes[0] = home.run("node1");
    converge(&home, "side", &side);
    converge(&home, "team", &team);
    same_block(&home, "team", heights[1]);

    // A group that is left is gone on that node alone, and its changes stay on its disk.
    home.ok(&["group", "leave", "node3", "team"]);
    let error = home.fails(1, &["history", "node3", "--group", "team"]);
    assert!(error.contains("no group \"team\"") && error.contains("side ("), "{error}");
    assert_eq!(history(&home, "node1", "team").notes().len(), team.len());
    home.ok(&["group", "join", "node3", invitation.trim()]);
    converge(&home, "team", &team);
}

#[test]
fn the_console_turns_to_another_group_and_back_when_that_is_left() {
    let home = lonely();
    home.init("node1");
    let mut node = home.run("node1");
    home.ok(&["group", "create", "node1", "team"]);
    node.type_line("for side");
    node.expect("node1: for side");
    node.type_line("/group");
    assert!(node.expect("side (").starts_with("* "));
    assert!(node.expect("team (").starts_with("  "));
    node.type_line("/group use team");
    node.expect("-- this console is about group team");
    node.type_line("for team");
    node.expect("node1: for team");
    node.type_line("/group use nobody");
    node.expect("error: this node has no group \"nobody\"");
    node.type_line("/group members");
    node.expect("this node, founder, voter, seals");
    // The default is another matter.
    assert_eq!(home.history("node1").notes(), ["for side"]);
    assert_eq!(history(&home, "node1", "team").notes(), ["for team"]);
    home.ok(&["group", "leave", "node1", "team"]);
    node.expect("-- this console is about group side");
    node.type_line("for side again");
    node.expect("node1: for side again");
    assert_eq!(home.history("node1").notes(), ["for side", "for side again"]);
}
