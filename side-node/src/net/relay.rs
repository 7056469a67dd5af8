//! The relay: a client that keeps a connection, and a sync session for each connection that stands.
//!
//! The session reads what the relay lacks off the replica, so it is asked for messages only when everything in the replica is on disk
//! ([`RelayLink::durable`]). A relay that reads nothing fills the client's queue; then we stop sending and reading until there is room.

use std::time::Duration;

use bft_json_crdt::identity::Keypair;
use bft_json_crdt::sync::{Action, Message, SessionLimits, SyncSession};
use bytes::Bytes;
use side_ledger::Genesis;
use side_watcher::client::{ClientConfig, ConnectionId, Event, RelayClient, SendError};
use side_watcher::protocol::{GroupReply, HelloGroup, Lane};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::daemon::core::{Core, Digested};
use crate::daemon::view::{CarriedGroup, RelayStatus};
use crate::output::{carried, printable, short};

/// How long a relay that broke the rules is left alone.
const FAULT_PAUSE: Duration = Duration::from_secs(15);
/// How often we look whether a full queue has room again.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// Most refused changes on one connection before we end it: more is no accident.
const MAX_REFUSED: u64 = 1_000;
/// Most groups that a status lists.
const MAX_CARRIED: usize = 64;

struct Session {
    connection: ConnectionId,
    sync: SyncSession,
    /// Applied batches that are not acknowledged, because they are not on disk yet.
    unhandled: usize,
    refused: u64,
}

/// The way to one relay.
pub struct RelayLink {
    keypair: Keypair,
    genesis: Genesis,
    client: Option<(RelayClient, mpsc::Receiver<Event>)>,
    /// When to start over after a fault.
    restart_at: Option<Instant>,
    session: Option<Session>,
    /// The client's queue was full.
    full: bool,
    status: RelayStatus,
    told_away: bool,
    told_alone: bool,
}

impl RelayLink {
    /// Starts looking for the relay at once.
    pub fn new(url: String, core: &Core) -> Self {
        let mut link = Self {
            keypair: core.keypair().clone(),
            genesis: core.genesis().clone(),
            client: None,
            restart_at: None,
            session: None,
            full: false,
            status: RelayStatus { url, ..RelayStatus::default() },
            told_away: false,
            told_alone: false,
        };
        link.start();
        link
    }

    fn start(&mut self) {
        let group =
            HelloGroup { group: self.genesis.id().document(), genesis: Bytes::copy_from_slice(self.genesis.bytes()) };
        let config = ClientConfig::new(self.status.url.clone(), self.keypair.clone(), vec![group]);
        self.client = Some(RelayClient::spawn(config));
        self.restart_at = None;
    }

    /// How it stands.
    pub fn status(&self) -> RelayStatus {
        self.status.clone()
    }

    /// Whether there is nothing to wait for: the relay has everything, or it is not to be had at the moment.
    pub fn is_settled(&self) -> bool {
        self.status.in_sync || self.told_away || self.restart_at.is_some() || self.status.problem.is_some()
    }

