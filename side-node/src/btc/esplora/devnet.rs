//! What a devnet does beside Esplora's API (its `/devnet` paths): mining and a faucet, for demos that would otherwise wait for hours.

use bitcoin::{Address, Amount};

use super::{Esplora, EsploraError, MAX_OBJECT};

impl Esplora {
    /// Whether the server is a devnet, which mines when it is told to.
    pub async fn is_devnet(&self) -> bool {
        matches!(self.http.get("/devnet", MAX_OBJECT).await, Ok(Some(_)))
    }

    /// Has a devnet mine blocks.
    pub async fn devnet_mine(&self, blocks: u32) -> Result<(), EsploraError> {
        self.command("/devnet/mine", serde_json::json!({ "blocks": blocks })).await
    }

    /// Has a devnet's faucet pay to an address.
    pub async fn devnet_fund(&self, address: &Address, amount: Amount) -> Result<(), EsploraError> {
        self.command("/devnet/fund", serde_json::json!({ "address": address, "sats": amount.to_sat() })).await
    }

    async fn command(&self, path: &str, body: serde_json::Value) -> Result<(), EsploraError> {
        match self.http.post(path, body.to_string(), MAX_OBJECT).await? {
            (200..=299, _) => Ok(()),
            (status, body) => Err(self.http.status(status, path, &body)),
        }
    }
}
