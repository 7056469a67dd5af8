//! How deep a transaction lies. The one place where that is decided: whoever prints, waits for or acts on confirmations asks here.

use bitcoin::Txid;

use super::esplora::{Esplora, EsploraError};

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

/// Asks a server how deep a transaction lies.
///
/// # Errors
/// Whatever keeps the server from answering, and [`EsploraError::Nonsense`] where its answers contradict each other.
pub async fn depth(server: &Esplora, txid: &Txid) -> Result<Depth, EsploraError> {
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
