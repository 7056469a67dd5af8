//! Payments: built, signed and checked; then held fast; then sent by whoever has a server ([`crate::btc::sync::send`]).
//!
//! Coins that others sent and that are in no block yet are not spent: whoever sent them can take them back. Every input says that it may be replaced (BIP 125), and
//! the lock time is the height that we know, as other wallets have it.

use std::collections::HashSet;

use bdk_wallet::KeychainKind;
use bdk_wallet::error::{BuildFeeBumpError, CreateTxError};
use bitcoin::psbt::Psbt;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, Txid};

use super::{Wallet, WalletError, now_s};
use crate::btc::fees;

/// What is to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// This much; the fee comes on top.
    Exactly(Amount),
    /// All that can be spent, less the fee.
    Everything,
}

/// A payment as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The script of the output: of an address ([`bitcoin::Address::script_pubkey`]) or of a contract.
    pub to: ScriptBuf,
    /// How much.
    pub what: What,
    /// At which rate the fee is reckoned.
    pub fee_rate: FeeRate,
    /// The most that the fee may be, if a person said so; else [`fees::check_fee`] decides.
    pub max_fee: Option<Amount>,
}

/// A signed transaction that nobody has heard of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The transaction.
    pub tx: Transaction,
    /// Its id.
    pub txid: Txid,
    /// What the recipient gets.
    pub amount: Amount,
    /// What it costs.
    pub fee: Amount,
    /// The transaction that it replaces.
    pub replaces: Option<Txid>,
}

impl Signed {
    /// The rate that the fee comes to.
    pub fn fee_rate(&self) -> FeeRate {
        self.fee / self.tx.weight()
    }

    /// The output that pays `script`.
    pub fn output_to(&self, script: &ScriptBuf) -> Option<OutPoint> {
        let position = self.tx.output.iter().position(|output| output.script_pubkey == *script)?;
        Some(OutPoint::new(self.txid, u32::try_from(position).ok()?))
    }
}

impl Wallet {
    /// Builds and signs a payment. Nothing is sent, and no coin is taken: call [`Wallet::commit`] before the transaction leaves this process.
    ///
    /// # Errors
    /// [`WalletError::Insufficient`], [`WalletError::Dust`], [`WalletError::Fee`].
    pub fn pay(&mut self, payment: &Payment) -> Result<Signed, WalletError> {
        fees::check_rate(payment.fee_rate)?;
        let dust = payment.to.minimal_non_dust();
        if let What::Exactly(amount) = payment.what
            && amount < dust
        {
            return Err(WalletError::Dust { amount, limit: dust });
        }
        let untouchable = self.untouchable()?;
        let built = {
            let mut builder = self.bdk.build_tx();
            builder.unspendable(untouchable).fee_rate(payment.fee_rate);
            match payment.what {
                What::Exactly(amount) => builder.add_recipient(payment.to.clone(), amount),
                What::Everything => builder.drain_wallet().drain_to(payment.to.clone()),
            };
            builder.finish()
        };
        let psbt = built.map_err(|e| self.explain(e))?;
        let signed = self.sign(psbt, None)?;
        let amount = signed.output_to(&payment.to).map_or(Amount::ZERO, |at| signed.tx.output[at.vout as usize].value);
        fees::check_fee(signed.fee, amount, payment.max_fee)?;
        Ok(Signed { amount, ..signed })
    }

    /// Builds and signs a transaction that takes the place of an unconfirmed one of ours and pays `fee_rate`: the same recipients, the same coins and more if need be.
    ///
    /// # Errors
    /// [`WalletError::NotOurs`], [`WalletError::Confirmed`], [`WalletError::Replaced`], [`WalletError::BumpTooLow`], and those of [`Wallet::pay`].
    pub fn bump(&mut self, txid: &Txid, fee_rate: FeeRate, max_fee: Option<Amount>) -> Result<Signed, WalletError> {
        fees::check_rate(fee_rate)?;
        let old = self.replaceable(txid)?;
        let least = self.least_bump(txid)?;
        if fee_rate < least {
            return Err(WalletError::BumpTooLow(least));
        }
        // A server may have dropped it: for the one who replaces it, it counts as pending.
        let seen = self.later(txid);
        self.bdk.apply_unconfirmed_txs([(old, seen)]);
        let untouchable = self.untouchable()?;
        let built = match self.bdk.build_fee_bump(*txid) {
            Ok(mut builder) => {
                builder.unspendable(untouchable).fee_rate(fee_rate);
                builder.finish()
            }
            Err(BuildFeeBumpError::TransactionConfirmed(txid)) => return Err(WalletError::Confirmed(txid)),
            Err(error) => return Err(WalletError::Build(error.to_string())),
        };
        let psbt = built.map_err(|e| self.explain(e))?;
        let signed = self.sign(psbt, Some(*txid))?;
        let theirs = |output: &&bitcoin::TxOut| !self.bdk.is_mine(output.script_pubkey.clone());
        let amount = signed.tx.output.iter().filter(theirs).map(|output| output.value).sum();
        fees::check_fee(signed.fee, amount, max_fee)?;
        Ok(Signed { amount, ..signed })
    }

