//! A client for Esplora servers that trusts none of them: every answer has a limit in time and size, every transaction must have the id that was asked for,
//! and every error names the server.
//!
//! The client that comes with `bdk_esplora` reads bodies of any size and asks six times, with doubled pauses, where a server is busy; its scan goes
//! on for as long as a server says that there is more. So only the types of `esplora-client` are used, and the scan is ours ([`super::scan`]).
//!
//! API: <https://github.com/Blockstream/esplora/blob/master/API.md>. Servers differ: some (mempool) lack `/blocks` and `/fee-estimates`, so nothing here
//! needs the first, and the second has a stand-in.

mod blocks;
mod devnet;
mod error;
mod http;

use std::time::Duration;

use bdk_wallet::chain::BlockId;
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, deserialize_hex, serialize_hex};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{BlockHash, OutPoint, Script, Transaction, Txid};
pub use esplora_client::api::{MerkleProof, OutputStatus, Tx, TxStatus};
use serde::Deserialize;

pub use self::error::EsploraError;
use self::http::Http;
use super::fees::Estimates;
use super::network::Network;

/// Most bytes of an answer that is a line of text: hashes, heights, headers.
const MAX_LINE: usize = 1 << 10;
/// Most bytes of an answer in JSON that speaks of one thing: a block, a status, a proof, the estimates.
const MAX_OBJECT: usize = 256 << 10;
/// Most bytes of a transaction: what fits into a block (BIP 141).
const MAX_TRANSACTION: usize = 4_000_000;
/// Most bytes of a page of transactions: 25 to 75 of them in JSON. A block's worth of witness in hex, with room around it.
const MAX_PAGE: usize = 32 << 20;
/// What servers answer when they have the transaction already: as good as a yes.
const KNOWN_ALREADY: [&str; 4] =
    ["already in block chain", "already in utxo set", "txn-already-in-mempool", "txn-already-known"];

/// One Esplora server. Cheap to clone: clones share connections.
#[derive(Debug, Clone)]
pub struct Esplora {
    http: Http,
}

#[derive(Deserialize)]
struct BlockSummary {
    id: BlockHash,
    height: u32,
}

/// What mempool's servers say instead of `/fee-estimates`, in sats a virtual byte.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recommended {
    fastest_fee: f64,
    half_hour_fee: f64,
    hour_fee: f64,
}

impl Esplora {
    /// A client for the server at `url` (`http://` or `https://`). Nothing is sent yet.
    ///
    /// # Errors
    /// [`EsploraError::Url`].
    pub fn new(url: &str) -> Result<Self, EsploraError> {
        Self::with_patience(url, http::PATIENCE)
    }

    /// The same with another limit on how long one answer may take.
    ///
    /// # Errors
    /// [`EsploraError::Url`].
    pub fn with_patience(url: &str, patience: Duration) -> Result<Self, EsploraError> {
        Ok(Self { http: Http::new(url, patience)? })
    }

    /// The server's address, without user and password.
    pub fn server(&self) -> &str {
        self.http.server()
    }

