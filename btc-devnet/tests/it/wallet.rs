//! A BDK wallet lives on the chain: scan, sync, send, bump, reorganisations.

use bitcoin::Amount;
use btc_devnet::{Devnet, FUNDED, Options};

use crate::purse::Purse;

/// What a new chain pays to each funded address.
const REWARD: Amount = Amount::from_int_btc(50);

#[tokio::test]
async fn a_full_scan_finds_the_coins_of_the_funded_wallet() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    assert_eq!(purse.wallet.balance().confirmed, REWARD * u64::from(FUNDED));
    assert_eq!(purse.wallet.latest_checkpoint().hash(), devnet.tip().await.unwrap().hash);
}

#[tokio::test]
async fn a_payment_goes_from_wallet_to_wallet() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (mut payer, mut payee) = (Purse::funded(&devnet), Purse::empty(&devnet));
    payer.scan().await;
    payee.scan().await;
    let to = payee.address();
    let amount = Amount::from_sat(1_234_567);
    let sent = payer.send(&to, amount, 2).await.compute_txid();
    payee.sync().await;
    assert_eq!(payee.wallet.balance().untrusted_pending, amount);
    devnet.mine(1).await.unwrap();
    payee.sync().await;
    payer.sync().await;
    assert_eq!(payee.wallet.balance().confirmed, amount);
    assert_eq!(payer.height(sent), payee.height(sent));
    let fee = payer.wallet.calculate_fee(&payer.wallet.get_tx(sent).unwrap().tx_node.tx).unwrap();
    assert_eq!(payer.wallet.balance().confirmed, REWARD * u64::from(FUNDED) - amount - fee);
}

#[tokio::test]
async fn a_payment_is_bumped_and_the_first_one_is_forgotten() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (mut payer, mut payee) = (Purse::funded(&devnet), Purse::empty(&devnet));
    payer.scan().await;
    payee.scan().await;
    let to = payee.address();
    let first = payer.send(&to, Amount::from_sat(50_000), 2).await.compute_txid();
    payer.sync().await;
    payee.sync().await;
    let second = payer.bump(first, 9);
    payer.client.broadcast(&second).await.unwrap();
    let second = second.compute_txid();
    assert_eq!(payer.client.get_mempool_txids().await.unwrap(), [second]);
    devnet.mine(1).await.unwrap();
    payer.sync().await;
    payee.sync().await;
    assert!(payee.height(second).is_some());
    assert_eq!(payee.wallet.balance().total(), Amount::from_sat(50_000));
    assert!(payee.wallet.get_tx(first).is_none(), "a replaced payment is no part of the wallet");
}

#[tokio::test]
async fn a_payment_survives_a_reorganisation() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (mut payer, mut payee) = (Purse::funded(&devnet), Purse::empty(&devnet));
    payer.scan().await;
    payee.scan().await;
    let to = payee.address();
    let sent = payer.send(&to, Amount::from_sat(50_000), 2).await.compute_txid();
    let old = devnet.mine(1).await.unwrap();
    payee.sync().await;
    assert_eq!(payee.height(sent), Some(old.height));
    devnet.reorg(1, 2).await.unwrap();
    payee.sync().await;
    assert_eq!(payee.wallet.latest_checkpoint().hash(), devnet.tip().await.unwrap().hash);
    assert_eq!(payee.wallet.balance().total(), Amount::from_sat(50_000));
    devnet.mine(1).await.unwrap();
    payee.sync().await;
    let height = payee.height(sent).expect("confirmed once more");
    let hash = payee.client.get_block_hash(height).await.unwrap();
    assert!(payee.client.get_block_txids(&hash).await.unwrap().contains(&sent));
    assert_eq!(payee.wallet.balance().confirmed, Amount::from_sat(50_000));
}

/// What spends a coinbase that a reorganisation dropped cannot come back: both sides see it go.
#[tokio::test]
async fn a_payment_whose_coins_vanish_in_a_reorganisation_vanishes_too() {
    const MATURITY: u32 = 100;
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (mut payer, mut payee) = (Purse::empty(&devnet), Purse::funded(&devnet));
    let reward = payer.address();
    devnet.mine_to(reward.script_pubkey(), 1).await.unwrap();
    devnet.mine(MATURITY).await.unwrap();
    payer.sync().await;
    payee.scan().await;
    let before = payee.wallet.balance().total();
    let to = payee.address();
    let sent = payer.send(&to, Amount::from_sat(50_000), 2).await.compute_txid();
    payee.sync().await;
    assert_eq!(payee.wallet.balance().total(), before + Amount::from_sat(50_000));
    devnet.reorg(MATURITY + 1, MATURITY + 2).await.unwrap();
    payee.sync().await;
    payer.sync().await;
    assert!(payee.client.get_mempool_txids().await.unwrap().is_empty());
    assert_eq!(payee.wallet.balance().total(), before);
    assert_eq!(payer.wallet.balance().total(), Amount::ZERO);
    assert!(payee.client.get_tx(&sent).await.unwrap().is_none());
}

/// The payer confirms a rival in place of a payment that was confirmed: the payee sees the payment go for good.
#[tokio::test]
async fn a_double_spend_by_reorganisation_is_seen() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let (mut payer, mut payee) = (Purse::funded(&devnet), Purse::empty(&devnet));
    payer.scan().await;
    payee.scan().await;
    let to = payee.address();
    let sent = payer.send(&to, Amount::from_sat(50_000), 2).await;
    // Until it asks the server again, the payer's wallet takes the coin for unspent.
    let rival = payer.spend(sent.input[0].previous_output, &devnet.wallet().address(80), 5);
    devnet.mine(1).await.unwrap();
    payee.sync().await;
    assert_eq!(payee.wallet.balance().confirmed, Amount::from_sat(50_000));
    let rival_txid = rival.compute_txid();
    devnet.reorg_with(1, vec![vec![rival], vec![]]).await.unwrap();
    payee.sync().await;
    payer.sync().await;
    assert_eq!(payee.wallet.balance().total(), Amount::ZERO);
    assert!(payer.height(rival_txid).is_some());
    let refused = devnet.submit(sent).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, "bad-txns-inputs-missingorspent");
}

/// A reorganisation may also drop what is still valid: whoever keeps the raw transaction can send it again.
#[tokio::test]
async fn a_payment_sent_again_after_a_reorganisation_is_the_same() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let mut payer = Purse::funded(&devnet);
    payer.scan().await;
    let sent = payer.send(&devnet.wallet().address(70), Amount::from_sat(50_000), 2).await;
    devnet.mine(1).await.unwrap();
    devnet.reorg(1, 2).await.unwrap();
    payer.client.broadcast(&sent).await.unwrap();
    devnet.mine(1).await.unwrap();
    payer.sync().await;
    assert!(payer.height(sent.compute_txid()).is_some());
}
