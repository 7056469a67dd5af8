//! A group, members with replicas, and a raw websocket that can misbehave.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bft_json_crdt::change::Change;
use bft_json_crdt::document::NewElement;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Limits as ReplicaLimits, Replica};
use bft_json_crdt::sync::{Action, Message as Sync, SessionLimits, SyncSession};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use side_ledger::{Admission, Genesis, GroupSpec, Limits as GroupLimits, Name, Sealing};
use side_watcher::client::{ClientConfig, Connected, Disconnect, Event, RelayClient};
use side_watcher::protocol::{
    Carried, Challenge, Channel, CloseReason, Control, GroupReply, Hello, HelloGroup, Lane, NoticeCode,
};
use side_watcher::server::{Config, Server};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long anything may take before a test counts as failed. Only ever reached by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn keypair(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

pub(crate) fn genesis(name: &str, admission: Admission, founders: &[u8]) -> Genesis {
    Genesis::new(GroupSpec {
        name: Name::new(name).unwrap(),
        created_ms: 1,
        nonce: [7; 32],
        founders: founders.iter().map(|seed| keypair(*seed).author()).collect(),
        admission,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: GroupLimits::default(),
    })
    .unwrap()
}

pub(crate) fn hello_group(genesis: &Genesis) -> HelloGroup {
    HelloGroup { group: genesis.id().document(), genesis: Bytes::copy_from_slice(genesis.bytes()) }
}

/// A relay with its own folder, which survives restarts of the relay.
pub(crate) struct Relay {
    pub(crate) data: TempDir,
    server: Option<Server>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::local(data.path());
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        Self { data, server: Some(server) }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.server().url()
    }

    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().shutdown().await.unwrap();
    }

    /// Stops it and starts it again at the same address with the same data.
    pub(crate) async fn restart(&mut self) {
        let listen = self.server().address();
        self.stop().await;
        self.server = Some(Server::start(Config { listen, ..Config::local(self.data.path()) }).await.unwrap());
    }
}

/// What others may know of a member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) connected: Option<Connected>,
    pub(crate) connections: u64,
    pub(crate) disconnects: Vec<Disconnect>,
    pub(crate) notices: Vec<NoticeCode>,
    /// Frames that the relay has not acknowledged, and whether all was sent.
    pub(crate) unacknowledged: usize,
    pub(crate) current: bool,
    pub(crate) changes: usize,
    pub(crate) live_frames: u64,
    pub(crate) faults: Vec<String>,
}

/// A member: a replica, and a task that keeps it in step through a relay.
pub(crate) struct Member {
    pub(crate) keypair: Keypair,
    replica: Arc<Mutex<Replica>>,
    wrote: Arc<tokio::sync::Notify>,
    seen: watch::Receiver<Seen>,
    _client: RelayClient,
}

impl Member {
    pub(crate) fn start(url: &str, seed: u8, genesis: &Genesis) -> Self {
        Self::with(url, seed, genesis, |_| {})
    }

    pub(crate) fn with(url: &str, seed: u8, genesis: &Genesis, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let keypair = keypair(seed);
        let mut replica = Replica::new(genesis.id().document(), ReplicaLimits::default());
        replica.set_writer(Some(keypair.author()));
        Self::resume(url, keypair, replica, genesis, change)
    }

    /// A member with what it already holds.
    pub(crate) fn resume(
        url: &str,
        keypair: Keypair,
        replica: Replica,
        genesis: &Genesis,
        change: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let mut config = ClientConfig::new(url, keypair.clone(), vec![hello_group(genesis)]);
        config.backoff_min = Duration::from_millis(5);
        config.backoff_max = Duration::from_millis(50);
        change(&mut config);
        let replica = Arc::new(Mutex::new(replica));
        let wrote = Arc::new(tokio::sync::Notify::new());
        let (seen_tx, seen) = watch::channel(Seen::default());
        let (client, events) = RelayClient::spawn(config);
        tokio::spawn(drive(genesis.id().document(), client.clone(), events, replica.clone(), wrote.clone(), seen_tx));
        Self { keypair, replica, wrote, seen, _client: client }
    }

