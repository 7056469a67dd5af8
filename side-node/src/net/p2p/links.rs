//! All links of a node: with whom about which groups, when they come up and why they go down. Sans-IO: time and frames come in, frames and events go out.
//!
//! A link begins with three hellos, in which each side tells a number of its own that it never uses again; every other frame carries the receiver's
//! number, so that what is left over of an earlier link says nothing. Either side begins anew by telling a new number.
//!
//! ```text
//!  A                                   B
//!  hello(to 0, from a)  ───────────▶
//!                       ◀─────────── hello(to a, from b)     A: up
//!  hello(to b, from a)  ───────────▶                         B: up
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bft_json_crdt::identity::AuthorId;
use side_ledger::GroupId;

use super::frame::{self, Body, Frame, MAX_REASON};
use super::link::{Arrived, End, Link};
use super::outbox::{Bell, Closing};
use crate::net::{Event, LinkId, Outlet as _, Peer};

/// What a peer's `transport` says.
pub(super) const TRANSPORT: &str = "direct";
/// How often a peer that is connected and does not answer is called.
const CALL_EVERY: Duration = Duration::from_secs(1);
/// A link that lives shorter than this counts as a failure to come up.
const STEADY: Duration = Duration::from_secs(10);
/// How long a link rests after the second failure in a row; doubled with each further one.
const FIRST_REST: Duration = Duration::from_millis(250);
/// Longest rest after failures.
const MAX_REST: Duration = Duration::from_secs(10);
/// How long a peer is left alone that broke a rule of the group's protocols, as with relays.
const FAULT_REST: Duration = Duration::from_secs(15);
/// While so many events wait for a group's member, no link of it comes up: peers that come and go cannot fill the memory of a node that is busy.
const MAX_WAITING: usize = 4096;
/// Most control frames that wait for a peer: it answers nothing for so long that the link goes down first.
const MAX_CONTROL: usize = 1024;

/// A frame to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    /// It may overtake those without.
    pub(super) priority: bool,
}

/// How a link stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The other end.
    pub key: AuthorId,
    /// The group.
    pub group: GroupId,
    /// Whether there is an encrypted connection.
    pub connected: bool,
    /// Where the peer is.
    pub address: String,
    /// Whether the link stands.
    pub up: bool,
    /// The last measured round trip.
    pub round_trip: Option<Duration>,
    /// Why the link last went down.
    pub reason: Option<String>,
}

struct Place {
    /// This side's number of the link, also of one that is yet to come up.
    local: u64,
    remote: Option<u64>,
    call_at: Instant,
    /// Until then hellos are not answered.
    rests_until: Instant,
    /// Links in a row that did not last.
    failures: u32,
    reason: Option<String>,
    link: Option<Link>,
}

#[derive(Default)]
struct PeerState {
    connected: bool,
    address: String,
    places: BTreeMap<GroupId, Place>,
    control: VecDeque<Outgoing>,
}

impl PeerState {
    fn is_ready(&self) -> bool {
        self.connected
            && (!self.control.is_empty()
                || self.places.values().any(|place| place.link.as_ref().is_some_and(Link::has_data)))
    }
}

/// All links.
pub(super) struct Links {
    bell: Arc<Bell>,
    next_id: Box<dyn FnMut() -> LinkId + Send>,
    next_number: u64,
    peers: BTreeMap<AuthorId, PeerState>,
    by_id: HashMap<LinkId, (AuthorId, GroupId)>,
    groups: BTreeMap<GroupId, Arc<AtomicUsize>>,
    events: Vec<(GroupId, Event)>,
    faults: Vec<(AuthorId, String)>,
}

