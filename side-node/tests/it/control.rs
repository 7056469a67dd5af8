//! One process a folder, the control socket, and working on a node that is stopped.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use side_node::api::client;
use side_node::api::control::{MAX_CONNECTIONS, MAX_REQUEST_BYTES, Verb};
use side_node::api::routes::MAX_STREAMS;
use side_node::daemon::view::{Accepted, History, Peers, Status};
use side_node::daemon::{Daemon, offline};
use side_node::home::NodeHome;

use crate::support::{NOWHERE, PATIENCE, TestRoot, history, notes, said};

async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(home: &NodeHome, verb: Verb) -> T {
    let home = home.clone();
    tokio::task::spawn_blocking(move || client::ask(&home, None, verb))
        .await
        .unwrap()
        .unwrap()
        .expect("the node is running")
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let test = TestRoot::new();
    test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    let error = Daemon::start(test.config("node1", NOWHERE)).await.unwrap_err();
    assert!(error.message().contains("already running"), "{error}");
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    daemon.stop().await.unwrap();
    test.start("node1", NOWHERE).await.stop().await.unwrap();
}

#[tokio::test]
async fn the_verbs_work_through_the_control_socket() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let home = test.root.node("node1");
    assert!(client::ask::<Status>(&home, None, Verb::Status).unwrap().is_none());
    let daemon = test.start("node1", NOWHERE).await;
    assert_eq!(std::fs::metadata(home.control_socket()).unwrap().permissions().mode() & 0o777, 0o600);

    let accepted: Accepted = ask(&home, Verb::Note { text: "hello".into() }).await;
    assert!(accepted.running);
    assert_eq!(accepted.entry.name.as_deref(), Some("node1"));
    let all: History = ask(&home, Verb::History { limit: None }).await;
    assert_eq!(notes(&all), ["hello"]);
    assert_eq!(all.entries.last().unwrap().id, accepted.entry.id);
    let last: History = ask(&home, Verb::History { limit: Some(1) }).await;
    assert_eq!((last.entries.len(), last.total), (1, 2));
    let status: Status = ask(&home, Verb::Status).await;
    assert_eq!((status.pid, status.key.as_str()), (Some(std::process::id()), made.key.as_str()));
    let peers: Peers = ask(&home, Verb::Peers).await;
    assert!(peers.members[0].this_node && peers.members[0].seq == 2);

    daemon.stop().await.unwrap();
    assert!(!home.control_socket().exists());
    assert!(client::ask::<Status>(&home, None, Verb::Status).unwrap().is_none());
}

