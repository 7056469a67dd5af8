//! The node and what can be asked of it.

use std::time::Instant;

use bitcoin::{Amount, Block, BlockHash, Script, ScriptBuf, Transaction, Txid};

use super::{
    Error, FeeEstimates, Mining, Observer, PackageReport, Rejection, Reorg, TestAccept, Tip,
    open::{Home, disk_error},
};
use crate::{
    chain::Chain,
    clock::Clock,
    coins::Coins,
    faucet::Faucet,
    journal::Journal,
    kernel::{Kernel, Verdict},
    mempool::{Context, Mempool, RecentBlocks},
    miner::{self, Blueprint},
    policy::FeeRate,
};

/// The most blocks that one command mines. Each is validated, kept and indexed.
pub const MAX_BLOCKS: u32 = 100_000;

/// One regtest chain. See the [module](super).
///
/// # Durability
/// With a directory, a command's blocks are on disk before the observer's [`settled`](Observer::settled) and before the call
/// returns; a restart goes on from the last such block. Mempool transactions are written as they enter, so that they survive the end of the process, but a
/// crash of the machine may lose the latest.
pub struct Node {
    // Dropped before the folder that its block files lie in.
    pub(super) kernel: Kernel,
    pub(super) chain: Chain,
    pub(super) coins: Coins,
    pub(super) mempool: Mempool,
    pub(super) recent: RecentBlocks,
    pub(super) faucet: Faucet,
    pub(super) clock: Clock,
    pub(super) observer: Box<dyn Observer>,
    pub(super) reward: ScriptBuf,
    pub(super) mining: Mining,
    pub(super) next_block: Option<Instant>,
    /// Makes every block of this node different.
    pub(super) nonce: u64,
    /// Accepted blocks, in the order of acceptance.
    pub(super) blocks_log: Option<Journal>,
    /// Transactions that entered the mempool since the start.
    pub(super) mempool_log: Option<Journal>,
    pub(super) home: Home,
}

impl Node {
    /// The end of the best chain.
    pub fn tip(&self) -> Tip {
        let tip = self.chain.tip();
        Tip { hash: tip.hash, height: self.chain.height(), time: tip.time, median_time_past: tip.median_time_past }
    }

    /// A block that this node has seen, of the best chain or not.
    ///
    /// # Errors
    /// [`Error::Kernel`] if its file cannot be read.
    pub fn block(&self, hash: &BlockHash) -> Result<Option<Block>, Error> {
        self.kernel.block(hash)
    }

    /// What the chain's clock shows, in seconds since 1970.
    pub fn time(&self) -> u32 {
        self.clock.now()
    }

    /// Sets the chain's clock. Blocks mined from now on bear its time.
    ///
    /// # Errors
    /// [`Error::TooFarBack`] unless it is after the median time past, [`Error::TooFarAhead`] if Core would not take such a
    /// block now.
    pub fn set_time(&mut self, time: u32) -> Result<(), Error> {
        let earliest = self.chain.tip().median_time_past;
        if time <= earliest {
            return Err(Error::TooFarBack { wanted: time, earliest });
        }
        self.clock.set(time)
    }

    /// Moves the chain's clock ahead.
    ///
    /// # Errors
    /// [`Error::TooFarAhead`] if Core would not take a block of that time now.
    pub fn advance_time(&mut self, seconds: u32) -> Result<(), Error> {
        self.set_time(self.clock.now().saturating_add(seconds))
    }

    /// When blocks are mined by themselves.
    pub fn mining(&self) -> Mining {
        self.mining
    }

    /// Changes when blocks are mined by themselves.
    pub fn set_mining(&mut self, mining: Mining) {
        self.mining = mining;
        self.next_block = match mining {
            Mining::Interval(interval) => Instant::now().checked_add(interval),
            Mining::OnDemand | Mining::OnTransaction => None,
        };
    }

    /// When [`Self::tick`] is due, in [`Mining::Interval`].
    pub fn next_block_at(&self) -> Option<Instant> {
        self.next_block
    }

    /// Mines the block that is due by the interval, if one is. Blocks that were due while nobody called are not made up for.
    ///
    /// # Errors
    /// As for [`Self::mine`].
    pub fn tick(&mut self) -> Result<Option<BlockHash>, Error> {
        if self.next_block.is_none_or(|due| due > Instant::now()) {
            return Ok(None);
        }
        self.set_mining(self.mining);
        self.mine(1, None).map(|hashes| hashes.first().copied())
    }

