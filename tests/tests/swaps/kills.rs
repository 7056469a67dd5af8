//! kill -9 at every stage, of real programs that talk through a real relay: what was begun is ended, once.

use std::process::Output;

use serde_json::Value;
use side_tests::chain::{Chain, Control};
use side_tests::process::{Process, eventually};
use side_tests::world::{Home, Watcher, program};

const POLL: &str = "0.05";

struct World {
    chain: Chain,
    home: Home,
    nodes: Vec<Process>,
    _watcher: Watcher,
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
        Self { chain, home, nodes, _watcher: watcher, _data: data }
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

    fn stage(&self, name: &str) -> Value {
        self.json(&["htlc", "list", name, "--all"])["swaps"][0]["legs"][0]["stage"].clone()
    }

    fn await_stage(&self, name: &str, wanted: &[Value]) {
        eventually(&format!("{name} comes to {wanted:?}"), || wanted.contains(&self.stage(name)).then_some(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_every_stage_loses_no_coin() {
    let mut world = World::found().await;
    // dave needs coins.
    let address = {
        let root = side_node::home::Root::find(Some(world.home.path().to_owned())).unwrap();
        let chain = "regtest".parse().unwrap();
        let place = side_node::btc::swaps::Desk::wallet_place(&root.node("dave"), &chain);
        place.ensure_seed().unwrap();
        side_node::btc::wallet::Wallet::open(&place).unwrap().address().unwrap().address
    };
    world.chain.fund(&address, bitcoin::Amount::from_sat(10_000_000)).await;
    world.chain.mine(1).await;
    eventually("the nodes know each other", || {
        let peers = world.json(&["peers", "dave"]);
        (peers["members"].as_array().is_some_and(|members| members.len() == 2)).then_some(())
    });

    let made = world.json(&["htlc", "offer", "dave", "--to", "sammy", "--amount", "50000", "--blocks", "60"]);
    let id = made["id"].as_str().unwrap()[..12].to_owned();
    world.kill(0);
    eventually("the offer arrives", || {
        let offers = world.json(&["htlc", "list", "sammy"]);
        (offers["offers"].as_array().is_some_and(|offers| !offers.is_empty())).then_some(())
    });
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
    let shown = world.json(&["htlc", "show", "dave", &id]);
    let lock = shown["swap"]["legs"][0]["address"].as_str().unwrap();
    let script = lock.parse::<bitcoin::Address<_>>().unwrap().assume_checked().script_pubkey();
    let server = side_node::btc::esplora::Esplora::new(world.chain.url()).unwrap();
    let paid = server.script_txs(&script, None).await.unwrap();
    let outputs: usize =
        paid.iter().map(|tx| tx.to_tx().output.iter().filter(|output| output.script_pubkey == script).count()).sum();
    assert_eq!(outputs, 1);
    assert_eq!(shown["swap"]["legs"][0]["preimage"].as_str().map(str::len), Some(64));
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
