//! What is between a member and the network thread: the queue of what a link is to send, and the account of what it has received.
//!
//! Both sides only ever take a lock for a moment. What the network thread should look at is noted on one bell.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::net::{LinkId, MAX_MESSAGE, Outlet, SendError, Stream};

/// Most messages that wait in an outlet.
const MAX_QUEUED: usize = 256;
/// An outlet takes another message while less than this waits: enough to fill the frames under way. What waits is therefore at most this and a message.
const FULL_BYTES: usize = 1 << 20;
/// A link has room again when no more than this waits.
const ROOM_BYTES: usize = FULL_BYTES / 2;
/// A link has room again when no more messages than this wait.
const ROOM_QUEUED: usize = MAX_QUEUED / 2;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where links note that they want to be looked at.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<Vec<LinkId>>,
    notify: Notify,
}

impl Bell {
    fn ring(&self, link: LinkId) {
        lock(&self.rung).push(link);
        self.notify.notify_one();
    }

    /// The links that rang since the last call.
    pub(super) fn take(&self) -> Vec<LinkId> {
        std::mem::take(&mut lock(&self.rung))
    }

    /// Resolves when a link has rung. Cancel-safe.
    pub(super) async fn rung(&self) {
        self.notify.notified().await;
    }
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(Stream, Bytes)>,
    bytes: usize,
    gone: bool,
    /// Somebody was told that there is no room.
    room_wanted: bool,
    /// Why the member ends the link.
    close: Option<Closing>,
    /// The bell has been rung and not been answered.
    rung: bool,
}

/// Why a member ends a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) reason: String,
    /// The other side is to blame: it is left alone for a while.
    pub(super) fault: bool,
}

/// The sending half of a link, shared by the member and the network thread.
#[derive(Debug)]
pub(super) struct Outbox {
    link: LinkId,
    queue: Mutex<Queue>,
    bell: Arc<Bell>,
    /// The round trip in microseconds and 1; 0 where it was never measured.
    round_trip: AtomicU64,
}

impl Outbox {
    pub(super) fn new(link: LinkId, bell: Arc<Bell>) -> Arc<Self> {
        Arc::new(Self { link, queue: Mutex::default(), bell, round_trip: AtomicU64::new(0) })
    }

    fn ring(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.rung, true) {
            self.bell.ring(self.link);
        }
    }

    fn end(&self, reason: &str, fault: bool) {
        let mut queue = lock(&self.queue);
        if !queue.gone {
            queue.close.get_or_insert_with(|| Closing { reason: reason.to_owned(), fault });
            self.ring(&mut queue);
        }
    }

    /// The next message, for the network thread.
    pub(super) fn pop(&self) -> Option<(Stream, Bytes)> {
        let mut queue = lock(&self.queue);
        queue.rung = false;
        let (stream, message) = queue.messages.pop_front()?;
        queue.bytes -= message.len();
        Some((stream, message))
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.queue).messages.is_empty()
    }

    /// Whether somebody waits for room and there is room now; asked once.
    pub(super) fn take_room(&self) -> bool {
        let mut queue = lock(&self.queue);
        let room = queue.bytes <= ROOM_BYTES && queue.messages.len() <= ROOM_QUEUED;
        room && std::mem::take(&mut queue.room_wanted)
    }

    /// Why the member wants to end the link, if it does.
    pub(super) fn take_close(&self) -> Option<Closing> {
        lock(&self.queue).close.take()
    }

    /// Ends it for the member.
    pub(super) fn set_gone(&self) {
        let mut queue = lock(&self.queue);
        *queue = Queue { gone: true, ..Queue::default() };
    }

    pub(super) fn set_round_trip(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX - 1);
        self.round_trip.store(micros + 1, Ordering::Relaxed);
    }
}

impl Outlet for Outbox {
    fn room(&self) -> usize {
        let mut queue = lock(&self.queue);
        if queue.gone {
            return 0;
        }
        if queue.bytes >= FULL_BYTES || queue.messages.len() >= MAX_QUEUED {
            queue.room_wanted = true;
            return 0;
        }
        // After one message of the largest size the queue may be full.
        1
    }

    fn try_send(&self, stream: Stream, message: Bytes) -> Result<(), SendError> {
        let mut queue = lock(&self.queue);
        if queue.gone {
            return Err(SendError::Gone);
        }
        if message.len() > MAX_MESSAGE {
            // Cannot be: no protocol of ours makes one. The link ends, so that whoever made it does not wait for ever.
            queue.close =
                Some(Closing { reason: format!("this node made a message of {} bytes", message.len()), fault: true });
            self.ring(&mut queue);
            return Err(SendError::Gone);
        }
        if queue.bytes >= FULL_BYTES || queue.messages.len() >= MAX_QUEUED {
            queue.room_wanted = true;
            return Err(SendError::Full);
        }
        queue.bytes += message.len();
        queue.messages.push_back((stream, message));
        self.ring(&mut queue);
        Ok(())
    }

    fn close(&self, reason: &str) {
        self.end(reason, true);
    }

    fn renew(&self, reason: &str) {
        self.end(reason, false);
    }

    fn round_trip(&self) -> Option<Duration> {
        self.round_trip.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }
}

/// What of a link's messages is still in memory on this side.
#[derive(Debug)]
pub(super) struct Account {
    link: LinkId,
    held: AtomicU64,
    /// The cost that was dropped since the other side was last told.
    freed: AtomicU64,
    /// From so much on the bell is rung: what is less is not worth a frame.
    worth: u64,
    bell: Arc<Bell>,
    /// The bell has been rung and not been answered.
    rung: AtomicBool,
}

impl Account {
    pub(super) fn new(link: LinkId, bell: Arc<Bell>, worth: u64) -> Arc<Self> {
        let (held, freed) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { link, held, freed, worth, bell, rung: AtomicBool::new(false) })
    }

    /// The cost of what is held, for a frame that tells the other side.
    pub(super) fn told(&self) -> u64 {
        // Before the reading: what is dropped in between is told and counted, which rings the bell too early and never too late.
        self.freed.swap(0, Ordering::SeqCst);
        self.held()
    }

    /// The cost of what is held; answers the bell.
    pub(super) fn held(&self) -> u64 {
        self.rung.store(false, Ordering::Release);
        self.held.load(Ordering::Acquire)
    }

    pub(super) fn take(self: &Arc<Self>, cost: u64) {
        self.held.fetch_add(cost, Ordering::AcqRel);
    }

    /// A message whose cost counts until the last copy of it is dropped.
    pub(super) fn message(self: &Arc<Self>, bytes: Vec<u8>, cost: u64) -> Bytes {
        Bytes::from_owner(Counted { bytes, cost, account: self.clone() })
    }
}

struct Counted {
    bytes: Vec<u8>,
    cost: u64,
    account: Arc<Account>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.cost, Ordering::AcqRel);
        let freed = self.account.freed.fetch_add(self.cost, Ordering::AcqRel) + self.cost;
        if freed >= self.account.worth && !self.account.rung.swap(true, Ordering::AcqRel) {
            self.account.bell.ring(self.account.link);
        }
    }
}
