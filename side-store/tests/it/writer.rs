//! The writer never acknowledges before the commit, coalesces what waits, bounds its queue, and stops for everybody at the first error.

use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use side_ledger::GroupId;
use side_store::writer::TryAppendError;
use side_store::{
    Batch, GroupCommit, GroupRecord, HighWater, LoadBounds, MemoryStore, Record, Store, StoreError, WriterError,
    WriterLimits,
};

/// A store whose commits tell when they begin and wait until they are let through.
struct Gate {
    inner: MemoryStore,
    began: Sender<usize>,
    go: Receiver<Verdict>,
}

enum Verdict {
    Commit,
    Fail,
    Panic,
}

impl Store for Gate {
    fn commit(&mut self, batch: &Batch) -> Result<u64, StoreError> {
        self.began.send(batch.writes().len()).unwrap();
        match self.go.recv().unwrap() {
            Verdict::Commit => self.inner.commit(batch),
            Verdict::Fail => Err(StoreError::DiskFull { path: "gate".into() }),
            Verdict::Panic => panic!("the store panics, as the test asks"),
        }
    }
    fn groups(&mut self) -> Result<Vec<GroupRecord>, StoreError> {
        self.inner.groups()
    }
    fn count(&mut self, group: &GroupId) -> Result<u64, StoreError> {
        self.inner.count(group)
    }
    fn load(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Record>, StoreError> {
        self.inner.load(group, from, bounds)
    }
    fn proofs(&mut self, group: &GroupId) -> Result<Vec<Bytes>, StoreError> {
        self.inner.proofs(group)
    }
    fn seals(&mut self, group: &GroupId, from: u64, bounds: LoadBounds) -> Result<Vec<Bytes>, StoreError> {
        self.inner.seals(group, from, bounds)
    }
    fn high_water(&mut self, group: &GroupId, author: &AuthorId) -> Result<Option<HighWater>, StoreError> {
        self.inner.high_water(group, author)
    }
    fn meta(&mut self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.meta(key)
    }
    fn generation(&mut self) -> Result<u64, StoreError> {
        self.inner.generation()
    }
}

type Gated = (GroupCommit, side_store::writer::WriterThread<Gate>, Receiver<usize>, Sender<Verdict>);

fn gated(limits: WriterLimits) -> Gated {
    let (began, begins) = channel();
    let (let_go, go) = channel();
    let (writer, thread) = GroupCommit::spawn(Gate { inner: MemoryStore::new(), began, go }, limits).unwrap();
    (writer, thread, begins, let_go)
}

fn batch(n: usize) -> Batch {
    Batch::new().meta(&format!("key {n}"), Some(Bytes::from_static(b"value")))
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    #[derive(Default)]
    struct Signal(Mutex<bool>, Condvar);
    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
    }
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = signal.0.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = signal.1.wait(woken).unwrap();
        }
    }
}

#[test]
fn nothing_is_acknowledged_before_the_commit_and_what_waits_is_committed_together() {
    let (writer, thread, begins, go) = gated(WriterLimits::default());
    let first = writer.append(batch(0));
    assert_eq!(begins.recv(), Ok(1));
    let waiting: Vec<_> = (1..=100).map(|n| writer.append(batch(n))).collect();
    assert_eq!(first.peek(), None, "acknowledged while the commit was still running");
    assert_eq!(writer.stats().queued_batches, 100);
    go.send(Verdict::Commit).unwrap();
    assert_eq!(first.wait(), Ok(1));
    assert_eq!(begins.recv(), Ok(100), "what waited was not committed together");
    assert!(waiting.iter().all(|completion| completion.peek().is_none()));
    go.send(Verdict::Commit).unwrap();
    for completion in waiting {
        assert_eq!(block_on(completion), Ok(2));
    }
    assert_eq!((writer.stats().commits, writer.stats().batches), (2, 101));
    let (store, outcome) = thread.close();
    assert_eq!(outcome, Ok(()));
    assert!(store.unwrap().inner.meta("key 100").unwrap().is_some());
    assert_eq!(writer.append(batch(1)).wait(), Err(WriterError::Closed));
}

