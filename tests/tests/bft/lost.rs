//! A group that has lost its quorum for good: another one goes on from it, and everybody can check with what.

use std::collections::BTreeSet;

use serde_json::Value;
use side_tests::process::{Process, eventually};

use super::support::{Bank, GROUP, NODES, note, status};

const NEXT: &str = "bank2";

fn shown(bank: &Bank, name: &str) -> Value {
    serde_json::from_str(&bank.home.ok(&["group", "show", name, NEXT, "--json"])).expect("JSON")
}

fn balances(bank: &Bank, name: &str, group: &str) -> Value {
    serde_json::from_str(&bank.home.ok(&["balance", name, "--group", group, "--json"])).expect("JSON")
}

fn accounts(balances: &Value) -> Vec<(String, u64)> {
    let all = balances["accounts"].as_array().expect("accounts").iter();
    let mut all: Vec<(String, u64)> = all
        .map(|it| (it["key"].as_str().expect("a key").to_owned(), it["balance"].as_u64().expect("a number")))
        .collect();
    all.sort();
    all
}

#[test]
fn a_group_without_a_quorum_is_gone_on_from_with_its_last_balances_and_whoever_was_in_it_can_check() {
    let mut bank = Bank::open("0");
    let error = bank.home.fails(1, &["group", "create", "node1", NEXT, "--from", GROUP, "--founder", "node2"]);
    assert!(error.contains("cannot be gone on from"), "before the first block: {error}");
    bank.home.ok(&["send", "node1", "node2", "300", "--group", GROUP]);
    bank.home.ok(&["send", "node1", "node3", "200", "--group", GROUP]);
    let last = bank.agree(0);

    // Two of four machines are lost, and with them the quorum.
    bank.kill(2);
    bank.kill(3);
    eventually("its status says so", || {
        let problem = status(&bank.home, "node1")["sealer_problem"].clone();
        problem.as_str().is_some_and(|text| text.starts_with("2 of 4 sealers are connected")).then_some(())
    });
    bank.home.ok(&["send", "node1", "node2", "7", "--group", GROUP]);
    assert_eq!(status(&bank.home, "node1")["final_height"], last);
    let found = bank.home.side_node(&["doctor", "node1"]);
    assert_eq!(found.status.code(), Some(1));
    let found = String::from_utf8_lossy(&found.stdout);
    assert!(found.contains("2 of 4 sealers are reached, and 3 have to agree"), "{found}");
    assert!(found.contains("start the sealers that are away: node3, node4"), "{found}");

    // Two new machines and those who are left go on.
    let others: Vec<Process> = ["node5", "node6"]
        .map(|name| {
            bank.home.init(name);
            bank.home.run(name)
        })
        .into();
    let founders = ["--founder", "node2", "--founder", "node5", "--founder", "node6"];
    let text = bank.home.ok(&[&["group", "create", "node1", NEXT, "--from", GROUP][..], &founders].concat());
    assert!(text.contains("node2") && text.contains("by Byzantine agreement"), "{text}");
    let before = balances(&bank, "node1", GROUP);
    assert_eq!(before["balance"], 500, "what is pending there is not taken over");

    // Whoever is in both can check it; whoever is not is told to ask somebody who is.
    for name in ["node1", "node2"] {
        let shown = shown(&bank, name);
        assert_eq!(shown["comparison"]["verdict"], "matches", "{shown}");
        assert_eq!((&shown["origin"]["height"], &shown["supply"]), (&Value::from(last), &Value::from(1_000)));
        assert_eq!(shown["origin"]["block"], status(&bank.home, name)["block"]);
    }
    assert_eq!(shown(&bank, "node5")["comparison"]["verdict"], "unknown");
    let text = bank.home.ok(&["group", "show", "node2", NEXT]);
    assert!(text.contains("goes on    from group") && text.contains("matches the accounts of group bank"), "{text}");

    // It has the balances and a quorum.
    bank.home.ok(&["send", "node2", "node5", "50", "--group", NEXT]);
    eventually("the new group seals", || {
        let amounts: BTreeSet<u64> =
            accounts(&balances(&bank, "node6", NEXT)).into_iter().map(|(_, amount)| amount).collect();
        (amounts == BTreeSet::from([50, 200, 250, 500])).then_some(())
    });
    // The members of the old group are told there, sealer or not, with an invitation that leads in.
    let history: Value =
        serde_json::from_str(&bank.home.ok(&["history", "node2", "--group", GROUP, "--json"])).expect("JSON");
    let entries = history["entries"].as_array().expect("entries").iter();
    let words = entries.filter_map(|entry| entry["body"].as_str()).flat_map(str::split_whitespace);
    let invitation = words.into_iter().find(|word| word.starts_with("side://"));
    let invitation = invitation.expect("a note with an invitation").to_owned();

    // The counter-example: the lost ones were not lost. The old group goes on, and both claim the same units; that is shown.
    bank.run(2);
    bank.run(3);
    note(&bank.home, "node3", "we are back");
    bank.agree(last);
    eventually("whoever looks is warned", || {
        (shown(&bank, "node2")["comparison"]["verdict"] == "gone_on").then_some(())
    });
    bank.home.ok(&["group", "join", "node3", invitation.as_str()]);
    assert_eq!(shown(&bank, NODES[2])["comparison"]["verdict"], "gone_on");
    drop(others);
}
