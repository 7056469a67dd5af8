//! Balance and history, for people and for programs. Amounts are sats.

use std::collections::HashMap;

use bitcoin::{Amount, Txid};
use serde::{Deserialize, Serialize};

use super::{Wallet, WalletError};

/// What a wallet has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// In blocks.
    #[serde(rename = "confirmed_sat")]
    pub confirmed: Amount,
    /// Change of our own payments that are in no block yet; can be spent.
    #[serde(rename = "change_sat")]
    pub change: Amount,
    /// Sent by others, in no block yet; cannot be spent, since they can take it back.
    #[serde(rename = "incoming_sat")]
    pub incoming: Amount,
    /// Mined less than 100 blocks ago; cannot be spent yet.
    #[serde(rename = "immature_sat")]
    pub immature: Amount,
}

impl Balance {
    /// What can be spent now.
    pub fn spendable(&self) -> Amount {
        self.confirmed + self.change
    }

    /// All of it.
    pub fn total(&self) -> Amount {
        self.spendable() + self.incoming + self.immature
    }
}

/// How it stands with a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In a block, as the server says.
    Confirmed,
    /// In the server's mempool, or on its way there.
    Pending,
    /// Signed here and not in the server's mempool: every sync sends it again.
    Unsent,
    /// Another transaction took its place.
    Replaced,
}

/// One transaction of a wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its id.
    pub txid: Txid,
    /// How it stands with it.
    pub state: State,
    /// What the wallet has gained or lost by it, fee included, in sats.
    pub net_sat: i64,
    /// The fee, if it is known; in sats.
    pub fee_sat: Option<u64>,
    /// The block's height.
    pub height: Option<u32>,
    /// Blocks on top of it, its own included; 0 while it is in none.
    pub confirmations: u32,
    /// The block's time, or when the transaction was first seen; seconds since 1970.
    pub time_s: Option<u64>,
    /// What took its place.
    pub replaced_by: Option<Txid>,
}

impl Wallet {
    /// What the wallet has, as of the last sync.
    pub fn balance(&self) -> Balance {
        let balance = self.bdk.balance();
        Balance {
            confirmed: balance.confirmed,
            change: balance.trusted_pending,
            incoming: balance.untrusted_pending,
            immature: balance.immature,
        }
    }

    /// All transactions, as of the last sync: newest first, those in no block before all.
    ///
    /// # Errors
    /// [`WalletError::Database`].
    pub fn history(&self) -> Result<Vec<HistoryEntry>, WalletError> {
        let tip = self.height();
        let mut entries = HashMap::new();
        for tx in self.canonical() {
            let height = tx.chain_position.confirmation_height_upper_bound();
            let confirmed_at = match &tx.chain_position {
                bdk_wallet::chain::ChainPosition::Confirmed { anchor, .. } => Some(anchor.confirmation_time),
                bdk_wallet::chain::ChainPosition::Unconfirmed { .. } => None,
            };
            let entry = HistoryEntry {
                state: if confirmed_at.is_some() { State::Confirmed } else { State::Pending },
                height: confirmed_at.and(height),
                confirmations: confirmed_at.and(height).map_or(0, |height| (tip + 1).saturating_sub(height)),
                time_s: confirmed_at.or(tx.tx_node.first_seen),
                ..self.entry(&tx.tx_node.tx)
            };
            entries.insert(entry.txid, entry);
        }
        for outgoing in self.outbox()? {
            let (state, replaced_by) = match outgoing.replaced_by {
                Some(by) => (State::Replaced, Some(by)),
                None => (State::Unsent, None),
            };
            entries.entry(outgoing.txid).or_insert_with(|| HistoryEntry {
                state,
                replaced_by,
                time_s: Some(outgoing.made_s),
                ..self.entry(&outgoing.tx)
            });
        }
        let mut entries: Vec<HistoryEntry> = entries.into_values().collect();
        entries.sort_by_key(|entry| {
            let age = (std::cmp::Reverse(entry.height.unwrap_or(u32::MAX)), std::cmp::Reverse(entry.time_s));
            // Of one second: what replaces is newer than what it replaces.
            (age, entry.replaced_by.is_some(), entry.txid)
        });
        Ok(entries)
    }

    fn entry(&self, tx: &bitcoin::Transaction) -> HistoryEntry {
        let (sent, received) = self.bdk.sent_and_received(tx);
        let sats = |amount: Amount| i64::try_from(amount.to_sat()).unwrap_or(i64::MAX);
        HistoryEntry {
            txid: tx.compute_txid(),
            state: State::Pending,
            net_sat: sats(received) - sats(sent),
            fee_sat: self.bdk.calculate_fee(tx).ok().map(Amount::to_sat),
            height: None,
            confirmations: 0,
            time_s: None,
            replaced_by: None,
        }
    }
}
