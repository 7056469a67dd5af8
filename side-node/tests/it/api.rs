//! The API of running nodes: every answer has the form that docs/api/openapi.json describes, following goes on across a restart, and the page serves what only reads.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use side_node::api::client::{ApiError, Client, Followed};
use side_node::api::control::Ballot;
use side_node::api::routes::{MAX_STREAMS, ROUTES};
use side_node::daemon::glance::Told;
use side_node::home::NodeHome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::schema::Document;
use crate::support::{NOWHERE, PATIENCE, TestRoot, notes, relay, until};

/// Asks with nothing but a socket, as curl does: the status and the body. `until` ends an answer that would go on.
async fn raw(
    home: &NodeHome,
    method: &str,
    path: &str,
    accept: &str,
    body: &str,
    until: Option<&str>,
) -> (u16, String) {
    let mut stream = UnixStream::connect(home.control_socket()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nhost: localhost\r\naccept: {accept}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            if read == 0 || until.is_some_and(|until| text.contains(until) && text.ends_with('\n')) {
                return;
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_the_document_says() {
    let document = Document::read();
    let test = TestRoot::new();
    let (made, _) = (test.init("node1"), test.init("node2"));
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let one = test.start("node1", &server.url()).await;
    let two = test.start("node2", &server.url()).await;
    until(&one, "two voters", |status| status.voters.len() == 2).await;
    let home = test.root.node("node1");
    let mut asked = BTreeSet::new();
    let mut ask = async |method: &'static str, path: &'static str, real: &str, body: Value| -> Value {
        asked.insert((method, path));
        let (status, text) = raw(&home, method, real, "*/*", &body.to_string(), None).await;
        assert_eq!(status, 200, "{real}: {text}");
        let value = serde_json::from_str(&text).unwrap();
        document.assert(document.answer(&method.to_lowercase(), path), &value);
        value
    };
    let g = "/v1/groups/{group}";
    let post = |rest: &'static str| -> &'static str { Box::leak(format!("{g}{rest}").into_boxed_str()) };
    let note = ask("POST", post("/notes"), "/v1/groups/-/notes", json!({ "text": "hello" })).await;
    ask("POST", post("/transfers"), "/v1/groups/-/transfers", json!({ "to": "node2", "amount": 5 })).await;
    ask("POST", post("/transfers"), "/v1/groups/-/transfers", json!({ "to": "node2", "amount": 50_000_000 })).await;
    ask("POST", post("/votes"), "/v1/groups/-/votes", json!({ "on": "interval", "ms": 900 })).await;
    let word = json!({ "kind": "swap.cancel", "body": { "swap": "00".repeat(32), "to": made.key } });
    ask("POST", post("/swap-words"), "/v1/groups/-/swap-words", word).await;
    until(&one, "all is sealed", |status| status.pending == 0).await;
    ask("POST", post("/invitations"), "/v1/groups/-/invitations", json!({ "secret": true })).await;
    // The whole history once, so that every kind of entry and of standing is in it.
    for (path, real) in [
        ("/v1/groups", "/v1/groups"),
        (g, "/v1/groups/-"),
        (post("/status"), "/v1/groups/-/status"),
        (post("/glance"), "/v1/groups/-/glance?unlike=0"),
        (post("/history"), "/v1/groups/-/history"),
        (post("/history"), "/v1/groups/-/history?limit=1"),
        (post("/blocks"), "/v1/groups/-/blocks"),
        (post("/balances"), "/v1/groups/-/balances"),
        (post("/peers"), "/v1/groups/-/peers"),
        (post("/members"), "/v1/groups/-/members"),
        (post("/checkpoint"), "/v1/groups/-/checkpoint"),
        (post("/swaps"), "/v1/groups/-/swaps"),
    ] {
        ask("GET", path, real, Value::Null).await;
    }
    let proof = format!("/v1/groups/{}/proofs/{}", made.group, note["entry"]["id"].as_str().unwrap());
    ask("GET", post("/proofs/{transaction}"), &proof, Value::Null).await;

    let copy = test.folder.path().join("copy.sqlite");
    ask("POST", "/v1/backups", "/v1/backups", json!({ "to": copy })).await;
    assert!(copy.exists());

    // Groups come and go.
    let team = test.found("node3", "team");
    let invited = side_node::daemon::offline::answer(
        &test.root,
        &test.root.node("node3"),
        None,
        side_node::api::control::Verb::Groups {
            action: side_node::daemon::groups::GroupAction::Invite(side_node::daemon::groups::InviteOptions::default()),
        },
    );
    let invitation = invited.unwrap()["invitation"].clone();
    ask("POST", "/v1/groups", "/v1/groups", json!({ "invitation": invitation, "alias": "team" })).await;
    ask("POST", post("/default"), "/v1/groups/team/default", Value::Null).await;
    ask("GET", g, &format!("/v1/groups/{}", &team.group[..12]), Value::Null).await;
    ask("POST", post("/default"), "/v1/groups/side/default", Value::Null).await;
    ask("DELETE", g, "/v1/groups/team", Value::Null).await;

    // What comes in lines.
    let events = raw(&home, "GET", "/v1/groups/-/events?from=0&height=0", "*/*", "", Some("\"block\"")).await.1;
    let mut kinds = BTreeSet::new();
    for line in events.lines().filter(|line| line.ends_with('}')) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        document.assert(document.answer("get", post("/events")), &event);
        kinds.insert(event["event"].as_str().unwrap().to_owned());
    }
    assert!(["start", "entry", "block"].iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    asked.insert(("GET", post("/events")));
    let (status, file) = raw(&home, "GET", "/v1/groups/-/changes", "*/*", "", None).await;
    assert_eq!(status, 200);
    for line in file.lines() {
        document.assert(document.answer("get", post("/changes")), &serde_json::from_str(line).unwrap());
    }
    asked.insert(("GET", post("/changes")));
    let (status, report) = raw(&home, "POST", "/v1/groups/-/changes", "*/*", &file, None).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    document.assert(document.answer("post", post("/changes")), &report);
    assert_eq!((status, report["new"].as_u64(), &report["complete"]), (200, Some(0), &Value::Bool(true)));
    let broken = raw(&home, "POST", "/v1/groups/-/changes", "*/*", "{}", None).await;
    document.assert(document.schema("ImportReport"), &serde_json::from_str(&broken.1).unwrap());
    asked.insert(("POST", post("/changes")));
    let (status, text) = raw(&home, "GET", "/v1/openapi.json", "*/*", "", None).await;
    assert!(status == 200 && serde_json::from_str::<Value>(&text).is_ok());
    asked.insert(("GET", "/v1/openapi.json"));
    assert_eq!(asked, ROUTES.iter().map(|route| (route.method, route.path)).collect(), "all of them were asked");

    for (method, path) in [("GET", "/v1/groups/nowhere/status"), ("GET", "/"), ("PUT", "/v1/groups")] {
        let (status, text) = raw(&home, method, path, "*/*", "", None).await;
        assert!((400..500).contains(&status));
        document.assert(document.schema("Error"), &serde_json::from_str(&text).unwrap());
    }
    for daemon in [one, two] {
        daemon.stop().await.unwrap();
    }
}

async fn next(followed: &mut Followed) -> Option<Told> {
    timeout(PATIENCE, followed.next()).await.unwrap().unwrap()
}

/// The events up to the one that is wanted.
async fn until_told(followed: &mut Followed, wanted: impl Fn(&Told) -> bool) -> Vec<Told> {
    let mut told = Vec::new();
    loop {
        told.push(next(followed).await.expect("it goes on"));
        if told.last().is_some_and(&wanted) {
            return told;
        }
    }
}

fn says(event: &Told, text: &str) -> bool {
    matches!(event, Told::Entry { line, .. } if line.body == text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_told_everything_once_across_a_restart() {
    let test = TestRoot::new();
    test.init("node1");
    let client = Client::of(&test.root.node("node1"));
    assert!(matches!(client.follow(None, None).await, Err(ApiError::NotRunning)));
    let daemon = test.start("node1", NOWHERE).await;
    client.note("before").await.unwrap();
    until(&daemon, "all is sealed", |status| status.pending == 0).await;
    let mut live = client.follow(None, None).await.unwrap();
    let mut whole = client.follow(Some(0), Some(0)).await.unwrap();
    let Some(Told::Start { changes, height, .. }) = next(&mut live).await else { panic!("it begins with a start") };
    assert_eq!((changes, height >= 1), (2, true));
    let told = until_told(&mut whole, |event| matches!(event, Told::Block { block } if block.height == height)).await;
    assert!(matches!(told[0], Told::Start { changes: 0, height: 0, .. }));
    assert!(told.iter().any(|event| says(event, "before")));

    // The live one is told of nothing that was there before.
    client.note("while running").await.unwrap();
    let told = until_told(&mut live, |event| matches!(event, Told::Block { .. })).await;
    assert!(!told.iter().any(|event| says(event, "before")), "{told:?}");
    let entry = told.iter().find(|event| says(event, "while running")).unwrap();
    let Told::Entry { number, .. } = entry else { unreachable!() };
    assert_eq!(*number, 2);
    let Some(Told::Block { block }) = told.last() else { unreachable!() };

    // The node says that it stops, and then the answer ends.
    let (stopped, end) = tokio::join!(daemon.stop(), until_told(&mut live, |event| matches!(event, Told::End { .. })));
    stopped.unwrap();
    assert!(matches!(end.last(), Some(Told::End { reason }) if reason.contains("stopping")), "{end:?}");
    assert_eq!(next(&mut live).await, None);

    // What happened meanwhile and what happens later, each once.
    let verb = side_node::api::control::Verb::Note { text: "while stopped".into() };
    side_node::daemon::offline::answer(&test.root, &test.root.node("node1"), None, verb).unwrap();
    let daemon = test.start("node1", NOWHERE).await;
    let mut again = client.follow(Some(number + 1), Some(block.height)).await.unwrap();
    client.note("later").await.unwrap();
    let mut told = until_told(&mut again, |event| says(event, "later")).await;
    told.extend(until_told(&mut again, |event| matches!(event, Told::Block { .. })).await);
    let texts = ["before", "while running", "while stopped", "later"];
    let counts = texts.map(|text| told.iter().filter(|event| says(event, text)).count());
    assert_eq!(counts, [0, 0, 1, 1], "{told:?}");
    let heights: Vec<u64> = told
        .iter()
        .filter_map(|event| match event {
            Told::Block { block } => Some(block.height),
            _ => None,
        })
        .collect();
    let first = block.height + 1;
    assert_eq!(heights, (first..first + heights.len() as u64).collect::<Vec<_>>());

    // As server-sent events for whoever accepts those.
    let home = test.root.node("node1");
    let told = raw(&home, "GET", "/v1/groups/-/events?from=0", "text/event-stream", "", Some("later")).await.1;
    assert!(told.starts_with("data: {\"event\":\"start\"") && told.contains("\n\ndata: "), "{told}");
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_leave_room_for_questions_and_their_place_when_they_go() {
    let test = TestRoot::new();
    test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    let client = Client::of(&test.root.node("node1"));
    let mut followers = Vec::new();
    for _ in 0..MAX_STREAMS {
        followers.push(client.follow(None, None).await.unwrap());
    }
    match client.follow(None, None).await {
        Err(ApiError::Refused(error)) => assert!(error.busy && error.message.contains("too many"), "{error:?}"),
        other => panic!("{other:?}"),
    }
    let home = test.root.node("node1");
    let (status, text) = raw(&home, "GET", "/v1/groups/-/events", "*/*", "", None).await;
    assert!(status == 503 && text.contains("\"busy\":true"), "{status}: {text}");
    client.status().await.unwrap();
    followers.pop();
    let deadline = std::time::Instant::now() + PATIENCE;
    while client.follow(None, None).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "a place never becomes free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_works_with_all_of_a_group() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    let client = Client::of(&test.root.node("node1"));
    client.note("hello").await.unwrap();
    client.vote(Ballot::Interval { ms: 700 }).await.unwrap();
    until(&daemon, "all is sealed", |status| status.pending == 0).await;
    assert_eq!(notes(&client.history(None).await.unwrap()), ["hello"]);
    assert_eq!(client.group().await.unwrap().group, made.group);
    assert_eq!(client.groups().await.unwrap().groups.len(), 1);
    assert_eq!(client.balances().await.unwrap().supply, 1_000_000);
    assert_eq!(client.blocks(1).await.unwrap().blocks.len(), 1);
    assert!(client.checkpoint().await.unwrap().is_some());
    assert_eq!(client.members().await.unwrap().members.len(), 1);
    assert_eq!(client.peers().await.unwrap().members.len(), 1);
    assert!(client.swap_words().await.unwrap().entries.is_empty());
    let glance = client.glance(None).await.unwrap();
    assert_eq!(glance.status.key, made.key);
    let id = glance.graph.changes.last().unwrap().id.clone();
    assert!(client.proof(&id, None).await.unwrap().proof.starts_with("side-proof:"));
    match client.in_group("tema").status().await {
        Err(ApiError::Refused(error)) => assert!(error.message.contains("no group \"tema\""), "{error:?}"),
        other => panic!("{other:?}"),
    }
    daemon.stop().await.unwrap();
    assert!(matches!(client.status().await, Err(ApiError::NotRunning)));
}

/// A node that takes so long for everything but the question whether it is alive, which it answers at once or never.
fn slow_node(socket: &std::path::Path, slow: Duration, alive: bool) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut piece = [0; 1024];
                    match stream.read(&mut piece).await {
                        Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                match (head.starts_with(b"GET /v1/openapi.json "), alive) {
                    (true, true) => {}
                    (true, false) => std::future::pending().await,
                    (false, _) => tokio::time::sleep(slow).await,
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull").await;
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_takes_long_is_waited_for_as_long_as_the_node_lives() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Duration::from_millis(400);
    let client = |name: &str, alive| {
        let socket = folder.path().join(name);
        slow_node(&socket, patience * 4, alive);
        Client::at(socket).with_patience(patience)
    };
    let lives = client("lives", true);
    lives.copy_database("/a/copy").await.unwrap();
    // Nothing else may take so long.
    assert!(matches!(lives.checkpoint().await, Err(ApiError::NoAnswer)));
    assert!(matches!(client("hangs", false).copy_database("/a/copy").await, Err(ApiError::NoAnswer)));
    assert!(matches!(Client::at(folder.path().join("none")).copy_database("/x").await, Err(ApiError::NotRunning)));
}
