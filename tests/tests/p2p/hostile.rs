//! Peers that lie, withhold, or say what no peer says, beside an honest one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bft_json_crdt::identity::Keypair;
use bytes::Bytes;
use side_node::net::p2p::{GroupPeers, P2p, P2pConfig};
use side_node::net::{Event, Outlet, Stream};
use side_tests::mesh::{Island, direct_links};
use side_tests::process::eventually;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// A node of the attacker's: its key is proven, and what it says is its own affair.
struct Attacker {
    runtime: Runtime,
    key: String,
    p2p: P2p,
    peers: GroupPeers,
    events: mpsc::Receiver<Event>,
    _storage: tempfile::TempDir,
}

impl Attacker {
    fn start(seed: u8, group: side_ledger::GroupId) -> Self {
        let keypair = Keypair::from_seed(&[seed; 32]);
        let key = keypair.author().to_string();
        let storage = tempfile::tempdir().expect("a temporary folder");
        let (p2p, _) = P2p::start(P2pConfig::local(keypair, 0, storage.path().join("c"))).expect("a port");
        let (sender, events) = mpsc::channel(1024);
        let peers = p2p.open(group, sender);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, key, p2p, peers, events, _storage: storage }
    }

    fn address(&self) -> String {
        format!("{}@{}", self.key, self.p2p.address())
    }

    /// The way out of the next link.
    fn link(&mut self) -> Arc<dyn Outlet> {
        let events = &mut self.events;
        self.runtime.block_on(async {
            loop {
                match events.recv().await.expect("the network runs") {
                    Event::Up { outlet, .. } => return outlet,
                    _ => continue,
                }
            }
        })
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.runtime.block_on(self.p2p.stop());
    }
}

/// Two honest nodes and an attacker that both have among their configured peers.
fn stage(seed: u8) -> ([Island; 2], Attacker) {
    let first = Island::init("node1", None);
    let invitation = first.home.ok(&["invite", "node1"]);
    let second = Island::init("node2", Some(invitation.trim()));
    let attacker = Attacker::start(seed, first.home.genesis("node1").id());
    let members = [&first, &second].map(|node| (node.key.parse_key(), vec![node.at.into()]));
    attacker.peers.set_peers(members.to_vec());
    let mut nodes = [first, second];
    let addresses = nodes.each_ref().map(|node| format!("{}@{}", node.key, node.at));
    for at in 0..2 {
        // The attacker stands first.
        nodes[at].configure(&[attacker.address(), addresses[1 - at].clone()]);
        nodes[at].run();
    }
    (nodes, attacker)
}

trait ParseKey {
    fn parse_key(&self) -> bft_json_crdt::identity::AuthorId;
}

impl ParseKey for String {
    fn parse_key(&self) -> bft_json_crdt::identity::AuthorId {
        bft_json_crdt::identity::AuthorId::from_hex(self).expect("a key")
    }
}

fn talk(nodes: &mut [Island; 2], word: &str) {
    for node in nodes.iter_mut() {
        let line = format!("{word} from {}", node.name);
        node.say(&line);
    }
    let expected = [format!("{word} from node1"), format!("{word} from node2")];
    eventually(&format!("both have {word}"), || {
        let histories = nodes.each_ref().map(|node| node.home.history(&node.name));
        let complete = histories.iter().all(|it| expected.iter().all(|note| it.notes().contains(&note.as_str())));
        (complete && histories[0].digest() == histories[1].digest()).then_some(())
    });
}

#[test]
fn a_peer_that_withholds_everything_keeps_nothing_from_anybody() {
    let (mut nodes, mut attacker) = stage(101);
    // It takes the link and says nothing, reads nothing.
    let _links = [attacker.link(), attacker.link()];
    talk(&mut nodes, "beside a silent peer");
    for node in &nodes {
        assert_eq!(direct_links(&node.status()), 2);
    }
}

#[test]
fn a_peer_that_lies_is_disconnected_with_the_reason_kept_and_digests_agree() {
    let (mut nodes, mut attacker) = stage(102);
    let links = [attacker.link(), attacker.link()];
    talk(&mut nodes, "before");
    for (stream, lie) in [(Stream::Sync, vec![0xff; 1000]), (Stream::Seal, vec![0xff; 1000])] {
        let _ = links[0].try_send(stream, Bytes::from(lie.clone()));
        let _ = links[1].try_send(stream, Bytes::from(lie));
    }
    for node in &nodes {
        let shown = eventually("the reason is shown", || {
            let status = node.status();
            let peers = status["peers"].as_array()?.clone();
            peers.into_iter().find(|peer| {
                peer["key"] == attacker.key.as_str()
                    && peer["problem"].as_str().is_some_and(|it| it.contains("malformed"))
            })
        });
        assert_eq!(shown["transport"], "direct", "{shown}");
    }
    talk(&mut nodes, "after");
}

#[test]
fn garbage_silence_and_floods_at_the_port_harm_nobody() {
    let (mut nodes, _attacker) = stage(103);
    talk(&mut nodes, "before");
    let at: SocketAddr = nodes[0].at;
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(at).expect("it listens");
        // It may be closed already.
        let _ = stream.write_all(bytes);
        stream
    };
    let mut open = Vec::new();
    for _ in 0..50 {
        open.push(connect(b""));
        open.push(connect(b"GET / HTTP/1.1\r\n\r\n"));
        open.push(connect(b"SJ\x01 and then anything at all, longer than a newcomer's first words are, so that it is read to its end....................."));
        open.push(connect(&[&[32][..], &[7; 5000]].concat()));
        open.push(connect(&vec![0xff; 100_000]));
    }
    talk(&mut nodes, "during");
    drop(open);
    talk(&mut nodes, "after");
    for node in &mut nodes {
        let process = node.process.as_mut().expect("it runs");
        assert!(process.runs() && !process.stderr().contains("panicked"), "{}", process.report());
    }
}
