//! Several chains in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitcoin::Amount;
use btc_devnet::{Devnet, Options};

use crate::http::{get, text};
use crate::purse::Purse;

#[tokio::test]
async fn chains_differ_from_the_first_block_on_and_know_nothing_of_each_other() {
    let (one, two) = tokio::join!(Devnet::start(Options::default()), Devnet::start(Options::default()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.url(), two.url());
    assert_eq!(text(&one, "/block-height/0").await, text(&two, "/block-height/0").await);
    for height in 1..=one.tip().await.unwrap().height.min(two.tip().await.unwrap().height) {
        let path = format!("/block-height/{height}");
        assert_ne!(text(&one, &path).await, text(&two, &path).await, "height {height}");
    }
    let txid = one.fund(&one.wallet().address(30), Amount::from_sat(10_000)).await.unwrap();
    assert_eq!(get(&two, &format!("/tx/{txid}")).await.status, 404);
}

#[tokio::test]
async fn a_payment_of_one_chain_cannot_be_replayed_on_the_other() {
    let (one, two) = tokio::join!(Devnet::start(Options::default()), Devnet::start(Options::default()));
    let (one, two) = (one.unwrap(), two.unwrap());
    let mut payer = Purse::funded(&one);
    payer.scan().await;
    let sent = payer.send(&one.wallet().address(30), Amount::from_sat(10_000), 2).await;
    let refused = two.submit(sent).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, "bad-txns-inputs-missingorspent");
}

#[tokio::test]
async fn dropping_a_chain_frees_its_port_and_ends_its_handle() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (address, handle) = (devnet.address(), devnet.handle().clone());
    // A client that keeps its connection open does not keep the chain.
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    devnet.stop();
    assert!(handle.tip().await.is_err());
    drop(idle);
    let again = Devnet::start(Options { listen: address, ..Options::default() }).await.unwrap();
    assert_eq!(again.address(), address);
}

#[tokio::test]
async fn a_port_in_use_is_told() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let refused = Devnet::start(Options { listen: devnet.address(), ..Options::default() }).await;
    let error = refused.err().expect("the port is taken").to_string();
    assert!(error.contains(&devnet.address().to_string()), "{error}");
}

/// Readers see a command's effects all at once: a chain that is reorganised never looks shorter than it was.
#[tokio::test]
async fn nobody_sees_half_a_reorganisation() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let before = devnet.tip().await.unwrap().height;
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (handle, done) = (devnet.handle().clone(), done.clone());
        move || {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let height = handle.index().chain.tip().unwrap().height;
                if seen.last() != Some(&height) {
                    seen.push(height);
                }
            }
            seen
        }
    });
    for _ in 0..20 {
        devnet.reorg(5, 6).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let seen = reader.join().unwrap();
    assert!(seen.iter().all(|height| (before..=before + 20).contains(height)) && seen.is_sorted(), "{seen:?}");
}
