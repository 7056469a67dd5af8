//! Reorganisations: what returns, what does not, and what observers make of it.

use bitcoin::{Amount, Sequence, absolute::LockTime};
use btc_devnet::node::{Departure, Error, NoObserver, Node, Rejection};

use crate::support::{Heard, Model, Wallet, block_on, coins_of, funded, next_block, output, solve, unsigned};

/// What a fresh observer hears of the same chain.
fn replayed(node: &Node) -> Heard {
    let mut model = Model::default();
    let mut hashes = Vec::new();
    let mut hash = node.tip().hash;
    for _ in 0..=node.tip().height {
        hashes.push(hash);
        hash = node.block(&hash).expect("readable").expect("known").header.prev_blockhash;
    }
    for (height, hash) in (0u32..).zip(hashes.iter().rev()) {
        model.replay(&node.block(hash).expect("readable").expect("known"), height);
    }
    model.heard()
}

#[test]
fn transactions_of_dropped_blocks_return_and_their_children_stay() {
    let wallet = Wallet::new(3);
    let model = Model::default();
    let (mut node, coins) = funded(&wallet.p2wpkh(), 3, Box::new(model.clone()));
    let parent = wallet.spend(&coins[..1], &[wallet.p2wpkh(), wallet.p2tr()], 1_000);
    let sibling = wallet.spend(&coins[1..2], &[wallet.p2wpkh()], 1_000);
    node.submit(parent.clone()).expect("fine");
    node.submit(sibling.clone()).expect("fine");
    node.mine(2, None).expect("blocks");
    let child = wallet.spend(&[output(&parent, 0)], &[wallet.p2wpkh()], 1_000);
    let grandchild = wallet.spend(&[output(&child, 0), output(&parent, 1)], &[wallet.p2wpkh()], 1_000);
    node.submit(child.clone()).expect("fine");
    node.submit(grandchild.clone()).expect("fine");
    let before = node.tip();
    let departures = model.heard().departures.len();

    let reorg = node.reorg(2, 3).expect("a longer branch");
    assert_eq!(reorg.disconnected[0], before.hash);
    assert_eq!(reorg.connected.last(), Some(&node.tip().hash));
    assert_eq!(node.tip().height, before.height + 1);
    let heard = model.heard();
    let all = [&parent, &sibling, &child, &grandchild].map(|tx| tx.compute_txid());
    assert_eq!(heard.mempool, all.into_iter().collect());
    assert_eq!(heard.departures.len(), departures, "the children never left");
    node.debug_check();

    let hash = node.mine(1, None).expect("a block")[0];
    let block = node.block(&hash).expect("readable").expect("known");
    assert_eq!(block.txdata.len(), 5);
    let (heard, fresh) = (model.heard(), replayed(&node));
    assert_eq!((heard.chain, heard.coins, heard.mempool), (fresh.chain, fresh.coins, fresh.mempool));
    node.debug_check();
}

#[test]
fn what_the_new_branch_rules_out_does_not_return() {
    let wallet = Wallet::new(4);
    let model = Model::default();
    let (mut node, coins) = funded(&wallet.p2wpkh(), 3, Box::new(model.clone()));
    let paid = wallet.spend(&coins[..1], &[Wallet::new(5).p2wpkh()], 1_000);
    let bystander = wallet.spend(&coins[1..2], &[wallet.p2wpkh()], 1_000);
    node.submit(paid.clone()).expect("fine");
    node.submit(bystander.clone()).expect("fine");
    node.mine(1, None).expect("a block");
    let spent_on = Wallet::new(5).spend(&[output(&paid, 0)], &[wallet.p2wpkh()], 1_000);
    node.submit(spent_on.clone()).expect("fine");

    let double = wallet.spend(&coins[..1], &[wallet.p2tr()], 1_000);
    node.reorg_with(1, vec![vec![double.clone()], vec![]]).expect("a longer branch");
    let heard = model.heard();
    assert_eq!(heard.mempool, [bystander.compute_txid()].into_iter().collect());
    assert!(heard.departures.contains(&(spent_on.compute_txid(), Departure::Reorganised)));
    let refused = node.submit(paid).expect_err("its coin is spent");
    assert_eq!((refused.code, refused.reason.as_str()), (Rejection::ERROR, "bad-txns-inputs-missingorspent"));
    node.debug_check();
}

#[test]
fn what_has_become_premature_leaves() {
    let wallet = Wallet::new(6);
    let model = Model::default();
    let (mut node, coins) = funded(&wallet.p2wpkh(), 4, Box::new(model.clone()));
    // A coinbase that is just mature, a lock time that has just come, a relative one that has just passed.
    let script = wallet.p2wpkh();
    let edge = node.tip().height + 2;
    let confirmed = wallet.spend(&coins[..1], std::slice::from_ref(&script), 1_000);
    node.submit(confirmed.clone()).expect("fine");
    node.mine(2, None).expect("blocks");
    let young = coins_of(&node, edge - 99..=edge - 99).remove(0);
    assert_eq!(young.1.script_pubkey, *node.faucet_script());
    let mut locked = unsigned(&coins[1..2], std::slice::from_ref(&script), 1_000);
    locked.lock_time = LockTime::from_consensus(edge);
    wallet.sign(&mut locked, &[coins[1].1.clone()]);
    let mut relative = unsigned(&[output(&confirmed, 0)], std::slice::from_ref(&script), 1_000);
    relative.input[0].sequence = Sequence::from_height(2);
    wallet.sign(&mut relative, &[confirmed.output[0].clone()]);
    let heir = wallet.spend(&[output(&locked, 0)], std::slice::from_ref(&script), 1_000);
    let plain = wallet.spend(&coins[2..3], &[script], 1_000);
    for transaction in [&locked, &relative, &heir, &plain] {
        node.submit(transaction.clone()).expect("just in time");
    }
    // The confirmed parent goes back to waiting, so that the relative lock no longer runs.
    node.reorg(2, 3).expect("a longer branch");
    let heard = model.heard();
    assert!(heard.departures.contains(&(relative.compute_txid(), Departure::Reorganised)));
    assert!(heard.mempool.contains(&locked.compute_txid()), "the height has still come");
    assert!(heard.mempool.contains(&heir.compute_txid()));
    assert!(heard.mempool.contains(&plain.compute_txid()));
    assert!(heard.mempool.contains(&confirmed.compute_txid()));
    node.debug_check();
}

