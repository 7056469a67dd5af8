//! Blocks as Esplora lists them, unread: [`crate::btc::chain`] reads and checks them.

use bitcoin::{BlockHash, Txid};

use super::{Esplora, EsploraError, MAX_OBJECT};

impl Esplora {
    /// The page of ten blocks that ends at a height, or the newest one; `None` where the server has no such pages.
    pub async fn blocks(&self, end: Option<u32>) -> Result<Option<Vec<u8>>, EsploraError> {
        let path = match end {
            Some(height) => format!("/blocks/{height}"),
            None => "/blocks".to_owned(),
        };
        self.http.get(&path, MAX_OBJECT).await
    }

    /// The id of the transaction at a place of a block.
    pub async fn block_txid(&self, block: &BlockHash, place: u32) -> Result<Option<Txid>, EsploraError> {
        self.line(&format!("/block/{block}/txid/{place}")).await
    }
}
