//! Checks signatures and lock times against the transaction that spends.

use std::cell::RefCell;

use bitcoin::{
    Amount, EcdsaSighashType, Script, TapLeafHash, TapSighashType, Transaction, TxOut, XOnlyPublicKey,
    hashes::{Hash, sha256d},
    secp256k1::{self, Message, PublicKey, Secp256k1, VerifyOnly, ecdsa, schnorr},
    sighash::{Annex, Prevouts, SighashCache},
};

use super::{ScriptError, SigVersion, reader};

/// What a script asks of the transaction that spends.
pub(crate) trait SignatureChecker {
    /// Whether an ECDSA signature, with its hash type at the end, signs this input.
    fn check_ecdsa(&self, signature: &[u8], key: &[u8], script_code: &[u8], version: SigVersion) -> bool;
    /// Checks a Schnorr signature of this input. `leaf` is absent for a key path spend.
    fn check_schnorr(&self, signature: &[u8], key: &[u8], context: &TaprootContext<'_>) -> Result<(), ScriptError>;
    /// OP_CHECKLOCKTIMEVERIFY's question (BIP65).
    fn check_lock_time(&self, lock_time: i64) -> bool;
    /// OP_CHECKSEQUENCEVERIFY's question (BIP112).
    fn check_sequence(&self, sequence: i64) -> bool;
}

/// What a taproot signature commits to beyond the transaction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaprootContext<'a> {
    /// The annex, with its first byte.
    pub(crate) annex: Option<&'a [u8]>,
    /// Leaf and position of the last executed OP_CODESEPARATOR.
    pub(crate) leaf: Option<(TapLeafHash, u32)>,
}

/// Accepts no signature and no lock time.
pub(crate) struct NoSignatures;

impl SignatureChecker for NoSignatures {
    fn check_ecdsa(&self, _: &[u8], _: &[u8], _: &[u8], _: SigVersion) -> bool {
        false
    }
    fn check_schnorr(&self, _: &[u8], _: &[u8], _: &TaprootContext<'_>) -> Result<(), ScriptError> {
        Err(ScriptError::SchnorrSig)
    }
    fn check_lock_time(&self, _: i64) -> bool {
        false
    }
    fn check_sequence(&self, _: i64) -> bool {
        false
    }
}

/// Lock times below this are heights, from it on seconds since 1970.
const LOCK_TIME_THRESHOLD: i64 = 500_000_000;
const SEQUENCE_FINAL: u32 = 0xffff_ffff;
const SEQUENCE_DISABLE: i64 = 1 << 31;
const SEQUENCE_TYPE: i64 = 1 << 22;
const SEQUENCE_MASK: i64 = SEQUENCE_TYPE | 0xffff;

/// Checks one input of a transaction whose spent outputs are known.
pub(crate) struct TransactionChecker<'a> {
    transaction: &'a Transaction,
    spent: &'a [TxOut],
    input: usize,
    /// Shared by a transaction's inputs, so that what they have in common is hashed once.
    cache: &'a RefCell<SighashCache<&'a Transaction>>,
    secp: &'a Secp256k1<VerifyOnly>,
}

impl<'a> TransactionChecker<'a> {
    /// `spent` has one output for each input, and `input` is one of them.
    pub(crate) fn new(
        transaction: &'a Transaction,
        spent: &'a [TxOut],
        input: usize,
        cache: &'a RefCell<SighashCache<&'a Transaction>>,
        secp: &'a Secp256k1<VerifyOnly>,
    ) -> Self {
        TransactionChecker { transaction, spent, input, cache, secp }
    }

