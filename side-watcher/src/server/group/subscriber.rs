//! One connection that takes part in a group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::replica::Replica;
use bft_json_crdt::sync::{Message, SessionLimits, SyncSession};

use crate::metrics::Metrics;
use crate::protocol::limits::{SIDE_BURST, SIDE_RATE};
use crate::protocol::{Channel, CloseReason, NoticeCode};
use crate::server::peer::{Acks, Peer};
use crate::server::quota::Bucket;

/// A subscriber that is this many changes behind the live stream is told so.
const LAG_NOTICE: usize = 4_096;

/// Flow control toward one subscriber. A megabyte in flight keeps a fast connection busy through a commit of some milliseconds at the other
/// end; thousands of subscribers that all stop reading cost a few gigabytes at most.
const SESSION: SessionLimits =
    SessionLimits { window_frames: 1_024, window_bytes: 1 << 20, chunk_bytes: 128 << 10, chunk_changes: 1_024 };

pub(super) struct Subscriber {
    pub(super) peer: Arc<Peer>,
    acks: Arc<Acks>,
    /// The acknowledgement that the session has been told of.
    acked: u64,
    pub(super) session: SyncSession,
    /// When something was last acknowledged, or nothing was outstanding.
    progress: Instant,
    /// Whether it has been told that it is behind.
    pub(super) lagging: bool,
    /// Something may be sent to it.
    pub(super) due: bool,
    /// It is to be told anew where the chain ends.
    pub(super) ungreeted: bool,
    /// It has said where its own chain ends.
    pub(super) has_told_tip: bool,
    /// What it may say on the side lane.
    pub(super) side: Bucket,
}

impl Subscriber {
    /// `watch`: whose changes the connection is to tell of, where the relay may have forgotten its own.
    pub(super) fn new(peer: Arc<Peer>, acks: Arc<Acks>, replica: &Replica, watch: Option<AuthorId>) -> Self {
        let now = Instant::now();
        let mut session = SyncSession::new(replica, SESSION);
        if let Some(author) = watch {
            session.watch(author);
        }
        Self {
            peer,
            acks,
            acked: 0,
            session,
            progress: now,
            lagging: false,
            due: true,
            ungreeted: true,
            has_told_tip: false,
            side: Bucket::new(SIDE_RATE, SIDE_BURST, now),
        }
    }

    /// Tells the session of what was acknowledged since it was last told.
    pub(super) fn absorb_ack(&mut self, replica: &Replica) {
        let count = self.acks.count();
        if count == self.acked {
            return;
        }
        self.acked = count;
        self.progress = Instant::now();
        if let Err(fault) = self.session.receive(replica, Message::Ack(count)) {
            self.peer.close(CloseReason::Strikes, &fault.to_string());
        }
    }

    /// Sends what flow control allows.
    pub(super) fn serve(&mut self, replica: &Replica, channel: Channel, metrics: &Metrics) {
        loop {
            self.absorb_ack(replica);
            while self.peer.has_room()
                && let Some(message) = self.session.poll_send(replica)
            {
                if let Message::Changes(packets) = &message {
                    metrics.deliveries.inc_by(packets.len() as u64);
                }
                self.peer.push(channel.envelope(&message.encode()));
            }
            if self.session.is_current(replica) {
                break;
            }
            self.acks.want();
            // One may have come between the look and the wish.
            if self.acks.count() == self.acked {
                break;
            }
        }
        let behind = self.session.behind(replica);
        if self.session.is_live() && behind >= LAG_NOTICE && !self.lagging {
            self.lagging = true;
            metrics.lagging.inc();
            metrics.lagging_now.inc();
            let text = format!("{behind} changes behind the live stream; they follow as fast as they are acknowledged");
            self.peer.notice(NoticeCode::Lagging, channel, &text);
        } else if self.lagging && self.session.is_current(replica) {
            self.lagging = false;
            metrics.lagging_now.dec();
            self.peer.notice(NoticeCode::CaughtUp, channel, "in step with the live stream again");
        }
    }

    /// Ends the connection if it acknowledges nothing for too long; otherwise sees to it that it is served.
    pub(super) fn look_after(&mut self, replica: &Replica, now: Instant, slow_timeout: Duration) {
        self.absorb_ack(replica);
        if self.session.unacknowledged() == 0 {
            self.progress = now;
        } else if now.saturating_duration_since(self.progress) > slow_timeout {
            self.peer.close(CloseReason::Slow, "it acknowledges nothing of what it is sent");
        }
        self.due |= !self.session.is_current(replica);
    }
}
