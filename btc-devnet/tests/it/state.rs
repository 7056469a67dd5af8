//! A chain that is kept in a folder.

use bitcoin::{Amount, Network};
use btc_devnet::index::Index;
use btc_devnet::{Devnet, Options};

use crate::http::text;
use crate::purse::Purse;

fn kept(folder: &tempfile::TempDir) -> Options {
    Options { state: Some(folder.path().join("chain")), ..Options::default() }
}

#[tokio::test]
async fn a_chain_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(kept(&folder)).await.unwrap();
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    let sent = purse.send(&devnet.wallet().address(30), Amount::from_sat(10_000), 2).await.compute_txid();
    let tip = devnet.mine(3).await.unwrap();
    devnet.reorg(1, 2).await.unwrap();
    let last = devnet.tip().await.unwrap();
    let blocks =
        [text(&devnet, "/block-height/1").await, text(&devnet, &format!("/block-height/{}", tip.height)).await];
    devnet.stop();

    let devnet = Devnet::start(kept(&folder)).await.unwrap();
    assert_eq!(devnet.tip().await.unwrap().hash, last.hash);
    let same = [text(&devnet, "/block-height/1").await, text(&devnet, &format!("/block-height/{}", tip.height)).await];
    assert_eq!(same, blocks);
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    assert!(purse.height(sent).is_some());
    // It is as alive as before: coins move, blocks are mined.
    let again = purse.send(&devnet.wallet().address(31), Amount::from_sat(10_000), 2).await.compute_txid();
    devnet.mine(1).await.unwrap();
    purse.sync().await;
    assert!(purse.height(again).is_some());
}

/// What the index gathered through payments, replacements and reorganisations is what the blocks of the best chain alone say.
#[tokio::test]
async fn the_index_equals_one_built_from_the_blocks() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    for round in 1..=4 {
        let sent = purse.send(&devnet.wallet().address(30 + round), Amount::from_sat(10_000), 2).await.compute_txid();
        purse.sync().await;
        let bumped = purse.bump(sent, 4);
        purse.client.broadcast(&bumped).await.unwrap();
        devnet.fund(&devnet.wallet().address(round), Amount::from_sat(20_000)).await.unwrap();
        devnet.mine(round).await.unwrap();
        devnet.reorg(round, round + 1).await.unwrap();
        purse.sync().await;
        let index = devnet.handle().index();
        let mut fresh = Index::new(Network::Regtest);
        for height in 0..=index.chain.tip().unwrap().height {
            fresh.connect(index.chain.block_at(height).unwrap().block.clone());
        }
        assert!(index.chain == fresh.chain, "round {round}");
    }
}

#[tokio::test]
async fn a_folder_serves_one_chain_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(kept(&folder)).await.unwrap();
    let second = Devnet::start(kept(&folder)).await;
    let error = second.err().expect("the folder is in use").to_string();
    assert!(error.contains("in use"), "{error}");
    drop(devnet);
    Devnet::start(kept(&folder)).await.unwrap();
}