#[test]
fn what_an_earlier_median_time_makes_premature_leaves() {
    let wallet = Wallet::new(6);
    let model = Model::default();
    let (mut node, coins) = funded(&wallet.p2wpkh(), 2, Box::new(model.clone()));
    let base = node.tip();
    node.advance_time(3600).expect("within two hours");
    node.mine(11, None).expect("blocks");
    let mut timed = unsigned(&coins[..1], &[wallet.p2wpkh()], 1_000);
    timed.lock_time = LockTime::from_consensus(base.time + 1_000);
    wallet.sign(&mut timed, &[coins[0].1.clone()]);
    let child = wallet.spend(&[output(&timed, 0)], &[wallet.p2wpkh()], 1_000);
    let bystander = wallet.spend(&coins[1..], &[wallet.p2wpkh()], 1_000);
    for transaction in [&timed, &child, &bystander] {
        node.submit(transaction.clone()).expect("the time has come");
    }
    // A longer branch of blocks a second apart.
    let mut parent = base.hash;
    for step in 1..=12 {
        let block = block_on(parent, base.height + step, base.time + step, vec![]);
        parent = block.block_hash();
        match node.submit_block(&block) {
            Ok(()) => assert_eq!(step, 12),
            Err(error) => assert!(matches!(error, Error::NotBest(_)) && step < 12, "{step}: {error}"),
        }
    }
    assert!(node.tip().median_time_past < base.time + 1_000);
    let heard = model.heard();
    assert_eq!(heard.mempool, [bystander.compute_txid()].into_iter().collect());
    let leave = |transaction: &bitcoin::Transaction| (transaction.compute_txid(), Departure::Reorganised);
    assert_eq!(heard.departures, [leave(&child), leave(&timed)], "children leave first");
    assert_eq!(node.submit(timed).expect_err("not yet").reason, "non-final");
    node.debug_check();
}

#[test]
fn transactions_that_spend_a_dropped_coinbase_leave() {
    let wallet = Wallet::new(8);
    let model = Model::default();
    let (mut node, _) = funded(&wallet.p2wpkh(), 1, Box::new(model.clone()));
    node.mine(1, Some(&wallet.p2wpkh())).expect("a block");
    let height = node.tip().height;
    node.mine(99, None).expect("blocks");
    let coin = coins_of(&node, height..=height).remove(0);
    let spend = wallet.spend(&[coin], &[wallet.p2wpkh()], 1_000);
    let child = wallet.spend(&[output(&spend, 0)], &[wallet.p2wpkh()], 1_000);
    node.submit(spend.clone()).expect("just mature");
    node.submit(child.clone()).expect("fine");
    node.reorg(100, 101).expect("a longer branch");
    let heard = model.heard();
    assert_eq!(heard.mempool.len(), 0);
    for transaction in [&child, &spend] {
        assert!(heard.departures.contains(&(transaction.compute_txid(), Departure::Reorganised)));
    }
    node.debug_check();
}

#[test]
fn impossible_reorganisations_are_named_and_change_nothing() {
    let wallet = Wallet::new(4);
    let (mut node, coins) = funded(&wallet.p2wpkh(), 1, Box::new(NoObserver));
    let tip = node.tip();
    assert!(matches!(node.reorg(2, 2), Err(Error::Reorg { .. })));
    assert!(matches!(node.reorg(tip.height + 1, tip.height + 2), Err(Error::Reorg { .. })));
    assert!(matches!(node.reorg(1, u32::MAX), Err(Error::TooManyBlocks { .. })));
    let mut forged = wallet.spend(&coins, &[wallet.p2wpkh()], 1_000);
    forged.output[0].value -= Amount::ONE_SAT;
    let refused = node.reorg_with(1, vec![vec![], vec![forged]]).expect_err("an invalid transaction");
    assert!(matches!(refused, Error::InvalidBlock { .. }), "{refused}");
    assert_eq!(node.tip().hash, tip.hash);
    node.debug_check();
    node.reorg(tip.height, tip.height + 1).expect("down to the genesis block");
    node.debug_check();
}

#[test]
fn a_branch_from_elsewhere_counts_when_it_has_more_work() {
    let wallet = Wallet::new(4);
    let model = Model::default();
    let (mut node, _) = funded(&wallet.p2wpkh(), 1, Box::new(model.clone()));
    let base = node.tip();
    let mut rival = next_block(&node, vec![]);
    node.mine(1, None).expect("a block");
    rival.header.time += 1;
    solve(&mut rival);
    assert!(matches!(node.submit_block(&rival), Err(Error::NotBest(hash)) if hash == rival.block_hash()));
    assert_eq!(node.tip().height, base.height + 1);
    assert_ne!(node.tip().hash, rival.block_hash());
    let mut next = next_block(&node, vec![]);
    next.header.prev_blockhash = rival.block_hash();
    next.header.time = rival.header.time + 1;
    solve(&mut next);
    node.submit_block(&next).expect("now it has more work");
    assert_eq!(node.tip().hash, next.block_hash());
    assert_eq!(model.heard().chain[base.height as usize + 1], rival.block_hash());
    node.debug_check();
}
