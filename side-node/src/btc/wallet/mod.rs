//! A wallet: taproot addresses from a seed (BIP 39, BIP 86), its transactions, and payments from it.
//!
//! - [`WalletPlace`] — where it lies; [`Wallet::open`] takes its lock
//! - `pay` — building and signing a payment, holding it fast before it is sent, replacing it by one with a higher fee
//! - `view` — balance and history as people and programs see them
//! - `store` — the database, with the outbox
//!
//! ```text
//! open ─► pay ─► commit (durable: outbox) ─► close ─► broadcast ─► … sync: confirmed? buried? sent again?
//! ```
//!
//! The wallet never talks to a server and keeps no secret in memory: [`super::sync`] fetches, and signing reads the seed for a moment.

mod error;
mod pay;
mod place;
mod store;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{HashMap, HashSet};

use bdk_wallet::chain::CanonicalizationParams;
use bdk_wallet::chain::tx_graph::CanonicalTx;
use bdk_wallet::{KeychainKind, LoadWithPersistError, PersistedWallet, Wallet as BdkWallet};
use bitcoin::secp256k1::Keypair;
use bitcoin::{Address, Transaction, Txid};
use zeroize::Zeroizing;

pub use self::error::WalletError;
pub use self::pay::{Payment, Signed, What};
use self::place::WalletLock;
pub use self::place::WalletPlace;
pub use self::store::Outgoing;
use self::store::Store;
pub(crate) use self::store::skip_swap_numbers;
pub use self::view::{Balance, HistoryEntry, State};
use super::network::Network;
use super::scan::{FULL_GAP, Found, KeychainPlan, Plan, SYNC_GAP};
use crate::clock;

/// Blocks on top of a transaction, its own included, after which it counts as final. Reorgs of up to five blocks can be bought on Mutinynet.
pub const BURIED: u32 = 6;
/// Where the number of the next swap stands.
const NEXT_SWAP: &str = "next_swap";
/// Where the database keeps that it comes from a backup.
const RESTORED: &str = "restored";

type Canonical<'a> = CanonicalTx<'a, std::sync::Arc<Transaction>, bdk_wallet::chain::ConfirmationBlockTime>;

/// An open wallet. While it lives, no other process has it open.
#[derive(Debug)]
pub struct Wallet {
    place: WalletPlace,
    bdk: PersistedWallet<bdk_wallet::rusqlite::Connection>,
    store: Store,
    _lock: WalletLock,
}

/// An address to be paid at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    /// The address.
    pub address: Address,
    /// Its number.
    pub index: u32,
}

impl Wallet {
    /// Opens the wallet, making its database if there is none. Waits a while for another process that has it.
    ///
    /// # Errors
    /// [`WalletError::Seed`] if there is no seed, [`WalletError::Busy`], [`WalletError::Foreign`] if the database belongs to another seed.
    pub fn open(place: &WalletPlace) -> Result<Self, WalletError> {
        let account = place.seed()?.account(place.network());
        let lock = place.lock()?;
        let mut store = Store::open(&place.database_file(), place.network())?;
        let chain = place.network().chain();
        let (external, internal) = (account.template(KeychainKind::External), account.template(KeychainKind::Internal));
        let loaded = BdkWallet::load()
            .descriptor(KeychainKind::External, Some(external.clone()))
            .descriptor(KeychainKind::Internal, Some(internal.clone()))
            .check_network(chain)
            .load_wallet(&mut store.connection);
        let foreign = |why: String| WalletError::Foreign { path: place.database_file(), why };
        let bdk = match loaded {
            Ok(Some(wallet)) => wallet,
            Ok(None) => BdkWallet::create(external, internal)
                .network(chain)
                .create_wallet(&mut store.connection)
                .map_err(|e| foreign(e.to_string()))?,
            Err(LoadWithPersistError::Persist(why)) => return Err(store.error(why)),
            Err(LoadWithPersistError::InvalidChangeSet(why)) => return Err(foreign(why.to_string())),
        };
        let mut wallet = Self { place: place.clone(), bdk, store, _lock: lock };
        wallet.take_up_outbox()?;
        Ok(wallet)
    }

    /// Where it lies.
    pub fn place(&self) -> &WalletPlace {
        &self.place
    }

