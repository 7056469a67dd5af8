//! Scripts that relay refuses, each with Core's words: some that consensus refuses too, and some that it does not, which is
//! checked by mining them.

use bitcoin::{
    EcdsaSighashType, Script, ScriptBuf, Sequence, TapSighashType, Transaction, Witness, XOnlyPublicKey,
    hashes::Hash,
    key::{Secp256k1, TapTweak},
    opcodes::all as op,
    script::{Builder, PushBytesBuf},
    secp256k1::{All, Message},
    sighash::{Prevouts, SighashCache},
    taproot::{LeafVersion, TaprootBuilder, TaprootSpendInfo},
};
use btc_devnet::node::{Error, NoObserver};

use crate::support::{Wallet, funded, is_reason, next_block, output, unsigned};

type Spend = Box<dyn Fn(&mut Transaction, &bitcoin::TxOut)>;

/// How a case locks its coin and spends it.
struct Case {
    name: &'static str,
    lock: ScriptBuf,
    /// Gets the unsigned transaction and the spent output.
    spend: Spend,
    /// Core's words for the script's failure, or a whole reason that comes before scripts run.
    reason: &'static str,
    /// Whether a block may contain it.
    consensus: bool,
}

fn push(bytes: impl AsRef<[u8]>) -> PushBytesBuf {
    PushBytesBuf::try_from(bytes.as_ref().to_vec()).expect("short")
}

fn script(opcodes: &[bitcoin::Opcode]) -> ScriptBuf {
    opcodes.iter().fold(Builder::new(), |script, &opcode| script.push_opcode(opcode)).into_script()
}

/// A P2WSH output whose witness is `stack` and the script.
fn wsh(name: &'static str, script: ScriptBuf, stack: &[&[u8]], reason: &'static str, consensus: bool) -> Case {
    let mut items: Vec<Vec<u8>> = stack.iter().map(|item| item.to_vec()).collect();
    items.push(script.to_bytes());
    Case {
        name,
        lock: ScriptBuf::new_p2wsh(&script.wscript_hash()),
        spend: Box::new(move |tx, _| tx.input[0].witness = Witness::from_slice(&items)),
        reason,
        consensus,
    }
}

/// A P2SH output whose scriptSig is `before` and the redeem script.
fn sh(name: &'static str, redeem: ScriptBuf, before: &[u8], reason: &'static str, consensus: bool) -> Case {
    let mut script_sig = before.to_vec();
    script_sig.extend(Builder::new().push_slice(push(redeem.as_bytes())).into_bytes());
    Case {
        name,
        lock: ScriptBuf::new_p2sh(&redeem.script_hash()),
        spend: Box::new(move |tx, _| tx.input[0].script_sig = ScriptBuf::from_bytes(script_sig.clone())),
        reason,
        consensus,
    }
}

fn tree(secp: &Secp256k1<All>, leaf: &Script, version: LeafVersion) -> TaprootSpendInfo {
    let key: XOnlyPublicKey =
        "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0".parse().expect("a point without known key");
    let tree = TaprootBuilder::new().add_leaf_with_ver(0, leaf.to_owned(), version).expect("one leaf");
    tree.finalize(secp, key).expect("a whole tree")
}

/// A taproot output whose witness is `stack`, the script and its control block.
fn leaf(name: &'static str, script: ScriptBuf, stack: &[&[u8]], reason: &'static str, consensus: bool) -> Case {
    leaf_of(name, LeafVersion::TapScript, script, stack, reason, consensus)
}

fn leaf_of(
    name: &'static str,
    version: LeafVersion,
    script: ScriptBuf,
    stack: &[&[u8]],
    reason: &'static str,
    consensus: bool,
) -> Case {
    let info = tree(&Secp256k1::new(), &script, version);
    let mut items: Vec<Vec<u8>> = stack.iter().map(|item| item.to_vec()).collect();
    items.push(script.to_bytes());
    items.push(info.control_block(&(script, version)).expect("the leaf is there").serialize());
    Case {
        name,
        lock: ScriptBuf::new_p2tr_tweaked(info.output_key()),
        spend: Box::new(move |tx, _| tx.input[0].witness = Witness::from_slice(&items)),
        reason,
        consensus,
    }
}

