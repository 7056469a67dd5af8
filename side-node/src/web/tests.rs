//! The server over real sockets, with a node behind it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::LIMITS;
use super::events::MAX_FOLLOWERS;
use crate::cli::commands::init::{InitArgs, init};
use crate::daemon::{Daemon, DaemonConfig};
use crate::home::Root;

/// Waited out only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

struct Served {
    daemon: Daemon,
    at: SocketAddr,
    _root: tempfile::TempDir,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::find(Some(folder.path().to_owned())).unwrap();
        let relay = crate::cli::RelayArgs { relay: Some("ws://127.0.0.1:1".into()) };
        let args = InitArgs {
            name: "node1".parse().unwrap(),
            join: None,
            group_name: None,
            passphrase: false,
            restore_wallet: false,
            relay,
        };
        init(&root, &args).unwrap();
        let config = DaemonConfig::new(root.clone(), root.node("node1"));
        let daemon = Daemon::start(config).await.unwrap();
        let url = daemon.ready().status.page.clone().expect("a page is served unless somebody says otherwise");
        let at = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        Self { daemon, at, _root: folder }
    }

    /// What is answered to these bytes, until the server closes.
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.at)).await
    }

    /// Opens the events of the default group and reads until `word` comes.
    async fn follow(&self, word: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let group = self.daemon.mailbox().group();
        let request = format!("GET /g/{group}/events HTTP/1.1\r\nHost: {}\r\n\r\n", self.at);
        stream.write_all(request.as_bytes()).await.unwrap();
        let heard = hear(&mut stream, word).await;
        (stream, heard)
    }
}

/// What is said until `word` comes or the server closes. Comments keep a connection alive for ever, so it is the whole that has to come in time.
async fn hear(stream: &mut TcpStream, word: &str) -> String {
    let mut heard = Vec::new();
    let hearing = async {
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            heard.extend_from_slice(&buffer[..read]);
            if read == 0 || String::from_utf8_lossy(&heard).contains(word) {
                return;
            }
        }
    };
    let came = timeout(PATIENCE, hearing).await.is_ok();
    let text = String::from_utf8_lossy(&heard).into_owned();
    assert!(came, "{word} never comes: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_its_health_are_served_and_strangers_are_not() {
    let served = Served::start().await;
    let page = served.get("/").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("<h1>side</h1>"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self';",
        "x-content-type-options: nosniff",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(page.contains(header), "{header}: {page}");
    }
    assert!(!page.contains("access-control-"), "{page}");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="), "{page}");
    assert_eq!(page.matches("<script").count(), 1);
    // By alias, by the beginning of the id; and a word that means nothing is repeated as text only.
    assert!(served.get("/g/side").await.contains("<h1>side</h1>"));
    let group = served.daemon.mailbox().group().to_string();
    assert!(served.get(&format!("/g/{}", &group[..8])).await.contains("<h1>side</h1>"));
    let lost = served.get("/g/%3Cb%3Ex%3C%2Fb%3E").await;
    assert!(lost.starts_with("HTTP/1.1 404") && lost.contains("&lt;b&gt;x") && !lost.contains("<b>x"), "{lost}");
    assert!(served.get("/nowhere").await.starts_with("HTTP/1.1 404"));

    assert!(served.get("/healthz").await.ends_with("ok\n"));
    let ready = served.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("\"ready\":true"), "{ready}");
    for (asset, kind) in [("page.css", "text/css"), ("page.js", "text/javascript"), ("mark.svg", "image/svg+xml")] {
        let answer = served.get(&format!("/assets/{asset}?x")).await;
        assert!(answer.contains(&format!("content-type: {kind}")) && answer.contains("immutable"), "{answer}");
    }

    // Who names another host is another site (DNS rebinding); who writes, or sends a lot, is refused.
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), "421"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "421"),
        (format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", served.at), "405"),
        (format!("GET / HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", served.at, "x".repeat(LIMITS.head_bytes)), "431"),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {}\r\nOrigin: https://evil.example\r\nConnection: close\r\n\r\n",
                served.at
            ),
            "403",
        ),
    ] {
        let answer = served.ask(&request).await;
        assert!(answer.contains(&format!(" {status} ")), "{status}: {answer}");
    }
    served.daemon.stop().await.unwrap();
}

/// Each follower has a connection of its own: however many there are, somebody else can still look.
#[test]
fn followers_leave_connections_for_pages() {
    const { assert!(LIMITS.connections >= 2 * MAX_FOLLOWERS) };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_have_a_bound_and_a_place_that_is_given_up_is_free_again() {
    let served = Served::start().await;
    let mut idle = Vec::new();
    for _ in 0..LIMITS.connections {
        idle.push(TcpStream::connect(served.at).await.unwrap());
    }
    let mut waiting = TcpStream::connect(served.at).await.unwrap();
    waiting.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", served.at).as_bytes()).await.unwrap();
    // Long enough for an answer, much shorter than an idle connection is kept.
    let early = timeout(Duration::from_millis(300), waiting.readable()).await;
    assert!(early.is_err(), "more are served than there are places for");
    drop(idle.pop());
    assert!(hear(&mut waiting, "ok\n").await.starts_with("HTTP/1.1 200"));
    drop(idle);
    served.daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_hear_of_news_and_have_a_bound() {
    let served = Served::start().await;
    let (mut stream, first) = served.follow("\"id\":\"news\"").await;
    assert!(first.contains("content-type: text/event-stream") && first.contains("retry: 1000"), "{first}");
    assert!(first.contains("event: part") && first.contains("\"id\":\"swaps\""), "the whole page comes first: {first}");
    for text in ["news <i>from</i> here", "and more"] {
        served.daemon.mailbox().note(text).await.unwrap();
        let news = hear(&mut stream, "\"id\":\"changes\"").await;
        assert!(news.contains("event: part"), "{news}");
        // What has not changed is not sent again.
        assert!(!news.contains("\"id\":\"swaps\""), "{news}");
    }

    let mut others = Vec::new();
    for _ in 1..MAX_FOLLOWERS {
        others.push(served.follow("event: part").await.0);
    }
    let (_, full) = served.follow("close a tab").await;
    assert!(full.starts_with("HTTP/1.1 503") && full.contains("retry-after: 5"), "{full}");
    // The page itself is served all the same, and a place that was given up is free again.
    assert!(served.get("/healthz").await.ends_with("ok\n"));
    drop(others);
    let freed = async {
        while !served.follow("\n\n").await.1.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("a place becomes free");
    // A node that stops ends its followers.
    let heard = tokio::spawn(async move { hear(&mut stream, "never said").await });
    timeout(PATIENCE, served.daemon.stop()).await.expect("the node stops though somebody follows").unwrap();
    timeout(PATIENCE, heard).await.expect("the follower is told").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scraper_gets_numbers_of_each_group_and_of_the_process() {
    let served = Served::start().await;
    served.daemon.mailbox().note("hello").await.unwrap();
    let page = served.get("/metrics").await;
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("content-type: application/openmetrics-text"),
        "{page}"
    );
    let group = served.daemon.mailbox().group();
    let entries = served.daemon.mailbox().status().await.unwrap().entries;
    assert!(entries > 0 && page.contains(&format!("side_node_entries{{group=\"{group}\"}} {entries}\n")), "{page}");
    assert!(page.contains("side_node_groups 1\n") && page.contains("process_cpu_seconds_total "), "{page}");
    served.daemon.stop().await.unwrap();
}
