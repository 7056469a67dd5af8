//! Transactions that Bitcoin Core's mempool refuses, each with Core's code and reason: everything but scripts.

use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxOut, Witness,
    absolute::LockTime,
    opcodes::all as op,
    script::{Builder, PushBytesBuf},
    transaction::Version,
};
use btc_devnet::node::{Departure, NoObserver, Node, Rejection};

use crate::support::{Model, Wallet, coins_of, funded, is_reason, next_block, output, unsigned};

type Coin = (OutPoint, TxOut);

/// A chain whose coins all belong to one wallet.
struct Bench {
    node: Node,
    wallet: Wallet,
    coins: Vec<Coin>,
}

impl Bench {
    fn new(coins: u32) -> Bench {
        let wallet = Wallet::new(9);
        let (node, coins) = funded(&wallet.p2wpkh(), coins, Box::new(NoObserver));
        Bench { node, wallet, coins }
    }

    fn own(&self) -> ScriptBuf {
        self.wallet.p2wpkh()
    }

    /// Spends a coin to the wallet itself.
    fn pay(&self, coin: usize, fee: u64) -> Transaction {
        self.wallet.spend(&[self.coins[coin].clone()], &[self.own()], fee)
    }

    /// A payment changed before it is signed.
    fn changed(&self, change: impl FnOnce(&mut Transaction)) -> Transaction {
        let mut transaction = unsigned(&self.coins[..1], &[self.own()], 1_000);
        change(&mut transaction);
        self.wallet.sign(&mut transaction, &[self.coins[0].1.clone()]);
        transaction
    }

    /// A payment with one more output, whose value comes from the first.
    fn paying(&self, value: u64, script_pubkey: ScriptBuf) -> Transaction {
        self.changed(|transaction| {
            transaction.output[0].value -= Amount::from_sat(value);
            transaction.output.push(TxOut { value: Amount::from_sat(value), script_pubkey });
        })
    }

    /// Mines a block with transactions that no mempool would take.
    fn confirm(&mut self, transactions: Vec<Transaction>) {
        let block = next_block(&self.node, transactions);
        self.node.submit_block(&block).expect("consensus allows it");
    }

    /// An output with this script in the chain.
    fn locked(&mut self, script_pubkey: ScriptBuf) -> Coin {
        let coin = self.coins.pop().expect("coins are left");
        let transaction = self.wallet.spend(&[coin], &[script_pubkey], 1_000);
        let locked = output(&transaction, 0);
        self.confirm(vec![transaction]);
        locked
    }

    fn refuses(&mut self, transaction: Transaction, code: i32, reason: &str) {
        let before = self.node.mempool_len();
        let tested = self.node.test_accept(vec![transaction.clone()]).expect("one transaction");
        match self.node.submit(transaction) {
            Err(rejection) => {
                assert!(is_reason(&rejection.reason, reason), "{} instead of {reason}", rejection.reason);
                assert_eq!(rejection.code, code, "{reason}");
                if code == Rejection::REJECTED {
                    assert_eq!(tested[0].allowed, Some(false), "{reason}");
                    assert_eq!(tested[0].reject_details.as_deref(), Some(&*rejection.reason));
                }
            }
            Ok(txid) => panic!("{txid} was accepted instead of: {reason}"),
        }
        assert_eq!(self.node.mempool_len(), before, "{reason}");
    }

    fn accepts(&mut self, transaction: Transaction) {
        let txid = transaction.compute_txid();
        assert_eq!(self.node.submit(transaction), Ok(txid));
    }
}

/// A name, how to make the transaction, Core's reason.
type Case = (&'static str, fn(&Bench) -> Transaction, &'static str);

fn op_return(bytes: usize) -> ScriptBuf {
    ScriptBuf::new_op_return(PushBytesBuf::try_from(vec![7; bytes]).expect("a push"))
}

