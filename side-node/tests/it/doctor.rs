//! Each trouble that `doctor` knows, made for real, and seen to be found; and a healthy node, which is left alone.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use side_node::btc::network::Network;
use side_node::cli::RelayArgs;
use side_node::cli::commands::init::{InitArgs, init};
use side_node::daemon::{Daemon, DaemonConfig};
use side_node::doctor::{Patient, Report, State, examine};
use side_node::secrets::kdf::Cost;
use side_node::secrets::{Keyring, Sources, protect};

use crate::restored::roll_back;
use crate::support::{NOWHERE, TestRoot, copy_folder, relay, until, until_notes};

/// A node for which no relay is named, as a person's without flags and variables.
fn make(test: &TestRoot, name: &str) {
    let relay = RelayArgs { relay: None };
    let args = InitArgs {
        name: name.parse().unwrap(),
        join: None,
        group_name: None,
        passphrase: false,
        restore_wallet: false,
        relay,
    };
    init(&test.root, &args).unwrap();
}

async fn start(test: &TestRoot, name: &str) -> Daemon {
    Daemon::start(DaemonConfig::new(test.root.clone(), test.root.node(name))).await.unwrap()
}

fn patient(test: &TestRoot, name: &str) -> Patient {
    Patient::new(test.root.clone(), test.root.node(name), None)
}

fn look(test: &TestRoot, name: &str) -> Report {
    examine(patient(test, name), |_| {})
}

async fn look_running(test: &TestRoot, name: &str) -> Report {
    let patient = patient(test, name);
    tokio::task::spawn_blocking(move || examine(patient, |_| {})).await.unwrap()
}

/// The troubles of a report, by check.
fn troubles(report: &Report) -> Vec<&'static str> {
    report.findings.iter().filter(|finding| finding.state == State::Trouble).map(|finding| finding.check).collect()
}

/// Fails unless the check found trouble that speaks of `word`, and says what to do.
fn finds(report: &Report, check: &str, word: &str) {
    let found = report.findings.iter().any(|finding| {
        finding.check == check
            && finding.state == State::Trouble
            && finding.what.contains(word)
            && finding.next.as_ref().is_some_and(|next| !next.is_empty())
    });
    assert!(found, "{check} does not find {word:?}: {report:#?}");
}

/// Every file below a folder with its contents; sockets by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            all.insert(path, bytes);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_node_is_all_green_running_or_not_and_nothing_is_changed() {
    let test = TestRoot::new();
    make(&test, "node1");
    let node = start(&test, "node1").await;
    node.mailbox().note("hello").await.unwrap();
    until(&node, "the note is sealed", |status| status.pending == 0).await;
    let report = look_running(&test, "node1").await;
    assert_eq!(troubles(&report), [""; 0], "{report:#?}");
    assert_eq!(report.pid, Some(std::process::id()));
    node.stop().await.unwrap();

    let before = files(test.root.path());
    let report = look(&test, "node1");
    assert_eq!(troubles(&report), [""; 0], "{report:#?}");
    assert_eq!(report.pid, None);
    let after = files(test.root.path());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before == after, "a file was changed");
}

#[test]
fn a_folder_or_a_key_that_others_can_read_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let home = test.root.node("node1");
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.key_file(), Permissions::from_mode(0o640)).unwrap();
    let report = look(&test, "node1");
    finds(&report, "folder", "mode 755");
    finds(&report, "key", "mode 640");
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    fs::write(home.key_file(), "no key\n").unwrap();
    fs::set_permissions(home.key_file(), Permissions::from_mode(0o600)).unwrap();
    finds(&look(&test, "node1"), "key", "damaged");
    fs::remove_file(home.key_file()).unwrap();
    finds(&look(&test, "node1"), "key", "missing");
}

#[test]
fn a_folder_that_was_exchanged_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    make(&test, "node2");
    fs::copy(test.root.node("node2").key_file(), test.root.node("node1").key_file()).unwrap();
    finds(&look(&test, "node1"), "key", "another key");
}

#[test]
fn an_unknown_setting_and_a_damaged_registry_are_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    fs::write(test.root.node("node1").config_file(), "rellay = \"ws://x:1\"\n").unwrap();
    finds(&look(&test, "node1"), "config", "unknown key");
    fs::write(test.root.registry_file(), "{").unwrap();
    finds(&look(&test, "node1"), "registry", "damaged");
}

#[test]
fn a_process_that_holds_the_folder_and_does_not_answer_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let home = test.root.node("node1");
    let lock = home.lock().unwrap();
    finds(&look(&test, "node1"), "process", "does not listen");
    // It listens and says nothing.
    let listener = UnixListener::bind(home.control_socket()).unwrap();
    let report = look(&test, "node1");
    finds(&report, "process", "does not answer");
    finds(&report, "process", &std::process::id().to_string());
    // What a killed process leaves behind is no trouble.
    drop(listener);
    drop(lock);
    let report = look(&test, "node1");
    let process = report.findings.iter().find(|finding| finding.check == "process").unwrap();
    assert_eq!(process.state, State::Note, "{process:?}");
}

