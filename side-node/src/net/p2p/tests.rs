//! Real connections on loopback: nodes find each other, hostile connections harm nobody, consensus has its lanes, the port is free afterwards.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use commonware_p2p::{Blocker as _, Receiver as _, Recipients, Sender as _};
use commonware_runtime::{Clock as _, IoBuf};
use side_ledger::GroupId;
use side_ledger::address::{HostPort, NodeAddress};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{GroupPeers, LocalPeer, P2p, P2pConfig, lane};
use crate::net::{Event, LinkId, Outlet, Stream, Transport as _};

const GROUP: GroupId = GroupId([7; 32]);
const OTHER: GroupId = GroupId([8; 32]);
/// Longer than anything here takes on a busy machine; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(60);

struct Member {
    peers: GroupPeers,
    events: mpsc::Receiver<Event>,
    links: HashMap<LinkId, (AuthorId, Arc<dyn Outlet>)>,
    messages: Vec<(AuthorId, Stream, Bytes)>,
    downs: Vec<String>,
}

impl Member {
    fn open(p2p: &P2p, group: GroupId) -> Self {
        let (sender, events) = mpsc::channel(64);
        Self { peers: p2p.open(group, sender), events, links: HashMap::new(), messages: Vec::new(), downs: Vec::new() }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Up { link, peer, outlet } => {
                assert_eq!(peer.transport, "direct");
                self.links.insert(link, (peer.key, outlet));
            }
            Event::Message { link, stream, message } => {
                self.messages.push((self.links[&link].0, stream, message));
            }
            Event::Down { link, reason } => {
                self.links.remove(&link).expect("a link that was up");
                self.downs.push(reason);
            }
            Event::Room { .. } | Event::Notice(_) => {}
        }
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(self) {
            match tokio::time::timeout_at(deadline.into(), self.events.recv()).await {
                Ok(Some(event)) => self.take(event),
                Ok(None) => panic!("the events ended before: {what}"),
                Err(_) => panic!("not in time: {what}"),
            }
        }
    }

    async fn until_up(&mut self, count: usize) {
        self.until("links", |member| member.links.len() == count).await;
    }

    fn send(&self, to: &AuthorId, message: &'static str) {
        let outlet = &self.links.values().find(|(key, _)| key == to).expect("a link").1;
        outlet.try_send(Stream::Sync, Bytes::from_static(message.as_bytes())).unwrap();
    }
}

struct Node {
    key: AuthorId,
    p2p: P2p,
    storage: TempDir,
    _newcomers: super::Newcomers,
}

impl Node {
    fn start(number: u8) -> Self {
        Self::start_at(number, 0, tempfile::tempdir().unwrap())
    }

    fn start_at(number: u8, port: u16, storage: TempDir) -> Self {
        let keypair = Keypair::from_seed(&[number; 32]);
        let key = keypair.author();
        let (p2p, newcomers) = P2p::start(P2pConfig::local(keypair, port, storage.path().join("consensus"))).unwrap();
        Self { key, p2p, storage, _newcomers: newcomers }
    }

    fn at(&self) -> HostPort {
        self.p2p.address().into()
    }

