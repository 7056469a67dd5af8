//! Coins for everybody who asks.
//!
//! The faucet is a wallet with one taproot output script and one key, which is the same in every chain and known to
//! everybody: it holds nothing of value.

use std::collections::{BTreeMap, HashMap};

use bitcoin::{
    Amount, Block, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
    absolute::LockTime,
    hashes::{Hash, sha256},
    key::{Keypair, TapTweak, TweakedKeypair},
    secp256k1::{All, Message, Secp256k1, SecretKey},
    sighash::{Prevouts, SighashCache, TapSighashType},
    transaction::Version,
};

use crate::{
    chain::Chain,
    mempool::Mempool,
    node::{Coin, Error},
    policy::{COINBASE_MATURITY, dust_threshold},
};

/// The faucet's key is the hash of this text.
const KEY_TEXT: &[u8] = b"btc-devnet faucet";
/// What the faucet pays, in satoshis a virtual byte.
const FEERATE: u64 = 2;
/// Weight of an input with its signature, and of the rest of a transaction with two outputs and up to 252 inputs.
const INPUT_WEIGHT: u64 = 41 * 4 + 66;
const BASE_WEIGHT: u64 = 10 * 4 + 2;
/// One payment spends at most so many coins: its weight stays far below what is relayed.
const MAX_INPUTS: usize = 200;

/// The faucet's coins in the best chain.
pub(crate) struct Faucet {
    secp: Secp256k1<All>,
    key: TweakedKeypair,
    script: ScriptBuf,
    /// By the height from which on they can be spent, so that mature ones come first.
    coins: BTreeMap<(u32, OutPoint), Amount>,
    places: HashMap<OutPoint, u32>,
}

impl Faucet {
    pub(crate) fn new() -> Faucet {
        let secp = Secp256k1::new();
        let key = SecretKey::from_slice(sha256::Hash::hash(KEY_TEXT).as_byte_array()).expect("this hash is a key");
        let key = Keypair::from_secret_key(&secp, &key).tap_tweak(&secp, None);
        let script = ScriptBuf::new_p2tr_tweaked(key.public_parts().0);
        Faucet { secp, key, script, coins: BTreeMap::new(), places: HashMap::new() }
    }

    /// Where the faucet's coins lie.
    pub(crate) fn script(&self) -> &Script {
        &self.script
    }

    pub(crate) fn connect(&mut self, block: &Block, height: u32) {
        for (index, transaction) in block.txdata.iter().enumerate() {
            for input in &transaction.input {
                self.remove(&input.previous_output);
            }
            let from = if index == 0 { height + COINBASE_MATURITY } else { height + 1 };
            self.add_outputs(transaction, from);
        }
    }