/// A signature for P2WPKH or, with a script, for P2WSH, in DER with `hash_type`.
fn ecdsa(wallet: &Wallet, tx: &Transaction, spent: &bitcoin::TxOut, script: Option<&Script>, hash_type: u8) -> Vec<u8> {
    let kind = EcdsaSighashType::from_consensus(u32::from(hash_type));
    let mut cache = SighashCache::new(tx);
    let hash = match script {
        Some(script) => cache.p2wsh_signature_hash(0, script, spent.value, kind).ok(),
        None => cache.p2wpkh_signature_hash(0, &spent.script_pubkey, spent.value, kind).ok(),
    };
    let message = Message::from_digest(hash.expect("a hash").to_byte_array());
    let mut signature = wallet.secp.sign_ecdsa(&message, &wallet.secret).serialize_der().to_vec();
    signature.push(hash_type);
    signature
}

/// The same signature with the other S.
fn with_high_s(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae,
        0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
    ];
    let r_length = usize::from(signature[3]);
    let low = &signature[6 + r_length..signature.len() - 1];
    let mut padded = [0u8; 32];
    padded[32 - low.len()..].copy_from_slice(low);
    let (mut high, mut borrow) = ([0u8; 32], 0i32);
    for index in (0..32).rev() {
        let digit = i32::from(ORDER[index]) - i32::from(padded[index]) - borrow;
        borrow = i32::from(digit < 0);
        high[index] = digit.rem_euclid(256) as u8;
    }
    let mut s = high.to_vec();
    s.insert(0, 0);
    let mut result = vec![0x30, (4 + r_length + s.len()) as u8];
    result.extend_from_slice(&signature[2..4 + r_length]);
    result.extend([0x02, s.len() as u8]);
    result.extend(s);
    result.push(*signature.last().expect("a hash type"));
    result
}

