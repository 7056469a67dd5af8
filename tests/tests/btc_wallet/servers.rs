//! Servers that lie, or are of another chain: the wallet says what is wrong and stays as it was.

use std::sync::atomic::{AtomicUsize, Ordering};

use side_tests::coins::{Coins, Liar, Lie, ask};

#[test]
fn a_server_of_another_chain_is_refused_before_anything_is_believed() {
    let coins = Coins::funded(100_000);
    for network in ["mutinynet", "signet", "testnet4"] {
        let args = ["btc", "balance", "dave", "--network", network, "--esplora", coins.devnet.url()];
        let error = coins.home.fails(1, &args);
        assert!(error.contains(&format!("does not serve {network}")), "{error}");
    }
}

#[test]
fn lying_fee_estimates_burn_no_money() {
    let coins = Coins::funded(5_000_000);
    for lie in ["{\"6\":100000}", "{\"1\":5000.5,\"144\":4000}", "{\"6\":1e300}"] {
        let liar = Liar::start(coins.devnet.address(), move |asked, _| match asked {
            "GET /fee-estimates" => Lie::Say(200, lie.to_owned()),
            _ => Lie::Truth,
        });
        let error = coins.home.fails(1, &coins.args_at(&["btc-transfer"], &liar.url));
        assert!(error.contains("the server suggests") && error.contains("--fee-rate"), "{error}");
        assert_eq!(coins.waiting(), 0);
    }
    // Estimates of nothing are no estimates; too low a one is raised to what is relayed.
    for lie in ["{\"6\":-1}", "{\"6\":0.000001}", "{}"] {
        let liar = Liar::start(coins.devnet.address(), move |asked, _| match asked {
            "GET /fee-estimates" => Lie::Say(200, lie.to_owned()),
            _ => Lie::Truth,
        });
        let paid = coins.home.ok(&coins.args_at(&["btc-transfer", "--confirmations", "0", "--json"], &liar.url));
        let paid: serde_json::Value = serde_json::from_str(&paid).expect("JSON");
        assert!(paid["fee_sat"].as_u64().expect("a fee") < 1_000, "{lie}: {paid}");
        coins.mine(1);
    }
}

#[test]
fn nonsense_from_a_server_is_an_error_and_the_wallet_stays_as_it_was() {
    let coins = Coins::funded(100_000);
    assert_eq!(coins.total("dave"), 100_000);
    let foreign = {
        let history = coins.json(&["btc", "history", "dave"]);
        history["transactions"][0]["txid"].as_str().expect("an id").to_owned()
    };
    let zeros = "0".repeat(64);
    let lies: Vec<(&str, String)> = vec![
        ("GET /scripthash/", "not json".to_owned()),
        ("GET /scripthash/", "[{\"txid\":".to_owned()),
        ("GET /scripthash/", format!("[{}]", made_up(&zeros))),
        ("GET /scripthash/", format!("[{}]", made_up(&foreign))),
        ("GET /blocks/tip/hash", zeros.clone()),
        ("GET /blocks/tip/hash", "\u{1b}[2J".to_owned()),
        ("GET /block/", format!("{{\"id\":\"{zeros}\",\"height\":7}}")),
    ];
    for (path, lie) in lies {
        let said = lie.clone();
        let liar = Liar::start(coins.devnet.address(), move |asked, _| {
            if asked.starts_with(path) { Lie::Say(200, said.clone()) } else { Lie::Truth }
        });
        let error = coins.home.fails(3, &coins.args_at(&["btc", "sync", "dave"], &liar.url));
        assert!(error.contains(&liar.url) && !error.contains('\u{1b}'), "{path} {lie}: {error}");
        let balance = coins.home.ok(&coins.args(&["btc", "balance", "dave", "--offline", "--json"]));
        assert!(balance.contains("\"total_sat\":100000"), "{path} {lie}: {balance}");
    }
}

/// A transaction that pays nobody whom we know, under an id of the liar's choice.
fn made_up(txid: &str) -> String {
    let status = "{\"confirmed\":false}";
    format!(
        "{{\"txid\":\"{txid}\",\"version\":2,\"locktime\":0,\"vin\":[],\"vout\":[{{\"value\":18446744073709551615,\"scriptpubkey\":\"51\"}}],\
         \"size\":60,\"weight\":240,\"fee\":0,\"status\":{status}}}"
    )
}

