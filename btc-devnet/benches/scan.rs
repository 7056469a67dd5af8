//! A wallet's full scan over 10,000 used addresses, beside bare replies in the same run.
//!
//! BDK asks for the history of every address and, at the end, for twenty that were never used. The limit is as many bare axum replies of an
//! empty list, with the same client and as many at once: what HTTP alone takes. The wallet's own work (deriving scripts, parsing,
//! its graph) is in our figure only.
//!
//! `cargo bench -p btc-devnet --bench scan [-- ADDRESSES]`

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use bdk_esplora::EsploraAsyncExt;
use bdk_esplora::esplora_client::Builder;
use bdk_wallet::{KeychainKind, Wallet};
use bitcoin::{Network, ScriptBuf};
use btc_devnet::{Devnet, FundedWallet, Options};
use tokio::net::TcpListener;

/// Requests at once.
const PARALLEL: usize = 8;
/// Unused addresses after which the scan ends.
const GAP: usize = 20;
/// Each block is a second later than those before it, and Core takes none from the future: the chain's clock starts this much earlier.
const ROOM: u32 = 7 * 24 * 3600;
const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

fn main() {
    let addresses = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(addresses));
}

async fn run(addresses: u32) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
    let devnet = Devnet::start(Options { start_time: Some(now - ROOM), ..Options::default() }).await.unwrap();
    let client = Builder::new(devnet.url()).max_retries(0).build_async().unwrap();
    let mut scanned = wallet(&FundedWallet::new(WORDS).unwrap());
    pay(&devnet, &scanned, addresses).await;

    let began = Instant::now();
    let update = client.full_scan(scanned.start_full_scan(), GAP, PARALLEL).await.unwrap();
    let asked = began.elapsed();
    scanned.apply_update(update).unwrap();
    let total = began.elapsed();
    assert_eq!(scanned.derivation_index(KeychainKind::External), Some(addresses - 1), "every address is found");

    let requests = addresses as usize + 2 * GAP;
    let bare = bare(requests).await;
    println!("{addresses} used addresses, {PARALLEL} requests at once");
    println!("full scan: {:.2} s, of which {:.2} s until the last answer", total.as_secs_f64(), asked.as_secs_f64());
    println!("{requests} bare replies: {bare:.2} s; ratio {:.1}", asked.as_secs_f64() / bare);
}

fn wallet(of: &FundedWallet) -> Wallet {
    let [receive, change] = of.descriptors();
    Wallet::create(receive, change).network(Network::Regtest).create_wallet_no_persist().unwrap()
}

/// Pays each of the first addresses once: with a block's reward, so that each history holds one small transaction.
async fn pay(devnet: &Devnet, to: &Wallet, addresses: u32) {
    for index in 0..addresses {
        let script = to.peek_address(KeychainKind::External, index).address.script_pubkey();
        devnet.handle().mine(1, Some(script)).await.unwrap();
    }
}

/// Seconds that so many bare replies take, with the same client over as many connections.
async fn bare(requests: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let route = get(|| async { "[]" });
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/scripthash/{hash}/txs", route)).await });
    let client = Builder::new(&format!("http://{address}")).max_retries(0).build_async().unwrap();
    let began = Instant::now();
    let tasks = (0..PARALLEL).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..requests / PARALLEL {
                client.scripthash_txs(&ScriptBuf::new(), None).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    began.elapsed().as_secs_f64()
}
