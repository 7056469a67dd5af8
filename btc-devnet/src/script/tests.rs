//! The interpreter against the test vectors that Bitcoin Core ships with its sources.

use std::{collections::HashMap, path::PathBuf, process::Command};

use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
    absolute::LockTime,
    key::{Secp256k1, UntweakedPublicKey},
    taproot::{LeafVersion, TaprootBuilder},
    transaction::Version,
};
use serde_json::Value;

use super::{Flags, ScriptError, number, reader};

/// Opcode names in Core's spelling, from OP_NOP (0x61) on.
const NAMES: &str = "NOP VER IF NOTIF VERIF VERNOTIF ELSE ENDIF VERIFY RETURN TOALTSTACK FROMALTSTACK 2DROP 2DUP 3DUP \
    2OVER 2ROT 2SWAP IFDUP DEPTH DROP DUP NIP OVER PICK ROLL ROT SWAP TUCK CAT SUBSTR LEFT RIGHT SIZE INVERT AND OR XOR \
    EQUAL EQUALVERIFY RESERVED1 RESERVED2 1ADD 1SUB 2MUL 2DIV NEGATE ABS NOT 0NOTEQUAL ADD SUB MUL DIV MOD LSHIFT \
    RSHIFT BOOLAND BOOLOR NUMEQUAL NUMEQUALVERIFY NUMNOTEQUAL LESSTHAN GREATERTHAN LESSTHANOREQUAL \
    GREATERTHANOREQUAL MIN MAX WITHIN RIPEMD160 SHA1 SHA256 HASH160 HASH256 CODESEPARATOR CHECKSIG CHECKSIGVERIFY \
    CHECKMULTISIG CHECKMULTISIGVERIFY NOP1 CHECKLOCKTIMEVERIFY CHECKSEQUENCEVERIFY NOP4 NOP5 NOP6 NOP7 NOP8 NOP9 NOP10 \
    CHECKSIGADD";

const FLAGS: &[(&str, Flags)] = &[
    ("P2SH", Flags::P2SH),
    ("STRICTENC", Flags::STRICTENC),
    ("DERSIG", Flags::DERSIG),
    ("LOW_S", Flags::LOW_S),
    ("NULLDUMMY", Flags::NULLDUMMY),
    ("SIGPUSHONLY", Flags::SIGPUSHONLY),
    ("MINIMALDATA", Flags::MINIMALDATA),
    ("DISCOURAGE_UPGRADABLE_NOPS", Flags::DISCOURAGE_UPGRADABLE_NOPS),
    ("CLEANSTACK", Flags::CLEANSTACK),
    ("CHECKLOCKTIMEVERIFY", Flags::CHECKLOCKTIMEVERIFY),
    ("CHECKSEQUENCEVERIFY", Flags::CHECKSEQUENCEVERIFY),
    ("WITNESS", Flags::WITNESS),
    ("DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM", Flags::DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM),
    ("MINIMALIF", Flags::MINIMALIF),
    ("NULLFAIL", Flags::NULLFAIL),
    ("WITNESS_PUBKEYTYPE", Flags::WITNESS_PUBKEYTYPE),
    ("CONST_SCRIPTCODE", Flags::CONST_SCRIPTCODE),
    ("TAPROOT", Flags::TAPROOT),
    ("DISCOURAGE_UPGRADABLE_TAPROOT_VERSION", Flags::DISCOURAGE_UPGRADABLE_TAPROOT_VERSION),
    ("DISCOURAGE_OP_SUCCESS", Flags::DISCOURAGE_OP_SUCCESS),
    ("DISCOURAGE_UPGRADABLE_PUBKEYTYPE", Flags::DISCOURAGE_UPGRADABLE_PUBKEYTYPE),
    ("NONE", Flags::NONE),
    ("", Flags::NONE),
];

