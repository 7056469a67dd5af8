//! Sync between replicas: convergence, cost, flow control, resumption, forks, lies.

use std::collections::VecDeque;

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Limits, Replica};
use bft_json_crdt::sync::{Action, Leaf, Message, Packet, PeerFault, SessionLimits, SyncSession};
use bft_json_crdt::value::Value;
use bytes::Bytes;
use proptest::prelude::*;

const DOCUMENT: DocumentId = DocumentId([7; 32]);

fn keypair(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn writer(n: u8) -> (Replica, Keypair) {
    let keypair = keypair(n);
    let mut replica = Replica::new(DOCUMENT, Limits::default());
    replica.set_writer(Some(keypair.author()));
    (replica, keypair)
}

fn note(replica: &mut Replica, keypair: &Keypair, text: &str) -> Change {
    if replica.needs_acknowledgement() {
        replica.acknowledge(keypair, 0).expect("heads can be acknowledged");
    }
    let written = replica.transact(keypair, 0, |tx| {
        let list = tx.child(ContainerIdx::ROOT, "notes", Kind::List)?;
        tx.insert_in_order(list, NewElement::Value(Value::String(text.into())))
    });
    written.expect("a note is small").0
}

/// What went over the wire from the first to the second and back.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Traffic {
    messages: usize,
    bytes: usize,
    changes: usize,
}

struct Link {
    sessions: [SyncSession; 2],
    wires: [VecDeque<Bytes>; 2],
    traffic: Traffic,
}

impl Link {
    fn new(a: &Replica, b: &Replica, limits: SessionLimits) -> Self {
        Self {
            sessions: [SyncSession::new(a, limits), SyncSession::new(b, limits)],
            wires: Default::default(),
            traffic: Traffic::default(),
        }
    }

    /// Lets everything flow until nothing moves or `most` messages were delivered. Answers whether all is quiet.
    fn run(&mut self, replicas: [&mut Replica; 2], most: usize) -> bool {
        let [a, b] = replicas;
        for _ in 0..most {
            let mut moved = false;
            for side in 0..2 {
                let replica: &mut Replica = if side == 0 { a } else { b };
                while let Some(message) = self.sessions[side].poll_send(replica) {
                    let bytes = Bytes::from(message.encode());
                    self.traffic.messages += 1;
                    self.traffic.bytes += bytes.len();
                    if let Message::Changes(packets) = &message {
                        self.traffic.changes += packets.len();
                    }
                    self.wires[1 - side].push_back(bytes);
                }
                if let Some(bytes) = self.wires[side].pop_front() {
                    moved = true;
                    let message = Message::decode(&bytes).expect("our own bytes");
                    deliver(&mut self.sessions[side], replica, message).expect("an honest peer");
                }
            }
            if !moved && self.wires.iter().all(VecDeque::is_empty) {
                return true;
            }
        }
        false
    }
}

/// Gives a message to a session and does what it asks.
pub(crate) fn deliver(session: &mut SyncSession, replica: &mut Replica, message: Message) -> Result<(), PeerFault> {
    for action in session.receive(replica, message)? {
        match action {
            Action::Apply(batch) => {
                replica.apply_batch(batch);
                session.handled();
                session.missing(replica.missing(64));
            }
            Action::Proof(proof) => {
                replica.apply_proof(proof);
            }
        }
    }
    Ok(())
}

pub(crate) fn sync(a: &mut Replica, b: &mut Replica) -> Traffic {
    let mut link = Link::new(a, b, SessionLimits::default());
    assert!(link.run([a, b], 1_000_000), "sync comes to rest");
    link.traffic
}

fn assert_equal(a: &Replica, b: &Replica) {
    assert_eq!((a.len(), a.heads()), (b.len(), b.heads()));
    assert_eq!(a.heads_digest(), b.heads_digest());
    assert_eq!(a.digest(), b.digest());
}