    /// Its network.
    pub fn network(&self) -> Network {
        self.place.network()
    }

    /// The first address that nobody has paid to yet; the same until somebody does.
    ///
    /// # Errors
    /// [`WalletError::Database`]: then it is not on disk that the address was handed out, and it must not be shown.
    pub fn address(&mut self) -> Result<Receive, WalletError> {
        let info = self.bdk.next_unused_address(KeychainKind::External);
        self.persist()?;
        Ok(Receive { address: info.address, index: info.index })
    }

    /// An address that was never handed out before.
    ///
    /// # Errors
    /// As [`Wallet::address`].
    pub fn fresh_address(&mut self) -> Result<Receive, WalletError> {
        let info = self.bdk.reveal_next_address(KeychainKind::External);
        self.persist()?;
        Ok(Receive { address: info.address, index: info.index })
    }

    /// Height of the best block that the wallet has heard of.
    pub fn height(&self) -> u32 {
        self.bdk.latest_checkpoint().height()
    }

    /// Whether a server was ever asked.
    pub fn was_scanned(&self) -> bool {
        self.height() > 0
    }

    /// The public descriptors (BIP 380, BIP 386) of payments and change: whoever has them sees everything and can spend nothing.
    pub fn descriptors(&self) -> [String; 2] {
        [KeychainKind::External, KeychainKind::Internal].map(|kind| self.bdk.public_descriptor(kind).to_string())
    }

    /// A number for a new swap, never given out before; durable when this returns. See [`Wallet::swap_key`].
    ///
    /// # Errors
    /// [`WalletError::Database`].
    pub fn next_swap(&mut self) -> Result<u32, WalletError> {
        let next = self.store.meta(NEXT_SWAP)?.and_then(|text| text.parse().ok()).unwrap_or(0u32);
        self.store.set_meta(NEXT_SWAP, &(next + 1).to_string())?;
        Ok(next)
    }

    /// Whether the wallet at this place comes from a backup: it may have forgotten what it paid, until it is brought up to date.
    ///
    /// # Errors
    /// [`WalletError::Database`].
    pub fn was_restored(place: &WalletPlace) -> Result<bool, WalletError> {
        if !place.database_file().exists() {
            return Ok(false);
        }
        let _lock = place.lock()?;
        Ok(Store::open(&place.database_file(), place.network())?.meta(RESTORED)?.is_some())
    }

    /// The transaction of this wallet that pays exactly this, if there is one.
    pub fn paying(&self, output: &bitcoin::TxOut) -> Option<Transaction> {
        let ours = |tx: &Transaction| self.bdk.sent_and_received(tx).0 > bitcoin::Amount::ZERO;
        let mut transactions = self.bdk.transactions().map(|tx| tx.tx_node.tx);
        transactions.find(|tx| tx.output.contains(output) && ours(tx)).map(|tx| (*tx).clone())
    }

    /// The signing key of a swap, at a path of its own.
    ///
    /// # Errors
    /// [`WalletError::Seed`].
    pub fn swap_key(&self, swap: u32) -> Result<Keypair, WalletError> {
        Ok(self.place.seed()?.swap_key(self.network(), swap))
    }

    /// The preimage of a swap. Its hash is SHA-256 of these bytes.
    ///
    /// # Errors
    /// [`WalletError::Seed`].
    pub fn swap_preimage(&self, swap: u32) -> Result<Zeroizing<[u8; 32]>, WalletError> {
        Ok(self.place.seed()?.swap_preimage(self.network(), swap))
    }

    /// A transaction that concerns this wallet.
    pub fn transaction(&self, txid: &Txid) -> Option<Transaction> {
        self.bdk.tx_graph().get_tx(*txid).map(|tx| tx.as_ref().clone())
    }

    /// What was signed here and is not buried yet.
    ///
    /// # Errors
    /// [`WalletError::Database`].
    pub fn outbox(&self) -> Result<Vec<Outgoing>, WalletError> {
        self.store.outbox()
    }

