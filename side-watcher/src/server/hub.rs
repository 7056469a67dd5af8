//! Which groups the relay carries: loads them at the start, adopts new ones within quotas, and introduces connections to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::evidence::{EquivocationProof, Voucher};
use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::{Incoming, Limits as ReplicaLimits};
use bytes::Bytes;
use side_ledger::{Genesis, Group, GroupId, Sealing};
use side_seal::{Engine, Record};
use side_store::{Batch, LoadBounds, Store, StoreError};
use thiserror::Error;
use tokio_util::task::TaskTracker;

use super::config::Limits;
use super::group::{self, CAUTIOUS, Mailbox, Setup, cautious_key};
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

/// A group that is held, before its task starts.
pub(super) struct Loaded {
    group: Group,
    engine: Engine,
    /// Bytes of it on disk.
    bytes: u64,
    cautious: bool,
}

impl Loaded {
    /// A group of which nothing is held yet.
    fn new(genesis: Genesis, identity: &Keypair, cautious: bool) -> Self {
        // The relay takes part in no Byzantine agreement: it has no direct connections to the sealers.
        let seals = matches!(genesis.spec().sealing, Sealing::Leader { .. });
        let engine = Engine::new(&genesis, seals.then(|| identity.clone()));
        let group = Group::open(genesis, Some(identity.author()), ReplicaLimits::default());
        Self { group, engine, bytes: 0, cautious }
    }

    fn read(&mut self, store: &mut dyn Store) -> Result<(), HubError> {
        let id = self.group.id();
        let damaged = |detail: String| HubError::Damaged { group: id, detail };
        let mut from = 0;
        loop {
            let records = store.load(&id, from, LoadBounds::default())?;
            if records.is_empty() {
                break;
            }
            from += records.len() as u64;
            let mut stored = Vec::with_capacity(records.len());
            for record in records {
                self.bytes += record.change.bytes().len() as u64;
                let voucher = record.voucher.map(|bytes| Voucher::decode(&bytes)).transpose();
                let voucher = voucher.map_err(|error| damaged(error.to_string()))?;
                stored.push(Incoming { change: record.change, voucher });
            }
            self.group.load(stored).map_err(|error| damaged(error.to_string()))?;
        }
        for proof in store.proofs(&id)? {
            let proof = EquivocationProof::decode(&proof).map_err(|error| damaged(error.to_string()))?;
            let _ = self.group.apply_proof(proof);
        }
        let mut seals: Vec<Record> = Vec::new();
        loop {
            let records: Vec<Bytes> = store.seals(&id, seals.len() as u64, LoadBounds::default())?;
            if records.is_empty() {
                break;
            }
            for record in records {
                self.bytes += record.len() as u64;
                seals.push(Record::decode(&record).map_err(|error| damaged(error.to_string()))?);
            }
        }
        self.engine.restore(&mut self.group, seals);
        self.cautious = store.meta(&cautious_key(&id))?.is_some();
        Ok(())
    }
}

/// The groups of a relay.
pub(super) struct Hub {
    groups: Mutex<HashMap<GroupId, Entry>>,
    /// One adoption at a time, so that a group is not adopted twice.
    adopting: tokio::sync::Mutex<()>,
    adopted_by: Counted<AuthorId>,
    persist: Persist,
    /// Whose key the replicas count as a writer's; see [`super::group`].
    identity: Keypair,
    /// The store was found to be restored once: see [`super::group`].
    cautious: bool,
    limits: Limits,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl Hub {
    /// Loads every group that the store holds, and whether the store was ever found to be restored.
    pub(super) fn load(store: &mut dyn Store, identity: &Keypair) -> Result<(Vec<Loaded>, bool), HubError> {
        let mut all = Vec::new();
        for record in store.groups()? {
            let started = Instant::now();
            let damaged = |detail: String| HubError::Damaged { group: record.group, detail };
            let genesis = Genesis::decode(&record.genesis).map_err(|error| damaged(error.to_string()))?;
            let mut loaded = Loaded::new(genesis, identity, false);
            loaded.read(store)?;
            let group = &loaded.group;
            tracing::info!(
                group = %record.group, name = %group.genesis().name(), changes = group.replica().len(), height = group.chain().height().0,
                took = ?started.elapsed(), "loaded"
            );
            all.push(loaded);
        }
        Ok((all, store.meta(CAUTIOUS)?.is_some()))
    }

    /// Marks the store as restored, with every group in it; or takes all such marks away.
    pub(super) fn mark_restored(store: &mut dyn Store, restored: bool) -> Result<(), StoreError> {
        let value = restored.then(|| Bytes::from_static(b"1"));
        let groups = store.groups()?;
        let batch = Batch::new().meta(CAUTIOUS, value.clone());
        let mark = |batch: Batch, group: &GroupId| batch.meta(&cautious_key(group), value.clone());
        store.commit(&groups.iter().map(|record| &record.group).fold(batch, mark)).map(drop)
    }

    /// Starts the tasks of the loaded groups.
    pub(super) fn start(
        (loaded, cautious): (Vec<Loaded>, bool),
        persist: Persist,
        identity: Keypair,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let hub = Self {
            groups: Mutex::default(),
            adopting: tokio::sync::Mutex::default(),
            adopted_by: Counted::default(),
            persist,
            identity,
            cautious,
            limits,
            metrics,
            tasks: TaskTracker::new(),
        };
        for loaded in loaded {
            hub.open(loaded);
        }
        hub
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<GroupId, Entry>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, loaded: Loaded) -> Joined {
        let mut groups = self.groups();
        // Channels count from 1, the same for all connections, so that a live frame is the same bytes for all.
        let channel = Channel(groups.len() as u32 + 1);
        let Loaded { group, engine, bytes, cautious } = loaded;
        let id = group.id();
        let name = group.genesis().name().as_str().to_owned();
        let setup = Setup {
            channel,
            identity: self.identity.clone(),
            group,
            engine,
            cautious,
            bytes,
            max_bytes: self.limits.max_group_bytes,
            slow_timeout: self.limits.slow_timeout,
            persist: self.persist.clone(),
            metrics: self.metrics.clone(),
            of_group: self.metrics.of_group(&id),
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
        let mark = self.cautious.then(|| cautious_key(&id));
        if let Err(error) = self.persist.adopt(&genesis, mark).await {
            self.adopted_by.leave(key);
            tracing::error!(group = %id, %error, "cannot adopt a group");
            return refuse("store", GroupReply::Unavailable);
        }
        tracing::info!(group = %id, name = %genesis.name(), %key, "adopted");
        Ok(self.open(Loaded::new(genesis, &self.identity, self.cautious)))
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
