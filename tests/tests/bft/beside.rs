//! Two groups at once on the same four nodes: the one that they agree on, and beside it the one that one of them leads.

use std::collections::BTreeSet;

use serde_json::Value;
use side_tests::process::eventually;

use super::support::{Bank, GROUP, NODES, note};

/// The group of the first `init`, which is led by node1 and is every console's.
const LED: &str = "side";

fn json(bank: &Bank, args: &[&str]) -> Value {
    serde_json::from_str(&bank.home.ok(&[args, &["--json"]].concat())).expect("JSON")
}

/// Waits until all that run show the same block of the led group above `height`, held by enough voters, and nothing is pending; its height.
fn led(bank: &Bank, height: u64) -> u64 {
    eventually("the led group's block is held on all", || {
        let shown: Vec<Value> = bank.running().into_iter().map(|name| bank.home.status(name)).collect();
        let tip = |status: &Value| (status["height"].as_u64(), status["block"].clone(), status["state_root"].clone());
        let same = shown.iter().all(|status| tip(status) == tip(&shown[0]) && status["pending"] == 0);
        let reached = shown[0]["height"].as_u64().filter(|reached| *reached > height)?;
        let held = shown.iter().all(|status| status["held_height"].as_u64() == Some(reached));
        shown.iter().for_each(|status| assert_eq!(status["offences"], Value::Array(Vec::new()), "nobody lies here"));
        (same && held).then_some(reached)
    })
}

/// When the blocks of a group were made.
fn times(bank: &Bank, group: &str) -> BTreeSet<u64> {
    let blocks = json(bank, &["blocks", "node2", "--group", group]);
    let blocks = blocks["blocks"].as_array().expect("a list");
    blocks.iter().map(|block| block["time_ms"].as_u64().expect("a time")).collect()
}

/// A node types a line for the led group and writes one for the other.
fn write(bank: &mut Bank, at: usize, text: &str) {
    let process = bank.nodes[at].as_mut().expect("it runs");
    assert!(process.type_line(text), "{}", process.report());
    note(&bank.home, NODES[at], text);
}

/// Both groups get on above these heights.
fn both(bank: &Bank, [final_before, led_before]: [u64; 2]) -> [u64; 2] {
    [bank.agree(final_before), led(bank, led_before)]
}

#[test]
fn two_groups_at_once_on_the_same_nodes_one_agreed_on_and_one_led() {
    let mut bank = Bank::open("0");
    eventually("all four vote in the led group, too", || {
        let voters = |name| bank.home.status(name)["voters"].as_array().map(Vec::len);
        NODES.into_iter().all(|name| voters(name) == Some(4)).then_some(())
    });
    let mut heights = [0, 0];
    for round in 0..4 {
        (0..4).for_each(|at| write(&mut bank, at, &format!("{round} from {}", NODES[at])));
        bank.home.ok(&["send", "node1", "node2", "10", "--group", GROUP]);
        heights = both(&bank, heights);
    }
    // Each has blocks from between two blocks of the other one: neither waits for the other.
    let (agreed, by_leader) = (times(&bank, GROUP), times(&bank, LED));
    let between = |these: &BTreeSet<u64>, those: &BTreeSet<u64>| {
        these
            .iter()
            .filter(|at| those.range(..**at).next().is_some() && those.range(*at + 1..).next().is_some())
            .count()
    };
    assert!(between(&agreed, &by_leader) >= 2 && between(&by_leader, &agreed) >= 2, "{agreed:?} {by_leader:?}");

    // A node that leads neither group by itself for good: both go on without anybody's doing anything.
    bank.kill(2);
    for round in 0..2 {
        write(&mut bank, 0, &format!("{round} without node3"));
        write(&mut bank, 3, &format!("{round} without node3, too"));
        heights = both(&bank, heights);
    }
    bank.run(2);
    write(&mut bank, 2, "node3 is back");
    heights = both(&bank, heights);

    // The node that leads the led group: there people have to vote, the other group goes on by itself.
    bank.kill(0);
    write(&mut bank, 1, "without node1");
    heights[0] = bank.agree(heights[0]);
    let stands = |name: &str| bank.home.status(name)["height"].as_u64();
    assert_eq!(stands("node2"), Some(heights[1]), "nobody else seals there");
    for name in ["node2", "node3", "node4"] {
        bank.home.ok(&["vote", name, "leader", "node2", "--group", LED]);
    }
    heights[1] = led(&bank, heights[1]);
    bank.run(0);
    write(&mut bank, 0, "node1 is back");
    both(&bank, heights);

    // In the end all have the same of both, and nothing of one is in the other.
    for group in [GROUP, LED] {
        let digest = |name| json(&bank, &["history", name, "--group", group])["digest"].clone();
        eventually(&format!("the same history of {group}"), || {
            NODES.into_iter().all(|name| digest(name) == digest("node1")).then_some(())
        });
    }
    let [agreed, by_leader] = [GROUP, LED].map(|group| json(&bank, &["status", "node3", "--group", group]));
    assert_eq!((&agreed["epoch"], &agreed["mode"]), (&Value::from(0), &Value::from("bft")), "nobody voted there");
    assert_eq!(by_leader["epoch"].as_u64().map(|epoch| epoch > 0), Some(true));
    let balance = |name| json(&bank, &["balance", name, "--group", GROUP])["balance"].clone();
    assert_eq!((balance("node1"), balance("node2")), (Value::from(960), Value::from(40)));
}