    /// What a scan has to look for. `full` looks further than what was handed out: for a wallet that was restored from its words.
    pub fn plan(&self, full: bool) -> Plan {
        let index = self.bdk.spk_index();
        let keychains = [KeychainKind::External, KeychainKind::Internal].map(|kind| KeychainPlan {
            kind,
            descriptor: self.bdk.public_descriptor(kind).clone(),
            last_revealed: index.last_revealed_index(kind),
        });
        let tip = self.bdk.latest_checkpoint();
        let mut expected: HashMap<_, HashSet<Txid>> = HashMap::new();
        let graph = self.bdk.tx_graph();
        for (script, txid) in graph.list_expected_spk_txids(self.bdk.local_chain(), tip.block_id(), index, ..) {
            expected.entry(script).or_default().insert(txid);
        }
        let gap = if full || !self.was_scanned() { FULL_GAP } else { SYNC_GAP };
        Plan { keychains: keychains.into(), expected, chain: tip, gap, now: now_s() }
    }

    /// Takes in what a scan found; durable when this returns. What is buried leaves the outbox.
    ///
    /// # Errors
    /// [`WalletError::Disconnected`] if another process has moved the wallet on meanwhile in a way that does not fit: scan again.
    pub fn apply(&mut self, found: Found) -> Result<(), WalletError> {
        self.bdk.apply_update(found.update).map_err(|e| WalletError::Disconnected(e.try_include_height))?;
        self.persist()?;
        let settled = self.settled()?;
        self.store.settle(&settled)
    }

    /// Forgets all that was learnt from servers, the outbox included: for a devnet that was started afresh, whose old chain is gone for good.
    ///
    /// # Errors
    /// [`WalletError::Io`].
    pub fn forget_chain(self) -> Result<(), WalletError> {
        let path = self.store.path().to_owned();
        // The connection first: closing it removes SQLite's files beside the database.
        let Self { store, _lock, .. } = self;
        let closed = store.connection.close();
        drop(closed);
        std::fs::remove_file(&path).map_err(|why| WalletError::Io { path, why })
    }

    fn persist(&mut self) -> Result<(), WalletError> {
        match self.bdk.persist(&mut self.store.connection) {
            Ok(_) => Ok(()),
            Err(why) => Err(self.store.error(why)),
        }
    }

    fn canonical(&self) -> impl Iterator<Item = Canonical<'_>> {
        let chain = self.bdk.local_chain();
        let tip = self.bdk.latest_checkpoint().block_id();
        self.bdk.tx_graph().list_canonical_txs(chain, tip, CanonicalizationParams::default())
    }

    /// Ids of all transactions that lie at least [`BURIED`] deep.
    fn buried(&self) -> HashSet<Txid> {
        let tip = self.height();
        let deep = |height: u32| (tip + 1).saturating_sub(height) >= BURIED;
        let buried =
            self.canonical().filter(|tx| tx.chain_position.confirmation_height_upper_bound().is_some_and(deep));
        buried.map(|tx| tx.tx_node.txid).collect()
    }

    /// What may leave the outbox: buried, or in conflict with what is buried.
    fn settled(&self) -> Result<Vec<Txid>, WalletError> {
        let outbox = self.store.outbox()?;
        if outbox.is_empty() {
            return Ok(Vec::new());
        }
        let buried = self.buried();
        let graph = self.bdk.tx_graph();
        let spent = |outgoing: &Outgoing| {
            let mut inputs = outgoing.tx.input.iter();
            inputs.any(|input| graph.outspends(input.previous_output).iter().any(|spender| buried.contains(spender)))
        };
        Ok(outbox.iter().filter(|outgoing| spent(outgoing)).map(|outgoing| outgoing.txid).collect())
    }

    /// A crash may have come between the outbox and BDK's tables: the outbox is right.
    fn take_up_outbox(&mut self) -> Result<(), WalletError> {
        let known = |wallet: &Self, txid: &Txid| wallet.bdk.tx_graph().get_tx(*txid).is_some();
        let unknown: Vec<_> =
            self.store.outbox()?.into_iter().filter(|outgoing| !known(self, &outgoing.txid)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        self.bdk.apply_unconfirmed_txs(unknown.into_iter().map(|outgoing| (outgoing.tx, outgoing.made_s)));
        self.persist()
    }
}

/// Seconds since 1970: what BDK counts in.
fn now_s() -> u64 {
    clock::now_ms() / 1000
}
