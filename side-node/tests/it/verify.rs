//! `side-node verify`: a proof is checked by a program that has nothing: no folder, no node, no network.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A proof from the genesis, and one from a block: what `side-seal` keeps as golden bytes.
const PROOFS: &str = include_str!("../../../side-seal/tests/golden/bundles.txt");

fn proof(number: usize) -> &'static str {
    PROOFS.lines().nth(number).unwrap()
}

/// Runs `verify` in an empty folder that is not to be written to either.
fn verify(args: &[&str], stdin: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_side-node"))
        .env_clear()
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .arg("verify")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may be done before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves no traces");
    output
}

fn json(args: &[&str], stdin: &str) -> (i32, Value) {
    let output = verify(&[args, &["--json"]].concat(), stdin);
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_good_proof_is_told_with_all_that_it_shows() {
    let (code, shown) = json(&[], proof(0));
    assert_eq!((code, &shown["proven"], &shown["group_given"]), (0, &true.into(), &false.into()));
    assert_eq!(shown["anchor"]["kind"], "genesis");
    assert_eq!(shown["transactions"][0]["outcome"]["status"], "sealed");
    assert_eq!(shown["transactions"][1]["outcome"]["reason"], "balance");
    assert_eq!(shown["transactions"][1]["body"]["amount"], 1_000);
    assert_eq!(shown["standing"]["voters"], 2);
    let group = shown["group"].as_str().unwrap();
    let (code, again) = json(&["--group", group], &format!("\n{}\n", proof(0)));
    assert_eq!((code, &again["group_given"]), (0, &true.into()));
    // For people the group stands there too, with the advice to compare it.
    let output = verify(&[], proof(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(group)
            && text.contains("compare its id")
            && text.contains("rejected: the author does not own that much")
    );
    assert!(!String::from_utf8(verify(&["--group", group], proof(0)).stdout).unwrap().contains("compare"));
}

#[test]
fn a_proof_from_a_block_counts_for_whoever_names_the_block() {
    let (code, refused) = json(&[], proof(1));
    assert_eq!((code, &refused["error"]["kind"]), (1, &"user".into()));
    let message = refused["error"]["message"].as_str().unwrap();
    let named =
        message.split_whitespace().find_map(|word| word.strip_suffix(',').filter(|word| word.len() == 64)).unwrap();
    let (code, shown) = json(&["--checkpoint", named], proof(1));
    assert_eq!((code, &shown["anchor"]["block"]), (0, &named.into()));
    let other = named.replace(|digit| digit != '0', "1");
    assert_eq!(json(&["--checkpoint", &other], proof(1)).0, 1);
}

#[test]
fn what_is_no_proof_or_about_another_group_is_refused() {
    let mut changed = proof(0).to_owned();
    changed.replace_range(2_000..2_001, if &changed[2_000..2_001] == "A" { "B" } else { "A" });
    for bad in ["", "side-proof:", "hello", &proof(0)[..3_000], &changed] {
        let (code, refused) = json(&[], bad);
        assert_eq!((code, &refused["error"]["kind"]), (1, &"user".into()), "{bad:.20}");
    }
    let (code, refused) = json(&["--group", &"1".repeat(64)], proof(0));
    assert!(code == 1 && refused["error"]["message"].as_str().unwrap().contains("not about the one"));
    assert_eq!(json(&["--group", "12"], proof(0)).0, 2);
    assert_eq!(json(&["no-such-file"], "").0, 1);
    let output = verify(&["/dev/zero"], "");
    assert_eq!(output.status.code(), Some(1), "what never ends is given up on");
}