const CASES: &[Case] = &[
    ("no output", |b| b.changed(|tx| tx.output.clear()), "bad-txns-vout-empty"),
    (
        "too large an amount",
        |b| b.changed(|tx| tx.output[0].value = Amount::from_sat(Amount::MAX_MONEY.to_sat() + 1)),
        "bad-txns-vout-toolarge",
    ),
    (
        "a negative amount",
        |b| b.changed(|tx| tx.output[0].value = Amount::from_sat(u64::MAX)),
        "bad-txns-vout-negative",
    ),
    (
        "a coinbase",
        |b| {
            b.changed(|tx| {
                tx.input[0].previous_output = OutPoint::null();
                tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51, 0x51]);
            })
        },
        "coinbase",
    ),
    ("version 0", |b| b.changed(|tx| tx.version = Version(0)), "version"),
    ("version 4", |b| b.changed(|tx| tx.version = Version(4)), "version"),
    (
        "over 400,000 weight units",
        |b| {
            b.changed(|tx| {
                let each = tx.output[0].value / 4_000;
                tx.output = vec![TxOut { value: each, ..tx.output[0].clone() }; 3_300];
            })
        },
        "tx-size",
    ),
    (
        "a scriptSig over 1650 bytes",
        |b| b.changed(|tx| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51; 1651])),
        "scriptsig-size",
    ),
    (
        "a scriptSig that does more than push",
        |b| b.changed(|tx| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x61])),
        "scriptsig-not-pushonly",
    ),
    (
        "an output script of no known form",
        |b| b.paying(10_000, ScriptBuf::from_bytes(vec![op::OP_VERIFY.to_u8()])),
        "scriptpubkey",
    ),
    (
        "a bare multisig of four keys",
        |b| {
            let key = b.wallet.key();
            let script = (0..4).fold(Builder::new().push_int(1), |script, _| script.push_key(&key));
            b.paying(10_000, script.push_int(4).push_opcode(op::OP_CHECKMULTISIG).into_script())
        },
        "scriptpubkey",
    ),
    (
        "over 100,000 bytes of data",
        |b| {
            b.changed(|tx| {
                tx.output.push(TxOut { value: Amount::ZERO, script_pubkey: op_return(60_000) });
                tx.output.push(TxOut { value: Amount::ZERO, script_pubkey: op_return(60_000) });
            })
        },
        "tx-size",
    ),
    (
        "two dust outputs",
        |b| {
            b.changed(|tx| {
                let dust = TxOut { value: Amount::from_sat(293), ..tx.output[0].clone() };
                tx.output.extend([dust.clone(), dust]);
            })
        },
        "dust",
    ),
    ("a dust output and a fee", |b| b.paying(293, b.own()), "dust"),
    (
        "under 65 bytes without witness",
        |b| {
            b.changed(|tx| {
                tx.output = vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0x6a, 0x51]) }];
            })
        },
        "tx-size-small",
    ),
    (
        "a height that has not come",
        |b| b.changed(|tx| tx.lock_time = LockTime::from_consensus(b.node.tip().height + 1)),
        "non-final",
    ),
    (
        "a time that has not come",
        |b| b.changed(|tx| tx.lock_time = LockTime::from_consensus(b.node.tip().median_time_past)),
        "non-final",
    ),
    (
        "blocks to wait (BIP68)",
        |b| b.changed(|tx| tx.input[0].sequence = Sequence::from_height(60_000)),
        "non-BIP68-final",
    ),
    (
        "time to wait (BIP68)",
        |b| {
            // The time counts from the block before the coin's, and that before the first is of 2011.
            let mut transaction = unsigned(&b.coins[2..3], &[b.own()], 1_000);
            transaction.input[0].sequence = Sequence::from_512_second_intervals(60_000);
            b.wallet.sign(&mut transaction, &[b.coins[2].1.clone()]);
            transaction
        },
        "non-BIP68-final",
    ),
    (
        "a young coinbase",
        |b| {
            let young = coins_of(&b.node, 100..=100).remove(0);
            unsigned(&[young], &[b.own()], 1_000)
        },
        "bad-txns-premature-spend-of-coinbase",
    ),
    ("more paid than spent", |b| b.changed(|tx| tx.output[0].value += Amount::from_sat(1_001)), "bad-txns-in-belowout"),
    (
        "an input twice",
        |b| {
            let mut transaction = b.pay(0, 1_000);
            transaction.input.push(transaction.input[0].clone());
            transaction
        },
        "bad-txns-inputs-duplicate",
    ),
    (
        "a null input",
        |b| {
            let mut transaction = b.wallet.spend(&b.coins[..2], &[b.own()], 1_000);
            transaction.input[1].previous_output = OutPoint::null();
            transaction
        },
        "bad-txns-prevout-null",
    ),
    ("no fee", |b| b.pay(0, 0), "min relay fee not met"),
    ("a fee of less than 100 sat/kvB", |b| b.pay(0, 10), "min relay fee not met"),
    (
        "too many signature operations",
        |b| {
            b.changed(|tx| {
                let key = b.wallet.key();
                let script = (0..3).fold(Builder::new().push_int(1), |script, _| script.push_key(&key));
                let script = script.push_int(3).push_opcode(op::OP_CHECKMULTISIG).into_script();
                // A bare multisig counts as 20 operations, four units each.
                let each = tx.output[0].value / 300;
                tx.output = vec![TxOut { value: each, script_pubkey: script }; 201];
            })
        },
        "bad-txns-too-many-sigops",
    ),
];