impl Links {
    /// `first_number` is drawn at random: numbers of an earlier run say nothing to this one.
    pub(super) fn new(first_number: u64, next_id: impl FnMut() -> LinkId + Send + 'static) -> Self {
        Self {
            bell: Arc::default(),
            next_id: Box::new(next_id),
            next_number: first_number,
            peers: BTreeMap::new(),
            by_id: HashMap::new(),
            groups: BTreeMap::new(),
            events: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Rings when [`Links::ring`] should be called.
    pub(super) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    fn number(&mut self) -> u64 {
        self.next_number = match self.next_number.wrapping_add(1) {
            0 => 1,
            number => number,
        };
        self.next_number
    }

    /// Takes up a group. `waiting` says how many events wait for its member.
    pub(super) fn open(&mut self, group: GroupId, waiting: Arc<AtomicUsize>) {
        self.groups.insert(group, waiting);
    }

    /// Gives up a group: its links go down, and nothing more is told about it.
    pub(super) fn shut(&mut self, now: Instant, group: &GroupId) {
        self.set_peers(now, group, &BTreeSet::new());
        self.groups.remove(group);
    }

    /// With whom there should be links about `group`.
    pub(super) fn set_peers(&mut self, now: Instant, group: &GroupId, keys: &BTreeSet<AuthorId>) {
        let gone: Vec<AuthorId> = self
            .peers
            .iter()
            .filter(|(key, peer)| peer.places.contains_key(group) && !keys.contains(*key))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.close(now, &key, group, "it is no longer a peer of this group", Duration::ZERO);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.places.remove(group);
            }
        }
        for key in keys {
            if !self.peers.get(key).is_some_and(|peer| peer.places.contains_key(group)) {
                let local = self.number();
                let place = Place {
                    local,
                    remote: None,
                    call_at: now,
                    rests_until: now,
                    failures: 0,
                    reason: None,
                    link: None,
                };
                self.peers.entry(*key).or_default().places.insert(*group, place);
            }
        }
        self.peers.retain(|_, peer| !peer.places.is_empty());
    }

    /// Who is connected, and where.
    pub(super) fn set_connected(&mut self, now: Instant, connected: &BTreeMap<AuthorId, String>) {
        let lost: Vec<(AuthorId, GroupId)> = self
            .peers
            .iter()
            .filter(|(key, peer)| peer.connected && !connected.contains_key(*key))
            .flat_map(|(key, peer)| peer.places.keys().map(|group| (*key, *group)))
            .collect();
        for (key, group) in lost {
            self.down(now, &key, &group, "the connection was lost", Duration::ZERO, false);
        }
        for (key, peer) in &mut self.peers {
            let here = connected.get(key);
            if here.is_some() && !peer.connected {
                peer.places.values_mut().for_each(|place| place.call_at = now.max(place.rests_until));
            }
            peer.connected = here.is_some();
            match here {
                Some(address) if peer.address != *address => peer.address = address.clone(),
                Some(_) => {}
                None => peer.control.clear(),
            }
        }
    }

    /// What has happened for the members since the last call.
    pub(super) fn take_events(&mut self) -> Vec<(GroupId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Who broke a rule of the links since the last call, and which.
    pub(super) fn take_faults(&mut self) -> Vec<(AuthorId, String)> {
        std::mem::take(&mut self.faults)
    }

    /// Answers the bell.
    pub(super) fn ring(&mut self, now: Instant) {
        for id in self.bell.take() {
            let Some((key, group)) = self.by_id.get(&id).copied() else { continue };
            self.settle(now, &key, &group);
        }
    }

    /// What a link owes after something has happened to it.
    fn settle(&mut self, now: Instant, key: &AuthorId, group: &GroupId) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(link) = peer.places.get_mut(group).and_then(|place| place.link.as_mut()) else { return };
        if let Some(Closing { reason, fault }) = link.outbox.take_close() {
            self.close(now, key, group, &reason, if fault { FAULT_REST } else { Duration::ZERO });
            return;
        }
        if let Some(bytes) = link.due() {
            push(&mut peer.control, bytes, true);
        }
        if link.outbox.take_room() {
            self.events.push((*group, Event::Room { link: link.id }));
        }
    }

    /// Ends a link by this side's will, and tells the other.
    fn close(&mut self, now: Instant, key: &AuthorId, group: &GroupId, reason: &str, rest: Duration) {
        if let Some(peer) = self.peers.get_mut(key)
            && let Some(link) = peer.places.get(group).and_then(|place| place.link.as_ref())
        {
            push(&mut peer.control, frame::close(link.remote(), reason), true);
        }
        self.down(now, key, group, reason, rest, false);
    }

