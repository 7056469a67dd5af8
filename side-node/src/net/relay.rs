//! The relay as a transport: a client that keeps a connection, and a link for each connection on which the relay serves the group.
//!
//! Outlets come and go with their connection; what a connection shares with its outlet is the client, while it lives, and what the member ordered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::identity::Keypair;
use bytes::Bytes;
use side_ledger::Genesis;
use side_watcher::client::{ClientConfig, Connected, ConnectionId, Event as ClientEvent, RelayClient, Roots};
use side_watcher::protocol::{GroupReply, HelloGroup, Lane};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Attempt, Event, LinkId, Outlet, Peer, SendError, Stream, Transport};
use crate::daemon::view::{CarriedGroup, RelayStatus};
use crate::output::{carried, printable};

/// The name of this transport.
pub const NAME: &str = "relay";
/// How long a relay that broke the rules is left alone.
const FAULT_PAUSE: Duration = Duration::from_secs(15);
/// How often we look whether a full queue has room again.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// Most groups that a status lists.
const MAX_CARRIED: usize = 64;

/// Which relay, and for whom.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Its address.
    pub url: String,
    /// Whether somebody named it. One that is only tried because nobody did is not missed.
    pub named: bool,
    /// Who may vouch for its name in TLS.
    pub roots: Roots,
    /// The node's key.
    pub keypair: Keypair,
    /// The group.
    pub genesis: Genesis,
}

/// The way to one relay. Dropping it ends the connection.
pub struct Relay {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    status: Mutex<RelayStatus>,
    /// No attempt has succeeded or failed yet.
    trying: AtomicBool,
}

impl Relay {
    /// Starts looking for the relay, on the current runtime. What happens comes through `events`.
    pub fn spawn(config: RelayConfig, events: mpsc::Sender<Event>) -> Self {
        let status = RelayStatus { url: config.url.clone(), ..RelayStatus::default() };
        let shared = Arc::new(Shared { status: Mutex::new(status), trying: AtomicBool::new(true) });
        let stop = CancellationToken::new();
        let running = Running { config, events, shared: shared.clone(), told_away: false };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = running.run() => {}
                () = stopped.cancelled() => {}
            }
        });
        Self { shared, _stop: stop.drop_guard() }
    }

    /// How it stands; whether everything was passed is the member's to say.
    pub fn status(&self) -> RelayStatus {
        lock(&self.shared.status).clone()
    }
}

impl Transport for Relay {
    fn is_trying(&self) -> bool {
        self.shared.trying.load(Ordering::Acquire)
    }

    /// None: a status tells more about the relay than an attempt.
    fn attempts(&self) -> Vec<Attempt> {
        Vec::new()
    }
}

/// A poisoned lock only means that some thread panicked while it held it; every change under these locks is complete at any instant.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a member wants of a connection that is to be ended.
#[derive(Debug, Clone)]
struct Order {
    reason: String,
    fault: bool,
}

/// What an outlet shares with the task.
#[derive(Default)]
struct Line {
    /// Nothing once the client is given up.
    client: Mutex<Option<RelayClient>>,
    order: Mutex<Option<Order>>,
    ordered: Notify,
    /// The queue was full when somebody asked.
    full: AtomicBool,
}

impl Line {
    fn order(&self, reason: &str, fault: bool) {
        lock(&self.order).get_or_insert(Order { reason: reason.to_owned(), fault });
        self.ordered.notify_one();
    }

    fn room(&self) -> usize {
        let room = lock(&self.client).as_ref().map_or(0, RelayClient::room);
        if room == 0 {
            self.full.store(true, Ordering::Release);
        }
        room
    }
}

struct RelayOutlet {
    line: Arc<Line>,
    connection: ConnectionId,
    document: DocumentId,
}

impl Outlet for RelayOutlet {
    fn room(&self) -> usize {
        self.line.room()
    }

    fn try_send(&self, stream: Stream, message: Bytes) -> Result<(), SendError> {
        use side_watcher::client::SendError as E;
        let lane = match stream {
            Stream::Sync => Lane::Sync,
            Stream::Seal => Lane::Seal,
            Stream::Side => Lane::Side,
        };
        let client = lock(&self.line.client).clone().ok_or(SendError::Gone)?;
        client.try_send(self.connection, self.document, lane, message).map_err(|error| match error {
            E::Full => {
                self.line.full.store(true, Ordering::Release);
                SendError::Full
            }
            E::Stopped => SendError::Gone,
        })
    }

    fn close(&self, reason: &str) {
        self.line.order(reason, true);
    }

    fn renew(&self, reason: &str) {
        self.line.order(reason, false);
    }
}

/// The member has gone.
struct Gone;

struct Running {
    config: RelayConfig,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    told_away: bool,
}

