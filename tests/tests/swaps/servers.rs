//! Servers that are down, slow, busy, or lie. While one that is configured is honest and the node runs before its deadline, the money ends at the right owner.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use side_node::btc::htlc::swap::{Outcome, Stage};
use side_node::btc::htlc::terms::{ChainId, LockKind};
use side_node::btc::swaps::Round;
use side_tests::chain::{Chain, Control};
use side_tests::proxy::Proxy;
use side_tests::swaps::Pair;

/// The payee behind a proxy, with or without an honest server beside it.
async fn behind(chain: &Chain, honest: bool) -> (Proxy, Pair) {
    let proxy = Proxy::start(chain.url()).await;
    let urls: Vec<&str> = if honest { vec![proxy.url(), chain.url()] } else { vec![proxy.url()] };
    let pair = Pair::new(chain, &[chain.url()], &urls).await;
    (proxy, pair)
}

fn objections(round: &Round) -> String {
    round.objections.values().flatten().map(|objection| format!("{} {}; ", objection.server, objection.what)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_stops_nothing_once_it_is_back() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, false).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    proxy.go_down();
    let round = pair.payee.round().await;
    assert_eq!(round.unheard, [ChainId::REGTEST]);
    assert!(!pair.revealed(&id));
    proxy.honest();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_server_down_the_other_one_keeps_the_money_safe() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, true).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    proxy.go_down();
    let round = pair.payee.round().await;
    assert!(objections(&round).contains(proxy.url()), "{}", objections(&round));
    assert!(!pair.revealed(&id), "not every server agrees: nothing is shown for the first time");
    // Once it is out, one honest server is enough to bring it home.
    proxy.honest();
    pair.payee.round().await;
    assert!(pair.revealed(&id));
    proxy.go_down();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, true).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    proxy.slow(Duration::from_millis(150));
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limiting_is_sat_out() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, false).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    let asked = AtomicUsize::new(0);
    proxy.lie(move |mut answer| {
        if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            (answer.status, answer.body) = (429, b"Too Many Requests".to_vec());
        }
        Some(answer)
    });
    pair.payee.round().await;
    assert!(pair.revealed(&id), "asked again, it answers");
    proxy.honest();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_json_is_named_and_harmless() {
    let chain = Chain::start().await;
    for body in [&b"<html>"[..], b"", b"{\"a\":", b"null", b"[[[[[[[[", &[0xff; 64]] {
        let (proxy, mut pair) = behind(&chain, true).await;
        let id = pair.lock(&chain, LockKind::Taproot).await;
        proxy.lie(move |answer| Some(side_tests::proxy::Answer { body: body.to_vec(), ..answer }));
        let round = pair.payee.round().await;
        assert!(objections(&round).contains(proxy.url()), "{}", objections(&round));
        assert!(!pair.revealed(&id));
        proxy.honest();
        pair.payee.round().await;
        assert!(pair.revealed(&id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_heights_are_no_confirmations() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, false).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    proxy.edit_json("/merkle-proof", |value| {
        if let Some(height) = value["block_height"].as_u64() {
            value["block_height"] = (height - 1).into();
        }
    });
    let round = pair.payee.round().await;
    assert!(objections(&round).contains("is in a block, but"), "{}", objections(&round));
    assert!(!pair.revealed(&id));
    proxy.honest();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_confirmations_are_named_and_count_for_nothing() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, false).await;
    let id = pair.agree(LockKind::Taproot).await;
    pair.fund(&id).await;
    // The lock waits in the mempool; the server says that it is four blocks deep.
    proxy.lie(|mut answer| {
        if answer.path.contains("/scripthash/") {
            let mut value: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
            for tx in value.as_array_mut().into_iter().flatten() {
                tx["status"] = serde_json::json!({ "confirmed": true, "block_height": 8, "block_hash": "00".repeat(32), "block_time": 1 });
            }
            answer.body = serde_json::to_vec(&value).ok()?;
        }
        if answer.path.contains("/merkle-proof") {
            answer.status = 200;
            answer.body = br#"{"block_height":8,"merkle":[],"pos":0}"#.to_vec();
        }
        Some(answer)
    });
    let round = pair.payee.round().await;
    assert!(objections(&round).contains("is in a block, but"), "{}", objections(&round));
    assert!(!pair.revealed(&id));
    assert_eq!(pair.payee.stage(&id), Stage::Funding);
    proxy.honest();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_blocks_are_named_and_count_for_nothing() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, true).await;
    let id = pair.agree(LockKind::Taproot).await;
    pair.fund(&id).await;
    chain.mine(1).await;
    // Nine blocks more than there are, without the work.
    proxy.edit_json("/blocks", |value| {
        for block in value.as_array_mut().into_iter().flatten() {
            block["nonce"] = 1.into();
        }
    });
    let round = pair.payee.round().await;
    assert!(objections(&round).contains("another hash than its fields"), "{}", objections(&round));
    assert!(!pair.revealed(&id));
    proxy.honest();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_transaction_is_found_at_another_server() {
    let chain = Chain::start().await;
    let proxy = Proxy::start(chain.url()).await;
    let mut pair = Pair::new(&chain, &[proxy.url(), chain.url()], &[chain.url()]).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    // The payer's first server hides whatever touches the lock.
    proxy.lie(|mut answer| {
        if answer.path.contains("/scripthash/") {
            answer.body = b"[]".to_vec();
        }
        if answer.path.starts_with("/tx/") {
            (answer.status, answer.body) = (404, b"Transaction not found".to_vec());
        }
        Some(answer)
    });
    pair.payee.round().await;
    chain.mine(1).await;
    let round = pair.payer.round().await;
    assert!(
        objections(&round).contains(&format!("{} does not show transaction", proxy.url())),
        "{}",
        objections(&round)
    );
    assert_eq!(pair.payer.stage(&id), Stage::Claimed);
    assert!(pair.payer.deal(&id).legs()[0].preimage().is_some(), "learnt from the honest one");
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_holds_the_preimage_back() {
    let chain = Chain::start().await;
    let (proxy, mut pair) = behind(&chain, true).await;
    let id = pair.agree(LockKind::Taproot).await;
    pair.fund(&id).await;
    pair.payee.round().await;
    // From now on it shows the newest page as it was.
    let kept: std::sync::Mutex<std::collections::HashMap<String, Vec<u8>>> = Default::default();
    proxy.lie(move |mut answer| {
        if answer.path == "/blocks" {
            let mut kept = kept.lock().unwrap();
            answer.body = kept.entry(answer.path.clone()).or_insert(answer.body).clone();
        }
        Some(answer)
    });
    pair.payee.round().await;
    chain.mine(4).await;
    let round = pair.payee.round().await;
    assert!(objections(&round).contains("lacks the last 4 blocks"), "{}", objections(&round));
    assert!(!pair.revealed(&id));
    proxy.honest();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}
