//! A node's key is rotated by one vote of the others, with real processes that are killed at every stage.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::Incoming;
use serde_json::Value;
use side_ledger::Transaction;
use side_ledger::group::Group;
use side_ledger::transaction::Transfer;
use side_node::export::{ChangeLine, Header, read_change};
use side_tests::mesh::lonely;
use side_tests::process::{Process, eventually};
use side_tests::world::Home;

const NODES: [&str; 4] = ["node1", "node2", "node3", "node4"];

/// Four nodes that vote in a group that they have founded together, running.
struct Team {
    home: Home,
    nodes: Vec<Option<Process>>,
}

impl Team {
    fn found(mode: &[&str]) -> Self {
        let home = lonely();
        // One group each: the key is rotated once all groups of a node have it.
        home.init("node1");
        let invitation = home.ok(&["invite", "node1"]);
        for name in &NODES[1..] {
            home.ok(&["init", name, "--join", invitation.trim()]);
        }
        let create = ["group", "create", "node1", "team", "--allocate", "node1=500", "--allocate", "node3=500"];
        let founders = ["--founder", "node2", "--founder", "node3", "--founder", "node4", "--interval", "100"];
        home.ok(&[&create[..], &founders, mode].concat());
        for name in NODES {
            home.ok(&["group", "use", name, "team"]);
            home.ok(&["group", "leave", name, "side"]);
        }
        let nodes = NODES.iter().map(|name| Some(home.run(name))).collect();
        let team = Self { home, nodes };
        team.note("node2", "we are here");
        team
    }

    fn status(&self, name: &str) -> Value {
        self.home.status(name)
    }

    fn note(&self, name: &str, text: &str) {
        self.home.ok(&["note", name, text]);
        self.sealed(&NODES, text);
    }

    /// Waits until these nodes show the note in a block.
    fn sealed(&self, names: &[&str], text: &str) {
        eventually(&format!("{text:?} is in a block"), || {
            let there = |name: &&str| standing(&self.home, name, text).is_some_and(|status| status != "pending");
            names.iter().all(there).then_some(())
        });
    }

    fn kill(&mut self, at: usize) {
        self.nodes[at].as_mut().expect("it runs").kill_9();
        self.nodes[at] = Some(self.home.start(NODES[at]));
    }
}

/// How it stands with the note of this text.
fn standing(home: &Home, name: &str, text: &str) -> Option<String> {
    let history: Value = serde_json::from_str(&home.ok(&["history", name, "--json"])).expect("JSON");
    let entries = history["entries"].as_array().expect("a list");
    entries.iter().find(|entry| entry["body"] == text).and_then(|entry| Some(entry["status"].as_str()?.to_owned()))
}

fn json(home: &Home, args: &[&str]) -> Value {
    serde_json::from_str(&home.ok(args)).expect("JSON")
}

fn keys(of: &Value) -> Vec<String> {
    let list = of.as_array().expect("a list").iter();
    list.map(|who| who["key"].as_str().expect("a key").to_owned()).collect()
}

/// How the group's roll has a key.
fn person(home: &Home, name: &str, key: &str) -> Value {
    let roll = json(home, &["group", "members", name, "team", "--json"]);
    let members = roll["members"].as_array().expect("a list").iter();
    members.clone().find(|member| member["key"] == key).expect("the key is known").clone()
}

fn balance(home: &Home, name: &str, key: &str) -> u64 {
    let roll = json(home, &["group", "members", name, "team", "--json"]);
    let members = roll["members"].as_array().expect("a list").clone();
    members.iter().find(|member| member["key"] == key).map_or(0, |member| member["balance"].as_u64().expect("a number"))
}

