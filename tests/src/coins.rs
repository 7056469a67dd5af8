//! A chain of one's own with coins for a node's wallet, and a server in front of it that does not do what it should.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use btc_devnet::{Devnet, Options};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::process::eventually;
use crate::world::Home;

/// A devnet in this process, and a root with nodes whose wallets look at it.
pub struct Coins {
    /// The chain.
    pub devnet: Devnet,
    /// The nodes.
    pub home: Home,
    runtime: Runtime,
}

impl Coins {
    /// A fresh chain, and the nodes `dave` and `sammy` without coins.
    ///
    /// # Panics
    /// If the chain does not start.
    pub fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let devnet = runtime.block_on(Devnet::start(Options::default())).expect("the devnet starts");
        // Nobody relays: wallets need nobody.
        let home = Home::new("ws://127.0.0.1:9");
        home.init("dave");
        home.init("sammy");
        Self { devnet, home, runtime }
    }

    /// The same, and dave has a confirmed coin of `sats`.
    pub fn funded(sats: u64) -> Self {
        let coins = Self::new();
        coins.fund("dave", sats);
        coins.mine(1);
        coins
    }

    /// Has the faucet pay a node; the payment waits for a block.
    ///
    /// # Panics
    /// If the faucet does not.
    pub fn fund(&self, name: &str, sats: u64) {
        let address = self.json(&["btc", "address", name, "--new"]);
        let address =
            address["address"].as_str().expect("an address").parse::<bitcoin::Address<_>>().expect("an address");
        let amount = bitcoin::Amount::from_sat(sats);
        self.runtime.block_on(self.devnet.fund(&address.assume_checked(), amount)).expect("the faucet pays");
    }

    /// Ends the chain and begins another one, as a devnet does that is stopped and started.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_afresh(&mut self) {
        self.devnet = self.runtime.block_on(Devnet::start(Options::default())).expect("the devnet starts");
    }

    /// Mines blocks.
    ///
    /// # Panics
    /// If the chain does not.
    pub fn mine(&self, blocks: u32) {
        self.runtime.block_on(self.devnet.mine(blocks)).expect("blocks");
    }

    /// Takes blocks off the chain and puts one more in their place.
    ///
    /// # Panics
    /// If the chain does not.
    pub fn reorg(&self, depth: u32) {
        self.runtime.block_on(self.devnet.reorg(depth, depth + 1)).expect("a reorganisation");
    }

    /// The same, and what the blocks held is dropped for good.
    ///
    /// # Panics
    /// If the chain does not.
    pub fn reorg_and_drop(&self, depth: u32) {
        let empty = vec![Vec::new(); depth as usize + 1];
        self.runtime.block_on(self.devnet.reorg_with(depth, empty)).expect("a reorganisation");
    }

    /// Whether a transaction waits in the chain's mempool or is in a block.
    pub fn knows(&self, txid: &str) -> bool {
        ask(self.devnet.address(), &format!("/tx/{txid}")).0 == 200
    }

    /// How many transactions wait in the mempool.
    ///
    /// # Panics
    /// If the server does not say.
    pub fn waiting(&self) -> u64 {
        let answer = ask(self.devnet.address(), "/mempool").1;
        serde_json::from_str::<Value>(&answer).expect("JSON")["count"].as_u64().expect("a count")
    }

    /// The arguments with network and server behind them.
    pub fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        self.args_at(args, self.devnet.url())
    }

    /// The arguments with the network and another server behind them.
    pub fn args_at<'a>(&self, args: &[&'a str], url: &'a str) -> Vec<&'a str> {
        [args, &["--network", "regtest", "--esplora", url]].concat()
    }

    /// Runs a wallet command that must succeed, with `--json`; what it says.
    ///
    /// # Panics
    /// If it fails or says no JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.home.ok(&[&self.args(args)[..], &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    /// Runs a wallet command that must succeed; what it says.
    pub fn ok(&self, args: &[&str]) -> String {
        self.home.ok(&self.args(args))
    }

    /// Runs a wallet command that must fail with `code`; what it says on stderr.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        self.home.fails(code, &self.args(args))
    }

    /// Runs a wallet command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.home.side_node(&self.args(args))
    }

    /// What a node's wallet has after a sync: all of it, in sats.
    ///
    /// # Panics
    /// If the command says no number.
    pub fn total(&self, name: &str) -> u64 {
        self.json(&["btc", "balance", name])["total_sat"].as_u64().expect("a balance")
    }

    /// Pays from dave to sammy without waiting; what the command says.
    pub fn pay(&self, sats: u64) -> Value {
        self.json(&["btc-transfer", "--amount", &sats.to_string(), "--confirmations", "0"])
    }

    /// Ids and states of a node's transactions, after a sync.
    pub fn states(&self, name: &str) -> Vec<(String, String)> {
        let history = self.json(&["btc", "history", name]);
        let entries = history["transactions"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        entries.iter().map(|entry| (text(&entry["txid"]), text(&entry["state"]))).collect()
    }
}