#[test]
fn a_damaged_database_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let path = test.root.node("node1").database_file();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3_000].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    finds(&look(&test, "node1"), "store", "damaged");
    fs::remove_file(&path).unwrap();
    finds(&look(&test, "node1"), "store", "no database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_copy_is_found_running_or_not() {
    let test = TestRoot::new();
    make(&test, "node1");
    let home = test.root.node("node1");
    let backup = test.folder.path().join("backup");
    copy_folder(home.path(), &backup);
    fs::remove_dir_all(home.path()).unwrap();
    copy_folder(&backup, home.path());
    let report = look(&test, "node1");
    finds(&report, "copy", "copied or restored");
    assert!(report.findings.iter().any(|it| it.next.as_ref().is_some_and(|next| next.contains("--trust-this-copy"))));
    let node = start(&test, "node1").await;
    finds(&look_running(&test, "node1").await, "copy", "read-only");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_against_the_own_key_is_found_running_or_not() {
    let test = TestRoot::new();
    let server = relay(&test.folder.path().join("relay"), 0).await;
    roll_back(&test, &server.url()).await;
    test.init("node2");
    let honest = test.start("node2", &server.url()).await;
    until_notes(&honest, 3).await;
    let config = DaemonConfig { trust_this_copy: true, ..test.config("node1", NOWHERE) };
    let node = Daemon::start(config).await.unwrap();
    node.mailbox().note("a second change of this number").await.unwrap();
    node.stop().await.unwrap();
    let node = test.start("node1", &server.url()).await;
    until(&node, "the proof is there", |status| !status.equivocators.is_empty()).await;
    finds(&look_running(&test, "node1").await, "fork", "this node's key");
    node.stop().await.unwrap();
    finds(&look(&test, "node1"), "fork", "this node's key");
    // For the others it is worth a word, no more.
    until(&honest, "the proof is there", |status| status.equivocators.len() == 1).await;
    let report = look_running(&test, "node2").await;
    let fork = report.findings.iter().find(|finding| finding.check == "fork").unwrap();
    assert_eq!(fork.state, State::Note, "{fork:?}");
    honest.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_set_back_is_found_running_or_not() {
    let test = TestRoot::new();
    make(&test, "node1");
    let node = start(&test, "node1").await;
    node.mailbox().note("hello").await.unwrap();
    let yesterday = |mut patient: Patient| {
        patient.now_ms -= 24 * 3_600 * 1_000;
        examine(patient, |_| {})
    };
    let looked_at = patient(&test, "node1");
    let report = tokio::task::spawn_blocking(move || yesterday(looked_at)).await.unwrap();
    finds(&report, "clock", "set back");
    node.stop().await.unwrap();
    finds(&yesterday(patient(&test, "node1")), "clock", "set back");
    let mut before = patient(&test, "node1");
    before.now_ms = 0;
    finds(&examine(before, |_| {}), "clock", "1970");
}

#[test]
fn a_full_disk_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let mut patient = patient(&test, "node1");
    patient.least_free = u64::MAX;
    finds(&examine(patient, |_| {}), "disk", "nearly full");
}

#[test]
fn too_few_open_files_are_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let program = env!("CARGO_BIN_EXE_side-node");
    let command = format!("ulimit -n 256; exec {program} --home {} doctor node1 --json", test.root.path().display());
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["healthy"], &report["troubles"]), (&false.into(), &1.into()), "{report}");
    let findings = report["nodes"][0]["findings"].as_array().unwrap();
    let files = findings.iter().find(|finding| finding["check"] == "files").unwrap();
    assert_eq!(files["state"], "trouble", "{files}");
}

#[test]
fn a_port_that_is_taken_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    fs::write(test.root.node("node1").config_file(), format!("listen = \"{listen}\"\n")).unwrap();
    finds(&look(&test, "node1"), "port", &listen.to_string());
    let page = format!("page = \"{listen}\"\n");
    fs::write(test.root.node("node1").config_file(), &page).unwrap();
    finds(&look(&test, "node1"), "port", "the page");
    drop(taken);
    assert!(!troubles(&look(&test, "node1")).contains(&"port"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_and_peers_that_cannot_be_reached_are_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let key = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    let text = format!("relay = \"ws://{gone}\"\npeers = [\"{key}@{gone}\"]\n");
    fs::write(test.root.node("node1").config_file(), text).unwrap();
    let report = look(&test, "node1");
    finds(&report, "relay", &gone.to_string());
    finds(&report, "peers", &gone.to_string());
    let node = start(&test, "node1").await;
    until(&node, "the relay was tried", |status| status.relay.as_ref().is_some_and(|relay| relay.problem.is_some()))
        .await;
    finds(&look_running(&test, "node1").await, "relay", &gone.to_string());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_away_is_found_and_named() {
    let test = TestRoot::new();
    make(&test, "node1");
    make(&test, "node2");
    let (leader, node) = (start(&test, "node1").await, start(&test, "node2").await);
    leader.mailbox().note("from the leader").await.unwrap();
    until_notes(&node, 1).await;
    until(&node, "a block is there", |status| status.height > 0).await;
    leader.stop().await.unwrap();
    node.mailbox().note("who seals this?").await.unwrap();
    until(&node, "the link is gone", |status| status.peers.iter().all(|link| !link.connected)).await;
    let report = look_running(&test, "node2").await;
    finds(&report, "blocks", "node1, who seals");
    finds(&report, "peers", "no other node");
    node.stop().await.unwrap();
}

/// A server that answers each question as `answer` says of its path.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0; 2048];
            let length = stream.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..length]);
            let body = answer(asked.split_whitespace().nth(1).unwrap_or_default());
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    url
}

