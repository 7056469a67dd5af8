//! What a spend of the lock says: which branch it took, and the preimage. The transaction comes from a server or a stranger and may be anything.

use bitcoin::secp256k1::Message;
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::{Amount, OutPoint, Script, Transaction, TxOut, Witness, ecdsa, taproot};

use super::script::{Branch, LockScript};
use super::secrets::{PREIMAGE_BYTES, PaymentHash, Preimage, secp};
use super::terms::LockKind;

/// The first byte of an annex (BIP341), the last element of a witness with at least two.
const ANNEX_PREFIX: u8 = 0x50;

/// How a transaction spends the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpentBy {
    /// By the claim branch, with this preimage.
    Claim(Preimage),
    /// By the refund branch.
    Refund,
    /// In a form that the script does not allow. A transaction in a block cannot be like this: whoever showed it made it up.
    Malformed,
}

/// How `transaction` spends `outpoint`, which is at the lock's script; `None` if it does not spend it. Signatures are not checked: for a transaction in a
/// block the chain did it, and a preimage proves itself.
pub fn spent_by(lock: &LockScript, outpoint: OutPoint, transaction: &Transaction) -> Option<SpentBy> {
    let input = transaction.input.iter().find(|input| input.previous_output == outpoint)?;
    Some(match branch(lock, &input.witness) {
        Some(Branch::Claim) => match preimage_in_witness(lock.terms().payment_hash(), &input.witness) {
            Some(preimage) => SpentBy::Claim(preimage),
            None => SpentBy::Malformed,
        },
        Some(Branch::Refund) => SpentBy::Refund,
        None => SpentBy::Malformed,
    })
}

/// The preimage of `hash` if any input's witness of `transaction` shows it. It is looked for by its hash, in any form of witness, since a preimage that is
/// public is public wherever it stands.
pub fn preimage_in(hash: PaymentHash, transaction: &Transaction) -> Option<Preimage> {
    transaction.input.iter().find_map(|input| preimage_in_witness(hash, &input.witness))
}

/// Whether `transaction` spends a lock of this value alone, and the branch it takes is signed by its key. With further inputs this cannot be told from the
/// transaction, and the answer is no.
pub fn is_signed(lock: &LockScript, value: Amount, transaction: &Transaction) -> bool {
    let [input] = transaction.input.as_slice() else { return false };
    let Some(branch) = branch(lock, &input.witness) else { return false };
    let key = match branch {
        Branch::Claim => lock.terms().claim_key(),
        Branch::Refund => lock.terms().refund_key(),
    };
    // The signature stands below the preimage in a claim, on the bottom in a refund.
    let number = if branch == Branch::Claim { 1 } else { 0 };
    let Some(signature) = input.witness.nth(number) else { return false };
    let mut cache = SighashCache::new(transaction);
    match lock.leaf(branch) {
        None => {
            let Ok(signature) = ecdsa::Signature::from_slice(signature) else { return false };
            let script = lock.spent_script(branch);
            cache
                .p2wsh_signature_hash(0, script, value, signature.sighash_type)
                .is_ok_and(|hash| secp().verify_ecdsa(&Message::from(hash), &signature.signature, &key).is_ok())
        }
        Some((_, leaf)) => {
            let Ok(signature) = taproot::Signature::from_slice(signature) else { return false };
            let spent = [TxOut { value, script_pubkey: lock.script_pubkey().to_owned() }];
            let hash =
                cache.taproot_script_spend_signature_hash(0, &Prevouts::All(&spent), leaf, signature.sighash_type);
            let key = key.x_only_public_key().0;
            hash.is_ok_and(|hash| secp().verify_schnorr(&signature.signature, &Message::from(hash), &key).is_ok())
        }
    }
}

fn preimage_in_witness(hash: PaymentHash, witness: &Witness) -> Option<Preimage> {
    witness.iter().find_map(|element| {
        let preimage = Preimage::from_bytes(<[u8; PREIMAGE_BYTES]>::try_from(element).ok()?);
        (preimage.payment_hash() == hash).then_some(preimage)
    })
}

/// Which branch's form a witness has.
fn branch(lock: &LockScript, witness: &Witness) -> Option<Branch> {
    let elements: Vec<&[u8]> = witness.iter().collect();
    let is = |bytes: &[u8], branch| Script::from_bytes(bytes) == lock.spent_script(branch);
    match lock.terms().kind() {
        LockKind::P2wsh => match elements.as_slice() {
            [_, signature, script] if is(script, Branch::Claim) => {
                Some(if signature.is_empty() { Branch::Refund } else { Branch::Claim })
            }
            _ => None,
        },
        LockKind::Taproot => {
            let elements = match elements.as_slice() {
                [rest @ .., annex] if !rest.is_empty() && annex.first() == Some(&ANNEX_PREFIX) => rest,
                all => all,
            };
            match elements {
                [_, _, script, _] if is(script, Branch::Claim) => Some(Branch::Claim),
                [_, script, _] if is(script, Branch::Refund) => Some(Branch::Refund),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