    /// Takes a link down; it calls again after a rest.
    fn down(&mut self, now: Instant, key: &AuthorId, group: &GroupId, reason: &str, rest: Duration, failure: bool) {
        let number = self.number();
        let Some(place) = self.peers.get_mut(key).and_then(|peer| peer.places.get_mut(group)) else { return };
        let Some(link) = place.link.take() else { return };
        link.outbox.set_gone();
        if !failure || now.duration_since(link.since) >= STEADY {
            place.failures = 0;
        } else {
            place.failures += 1;
        }
        let doubled = match place.failures {
            0 | 1 => Duration::ZERO,
            n => MAX_REST.min(FIRST_REST * 2u32.saturating_pow((n - 2).min(16))),
        };
        place.local = number;
        place.remote = None;
        place.rests_until = now + rest.max(doubled);
        place.call_at = place.rests_until;
        place.reason = Some(reason.to_owned());
        self.by_id.remove(&link.id);
        self.events.push((*group, Event::Down { link: link.id, reason: reason.to_owned() }));
    }

    /// All links with a peer that broke a rule of the links go down.
    fn fault(&mut self, now: Instant, key: &AuthorId, reason: &str) {
        let groups: Vec<GroupId> =
            self.peers.get(key).map(|peer| peer.places.keys().copied().collect()).unwrap_or_default();
        for group in groups {
            self.down(now, key, &group, reason, FAULT_REST, false);
            if let Some(place) = self.peers.get_mut(key).and_then(|peer| peer.places.get_mut(&group)) {
                place.rests_until = now + FAULT_REST;
                place.reason = Some(reason.to_owned());
            }
        }
        self.faults.push((*key, reason.to_owned()));
    }

    fn end(&mut self, now: Instant, key: &AuthorId, group: &GroupId, end: End) {
        match end {
            End::Lost(reason) => self.down(now, key, group, &reason, Duration::ZERO, true),
            End::Fault(reason) => self.fault(now, key, &reason),
        }
    }

