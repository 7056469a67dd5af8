//! Members of a closed group come and go by vote.

use serde_json::Value;
use side_tests::mesh::lonely;
use side_tests::process::{Process, eventually};
use side_tests::world::Home;

const FOUNDERS: [&str; 3] = ["node1", "node2", "node3"];

fn json(home: &Home, args: &[&str]) -> Value {
    serde_json::from_str(&home.ok(args)).expect("JSON")
}

/// What a key is in the group, as `name` sees it.
fn person(home: &Home, name: &str, key: &str) -> Option<Value> {
    let roll = json(home, &["group", "members", name, "board", "--json"]);
    roll["members"].as_array().expect("a list").iter().find(|it| it["key"] == key).cloned()
}

/// Waits until all of `names` see that the key is a member, or none.
fn until_member(home: &Home, names: &[&str], key: &str, member: bool) {
    eventually(&format!("{key} is a member: {member}"), || {
        let sees = |name: &&str| person(home, name, key).is_some_and(|it| it["member"] == true) == member;
        names.iter().all(sees).then_some(())
    });
}

/// Where the note with this text stands, as `name` sees it.
fn standing(home: &Home, name: &str, text: &str) -> Option<Value> {
    let history = json(home, &["history", name, "--group", "board", "--json"]);
    history["entries"].as_array().expect("a list").iter().find(|it| it["body"] == text).cloned()
}

#[test]
fn a_closed_group_lets_a_member_in_and_out_by_vote() {
    let home = lonely();
    let all = ["node1", "node2", "node3", "node4"];
    all.iter().for_each(|name| home.init(name));
    let created = json(
        &home,
        &[
            "group",
            "create",
            "node1",
            "board",
            "--closed",
            "--founder",
            "node2",
            "--founder",
            "node3",
            "--interval",
            "50",
            "--json",
        ],
    );
    assert_eq!(created["joined"].as_array().map(Vec::len), Some(2), "{created}");
    let _running: Vec<Process> = all.iter().map(|name| home.run(name)).collect();
    let key = home.ok(&["key", "node4"]);
    let key = key.trim();
    let told = home.ok(&["group", "join", "node4", created["invitation"].as_str().expect("a text")]);
    let ask =
        told.lines().find(|line| line.contains("side-node vote")).expect("it says what members have to run").trim();
    assert!(ask.ends_with(&format!("member {key} in")), "{told}");

    // A stranger reads and does not write.
    home.ok(&["note", "node1", "--group", "board", "among founders"]);
    eventually("the stranger reads", || standing(&home, "node4", "among founders"));
    let error = home.fails(1, &["note", "node4", "--group", "board", "too early"]);
    assert!(error.contains("cannot write") && error.contains(ask), "{error}");

    // Two of three do not decide; the third does. Each runs what the newcomer was told, with its own name in it.
    for voter in FOUNDERS {
        if voter == "node3" {
            let roll = eventually("two votes are counted", || {
                let roll = json(&home, &["group", "members", "node3", "board", "--json"]);
                let counted = roll["ballots"][0]["voters"].as_array().map_or(0, Vec::len);
                (counted == 2).then_some(roll)
            });
            assert_eq!(
                (&roll["ballots"][0]["needed"], &roll["ballots"][0]["role"]),
                (&Value::from(3), &Value::from("member"))
            );
            assert!(person(&home, "node3", key).is_none_or(|it| it["member"] == false));
        }
        let words: Vec<&str> = ask.split(' ').skip(1).map(|word| if word == "MEMBER" { voter } else { word }).collect();
        home.ok(&words);
    }
    until_member(&home, &all, key, true);
    // It says its name once it may.
    eventually("its name is known", || person(&home, "node1", key).filter(|it| it["name"] == "node4"));
    eventually("the new member writes", || {
        home.side_node(&["note", "node4", "--group", "board", "let in"]).status.success().then_some(())
    });
    eventually("what it wrote is sealed", || {
        standing(&home, "node2", "let in").filter(|it| it["status"] == "sealed" || it["status"] == "final")
    });

    // Out again: what it writes from then on does not count, on all nodes alike.
    for voter in FOUNDERS {
        home.ok(&["vote", voter, "--group", "board", "member", key, "out"]);
    }
    until_member(&home, &all, key, false);
    home.ok(&["note", "node4", "--group", "board", "voted out"]);
    for name in all {
        let line =
            eventually("it is judged", || standing(&home, name, "voted out").filter(|it| it["status"] != "pending"));
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&Value::from("rejected"), &Value::from("not_member")),
            "{line}"
        );
    }
    // The others see no harm.
    home.ok(&["note", "node3", "--group", "board", "on we go"]);
    eventually("the founders go on", || standing(&home, "node1", "on we go").filter(|it| it["status"] == "sealed"));
}
