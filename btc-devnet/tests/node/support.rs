//! What the tests share: a key of their own, transactions that it signs, an observer that keeps a model of what it hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bitcoin::{
    Amount, Block, BlockHash, EcdsaSighashType, OutPoint, Script, ScriptBuf, Sequence, TapSighashType, Transaction,
    TxIn, TxOut, Txid, Witness,
    absolute::LockTime,
    hashes::Hash,
    key::{Keypair, PublicKey, Secp256k1, TapTweak},
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

/// What an observer has heard, added up.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) chain: Vec<BlockHash>,
    pub(crate) coins: BTreeMap<OutPoint, TxOut>,
    pub(crate) mempool: BTreeSet<Txid>,
    pub(crate) departures: Vec<(Txid, Departure)>,
    pub(crate) settled: u32,
}

/// Adds up what it hears, and checks that it makes sense.
#[derive(Clone, Default)]
pub(crate) struct Model(pub(crate) Arc<Mutex<Heard>>);

impl Model {
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
        for (index, transaction) in block.txdata.iter().enumerate() {
            if index > 0 {
                assert_eq!(spent[index - 1].len(), transaction.input.len());
                for (input, coin) in transaction.input.iter().zip(&spent[index - 1]) {
                    assert_eq!(heard.coins.remove(&input.previous_output).as_ref(), Some(&coin.output));
                }
            }
            let txid = transaction.compute_txid();
            for (vout, output) in (0u32..).zip(&transaction.output) {
                heard.coins.insert(OutPoint { txid, vout }, output.clone());
            }
        }
    }

    fn disconnected(&mut self, block: &Block, height: u32) {
        let mut heard = self.0.lock().expect("no panic");
        assert_eq!(heard.chain.len(), height as usize + 1);
        assert_eq!(heard.chain.pop(), Some(block.block_hash()));
        // Coins are checked against a fresh replay where that matters.
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
