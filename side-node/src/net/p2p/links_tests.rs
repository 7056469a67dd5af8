//! Links between simulated nodes: what arrives is in order and whole or the link ends, a slow reader costs nobody else, hostile frames end it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use proptest::prelude::*;
use side_ledger::GroupId;

use super::frame::{self, Body, DataFrame, Frame, Piece};
use super::link::{MAX_IN_FLIGHT, PIECE_COST, SILENCE, WINDOW};
use super::links::Links;
use crate::net::{Event, LinkId, MAX_MESSAGE, Outlet, SendError, Stream};

const GROUP: GroupId = GroupId([7; 32]);

/// A node and what its member has seen.
struct Node {
    key: AuthorId,
    links: Links,
    outlets: BTreeMap<LinkId, (AuthorId, Arc<dyn Outlet>)>,
    /// Messages that the member has not dropped.
    held: Vec<(LinkId, Stream, Bytes)>,
    ups: usize,
    downs: Vec<String>,
    rooms: usize,
    faults: Vec<(AuthorId, String)>,
}

impl Node {
    fn new(number: u8, first: u64) -> Self {
        let mut id = u64::from(number) << 32;
        let mut links = Links::new(first, move || {
            id += 1;
            LinkId(id)
        });
        links.open(GROUP, Arc::new(AtomicUsize::new(0)));
        Self {
            key: Keypair::from_seed(&[number; 32]).author(),
            links,
            outlets: BTreeMap::new(),
            held: Vec::new(),
            ups: 0,
            downs: Vec::new(),
            rooms: 0,
            faults: Vec::new(),
        }
    }

    fn take_events(&mut self) {
        for (group, event) in self.links.take_events() {
            assert_eq!(group, GROUP);
            match event {
                Event::Up { link, peer, outlet } => {
                    self.ups += 1;
                    assert!(self.outlets.insert(link, (peer.key, outlet)).is_none(), "a number was used again");
                }
                Event::Message { link, stream, message } => {
                    assert!(self.outlets.contains_key(&link), "a message on a link that is down");
                    self.held.push((link, stream, message));
                }
                Event::Room { link } => {
                    assert!(self.outlets.contains_key(&link));
                    self.rooms += 1;
                }
                Event::Down { link, reason } => {
                    assert!(self.outlets.remove(&link).is_some(), "a link went down twice");
                    self.downs.push(reason);
                }
                Event::Notice(_) => {}
            }
        }
        self.faults.extend(self.links.take_faults());
    }

    fn outlet(&self, key: &AuthorId) -> Arc<dyn Outlet> {
        self.outlets.values().find(|(peer, _)| peer == key).map(|(_, outlet)| outlet.clone()).expect("a link")
    }

    fn is_up(&self) -> bool {
        !self.outlets.is_empty()
    }
}

/// Nodes, and the frames between them: in order, those with priority first, as the connection below does it.
struct Net {
    now: Instant,
    nodes: Vec<Node>,
    wires: BTreeMap<(usize, usize), [VecDeque<Vec<u8>>; 2]>,
    /// Drops the frame of this number.
    drops: Box<dyn FnMut() -> bool>,
    connected: bool,
}

impl Net {
    fn new(count: u8) -> Self {
        let nodes = (0..count).map(|n| Node::new(n + 1, u64::from(n + 1) * 1000)).collect();
        let mut net =
            Self { now: Instant::now(), nodes, wires: BTreeMap::new(), drops: Box::new(|| false), connected: false };
        let keys: BTreeSet<AuthorId> = net.nodes.iter().map(|node| node.key).collect();
        for node in &mut net.nodes {
            let others = keys.iter().copied().filter(|key| *key != node.key).collect();
            node.links.set_peers(net.now, &GROUP, &others);
        }
        net.connect(true);
        net
    }

    fn connect(&mut self, connected: bool) {
        self.connected = connected;
        self.wires.clear();
        let keys: Vec<AuthorId> = self.nodes.iter().map(|node| node.key).collect();
        for node in &mut self.nodes {
            let others = keys.iter().filter(|key| connected && **key != node.key);
            let others = others.map(|key| (*key, "here".to_owned())).collect();
            node.links.set_connected(self.now, &others);
            node.take_events();
        }
    }

