//! Watching one chain through its servers: headers are followed and checked, scripts are looked up at every server, and what comes of it is an
//! [`Observation`] for the swaps' state machine.
//!
//! No server is trusted: see [`crate::btc::chain`]. None is waited for longer than [`SERVER_PATIENCE`], but while it shows valid new headers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::absolute::Height;
use bitcoin::{Script, Transaction, Txid};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use super::database::StorageError;
use super::headers::HeaderStore;
use crate::btc::chain::sync::PAGE;
use crate::btc::chain::{
    Agreement, Answer, Ask, CoinbaseProof, Confirmation, Entry, HeaderChain, HeaderError, HeaderSync, InclusionProof,
    Next, Report, Rules, Seen, Standing, SyncError, agree, sync,
};
use crate::btc::esplora::{Esplora, EsploraError, MerkleProof};
use crate::btc::fees;
use crate::btc::htlc::margins::FeeRates;
use crate::btc::htlc::script::LockScript;
use crate::btc::htlc::swap::{LockSeen, MAX_LOCKS_SEEN, Observation, Place, Servers, SpendSeen};
use crate::btc::network::Network;

/// How long one server may take for one question, all its answers together: several times what a busy public server takes.
pub const SERVER_PATIENCE: Duration = Duration::from_secs(60);
/// How often a walk along a server's chain is begun anew because the chain moved meanwhile.
const MAX_RESTARTS: usize = 5;
/// Most pages of a script's history that are read: 25 transactions each. Anybody can pay dust to a script that has been seen.
const MAX_HISTORY_PAGES: usize = 8;
/// Transactions on a full page of a script's history (Esplora's paging).
const HISTORY_PAGE: usize = 25;
/// Most transactions at a script for which proofs are fetched in one look.
const MAX_PROOFS: usize = 64;
/// How far below the first header held headers are fetched, for a transaction that was confirmed before this node looked.
const MAX_DOWN: u32 = 20_000;
/// Headers between two savings while catching up.
const SAVE_EVERY: u32 = 500;

/// How far the catching up with a chain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUp {
    /// The height that is reached and checked.
    pub height: u32,
    /// The server's tip.
    pub tip: u32,
}

/// What a look at a script found.
#[derive(Debug, Clone)]
pub struct Look {
    /// For the state machine; `None` if no server was heard.
    pub observation: Option<Observation>,
    /// Who showed what, and who objects.
    pub agreement: Agreement,
}

/// One chain as its servers show it.
#[derive(Debug)]
pub struct ChainWatch {
    network: Network,
    servers: Vec<Esplora>,
    chain: Mutex<HeaderChain>,
    folder: PathBuf,
    /// Proofs that were good, by server and transaction: a buried one need not be fetched at each look.
    proofs: Mutex<HashMap<(usize, Txid), InclusionProof>>,
    standings: Mutex<Vec<Result<Standing, String>>>,
}

