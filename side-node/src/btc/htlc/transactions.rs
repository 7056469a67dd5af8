//! The transactions that end a lock: claim and refund, with exact weights, fees by rate, replacement and signatures.
//!
//! Each spends the lock alone into one output, signals replaceability (BIP125), and names the tip as its lock time where the script allows it, so that it
//! gives no reason to mine the last block again (anti fee sniping). Signatures take no randomness (RFC 6979; BIP340 without auxiliary bytes):
//! the same input gives the same transaction.

use bitcoin::absolute::{Height, LockTime};
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::transaction::{InputWeightPrediction, Version, predict_weight};
use bitcoin::{
    Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight, Witness, ecdsa, taproot,
};
use thiserror::Error;

use super::margins::{INCREMENTAL_FEE_RATE, MAX_FEE_RATE, MIN_FEE_RATE};
use super::script::{Branch, LockScript};
use super::secrets::{PREIMAGE_BYTES, Preimage, SpendKey, secp};

/// Bytes of an ECDSA signature with its sighash byte: R and S are both low, so it has 71, or very rarely fewer.
const ECDSA_BYTES: usize = 71;
/// Bytes of a BIP340 signature with the default sighash.
const SCHNORR_BYTES: usize = 64;

/// Why a claim or refund cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// The secret key is not the one in the terms.
    #[error("the key at hand is not the {branch:?} key of the terms")]
    WrongKey {
        /// The branch that was to be taken.
        branch: Branch,
    },
    /// The preimage does not belong to the payment hash.
    #[error("the preimage does not fit the payment hash of the terms")]
    WrongPreimage,
    /// A refund before its time: the network would refuse it.
    #[error("a refund is possible from block {timeout} on, the tip is {tip}")]
    TooEarly {
        /// The height agreed on.
        timeout: Height,
        /// The tip's height.
        tip: Height,
    },
    /// The fee would leave less than an output may hold.
    #[error("a fee of {fee} leaves less of {value} than an output may hold ({dust})")]
    NothingLeft {
        /// What the lock holds.
        value: Amount,
        /// What the transaction would cost.
        fee: Amount,
        /// The least that the output may hold.
        dust: Amount,
    },
}

/// A lock on the chain, and how to spend it.
#[derive(Debug, Clone)]
pub struct SpendPlan<'a> {
    /// The lock's script.
    pub lock: &'a LockScript,
    /// Where the lock is.
    pub outpoint: OutPoint,
    /// What it holds: the whole amount goes to `payout`, less the fee.
    pub value: Amount,
    /// Where the coins go.
    pub payout: ScriptBuf,
    /// The height of the tip.
    pub tip: Height,
    /// What to pay, held between [`MIN_FEE_RATE`] and [`MAX_FEE_RATE`].
    pub rate: FeeRate,
    /// Least fee in all: what a replacement must pay. Zero otherwise.
    pub least_fee: Amount,
}

/// A signed claim or refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// The transaction, ready to be broadcast.
    pub transaction: Transaction,
    /// What it pays to the miner.
    pub fee: Amount,
    /// The same by size, from the predicted weight.
    pub rate: FeeRate,
}

