//! What the rest of the relay holds of a connection: a mailbox that never blocks, and a way to end it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bft_json_crdt::identity::AuthorId;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::quota::Strikes;
use crate::metrics::{Metrics, count};
use crate::protocol::{Channel, CloseReason, Control, Notice, NoticeCode};

/// Bytes waiting in a mailbox above which groups hold back with changes (the sync session's cursor waits for them in the log). Enough to keep
/// a fast connection busy.
pub(crate) const OUTBOX_FULL: usize = 4 << 20;
/// Bytes waiting in a mailbox above which the connection is cut: only answers that the client asked for and does not read get there.
pub(crate) const OUTBOX_OVERFLOW: usize = 16 << 20;

/// Numbers the connections of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerId(pub(crate) u64);

/// One connection whose hello was accepted.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) key: AuthorId,
    outbox: Mutex<Outbox>,
    filled: Notify,
    strikes: Mutex<Strikes>,
    closing: OnceLock<(CloseReason, String)>,
    closed: CancellationToken,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Peer {
    pub(crate) fn new(id: PeerId, key: AuthorId, strikes: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            id,
            key,
            outbox: Mutex::default(),
            filled: Notify::new(),
            strikes: Mutex::new(Strikes::new(strikes)),
            closing: OnceLock::new(),
            closed: CancellationToken::new(),
            metrics,
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether groups may hand over more changes.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox().bytes < OUTBOX_FULL
    }

    /// Puts a frame into the mailbox. Never waits: an overflow ends the connection.
    pub(crate) fn push(&self, frame: Bytes) {
        let mut outbox = self.outbox();
        if outbox.bytes > OUTBOX_OVERFLOW {
            drop(outbox);
            self.close(CloseReason::Slow, "it does not read the answers to its questions");
            return;
        }
        outbox.bytes += frame.len();
        outbox.frames.push_back(frame);
        let first = outbox.frames.len() == 1;
        drop(outbox);
        if first {
            self.filled.notify_one();
        }
    }

    /// Sends a notice.
    pub(crate) fn notice(&self, code: NoticeCode, channel: Channel, text: &str) {
        self.push(Control::Notice(Notice { code, channel, text: text.to_owned() }).encode());
    }

    /// Moves up to about `bytes` bytes of waiting frames into `batch`, waiting until there is at least one.
    pub(crate) async fn take(&self, batch: &mut Vec<Bytes>, bytes: usize) -> usize {
        loop {
            let taken = self.take_now(batch, bytes);
            if !batch.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self, batch: &mut Vec<Bytes>, bytes: usize) -> usize {
        let mut outbox = self.outbox();
        let mut taken = 0;
        while taken < bytes
            && let Some(frame) = outbox.frames.pop_front()
        {
            taken += frame.len();
            batch.push(frame);
        }
        outbox.bytes -= taken;
        taken
    }

    /// Charges a fault, by kind; too many end the connection.
    pub(crate) fn strike(&self, kind: &'static str) {
        count(&self.metrics.strikes, kind);
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        if !strikes.charge() {
            drop(strikes);
            self.close(CloseReason::Strikes, kind);
        }
    }

    /// Ends the connection. The first reason counts.
    pub(crate) fn close(&self, reason: CloseReason, text: &str) {
        let _ = self.closing.set((reason, text.to_owned()));
        self.closed.cancel();
    }

    /// Returns when the connection is to end.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Whether the connection is to end.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Why the connection is to end.
    pub(crate) fn close_reason(&self) -> Option<(CloseReason, &str)> {
        self.closing.get().map(|(reason, text)| (*reason, text.as_str()))
    }
}

/// What a connection has acknowledged in one group. The connection writes it, the group reads it when it has a reason to: acknowledgements of
/// hundreds of subscribers need not pass through the group's mailbox one by one.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    count: AtomicU64,
    /// Set by the group while it waits for the window to open.
    wanted: AtomicBool,
}

impl Acks {
    /// Notes an acknowledgement and answers whether the group waits for it.
    pub(crate) fn note(&self, count: u64) -> bool {
        self.count.fetch_max(count, Ordering::AcqRel);
        self.wanted.swap(false, Ordering::AcqRel)
    }

    /// What was acknowledged last.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Asks to be told of the next one.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Release);
    }
}
