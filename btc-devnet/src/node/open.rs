//! Opens a chain: a new one with its first coins, or one that is on disk.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use bitcoin::{Block, ScriptBuf, Transaction, consensus::encode};
use tempfile::TempDir;

use super::{Error, Node, Observer, Options};
use crate::{
    chain::Chain,
    clock::Clock,
    coins::Coins,
    faucet::Faucet,
    journal::Journal,
    kernel::{Kernel, Verdict},
    mempool::{Context, Mempool, RecentBlocks},
    policy::{COINBASE_MATURITY, MAX_MEMPOOL_BYTES},
};

/// How many blocks' rewards a new chain's faucet starts with, beside those that mature later.
const FAUCET_BLOCKS: u32 = 10;
/// Seconds between the first blocks of a new chain, as on the real one.
const BLOCK_SPACING: u32 = 600;
/// Accepted blocks.
const BLOCKS_FILE: &str = "blocks.log";
/// Mempool transactions.
const MEMPOOL_FILE: &str = "mempool.log";
/// The same, being written anew.
const MEMPOOL_NEW_FILE: &str = "mempool.log.new";
/// Held while a node is open.
const LOCK_FILE: &str = "lock";
/// Core's own files. They can be made from the blocks, and are at each start.
const KERNEL_FOLDER: &str = "kernel";

/// Where a node keeps its files, for as long as it is open.
pub(super) enum Home {
    /// Deleted with the node.
    Temporary(TempDir),
    /// Kept; the lock is released with the node.
    Kept { path: PathBuf, _lock: File },
}

impl Home {
    fn open(dir: Option<PathBuf>) -> Result<Home, Error> {
        let Some(path) = dir else {
            let folder = tempfile::Builder::new().prefix("btc-devnet-").tempdir();
            return folder.map(Home::Temporary).map_err(|error| disk_error(&std::env::temp_dir(), error));
        };
        let failed = |error| disk_error(&path, error);
        std::fs::create_dir_all(&path).map_err(failed)?;
        let lock =
            File::options().write(true).create(true).truncate(false).open(path.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        match std::fs::remove_dir_all(path.join(KERNEL_FOLDER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(Home::Kept { path, _lock: lock }),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Home::Temporary(folder) => folder.path(),
            Home::Kept { path, .. } => path,
        }
    }
}

pub(super) fn disk_error(path: &Path, source: io::Error) -> Error {
    Error::Directory { path: path.display().to_string(), source }
}

impl Node {
    /// Opens the chain that `options` name, or starts it. `observer` hears of every block before this returns.
    ///
    /// # Errors
    /// [`Error::Directory`], [`Error::InUse`], [`Error::Kernel`]; [`Error::TooFarAhead`] or [`Error::TooFarBack`] for a start
    /// time that no block can have.
    pub fn open(options: Options, observer: Box<dyn Observer>) -> Result<Node, Error> {
        let home = Home::open(options.dir.clone())?;
        let kernel = Kernel::open(&home.path().join(KERNEL_FOLDER))?;
        let faucet = Faucet::new();
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let mut node = Node {
            kernel,
            chain: Chain::default(),
            coins: Coins::default(),
            mempool: Mempool::new(options.mempool_bytes.unwrap_or(MAX_MEMPOOL_BYTES)),
            recent: RecentBlocks::default(),
            reward: options.reward.clone().unwrap_or_else(|| faucet.script().to_owned()),
            faucet,
            clock: Clock::new(options.start_time)?,
            observer,
            mining: options.mining,
            next_block: None,
            nonce: seed,
            blocks_log: None,
            mempool_log: None,
            home,
        };
        node.restore_blocks()?;
        node.command(|node| {
            node.follow(None)?;
            let tip = *node.chain.tip();
            if node.chain.height() == 0 {
                node.premine(&options)?;
            } else if tip.time > node.clock.now() {
                node.clock.set(tip.time)?;
            }
            node.restore_mempool()
        })?;
        node.set_mining(options.mining);
        Ok(node)
    }

    /// Hands every block on disk to Core again.
    fn restore_blocks(&mut self) -> Result<(), Error> {
        let Home::Kept { path, .. } = &self.home else { return Ok(()) };
        let path = path.join(BLOCKS_FILE);
        let log = Journal::open(&path, |bytes| {
            let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
            let block: Block = encode::deserialize(&bytes).map_err(|error| damaged(format!("not a block: {error}")))?;
            match self.kernel.process(&block) {
                Ok(Verdict::Refused(rejection)) => {
                    Err(damaged(format!("block {} is not valid any more: {}", block.block_hash(), rejection.reason)))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::other(error)),
            }
        });
        self.blocks_log = Some(log.map_err(|error| disk_error(&path, error))?);
        Ok(())
    }

    /// Takes in the mempool of the former run, and writes it anew without what has left since.
    fn restore_mempool(&mut self) -> Result<(), Error> {
        let Home::Kept { path: folder, .. } = &self.home else { return Ok(()) };
        let (path, new) = (folder.join(MEMPOOL_FILE), folder.join(MEMPOOL_NEW_FILE));
        let mut transactions: Vec<Transaction> = Vec::new();
        let read = Journal::open(&path, |bytes| {
            // What cannot be read cannot be broadcast either; blocks do not depend on it.
            transactions.extend(encode::deserialize::<Transaction>(&bytes));
            Ok(())
        });
        read.map_err(|error| disk_error(&path, error))?;
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk_error(&new, error)),
            _ => {}
        }
        let log = Journal::open(&new, |_| Ok(())).map_err(|error| disk_error(&new, error))?;
        self.mempool_log = Some(log);
        let now = self.clock.now();
        let context = Context { chain: &self.chain, coins: &self.coins, now };
        self.mempool.restore(transactions, &context);
        self.tell_mempool();
        match &mut self.mempool_log {
            Some(log) => log.rename(&path).map_err(|error| disk_error(&path, error)),
            None => Ok(()),
        }
    }

    /// Mines a new chain's first blocks, ten minutes apart and ending now: whose coins are wanted, the faucet's, and as many
    /// more as make them mature.
    fn premine(&mut self, options: &Options) -> Result<(), Error> {
        let faucet = self.faucet.script().to_owned();
        let wanted = options.premine.iter().map(|premine| (premine.script_pubkey.clone(), premine.blocks));
        let plan: Vec<(ScriptBuf, u32)> = wanted.chain([(faucet, FAUCET_BLOCKS + COINBASE_MATURITY)]).collect();
        let count = plan.iter().fold(0u32, |sum, (_, blocks)| sum.saturating_add(*blocks));
        if count > super::MAX_BLOCKS {
            return Err(Error::TooManyBlocks { asked: count, most: super::MAX_BLOCKS });
        }
        let now = self.clock.now();
        let earliest = self.chain.tip().median_time_past;
        if now <= earliest {
            return Err(Error::TooFarBack { wanted: now, earliest });
        }
        let scripts = plan.iter().flat_map(|(script, blocks)| std::iter::repeat_n(script, *blocks as usize));
        for (left, script) in (0..count).rev().zip(scripts) {
            self.mine_one(script, now.saturating_sub(left.saturating_mul(BLOCK_SPACING)))?;
        }
        Ok(())
    }
}