#[test]
fn two_replicas_that_never_met_converge() {
    let ((mut a, ka), (mut b, kb)) = (writer(1), writer(2));
    for i in 0..50 {
        note(&mut a, &ka, &format!("a{i}"));
        note(&mut b, &kb, &format!("b{i}"));
    }
    let traffic = sync(&mut a, &mut b);
    assert_eq!((a.len(), b.len(), traffic.changes), (100, 100, 100), "each change crosses once");
    assert_equal(&a, &b);
    let again = sync(&mut a, &mut b);
    assert_eq!((again.changes, again.messages), (0, 2), "equal digests end it");
}

#[test]
fn cost_follows_the_difference() {
    let ((mut a, ka), (mut b, kb)) = (writer(1), writer(2));
    for i in 0..2_000 {
        note(&mut a, &ka, &format!("a{i}"));
    }
    let full = sync(&mut a, &mut b);
    note(&mut b, &kb, "b");
    sync(&mut a, &mut b);
    for i in 0..10 {
        note(&mut a, &ka, &format!("later {i}"));
    }
    let rest = sync(&mut a, &mut b);
    assert_equal(&a, &b);
    assert_eq!(rest.changes, 10);
    assert!(rest.bytes * 100 < full.bytes * 2, "{rest:?} of {full:?}");
}

#[test]
fn a_cut_connection_resumes_where_it_stopped() {
    let ((mut a, ka), (mut b, _)) = (writer(1), writer(2));
    for i in 0..500 {
        note(&mut a, &ka, &format!("a{i}"));
    }
    let small = SessionLimits { chunk_changes: 10, window_frames: 2, ..SessionLimits::default() };
    let mut sent = 0;
    let mut connections = 0;
    while b.len() < 500 {
        let mut link = Link::new(&a, &b, small);
        link.run([&mut a, &mut b], 12);
        sent += link.traffic.changes;
        connections += 1;
        assert!(connections < 100, "every connection brings something");
    }
    assert!(connections > 3, "the connections were cut");
    assert!(sent <= 500 + connections * 20, "at most a window is sent twice: {sent} in {connections} connections");
    assert_equal(&a, &b);
}

#[test]
fn a_peer_that_does_not_acknowledge_gets_a_window_and_no_more() {
    let ((mut a, ka), (b, _)) = (writer(1), writer(2));
    for i in 0..100 {
        note(&mut a, &ka, &format!("a{i}"));
    }
    let limits = SessionLimits { chunk_changes: 1, window_frames: 5, ..SessionLimits::default() };
    let mut session = SyncSession::new(&a, limits);
    session.receive(&a, Message::Heads { digest: b.heads_digest(), changes: 0 }).unwrap();
    session.receive(&a, Message::Summary { last: true, authors: vec![] }).unwrap();
    let mut frames = 0;
    while let Some(message) = session.poll_send(&a) {
        frames += usize::from(matches!(message, Message::Changes(_)));
    }
    assert_eq!(frames, 5);
    session.receive(&a, Message::Ack(2)).unwrap();
    assert!(session.poll_send(&a).is_some() && session.poll_send(&a).is_some());
    assert!(session.poll_send(&a).is_none());
    assert_eq!(session.receive(&a, Message::Ack(99)).unwrap_err(), PeerFault::Ack { acked: 99, sent: 7 });
}

#[test]
fn live_changes_flow_both_ways_without_echo() {
    let ((mut a, ka), (mut b, kb)) = (writer(1), writer(2));
    let mut link = Link::new(&a, &b, SessionLimits::default());
    assert!(link.run([&mut a, &mut b], 1000));
    for i in 0..20 {
        note(&mut a, &ka, &format!("a{i}"));
        assert!(link.run([&mut a, &mut b], 1000));
        note(&mut b, &kb, &format!("b{i}"));
        assert!(link.run([&mut a, &mut b], 1000));
        assert_equal(&a, &b);
    }
    assert_eq!(link.traffic.changes, 40, "nothing is sent back to where it came from");
}

