//! A member with a chain: a group and an engine in memory, and a task that keeps them in step through a relay on all lanes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::{Limits as ReplicaLimits, Verdict};
use bft_json_crdt::sync::{Action, Message as Sync, SessionLimits, SyncSession};
use bytes::Bytes;
use side_ledger::group::Taken;
use side_ledger::{BlockId, Genesis, Group, Transaction};
use side_seal::{Effect, Engine, Message as Seal, SignedBlock};
use side_watcher::client::{ClientConfig, ConnectionId, Event, RelayClient};
use side_watcher::protocol::{GroupReply, Lane};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, hello_group};

/// How often a member looks whether it is time to seal.
const TICK: Duration = Duration::from_millis(5);

/// What others may know of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) connected: bool,
    pub(crate) connections: u64,
    pub(crate) height: u64,
    pub(crate) tip: Option<BlockId>,
    /// The set of the last block.
    pub(crate) in_force: u64,
    pub(crate) changes: usize,
    pub(crate) pending: usize,
    /// Whether the relay has everything and said so.
    pub(crate) acknowledged: bool,
    /// What is proven against sealers.
    pub(crate) proofs: usize,
    pub(crate) side: Vec<Bytes>,
}

pub(crate) struct Held {
    pub(crate) group: Group,
    pub(crate) engine: Engine,
    out: Vec<(Lane, Bytes)>,
}

impl Held {
    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tell(message) | Effect::Ask(message) => self.say(&message),
                Effect::Keep(_) | Effect::Show(_) | Effect::Reply(_) => {}
            }
        }
    }

    fn say(&mut self, message: &Seal) {
        self.out.push((Lane::Seal, message.encode().into()));
    }

    fn hear(&mut self, message: Seal) {
        if let Seal::Ask { want, have } = &message {
            if let Some(answer) = self.engine.answer(&self.group, want, have) {
                self.say(&answer);
            }
            return;
        }
        let (effects, refusal) = self.engine.hear(&mut self.group, message);
        assert_eq!(refusal, None, "a relay passes on what is good");
        self.carry_out(effects);
    }
}

pub(crate) struct Follower {
    pub(crate) keypair: Keypair,
    held: Arc<Mutex<Held>>,
    wrote: Arc<Notify>,
    view: watch::Receiver<View>,
    client: RelayClient,
    genesis: Genesis,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    /// It is gone at once: its connection, its blocks, and whatever it would still have sealed.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    pub(crate) fn start(url: &str, keypair: Keypair, genesis: &Genesis) -> Self {
        let group = Group::open(genesis.clone(), Some(keypair.author()), ReplicaLimits::default());
        let engine = Engine::new(genesis, Some(keypair.clone()));
        let held = Arc::new(Mutex::new(Held { group, engine, out: Vec::new() }));
        let mut config = ClientConfig::new(url, keypair.clone(), vec![hello_group(genesis)]);
        config.backoff_min = Duration::from_millis(5);
        config.backoff_max = Duration::from_millis(50);
        let wrote = Arc::new(Notify::new());
        let (view_tx, view) = watch::channel(View::default());
        let (client, events) = RelayClient::spawn(config);
        let task = Drive {
            client: client.clone(),
            held: held.clone(),
            view: view_tx,
            session: None,
            genesis: genesis.clone(),
        };
        let task = tokio::spawn(task.run(events, wrote.clone()));
        Self { keypair, held, wrote, view, client, genesis: genesis.clone(), task }
    }

    pub(crate) fn author(&self) -> AuthorId {
        self.keypair.author()
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    pub(crate) fn note(&self, text: &str) {
        let limit = self.genesis.spec().limits.note_bytes;
        self.write(Transaction::note(text, limit).unwrap());
    }

    pub(crate) fn write(&self, transaction: impl Into<Transaction>) {
        {
            let mut held = self.held();
            held.group.write(&[transaction.into()], &self.keypair, now_ms()).unwrap();
            let Held { group, engine, .. } = &mut *held;
            let effects = engine.changed(group);
            held.carry_out(effects);
        }
        self.wrote.notify_one();
    }

    /// Says something on the side lane of its present connection.
    pub(crate) async fn say_beside(&self, message: Bytes) {
        let connection = ConnectionId(self.view.borrow().connections);
        self.client.send(connection, self.genesis.id().document(), Lane::Side, message).await.unwrap();
    }

    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&View) -> bool) -> View {
        let mut view = self.view.clone();
        match tokio::time::timeout(PATIENCE, view.wait_for(|view| condition(view))).await {
            Ok(Ok(view)) => view.clone(),
            _ => panic!("waited in vain until {what}: {:?}", self.view()),
        }
    }

    /// The last block of its chain.
    pub(crate) fn tip(&self) -> SignedBlock {
        let held = self.held();
        match held.engine.greet(&held.group).remove(0) {
            Seal::Blocks(mut blocks) => blocks.remove(0),
            other => panic!("no block but {other:?}"),
        }
    }

    /// Waits until the relay has all that is here.
    pub(crate) async fn acknowledged(&self) {
        let changes = self.held().group.replica().len();
        self.until("everything is acknowledged", |view| view.acknowledged && view.changes >= changes).await;
    }
}

