use bitcoin::hashes::Hash;
use bitcoin::{Txid, secp256k1};

use super::super::terms::{ChainId, LockKind, Terms};
use super::super::witness::{SpentBy, is_signed, preimage_in, spent_by};
use super::*;

fn key(byte: u8) -> SpendKey {
    SpendKey::from_bytes([byte; 32]).expect("a key")
}

fn height(height: u32) -> Height {
    Height::from_consensus(height).expect("a height")
}

fn preimage() -> Preimage {
    Preimage::from_bytes([7; 32])
}

fn lock(kind: LockKind) -> LockScript {
    let (amount, hash) = (Amount::from_sat(100_000), preimage().payment_hash());
    let terms = Terms::new(ChainId::REGTEST, kind, amount, hash, key(1).public(), key(2).public(), height(200));
    LockScript::new(&terms.expect("sound")).expect("a script")
}

fn plan(lock: &LockScript, rate: u32) -> SpendPlan<'_> {
    SpendPlan {
        lock,
        outpoint: OutPoint::new(Txid::from_byte_array([5; 32]), 1),
        value: Amount::from_sat(100_000),
        payout: ScriptBuf::from_hex(&format!("0014{}", "11".repeat(20))).expect("hex"),
        tip: height(250),
        rate: FeeRate::from_sat_per_vb_u32(rate),
        least_fee: Amount::ZERO,
    }
}

/// Every combination of kind, branch and a number of locks: weights are as predicted, and the fee is the rate's.
#[test]
fn weights_are_exact_and_fees_follow_the_rate() {
    for kind in [LockKind::P2wsh, LockKind::Taproot] {
        let lock = lock(kind);
        for vout in 0..40 {
            let mut plan = plan(&lock, 7);
            plan.outpoint.vout = vout;
            for branch in [Branch::Claim, Branch::Refund] {
                let spend = match branch {
                    Branch::Claim => plan.claim(&preimage(), &key(1)),
                    Branch::Refund => plan.refund(&key(2)),
                }
                .expect("signed");
                let (real, predicted) = (spend.transaction.weight().to_wu(), plan.weight(branch).to_wu());
                let slack = if kind == LockKind::P2wsh { 2 } else { 0 };
                assert!(real <= predicted && real + slack >= predicted, "{kind:?} {branch:?}: {real}, {predicted}");
                assert_eq!(spend.fee, fee_at(FeeRate::from_sat_per_vb_u32(7), plan.weight(branch)));
                assert_eq!(spend.transaction.output[0].value + spend.fee, plan.value);
                assert!(spend.transaction.is_explicitly_rbf() && spend.transaction.is_lock_time_enabled());
            }
        }
    }
}

#[test]
fn signatures_hold_under_the_keys_of_the_terms() {
    let verify = secp256k1::Secp256k1::verification_only();
    for kind in [LockKind::P2wsh, LockKind::Taproot] {
        let lock = lock(kind);
        let plan = plan(&lock, 3);
        let spend = plan.claim(&preimage(), &key(1)).expect("signed");
        let witness = &spend.transaction.input[0].witness;
        let mut cache = SighashCache::new(&spend.transaction);
        match lock.leaf(Branch::Claim) {
            None => {
                let script = lock.spent_script(Branch::Claim);
                let hash = cache.p2wsh_signature_hash(0, script, plan.value, EcdsaSighashType::All).expect("hash");
                let signature = ecdsa::Signature::from_slice(witness.nth(1).expect("there")).expect("DER");
                verify
                    .verify_ecdsa(&Message::from(hash), &signature.signature, &key(1).public())
                    .expect("a good signature");
            }
            Some((control, leaf)) => {
                let spent = TxOut { value: plan.value, script_pubkey: lock.script_pubkey().to_owned() };
                let hash = cache
                    .taproot_script_spend_signature_hash(0, &Prevouts::All(&[spent]), leaf, TapSighashType::Default)
                    .expect("hash");
                let signature = taproot::Signature::from_slice(witness.nth(1).expect("there")).expect("64 bytes");
                let claim_key = key(1).public().x_only_public_key().0;
                verify
                    .verify_schnorr(&signature.signature, &Message::from(hash), &claim_key)
                    .expect("a good signature");
                let control = taproot::ControlBlock::decode(&control).expect("a control block");
                let output =
                    secp256k1::XOnlyPublicKey::from_slice(&lock.script_pubkey().as_bytes()[2..]).expect("a key");
                assert!(control.verify_taproot_commitment(&verify, output, lock.spent_script(Branch::Claim)));
            }
        }
    }
}

