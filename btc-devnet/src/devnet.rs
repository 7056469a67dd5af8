//! A chain with its server, in one value: what a test starts and a program runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use bitcoin::{Address, Amount, Network, ScriptBuf, Transaction, Txid};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::handle::{CommandError, Handle, Mailbox, Stopped};
use crate::http;
use crate::node::{self, Mining, Node, Premine, Rejection, Reorg, Tip};
use crate::wallet::{BadMnemonic, FundedWallet, MNEMONIC};

/// Addresses of the funded wallet that a new chain pays, each with one block's reward of 50 BTC.
pub const FUNDED: u32 = 10;
/// Threads that answer requests: an answer is made in microseconds, so that more would only wait for each other.
const SERVER_THREADS: usize = 2;

/// How to start a [`Devnet`]. The default suits tests: a free port on loopback, blocks on demand, nothing kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the chain is called on its page.
    pub name: String,
    /// Where its server listens; port 0 has the system choose a free one.
    pub listen: SocketAddr,
    /// Where the chain is kept. `None`: in a temporary folder that goes when the chain stops.
    pub state: Option<PathBuf>,
    /// When blocks are mined by themselves.
    pub mining: Mining,
    /// The words of the wallet that a new chain's first coins go to.
    pub mnemonic: String,
    /// When the chain's clock starts, in seconds since 1970; `None`: now. See [`node::Options::start_time`].
    pub start_time: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "devnet".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: None,
            mining: Mining::OnDemand,
            mnemonic: MNEMONIC.into(),
            start_time: None,
        }
    }
}

/// Why a devnet does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was tried.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The mnemonic is none.
    #[error(transparent)]
    Mnemonic(#[from] BadMnemonic),
    /// The chain cannot be opened.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The chain's thread failed before it could say why: a bug.
    #[error("the chain's thread failed while it started")]
    Failed,
}

/// What is told of a chain beside its blocks.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) name: Arc<str>,
    pub(crate) url: Arc<str>,
    pub(crate) wallet: Arc<FundedWallet>,
}

impl About {
    /// The addresses that a new chain pays.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        (0..FUNDED).map(|index| self.wallet.address(index)).collect()
    }
}

/// A running chain and its Esplora server. Dropping it stops both; a chain in a temporary folder is deleted.
///
/// It has threads of its own and needs no runtime, so that a test may await its methods on any.
pub struct Devnet {
    handle: Handle,
    about: About,
    address: SocketAddr,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Devnet {
    /// Opens the chain, funds the wallet of a new one, and serves. When this returns, the server answers.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let wallet = Arc::new(FundedWallet::new(&options.mnemonic)?);
        let listener = std::net::TcpListener::bind(options.listen)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, listener))
            })
            .map_err(|source| StartError::Listen { address: options.listen, source });
        let (address, listener) = listener?;
        let about = About {
            name: options.name.as_str().into(),
            url: format!("http://{address}").into(),
            wallet: wallet.clone(),
        };
        let addresses = about.addresses();
        let premine = addresses.iter().map(|address| Premine { script_pubkey: address.script_pubkey(), blocks: 1 });
        let node = node::Options {
            dir: options.state,
            premine: premine.collect(),
            mining: options.mining,
            start_time: options.start_time,
            ..node::Options::default()
        };
        let mailbox = Mailbox::new();
        let stop = CancellationToken::new();
        let mut devnet = Self { handle: mailbox.handle(), about, address, stop, threads: Vec::new() };
        devnet.start_chain(node, mailbox).await?;
        devnet.start_server(listener).await?;
        Ok(devnet)
    }

    async fn start_chain(&mut self, options: node::Options, mailbox: Mailbox) -> Result<(), StartError> {
        let (opened, opening) = oneshot::channel();
        let stop = self.stop.clone();
        self.spawn("chain", move || {
            let follower = mailbox.follower();
            let mut node = match Node::open(options, Box::new(follower)) {
                Ok(node) => node,
                Err(error) => return drop(opened.send(Err(StartError::Node(error)))),
            };
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(StartError::Thread(error)))),
            };
            let _ = opened.send(Ok(()));
            runtime.block_on(mailbox.work(&mut node, stop));
        })?;
        opening.await.unwrap_or(Err(StartError::Failed))
    }

    async fn start_server(&mut self, listener: std::net::TcpListener) -> Result<(), StartError> {
        let (opened, opening) = oneshot::channel();
        let stop = self.stop.clone();
        let router = http::router(self.handle.clone(), self.about.clone());
        let address = self.address;
        self.spawn("server", move || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = match builder.worker_threads(SERVER_THREADS).enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(StartError::Thread(error)))),
            };
            runtime.block_on(async {
                match TcpListener::from_std(listener) {
                    Ok(listener) => {
                        let _ = opened.send(Ok(()));
                        http::server::serve(listener, router, stop).await;
                    }
                    Err(source) => drop(opened.send(Err(StartError::Listen { address, source }))),
                }
            });
        })?;
        opening.await.unwrap_or(Err(StartError::Failed))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work).map_err(StartError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    /// The Esplora server's address, such as `http://127.0.0.1:3002`.
    pub fn url(&self) -> &str {
        &self.about.url
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The wallet that a new chain's first coins went to.
    pub fn wallet(&self) -> &FundedWallet {
        &self.about.wallet
    }

    /// A mailbox to the chain, for what has no method here and for tasks of their own.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Mines blocks that pay the faucet, with what waits in the mempool. Returns the tip.
    pub async fn mine(&self, blocks: u32) -> Result<Tip, CommandError> {
        self.handle.mine(blocks, None).await?;
        Ok(self.tip().await?)
    }

    /// Mines blocks that pay `script`. Returns the tip.
    pub async fn mine_to(&self, script: ScriptBuf, blocks: u32) -> Result<Tip, CommandError> {
        self.handle.mine(blocks, Some(script)).await?;
        Ok(self.tip().await?)
    }

    /// Takes `depth` blocks off the chain and puts `length` empty ones in their place. What they held waits again, if it is valid.
    pub async fn reorg(&self, depth: u32, length: u32) -> Result<Reorg, CommandError> {
        self.handle.reorg(depth, length).await
    }

    /// The same with what each new block shall hold, in order, instead of what waits: to drop a payment, or to confirm its rival. Its
    /// transactions must be valid there.
    pub async fn reorg_with(&self, depth: u32, blocks: Vec<Vec<Transaction>>) -> Result<Reorg, CommandError> {
        self.handle.reorg_with(depth, blocks).await
    }

    /// Has the faucet pay an address; the transaction waits in the mempool until a block is mined.
    ///
    /// # Panics
    /// If the address is not one of regtest.
    pub async fn fund(&self, address: &Address, amount: Amount) -> Result<Txid, CommandError> {
        assert!(address.as_unchecked().is_valid_for_network(Network::Regtest), "{address} is not a regtest address");
        self.handle.fund(address.script_pubkey(), amount).await
    }

    /// Moves the chain's clock ahead. The next block has the new time.
    pub async fn advance_time(&self, seconds: u32) -> Result<u32, CommandError> {
        self.handle.advance_time(seconds).await
    }

    /// Hands a transaction to the mempool. The inner error is Bitcoin Core's reason to refuse it.
    pub async fn submit(&self, transaction: Transaction) -> Result<Result<Txid, Rejection>, Stopped> {
        self.handle.submit(transaction).await
    }

    /// The last block.
    pub async fn tip(&self) -> Result<Tip, Stopped> {
        self.handle.tip().await
    }

    /// Stops the server and the chain and waits for both: what a chain with a state folder holds is on disk then.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
