//! How many sealed transfers a second four nodes on one machine come to, beside what none of them can avoid: one signs each, three check it. And how a newcomer comes to
//! the ledger state after a hundred thousand of them: by state, and by executing the whole history.
//!
//! A node here is the real one without sockets and console: a member with its engine, its sync sessions and an SQLite file that is flushed before anything
//! is told, on a thread of its own. What members tell one another goes through memory, as bytes.
//!
//! `bench-ledger [TRANSFERS]`; 100,000 without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::hash::CHANGE_SIGNATURE_DOMAIN;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::Incoming;
use bft_json_crdt::verify::{Claim, verify_changes};
use bytes::Bytes;
use side_ledger::block::Height;
use side_ledger::genesis::{Admission, Genesis, GroupSpec, Limits, Sealing};
use side_ledger::group::Group;
use side_ledger::invitation::Checkpoint;
use side_ledger::names::Name;
use side_node::api::control::Verb;
use side_node::member::Member;
use side_node::net::{LinkId, Peer, Stream};
use side_seal::newcomer::{Newcomer, StateMessage, serve};
use side_seal::{Engine, Message};
use side_store::{OpenOptions, SqliteStore, Store as _};
use side_tests::measure::{Stopwatch, head, row};

/// Nodes: the founders, the voters, and those who pay.
const NODES: usize = 4;
/// Sealed transfers of the whole run, unless an argument says otherwise.
const TRANSFERS: usize = 100_000;
/// How many a node writes before it commits: as many requests as one round of the daemon takes.
const ROUND: usize = 256;
/// Time between blocks.
const INTERVAL_MS: u64 = 100;
/// Transfers a second that four nodes are to come to.
const BAR: f64 = 5_000.0;
/// Keys that are paid, beside the nodes.
const PAYEES: usize = 1_000;

fn keypair(number: usize) -> Keypair {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Keypair::from_seed(&seed)
}

fn genesis() -> Genesis {
    let keys = || (0..NODES).map(|number| keypair(number).author());
    Genesis::new(GroupSpec {
        name: Name::new("bench").expect("a good name"),
        created_ms: 1,
        nonce: [0; 32],
        founders: keys().collect(),
        admission: Admission::Open,
        allocation: keys().map(|key| (key, 1 << 40)).collect(),
        sealing: Sealing::Leader { interval_ms: INTERVAL_MS },
        limits: Limits::default(),
    })
    .expect("a good genesis")
}

/// What a node is sent: by whom, of which conversation, what.
type Packet = (usize, Stream, Bytes);

/// What all nodes look at.
struct Shared {
    started: Instant,
    /// How many transfers each node has sealed on its chain.
    sealed: [AtomicUsize; NODES],
    stop: AtomicBool,
}

struct Node {
    number: usize,
    member: Member,
    store: SqliteStore,
    inbox: Receiver<Packet>,
    others: BTreeMap<usize, Sender<Packet>>,
    shared: Arc<Shared>,
}