impl Default for Coins {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`Liar`] does with a request.
#[derive(Debug, Clone)]
pub enum Lie {
    /// It passes it on: the truth.
    Truth,
    /// It answers itself.
    Say(u16, String),
    /// It passes it on, and says this instead of the answer.
    Swallow(u16, String),
    /// It never answers.
    Silence,
}

type Rule = Box<dyn Fn(&str, &str) -> Lie + Send>;

/// A server in front of a chain that lies by a rule. Its threads end with the process.
pub struct Liar {
    /// Its address.
    pub url: String,
    rule: Arc<Mutex<Rule>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    /// A server in front of `truth`; `rule` gets `METHOD PATH` and the body.
    ///
    /// # Panics
    /// If there is no port.
    pub fn start(truth: SocketAddr, rule: impl Fn(&str, &str) -> Lie + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(rule)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (held, heard) = (Arc::clone(&rule), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rule, heard) = (Arc::clone(&held), Arc::clone(&heard));
                thread::spawn(move || lie(stream, truth, &rule, &heard));
            }
        });
        Self { url, rule, asked }
    }

    /// Lies by another rule from now on.
    pub fn lie(&self, rule: impl Fn(&str, &str) -> Lie + Send + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    /// Waits until somebody has asked for something that begins with `what`.
    pub fn was_asked(&self, what: &str) {
        eventually(what, || {
            self.asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .any(|asked| asked.starts_with(what))
                .then_some(())
        });
    }
}

fn lie(mut stream: TcpStream, truth: SocketAddr, rule: &Mutex<Rule>, heard: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let asked = first.trim_end().rsplit_once(' ')?.0.to_owned();
        let body = String::from_utf8_lossy(&body).into_owned();
        let lie = rule.lock().unwrap_or_else(PoisonError::into_inner)(&asked, &body);
        let (method, path) = asked.split_once(' ')?;
        let answer = match lie {
            Lie::Truth => request(truth, method, path, &body),
            Lie::Say(status, text) => (status, text.into_bytes()),
            Lie::Swallow(status, text) => {
                request(truth, method, path, &body);
                (status, text.into_bytes())
            }
            Lie::Silence => {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                // Until whoever asked goes away.
                let _ = reader.read_line(&mut String::new());
                return None;
            }
        };
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let head = format!("HTTP/1.1 {} x\r\ncontent-length: {}\r\n\r\n", answer.0, answer.1.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.1)).ok()?;
    }
}

/// Status and body of a GET.
pub fn ask(server: SocketAddr, path: &str) -> (u16, String) {
    let (status, body) = request(server, "GET", path, "");
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Status and body of a request over a connection of its own; 0 and nothing if nobody answers.
fn request(server: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
    let answer = (|| {
        let mut stream = TcpStream::connect(server).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&answer[..split]).to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = &answer[split + 4..];
        let body = if head.contains("transfer-encoding: chunked") { unchunk(body)? } else { body.to_vec() };
        Some((status, body))
    })();
    answer.unwrap_or((0, Vec::new()))
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?.trim(), 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + length)?);
        body = body.get(end + 4 + length..)?;
    }
}
