//! Exporting a group's changes and importing them elsewhere, through running and stopped nodes, from good files and bad ones.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use side_node::api::client::{ApiError, Client};
use side_node::api::control::Verb;
use side_node::daemon::exchange::ImportReport;
use side_node::daemon::offline;
use side_node::daemon::view::Status;
use side_node::error::CommandError;

use crate::support::{NOWHERE, TestRoot};

fn exported(test: &TestRoot, name: &str) -> String {
    let mut file = String::new();
    offline::export(&test.root, &test.root.node(name), None, |line| -> Result<(), CommandError> {
        file.push_str(line);
        file.push('\n');
        Ok(())
    })
    .unwrap();
    file
}

/// Into a stopped node.
fn imported(test: &TestRoot, name: &str, file: &[u8]) -> ImportReport {
    let mut lines: VecDeque<(Vec<u8>, bool)> = Vec::new().into();
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let ended = line.ends_with(b"\n");
        lines.push_back((line[..line.len() - usize::from(ended)].to_vec(), ended));
    }
    offline::import(&test.root, &test.root.node(name), None, || Ok(lines.pop_front())).unwrap()
}

async fn sent(client: &Client, file: &[u8], piece: usize) -> Result<ImportReport, ApiError> {
    let pieces: Vec<_> = file.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    client.import(stream::iter(pieces)).await
}

fn status(test: &TestRoot, name: &str) -> Status {
    let answer = offline::answer(&test.root, &test.root.node(name), None, Verb::Status).unwrap();
    serde_json::from_value(answer).unwrap()
}

fn note(test: &TestRoot, name: &str, text: &str) {
    offline::answer(&test.root, &test.root.node(name), None, Verb::Note { text: text.to_owned() }).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_node_that_takes_in_a_file_holds_the_same() {
    let test = TestRoot::new();
    for name in ["node1", "node2", "node3"] {
        test.init(name);
    }
    let daemon = test.start("node1", NOWHERE).await;
    // More than one batch.
    for number in 0..600 {
        daemon.mailbox().note(&format!("note {number}")).await.unwrap();
    }
    let client = Client::of(&test.root.node("node1"));
    let mut file = Vec::new();
    let mut pieces = client.export().await.unwrap();
    while let Some(piece) = pieces.next().await {
        file.extend_from_slice(&piece.unwrap());
    }
    let digest = daemon.mailbox().status().await.unwrap().digest;
    daemon.stop().await.unwrap();
    assert!(exported(&test, "node1").as_bytes() == file, "the stopped node writes the same file");
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 602);

    // Into one that is stopped.
    let report = imported(&test, "node2", &file);
    assert_eq!((report.lines, report.expected, report.new, report.known), (602, 601, 601, 0));
    assert!(report.complete && report.problem.is_none() && report.aside == 0, "{report:?}");
    assert_eq!(status(&test, "node2").digest, digest);
    let report = imported(&test, "node2", &file);
    assert_eq!((report.new, report.known, report.complete), (0, 601, true));

    // Into one that runs, in pieces that cut lines apart.
    let daemon = test.start("node3", NOWHERE).await;
    let client = Client::of(&test.root.node("node3"));
    let report = sent(&client, &file, 1_000).await.unwrap();
    assert_eq!((report.new, report.complete), (601, true), "{report:?}");
    daemon.stop().await.unwrap();
    // Node 3 has claimed its own name as well.
    let after: Vec<String> = exported(&test, "node3").lines().map(str::to_owned).collect();
    assert_eq!(after.len(), 603);
    assert!(String::from_utf8(file).unwrap().lines().skip(1).all(|line| after.contains(&line.to_owned())));
}