/// B stands between A, who writes, and C.
#[test]
fn what_nobody_waits_for_may_wait_and_nothing_else() {
    let ((mut a, ka), (mut b, kb), (mut c, _)) = (writer(1), writer(2), writer(3));
    let (mut ab, mut bc) = (Link::new(&a, &b, SessionLimits::default()), Link::new(&b, &c, SessionLimits::default()));
    ab.sessions[1].watch(kb.author());
    bc.sessions[0].watch(kb.author());
    assert!(ab.run([&mut a, &mut b], 1000) && bc.run([&mut b, &mut c], 1000));
    assert!(!ab.sessions[1].may_wait(&b) && !bc.sessions[0].may_wait(&b), "there is nothing to send");
    let mut to_b = |a: &mut Replica, b: &mut Replica| {
        let change = note(a, &ka, "a note");
        let message = ab.sessions[0].poll_send(a).expect("a live change");
        deliver(&mut ab.sessions[1], b, message).unwrap();
        (change, ab.sessions[1].may_wait(b))
    };
    // C may have nobody else.
    let (change, waits) = to_b(&mut a, &mut b);
    assert!(waits, "an acknowledgement of little");
    assert!(!bc.sessions[0].may_wait(&b));
    // It has: it tells B what B has.
    c.apply_batch(vec![Incoming { change, voucher: None }]);
    assert!(bc.run([&mut b, &mut c], 1000));
    to_b(&mut a, &mut b);
    assert!(bc.sessions[0].may_wait(&b));
    // What B writes itself goes out at once, and the rest with it.
    note(&mut b, &kb, "b's own");
    assert!(!bc.sessions[0].may_wait(&b));
    assert!(bc.run([&mut b, &mut c], 1000));
    assert_equal(&b, &c);
    // C tells B nothing more that B has: before long it is taken for one who depends on B.
    let mut waits = 0;
    while {
        to_b(&mut a, &mut b);
        bc.sessions[0].may_wait(&b)
    } {
        waits += 1;
        assert!(bc.run([&mut b, &mut c], 1000));
    }
    assert!((1..100).contains(&waits), "{waits}");
    assert!(ab.run([&mut a, &mut b], 1000));
    // Many small frames, or one that is large, are acknowledged at once.
    for _ in 0..64 {
        note(&mut a, &ka, "one of many");
        let message = ab.sessions[0].poll_send(&a).expect("a live change");
        deliver(&mut ab.sessions[1], &mut b, message).unwrap();
    }
    assert!(!ab.sessions[1].may_wait(&b));
    assert!(ab.run([&mut a, &mut b], 1000));
    note(&mut a, &ka, &"long ".repeat(20_000));
    let message = ab.sessions[0].poll_send(&a).expect("a live change");
    deliver(&mut ab.sessions[1], &mut b, message).unwrap();
    assert!(!ab.sessions[1].may_wait(&b));
}

/// A second device with the same key: what an equivocator does.
fn twin(original: &Replica, keypair: &Keypair) -> Replica {
    Replica::load_archive(&original.save().into(), Limits::default(), Some(keypair.author())).expect("our own archive")
}

#[test]
fn forks_are_found_by_walking_back_and_both_sides_get_both_branches() {
    let ((mut a, ka), (mut b, kb), (mut evil, ke)) = (writer(1), writer(2), writer(3));
    for i in 0..40 {
        note(&mut evil, &ke, &format!("common {i}"));
    }
    let mut other = twin(&evil, &ke);
    for i in 0..30 {
        note(&mut evil, &ke, &format!("to a {i}"));
        note(&mut other, &ke, &format!("to b {i}"));
    }
    sync(&mut evil, &mut a);
    sync(&mut other, &mut b);
    note(&mut a, &ka, "a saw one branch");
    note(&mut b, &kb, "b saw the other");
    for _ in 0..4 {
        sync(&mut a, &mut b);
        for (replica, keypair) in [(&mut a, &ka), (&mut b, &kb)] {
            if replica.needs_acknowledgement() {
                replica.acknowledge(keypair, 0).unwrap();
            }
        }
    }
    sync(&mut a, &mut b);
    assert_equal(&a, &b);
    assert!(a.is_proven(&ke.author()) && b.is_proven(&ke.author()));
    assert!(a.len() >= 102, "both branches are there: {}", a.len());
}

