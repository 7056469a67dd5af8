//! Finding a wallet's transactions at an Esplora server: the scripts of each keychain in order, until a gap of unused ones.
//!
//! The scan is a function from a [`Plan`] (what the wallet knows) and a server to an [`Update`] (what the server adds). It holds neither the wallet nor its lock,
//! so a slow server keeps nobody from the wallet. What a server can make us do is bounded: pages, scripts and bytes, and none of them is believed to be
//! a transaction that it is not. What it says of blocks is a claim; [`super::confirm`] is where it is checked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bdk_wallet::chain::{BlockId, CheckPoint, ConfirmationBlockTime, TxUpdate};
use bdk_wallet::descriptor::ExtendedDescriptor;
use bdk_wallet::{KeychainKind, Update};
use bitcoin::secp256k1::{Secp256k1, VerifyOnly};
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, TxOut, Txid};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::esplora::{Esplora, EsploraError, Tx};
use super::wallet::Outgoing;

/// Requests under way at once: public servers throttle those who ask for more.
const PARALLEL: usize = 4;
/// Unused scripts after which a full scan ends, as BIP 44 has it.
pub const FULL_GAP: u32 = 20;
/// Unused scripts that an ordinary sync looks at beyond those that were handed out: another copy of the wallet may have handed out the next one.
pub const SYNC_GAP: u32 = 2;
/// Confirmed transactions on a full page of a script's history (Esplora's API).
const PAGE: usize = 25;
/// Most pages of one script that are read: 10,000 transactions. A script with more is no address of a person's wallet.
const MAX_PAGES: usize = 400;
/// Most scripts of one keychain that a server can make us ask for: several times what a busy wallet uses, and minutes, not days, of a liar's answers.
const MAX_SCRIPTS: u32 = 50_000;
/// Most bytes of transactions that one scan may bring: 512 MiB, far more than any wallet of a person has.
const MAX_BYTES: usize = 512 << 20;
/// Depths below the tip at which a block is remembered: where a later reorg left the chain is then found near its place.
const LANDMARKS: [u32; 2] = [6, 144];
/// Scans that are begun anew because the chain moved meanwhile: blocks are far rarer than scans are long.
const MAX_ATTEMPTS: usize = 4;

/// Why a scan brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The server failed.
    #[error(transparent)]
    Server(#[from] EsploraError),
    /// The chain was never still.
    #[error("the chain at {0} changed during each of {MAX_ATTEMPTS} attempts to read it")]
    Moving(String),
    /// The server has more than any wallet.
    #[error("the Esplora server {server} says that this wallet has more than {limit}: that cannot be")]
    TooMuch {
        /// The server.
        server: String,
        /// Of what it has too much.
        limit: String,
    },
}

/// What a wallet knows before a scan.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) keychains: Vec<KeychainPlan>,
    /// Transactions that the wallet believes to exist, by script: one that the server no longer has was dropped from its mempool.
    pub(super) expected: HashMap<ScriptBuf, HashSet<Txid>>,
    /// The wallet's view of the chain.
    pub(super) chain: CheckPoint,
    /// Unused scripts after which a keychain is done.
    pub(super) gap: u32,
    /// Seconds since 1970 at the beginning: when unconfirmed transactions were seen.
    pub(super) now: u64,
}

/// One keychain of a plan.
#[derive(Debug, Clone)]
pub(super) struct KeychainPlan {
    pub(super) kind: KeychainKind,
    pub(super) descriptor: ExtendedDescriptor,
    /// The last index that was handed out: scripts up to it do not count for the gap.
    pub(super) last_revealed: Option<u32>,
}

/// How far a scan is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Scripts asked for.
    pub scripts: u32,
    /// Transactions found.
    pub transactions: usize,
}

/// What a scan found.
#[derive(Debug, Clone)]
pub struct Found {
    /// For the wallet.
    pub(super) update: Update,
    ids: HashSet<Txid>,
    now: u64,
    /// Whether the server's chain shares nothing but genesis with the one that the wallet knew: a devnet that was started afresh.
    other_chain: bool,
}