/// The name that Core's vectors use for an outcome.
fn outcome_name(outcome: Result<(), ScriptError>) -> &'static str {
    use ScriptError::*;
    let Err(error) = outcome else { return "OK" };
    match error {
        EvalFalse => "EVAL_FALSE",
        Verify => "VERIFY",
        EqualVerify => "EQUALVERIFY",
        CheckMultisigVerify => "CHECKMULTISIGVERIFY",
        CheckSigVerify => "CHECKSIGVERIFY",
        NumEqualVerify => "NUMEQUALVERIFY",
        ScriptSize => "SCRIPT_SIZE",
        PushSize => "PUSH_SIZE",
        OpCount => "OP_COUNT",
        StackSize => "STACK_SIZE",
        SigCount => "SIG_COUNT",
        PubkeyCount => "PUBKEY_COUNT",
        BadOpcode => "BAD_OPCODE",
        DisabledOpcode => "DISABLED_OPCODE",
        InvalidStackOperation => "INVALID_STACK_OPERATION",
        InvalidAltstackOperation => "INVALID_ALTSTACK_OPERATION",
        OpReturn => "OP_RETURN",
        UnbalancedConditional => "UNBALANCED_CONDITIONAL",
        NegativeLocktime => "NEGATIVE_LOCKTIME",
        UnsatisfiedLocktime => "UNSATISFIED_LOCKTIME",
        SigHashtype => "SIG_HASHTYPE",
        SigDer => "SIG_DER",
        MinimalData => "MINIMALDATA",
        SigPushOnly => "SIG_PUSHONLY",
        SigHighS => "SIG_HIGH_S",
        SigNullDummy => "SIG_NULLDUMMY",
        MinimalIf => "MINIMALIF",
        SigNullFail => "NULLFAIL",
        DiscourageUpgradableNops => "DISCOURAGE_UPGRADABLE_NOPS",
        DiscourageUpgradableWitnessProgram => "DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM",
        DiscourageUpgradableTaprootVersion => "DISCOURAGE_UPGRADABLE_TAPROOT_VERSION",
        DiscourageOpSuccess => "DISCOURAGE_OP_SUCCESS",
        DiscourageUpgradablePubkeyType => "DISCOURAGE_UPGRADABLE_PUBKEYTYPE",
        PubkeyType => "PUBKEYTYPE",
        CleanStack => "CLEANSTACK",
        WitnessProgramWrongLength => "WITNESS_PROGRAM_WRONG_LENGTH",
        WitnessProgramWitnessEmpty => "WITNESS_PROGRAM_WITNESS_EMPTY",
        WitnessProgramMismatch => "WITNESS_PROGRAM_MISMATCH",
        WitnessMalleated => "WITNESS_MALLEATED",
        WitnessMalleatedP2sh => "WITNESS_MALLEATED_P2SH",
        WitnessUnexpected => "WITNESS_UNEXPECTED",
        WitnessPubkeyType => "WITNESS_PUBKEYTYPE",
        SchnorrSigSize => "SCHNORR_SIG_SIZE",
        SchnorrSigHashtype => "SCHNORR_SIG_HASHTYPE",
        SchnorrSig => "SCHNORR_SIG",
        TaprootWrongControlSize => "TAPROOT_WRONG_CONTROL_SIZE",
        TapscriptValidationWeight => "TAPSCRIPT_VALIDATION_WEIGHT",
        TapscriptCheckMultisig => "TAPSCRIPT_CHECKMULTISIG",
        TapscriptMinimalIf => "TAPSCRIPT_MINIMALIF",
        TapscriptEmptyPubkey => "TAPSCRIPT_EMPTY_PUBKEY",
        OpCodeSeparator => "OP_CODESEPARATOR",
        SigFindAndDelete => "SIG_FINDANDDELETE",
        ScriptNum => "SCRIPTNUM",
    }
}

/// A file of the vectors beside Bitcoin Core's sources, wherever cargo keeps them.
fn vector_file(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        // Only what this machine builds with has been fetched.
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", "host-tuple", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "libbitcoinkernel-sys")
        .and_then(|package| package["manifest_path"].as_str())
        .expect("the kernel is a dependency");
    PathBuf::from(manifest).with_file_name("bitcoin/src/test/data").join(name)
}