#[test]
fn transactions_that_core_refuses_are_refused_with_its_reason() {
    let mut bench = Bench::new(3);
    for (name, make, reason) in CASES {
        let transaction = make(&bench);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bench.refuses(transaction, Rejection::REJECTED, reason);
        }));
        assert!(outcome.is_ok(), "{name}");
    }
    let payment = bench.pay(0, 100);
    bench.accepts(payment);
    bench.node.debug_check();
}

#[test]
fn a_broadcast_answers_with_cores_codes() {
    let mut bench = Bench::new(3);
    let payment = bench.pay(0, 1_000);
    let mut unknown = payment.clone();
    unknown.input[0].previous_output.vout = 5;
    bench.refuses(unknown.clone(), Rejection::ERROR, "bad-txns-inputs-missingorspent");
    let tested = bench.node.test_accept(vec![unknown]).expect("one transaction");
    assert_eq!(tested[0].reject_reason.as_deref(), Some("missing-inputs"));
    let dear = bench.pay(0, 2_000_000);
    bench.refuses(dear, Rejection::ERROR, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)");
    let burnt = bench.paying(10_000, op_return(4));
    bench.refuses(burnt, Rejection::ERROR, "Unspendable output exceeds maximum configured by user (maxburnamount)");

    bench.accepts(payment.clone());
    // Again is fine; to test it is not.
    bench.accepts(payment.clone());
    assert_eq!(bench.node.mempool_len(), 1);
    let again = bench.node.test_accept(vec![payment.clone()]).expect("one transaction");
    assert_eq!(again[0].reject_reason.as_deref(), Some("txn-already-in-mempool"));
    let mut other = payment.clone();
    other.input[0].witness.push([1]);
    let other = bench.node.test_accept(vec![other]).expect("one transaction");
    assert_eq!(other[0].reject_reason.as_deref(), Some("txn-same-nonwitness-data-in-mempool"));
    bench.node.mine(1, None).expect("a block");
    bench.refuses(payment, Rejection::ALREADY_IN_CHAIN, "Transaction outputs already in utxo set");
    assert!(matches!(bench.node.test_accept(vec![]), Err(rejection) if rejection.code == Rejection::PARAMETER));
}