impl Found {
    /// Whether the server's chain shares nothing but genesis with the one that the wallet knew.
    pub fn other_chain(&self) -> bool {
        self.other_chain
    }

    #[cfg(test)]
    pub(super) fn for_tests(update: Update, now: u64) -> Self {
        Self { update, ids: HashSet::new(), now, other_chain: false }
    }

    /// Whether the server has a transaction, in a block or not.
    pub(super) fn has(&self, txid: &Txid) -> bool {
        self.ids.contains(txid)
    }

    /// Enters a transaction that the server has taken after the scan.
    pub(super) fn saw(&mut self, outgoing: &Outgoing) {
        let update = &mut self.update.tx_update;
        update.evicted_ats.retain(|(txid, _)| *txid != outgoing.txid);
        update.seen_ats.insert((outgoing.txid, self.now));
        update.txs.push(outgoing.tx.clone().into());
    }
}

/// Asks `server` for everything about the wallet's scripts. `progress` is called after each batch.
///
/// # Errors
/// Any [`ScanError`]: then nothing was found, and the wallet is as it was.
pub async fn scan(server: &Esplora, plan: &Plan, mut progress: impl FnMut(Progress)) -> Result<Found, ScanError> {
    for _ in 0..MAX_ATTEMPTS {
        let mut gathered = Gathered::default();
        let mut last_active = BTreeMap::new();
        for keychain in &plan.keychains {
            if let Some(index) = scan_keychain(server, plan, keychain, &mut gathered, &mut progress).await? {
                last_active.insert(keychain.kind, index);
            }
        }
        if let Some((chain, other_chain)) = read_chain(server, &plan.chain, &gathered.update.anchors).await? {
            let update = Update { last_active_indices: last_active, tx_update: gathered.update, chain: Some(chain) };
            return Ok(Found { update, ids: gathered.seen, now: plan.now, other_chain });
        }
    }
    Err(ScanError::Moving(server.server().to_owned()))
}

#[derive(Default)]
struct Gathered {
    update: TxUpdate<ConfirmationBlockTime>,
    seen: HashSet<Txid>,
    bytes: usize,
    scripts: u32,
    /// Sats paid to the wallet in all: sums of amounts must not overflow, whatever a server makes up.
    received: u64,
}

/// The history of one script.
struct History {
    index: u32,
    script: ScriptBuf,
    txs: Vec<Tx>,
    /// Servers list a bounded number of unconfirmed transactions; beyond it, one that is missing was perhaps only not listed.
    complete: bool,
}

/// Walks one keychain; the result is the last index with a history.
async fn scan_keychain(
    server: &Esplora,
    plan: &Plan,
    keychain: &KeychainPlan,
    gathered: &mut Gathered,
    progress: &mut impl FnMut(Progress),
) -> Result<Option<u32>, ScanError> {
    let secp = Secp256k1::verification_only();
    let revealed = keychain.last_revealed.map_or(0, |last| last.saturating_add(1));
    let (mut next, mut unused, mut last_active) = (0, 0, None);
    while unused < plan.gap {
        if next >= MAX_SCRIPTS.max(revealed) {
            return Err(too_much(server, format!("{MAX_SCRIPTS} used addresses")));
        }
        // Never further than could be needed: what remains of the handed-out ones, and of the gap.
        let batch = (plan.gap - unused).saturating_add(revealed.saturating_sub(next)).min(PARALLEL as u32 * 8);
        let scripts = (next..next + batch).map(|index| (index, script_at(&keychain.descriptor, index, &secp)));
        let histories: Vec<History> = stream::iter(scripts)
            .map(|(index, script)| history(server, index, script))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        next += batch;
        for history in histories {
            gathered.scripts += 1;
            if !history.txs.is_empty() {
                (unused, last_active) = (0, Some(history.index));
            } else if history.index >= revealed {
                unused += 1;
            }
            gathered.take(server, plan, history)?;
        }
        progress(Progress { scripts: gathered.scripts, transactions: gathered.seen.len() });
    }
    Ok(last_active)
}

