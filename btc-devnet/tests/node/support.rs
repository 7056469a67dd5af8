//! What the tests share: a key of their own, transactions that it signs, an observer that keeps a model of what it hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, EcdsaSighashType, OutPoint, Script, ScriptBuf, Sequence, TapSighashType,
    Target, Transaction, TxIn, TxMerkleNode, TxOut, Txid, Witness,
    absolute::LockTime,
    block::Header,
    hashes::Hash,
    key::{Keypair, PublicKey, Secp256k1, TapTweak},
    script::{Builder, PushBytesBuf},
    secp256k1::{All, Message, SecretKey},
    sighash::{Prevouts, SighashCache},
    transaction::Version,
};
use btc_devnet::node::{Coin, Departure, MempoolEntry, Node, Observer, Options, Premine};

/// A key with the scripts that it can spend from.
pub(crate) struct Wallet {
    pub(crate) secp: Secp256k1<All>,
    pub(crate) secret: SecretKey,
}

impl Wallet {
    pub(crate) fn new(seed: u8) -> Wallet {
        Wallet { secp: Secp256k1::new(), secret: SecretKey::from_slice(&[seed; 32]).expect("a key") }
    }

    pub(crate) fn key(&self) -> PublicKey {
        PublicKey::new(self.secret.public_key(&self.secp))
    }

    /// Pays to the key by segwit version 0.
    pub(crate) fn p2wpkh(&self) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&self.key().wpubkey_hash().expect("compressed"))
    }

    pub(crate) fn keypair(&self) -> Keypair {
        Keypair::from_secret_key(&self.secp, &self.secret)
    }

    /// Pays to the key by taproot.
    pub(crate) fn p2tr(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr(&self.secp, self.keypair().x_only_public_key().0, None)
    }

    /// Signs each input that spends a P2WPKH or P2TR output of this key.
    pub(crate) fn sign(&self, transaction: &mut Transaction, spent: &[TxOut]) {
        let unsigned = transaction.clone();
        let mut cache = SighashCache::new(&unsigned);
        for (index, output) in spent.iter().enumerate() {
            if output.script_pubkey == self.p2wpkh() {
                let hash = cache
                    .p2wpkh_signature_hash(index, &output.script_pubkey, output.value, EcdsaSighashType::All)
                    .expect("a hash");
                let signature = self.secp.sign_ecdsa(&Message::from_digest(hash.to_byte_array()), &self.secret);
                let signature = bitcoin::ecdsa::Signature::sighash_all(signature);
                transaction.input[index].witness = Witness::p2wpkh(&signature, &self.key().inner);
            } else if output.script_pubkey == self.p2tr() {
                let hash = cache
                    .taproot_key_spend_signature_hash(index, &Prevouts::All(spent), TapSighashType::Default)
                    .expect("a hash");
                let key = self.keypair().tap_tweak(&self.secp, None).to_keypair();
                let signature = self.secp.sign_schnorr_no_aux_rand(&Message::from_digest(hash.to_byte_array()), &key);
                transaction.input[index].witness = Witness::from_slice(&[signature.as_ref()]);
            }
        }
    }

    /// A signed transaction that spends `coins`, pays `fee`, and gives the rest to `to` in equal parts.
    pub(crate) fn spend(&self, coins: &[(OutPoint, TxOut)], to: &[ScriptBuf], fee: u64) -> Transaction {
        let mut transaction = unsigned(coins, to, fee);
        self.sign(&mut transaction, &coins.iter().map(|(_, output)| output.clone()).collect::<Vec<_>>());
        transaction
    }
}