#[test]
fn inputs_of_no_known_form_are_refused() {
    let mut bench = Bench::new(5);
    let to = [bench.own()];
    let spend = |coin: Coin, script_sig: Vec<u8>, witness: &[Vec<u8>]| {
        let mut transaction = unsigned(&[coin], &to, 10_000);
        transaction.input[0].script_sig = ScriptBuf::from_bytes(script_sig);
        transaction.input[0].witness = Witness::from_slice(witness);
        transaction
    };
    let odd = bench.locked(ScriptBuf::from_bytes(vec![op::OP_PUSHNUM_1.to_u8()]));
    bench.refuses(spend(odd, vec![], &[]), Rejection::REJECTED, "bad-txns-nonstandard-inputs");
    let future = bench.locked(ScriptBuf::from_bytes([&[0x52, 32][..], &[1; 32]].concat()));
    bench.refuses(spend(future, vec![], &[]), Rejection::REJECTED, "bad-txns-nonstandard-inputs");
    let many = Builder::new().push_opcode(op::OP_CHECKMULTISIG).into_script();
    let p2sh = bench.locked(ScriptBuf::new_p2sh(&many.script_hash()));
    bench.refuses(
        spend(p2sh, vec![1, op::OP_CHECKMULTISIG.to_u8()], &[]),
        Rejection::REJECTED,
        "bad-txns-nonstandard-inputs",
    );
    let anchor = bench.locked(ScriptBuf::from_bytes(vec![0x51, 0x02, 0x4e, 0x73]));
    bench.refuses(spend(anchor.clone(), vec![], &[vec![1]]), Rejection::REJECTED, "bad-witness-nonstandard");
    bench.accepts(spend(anchor, vec![], &[]));
    bench.node.debug_check();
}

#[test]
fn a_replacement_must_pay_for_what_it_replaces() {
    let wallet = Wallet::new(9);
    let model = Model::default();
    let (node, coins) = funded(&wallet.p2wpkh(), 3, Box::new(model.clone()));
    let mut bench = Bench { node, wallet, coins };
    // It does not signal that it may be replaced, and need not.
    let mut first = unsigned(&bench.coins[..1], &[bench.own()], 1_000);
    first.input[0].sequence = Sequence::MAX;
    bench.wallet.sign(&mut first, &[bench.coins[0].1.clone()]);
    let child = bench.wallet.spend(&[output(&first, 0)], &[bench.own()], 500);
    bench.accepts(first.clone());
    bench.accepts(child.clone());
    let pay = |bench: &Bench, fee| bench.wallet.spend(&bench.coins[..1], &[bench.wallet.p2tr()], fee);
    bench.refuses(pay(&bench, 1_400), Rejection::REJECTED, "insufficient fee");
    bench.refuses(pay(&bench, 1_505), Rejection::REJECTED, "insufficient fee");
    // Enough in all, but spread over far more bytes: the first part of the diagram would sink.
    let wide = bench.wallet.spend(&bench.coins[..1], &vec![bench.own(); 200], 2_500);
    bench.refuses(wide, Rejection::REJECTED, "replacement-failed");
    let replacement = pay(&bench, 1_600);
    bench.accepts(replacement.clone());
    let by = Departure::Replaced(replacement.compute_txid());
    assert_eq!(model.heard().departures, [(child.compute_txid(), by), (first.compute_txid(), by)]);
    // A transaction cannot spend from what it replaces.
    let circle = bench.wallet.spend(&[bench.coins[0].clone(), output(&replacement, 0)], &[bench.own()], 50_000);
    assert!(bench.node.submit(circle).is_err_and(|rejection| rejection.code == Rejection::REJECTED));
    let parents = [bench.pay(1, 1_000), bench.pay(2, 1_000)];
    bench.accepts(parents[0].clone());
    bench.accepts(parents[1].clone());
    let circle = {
        let spent = [bench.coins[1].clone(), output(&parents[1], 0), output(&parents[0], 0)];
        bench.wallet.spend(&spent, &[bench.own()], 90_000)
    };
    bench.refuses(circle, Rejection::REJECTED, "bad-txns-spends-conflicting-tx");
    bench.node.debug_check();
}

