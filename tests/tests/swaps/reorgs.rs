//! The chain takes back what it had: a funding, a claim, a refund. What was made is broadcast again until it is buried.

use side_node::btc::htlc::swap::{Outcome, Stage};
use side_node::btc::htlc::terms::LockKind;
use side_tests::chain::{Chain, Control};
use side_tests::swaps::Pair;

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_the_funding_takes_the_confirmations_back() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.agree(LockKind::Taproot).await;
    pair.fund(&id).await;
    chain.mine(1).await;
    pair.rounds().await;
    assert_eq!(pair.payee.stage(&id), Stage::Locked);
    chain.reorg(1, 3).await;
    pair.rounds().await;
    assert_eq!((pair.payer.stage(&id), pair.payee.stage(&id)), (Stage::Funding, Stage::Funding));
    assert!(!pair.revealed(&id), "three blocks came, none of them with the lock");
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_a_claim_brings_it_again() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.lock(&chain, LockKind::P2wsh).await;
    pair.payee.round().await;
    chain.mine(1).await;
    pair.rounds().await;
    assert_eq!((pair.payer.stage(&id), pair.payee.stage(&id)), (Stage::Claimed, Stage::Claimed));
    // The lock's own block goes, too.
    chain.reorg(4, 6).await;
    pair.rounds().await;
    assert_ne!(pair.payee.stage(&id), Stage::Claimed);
    assert!(pair.revealed(&id), "what was shown stays shown");
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_a_refund_brings_it_again() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    while pair.payer.stage(&id) != Stage::Refunded {
        chain.mine(1).await;
        pair.payer.round().await;
    }
    chain.reorg(2, 3).await;
    pair.payer.round().await;
    assert_ne!(pair.payer.stage(&id), Stage::Refunded);
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Refunded, Outcome::Refunded));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_fetched_once_and_only_the_new_ones_after_a_restart() {
    let chain = Chain::start().await;
    chain.mine(120).await;
    let proxy = side_tests::proxy::Proxy::start(chain.url()).await;
    let mut pair = Pair::new(&chain, &[proxy.url()], &[chain.url()]).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    pair.payer.round().await;
    pair.payer.restart();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = asked.clone();
    proxy.lie(move |answer| {
        if answer.path.starts_with("/blocks") {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Some(answer)
    });
    chain.mine(1).await;
    pair.payer.round().await;
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devnet_that_was_started_afresh_is_followed() {
    let (old, new) = (Chain::devnet().await, Chain::devnet().await);
    old.mine(80).await;
    let mut pair = Pair::plain(&old).await;
    let height = pair.payer.desk.tip(&pair.place, |_| {}).await.unwrap().to_consensus_u32();
    let place = side_node::btc::swaps::ChainPlace { servers: vec![new.url().to_owned()], ..pair.place.clone() };
    pair.payer.ask(&place);
    let fresh = pair.payer.desk.tip(&place, |_| {}).await.unwrap().to_consensus_u32();
    assert!(fresh < height, "{fresh} {height}");
    pair.payer.fill(&new, &place).await;
    pair.payee.ask(&place);
    pair.place = place;
    let id = pair.lock(&new, LockKind::Taproot).await;
    assert_eq!(pair.finish(&new, &id).await, (Outcome::Claimed, Outcome::Claimed));
}
