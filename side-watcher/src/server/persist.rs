//! The thread that owns the store and commits for all groups: everything that waits goes into one transaction with one flush of the disk.
//!
//! Rules:
//! - A job's group is told only after its records are on disk.
//! - Jobs are committed in the order in which they were submitted.
//! - A commit that fails is tried again, with everything that it held, until it succeeds or the relay stops: a full disk that somebody
//!   frees heals by itself. Meanwhile nothing is acknowledged, `/readyz` answers 503, and groups stop taking when they have too much in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bft_json_crdt::evidence::EquivocationProof;
use bft_json_crdt::replica::Incoming;
use bytes::Bytes;
use side_ledger::{Genesis, GroupId};
use side_store::{Batch, Store, StoreError, Write};
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use crate::metrics::Metrics;

/// Most jobs in one transaction, so that a long queue is acknowledged piece by piece.
const COMMIT_JOBS: usize = 1_024;
/// How long to wait before a failed commit is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What one group wants on disk.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) group: GroupId,
    pub(super) records: Vec<Incoming>,
    pub(super) proofs: Vec<EquivocationProof>,
    /// Records of sealing.
    pub(super) seals: Vec<Bytes>,
    /// Marks that are set or removed.
    pub(super) meta: Vec<(String, Option<Bytes>)>,
    /// Told to `done` when all of it is on disk.
    pub(super) ticket: u64,
    pub(super) done: tokio_mpsc::UnboundedSender<u64>,
}

impl Job {
    /// A job without anything in it.
    pub(super) fn new(group: GroupId, done: &tokio_mpsc::UnboundedSender<u64>) -> Self {
        Self {
            group,
            records: Vec::new(),
            proofs: Vec::new(),
            seals: Vec::new(),
            meta: Vec::new(),
            ticket: 0,
            done: done.clone(),
        }
    }
}

/// The running thread; what it returns at the end says whether everything is on disk.
pub(super) type StoreThread = JoinHandle<Result<(), Arc<StoreError>>>;

enum Request {
    Keep(Job),
    /// A new group. Answered when it is on disk, or when that failed.
    Adopt(Batch, oneshot::Sender<Result<(), Arc<StoreError>>>),
    Stop,
}

/// A handle to the thread. What waits in its queue is bounded by the groups (see [`super::group`]) and by the bound on groups.
#[derive(Debug, Clone)]
pub(super) struct Persist {
    requests: mpsc::Sender<Request>,
    fault: Arc<Mutex<Option<Arc<StoreError>>>>,
    stopping: Arc<AtomicBool>,
}

impl Persist {
    /// Starts the thread with a store whose content has been read.
    pub(super) fn spawn(store: Box<dyn Store>, metrics: Arc<Metrics>) -> std::io::Result<(Persist, StoreThread)> {
        let (requests, queue) = mpsc::channel();
        let fault = Arc::new(Mutex::new(None));
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = Worker { store, queue, fault: fault.clone(), metrics, stopping: stopping.clone() };
        let thread = std::thread::Builder::new().name("side-watcher-store".into()).spawn(move || worker.run())?;
        Ok((Persist { requests, fault, stopping }, thread))
    }

    /// Queues a job.
    pub(super) fn submit(&self, job: Job) {
        // The thread ends after the groups do.
        let _ = self.requests.send(Request::Keep(job));
    }

    /// Adds a group, with a mark if it is to be handled with caution.
    pub(super) async fn adopt(&self, genesis: &Genesis, mark: Option<String>) -> Result<(), Arc<StoreError>> {
        let (reply, answer) = oneshot::channel();
        let batch = Batch::new().group(genesis);
        let batch = mark.iter().fold(batch, |batch, key| batch.meta(key, Some(Bytes::from_static(b"1"))));
        let _ = self.requests.send(Request::Adopt(batch, reply));
        // No answer: the relay is stopping, and so is the connection that asked.
        answer.await.unwrap_or(Ok(()))
    }

    /// Why the last commit failed, if it did.
    pub(super) fn fault(&self) -> Option<Arc<StoreError>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Commits what is queued and ends the thread. A commit that fails is not tried again from now on.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.requests.send(Request::Stop);
    }
}

struct Worker {
    store: Box<dyn Store>,
    queue: mpsc::Receiver<Request>,
    fault: Arc<Mutex<Option<Arc<StoreError>>>>,
    metrics: Arc<Metrics>,
    stopping: Arc<AtomicBool>,
}

impl Worker {
    /// Runs until it is stopped. An error means that what was queued at the end is not on disk (and was not acknowledged).
    fn run(mut self) -> Result<(), Arc<StoreError>> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut ended = false;
        while !ended {
            let Ok(first) = self.queue.recv() else { return Ok(()) };
            let mut next = Some(first);
            let mut batch = Batch::new();
            while let Some(request) = next.take() {
                match request {
                    Request::Keep(job) => {
                        fill(&mut batch, &job);
                        jobs.push(job);
                    }
                    Request::Adopt(batch, reply) => {
                        // On its own: it may fail without holding up the others.
                        let _ = reply.send(self.commit(&batch));
                    }
                    Request::Stop => ended = true,
                }
                if jobs.len() < COMMIT_JOBS {
                    next = self.queue.try_recv().ok();
                }
            }
            if !jobs.is_empty() {
                self.commit_for_sure(&batch)?;
                for job in jobs.drain(..) {
                    let _ = job.done.send(job.ticket);
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Arc<StoreError>> {
        let started = Instant::now();
        let result = self.store.commit(batch).map(|_| ()).map_err(Arc::new);
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        match &result {
            Ok(()) => self.metrics.commits.inc(),
            Err(_) => self.metrics.commit_failures.inc(),
        };
        result
    }

    fn commit_for_sure(&mut self, batch: &Batch) -> Result<(), Arc<StoreError>> {
        loop {
            match self.commit(batch) {
                Ok(()) => {
                    let before = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if before.is_some() {
                        tracing::info!("the store takes writes again");
                    }
                    return Ok(());
                }
                Err(error) => {
                    let before = self.fault.lock().unwrap_or_else(PoisonError::into_inner).replace(error.clone());
                    if before.is_none() {
                        tracing::error!(%error, "nothing is acknowledged until the store takes writes again");
                    }
                    if self.stopping.load(Ordering::Acquire) {
                        return Err(error);
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }
}

fn fill(batch: &mut Batch, job: &Job) {
    for incoming in &job.records {
        batch.push(Write::Change {
            group: job.group,
            change: incoming.change.clone(),
            voucher: incoming.voucher.as_ref().map(|voucher| Bytes::from(voucher.encode())),
        });
    }
    for proof in &job.proofs {
        batch.push(Write::Proof { group: job.group, proof: proof.encode().into() });
    }
    for record in &job.seals {
        batch.push(Write::Seal { group: job.group, record: record.clone() });
    }
    for (key, value) in &job.meta {
        batch.push(Write::Meta { key: key.clone(), value: value.clone() });
    }
}