#[test]
fn clusters_have_at_most_64_transactions_and_101_kvb() {
    let mut bench = Bench::new(2);
    let mut last = bench.pay(0, 1_000);
    bench.accepts(last.clone());
    for _ in 1..64 {
        last = bench.wallet.spend(&[output(&last, 0)], &[bench.own()], 1_000);
        bench.accepts(last.clone());
    }
    let one_more = bench.wallet.spend(&[output(&last, 0)], &[bench.own()], 1_000);
    bench.refuses(one_more, Rejection::REJECTED, "too-large-cluster");
    bench.node.debug_check();
    bench.node.mine(1, None).expect("a block");
    assert_eq!(bench.node.mempool_len(), 0);
    // Two transactions of 60 kvB.
    let big = |bench: &Bench, coin: Coin| {
        let mut transaction = unsigned(std::slice::from_ref(&coin), &[bench.own()], 20_000);
        transaction.output.push(TxOut { value: Amount::ZERO, script_pubkey: op_return(60_000) });
        bench.wallet.sign(&mut transaction, &[coin.1]);
        transaction
    };
    let first = big(&bench, bench.coins[1].clone());
    let second = big(&bench, output(&first, 0));
    bench.accepts(first);
    bench.refuses(second, Rejection::REJECTED, "too-large-cluster");
    bench.node.debug_check();
}

#[test]
fn version_3_transactions_have_one_small_child() {
    let mut bench = Bench::new(3);
    let truc = |bench: &Bench, coins: &[Coin], outputs: usize, fee: u64| {
        let mut transaction = unsigned(coins, &vec![bench.own(); outputs], fee);
        transaction.version = Version(3);
        bench.wallet.sign(&mut transaction, &coins.iter().map(|(_, output)| output.clone()).collect::<Vec<_>>());
        transaction
    };
    let large = truc(&bench, &bench.coins[..1], 400, 20_000);
    bench.refuses(large, Rejection::REJECTED, "TRUC-violation");
    let parent = truc(&bench, &bench.coins[..1], 3, 1_000);
    bench.accepts(parent.clone());
    let plain = bench.wallet.spend(&[output(&parent, 0)], &[bench.own()], 1_000);
    bench.refuses(plain, Rejection::REJECTED, "TRUC-violation");
    let wide = truc(&bench, &[output(&parent, 0)], 40, 5_000);
    bench.refuses(wide, Rejection::REJECTED, "TRUC-violation");
    let child = truc(&bench, &[output(&parent, 0)], 1, 1_000);
    bench.accepts(child.clone());
    let grandchild = truc(&bench, &[output(&child, 0)], 1, 1_000);
    bench.refuses(grandchild, Rejection::REJECTED, "TRUC-violation");
    // A second child must outbid the first, which then goes.
    let cheap = truc(&bench, &[output(&parent, 1)], 1, 1_001);
    bench.refuses(cheap, Rejection::REJECTED, "insufficient fee (including sibling eviction)");
    let dear = truc(&bench, &[output(&parent, 1)], 1, 2_000);
    bench.accepts(dear);
    assert_eq!(bench.node.mempool_len(), 2);
    let ordinary = bench.pay(1, 1_000);
    bench.accepts(ordinary.clone());
    let heir = truc(&bench, &[output(&ordinary, 0)], 1, 1_000);
    bench.refuses(heir, Rejection::REJECTED, "TRUC-violation");
    bench.node.debug_check();
}