    /// Refuses a server of another chain: by its genesis, and by a pinned block where several chains have one genesis.
    ///
    /// # Errors
    /// [`EsploraError::WrongChain`], and whatever keeps the server from answering.
    pub async fn check_network(&self, network: Network) -> Result<(), EsploraError> {
        let known = [Some((0, network.genesis())), network.pinned_block()];
        for (height, expected) in known.into_iter().flatten() {
            let found = self.block_hash(height).await?;
            if found != Some(expected) {
                return Err(EsploraError::WrongChain {
                    server: self.server().to_owned(),
                    network,
                    height,
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// The best block that the server knows.
    pub async fn tip(&self) -> Result<BlockId, EsploraError> {
        let path = "/blocks/tip/hash";
        let hash: BlockHash = self.line(path).await?.ok_or_else(|| self.missing(path))?;
        // By its hash, not by another question for the tip: between two questions the tip may move.
        let path = format!("/block/{hash}");
        let block: BlockSummary = self.json(&path, MAX_OBJECT).await?.ok_or_else(|| self.missing(&path))?;
        if block.id != hash {
            return Err(self.nonsense(&path, format!("it describes block {}", block.id)));
        }
        Ok(BlockId { height: block.height, hash })
    }

    /// The block at a height of the best chain, `None` above the tip.
    pub async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, EsploraError> {
        self.line(&format!("/block-height/{height}")).await
    }

    /// A block's header; its hash is checked.
    pub async fn header(&self, hash: &BlockHash) -> Result<Option<Header>, EsploraError> {
        let path = format!("/block/{hash}/header");
        let Some(text) = self.http.get_text(&path, MAX_LINE).await? else { return Ok(None) };
        let header: Header = deserialize_hex(text.trim()).map_err(|e| self.nonsense(&path, e))?;
        match header.block_hash() {
            found if found == *hash => Ok(Some(header)),
            found => Err(self.nonsense(&path, format!("it is the header of {found}"))),
        }
    }

    /// A transaction; its id is checked.
    pub async fn tx(&self, txid: &Txid) -> Result<Option<Transaction>, EsploraError> {
        let path = format!("/tx/{txid}/raw");
        let Some(bytes) = self.http.get(&path, MAX_TRANSACTION).await? else { return Ok(None) };
        let tx: Transaction = deserialize(&bytes).map_err(|e| self.nonsense(&path, e))?;
        match tx.compute_txid() {
            found if found == *txid => Ok(Some(tx)),
            found => Err(self.nonsense(&path, format!("it is transaction {found}"))),
        }
    }

    /// What the server says about whether a transaction is in a block. A transaction that it does not know is "unconfirmed" to it.
    pub async fn tx_status(&self, txid: &Txid) -> Result<TxStatus, EsploraError> {
        let path = format!("/tx/{txid}/status");
        self.json(&path, MAX_OBJECT).await?.ok_or_else(|| self.missing(&path))
    }

    /// The path from a transaction to its block's merkle root, `None` while it is in no block.
    pub async fn merkle_proof(&self, txid: &Txid) -> Result<Option<MerkleProof>, EsploraError> {
        self.json(&format!("/tx/{txid}/merkle-proof"), MAX_OBJECT).await
    }

    /// Who spent an output, as the server says.
    pub async fn outspend(&self, outpoint: &OutPoint) -> Result<Option<OutputStatus>, EsploraError> {
        self.json(&format!("/tx/{}/outspend/{}", outpoint.txid, outpoint.vout), MAX_OBJECT).await
    }

    /// A page of a script's history, newest first: unconfirmed ones and the first 25 confirmed ones, or those after `after`.
    ///
    /// Each transaction has the id that the server claims: [`Tx::to_tx`] gives its true bytes.
    pub async fn script_txs(&self, script: &Script, after: Option<Txid>) -> Result<Vec<Tx>, EsploraError> {
        let hash = sha256::Hash::hash(script.as_bytes());
        let path = match after {
            Some(after) => format!("/scripthash/{hash:x}/txs/chain/{after}"),
            None => format!("/scripthash/{hash:x}/txs"),
        };
        let page: Vec<Tx> = self.json(&path, MAX_PAGE).await?.ok_or_else(|| self.missing(&path))?;
        for tx in &page {
            let found = tx.to_tx().compute_txid();
            if found != tx.txid {
                return Err(self.nonsense(&path, format!("transaction {} is in truth {found}", tx.txid)));
            }
        }
        Ok(page)
    }

    /// The server's fee estimates; see [`super::fees`] for what they are worth.
    pub async fn fee_estimates(&self) -> Result<Estimates, EsploraError> {
        if let Some(estimates) = self.json("/fee-estimates", MAX_OBJECT).await? {
            return Ok(estimates);
        }
        let recommended: Option<Recommended> = self.json("/v1/fees/recommended", MAX_OBJECT).await?;
        // The targets that mempool's servers mean by these words, in blocks.
        Ok(recommended.map_or_else(Estimates::new, |r| {
            Estimates::from([(1, r.fastest_fee), (3, r.half_hour_fee), (6, r.hour_fee)])
        }))
    }

    /// Hands a transaction to the network. That the server has it already is success.
    ///
    /// # Errors
    /// [`EsploraError::Rejected`] with the node's reason; whatever keeps the server from answering: then nobody knows whether the transaction went out.
    pub async fn broadcast(&self, tx: &Transaction) -> Result<(), EsploraError> {
        let (status, body) = self.http.post("/tx", serialize_hex(tx), MAX_OBJECT).await?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let reason = error::reason(&body);
        let lower = reason.to_ascii_lowercase();
        if KNOWN_ALREADY.iter().any(|known| lower.contains(known)) {
            return Ok(());
        }
        match status {
            400..=499 if status != 429 => Err(EsploraError::Rejected { server: self.server().to_owned(), reason }),
            _ => Err(self.http.status(status, "/tx", &body)),
        }
    }

    async fn line<T: std::str::FromStr<Err: std::fmt::Display>>(&self, path: &str) -> Result<Option<T>, EsploraError> {
        let Some(text) = self.http.get_text(path, MAX_LINE).await? else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|e| self.nonsense(path, e))
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str, limit: usize) -> Result<Option<T>, EsploraError> {
        let Some(bytes) = self.http.get(path, limit).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| self.nonsense(path, e))
    }

    fn missing(&self, path: &str) -> EsploraError {
        self.nonsense(path, "it says that there is no such thing")
    }

    pub(crate) fn nonsense(&self, path: &str, why: impl std::fmt::Display) -> EsploraError {
        EsploraError::Nonsense {
            server: self.server().to_owned(),
            path: path.to_owned(),
            why: error::tame(&why.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