    fn ecdsa_message(&self, script_code: &[u8], hash_type: u8, version: SigVersion) -> Option<Message> {
        let mut cache = self.cache.borrow_mut();
        if version == SigVersion::Base {
            let script = reader::without_code_separators(script_code);
            let hash =
                cache.legacy_signature_hash(self.input, Script::from_bytes(&script), u32::from(hash_type)).ok()?;
            return Some(Message::from_digest(hash.to_byte_array()));
        }
        let value: Amount = self.spent.get(self.input)?.value;
        let kind = EcdsaSighashType::from_consensus(u32::from(hash_type));
        let mut preimage = Vec::with_capacity(256);
        cache
            .segwit_v0_encode_signing_data_to(&mut preimage, self.input, Script::from_bytes(script_code), value, kind)
            .ok()?;
        // The hash commits to the hash type as written, which need not be one of the six known ones.
        let end = preimage.len().checked_sub(4)?;
        preimage[end..].copy_from_slice(&u32::from(hash_type).to_le_bytes());
        Some(Message::from_digest(sha256d::Hash::hash(&preimage).to_byte_array()))
    }
}

impl SignatureChecker for TransactionChecker<'_> {
    fn check_ecdsa(&self, signature: &[u8], key: &[u8], script_code: &[u8], version: SigVersion) -> bool {
        let Some((&hash_type, der)) = signature.split_last() else { return false };
        let Ok(key) = PublicKey::from_slice(key) else { return false };
        let Ok(mut signature) = ecdsa::Signature::from_der_lax(der) else { return false };
        let Some(message) = self.ecdsa_message(script_code, hash_type, version) else { return false };
        // The library accepts low S only; a high one is a matter of policy, not of validity.
        signature.normalize_s();
        self.secp.verify_ecdsa(&message, &signature, &key).is_ok()
    }

    fn check_schnorr(&self, signature: &[u8], key: &[u8], context: &TaprootContext<'_>) -> Result<(), ScriptError> {
        let (signature, hash_type) = match signature.len() {
            64 => (signature, TapSighashType::Default),
            65 => match signature[64] {
                0 => return Err(ScriptError::SchnorrSigHashtype),
                byte => (
                    &signature[..64],
                    TapSighashType::from_consensus_u8(byte).map_err(|_| ScriptError::SchnorrSigHashtype)?,
                ),
            },
            _ => return Err(ScriptError::SchnorrSigSize),
        };
        let annex = context.annex.map(Annex::new).transpose().map_err(|_| ScriptError::SchnorrSigHashtype)?;
        let hash = self
            .cache
            .borrow_mut()
            .taproot_signature_hash(self.input, &Prevouts::All(self.spent), annex, context.leaf, hash_type)
            .map_err(|_| ScriptError::SchnorrSigHashtype)?;
        let signature = schnorr::Signature::from_slice(signature).map_err(|_| ScriptError::SchnorrSig)?;
        let key = XOnlyPublicKey::from_slice(key).map_err(|_| ScriptError::SchnorrSig)?;
        self.secp
            .verify_schnorr(&signature, &Message::from_digest(hash.to_byte_array()), &key)
            .map_err(|_: secp256k1::Error| ScriptError::SchnorrSig)
    }

    fn check_lock_time(&self, lock_time: i64) -> bool {
        let own = i64::from(self.transaction.lock_time.to_consensus_u32());
        // Heights compare with heights and times with times.
        (own < LOCK_TIME_THRESHOLD) == (lock_time < LOCK_TIME_THRESHOLD)
            && lock_time <= own
            // An input that is final switches the transaction's lock time off.
            && self.transaction.input[self.input].sequence.0 != SEQUENCE_FINAL
    }

    fn check_sequence(&self, sequence: i64) -> bool {
        let own = i64::from(self.transaction.input[self.input].sequence.0);
        // Versions are unsigned to Core.
        if (self.transaction.version.0 as u32) < 2 || own & SEQUENCE_DISABLE != 0 {
            return false;
        }
        let (own, asked) = (own & SEQUENCE_MASK, sequence & SEQUENCE_MASK);
        (own < SEQUENCE_TYPE) == (asked < SEQUENCE_TYPE) && asked <= own
    }
}