/// Somebody has got hold of the old key, and writes with it what everybody takes in.
fn write_with(old: &Path, home: &Home, reader: &str, to: &str) -> String {
    let mut seed = [0; 32];
    hex::decode_to_slice(fs::read_to_string(old).expect("the old key is kept").trim(), &mut seed).expect("a seed");
    let thief = Keypair::from_seed(&seed);
    let genesis = home.genesis(reader);
    let mut group = Group::open(genesis.clone(), Some(thief.author()), Default::default());
    let export = home.ok(&["export", reader]);
    let changes: Vec<Incoming> = export
        .lines()
        .skip(1)
        .map(|line| read_change(line.as_bytes(), &genesis).expect("a line of an export"))
        .collect();
    group.apply_batch(changes);
    let steal = Transfer { to: Keypair::from_seed(&[9; 32]).author(), amount: 1 };
    let written = group.write(&[Transaction::from(steal)], &thief, 1).expect("it writes");
    let file = home.path().join("stolen.jsonl");
    let line = ChangeLine::of(&written.change.clone().into(), &genesis).line();
    fs::write(&file, format!("{}\n{line}\n", Header::new(&genesis, 1).line())).expect("a file");
    home.ok(&["import", to, file.to_str().expect("a path")]);
    written.change.id().to_string()
}

/// The rotation of one node from the command to the end; `stages` says whether it is killed at every stage.
fn rotate(team: &mut Team, at: usize, killed: bool) {
    let name = NODES[at];
    let others: Vec<&str> = NODES.into_iter().filter(|other| *other != name).collect();
    let old = team.status(name)["key"].as_str().expect("a key").to_owned();
    let before = balance(&team.home, others[0], &old);
    assert!(before > 0 && keys(&team.status(others[0])["voters"]).contains(&old));
    // A running node has read its key.
    let error = team.home.fails(1, &["key", "rotate", name]);
    assert!(error.contains("stop the node first"), "{error}");
    team.nodes[at].as_mut().expect("it runs").stop();
    let prepared = json(&team.home, &["key", "rotate", name, "--json"]);
    assert_eq!(prepared["old"], old.as_str());
    assert_eq!(prepared, json(&team.home, &["key", "rotate", name, "--json"]), "the same when it is said again");
    let new = prepared["new"].as_str().expect("a key").to_owned();
    team.nodes[at] = Some(team.home.start(name));
    if killed {
        thread::sleep(Duration::from_millis(300));
        team.kill(at);
    }
    // Everybody sees the proposal, and what it takes.
    let proposed = |team: &Team, by: &str| {
        eventually(&format!("{by} sees the proposal"), || {
            let line = team.status(by)["rotations"].get(0).cloned()?;
            (line["stage"] == "proposed").then_some(line)
        })
    };
    for by in NODES {
        let line = proposed(team, by);
        assert_eq!((&line["key"], &line["new"]), (&Value::from(old.as_str()), &Value::from(new.as_str())));
        assert_eq!((&line["approvals"], &line["needed"]), (&Value::from(0), &Value::from(3)));
    }
    assert!(team.home.ok(&["status", name]).contains("0 of 3 approvals"));
    if killed {
        team.kill(at);
    }
    // Whoever was told other digits does not approve, nor who was told too few, nor the node itself.
    let error = team.home.fails(1, &["vote", others[0], "key", &old, "00000000"]);
    assert!(error.contains("do not approve"), "{error}");
    assert!(team.home.fails(2, &["vote", others[0], "key", &old, &new[..4]]).contains("first 8 digits"));
    eventually("the node that is rotated answers", || {
        team.home.side_node(&["status", name]).status.success().then_some(())
    });
    assert!(team.home.fails(1, &["vote", name, "key", &old, &new]).contains("the others decide"));
    for other in &others {
        team.home.ok(&["vote", other, "key", &old, &new[..8]]);
    }
    if killed {
        for pause_ms in [0, 150, 400, 900] {
            thread::sleep(Duration::from_millis(pause_ms));
            team.kill(at);
        }
    }
    // Balance, name and seat are the new key's, and the node goes on under it.
    eventually(&format!("{name} goes on under its new key"), || {
        let status: Value = serde_json::from_slice(&team.home.side_node(&["status", name, "--json"]).stdout).ok()?;
        (status["key"] == new.as_str()).then_some(())
    });
    for by in NODES {
        eventually(&format!("{by} counts the new key as a voter, and nothing of the old one"), || {
            let status = team.status(by);
            let (voters, sealers) = (keys(&status["voters"]), keys(&status["sealers"]));
            let there = voters.contains(&new) && voters.len() == 4 && !voters.contains(&old) && !sealers.contains(&old);
            (there && status["rotations"] == Value::Array(Vec::new())).then_some(())
        });
        assert_eq!((balance(&team.home, by, &old), balance(&team.home, by, &new)), (0, before));
        let gone = person(&team.home, by, &old);
        assert_eq!((&gone["replaced_by"], &gone["member"]), (&Value::from(new.as_str()), &Value::from(false)));
    }
    let folder = team.home.node(name).join("keys");
    let retired = folder.join("retired").join(format!("{old}.key"));
    assert!(!folder.join("rotation.json").exists() && !folder.join("next.key").exists() && retired.exists());
    assert_eq!(team.home.ok(&["key", name]).trim(), new);
    // Blocks go on, and the node writes in them under its old name.
    team.note(name, "under my new key");
    team.note(others[1], "and mine is as it was");
    assert!(team.home.ok(&["history", others[0]]).contains(&format!("{name}: under my new key")));
    // What the old key writes now is in a block and does not count.
    let stolen = write_with(&retired, &team.home, others[0], others[0]);
    team.note(others[1], "after the theft");
    let entry = eventually("a block has what the old key wrote", || {
        let history = json(&team.home, &["history", others[1], "--json"]);
        let entry = history["entries"].as_array()?.iter().find(|entry| entry["id"] == stolen.as_str())?.clone();
        (entry["status"] != "pending").then_some(entry)
    });
    assert_eq!((&entry["status"], &entry["reason"]), (&Value::from("rejected"), &Value::from("rotated")));
}