    /// Mines blocks with the best of the mempool. They pay `reward`, or whom the node's options name.
    ///
    /// # Errors
    /// [`Error::TooManyBlocks`]; [`Error::TooFarAhead`] if block times have run two hours ahead of the system's clock. Blocks
    /// mined before an error stay.
    pub fn mine(&mut self, count: u32, reward: Option<&Script>) -> Result<Vec<BlockHash>, Error> {
        if count > MAX_BLOCKS {
            return Err(Error::TooManyBlocks { asked: count, most: MAX_BLOCKS });
        }
        let reward = reward.map_or_else(|| self.reward.clone(), Script::to_owned);
        self.command(|node| (0..count).map(|_| node.mine_one(&reward, node.clock.now())).collect())
    }

    /// Takes in a block from elsewhere. One that is in the best chain already is fine.
    ///
    /// # Errors
    /// [`Error::InvalidBlock`] in Core's words; [`Error::UnknownParent`]; [`Error::NotBest`] if it is valid as far as it has
    /// been checked, but has no more work than the chain: it is kept, and counts once a block on top of it makes the
    /// difference.
    pub fn submit_block(&mut self, block: &Block) -> Result<(), Error> {
        let hash = block.block_hash();
        if !self.kernel.knows(&block.header.prev_blockhash) {
            return Err(Error::UnknownParent(block.header.prev_blockhash));
        }
        self.command(|node| match node.hand_over(block)? {
            Verdict::Best => node.follow(Some(block)),
            Verdict::Known if node.chain.contains(&hash) => Ok(()),
            Verdict::Known | Verdict::Aside => Err(Error::NotBest(hash)),
            Verdict::Refused(rejection) => Err(Error::InvalidBlock { hash, rejection }),
        })
    }

    /// Replaces the last `depth` blocks by `new_length` empty ones. The transactions of the dropped blocks return to the
    /// mempool, as far as they are valid on the new chain.
    ///
    /// # Errors
    /// [`Error::Reorg`] unless there are `depth` blocks above the genesis block and `new_length` is greater: the new branch must
    /// have more work.
    pub fn reorg(&mut self, depth: u32, new_length: u32) -> Result<Reorg, Error> {
        self.check_reorg(depth, new_length)?;
        self.reorg_with(depth, vec![Vec::new(); new_length as usize])
    }

    /// Replaces the last `depth` blocks by blocks with these transactions, one list for each. So a double spend can be
    /// mined.
    ///
    /// # Errors
    /// As for [`Self::reorg`]; [`Error::InvalidBlock`] if a transaction is not valid there: the chain stays as it was.
    pub fn reorg_with(&mut self, depth: u32, blocks: Vec<Vec<Transaction>>) -> Result<Reorg, Error> {
        let new_length = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        self.check_reorg(depth, new_length)?;
        self.command(|node| node.replace(depth, blocks))
    }

    /// Broadcasts a transaction, as Core's `sendrawtransaction` does. One that is in the mempool already is fine.
    ///
    /// # Errors
    /// Core's code and words.
    pub fn submit(&mut self, transaction: Transaction) -> Result<Txid, Rejection> {
        let outcome = self.with_mempool(|mempool, context| mempool.submit(transaction, context));
        self.mine_on_transaction(outcome.is_ok());
        outcome
    }

    /// Broadcasts a child with its parents, or a single transaction, as Core's `submitpackage` does. A transaction that pays
    /// more than `max_feerate` (sat/kvB) is refused.
    ///
    /// # Errors
    /// Where Core answers with an error instead of a report.
    pub fn submit_package(
        &mut self,
        transactions: Vec<Transaction>,
        max_feerate: Option<u64>,
    ) -> Result<PackageReport, Rejection> {
        let max_feerate = max_feerate.map(FeeRate);
        let outcome = self.with_mempool(|mempool, context| mempool.submit_package(transactions, max_feerate, context));
        let entered = outcome.as_ref().is_ok_and(|report| report.transactions.iter().any(|(_, tx)| tx.error.is_none()));
        self.mine_on_transaction(entered);
        outcome
    }

    /// Judges transactions without taking them in, as Core's `testmempoolaccept` does.
    ///
    /// # Errors
    /// Where Core answers with an error instead of a list.
    pub fn test_accept(&mut self, transactions: Vec<Transaction>) -> Result<Vec<TestAccept>, Rejection> {
        self.with_mempool(|mempool, context| mempool.test_accept(transactions, context))
    }

    /// Has the faucet pay. The transaction waits in the mempool for a block.
    ///
    /// # Errors
    /// [`Error::FaucetEmpty`]; [`Error::Rejected`], for instance for less than the dust limit.
    pub fn fund(&mut self, script: &Script, amount: Amount) -> Result<Txid, Error> {
        let transaction = self.faucet.pay(script, amount, &self.chain, &self.mempool)?;
        Ok(self.submit(transaction)?)
    }

