//! Blocks through a relay: it checks, keeps and serves them, charges whoever sends bad ones, and seals where a group has made it the sealer.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use side_ledger::block::{Block, Height};
use side_ledger::transaction::VoterAsk;
use side_ledger::{Admission, Genesis, GroupSpec, Limits, Name, Sealing};
use side_seal::{DoubleSeal, Message as Seal, SignedBlock, Warrant};
use side_watcher::protocol::limits::{MAX_SIDE_BYTES, SIDE_BURST};
use side_watcher::protocol::{CloseReason, Lane};
use side_watcher::server::{Config, Server};

use crate::follower::{Follower, agree};
use crate::support::{PATIENCE, Raw, Relay, keypair};

/// A group whose first sealer is the lowest of these keys.
fn founded(founders: &[AuthorId]) -> Genesis {
    Genesis::new(GroupSpec {
        name: Name::new("friends").unwrap(),
        created_ms: 1,
        nonce: [7; 32],
        founders: founders.to_vec(),
        admission: Admission::Open,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 10 },
        limits: Limits::default(),
    })
    .unwrap()
}

/// Key pairs above a key, so that it is the lowest of a group's founders.
fn above(key: AuthorId) -> impl Iterator<Item = Keypair> {
    let all = (0u16..).map(|seed| Keypair::from_seed(&[seed.to_be_bytes(); 16].concat().try_into().unwrap()));
    all.filter(move |keypair| keypair.author() > key)
}

fn metric(server: &Server, line: &str) -> u64 {
    let text = server.metrics().encode();
    let value = text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or(" 0");
    value.trim().parse().unwrap()
}

