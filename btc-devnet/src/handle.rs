//! A mailbox to a chain.
//!
//! The chain lives on a thread of its own, which alone holds the [`Node`]. Tasks send it jobs and await their answers; readers look at the
//! index, which changes only once a job is complete: nobody sees half a reorganisation.
//!
//! ```text
//!   tasks ──jobs──► chain's thread: Node ──events──► Follower ──settled──► Index ◄── readers
//! ```

use std::sync::{Arc, RwLock, RwLockReadGuard};

use bitcoin::{Amount, Block, BlockHash, Network, ScriptBuf, Transaction, Txid};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::index::Index;
use crate::node::{
    Coin, Departure, Error as NodeError, FeeEstimates, MempoolEntry, Mining, Node, Observer, PackageReport, Rejection,
    Reorg, TestAccept, Tip,
};

/// Jobs that wait for the chain's thread. Callers beyond it wait their turn, so that memory stays bounded.
const MOST_JOBS: usize = 256;

/// The chain has stopped: its handle outlived it, or its thread failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chain has stopped")]
pub struct Stopped;

/// Why a command to a chain failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The chain is gone.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The chain refused.
    #[error(transparent)]
    Node(#[from] NodeError),
}

type Job = Box<dyn FnOnce(&mut Node) + Send>;

/// A mailbox to a chain. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    index: Arc<RwLock<Index>>,
}

impl Handle {
    /// What the chain holds now. Keep the guard short: the chain cannot go on while it is held, and never hold it across an await.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs a job on the chain's thread.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |node| {
            let _ = answer.send(job(node));
        });
        self.jobs.send(job).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Mines blocks that pay `reward` (`None`: the faucet), with what waits in the mempool.
    pub async fn mine(&self, blocks: u32, reward: Option<ScriptBuf>) -> Result<Vec<BlockHash>, CommandError> {
        Ok(self.run(move |node| node.mine(blocks, reward.as_deref())).await??)
    }

    /// Takes `depth` blocks off and puts `length` empty ones in their place, so that what they held waits again.
    pub async fn reorg(&self, depth: u32, length: u32) -> Result<Reorg, CommandError> {
        Ok(self.run(move |node| node.reorg(depth, length)).await??)
    }

    /// The same with what each new block shall hold, in order, instead of what waits: to drop a payment, or to confirm its rival.
    pub async fn reorg_with(&self, depth: u32, blocks: Vec<Vec<Transaction>>) -> Result<Reorg, CommandError> {
        Ok(self.run(move |node| node.reorg_with(depth, blocks)).await??)
    }

    /// Has the faucet pay `amount` to `script`; the transaction waits in the mempool.
    pub async fn fund(&self, script: ScriptBuf, amount: Amount) -> Result<Txid, CommandError> {
        Ok(self.run(move |node| node.fund(&script, amount)).await??)
    }

    /// Sets the chain's clock, in seconds since 1970. Returns what it shows.
    pub async fn set_time(&self, time: u32) -> Result<u32, CommandError> {
        Ok(self.run(move |node| node.set_time(time).map(|()| node.time())).await??)
    }

    /// Moves the chain's clock ahead by some seconds. Returns what it shows.
    pub async fn advance_time(&self, seconds: u32) -> Result<u32, CommandError> {
        Ok(self.run(move |node| node.advance_time(seconds).map(|_| node.time())).await??)
    }

    /// Changes when blocks are mined by themselves.
    pub async fn set_mining(&self, mining: Mining) -> Result<(), Stopped> {
        self.run(move |node| node.set_mining(mining)).await
    }

    /// The last block.
    pub async fn tip(&self) -> Result<Tip, Stopped> {
        self.run(|node| node.tip()).await
    }

    /// Takes in a block from elsewhere.
    pub async fn submit_block(&self, block: Block) -> Result<(), CommandError> {
        Ok(self.run(move |node| node.submit_block(&block)).await??)
    }

    /// Hands a transaction to the mempool. The inner error is Bitcoin Core's reason to refuse it.
    pub async fn submit(&self, transaction: Transaction) -> Result<Result<Txid, Rejection>, Stopped> {
        self.run(move |node| node.submit(transaction)).await
    }

    /// Hands a package to the mempool. `max_fee_rate` is in satoshis a thousand virtual bytes.
    pub async fn submit_package(
        &self,
        transactions: Vec<Transaction>,
        max_fee_rate: Option<u64>,
    ) -> Result<Result<PackageReport, Rejection>, Stopped> {
        self.run(move |node| node.submit_package(transactions, max_fee_rate)).await
    }

    /// Judges transactions as the mempool would, without taking them in.
    pub async fn test_accept(
        &self,
        transactions: Vec<Transaction>,
    ) -> Result<Result<Vec<TestAccept>, Rejection>, Stopped> {
        self.run(move |node| node.test_accept(transactions)).await
    }

    /// What fee rates lead into a block.
    pub async fn fees(&self) -> Result<FeeEstimates, Stopped> {
        self.run(|node| node.fees()).await
    }
}

/// The mailbox's other end.
pub(crate) struct Mailbox {
    jobs: mpsc::Receiver<Job>,
    handle: Handle,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        let (sender, jobs) = mpsc::channel(MOST_JOBS);
        let index = Arc::new(RwLock::new(Index::new(Network::Regtest)));
        Self { jobs, handle: Handle { jobs: sender, index } }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What the node tells its news to.
    pub(crate) fn follower(&self) -> Follower {
        Follower { index: self.handle.index.clone(), news: Vec::new() }
    }

    /// Does jobs one after the other, and mines by the clock, until `stop`.
    pub(crate) async fn work(self, node: &mut Node, stop: CancellationToken) {
        let Self { mut jobs, handle } = self;
        // Only others' handles may keep the channel open.
        drop(handle);
        loop {
            let due = node.next_block_at();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(due) => {
                    if let Err(error) = node.tick() {
                        tracing::error!(%error, "cannot mine by the clock");
                    }
                }
                job = jobs.recv() => match job {
                    Some(job) => job(node),
                    None => return,
                },
            }
        }
    }
}

async fn sleep_until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(Instant::from_std(due)).await,
        None => std::future::pending().await,
    }
}

/// Gathers what one command changes and gives it to the readers in one piece.
pub(crate) struct Follower {
    index: Arc<RwLock<Index>>,
    news: Vec<News>,
}

enum News {
    Connected(Block),
    Disconnected,
    Entered(MempoolEntry),
    Left(Txid),
}

impl Observer for Follower {
    fn connected(&mut self, block: &Block, _height: u32, _spent: &[Vec<Coin>]) {
        self.news.push(News::Connected(block.clone()));
    }

    fn disconnected(&mut self, _block: &Block, _height: u32) {
        self.news.push(News::Disconnected);
    }

    fn entered(&mut self, entry: &MempoolEntry) {
        self.news.push(News::Entered(entry.clone()));
    }

    fn left(&mut self, txid: &Txid, _why: Departure) {
        self.news.push(News::Left(*txid));
    }

    fn settled(&mut self) {
        let mut index = self.index.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for news in self.news.drain(..) {
            match news {
                News::Connected(block) => index.connect(block),
                News::Disconnected => index.disconnect(),
                News::Entered(entry) => index.enter(entry.transaction, entry.spent, entry.time.into()),
                News::Left(txid) => index.leave(&txid),
            }
        }
    }
}
