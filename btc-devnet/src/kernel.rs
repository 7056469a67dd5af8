//! Bitcoin Core's own validation, behind a small door.
//!
//! Core's library says neither why it refuses a block nor, in every case, that it did: a block that fails when it is connected
//! still counts as processed. So success means here that the block is the tip, and the reason comes from Core's log, which
//! it writes on the calling thread before it returns.

use std::{
    cell::RefCell,
    path::Path,
    sync::{Arc, Mutex, Once, PoisonError},
};

use bitcoin::{Amount, Block, BlockHash, ScriptBuf, Transaction, TxOut, consensus::encode, hashes::Hash};
use bitcoinkernel as core;
use bitcoinkernel::{log::logging::LoggingOptions, prelude::*};

use crate::node::{Coin, Error, Rejection};

/// What became of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the tip now.
    Best,
    /// It is stored, on a branch with no more work than the best chain.
    Aside,
    /// It was known before.
    Known,
    /// It breaks a rule.
    Refused(Rejection),
}

/// One chain of Core's. Its databases are in memory; its block files lie in a folder of ours.
pub(crate) struct Kernel {
    // Dropped before the context it belongs to.
    manager: core::ChainstateManager,
    _context: core::Context,
    fatal: Arc<Mutex<Option<String>>>,
}

impl Kernel {
    /// Starts an empty regtest chain with its block files in `folder`, which must be empty or absent.
    pub(crate) fn open(folder: &Path) -> Result<Kernel, Error> {
        capture_log_lines();
        let blocks = folder.join("blocks");
        std::fs::create_dir_all(&blocks)
            .map_err(|source| Error::Directory { path: blocks.display().to_string(), source })?;
        let path = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| Error::Kernel(format!("{} is not UTF-8", path.display())))
        };
        let fatal = Arc::new(Mutex::new(None));
        let (of_fatal, of_flush) = (fatal.clone(), fatal.clone());
        let context = core::ContextBuilder::new()
            .chain_type(core::ChainType::Regtest)
            .with_fatal_error_notification(move |message: String| set(&of_fatal, message))
            .with_flush_error_notification(move |message: String| set(&of_flush, message))
            .build()
            .map_err(failed)?;
        let manager = core::ChainstateManager::builder(&context, &path(folder)?, &path(&blocks)?)
            .map_err(failed)?
            .block_tree_db_in_memory(true)
            .chainstate_db_in_memory(true)
            // Scripts are checked on the calling thread: blocks here are small, and a chain holds no thread of its own.
            .worker_threads(0)
            .build()
            .map_err(failed)?;
        manager.import_blocks().map_err(failed)?;
        Ok(Kernel { manager, _context: context, fatal })
    }

    /// Hands a block to Core.
    pub(crate) fn process(&self, block: &Block) -> Result<Verdict, Error> {
        let hash = block.block_hash();
        let given = core::Block::new(&encode::serialize(block)).map_err(failed)?;
        LINES.with_borrow_mut(|lines| *lines = Some(Vec::new()));
        let result = self.manager.process_block(&given);
        let lines = LINES.take().unwrap_or_default();
        if let Some(message) = self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Error::Kernel(message));
        }
        let reason = lines.iter().find_map(|line| reason_of(line));
        match (result, reason) {
            (core::ProcessBlockResult::Duplicate, _) => Ok(Verdict::Known),
            _ if self.tip().0 == hash => Ok(Verdict::Best),
            (_, Some(reason)) => Ok(Verdict::Refused(Rejection { code: Rejection::ERROR, reason })),
            (core::ProcessBlockResult::Rejected, None) => {
                Err(Error::Kernel(format!("block {hash} failed without a reason: {}", lines.join("; "))))
            }
            (core::ProcessBlockResult::NewBlock, None) => Ok(Verdict::Aside),
        }
    }

    /// Hash and height of the best chain's end.
    pub(crate) fn tip(&self) -> (BlockHash, u32) {
        let tip = self.manager.active_chain().tip();
        (hash_of(&tip.block_hash()), tip.height() as u32)
    }

    /// The best chain's block at this height.
    pub(crate) fn hash_at(&self, height: u32) -> Option<BlockHash> {
        self.manager.active_chain().at_height(height as usize).map(|entry| hash_of(&entry.block_hash()))
    }

    /// Whether Core knows this block's header.
    pub(crate) fn knows(&self, hash: &BlockHash) -> bool {
        self.manager.get_block_tree_entry(&core::BlockHash::from(hash.to_byte_array())).is_some()
    }

    /// A block of any branch.
    pub(crate) fn block(&self, hash: &BlockHash) -> Result<Option<Block>, Error> {
        let Some(entry) = self.manager.get_block_tree_entry(&core::BlockHash::from(hash.to_byte_array())) else {
            return Ok(None);
        };
        // A header without its block is known, but cannot be read.
        let Ok(block) = self.manager.read_block_data(&entry) else { return Ok(None) };
        let bytes = block.consensus_encode().map_err(failed)?;
        encode::deserialize(&bytes).map(Some).map_err(|error| Error::Kernel(format!("block {hash}: {error}")))
    }

    /// The coins that a block spends, a row for each transaction but the coinbase.
    pub(crate) fn spent(&self, hash: &BlockHash) -> Result<Vec<Vec<Coin>>, Error> {
        let entry = self
            .manager
            .get_block_tree_entry(&core::BlockHash::from(hash.to_byte_array()))
            .ok_or_else(|| Error::Kernel(format!("block {hash} is not known")))?;
        let spent = self.manager.read_spent_outputs(&entry).map_err(failed)?;
        spent.iter().map(|row| Ok(row.coins().map(|coin| coin_of(&coin)).collect())).collect()
    }
}

