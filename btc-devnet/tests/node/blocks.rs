//! Blocks that Bitcoin Core refuses, each with Core's reason.

use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxMerkleNode, TxOut, Witness,
    absolute::LockTime, block::Version, hashes::Hash, opcodes::all as op, script::Builder,
};
use btc_devnet::node::{Error, NoObserver, Node, Rejection};

use crate::support::{Wallet, commit, funded, next_block, output, solve, unsigned};

type Coin = (OutPoint, TxOut);

struct Bench {
    node: Node,
    wallet: Wallet,
    /// Mature coins, one for each case that wants one.
    coins: Vec<Coin>,
}

impl Bench {
    fn new() -> Bench {
        let wallet = Wallet::new(7);
        let (node, coins) = funded(&wallet.p2wpkh(), 8, Box::new(NoObserver));
        Bench { node, wallet, coins }
    }

    fn pay(&self, coin: usize) -> Transaction {
        self.wallet.spend(&[self.coins[coin].clone()], &[self.wallet.p2wpkh()], 1_000)
    }

    fn sign(&self, mut transaction: Transaction, coin: usize) -> Transaction {
        self.wallet.sign(&mut transaction, &[self.coins[coin].1.clone()]);
        transaction
    }

    fn block(&self, transactions: Vec<Transaction>) -> Block {
        next_block(&self.node, transactions)
    }
}

/// A name, how to make the block, and Core's reason.
type Case = (&'static str, fn(&Bench) -> Block, &'static str);

/// Makes the block and then lets `change` spoil it; commitments and work are done again afterwards.
fn spoilt(mut block: Block, change: impl FnOnce(&mut Block)) -> Block {
    change(&mut block);
    commit(&mut block);
    block
}

/// The same for the header alone.
fn spoilt_header(mut block: Block, change: impl FnOnce(&mut Block)) -> Block {
    change(&mut block);
    solve(&mut block);
    block
}

fn spoilt_payment(bench: &Bench, change: impl FnOnce(&mut Transaction)) -> Block {
    let mut payment = bench.pay(0);
    change(&mut payment);
    let payment = bench.sign(payment, 0);
    bench.block(vec![payment])
}

