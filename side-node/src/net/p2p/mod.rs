//! Direct connections between members: found, encrypted and authenticated by the node's own key, with a link for each group that both are in.
//!
//! ```text
//!  member ── Outlet ─▶ outbox ─▶ links ─▶ commonware: one channel ─▶ gate ─▶ a peer
//!     ▲                           │  ▲
//!     └──── Event ◀── forwarder ◀─┘  └─ book: who may connect, and where they are ◀─ groups, registry, configuration
//!  consensus ────────── lanes ───────▶ commonware: three channels
//!                        door: one port, for peers and for newcomers
//! ```
//! - `frame`, `link`, `links`: the bytes and the rules of links, without a socket or a clock; `outbox` is what they share with members
//! - `book`: who may connect; `dials`: when an address is tried again
//! - `thread`: the network thread, commonware's runtime; `gate` and `door` are its connections, `lanes` what consensus uses
//!
//! Commonware may drop a message: its mailboxes are bounded and its rates limited. Links number their frames, keep few under way, and begin anew where one
//! is lost. It admits tracked keys only; newcomers come in by the same port (`net::join`).

mod book;
mod dials;
mod door;
mod frame;
mod gate;
mod keys;
mod lanes;
mod link;
mod links;
#[cfg(test)]
mod links_tests;
mod outbox;
mod record;

#[cfg(test)]
mod tests;
mod thread;
mod whereabouts;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::GroupId;
use side_ledger::address::{HostPort, NodeAddress};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use book::LocalPeer;
pub use door::{Turned, TurnedAway};
pub use lanes::{Engine, EngineError, EngineHandle, Lane, LaneSender, PeerBlocker, lane};
pub use links::LinkStatus;
pub use record::{Record, RecordError};
pub use thread::Status;
pub use whereabouts::Whereabouts;

use crate::net::{Attempt, Event, Transport};
use thread::{Command, Shared, Start};

/// How to run the direct connections of a node.
pub struct P2pConfig {
    /// The node's key.
    pub keypair: Keypair,
    /// Where to listen; port 0 for one that the system chooses.
    pub listen: SocketAddr,
    /// A folder for what consensus keeps on disk.
    pub storage: PathBuf,
}

impl P2pConfig {
    /// Listens on the loopback interface only.
    pub fn local(keypair: Keypair, port: u16, storage: PathBuf) -> Self {
        Self { keypair, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), storage }
    }
}

/// The direct connections of a node, for all its groups. Cheap to clone; [`P2p::stop`] ends them for all clones.
#[derive(Clone)]
pub struct P2p {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
    ending: Arc<Mutex<Ending>>,
    stopped: CancellationToken,
    storage: Arc<Path>,
}

struct Ending {
    thread: Option<std::thread::JoinHandle<()>>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Whoever forgets to stop the network ends it nevertheless, a moment later.
        let _ = self.commands.send(Command::Stop);
    }
}

/// Connections of newcomers, which `net::join` serves.
pub type Newcomers = mpsc::Receiver<(SocketAddr, TcpStream)>;

impl P2p {
    /// Binds the port and starts the network thread.
    pub fn start(config: P2pConfig) -> io::Result<(Self, Newcomers)> {
        let P2pConfig { keypair, listen, storage } = config;
        let (door, newcomers) = door::Door::bind(listen)?;
        let mut first_number = [0; 8];
        getrandom::fill(&mut first_number).map_err(|error| io::Error::other(error.to_string()))?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let stopped = CancellationToken::new();
        let shared = Shared::new(Arc::new(door));
        let thread = thread::start(Start {
            keypair,
            storage: storage.clone(),
            first_number: u64::from_be_bytes(first_number),
            shared: shared.clone(),
            commands: receiver,
            own_commands: commands.clone(),
            stopped: stopped.clone().drop_guard(),
        })?;
        let ending = Arc::new(Mutex::new(Ending { thread: Some(thread), commands: commands.clone() }));
        Ok((Self { commands, shared, ending, stopped, storage: storage.into() }, newcomers))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.door.address()
    }

    /// The folder for what consensus keeps on disk.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// Takes up a group. What happens goes to `events`, until the handle is dropped.
    pub fn open(&self, group: GroupId, events: mpsc::Sender<Event>) -> GroupPeers {
        self.shared.note_opened(group);
        let _ = self.commands.send(Command::Open { group, events });
        GroupPeers { group, commands: self.commands.clone(), shared: self.shared.clone() }
    }

    /// The nodes of this root.
    pub fn set_local(&self, local: Vec<LocalPeer>) {
        let _ = self.commands.send(Command::Local(local));
    }

    /// Peers that the configuration names: they are peers in all groups.
    pub fn set_fixed(&self, peers: Vec<NodeAddress>) {
        let _ = self.commands.send(Command::Fixed(peers));
    }

    /// Who serves newcomers counts here whom it turns away.
    pub fn turned(&self) -> Arc<Turned> {
        self.shared.door.turned().clone()
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Runs an engine of consensus on the network thread's runtime, until it ends or the handle is dropped. `lane` is one of [`lane`]; what the engine
    /// sends to all goes to `participants`.
    pub fn run_engine<F, Fut>(&self, lane: u64, participants: Vec<AuthorId>, run: F) -> EngineHandle
    where
        F: FnOnce(Result<Engine, EngineError>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let _ = self.commands.send(Command::Engine {
            lane,
            participants,
            stop: stop.clone(),
            run: Box::new(move |engine| Box::pin(run(engine))),
        });
        EngineHandle::new(stop)
    }

    /// Sends bytes as if they were a link's frame.
    #[cfg(test)]
    fn send_raw(&self, key: AuthorId, bytes: Vec<u8>) {
        let _ = self.commands.send(Command::Raw { key, bytes });
    }

    /// Resolves when the network thread has ended, which it does by itself only if it must.
    pub async fn failed(&self) {
        self.stopped.cancelled().await;
    }

    /// Ends all connections; the port is free when this returns.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
        let thread = self.ending.lock().unwrap_or_else(PoisonError::into_inner).thread.take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The direct connections of one group; dropping it gives the group up.
pub struct GroupPeers {
    group: GroupId,
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl GroupPeers {
    /// Who is in the group, and where they say they are, best first. Replaces what was said before.
    pub fn set_peers(&self, members: Vec<(AuthorId, Vec<HostPort>)>) {
        let _ = self.commands.send(Command::Members { group: self.group, members });
    }

    /// Connections that were turned away at the node's door.
    pub fn turned_away(&self) -> TurnedAway {
        self.shared.door.turned().count()
    }
}

impl Transport for GroupPeers {
    fn is_trying(&self) -> bool {
        self.shared.is_trying(&self.group)
    }

    fn attempts(&self) -> Vec<Attempt> {
        self.shared.attempts(&self.group)
    }
}

impl Drop for GroupPeers {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Shut { group: self.group });
    }
}
