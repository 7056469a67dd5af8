//! One link that stands: what may be sent, what has come, and whether the other side is still there. Sans-IO.
//!
//! The connection below keeps the order and may drop: a full mailbox, a limit on the rate. So data frames are numbered, and a number that is missing ends
//! the link. Two windows keep a slow reader from costing anybody else: at most `MAX_IN_FLIGHT` data frames are under way, and messages that the
//! reader has not dropped yet cost at most `WINDOW`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{self, DataFrame, Piece, Pieces};
use super::outbox::{Account, Bell, Outbox};
use crate::net::{LinkId, MAX_MESSAGE, Stream};

/// What a piece costs beside its bytes: what an event takes in memory, so that many tiny messages are bounded too.
pub(super) const PIECE_COST: u64 = 64;
/// Most cost of what one side has sent and the other has not dropped: the largest message, in pieces, and enough beside it to keep a line busy.
pub(super) const WINDOW: u64 = MAX_MESSAGE as u64 + (1 << 20);
/// Most data frames that are under way: fewer than the mailboxes below take, so that honest nodes lose none.
pub(super) const MAX_IN_FLIGHT: u64 = 64;
/// A reader tells what it has seen after so many data frames at the latest.
const ACKNOWLEDGE_EVERY: u64 = MAX_IN_FLIGHT / 4;
/// A reader tells what it has dropped when so much of the window is free again.
const GRANT_EVERY: u64 = WINDOW / 4;
/// A message is cut at the window's edge only if the piece is worth a frame.
const MIN_PIECE: usize = 1024;
/// How often the other side is asked for a sign of life.
pub(super) const PING_EVERY: Duration = Duration::from_secs(2);
/// After so long without a sign of life the link is down: four pings.
pub(super) const SILENCE: Duration = Duration::from_secs(8);

/// Why a link ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It may begin anew at once.
    Lost(String),
    /// The other side broke a rule of this file.
    Fault(String),
}

fn fault<T>(what: impl Into<String>) -> Result<T, End> {
    Err(End::Fault(what.into()))
}

/// A message that came.
pub(super) type Arrived = (Stream, Bytes);

struct Sending {
    stream: Stream,
    message: Bytes,
    at: usize,
}

struct Assembling {
    stream: Stream,
    bytes: Vec<u8>,
    cost: u64,
}

/// A link that stands.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) since: Instant,
    pub(super) outbox: Arc<Outbox>,
    account: Arc<Account>,
    /// The other side's number of this link.
    remote: u64,
    heard: Instant,
    next_ping: Instant,
    pinged: Option<(u64, Instant)>,
    stamp: u64,
    // Sending.
    sending: Option<Sending>,
    sent: u64,
    seen: u64,
    spent: u64,
    allowed: u64,
    // Receiving.
    received: u64,
    told: u64,
    cost: u64,
    granted: u64,
    assembling: Option<Assembling>,
}

impl Link {
    pub(super) fn new(now: Instant, id: LinkId, remote: u64, bell: &Arc<Bell>) -> Self {
        Self {
            id,
            since: now,
            outbox: Outbox::new(id, bell.clone()),
            account: Account::new(id, bell.clone(), GRANT_EVERY),
            remote,
            heard: now,
            next_ping: now,
            pinged: None,
            stamp: 0,
            sending: None,
            sent: 0,
            seen: 0,
            spent: 0,
            allowed: WINDOW,
            received: 0,
            told: 0,
            cost: 0,
            granted: WINDOW,
            assembling: None,
        }
    }

    pub(super) fn remote(&self) -> u64 {
        self.remote
    }

    /// A frame for this link came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When [`Link::tick`] has something to do.
    pub(super) fn wake_at(&self) -> Instant {
        self.next_ping.min(self.heard + SILENCE)
    }

    /// A ping, if it is time.
    pub(super) fn tick(&mut self, now: Instant) -> Result<Option<Vec<u8>>, End> {
        if now.duration_since(self.heard) >= SILENCE {
            return Err(End::Lost(format!("silent for {} seconds", SILENCE.as_secs())));
        }
        if now < self.next_ping {
            return Ok(None);
        }
        self.next_ping = now + PING_EVERY;
        self.stamp += 1;
        self.pinged = Some((self.stamp, now));
        Ok(Some(frame::ping(self.remote, self.stamp, self.sent)))
    }

    /// A ping came: in its place among the data frames, so it tells whether one of them is missing. Answers, and repeats what the other side may send,
    /// since the frame that said so may have been lost.
    pub(super) fn ping(&mut self, stamp: u64, sent: u64) -> Result<[Vec<u8>; 2], End> {
        if sent < self.received {
            return fault("it has forgotten what it sent");
        }
        if sent > self.received {
            return Err(End::Lost(format!("{} frames were lost", sent - self.received)));
        }
        Ok([frame::pong(self.remote, stamp), self.grant()])
    }