const CASES: &[Case] = &[
    (
        "wrong merkle root",
        |b| spoilt_header(b.block(vec![]), |k| k.header.merkle_root = TxMerkleNode::all_zeros()),
        "bad-txnmrklroot",
    ),
    (
        "wrong witness commitment",
        |b| {
            let mut block = b.block(vec![b.pay(0)]);
            let output = block.txdata[0].output.last_mut().expect("the commitment");
            let mut script = output.script_pubkey.to_bytes();
            *script.last_mut().expect("36 bytes") ^= 1;
            output.script_pubkey = ScriptBuf::from_bytes(script);
            block.header.merkle_root = block.compute_merkle_root().expect("transactions");
            spoilt_header(block, |_| {})
        },
        "bad-witness-merkle-match",
    ),
    (
        "witness reserved value of the wrong size",
        |b| spoilt(b.block(vec![b.pay(0)]), |k| k.txdata[0].input[0].witness = Witness::from_slice(&[[0u8; 31]])),
        "bad-witness-nonce-size",
    ),
    (
        "witness without a commitment",
        |b| {
            let mut block = b.block(vec![b.pay(0)]);
            block.txdata[0].output.pop();
            block.header.merkle_root = block.compute_merkle_root().expect("transactions");
            spoilt_header(block, |_| {})
        },
        "unexpected-witness",
    ),
    (
        "the last transactions twice under one merkle root (CVE-2012-2459)",
        |b| {
            let mut block = b.block(vec![b.pay(0), b.pay(1)]);
            let last = block.txdata[2].clone();
            block.txdata.push(last);
            block
        },
        "bad-txns-duplicate",
    ),
    (
        "no transaction",
        |b| {
            spoilt_header(b.block(vec![]), |k| {
                k.txdata.clear();
                k.header.merkle_root = TxMerkleNode::all_zeros();
            })
        },
        "bad-blk-length",
    ),
    (
        "no coinbase",
        |b| {
            let payment = b.pay(0);
            spoilt_header(b.block(vec![]), |k| {
                k.txdata = vec![payment];
                k.header.merkle_root = k.compute_merkle_root().expect("transactions");
            })
        },
        "bad-cb-missing",
    ),
    (
        "two coinbases",
        |b| {
            spoilt(b.block(vec![]), |k| {
                let mut second = k.txdata[0].clone();
                second.lock_time = LockTime::from_consensus(1);
                k.txdata.push(second);
            })
        },
        "bad-cb-multiple",
    ),
    (
        "coinbase script too long",
        |b| spoilt(b.block(vec![]), |k| k.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x51; 101])),
        "bad-cb-length",
    ),
    (
        "coinbase for another height",
        |b| {
            let height = i64::from(b.node.tip().height);
            spoilt(b.block(vec![]), |k| {
                k.txdata[0].input[0].script_sig = Builder::new().push_int(height).push_int(0).into_script()
            })
        },
        "bad-cb-height",
    ),
    (
        "too large a subsidy",
        |b| spoilt(b.block(vec![b.pay(0)]), |k| k.txdata[0].output[0].value += Amount::from_sat(1_001)),
        "bad-cb-amount",
    ),
    (
        "as early as the median time past",
        |b| {
            let median = b.node.tip().median_time_past;
            spoilt_header(b.block(vec![]), |k| k.header.time = median)
        },
        "time-too-old",
    ),
    (
        "more than two hours ahead",
        |b| {
            let time = b.node.time() + 2 * 3600 + 600;
            spoilt_header(b.block(vec![]), |k| k.header.time = time)
        },
        "time-too-new",
    ),
    (
        "another difficulty",
        |b| spoilt_header(b.block(vec![]), |k| k.header.bits = CompactTarget::from_consensus(0x207f_fffe)),
        "bad-diffbits",
    ),
    (
        "no work",
        |b| {
            let mut block = b.block(vec![]);
            let target = block.header.target();
            while block.header.validate_pow(target).is_ok() {
                block.header.nonce += 1;
            }
            block
        },
        "high-hash",
    ),
    (
        "an old version",
        |b| spoilt_header(b.block(vec![]), |k| k.header.version = Version::from_consensus(1)),
        "bad-version(0x00000001)",
    ),
    (
        "a lock time that has not come",
        |b| {
            let height = b.node.tip().height + 1;
            spoilt_payment(b, |payment| payment.lock_time = LockTime::from_consensus(height))
        },
        "bad-txns-nonfinal",
    ),
    (
        "a relative lock time that has not come",
        |b| spoilt_payment(b, |payment| payment.input[0].sequence = Sequence::from_height(60_000)),
        "bad-txns-nonfinal",
    ),
    (
        "too much weight",
        |b| {
            let mut payment = b.pay(0);
            payment.input[0].witness.push(vec![0; 10_000]);
            spoilt(b.block(vec![payment]), |k| {
                let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0x6a; 999_000]) };
                k.txdata[0].output.insert(1, output);
            })
        },
        "bad-blk-weight",
    ),
    (
        "more bytes than any block",
        |b| {
            spoilt(b.block(vec![]), |k| {
                let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0x6a; 1_000_100]) };
                k.txdata[0].output.insert(1, output);
            })
        },
        "bad-blk-length",
    ),
    (
        "too many signature operations",
        |b| {
            spoilt(b.block(vec![]), |k| {
                let script = ScriptBuf::from_bytes(vec![op::OP_CHECKSIG.to_u8(); 20_001]);
                k.txdata[0].output.insert(1, TxOut { value: Amount::ZERO, script_pubkey: script });
            })
        },
        "bad-blk-sigops",
    ),
    (
        "a coin spent twice",
        |b| {
            let other = b.wallet.spend(&[b.coins[0].clone()], &[b.wallet.p2tr()], 1_000);
            b.block(vec![b.pay(0), other])
        },
        "bad-txns-inputs-missingorspent",
    ),
    (
        "a coin that does not exist",
        |b| spoilt_payment(b, |payment| payment.input[0].previous_output.vout = 9),
        "bad-txns-inputs-missingorspent",
    ),
    (
        "a child before its parent",
        |b| {
            let parent = b.pay(0);
            let child = b.wallet.spend(&[output(&parent, 0)], &[b.wallet.p2wpkh()], 1_000);
            b.block(vec![child, parent])
        },
        "bad-txns-inputs-missingorspent",
    ),
    (
        "a coinbase spent too early",
        |b| {
            let young = crate::support::coins_of(&b.node, 60..=60).remove(0);
            b.block(vec![unsigned(&[young], &[b.wallet.p2wpkh()], 1_000)])
        },
        "bad-txns-premature-spend-of-coinbase",
    ),
    (
        "more paid than spent",
        |b| spoilt_payment(b, |payment| payment.output[0].value += Amount::from_sat(2_000)),
        "bad-txns-in-belowout",
    ),
    (
        "an amount beyond all money",
        |b| spoilt_payment(b, |payment| payment.output[0].value = Amount::from_sat(21_000_001 * 100_000_000)),
        "bad-txns-vout-toolarge",
    ),
    (
        "a negative amount",
        |b| spoilt_payment(b, |payment| payment.output[0].value = Amount::from_sat(u64::MAX)),
        "bad-txns-vout-negative",
    ),
    (
        "a total beyond all money",
        |b| {
            spoilt_payment(b, |payment| {
                let most = TxOut { value: Amount::MAX_MONEY, ..payment.output[0].clone() };
                payment.output = vec![most.clone(), most];
            })
        },
        "bad-txns-txouttotal-toolarge",
    ),
    (
        "an input twice (CVE-2018-17144)",
        |b| {
            let mut payment = b.pay(0);
            payment.input.push(payment.input[0].clone());
            b.block(vec![payment])
        },
        "bad-txns-inputs-duplicate",
    ),
    (
        "a null input",
        |b| {
            let mut payment = b.wallet.spend(&b.coins[..2], &[b.wallet.p2wpkh()], 1_000);
            payment.input[1].previous_output = OutPoint::null();
            b.block(vec![payment])
        },
        "bad-txns-prevout-null",
    ),
    (
        "no output",
        |b| {
            let mut payment = b.pay(0);
            payment.output.clear();
            b.block(vec![payment])
        },
        "bad-txns-vout-empty",
    ),
    (
        "a wrong signature",
        |b| {
            let mut payment = b.pay(0);
            payment.output[0].value -= Amount::ONE_SAT;
            b.block(vec![payment])
        },
        "block-script-verify-flag-failed (Script evaluated without error but finished with a false/empty top stack element)",
    ),
    (
        "no signature",
        |b| {
            let mut payment = b.pay(0);
            payment.input[0].witness.clear();
            b.block(vec![payment])
        },
        "block-script-verify-flag-failed (Witness program hash mismatch)",
    ),
];