fn script_at(descriptor: &ExtendedDescriptor, index: u32, secp: &Secp256k1<VerifyOnly>) -> ScriptBuf {
    let derived = descriptor.derived_descriptor(secp, index);
    derived
        .expect("MAX_SCRIPTS is below the first hardened index, and the wallet's descriptors have no hardened step")
        .script_pubkey()
}

/// All pages of one script.
async fn history(server: &Esplora, index: u32, script: ScriptBuf) -> Result<History, ScanError> {
    let (mut txs, mut ids, mut last) = (Vec::new(), HashSet::new(), None);
    let mut complete = true;
    for _ in 0..MAX_PAGES {
        let page = server.script_txs(&script, last).await?;
        let confirmed = page.iter().filter(|tx| tx.status.confirmed).count();
        if last.is_none() {
            complete = page.len() - confirmed < PAGE;
        }
        last = page.iter().rfind(|tx| tx.status.confirmed).map(|tx| tx.txid);
        let before = ids.len();
        for tx in page {
            if !concerns(&tx, &script) {
                let why = format!("transaction {} has nothing to do with the script", tx.txid);
                return Err(server.nonsense("/scripthash/…/txs", why).into());
            }
            if ids.insert(tx.txid) {
                txs.push(tx);
            }
        }
        // A page with nothing new would come again for ever.
        if confirmed < PAGE || ids.len() == before {
            return Ok(History { index, script, txs, complete });
        }
    }
    Err(too_much(server, format!("{} transactions of one address", MAX_PAGES * PAGE)))
}

fn concerns(tx: &Tx, script: &ScriptBuf) -> bool {
    let pays = tx.vout.iter().any(|output| output.scriptpubkey == *script);
    pays || tx.vin.iter().any(|input| input.prevout.as_ref().is_some_and(|prevout| prevout.scriptpubkey == *script))
}

/// Whether these amounts add up to no more than there is.
fn is_money(sats: impl Iterator<Item = u64>) -> bool {
    sats.fold(0u64, u64::saturating_add) <= Amount::MAX_MONEY.to_sat()
}

fn paid_to(tx: &Tx, script: &ScriptBuf) -> u64 {
    tx.vout.iter().filter(|output| output.scriptpubkey == *script).map(|output| output.value).sum()
}

fn too_much(server: &Esplora, limit: String) -> ScanError {
    ScanError::TooMuch { server: server.server().to_owned(), limit }
}

impl Gathered {
    fn take(&mut self, server: &Esplora, plan: &Plan, history: History) -> Result<(), ScanError> {
        if let Some(expected) = plan.expected.get(&history.script).filter(|_| history.complete) {
            let listed: HashSet<Txid> = history.txs.iter().map(|tx| tx.txid).collect();
            self.update.evicted_ats.extend(expected.difference(&listed).map(|txid| (*txid, plan.now)));
        }
        for tx in history.txs {
            if !self.seen.insert(tx.txid) {
                continue;
            }
            self.bytes = self.bytes.saturating_add(tx.size);
            if self.bytes > MAX_BYTES {
                return Err(too_much(server, format!("{} MiB of transactions", MAX_BYTES >> 20)));
            }
            match (tx.status.confirmed, tx.status.block_height, tx.status.block_hash, tx.status.block_time) {
                (true, Some(height), Some(hash), Some(confirmation_time)) => {
                    let anchor = ConfirmationBlockTime { block_id: BlockId { height, hash }, confirmation_time };
                    self.update.anchors.insert((anchor, tx.txid));
                }
                (false, ..) => {
                    self.update.seen_ats.insert((tx.txid, plan.now));
                }
                _ => {
                    let why = format!("transaction {} is confirmed, but in no block", tx.txid);
                    return Err(server.nonsense("/scripthash/…/txs", why).into());
                }
            }
            if !is_money(tx.vout.iter().map(|output| output.value))
                || !is_money(tx.vin.iter().filter_map(|input| input.prevout.as_ref()).map(|prevout| prevout.value))
            {
                return Err(server
                    .nonsense("/scripthash/…/txs", format!("transaction {} moves more than all bitcoin", tx.txid))
                    .into());
            }
            self.received = self.received.saturating_add(paid_to(&tx, &history.script));
            if self.received > Amount::MAX_MONEY.to_sat() {
                return Err(too_much(server, "all bitcoin there will ever be".to_owned()));
            }
            // What was spent, for the fee of those who pay us. For our own coins the wallet has the transaction itself, which goes before.
            for input in &tx.vin {
                if let Some(prevout) = &input.prevout {
                    let output =
                        TxOut { value: Amount::from_sat(prevout.value), script_pubkey: prevout.scriptpubkey.clone() };
                    self.update.txouts.insert(OutPoint::new(input.txid, input.vout), output);
                }
            }
            self.update.txs.push(tx.to_tx().into());
        }
        Ok(())
    }
}

