//! The chain beside the bare kernel, in the same run: start, mining, the mempool, reorganisations, restarts.
//!
//! The bare kernel gets the very blocks that the node has mined, made beforehand: what is left to compare is building them,
//! keeping coins and mempool, and telling an observer. Script checks stand beside a plain call of Core's own.
//!
//! `cargo bench -p btc-devnet --bench chain`

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bitcoin::{Amount, Block, Transaction, TxOut, Txid, consensus::encode::serialize};
use bitcoinkernel::{
    ChainType, ChainstateManager, ContextBuilder, PrecomputedTransactionData, ScriptPubkey, VERIFY_ALL, prelude::*,
};
use btc_devnet::node::{Coin, Departure, MempoolEntry, NoObserver, Node, Observer, Options};

const BLOCKS: u32 = 1_000;
const PAYMENTS: usize = 1_000;

fn main() {
    let (mut node, start) = timed(|| Node::open(Options::default(), Box::new(NoObserver)).unwrap());
    println!("{:<46} {:>10} {:>12} {:>7}", "", "devnet", "bare kernel", "limit");
    row("start of a funded chain", start, None, Some(Duration::from_secs(1)));

    let ((), mining) = timed(|| drop(node.mine(BLOCKS, None).unwrap()));
    let blocks = blocks_of(&node);
    let premined = blocks.len() - BLOCKS as usize;
    let folder = tempfile::tempdir().unwrap();
    let (manager, _context) = bare_kernel(folder.path());
    process(&manager, &blocks[..premined]);
    let ((), bare) = timed(|| process(&manager, &blocks[premined..]));
    row("1,000 blocks, one after the other", mining, Some(bare), Some(Duration::from_secs(2)));
    // Core checks its whole index of blocks after each block of a regtest chain.
    node.mine(2 * BLOCKS, None).unwrap();
    let ((), later) = timed(|| drop(node.mine(BLOCKS, None).unwrap()));
    let blocks = blocks_of(&node).split_off(blocks.len());
    let (before, last) = blocks.split_at(2 * BLOCKS as usize);
    process(&manager, before);
    let ((), bare) = timed(|| process(&manager, last));
    row("1,000 more after the 3,000th", later, Some(bare), None);

    payments();
    restart();
}

/// Payments that do not depend on each other: into the mempool, into a block, and back again.
fn payments() {
    let heard = Entries::default();
    let mut node = Node::open(Options::default(), Box::new(heard.clone())).unwrap();
    let faucet = node.faucet_script().to_owned();
    // As many mature coinbases as payments.
    node.mine(PAYMENTS as u32, None).unwrap();
    heard.take();
    let ((), paying) = timed(|| {
        for _ in 0..PAYMENTS {
            node.fund(&faucet, Amount::from_sat(100_000)).unwrap();
        }
    });
    let entries = heard.take();
    let ((), checking) = timed(|| entries.iter().for_each(|entry| bare_script_check(&entry.transaction, &entry.spent)));
    row("a payment made, signed and accepted", paying / PAYMENTS as u32, Some(checking / PAYMENTS as u32), None);
    let (hashes, mining) = timed(|| node.mine(1, None).unwrap());
    assert_eq!(node.block(&hashes[0]).unwrap().unwrap().txdata.len(), PAYMENTS + 1);
    row("1,000 payments into a block", mining, None, None);
    let (_, reorg) = timed(|| node.reorg(1, 2).unwrap());
    assert_eq!(node.mempool_len(), PAYMENTS);
    row("their block dropped: all return", reorg, None, None);
}

fn restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { dir: Some(folder.path().to_owned()), ..Options::default() };
    let mut node = Node::open(options(), Box::new(NoObserver)).unwrap();
    let ((), mining) = timed(|| drop(node.mine(BLOCKS, None).unwrap()));
    row("1,000 blocks, each on disk", mining, None, None);
    drop(node);
    let (node, start) = timed(|| Node::open(options(), Box::new(NoObserver)).unwrap());
    assert!(node.tip().height > BLOCKS);
    row("restart with 1,110 blocks", start, None, None);
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let value = work();
    (value, began.elapsed())
}

fn row(name: &str, ours: Duration, bare: Option<Duration>, limit: Option<Duration>) {
    let show = |duration: Option<Duration>| duration.map_or_else(String::new, |duration| format!("{duration:.1?}"));
    println!("{name:<46} {:>10} {:>12} {:>7}", show(Some(ours)), show(bare), show(limit));
}

fn blocks_of(node: &Node) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut hash = node.tip().hash;
    for _ in 0..node.tip().height {
        let block = node.block(&hash).unwrap().unwrap();
        hash = block.header.prev_blockhash;
        blocks.push(block);
    }
    blocks.reverse();
    blocks
}

fn bare_kernel(folder: &std::path::Path) -> (ChainstateManager, bitcoinkernel::Context) {
    let context = ContextBuilder::new().chain_type(ChainType::Regtest).build().unwrap();
    let (data, blocks) = (folder.join("data"), folder.join("blocks"));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&blocks).unwrap();
    let manager = ChainstateManager::builder(&context, data.to_str().unwrap(), blocks.to_str().unwrap())
        .unwrap()
        .block_tree_db_in_memory(true)
        .chainstate_db_in_memory(true)
        .worker_threads(0)
        .build()
        .unwrap();
    manager.import_blocks().unwrap();
    (manager, context)
}

fn process(manager: &ChainstateManager, blocks: &[Block]) {
    for block in blocks {
        let block = bitcoinkernel::Block::new(&serialize(block)).unwrap();
        assert!(manager.process_block(&block).is_new_block());
    }
}

fn bare_script_check(transaction: &Transaction, spent: &[TxOut]) {
    let transaction = bitcoinkernel::Transaction::new(&serialize(transaction)).unwrap();
    let spent: Vec<bitcoinkernel::TxOut> = spent
        .iter()
        .map(|output| {
            let script = ScriptPubkey::new(output.script_pubkey.as_bytes()).unwrap();
            bitcoinkernel::TxOut::new(&script, output.value.to_sat() as i64)
        })
        .collect();
    let shared = PrecomputedTransactionData::new(&transaction, &spent).unwrap();
    for (index, output) in spent.iter().enumerate() {
        let (script, value) = (output.script_pubkey(), Some(output.value()));
        bitcoinkernel::verify(&script, value, &transaction, index, Some(VERIFY_ALL), &shared).unwrap();
    }
}

/// Keeps what enters the mempool.
#[derive(Clone, Default)]
struct Entries(Arc<Mutex<Vec<MempoolEntry>>>);

impl Entries {
    fn take(&self) -> Vec<MempoolEntry> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Entries {
    fn connected(&mut self, _: &Block, _: u32, _: &[Vec<Coin>]) {}
    fn disconnected(&mut self, _: &Block, _: u32) {}
    fn entered(&mut self, entry: &MempoolEntry) {
        self.0.lock().unwrap().push(entry.clone());
    }
    fn left(&mut self, _: &Txid, _: Departure) {}
}