/// A transaction that spends `coins`, pays about `fee`, and gives the rest to `to` in equal parts.
pub(crate) fn unsigned(coins: &[(OutPoint, TxOut)], to: &[ScriptBuf], fee: u64) -> Transaction {
    let total: u64 = coins.iter().map(|(_, output)| output.value.to_sat()).sum();
    let (each, rest) = ((total - fee) / to.len() as u64, (total - fee) % to.len() as u64);
    let values = std::iter::once(each + rest).chain(std::iter::repeat(each));
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins
            .iter()
            .map(|(outpoint, _)| TxIn {
                previous_output: *outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            })
            .collect(),
        output: to
            .iter()
            .zip(values)
            .map(|(script, value)| TxOut { value: Amount::from_sat(value), script_pubkey: script.clone() })
            .collect(),
    }
}

/// An output of a transaction with its place.
pub(crate) fn output(transaction: &Transaction, vout: u32) -> (OutPoint, TxOut) {
    (OutPoint { txid: transaction.compute_txid(), vout }, transaction.output[vout as usize].clone())
}

/// A chain with `coins` mature coinbases of 50 BTC that pay `script`.
pub(crate) fn funded(script: &Script, coins: u32, observer: Box<dyn Observer>) -> (Node, Vec<(OutPoint, TxOut)>) {
    let premine = vec![Premine { script_pubkey: script.to_owned(), blocks: coins }];
    let node = Node::open(Options { premine, ..Options::default() }, observer).expect("a chain");
    let coins = coins_of(&node, 1..=coins);
    (node, coins)
}

/// The coinbases' first outputs of blocks at these heights.
pub(crate) fn coins_of(node: &Node, heights: std::ops::RangeInclusive<u32>) -> Vec<(OutPoint, TxOut)> {
    let mut blocks = Vec::new();
    let mut hash = node.tip().hash;
    let mut height = node.tip().height;
    while height >= *heights.start() {
        let block = node.block(&hash).expect("readable").expect("known");
        hash = block.header.prev_blockhash;
        if heights.contains(&height) {
            blocks.push(output(&block.txdata[0], 0));
        }
        height -= 1;
    }
    blocks.reverse();
    blocks
}

/// The next block with these transactions, as the node itself would build it; it claims the subsidy and no fees.
pub(crate) fn next_block(node: &Node, transactions: Vec<Transaction>) -> Block {
    let tip = node.tip();
    block_on(tip.hash, tip.height + 1, node.time().max(tip.median_time_past + 1), transactions)
}

/// A block on any other.
pub(crate) fn block_on(parent: BlockHash, height: u32, time: u32, transactions: Vec<Transaction>) -> Block {
    let coinbase = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new().push_int(i64::from(height)).push_int(0).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0u8; 32]]),
        }],
        output: vec![
            TxOut {
                value: Amount::from_sat(5_000_000_000 >> (height / 150)),
                script_pubkey: ScriptBuf::new_op_return([]),
            },
            TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() },
        ],
    };
    let mut block = Block {
        header: Header {
            version: bitcoin::block::Version::from_consensus(0x2000_0000),
            prev_blockhash: parent,
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        },
        txdata: std::iter::once(coinbase).chain(transactions).collect(),
    };
    commit(&mut block);
    block
}

/// Makes witness commitment, merkle root and work fit the block's transactions.
pub(crate) fn commit(block: &mut Block) {
    if let Some(root) = block.witness_root() {
        let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
        let mut data = PushBytesBuf::from([0xaa, 0x21, 0xa9, 0xed]);
        data.extend_from_slice(commitment.as_byte_array()).expect("short");
        let output = block.txdata[0].output.last_mut().expect("the coinbase's last output is for the commitment");
        output.script_pubkey = ScriptBuf::new_op_return(data);
    }
    block.header.merkle_root = block.compute_merkle_root().expect("transactions");
    solve(block);
}

/// Does the work that regtest asks for, whatever the header says.
pub(crate) fn solve(block: &mut Block) {
    let target = Target::from_compact(CompactTarget::from_consensus(0x207f_ffff));
    while !target.is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
}

/// Whether Core's words `said` are this reason, with or without a detail.
pub(crate) fn is_reason(said: &str, reason: &str) -> bool {
    said.strip_prefix(reason).is_some_and(|rest| rest.is_empty() || rest.starts_with(", "))
}