#[test]
fn a_child_pays_for_its_parent_in_a_package() {
    let mut bench = Bench::new(4);
    let anchor = ScriptBuf::from_bytes(vec![0x51, 0x02, 0x4e, 0x73]);
    // A parent that pays nothing and has an anchor worth nothing, which its child must spend.
    let mut parent = unsigned(&bench.coins[..1], &[bench.own()], 0);
    parent.version = Version(3);
    parent.output.push(TxOut { value: Amount::ZERO, script_pubkey: anchor });
    bench.wallet.sign(&mut parent, &[bench.coins[0].1.clone()]);
    bench.refuses(parent.clone(), Rejection::REJECTED, "min relay fee not met");
    let child = |bench: &Bench, vouts: &[u32]| {
        let coins: Vec<Coin> = vouts.iter().map(|&vout| output(&parent, vout)).collect();
        let mut child = unsigned(&coins, &[bench.own()], 2_000);
        child.version = Version(3);
        bench.wallet.sign(&mut child, &coins.iter().map(|(_, output)| output.clone()).collect::<Vec<_>>());
        child
    };
    let forgetful = child(&bench, &[0]);
    let report = bench.node.submit_package(vec![parent.clone(), forgetful], None).expect("a report");
    assert_eq!(report.message, "unspent-dust");
    let error = report.transactions[1].1.error.as_deref().expect("an error");
    assert!(is_reason(error, "missing-ephemeral-spends"), "{error}");
    assert_eq!(bench.node.mempool_len(), 0);

    let caring = child(&bench, &[0, 1]);
    let report = bench.node.submit_package(vec![parent.clone(), caring.clone()], None).expect("a report");
    assert_eq!(report.message, "success");
    for (_, transaction) in &report.transactions {
        assert_eq!(transaction.error, None);
        assert_eq!(transaction.effective_includes, [parent.compute_wtxid(), caring.compute_wtxid()]);
    }
    assert_eq!(bench.node.mempool_len(), 2);
    bench.node.debug_check();
    let again = bench.node.submit_package(vec![parent.clone(), caring.clone()], None).expect("a report");
    assert_eq!((again.message.as_str(), again.transactions[0].1.effective_feerate), ("success", None));

    // The package replaces as a whole.
    let dear = {
        let mut dear = caring.clone();
        dear.output[0].value -= Amount::from_sat(3_000);
        bench.wallet.sign(&mut dear, &[parent.output[0].clone(), parent.output[1].clone()]);
        dear
    };
    let report = bench.node.submit_package(vec![parent.clone(), dear.clone()], None).expect("a report");
    assert_eq!((report.message.as_str(), &report.replaced), ("success", &vec![caring.compute_txid()]));
    let hash = bench.node.mine(1, None).expect("a block")[0];
    let block = bench.node.block(&hash).expect("readable").expect("known");
    assert_eq!(block.txdata[1..], [parent, dear]);
    bench.node.debug_check();
}

#[test]
fn whoever_spends_from_a_parent_with_dust_must_spend_the_dust() {
    let mut bench = Bench::new(1);
    let mut parent = unsigned(&bench.coins[..1], &[bench.own(), bench.own()], 0);
    parent
        .output
        .push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0x51, 0x02, 0x4e, 0x73]) });
    bench.wallet.sign(&mut parent, &[bench.coins[0].1.clone()]);
    let child = bench.wallet.spend(&[output(&parent, 0), output(&parent, 2)], &[bench.own()], 2_000);
    let report = bench.node.submit_package(vec![parent.clone(), child], None).expect("a report");
    assert_eq!(report.message, "success");
    let second = bench.wallet.spend(&[output(&parent, 1)], &[bench.own()], 2_000);
    bench.refuses(second.clone(), Rejection::REJECTED, "missing-ephemeral-spends");
    bench.node.mine(1, None).expect("a block");
    // The dust of a confirmed parent binds nobody.
    bench.accepts(second);
}

#[test]
fn a_block_that_spends_a_coin_otherwise_rules_out_descendants_too() {
    let wallet = Wallet::new(9);
    let model = Model::default();
    let (mut node, coins) = funded(&wallet.p2wpkh(), 2, Box::new(model.clone()));
    let parent = wallet.spend(&coins[..1], &[wallet.p2wpkh()], 1_000);
    let child = wallet.spend(&[output(&parent, 0), coins[1].clone()], &[wallet.p2wpkh()], 1_000);
    let grandchild = wallet.spend(&[output(&child, 0)], &[wallet.p2wpkh()], 1_000);
    for transaction in [&parent, &child, &grandchild] {
        node.submit(transaction.clone()).expect("fine");
    }
    let block = next_block(&node, vec![wallet.spend(&coins[..1], &[wallet.p2tr()], 1_000)]);
    node.submit_block(&block).expect("a valid block");
    let by = Departure::Conflict(block.block_hash());
    let left = [&grandchild, &child, &parent].map(|transaction| (transaction.compute_txid(), by));
    assert_eq!(model.heard().departures, left, "children leave first");
    node.debug_check();
}

