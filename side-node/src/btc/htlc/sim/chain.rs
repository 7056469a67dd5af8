//! The chain: blocks, mempool, reorgs.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::absolute::{Height, LockTime};
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, Script, Sequence, Transaction, TxIn, TxOut, Txid, Witness};

use crate::btc::htlc::margins::FeeRates;
use crate::btc::htlc::script::LockScript;
use crate::btc::htlc::swap::{LockSeen, Observation, Place, Servers, SpendSeen};
use crate::btc::htlc::witness::{SpentBy, is_signed, spent_by};

/// Height of the first block that a test sees.
pub(crate) const START: u32 = 1_000;

pub(crate) struct Chain {
    /// Invariant: block `i` has the height `START + i`.
    blocks: Vec<Vec<Transaction>>,
    mempool: Vec<Transaction>,
    /// Outputs that were always there.
    coins: HashMap<OutPoint, TxOut>,
    locks: Vec<Arc<LockScript>>,
    /// Sats a virtual byte that the next block asks for.
    pub(crate) floor: u32,
    pub(crate) servers: Servers,
    /// What the servers say of fees, in percent of the truth.
    pub(crate) fee_percent: u64,
    pub(crate) median_time: u32,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self {
            blocks: vec![Vec::new()],
            mempool: Vec::new(),
            coins: HashMap::new(),
            locks: Vec::new(),
            floor: 1,
            servers: Servers::Agree,
            fee_percent: 100,
            median_time: 1_700_000_000,
        }
    }

    pub(crate) fn tip(&self) -> Height {
        height(START + u32::try_from(self.blocks.len()).expect("few") - 1)
    }

    /// Makes the chain hold spends of this script to its rules.
    pub(crate) fn enforce(&mut self, lock: Arc<LockScript>) {
        self.locks.push(lock);
    }

    /// A coin of a wallet. Its owner's signature is not checked.
    pub(crate) fn coin(&mut self, value: Amount) -> OutPoint {
        let number = u8::try_from(self.coins.len()).expect("few");
        let outpoint = OutPoint::new(Txid::from_byte_array([number + 1; 32]), 0);
        self.coins.insert(outpoint, TxOut { value, script_pubkey: bitcoin::ScriptBuf::new() });
        outpoint
    }

    /// A wallet's transaction: one coin into one output, a fee of 10,000 sats.
    pub(crate) fn pay(&self, coin: OutPoint, output: TxOut) -> Transaction {
        let change = self.coins[&coin].value - output.value - Amount::from_sat(10_000);
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: coin,
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::from_slice(&[[1; 64]]),
                ..TxIn::default()
            }],
            output: vec![output, TxOut { value: change, script_pubkey: bitcoin::ScriptBuf::new_op_return([]) }],
        }
    }

    /// Takes a transaction into the mempool, or says why not.
    pub(crate) fn submit(&mut self, transaction: &Transaction) -> Result<(), &'static str> {
        let txid = transaction.compute_txid();
        if self.mempool.iter().any(|known| known.compute_txid() == txid) || self.height_of(txid).is_some() {
            return Ok(());
        }
        let fee = self.check(transaction, true)?;
        let size = u64::try_from(transaction.vsize()).expect("small");
        if fee.to_sat() < size {
            return Err("min relay fee not met");
        }
        let rivals = self.with_children(|known| conflict(known, transaction));
        let paid: u64 = rivals.iter().map(|rival| self.fee(rival).to_sat()).sum();
        if !rivals.is_empty() && fee.to_sat() < paid + size {
            return Err("insufficient fee");
        }
        self.mempool.retain(|known| !rivals.contains(known));
        self.mempool.push(transaction.clone());
        Ok(())
    }

    /// Forgets unconfirmed transactions, as full mempools and restarting nodes do.
    pub(crate) fn forget(&mut self, which: impl Fn(&Transaction) -> bool) {
        let gone = self.with_children(which);
        self.mempool.retain(|known| !gone.contains(known));
    }

    pub(crate) fn mine(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.mine_one(false);
        }
    }

    fn mine_one(&mut self, empty: bool) {
        self.median_time += 600;
        let mut block = Vec::new();
        self.blocks.push(Vec::new());
        if !empty {
            // Parents stand before their children in the mempool, so one pass does.
            for transaction in self.mempool.clone() {
                let rate = self.fee(&transaction).to_sat() / u64::try_from(transaction.vsize()).expect("small");
                if rate < u64::from(self.floor) || self.check(&transaction, false).is_err() {
                    continue;
                }
                block.push(transaction);
                *self.blocks.last_mut().expect("just pushed") = block.clone();
            }
        }
        self.mempool.retain(|known| !block.contains(known));
        self.tidy();
    }

    /// Replaces the last `depth` blocks by one more. Their transactions return to the mempool if `keep`, and none is mined on the way if `empty`.
    pub(crate) fn reorg(&mut self, depth: usize, keep: impl Fn(&Transaction) -> bool, empty: bool) {
        let depth = depth.min(self.blocks.len() - 1);
        let back: Vec<Transaction> = self.blocks.split_off(self.blocks.len() - depth).into_iter().flatten().collect();
        let later = std::mem::take(&mut self.mempool);
        for transaction in back.iter().filter(|transaction| keep(transaction)).chain(&later) {
            let _ = self.submit(transaction);
        }
        for _ in 0..=depth {
            self.mine_one(empty);
        }
    }

    /// Drops what can no longer be in a block.
    fn tidy(&mut self) {
        for transaction in std::mem::take(&mut self.mempool) {
            if self.check(&transaction, true).is_ok() {
                self.mempool.push(transaction);
            }
        }
    }

    /// Whether the transaction could be in the next block (or, where its block is being made, in this one), and its fee.
    fn check(&self, transaction: &Transaction, next: bool) -> Result<Amount, &'static str> {
        let locked_until = transaction.lock_time.to_consensus_u32();
        if transaction.is_lock_time_enabled() && locked_until >= self.tip().to_consensus_u32() + u32::from(next) {
            return Err("non-final");
        }
        for input in &transaction.input {
            let spent = self.output(input.previous_output, next).ok_or("missing inputs")?;
            if self.confirmed().any(|(_, known)| spends(known, input.previous_output)) {
                return Err("spent");
            }
            let lock = self.locks.iter().find(|lock| lock.script_pubkey() == spent.script_pubkey.as_script());
            let Some(lock) = lock else { continue };
            if !is_signed(lock, spent.value, transaction) {
                return Err("bad signature");
            }
            match spent_by(lock, input.previous_output, transaction) {
                Some(SpentBy::Claim(_)) => {}
                Some(SpentBy::Refund) if locked_until >= lock.terms().timeout().to_consensus_u32() => {}
                _ => return Err("script failed"),
            }
        }
        Ok(self.fee(transaction))
    }

    fn fee(&self, transaction: &Transaction) -> Amount {
        let inputs = transaction.input.iter().filter_map(|input| self.output(input.previous_output, true));
        let paid: Amount = inputs.map(|output| output.value).sum();
        let kept: Amount = transaction.output.iter().map(|output| output.value).sum();
        paid.checked_sub(kept).unwrap_or(Amount::ZERO)
    }

    fn output(&self, outpoint: OutPoint, unconfirmed: bool) -> Option<TxOut> {
        if let Some(coin) = self.coins.get(&outpoint) {
            return Some(coin.clone());
        }
        let mempool = self.mempool.iter().filter(|_| unconfirmed);
        let found = self.confirmed().map(|(_, known)| known).chain(mempool);
        let parent = found.into_iter().find(|known| known.compute_txid() == outpoint.txid)?;
        parent.output.get(outpoint.vout as usize).cloned()
    }

    fn confirmed(&self) -> impl Iterator<Item = (u32, &Transaction)> {
        (START..).zip(&self.blocks).flat_map(|(height, block)| block.iter().map(move |known| (height, known)))
    }

    fn height_of(&self, txid: Txid) -> Option<u32> {
        self.confirmed().find(|(_, known)| known.compute_txid() == txid).map(|(height, _)| height)
    }

    fn with_children(&self, which: impl Fn(&Transaction) -> bool) -> Vec<Transaction> {
        let mut gone: Vec<Transaction> = Vec::new();
        for known in &self.mempool {
            let orphan = known
                .input
                .iter()
                .any(|input| gone.iter().any(|parent| parent.compute_txid() == input.previous_output.txid));
            if orphan || which(known) {
                gone.push(known.clone());
            }
        }
        gone
    }

    /// What an honest, working set of servers shows of a lock.
    pub(crate) fn observe(&self, lock: &LockScript) -> Observation {
        let all = || {
            let confirmed = self.confirmed().map(|(at, known)| (Place::Confirmed(height(at)), known));
            confirmed.chain(self.mempool.iter().map(|known| (Place::Mempool, known)))
        };
        let mut locks = Vec::new();
        for (place, transaction) in all() {
            for (vout, output) in (0..).zip(&transaction.output) {
                if output.script_pubkey.as_script() != lock.script_pubkey() {
                    continue;
                }
                let outpoint = OutPoint::new(transaction.compute_txid(), vout);
                let spend = all().find(|(_, known)| spends(known, outpoint));
                let spend = spend.map(|(place, known)| SpendSeen { transaction: known.clone(), place });
                locks.push(LockSeen { transaction: transaction.clone(), vout, place, spend });
            }
        }
        let rate = FeeRate::from_sat_per_vb(u64::from(self.floor) * self.fee_percent / 100).expect("small");
        Observation {
            tip: self.tip(),
            median_time: self.median_time,
            locks,
            fees: FeeRates::flat(rate),
            servers: self.servers,
        }
    }

    /// What stands unspent at a script in blocks.
    pub(crate) fn balance(&self, script: &Script) -> Amount {
        let outputs = self.confirmed().flat_map(|(_, known)| {
            let txid = known.compute_txid();
            (0u32..).zip(&known.output).map(move |(vout, output)| (OutPoint::new(txid, vout), output))
        });
        outputs
            .filter(|(_, output)| output.script_pubkey.as_script() == script)
            .filter(|(outpoint, _)| !self.confirmed().any(|(_, known)| spends(known, *outpoint)))
            .map(|(_, output)| output.value)
            .sum()
    }

    /// Whether a coin was spent in a block.
    pub(crate) fn is_spent(&self, coin: OutPoint) -> bool {
        self.confirmed().any(|(_, known)| spends(known, coin))
    }

    pub(crate) fn in_mempool(&self, txid: Txid) -> bool {
        self.mempool.iter().any(|known| known.compute_txid() == txid)
    }
}

pub(crate) fn height(height: u32) -> Height {
    Height::from_consensus(height).expect("a height")
}

fn spends(transaction: &Transaction, outpoint: OutPoint) -> bool {
    transaction.input.iter().any(|input| input.previous_output == outpoint)
}

fn conflict(one: &Transaction, two: &Transaction) -> bool {
    one.input.iter().any(|input| spends(two, input.previous_output))
}