/// Waits until all have sealed everything and `changes` changes, and checks that they agree.
pub(crate) async fn agree(followers: &[&Follower], changes: usize) -> u64 {
    for follower in followers {
        let done = |view: &View| view.changes >= changes && view.pending == 0;
        follower.until(&format!("{changes} changes are here and sealed"), done).await;
    }
    let of = |follower: &&Follower| {
        let mut held = follower.held();
        (
            held.group.chain().tip_id(),
            held.group.chain().height().0,
            held.group.state_root(),
            held.group.replica().digest(),
        )
    };
    let all: Vec<_> = followers.iter().map(of).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "they do not agree: {all:?}");
    all[0].1
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

struct Drive {
    client: RelayClient,
    held: Arc<Mutex<Held>>,
    view: watch::Sender<View>,
    session: Option<(ConnectionId, SyncSession)>,
    genesis: Genesis,
}

impl Drive {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, wrote: Arc<Notify>) {
        let mut tick = tokio::time::interval(TICK);
        let document = self.genesis.id().document();
        loop {
            let event = tokio::select! {
                event = events.recv() => match event { Some(event) => Some(event), None => return },
                () = wrote.notified() => None,
                _ = tick.tick() => None,
            };
            let out = self.step(event);
            let Some((connection, _)) = &self.session else { continue };
            for (lane, message) in out {
                if self.client.send(*connection, document, lane, message).await.is_err() {
                    return;
                }
            }
        }
    }

    fn step(&mut self, event: Option<Event>) -> Vec<(Lane, Bytes)> {
        let held = self.held.clone();
        let mut held = held.lock().unwrap();
        match event {
            Some(Event::Connected(connected)) => {
                assert!(matches!(connected.groups[0].1, GroupReply::Open(_)), "{connected:?}");
                let session = SyncSession::new(held.group.replica(), SessionLimits::default());
                self.session = Some((connected.connection, session));
                self.view.send_modify(|view| {
                    view.connected = true;
                    view.connections = connected.connection.0;
                });
                held.out.clear();
                let greeting = held.engine.greet(&held.group);
                greeting.iter().for_each(|message| held.say(message));
            }
            Some(Event::Disconnected { .. }) => {
                self.session = None;
                self.view.send_modify(|view| view.connected = false);
            }
            Some(Event::Message { lane: Lane::Sync, message, .. }) => self.receive(&mut held, &message),
            Some(Event::Message { lane: Lane::Seal, message, .. }) => held.hear(Seal::decode(&message).unwrap()),
            Some(Event::Message { lane: Lane::Side, message, .. }) => {
                self.view.send_modify(|view| view.side.push(message));
            }
            Some(Event::Notice { .. }) | None => {}
        }
        let Held { group, engine, .. } = &mut *held;
        let effects = engine.tick(group, now_ms());
        held.carry_out(effects);
        let mut out = std::mem::take(&mut held.out);
        let mut acknowledged = false;
        if let Some((_, session)) = &mut self.session {
            while let Some(message) = session.poll_send(held.group.replica()) {
                out.push((Lane::Sync, message.encode().into()));
            }
            acknowledged = session.unacknowledged() == 0 && session.is_current(held.group.replica());
        }
        let (group, engine) = (&held.group, &held.engine);
        let chain = group.chain();
        self.view.send_modify(|view| {
            view.height = chain.height().0;
            view.tip = chain.tip().map(|tip| tip.id);
            view.in_force = chain.tip().map_or(0, |tip| tip.block.set.0);
            view.changes = group.replica().len();
            view.pending = chain.pending();
            view.acknowledged = acknowledged;
            view.proofs = engine.proofs().len();
        });
        out
    }

    fn receive(&mut self, held: &mut Held, message: &Bytes) {
        let Some((_, session)) = &mut self.session else { return };
        let message = Sync::decode(message).expect("the relay sends well-formed messages");
        for action in session.receive(held.group.replica(), message).expect("the relay makes no faults") {
            match action {
                Action::Apply(batch) => {
                    for (_, taken) in held.group.apply_batch(batch).taken {
                        if let Taken::Judged(Verdict::Waiting { missing }) = taken {
                            session.missing(missing);
                        }
                    }
                    session.handled();
                }
                Action::Proof(proof) => drop(held.group.apply_proof(proof)),
            }
        }
        let Held { group, engine, .. } = &mut *held;
        let effects = engine.changed(group);
        held.carry_out(effects);
    }
}
