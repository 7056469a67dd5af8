//! The commands as people and scripts use them: the demos from beginning to end, words, exit codes.

use serde_json::Value;
use side_tests::chain::{Chain, Control};
use side_tests::proxy::Proxy;
use side_tests::world::Home;

/// A port of loopback where nobody listens: the relay's, which these commands do not need, and a server that is gone.
const NOBODY: &str = "127.0.0.1:9";

fn home() -> Home {
    let home = Home::new(&format!("ws://{NOBODY}"));
    for name in ["dave", "sammy"] {
        home.init(name);
    }
    home
}

/// Runs a command beside the servers in this process.
async fn run(home: &Home, args: &[&str]) -> (i32, String, String) {
    let mut command = home.command();
    command.args(args);
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("side-node starts")).await.expect("a task");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn btc_htlc_shows_a_claim_and_a_refund() {
    let chain = Chain::devnet().await;
    let home = home();
    let (code, shown, errors) = run(&home, &["btc-htlc", "--network", "regtest", "--esplora", chain.url()]).await;
    assert_eq!(code, 0, "{shown}{errors}");
    for part in
        ["learnt the preimage from the chain", "sammy    swap", "you have your coins back", "in the end dave has"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(errors.contains("one server is asked"), "{errors}");
    let args = ["btc-htlc", "--network", "regtest", "--esplora", chain.url(), "--json"];
    let (code, shown, errors) = run(&home, &args).await;
    assert_eq!(code, 0, "{shown}{errors}");
    let json: Value = serde_json::from_str(&shown).expect("one JSON document");
    assert_eq!(json["claimed"]["legs"][0]["stage"]["done"], "claimed");
    assert_eq!(json["refunded"]["legs"][0]["stage"]["done"], "refunded");
    // What was done can be read afterwards, too.
    let (_, listed, _) = run(&home, &["htlc", "list", "dave", "--all"]).await;
    assert_eq!(listed.matches("you pay sammy").count(), 4, "{listed}");
    let (_, listed, _) = run(&home, &["htlc", "list", "dave"]).await;
    assert!(listed.contains("no open swaps; 4 are over: side-node htlc list dave --all"), "{listed}");
    let (_, listed, _) = run(&home, &["htlc", "list", "dave", "--all", "--network", "mutinynet"]).await;
    assert!(listed.contains("no swaps; offer one"), "{listed}");
    let (_, listed, _) = run(&home, &["htlc", "list", "dave", "--all", "--network", "regtest"]).await;
    assert_eq!(listed.matches("you pay sammy").count(), 4, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn btc_swap_swaps_between_two_chains() {
    let (one, two) = (Chain::devnet().await, Chain::devnet().await);
    let home = home();
    let args = ["btc-swap", "--esplora", one.url(), "--esplora", two.url(), "--json"];
    let (code, shown, errors) = run(&home, &args).await;
    assert_eq!(code, 0, "{shown}{errors}");
    let json: Value = serde_json::from_str(&shown).expect("one JSON document");
    for party in ["initiator", "follower"] {
        for leg in [0, 1] {
            assert_eq!(json[party]["legs"][leg]["stage"]["done"], "claimed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_whose_turn_it_is() {
    let home = home();
    let gone = format!("http://{NOBODY}");
    for args in [
        &["btc-htlc", "--network", "regtest", "--esplora", &gone][..],
        &["htlc", "offer", "dave", "--to", "sammy", "--amount", "50000", "--network", "regtest", "--esplora", &gone],
    ] {
        let (code, _, errors) = run(&home, args).await;
        assert_eq!(code, 3, "{errors}");
        assert!(errors.contains("btc-devnet") && errors.contains(NOBODY), "{errors}");
    }
    for (wanted, part, args) in [
        (1, "htlc list dave", &["htlc", "show", "dave", "abcd1234"][..]),
        (1, "htlc list dave", &["htlc", "accept", "dave", "abcd1234", "--network", "regtest", "--esplora", &gone]),
        (1, "peers dave", &["htlc", "offer", "dave", "--to", "nobody", "--amount", "50000", "--network", "regtest"]),
        (
            2,
            "--blocks",
            &["htlc", "offer", "dave", "--to", "sammy", "--amount", "50000", "--blocks", "3", "--network", "regtest"],
        ),
        (2, "amount", &["htlc", "offer", "dave", "--to", "sammy"]),
        (1, "--real-money", &["htlc", "fund", "dave", "abcd1234", "--network", "bitcoin"]),
    ] {
        let (code, _, errors) = run(&home, args).await;
        assert_eq!(code, wanted, "{args:?}: {errors}");
        assert!(errors.contains(part), "{args:?}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_never_stops_a_running_node() {
    let chain = Chain::devnet().await;
    let proxy = Proxy::start(chain.url()).await;
    let home = home();
    // A swap that a node must watch.
    let args = [
        "htlc",
        "offer",
        "dave",
        "--to",
        "sammy",
        "--amount",
        "50000",
        "--network",
        "regtest",
        "--esplora",
        proxy.url(),
    ];
    let (code, shown, errors) = run(&home, &args).await;
    assert_eq!(code, 0, "{shown}{errors}");
    let config = home.node("dave").join("config.toml");
    let text = format!("[bitcoin]\nnetwork = \"regtest\"\nesplora = \"{}\"\npoll_seconds = 0.05\n", proxy.url());
    std::fs::write(&config, text).expect("a configuration");
    proxy.go_down();
    let mut node = home.run("dave");
    node.expect("no server answers");
    proxy.lie(|answer| Some(side_tests::proxy::Answer { body: b"{".to_vec(), ..answer }));
    assert!(node.type_line("still here"));
    node.expect("still here");
    proxy.honest();
    assert!(node.runs());
}