    /// The next event; `None` when it is time to call [`RelayLink::durable`] again without one. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(at) = self.restart_at {
            sleep_until(at).await;
            self.start();
            return None;
        }
        if self.full {
            tokio::time::sleep(ROOM_PAUSE).await;
            return None;
        }
        match &mut self.client {
            Some((_, events)) => match events.recv().await {
                Some(event) => Some(event),
                None => {
                    self.fault("the relay client has stopped");
                    None
                }
            },
            None => std::future::pending().await,
        }
    }

    /// An event that is waiting already.
    pub fn try_next(&mut self) -> Option<Event> {
        match &mut self.client {
            Some((_, events)) if !self.full => events.try_recv().ok(),
            _ => None,
        }
    }

    /// Takes an event in. What it changes in the group is staged there.
    pub fn take(&mut self, event: Event, core: &mut Core, notices: &mut Vec<String>) -> Digested {
        match event {
            Event::Connected(connected) => {
                let document = self.genesis.id().document();
                let reply = connected.groups.iter().find(|(group, _)| *group == document).map(|(_, reply)| *reply);
                self.status.connected = true;
                self.status.in_sync = false;
                self.status.identity = Some(connected.relay.to_string());
                self.status.carried_total = connected.carried_total;
                self.status.carried = connected
                    .carried
                    .iter()
                    .take(MAX_CARRIED)
                    .map(|carried| CarriedGroup { group: carried.group.to_string(), name: carried.name.clone() })
                    .collect();
                self.status.problem = match reply {
                    Some(GroupReply::Open(_)) => None,
                    Some(GroupReply::Quota) => Some("the relay has no room for another group".to_owned()),
                    Some(GroupReply::Unavailable) => Some("the relay cannot serve this group at the moment".to_owned()),
                    other => Some(format!("the relay does not carry this group ({other:?})")),
                };
                match &self.status.problem {
                    None => {
                        let mut sync = SyncSession::new(core.replica(), SessionLimits::default());
                        sync.watch(core.author());
                        self.session =
                            Some(Session { connection: connected.connection, sync, unhandled: 0, refused: 0 });
                    }
                    Some(problem) => notices.push(format!("{problem}; it carries {}", carried(&self.status))),
                }
                if self.told_away {
                    notices.push(format!("the relay at {} is back", self.status.url));
                    self.told_away = false;
                }
                Digested::default()
            }
            Event::Disconnected { reason, .. } => {
                self.session = None;
                self.full = false;
                self.status.connected = false;
                self.status.in_sync = false;
                self.status.problem = Some(reason.to_string());
                if !std::mem::replace(&mut self.told_away, true) {
                    notices.push(format!(
                        "no connection to the relay at {} ({}); what you write is kept and sent when it is back",
                        self.status.url,
                        printable(&reason.to_string())
                    ));
                }
                Digested::default()
            }
            Event::Notice { code, text, .. } => {
                tracing::info!(?code, text = %printable(&text), "the relay says");
                Digested::default()
            }
            Event::Message { connection, lane: Lane::Sync, message, .. } => self.receive(connection, &message, core),
            // Not wired in yet.
            Event::Message { .. } => Digested::default(),
        }
    }

    fn receive(&mut self, connection: ConnectionId, message: &Bytes, core: &mut Core) -> Digested {
        let mut digested = Digested::default();
        let Some(session) = self.session.as_mut().filter(|session| session.connection == connection) else {
            return digested;
        };
        let actions = match Message::decode(message) {
            Ok(message) => session.sync.receive(core.replica(), message).map_err(|fault| fault.to_string()),
            Err(error) => Err(format!("sent a malformed message: {error}")),
        };
        let actions = match actions {
            Ok(actions) => actions,
            Err(fault) => {
                self.fault(&format!("it {fault}"));
                return digested;
            }
        };
        for action in actions {
            let part = match action {
                Action::Apply(batch) => {
                    session.unhandled += 1;
                    core.apply(batch)
                }
                Action::Proof(proof) => core.apply_proof(proof),
            };
            session.sync.missing(part.missing);
            session.refused += part.refused;
            digested.entries.extend(part.entries);
            digested.equivocators.extend(part.equivocators);
        }
        if session.refused > MAX_REFUSED {
            self.fault("it sent too many changes without a good signature");
        }
        digested
    }

    /// Everything in the group is on disk: acknowledges, and sends what the relay lacks.
    pub fn durable(&mut self, core: &Core, notices: &mut Vec<String>) {
        let Some(session) = &mut self.session else { return };
        for _ in 0..std::mem::take(&mut session.unhandled) {
            session.sync.handled();
        }
        if session.sync.is_stale(core.replica()) {
            // The log was renumbered: begin anew.
            self.client = None;
            self.session = None;
            self.status.connected = false;
            self.status.in_sync = false;
            self.start();
            return;
        }
        let Some((client, _)) = &self.client else { return };
        let document = self.genesis.id().document();
        self.full = false;
        loop {
            if client.room() == 0 {
                self.full = true;
                break;
            }
            let Some(message) = session.sync.poll_send(core.replica()) else { break };
            match client.try_send(session.connection, document, Lane::Sync, message.encode().into()) {
                Ok(()) => {}
                Err(SendError::Full | SendError::Stopped) => {
                    // Cannot be: there was room, and we are the only sender. Beginning anew loses nothing.
                    self.fault("its queue is gone");
                    return;
                }
            }
        }
        self.status.in_sync = session.sync.is_current(core.replica())
            && session.sync.unacknowledged() == 0
            && session.sync.watched_tip_learnt(core.replica())
            && core.replica().len() as u64 >= session.sync.peer_changes();
        if self.status.in_sync && core.is_alone() && !std::mem::replace(&mut self.told_alone, true) {
            notices.push(format!(
                "you are alone in group {} ({}) so far. The relay carries: {}. Invite others with: side-node invite",
                core.genesis().name(),
                short(&self.genesis.id().to_string()),
                carried(&self.status)
            ));
        }
    }

    /// Whether the relay has told everything that it holds of this node's own changes and all of that is here. A relay that holds nothing of the
    /// group knows nothing and proves nothing.
    pub fn knows_own_tip(&self, core: &Core) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.sync.watched_tip_learnt(core.replica()) && session.sync.peer_changes() > 0)
    }

    /// Ends the connection and leaves the relay alone for a while.
    fn fault(&mut self, what: &str) {
        tracing::warn!(relay = %self.status.url, what, "ending the connection to the relay");
        self.client = None;
        self.session = None;
        self.full = false;
        self.status.connected = false;
        self.status.in_sync = false;
        self.status.problem = Some(format!("the connection was ended: {what}"));
        self.restart_at = Some(Instant::now() + FAULT_PAUSE);
    }
}