#[test]
fn a_full_queue_gives_the_batch_back_and_lets_others_wait() {
    let (writer, thread, begins, go) = gated(WriterLimits { batches: 2, bytes: usize::MAX });
    let running = writer.append(batch(0));
    begins.recv().unwrap();
    let queued = [writer.append(batch(1)), writer.append(batch(2))];
    assert!(matches!(writer.try_append(batch(3)), Err(TryAppendError::Full(back)) if back.writes().len() == 1));
    // One waits on a thread of its own, one in a task.
    let blocked = {
        let writer = writer.clone();
        std::thread::spawn(move || writer.append(batch(4)).wait())
    };
    let task = {
        let writer = writer.clone();
        std::thread::spawn(move || block_on(async { writer.append_async(batch(5)).await.await }))
    };
    for _ in 0..5 {
        // As many commits as there turn out to be; the queue of two takes the waiters in.
        let _ = go.send(Verdict::Commit);
    }
    assert!(running.wait().is_ok());
    assert!(queued.into_iter().all(|completion| completion.wait().is_ok()));
    assert!(blocked.join().unwrap().is_ok() && task.join().unwrap().is_ok());
    let mut inner = thread.close().0.unwrap().inner;
    for n in [0, 1, 2, 4, 5] {
        assert!(inner.meta(&format!("key {n}")).unwrap().is_some(), "batch {n} is missing");
    }
    assert_eq!(inner.meta("key 3").unwrap(), None);
}

#[test]
fn a_batch_larger_than_the_queue_is_taken_when_it_is_alone() {
    let (writer, _thread, begins, go) = gated(WriterLimits { batches: 8, bytes: 1 });
    go.send(Verdict::Commit).unwrap();
    assert!(writer.append(batch(0)).wait().is_ok());
    assert_eq!(begins.recv(), Ok(1));
}

#[test]
fn the_first_error_reaches_everybody_who_waits_and_everybody_who_comes_later() {
    let (writer, thread, begins, go) = gated(WriterLimits { batches: 1, bytes: usize::MAX });
    let running = writer.append(batch(0));
    begins.recv().unwrap();
    let queued = writer.append(batch(1));
    let blocked = {
        let writer = writer.clone();
        std::thread::spawn(move || writer.append(batch(2)).wait())
    };
    let watcher = {
        let writer = writer.clone();
        std::thread::spawn(move || block_on(writer.stopped()))
    };
    go.send(Verdict::Fail).unwrap();
    let failed = WriterError::Failed(Arc::new(StoreError::DiskFull { path: "gate".into() }));
    assert_eq!(running.wait(), Err(failed.clone()));
    assert_eq!(queued.wait(), Err(failed.clone()));
    assert_eq!(blocked.join().unwrap(), Err(failed.clone()));
    assert_eq!(watcher.join().unwrap(), failed);
    assert_eq!(writer.append(batch(3)).wait(), Err(failed.clone()));
    assert_eq!(block_on(async { writer.append_async(batch(4)).await.await }), Err(failed.clone()));
    assert_eq!(writer.failure(), Some(failed.clone()));
    assert_eq!(thread.close().1, Err(failed));
    assert_eq!(begins.try_iter().count(), 0, "it went on writing after an error");
}

#[test]
fn a_store_that_panics_leaves_nobody_waiting() {
    let (writer, thread, begins, go) = gated(WriterLimits::default());
    let running = writer.append(batch(0));
    begins.recv().unwrap();
    let queued = writer.append(batch(1));
    go.send(Verdict::Panic).unwrap();
    assert!(running.wait().is_err() && queued.wait().is_err());
    assert_eq!(block_on(writer.stopped()), WriterError::Closed);
    assert!(thread.close().0.is_none());
}

#[test]
fn dropping_the_last_handle_commits_what_is_queued() {
    let (writer, thread, begins, go) = gated(WriterLimits::default());
    let kept = writer.append(batch(0));
    begins.recv().unwrap();
    let second = writer.clone();
    let last = second.append(batch(1));
    drop((writer, second));
    go.send(Verdict::Commit).unwrap();
    go.send(Verdict::Commit).unwrap();
    assert!(kept.wait().is_ok() && last.wait().is_ok());
    assert!(thread.close().0.unwrap().inner.meta("key 1").unwrap().is_some());
}