#[test]
fn a_sealers_key_is_rotated_by_one_vote_though_it_is_killed_at_every_stage() {
    let mut team = Team::found(&[]);
    let sealer = keys(&team.status("node1")["sealers"])[0].clone();
    let at = (0..4).find(|at| team.status(NODES[*at])["key"] == sealer.as_str()).expect("one of them seals");
    // It owns something.
    let name = NODES[at];
    let giver = if name == "node3" { "node1" } else { "node3" };
    let owned = balance(&team.home, giver, &sealer);
    team.home.ok(&["send", giver, name, "50"]);
    // Nothing is on its way to it any more when it is rotated.
    eventually("it owns more", || (balance(&team.home, giver, &sealer) == owned + 50).then_some(()));
    rotate(&mut team, at, true);
    let (old, new) = (sealer, team.status(name)["key"].clone());
    assert_eq!(Value::from(keys(&team.status(giver)["sealers"])), Value::Array(vec![new.clone()]), "its new key seals");
    // It can be done again, and by somebody who does not seal.
    let at = (0..4).find(|other| NODES[*other] == giver).expect("another one");
    rotate(&mut team, at, false);
    assert_ne!(new, Value::from(old));
}

#[test]
fn a_key_is_rotated_where_four_agree_on_blocks() {
    let mut team = Team::found(&["--sealing", "bft"]);
    rotate(&mut team, 2, true);
    // It agrees with the others under its new key: three of four are enough, so one of them can be gone.
    let status = eventually("four seal", || {
        let status = team.status("node1");
        (keys(&status["sealers"]).len() == 4).then_some(status)
    });
    assert!(keys(&status["sealers"]).contains(&team.status("node3")["key"].as_str().expect("a key").to_owned()));
    team.nodes[3].take().expect("it runs").kill_9();
    team.home.ok(&["note", "node1", "three are enough"]);
    team.sealed(&["node1", "node2", "node3"], "three are enough");
}

#[test]
fn what_is_in_the_way_of_a_rotation_is_said_before_it_begins() {
    let home = lonely();
    home.init("node1");
    let error = home.fails(1, &["key", "rotate", "node1"]);
    assert!(error.contains("nobody could approve") && error.contains("only voter"), "{error}");
    assert!(!home.node("node1").join("keys").join("next.key").exists());
}