/// The server's chain as far as the wallet needs it: its tip, the block of each transaction, and where it leaves the chain that the wallet knew. `None` if it
/// changed meanwhile.
async fn read_chain(
    server: &Esplora,
    known: &CheckPoint,
    anchors: &BTreeSet<(ConfirmationBlockTime, Txid)>,
) -> Result<Option<(CheckPoint, bool)>, ScanError> {
    let tip = server.tip().await?;
    let mut blocks = BTreeMap::from([(tip.height, tip.hash)]);
    for depth in LANDMARKS {
        if let Some(height) = tip.height.checked_sub(depth).filter(|height| known.get(*height).is_none()) {
            let Some(hash) = server.block_hash(height).await? else { return Ok(None) };
            blocks.insert(height, hash);
        }
    }
    let mut agreement = None;
    for point in known.iter().filter(|point| point.height() <= tip.height) {
        let Some(hash) = block_at(server, &blocks, point.height()).await? else { return Ok(None) };
        if hash == point.hash() {
            agreement = Some(point);
            break;
        }
        blocks.insert(point.height(), hash);
    }
    let Some(agreement) = agreement else {
        let why = "its chain has another genesis block than the wallet's";
        return Err(server.nonsense("/block-height/0", why).into());
    };
    let other_chain = agreement.height() == 0 && known.height() > 0;

    let heights: BTreeSet<u32> = anchors.iter().map(|(anchor, _)| anchor.block_id.height).collect();
    if heights.last().is_some_and(|highest| *highest > tip.height) {
        return Ok(None);
    }
    let unknown = heights.into_iter().filter(|height| !blocks.contains_key(height) && agreement.get(*height).is_none());
    let unknown: Vec<u32> = unknown.collect();
    let read: Vec<(u32, Option<BlockHash>)> = stream::iter(unknown)
        .map(|height| async move { Ok::<_, EsploraError>((height, server.block_hash(height).await?)) })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    for (height, hash) in read {
        let Some(hash) = hash else { return Ok(None) };
        blocks.insert(height, hash);
    }
    let in_chain = |block: BlockId| match blocks.get(&block.height) {
        Some(hash) => *hash == block.hash,
        None => agreement.get(block.height).is_some_and(|point| point.hash() == block.hash),
    };
    let moved = !anchors.iter().all(|(anchor, _)| in_chain(anchor.block_id))
        || server.block_hash(tip.height).await? != Some(tip.hash);
    if moved {
        return Ok(None);
    }
    // Blocks above the agreement make the new part; those below fill in what the wallet did not have.
    let above = blocks.split_off(&(agreement.height() + 1));
    let mut chain = agreement;
    for (height, hash) in blocks {
        chain = chain.insert(BlockId { height, hash });
    }
    let above = above.into_iter().map(|(height, hash)| BlockId { height, hash });
    let chain = chain.extend(above).expect("the map is in ascending order and begins above the agreement");
    Ok(Some((chain, other_chain)))
}

async fn block_at(
    server: &Esplora,
    blocks: &BTreeMap<u32, BlockHash>,
    height: u32,
) -> Result<Option<BlockHash>, EsploraError> {
    match blocks.get(&height) {
        Some(hash) => Ok(Some(*hash)),
        None => server.block_hash(height).await,
    }
}

#[cfg(test)]
mod tests;