#[test]
fn whoever_finds_nobody_at_the_disk_commits_by_himself() {
    let (writer, thread, begins, go) = gated(WriterLimits::default());
    go.send(Verdict::Commit).unwrap();
    let done = writer.commit_here(batch(0)).unwrap();
    assert_eq!(done.peek(), Some(Ok(1)), "it came back before it was on disk");
    assert_eq!(begins.recv(), Ok(1));
    assert_eq!((writer.stats().commits, writer.stats().batches), (1, 1));
    // While one commits, whoever comes is sent to the queue, and the thread leaves it until the store is free.
    let busy = {
        let writer = writer.clone();
        std::thread::spawn(move || writer.commit_here(batch(1)).unwrap().wait())
    };
    assert_eq!(begins.recv(), Ok(1));
    let back = writer.commit_here(batch(2)).unwrap_err();
    let queued = [writer.append(back), writer.append(batch(3))];
    assert_eq!(writer.stats().queued_batches, 2);
    assert_eq!(begins.try_iter().count(), 0, "two wrote at once");
    go.send(Verdict::Commit).unwrap();
    assert_eq!(busy.join().unwrap(), Ok(2));
    assert_eq!(begins.recv(), Ok(2), "what waited was not committed together");
    // Nor does anybody go before the thread.
    assert!(writer.commit_here(batch(4)).is_err());
    go.send(Verdict::Commit).unwrap();
    assert!(queued.into_iter().all(|completion| completion.wait() == Ok(3)));
    let mut inner = thread.close().0.unwrap().inner;
    assert!((0..4).all(|n| inner.meta(&format!("key {n}")).unwrap().is_some()));
    assert_eq!(writer.commit_here(batch(5)).unwrap().wait(), Err(WriterError::Closed));
}

#[test]
fn closing_waits_for_whoever_commits_by_himself() {
    let (writer, thread, begins, go) = gated(WriterLimits::default());
    let busy = {
        let writer = writer.clone();
        std::thread::spawn(move || writer.commit_here(batch(0)).unwrap().wait())
    };
    begins.recv().unwrap();
    let queued = writer.append(batch(1));
    let closing = std::thread::spawn(move || thread.close());
    // It closes only once both are on disk.
    go.send(Verdict::Commit).unwrap();
    go.send(Verdict::Commit).unwrap();
    assert_eq!((busy.join().unwrap(), queued.wait()), (Ok(1), Ok(2)));
    let mut inner = closing.join().unwrap().0.unwrap().inner;
    assert!(inner.meta("key 1").unwrap().is_some());
}

#[test]
fn an_error_or_a_panic_of_one_who_commits_by_himself_stops_everybody() {
    for verdict in [Verdict::Fail, Verdict::Panic] {
        let (writer, thread, begins, go) = gated(WriterLimits::default());
        let panics = matches!(verdict, Verdict::Panic);
        let busy = {
            let writer = writer.clone();
            std::thread::spawn(move || writer.commit_here(batch(0)).unwrap().wait())
        };
        begins.recv().unwrap();
        let queued = writer.append(batch(1));
        go.send(verdict).unwrap();
        assert!(queued.wait().is_err());
        assert_eq!(busy.join().is_err(), panics);
        assert!(writer.commit_here(batch(2)).unwrap().wait().is_err(), "it went on writing");
        assert!(writer.append(batch(3)).wait().is_err());
        let (store, outcome) = thread.close();
        assert_eq!((store.is_none(), outcome.is_err()), (panics, !panics));
        assert_eq!(begins.try_iter().count(), 0, "it went on writing");
    }
}

#[test]
fn many_at_once_lose_nothing() {
    const THREADS: usize = 8;
    const EACH: usize = 200;
    let (writer, thread) = GroupCommit::spawn(MemoryStore::new(), WriterLimits::default()).unwrap();
    let all: Vec<_> = (0..THREADS)
        .map(|who| {
            let writer = writer.clone();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    let own = batch(who * EACH + n);
                    let done = writer.commit_here(own).unwrap_or_else(|back| writer.append(back));
                    done.wait().unwrap();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|thread| thread.join().unwrap());
    let mut store = thread.close().0.unwrap();
    assert!((0..THREADS * EACH).all(|n| store.meta(&format!("key {n}")).unwrap().is_some()));
}
