//! Four members over real connections on loopback, each with its own network thread and database: blocks become final, whoever of them is away.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::identity::Keypair;
use bytes::Bytes;
use side_ledger::address::HostPort;
use side_ledger::genesis::{Admission, GroupSpec, Limits, Sealing};
use side_ledger::{Genesis, Position};
use side_store::{MemoryStore, OpenOptions, SqliteStore, Store as _};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Sealer;
use crate::api::control::Verb;
use crate::clock::Steady;
use crate::daemon::view::Stage;
use crate::member::{Around, Member};
use crate::net::p2p::{GroupPeers, Newcomers, P2p, P2pConfig};
use crate::net::{Event, LinkId, Outlet};

/// Longer than anything here takes on a busy machine; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(120);
const INTERVAL_MS: u64 = 100;

fn genesis(term: u64) -> Genesis {
    let spec = GroupSpec {
        name: "four".parse().unwrap(),
        created_ms: 1,
        nonce: [3; 32],
        founders: (0..4).map(|number| keypair(number).author()).collect(),
        admission: Admission::Closed,
        allocation: BTreeMap::new(),
        sealing: Sealing::Bft { interval_ms: INTERVAL_MS, term },
        limits: Limits::default(),
    };
    Genesis::new(spec).unwrap()
}

fn keypair(number: usize) -> Keypair {
    Keypair::from_seed(&[number as u8 + 1; 32])
}

/// What a node shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Shown {
    height: u64,
    /// The last block and the state after it.
    state: Vec<u8>,
    pending: usize,
    running: bool,
    epoch: u64,
    /// What a status would say of its part in sealing.
    problem: Option<String>,
}

struct Note {
    text: String,
    /// Answered when the note is final here.
    done: oneshot::Sender<()>,
}

/// A node without a daemon.
struct Node {
    number: usize,
    folder: TempDir,
    p2p: P2p,
    peers: GroupPeers,
    notes: mpsc::UnboundedSender<Note>,
    shown: watch::Receiver<Shown>,
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    _newcomers: Newcomers,
}

impl Node {
    async fn start(number: usize, term: u64, folder: TempDir) -> Self {
        let store = SqliteStore::open(folder.path().join("side.sqlite"), &OpenOptions::default());
        let mut store = store.unwrap();
        let name = format!("node{number}").parse().unwrap();
        let mut member = Member::load(name, genesis(term), keypair(number), &mut store).unwrap();
        member.begin(1).unwrap();
        let config = P2pConfig::local(keypair(number), 0, folder.path().join("consensus"));
        let (p2p, newcomers) = P2p::start(config).unwrap();
        let (events_in, events) = mpsc::channel(64);
        let peers = p2p.open(genesis(term).id(), events_in);
        let (notes, notes_in) = mpsc::unbounded_channel();
        let (show, shown) = watch::channel(Shown::default());
        let stop = CancellationToken::new();
        let sealer = Sealer::new(p2p.clone(), member.genesis(), keypair(number)).unwrap();
        let (outlets, waiting, clock) = (BTreeMap::new(), Vec::new(), Steady::start());
        let owner = Owner { member, store, sealer, outlets, waiting, show, clock };
        let task = tokio::spawn(owner.run(events, notes_in, stop.clone()));
        Self { number, folder, p2p, peers, notes, shown, task, stop, _newcomers: newcomers }
    }

    /// Ends at once, as a process that is killed, but for the port.
    async fn kill(self) -> TempDir {
        self.stop.cancel();
        let _ = self.task.await;
        self.p2p.stop().await;
        self.folder
    }

