//! The thread that commits for everybody: all that is queued goes into one transaction with one flush of the disk, however many wait for it.
//!
//! Rules:
//! - A [`Completion`] tells of success only after the transaction that holds its batch is on disk.
//! - Batches are committed in the order in which they were appended.
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
    space_wakers: Vec<Waker>,
    failure_wakers: Vec<Waker>,
    commits: u64,
    batches: u64,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something is queued, or the writer shall end.
    work: Condvar,
    /// There is room, or the writer has stopped.
    space: Condvar,
    limits: WriterLimits,
}

/// A handle to the writer thread. Cheap to clone; when the last handle is dropped, the writer commits what is queued and ends.
#[derive(Debug)]
pub struct GroupCommit {
    shared: Arc<Shared>,
}

/// Ends a writer and gives its store back.
pub struct WriterThread<S> {
    shared: Arc<Shared>,
    thread: JoinHandle<S>,
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
        let store = self.thread.join().ok();
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
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("side-store".into()).spawn(move || run(store, &for_thread))?;
        Ok((Self { shared: Arc::clone(&shared) }, WriterThread { shared, thread }))
    }

    /// Queues a batch; blocks while the queue is full. Not for async tasks.
    pub fn append(&self, mut batch: Batch) -> Completion {
        loop {
            match self.try_append(batch) {
                Ok(completion) => return completion,
                Err(TryAppendError::Stopped(error)) => return settled(error),
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
                Err(TryAppendError::Stopped(error)) => return settled(error),
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
        Self { shared: Arc::clone(&self.shared) }
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

fn settled(error: WriterError) -> Completion {
    let slot = Arc::new(Slot::default());
    slot.settle(Err(error));
    Completion(slot)
}

/// A poisoned lock only means that some thread panicked while it held it; every change under these locks is complete at any instant.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Tells everybody that nothing more will be written, even if the store panics.
struct StopOnExit<'a>(&'a Shared);

impl Drop for StopOnExit<'_> {
    fn drop(&mut self) {
        stop(self.0, WriterError::Closed, Vec::new());
    }
}

fn run<S: Store>(mut store: S, shared: &Shared) -> S {
    let _guard = StopOnExit(shared);
    loop {
        let mut queue = lock(&shared.queue);
        while queue.waiting.is_empty() {
            if queue.closing || queue.handles == 0 {
                return store;
            }
            queue = shared.work.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
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
        match store.commit(&together) {
            Ok(generation) => {
                let mut queue = lock(&shared.queue);
                queue.commits += 1;
                queue.batches += slots.0.len() as u64;
                drop(queue);
                slots.settle(Ok(generation));
            }
            Err(error) => {
                stop(shared, WriterError::Failed(Arc::new(error)), std::mem::take(&mut slots.0));
                return store;
            }
        }
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

fn stop(shared: &Shared, error: WriterError, slots: Vec<Arc<Slot>>) {
    let mut queue = lock(&shared.queue);
    let error = queue.failed.get_or_insert(error).clone();
    queue.closing = true;
    queue.bytes = 0;
    let waiting = std::mem::take(&mut queue.waiting);
    let mut wakers = std::mem::take(&mut queue.space_wakers);
    wakers.append(&mut queue.failure_wakers);
    drop(queue);
    for slot in slots.into_iter().chain(waiting.into_iter().map(|(_, slot)| slot)) {
        slot.settle(Err(error.clone()));
    }
    shared.space.notify_all();
    wakers.into_iter().for_each(Waker::wake);
}