/// What an observer has heard, added up.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) chain: Vec<BlockHash>,
    /// What each block of the chain spends.
    spent: Vec<Vec<(OutPoint, TxOut)>>,
    pub(crate) coins: BTreeMap<OutPoint, TxOut>,
    pub(crate) mempool: BTreeSet<Txid>,
    pub(crate) departures: Vec<(Txid, Departure)>,
    pub(crate) settled: u32,
}

/// Adds up what it hears, and checks that it makes sense.
#[derive(Clone, Default)]
pub(crate) struct Model(pub(crate) Arc<Mutex<Heard>>);

impl Model {
    /// Takes in a block without being told what it spends.
    pub(crate) fn replay(&mut self, block: &Block, height: u32) {
        let spent: Vec<Vec<Coin>> = {
            let heard = self.0.lock().expect("no panic");
            let mut inside = BTreeMap::new();
            let mut rows = Vec::new();
            for (index, transaction) in block.txdata.iter().enumerate() {
                if index > 0 {
                    let row = transaction.input.iter().map(|input| {
                        let output = heard.coins.get(&input.previous_output).or(inside.get(&input.previous_output));
                        Coin { output: output.cloned().expect("the coin exists"), height: 0, coinbase: false }
                    });
                    rows.push(row.collect());
                }
                let txid = transaction.compute_txid();
                for (vout, output) in (0u32..).zip(&transaction.output) {
                    inside.insert(OutPoint { txid, vout }, output.clone());
                }
            }
            rows
        };
        self.connected(block, height, &spent);
    }

    pub(crate) fn heard(&self) -> Heard {
        self.0.lock().expect("no panic").clone()
    }
}

impl Observer for Model {
    fn connected(&mut self, block: &Block, height: u32, spent: &[Vec<Coin>]) {
        let mut heard = self.0.lock().expect("no panic");
        assert_eq!(heard.chain.len(), height as usize);
        if let Some(tip) = heard.chain.last() {
            assert_eq!(block.header.prev_blockhash, *tip);
        }
        heard.chain.push(block.block_hash());
        assert_eq!(spent.len(), block.txdata.len() - 1);
        let mut gone = Vec::new();
        for (index, transaction) in block.txdata.iter().enumerate() {
            if index > 0 {
                assert_eq!(spent[index - 1].len(), transaction.input.len());
                for (input, coin) in transaction.input.iter().zip(&spent[index - 1]) {
                    assert_eq!(heard.coins.remove(&input.previous_output).as_ref(), Some(&coin.output));
                    gone.push((input.previous_output, coin.output.clone()));
                }
            }
            let txid = transaction.compute_txid();
            for (vout, output) in (0u32..).zip(&transaction.output) {
                heard.coins.insert(OutPoint { txid, vout }, output.clone());
            }
        }
        heard.spent.push(gone);
    }

    fn disconnected(&mut self, block: &Block, height: u32) {
        let mut heard = self.0.lock().expect("no panic");
        assert_eq!(heard.chain.len(), height as usize + 1);
        assert_eq!(heard.chain.pop(), Some(block.block_hash()));
        let spent = heard.spent.pop().expect("a row for each block");
        heard.coins.extend(spent);
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            for vout in 0..transaction.output.len() as u32 {
                heard.coins.remove(&OutPoint { txid, vout });
            }
        }
    }

    fn entered(&mut self, entry: &MempoolEntry) {
        assert_eq!(entry.spent.len(), entry.transaction.input.len());
        assert!(self.0.lock().expect("no panic").mempool.insert(entry.txid), "{} entered twice", entry.txid);
    }

    fn left(&mut self, txid: &Txid, why: Departure) {
        let mut heard = self.0.lock().expect("no panic");
        assert!(heard.mempool.remove(txid), "{txid} left without being there");
        heard.departures.push((*txid, why));
    }

    fn settled(&mut self) {
        self.0.lock().expect("no panic").settled += 1;
    }
}
