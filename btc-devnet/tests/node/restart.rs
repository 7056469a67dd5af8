//! State on disk: restarts, and the end by kill -9 at any time.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use bitcoin::{Amount, BlockHash};
use btc_devnet::node::{Error, Mining, NoObserver, Node, Options, Premine};

use crate::support::{Model, Wallet, coins_of, output};

fn open(dir: &Path) -> Result<(Node, Model), Error> {
    let model = Model::default();
    let premine = vec![Premine { script_pubkey: Wallet::new(1).p2wpkh(), blocks: 2 }];
    let options = Options { dir: Some(dir.to_owned()), premine, ..Options::default() };
    Ok((Node::open(options, Box::new(model.clone()))?, model))
}

#[test]
fn a_restart_finds_chain_mempool_and_branches_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let wallet = Wallet::new(1);
    let (mut node, model) = open(folder.path()).expect("a chain");
    let coins = coins_of(&node, 1..=2);
    let parent = wallet.spend(&coins[..1], &[wallet.p2wpkh()], 1_000);
    let child = wallet.spend(&[output(&parent, 0)], &[wallet.p2wpkh()], 1_000);
    let mined = wallet.spend(&coins[1..], &[wallet.p2wpkh()], 1_000);
    node.submit(mined.clone()).expect("fine");
    node.mine(3, None).expect("blocks");
    let old = node.tip();
    node.reorg(1, 2).expect("a longer branch");
    for transaction in [&parent, &child] {
        node.submit(transaction.clone()).expect("fine");
    }
    let (tip, heard) = (node.tip(), model.heard());
    assert!(matches!(open(folder.path()), Err(Error::InUse(_))));
    drop(node);

    let (mut node, model) = open(folder.path()).expect("the same chain");
    assert_eq!(node.tip(), tip);
    let again = model.heard();
    assert_eq!((&again.chain, &again.mempool), (&heard.chain, &heard.mempool));
    assert_eq!(again.mempool.len(), 2);
    assert!(node.block(&old.hash).expect("readable").is_some(), "the dropped branch is kept");
    node.debug_check();
    node.mine(1, None).expect("a block");
    drop(node);
    let (node, model) = open(folder.path()).expect("the same chain");
    assert_eq!(node.tip().height, tip.height + 1);
    assert_eq!(model.heard().mempool.len(), 0);
    node.debug_check();
}

#[test]
fn damaged_blocks_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()).expect("a chain"));
    let path = folder.path().join("blocks.log");
    let mut bytes = std::fs::read(&path).expect("the log");
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).expect("room");
    let error = open(folder.path()).err().expect("damage is an error").to_string();
    assert!(error.contains("blocks.log") && error.contains("damaged"), "{error}");
}

/// Set for the child process only: where it keeps its chain.
const CHILD_DIR: &str = "BTC_DEVNET_TEST_DIR";

/// Not a test of its own: what the killed process does. Without the variable it has nothing to do.
#[test]
fn child_that_mines_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let options = Options { dir: Some(dir.into()), mining: Mining::OnDemand, ..Options::default() };
    let mut node = Node::open(options, Box::new(NoObserver)).expect("a chain");
    let to = Wallet::new(2).p2wpkh();
    loop {
        let txid = node.fund(&to, Amount::from_sat(50_000)).expect("funds");
        println!("acknowledged tx {txid}");
        let hash = node.mine(1, None).expect("a block")[0];
        println!("acknowledged block {hash}");
    }
}

#[test]
fn after_a_kill_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged: Vec<BlockHash> = Vec::new();
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "restart::child_that_mines_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // Killed between two of its steps, wherever it is by then.
        let mut count = 0;
        for line in lines.map_while(Result::ok) {
            if let Some((_, hash)) = line.split_once("acknowledged block ") {
                acknowledged.push(hash.parse().expect("a hash"));
                count += 1;
            }
            if count == 5 + round {
                child.kill().expect("it runs");
            }
        }
        child.wait().expect("it ends");
        assert!(count >= 5, "the child ended by itself");
    }
    let (mut node, model) = open(folder.path()).expect("the chain opens");
    let chain = model.heard().chain;
    for hash in &acknowledged {
        assert!(chain.contains(hash), "block {hash} is lost");
    }
    node.debug_check();
    node.mine(1, None).expect("the chain goes on");
    assert_eq!(node.mempool_len(), 0);
}