#[test]
fn packages_that_are_none_are_named() {
    let mut bench = Bench::new(4);
    let (first, second) = (bench.pay(0, 1_000), bench.pay(1, 1_000));
    let refused = bench.node.submit_package(vec![first.clone(), second.clone()], None).expect_err("no package");
    assert_eq!(refused.code, Rejection::ERROR);
    assert!(refused.reason.starts_with("package topology disallowed"), "{}", refused.reason);
    let child = bench.wallet.spend(&[output(&first, 0)], &[bench.own()], 1_000);
    let errors = |bench: &mut Bench, transactions: Vec<Transaction>| {
        bench.node.test_accept(transactions).expect("a list")[0].package_error.clone()
    };
    assert_eq!(errors(&mut bench, vec![child.clone(), first.clone()]).as_deref(), Some("package-not-sorted"));
    assert_eq!(errors(&mut bench, vec![first.clone(), first.clone()]).as_deref(), Some("package-contains-duplicates"));
    let rival = bench.wallet.spend(&bench.coins[..1], &[bench.wallet.p2tr()], 1_000);
    assert_eq!(errors(&mut bench, vec![first.clone(), rival]).as_deref(), Some("conflict-in-package"));
    let too_many = bench.node.test_accept(vec![first.clone(); 26]).expect_err("too many");
    assert_eq!(too_many.code, Rejection::PARAMETER);
    let both = bench.node.test_accept(vec![first.clone(), child.clone(), second]).expect("a list");
    assert!(both.iter().all(|tested| tested.allowed == Some(true) && tested.package_error.is_none()));
    assert_eq!(bench.node.mempool_len(), 0, "a test takes nothing in");
    let bad = {
        let mut bad = child;
        bad.input[0].witness.clear();
        bad
    };
    let report = bench.node.submit_package(vec![first, bad], None).expect("a report");
    assert_eq!(report.message, "transaction failed");
    assert_eq!(report.transactions[0].1.error, None, "the parent is fine by itself");
    assert!(report.transactions[1].1.error.is_some());
}

#[test]
fn a_full_mempool_gives_up_what_pays_least() {
    let wallet = Wallet::new(9);
    let premine = vec![btc_devnet::node::Premine { script_pubkey: wallet.p2wpkh(), blocks: 30 }];
    let model = Model::default();
    let options = btc_devnet::node::Options { premine, mempool_bytes: Some(12_000), ..Default::default() };
    let node = Node::open(options, Box::new(model.clone())).expect("a chain");
    let coins = coins_of(&node, 1..=30);
    let mut bench = Bench { node, wallet, coins };
    let mut refused = 0;
    for coin in 0..30 {
        // Ever dearer, with a cheap one between.
        let fee = if coin % 3 == 2 { 120 } else { 1_000 + 100 * coin as u64 };
        match bench.node.submit(bench.pay(coin, fee)) {
            Ok(_) => {}
            Err(rejection) => {
                assert!(
                    ["mempool min fee not met", "mempool full"]
                        .iter()
                        .any(|reason| is_reason(&rejection.reason, reason)),
                    "{}",
                    rejection.reason
                );
                refused += 1;
            }
        }
        bench.node.debug_check();
    }
    assert!(refused > 0);
    assert!(model.heard().departures.iter().any(|(_, why)| *why == Departure::Evicted));
    assert!(bench.node.fees().minimum > 0.1);
}
