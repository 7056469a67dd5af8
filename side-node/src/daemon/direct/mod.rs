//! The direct connections of a running node: the network thread, the nodes of this root, newcomers at the door, and for each group who its members are and
//! where.
//!
//! - [`port`]: where this node listens, and where others reach it
//! - [`local`]: the other nodes of this root, as the registry has them from moment to moment
//! - [`door`]: who is let in
//! - [`way`]: one group's part, which its task holds
//! - [`keep`]: addresses on disk, for the next run

mod door;
mod keep;
mod local;
pub(crate) mod port;
mod way;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bft_json_crdt::identity::Keypair;
use side_ledger::address::HostPort;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::door::Doorkeeper;
pub(super) use self::way::DirectWay;
use super::invited::Invited;
use super::membership::Membership;
use crate::config::ConfigFile;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::net::p2p::P2p;
use crate::net::{Event, join};

/// How often the registry is looked at. Nodes that are made while this one runs are found within that time and a moment.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The direct connections of a running node.
pub(super) struct Direct {
    p2p: P2p,
    keypair: Keypair,
    home: NodeHome,
    /// Where others reach this node.
    own: Vec<HostPort>,
    doorkeeper: Arc<Doorkeeper>,
    tasks: Vec<JoinHandle<()>>,
    /// What people should know about how it was started.
    pub(super) notices: Vec<String>,
}

impl Direct {
    /// Binds the port and begins.
    pub(super) async fn start(
        root: Root,
        home: NodeHome,
        keypair: Keypair,
        file: &ConfigFile,
        invited: Arc<Mutex<Invited>>,
    ) -> Result<Self, CommandError> {
        let bound = {
            let (root, home, keypair, file) = (root.clone(), home.clone(), keypair.clone(), file.clone());
            tokio::task::spawn_blocking(move || port::start(&root, &home, keypair, &file))
        };
        let port::Bound { p2p, newcomers, notices } =
            bound.await.map_err(|e| CommandError::bug(format!("the network could not be started: {e}")))??;
        p2p.set_fixed(file.peers.clone());
        let own = port::own_addresses(p2p.address(), &file.announce);
        let doorkeeper = Arc::new(Doorkeeper::new(invited));
        let tasks = vec![
            tokio::spawn(local::watch(root, p2p.clone(), keypair.author(), LOOK_EVERY)),
            tokio::spawn(join::server::serve(keypair.clone(), newcomers, doorkeeper.clone(), p2p.turned())),
        ];
        Ok(Self { p2p, keypair, home, own, doorkeeper, tasks, notices })
    }

    /// The network, for what else runs on it.
    pub(super) fn p2p(&self) -> &P2p {
        &self.p2p
    }

    /// The direct connections of one group, from now on.
    pub(super) fn way(&self, membership: &Membership, events: mpsc::Sender<Event>) -> DirectWay {
        DirectWay::begin(self, membership, events)
    }

    /// Ends all connections; the port is free when this returns.
    pub(super) async fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
        self.p2p.stop().await;
    }
}