fn cases(wallet: &Wallet) -> Vec<Case> {
    let wallet = || Wallet { secp: Secp256k1::new(), secret: wallet.secret };
    let key = wallet().key();
    let uncompressed = bitcoin::PublicKey::new_uncompressed(key.inner);
    let p2wpkh = wallet().p2wpkh();
    let high_s = wallet();
    let odd_hash_type = wallet();
    let no_der = wallet();
    let stuffed = wallet();
    let schnorr = wallet();
    let long_schnorr = wallet();
    let wide = wallet();
    let annexed = wallet();
    let pay_to_key = |key: &bitcoin::PublicKey, then: &[bitcoin::Opcode]| {
        let script = Builder::new().push_key(key).push_opcode(op::OP_CHECKSIG);
        then.iter().fold(script, |script, &opcode| script.push_opcode(opcode)).into_script()
    };
    let one = op::OP_PUSHNUM_1;
    let not_script = pay_to_key(&key, &[op::OP_NOT]);
    let uncompressed_script = pay_to_key(&uncompressed, &[]);
    let wide_script = uncompressed_script.clone();
    let mut hybrid = uncompressed.to_bytes();
    hybrid[0] = 6 | (hybrid[64] & 1);
    let if_script = script(&[op::OP_IF, one, op::OP_ELSE, one, op::OP_ENDIF]);
    let cltv = Builder::new().push_int(500).push_opcode(op::OP_CLTV).into_script();
    let csv = Builder::new().push_int(5).push_opcode(op::OP_CSV).into_script();
    let signature = vec![0x30, 6, 2, 1, 1, 2, 1, 1, 1];
    let key_path = |wallet: &Wallet, tx: &Transaction, spent: &bitcoin::TxOut| {
        let hash = SighashCache::new(tx)
            .taproot_key_spend_signature_hash(0, &Prevouts::All(std::slice::from_ref(spent)), TapSighashType::Default)
            .expect("a hash");
        let pair = wallet.keypair().tap_tweak(&wallet.secp, None).to_keypair();
        wallet.secp.sign_schnorr_no_aux_rand(&Message::from_digest(hash.to_byte_array()), &pair).as_ref().to_vec()
    };
    vec![
        Case {
            name: "another P2SH script than promised",
            lock: ScriptBuf::new_p2sh(&script(&[one]).script_hash()),
            spend: Box::new(|tx, _| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![1, op::OP_PUSHNUM_2.to_u8()])),
            reason: "Script evaluated without error but finished with a false/empty top stack element",
            consensus: false,
        },
        wsh("OP_IF with an argument of 2", if_script.clone(), &[&[2]], "OP_IF/NOTIF argument must be minimal", true),
        wsh("OP_IF with an argument of 0x00", if_script.clone(), &[&[0]], "OP_IF/NOTIF argument must be minimal", true),
        leaf("the same in tapscript", if_script, &[&[2]], "OP_IF/NOTIF argument must be minimal in tapscript", false),
        Case {
            name: "a high S",
            lock: p2wpkh.clone(),
            spend: Box::new(move |tx, spent| {
                let signature = with_high_s(&ecdsa(&high_s, tx, spent, None, 1));
                tx.input[0].witness = Witness::from_slice(&[signature, high_s.key().to_bytes()]);
            }),
            reason: "Non-canonical signature: S value is unnecessarily high",
            consensus: true,
        },
        Case {
            name: "an unknown hash type",
            lock: p2wpkh.clone(),
            spend: Box::new(move |tx, spent| {
                // Consensus takes any; the hash commits to the byte.
                let signature = ecdsa_with_raw_hash_type(&odd_hash_type, tx, spent, 0x05);
                tx.input[0].witness = Witness::from_slice(&[signature, odd_hash_type.key().to_bytes()]);
            }),
            reason: "Signature hash type missing or not understood",
            consensus: true,
        },
        Case {
            name: "a signature with a padded R",
            lock: p2wpkh.clone(),
            spend: Box::new(move |tx, spent| {
                let mut signature = ecdsa(&no_der, tx, spent, None, 1);
                signature[1] += 1;
                signature[3] += 1;
                signature.insert(4, 0);
                tx.input[0].witness = Witness::from_slice(&[signature, no_der.key().to_bytes()]);
            }),
            reason: "Non-canonical DER signature",
            consensus: false,
        },
        Case {
            name: "a scriptSig beside a witness",
            lock: p2wpkh,
            spend: Box::new(move |tx, spent| {
                stuffed.sign(tx, std::slice::from_ref(spent));
                tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]);
            }),
            reason: "Witness requires empty scriptSig",
            consensus: false,
        },
        sh(
            "more on the stack than the result",
            script(&[one]),
            &[0x51],
            "Stack size must be exactly one after execution",
            true,
        ),
        Case {
            name: "a wrong Schnorr signature",
            lock: schnorr.p2tr(),
            spend: Box::new(move |tx, spent| {
                let mut signature = key_path(&schnorr, tx, spent);
                signature[40] ^= 1;
                tx.input[0].witness = Witness::from_slice(&[signature]);
            }),
            reason: "Invalid Schnorr signature",
            consensus: false,
        },
        Case {
            name: "a Schnorr signature of 63 bytes",
            lock: long_schnorr.p2tr(),
            spend: Box::new(move |tx, spent| {
                let mut signature = key_path(&long_schnorr, tx, spent);
                signature.pop();
                tx.input[0].witness = Witness::from_slice(&[signature]);
            }),
            reason: "Invalid Schnorr signature size",
            consensus: false,
        },
        wsh("OP_CHECKLOCKTIMEVERIFY too early", cltv, &[], "Locktime requirement not satisfied", false),
        wsh("OP_CHECKSEQUENCEVERIFY too early", csv, &[], "Locktime requirement not satisfied", false),
        wsh(
            "a negative lock time",
            Builder::new().push_int(-1).push_opcode(op::OP_CLTV).into_script(),
            &[],
            "Negative locktime",
            false,
        ),
        wsh(
            "a failing signature that is not empty",
            not_script,
            &[&signature],
            "Signature must be zero for failed CHECK(MULTI)SIG operation",
            true,
        ),
        wsh(
            "a multisig dummy that is not empty",
            Builder::new().push_int(0).push_key(&key).push_int(1).push_opcode(op::OP_CHECKMULTISIG).into_script(),
            &[&[1]],
            "Dummy CHECKMULTISIG argument must be zero",
            false,
        ),
        Case {
            name: "an uncompressed key in a witness",
            lock: ScriptBuf::new_p2wsh(&uncompressed_script.wscript_hash()),
            spend: Box::new(move |tx, spent| {
                let signature = ecdsa(&wide, tx, spent, Some(&wide_script), 1);
                tx.input[0].witness = Witness::from_slice(&[signature, wide_script.to_bytes()]);
            }),
            reason: "Using non-compressed keys in segwit",
            consensus: true,
        },
        sh(
            "a push longer than necessary",
            script(&[op::OP_DROP, one]),
            &[0x4c, 1, 7],
            "Data push larger than necessary",
            true,
        ),
        sh(
            "a hybrid key",
            Builder::new().push_slice(push(&hybrid)).push_opcode(op::OP_CHECKSIG).push_opcode(op::OP_NOT).into_script(),
            &[0],
            "Public key is neither compressed or uncompressed",
            true,
        ),
        sh(
            "OP_CODESEPARATOR before segwit",
            script(&[op::OP_CODESEPARATOR, one]),
            &[],
            "Using OP_CODESEPARATOR in non-witness script",
            true,
        ),
        sh(
            "an unknown witness version inside P2SH",
            ScriptBuf::from_bytes(vec![0x60, 2, 1, 1]),
            &[],
            "Witness version reserved for soft-fork upgrades",
            true,
        ),
        wsh("OP_NOP10", script(&[op::OP_NOP10, one]), &[], "NOPx reserved for soft-fork upgrades", true),
        wsh("OP_RETURN", script(&[op::OP_RETURN]), &[], "OP_RETURN was encountered", false),
        wsh("OP_CAT", script(&[op::OP_CAT]), &[], "Attempted to use a disabled opcode", false),
        wsh("an open OP_IF", script(&[one, op::OP_IF, one]), &[], "Invalid OP_IF construction", false),
        wsh(
            "a number of five bytes",
            script(&[op::OP_1ADD]),
            &[&[1, 2, 3, 4, 5]],
            "Script number overflowed or is non-minimally encoded",
            false,
        ),
        wsh(
            "a number with a zero too many",
            script(&[op::OP_1ADD]),
            &[&[1, 0]],
            "Script number overflowed or is non-minimally encoded",
            true,
        ),
        wsh(
            "too few elements",
            script(&[op::OP_ADD]),
            &[&[1]],
            "Operation not valid with the current stack size",
            false,
        ),
        leaf(
            "an unknown key type",
            Builder::new().push_slice(push([2; 33])).push_opcode(op::OP_CHECKSIG).into_script(),
            &[&[1]],
            "Public key version reserved for soft-fork upgrades",
            true,
        ),
        leaf(
            "an empty key",
            Builder::new().push_int(0).push_opcode(op::OP_CHECKSIG).into_script(),
            &[&[]],
            "Empty public key in tapscript",
            false,
        ),
        leaf("OP_SUCCESS", script(&[op::OP_SUBSTR]), &[], "OP_SUCCESSx reserved for soft-fork upgrades", true),
        leaf(
            "OP_CHECKMULTISIG in tapscript",
            script(&[op::OP_CHECKMULTISIG]),
            &[],
            "OP_CHECKMULTISIG(VERIFY) is not available in tapscript",
            false,
        ),
        leaf_of(
            "an unknown leaf version",
            LeafVersion::from_consensus(0xc2).expect("even"),
            script(&[one]),
            &[],
            "Taproot version reserved for soft-fork upgrades",
            true,
        ),
        wsh(
            "a witness element over 80 bytes",
            script(&[op::OP_DROP, one]),
            &[&[0; 81]],
            "bad-witness-nonstandard",
            true,
        ),
        wsh("over 100 witness elements", script(&[one]), &[&[][..]; 101], "bad-witness-nonstandard", false),
        wsh(
            "a witness script over 3600 bytes",
            ScriptBuf::from_bytes(
                [vec![0x61; 150], [[76, 100].to_vec(), vec![0; 100], vec![0x75]].concat().repeat(40), vec![0x51]]
                    .concat(),
            ),
            &[],
            "bad-witness-nonstandard",
            true,
        ),
        leaf(
            "a tapscript element over 80 bytes",
            script(&[op::OP_DROP, one]),
            &[&[0; 81]],
            "bad-witness-nonstandard",
            true,
        ),
        Case {
            name: "an annex",
            lock: annexed.p2tr(),
            spend: Box::new(move |tx, _| tx.input[0].witness = Witness::from_slice(&[vec![0; 64], vec![0x50, 1]])),
            reason: "bad-witness-nonstandard",
            consensus: false,
        },
        Case {
            name: "another P2WSH script than promised",
            lock: ScriptBuf::new_p2wsh(&script(&[one]).wscript_hash()),
            spend: Box::new(|tx, _| tx.input[0].witness = Witness::from_slice(&[vec![0x52]])),
            reason: "Witness program hash mismatch",
            consensus: false,
        },
    ]
}

