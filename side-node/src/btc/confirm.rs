//! How deep a payment lies. The one place where that is decided for the wallet: whoever prints or waits for confirmations asks here.
//!
//! A server's claim begins it; headers and a merkle proof ([`super::chain`]) end it. Where the headers are too many to fetch for one payment, the claim stands, and
//! [`Depth::checked`] says so.

use std::path::Path;

use bitcoin::{Transaction, Txid};

use super::esplora::{Esplora, EsploraError};
use super::network::Network;
use super::swaps::watch::ChainWatch;

/// Most headers that are fetched for the sake of one payment: a few hundred requests. Where a node watches swaps it has them already; on a signet the blocks' signers
/// vouch for any of them, so that few are needed.
const MAX_CATCH_UP: u32 = 2_000;

/// How deep a transaction lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Blocks on top of it, its own included; 0 while it is in none.
    pub confirmations: u32,
    /// The height of its block.
    pub height: Option<u32>,
    /// The height of the best block.
    pub tip: u32,
    /// Whether headers and a merkle proof were checked; else it is the server's word.
    pub checked: bool,
}

/// Looks how deep transactions lie.
#[derive(Debug)]
pub struct Depths {
    network: Network,
    server: Esplora,
    watch: Option<ChainWatch>,
}

impl Depths {
    /// Looks through `server`; headers are kept in `folder`. Without a place for them, the server's word stands.
    pub fn new(network: Network, server: &Esplora, folder: &Path) -> Self {
        let watch = ChainWatch::open(network, vec![server.clone()], folder.to_owned());
        if let Err(error) = &watch {
            tracing::warn!(%network, %error, "confirmations are not checked: there is no place for headers");
        }
        Self { network, server: server.clone(), watch: watch.ok() }
    }

    /// How deep a transaction lies.
    ///
    /// # Errors
    /// Whatever keeps the server from answering, and [`EsploraError::Nonsense`] where it claims what it does not prove.
    pub async fn of(&self, tx: &Transaction) -> Result<Depth, EsploraError> {
        let txid = tx.compute_txid();
        let claimed = claimed(&self.server, &txid).await?;
        let near = |watch: &&ChainWatch| {
            let known = watch.tip().map_or(0, |(height, _)| height);
            self.network.signet_challenge().is_some() || claimed.tip.saturating_sub(known) <= MAX_CATCH_UP
        };
        let Some(watch) = self.watch.as_ref().filter(near).filter(|_| claimed.confirmations > 0) else {
            return Ok(claimed);
        };
        match watch.follow(|_| {}).await {
            Ok(true) => {}
            Ok(false) => return Err(self.server.nonsense("/blocks", watch.trouble())),
            Err(error) => {
                tracing::warn!(network = %self.network, %error, "confirmations are not checked: headers cannot be kept");
                return Ok(claimed);
            }
        }
        match (watch.confirm(tx).await, watch.tip()) {
            (Some(confirmation), Some((tip, _))) => Ok(Depth {
                confirmations: confirmation.depth(),
                height: Some(confirmation.height()),
                tip,
                checked: true,
            }),
            _ => Err(self.server.nonsense(&format!("/tx/{txid}/status"), "it says confirmed, and does not prove it")),
        }
    }
}

/// How deep a transaction lies by a server's word.
async fn claimed(server: &Esplora, txid: &Txid) -> Result<Depth, EsploraError> {
    let status = server.tx_status(txid).await?;
    let tip = server.tip().await?.height;
    let height = match (status.confirmed, status.block_height) {
        (true, Some(height)) => Some(height),
        (true, None) => return Err(server.nonsense(&format!("/tx/{txid}/status"), "confirmed, but in no block")),
        (false, _) => None,
    };
    // A block above the tip: the tip was asked for before a reorg, or the server lies. It counts once there is a tip above it.
    let confirmations = height.map_or(0, |height| (tip.saturating_add(1)).saturating_sub(height));
    Ok(Depth { confirmations, height, tip, checked: false })
}
