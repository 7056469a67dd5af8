//! A regtest chain that tests command: a devnet in this process, or an Esplora server with a bitcoind behind it that the environment names.
//!
//! `SIDE_TESTS_ESPLORA=http://127.0.0.1:3000 SIDE_TESTS_BITCOIND=http://user:password@127.0.0.1:18443/wallet/NAME`

use std::time::Duration;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Amount, Transaction, Txid};
use btc_devnet::{Devnet, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Names an Esplora server of a regtest chain.
pub const ESPLORA_VARIABLE: &str = "SIDE_TESTS_ESPLORA";
/// Names the RPC of the bitcoind behind it, with user and password, and with a wallet that has coins.
pub const BITCOIND_VARIABLE: &str = "SIDE_TESTS_BITCOIND";
/// How long an index may take to follow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What tests do to a chain.
pub trait Control {
    /// The Esplora server's address.
    fn url(&self) -> &str;
    /// Mines blocks with what waits.
    fn mine(&self, blocks: u32) -> impl Future<Output = ()>;
    /// Replaces the last `depth` blocks by `length` empty ones.
    fn reorg(&self, depth: u32, length: u32) -> impl Future<Output = ()>;
    /// Pays an address; the payment waits for a block.
    fn fund(&self, address: &Address, amount: Amount) -> impl Future<Output = ()>;
    /// Hands a transaction to the mempool; the error is the node's reason.
    fn submit(&self, transaction: &Transaction) -> impl Future<Output = Result<Txid, String>>;
    /// Moves the chain's clock ahead.
    fn advance(&self, seconds: u32) -> impl Future<Output = ()>;
}

/// A chain.
pub enum Chain {
    /// In this process.
    Devnet(Devnet),
    /// Of the environment.
    Real(Bitcoind),
}

impl Chain {
    /// The chain that the environment names, else a new devnet.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start() -> Self {
        match (std::env::var(ESPLORA_VARIABLE), std::env::var(BITCOIND_VARIABLE)) {
            (Ok(esplora), Ok(rpc)) => Self::Real(Bitcoind::new(esplora, &rpc)),
            _ => Self::devnet().await,
        }
    }

    /// A new devnet, for tests of several chains.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn devnet() -> Self {
        // Some days ago, so that its clock can be moved ahead.
        let start_time = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|now| (now.as_secs() - 90 * 86_400) as u32)
            .ok();
        Self::Devnet(Devnet::start(Options { start_time, ..Options::default() }).await.expect("a devnet starts"))
    }
}

impl Control for Chain {
    fn url(&self) -> &str {
        match self {
            Self::Devnet(devnet) => devnet.url(),
            Self::Real(real) => real.url(),
        }
    }

    async fn mine(&self, blocks: u32) {
        match self {
            Self::Devnet(devnet) => drop(devnet.mine(blocks).await.expect("a devnet mines")),
            Self::Real(real) => real.mine(blocks).await,
        }
    }

    async fn reorg(&self, depth: u32, length: u32) {
        match self {
            Self::Devnet(devnet) => drop(devnet.reorg(depth, length).await.expect("a devnet reorganises")),
            Self::Real(real) => real.reorg(depth, length).await,
        }
    }

    async fn fund(&self, address: &Address, amount: Amount) {
        match self {
            Self::Devnet(devnet) => drop(devnet.fund(address, amount).await.expect("the faucet pays")),
            Self::Real(real) => real.fund(address, amount).await,
        }
    }

    async fn submit(&self, transaction: &Transaction) -> Result<Txid, String> {
        match self {
            Self::Devnet(devnet) => {
                devnet.submit(transaction.clone()).await.expect("the chain runs").map_err(|refused| refused.to_string())
            }
            Self::Real(real) => real.submit(transaction).await,
        }
    }

    async fn advance(&self, seconds: u32) {
        match self {
            Self::Devnet(devnet) => drop(devnet.advance_time(seconds).await.expect("the clock moves")),
            Self::Real(real) => real.advance(seconds).await,
        }
    }
}

/// A bitcoind by JSON-RPC, with an Esplora server that follows it.
pub struct Bitcoind {
    esplora: String,
    host: String,
    path: String,
    authorization: String,
}

impl Bitcoind {
    fn new(esplora: String, rpc: &str) -> Self {
        let rest = rpc.strip_prefix("http://").expect("the RPC is reached by http://");
        let (credentials, rest) = rest.split_once('@').expect("the RPC's address has user:password@");
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Self { esplora, host: host.into(), path: format!("/{path}"), authorization: base64(credentials.as_bytes()) }
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, String> {
        let body = json!({ "jsonrpc": "1.0", "id": 0, "method": method, "params": params }).to_string();
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.path,
            self.host,
            self.authorization,
            body.len()
        );
        let answer = exchange(&self.host, &request).await;
        let answer: Value = serde_json::from_str(&answer).map_err(|e| format!("{method}: {e}: {answer}"))?;
        match &answer["error"] {
            Value::Null => Ok(answer["result"].clone()),
            error => Err(error["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    async fn must(&self, method: &str, params: Value) -> Value {
        self.call(method, params).await.unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    /// Waits until the Esplora server has the node's tip.
    async fn settle(&self) {
        let tip = self.must("getbestblockhash", json!([])).await;
        let host = self.esplora.trim_start_matches("http://");
        let (host, path) =
            host.split_once('/').map_or((host, String::new()), |(host, path)| (host, format!("/{path}")));
        let request = format!("GET {path}/blocks/tip/hash HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let followed = async {
            while exchange(host, &request).await.trim() != tip.as_str().unwrap_or_default() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, followed).await.expect("the Esplora server follows its node");
    }
}

impl Control for Bitcoind {
    fn url(&self) -> &str {
        &self.esplora
    }

    async fn mine(&self, blocks: u32) {
        let address = self.must("getnewaddress", json!([])).await;
        self.must("generatetoaddress", json!([blocks, address])).await;
        self.settle().await;
    }

    async fn reorg(&self, depth: u32, length: u32) {
        let tip = self.must("getblockcount", json!([])).await.as_u64().expect("a height");
        let first = self.must("getblockhash", json!([tip + 1 - u64::from(depth)])).await;
        self.must("invalidateblock", json!([first])).await;
        let address = self.must("getnewaddress", json!([])).await;
        for _ in 0..length {
            self.must("generateblock", json!([address, []])).await;
        }
        self.settle().await;
    }

    async fn fund(&self, address: &Address, amount: Amount) {
        self.must("sendtoaddress", json!([address, amount.to_btc()])).await;
    }

    async fn submit(&self, transaction: &Transaction) -> Result<Txid, String> {
        self.call("sendrawtransaction", json!([serialize_hex(transaction)])).await.map(|_| transaction.compute_txid())
    }

    async fn advance(&self, seconds: u32) {
        let info = self.must("getblockchaininfo", json!([])).await;
        let now = info["time"].as_u64().expect("a time");
        self.must("setmocktime", json!([now + u64::from(seconds)])).await;
    }
}

/// Sends a request and reads the body of the answer.
async fn exchange(host: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(host).await.unwrap_or_else(|e| panic!("{host}: {e}"));
    stream.write_all(request.as_bytes()).await.expect("a server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("a server answers");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for nth in 0..4 {
            let digit = (number >> (18 - 6 * nth) & 63) as usize;
            text.push(if nth <= three.len() { DIGITS[digit] as char } else { '=' });
        }
    }
    text
}
