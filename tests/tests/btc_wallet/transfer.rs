//! Payments from their beginning to their confirmations.

use std::net::TcpListener;

use side_tests::coins::Coins;
use side_tests::process::{Process, eventually};

#[test]
fn a_transfer_shows_balance_txid_and_fee_and_ends_with_its_confirmations() {
    let coins = Coins::funded(1_000_000);
    let mut command = coins.home.command();
    command.args(coins.args(&["btc-transfer", "--amount", "25000", "--fee-rate", "2", "--confirmations", "2"]));
    let mut transfer = Process::start("btc-transfer", command);
    assert!(transfer.expect("balance").contains("1,000,000 sats (0.01000000 BTC)"));
    assert!(transfer.expect("amount").contains("25,000 sats"));
    let line = transfer.expect("txid");
    let txid = line.split_whitespace().last().expect("an id").to_owned();
    assert!(transfer.expect("fee").contains(", 2.0"));
    eventually("the payment waits in the mempool", || (coins.waiting() == 1).then_some(()));
    coins.mine(1);
    transfer.expect("1 of 2");
    assert_eq!(coins.states("sammy"), [(txid, "confirmed".to_owned())]);
    assert!(transfer.runs(), "it does not wait for the second: {}", transfer.report());
    coins.mine(1);
    transfer.expect("2 of 2");
    assert!(transfer.expect("sammy has").contains("25,000 sats"));
    assert!(transfer.wait().success(), "{}", transfer.report());
    assert_eq!(coins.total("sammy"), 25_000);
    assert!(coins.total("dave") < 975_000);
}

#[test]
fn an_unfunded_transfer_names_the_address_and_where_coins_come_from() {
    let coins = Coins::new();
    let error = coins.fails(1, &["btc-transfer"]);
    let address = coins.json(&["btc", "address", "dave"])["address"].as_str().expect("an address").to_owned();
    assert!(error.contains("dave has no coins on regtest") && error.contains(&address), "{error}");
    // The hint is a command: it does what it says.
    let command = error.split("the devnet gives coins: ").nth(1).expect("a hint").trim();
    let done = std::process::Command::new("sh").arg("-c").arg(command).output().expect("a shell");
    if !String::from_utf8_lossy(&done.stderr).contains("not found") {
        assert!(done.status.success(), "{command}: {done:?}");
        assert!(coins.total("dave") >= 100_000);
    }
    // As JSON, the error is one document on stdout.
    let output = coins.run(&["btc-transfer", "sammy", "dave", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["error"]["kind"], "user");
}

#[test]
fn the_faucet_of_mutinynet_is_named() {
    // Mutinynet itself is not asked by a test: a server that serves its first blocks stands for it.
    let coins = Coins::new();
    let network = side_node::btc::network::Network::Mutinynet;
    let (genesis, block1) =
        (network.genesis().to_string(), network.pinned_block().expect("it is pinned").1.to_string());
    let liar = side_tests::coins::Liar::start(coins.devnet.address(), move |asked, _| {
        let said = |text: &str| side_tests::coins::Lie::Say(200, text.to_owned());
        match asked {
            "GET /block-height/0" => said(&genesis),
            "GET /block-height/1" | "GET /blocks/tip/hash" => said(&block1),
            asked if asked.starts_with("GET /block/") => said(&format!("{{\"id\":\"{block1}\",\"height\":1}}")),
            asked if asked.starts_with("GET /scripthash/") => said("[]"),
            "GET /fee-estimates" => said("{}"),
            _ => side_tests::coins::Lie::Say(404, "no such thing".to_owned()),
        }
    });
    let error = coins.home.fails(1, &["btc-transfer", "--esplora", &liar.url]);
    assert!(error.contains("dave has no coins on mutinynet") && error.contains("tb1p"), "{error}");
    assert!(error.contains("https://faucet.mutinynet.com"), "{error}");
}

#[test]
fn an_unreachable_server_is_named_with_the_devnet_as_the_way_out() {
    let coins = Coins::funded(50_000);
    assert_eq!(coins.total("dave"), 50_000);
    // A port that was free a moment ago: nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{gone}");
    for command in [&["btc-transfer"][..], &["btc", "balance", "dave"], &["btc", "sync", "dave"]] {
        let error = coins.home.fails(3, &coins.args_at(command, &url));
        assert!(error.contains(&url) && error.contains("cargo run -p btc-devnet"), "{error}");
    }
    // What is known is still shown.
    let balance = coins.home.ok(&coins.args_at(&["btc", "balance", "dave", "--offline"], &url));
    assert!(balance.contains("50,000 sats"), "{balance}");
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let coins = Coins::funded(70_000);
    let config = coins.home.node("dave").join("config.toml");
    let write = |url: &str| {
        let text = format!("[bitcoin]\nnetwork = \"regtest\"\nesplora = \"{url}\"\n");
        std::fs::write(&config, text).expect("the file is written");
    };
    let balance = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = coins.home.command();
        command.args(["btc", "balance", "dave"]).args(flags).envs(variables.iter().copied());
        command.output().expect("it starts").status.code()
    };
    let nowhere = "http://127.0.0.1:9";
    write(coins.devnet.url());
    assert_eq!(balance(&[], &[]), Some(0));
    assert_eq!(balance(&[("SIDE_BTC_ESPLORA", nowhere)], &[]), Some(3));
    write(nowhere);
    assert_eq!(balance(&[], &[]), Some(3));
    assert_eq!(balance(&[("SIDE_BTC_ESPLORA", coins.devnet.url())], &[]), Some(0));
    assert_eq!(balance(&[("SIDE_BTC_ESPLORA", nowhere)], &["--esplora", coins.devnet.url()]), Some(0));
    std::fs::write(&config, "[bitcoin]\nnetwrok = \"regtest\"\n").expect("the file is written");
    let error = coins.home.fails(1, &["btc", "balance", "dave"]);
    assert!(error.contains("did you mean \"bitcoin.network\"?"), "{error}");
    let error = coins.home.fails(1, &["btc", "balance", "sammy", "--network", "bitcoin"]);
    assert!(error.contains("--real-money"), "{error}");
}

