//! What a wallet survives: crashes, lost folders, reorganisations, chains that are gone.

use std::io::Write as _;
use std::process::Stdio;

use side_tests::coins::{Coins, Liar, Lie};
use side_tests::process::Process;
use side_tests::world::Home;

#[test]
fn a_kill_9_in_the_middle_of_a_payment_loses_nothing() {
    let coins = Coins::funded(500_000);
    // The server listens to the payment and never answers; the chain has not heard of it.
    let liar = Liar::start(coins.devnet.address(), |asked, _| match asked {
        "POST /tx" => Lie::Silence,
        _ => Lie::Truth,
    });
    let mut command = coins.home.command();
    command.args(coins.args_at(&["btc-transfer", "--amount", "40000"], &liar.url));
    let mut transfer = Process::start("btc-transfer", command);
    let line = transfer.expect("txid");
    let txid = line.split_whitespace().last().expect("an id").to_owned();
    liar.was_asked("POST /tx");
    transfer.kill_9();
    assert!(!coins.knows(&txid));
    // The payment is known, and its coins are not spent a second time.
    let unsent = coins.home.ok(&coins.args(&["btc", "history", "dave", "--offline", "--json"]));
    assert!(unsent.contains(&txid), "{unsent}");
    let report = coins.json(&["btc", "sync", "dave"]);
    assert_eq!(report["sent_again"][0], txid);
    assert!(coins.knows(&txid));
    coins.mine(1);
    assert_eq!(coins.total("sammy"), 40_000);
    assert_eq!(coins.json(&["btc", "sync", "dave"])["sent_again"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_payment_whose_fate_is_unknown_is_not_made_twice() {
    let coins = Coins::funded(500_000);
    // The chain gets the payment, and the answer is lost.
    let liar = Liar::start(coins.devnet.address(), |asked, _| match asked {
        "POST /tx" => Lie::Swallow(502, "bad gateway".to_owned()),
        _ => Lie::Truth,
    });
    let error = coins.home.fails(3, &coins.args_at(&["btc-transfer", "--amount", "40000"], &liar.url));
    assert!(error.contains("is signed and kept") && error.contains("do not pay a second time"), "{error}");
    assert_eq!(coins.waiting(), 1);
    let report = coins.json(&["btc", "sync", "dave"]);
    assert_eq!(report["sent_again"].as_array().map(Vec::len), Some(0), "the server has it: {report}");
    coins.mine(1);
    assert_eq!(coins.total("sammy"), 40_000);
}

#[test]
fn a_refused_payment_gives_its_coins_back() {
    let coins = Coins::funded(500_000);
    let liar = Liar::start(coins.devnet.address(), |asked, _| match asked {
        "POST /tx" => {
            let reason = r#"sendrawtransaction RPC error: {"code":-26,"message":"min relay fee not met, 10 < 110"}"#;
            Lie::Say(400, reason.to_owned())
        }
        _ => Lie::Truth,
    });
    let error = coins.home.fails(1, &coins.args_at(&["btc-transfer", "--amount", "40000"], &liar.url));
    assert!(error.contains("min relay fee not met, 10 < 110") && error.contains("nothing was paid"), "{error}");
    assert_eq!(coins.total("dave"), 500_000);
    assert_eq!(coins.states("dave").len(), 1);
    coins.pay(40_000);
    assert_eq!(coins.waiting(), 1);
}

#[test]
fn a_wallet_that_is_restored_from_its_words_finds_all_its_coins() {
    let coins = Coins::new();
    // Addresses far apart, within the gap of twenty; change, too.
    for sats in [11_000, 22_000, 33_000] {
        for _ in 0..9 {
            coins.json(&["btc", "address", "dave", "--new"]);
        }
        coins.fund("dave", sats);
    }
    coins.mine(1);
    coins.pay(5_000);
    coins.mine(1);
    let total = coins.total("dave");
    let words = coins.json(&["btc", "export", "dave", "--words"])["words"].as_str().expect("words").to_owned();

    let elsewhere = Home::new("ws://127.0.0.1:9");
    let restore = |words: &str| {
        let mut command = elsewhere.command();
        command.args(["init", "again", "--restore-wallet"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("a pipe").write_all(words.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    };
    let wrong = restore(&words.replacen(' ', "x ", 1));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&wrong.stderr).contains(&words[..8]), "an error repeats the words");
    assert!(restore(&format!("  {words}\n")).status.success());
    let synced = elsewhere.ok(&coins.args(&["btc", "sync", "again", "--full", "--json"]));
    let synced: serde_json::Value = serde_json::from_str(&synced).expect("JSON");
    assert_eq!(synced["balance"]["total_sat"], total);
    // The same descriptors, so the same wallet; and they say no secret.
    let exported = elsewhere.ok(&["btc", "export", "again", "--network", "regtest"]);
    assert_eq!(exported, coins.home.ok(&["btc", "export", "dave", "--network", "regtest"]));
    assert!(exported.contains("tr([") && !exported.contains("prv"), "{exported}");
}

#[test]
fn a_lost_database_is_made_anew_from_the_seed() {
    let coins = Coins::funded(123_000);
    coins.pay(3_000);
    coins.mine(1);
    let total = coins.total("dave");
    std::fs::remove_dir_all(coins.home.node("dave").join("btc")).expect("the folder is there");
    assert_eq!(coins.total("dave"), total);
}

#[test]
fn a_node_that_was_made_before_wallets_gets_one_and_says_so() {
    let coins = Coins::new();
    let seed = coins.home.node("dave").join("keys").join("bitcoin.seed");
    std::fs::remove_file(&seed).expect("the seed is there");
    let output = coins.run(&["btc", "address", "dave"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("dave had no Bitcoin wallet; made one"), "{said}");
    assert!(seed.exists());
    let output = coins.run(&["btc", "address", "dave"]);
    assert!(output.stderr.is_empty());
}

#[test]
fn a_reorg_of_a_payment_is_followed_and_a_dropped_one_is_sent_again() {
    let coins = Coins::funded(600_000);
    coins.mine(10);
    let txid = coins.pay(60_000)["txid"].as_str().expect("an id").to_owned();
    coins.mine(1);
    let state = |name: &str| coins.states(name).into_iter().find(|(id, _)| *id == txid).map(|(_, state)| state);
    assert_eq!(state("dave").as_deref(), Some("confirmed"));
    // Its block goes, and it waits again.
    coins.reorg(1);
    assert_eq!(state("dave").as_deref(), Some("pending"));
    assert_eq!(state("sammy").as_deref(), Some("pending"));
    coins.mine(2);
    assert_eq!(state("sammy").as_deref(), Some("confirmed"));
    // Its block goes, and the chain forgets it: the wallet does not.
    coins.reorg_and_drop(2);
    if !coins.knows(&txid) {
        let report = coins.json(&["btc", "sync", "dave"]);
        assert_eq!(report["sent_again"][0], txid);
    }
    assert!(coins.knows(&txid));
    coins.mine(1);
    assert_eq!(state("sammy").as_deref(), Some("confirmed"));
    assert_eq!(coins.total("sammy"), 60_000);
}

#[test]
fn a_devnet_that_was_started_afresh_is_a_new_chain() {
    let mut coins = Coins::funded(700_000);
    coins.mine(20);
    coins.pay(60_000);
    coins.mine(1);
    assert_eq!(coins.total("sammy"), 60_000);
    coins.start_afresh();
    assert_eq!(coins.total("dave"), 0);
    assert!(coins.states("dave").is_empty());
    coins.fund("dave", 80_000);
    coins.mine(1);
    assert_eq!(coins.total("dave"), 80_000);
    coins.pay(10_000);
    coins.mine(1);
    assert_eq!(coins.total("sammy"), 10_000);
}
