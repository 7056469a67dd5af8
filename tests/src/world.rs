//! A group on one machine: a relay, nodes with homes of their own, and what they say about themselves.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use side_ledger::Genesis;
use side_node::daemon::membership::Memberships;
use side_node::home::Root;
use tempfile::TempDir;

use crate::process::{ASK_AGAIN, PATIENCE, Process, binary, eventually, foreign_variables};

/// A running `side-watcher` in a folder that outlives it.
pub struct Watcher {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    data: PathBuf,
}

impl Watcher {
    /// Starts a relay with its data in `data`, on a port of the system's choice.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, "127.0.0.1:0", |_| {})
    }

    /// Starts a relay at `listen`, with `change` made to the command.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_with(data: &Path, listen: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = program("side-watcher");
        command.arg("--listen").arg(listen).arg("--data").arg(data);
        change(&mut command);
        let mut process = Process::start("side-watcher", command);
        let ready = process.expect("side-watcher ready on ");
        let address = ready.rsplit_once("ws://").map(|(_, address)| address.trim_end_matches('/').parse());
        let address = address.expect("the ready line names the address").expect("an address");
        Self { process, address, data: data.to_owned() }
    }

    /// Starts it again at the same address, after its process has ended.
    pub fn start_again(&mut self) {
        *self = Self::start_with(&self.data.clone(), &self.address.to_string(), |_| {});
    }

    /// Its websocket address.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// A page: its status line and its body.
    ///
    /// # Panics
    /// If the relay does not serve it.
    pub fn page(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// All metrics, by name and labels without the prefix `side_watcher_`.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (_, text) = self.page("/metrics");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.strip_prefix("side_watcher_")?.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// One metric, 0 if it was never counted.
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics().get(name).copied().unwrap_or(0.0)
    }

    /// Waits until a metric has reached `least`.
    pub fn counted(&self, name: &str, least: f64) {
        eventually(&format!("{name} reaches {least}: {:?}", self.metrics()), || {
            (self.metric(name) >= least).then_some(())
        });
    }
}

/// A command of ours that is told nothing by the environment that the tests run in.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    for name in foreign_variables() {
        command.env_remove(name);
    }
    command
}

/// What `history NAME --json` says.
#[derive(Debug, Clone)]
pub struct History(pub Value);

impl History {
    /// The digest.
    pub fn digest(&self) -> &str {
        self.0["digest"].as_str().expect("a history has a digest")
    }

    /// The texts of all notes, in order.
    pub fn notes(&self) -> Vec<&str> {
        let entries = self.0["entries"].as_array().expect("a history has entries");
        entries.iter().filter(|entry| entry["kind"] == "note").filter_map(|entry| entry["body"].as_str()).collect()
    }
}

/// The notes for which a node's console has shown a receipt: they are acknowledged.
pub fn receipts(name: &str, node: &Process) -> Vec<String> {
    let prefix = format!("{name}: ");
    let lines = node.stdout();
    let own = lines.iter().filter_map(|line| Some(line.strip_prefix(&prefix)?.rsplit_once("  [")?.0));
    // What the node says of itself, its name for one, begins with a star.
    own.filter(|text| !text.starts_with("* ")).map(str::to_owned).collect()
}

/// A root of nodes, and the way to a relay.
pub struct Home {
    root: TempDir,
    relay: String,
}

impl Home {
    /// A new root whose nodes look for the relay at `relay`.
    ///
    /// # Panics
    /// If there is no room for a temporary folder.
    pub fn new(relay: &str) -> Self {
        Self { root: tempfile::tempdir().expect("a temporary folder"), relay: relay.to_owned() }
    }

    /// The root folder.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The folder of a node.
    pub fn node(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// `side-node` with this root and relay.
    pub fn command(&self) -> Command {
        let mut command = program("side-node");
        command.env("SIDE_HOME", self.path()).env("SIDE_RELAY", &self.relay);
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it does not start.
    pub fn side_node(&self, args: &[&str]) -> Output {
        self.command().args(args).output().expect("side-node starts")
    }

    /// Runs a command that must succeed; its output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.side_node(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "side-node {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Runs a command that must fail with `code`; what it said on stderr.
    ///
    /// # Panics
    /// If it does not.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.side_node(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "side-node {args:?}: {text}");
        text
    }

    /// `init NAME`.
    pub fn init(&self, name: &str) {
        self.ok(&["init", name]);
    }

    /// `run NAME` with pipes; it is ready when this returns.
    pub fn run(&self, name: &str) -> Process {
        let mut process = self.start(name);
        process.expect(" is ready in group ");
        process
    }

    /// `run NAME` with pipes.
    pub fn start(&self, name: &str) -> Process {
        let mut command = self.command();
        command.args(["run", name]);
        Process::start(name, command)
    }

    /// `history NAME --json`.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn history(&self, name: &str) -> History {
        History(serde_json::from_str(&self.ok(&["history", name, "--json"])).expect("JSON"))
    }

