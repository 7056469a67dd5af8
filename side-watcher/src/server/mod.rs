//! The relay: a library that a test starts in-process.
//!
//! ```text
//! listener ─▶ connection ─┬─▶ group (changes, blocks, sessions) ─▶ commit thread (store)
//!             connection ─┤      │ live frames, encoded once
//!             connection ◀┴──────┘
//! ```
//!
//! - [`config`] — what an operator can set
//! - `data` — the data folder: lock and identity
//! - [`http`], `pages` — the first bytes of a connection, and the pages
//! - `connection`, `peer` — one connection; what others hold of it
//! - `hub`, `group`, `persist` — the groups, what each does, and the disk
//! - [`quota`], `keys`, `clock` — rates, strikes, counts, the time

mod clock;
pub mod config;
mod connection;
mod data;
mod group;
pub mod http;
mod hub;
mod keys;
mod listener;
mod pages;
mod peer;
mod persist;
pub mod quota;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_store::{Expect, OpenOptions, SqliteStore, StoreError, identity};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
pub use config::{Config, Limits};
pub use data::{DataError, DataFolder, IDENTITY_FILE, LOCK_FILE};
pub use hub::HubError;

/// The store's file in the data folder.
pub const STORE_FILE: &str = "side.sqlite";

/// Why a relay does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The address is taken.
    #[error("{0} is in use; stop what listens there (another side-watcher?), or choose another address with --listen")]
    InUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the store's thread: {0}")]
    Thread(io::Error),
}

/// Why a relay did not stop in good order.
#[derive(Debug, Error)]
pub enum StopError {
    /// What was not acknowledged is not on disk.
    #[error("the last changes are not on disk (none of them was acknowledged): {0}")]
    Store(Arc<StoreError>),
    /// The store's thread panicked: a bug.
    #[error("the store's thread panicked")]
    Panic,
}

/// What all connections share.
struct Shared {
    config: Config,
    identity: Keypair,
    metrics: Arc<Metrics>,
    hub: hub::Hub,
    stop: CancellationToken,
    /// Connections by key, of accepted hellos.
    keys: keys::Counted<AuthorId>,
    /// Connections by address.
    addresses: keys::Counted<IpAddr>,
    handshakes: keys::Handshakes,
    next_peer: AtomicU64,
}

impl Shared {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }
}

/// A relay that runs. Dropping it ends it without ceremony; what was acknowledged is on disk all the same.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    connections: TaskTracker,
    listener: tokio::task::JoinHandle<()>,
    store: Option<persist::StoreThread>,
    _data: DataFolder,
}

impl Server {
    /// Opens the data folder, loads what it holds, and listens. When this returns, connections are taken.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let data = DataFolder::open(&config.data)?;
        let expect = if data.is_new() { Expect::New } else { Expect::Existing };
        let identity = data.identity()?;
        // First of all the address: whoever started a second relay by mistake learns it before anything is loaded.
        let listener = TcpListener::bind(config.listen).await.map_err(|cause| match cause.kind() {
            io::ErrorKind::AddrInUse => StartError::InUse(config.listen),
            _ => StartError::Listen { address: config.listen, cause },
        })?;
        let address = listener.local_addr().map_err(|cause| StartError::Listen { address: config.listen, cause })?;

        let metrics = Arc::new(Metrics::default());
        let mut store = SqliteStore::open(data.path().join(STORE_FILE), &OpenOptions::default())?;
        if let Err(error) = store.reserve_log() {
            tracing::debug!(%error, "no room was set aside for the log of the database");
        }
        look_for_restore(&mut store, &data, expect, &config)?;
        let loaded = hub::Hub::load(&mut store, &identity)?;
        let (persist, store) = persist::Persist::spawn(Box::new(store), metrics.clone()).map_err(StartError::Thread)?;
        let hub = hub::Hub::start(loaded, persist, identity.clone(), config.limits.clone(), metrics.clone());

        let shared = Arc::new(Shared {
            config,
            identity,
            metrics,
            hub,
            stop: CancellationToken::new(),
            keys: keys::Counted::default(),
            addresses: keys::Counted::default(),
            handshakes: keys::Handshakes::default(),
            next_peer: AtomicU64::new(1),
        });
        let connections = TaskTracker::new();
        let listener = tokio::spawn(listener::run(listener, shared.clone(), connections.clone()));
        tracing::info!(%address, identity = %shared.identity.author(), data = %data.path().display(), "serving");
        Ok(Self { shared, address, connections, listener, store: Some(store), _data: data })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The relay's identity.
    pub fn identity(&self) -> AuthorId {
        self.shared.identity.author()
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Takes no more connections, closes those that stand (code 1001), and returns when everything that was forwarded is on disk.
    pub async fn shutdown(mut self) -> Result<(), StopError> {
        self.shared.stop.cancel();
        self.connections.close();
        let patience = self.shared.config.limits.shutdown_timeout;
        if tokio::time::timeout(patience, self.connections.wait()).await.is_err() {
            tracing::warn!(open = self.connections.len(), "some connections did not close in time");
        }
        self.listener.abort();
        self.shared.hub.stop().await;
        let Some(store) = self.store.take() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || store.join()).await {
            Ok(Ok(Ok(()))) => {
                tracing::info!("stopped; everything is on disk");
                Ok(())
            }
            Ok(Ok(Err(error))) => Err(StopError::Store(error)),
            _ => Err(StopError::Panic),
        }
    }
}

/// Finds out whether the store may be older than what the relay has told, and marks it so: it then seals in none of its groups until it has learnt what it
/// has forgotten.
fn look_for_restore(
    store: &mut SqliteStore,
    data: &DataFolder,
    expect: Expect,
    config: &Config,
) -> Result<(), StartError> {
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(DataError::Random)?;
    let mut identified = identity::identify(store, &data.witness(config.witness.as_deref()), expect, entropy)?;
    if let Some(suspicion) = &identified.suspicion {
        if !config.seal_restored {
            tracing::warn!(
                "{suspicion}; where a group has made this relay its sealer, it seals only once the voters have told what may be missing. If you know \
                 that nothing is missing, start it with --seal-restored"
            );
        }
        // First the mark, then the acceptance: a crash in between only marks again.
        hub::Hub::mark_restored(store, true)?;
        identified.accept(store)?;
    }
    if config.seal_restored {
        hub::Hub::mark_restored(store, false)?;
    }
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.listener.abort();
    }
}