#[test]
fn blocks_that_core_refuses_are_refused_with_its_reason() {
    let mut bench = Bench::new();
    let tip = bench.node.tip();
    let mut wrong = Vec::new();
    for (name, make, reason) in CASES {
        let block = make(&bench);
        match bench.node.submit_block(&block) {
            Err(Error::InvalidBlock { rejection, hash }) if hash == block.block_hash() => {
                if !crate::support::is_reason(&rejection.reason, reason) {
                    wrong.push(format!("{name}: {} instead of {reason}", rejection.reason));
                }
                assert_eq!(rejection.code, Rejection::ERROR, "{name}");
            }
            other => wrong.push(format!("{name}: {other:?} instead of {reason}")),
        }
        assert_eq!(bench.node.tip(), tip, "{name}: the tip moved");
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    // The same blocks without their fault are fine.
    let block = bench.block(vec![bench.pay(0), bench.pay(1)]);
    bench.node.submit_block(&block).expect("a valid block");
    assert_eq!(bench.node.tip().hash, block.block_hash());
    bench.node.submit_block(&block).expect("known already");
    bench.node.debug_check();
}

#[test]
fn what_stands_on_a_refused_block_is_refused_too() {
    let mut bench = Bench::new();
    let bad = spoilt(bench.block(vec![]), |block| block.txdata[0].output[0].value += Amount::ONE_SAT);
    assert!(matches!(bench.node.submit_block(&bad), Err(Error::InvalidBlock { .. })));
    let reason = |outcome: Result<(), Error>| match outcome {
        Err(Error::InvalidBlock { rejection, .. }) => rejection.reason,
        other => panic!("{other:?}"),
    };
    assert!(crate::support::is_reason(&reason(bench.node.submit_block(&bad)), "duplicate-invalid"));
    let child = spoilt_header(bench.block(vec![]), |block| block.header.prev_blockhash = bad.block_hash());
    assert!(crate::support::is_reason(&reason(bench.node.submit_block(&child)), "bad-prevblk"));
    let orphan = spoilt_header(bench.block(vec![]), |block| block.header.prev_blockhash = BlockHash::all_zeros());
    assert!(
        matches!(bench.node.submit_block(&orphan), Err(Error::UnknownParent(parent)) if parent == BlockHash::all_zeros())
    );
    bench.node.mine(1, None).expect("the chain goes on");
}
