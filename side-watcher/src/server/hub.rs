//! Which groups the relay carries: loads them at the start, adopts new ones within quotas, and introduces connections to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::evidence::{EquivocationProof, Voucher};
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::replica::{Incoming, Limits as ReplicaLimits, Replica};
use side_ledger::{Genesis, GroupId};
use side_store::{LoadBounds, Store, StoreError};
use thiserror::Error;
use tokio_util::task::TaskTracker;

use super::admission::Admit;
use super::config::Limits;
use super::group::{self, Mailbox, Setup};
use super::keys::Counted;
use super::persist::Persist;
use crate::metrics::{Metrics, count};
use crate::protocol::{Carried, Channel, GroupReply};

/// Why the stored groups could not be loaded.
#[derive(Debug, Error)]
pub enum HubError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds of one group is not usable.
    #[error(
        "the stored history of group {group} is not usable: {detail}; keep a copy of the data folder, move side.sqlite away and start again: the history comes back from the members"
    )]
    Damaged {
        /// The group.
        group: GroupId,
        /// What was found.
        detail: String,
    },
}

/// A group that a connection has joined.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub(super) channel: Channel,
    pub(super) mailbox: Mailbox,
}

#[derive(Debug)]
struct Entry {
    joined: Joined,
    name: String,
}

/// The groups of a relay.
pub(super) struct Hub {
    groups: Mutex<HashMap<GroupId, Entry>>,
    /// One adoption at a time, so that a group is not adopted twice.
    adopting: tokio::sync::Mutex<()>,
    adopted_by: Counted<AuthorId>,
    persist: Persist,
    /// Whose key the replicas count as a writer's; see [`super::group`].
    identity: AuthorId,
    limits: Limits,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl Hub {
    /// Loads every group that the store holds.
    pub(super) fn load(store: &mut dyn Store, identity: AuthorId) -> Result<Vec<(Genesis, Replica, u64)>, HubError> {
        let mut loaded = Vec::new();
        for record in store.groups()? {
            let started = Instant::now();
            let damaged = |detail: String| HubError::Damaged { group: record.group, detail };
            let genesis = Genesis::decode(&record.genesis).map_err(|error| damaged(error.to_string()))?;
            let mut replica = new_replica(&genesis, identity);
            let mut bytes = 0;
            let mut from = 0;
            loop {
                let records = store.load(&record.group, from, LoadBounds::default())?;
                if records.is_empty() {
                    break;
                }
                from += records.len() as u64;
                let mut stored = Vec::with_capacity(records.len());
                for record in records {
                    bytes += record.change.bytes().len() as u64;
                    let voucher = record.voucher.map(|bytes| Voucher::decode(&bytes)).transpose();
                    let voucher = voucher.map_err(|error| damaged(error.to_string()))?;
                    stored.push(Incoming { change: record.change, voucher });
                }
                replica.load(stored).map_err(|error| damaged(error.to_string()))?;
            }
            for proof in store.proofs(&record.group)? {
                let proof = EquivocationProof::decode(&proof).map_err(|error| damaged(error.to_string()))?;
                let _ = replica.apply_proof(proof);
            }
            tracing::info!(group = %record.group, name = %genesis.name(), changes = replica.len(), took = ?started.elapsed(), "loaded");
            loaded.push((genesis, replica, bytes));
        }
        Ok(loaded)
    }

    /// Starts the tasks of the loaded groups.
    pub(super) fn start(
        loaded: Vec<(Genesis, Replica, u64)>,
        persist: Persist,
        identity: AuthorId,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let hub = Self {
            groups: Mutex::default(),
            adopting: tokio::sync::Mutex::default(),
            adopted_by: Counted::default(),
            persist,
            identity,
            limits,
            metrics,
            tasks: TaskTracker::new(),
        };
        for (genesis, replica, bytes) in loaded {
            hub.open(genesis, replica, bytes);
        }
        hub
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<GroupId, Entry>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, genesis: Genesis, replica: Replica, bytes: u64) -> Joined {
        let mut groups = self.groups();
        // Channels count from 1, the same for all connections, so that a live frame is the same bytes for all.
        let channel = Channel(groups.len() as u32 + 1);
        let id = genesis.id();
        let name = genesis.name().as_str().to_owned();
        let setup = Setup {
            id,
            channel,
            replica,
            admit: Admit::new(genesis),
            bytes,
            max_bytes: self.limits.max_group_bytes,
            slow_timeout: self.limits.slow_timeout,
            persist: self.persist.clone(),
            metrics: self.metrics.clone(),
        };
        let joined = Joined { channel, mailbox: group::spawn(setup, &self.tasks) };
        groups.insert(id, Entry { joined: joined.clone(), name });
        self.metrics.groups.set(groups.len() as i64);
        joined
    }

    fn find(&self, group: &GroupId) -> Option<Joined> {
        self.groups().get(group).map(|entry| entry.joined.clone())
    }

    /// The group that a hello of `key` asks for; adopted if it is not carried yet and the quotas have room.
    pub(super) async fn join(&self, group: DocumentId, genesis: &[u8], key: &AuthorId) -> Result<Joined, GroupReply> {
        let id = GroupId::from_document(group);
        if let Some(joined) = self.find(&id) {
            return Ok(joined);
        }
        let refuse = |reason, reply| {
            count(&self.metrics.groups_refused, reason);
            Err(reply)
        };
        if genesis.is_empty() {
            return refuse("unknown", GroupReply::Unknown);
        }
        let genesis = match Genesis::decode(genesis) {
            Ok(genesis) if genesis.id() == id => genesis,
            _ => return refuse("bad-genesis", GroupReply::BadGenesis),
        };
        let _one = self.adopting.lock().await;
        if let Some(joined) = self.find(&id) {
            return Ok(joined);
        }
        if self.groups().len() >= self.limits.max_groups || !self.adopted_by.enter(key, self.limits.max_groups_per_key)
        {
            return refuse("quota", GroupReply::Quota);
        }
        if let Err(error) = self.persist.adopt(genesis.clone()).await {
            self.adopted_by.leave(key);
            tracing::error!(group = %id, %error, "cannot adopt a group");
            return refuse("store", GroupReply::Unavailable);
        }
        tracing::info!(group = %id, name = %genesis.name(), %key, "adopted");
        let replica = new_replica(&genesis, self.identity);
        Ok(self.open(genesis, replica, 0))
    }

    /// How many groups are carried, and the first of them by name.
    pub(super) fn carried(&self) -> (u64, Vec<Carried>) {
        let groups = self.groups();
        let mut carried: Vec<Carried> =
            groups.iter().map(|(id, entry)| Carried { group: id.document(), name: entry.name.clone() }).collect();
        let total = carried.len() as u64;
        drop(groups);
        carried.sort_unstable_by(|a, b| a.name.cmp(&b.name).then_with(|| a.group.cmp(&b.group)));
        (total, carried)
    }

    /// Why the store takes no writes, if it does not.
    pub(super) fn store_fault(&self) -> Option<String> {
        self.persist.fault().map(|error| error.to_string())
    }

    /// Ends all groups; what they had given to the disk gets there.
    pub(super) async fn stop(&self) {
        self.groups().clear();
        self.tasks.close();
        // A group whose disk is stuck does not look at its mailbox any more.
        let _ = tokio::time::timeout(self.limits.shutdown_timeout, self.tasks.wait()).await;
        self.persist.stop();
    }
}

fn new_replica(genesis: &Genesis, identity: AuthorId) -> Replica {
    let mut replica = Replica::new(genesis.id().document(), ReplicaLimits::default());
    replica.set_writer(Some(identity));
    replica
}
