//! Golden vectors: both parties, today and in every later build, must derive these bytes from these terms. A change to one of them is a decision (a new
//! version of terms, a new kind of lock), never a repair.

use bitcoin::absolute::Height;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Txid, consensus};
use serde_json::{Value, json};

use super::script::{Branch, LockScript, nobodys_key};
use super::secrets::{Preimage, SpendKey};
use super::terms::{ChainId, LockKind, Terms};
use super::transactions::SpendPlan;

const GOLDEN: &str = include_str!("golden.json");

fn vectors() -> Value {
    let mut vectors = Vec::new();
    for (chain, sats, timeout, seed) in [
        ("regtest", 50_000u64, 200u32, 1u8),
        ("bitcoin", 123_456_789, 900_000, 17),
        ("regtest:east", 5_000, 65_536, 90),
    ] {
        for kind in [LockKind::P2wsh, LockKind::Taproot] {
            let (claim, refund) = (key(seed), key(seed + 1));
            let preimage = Preimage::from_bytes([seed + 2; 32]);
            let terms = Terms::new(
                chain.parse().expect("a chain"),
                kind,
                Amount::from_sat(sats),
                preimage.payment_hash(),
                claim.public(),
                refund.public(),
                height(timeout),
            )
            .expect("sound");
            let lock = LockScript::new(&terms).expect("a script");
            let plan = SpendPlan {
                lock: &lock,
                outpoint: OutPoint::new(Txid::from_byte_array([seed; 32]), 3),
                value: terms.amount(),
                payout: ScriptBuf::from_hex(&format!("5120{}", "22".repeat(32))).expect("hex"),
                tip: height(timeout + 1),
                rate: FeeRate::from_sat_per_vb_u32(2),
                least_fee: Amount::ZERO,
            };
            let raw = |spend: super::transactions::Spend| consensus::encode::serialize_hex(&spend.transaction);
            vectors.push(json!({
                "terms": serde_json::to_value(&terms).expect("JSON"),
                "terms_id": hex::encode(terms.id()),
                "claim_secret": hex::encode([seed; 32]),
                "refund_secret": hex::encode([seed + 1; 32]),
                "preimage": preimage.reveal(),
                "internal_key": (kind == LockKind::Taproot).then(|| nobodys_key(&terms).to_string()),
                "claim_script": lock.spent_script(Branch::Claim).to_hex_string(),
                "refund_script": lock.spent_script(Branch::Refund).to_hex_string(),
                "script_pubkey": lock.script_pubkey().to_hex_string(),
                "address": lock.address().to_string(),
                "descriptor": lock.descriptor(),
                "claim": raw(plan.claim(&preimage, &claim).expect("signed")),
                "refund": raw(plan.refund(&refund).expect("signed")),
            }));
        }
    }
    Value::Array(vectors)
}

fn key(byte: u8) -> SpendKey {
    SpendKey::from_bytes([byte; 32]).expect("a key")
}

fn height(height: u32) -> Height {
    Height::from_consensus(height).expect("a height")
}

#[test]
fn golden_terms_scripts_and_transactions() {
    let golden: Value = serde_json::from_str(GOLDEN).expect("JSON");
    let made = vectors();
    assert_eq!(made, golden, "{}", serde_json::to_string_pretty(&made).expect("JSON"));
}

#[test]
fn the_scripts_enforce_32_bytes_and_the_timeout() {
    for vector in vectors().as_array().expect("a list") {
        let terms = Terms::from_json(&vector["terms"].to_string()).expect("sound");
        let lock = LockScript::new(&terms).expect("a script");
        let claim = lock.spent_script(Branch::Claim).to_asm_string();
        let hash = terms.payment_hash();
        let size = format!("OP_SIZE OP_PUSHBYTES_1 20 OP_EQUALVERIFY OP_SHA256 OP_PUSHBYTES_32 {hash} OP_EQUAL");
        assert!(claim.contains(&size), "{claim}");
        assert!(lock.spent_script(Branch::Refund).to_asm_string().contains("OP_CLTV"));
    }
    assert_ne!(ChainId::REGTEST, "regtest:east".parse().expect("a chain"));
}
