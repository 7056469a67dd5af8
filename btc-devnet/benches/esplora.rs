//! Esplora GETs a second beside a bare axum reply of the same bytes, in the same run.
//!
//! The bare server is `axum::serve` with one route that returns bytes made beforehand: no look-up, no JSON, none of the bounds on
//! connections. Both serve on two threads; the same clients ask, over connections that stay open, one request at a time each. Clients and
//! servers share the machine, so that the ratio says more than the rates.
//!
//! `cargo bench -p btc-devnet --bench esplora [-- SECONDS]`

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bitcoin::Amount;
use btc_devnet::{Devnet, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Connections that ask.
const CLIENTS: usize = 16;

fn main() {
    let seconds: f64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2.0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(Duration::from_secs_f64(seconds)));
}

async fn run(span: Duration) {
    let began = Instant::now();
    let devnet = Devnet::start(Options::default()).await.unwrap();
    println!("start of a funded chain until it answers: {} ms\n", began.elapsed().as_millis());
    println!("{CLIENTS} connections, {} s a run\n", span.as_secs_f64());
    println!("{:<34} {:>9} {:>11} {:>11} {:>7}", "GET", "bytes", "devnet/s", "bare/s", "ratio");
    for (name, path) in paths(&devnet).await {
        let body = fetch(&mut TcpStream::connect(devnet.address()).await.unwrap(), &path).await;
        let bytes = body.len();
        let bare = serve_bare(body).await;
        // Turns about, so that neither has the quieter machine.
        let mut rates = [0.0; 2];
        for _ in 0..2 {
            rates[0] += rate(devnet.address(), &path, span / 2).await / 2.0;
            rates[1] += rate(bare, "/", span / 2).await / 2.0;
        }
        println!("{name:<34} {bytes:>9} {:>11.0} {:>11.0} {:>7.2}", rates[0], rates[1], rates[0] / rates[1]);
    }
}

/// What is asked for: from a word to a page of twenty-five transactions.
async fn paths(devnet: &Devnet) -> Vec<(&'static str, String)> {
    let busy = devnet.wallet().address(50);
    let payment = devnet.fund(&busy, Amount::from_sat(50_000)).await.unwrap();
    let tip = devnet.mine(1).await.unwrap();
    devnet.mine_to(busy.script_pubkey(), 40).await.unwrap();
    vec![
        ("/blocks/tip/height", "/blocks/tip/height".into()),
        ("/block-height/:height", format!("/block-height/{}", tip.height)),
        ("/tx/:txid/raw", format!("/tx/{payment}/raw")),
        ("/tx/:txid", format!("/tx/{payment}")),
        ("/tx/:txid/merkle-proof", format!("/tx/{payment}/merkle-proof")),
        ("/block/:hash", format!("/block/{}", tip.hash)),
        ("/address/:address", format!("/address/{busy}")),
        ("/address/:unused/txs", format!("/address/{}/txs", devnet.wallet().address(9999))),
        ("/address/:address/utxo (41)", format!("/address/{busy}/utxo")),
        ("/address/:address/txs (25)", format!("/address/{busy}/txs")),
    ]
}

async fn serve_bare(body: Vec<u8>) -> SocketAddr {
    let body = bytes(body);
    let route = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], body) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Threads of its own, as the devnet has.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Router::new().route("/", route)).await.unwrap();
        });
    });
    address
}

fn bytes(body: Vec<u8>) -> axum::body::Bytes {
    body.into()
}

async fn rate(server: SocketAddr, path: &str, span: Duration) -> f64 {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (stop, count, path) = (stop.clone(), count.clone(), path.to_owned());
        clients.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(server).await.unwrap();
            stream.set_nodelay(true).unwrap();
            while !stop.load(Ordering::Relaxed) {
                fetch(&mut stream, &path).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let began = Instant::now();
    tokio::time::sleep(span).await;
    let rate = count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    rate
}

/// One request on a connection that stays open; the answer's body.
async fn fetch(stream: &mut TcpStream, path: &str) -> Vec<u8> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::with_capacity(4096);
    loop {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the server went away");
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if answer.len() >= end + 4 + length.parse::<usize>().unwrap() {
            return answer.split_off(end + 4);
        }
    }
}