    fn peer(&self) -> (AuthorId, Vec<HostPort>) {
        (self.key, vec![self.at()])
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn members_connect_and_talk_in_each_group_apart() {
    runtime().block_on(async {
        let nodes = [1, 2, 3].map(Node::start);
        let mut members: Vec<Member> = nodes.iter().map(|node| Member::open(&node.p2p, GROUP)).collect();
        // Two of them share another group.
        let mut others: Vec<Member> = nodes[..2].iter().map(|node| Member::open(&node.p2p, OTHER)).collect();
        for member in &members {
            member.peers.set_peers(nodes.iter().map(Node::peer).collect());
        }
        for member in &others {
            member.peers.set_peers(nodes[..2].iter().map(Node::peer).collect());
        }
        for member in &mut members {
            member.until_up(2).await;
        }
        for member in &mut others {
            member.until_up(1).await;
        }
        members[0].send(&nodes[1].key, "to the first group");
        others[0].send(&nodes[1].key, "to the other");
        members[1].until("a message", |member| !member.messages.is_empty()).await;
        others[1].until("a message", |member| !member.messages.is_empty()).await;
        assert_eq!(members[1].messages, [(nodes[0].key, Stream::Sync, Bytes::from_static(b"to the first group"))]);
        assert_eq!(others[1].messages, [(nodes[0].key, Stream::Sync, Bytes::from_static(b"to the other"))]);
        // A group that is given up takes its links down on the other side, and no others.
        drop(others.remove(0));
        others[0].until("the end", |member| member.links.is_empty()).await;
        assert_eq!(members[1].links.len(), 2);
        for node in &nodes {
            node.p2p.stop().await;
        }
    });
}

#[test]
fn one_address_is_enough_for_two() {
    runtime().block_on(async {
        let [a, b] = [1, 2].map(Node::start);
        let mut member_a = Member::open(&a.p2p, GROUP);
        let mut member_b = Member::open(&b.p2p, GROUP);
        // A knows that B is a member and not where it is; B has A in its configuration.
        member_a.peers.set_peers(vec![(b.key, vec![])]);
        b.p2p.set_fixed(vec![NodeAddress { key: a.key, at: a.at() }]);
        member_a.until_up(1).await;
        member_b.until_up(1).await;
        // Now A learns an address of B: the connection stays.
        member_a.peers.set_peers(vec![b.peer()]);
        member_a.send(&b.key, "still there");
        member_b.until("a message", |member| !member.messages.is_empty()).await;
        assert!(member_a.downs.is_empty());
        a.p2p.stop().await;
        b.p2p.stop().await;
    });
}

#[test]
fn a_peer_is_found_at_its_second_address_and_who_is_away_is_told() {
    runtime().block_on(async {
        let [a, b] = [1, 2].map(Node::start);
        // Bound, and taking nothing.
        let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let away = Keypair::from_seed(&[9; 32]).author();
        let mut member_a = Member::open(&a.p2p, GROUP);
        let member_b = Member::open(&b.p2p, GROUP);
        member_b.peers.set_peers(vec![(a.key, vec![])]);
        assert!(member_a.peers.is_trying(), "the nodes of this root may be there");
        a.p2p.set_local(Vec::new());
        member_a.peers.set_peers(vec![(b.key, vec![closed.into(), b.at()]), (away, vec![closed.into()])]);
        member_a.until_up(1).await;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let attempts = member_a.peers.attempts();
            if attempts.len() == 1 && attempts[0].problem.is_some() {
                assert_eq!(attempts[0].key, Some(away.to_string()));
                assert_eq!(attempts[0].address, closed.to_string());
                assert!(attempts[0].problem.as_ref().unwrap().contains("refused"), "{attempts:?}");
                break;
            }
            assert!(Instant::now() < deadline, "{attempts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!member_a.peers.is_trying());
        a.p2p.stop().await;
        b.p2p.stop().await;
    });
}

/// Takes connections and counts them: passes them on, or ends them at once.
async fn counting(to: Option<SocketAddr>) -> (SocketAddr, watch::Receiver<usize>) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            count.send_modify(|count| *count += 1);
            if let Some(to) = to {
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                    // Either side may go at any time.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }
    });
    (at, counted)
}

/// Attempts to reach somebody do not keep out whoever comes. Commonware takes no connection of a peer for its pause after an attempt, and it attempts all the time.
#[test]
fn whoever_comes_back_is_let_in_while_it_is_tried_in_vain() {
    const TIMES: usize = 12;
    runtime().block_on(async {
        let a = Node::start(1);
        let key = Keypair::from_seed(&[2; 32]).author();
        let mut member_a = Member::open(&a.p2p, GROUP);
        a.p2p.set_local(Vec::new());
        let (elsewhere, mut in_vain) = counting(None).await;
        member_a.peers.set_peers(vec![(key, vec![elsewhere.into()])]);
        let (at, came) = counting(Some(a.p2p.address())).await;
        let mut at_once = 0;
        for _ in 0..TIMES {
            // It comes right after an attempt.
            in_vain.mark_unchanged();
            timeout(DEADLINE, in_vain.changed()).await.expect("an attempt in time").unwrap();
            let before = *came.borrow();
            let b = Node::start(2);
            let mut member_b = Member::open(&b.p2p, GROUP);
            b.p2p.set_local(Vec::new());
            member_b.peers.set_peers(vec![(a.key, vec![at.into()])]);
            member_a.until_up(1).await;
            member_b.until_up(1).await;
            at_once += usize::from(*came.borrow() == before + 1);
            b.p2p.stop().await;
            member_a.until_up(0).await;
        }
        // Another attempt may fall into the very moment.
        assert!(at_once >= TIMES * 3 / 4, "{at_once} of {TIMES} times");
        a.p2p.stop().await;
    });
}

#[test]
fn a_node_that_comes_back_gets_a_new_link_and_its_port_is_free() {
    runtime().block_on(async {
        let [a, b] = [1, 2].map(Node::start);
        let mut member_a = Member::open(&a.p2p, GROUP);
        member_a.peers.set_peers(vec![b.peer()]);
        let local = LocalPeer { key: a.key, groups: vec![GROUP], at: a.at() };
        b.p2p.set_local(vec![local.clone()]);
        let member_b = Member::open(&b.p2p, GROUP);
        member_a.until_up(1).await;
        let first = *member_a.links.keys().next().unwrap();
        let port = b.p2p.address().port();
        drop(member_b);
        b.p2p.stop().await;
        drop(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free"));
        member_a.until("the end", |member| member.links.is_empty()).await;
        let again = Node::start_at(2, port, b.storage);
        again.p2p.set_local(vec![local]);
        let mut member_b = Member::open(&again.p2p, GROUP);
        member_a.until_up(1).await;
        member_b.until_up(1).await;
        assert_ne!(*member_a.links.keys().next().unwrap(), first);
        a.p2p.stop().await;
        again.p2p.stop().await;
    });
}

#[test]
fn strangers_do_not_get_in() {
    runtime().block_on(async {
        let [a, b, stranger] = [1, 2, 3].map(Node::start);
        let mut member_a = Member::open(&a.p2p, GROUP);
        let mut member_b = Member::open(&b.p2p, GROUP);
        let stranger_member = Member::open(&stranger.p2p, GROUP);
        stranger_member.peers.set_peers(vec![a.peer(), b.peer()]);
        member_a.peers.set_peers(vec![b.peer()]);
        member_b.peers.set_peers(vec![a.peer()]);
        member_a.until_up(1).await;
        member_b.until_up(1).await;
        // The stranger has been at the doors.
        let deadline = Instant::now() + DEADLINE;
        while stranger_member.peers.attempts().iter().filter(|attempt| attempt.problem.is_some()).count() < 2 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        member_a.send(&b.key, "done");
        member_b.until("a message", |member| !member.messages.is_empty()).await;
        assert_eq!(member_a.links.len() + member_b.links.len(), 2);
        // Not even when a member knows it from another group.
        let _other = Member::open(&a.p2p, OTHER);
        for node in [a, b, stranger] {
            node.p2p.stop().await;
        }
    });
}

/// Connections that say nothing, say anything, or claim to be somebody, more than the door takes; then an honest peer comes.
#[test]
fn hostile_connections_harm_nobody() {
    runtime().block_on(async {
        let [a, b, c] = [1, 2, 3].map(Node::start);
        let mut member_a = Member::open(&a.p2p, GROUP);
        let mut member_b = Member::open(&b.p2p, GROUP);
        let peers = || vec![a.peer(), b.peer(), (c.key, vec![])];
        member_a.peers.set_peers(peers());
        member_b.peers.set_peers(peers());
        member_a.until_up(1).await;
        member_b.until_up(1).await;
        let connect = |bytes: &[u8]| {
            let mut stream = std::net::TcpStream::connect(a.p2p.address()).unwrap();
            // The door may have closed it already.
            let _ = stream.write_all(bytes);
            stream
        };
        let mut open = Vec::new();
        for _ in 0..60 {
            open.push(connect(b""));
            open.push(connect(b"GET / HTTP/1.1\r\n\r\n"));
            // A claim without a proof, and one of nobody.
            open.push(connect(&[&[32][..], b.key.as_bytes()].concat()));
            open.push(connect(&[&[32][..], &[0xff; 32]].concat()));
            open.push(connect(&[&[32][..], &vec![0xaa; 100_000]].concat()));
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            let turned = a.p2p.status().turned_away;
            if turned.silent > 0 && turned.garbage > 0 && turned.crowded > 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{turned:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The link that stood has not noticed, and another comes up.
        member_a.send(&b.key, "still there");
        member_b.until("a message", |member| !member.messages.is_empty()).await;
        let member_c = Member::open(&c.p2p, GROUP);
        member_c.peers.set_peers(vec![a.peer()]);
        member_a.until_up(2).await;
        assert!(member_a.downs.is_empty());
        drop(open);
        for node in [a, b, c] {
            node.p2p.stop().await;
        }
    });
}

/// A member that sends what no link carries is disconnected, the reason is kept, and the others are not disturbed.
#[test]
fn a_member_that_breaks_a_rule_of_the_links_is_shut_out_with_the_reason_kept() {
    runtime().block_on(async {
        let [a, b, liar] = [1, 2, 3].map(Node::start);
        let mut member_a = Member::open(&a.p2p, GROUP);
        let mut member_b = Member::open(&b.p2p, GROUP);
        let mut member_liar = Member::open(&liar.p2p, GROUP);
        let peers = || vec![a.peer(), b.peer(), liar.peer()];
        for member in [&member_a, &member_b, &member_liar] {
            member.peers.set_peers(peers());
        }
        for member in [&mut member_a, &mut member_b, &mut member_liar] {
            member.until_up(2).await;
        }
        liar.p2p.send_raw(a.key, vec![1, 2, 3]);
        member_a.until("the end", |member| member.links.len() == 1).await;
        assert!(member_a.downs[0].contains("malformed"), "{:?}", member_a.downs);
        let faults = a.p2p.status().faults;
        assert!(faults.len() == 1 && faults[0].0 == liar.key && faults[0].1.contains("malformed"), "{faults:?}");
        member_liar.until("the end", |member| member.links.len() == 1).await;
        // Larger than a channel takes: the connection layer ends it.
        liar.p2p.send_raw(b.key, vec![0; super::frame::MAX_FRAME + 1]);
        member_b.until("the end", |member| member.links.len() == 1).await;
        assert!(member_b.downs[0].contains("larger than any"), "{:?}", member_b.downs);
        member_a.send(&b.key, "still there");
        member_b.until("a message", |member| !member.messages.is_empty()).await;
        for node in [a, b, liar] {
            node.p2p.stop().await;
        }
    });
}

#[test]
fn consensus_has_lanes_of_its_own() {
    runtime().block_on(async {
        let nodes = [1, 2, 3].map(Node::start);
        let mut members: Vec<Member> = nodes.iter().map(|node| Member::open(&node.p2p, GROUP)).collect();
        for member in &members {
            member.peers.set_peers(nodes.iter().map(Node::peer).collect());
        }
        for member in &mut members {
            member.until_up(2).await;
        }
        let number = lane(&GROUP, b"epoch 1");
        assert_ne!(number, lane(&GROUP, b"epoch 2"));
        assert_ne!(number, lane(&OTHER, b"epoch 1"));
        // The third node is no participant: what is sent to all does not reach it.
        let participants: Vec<AuthorId> = nodes[..2].iter().map(|node| node.key).collect();
        let (told, mut heard) = mpsc::unbounded_channel();
        let mut handles = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let told = told.clone();
            handles.push(node.p2p.run_engine(number, participants.clone(), move |engine| async move {
                let mut engine = engine.unwrap();
                loop {
                    if at == 0 {
                        engine.votes.0.send(Recipients::All, IoBuf::from(b"a vote"), true);
                        engine.context.sleep(Duration::from_millis(20)).await;
                    } else {
                        let Ok((_, message)) = engine.votes.1.recv().await else { return };
                        let _ = told.send((at, message.as_ref().to_vec()));
                    }
                }
            }));
        }
        for _ in 0..20 {
            let (at, message) = tokio::time::timeout(DEADLINE, heard.recv()).await.unwrap().unwrap();
            assert_eq!((at, &message[..]), (1, &b"a vote"[..]));
        }
        // The lane is taken; when its engine has ended it is free, and whoever is blocked there is disconnected.
        let (told, mut result) = mpsc::unbounded_channel();
        let second = nodes[1].p2p.run_engine(number, vec![], move |engine| async move {
            let _ = told.send(engine.err());
        });
        assert_eq!(result.recv().await.unwrap(), Some(super::EngineError::Running));
        drop(second);
        drop(handles);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (told, mut result) = mpsc::unbounded_channel();
            let liar = super::keys::public(&nodes[0].key).unwrap();
            let _engine = nodes[1].p2p.run_engine(number, vec![], move |engine| async move {
                if let Ok(engine) = &engine {
                    let _ = engine.blocker.clone().block(liar);
                }
                let _ = told.send(engine.is_ok());
            });
            if result.recv().await.unwrap() {
                break;
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        members[1].until("the end", |member| member.links.len() == 1).await;
        assert!(nodes[1].p2p.status().faults[0].1.contains("consensus"));
        for node in &nodes {
            node.p2p.stop().await;
        }
    });
}

#[test]
fn a_taken_port_is_an_error_and_not_a_panic() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let storage = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = P2pConfig::local(Keypair::from_seed(&[1; 32]), port, storage.path().to_owned());
    let error = P2p::start(config).err().expect("an error");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let _: SocketAddr = taken.local_addr().unwrap();
}