impl Running {
    async fn run(mut self) {
        while let Ok(order) = self.converse().await {
            if order.fault {
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }

    /// Keeps a client until the member orders its end.
    async fn converse(&mut self) -> Result<Order, Gone> {
        let document = self.config.genesis.id().document();
        let group = HelloGroup { group: document, genesis: Bytes::copy_from_slice(self.config.genesis.bytes()) };
        let config = ClientConfig {
            roots: self.config.roots.clone(),
            ..ClientConfig::new(self.config.url.clone(), self.config.keypair.clone(), vec![group])
        };
        let (client, mut incoming) = RelayClient::spawn(config);
        let line = Arc::new(Line { client: Mutex::new(Some(client)), ..Line::default() });
        let mut link = None;
        let order = loop {
            let event = tokio::select! {
                event = incoming.recv() => event,
                () = line.ordered.notified() => None,
                () = tokio::time::sleep(ROOM_PAUSE), if line.full.load(Ordering::Acquire) => {
                    if let (Some((link, _)), true) = (link, line.room() > 0) {
                        line.full.store(false, Ordering::Release);
                        self.send(Event::Room { link }).await?;
                    }
                    continue;
                }
            };
            match event {
                Some(event) => self.take(event, &line, &mut link).await?,
                None => {
                    let stopped = Order { reason: "the relay client has stopped".to_owned(), fault: true };
                    break lock(&line.order).take().unwrap_or(stopped);
                }
            }
        };
        // Whoever holds the outlet does not keep the connection.
        lock(&line.client).take();
        self.set_away(Some(format!("the connection was ended: {}", order.reason)));
        if let Some((link, _)) = link {
            self.send(Event::Down { link, reason: order.reason.clone() }).await?;
        }
        Ok(order)
    }

    async fn take(
        &mut self,
        event: ClientEvent,
        line: &Arc<Line>,
        link: &mut Option<(LinkId, ConnectionId)>,
    ) -> Result<(), Gone> {
        match event {
            ClientEvent::Connected(connected) => {
                let problem = self.greet(&connected);
                if std::mem::take(&mut self.told_away) {
                    self.notice(format!("the relay at {} is back", self.config.url)).await?;
                }
                if let Some(problem) = problem {
                    self.shared.trying.store(false, Ordering::Release);
                    let carried = carried(&lock(&self.shared.status));
                    return self.notice(format!("{problem}; it carries {carried}")).await;
                }
                let up = LinkId::fresh();
                *link = Some((up, connected.connection));
                line.full.store(false, Ordering::Release);
                let document = self.config.genesis.id().document();
                let outlet = RelayOutlet { line: line.clone(), connection: connected.connection, document };
                let peer = Peer { key: connected.relay, transport: NAME, address: self.config.url.clone() };
                self.send(Event::Up { link: up, peer, outlet: Arc::new(outlet) }).await?;
                // Not before: whoever waits for an attempt to end finds its link then.
                self.shared.trying.store(false, Ordering::Release);
                Ok(())
            }
            ClientEvent::Disconnected { reason, .. } => {
                let reason = reason.to_string();
                self.set_away(Some(reason.clone()));
                self.shared.trying.store(false, Ordering::Release);
                if let Some((link, _)) = link.take() {
                    self.send(Event::Down { link, reason: reason.clone() }).await?;
                }
                if !self.config.named {
                    tracing::debug!(relay = %self.config.url, reason = %printable(&reason), "no connection to the default relay");
                    return Ok(());
                }
                if !std::mem::replace(&mut self.told_away, true) {
                    let text = format!(
                        "no connection to the relay at {} ({}); what you write is kept and sent when it is back",
                        self.config.url,
                        printable(&reason)
                    );
                    self.notice(text).await?;
                }
                Ok(())
            }
            ClientEvent::Notice { code, text, .. } => {
                tracing::info!(?code, text = %printable(&text), "the relay says");
                Ok(())
            }
            ClientEvent::Message { connection, lane, message, .. } => match *link {
                Some((link, current)) if current == connection => {
                    let stream = match lane {
                        Lane::Sync => Stream::Sync,
                        Lane::Seal => Stream::Seal,
                        Lane::Side => Stream::Side,
                    };
                    self.send(Event::Message { link, stream, message }).await
                }
                _ => Ok(()),
            },
        }
    }

    /// Writes down what the relay says of itself; why it does not serve the group, if it does not.
    fn greet(&self, connected: &Connected) -> Option<String> {
        let document = self.config.genesis.id().document();
        let reply = connected.groups.iter().find(|(group, _)| *group == document).map(|(_, reply)| *reply);
        let problem = match reply {
            Some(GroupReply::Open(_)) => None,
            Some(GroupReply::Quota) => Some("the relay has no room for another group".to_owned()),
            Some(GroupReply::Unavailable) => Some("the relay cannot serve this group at the moment".to_owned()),
            other => Some(format!("the relay does not carry this group ({other:?})")),
        };
        let mut status = lock(&self.shared.status);
        status.connected = true;
        status.identity = Some(connected.relay.to_string());
        status.carried_total = connected.carried_total;
        status.carried = connected
            .carried
            .iter()
            .take(MAX_CARRIED)
            .map(|carried| CarriedGroup { group: carried.group.to_string(), name: carried.name.clone() })
            .collect();
        status.problem.clone_from(&problem);
        problem
    }

    fn set_away(&self, problem: Option<String>) {
        let mut status = lock(&self.shared.status);
        status.connected = false;
        status.problem = problem;
    }

    async fn notice(&self, text: String) -> Result<(), Gone> {
        self.send(Event::Notice(text)).await
    }

    async fn send(&self, event: Event) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }
}