    fn index(&self, key: &AuthorId) -> usize {
        self.nodes.iter().position(|node| node.key == *key).unwrap()
    }

    /// Everything that can happen at this moment.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for at in 0..self.nodes.len() {
                self.nodes[at].links.ring(self.now);
                self.nodes[at].links.tick(self.now);
                for key in self.nodes[at].links.ready() {
                    let to = self.index(&key);
                    while let Some(frame) = self.nodes[at].links.next_frame(self.now, &key) {
                        moved = true;
                        assert!(frame.bytes.len() <= frame::MAX_FRAME);
                        if !(self.drops)() {
                            let wire = self.wires.entry((at, to)).or_default();
                            wire[usize::from(!frame.priority)].push_back(frame.bytes);
                        }
                    }
                }
                self.nodes[at].take_events();
            }
            for ((from, to), wire) in &mut self.wires {
                let key = self.nodes[*from].key;
                for frame in wire.iter_mut().flat_map(|queue| queue.drain(..)) {
                    moved = true;
                    self.nodes[*to].links.receive(self.now, &key, &frame);
                }
                self.nodes[*to].take_events();
            }
            if !moved {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(250);
            self.settle();
        }
    }
}

/// A message that tells its number and its length.
fn message(number: u32, length: usize) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((0..length).map(|at| (at as u32).wrapping_mul(number | 1) as u8));
    bytes.into()
}

fn stream(number: u32) -> Stream {
    [Stream::Sync, Stream::Seal, Stream::Side][number as usize % 3]
}

fn number(message: &Bytes) -> u32 {
    u32::from_be_bytes(message[..4].try_into().unwrap())
}

#[test]
fn messages_of_all_sizes_arrive_in_order_and_whole() {
    let mut net = Net::new(2);
    net.settle();
    let [a, b] = [net.nodes[0].key, net.nodes[1].key];
    assert!(net.nodes.iter().all(Node::is_up));
    let lengths = [0, 1, 1000, 200_000, MAX_MESSAGE - 4, 5, frame::MAX_FRAME, 17, 3 << 20, 0];
    for (at, length) in lengths.iter().enumerate() {
        let outlet = net.nodes[0].outlet(&b);
        while outlet.room() == 0 {
            net.settle();
        }
        outlet.try_send(stream(at as u32), message(at as u32, *length)).unwrap();
        net.nodes[1].outlet(&a).try_send(Stream::Side, message(at as u32, 3)).unwrap();
        net.settle();
        // The member is done with what came, or the window would fill.
        let came = std::mem::take(&mut net.nodes[1].held);
        for (_, came_on, came) in &came {
            let at = number(came);
            assert_eq!(*came_on, stream(at));
            assert_eq!(*came, message(at, lengths[at as usize]));
        }
        assert_eq!(came.iter().map(|(_, _, came)| number(came)).collect::<Vec<_>>(), [at as u32]);
    }
    assert_eq!(net.nodes[0].held.len(), lengths.len());
    assert!(net.nodes.iter().all(|node| node.downs.is_empty() && node.faults.is_empty() && node.ups == 1));
}

#[test]
fn many_small_messages_share_frames() {
    let mut net = Net::new(2);
    net.settle();
    let b = net.nodes[1].key;
    let outlet = net.nodes[0].outlet(&b);
    for number in 0..200 {
        outlet.try_send(Stream::Sync, message(number, 100)).unwrap();
    }
    net.nodes[0].links.ring(net.now);
    let mut frames = 0;
    while let Some(frame) = net.nodes[0].links.next_frame(net.now, &b) {
        frames += 1;
        let a = net.nodes[0].key;
        net.nodes[1].links.receive(net.now, &a, &frame.bytes);
    }
    net.nodes[1].take_events();
    assert_eq!(net.nodes[1].held.len(), 200);
    assert!(frames < 4, "{frames} frames");
}