    /// Where the faucet's coins lie; blocks that are mined by themselves pay to it unless the options name another.
    pub fn faucet_script(&self) -> &Script {
        self.faucet.script()
    }

    /// What fee rates lead into a block.
    pub fn fees(&mut self) -> FeeEstimates {
        self.mempool.estimate(&self.recent, self.clock.now())
    }

    /// How many transactions wait in the mempool.
    pub fn mempool_len(&self) -> usize {
        self.mempool.len()
    }

    /// Checks that coins, chain and mempool are what the blocks say. Looks at everything, so it is for tests.
    ///
    /// # Panics
    /// If something is wrong.
    pub fn debug_check(&self) {
        self.mempool.debug_check();
        assert!(!self.mempool.has_orphans(&self.context()), "an input is neither in the chain nor in the mempool");
        let (mut chain, mut coins, mut faucet) = (Chain::default(), Coins::default(), Faucet::new());
        for height in 0..=self.kernel.tip().1 {
            let hash = self.kernel.hash_at(height).expect("the chain has a block at every height");
            let block = self.kernel.block(&hash).ok().flatten().expect("its block can be read");
            let spent = coins.connect(&block, height);
            assert!(height == 0 || self.kernel.spent(&hash).is_ok_and(|kept| kept == spent), "undo data differs");
            chain.connect(&block.header);
            faucet.connect(&block, height);
        }
        assert!(chain == self.chain, "the chain's headers differ");
        assert!(coins == self.coins, "the coins differ");
        assert!(faucet.same_coins(&self.faucet), "the faucet's coins differ");
    }

    /// Runs a command. Also if it fails half-way, what it did is put on disk first and then published by the observer.
    pub(super) fn command<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let outcome = work(self);
        self.tell_mempool();
        if let Some(log) = &mut self.blocks_log {
            log.sync().map_err(|error| disk_error(log.path(), error))?;
        }
        self.observer.settled();
        outcome
    }

    fn with_mempool<T>(&mut self, work: impl FnOnce(&mut Mempool, &Context<'_>) -> T) -> T {
        let context = Context { chain: &self.chain, coins: &self.coins, now: self.clock.now() };
        let outcome = work(&mut self.mempool, &context);
        self.tell_mempool();
        self.observer.settled();
        outcome
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context { chain: &self.chain, coins: &self.coins, now: self.clock.now() }
    }

    fn mine_on_transaction(&mut self, entered: bool) {
        if entered
            && self.mining == Mining::OnTransaction
            && let Err(error) = self.mine(1, None)
        {
            // The transaction is in the mempool all the same.
            tracing::error!(%error, "cannot mine a block for the transaction");
        }
    }

    fn check_reorg(&self, depth: u32, new_length: u32) -> Result<(), Error> {
        let height = self.chain.height();
        let refuse = |why| Err(Error::Reorg { depth, new_length, height, why });
        if depth > height {
            return refuse("the genesis block must stay");
        }
        if new_length <= depth {
            return refuse("the new branch must be longer");
        }
        if new_length > MAX_BLOCKS {
            return Err(Error::TooManyBlocks { asked: new_length, most: MAX_BLOCKS });
        }
        Ok(())
    }

    /// Mines one block at `time`, or as early as the rules allow.
    pub(super) fn mine_one(&mut self, reward: &Script, time: u32) -> Result<BlockHash, Error> {
        let (transactions, fees) = self.mempool.select();
        let transactions = transactions.iter().map(|transaction| (**transaction).clone()).collect();
        let tip = *self.chain.tip();
        let block =
            self.build(tip.hash, self.chain.height() + 1, tip.median_time_past, time, reward, transactions, fees)?;
        let hash = block.block_hash();
        match self.hand_over(&block)? {
            Verdict::Best => self.follow(Some(&block))?,
            Verdict::Refused(rejection) => return Err(Error::InvalidBlock { hash, rejection }),
            Verdict::Aside | Verdict::Known => return Err(Error::NotBest(hash)),
        }
        Ok(hash)
    }

    #[expect(clippy::too_many_arguments, reason = "what a block consists of")]
    pub(super) fn build(
        &mut self,
        parent: BlockHash,
        height: u32,
        median_time_past: u32,
        time: u32,
        reward: &Script,
        transactions: Vec<Transaction>,
        fees: u64,
    ) -> Result<Block, Error> {
        let time = time.max(median_time_past.saturating_add(1));
        let latest = Clock::latest();
        if time > latest {
            return Err(Error::TooFarAhead { wanted: time, latest });
        }
        self.nonce = self.nonce.wrapping_add(1);
        Ok(miner::build(Blueprint {
            parent,
            height,
            time,
            reward: reward.to_owned(),
            transactions,
            fees: Amount::from_sat(fees),
            nonce: self.nonce,
        }))
    }
}
