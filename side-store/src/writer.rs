//! The thread that commits for everybody: all that is queued goes into one transaction with one flush of the disk, however many wait for it.
//!
//! Where nothing is queued and nobody commits, whoever has a thread to spare commits there ([`GroupCommit::commit_here`]): the way to the writer's thread and back
//! costs as much as a fast disk's flush. Whatever comes meanwhile is queued, and the thread commits it together.
//!
//! Rules:
//! - A [`Completion`] tells of success only after the transaction that holds its batch is on disk.
//! - Batches are committed in the order in which they were appended, whichever thread commits them.
//! - The queue is bounded. Whoever finds it full waits ([`GroupCommit::append`], [`GroupCommit::append_async`]) or gets the batch back
//!   ([`GroupCommit::try_append`]).
//! - The first error stops the writer for good: everybody who waits is told, and so is everybody who comes later. What is not on disk is never said to be.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use thiserror::Error;

use crate::Store;
use crate::batch::Batch;
use crate::error::StoreError;

/// How much may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterLimits {
    /// Most batches in the queue.
    pub batches: usize,
    /// Most bytes in the queue; a batch that is larger alone is taken when the queue is empty.
    pub bytes: usize,
}

impl Default for WriterLimits {
    /// Some tenths of a second of a fast disk's work.
    fn default() -> Self {
        Self { batches: 65_536, bytes: 32 << 20 }
    }
}

/// Why a batch is not on disk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriterError {
    /// The store failed, with this batch or before it. Nothing more is written until the process starts again.
    #[error("nothing more is stored: {0}")]
    Failed(Arc<StoreError>),
    /// The writer was closed before the batch came.
    #[error("the store is closed")]
    Closed,
}

/// What the writer has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterStats {
    /// Transactions on disk.
    pub commits: u64,
    /// Batches on disk.
    pub batches: u64,
    /// Batches that wait.
    pub queued_batches: usize,
    /// Bytes that wait.
    pub queued_bytes: usize,
}

type Verdict = Result<u64, WriterError>;

#[derive(Debug, Default)]
struct Slot {
    verdict: Mutex<(Option<Verdict>, Option<Waker>)>,
    done: Condvar,
}