#[test]
fn a_restored_copy_learns_its_own_tip() {
    let ((mut a, ka), (mut hub, _)) = (writer(1), writer(9));
    note(&mut a, &ka, "one");
    let mut old = twin(&a, &ka);
    note(&mut a, &ka, "two");
    sync(&mut a, &mut hub);
    let mut link = Link::new(&old, &hub, SessionLimits::default());
    link.sessions[0].watch(ka.author());
    assert!(!link.sessions[0].watched_tip_learnt(&old));
    assert!(link.run([&mut old, &mut hub], 1000));
    assert!(link.sessions[0].watched_tip_learnt(&old));
    assert_eq!(old.own_tip(&ka.author()).unwrap().seq, 2);
}

#[test]
fn a_summary_that_names_unknown_leaves_of_the_watched_author_blocks() {
    let (a, ka) = writer(1);
    let mut session = SyncSession::new(&a, SessionLimits::default());
    session.watch(ka.author());
    session.receive(&a, Message::Heads { digest: [1; 32], changes: 5 }).unwrap();
    let leaf = Leaf { seq: 5, id: bft_json_crdt::change::ChangeId([3; 32]) };
    let summary = Message::Summary { last: true, authors: vec![(*ka.author().as_bytes(), vec![leaf])] };
    session.receive(&a, summary).unwrap();
    assert!(!session.watched_tip_learnt(&a));
}

#[test]
fn lies_end_the_connection_with_a_reason() {
    let (mut a, ka) = writer(1);
    note(&mut a, &ka, "one");
    let session = || SyncSession::new(&a, SessionLimits::default());
    let reply = Message::ProbeReply(vec![([0; 32], None)]);
    assert_eq!(session().receive(&a, reply).unwrap_err(), PeerFault::ProbeReply);
    let garbage = Packet { change: Bytes::from_static(b"garbage"), voucher: None };
    assert!(matches!(session().receive(&a, Message::Changes(vec![garbage])), Err(PeerFault::Change(_))));
    let evidence = Message::Evidence(Bytes::from_static(&[1, 2, 3]));
    assert!(matches!(session().receive(&a, evidence), Err(PeerFault::Evidence(_))));
    let mut twice = session();
    twice.receive(&a, Message::Summary { last: true, authors: vec![] }).unwrap();
    assert_eq!(twice.receive(&a, Message::Summary { last: true, authors: vec![] }).unwrap_err(), PeerFault::Summary);
}

#[test]
fn a_missing_dependency_is_fetched_by_id() {
    let ((mut a, ka), (mut b, _)) = (writer(1), writer(2));
    note(&mut a, &ka, "one");
    let two = note(&mut a, &ka, "two");
    b.apply(Incoming::from(two));
    assert_eq!(b.len(), 0);
    let mut link = Link::new(&a, &b, SessionLimits::default());
    link.sessions[1].missing(b.missing(10));
    assert!(link.run([&mut a, &mut b], 1000));
    assert_equal(&a, &b);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Members write and meet in any order, connections are cut anywhere; at last everybody is equal.
    #[test]
    fn any_order_of_meetings_converges(steps in prop::collection::vec((0usize..4, 0usize..4, 0usize..40), 1..40)) {
        let mut members: Vec<_> = (1..=4).map(writer).collect();
        let small = SessionLimits { chunk_changes: 3, window_frames: 2, ..SessionLimits::default() };
        for (i, (from, to, amount)) in steps.into_iter().enumerate() {
            if from == to {
                let (replica, keypair) = &mut members[from];
                for n in 0..amount % 5 {
                    note(replica, keypair, &format!("{i}.{n}"));
                }
            } else {
                let [x, y] = members.get_disjoint_mut([from, to]).unwrap();
                Link::new(&x.0, &y.0, small).run([&mut x.0, &mut y.0], amount);
            }
        }
        for round in 0..2 {
            for other in 1..4 {
                let [x, y] = members.get_disjoint_mut([0, other]).unwrap();
                sync(&mut x.0, &mut y.0);
                if round == 1 {
                    assert_equal(&x.0, &y.0);
                }
            }
        }
    }
}