impl SpendPlan<'_> {
    /// Makes and signs the claim.
    ///
    /// # Errors
    /// [`TransactionError::WrongKey`], [`TransactionError::WrongPreimage`], [`TransactionError::NothingLeft`].
    pub fn claim(&self, preimage: &Preimage, key: &SpendKey) -> Result<Spend, TransactionError> {
        if preimage.payment_hash() != self.lock.terms().payment_hash() {
            return Err(TransactionError::WrongPreimage);
        }
        if key.public() != self.lock.terms().claim_key() {
            return Err(TransactionError::WrongKey { branch: Branch::Claim });
        }
        self.spend(Branch::Claim, Some(preimage), key, self.tip)
    }

    /// Makes and signs the refund.
    ///
    /// # Errors
    /// [`TransactionError::WrongKey`], [`TransactionError::TooEarly`], [`TransactionError::NothingLeft`].
    pub fn refund(&self, key: &SpendKey) -> Result<Spend, TransactionError> {
        if key.public() != self.lock.terms().refund_key() {
            return Err(TransactionError::WrongKey { branch: Branch::Refund });
        }
        let timeout = self.lock.terms().timeout();
        if self.tip < timeout {
            return Err(TransactionError::TooEarly { timeout, tip: self.tip });
        }
        self.spend(Branch::Refund, None, key, self.tip)
    }

    /// The weight of the signed transaction: exact for taproot, at most a few units too high for P2WSH.
    pub fn weight(&self, branch: Branch) -> Weight {
        weight(self.lock, branch, self.payout.len())
    }

    /// What the transaction will cost.
    pub fn fee(&self, branch: Branch) -> Amount {
        fee_at(self.rate.clamp(MIN_FEE_RATE, MAX_FEE_RATE), self.weight(branch)).max(self.least_fee)
    }

    fn spend(
        &self,
        branch: Branch,
        preimage: Option<&Preimage>,
        key: &SpendKey,
        lock_time: Height,
    ) -> Result<Spend, TransactionError> {
        let (fee, dust) = (self.fee(branch), self.payout.minimal_non_dust());
        let left = self.value.checked_sub(fee).filter(|left| *left >= dust);
        let Some(left) = left else { return Err(TransactionError::NothingLeft { value: self.value, fee, dust }) };
        let mut transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::Blocks(lock_time),
            input: vec![TxIn {
                previous_output: self.outpoint,
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                ..TxIn::default()
            }],
            output: vec![TxOut { value: left, script_pubkey: self.payout.clone() }],
        };
        transaction.input[0].witness = self.witness(&transaction, branch, preimage, key);
        let rate = rate_within(fee, self.weight(branch));
        Ok(Spend { transaction, fee, rate })
    }

    /// The stack that opens the branch. From its top: P2WSH asks for the claim key's signature (an empty one on the way to the refund), then
    /// for the preimage or the refund key's signature; a leaf asks for its signature, then for the preimage.
    fn witness(
        &self,
        transaction: &Transaction,
        branch: Branch,
        preimage: Option<&Preimage>,
        key: &SpendKey,
    ) -> Witness {
        let script = self.lock.spent_script(branch);
        let mut witness = Witness::new();
        if let Some(preimage) = preimage {
            witness.push(preimage.as_bytes());
        }
        match self.lock.leaf(branch) {
            None => {
                witness.push(self.ecdsa(transaction, key).to_vec());
                if branch == Branch::Refund {
                    witness.push([]);
                }
                witness.push(script.as_bytes());
            }
            Some((control, leaf)) => {
                let spent = TxOut { value: self.value, script_pubkey: self.lock.script_pubkey().to_owned() };
                let sighash = SighashCache::new(transaction)
                    .taproot_script_spend_signature_hash(0, &Prevouts::All(&[spent]), leaf, TapSighashType::Default)
                    .expect("one input and its output, default sighash");
                let signature = secp().sign_schnorr_no_aux_rand(&Message::from(sighash), &key.keypair());
                witness.push(taproot::Signature { signature, sighash_type: TapSighashType::Default }.to_vec());
                witness.push(script.as_bytes());
                witness.push(control);
            }
        }
        witness
    }

    fn ecdsa(&self, transaction: &Transaction, key: &SpendKey) -> ecdsa::Signature {
        let script = self.lock.spent_script(Branch::Claim);
        let sighash = SighashCache::new(transaction)
            .p2wsh_signature_hash(0, script, self.value, EcdsaSighashType::All)
            .expect("the transaction has an input 0");
        let signature = secp().sign_ecdsa_low_r(&Message::from(sighash), key.secret());
        ecdsa::Signature { signature, sighash_type: EcdsaSighashType::All }
    }
}

impl Spend {
    /// The least that a replacement of this one must pay (BIP125 rule 4, and Core's rules for clusters where both have one input): its
    /// fee, and the relay fee for its own size on top.
    pub fn replacement_fee(&self, weight: Weight) -> Amount {
        replacement_fee(self.fee, weight)
    }
}

/// The least fee of a transaction of this weight that is to replace one that pays `replaced`.
pub fn replacement_fee(replaced: Amount, weight: Weight) -> Amount {
    Amount::from_sat(replaced.to_sat().saturating_add(fee_at(INCREMENTAL_FEE_RATE, weight).to_sat()))
}

/// The weight of a spend by this branch into an output whose script has `payout_bytes`.
pub fn weight(lock: &LockScript, branch: Branch, payout_bytes: usize) -> Weight {
    let script = lock.spent_script(branch).len();
    let elements: Vec<usize> = match (lock.leaf(branch), branch) {
        (None, Branch::Claim) => vec![PREIMAGE_BYTES, ECDSA_BYTES, script],
        (None, Branch::Refund) => vec![ECDSA_BYTES, 0, script],
        (Some((control, _)), Branch::Claim) => vec![PREIMAGE_BYTES, SCHNORR_BYTES, script, control.len()],
        (Some((control, _)), Branch::Refund) => vec![SCHNORR_BYTES, script, control.len()],
    };
    predict_weight([InputWeightPrediction::new(0, elements)], [payout_bytes])
}

/// The fee at this rate, rounded up to a whole sat. Relays and estimates reckon in whole virtual bytes, so that this does, too.
pub fn fee_at(rate: FeeRate, weight: Weight) -> Amount {
    rate.checked_mul_by_weight(whole_vbytes(weight)).unwrap_or(Amount::MAX_MONEY)
}

/// The highest rate at which the fee stays within `most`.
pub fn rate_within(most: Amount, weight: Weight) -> FeeRate {
    most.div_by_weight_floor(whole_vbytes(weight)).unwrap_or(FeeRate::ZERO)
}

fn whole_vbytes(weight: Weight) -> Weight {
    Weight::from_wu(weight.to_wu().div_ceil(4).saturating_mul(4))
}

/// The outputs of a transaction that pay to the lock's script, by their number, whatever they hold.
pub fn outputs_at_lock(lock: &LockScript, transaction: &Transaction) -> Vec<(u32, Amount)> {
    (0u32..)
        .zip(&transaction.output)
        .filter(|(_, output)| output.script_pubkey.as_script() == lock.script_pubkey())
        .map(|(number, output)| (number, output.value))
        .collect()
}

#[cfg(test)]
#[path = "transactions_tests.rs"]
mod tests;