impl ChainWatch {
    /// Watches `network` through `servers`; headers are kept in `folder`.
    ///
    /// # Errors
    /// [`StorageError`]. Headers that do not read are forgotten and fetched again.
    pub fn open(network: Network, servers: Vec<Esplora>, folder: PathBuf) -> Result<Self, StorageError> {
        let rules = || match network.signet_challenge() {
            Some(challenge) => Rules::signet(challenge),
            None => Rules::new(network.chain()),
        };
        let mut store = HeaderStore::open(&folder)?;
        let chain = match store.headers() {
            Ok((first, headers)) => HeaderChain::restore(rules(), first, &headers).ok(),
            Err(StorageError::Foreign { .. }) => None,
            Err(error) => return Err(error),
        };
        let chain = match chain {
            Some(chain) => chain,
            None => {
                tracing::warn!(%network, "the stored headers are damaged: fetching them again");
                store.forget_headers()?;
                HeaderChain::new(rules())
            }
        };
        Ok(Self {
            network,
            servers,
            chain: Mutex::new(chain),
            folder,
            proofs: Mutex::default(),
            standings: Mutex::default(),
        })
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The servers.
    pub fn servers(&self) -> &[Esplora] {
        &self.servers
    }

    /// Height and median time past of the verified tip.
    pub fn tip(&self) -> Option<(u32, u32)> {
        let chain = self.chain();
        let (height, _) = chain.tip()?;
        Some((height, chain.median_time_past(height).unwrap_or(0)))
    }

    fn chain(&self) -> MutexGuard<'_, HeaderChain> {
        // A panic elsewhere leaves the chain whole: it changes by whole branches.
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the servers, in one line.
    pub fn trouble(&self) -> String {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let words = self.servers.iter().zip(standings.iter()).filter_map(|(server, standing)| {
            let why = standing.as_ref().err()?;
            // Most reasons name the server themselves.
            Some(if why.contains(server.server()) { why.clone() } else { format!("{}: {why}", server.server()) })
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// Follows every server's chain to its tip. Answers whether at least one was heard; [`Self::look`] says what was wrong with the others.
    ///
    /// # Errors
    /// [`StorageError`] if headers cannot be saved.
    pub async fn follow(&self, progress: impl Fn(CatchUp) + Sync) -> Result<bool, StorageError> {
        let mut walked = join_all(self.servers.iter().map(|server| self.walk(server, &progress))).await;
        if self.network == Network::Regtest && is_another_chain(&walked) {
            tracing::warn!("no server has the chain that was known: a devnet was started afresh; beginning anew");
            HeaderStore::open(&self.folder)?.forget_headers()?;
            let rules = self.chain().rules().clone();
            *self.chain() = HeaderChain::new(rules);
            self.proofs.lock().unwrap_or_else(PoisonError::into_inner).clear();
            walked = join_all(self.servers.iter().map(|server| self.walk(server, &progress))).await;
        }
        let mut standings = Vec::with_capacity(walked.len());
        for walk in walked {
            match walk {
                Ok(standing) => standings.push(Ok(standing)),
                Err(Trouble::Storage(error)) => return Err(error),
                Err(other) => standings.push(Err(other.to_string())),
            }
        }
        let heard = standings.iter().any(Result::is_ok);
        *self.standings.lock().unwrap_or_else(PoisonError::into_inner) = standings;
        Ok(heard)
    }

    async fn walk(&self, server: &Esplora, progress: &(impl Fn(CatchUp) + Sync)) -> Result<Standing, Trouble> {
        let mut unsaved: Option<u32> = None;
        let mut restarts = 0;
        // Whoever shows new headers may go on; a server that only takes its time must not hold the others up.
        let mut deadline = Instant::now() + SERVER_PATIENCE;
        let ended = 'anew: loop {
            let mut walk = HeaderSync::default();
            loop {
                let ask = match walk.next() {
                    Next::Done(standing) => break 'anew Ok(standing),
                    Next::Ask(ask) => ask,
                };
                let answer = match timeout_at(deadline, answer(server, ask)).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(error)) => break 'anew Err(error),
                    Err(_) => break 'anew Err(Trouble::Slow),
                };
                let taken = walk.take(&mut self.chain(), answer);
                for adopted in walk.take_adopted() {
                    deadline = Instant::now() + SERVER_PATIENCE;
                    unsaved = Some(unsaved.map_or(adopted.from, |from| from.min(adopted.from)));
                    if adopted.replaced > 0 {
                        tracing::info!(network = %self.network, from = adopted.from, blocks = adopted.replaced, "the chain was reorganised");
                    }
                    if let (Some(tip), Some((height, _))) = (walk.server_tip(), self.chain().tip()) {
                        progress(CatchUp { height, tip });
                    }
                }
                if let (Some(from), Some((height, _))) = (unsaved, self.chain().tip())
                    && height.saturating_sub(from) >= SAVE_EVERY
                {
                    self.save(from)?;
                    unsaved = None;
                }
                match taken {
                    Ok(()) => {}
                    Err(SyncError::Moved | SyncError::OtherPage(_)) if restarts < MAX_RESTARTS => {
                        restarts += 1;
                        continue 'anew;
                    }
                    Err(error) => break 'anew Err(error.into()),
                }
            }
        };
        if let Some(from) = unsaved {
            self.save(from)?;
        }
        ended
    }

    fn save(&self, from: u32) -> Result<(), Trouble> {
        let chain = self.chain();
        let from = from.max(chain.first());
        HeaderStore::open(&self.folder)
            .and_then(|mut store| store.save_headers(chain.first(), from, chain.headers_from(from)))
            .map_err(Trouble::Storage)
    }

    /// The chain without any lock: for a swap that has no script yet. `None` if no server was heard.
    pub fn glance(&self) -> Option<Observation> {
        let (tip, median_time) = self.tip()?;
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = standings.iter().filter(|standing| standing.is_ok()).count();
        let servers = match (self.servers.len(), heard) {
            (_, 0) => return None,
            (1, 1) => Servers::Single,
            (all, heard) if all == heard => Servers::Agree,
            _ => Servers::Disagree,
        };
        let rate = fees::from_estimates_clamped(self.network, &Default::default());
        Some(Observation { tip: height(tip), median_time, locks: Vec::new(), fees: FeeRates::flat(rate), servers })
    }

    /// Looks a lock up at every server, against the chain as [`Self::follow`] has left it. `known` are transactions that must be asked for by id, too: a script's history can be
    /// flooded.
    pub async fn look(&self, lock: &LockScript, known: &[Txid]) -> Look {
        let script = lock.script_pubkey();
        let looks = self.servers.iter().enumerate().map(|(nth, server)| async move {
            match timeout(SERVER_PATIENCE, self.sight(nth, server, script, known)).await {
                Ok(Ok(sighting)) => Ok(sighting),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(Trouble::Slow.to_string()),
            }
        });
        let sightings = join_all(looks).await;
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut reports = Vec::new();
        let mut rates: Option<FeeRates> = None;
        for (nth, (server, sighting)) in self.servers.iter().zip(sightings).enumerate() {
            let standing = standings.get(nth).cloned().unwrap_or_else(|| Err("was not asked for its chain".into()));
            let seen = sighting.map(|(seen, estimated)| {
                if let Some(new) = estimated {
                    rates = Some(rates.map_or(new, |old| FeeRates {
                        fast: old.fast.max(new.fast),
                        normal: old.normal.max(new.normal),
                    }));
                }
                seen
            });
            reports.push(Report { server: server.server().to_owned(), standing, seen });
        }
        let chain = self.chain();
        let agreement = agree(&chain, &reports);
        let observation = match chain.tip() {
            Some((tip, _)) if agreement.is_informed() => {
                let fallback = fees::from_estimates_clamped(self.network, &Default::default());
                Some(Observation {
                    tip: height(tip),
                    median_time: chain.median_time_past(tip).unwrap_or(0),
                    locks: locks(lock, &agreement),
                    fees: rates.unwrap_or(FeeRates::flat(fallback)),
                    servers: match (agreement.servers, agreement.is_unanimous()) {
                        (1, true) => Servers::Single,
                        (_, true) => Servers::Agree,
                        (_, false) => Servers::Disagree,
                    },
                })
            }
            _ => None,
        };
        Look { observation, agreement }
    }

    async fn sight(
        &self,
        nth: usize,
        server: &Esplora,
        script: &Script,
        known: &[Txid],
    ) -> Result<(Vec<Seen>, Option<FeeRates>), Trouble> {
        // Transaction, and whether the server says that it is in a block.
        let mut found: Vec<(Transaction, bool)> = Vec::new();
        let mut after = None;
        for _ in 0..MAX_HISTORY_PAGES {
            let page = server.script_txs(script, after).await?;
            let confirmed: Vec<Txid> = page.iter().filter(|tx| tx.status.confirmed).map(|tx| tx.txid).collect();
            for tx in &page {
                if !found.iter().any(|(known, _)| known.compute_txid() == tx.txid) {
                    found.push((tx.to_tx(), tx.status.confirmed));
                }
            }
            match confirmed.last() {
                Some(last) if confirmed.len() >= HISTORY_PAGE => after = Some(*last),
                _ => break,
            }
        }
        for txid in known {
            if !found.iter().any(|(tx, _)| tx.compute_txid() == *txid)
                && let Some(tx) = server.tx(txid).await?
            {
                found.push((tx, server.tx_status(txid).await?.confirmed));
            }
        }
        // Our own transactions first, then what comes first in the history.
        found.sort_by_key(|(tx, _)| !known.contains(&tx.compute_txid()));
        let mut seen = Vec::with_capacity(found.len());
        for (place, (tx, confirmed)) in found.into_iter().enumerate() {
            let proof = if confirmed && place < MAX_PROOFS { self.proof(nth, server, &tx).await? } else { None };
            seen.push(Seen { tx, proof });
        }
        // Fees are an opinion: without one the bounds of the state machine are enough.
        let rates = server.fee_estimates().await.ok().map(|estimates| self.rates(&estimates));
        Ok((seen, rates))
    }

    /// How deep a transaction lies in the chain as [`Self::follow`] has left it; `None` if no server proves that it is in one of its blocks.
    pub async fn confirm(&self, tx: &Transaction) -> Option<Confirmation> {
        for (nth, server) in self.servers.iter().enumerate() {
            let Ok(Ok(Some(proof))) = timeout(SERVER_PATIENCE, self.proof(nth, server, tx)).await else { continue };
            if let Ok(confirmation) = self.chain().confirm(tx, &proof) {
                return Some(confirmation);
            }
        }
        None
    }

    async fn proof(&self, nth: usize, server: &Esplora, tx: &Transaction) -> Result<Option<InclusionProof>, Trouble> {
        let key = (nth, tx.compute_txid());
        let proofs = || self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = proofs().get(&key).cloned();
        if let Some(kept) = kept
            && self.chain().confirm(tx, &kept).is_ok()
        {
            return Ok(Some(kept));
        }
        let Some(proof) = server.merkle_proof(&key.1).await? else { return Ok(None) };
        let proof = inclusion(&proof);
        self.reach_down(server, proof.height).await?;
        if self.chain().confirm(tx, &proof).is_ok() {
            let mut proofs = proofs();
            if proofs.len() >= MAX_PROOFS * 16 {
                proofs.clear();
            }
            proofs.insert(key, proof.clone());
        }
        Ok(Some(proof))
    }

    /// Fetches headers below the first one held, down to `height`.
    async fn reach_down(&self, server: &Esplora, height: u32) -> Result<(), Trouble> {
        loop {
            let first = self.chain().first();
            if height >= first || first - height > MAX_DOWN {
                return Ok(());
            }
            let page = page(server, Some(first - 1)).await?;
            let headers: Vec<_> = page.iter().rev().map(|entry| entry.header).collect();
            let mut chain = self.chain();
            // Another look may have been faster.
            if chain.first() != first {
                continue;
            }
            chain.extend_down(headers)?;
            let lowest = chain.first();
            drop(chain);
            if lowest == first {
                return Err(Trouble::Sync(SyncError::OtherPage(first - 1)));
            }
            self.save(lowest)?;
        }
    }

    fn rates(&self, estimates: &fees::Estimates) -> FeeRates {
        let normal = fees::from_estimates_clamped(self.network, estimates);
        // The next block or the one after: some servers have no target of one.
        let soon =
            estimates.iter().filter(|(target, _)| **target <= 2).map(|(target, rate)| (*target, *rate)).collect();
        FeeRates { fast: fees::from_estimates_clamped(self.network, &soon).max(normal), normal }
    }

    /// Hands a transaction to every server; fails only if none took it.
    ///
    /// # Errors
    /// What the first one said.
    pub async fn broadcast(&self, tx: &Transaction) -> Result<(), EsploraError> {
        let sent = join_all(self.servers.iter().map(|server| server.broadcast(tx))).await;
        let mut first = None;
        for result in sent {
            match result {
                Ok(()) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Whether nobody has the chain that was known, and somebody has another one. Work counts for nothing on regtest, where anybody mines.
fn is_another_chain(walked: &[Result<Standing, Trouble>]) -> bool {
    let has_it = |walk: &Result<Standing, Trouble>| matches!(walk, Ok(Standing::OnChain { .. }));
    let has_another = |walk: &Result<Standing, Trouble>| {
        matches!(walk, Ok(Standing::OnFork { .. }) | Err(Trouble::Sync(SyncError::Unrelated)))
    };
    !walked.iter().any(has_it) && walked.iter().any(has_another)
}

/// Every output at the lock's script, with what spends it; those in blocks first.
fn locks(lock: &LockScript, agreement: &Agreement) -> Vec<LockSeen> {
    let place = |confirmation: Option<Confirmation>| match confirmation {
        Some(confirmation) => Place::Confirmed(height(confirmation.height())),
        None => Place::Mempool,
    };
    let mut locks = Vec::new();
    for fact in agreement.facts.values() {
        for (vout, output) in (0u32..).zip(&fact.tx.output) {
            if output.script_pubkey.as_script() != lock.script_pubkey() {
                continue;
            }
            let seen = LockSeen { transaction: fact.tx.clone(), vout, place: place(fact.confirmation), spend: None };
            let outpoint = seen.outpoint();
            let spends = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == outpoint);
            let mut spenders: Vec<_> = agreement.facts.values().filter(|fact| spends(&fact.tx)).collect();
            spenders.sort_by_key(|fact| fact.confirmation.is_none());
            let spend = spenders
                .first()
                .map(|fact| SpendSeen { transaction: fact.tx.clone(), place: place(fact.confirmation) });
            locks.push(LockSeen { spend, ..seen });
        }
    }
    locks.sort_by_key(|seen| seen.place == Place::Mempool);
    locks.truncate(MAX_LOCKS_SEEN);
    locks
}

/// Heights of blocks are far below 500,000,000, where lock times begin to mean seconds (BIP65): header chains are checked from known heights.
fn height(height: u32) -> Height {
    Height::from_consensus(height).unwrap_or(Height::MAX)
}

fn inclusion(proof: &MerkleProof) -> InclusionProof {
    InclusionProof {
        height: proof.block_height,
        position: u32::try_from(proof.pos).unwrap_or(u32::MAX),
        branch: proof.merkle.iter().map(|txid| bitcoin::TxMerkleNode::from_raw_hash(txid.to_raw_hash())).collect(),
    }
}

async fn answer(server: &Esplora, ask: Ask) -> Result<Answer, Trouble> {
    match ask {
        Ask::Newest => Ok(Answer::Page(page(server, None).await?)),
        Ask::Page(height) => Ok(Answer::Page(page(server, Some(height)).await?)),
        Ask::Coinbase(block) => {
            let missing = || Trouble::Missing(format!("the coinbase of block {block}"));
            let txid = server.block_txid(&block, 0).await?.ok_or_else(missing)?;
            let coinbase = server.tx(&txid).await?.ok_or_else(missing)?;
            let proof = server.merkle_proof(&txid).await?.ok_or_else(missing)?;
            Ok(Answer::Coinbase(CoinbaseProof { coinbase, branch: inclusion(&proof).branch }))
        }
    }
}

/// A page of headers, from `/blocks`, or block by block where a server lacks that.
async fn page(server: &Esplora, end: Option<u32>) -> Result<Vec<Entry>, Trouble> {
    if let Some(body) = server.blocks(end).await? {
        return Ok(sync::read_page(&body)?);
    }
    let end = match end {
        Some(end) => end,
        None => server.tip().await?.height,
    };
    let mut entries = Vec::new();
    for height in end.saturating_sub(PAGE - 1)..=end {
        let missing = || Trouble::Missing(format!("block {height}"));
        let hash = server.block_hash(height).await?.ok_or_else(missing)?;
        let header = server.header(&hash).await?.ok_or_else(missing)?;
        entries.push(Entry { height, header });
    }
    let linked = entries.windows(2).all(|pair| pair[1].header.prev_blockhash == pair[0].header.block_hash());
    if linked { Ok(entries) } else { Err(SyncError::Moved.into()) }
}

/// What can be wrong with a server while it is watched.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Server(#[from] EsploraError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("it has not answered within {} seconds", SERVER_PATIENCE.as_secs())]
    Slow,
    #[error("it does not have {0}")]
    Missing(String),
    #[error(transparent)]
    Storage(StorageError),
}

impl From<HeaderError> for Trouble {
    fn from(error: HeaderError) -> Self {
        Self::Sync(error.into())
    }
}