#[test]
fn a_slow_reader_fills_its_own_window_and_nothing_else() {
    let mut net = Net::new(3);
    net.settle();
    let [a, slow, quick] = [0, 1, 2].map(|at| net.nodes[at].key);
    let outlet = net.nodes[0].outlet(&slow);
    let mut sent = 0u32;
    // Until nothing more is taken.
    loop {
        match outlet.try_send(Stream::Sync, message(sent, 100_000)) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => {
                let held = net.nodes[1].held.len();
                net.settle();
                if net.nodes[1].held.len() == held && outlet.room() == 0 {
                    break;
                }
            }
            Err(SendError::Gone) => panic!("the link went down"),
        }
    }
    let held: u64 = net.nodes[1].held.iter().map(|(_, _, message)| message.len() as u64 + PIECE_COST).sum();
    assert!(held <= WINDOW && held > WINDOW - 300_000, "{held}");
    let rooms = net.nodes[0].rooms;
    // The other peer is served meanwhile, and time passes without harm.
    for number in 0..500 {
        net.nodes[0].outlet(&quick).try_send(Stream::Seal, message(number, 1000)).unwrap();
        net.settle();
        net.nodes[2].held.clear();
    }
    net.pass(Duration::from_secs(60));
    assert!(net.nodes.iter().all(|node| node.downs.is_empty()));
    assert_eq!(net.nodes[0].rooms, rooms);
    // It reads: room is told once, and everything arrives.
    let mut came = Vec::new();
    while came.len() < sent as usize {
        let read = std::mem::take(&mut net.nodes[1].held);
        assert!(!read.is_empty());
        came.extend(read.iter().map(|(_, _, message)| number(message)));
        drop(read);
        net.settle();
    }
    assert_eq!(came, (0..sent).collect::<Vec<_>>());
    assert_eq!(net.nodes[0].rooms, rooms + 1);
    assert!(net.nodes[1].outlet(&a).room() > 0);
}

#[test]
fn tiny_messages_cost_what_they_take_in_memory() {
    let mut net = Net::new(2);
    net.settle();
    let b = net.nodes[1].key;
    let outlet = net.nodes[0].outlet(&b);
    loop {
        while outlet.try_send(Stream::Sync, Bytes::new()).is_ok() {}
        let held = net.nodes[1].held.len();
        net.settle();
        if net.nodes[1].held.len() == held {
            break;
        }
    }
    assert_eq!(net.nodes[1].held.len() as u64, WINDOW / PIECE_COST);
}

#[test]
fn a_node_that_starts_anew_gets_a_new_link() {
    let mut net = Net::new(2);
    net.settle();
    let [a, b] = [net.nodes[0].key, net.nodes[1].key];
    let first = net.nodes[0].outlet(&b);
    // Frames that are under way when B starts anew say nothing to it.
    first.try_send(Stream::Sync, message(1, 10)).unwrap();
    net.nodes[0].links.ring(net.now);
    let stale = net.nodes[0].links.next_frame(net.now, &b).unwrap();
    net.nodes[1] = Node::new(2, 77_000);
    net.nodes[1].links.set_peers(net.now, &GROUP, &BTreeSet::from([a]));
    net.connect(true);
    net.nodes[1].links.receive(net.now, &a, &stale.bytes);
    net.settle();
    assert_eq!(net.nodes[0].downs, ["the other side began anew"]);
    assert_eq!(first.try_send(Stream::Sync, Bytes::new()), Err(SendError::Gone));
    assert!(net.nodes[1].held.is_empty());
    net.nodes[0].outlet(&b).try_send(Stream::Sync, message(2, 10)).unwrap();
    net.settle();
    assert_eq!(net.nodes[1].held.len(), 1);
    assert_eq!(number(&net.nodes[1].held[0].2), 2);
}

#[test]
fn silence_takes_a_link_down_and_it_comes_up_when_the_line_is_back() {
    let mut net = Net::new(2);
    net.settle();
    net.pass(Duration::from_secs(30));
    assert!(net.nodes.iter().all(|node| node.downs.is_empty()));
    let b = net.nodes[1].key;
    assert!(net.nodes[0].outlet(&b).round_trip().is_some());
    net.drops = Box::new(|| true);
    net.pass(SILENCE + Duration::from_secs(3));
    for node in &net.nodes {
        assert_eq!(node.downs, ["silent for 8 seconds"]);
        assert!(!node.is_up());
    }
    net.drops = Box::new(|| false);
    net.pass(Duration::from_secs(2));
    assert!(net.nodes.iter().all(Node::is_up));
}