    /// A frame came from `key`.
    pub(super) fn receive(&mut self, now: Instant, key: &AuthorId, bytes: &[u8]) {
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.fault(now, key, &format!("it sent a malformed frame: {error}")),
        };
        if let Body::Hello { version, group, from } = frame.body {
            return self.hello(now, key, &group, frame.to, version, from);
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        // A peer has a link for each group that we share, and those are few.
        let Some(group) = peer.places.iter().find(|(_, place)| place.local == frame.to).map(|(group, _)| *group) else {
            // Left over of an earlier link.
            return;
        };
        if peer.places[&group].link.is_none() && !self.up(now, key, &group) {
            return;
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(link) = peer.places.get_mut(&group).and_then(|place| place.link.as_mut()) else { return };
        link.heard(now);
        let done = match frame.body {
            Body::Hello { .. } => Ok(()),
            Body::Data { seq, pieces } => {
                let mut arrived = Vec::new();
                let done = link.data(seq, pieces, &mut arrived);
                let id = link.id;
                let event = |(stream, message): Arrived| (group, Event::Message { link: id, stream, message });
                self.events.extend(arrived.into_iter().map(event));
                done
            }
            Body::Credit { seen, allowed } => link.credit(seen, allowed),
            Body::Ping { stamp, sent } => link.ping(stamp, sent).map(|[pong, credit]| {
                push(&mut peer.control, pong, false);
                push(&mut peer.control, credit, true);
            }),
            Body::Pong { stamp } => {
                link.pong(now, stamp);
                Ok(())
            }
            Body::Close { reason } => {
                let reason = format!("the other side ended it: {}", crate::output::printable(reason));
                self.down(now, key, &group, &reason, Duration::ZERO, true);
                return;
            }
        };
        match done {
            Ok(()) => self.settle(now, key, &group),
            Err(end) => self.end(now, key, &group, end),
        }
    }

    fn hello(&mut self, now: Instant, key: &AuthorId, group: &GroupId, to: u64, version: u64, from: u64) {
        let Some(place) = self.peers.get_mut(key).and_then(|peer| peer.places.get_mut(group)) else {
            // It takes us for a member of a group that we do not have, or whose member it is not here. It may be that it knows more than we do yet.
            return;
        };
        if now < place.rests_until {
            return;
        }
        if version != frame::VERSION {
            place.reason =
                Some(format!("it speaks version {version} of the link protocol, this node {}", frame::VERSION));
            return;
        }
        let answer = match &place.link {
            Some(link) if link.remote() == from => {
                if to == place.local {
                    return;
                }
                true
            }
            Some(_) => {
                self.down(now, key, group, "the other side began anew", Duration::ZERO, true);
                let Some(place) = self.peers.get(key).and_then(|peer| peer.places.get(group)) else { return };
                if now < place.rests_until {
                    return;
                }
                true
            }
            None => true,
        };
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(place) = peer.places.get_mut(group) else { return };
        let local = place.local;
        if place.link.is_none() {
            place.remote = Some(from);
            place.call_at = now + CALL_EVERY;
        }
        if answer {
            push(&mut peer.control, frame::hello(from, group, local), true);
        }
        if to == local {
            self.up(now, key, group);
        }
    }

    /// The other side knows our number: the link stands, unless the group has no room for it.
    fn up(&mut self, now: Instant, key: &AuthorId, group: &GroupId) -> bool {
        let id = (self.next_id)();
        let has_room = self.groups.get(group).is_some_and(|waiting| waiting.load(Ordering::Relaxed) < MAX_WAITING);
        let Some(peer) = self.peers.get_mut(key) else { return false };
        let Some(place) = peer.places.get_mut(group) else { return false };
        let Some(remote) = place.remote.filter(|_| has_room && place.link.is_none()) else { return false };
        let link = Link::new(now, id, remote, &self.bell);
        let peer = Peer { key: *key, transport: TRANSPORT, address: peer.address.clone() };
        self.events.push((*group, Event::Up { link: id, peer, outlet: link.outbox.clone() }));
        self.by_id.insert(id, (*key, *group));
        place.link = Some(link);
        true
    }

    /// What is due at `now`; when to call again.
    pub(super) fn tick(&mut self, now: Instant) -> Instant {
        let mut next = now + CALL_EVERY;
        let mut ends = Vec::new();
        for (key, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.connected) {
            for (group, place) in &mut peer.places {
                match &mut place.link {
                    Some(link) => {
                        match link.tick(now) {
                            Ok(Some(ping)) => push(&mut peer.control, ping, false),
                            Ok(None) => {}
                            Err(end) => ends.push((*key, *group, end)),
                        }
                        next = next.min(link.wake_at());
                    }
                    None => {
                        if place.call_at <= now {
                            place.call_at = now + CALL_EVERY;
                            push(&mut peer.control, frame::hello(place.remote.unwrap_or(0), group, place.local), true);
                        }
                        next = next.min(place.call_at);
                    }
                }
            }
        }
        for (key, group, end) in ends {
            self.end(now, &key, &group, end);
            next = now;
        }
        next
    }

    /// The peers to whom there is something to send.
    pub(super) fn ready(&self) -> Vec<AuthorId> {
        self.peers.iter().filter(|(_, peer)| peer.is_ready()).map(|(key, _)| *key).collect()
    }

    /// Whether there is something to send to a peer.
    pub(super) fn is_ready(&self, key: &AuthorId) -> bool {
        self.peers.get(key).is_some_and(PeerState::is_ready)
    }

    /// The next frame to a peer.
    pub(super) fn next_frame(&mut self, now: Instant, key: &AuthorId) -> Option<Outgoing> {
        let peer = self.peers.get_mut(key).filter(|peer| peer.connected)?;
        if let Some(control) = peer.control.pop_front() {
            return Some(control);
        }
        let (group, bytes) = peer
            .places
            .iter_mut()
            .find_map(|(group, place)| place.link.as_mut().and_then(Link::next_data).map(|bytes| (*group, bytes)))?;
        self.settle(now, key, &group);
        Some(Outgoing { bytes, priority: false })
    }

    /// How all links stand.
    pub(super) fn status(&self) -> Vec<LinkStatus> {
        let mut all = Vec::new();
        for (key, peer) in &self.peers {
            for (group, place) in &peer.places {
                all.push(LinkStatus {
                    key: *key,
                    group: *group,
                    connected: peer.connected,
                    address: peer.address.clone(),
                    up: place.link.is_some(),
                    round_trip: place.link.as_ref().and_then(|link| link.outbox.round_trip()),
                    reason: place.reason.as_ref().map(|reason| reason.chars().take(MAX_REASON).collect()),
                });
            }
        }
        all
    }
}

fn push(control: &mut VecDeque<Outgoing>, bytes: Vec<u8>, priority: bool) {
    if control.len() < MAX_CONTROL {
        control.push_back(Outgoing { bytes, priority });
    }
}