#[test]
fn a_bitcoin_server_that_is_away_or_of_another_chain_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let config = test.root.node("node1").config_file();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name =
        |url: &str| fs::write(&config, format!("[bitcoin]\nnetwork = \"regtest\"\nesplora = \"{url}\"\n")).unwrap();
    name(&format!("http://{gone}"));
    finds(&look(&test, "node1"), "bitcoin", "does not answer");
    name(&server(|_| "1".repeat(64)));
    finds(&look(&test, "node1"), "bitcoin", "another chain");
}

/// A server of `network` that knows the first block, as if it had come at `height`.
fn at_the_beginning(network: Network, height: u32) -> String {
    let genesis = bitcoin::blockdata::constants::genesis_block(network.chain());
    let hash = genesis.block_hash().to_string();
    server(move |path| match path {
        "/block-height/1" => network.pinned_block().map(|(_, hash)| hash.to_string()).unwrap_or_default(),
        "/blocks/tip/hash" | "/block-height/0" => hash.clone(),
        path if path.ends_with("/header") => bitcoin::consensus::encode::serialize_hex(&genesis.header),
        _ => format!("{{\"id\":\"{hash}\",\"height\":{height}}}"),
    })
}

#[test]
fn a_bitcoin_server_that_is_behind_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let config = test.root.node("node1").config_file();
    let name = |network: Network, urls: &[String]| {
        fs::write(&config, format!("[bitcoin]\nnetwork = \"{network}\"\nesplora = {urls:?}\n")).unwrap();
    };
    name(Network::Signet, &[at_the_beginning(Network::Signet, 0)]);
    finds(&look(&test, "node1"), "bitcoin", "is behind: its last block");
    // A devnet mines when it is told to: it is behind only if another server has more.
    name(Network::Regtest, &[at_the_beginning(Network::Regtest, 100)]);
    let report = look(&test, "node1");
    assert_eq!(troubles(&report), [""; 0], "{report:#?}");
    name(Network::Regtest, &[at_the_beginning(Network::Regtest, 100), at_the_beginning(Network::Regtest, 94)]);
    let report = look(&test, "node1");
    assert_eq!(troubles(&report), [""; 0], "{report:#?}");
    name(Network::Regtest, &[at_the_beginning(Network::Regtest, 100), at_the_beginning(Network::Regtest, 93)]);
    let report = look(&test, "node1");
    finds(&report, "bitcoin", "it is at block 93, and another server at 100");
    assert_eq!(troubles(&report), ["bitcoin"], "{report:#?}");
}

#[test]
fn a_database_of_a_newer_version_is_found() {
    let test = TestRoot::new();
    make(&test, "node1");
    let path = test.root.node("node1").database_file();
    bdk_wallet::rusqlite::Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    finds(&look(&test, "node1"), "store", "newer version");
}

#[test]
fn a_wrong_passphrase_is_found_and_the_right_one_is_none() {
    let test = TestRoot::new();
    make(&test, "node1");
    let file = |name: &str, text: &str| {
        let path = test.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    let with = |path: Option<PathBuf>| {
        let root = test.root.clone().with_keyring(Keyring::new(path.map_or_else(Sources::default, Sources::file)));
        let home = root.node("node1");
        Patient::new(root, home, None)
    };
    let right = file("right", "correct horse");
    let passphrase = Sources::file(right.clone()).get("it").unwrap();
    protect::protect(&test.root.node("node1"), &passphrase, Cost::LEAST).unwrap();
    let report = examine(with(Some(file("wrong", "battery staple"))), |_| {});
    finds(&report, "key", "the passphrase is wrong");
    for good in [Some(right), None] {
        let report = examine(with(good), |_| {});
        assert_eq!(troubles(&report), [""; 0], "{report:#?}");
    }
    let exposed = file("exposed", "correct horse");
    fs::set_permissions(&exposed, Permissions::from_mode(0o644)).unwrap();
    finds(&examine(with(Some(exposed)), |_| {}), "key", "can be read by others");
}