/// A coin as Core keeps it for undoing a block.
fn coin_of(coin: &impl CoinExt) -> Coin {
    let output = coin.output();
    Coin {
        output: TxOut {
            value: Amount::from_sat(output.value() as u64),
            script_pubkey: ScriptBuf::from_bytes(output.script_pubkey().to_bytes()),
        },
        height: coin.confirmation_height(),
        coinbase: coin.is_coinbase(),
    }
}

/// Checks a transaction's scripts by today's consensus rules. `spent` has one output for each input.
pub(crate) fn scripts_are_valid(transaction: &Transaction, spent: &[TxOut]) -> bool {
    let check = || -> Result<(), core::KernelError> {
        let transaction = core::Transaction::new(&encode::serialize(transaction))?;
        let spent = spent
            .iter()
            .map(|output| {
                let script = core::ScriptPubkey::new(output.script_pubkey.as_bytes())?;
                Ok(core::TxOut::new(&script, output.value.to_sat() as i64))
            })
            .collect::<Result<Vec<_>, core::KernelError>>()?;
        let shared = core::PrecomputedTransactionData::new(&transaction, &spent)?;
        for (index, output) in spent.iter().enumerate() {
            let (script, value) = (output.script_pubkey(), Some(output.value()));
            core::verify(&script, value, &transaction, index, Some(core::VERIFY_ALL), &shared)?;
        }
        Ok(())
    };
    check().is_ok()
}

fn failed(error: core::KernelError) -> Error {
    Error::Kernel(error.to_string())
}

fn set(place: &Mutex<Option<String>>, message: String) {
    place.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
}

fn hash_of(hash: &impl BlockHashExt) -> BlockHash {
    BlockHash::from_byte_array(hash.to_bytes())
}

thread_local! {
    /// Lines that Core wrote on this thread since it was asked to listen.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Core's log belongs to the process; whoever calls Core takes its own thread's lines.
struct Capture;

impl core::Log for Capture {
    fn log(&self, message: &str) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(message.trim_end().to_owned());
            }
        });
    }
}

fn capture_log_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let options = LoggingOptions {
            log_timestamps: false,
            log_time_micros: false,
            log_threadnames: false,
            log_sourcelocations: false,
            always_print_category_levels: false,
        };
        match core::Logger::new_with_options(Capture, options) {
            // It serves every chain of this process for as long as the process lives.
            Ok(logger) => std::mem::forget(logger),
            Err(error) => tracing::warn!(%error, "Core's log cannot be read, refusals will lack their reason"),
        }
    });
}

/// The reject reason in a line of Core's log: `AcceptBlock FAILED (reason)` where a block is refused at the door,
/// `ConnectBlock HASH failed, reason` where it fails when it is connected (`src/validation.cpp`).
fn reason_of(line: &str) -> Option<String> {
    if let Some((_, rest)) = line.split_once("AcceptBlock FAILED (") {
        return Some(rest.strip_suffix(')').unwrap_or(rest).to_owned());
    }
    let (_, rest) = line.split_once("ConnectBlock ")?;
    rest.split_once(" failed, ").map(|(_, reason)| reason.to_owned())
}