/// Waits until a condition holds that nobody tells of.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_gets_the_blocks_from_the_relay_alone() {
    let mut relay = Relay::start().await;
    let genesis = founded(&[keypair(1).author()]);
    let sealer = Follower::start(&relay.url(), keypair(1), &genesis);
    for number in 1..=100 {
        sealer.note(&format!("note {number}"));
        if number % 10 == 0 {
            sealer.until("it is sealed", |view| view.changes == number && view.pending == 0).await;
        }
    }
    let last = sealer.until("everything is sealed", |view| view.pending == 0).await;
    assert!(last.height >= 10, "{last:?}");
    sealer.acknowledged().await;
    let witness = Follower::start(&relay.url(), keypair(2), &genesis);
    agree(&[&sealer, &witness], 100).await;
    // From here on nobody but the relay has them, and from here on only its store.
    drop((sealer, witness));
    relay.restart().await;
    let late = Follower::start(&relay.url(), keypair(3), &genesis);
    let view = late.until("it has caught up", |view| view.height == last.height && view.pending == 0).await;
    assert_eq!((view.tip, view.changes), (last.tip, 100));
    late.held().group.debug_check();
    assert_eq!(metric(relay.server(), &format!("side_watcher_height{{group=\"{}\"}}", genesis.id())), last.height);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_block_is_charged_and_reaches_nobody() {
    let relay = Relay::start().await;
    let genesis = founded(&[keypair(1).author()]);
    let [sealer, other] = [1, 2].map(|seed| Follower::start(&relay.url(), keypair(seed), &genesis));
    sealer.note("one");
    agree(&[&sealer, &other], 1).await;
    let first = sealer.tip();
    let next = Block {
        height: Height(2),
        parent: first.id(),
        cut: first.block().cut.clone(),
        time_ms: first.block().time_ms + 1,
        ..first.block().clone()
    };
    let by = |seed, block: &Block| SignedBlock::sign(block.clone(), &keypair(seed), Warrant::default()).unwrap();
    let stranger = by(2, &next);
    let mut broken = Seal::Blocks(vec![first.clone()]).encode();
    *broken.last_mut().unwrap() ^= 1;
    let at = broken.len() - 10;
    broken[at] ^= 1;
    for (what, bytes) in [
        ("not signed by the sealer", Seal::Blocks(vec![stranger]).encode()),
        ("broken", broken),
        ("no message", vec![1, 0xff, 0xff]),
        (
            "of another group",
            Seal::Blocks(vec![by(1, &Block { group: side_ledger::GroupId([5; 32]), ..next.clone() })]).encode(),
        ),
    ] {
        let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &genesis).await;
        for _ in 0..20 {
            raw.send(channel.on(Lane::Seal).envelope(&bytes)).await;
        }
        assert_eq!(raw.closed().await, Some(CloseReason::Strikes), "a block that is {what}");
    }
    sealer.note("two");
    agree(&[&sealer, &other], 2).await;
    for honest in [&sealer, &other] {
        assert_eq!(honest.view().connections, 1, "an honest member was cut");
    }
    // The sealer's own lie is charged to whoever brings it, and goes no further.
    let second = sealer.tip();
    drop(sealer);
    let third = Block { height: Height(3), parent: second.id(), state_root: [6; 32], ..second.block().clone() };
    let reason = "side_watcher_strikes_total{reason=\"bad-block\"}";
    let strikes = metric(relay.server(), reason);
    let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &genesis).await;
    raw.send(channel.on(Lane::Seal).envelope(&Seal::Blocks(vec![by(1, &third)]).encode())).await;
    until("the lie is charged", || metric(relay.server(), reason) > strikes).await;
    other.note("three");
    other.acknowledged().await;
    let late = Follower::start(&relay.url(), keypair(3), &genesis);
    late.until("it has caught up", |view| view.changes == 3 && view.height == 2).await;
    for honest in [&other, &late] {
        assert!(honest.held().engine.block(&by(1, &third).id()).is_none(), "the relay has passed a lie on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_double_seal_is_shown_to_everybody_and_kept() {
    let mut relay = Relay::start().await;
    let genesis = founded(&[keypair(1).author()]);
    let sealer = Follower::start(&relay.url(), keypair(1), &genesis);
    sealer.note("one");
    agree(&[&sealer], 1).await;
    sealer.acknowledged().await;
    let first = sealer.tip();
    drop(sealer);
    let twin = Block { time_ms: first.block().time_ms + 1, ..first.block().clone() };
    let twin = SignedBlock::sign(twin, &keypair(1), Warrant::default()).unwrap();
    let (mut raw, channel) = Raw::greeted(&relay.url(), 1, &genesis).await;
    raw.send(channel.on(Lane::Seal).envelope(&Seal::Blocks(vec![twin.clone()]).encode())).await;
    let expected = DoubleSeal::new(&first, &twin).unwrap();
    let mut found = false;
    while !found {
        let (on, payload) = raw.next().await.unwrap();
        found = on == channel.on(Lane::Seal) && Seal::decode(&payload).unwrap() == Seal::Double(expected.clone());
    }
    relay.restart().await;
    let late = Follower::start(&relay.url(), keypair(3), &genesis);
    late.until("it knows", |view| view.proofs == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_seals_and_lets_voters_in() {
    let relay = Relay::start().await;
    let me = relay.server().identity();
    let genesis = founded(&[me]);
    let mut keys = above(me);
    let [a, b] = [(); 2].map(|()| Follower::start(&relay.url(), keys.next().unwrap(), &genesis));
    for number in 0..20 {
        [&a, &b][number % 2].note(&format!("note {number}"));
    }
    agree(&[&a, &b], 20).await;
    for (set, newcomer) in [(1, &a), (2, &b)] {
        let block = newcomer.held().group.chain().tip_id();
        newcomer.write(VoterAsk { block });
        // The next set's first block needs the voters' words, and something to seal.
        for follower in [&a, &b] {
            follower.until("the next set has begun", |view| view.in_force == set).await;
        }
    }
    // Each round: an ask, and of the relay's a set.close and something to seal.
    agree(&[&a, &b], 26).await;
    let voters = a.held().group.chain().governance().voters.clone();
    assert_eq!(voters.into_iter().collect::<Vec<_>>(), {
        let mut all = vec![me, a.author(), b.author()];
        all.sort();
        all
    });
    assert_eq!((a.view().proofs, b.view().proofs), (0, 0));
}

/// A relay as a process of its own, which can be killed.
struct Program {
    child: Child,
    address: String,
    key: AuthorId,
}

impl Program {
    fn start(data: &Path, listen: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_side-watcher"));
        command.env_clear().args(["--listen", listen, "--log", "warn", "--data"]).arg(data).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.next().unwrap().strip_prefix("side-watcher ready on ws://").unwrap().to_owned();
        let key = hex::decode(lines.next().unwrap().strip_prefix("key ").unwrap()).unwrap();
        Self { child, address, key: AuthorId::from_bytes(key.try_into().unwrap()).unwrap() }
    }

    /// SIGKILL: it gets no chance to write anything.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealing_relay_that_is_killed_goes_on_and_seals_no_rank_twice() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("watcher");
    let mut relay = Program::start(&data, "127.0.0.1:0");
    let (url, key) = (format!("ws://{}", relay.address), relay.key);
    let genesis = founded(&[key]);
    let mut keys = above(key);
    let [a, b] = [(); 2].map(|()| Follower::start(&url, keys.next().unwrap(), &genesis));
    let mut height = 0;
    for round in 0..6 {
        for number in 0..15 {
            [&a, &b][number % 2].note(&format!("note {number} of round {round}"));
            // Let some blocks come between.
            if number % 5 == 4 {
                let seen = a.view().height;
                a.until("a block came", |view| view.height > seen || view.pending == 0).await;
            }
        }
        // In the middle of whatever it does.
        relay.kill();
        relay = Program::start(&data, &relay.address.clone());
        assert_eq!(relay.key, key);
        let now = agree(&[&a, &b], 15 * (round + 1)).await;
        assert!(now > height);
        height = now;
    }
    // Whoever has seen everything, and whoever sees it for the first time, finds no fault with the sealer.
    let late = Follower::start(&url, keys.next().unwrap(), &genesis);
    agree(&[&a, &b, &late], 90).await;
    for follower in [&a, &b, &late] {
        assert_eq!(follower.view().proofs, 0, "the relay has convicted itself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_an_old_copy_of_its_folder_seals_only_once_it_has_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("watcher"), folder.path().join("copy"));
    let config = || Config { witness: Some(folder.path().join("witness")), ..Config::local(&data) };
    let server = Server::start(config()).await.unwrap();
    let (listen, me) = (server.address(), server.identity());
    let config = || Config { listen, ..config() };
    let mut keys = above(me);
    let [a, b, c] = [(); 3].map(|()| keys.next().unwrap());
    let genesis = founded(&[me, a.author(), b.author()]);
    let [a, b] = [a, b].map(|keypair| Follower::start(&server.url(), keypair, &genesis));
    a.note("before the copy");
    let at_copy = agree(&[&a, &b], 1).await;
    server.shutdown().await.unwrap();
    copy_folder(&data, &copy);

    let server = Server::start(config()).await.unwrap();
    for number in 0..5 {
        b.note(&format!("after the copy {number}"));
        agree(&[&a, &b], 2 + number).await;
    }
    let before = a.view();
    assert!(before.height > at_copy);
    server.shutdown().await.unwrap();
    // The members are away; the old folder comes back, in place.
    let away = (a, b);
    for entry in std::fs::read_dir(&copy).unwrap() {
        let entry = entry.unwrap();
        std::fs::write(data.join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
    }
    let _ = std::fs::remove_file(data.join("side.sqlite-wal"));
    let (listening, mut keys) = (listen, above(me).skip(3));
    // At another port, where the members do not find it yet.
    let elsewhere = Config { listen: "127.0.0.1:0".parse().unwrap(), ..config() };
    let server = Server::start(elsewhere.clone()).await.unwrap();
    assert_eq!(server.identity(), me);
    let stranger = Follower::start(&server.url(), keys.next().unwrap(), &genesis);
    let stray = Follower::start(&server.url(), c, &genesis);
    // By then it has answered where its chain ends.
    stranger.until("it has the old chain", |view| view.height == at_copy).await;
    stranger.note("who is here?");
    stranger.acknowledged().await;
    stray.until("it has the old chain and the note", |view| view.changes == 2 && view.height == at_copy).await;
    assert_eq!(stray.view().pending, 1, "it has sealed over what it has forgotten");
    server.shutdown().await.unwrap();
    // A restart does not make it forget its caution. Now one of the two voters comes, then the other.
    let server = Server::start(Config { listen: listening, ..config() }).await.unwrap();
    let (a, b) = away;
    let all = [&a, &b];
    for follower in all {
        follower.until("it is back", |view| view.connected && view.acknowledged).await;
    }
    let again = Follower::start(&server.url(), keys.next().unwrap(), &genesis);
    again.note("all are here");
    // Six notes of the two, the stranger's, this one. In this epoch it may have sealed what nobody here has seen: it goes on in the next, which the two let it begin.
    for follower in all {
        follower.until("the notes wait", |view| (view.changes, view.pending) == (8, 2)).await;
    }
    for follower in all {
        let vote = {
            let held = follower.held();
            held.engine.vote(&held.group, me).unwrap()
        };
        follower.write(vote);
    }
    agree(&[&a, &b, &again], 10).await;
    for follower in [&a, &b, &again] {
        assert_eq!(follower.view().proofs, 0, "the relay has convicted itself");
    }
    assert!(a.view().height > before.height);
    assert_eq!(a.held().group.chain().at(Height(before.height)).unwrap().id, before.tip.unwrap());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_records_reach_the_others_within_bounds() {
    let relay = Relay::start().await;
    let genesis = founded(&[keypair(1).author()]);
    let [a, b, c] = [1, 2, 3].map(|seed| Follower::start(&relay.url(), keypair(seed), &genesis));
    for follower in [&a, &b, &c] {
        follower.until("it is connected", |view| view.connected && view.acknowledged).await;
    }
    a.say_beside(Bytes::from(vec![0; MAX_SIDE_BYTES + 1])).await;
    let sent: Vec<Bytes> = (0..SIDE_BURST + 40).map(|number| Bytes::from(vec![number as u8; 100])).collect();
    for message in &sent {
        a.say_beside(message.clone()).await;
    }
    b.say_beside(Bytes::from_static(b"from b")).await;
    for follower in [&b, &c] {
        follower.until("the burst is here", |view| view.side.len() >= SIDE_BURST as usize).await;
    }
    c.until("b's is here", |view| view.side.contains(&Bytes::from_static(b"from b"))).await;
    let at_a = a.until("b's is here", |view| !view.side.is_empty()).await;
    assert_eq!(at_a.side, [Bytes::from_static(b"from b")], "nothing goes back");
    assert_eq!(b.view().side[..SIDE_BURST as usize], sent[..SIDE_BURST as usize]);
    let count = |what: &str| metric(relay.server(), &format!("side_watcher_side_messages_total{{reason=\"{what}\"}}"));
    until("all is judged", || count("dropped") + count("passed-on") == SIDE_BURST + 42).await;
    assert!(count("dropped") > 1, "a burst has no bound");
    assert_eq!(a.view().connections, 1, "what is beyond the bounds is no fault");
}