fn ecdsa_with_raw_hash_type(wallet: &Wallet, tx: &Transaction, spent: &bitcoin::TxOut, hash_type: u8) -> Vec<u8> {
    let code = spent.script_pubkey.p2wpkh_script_code().expect("P2WPKH");
    let mut preimage = Vec::new();
    SighashCache::new(tx)
        .segwit_v0_encode_signing_data_to(&mut preimage, 0, &code, spent.value, EcdsaSighashType::All)
        .expect("a preimage");
    let end = preimage.len() - 4;
    preimage[end..].copy_from_slice(&u32::from(hash_type).to_le_bytes());
    let message = Message::from_digest(bitcoin::hashes::sha256d::Hash::hash(&preimage).to_byte_array());
    let mut signature = wallet.secp.sign_ecdsa(&message, &wallet.secret).serialize_der().to_vec();
    signature.push(hash_type);
    signature
}

#[test]
fn scripts_that_relay_refuses_are_refused_with_cores_words_and_mined_where_consensus_allows() {
    let wallet = Wallet::new(11);
    let cases = cases(&wallet);
    let (mut node, coins) = funded(&wallet.p2wpkh(), 1, Box::new(NoObserver));
    let locks: Vec<ScriptBuf> = cases.iter().map(|case| case.lock.clone()).collect();
    let locking = wallet.spend(&coins, &locks, 100_000);
    node.submit(locking.clone()).expect("all locks are of known forms");
    node.mine(1, None).expect("a block");
    let mut wrong = Vec::new();
    for (vout, case) in (0u32..).zip(&cases) {
        let (outpoint, spent) = output(&locking, vout);
        let mut transaction = unsigned(&[(outpoint, spent.clone())], &[wallet.p2wpkh()], 10_000);
        (case.spend)(&mut transaction, &spent);
        let words = |flags: &str| match case.reason {
            reason if reason.starts_with("bad-") => reason.to_owned(),
            reason => format!("{flags}-script-verify-flag-failed ({reason})"),
        };
        match node.submit(transaction.clone()) {
            Err(rejection) if is_reason(&rejection.reason, &words("mempool")) => {}
            other => wrong.push(format!("{}: {other:?} instead of {}", case.name, case.reason)),
        }
        let block = next_block(&node, vec![transaction]);
        match (node.submit_block(&block), case.consensus) {
            (Ok(()), true) => {}
            (Err(Error::InvalidBlock { rejection, .. }), false)
                if case.reason.starts_with("bad-") || is_reason(&rejection.reason, &words("block")) => {}
            (other, _) => wrong.push(format!("{} in a block: {other:?}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    node.debug_check();
}

#[test]
fn locks_open_when_their_time_has_come() {
    let wallet = Wallet::new(12);
    let (mut node, coins) = funded(&wallet.p2wpkh(), 1, Box::new(NoObserver));
    let height = i64::from(node.tip().height);
    let cltv = Builder::new().push_int(height + 5).push_opcode(op::OP_CLTV).into_script();
    let csv = Builder::new().push_int(4).push_opcode(op::OP_CSV).into_script();
    let secp = Secp256k1::new();
    let key = Builder::new()
        .push_x_only_key(&wallet.keypair().x_only_public_key().0)
        .push_opcode(op::OP_CHECKSIG)
        .into_script();
    let info = tree(&secp, &key, LeafVersion::TapScript);
    let locks = [
        ScriptBuf::new_p2wsh(&cltv.wscript_hash()),
        ScriptBuf::new_p2wsh(&csv.wscript_hash()),
        ScriptBuf::new_p2tr_tweaked(info.output_key()),
    ];
    let locking = wallet.spend(&coins, &locks, 10_000);
    node.submit(locking.clone()).expect("a fine transaction");
    node.mine(1, None).expect("a block");

    let mut late = unsigned(&[output(&locking, 0)], &[wallet.p2wpkh()], 1_000);
    late.lock_time = bitcoin::absolute::LockTime::from_consensus(height as u32 + 5);
    late.input[0].witness = Witness::from_slice(&[cltv.to_bytes()]);
    let mut later = unsigned(&[output(&locking, 1)], &[wallet.p2wpkh()], 1_000);
    later.input[0].sequence = Sequence::from_height(4);
    later.input[0].witness = Witness::from_slice(&[csv.to_bytes()]);
    for (transaction, reason) in [(&late, "non-final"), (&later, "non-BIP68-final")] {
        let refused = node.submit(transaction.clone()).expect_err("too early");
        assert_eq!(refused.reason, reason);
    }
    let mut by_script = unsigned(&[output(&locking, 2)], &[wallet.p2wpkh()], 1_000);
    let hash = SighashCache::new(&by_script)
        .taproot_script_spend_signature_hash(
            0,
            &Prevouts::All(&[locking.output[2].clone()]),
            bitcoin::TapLeafHash::from_script(&key, LeafVersion::TapScript),
            TapSighashType::Default,
        )
        .expect("a hash");
    let signature = secp.sign_schnorr_no_aux_rand(&Message::from_digest(hash.to_byte_array()), &wallet.keypair());
    let control = info.control_block(&(key.clone(), LeafVersion::TapScript)).expect("the leaf is there").serialize();
    by_script.input[0].witness = Witness::from_slice(&[signature.as_ref(), key.as_bytes(), &control]);
    node.submit(by_script).expect("a script path spend");
    node.mine(2, None).expect("blocks");
    assert_eq!(node.submit(later.clone()).expect_err("one block too early").reason, "non-BIP68-final");
    node.mine(1, None).expect("a block");
    assert_eq!(node.submit(late.clone()).expect_err("one block too early").reason, "non-final");
    node.submit(later).expect("the next block is the fourth");
    node.mine(1, None).expect("a block");
    node.submit(late).expect("the height has come");
    node.mine(1, None).expect("a block");
    assert_eq!(node.mempool_len(), 0);
    node.debug_check();
}