/// Reads the notation of the vectors: numbers, 'text', 0xhex as it stands, and opcode names.
fn parse_script(text: &str) -> Vec<u8> {
    let mut script = Vec::new();
    for word in text.split_whitespace() {
        if let Ok(number) = word.parse::<i64>() {
            match number {
                0 => script.push(0),
                -1 | 1..=16 => script.push((number + 0x50) as u8),
                _ => script.extend(reader::push_script(&number::write(number))),
            }
        } else if let Some(raw) = word.strip_prefix("0x") {
            script.extend(hex::decode(raw).expect("hex"));
        } else if let Some(quoted) = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            script.extend(reader::push_script(quoted.as_bytes()));
        } else {
            let name = word.strip_prefix("OP_").unwrap_or(word);
            let place = NAMES.split_whitespace().position(|known| known == name);
            script.push(match place {
                Some(place) => 0x61 + place as u8,
                None if name == "RESERVED" => 0x50,
                None => panic!("unknown opcode {word}"),
            });
        }
    }
    script
}

fn parse_flags(text: &str) -> Flags {
    text.split(',').fold(Flags::NONE, |flags, name| {
        flags | FLAGS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("unknown flag {name}")).1
    })
}

/// The transaction that the vectors spend from, and the one that spends it.
fn spending(script_sig: &[u8], script_pubkey: &[u8], witness: Witness, value: Amount) -> (Transaction, TxOut) {
    let output = TxOut { value, script_pubkey: ScriptBuf::from_bytes(script_pubkey.to_vec()) };
    let crediting = Transaction {
        version: Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(vec![0, 0]),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![output.clone()],
    };
    let spending = Transaction {
        version: Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(crediting.compute_txid(), 0),
            script_sig: ScriptBuf::from_bytes(script_sig.to_vec()),
            sequence: Sequence::MAX,
            witness,
        }],
        output: vec![TxOut { value, script_pubkey: ScriptBuf::new() }],
    };
    (spending, output)
}

fn run(transaction: &Transaction, spent: &[TxOut], flags: Flags) -> Result<(), ScriptError> {
    super::verify_transaction(transaction, spent, flags).map_err(|(_, error)| error)
}

/// The vectors for taproot name a script, and the control block and output that go with it.
struct Tapscript {
    script: Vec<u8>,
    control: Vec<u8>,
    output: String,
}

impl Tapscript {
    fn new(text: &str) -> Self {
        let secp = Secp256k1::new();
        let script = ScriptBuf::from_bytes(parse_script(text));
        // The internal key of Core's script_tests: any point will do.
        let key: UntweakedPublicKey =
            "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0".parse().expect("a key");
        let tree = TaprootBuilder::new().add_leaf(0, script.clone()).expect("one leaf");
        let spend = tree.finalize(&secp, key).expect("a whole tree");
        let control = spend.control_block(&(script.clone(), LeafVersion::TapScript)).expect("the leaf is there");
        Tapscript {
            script: script.into_bytes(),
            control: control.serialize(),
            output: format!("0x51 0x20 0x{}", spend.output_key()),
        }
    }
}

