//! kill -9 at every stage, of real programs that talk through a real relay: what was begun is ended, once.

use std::process::Output;

use bitcoin::Amount;
use bitcoin::address::NetworkUnchecked;
use serde_json::{Value, json};
use side_node::btc::esplora::Esplora;
use side_node::btc::htlc::terms::LockKind;
use side_node::btc::swaps::{ChainPlace, Desk, GroupLink, NewLeg, Peer};
use side_node::btc::wallet::Wallet;
use side_node::home::{Root, create_secret_file};
use side_tests::chain::{Chain, Control};
use side_tests::process::{Process, eventually};
use side_tests::world::{Home, Watcher, program};

const POLL: &str = "0.05";

struct World {
    chain: Chain,
    home: Home,
    nodes: Vec<Process>,
    watcher: Watcher,
    _data: tempfile::TempDir,
}

const NAMES: [&str; 2] = ["dave", "sammy"];

impl World {
    async fn found() -> Self {
        let chain = Chain::devnet().await;
        let data = tempfile::tempdir().expect("a temporary folder");
        let watcher = Watcher::start(data.path());
        let home = Home::new(&watcher.url());
        for name in NAMES {
            home.init(name);
            let config = home.node(name).join("config.toml");
            let mut text = std::fs::read_to_string(&config).expect("a configuration");
            text.push_str(&format!(
                "\n[bitcoin]\nnetwork = \"regtest\"\nesplora = \"{}\"\npoll_seconds = {POLL}\n",
                chain.url()
            ));
            std::fs::write(&config, text).expect("a configuration");
        }
        let nodes = NAMES.map(|name| home.run(name)).into();
        Self { chain, home, nodes, watcher, _data: data }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = program("side-node");
        command.arg("--home").arg(self.home.path()).arg("--json").args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("a command runs")
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Kills a node and starts it again.
    fn kill(&mut self, which: usize) {
        self.nodes[which].kill_9();
        self.nodes[which] = self.home.run(NAMES[which]);
    }

    /// Runs a command and kills it ever later, until it comes to its end by itself.
    fn persist(&self, args: &[&str]) {
        for patience_ms in [1, 3, 10, 30, 60, 100, 150, 250, 400] {
            let mut child = self
                .command(args)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("a command runs");
            let deadline = std::time::Instant::now() + std::time::Duration::from_millis(patience_ms);
            while std::time::Instant::now() < deadline && child.try_wait().expect("a status").is_none() {
                std::thread::yield_now();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        // The last one may have done it, or this one does.
        self.run(args);
    }

    fn await_stage(&self, name: &str, wanted: &[Value]) {
        self.await_leg(name, 0, wanted);
    }

    /// Waits for what a node says of a leg of its only swap.
    fn await_leg(&self, name: &str, leg: usize, wanted: &[Value]) {
        eventually(&format!("{name} comes to {wanted:?} with leg {leg}"), || {
            let stage = &self.json(&["htlc", "list", name, "--all"])["swaps"][0]["legs"][leg]["stage"];
            wanted.contains(stage).then_some(())
        });
    }

    /// Gives a node's wallet on a chain coins.
    async fn fill(&self, name: &str, chain: &Chain, place: &ChainPlace) {
        let address = {
            let place = Desk::wallet_place(&self.root().node(name), &place.chain);
            place.ensure_seed().unwrap();
            Wallet::open(&place).unwrap().address().unwrap().address
        };
        chain.fund(&address, Amount::from_sat(10_000_000)).await;
        chain.mine(1).await;
    }

    fn root(&self) -> Root {
        Root::find(Some(self.home.path().to_owned())).unwrap()
    }

    /// The chain without a label, as the nodes' configuration names it.
    fn place(&self) -> ChainPlace {
        ChainPlace { chain: "regtest".parse().unwrap(), servers: vec![self.chain.url().to_owned()] }
    }

    fn await_each_other(&self) {
        eventually("the nodes know each other", || {
            let peers = self.json(&["peers", "dave"]);
            (peers["members"].as_array().is_some_and(|members| members.len() == 2)).then_some(())
        });
    }

    /// Offers, in dave's name, to pay sammy, and waits until sammy has accepted and dave knows; the swap's id.
    fn agree(&self) -> String {
        self.await_each_other();
        let made = self.json(&["htlc", "offer", "dave", "--to", "sammy", "--amount", "50000", "--blocks", "60"]);
        let id = made["id"].as_str().unwrap()[..12].to_owned();
        self.await_offer(1);
        self.json(&["htlc", "accept", "sammy", &id]);
        self.await_stage("dave", &["accepted".into()]);
        id
    }

    /// Waits until sammy has an offer of so many legs.
    fn await_offer(&self, legs: usize) {
        eventually("the offer arrives", || {
            let offers = self.json(&["htlc", "list", "sammy"]);
            (offers["offers"][0]["legs"].as_array().is_some_and(|found| found.len() == legs)).then_some(())
        });
    }

    /// How many outputs a chain has at the lock of a leg: more than one was paid twice.
    async fn payments(&self, name: &str, id: &str, leg: usize, chain: &Chain) -> usize {
        let shown = self.json(&["htlc", "show", name, id]);
        let lock = shown["swap"]["legs"][leg]["address"].as_str().unwrap();
        let script = lock.parse::<bitcoin::Address<NetworkUnchecked>>().unwrap().assume_checked().script_pubkey();
        let paid = Esplora::new(chain.url()).unwrap().script_txs(&script, None).await.unwrap();
        paid.iter().map(|tx| tx.to_tx().output.iter().filter(|output| output.script_pubkey == script).count()).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_every_stage_loses_no_coin() {
    let mut world = World::found().await;
    world.fill("dave", &world.chain, &world.place()).await;
    world.await_each_other();

    let made = world.json(&["htlc", "offer", "dave", "--to", "sammy", "--amount", "50000", "--blocks", "60"]);
    let id = made["id"].as_str().unwrap()[..12].to_owned();
    world.kill(0);
    world.await_offer(1);
    world.persist(&["htlc", "accept", "sammy", &id]);
    world.kill(1);
    world.await_stage("dave", &["accepted".into()]);
    world.kill(0);
    world.persist(&["htlc", "fund", "dave", &id]);
    world.kill(0);
    world.await_stage("dave", &["funding".into()]);
    world.chain.mine(1).await;
    world.await_stage("sammy", &["locked".into()]);
    world.kill(1);
    world.chain.mine(1).await;
    world.await_stage("sammy", &["claiming".into()]);
    world.kill(1);
    world.kill(0);
    world.chain.mine(1).await;
    world.await_stage("sammy", &["claimed".into()]);
    world.kill(1);
    world.await_stage("dave", &["claimed".into()]);
    world.kill(0);
    world.chain.mine(6).await;
    let done = serde_json::json!({ "done": "claimed" });
    for name in NAMES {
        world.await_stage(name, std::slice::from_ref(&done));
    }
    // The lock was paid once, though `fund` was killed many times.
    assert_eq!(world.payments("dave", &id, 0, &world.chain).await, 1);
    let shown = world.json(&["htlc", "show", "dave", &id]);
    assert_eq!(shown["swap"]["legs"][0]["preimage"].as_str().map(str::len), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_every_stage_of_an_atomic_swap_through_the_group_gives_both_what_they_agreed_on() {
    let mut world = World::found().await;
    let second = Chain::devnet().await;
    // Two chains are not equally long.
    second.mine(37).await;
    let place = |label: &str, chain: &Chain| ChainPlace {
        chain: format!("regtest:{label}").parse().unwrap(),
        servers: vec![chain.url().to_owned()],
    };
    let places = [place("a", &world.chain), place("b", &second)];
    world.fill("dave", &world.chain, &places[0]).await;
    world.fill("sammy", &second, &places[1]).await;
    world.await_each_other();
    let leg = |place: &ChainPlace, sats| NewLeg {
        place: place.clone(),
        kind: LockKind::Taproot,
        amount: Amount::from_sat(sats),
        interval_seconds: None,
    };
    let id = {
        let home = world.root().node("dave");
        let members = world.json(&["peers", "dave"]);
        let sammy = members["members"].as_array().unwrap().iter().find(|member| member["this_node"] == false).unwrap();
        let key = sammy["key"].as_str().unwrap().to_owned();
        let group = members["group"].as_str().map(str::to_owned);
        let mut desk = Desk::open(&home, places.to_vec()).unwrap();
        let legs = [leg(&places[0], 50_000), leg(&places[1], 40_000)];
        let deal = desk.offer_atomic(legs, Peer { key, name: "sammy".into(), group }).await.unwrap();
        desk.publish(&GroupLink::Folder { root: world.root(), home }).await.unwrap();
        deal.id().to_string()[..12].to_owned()
    };
    world.kill(0);
    world.await_offer(2);
    world.persist(&["htlc", "accept", "sammy", &id, "--second-esplora", second.url()]);
    world.kill(1);
    for leg in [0, 1] {
        world.await_leg("dave", leg, &["accepted".into()]);
    }
    world.kill(0);
    world.persist(&["htlc", "fund", "dave", &id]);
    world.kill(0);
    world.await_leg("dave", 0, &["funding".into()]);
    // Only once dave's coins are buried may sammy lock his.
    assert!(!world.run(&["htlc", "fund", "sammy", &id]).status.success());
    world.chain.mine(1).await;
    world.kill(1);
    world.chain.mine(1).await;
    world.await_leg("sammy", 0, &["locked".into()]);
    world.persist(&["htlc", "fund", "sammy", &id]);
    world.kill(1);
    world.await_leg("sammy", 1, &["funding".into()]);
    second.mine(1).await;
    world.await_leg("dave", 1, &["locked".into()]);
    world.kill(0);
    second.mine(1).await;
    // dave shows the preimage on the second chain, and sammy claims with it on the first.
    world.await_leg("dave", 1, &["claiming".into()]);
    world.kill(0);
    world.kill(1);
    world.await_leg("sammy", 0, &["claiming".into()]);
    world.kill(1);
    for chain in [&world.chain, &second] {
        chain.mine(1).await;
    }
    world.await_leg("sammy", 0, &["claimed".into()]);
    world.kill(1);
    world.await_leg("dave", 1, &["claimed".into()]);
    world.kill(0);
    for chain in [&world.chain, &second] {
        chain.mine(6).await;
    }
    let done = json!({ "done": "claimed" });
    for name in NAMES {
        for leg in [0, 1] {
            world.await_leg(name, leg, std::slice::from_ref(&done));
        }
    }
    // Each lock was paid once, though both `fund` were killed many times.
    assert_eq!(world.payments("dave", &id, 0, &world.chain).await, 1);
    assert_eq!(world.payments("sammy", &id, 1, &second).await, 1);
}

/// What dave has after his swap has begun: a backup, then coins in a lock that the backup knows nothing of, then nothing but the backup.
async fn lost_after_funding(world: &mut World) -> String {
    world.fill("dave", &world.chain, &world.place()).await;
    let id = world.agree();
    let backup = world.home.path().join("dave.backup");
    let words = world.home.path().join("words");
    create_secret_file(&words, b"correct horse").unwrap();
    let (backup, words) = (backup.to_str().unwrap(), words.to_str().unwrap());
    world.json(&["backup", "dave", backup, "--passphrase-file", words]);
    world.json(&["htlc", "fund", "dave", &id]);
    world.await_stage("dave", &["funding".into()]);
    world.chain.mine(1).await;
    world.await_stage("sammy", &["locked".into()]);
    world.nodes[0].kill_9();
    std::fs::remove_dir_all(world.home.node("dave")).unwrap();
    world.json(&["restore", backup, "--passphrase-file", words]);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_was_funded_after_the_backup_is_recalled_and_goes_on() {
    let mut world = World::found().await;
    let id = lost_after_funding(&mut world).await;
    // As old as the backup: it knows of no payment.
    let stage = &world.json(&["htlc", "list", "dave", "--all"])["swaps"][0]["legs"][0]["stage"];
    assert_eq!(stage, "accepted");
    world.nodes[0] = world.home.run("dave");
    world.await_stage("dave", &["locked".into(), "claimed".into()]);
    // It does not pay again.
    world.run(&["htlc", "fund", "dave", &id]);
    world.chain.mine(1).await;
    world.await_stage("sammy", &["claiming".into()]);
    world.chain.mine(7).await;
    let done = json!({ "done": "claimed" });
    for name in NAMES {
        world.await_stage(name, std::slice::from_ref(&done));
    }
    assert_eq!(world.payments("dave", &id, 0, &world.chain).await, 1);
    let shown = world.json(&["htlc", "show", "dave", &id]);
    assert_eq!(shown["swap"]["legs"][0]["preimage"].as_str().map(str::len), Some(64), "what dave paid for");
}

/// A restored node may not write until it has learnt its own last change. Its coins do not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_recalled_swap_of_a_node_that_reaches_nobody_is_refunded() {
    let mut world = World::found().await;
    let id = lost_after_funding(&mut world).await;
    // Nobody is there any more: no counterparty that claims, and no relay that tells dave what he wrote.
    world.nodes[1].kill_9();
    world.watcher.process.kill_9();
    // Something waits for the group that cannot be said: another offer.
    let offer = ["htlc", "offer", "dave", "--to", "sammy", "--amount", "60000", "--blocks", "60"];
    assert!(!world.run(&offer).status.success());
    world.nodes[0] = world.home.run("dave");
    let await_stage = |wanted: Value| {
        eventually(&format!("dave comes to {wanted}"), || {
            let shown = world.json(&["htlc", "show", "dave", &id]);
            (shown["swap"]["legs"][0]["stage"] == wanted).then_some(())
        });
    };
    await_stage("locked".into());
    let status = world.json(&["status", "dave"]);
    assert!(status["read_only"].is_string(), "{status}");
    let timeout = world.json(&["htlc", "show", "dave", &id])["swap"]["legs"][0]["timeout"].as_u64().unwrap();
    let server = Esplora::new(world.chain.url()).unwrap();
    let height = server.tip().await.unwrap().height;
    world.chain.mine(u32::try_from(timeout).unwrap() - height + 1).await;
    await_stage("refunding".into());
    world.chain.mine(8).await;
    await_stage(json!({ "done": "refunded" }));
    // All of it is back but the fees of two transactions.
    let balance = world.json(&["btc", "balance", "dave"]);
    let confirmed = balance["confirmed_sat"].as_u64().unwrap();
    assert!((9_995_000..10_000_000).contains(&confirmed), "{balance}");
    assert_eq!(world.payments("dave", &id, 0, &world.chain).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn preimages_are_in_no_log_and_in_no_output_before_they_are_public() {
    let chain = Chain::start().await;
    let mut pair = side_tests::swaps::Pair::plain(&chain).await;
    let id = pair.agree(side_node::btc::htlc::terms::LockKind::Taproot).await;
    let preimage = pair.payee.deal(&id).legs()[0].preimage().expect("the payee knows it").reveal();
    let deal = pair.payee.deal(&id);
    let view = serde_json::to_string(&side_node::btc::swaps::view::deal(&deal)).unwrap();
    assert!(!view.contains(&preimage) && !format!("{deal:?}").contains(&preimage));
    for notice in pair.payee.desk.notices(&id).unwrap() {
        assert!(!notice.words.contains(&preimage));
    }
    // Only the file of the swaps holds it, and that is the user's alone.
    use std::os::unix::fs::PermissionsExt as _;
    for entry in std::fs::read_dir(pair.payee.folder()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        }
    }
}
