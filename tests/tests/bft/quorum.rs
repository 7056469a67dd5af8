//! Three of four are enough, two are not.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use side_tests::mesh::Mesh;
use side_tests::process::eventually;

use super::support::{Bank, GROUP, NODES, agree, final_height, note, status};

/// For how long nothing must become final: views of several leaders end in it.
const SILENCE: Duration = Duration::from_secs(12);

#[test]
fn blocks_continue_whichever_of_four_sealers_is_killed() {
    let mut bank = Bank::open("0");
    note(&bank.home, "node1", "all are there");
    let mut height = bank.agree(0);
    for at in 0..4 {
        bank.kill(at);
        let writer = NODES[(at + 1) % 4];
        note(&bank.home, writer, &format!("without {}", NODES[at]));
        height = bank.agree(height);
        note(&bank.home, writer, &format!("still without {}", NODES[at]));
        height = bank.agree(height);
        // It comes back, follows, and takes part: the next one to be killed leaves it among three.
        bank.run(at);
        note(&bank.home, NODES[at], &format!("{} is back", NODES[at]));
        height = bank.agree(height);
    }
    // The nodes' first group goes on beside it, led by one of them.
    let shown = |name: &str| bank.home.status(name);
    assert_eq!((shown("node1")["mode"].as_str(), shown("node1")["final_height"].as_u64()), (Some("leader"), None));
}

#[test]
fn transfers_are_final_and_nothing_is_spent_twice() {
    let bank = Bank::open("1");
    for round in 0..5 {
        bank.home.ok(&["send", "node1", "node2", "100", "--group", GROUP]);
        // What node2 does not own yet waits for nothing: it is refused or it follows.
        bank.home.ok(&["send", "node2", "node3", "60", "--group", GROUP]);
        note(&bank.home, "node4", &format!("round {round}"));
    }
    bank.agree(0);
    let balances: Value =
        serde_json::from_str(&bank.home.ok(&["balance", "node3", "--group", GROUP, "--json"])).expect("JSON");
    let amounts = balances["accounts"].as_array().expect("accounts");
    let sum: u64 = amounts.iter().map(|account| account["balance"].as_u64().expect("a number")).sum();
    assert_eq!(sum, 1_000, "{balances}");
}

/// Writes in the group, on a node in a root of its own.
fn say(mesh: &Mesh, at: usize, text: &str) {
    let island = &mesh.nodes[at];
    island.home.ok(&["note", &island.name, "--group", GROUP, text]);
}

fn shown(mesh: &Mesh, nodes: &[usize]) -> Vec<Value> {
    nodes.iter().map(|at| status(&mesh.nodes[*at].home, &mesh.nodes[*at].name)).collect()
}

#[test]
fn two_cut_from_two_make_no_block_and_go_on_when_the_lines_are_back() {
    let mesh = Mesh::start(4);
    let founder = &mesh.nodes[0];
    let keys: Vec<String> = mesh.nodes[1..].iter().map(|node| node.key.clone()).collect();
    let mut create = vec!["group", "create", founder.name.as_str(), GROUP, "--sealing", "bft", "--interval", "200"];
    keys.iter().for_each(|key| create.extend(["--founder", key]));
    founder.home.ok(&create);
    let invitation = founder.home.ok(&["group", "invite", &founder.name, GROUP]);
    for node in &mesh.nodes[1..] {
        node.home.ok(&["group", "join", &node.name, invitation.trim()]);
    }
    let all = [0, 1, 2, 3];
    say(&mesh, 2, "all are there");
    let before = agree(|| shown(&mesh, &all), 0);

    mesh.cut(&[0, 1]);
    for at in all {
        eventually("the others are gone", || {
            let status = &shown(&mesh, &[at])[0];
            (side_tests::mesh::direct_links(status) == 1).then_some(())
        });
    }
    say(&mesh, 0, "on this side");
    say(&mesh, 3, "on that side");
    eventually("both sides have something new", || {
        shown(&mesh, &all).iter().all(|status| status["pending"] == 1).then_some(())
    });
    let until = Instant::now() + SILENCE;
    while Instant::now() < until {
        for status in shown(&mesh, &all) {
            assert_eq!(final_height(&status), before, "a block without a quorum");
        }
        thread::sleep(Duration::from_millis(500));
    }
    mesh.heal(&[0, 1]);
    let healed = agree(|| shown(&mesh, &all), before);
    say(&mesh, 1, "and on");
    agree(|| shown(&mesh, &all), healed);
}