    /// Where its votes of the one epoch are, and the file that says what it has told of them. Waits until there are some: three of the four agree without it.
    async fn votes(&self) -> (PathBuf, PathBuf) {
        let until = tokio::time::Instant::now() + DEADLINE;
        loop {
            let entries = std::fs::read_dir(self.folder.path().join("consensus")).into_iter().flatten();
            let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
            let journal = paths.iter().find(|path| path.is_dir() && path.to_string_lossy().contains("/bft-"));
            let sent = paths.iter().find(|path| path.extension() == Some("sent".as_ref()));
            if let Some((journal, sent)) = journal.zip(sent) {
                return (journal.clone(), sent.clone());
            }
            assert!(tokio::time::Instant::now() < until, "not in time: node {} votes", self.number);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until(&self, what: &str, done: impl Fn(&Shown) -> bool) -> Shown {
        let mut shown = self.shown.clone();
        let waited = timeout(DEADLINE, shown.wait_for(done)).await;
        let now = self.shown.borrow().clone();
        waited.unwrap_or_else(|_| panic!("not in time: {what}; node {} shows {now:?}", self.number)).unwrap().clone()
    }

    /// Writes a note and waits until it is final.
    async fn note(&self, text: &str) {
        let (done, is_done) = oneshot::channel();
        self.notes.send(Note { text: text.to_owned(), done }).unwrap();
        timeout(DEADLINE, is_done).await.unwrap_or_else(|_| panic!("not final in time: {text}")).unwrap();
    }
}

/// Tells each of the nodes where the others are.
fn introduce(nodes: &[&Node]) {
    for node in nodes {
        let there = |other: &&Node| (keypair(other.number).author(), vec![HostPort::from(other.p2p.address())]);
        node.peers.set_peers(nodes.iter().map(there).collect());
    }
}

/// What owns a member, and does as the daemon does.
struct Owner {
    member: Member,
    store: SqliteStore,
    sealer: Sealer,
    outlets: BTreeMap<LinkId, Arc<dyn Outlet>>,
    waiting: Vec<(Position, oneshot::Sender<()>)>,
    show: watch::Sender<Shown>,
    clock: Steady,
}

impl Owner {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut notes: mpsc::UnboundedReceiver<Note>,
        stop: CancellationToken,
    ) {
        loop {
            self.round();
            let now = self.clock.now_ms();
            let wait = self.member.deadline().map_or(1_000, |at| at.saturating_sub(now)).min(1_000);
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = events.recv() => self.take(event, now),
                Some(note) = notes.recv() => {
                    let written = self.member.say(&Verb::Note { text: note.text }, &|_| None, now);
                    self.waiting.push((written.unwrap().unwrap(), note.done));
                }
                request = self.sealer.request() => {
                    if let Some(request) = request {
                        self.member.request(request, now);
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            }
        }
    }

    fn take(&mut self, event: Event, now: u64) {
        match event {
            Event::Up { link, peer, outlet } => {
                self.outlets.insert(link, outlet);
                self.member.link_up(link, peer);
            }
            Event::Message { link, stream, message } => self.member.receive(link, stream, &message, now),
            Event::Down { link, .. } => {
                self.outlets.remove(&link);
                self.member.link_down(link);
            }
            Event::Room { .. } | Event::Notice(_) => {}
        }
    }

    fn round(&mut self) {
        let now = self.clock.now_ms();
        self.member.tick(now);
        let batch = self.member.take_staged();
        if !batch.is_empty() {
            self.store.commit(&batch).unwrap();
        }
        self.member.durable();
        assert_eq!(self.member.take_endings(), [], "nobody breaks a rule here");
        for (link, outlet) in &self.outlets {
            while outlet.room() > 0 {
                let Some((stream, message)) = self.member.poll_send(*link) else { break };
                if outlet.try_send(stream, message).is_err() {
                    break;
                }
            }
        }
        self.member.take_news();
        self.member.take_replies().into_iter().for_each(|reply| self.sealer.reply(reply));
        self.sealer.take_seat(&mut self.member);
        for (position, done) in std::mem::take(&mut self.waiting) {
            if self.member.standing(&position).status == Stage::Final {
                let _ = done.send(());
            } else {
                self.waiting.push((position, done));
            }
        }
        let chain = self.member.group().chain();
        let state = chain.tip().map(|tip| [tip.id.0, tip.block.state_root].concat()).unwrap_or_default();
        let running = self.sealer.is_running();
        let around = Around { sealer_problem: self.sealer.problem(&self.member), ..Around::default() };
        let (height, pending) = (chain.height().0, chain.pending());
        let status = self.member.status(around);
        let (epoch, problem) = (status.epoch, status.sealer_problem);
        let shown = Shown { height, state, pending, running, epoch, problem };
        self.show.send_if_modified(|old| std::mem::replace(old, shown.clone()) != shown);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn four(term: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    for number in 0..4 {
        nodes.push(Node::start(number, term, tempfile::tempdir().unwrap()).await);
    }
    introduce(&nodes.iter().collect::<Vec<_>>());
    nodes
}

/// All come to one state in which nothing is pending.
async fn agree(nodes: &[Node]) -> Shown {
    let height = nodes.iter().map(|node| node.shown.borrow().height).max().unwrap();
    let first = nodes[0].until("everything final", |shown| shown.pending == 0 && shown.height >= height).await;
    for node in &nodes[1..] {
        let shown = node.until("the same", |shown| shown.pending == 0 && shown.height >= first.height).await;
        assert!(shown.height > first.height || shown.state == first.state, "node {} has another state", node.number);
    }
    first
}

#[test]
fn a_node_whose_journal_of_votes_was_lost_takes_no_part_in_the_epoch() {
    let mut store = MemoryStore::new();
    let mut load = |journal: &'static [u8]| {
        let name = "node1".parse().unwrap();
        let mut member = Member::load(name, genesis(0), keypair(0), &mut store).unwrap();
        member.tie_votes(&mut store, &Bytes::from_static(journal)).unwrap();
        let batch = member.take_staged();
        store.commit(&batch).unwrap();
        member.durable();
        (member.seat().is_some(), member.take_news().len())
    };
    assert_eq!(load(b"one"), (true, 0), "it has never voted");
    assert_eq!(load(b"one"), (true, 0));
    assert_eq!(load(b"other"), (false, 1), "nobody knows what it voted");
    assert_eq!(load(b"other"), (false, 0), "also later");
}

#[test]
fn any_one_of_four_may_be_away_and_comes_back() {
    runtime().block_on(async {
        let mut nodes = four(0).await;
        nodes[0].note("the first").await;
        agree(&nodes).await;
        // The first leader is among them.
        for away in [0, 3] {
            let node = nodes.remove(away);
            let folder = node.kill().await;
            nodes[0].note(&format!("without {away}")).await;
            nodes[2].note(&format!("and again without {away}")).await;
            nodes.insert(away, Node::start(away, 0, folder).await);
            introduce(&nodes.iter().collect::<Vec<_>>());
            nodes[away].note(&format!("{away} is back")).await;
            agree(&nodes).await;
        }
        for node in nodes {
            node.kill().await;
        }
    });
}

#[test]
fn a_sealer_whose_journal_was_cut_stays_out_and_comes_back_with_an_epoch_that_begins_by_itself() {
    runtime().block_on(async {
        let mut nodes = four(0).await;
        nodes[0].note("all are there").await;
        agree(&nodes).await;
        // Two are left, and what they vote now comes to nothing: nobody can show it to them later.
        let others = [(3, nodes.remove(3).kill().await), (1, nodes.remove(1).kill().await)];
        let (journal, sent) = nodes[1].votes().await;
        let sent = || std::fs::read(&sent).unwrap();
        for _ in 0..2 {
            let (before, until) = (sent(), tokio::time::Instant::now() + DEADLINE);
            while sent() == before {
                assert!(tokio::time::Instant::now() < until, "it votes to give a view up");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let folder = nodes.remove(1).kill().await;
        for file in std::fs::read_dir(journal).unwrap() {
            let file = std::fs::File::options().write(true).open(file.unwrap().path()).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }
        nodes.push(Node::start(2, 0, folder).await);
        for (number, folder) in others {
            nodes.push(Node::start(number, 0, folder).await);
        }
        introduce(&nodes.iter().collect::<Vec<_>>());
        // Now they are 0, 2, 3 and 1.
        let out = |shown: &Shown| shown.problem.as_ref().is_some_and(|text| text.contains("may have forgotten votes"));
        nodes[1].until("it stays out", out).await;
        // What it asks for under its signature the others' nodes bring about.
        nodes[1].until("it is back", |shown| shown.epoch == 4 && shown.running && shown.problem.is_none()).await;
        nodes.remove(2).kill().await;
        nodes[1].note("it is needed").await;
        agree(&nodes).await;
        for node in nodes {
            node.kill().await;
        }
    });
}

#[test]
fn a_sealer_whose_journal_cannot_be_opened_says_so_and_comes_back_by_itself_when_it_can() {
    runtime().block_on(async {
        let mut nodes = four(0).await;
        nodes[0].note("all are there").await;
        agree(&nodes).await;
        let (journal, _) = nodes[2].votes().await;
        let folder = nodes.remove(2).kill().await;
        // Where its votes of the epoch are kept there is something else.
        let away = folder.path().join("away");
        std::fs::rename(&journal, &away).unwrap();
        std::fs::write(&journal, b"no folder").unwrap();
        nodes.insert(2, Node::start(2, 0, folder).await);
        introduce(&nodes.iter().collect::<Vec<_>>());
        let twice = |shown: &Shown| shown.problem.as_ref().is_some_and(|text| text.contains("times in a row"));
        nodes[2].until("it says what is wrong, tried again meanwhile", twice).await;
        nodes[0].note("three go on").await;
        std::fs::remove_file(&journal).unwrap();
        std::fs::rename(&away, &journal).unwrap();
        nodes[2].until("all is well", |shown| shown.running && shown.problem.is_none()).await;
        // It is needed now.
        nodes.remove(3).kill().await;
        nodes[2].note("without another one").await;
        agree(&nodes).await;
        for node in nodes {
            node.kill().await;
        }
    });
}

#[test]
fn two_of_four_make_no_block_until_a_third_is_there() {
    runtime().block_on(async {
        let mut nodes = four(1).await;
        nodes[3].note("all are there").await;
        agree(&nodes).await;
        let folders = [nodes.pop().unwrap().kill().await, nodes.pop().unwrap().kill().await];
        let before = nodes[0].shown.borrow().height;
        let (done, mut is_done) = oneshot::channel();
        nodes[0].notes.send(Note { text: "nobody seals this".to_owned(), done }).unwrap();
        nodes[0].until("the note", |shown| shown.pending > 0).await;
        let alone = |shown: &Shown| shown.problem.as_ref().is_some_and(|text| text.starts_with("2 of 4 sealers"));
        nodes[0].until("its status says why", alone).await;
        // Long enough for views to end: the leader's time and the others'.
        assert!(timeout(Duration::from_secs(8), &mut is_done).await.is_err());
        assert_eq!(nodes[0].shown.borrow().height, before);
        let [folder, _] = folders;
        nodes.push(Node::start(3, 1, folder).await);
        introduce(&nodes.iter().collect::<Vec<_>>());
        timeout(DEADLINE, is_done).await.expect("final once three are there").unwrap();
        agree(&nodes).await;
        for node in nodes {
            node.kill().await;
        }
    });
}