    pub(crate) fn disconnect(&mut self, block: &Block, spent: &[Vec<Coin>]) {
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            for vout in 0..transaction.output.len() as u32 {
                self.remove(&OutPoint { txid, vout });
            }
        }
        let created: Vec<_> = block.txdata.iter().map(Transaction::compute_txid).collect();
        for (transaction, row) in block.txdata.iter().skip(1).zip(spent) {
            for (input, coin) in transaction.input.iter().zip(row) {
                let outpoint = input.previous_output;
                if coin.output.script_pubkey == self.script && !created.contains(&outpoint.txid) {
                    let from = if coin.coinbase { coin.height + COINBASE_MATURITY } else { coin.height + 1 };
                    self.add(outpoint, from, coin.output.value);
                }
            }
        }
    }

    fn add_outputs(&mut self, transaction: &Transaction, from: u32) {
        if transaction.output.iter().all(|output| output.script_pubkey != self.script) {
            return;
        }
        let txid = transaction.compute_txid();
        for (vout, output) in (0u32..).zip(&transaction.output) {
            if output.script_pubkey == self.script {
                self.add(OutPoint { txid, vout }, from, output.value);
            }
        }
    }

    fn add(&mut self, outpoint: OutPoint, from: u32, value: Amount) {
        self.coins.insert((from, outpoint), value);
        self.places.insert(outpoint, from);
    }

    fn remove(&mut self, outpoint: &OutPoint) {
        if let Some(from) = self.places.remove(outpoint) {
            self.coins.remove(&(from, *outpoint));
        }
    }

    /// Whether both hold the same coins.
    pub(crate) fn same_coins(&self, other: &Faucet) -> bool {
        self.coins == other.coins
    }

    /// A signed transaction that pays `amount` to `script`, from coins that nothing in the mempool spends: confirmed ones
    /// first, then the faucet's own change as far as clusters have room.
    pub(crate) fn pay(
        &self,
        script: &Script,
        amount: Amount,
        chain: &Chain,
        mempool: &Mempool,
    ) -> Result<Transaction, Error> {
        let next = chain.height() + 1;
        let confirmed = self
            .coins
            .iter()
            .take_while(|((from, _), _)| *from <= next)
            .map(|((_, outpoint), value)| (*outpoint, *value))
            .filter(|(outpoint, _)| mempool.spender(outpoint).is_none());
        let unconfirmed = mempool.entries().flat_map(|entry| {
            let outputs = (0u32..).zip(&entry.transaction.output);
            let own = outputs.filter(|(_, output)| output.script_pubkey == self.script);
            own.map(|(vout, output)| (OutPoint { txid: entry.txid, vout }, output.value))
        });
        // One unconfirmed coin at most: two could join clusters to one that is too large.
        let unconfirmed = unconfirmed
            .filter(|(outpoint, _)| mempool.spender(outpoint).is_none() && mempool.has_room_beside(&outpoint.txid))
            .take(1);
        let coins = confirmed.chain(unconfirmed);
        let target = TxOut { value: amount, script_pubkey: script.to_owned() };
        let change = TxOut { value: Amount::ZERO, script_pubkey: self.script.clone() };
        let outputs_weight = (target.size() + change.size()) as u64 * 4;
        let (mut inputs, mut available) = (Vec::new(), Amount::ZERO);
        for (outpoint, value) in coins.take(MAX_INPUTS) {
            let spent = TxOut { value, script_pubkey: self.script.clone() };
            inputs.push((outpoint, spent));
            available += value;
            let weight = BASE_WEIGHT + outputs_weight + INPUT_WEIGHT * inputs.len() as u64;
            let fee = Amount::from_sat(weight.div_ceil(4) * FEERATE);
            if let Some(rest) = available.checked_sub(amount).and_then(|rest| rest.checked_sub(fee)) {
                let mut outputs = vec![target];
                // Too little change is left to the miner.
                if rest.to_sat() >= dust_threshold(&change) {
                    outputs.push(TxOut { value: rest, ..change });
                }
                return Ok(self.sign(inputs, outputs));
            }
        }
        Err(Error::FaucetEmpty { wanted: amount, available })
    }

    fn sign(&self, inputs: Vec<(OutPoint, TxOut)>, output: Vec<TxOut>) -> Transaction {
        let (outpoints, spent): (Vec<OutPoint>, Vec<TxOut>) = inputs.into_iter().unzip();
        let input = |previous_output| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        };
        let mut transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: outpoints.into_iter().map(input).collect(),
            output,
        };
        let mut cache = SighashCache::new(&transaction);
        let witnesses: Vec<Witness> = (0..transaction.input.len())
            .map(|index| {
                let hash = cache
                    .taproot_key_spend_signature_hash(index, &Prevouts::All(&spent), TapSighashType::Default)
                    .expect("there is a spent output for each input");
                let message = Message::from_digest(hash.to_byte_array());
                let signature = self.secp.sign_schnorr_no_aux_rand(&message, &self.key.to_keypair());
                Witness::from_slice(&[signature.as_ref()])
            })
            .collect();
        for (input, witness) in transaction.input.iter_mut().zip(witnesses) {
            input.witness = witness;
        }
        transaction
    }
}