#[test]
fn agrees_with_the_script_vectors_of_bitcoin_core() {
    let vectors = std::fs::read(vector_file("script_tests.json")).expect("Core ships its vectors");
    let vectors: Vec<Vec<Value>> = serde_json::from_slice(&vectors).expect("they are JSON");
    let (mut checked, mut wrong) = (0, Vec::new());
    for vector in vectors.iter().filter(|vector| vector.len() > 3) {
        let mut fields = &vector[..];
        let (mut witness, mut value, mut tapscript) = (Witness::new(), Amount::ZERO, None);
        if let Value::Array(items) = &fields[0] {
            let (amount, items) = items.split_last().expect("an amount ends the witness");
            value = Amount::from_btc(amount.as_f64().expect("a number")).expect("an amount");
            for item in items.iter().map(|item| item.as_str().expect("text")) {
                match item.strip_prefix("#SCRIPT#") {
                    Some(script) => {
                        let made = tapscript.insert(Tapscript::new(script));
                        witness.push(&made.script);
                    }
                    None if item == "#CONTROLBLOCK#" => {
                        witness.push(&tapscript.as_ref().expect("the script stands before").control);
                    }
                    None => witness.push(hex::decode(item).expect("hex")),
                }
            }
            fields = &fields[1..];
        }
        let text = |index: usize| fields[index].as_str().expect("text");
        let script_pubkey = match &tapscript {
            Some(tapscript) => text(1).replace("0x51 0x20 #TAPROOTOUTPUT#", &tapscript.output),
            None => text(1).to_owned(),
        };
        let (transaction, output) = spending(&parse_script(text(0)), &parse_script(&script_pubkey), witness, value);
        let outcome = outcome_name(run(&transaction, &[output], parse_flags(text(2))));
        checked += 1;
        if outcome != text(3) {
            wrong.push(format!("{outcome} for {vector:?}"));
        }
    }
    assert!(checked > 1000, "only {checked} vectors");
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A transaction of the vectors with the outputs that it spends, by its inputs.
fn vector_transaction(vector: &[Value]) -> (Transaction, Vec<TxOut>) {
    let bytes = hex::decode(vector[1].as_str().expect("text")).expect("hex");
    let transaction: Transaction = bitcoin::consensus::deserialize(&bytes).expect("a transaction");
    let prevouts: HashMap<OutPoint, TxOut> = vector[0]
        .as_array()
        .into_iter()
        .flatten()
        .map(|prevout| {
            let txid = prevout[0].as_str().expect("text").parse().expect("a hash");
            // Written as signed numbers: −1 is the null outpoint's.
            let vout = prevout[1].as_i64().expect("a number") as u32;
            let script_pubkey = ScriptBuf::from_bytes(parse_script(prevout[2].as_str().expect("text")));
            let value = Amount::from_sat(prevout.get(3).and_then(Value::as_u64).unwrap_or(0));
            (OutPoint { txid, vout }, TxOut { value, script_pubkey })
        })
        .collect();
    let unknown = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() };
    let spent = transaction.input.iter().map(|input| prevouts.get(&input.previous_output).unwrap_or(&unknown).clone());
    let spent = spent.collect();
    (transaction, spent)
}

fn vectors(name: &str) -> Vec<Vec<Value>> {
    let bytes = std::fs::read(vector_file(name)).expect("Core ships its vectors");
    let all: Vec<Vec<Value>> = serde_json::from_slice(&bytes).expect("they are JSON");
    all.into_iter().filter(|vector| vector.len() > 1).collect()
}

#[test]
fn agrees_with_the_transaction_vectors_of_bitcoin_core() {
    let valid = vectors("tx_valid.json");
    for vector in &valid {
        let (transaction, spent) = vector_transaction(vector);
        // These name the flags under which they are not valid.
        let excluded: Vec<&str> = vector[2].as_str().expect("text").split(',').collect();
        let flags = FLAGS.iter().filter(|(name, _)| !excluded.contains(name));
        let flags = flags.fold(Flags::NONE, |flags, (_, flag)| flags | *flag);
        assert_eq!(crate::policy::check_transaction(&transaction), Ok(()), "{vector:?}");
        assert_eq!(run(&transaction, &spent, flags), Ok(()), "{vector:?}");
    }
    let invalid = vectors("tx_invalid.json");
    for vector in &invalid {
        let (transaction, spent) = vector_transaction(vector);
        let flags = vector[2].as_str().expect("text");
        if flags == "BADTX" {
            assert!(crate::policy::check_transaction(&transaction).is_err(), "{vector:?}");
        } else {
            assert!(run(&transaction, &spent, parse_flags(flags)).is_err(), "{vector:?}");
        }
    }
    assert!(valid.len() > 100 && invalid.len() > 80, "{} and {} vectors", valid.len(), invalid.len());
}