#[test]
fn a_lost_last_frame_is_found_by_the_next_ping() {
    let mut net = Net::new(2);
    net.settle();
    let b = net.nodes[1].key;
    net.nodes[0].outlet(&b).try_send(Stream::Sync, message(1, 10)).unwrap();
    net.nodes[0].links.ring(net.now);
    let lost = net.nodes[0].links.next_frame(net.now, &b).unwrap();
    assert!(matches!(Frame::decode(&lost.bytes).unwrap().body, Body::Data { seq: 1, .. }));
    net.pass(Duration::from_secs(3));
    assert_eq!(net.nodes[1].downs, ["1 frames were lost"]);
    assert!(net.nodes.iter().all(Node::is_up));
}

#[test]
fn a_lost_connection_takes_the_links_down_at_once() {
    let mut net = Net::new(2);
    net.settle();
    net.connect(false);
    assert!(net.nodes.iter().all(|node| node.downs == ["the connection was lost"]));
    assert!(net.nodes[0].links.ready().is_empty());
    net.connect(true);
    net.settle();
    assert!(net.nodes.iter().all(Node::is_up));
}

#[test]
fn a_peer_whose_member_broke_a_rule_is_left_alone_for_a_while() {
    let mut net = Net::new(2);
    net.settle();
    let b = net.nodes[1].key;
    net.nodes[0].outlet(&b).close("it lied");
    net.settle();
    assert_eq!(net.nodes[0].downs, ["it lied"]);
    assert_eq!(net.nodes[1].downs, ["the other side ended it: it lied"]);
    net.pass(Duration::from_secs(14));
    assert!(!net.nodes[0].is_up());
    assert_eq!(net.nodes[0].links.status()[0].reason.as_deref(), Some("it lied"));
    net.pass(Duration::from_secs(3));
    assert!(net.nodes.iter().all(Node::is_up));
    // Beginning anew blames nobody.
    net.nodes[0].outlet(&b).renew("the log was renumbered");
    net.pass(Duration::from_secs(1));
    assert!(net.nodes.iter().all(|node| node.is_up() && node.ups == 3));
}

#[test]
fn links_that_do_not_last_rest_longer_and_longer() {
    let mut net = Net::new(2);
    net.settle();
    let a = net.nodes[0].key;
    // Every second data frame is lost, which ends the link; A sends all the time.
    for _ in 0..1000 {
        for (_, outlet) in net.nodes[0].outlets.values() {
            let _ = outlet.try_send(Stream::Sync, message(1, 1));
        }
        net.nodes[0].links.ring(net.now);
        let b = net.nodes[1].key;
        while let Some(frame) = net.nodes[0].links.next_frame(net.now, &b) {
            if !matches!(Frame::decode(&frame.bytes).unwrap().body, Body::Data { seq, .. } if seq % 2 == 1) {
                net.nodes[1].links.receive(net.now, &a, &frame.bytes);
            }
        }
        net.pass(Duration::from_millis(250));
    }
    // 250 seconds; with a rest of ten seconds each there are about 25, and a few at first.
    let ups = net.nodes[0].ups;
    assert!((10..60).contains(&ups), "{ups}");
}

#[test]
fn a_group_whose_member_is_far_behind_takes_no_link_up() {
    let mut net = Net::new(2);
    let waiting = Arc::new(AtomicUsize::new(1 << 20));
    net.nodes[0].links.open(GROUP, waiting.clone());
    net.pass(Duration::from_secs(5));
    assert!(!net.nodes[0].is_up());
    waiting.store(0, std::sync::atomic::Ordering::Relaxed);
    net.pass(Duration::from_secs(2));
    assert!(net.nodes.iter().all(Node::is_up));
}

#[test]
fn a_group_that_is_given_up_says_nothing_more() {
    let mut net = Net::new(2);
    net.settle();
    net.nodes[0].links.shut(net.now, &GROUP);
    net.settle();
    assert_eq!(net.nodes[0].downs.len(), 1);
    net.pass(Duration::from_secs(60));
    assert_eq!(net.nodes[0].ups, 1);
    assert!(net.nodes[0].links.status().is_empty());
}