#[test]
fn the_lock_time_is_the_tip_and_a_refund_has_its_time() {
    let lock = lock(LockKind::Taproot);
    let mut plan = plan(&lock, 3);
    plan.tip = height(150);
    let claim = plan.claim(&preimage(), &key(1)).expect("signed");
    assert_eq!(claim.transaction.lock_time, LockTime::Blocks(height(150)));
    let early = TransactionError::TooEarly { timeout: height(200), tip: height(150) };
    assert_eq!(plan.refund(&key(2)), Err(early));
    plan.tip = height(199);
    assert!(plan.refund(&key(2)).is_err());
    plan.tip = height(200);
    let refund = plan.refund(&key(2)).expect("due");
    assert_eq!(refund.transaction.lock_time, LockTime::Blocks(height(200)));
}

#[test]
fn wrong_keys_and_preimages_are_refused_before_signing() {
    let lock = lock(LockKind::P2wsh);
    let plan = plan(&lock, 3);
    assert_eq!(plan.claim(&preimage(), &key(2)), Err(TransactionError::WrongKey { branch: Branch::Claim }));
    assert_eq!(plan.refund(&key(1)), Err(TransactionError::WrongKey { branch: Branch::Refund }));
    assert_eq!(plan.claim(&Preimage::from_bytes([8; 32]), &key(1)), Err(TransactionError::WrongPreimage));
}

#[test]
fn replacements_pay_what_relays_ask_and_dust_is_refused() {
    let lock = lock(LockKind::P2wsh);
    let first = plan(&lock, 3).claim(&preimage(), &key(1)).expect("signed");
    let mut plan = plan(&lock, 3);
    plan.least_fee = first.replacement_fee(plan.weight(Branch::Claim));
    let second = plan.claim(&preimage(), &key(1)).expect("signed");
    let size = u64::try_from(second.transaction.vsize()).expect("small");
    assert!(second.fee >= first.fee + Amount::from_sat(size), "{} after {}", second.fee, first.fee);
    plan.least_fee = Amount::from_sat(99_800);
    assert!(matches!(plan.claim(&preimage(), &key(1)), Err(TransactionError::NothingLeft { .. })));
    plan.least_fee = Amount::from_sat(u64::MAX);
    assert!(matches!(plan.refund(&key(2)), Err(TransactionError::NothingLeft { .. })));
    plan.least_fee = Amount::ZERO;
    plan.rate = FeeRate::MAX;
    assert!(plan.fee(Branch::Claim) < Amount::MAX_MONEY);
}

#[test]
fn spends_tell_their_branch_and_the_preimage() {
    for kind in [LockKind::P2wsh, LockKind::Taproot] {
        let lock = lock(kind);
        let plan = plan(&lock, 3);
        let claim = plan.claim(&preimage(), &key(1)).expect("signed").transaction;
        let refund = plan.refund(&key(2)).expect("signed").transaction;
        assert_eq!(spent_by(&lock, plan.outpoint, &claim), Some(SpentBy::Claim(preimage())));
        assert_eq!(preimage_in(preimage().payment_hash(), &claim), Some(preimage()));
        assert_eq!(spent_by(&lock, plan.outpoint, &refund), Some(SpentBy::Refund));
        assert_eq!(preimage_in(preimage().payment_hash(), &refund), None);
        assert_eq!(spent_by(&lock, OutPoint::null(), &refund), None);
        for mut signed in [claim, refund] {
            assert!(is_signed(&lock, plan.value, &signed));
            assert!(!is_signed(&lock, plan.value + Amount::from_sat(1), &signed));
            signed.output[0].value += Amount::from_sat(1);
            assert!(!is_signed(&lock, plan.value, &signed));
        }
    }
}

#[test]
fn the_lock_is_found_among_other_outputs() {
    let lock = lock(LockKind::Taproot);
    let mut funding = plan(&lock, 3).refund(&key(2)).expect("signed").transaction;
    assert_eq!(outputs_at_lock(&lock, &funding), []);
    funding.output.push(lock.output());
    assert_eq!(outputs_at_lock(&lock, &funding), [(1, Amount::from_sat(100_000))]);
}
