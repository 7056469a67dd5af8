//! The lanes of consensus: for each group and epoch a sub-channel of votes, one of certificates and one of requests, beside the links on the same connections.
//!
//! An engine runs on the network thread's runtime. What it sends to all goes to the participants of its epoch only: other peers of this node have no part in
//! the group. A peer that it blocks is disconnected for a while, with the reason kept.

use std::future::Future;
use std::time::SystemTime;

use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::AuthorId;
use commonware_actor::Feedback;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::authenticated::lookup;
use commonware_p2p::utils::mux::{Error, MuxHandle, SubReceiver, SubSender};
use commonware_p2p::{BlockedSubscription, Blocker, LimitedSender, Recipients};
use commonware_runtime::tokio as runtime;
use side_ledger::GroupId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::keys;
use super::thread::Command;

/// Domain of a lane's number.
const LANE_DOMAIN: &str = "side/1/p2p-lane";

/// The sub-channel of a group's epoch. `epoch` names it among all epochs of the group, recoveries and sets included.
pub fn lane(group: &GroupId, epoch: &[u8]) -> u64 {
    let digest = hash(LANE_DOMAIN, &[group.as_bytes(), epoch].concat());
    u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"))
}

pub(super) type ChannelSender = lookup::Sender<PublicKey, Gate>;

/// The sending half of a lane.
#[derive(Clone)]
pub struct LaneSender {
    inner: SubSender<ChannelSender>,
    participants: Vec<PublicKey>,
}

impl LimitedSender for LaneSender {
    type PublicKey = PublicKey;
    type Checked<'a> = <SubSender<ChannelSender> as LimitedSender>::Checked<'a>;

    fn check(&mut self, recipients: Recipients<PublicKey>) -> Result<Self::Checked<'_>, SystemTime> {
        let recipients = match recipients {
            Recipients::All => Recipients::Some(self.participants.clone()),
            other => other,
        };
        self.inner.check(recipients)
    }
}

/// A lane: what is sent on it, and what comes.
pub type Lane = (LaneSender, SubReceiver<PublicKey>);

/// Blocks peers that broke a rule of consensus.
#[derive(Clone, Debug)]
pub struct PeerBlocker {
    oracle: lookup::Oracle<PublicKey>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Blocker for PeerBlocker {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        if let Some(key) = keys::author(&peer) {
            let _ = self.commands.send(Command::Blocked { key, reason: "it broke a rule of consensus".to_owned() });
        }
        self.oracle.block(peer)
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        self.oracle.blocked()
    }
}

/// What an engine of consensus runs with.
pub struct Engine {
    /// The runtime; what is spawned on it ends with the engine.
    pub context: runtime::Context,
    /// Votes.
    pub votes: Lane,
    /// Certificates.
    pub certificates: Lane,
    /// Requests for certificates and their answers.
    pub resolver: Lane,
    /// Who blocks peers that broke a rule.
    pub blocker: PeerBlocker,
}

/// Why an engine could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The lane is in use: an engine of the same epoch has not ended.
    #[error("an engine of this epoch is running")]
    Running,
    /// The network thread has ended.
    #[error("the network has stopped")]
    Stopped,
}

/// An engine that runs; dropping it ends the engine.
#[derive(Debug)]
pub struct EngineHandle {
    stop: CancellationToken,
}

impl EngineHandle {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { stop }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The three handles by which lanes are opened.
#[derive(Clone)]
pub(super) struct Muxes {
    pub(super) votes: MuxHandle<ChannelSender>,
    pub(super) certificates: MuxHandle<ChannelSender>,
    pub(super) resolver: MuxHandle<ChannelSender>,
    pub(super) oracle: lookup::Oracle<PublicKey>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

impl Muxes {
    /// Opens the three lanes of an epoch.
    pub(super) async fn open(
        mut self,
        context: runtime::Context,
        lane: u64,
        participants: &[AuthorId],
    ) -> Result<Engine, EngineError> {
        let participants: Vec<PublicKey> = participants.iter().filter_map(keys::public).collect();
        let error = |error| match error {
            Error::AlreadyRegistered(_) => EngineError::Running,
            Error::Closed | Error::RecvFailed => EngineError::Stopped,
        };
        let sending = |(inner, receiver)| (LaneSender { inner, participants: participants.clone() }, receiver);
        Ok(Engine {
            context,
            votes: self.votes.register(lane).await.map(sending).map_err(error)?,
            certificates: self.certificates.register(lane).await.map(sending).map_err(error)?,
            resolver: self.resolver.register(lane).await.map(sending).map_err(error)?,
            blocker: PeerBlocker { oracle: self.oracle, commands: self.commands },
        })
    }
}

/// What runs an engine.
pub(super) type Run =
    Box<dyn FnOnce(Result<Engine, EngineError>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
