//! The pages for people and machines.

use side_ledger::Admission;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Member, Relay, genesis};

async fn get(relay: &Relay, path: &str) -> String {
    let mut stream = TcpStream::connect(relay.server().address()).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthz_readyz_metrics_and_the_front_page_answer() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let member = Member::start(&relay.url(), 1, &group);
    member.write("counted");
    member.acknowledged().await;
    assert!(get(&relay, "/healthz").await.ends_with("\r\n\r\nok\n"));
    let ready = get(&relay, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("\"ready\":true"), "{ready}");
    let metrics = get(&relay, "/metrics").await;
    for line in [
        "side_watcher_connections 1",
        "side_watcher_groups 1",
        "side_watcher_changes_total{reason=\"applied\"} 1",
        "side_watcher_durable_changes_total 1",
        "side_watcher_unpersisted_changes 0",
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line} is not in {metrics}");
    }
    let front = get(&relay, "/").await;
    assert!(front.contains("friends") && front.contains(&relay.server().identity().to_string()), "{front}");
    assert!(get(&relay, "/secret").await.starts_with("HTTP/1.1 404"));
}