/// A link of B to A, where A is played by hand: A's key, B, and B's number of the link.
fn played() -> (AuthorId, Node, Instant, u64) {
    let now = Instant::now();
    let mut b = Node::new(2, 5000);
    let a = Keypair::from_seed(&[1; 32]).author();
    b.links.set_peers(now, &GROUP, &BTreeSet::from([a]));
    b.links.set_connected(now, &BTreeMap::from([(a, "here".to_owned())]));
    b.links.tick(now);
    let hello = b.links.next_frame(now, &a).unwrap().bytes;
    let Body::Hello { from, .. } = Frame::decode(&hello).unwrap().body else { panic!() };
    b.links.receive(now, &a, &frame::hello(from, &GROUP, 9));
    b.take_events();
    assert!(b.is_up());
    while b.links.next_frame(now, &a).is_some() {}
    (a, b, now, from)
}

fn data(to: u64, seq: u64, pieces: &[(Stream, bool, bool, &[u8])]) -> Vec<u8> {
    let mut frame = DataFrame::new(to, seq);
    for (stream, first, last, bytes) in pieces {
        frame.add(Piece { stream: *stream, first: *first, last: *last, bytes });
    }
    frame.into_bytes()
}

#[test]
fn a_replayed_hello_changes_nothing() {
    let (a, mut b, now, number) = played();
    for _ in 0..1000 {
        b.links.receive(now, &a, &frame::hello(number, &GROUP, 9));
    }
    b.take_events();
    assert!(b.is_up() && b.ups == 1 && b.downs.is_empty());
    assert_eq!(b.links.next_frame(now, &a), None);
    // One of an earlier link is answered, so that a side that has not heard yet comes up; the answers that wait are bounded.
    for _ in 0..10_000 {
        b.links.receive(now, &a, &frame::hello(0, &GROUP, 9));
    }
    let mut answers = 0;
    while b.links.next_frame(now, &a).is_some() {
        answers += 1;
    }
    assert!(b.is_up() && answers <= 1024, "{answers}");
}

#[test]
fn hellos_of_other_groups_and_strangers_are_not_answered() {
    let (a, mut b, now, _) = played();
    b.links.receive(now, &a, &frame::hello(0, &GroupId([8; 32]), 9));
    let stranger = Keypair::from_seed(&[99; 32]).author();
    b.links.receive(now, &stranger, &frame::hello(0, &GROUP, 9));
    b.links.receive(now, &stranger, &frame::ping(5001, 1, 0));
    b.take_events();
    assert_eq!(b.links.next_frame(now, &a), None);
    assert_eq!(b.links.next_frame(now, &stranger), None);
    assert!(b.is_up());
}

#[test]
fn whoever_breaks_a_rule_of_the_links_is_a_fault() {
    type Attack = fn(u64) -> Vec<Vec<u8>>;
    let attacks: [(&str, Attack); 9] = [
        ("malformed frame", |_| vec![vec![1, 2, 3]]),
        ("larger than any", |_| vec![vec![0; frame::MAX_FRAME + 1]]),
        ("malformed frame", |to| vec![[&data(to, 1, &[(Stream::Sync, true, true, b"x")])[..], &[255]].concat()]),
        ("repeated", |to| vec![data(to, 1, &[(Stream::Sync, true, true, b"x")]); 2]),
        ("disorder", |to| vec![data(to, 1, &[(Stream::Sync, false, true, b"x")])]),
        ("disorder", |to| vec![data(to, 1, &[(Stream::Sync, true, false, b"x"), (Stream::Seal, false, true, b"x")])]),
        ("never sent", |to| vec![frame::credit(to, 1, 0)]),
        ("never sent", |to| vec![frame::credit(to, 0, WINDOW + 1)]),
        ("larger than any", |to| {
            let part = vec![0; 100_000];
            (1..=42).map(|seq| data(to, seq, &[(Stream::Sync, seq == 1, false, &part)])).collect()
        }),
    ];
    for (expected, attack) in attacks {
        let (a, mut b, now, number) = played();
        for frame in attack(number) {
            b.links.receive(now, &a, &frame);
        }
        b.take_events();
        assert!(!b.is_up(), "{expected}");
        assert!(b.faults.len() == 1 && b.faults[0].0 == a && b.faults[0].1.contains(expected), "{:?}", b.faults);
        assert!(b.links.status()[0].reason.as_ref().unwrap().contains(expected));
        // Hellos are not answered for a while.
        b.links.receive(now, &a, &frame::hello(0, &GROUP, 10));
        b.links.receive(now, &a, &frame::hello(number + 1, &GROUP, 10));
        b.take_events();
        assert!(!b.is_up());
    }
}

