//! Follows Core's best chain: coins, mempool, faucet and observer change with it.

use bitcoin::{Block, Transaction, consensus::encode};

use super::{Error, Node, Reorg, open::disk_error};
use crate::{chain::median_time_past, kernel::Verdict, mempool::Event, policy::FeeRate};

impl Node {
    /// Hands a block to Core and writes it down if it is new and not refused. The command's end waits for the disk.
    pub(super) fn hand_over(&mut self, block: &Block) -> Result<Verdict, Error> {
        let verdict = self.kernel.process(block)?;
        if let (Verdict::Best | Verdict::Aside, Some(log)) = (&verdict, &mut self.blocks_log) {
            log.append(&encode::serialize(block)).map_err(|error| disk_error(log.path(), error))?;
        }
        Ok(verdict)
    }

    /// Goes to Core's tip. `new` is the block that has just become it, if that is known.
    ///
    /// What must be done follows from the difference alone, so that a call after a failed one makes up for it.
    pub(super) fn follow(&mut self, new: Option<&Block>) -> Result<(), Error> {
        let (tip, height) = self.kernel.tip();
        if let Some(block) = new
            && block.block_hash() == tip
            && !self.chain.is_empty()
            && block.header.prev_blockhash == self.chain.tip().hash
        {
            self.connect(block);
            return Ok(());
        }
        let mut dropped = Vec::new();
        while !self.chain.is_empty() && self.kernel.hash_at(self.chain.height()) != Some(self.chain.tip().hash) {
            dropped.push(self.disconnect()?);
        }
        let from = if self.chain.is_empty() { 0 } else { self.chain.height() + 1 };
        for height in from..=height {
            let hash = self.kernel.hash_at(height);
            let block = hash.map(|hash| self.kernel.block(&hash)).transpose()?.flatten();
            let block = block.ok_or_else(|| Error::Kernel(format!("the block at height {height} cannot be read")))?;
            self.connect(&block);
        }
        if !dropped.is_empty() {
            let returning: Vec<Transaction> = dropped.into_iter().rev().flat_map(|block| block.txdata).collect();
            let now = self.clock.now();
            let context = crate::mempool::Context { chain: &self.chain, coins: &self.coins, now };
            self.mempool.reorganise(returning, &context);
            self.tell_mempool();
        }
        Ok(())
    }

    fn connect(&mut self, block: &Block) {
        let height = if self.chain.is_empty() { 0 } else { self.chain.height() + 1 };
        let spent = self.coins.connect(block, height);
        self.chain.connect(&block.header);
        self.faucet.connect(block, height);
        let lowest = block.txdata.iter().skip(1).zip(&spent).map(|(transaction, coins)| {
            let paid: u64 = coins.iter().map(|coin| coin.output.value.to_sat()).sum();
            let kept: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
            FeeRate::of(paid.saturating_sub(kept), transaction.weight().to_wu().div_ceil(4))
        });
        self.recent.connected(block.weight().to_wu(), lowest.min().unwrap_or(FeeRate(0)));
        self.observer.connected(block, height, &spent);
        self.mempool.connect(block, self.chain.tip().hash, self.clock.now());
        self.tell_mempool();
    }

    fn disconnect(&mut self) -> Result<Block, Error> {
        let (hash, height) = (self.chain.tip().hash, self.chain.height());
        let block = self.kernel.block(&hash)?.ok_or_else(|| Error::Kernel(format!("block {hash} cannot be read")))?;
        let spent = self.kernel.spent(&hash)?;
        self.faucet.disconnect(&block, &spent);
        self.coins.disconnect(&block, spent);
        self.chain.disconnect();
        self.recent.disconnected();
        self.observer.disconnected(&block, height);
        Ok(block)
    }

    /// Tells the observer what happened in the mempool, and writes down what entered.
    pub(super) fn tell_mempool(&mut self) {
        for event in self.mempool.take_events() {
            match event {
                Event::Entered(entry) => {
                    if let Some(log) = &mut self.mempool_log
                        && let Err(error) = log.append(&encode::serialize(&*entry.transaction))
                    {
                        tracing::error!(%error, path = %log.path().display(), "a restart will not know this transaction");
                    }
                    self.observer.entered(&entry);
                }
                Event::Left(txid, why) => self.observer.left(&txid, why),
            }
        }
    }

    /// Builds a branch beside the last `depth` blocks and goes over to it.
    pub(super) fn replace(&mut self, depth: u32, blocks: Vec<Vec<Transaction>>) -> Result<Reorg, Error> {
        let fork = self.chain.height() - depth;
        let mut times: Vec<u32> = (0..=fork).filter_map(|height| self.chain.at(height)).map(|link| link.time).collect();
        let mut parent = self.chain.at(fork).map(|link| link.hash).unwrap_or_else(|| self.chain.tip().hash);
        let dropped = (fork + 1..=self.chain.height()).rev().filter_map(|height| self.chain.at(height));
        let disconnected = dropped.map(|link| link.hash).collect();
        let (reward, now) = (self.reward.clone(), self.clock.now());
        let mut connected = Vec::with_capacity(blocks.len());
        let mut outcome = Ok(());
        for (height, transactions) in (fork + 1..).zip(blocks) {
            let median = median_time_past(&times);
            let block = match self.build(parent, height, median, now, &reward, transactions, 0) {
                Ok(block) => block,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let hash = block.block_hash();
            match self.hand_over(&block)? {
                Verdict::Best | Verdict::Aside | Verdict::Known => {}
                Verdict::Refused(rejection) => {
                    outcome = Err(Error::InvalidBlock { hash, rejection });
                    break;
                }
            }
            times.push(block.header.time);
            parent = hash;
            connected.push(hash);
        }
        // A branch that failed late may have become the best chain before.
        self.follow(None)?;
        outcome.map(|()| Reorg { disconnected, connected })
    }
}