impl Node {
    /// Writes its share of the transfers and goes on until all nodes have sealed all. Gives the member and its file.
    fn run(mut self, share: usize, total: usize) -> Member {
        let peers: Vec<usize> = self.others.keys().copied().collect();
        for other in peers {
            let peer = Peer { key: keypair(other).author(), transport: "memory", address: other.to_string() };
            self.member.link_up(LinkId(other as u64), peer);
        }
        let payees: Vec<String> = (0..PAYEES).map(|n| keypair(1_000 + n).author().to_string()).collect();
        let mut written = 0;
        loop {
            for _ in 0..ROUND.min(share - written) {
                let to = payees[(written * NODES + self.number) % PAYEES].clone();
                let verb = Verb::Send { to, amount: 1 };
                let said = self.member.say(&verb, &|_| None, self.now_ms()).expect("it writes");
                said.expect("a good transfer");
                written += 1;
            }
            self.round();
            let wait = if written < share { Duration::ZERO } else { self.wait() };
            match self.inbox.recv_timeout(wait) {
                Ok(packet) => {
                    self.take(packet);
                    for packet in std::iter::from_fn(|| self.inbox.try_recv().ok()).take(ROUND).collect::<Vec<_>>() {
                        self.take(packet);
                    }
                    self.round();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.member,
            }
            let group = self.member.group();
            let sealed = group.replica().len() - group.chain().pending();
            self.shared.sealed[self.number].store(sealed, Ordering::Relaxed);
            if self.shared.sealed.iter().all(|sealed| sealed.load(Ordering::Relaxed) >= total) {
                self.shared.stop.store(true, Ordering::Relaxed);
            }
            if self.shared.stop.load(Ordering::Relaxed) {
                return self.member;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.shared.started.elapsed().as_millis() as u64
    }

    fn wait(&self) -> Duration {
        let due = self.member.deadline().map_or(20, |due| due.saturating_sub(self.now_ms()).min(20));
        Duration::from_millis(due)
    }

    fn take(&mut self, (from, stream, message): Packet) {
        let now = self.now_ms();
        self.member.receive(LinkId(from as u64), stream, &message, now);
    }

    /// As the daemon does: what is due, to disk, then out.
    fn round(&mut self) {
        let now = self.now_ms();
        self.member.tick(now);
        let batch = self.member.take_staged();
        if !batch.is_empty() {
            self.store.commit(&batch).expect("the disk takes it");
        }
        self.member.durable();
        self.member.take_news();
        assert!(self.member.take_endings().is_empty(), "a link was ended");
        for (other, way) in &self.others {
            while let Some((stream, message)) = self.member.poll_send(LinkId(*other as u64)) {
                let _ = way.send((self.number, stream, message));
            }
        }
    }
}

/// Four nodes pay; gives their members and how long it took.
fn pay(folder: &Path, transfers: usize) -> (Vec<Member>, Stopwatch, Duration, Vec<PathBuf>) {
    let files: Vec<PathBuf> = (0..NODES).map(|number| folder.join(format!("{number}.sqlite"))).collect();
    let ways: Vec<(Sender<Packet>, Receiver<Packet>)> = (0..NODES).map(|_| channel()).collect();
    let (senders, inboxes): (Vec<_>, Vec<_>) = ways.into_iter().unzip();
    let shared = Arc::new(Shared { started: Instant::now(), sealed: Default::default(), stop: AtomicBool::new(false) });
    let nodes: Vec<Node> = inboxes
        .into_iter()
        .enumerate()
        .map(|(number, inbox)| {
            let mut store = SqliteStore::open(&files[number], &OpenOptions::default()).expect("a file");
            let name = Name::new(&format!("node{number}")).expect("a good name");
            let member = Member::load(name, genesis(), keypair(number), &mut store).expect("an empty group");
            let others = senders.iter().cloned().enumerate().filter(|(other, _)| *other != number).collect();
            Node { number, member, store, inbox, others, shared: shared.clone() }
        })
        .collect();
    drop(senders);
    let watch = Stopwatch::start();
    let share = transfers / NODES;
    let threads: Vec<_> = nodes.into_iter().map(|node| thread::spawn(move || node.run(share, share * NODES))).collect();
    let members: Vec<Member> = threads.into_iter().map(|thread| thread.join().expect("a node")).collect();
    let took = watch.lap().wall;
    (members, watch, took, files)
}

/// What four nodes cannot avoid: each transfer is signed once and checked three times, by as many threads.
fn signatures(transfers: usize) -> Duration {
    let started = Instant::now();
    let threads: Vec<_> = (0..NODES)
        .map(|number| {
            thread::spawn(move || {
                let keypair = keypair(number);
                let (mut id, mut claims) = ([number as u8; 32], Vec::new());
                for n in 0..transfers / NODES {
                    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
                    claims.push((id, keypair.sign(CHANGE_SIGNATURE_DOMAIN, &id)));
                }
                for round in claims.chunks(ROUND) {
                    for _ in 1..NODES {
                        let claims: Vec<Claim<'_>> = round
                            .iter()
                            .map(|(id, signature)| Claim {
                                author: keypair.author(),
                                message: id,
                                signature: *signature,
                            })
                            .collect();
                        assert!(verify_changes(&claims).into_iter().all(|good| good));
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("signatures"));
    started.elapsed()
}

/// A newcomer with a checkpoint, by state: how long it takes until it shows balances, and how many bytes.
fn by_state(group: &mut Group, engine: &Engine, checkpoint: Checkpoint) -> (Duration, usize) {
    let started = Instant::now();
    let mut newcomer = Newcomer::new(genesis(), Some(checkpoint));
    let (mut bytes, mut queue) = (0, Vec::from_iter(newcomer.joined(1, 0)));
    while let Some((member, question)) = queue.pop() {
        let question = StateMessage::decode(&question, genesis().spec()).expect("a good question");
        for answer in serve(group, engine, &question) {
            let answer = answer.encode();
            bytes += answer.len();
            let (post, fault) = newcomer.hear(member, &answer, 0);
            assert_eq!(fault, None);
            queue.extend(post);
        }
    }
    let view = newcomer.view().expect("the state is whole");
    assert_eq!(view.block.state_root, group.state_root());
    (started.elapsed(), bytes)
}

/// The same by the whole history: every signature checked, every block executed.
fn by_replay(group: &Group, engine: &Engine) -> (Duration, usize) {
    let log: Vec<Bytes> =
        (0..group.replica().len() as u32).map(|number| group.replica().bytes(ChangeIdx(number))).collect();
    let Engine::Leader(leader) = engine else { unreachable!("the group seals in leader mode") };
    let blocks: Vec<_> =
        group.chain().blocks().iter().map(|sealed| leader.block(&sealed.id).expect("it is here").encode()).collect();
    let bytes = log.iter().map(Bytes::len).sum::<usize>() + blocks.iter().map(Vec::len).sum::<usize>();
    let started = Instant::now();
    let mut own = Group::open(genesis(), Some(keypair(77).author()), Default::default());
    let mut engine = Engine::new(&genesis(), Some(keypair(77)));
    for part in log.chunks(1_024) {
        let part = part
            .iter()
            .map(|bytes| Incoming::from(bft_json_crdt::change::Change::decode(bytes.clone()).expect("a good change")));
        own.apply_batch(part.collect());
    }
    for part in blocks.chunks(side_seal::message::MAX_BLOCKS) {
        let part = part.iter().map(|bytes| side_seal::SignedBlock::decode(bytes).expect("a good block"));
        let (_, refusal) = engine.hear(&mut own, Message::Blocks(part.collect()));
        assert_eq!(refusal, None);
    }
    assert_eq!(own.chain().tip_id(), group.chain().tip_id());
    (started.elapsed(), bytes)
}

fn size_of(file: &Path) -> u64 {
    ["", "-wal"]
        .iter()
        .filter_map(|end| std::fs::metadata(format!("{}{end}", file.display())).ok())
        .map(|m| m.len())
        .sum()
}

fn main() {
    let transfers = std::env::args().nth(1).map_or(TRANSFERS, |text| text.parse().expect("a number of transfers"));
    let folder = tempfile::tempdir().expect("a folder");
    let limit = signatures(transfers).as_secs_f64();
    let (mut members, watch, took, files) = pay(folder.path(), transfers);
    let cpu = watch.lap().cpu.as_secs_f64();
    let tips: Vec<_> = members.iter().map(|member| member.group().chain().tip_id()).collect();
    let roots: Vec<_> =
        members.iter().map(|member| member.group().chain().tip().map(|tip| tip.block.state_root)).collect();
    assert!(tips.windows(2).all(|pair| pair[0] == pair[1]) && roots.windows(2).all(|pair| pair[0] == pair[1]));
    let member = members.swap_remove(0);
    let blocks = member.group().chain().height().0;
    // A node that starts from its file has the same group; its engine has its own word only, so the others' are told again.
    let mut group = Group::open(genesis(), Some(keypair(0).author()), Default::default());
    let log: Vec<Incoming> = member.group().replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect();
    log.chunks(1_024).for_each(|part| drop(group.apply_batch(part.to_vec())));
    let mut engine = Engine::new(&genesis(), Some(keypair(0)));
    for other in &members {
        for message in told(other) {
            engine.hear(&mut group, message);
        }
    }
    catch_all(&mut engine, &mut group, &member);
    let first = group.chain().at(Height(1)).expect("a block").clone();
    let checkpoint = Checkpoint { rank: first.block.rank(), block: first.id, state_root: first.block.state_root };
    let (state, state_bytes) = by_state(&mut group, &engine, checkpoint);
    let (replay, replay_bytes) = by_replay(&group, &engine);
    let on_disk = files.iter().map(|file| size_of(file)).max().unwrap_or(0);

    let rate = transfers as f64 / took.as_secs_f64();
    println!(
        "{transfers} transfers, {NODES} nodes, {blocks} blocks, {} threads of the machine, {:.1} µs of CPU a transfer on all nodes together\n",
        thread::available_parallelism().map_or(1, usize::from),
        cpu * 1e6 / transfers as f64
    );
    head();
    row(
        &format!("sealed transfers a second, held by all {NODES} (bar {BAR})"),
        &format!("{rate:.0}"),
        &format!("{:.0} (signatures)", transfers as f64 / limit),
        &format!("{:.2}", limit / took.as_secs_f64()),
        rate >= BAR,
    );
    row(
        "catch-up by state until balances are shown",
        &format!("{:.1} ms, {} kB", state.as_secs_f64() * 1e3, state_bytes / 1_000),
        &format!("{:.1} s, {} kB (replay)", replay.as_secs_f64(), replay_bytes / 1_000),
        &format!("{:.4}", state.as_secs_f64() / replay.as_secs_f64()),
        state.as_secs_f64() < replay.as_secs_f64() / 10.0,
    );
    let sixth = (limit / NODES as f64).max(f64::MIN_POSITIVE);
    row(
        "catch-up by full replay, µs a transfer",
        &format!("{:.1}", replay.as_secs_f64() * 1e6 / transfers as f64),
        &format!("{:.1} (sign. checks, spread)", sixth * 1e6 / transfers as f64),
        &format!("{:.1}", replay.as_secs_f64() / sixth),
        None,
    );
    row(
        "disk bytes a transfer (SQLite with its WAL)",
        &format!("{:.0}", on_disk as f64 / transfers as f64),
        &format!("{:.0} (as signed)", replay_bytes as f64 / transfers as f64),
        &format!("{:.2}", on_disk as f64 / replay_bytes as f64),
        None,
    );
}

/// What a member tells whoever connects.
fn told(member: &Member) -> Vec<Message> {
    member.engine().greet(member.group())
}

/// Brings an engine to the end of a member's chain.
fn catch_all(engine: &mut Engine, group: &mut Group, member: &Member) {
    let chain = member.group().chain();
    while group.chain().height() < chain.height() {
        let have = vec![group.chain().tip_id()];
        let answer = member.engine().answer(member.group(), &chain.tip_id(), &have).expect("it has its own blocks");
        let (_, refusal) = engine.hear(group, answer);
        assert_eq!(refusal, None);
    }
    for message in told(member) {
        engine.hear(group, message);
    }
}
