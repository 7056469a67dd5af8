//! Nodes without a relay: in one root, where they find each other by themselves, or each in a root of its own, with a line for each pair that can be cut.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::process::{Process, eventually};
use crate::wire::Wire;
use crate::world::Home;

/// A relay's address at which nobody is.
pub fn nowhere() -> String {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    format!("ws://{gone}")
}

/// A root whose nodes have no relay, as a person's without flags and variables.
pub fn lonely() -> Home {
    Home::new(&nowhere())
}

/// A port that the system gives to nobody else while this is held, but at which a program of the test's can listen: as long as nobody does, a bound socket and a
/// listener may have one address if both say that it may be used again, as listeners do.
fn held_port() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).and_then(|()| socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("a port");
    (socket.local_addr().expect("an address"), socket)
}

/// A node in a root of its own.
pub struct Island {
    /// Its root.
    pub home: Home,
    /// Its name, there.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Where it listens.
    pub at: SocketAddr,
    /// It, running.
    pub process: Option<Process>,
    /// Keeps the port for it, also while it is off.
    _held: TcpSocket,
}

impl Island {
    /// `init`, by an invitation or founding a group, with a port of its own in its configuration.
    pub fn init(name: &str, invitation: Option<&str>) -> Self {
        let home = lonely();
        match invitation {
            Some(invitation) => {
                home.ok(&["init", name, "--join", invitation]);
            }
            None => home.init(name),
        }
        let key = home.status(name)["key"].as_str().expect("a key").to_owned();
        let (at, held) = held_port();
        let island = Self { home, name: name.to_owned(), key, at, process: None, _held: held };
        island.configure(&[]);
        island
    }

    /// Writes its configuration: where it listens, and its peers as `KEY@HOST:PORT`. What it announces is an address at which nobody is, so that others reach
    /// it by what they are told and by nothing else.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn configure(&self, peers: &[String]) {
        let peers: Vec<String> = peers.iter().map(|peer| format!("{peer:?}")).collect();
        let text = format!("listen = \"{}\"\nannounce = [\"127.0.0.1:1\"]\npeers = [{}]\n", self.at, peers.join(", "));
        fs::write(self.home.node(&self.name).join("config.toml"), text).expect("the configuration is written");
    }

    /// Runs it.
    pub fn run(&mut self) {
        self.process = Some(self.home.run(&self.name));
    }

    /// Types a line.
    ///
    /// # Panics
    /// If it does not run.
    pub fn say(&mut self, line: &str) {
        let process = self.process.as_mut().expect("it runs");
        assert!(process.type_line(line), "{}", process.report());
    }

    /// Its status.
    pub fn status(&self) -> Value {
        self.home.status(&self.name)
    }
}

/// Nodes of one group, each in a root of its own, and a line for each pair.
pub struct Mesh {
    /// The nodes; the first has founded the group.
    pub nodes: Vec<Island>,
    /// By pair, the lower number first: how the lower one reaches the other, and how the other reaches it.
    wires: Vec<((usize, usize), [Wire; 2])>,
}

impl Mesh {
    /// `count` nodes, running, each connected to all others over lines that can be cut.
    pub fn start(count: usize) -> Self {
        let mut nodes = vec![Island::init("node1", None)];
        let invitation = nodes[0].home.ok(&["invite", "node1"]);
        for number in 2..=count {
            nodes.push(Island::init(&format!("node{number}"), Some(&without_nodes(invitation.trim()))));
        }
        let mut wires = Vec::new();
        let mut peers: Vec<Vec<String>> = vec![Vec::new(); count];
        for a in 0..count {
            for b in a + 1..count {
                let there = Wire::to(nodes[b].at);
                let back = Wire::to(nodes[a].at);
                peers[a].push(format!("{}@{}", nodes[b].key, there.address()));
                peers[b].push(format!("{}@{}", nodes[a].key, back.address()));
                wires.push(((a, b), [there, back]));
            }
        }
        for (node, peers) in nodes.iter_mut().zip(&peers) {
            node.configure(peers);
            node.run();
        }
        let mesh = Self { nodes, wires };
        mesh.until_linked(count - 1);
        mesh
    }

    /// Waits until each running node has at least so many links.
    pub fn until_linked(&self, count: usize) {
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            eventually(&format!("{} has {count} links: {}", node.name, node.status()["peers"]), || {
                (direct_links(&node.status()) >= count).then_some(())
            });
        }
    }

    fn between(&self, side: &[usize]) -> impl Iterator<Item = &Wire> {
        let crosses = |pair: &(usize, usize)| side.contains(&pair.0) != side.contains(&pair.1);
        self.wires.iter().filter(move |(pair, _)| crosses(pair)).flat_map(|(_, wires)| wires)
    }

    /// Cuts the nodes of `side` off from the others.
    pub fn cut(&self, side: &[usize]) {
        self.between(side).for_each(Wire::cut);
    }

    /// Mends what [`Self::cut`] has cut.
    pub fn heal(&self, side: &[usize]) {
        self.between(side).for_each(Wire::heal);
    }

    /// Waits until these nodes hold all of `notes` and show the same.
    pub fn converge(&self, nodes: &[usize], notes: &[&str]) -> String {
        eventually(&format!("{nodes:?} agree on {notes:?}"), || {
            let histories: Vec<_> =
                nodes.iter().map(|at| self.nodes[*at].home.history(&self.nodes[*at].name)).collect();
            let complete = histories.iter().all(|it| notes.iter().all(|note| it.notes().contains(note)));
            let same = histories.iter().all(|it| it.digest() == histories[0].digest());
            (complete && same).then(|| histories[0].digest().to_owned())
        })
    }
}

/// How many direct links a status shows.
pub fn direct_links(status: &Value) -> usize {
    let peers = status["peers"].as_array().map_or(&[][..], Vec::as_slice);
    peers.iter().filter(|peer| peer["transport"] == "direct" && peer["connected"] == true).count()
}

/// An invitation without the addresses of nodes, so that whoever has it is told of lines only.
fn without_nodes(invitation: &str) -> String {
    let invitation: side_ledger::Invitation = invitation.parse().expect("an invitation");
    let relays = invitation.relays().map(str::to_owned).collect();
    side_ledger::Invitation::new(invitation.genesis().clone(), relays).expect("an invitation").to_string()
}