#[test]
fn a_withheld_payment_is_not_forgotten() {
    let coins = Coins::funded(100_000);
    coins.pay(20_000);
    // The server claims to know nothing of the wallet, and takes nothing.
    let liar = Liar::start(coins.devnet.address(), |asked, _| match asked {
        asked if asked.starts_with("GET /scripthash/") => Lie::Say(200, "[]".to_owned()),
        "POST /tx" => Lie::Say(400, "no".to_owned()),
        _ => Lie::Truth,
    });
    let report = coins.home.ok(&coins.args_at(&["btc", "sync", "dave", "--json"], &liar.url));
    assert!(report.contains("\"reason\""), "{report}");
    // Its coins are not spent again meanwhile: the payment may be anywhere.
    let error = coins.home.fails(1, &coins.args_at(&["btc-transfer"], &liar.url));
    assert!(error.contains("dave"), "{error}");
    coins.mine(1);
    assert_eq!(coins.total("sammy"), 20_000);
    assert!(coins.total("dave") > 79_000);
}

#[test]
fn a_server_that_is_busy_for_a_moment_is_asked_again() {
    let coins = Coins::funded(100_000);
    let count = AtomicUsize::new(0);
    let liar = Liar::start(coins.devnet.address(), move |asked, _| {
        let busy = asked.starts_with("GET /block-height/0") && count.fetch_add(1, Ordering::SeqCst) == 0;
        if busy { Lie::Say(429, "Too Many Requests".to_owned()) } else { Lie::Truth }
    });
    let balance = coins.home.ok(&coins.args_at(&["btc", "balance", "dave"], &liar.url));
    assert!(balance.contains("100,000 sats"), "{balance}");
}

#[test]
fn a_server_that_goes_away_while_confirmations_are_waited_for_is_waited_for() {
    let coins = Coins::funded(100_000);
    let liar = Liar::start(coins.devnet.address(), |_, _| Lie::Truth);
    let mut command = coins.home.command();
    command.args(coins.args_at(&["btc-transfer", "--confirmations", "1"], &liar.url));
    let mut transfer = side_tests::process::Process::start("btc-transfer", command);
    transfer.expect("fee");
    side_tests::process::eventually("the payment waits", || (coins.waiting() == 1).then_some(()));
    liar.lie(|_, _| Lie::Say(500, "down".to_owned()));
    side_tests::process::eventually("the outage is noticed", || transfer.stderr().contains("status 500").then_some(()));
    coins.mine(1);
    liar.lie(|_, _| Lie::Truth);
    transfer.expect("1 of 1");
    assert!(transfer.wait().success(), "{}", transfer.report());
}

#[test]
fn forged_confirmations_do_not_count() {
    let coins = Coins::funded(100_000);
    // The server says that the payment is in the last block, which it is not; whatever proof it gives is of another transaction.
    let tip = ask(coins.devnet.address(), "/blocks/tip/hash").1;
    let height = ask(coins.devnet.address(), "/blocks/tip/height").1;
    let proof = format!("{{\"block_height\":{height},\"merkle\":[],\"pos\":0}}");
    let status =
        format!("{{\"confirmed\":true,\"block_height\":{height},\"block_hash\":\"{tip}\",\"block_time\":1700000000}}");
    let liar = Liar::start(coins.devnet.address(), move |asked, _| match asked {
        asked if asked.ends_with("/status") => Lie::Say(200, status.clone()),
        asked if asked.ends_with("/merkle-proof") => Lie::Say(200, proof.clone()),
        _ => Lie::Truth,
    });
    let mut command = coins.home.command();
    command.args(coins.args_at(&["btc-transfer", "--confirmations", "1"], &liar.url));
    let mut transfer = side_tests::process::Process::start("btc-transfer", command);
    transfer.expect("fee");
    side_tests::process::eventually("the lie is noticed", || {
        transfer.stderr().contains("does not prove it").then_some(())
    });
    assert!(transfer.runs() && !transfer.stdout().iter().any(|line| line.contains("1 of 1")), "{}", transfer.report());
    // A true one does.
    liar.lie(|_, _| Lie::Truth);
    coins.mine(1);
    assert!(transfer.expect("1 of 1").contains("(checked)"));
    assert!(transfer.wait().success(), "{}", transfer.report());
}