    /// `status NAME --json`.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn status(&self, name: &str) -> Value {
        serde_json::from_str(&self.ok(&["status", name, "--json"])).expect("JSON")
    }

    /// What the node's group is founded on.
    ///
    /// # Panics
    /// If the node has none.
    pub fn genesis(&self, name: &str) -> Genesis {
        let root = Root::find(Some(self.path().to_owned())).expect("a root");
        let groups = Memberships::load(&root.node(name)).expect("the node has a group");
        groups.default().invitation.genesis().clone()
    }

    /// Waits until the nodes hold every one of `notes` and show the same; the digest that they share.
    pub fn converge(&self, names: &[&str], notes: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let histories: Vec<History> = names.iter().map(|name| self.history(name)).collect();
            let missing = histories.iter().map(|history| {
                let held: HashSet<&str> = history.notes().into_iter().collect();
                notes.iter().filter(|note| !held.contains(**note)).collect::<Vec<_>>()
            });
            let missing: Vec<_> = names.iter().zip(missing).filter(|(_, missing)| !missing.is_empty()).collect();
            let digests: HashSet<&str> = histories.iter().map(History::digest).collect();
            if missing.is_empty() && digests.len() == 1 {
                return histories[0].digest().to_owned();
            }
            if Instant::now() > deadline {
                let statuses: Vec<String> = names.iter().map(|name| self.status(name).to_string()).collect();
                panic!("no convergence; missing: {missing:?}; digests: {digests:?}; {}", statuses.join("\n"));
            }
            thread::sleep(ASK_AGAIN);
        }
    }
}

/// A relay, two honest nodes that have talked to each other, and whatever an attacker does to them.
pub struct Stage {
    /// The relay.
    pub watcher: Watcher,
    /// The root of the nodes.
    pub home: Home,
    /// The nodes, running.
    pub nodes: Vec<(String, Process)>,
    notes: Vec<String>,
    _data: TempDir,
}

impl Stage {
    /// A relay and two nodes that hold each other's first note.
    pub fn set() -> Self {
        Self::set_with(|_, _| {})
    }

    /// [`Self::set`], with `change` made to the relay's command and its empty data folder.
    ///
    /// # Panics
    /// If the nodes do not find each other.
    pub fn set_with(change: impl FnOnce(&mut Command, &Path)) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let watcher = Watcher::start_with(data.path(), "127.0.0.1:0", |command| change(command, data.path()));
        let home = Home::new(&watcher.url());
        let mut nodes = Vec::new();
        for name in ["node1", "node2"] {
            home.init(name);
            nodes.push((name.to_owned(), home.run(name)));
        }
        let mut stage = Self { watcher, home, nodes, notes: Vec::new(), _data: data };
        stage.talk("before");
        stage
    }

    /// The group that the nodes are in.
    pub fn genesis(&self) -> Genesis {
        self.home.genesis("node1")
    }

    /// Each node writes a note with `word` in it, and all of them get all of it: they converge to equal digests.
    ///
    /// # Panics
    /// If they do not.
    pub fn talk(&mut self, word: &str) {
        for (name, node) in &mut self.nodes {
            let note = format!("{word} from {name}");
            assert!(node.type_line(&note), "{} does not read", node.report());
            self.notes.push(note);
        }
        let names: Vec<&str> = self.nodes.iter().map(|(name, _)| name.as_str()).collect();
        let notes: Vec<&str> = self.notes.iter().map(String::as_str).collect();
        self.home.converge(&names, &notes);
    }

    /// Nobody honest was harmed: every process runs, every node is connected on its first connection, and what they write still converges.
    ///
    /// # Panics
    /// If somebody was.
    pub fn unharmed(&mut self) {
        assert!(self.watcher.process.runs(), "the relay died; {}", self.watcher.process.report());
        assert!(self.watcher.page("/healthz").0.contains(" 200 "));
        self.talk("after");
        for (name, node) in &mut self.nodes {
            assert!(node.runs(), "{}", node.report());
            let status = self.home.status(name);
            assert_eq!(status["relay"]["connected"], true, "{status}");
            let lost = node.stdout().into_iter().find(|line| line.contains("no connection to the relay"));
            assert_eq!(lost, None, "{name} was disconnected");
        }
        assert!(!self.watcher.process.stderr().contains("panicked"), "{}", self.watcher.process.report());
    }
}