#[test]
fn a_bump_replaces_a_payment_and_only_one_of_the_two_is_confirmed() {
    let coins = Coins::funded(1_000_000);
    let first = coins.pay(30_000);
    let old = first["txid"].as_str().expect("an id");
    let low = coins.fails(1, &["btc", "bump", "dave", old, "--fee-rate", "1"]);
    assert!(low.contains("must pay at least"), "{low}");
    let second = coins.json(&["btc", "bump", "dave", old, "--fee-rate", "9", "--confirmations", "0"]);
    let new = second["txid"].as_str().expect("an id");
    assert_eq!((&second["replaces"], &second["amount_sat"]), (&first["txid"], &first["amount_sat"]));
    assert!(second["fee_sat"].as_u64() > first["fee_sat"].as_u64());
    assert!(coins.knows(new) && !coins.knows(old));
    coins.mine(1);
    assert_eq!(coins.total("sammy"), 30_000);
    let late = coins.fails(1, &["btc", "bump", "dave", new]);
    assert!(late.contains("is in a block already"), "{late}");
}

#[test]
fn send_pays_an_address_all_of_it_and_refuses_dust_and_other_networks() {
    let coins = Coins::funded(400_000);
    let address = coins.json(&["btc", "address", "sammy"])["address"].as_str().expect("an address").to_owned();
    let dust = coins.fails(1, &["btc", "send", "dave", &address, "100"]);
    assert!(dust.contains("dust") && dust.contains("330"), "{dust}");
    let absurd = coins.fails(1, &["btc", "send", "dave", &address, "1000", "--fee-rate", "900"]);
    assert!(absurd.contains("--max-fee"), "{absurd}");
    let theirs = coins.home.ok(&["btc", "address", "sammy", "--network", "mutinynet"]);
    let elsewhere = coins.fails(1, &["btc", "send", "dave", theirs.trim(), "1000"]);
    assert!(elsewhere.contains("is no address of regtest"), "{elsewhere}");
    assert!(
        coins
            .fails(2, &["btc", "send", "dave", &theirs.trim().replace("tb1p", "tb1q"), "1000"])
            .contains("no Bitcoin address")
    );
    assert_eq!(coins.waiting(), 0, "nothing was paid");
    let paid = coins.json(&["btc", "send", "dave", &format!("bitcoin:{address}"), "all", "--confirmations", "0"]);
    coins.mine(1);
    assert_eq!(coins.total("dave"), 0);
    assert_eq!(Some(coins.total("sammy")), paid["amount_sat"].as_u64());
    // Coins that nobody has put into a block yet are not spent.
    coins.fund("dave", 90_000);
    let early = coins.fails(1, &["btc", "send", "dave", &address, "1000"]);
    assert!(early.contains("wait for a confirmation"), "{early}");
}

#[test]
fn wallet_commands_work_beside_a_running_node_and_beside_each_other() {
    let coins = Coins::new();
    for _ in 0..4 {
        coins.fund("dave", 100_000);
    }
    coins.mine(1);
    let mut node = coins.home.run("dave");
    assert_eq!(coins.total("dave"), 400_000);
    let payments: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| coins.pay(20_000))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it pays")).collect()
    });
    assert_eq!(coins.waiting(), 3, "{payments:?}");
    coins.mine(1);
    assert_eq!(coins.total("sammy"), 60_000);
    assert!(node.runs() && node.stop().success());
}