    /// The least rate at which [`Wallet::bump`] replaces a transaction: 1 sat/vB more than it pays, so that every node passes it on (BIP 125, rule 4).
    ///
    /// # Errors
    /// As [`Wallet::bump`].
    pub fn least_bump(&self, txid: &Txid) -> Result<FeeRate, WalletError> {
        let old = self.replaceable(txid)?;
        let rate = self.bdk.calculate_fee_rate(&old).map_err(|e| WalletError::Build(e.to_string()))?;
        // Rounded up: half a sat less would be refused.
        Ok(FeeRate::from_sat_per_kwu(rate.to_sat_per_kwu() + 1 + FeeRate::BROADCAST_MIN.to_sat_per_kwu()))
    }

    /// Holds a signed transaction fast: it is on disk when this returns, its coins are spent as far as this wallet is concerned, and every sync sends it again until it
    /// is buried.
    ///
    /// # Errors
    /// [`WalletError::Database`]: then nothing must be sent.
    pub fn commit(&mut self, signed: &Signed) -> Result<(), WalletError> {
        let now = signed.replaces.map_or_else(now_s, |old| self.later(&old));
        self.store.put(&signed.tx, now, signed.replaces)?;
        // In this order: what is evicted must count as pending until then.
        self.bdk.apply_evicted_txs(signed.replaces.map(|old| (old, now)));
        self.bdk.apply_unconfirmed_txs([(signed.tx.clone(), now)]);
        self.persist()
    }

    /// Lets go of a transaction that no node took: its coins are free again, and what it replaced is pending again.
    ///
    /// # Errors
    /// [`WalletError::Database`].
    pub fn abandon(&mut self, txid: &Txid) -> Result<(), WalletError> {
        let now = self.later(txid);
        let replaced: Vec<Transaction> = self
            .store
            .outbox()?
            .into_iter()
            .filter(|outgoing| outgoing.replaced_by == Some(*txid))
            .map(|outgoing| outgoing.tx)
            .collect();
        self.store.remove(txid)?;
        self.bdk.apply_evicted_txs([(*txid, now)]);
        self.bdk.apply_unconfirmed_txs(replaced.into_iter().map(|tx| (tx, now + 1)));
        self.persist()
    }

    /// A transaction of this wallet that can still be replaced.
    fn replaceable(&self, txid: &Txid) -> Result<Transaction, WalletError> {
        let tx = self.transaction(txid).ok_or(WalletError::NotOurs(*txid))?;
        let index = self.bdk.spk_index();
        if !tx.input.iter().all(|input| index.txout(input.previous_output).is_some()) {
            return Err(WalletError::NotOurs(*txid));
        }
        let replaced = self.store.outbox()?.into_iter().find(|outgoing| outgoing.txid == *txid);
        if let Some(by) = replaced.and_then(|outgoing| outgoing.replaced_by) {
            return Err(WalletError::Replaced(*txid, by));
        }
        let position = self.canonical().find(|tx| tx.tx_node.txid == *txid).map(|tx| tx.chain_position);
        if position.is_some_and(|position| position.is_confirmed()) {
            return Err(WalletError::Confirmed(*txid));
        }
        Ok(tx)
    }

    /// A time after everything that is known of when a transaction was seen: BDK believes the latest.
    pub(super) fn later(&self, txid: &Txid) -> u64 {
        let graph = self.bdk.tx_graph();
        let seen = graph.get_tx_node(*txid).and_then(|node| node.last_seen).unwrap_or(0);
        let evicted = graph.get_last_evicted(*txid).unwrap_or(0);
        now_s().max(seen.max(evicted).saturating_add(1))
    }

    /// Coins that are not to be spent: those of strangers that are in no block yet, and those of payments that were signed and are still wanted.
    fn untouchable(&self) -> Result<Vec<OutPoint>, WalletError> {
        let mut coins: HashSet<OutPoint> = self
            .bdk
            .list_unspent()
            .filter(|coin| !coin.chain_position.is_confirmed() && coin.keychain != KeychainKind::Internal)
            .map(|coin| coin.outpoint)
            .collect();
        for outgoing in self.store.outbox()?.iter().filter(|outgoing| outgoing.replaced_by.is_none()) {
            coins.extend(outgoing.tx.input.iter().map(|input| input.previous_output));
        }
        Ok(coins.into_iter().collect())
    }

    fn explain(&self, error: CreateTxError) -> WalletError {
        match error {
            CreateTxError::CoinSelection(short) => {
                let balance = self.balance();
                WalletError::Insufficient {
                    needed: short.needed,
                    available: short.available.min(balance.spendable()),
                    pending: balance.incoming + balance.immature,
                }
            }
            CreateTxError::FeeRateTooLow { required } => WalletError::BumpTooLow(required),
            other => WalletError::Build(other.to_string()),
        }
    }

    fn sign(&mut self, mut psbt: Psbt, replaces: Option<Txid>) -> Result<Signed, WalletError> {
        let root = self.place.seed()?.root(self.network());
        psbt.sign(&root, self.bdk.secp_ctx()).map_err(|(_, errors)| WalletError::Sign(format!("{errors:?}")))?;
        let finished = self.bdk.try_finalize_psbt(&mut psbt).map_err(|e| WalletError::Sign(e.to_string()))?;
        if !finished.is_finalized() {
            return Err(WalletError::Sign("not every coin is ours to spend".to_owned()));
        }
        let fee = psbt.fee().map_err(|e| WalletError::Sign(e.to_string()))?;
        let tx = psbt.extract_tx().map_err(|e| WalletError::Build(e.to_string()))?;
        // The change address is taken, whatever becomes of the payment.
        self.persist()?;
        Ok(Signed { txid: tx.compute_txid(), tx, amount: Amount::ZERO, fee, replaces })
    }
}