    pub(super) fn pong(&mut self, now: Instant, stamp: u64) {
        if let Some((expected, at)) = self.pinged
            && expected == stamp
        {
            self.pinged = None;
            self.outbox.set_round_trip(now.duration_since(at));
        }
    }

    /// The other side told what it has seen and what may be sent.
    pub(super) fn credit(&mut self, seen: u64, allowed: u64) -> Result<(), End> {
        if seen > self.sent || allowed > self.spent + WINDOW {
            return fault("it acknowledged what was never sent");
        }
        // Frames with priority overtake each other only across a reconnection, which ends the link; still, older news change nothing.
        self.seen = self.seen.max(seen);
        self.allowed = self.allowed.max(allowed);
        Ok(())
    }

    /// Data came: the messages that are whole now go to `out`.
    pub(super) fn data(&mut self, seq: u64, pieces: Pieces<'_>, out: &mut Vec<Arrived>) -> Result<(), End> {
        if seq <= self.received {
            return fault("it repeated a data frame");
        }
        if seq != self.received + 1 {
            return Err(End::Lost(format!("{} frames were lost", seq - self.received - 1)));
        }
        self.received = seq;
        for piece in pieces {
            let piece = piece.or_else(|error| fault(format!("it sent a malformed frame: {error}")))?;
            if let Some(message) = self.piece(piece)? {
                out.push(message);
            }
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<Option<Arrived>, End> {
        let Piece { stream, first, last, bytes } = piece;
        let cost = PIECE_COST + bytes.len() as u64;
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.granted {
            return fault("it sent more than was allowed");
        }
        let mut assembling = match (self.assembling.take(), first) {
            (None, true) => Assembling { stream, bytes: Vec::with_capacity(bytes.len()), cost: 0 },
            (Some(begun), false) if begun.stream == stream => begun,
            _ => return fault("it sent the parts of a message in disorder"),
        };
        if assembling.bytes.len() + bytes.len() > MAX_MESSAGE {
            return fault("it sent a message larger than any may be");
        }
        self.account.take(cost);
        assembling.bytes.extend_from_slice(bytes);
        assembling.cost += cost;
        if !last {
            self.assembling = Some(assembling);
            return Ok(None);
        }
        Ok(Some((stream, self.account.message(assembling.bytes, assembling.cost))))
    }

    /// What the other side should be told now about what was seen and dropped, if it is worth a frame.
    pub(super) fn due(&mut self) -> Option<Vec<u8>> {
        let allowed = self.cost - self.account.held() + WINDOW;
        let due = self.received - self.told >= ACKNOWLEDGE_EVERY || allowed - self.granted >= GRANT_EVERY;
        due.then(|| self.grant())
    }

    fn grant(&mut self) -> Vec<u8> {
        // What is held only falls between the two readings, so what is granted only grows.
        self.granted = self.granted.max(self.cost - self.account.told() + WINDOW);
        self.told = self.received;
        frame::credit(self.remote, self.received, self.granted)
    }

    /// Whether [`Link::next_data`] would give a frame.
    pub(super) fn has_data(&self) -> bool {
        let waiting = match &self.sending {
            Some(sending) => sending.message.len() - sending.at,
            None if self.outbox.is_empty() => return false,
            None => 0,
        };
        self.sent - self.seen < MAX_IN_FLIGHT
            && self.affordable() >= waiting.min(MIN_PIECE) as u64
            && self.allowed - self.spent >= PIECE_COST
    }

    fn affordable(&self) -> u64 {
        (self.allowed - self.spent).saturating_sub(PIECE_COST)
    }

    /// The next data frame: as many messages as fit and are allowed.
    pub(super) fn next_data(&mut self) -> Option<Vec<u8>> {
        if self.sent - self.seen >= MAX_IN_FLIGHT {
            return None;
        }
        let mut data: Option<DataFrame> = None;
        while self.allowed - self.spent >= PIECE_COST {
            let Some(sending) = self.sending.take().or_else(|| self.next_message()) else { break };
            let rest = sending.message.len() - sending.at;
            let room =
                data.as_ref().map_or(frame::MAX_FRAME - frame::DATA_OVERHEAD - frame::PIECE_OVERHEAD, DataFrame::room);
            let length = rest.min(room).min(usize::try_from(self.affordable()).unwrap_or(usize::MAX));
            if length < rest.min(MIN_PIECE) {
                self.sending = Some(sending);
                break;
            }
            let end = sending.at + length;
            data.get_or_insert_with(|| DataFrame::new(self.remote, self.sent + 1)).add(Piece {
                stream: sending.stream,
                first: sending.at == 0,
                last: length == rest,
                bytes: &sending.message[sending.at..end],
            });
            self.spent += PIECE_COST + length as u64;
            if length < rest {
                self.sending = Some(Sending { at: end, ..sending });
            }
        }
        let data = data?;
        self.sent += 1;
        Some(data.into_bytes())
    }

    fn next_message(&self) -> Option<Sending> {
        self.outbox.pop().map(|(stream, message)| Sending { stream, message, at: 0 })
    }
}