impl Slot {
    fn settle(&self, verdict: Verdict) {
        let mut guard = lock(&self.verdict);
        guard.0 = Some(verdict);
        let waker = guard.1.take();
        drop(guard);
        self.done.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The fate of one batch. Wait for it on a thread ([`Completion::wait`]) or in a task (it is a future). Dropping it changes nothing: the batch is
/// written all the same.
#[derive(Debug)]
#[must_use = "a batch is on disk only once its completion says so"]
pub struct Completion(Arc<Slot>);

impl Completion {
    /// Blocks until the batch is on disk; gives the store's generation after it.
    pub fn wait(self) -> Result<u64, WriterError> {
        let mut guard = lock(&self.0.verdict);
        loop {
            if let Some(verdict) = guard.0.clone() {
                return verdict;
            }
            guard = self.0.done.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// The fate, if it is known by now.
    pub fn peek(&self) -> Option<Result<u64, WriterError>> {
        lock(&self.0.verdict).0.clone()
    }
}

impl Future for Completion {
    type Output = Result<u64, WriterError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut guard = lock(&self.0.verdict);
        match &guard.0 {
            Some(verdict) => Poll::Ready(verdict.clone()),
            None => {
                guard.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A batch that found the queue full, or the writer stopped.
#[derive(Debug)]
pub enum TryAppendError {
    /// The queue is full: here is the batch back.
    Full(Batch),
    /// The writer takes nothing more.
    Stopped(WriterError),
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Batch, Arc<Slot>)>,
    bytes: usize,
    closing: bool,
    failed: Option<WriterError>,
    handles: usize,
    /// Somebody commits: the thread, or whoever does it by himself. Nobody else touches the store.
    busy: bool,
    space_wakers: Vec<Waker>,
    failure_wakers: Vec<Waker>,
    commits: u64,
    batches: u64,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something is queued and the store is free, or the writer shall end.
    work: Condvar,
    /// There is room, or the writer has stopped.
    space: Condvar,
    limits: WriterLimits,
}

/// The place of a store that several threads write to by turns. Empty once the writer has ended.
trait Place: Send {
    fn commit(&mut self, batch: &Batch) -> Result<u64, WriterError>;
}

impl<S: Store> Place for Option<S> {
    fn commit(&mut self, batch: &Batch) -> Result<u64, WriterError> {
        // A store that panics is gone: nobody knows what it has in its hands.
        let mut store = self.take().ok_or(WriterError::Closed)?;
        let outcome = store.commit(batch);
        *self = Some(store);
        outcome.map_err(|error| WriterError::Failed(Arc::new(error)))
    }
}

/// A handle to the writer. Cheap to clone; when the last handle is dropped, the writer commits what is queued and ends.
pub struct GroupCommit {
    shared: Arc<Shared>,
    store: Arc<Mutex<dyn Place>>,
}

impl std::fmt::Debug for GroupCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCommit").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Ends a writer and gives its store back.
pub struct WriterThread<S> {
    shared: Arc<Shared>,
    thread: JoinHandle<Option<S>>,
}

impl<S> std::fmt::Debug for WriterThread<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriterThread")
    }
}

impl<S: Store + 'static> WriterThread<S> {
    /// Commits what is queued, ends the thread and gives the store back, together with the error that stopped it, if one did. Appending fails from now on.
    pub fn close(self) -> (Option<S>, Result<(), WriterError>) {
        lock(&self.shared.queue).closing = true;
        self.shared.work.notify_all();
        let store = self.thread.join().ok().flatten();
        let failed = lock(&self.shared.queue).failed.clone();
        let outcome = match failed {
            Some(WriterError::Failed(error)) => Err(WriterError::Failed(error)),
            _ => Ok(()),
        };
        (store, outcome)
    }
}

impl GroupCommit {
    /// Starts the thread that owns `store` from now on.
    pub fn spawn<S: Store + 'static>(store: S, limits: WriterLimits) -> std::io::Result<(Self, WriterThread<S>)> {
        let queue = Mutex::new(Queue { handles: 1, ..Queue::default() });
        let shared = Arc::new(Shared { queue, work: Condvar::new(), space: Condvar::new(), limits });
        let store = Arc::new(Mutex::new(Some(store)));
        let (for_thread, its_store) = (Arc::clone(&shared), Arc::clone(&store));
        let work = move || {
            run(&for_thread, &*its_store);
            // Nobody commits any more.
            lock(&its_store).take()
        };
        let thread = std::thread::Builder::new().name("side-store".into()).spawn(work)?;
        Ok((Self { shared: Arc::clone(&shared), store }, WriterThread { shared, thread }))
    }

    /// Commits a batch on the calling thread, if nothing is queued and nobody commits; otherwise the batch comes back, to be appended. Blocks for a flush of
    /// the disk, so it is for threads that have nothing else to do meanwhile. A stopped writer gives its error as the completion.
    pub fn commit_here(&self, batch: Batch) -> Result<Completion, Batch> {
        {
            let mut queue = lock(&self.shared.queue);
            if let Some(error) = &queue.failed {
                return Ok(settled(Err(error.clone())));
            }
            if queue.closing {
                return Ok(settled(Err(WriterError::Closed)));
            }
            if queue.busy || !queue.waiting.is_empty() {
                return Err(batch);
            }
            queue.busy = true;
        }
        Ok(settled(commit(&self.shared, &*self.store, &batch, 1)))
    }

    /// Queues a batch; blocks while the queue is full. Not for async tasks.
    pub fn append(&self, mut batch: Batch) -> Completion {
        loop {
            match self.try_append(batch) {
                Ok(completion) => return completion,
                Err(TryAppendError::Stopped(error)) => return settled(Err(error)),
                Err(TryAppendError::Full(back)) => {
                    batch = back;
                    let mut queue = lock(&self.shared.queue);
                    while !self.has_space(&queue, batch.bytes()) {
                        queue = self.shared.space.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                    }
                }
            }
        }
    }

    /// Queues a batch; waits, without blocking the thread, while the queue is full. What it gives is the completion, which is to be awaited in turn.
    pub async fn append_async(&self, mut batch: Batch) -> Completion {
        loop {
            match self.try_append(batch) {
                Ok(completion) => return completion,
                Err(TryAppendError::Stopped(error)) => return settled(Err(error)),
                Err(TryAppendError::Full(back)) => {
                    batch = back;
                    let bytes = batch.bytes();
                    std::future::poll_fn(|context| {
                        let mut queue = lock(&self.shared.queue);
                        if self.has_space(&queue, bytes) {
                            return Poll::Ready(());
                        }
                        remember(&mut queue.space_wakers, context.waker());
                        Poll::Pending
                    })
                    .await;
                }
            }
        }
    }

    /// Queues a batch, or gives it back where the queue is full.
    pub fn try_append(&self, batch: Batch) -> Result<Completion, TryAppendError> {
        let mut queue = lock(&self.shared.queue);
        if let Some(error) = &queue.failed {
            return Err(TryAppendError::Stopped(error.clone()));
        }
        if queue.closing {
            return Err(TryAppendError::Stopped(WriterError::Closed));
        }
        if !self.has_space(&queue, batch.bytes()) {
            return Err(TryAppendError::Full(batch));
        }
        let slot = Arc::new(Slot::default());
        queue.bytes += batch.bytes();
        queue.waiting.push_back((batch, Arc::clone(&slot)));
        drop(queue);
        self.shared.work.notify_one();
        Ok(Completion(slot))
    }

    /// The error that stopped the writer, if one did.
    pub fn failure(&self) -> Option<WriterError> {
        lock(&self.shared.queue).failed.clone()
    }

    /// Resolves when the writer has stopped, with the reason: an error, or that it was closed.
    pub async fn stopped(&self) -> WriterError {
        std::future::poll_fn(|context| {
            let mut queue = lock(&self.shared.queue);
            match &queue.failed {
                Some(error) => Poll::Ready(error.clone()),
                None => {
                    remember(&mut queue.failure_wakers, context.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What the writer has done and what waits.
    pub fn stats(&self) -> WriterStats {
        let queue = lock(&self.shared.queue);
        WriterStats {
            commits: queue.commits,
            batches: queue.batches,
            queued_batches: queue.waiting.len(),
            queued_bytes: queue.bytes,
        }
    }

    /// Whether there is room for `bytes` more; a stopped writer has room for the answer that it has stopped.
    fn has_space(&self, queue: &Queue, bytes: usize) -> bool {
        let limits = &self.shared.limits;
        queue.waiting.is_empty()
            || queue.failed.is_some()
            || queue.closing
            || (queue.waiting.len() < limits.batches && queue.bytes.saturating_add(bytes) <= limits.bytes)
    }
}

impl Clone for GroupCommit {
    fn clone(&self) -> Self {
        lock(&self.shared.queue).handles += 1;
        Self { shared: Arc::clone(&self.shared), store: Arc::clone(&self.store) }
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.handles -= 1;
        let last = queue.handles == 0;
        drop(queue);
        if last {
            self.shared.work.notify_all();
        }
    }
}

/// A task that asks again and again is remembered once.
fn remember(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

fn settled(verdict: Verdict) -> Completion {
    let slot = Arc::new(Slot::default());
    slot.settle(verdict);
    Completion(slot)
}

/// A poisoned lock only means that some thread panicked while it held it; every change under these locks is complete at any instant.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Tells everybody that nothing more will be written, even if the store panics.
struct StopOnExit<'a>(&'a Shared);

impl Drop for StopOnExit<'_> {
    fn drop(&mut self) {
        stop(self.0, lock(&self.0.queue), WriterError::Closed);
    }
}

fn run(shared: &Shared, store: &Mutex<dyn Place>) {
    let _guard = StopOnExit(shared);
    loop {
        let mut queue = lock(&shared.queue);
        while queue.busy || queue.waiting.is_empty() {
            let ended = queue.closing || queue.handles == 0;
            if ended && !queue.busy && queue.waiting.is_empty() {
                return;
            }
            queue = shared.work.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        queue.busy = true;
        let waiting = std::mem::take(&mut queue.waiting);
        queue.bytes = 0;
        let wakers = std::mem::take(&mut queue.space_wakers);
        drop(queue);
        shared.space.notify_all();
        wakers.into_iter().for_each(Waker::wake);

        let mut together = Batch::new();
        let mut slots = Slots(Vec::with_capacity(waiting.len()));
        for (batch, slot) in waiting {
            together.append(batch);
            slots.0.push(slot);
        }
        let batches = slots.0.len() as u64;
        slots.settle(commit(shared, store, &together, batches));
    }
}

/// Commits for whoever has made the writer busy, and ends that. After an error nothing more is written.
fn commit(shared: &Shared, store: &Mutex<dyn Place>, batch: &Batch, batches: u64) -> Verdict {
    let turn = Turn(shared);
    let verdict = lock(store).commit(batch);
    std::mem::forget(turn);
    let mut queue = lock(&shared.queue);
    match &verdict {
        Ok(_) => {
            queue.busy = false;
            queue.commits += 1;
            queue.batches += batches;
            if !queue.waiting.is_empty() || queue.closing || queue.handles == 0 {
                shared.work.notify_one();
            }
        }
        Err(error) => stop(shared, queue, error.clone()),
    }
    verdict
}

/// The turn of one who commits. If the store panics, nobody has another.
struct Turn<'a>(&'a Shared);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        stop(self.0, lock(&self.0.queue), WriterError::Closed);
    }
}

/// Slots that are settled even if the store panics while it has their batches.
struct Slots(Vec<Arc<Slot>>);

impl Slots {
    fn settle(&mut self, verdict: Verdict) {
        for slot in self.0.drain(..) {
            slot.settle(verdict.clone());
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.settle(Err(WriterError::Closed));
    }
}

/// Ends the writer for everybody, and the turn of whoever commits.
fn stop(shared: &Shared, mut queue: MutexGuard<'_, Queue>, error: WriterError) {
    queue.busy = false;
    let error = queue.failed.get_or_insert(error).clone();
    queue.closing = true;
    queue.bytes = 0;
    let waiting = std::mem::take(&mut queue.waiting);
    let mut wakers = std::mem::take(&mut queue.space_wakers);
    wakers.append(&mut queue.failure_wakers);
    drop(queue);
    for (_, slot) in waiting {
        slot.settle(Err(error.clone()));
    }
    shared.work.notify_all();
    shared.space.notify_all();
    wakers.into_iter().for_each(Waker::wake);
}
