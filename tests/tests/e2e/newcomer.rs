//! A newcomer in real processes: the state first, kill -9 in the midst of the history that follows, proofs by whoever has it, checked by whoever has nothing.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;
use side_tests::attacker::{Attacker, key};
use side_tests::process::eventually;
use side_tests::wire::Wire;
use side_tests::world::{Home, Watcher, program};

/// Notes that the newcomer lacks.
const HISTORY: usize = 3_000;
/// Bytes that reach the newcomer before it is killed: the state and a part of the history, which takes some 300 bytes a note.
const BEFORE: usize = 500_000;
/// Notes in a frame.
const FRAME: usize = 250;

fn number(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// Runs `verify` with nothing but a proof.
fn verify(proof: &str, args: &[&str]) -> (bool, Value) {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let mut command = program("side-node");
    command.env("HOME", empty.path()).env("SIDE_HOME", empty.path()).current_dir(empty.path());
    let mut child = command
        .args(["verify", "--json"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("side-node starts");
    child.stdin.take().expect("a pipe").write_all(proof.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn a_newcomer_that_is_killed_amid_the_history_goes_on_with_what_it_has() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(data.path());
    let home = Home::new(&watcher.url());
    home.init("node1");
    // Nobody reaches it but by the relay.
    std::fs::write(home.node("node1").join("config.toml"), "announce = [\"127.0.0.1:1\"]\n").expect("a configuration");
    let mut founder = home.run("node1");
    let mut carol = Attacker::join(&watcher.url(), &home.genesis("node1"), key(3));
    let notes: Vec<_> = (0..HISTORY).map(|n| carol.note(&format!("note {n}"))).collect();
    for frame in notes.chunks(FRAME) {
        carol.send_changes(frame);
        let sent = carol.sent();
        carol.until("the relay has it", |carol| carol.acknowledged >= sent);
    }
    let full = eventually("everything is sealed and held", || {
        let status = home.status("node1");
        let done = number(&status, "/changes") > HISTORY as u64
            && number(&status, "/pending") == 0
            && status["height"] == status["held_height"];
        done.then_some(status)
    });
    let invitation = home.ok(&["invite", "node1"]);
    let invitation = invitation.trim();

    let wire = Wire::to(watcher.url().trim_start_matches("ws://").parse().expect("an address"));
    wire.allow(Some(BEFORE));
    let elsewhere = Home::new(&format!("ws://{}", wire.address()));
    elsewhere.ok(&["init", "node2", "--join", invitation]);
    let mut newcomer = elsewhere.run("node2");
    // The state is there while most of the history is not.
    let status = eventually("some of the history is there", || {
        let status = elsewhere.status("node2");
        (number(&status, "/backfill/have") > 1).then_some(status)
    });
    newcomer.kill_9();
    wire.allow(None);
    assert!(number(&status, "/height") >= number(&full, "/height"), "{status}");
    assert_eq!(status["may_seal"], false);
    let (have, want) = (number(&status, "/backfill/have"), number(&status, "/backfill/want"));
    assert!(have < want && want >= HISTORY as u64, "{status}");
    // What was on disk stays, and so does what it means.
    let stopped = elsewhere.status("node2");
    assert_eq!(stopped["document"], "incomplete");
    assert!(number(&stopped, "/changes") >= have, "{stopped}");
    let mut again = elsewhere.run("node2");
    let done = eventually("the whole history is there", || {
        let status = elsewhere.status("node2");
        (status["document"] == "complete" && status["may_seal"] == true).then_some(status)
    });
    assert_eq!(done["backfill"], Value::Null);
    eventually("both show the same", || {
        let (one, two) = (home.status("node1"), elsewhere.status("node2"));
        let same = ["digest", "height", "block", "state_root"].iter().all(|field| one[field] == two[field]);
        same.then_some(())
    });
    // The newcomer proves what it never saw happen, and whoever has nothing checks it.
    let proof = elsewhere.ok(&["proof", "node2", &notes[HISTORY / 2].id().to_string()]);
    let group = full["group"].as_str().expect("an id");
    let (good, shown) = verify(&proof, &["--group", group]);
    assert!(good && shown["transactions"][0]["body"] == format!("note {}", HISTORY / 2), "{shown}");
    let (good, _) = verify(&proof, &["--invitation", invitation]);
    assert!(good);
    let (good, _) = verify(&proof.replacen("AB", "BA", 1), &["--group", group]);
    assert!(!good);
    again.stop();
    founder.stop();
}