#[test]
fn whoever_sends_beyond_the_window_is_a_fault() {
    let (a, mut b, now, number) = played();
    let bytes = vec![0; 100_000];
    for seq in 1..=WINDOW / 100_000 + 1 {
        assert!(b.faults.is_empty());
        b.links.receive(now, &a, &data(number, seq, &[(Stream::Sync, true, true, &bytes)]));
        b.take_events();
    }
    assert_eq!(b.faults[0].1, "it sent more than was allowed");
    let held: u64 = b.held.iter().map(|(_, _, message)| message.len() as u64).sum();
    assert!(held <= WINDOW);
}

#[test]
fn no_more_frames_are_under_way_than_the_mailboxes_take() {
    let (a, mut b, now, number) = played();
    let outlet = b.outlet(&a);
    let mut frames = 0;
    for _ in 0..1000 {
        let _ = outlet.try_send(Stream::Sync, message(1, 3));
        while b.links.next_frame(now, &a).is_some() {
            frames += 1;
        }
    }
    assert_eq!(frames, MAX_IN_FLIGHT);
    // A word of what was seen lets more through.
    b.links.receive(now, &a, &frame::credit(number, frames, WINDOW));
    assert!(b.links.next_frame(now, &a).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is lost: on each link a prefix of what was sent on it arrives, in order and whole; and when nothing is lost any more, all is well again.
    #[test]
    fn what_arrives_is_a_prefix(seed in any::<u64>(), loss in 0u64..20, steps in proptest::collection::vec((0usize..2, 0usize..300_000, 0u8..20), 1..60)) {
        let mut net = Net::new(2);
        let mut state = seed | 1;
        net.drops = Box::new(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 100 < loss
        });
        let mut next = [0u32; 2];
        // What was sent on which link of the sender, and which link of the receiver brought what.
        let mut sent: [Vec<(LinkId, u32, usize)>; 2] = Default::default();
        let mut came: [Vec<(LinkId, u32)>; 2] = Default::default();
        for (from, length, what) in steps {
            if what == 0 {
                net.connect(!net.connected);
            }
            if let Some((link, (_, outlet))) = net.nodes[from].outlets.iter().next() {
                let number = next[from];
                if outlet.try_send(stream(number), message(number, length)).is_ok() {
                    sent[from].push((*link, number, length));
                    next[from] += 1;
                }
            }
            if what % 3 == 0 {
                net.pass(Duration::from_millis(500));
            } else {
                net.settle();
            }
            for at in 0..2 {
                for (link, came_on, came_message) in net.nodes[at].held.drain(..) {
                    let n = number(&came_message);
                    let length = sent[1 - at].iter().find(|(_, number, _)| *number == n).unwrap().2;
                    prop_assert_eq!(&came_message, &message(n, length));
                    prop_assert_eq!(came_on, stream(n));
                    came[at].push((link, n));
                }
            }
        }
        for at in 0..2 {
            for link in came[at].iter().map(|(link, _)| *link).collect::<BTreeSet<_>>() {
                let numbers: Vec<u32> = came[at].iter().filter(|(on, _)| *on == link).map(|(_, number)| *number).collect();
                let on = sent[1 - at].iter().find(|(_, number, _)| *number == numbers[0]).unwrap().0;
                let expected: Vec<u32> = sent[1 - at].iter().filter(|(link, ..)| *link == on).map(|(_, number, _)| *number).collect();
                prop_assert_eq!(&numbers[..], &expected[..numbers.len()]);
            }
        }
        prop_assert!(net.nodes.iter().all(|node| node.faults.is_empty()), "{:?}", net.nodes[0].faults);
        net.drops = Box::new(|| false);
        net.connect(true);
        net.pass(Duration::from_secs(40));
        prop_assert!(net.nodes.iter().all(Node::is_up));
        net.nodes[0].held.clear();
        let key = net.nodes[0].key;
        net.nodes[1].outlet(&key).try_send(Stream::Side, message(0, 10)).unwrap();
        net.settle();
        prop_assert_eq!(net.nodes[0].held.len(), 1);
    }
}