    pub(crate) fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap()
    }

    pub(crate) fn write(&self, text: &str) -> Change {
        let change = write(&mut self.replica(), &self.keypair, text);
        self.wrote.notify_one();
        change
    }

    /// Takes a change that came another way.
    pub(crate) fn apply(&self, change: Change) {
        self.replica().apply(change.into());
        self.wrote.notify_one();
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| condition(seen))).await;
        match waited {
            Ok(Ok(seen)) => seen.clone(),
            _ => panic!("waited in vain until {what}: {:?}", self.seen()),
        }
    }

    /// Waits until it holds `count` changes.
    pub(crate) async fn holds(&self, count: usize) {
        self.until(&format!("{count} changes are here"), |seen| seen.changes >= count).await;
    }

    /// Waits until the relay has acknowledged everything.
    pub(crate) async fn acknowledged(&self) {
        let changes = self.replica().len();
        self.until("everything is acknowledged", |seen| {
            seen.connected.is_some() && seen.current && seen.unacknowledged == 0 && seen.changes >= changes
        })
        .await;
    }

    pub(crate) async fn connected(&self) -> Connected {
        let seen = self.until("it is connected", |seen| seen.connected.is_some()).await;
        seen.connected.unwrap()
    }
}

/// Writes one note-like element at the end of a log.
pub(crate) fn write(replica: &mut Replica, keypair: &Keypair, text: &str) -> Change {
    let (change, inner, _) = replica
        .transact(keypair, 1, |tx| {
            let list = tx.child(bft_json_crdt::document::ContainerIdx::ROOT, "transactions", Kind::List)?;
            tx.insert_in_order(list, NewElement::Value(text.into()))
        })
        .unwrap();
    inner.unwrap();
    change
}

async fn drive(
    group: bft_json_crdt::change::DocumentId,
    client: RelayClient,
    mut events: tokio::sync::mpsc::Receiver<Event>,
    replica: Arc<Mutex<Replica>>,
    wrote: Arc<tokio::sync::Notify>,
    seen: watch::Sender<Seen>,
) {
    let mut session: Option<(side_watcher::client::ConnectionId, SyncSession)> = None;
    loop {
        let event = tokio::select! {
            event = events.recv() => match event { Some(event) => Some(event), None => return },
            () = wrote.notified() => None,
        };
        let mut outgoing = Vec::new();
        {
            let mut replica = replica.lock().unwrap();
            match event {
                Some(Event::Connected(connected)) => {
                    session = matches!(connected.groups[0].1, GroupReply::Open(_))
                        .then(|| (connected.connection, SyncSession::new(&replica, SessionLimits::default())));
                    seen.send_modify(|seen| {
                        seen.connected = Some(connected);
                        seen.connections += 1;
                    });
                }
                Some(Event::Disconnected { reason, .. }) => {
                    session = None;
                    seen.send_modify(|seen| {
                        seen.connected = None;
                        seen.disconnects.push(reason);
                    });
                }
                Some(Event::Notice { code, .. }) => seen.send_modify(|seen| seen.notices.push(code)),
                Some(Event::Message { lane: Lane::Seal | Lane::Side, .. }) => {}
                Some(Event::Message { message, .. }) => {
                    if let Some((_, session)) = &mut session {
                        receive(session, &mut replica, &message, &seen);
                    }
                }
                None => {}
            }
            if let Some((connection, session)) = &mut session {
                while let Some(message) = session.poll_send(&replica) {
                    outgoing.push((*connection, Bytes::from(message.encode())));
                }
            }
            let (unacknowledged, current) = session
                .as_ref()
                .map_or((0, false), |(_, session)| (session.unacknowledged(), session.is_current(&replica)));
            seen.send_modify(|seen| {
                seen.changes = replica.len();
                seen.unacknowledged = unacknowledged;
                seen.current = current;
            });
        }
        for (connection, message) in outgoing {
            if client.send(connection, group, Lane::Sync, message).await.is_err() {
                return;
            }
        }
    }
}