#[test]
fn a_bad_line_is_named_and_what_stands_before_it_is_in() {
    let test = TestRoot::new();
    for name in ["node1", "node2"] {
        test.init(name);
    }
    for text in ["one", "two", "three"] {
        note(&test, "node1", text);
    }
    let good = exported(&test, "node1");
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 5);
    // A byte of the third line.
    let at = lines[0].len() + lines[1].len() + 100;
    let mut bad = good.clone().into_bytes();
    bad[at] ^= 1;
    let report = imported(&test, "node2", &bad);
    assert!(report.problem.as_deref().is_some_and(|problem| problem.starts_with("line 3: ")), "{report:?}");
    assert_eq!((report.lines, report.new, report.complete), (2, 1, false));
    assert_eq!(status(&test, "node2").changes, 1);

    // Cut off within a line, and between two.
    let cut = lines[0].len() + lines[1].len() + lines[2].len() + 50;
    let report = imported(&test, "node2", &good.as_bytes()[..cut]);
    let problem = report.problem.unwrap();
    assert!(problem.starts_with("line 4: ") && problem.contains("the file ends in this line"), "{problem}");
    assert_eq!((report.new, report.known), (1, 1));
    let report = imported(&test, "node2", lines[..4].concat().as_bytes());
    assert_eq!(report.problem.as_deref(), Some("the file ends after line 4: it has 3 of 4 changes"));
    assert_eq!((report.new, report.known), (1, 2));

    // The last line may lack its end; one change too many is refused.
    let report = imported(&test, "node2", good.trim_end().as_bytes());
    assert!(report.complete && report.new == 1, "{report:?}");
    let report = imported(&test, "node2", format!("{good}{}", lines[4]).as_bytes());
    assert!(report.problem.unwrap().starts_with("line 6: "));
    assert_eq!(status(&test, "node2").digest, status(&test, "node1").digest);

    for (file, words) in [("", "empty"), ("\n", "line 1: "), ("{}\n", "line 1: "), ("nonsense", "line 1: ")] {
        let report = imported(&test, "node2", file.as_bytes());
        assert!(!report.complete && report.problem.as_deref().unwrap().contains(words), "{report:?}");
    }
    let long = vec![b'x'; side_node::export::MAX_HEADER_LINE_BYTES + 1];
    assert!(imported(&test, "node2", &long).problem.unwrap().contains("longer than"));
    // A line of a change may be longer than the header, and has a bound as well.
    let change = |length: usize| [lines[0].as_bytes(), &vec![b'x'; length]].concat();
    let report = imported(&test, "node2", &change(side_node::export::MAX_LINE_BYTES));
    assert!(report.problem.unwrap().starts_with("line 2: it does not read"));
    let report = imported(&test, "node2", &change(side_node::export::MAX_LINE_BYTES + 1));
    assert!(report.problem.unwrap().starts_with("line 2: it is longer than"));

    // Changes whose causes the file does not have wait, and are not on disk.
    test.init("node3");
    let later = format!("{}{}", lines[0], lines[3]);
    let report = imported(&test, "node3", later.as_bytes());
    assert_eq!((report.new, report.aside, report.complete), (0, 1, false), "{report:?}");
    assert_eq!(status(&test, "node3").changes, 0);

    // The same line twice is taken in once.
    let twice = format!("{}{}{}{}", lines[0], lines[1], lines[1], lines[2]);
    let report = imported(&test, "node3", twice.as_bytes());
    assert_eq!((report.new, report.known, report.lines), (2, 1, 4), "{report:?}");
    assert_eq!(status(&test, "node3").changes, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_refuses_another_groups_file_and_any_flipped_byte() {
    let test = TestRoot::new();
    for name in ["node1", "node2"] {
        test.init(name);
    }
    test.found("stranger", "team");
    note(&test, "stranger", "theirs");
    note(&test, "node1", "ours");
    let (ours, theirs) = (exported(&test, "node1"), exported(&test, "stranger"));
    let daemon = test.start("node2", NOWHERE).await;
    let client = Client::of(&test.root.node("node2"));
    let changes = daemon.mailbox().status().await.unwrap().changes;
    let report = sent(&client, theirs.as_bytes(), 10_000).await.unwrap();
    assert!(report.problem.as_deref().unwrap().starts_with("line 1: the file is of group "), "{report:?}");
    // Their changes under our header.
    let mixed =
        format!("{}\n{}\n", ours.lines().next().unwrap(), theirs.lines().skip(1).collect::<Vec<_>>().join("\n"));
    let report = sent(&client, mixed.as_bytes(), 10_000).await.unwrap();
    assert_eq!(report.problem.as_deref(), Some("line 2: its change belongs to another group"));
    assert_eq!(daemon.mailbox().status().await.unwrap().changes, changes);

    let begin = ours.find('\n').unwrap() + 1;
    let second = begin + ours[begin..].find('\n').unwrap() + 1;
    for at in (begin..ours.len() - 1).step_by(7) {
        let mut bad = ours.clone().into_bytes();
        bad[at] ^= 1;
        let report = sent(&client, &bad, 10_000).await.unwrap();
        let line = if at < second { "line 2: " } else { "line 3: " };
        // A line that is split or joined is told by where it went wrong first.
        let problem = report.problem.unwrap_or_else(|| panic!("byte {at} went through"));
        assert!(problem.starts_with(line), "byte {at}: {problem}");
    }
    assert!(sent(&client, ours.as_bytes(), 10_000).await.unwrap().complete);
    daemon.stop().await.unwrap();
}