#[tokio::test]
async fn the_control_socket_answers_nonsense_with_errors() {
    let test = TestRoot::new();
    test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    let path = test.root.node("node1").control_socket();
    let talk = move || {
        let ask = |head: &str, body: &[u8]| {
            let stream = UnixStream::connect(&path).unwrap();
            let length = body.len();
            // Whoever is refused before the end of its request may find the connection closed.
            let _ =
                write!(&stream, "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            let _ = (&stream).write_all(body);
            let mut answer = String::new();
            let _ = (&stream).read_to_string(&mut answer);
            answer
        };
        let refused = |answer: &str, status: u16, words: &str| {
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert!(body["error"]["message"].as_str().unwrap().contains(words), "{body}");
        };
        refused(&ask("GET /", b""), 404, "nothing is at /");
        refused(&ask("GET /v1/groups/-/dance", b""), 404, "nothing is at");
        refused(&ask("PUT /v1/groups/-/notes", b""), 405, "PUT");
        refused(&ask("GET /v1/groups/-/history?limit=all", b""), 400, "limit=all");
        refused(&ask("GET /v1/groups/nowhere/status", b""), 422, "nowhere");
        refused(&ask("POST /v1/groups/-/notes", b"nonsense"), 400, "does not read");
        refused(&ask("POST /v1/groups/-/notes", b"{\"text\":\"x\",\"more\":1}"), 400, "more");
        refused(&ask("POST /v1/groups/-/notes", b"{\"text\":\"\"}"), 422, "");
        let long = vec![b'x'; MAX_REQUEST_BYTES + 1];
        refused(&ask("POST /v1/groups/-/notes", &long), 400, "bytes");
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\ny:", "x".repeat(100_000));
        assert!(ask(&long, b"").starts_with("HTTP/1.1 431"), "a head without end");
        assert!(ask("GET /v1/groups/-/status", b"").contains("\"node\":\"node1\""));
        assert!(ask("GET /v1/openapi.json", b"").contains("\"openapi\": \"3.1.0\""));
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    daemon.stop().await.unwrap();
}

/// What takes long leaves half of the connections to short questions.
#[test]
fn streams_leave_connections_for_questions() {
    const { assert!(MAX_CONNECTIONS >= 2 * MAX_STREAMS) };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_the_socket_have_a_bound_and_a_place_that_is_given_up_is_free_again() {
    let test = TestRoot::new();
    test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    let path = test.root.node("node1").control_socket();
    let talk = move || {
        let mut idle: Vec<_> = (0..MAX_CONNECTIONS).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let waiting = UnixStream::connect(&path).unwrap();
        (&waiting).write_all(b"GET /v1/groups HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
        // Long enough for an answer, much shorter than an idle connection is kept.
        waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let early = (&waiting).read(&mut [0; 16]);
        assert!(early.is_err(), "more are served than there are places for");
        drop(idle.pop());
        waiting.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        (&waiting).read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_stopped_node_can_be_read_and_written() {
    let test = TestRoot::new();
    test.init("node1");
    let home = test.root.node("node1");
    let note = |text: &str| offline::answer(&test.root, &home, None, Verb::Note { text: text.into() }).unwrap();
    assert_eq!(note("before the first run")["running"], false);
    let daemon = test.start("node1", NOWHERE).await;
    daemon.mailbox().note("while running").await.unwrap();
    let running = history(&daemon).await;
    daemon.stop().await.unwrap();
    let stopped = offline::answer(&test.root, &home, None, Verb::History { limit: None }).unwrap();
    let stopped: History = serde_json::from_value(stopped).unwrap();
    assert_eq!((said(&running), &running.digest), (said(&stopped), &stopped.digest));
    note("after it");
    let stopped: History =
        serde_json::from_value(offline::answer(&test.root, &home, None, Verb::History { limit: None }).unwrap())
            .unwrap();
    assert_eq!(notes(&stopped), ["before the first run", "while running", "after it"]);
    // The name was claimed once.
    assert_eq!(stopped.entries.iter().filter(|entry| entry.kind == "name").count(), 1);
}

#[tokio::test]
async fn the_json_of_a_history_keeps_its_shape() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    daemon.mailbox().note("hello").await.unwrap();
    let json = daemon.mailbox().ask(Verb::History { limit: None }).await.unwrap();
    daemon.stop().await.unwrap();
    assert_eq!(json["group"], made.group);
    for digest in ["digest", "heads_digest"] {
        assert_eq!(json[digest].as_str().unwrap().len(), 64, "{digest}");
    }
    assert_eq!(json["heads"].as_array().unwrap().len(), 1);
    let entry = &json["entries"][1];
    assert_eq!(entry["id"], json["heads"][0]);
    assert_eq!(entry["author"], made.key);
    assert_eq!(entry["name"], "node1");
    assert_eq!(entry["seq"], 2);
    assert!(entry["time_ms"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(entry["kind"], "note");
    assert_eq!(entry["body"], "hello");
}

#[tokio::test]
async fn commands_on_a_stopped_node_wait_for_each_other() {
    let test = TestRoot::new();
    test.init("node1");
    let (root, home) = (test.root.clone(), test.root.node("node1"));
    let lock = home.lock().unwrap();
    let asking = tokio::task::spawn_blocking(move || offline::answer(&root, &home, None, Verb::Status));
    tokio::task::yield_now().await;
    drop(lock);
    assert_eq!(asking.await.unwrap().unwrap()["node"], "node1");
}