fn receive(session: &mut SyncSession, replica: &mut Replica, message: &Bytes, seen: &watch::Sender<Seen>) {
    let message = Sync::decode(message).expect("the relay sends well-formed messages");
    for action in session.receive(replica, message).expect("the relay makes no faults") {
        match action {
            Action::Apply(batch) => {
                seen.send_modify(|seen| seen.live_frames += 1);
                let outcome = replica.apply_batch(batch);
                for (_, verdict) in &outcome.verdicts {
                    match verdict {
                        bft_json_crdt::replica::Verdict::Waiting { missing } => {
                            session.missing(missing.iter().copied())
                        }
                        bft_json_crdt::replica::Verdict::Unauthenticated
                        | bft_json_crdt::replica::Verdict::Malformed(_) => {
                            seen.send_modify(|seen| seen.faults.push(format!("{verdict:?}")));
                        }
                        _ => {}
                    }
                }
                session.handled();
            }
            Action::Proof(proof) => {
                let _ = replica.apply_proof(proof);
            }
        }
    }
}

/// Waits until all members hold `count` changes, and checks that they show the same.
pub(crate) async fn converge(members: &[&Member], count: usize) {
    for member in members {
        member.holds(count).await;
    }
    let digests: Vec<_> = members.iter().map(|member| member.replica().digest()).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "digests differ after {count} changes");
}

/// A websocket that says what it is told to.
pub(crate) struct Raw {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Raw {
    pub(crate) async fn connect(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.unwrap();
        Self { socket }
    }

    /// Connects and greets with an honest hello; the channel of the first group.
    pub(crate) async fn greeted(url: &str, seed: u8, genesis: &Genesis) -> (Self, Channel) {
        let mut raw = Self::connect(url).await;
        let challenge = raw.challenge().await;
        let keypair = keypair(seed);
        let hello =
            Hello::sign(&challenge, keypair.author(), [1; 32], vec![hello_group(genesis)], |d, m| keypair.sign(d, m));
        let (replies, _) = raw.greet(hello).await.unwrap();
        let GroupReply::Open(channel) = replies[0] else { panic!("not open: {replies:?}") };
        (raw, channel)
    }

    pub(crate) async fn challenge(&mut self) -> Challenge {
        match self.control().await {
            Ok(Control::Challenge(challenge)) => challenge,
            other => panic!("no challenge but {other:?}"),
        }
    }

    /// Sends a hello; the welcome, or why it was refused.
    pub(crate) async fn greet(&mut self, hello: Hello) -> Result<(Vec<GroupReply>, Vec<Carried>), Option<CloseReason>> {
        self.send(Control::Hello(hello.clone()).encode()).await;
        match self.control().await? {
            Control::Welcome(welcome) => {
                welcome.check(&hello).unwrap();
                Ok((welcome.replies, welcome.carried))
            }
            other => panic!("no welcome but {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: impl Into<Bytes>) {
        // The other end may have hung up already; the test then sees why when it reads.
        let _ = self.socket.send(Message::Binary(frame.into())).await;
    }

    /// The next control message, or the reason of the close.
    pub(crate) async fn control(&mut self) -> Result<Control, Option<CloseReason>> {
        loop {
            let (channel, payload) = self.next().await?;
            if channel == Channel::CONTROL {
                return Ok(Control::decode(&payload).unwrap());
            }
        }
    }

    /// The next binary message, or the reason of the close.
    pub(crate) async fn next(&mut self) -> Result<(Channel, Bytes), Option<CloseReason>> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the relay says nothing") {
                Some(Ok(Message::Binary(frame))) => return Ok(Channel::open(&frame).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.and_then(|frame| CloseReason::from_code(frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Reads until the relay closes; its reason.
    pub(crate) async fn closed(&mut self) -> Option<CloseReason> {
        loop {
            if let Err(reason) = self.next().await {
                return reason;
            }
        }
    }
}
