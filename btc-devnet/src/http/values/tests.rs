//! Documents of kinds of transactions that the funded wallet never makes.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG, OP_RETURN};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version;
use bitcoin::{Amount, PublicKey, ScriptBuf, Sequence, Witness};
use serde_json::{Value, json};

use super::*;

/// The generator of secp256k1 as a public key.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

fn key() -> PublicKey {
    KEY.parse().unwrap()
}

fn push(bytes: &[u8]) -> ScriptBuf {
    Builder::new().push_slice(PushBytesBuf::try_from(bytes.to_vec()).unwrap()).into_script()
}

/// A transaction that spends `prevout` with one input, as JSON.
fn told(prevout: ScriptBuf, script_sig: ScriptBuf, witness: Vec<Vec<u8>>, paid: Vec<ScriptBuf>) -> Value {
    let spent = [TxOut { value: Amount::from_sat(10_000), script_pubkey: prevout }];
    let transaction = bitcoin::Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::all_zeros(), 1),
            script_sig,
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&witness),
        }],
        output: paid
            .into_iter()
            .map(|script| TxOut { value: Amount::from_sat(1_000), script_pubkey: script })
            .collect(),
    };
    let found = Found { transaction: &transaction, spent: &spent, confirmation: None };
    serde_json::to_value(Transaction::new(&found, Network::Regtest)).unwrap()
}

#[test]
fn outputs_are_told_by_kind_and_address() {
    let witness_key = key().wpubkey_hash().unwrap();
    let multisig = Builder::new().push_int(1).push_key(&key()).push_int(1).push_opcode(OP_CHECKMULTISIG).into_script();
    let internal = key().inner.x_only_public_key().0;
    let secp = bitcoin::key::Secp256k1::verification_only();
    let scripts = [
        (ScriptBuf::new(), "empty", false),
        (Builder::new().push_opcode(OP_RETURN).push_slice(b"hello").into_script(), "op_return", false),
        (ScriptBuf::new_p2pk(&key()), "p2pk", false),
        (ScriptBuf::new_p2pkh(&key().pubkey_hash()), "p2pkh", true),
        (ScriptBuf::new_p2sh(&multisig.script_hash()), "p2sh", true),
        (ScriptBuf::new_p2wpkh(&witness_key), "v0_p2wpkh", true),
        (ScriptBuf::new_p2wsh(&multisig.wscript_hash()), "v0_p2wsh", true),
        (ScriptBuf::new_p2tr(&secp, internal, None), "v1_p2tr", true),
        (ScriptBuf::from_hex("51024e73").unwrap(), "anchor", true),
        (multisig, "multisig", false),
        (ScriptBuf::from_hex("51").unwrap(), "unknown", false),
        (ScriptBuf::from_hex("4c").unwrap(), "unknown", false),
    ];
    let told =
        told(ScriptBuf::new(), ScriptBuf::new(), vec![], scripts.iter().map(|(script, ..)| script.clone()).collect());
    for ((script, kind, has_address), output) in scripts.iter().zip(told["vout"].as_array().unwrap()) {
        assert_eq!(output["scriptpubkey_type"], *kind, "{script:?}");
        assert_eq!(output["scriptpubkey"], script.to_hex_string());
        assert_eq!(output.get("scriptpubkey_address").is_some(), *has_address, "{kind}");
    }
    assert_eq!(told["vout"][1]["scriptpubkey_asm"], "OP_RETURN OP_PUSHBYTES_5 68656c6c6f");
    assert_eq!(told["fee"], 0, "a made-up transaction that pays more than it spends does not wrap");
}

#[test]
fn inputs_tell_the_scripts_that_they_reveal() {
    let inner = Builder::new().push_key(&key()).push_opcode(OP_CHECKSIG).into_script();
    let asm = format!("OP_PUSHBYTES_33 {KEY} OP_CHECKSIG");
    let signature = vec![7; 71];

    // P2SH
    let redeem = Builder::new().push_slice([7; 71]).into_script();
    let script_sig = ScriptBuf::from([redeem.as_bytes(), push(inner.as_bytes()).as_bytes()].concat());
    let p2sh = told(ScriptBuf::new_p2sh(&inner.script_hash()), script_sig, vec![], vec![]);
    assert_eq!(p2sh["vin"][0]["inner_redeemscript_asm"], asm);
    assert_eq!(p2sh["vin"][0].get("inner_witnessscript_asm"), None);
    assert_eq!(p2sh["vin"][0].get("witness"), None);
    assert_eq!(p2sh["sigops"], 4, "a signature operation outside of the witness costs four");

    // P2WSH
    let stack = vec![signature.clone(), inner.to_bytes()];
    let p2wsh = told(ScriptBuf::new_p2wsh(&inner.wscript_hash()), ScriptBuf::new(), stack.clone(), vec![]);
    assert_eq!(p2wsh["vin"][0]["inner_witnessscript_asm"], asm);
    assert_eq!(p2wsh["vin"][0]["witness"], json!([::hex::encode(&signature), inner.to_hex_string()]));
    assert_eq!(p2wsh["sigops"], 1);

    // P2WSH in P2SH
    let program = ScriptBuf::new_p2wsh(&inner.wscript_hash());
    let nested = told(ScriptBuf::new_p2sh(&program.script_hash()), push(program.as_bytes()), stack, vec![]);
    assert_eq!(nested["vin"][0]["inner_redeemscript_asm"], program.to_asm_string());
    assert_eq!(nested["vin"][0]["inner_witnessscript_asm"], asm);

    // Taproot: a leaf without and with an annex, and a key path, which reveals none.
    let secp = bitcoin::key::Secp256k1::verification_only();
    let taproot = ScriptBuf::new_p2tr(&secp, key().inner.x_only_public_key().0, None);
    let leaf = Builder::new().push_slice([7; 3]).into_script();
    let control = [&[0xc0][..], &[2; 32]].concat();
    let annex = vec![0x50, 1];
    let stacks = [
        (vec![leaf.to_bytes(), control.clone()], Some("OP_PUSHBYTES_3 070707")),
        (vec![vec![1], leaf.to_bytes(), control, annex.clone()], Some("OP_PUSHBYTES_3 070707")),
        (vec![vec![7; 64]], None),
        (vec![vec![7; 64], annex], None),
    ];
    for (stack, revealed) in stacks {
        let told = told(taproot.clone(), ScriptBuf::new(), stack, vec![]);
        assert_eq!(told["vin"][0].get("inner_witnessscript_asm").and_then(Value::as_str), revealed);
    }
}
