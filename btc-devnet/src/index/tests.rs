//! The index against what it must equal: an index built anew from the same blocks, and sums reckoned by hand.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::transaction::Version as TransactionVersion;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, WPubkeyHash, Witness,
};
use proptest::prelude::*;

use super::{Index, ScriptHash, Stats, merkle};

/// How many scripts the random histories use: few, so that they meet again.
const SCRIPTS: u64 = 5;

fn script(number: u64) -> ScriptBuf {
    let mut hash = [0; 20];
    hash[..8].copy_from_slice(&(number % SCRIPTS).to_le_bytes());
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(hash))
}

fn transaction(inputs: &[OutPoint], outputs: Vec<TxOut>, mark: i64) -> Transaction {
    let input = |outpoint: &OutPoint| TxIn {
        previous_output: *outpoint,
        script_sig: Builder::new().push_int(mark).into_script(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    Transaction {
        version: TransactionVersion::TWO,
        lock_time: LockTime::ZERO,
        input: inputs.iter().map(input).collect(),
        output: outputs,
    }
}

/// A chain of made-up blocks: what can be spent is tracked, signatures and work are not.
#[derive(Clone)]
struct Maker {
    tip: BlockHash,
    height: u32,
    free: Vec<(OutPoint, Amount)>,
    marks: i64,
}

impl Maker {
    fn new() -> Self {
        Self { tip: BlockHash::all_zeros(), height: 0, free: Vec::new(), marks: 0 }
    }

    /// A transaction that spends one or two free outputs, chosen by `seed`; its outputs can be spent at once.
    fn spend(&mut self, seed: u64) -> Option<Transaction> {
        let mut inputs = Vec::new();
        let mut value = Amount::ZERO;
        for round in 0..1 + seed % 2 {
            if self.free.is_empty() {
                break;
            }
            let at = (seed.rotate_left(7 + round as u32) % self.free.len() as u64) as usize;
            let (outpoint, amount) = self.free.swap_remove(at);
            inputs.push(outpoint);
            value += amount;
        }
        let outputs = 1 + seed / 2 % 3;
        if inputs.is_empty() || value < Amount::from_sat(1000) {
            return None;
        }
        self.marks += 1;
        let mut output: Vec<TxOut> = (0..outputs)
            .map(|number| TxOut {
                value: (value - Amount::from_sat(300)) / outputs,
                script_pubkey: script(seed / 7 + number),
            })
            .collect();
        output.push(TxOut {
            value: Amount::ZERO,
            script_pubkey: Builder::new().push_opcode(bitcoin::opcodes::all::OP_RETURN).into_script(),
        });
        let made = transaction(&inputs, output, self.marks);
        self.take_in(&made);
        Some(made)
    }

    fn take_in(&mut self, made: &Transaction) {
        let txid = made.compute_txid();
        self.free.extend(super::chain::spendable(made).map(|(vout, output)| (OutPoint::new(txid, vout), output.value)));
    }

    fn block(&mut self, seeds: &[u64]) -> Block {
        self.marks += 1;
        let reward = TxOut { value: Amount::from_sat(1_000_000), script_pubkey: script(self.marks as u64) };
        let coinbase = transaction(&[OutPoint::null()], vec![reward], self.marks);
        let mut txdata = vec![coinbase];
        txdata.extend(seeds.iter().filter_map(|seed| self.spend(*seed)));
        self.take_in(&txdata[0]);
        self.seal(txdata)
    }

    fn seal(&mut self, txdata: Vec<Transaction>) -> Block {
        let header = Header {
            version: Version::TWO,
            prev_blockhash: self.tip,
            merkle_root: TxMerkleNode::all_zeros(),
            time: 1_700_000_000 + self.height * 600 + self.height * 7919 % 11 * 3000,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        self.tip = block.block_hash();
        self.height += 1;
        block
    }
}

fn built(blocks: &[Block]) -> Index {
    let mut index = Index::new(Network::Regtest);
    blocks.iter().for_each(|block| index.connect(block.clone()));
    index
}

fn enter(index: &mut Index, transaction: Transaction) {
    let spent = transaction.input.iter().map(|input| index.output(&input.previous_output).unwrap().clone()).collect();
    index.enter(transaction.into(), spent, 7);
}

#[derive(Clone, Debug)]
enum Step {
    Connect(Vec<u64>),
    Disconnect,
    Enter(u64),
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => proptest::collection::vec(any::<u64>(), 0..5).prop_map(Step::Connect),
        2 => Just(Step::Disconnect),
        2 => any::<u64>().prop_map(Step::Enter),
        1 => Just(Step::Leave),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What a script's numbers must be, reckoned by walking over everything.
fn reckon<'a>(transactions: impl Iterator<Item = (&'a Transaction, &'a [TxOut])>, script: &ScriptBuf) -> Stats {
    let mut stats = Stats::default();
    for (transaction, spent) in transactions {
        let mut touched = false;
        for output in transaction.output.iter().filter(|output| output.script_pubkey == *script) {
            touched = true;
            stats.funded_txo_count += 1;
            stats.funded_txo_sum += output.value.to_sat();
        }
        for output in spent.iter().filter(|output| output.script_pubkey == *script) {
            touched = true;
            stats.spent_txo_count += 1;
            stats.spent_txo_sum += output.value.to_sat();
        }
        stats.tx_count += u64::from(touched);
    }
    stats
}

proptest! {
    /// Any sequence of connects and disconnects equals a fresh build of what is left.
    #[test]
    fn any_sequence_of_connects_and_disconnects_equals_a_fresh_build(steps in steps()) {
        let mut index = Index::new(Network::Regtest);
        let mut maker = Maker::new();
        let mut chain: Vec<(Block, Maker)> = Vec::new();
        // Mempool transactions are made upon a chain that does not move while they wait, as a node sees to it.
        let mut waiting: Vec<Transaction> = Vec::new();
        for step in steps {
            match step {
                Step::Connect(seeds) => {
                    let before = maker.clone();
                    // A block of what waits, or of new transactions.
                    let block = if waiting.is_empty() { maker.block(&seeds) } else {
                        maker.marks += 1;
                        let reward = TxOut { value: Amount::from_sat(1_000_000), script_pubkey: script(maker.marks as u64) };
                        let mut txdata = vec![transaction(&[OutPoint::null()], vec![reward], maker.marks)];
                        txdata.append(&mut waiting);
                        maker.take_in(&txdata[0]);
                        maker.seal(txdata)
                    };
                    index.connect(block.clone());
                    block.txdata.iter().for_each(|transaction| index.leave(&transaction.compute_txid()));
                    chain.push((block, before));
                }
                Step::Disconnect => {
                    let Some((_, before)) = chain.pop() else { continue };
                    for transaction in waiting.drain(..).rev() { index.leave(&transaction.compute_txid()); }
                    index.disconnect();
                    maker = Maker { marks: maker.marks, ..before };
                    // The pool's transactions of before are gone: what they spent is free again.
                    let blocks: Vec<Block> = chain.iter().map(|(block, _)| block.clone()).collect();
                    maker.free = free(&blocks);
                }
                Step::Enter(seed) => {
                    if let Some(transaction) = maker.spend(seed) {
                        enter(&mut index, transaction.clone());
                        waiting.push(transaction);
                    }
                }
                Step::Leave => {
                    let Some(last) = waiting.pop() else { continue };
                    index.leave(&last.compute_txid());
                    let txid = last.compute_txid();
                    maker.free.retain(|(outpoint, _)| outpoint.txid != txid);
                    for input in &last.input {
                        let value = index.output(&input.previous_output).unwrap().value;
                        maker.free.push((input.previous_output, value));
                    }
                }
            }
            let blocks: Vec<Block> = chain.iter().map(|(block, _)| block.clone()).collect();
            let fresh = built(&blocks);
            prop_assert!(index.chain == fresh.chain);
            prop_assert_eq!(index.pool.len(), waiting.len());
            for number in 0..SCRIPTS {
                let hash = ScriptHash::of(&script(number));
                let places = (0..blocks.len() as u32).flat_map(|height| {
                    let block = fresh.chain.block_at(height).unwrap();
                    block.block.txdata.iter().zip(block.spent.iter().map(Vec::as_slice))
                });
                prop_assert_eq!(index.chain.stats(&hash), reckon(places, &script(number)));
                let pool = waiting.iter().map(|t| (t, index.pool.get(&t.compute_txid()).unwrap().spent.as_ref()));
                prop_assert_eq!(index.pool.stats(&hash), reckon(pool, &script(number)));
                let balance: u64 = index.unspent(&hash).iter().map(|(unspent, _)| unspent.value).sum();
                let (chain, pool) = (index.chain.stats(&hash), index.pool.stats(&hash));
                let expected = chain.funded_txo_sum + pool.funded_txo_sum - chain.spent_txo_sum - pool.spent_txo_sum;
                prop_assert_eq!(balance, expected);
            }
        }
    }

    /// A merkle branch leads to the block's root, whatever the number of transactions.
    #[test]
    fn a_branch_leads_to_the_root(count in 1usize..40, at in any::<prop::sample::Index>()) {
        use bitcoin::hashes::{HashEngine, sha256d};
        let mut maker = Maker::new();
        maker.free = (0..count as u32).map(|vout| (OutPoint::new(bitcoin::Txid::all_zeros(), vout), Amount::from_sat(5000))).collect();
        let seeds = vec![0; count - 1];
        let block = maker.block(&seeds);
        let txids: Vec<_> = block.txdata.iter().map(Transaction::compute_txid).collect();
        let position = at.index(txids.len());
        let mut at = position;
        let mut hash = txids[position].to_raw_hash();
        for sibling in merkle::branch(&txids, position) {
            let mut engine = sha256d::Hash::engine();
            let (left, right) = if at % 2 == 0 { (hash, sibling) } else { (sibling, hash) };
            engine.input(left.as_byte_array());
            engine.input(right.as_byte_array());
            hash = sha256d::Hash::from_engine(engine);
            at /= 2;
        }
        prop_assert_eq!(hash, block.header.merkle_root.to_raw_hash());
    }
}

/// What can be spent after `blocks`.
fn free(blocks: &[Block]) -> Vec<(OutPoint, Amount)> {
    let mut maker = Maker::new();
    for transaction in blocks.iter().flat_map(|block| &block.txdata) {
        let spent: Vec<OutPoint> = transaction.input.iter().map(|input| input.previous_output).collect();
        maker.free.retain(|(outpoint, _)| !spent.contains(outpoint));
        maker.take_in(transaction);
    }
    maker.free
}

#[test]
fn history_pages_newest_first_and_ends() {
    let mut maker = Maker::new();
    let blocks: Vec<Block> = (0..60).map(|_| maker.block(&[])).collect();
    let index = built(&blocks);
    let hash = ScriptHash::of(&script(1));
    let all: Vec<_> = index.chain.history(&hash, None).map(|found| found.transaction.compute_txid()).collect();
    assert_eq!(all.len(), 60 / SCRIPTS as usize);
    let heights: Vec<_> = index.chain.history(&hash, None).map(|found| found.confirmation.unwrap().height).collect();
    assert!(heights.is_sorted_by(|a, b| a > b));
    for (position, txid) in all.iter().enumerate() {
        let rest: Vec<_> =
            index.chain.history(&hash, Some(txid)).map(|found| found.transaction.compute_txid()).collect();
        assert_eq!(rest, all[position + 1..]);
    }
    let stranger = blocks[1].txdata[0].compute_txid();
    assert_eq!(index.chain.history(&hash, Some(&stranger)).count(), 0);
}

#[test]
fn a_stale_block_stays_known_with_what_it_spent() {
    let mut maker = Maker::new();
    let mut blocks: Vec<Block> = (0..3).map(|_| maker.block(&[])).collect();
    blocks.push(maker.block(&[3, 5]));
    let mut index = built(&blocks);
    index.disconnect();
    let hash = blocks[3].block_hash();
    let stale = index.chain.block(&hash).unwrap();
    assert!(index.chain.best_block(&hash).is_none());
    assert_eq!(stale.spent[1].len(), blocks[3].txdata[1].input.len());
    assert!(index.transaction(&blocks[3].txdata[1].compute_txid()).is_none());
}

#[test]
fn the_median_of_the_last_eleven_times_is_kept() {
    let mut maker = Maker::new();
    let blocks: Vec<Block> = (0..30).map(|_| maker.block(&[])).collect();
    let index = built(&blocks);
    for height in 0..blocks.len() {
        let mut times: Vec<u32> = blocks[height.saturating_sub(10)..=height].iter().map(|b| b.header.time).collect();
        times.sort();
        assert_eq!(index.chain.block_at(height as u32).unwrap().median_time, times[times.len() / 2]);
    }
}

#[test]
fn the_histogram_goes_from_dear_to_cheap_and_holds_everything() {
    let mut maker = Maker::new();
    let mut index = Index::new(Network::Regtest);
    let blocks: Vec<Block> = (0..40).map(|_| maker.block(&[])).collect();
    blocks.into_iter().for_each(|block| index.connect(block));
    for seed in 0..30 {
        if let Some(transaction) = maker.spend(seed) {
            enter(&mut index, transaction);
        }
    }
    let backlog = index.pool.backlog();
    assert_eq!(backlog.fee_histogram.iter().map(|(_, vsize)| vsize).sum::<u64>(), backlog.vsize);
    assert!(backlog.fee_histogram.is_sorted_by(|a, b| a.0 > b.0));
    assert_eq!(backlog.count, index.pool.txids().count());
}
