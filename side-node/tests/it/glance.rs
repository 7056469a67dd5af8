//! A glance at a running and at a stopped node, and being told that there is something new to see.

use std::time::Duration;

use side_node::api::control::Verb;
use side_node::daemon::glance::{GLANCE_VERSION, Glance};
use side_node::daemon::{Daemon, offline};

use crate::support::{NOWHERE, PATIENCE, TestRoot};

async fn unlike(daemon: &Daemon, revision: u64) -> Glance {
    let answer = daemon.mailbox().ask(Verb::Glance { unlike: Some(revision) });
    serde_json::from_value(tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_news_is_told_once_they_are_there() {
    let test = TestRoot::new();
    test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    let mailbox = daemon.mailbox();
    let mut revisions = mailbox.revisions().unwrap();
    // The node's name is sealed, and then there is nothing more to tell.
    let mut shown = mailbox.glance().await.unwrap();
    while shown.status.pending > 0 || shown.status.height == 0 {
        shown = unlike(&daemon, shown.revision).await;
    }
    let waiting = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.ask(Verb::Glance { unlike: Some(shown.revision) }).await.unwrap() }
    });
    // Looking is no news.
    for _ in 0..3 {
        assert_eq!(mailbox.glance().await.unwrap().revision, shown.revision);
        mailbox.status().await.unwrap();
    }
    assert!(!waiting.is_finished());
    revisions.mark_unchanged();
    mailbox.note("hello").await.unwrap();
    tokio::time::timeout(PATIENCE, revisions.changed()).await.unwrap().unwrap();
    let told: Glance = serde_json::from_value(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap()).unwrap();
    assert!(told.revision > shown.revision);
    assert_eq!(told.graph.changes.last().unwrap().summary, "hello");
    // A promise to scripts: whoever changes the form raises the version, and this.
    assert_eq!((told.version, GLANCE_VERSION), (1, 1));
    assert_eq!((told.status.groups.len(), told.status.pid), (1, Some(std::process::id())));
    let page = mailbox.status().await.unwrap().page;
    assert!(page.as_ref().is_some_and(|url| url.starts_with("http://127.0.0.1:")), "{page:?}");
    assert_eq!(told.status.page, page);
    assert!(told.time_ms > 1_500_000_000_000);

    // What belongs to no group alone.
    let before = mailbox.glance().await.unwrap().revision;
    mailbox.stir();
    assert!(mailbox.glance().await.unwrap().revision > before);

    daemon.stop().await.unwrap();

    // A stopped node shows the same, and answers at once.
    let answer = offline::answer(&test.root, &test.root.node("node1"), None, Verb::Glance { unlike: Some(0) }).unwrap();
    let stopped: Glance = serde_json::from_value(answer).unwrap();
    assert_eq!(stopped.graph.changes.last().unwrap().summary, "hello");
    assert_eq!((stopped.revision, stopped.status.pid, stopped.status.page), (0, None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_lets_nobody_wait() {
    let test = TestRoot::new();
    test.init("node1");
    let daemon = test.start("node1", NOWHERE).await;
    let mailbox = daemon.mailbox().clone();
    // Nothing waits at its first look: it is polled once before the node is told to stop.
    let mut waiting = Box::pin(async move {
        loop {
            let shown = mailbox.glance().await?;
            mailbox.ask(Verb::Glance { unlike: Some(shown.revision) }).await?;
        }
    });
    let first: Result<Result<(), side_node::error::CommandError>, _> =
        tokio::time::timeout(Duration::from_millis(1), &mut waiting).await;
    assert!(first.is_err());
    let (stopped, told) = tokio::join!(daemon.stop(), tokio::time::timeout(Duration::from_secs(20), waiting));
    stopped.unwrap();
    assert!(told.expect("it waits no longer than the node runs").is_err());
}
