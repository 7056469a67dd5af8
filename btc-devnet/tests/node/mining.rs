//! Opening, mining, the faucet, the clock.

use bitcoin::{Amount, ScriptBuf};
use btc_devnet::node::{Departure, Error, Mining, NoObserver, Node, Options};

use crate::support::{Model, Wallet, funded};

#[test]
fn a_new_chain_has_mature_coins_and_a_filled_faucet() {
    let wallet = Wallet::new(1);
    let model = Model::default();
    let (mut node, coins) = funded(&wallet.p2tr(), 3, Box::new(model.clone()));
    assert_eq!(coins.len(), 3);
    let spend = wallet.spend(&coins, &[wallet.p2wpkh()], 1_000);
    assert_eq!(node.submit(spend.clone()), Ok(spend.compute_txid()));
    let to = Wallet::new(2).p2wpkh();
    let paid = node.fund(&to, Amount::from_sat(123_456)).expect("a filled faucet");
    assert_eq!(node.mempool_len(), 2);
    let hash = node.mine(1, None).expect("a block")[0];
    let heard = model.heard();
    assert!(heard.departures.contains(&(paid, Departure::Mined(hash))));
    assert!(heard.coins.values().any(|output| output.value == Amount::from_sat(123_456) && output.script_pubkey == to));
    assert_eq!(heard.chain.len() as u32, node.tip().height + 1);
    node.debug_check();
}

#[test]
fn the_faucet_pays_from_its_own_change_and_says_when_it_is_empty() {
    let mut node = Node::open(Options::default(), Box::new(NoObserver)).expect("a chain");
    let to = Wallet::new(1).p2wpkh();
    // Eleven mature coinbases, and chains of change from each until clusters are full.
    let mut paid = 0;
    let error = loop {
        match node.fund(&to, Amount::from_sat(10_000)) {
            Ok(_) => paid += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::FaucetEmpty { .. }), "{error}");
    assert_eq!(paid, 11 * 64);
    node.mine(1, None).expect("a block");
    let error = node.fund(&to, Amount::from_int_btc(10_000)).expect_err("too much");
    assert!(matches!(error, Error::FaucetEmpty { .. }), "{error}");
    let error = node.fund(&to, Amount::from_sat(10)).expect_err("dust");
    assert!(matches!(&error, Error::Rejected(rejection) if rejection.reason.starts_with("dust")), "{error}");
    node.mine(1, None).expect("a block");
    assert_eq!(node.mempool_len(), 0);
    node.debug_check();
}

#[test]
fn block_times_follow_the_clock_and_the_median_time_past() {
    let mut node = Node::open(Options::default(), Box::new(NoObserver)).expect("a chain");
    let before = node.time();
    node.advance_time(3600).expect("within two hours");
    node.mine(1, None).expect("a block");
    assert!((before + 3600..before + 3700).contains(&node.tip().time));
    assert!(matches!(node.advance_time(3700), Err(Error::TooFarAhead { .. })));
    assert!(matches!(node.set_time(node.tip().median_time_past), Err(Error::TooFarBack { .. })));
    // Back to the system's time: blocks must still be later than the median.
    node.set_time(before).expect("after the median");
    for _ in 0..20 {
        let median = node.tip().median_time_past;
        node.mine(1, None).expect("a block");
        assert!(node.tip().time > median);
    }
    node.debug_check();
}

#[test]
fn a_chain_that_starts_earlier_has_room_to_move_its_clock() {
    let month = 30 * 24 * 3600;
    let start = Node::open(Options::default(), Box::new(NoObserver)).expect("a chain").time() - month;
    let options = Options { start_time: Some(start), ..Options::default() };
    let mut node = Node::open(options, Box::new(NoObserver)).expect("a chain");
    assert!(node.tip().time <= start);
    for _ in 0..30 {
        node.advance_time(24 * 3600).expect("room");
        node.mine(1, None).expect("a block");
    }
    assert!(node.tip().time >= start + month);
}

#[test]
fn blocks_come_by_themselves_if_wanted() {
    let mut node = Node::open(Options { mining: Mining::OnTransaction, ..Options::default() }, Box::new(NoObserver))
        .expect("a chain");
    let height = node.tip().height;
    let to = Wallet::new(1).p2wpkh();
    node.fund(&to, Amount::from_int_btc(1)).expect("funds");
    assert_eq!((node.tip().height, node.mempool_len()), (height + 1, 0));

    node.set_mining(Mining::Interval(std::time::Duration::ZERO));
    assert!(node.tick().expect("a block").is_some());
    assert_eq!(node.tip().height, height + 2);
    node.set_mining(Mining::Interval(std::time::Duration::from_secs(3600)));
    assert!(node.next_block_at().is_some());
    assert_eq!(node.tick().expect("nothing is due"), None);
    node.set_mining(Mining::OnDemand);
    assert_eq!(node.next_block_at(), None);
    let reward = ScriptBuf::new_op_return([1, 2, 3]);
    let hash = node.mine(1, Some(&reward)).expect("a block")[0];
    let block = node.block(&hash).expect("readable").expect("known");
    assert_eq!(block.txdata[0].output[0].script_pubkey, reward);
    assert!(matches!(node.mine(u32::MAX, None), Err(Error::TooManyBlocks { .. })));
}
