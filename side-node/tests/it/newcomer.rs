//! A node whose invitation names a block: the state first, the history afterwards; proofs and invitations of running nodes.

use std::collections::BTreeMap;

use bft_json_crdt::identity::Keypair;
use bft_json_crdt::sync::Message as SyncMessage;
use bytes::Bytes;
use side_ledger::genesis::{Admission, Genesis, GroupSpec, Limits, Sealing};
use side_ledger::invitation::Checkpoint;
use side_ledger::{Invitation, Name};
use side_node::api::control::Verb;
use side_node::daemon::groups::{GroupAction, InviteOptions, Invitee};
use side_node::daemon::view::{Backfill, Document, Proven, Status};
use side_node::daemon::{Announcement, Daemon};
use side_node::member::{Around, Member, News};
use side_node::net::{LinkId, Peer, Stream};
use side_seal::bundle::{Bundle, Trusted};
use side_seal::newcomer::StateMessage;
use side_store::{MemoryStore, Store as _};

use crate::support::{TestRoot, history, relay, until, until_agreed, until_in_sync};

fn keypair(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn genesis() -> Genesis {
    Genesis::new(GroupSpec {
        name: Name::new("friends").unwrap(),
        created_ms: 1,
        nonce: [3; 32],
        founders: vec![keypair(1).author()],
        admission: Admission::Open,
        allocation: [(keypair(1).author(), 10_000)].into(),
        sealing: Sealing::Leader { interval_ms: 10 },
        limits: Limits::default(),
    })
    .unwrap()
}

/// A member with its store, and what it says on its links.
struct Node {
    member: Member,
    store: MemoryStore,
}

impl Node {
    fn new(seed: u8, checkpoint: Option<Checkpoint>) -> Self {
        Self::on(MemoryStore::default(), seed, checkpoint)
    }

    fn on(mut store: MemoryStore, seed: u8, checkpoint: Option<Checkpoint>) -> Self {
        let name = Name::new(&format!("node{seed}")).unwrap();
        let mut member = Member::load(name, genesis(), keypair(seed), &mut store).unwrap();
        member.begin_with(checkpoint);
        member.begin(1).unwrap();
        let mut node = Self { member, store };
        node.round(1);
        node
    }

    fn round(&mut self, now_ms: u64) -> Vec<News> {
        self.member.tick(now_ms);
        self.store.commit(&self.member.take_staged()).unwrap();
        self.member.durable();
        self.member.take_news()
    }

    fn write(&mut self, text: &str, now_ms: u64) {
        self.member.say(&Verb::Note { text: text.to_owned() }, &|_| None, now_ms).unwrap().unwrap();
        self.round(now_ms);
    }

    fn status(&mut self) -> Status {
        self.member.status(Around::default())
    }
}

fn peer(node: &Node) -> Peer {
    Peer { key: node.member.author(), transport: "test", address: "nowhere".to_owned() }
}

/// Connects members: the newcomer on one side, each of the others on the other.
fn connect(newcomer: &mut Node, others: &mut [Node]) {
    for (number, other) in others.iter_mut().enumerate() {
        let link = LinkId(number as u64);
        newcomer.member.link_up(link, peer(other));
        other.member.link_up(LinkId(100), peer(newcomer));
    }
}

/// Carries messages to and fro, as `pass` lets them, until nobody says anything more. `pass` is told who speaks (`None`: the newcomer).
fn talk(
    newcomer: &mut Node,
    others: &mut [Node],
    now_ms: u64,
    mut pass: impl FnMut(Option<usize>, Stream, Bytes) -> Option<Bytes>,
) -> Vec<News> {
    let mut news = Vec::new();
    for _ in 0..10_000 {
        let mut quiet = true;
        news.extend(newcomer.round(now_ms));
        for (number, other) in others.iter_mut().enumerate() {
            other.round(now_ms);
            let link = LinkId(number as u64);
            while let Some((stream, message)) = newcomer.member.poll_send(link) {
                quiet = false;
                if let Some(message) = pass(None, stream, message) {
                    other.member.receive(LinkId(100), stream, &message, now_ms);
                }
            }
            other.round(now_ms);
            while let Some((stream, message)) = other.member.poll_send(LinkId(100)) {
                quiet = false;
                if let Some(message) = pass(Some(number), stream, message) {
                    newcomer.member.receive(link, stream, &message, now_ms);
                }
            }
        }
        if quiet {
            return news;
        }
    }
    panic!("they talk for ever");
}

fn everything(_: Option<usize>, _: Stream, message: Bytes) -> Option<Bytes> {
    Some(message)
}

/// Nothing of the history reaches the newcomer.
fn no_history(from: Option<usize>, stream: Stream, message: Bytes) -> Option<Bytes> {
    (from.is_none() || !is_history(stream, &message)).then_some(message)
}

fn is_history(stream: Stream, message: &Bytes) -> bool {
    stream == Stream::Sync && matches!(SyncMessage::decode(message), Ok(SyncMessage::Changes(_)))
}

/// The founder with a chain of payments and notes; gives a checkpoint in its middle.
fn founder(blocks: u64) -> (Node, Option<Checkpoint>) {
    let mut node = Node::new(1, None);
    let mut checkpoint = None;
    for n in 0..blocks {
        node.write(&format!("note {n}"), 100 * n);
        node.round(100 * n + 50);
        if n == blocks / 2 {
            checkpoint = node.member.checkpoint();
        }
    }
    assert!(node.status().height >= blocks);
    (node, checkpoint)
}

#[test]
fn the_state_comes_first_then_the_history_and_both_come_to_the_same() {
    let (founder, checkpoint) = founder(40);
    let mut others = [founder];
    let mut newcomer = Node::new(2, checkpoint);
    assert_eq!(newcomer.status().document, Document::Incomplete);
    connect(&mut newcomer, &mut others);
    let mut news = talk(&mut newcomer, &mut others, 10_000, no_history);
    assert!(newcomer.status().height >= 40);
    // What the newcomer wrote at first, its name, was sealed meanwhile.
    news.extend(talk(&mut newcomer, &mut others, 13_000, no_history));
    let (shown, theirs) = (newcomer.status(), others[0].status());
    assert_eq!((shown.height, &shown.block, &shown.state_root), (theirs.height, &theirs.block, &theirs.state_root));
    assert_eq!((shown.document, theirs.document), (Document::Incomplete, Document::Complete));
    // Its own name stands there.
    assert_eq!(shown.backfill, Some(Backfill { have: 1, want: theirs.changes - theirs.pending }));
    assert!(!shown.may_seal && theirs.may_seal);
    let balances = newcomer.member.balances();
    assert_eq!((balances.height, balances.accounts[0].balance), (theirs.height, 10_000));
    assert!(news.iter().any(|news| matches!(news, News::Notice(text) if text.contains("has the state of block"))));
    // It writes, and is heard.
    newcomer.write("hello", 13_001);
    talk(&mut newcomer, &mut others, 13_002, no_history);
    let said = others[0].member.history(Some(100));
    assert!(said.entries.iter().any(|line| line.entry.body == "hello" && line.entry.author == keypair(2).author()));
    // The group goes on, and so does what is shown.
    others[0].round(20_000);
    talk(&mut newcomer, &mut others, 20_001, no_history);
    let (shown, theirs) = (newcomer.status(), others[0].status());
    assert_eq!((shown.height, &shown.state_root), (theirs.height, &theirs.state_root));
    assert!(theirs.height > balances.height);
    // Whoever has not the history asks for no vote.
    assert!(!others[0].member.history(None).entries.iter().any(|line| line.entry.kind == "voter.ask"));
    // The history comes. What was lost on the way comes again on a new link.
    newcomer.member.link_down(LinkId(0));
    others[0].member.link_down(LinkId(100));
    connect(&mut newcomer, &mut others);
    let mut news = talk(&mut newcomer, &mut others, 30_000, everything);
    news.extend(talk(&mut newcomer, &mut others, 40_000, everything));
    news.extend(talk(&mut newcomer, &mut others, 50_000, everything));
    let (shown, theirs) = (newcomer.status(), others[0].status());
    assert_eq!((shown.document, shown.backfill), (Document::Complete, None));
    assert_eq!((shown.height, &shown.state_root, &shown.digest), (theirs.height, &theirs.state_root, &theirs.digest));
    assert!(news.iter().any(|news| matches!(news, News::Notice(text) if text.contains("the whole history is here"))));
    // Now it takes part.
    assert!(shown.may_seal);
    assert!(others[0].member.history(None).entries.iter().any(|line| line.entry.kind == "voter.ask"));
}

#[test]
fn what_has_come_of_the_history_stays_whenever_the_node_dies() {
    let (founder, checkpoint) = founder(60);
    let mut others = [founder];
    let (mut store, mut have, mut lives) = (MemoryStore::default(), 0, 0);
    loop {
        let mut newcomer = Node::on(store, 2, checkpoint);
        let before = newcomer.status().changes;
        assert!(before >= have, "what was on disk is there");
        have = before;
        connect(&mut newcomer, &mut others);
        // In each life one message with changes comes through; then it dies.
        let mut left = 1;
        talk(&mut newcomer, &mut others, 10_000 + lives, |from, stream, message| {
            let history = from.is_some() && is_history(stream, &message);
            if history && left == 0 {
                return None;
            }
            left -= u32::from(history);
            Some(message)
        });
        let status = newcomer.status();
        others[0].member.link_down(LinkId(100));
        lives += 1;
        if status.document == Document::Complete {
            assert_eq!(status.state_root, others[0].status().state_root);
            break;
        }
        assert!(status.backfill.is_some(), "the state is there in every life: {status:?}");
        assert!(lives < 200, "it does not come to an end");
        store = newcomer.store;
    }
    // Complete it stays.
    assert!(lives >= 1);
}

#[test]
fn a_member_that_lies_about_the_state_is_disconnected_and_another_one_is_asked() {
    for lie in 0..4 {
        let (honest, checkpoint) = founder(20);
        // The liar is a member that has everything.
        let mut liar = [Node::new(3, None)];
        let mut honest = [honest];
        connect(&mut liar[0], &mut honest);
        talk(&mut liar[0], &mut honest, 5_000, everything);
        honest[0].member.link_down(LinkId(100));
        liar[0].member.link_down(LinkId(0));
        let (one, [two]) = (liar, honest);
        let mut others = one.into_iter().chain([two]).collect::<Vec<_>>();
        let mut newcomer = Node::new(2, checkpoint);
        connect(&mut newcomer, &mut others);
        let spec = genesis().spec().clone();
        talk(&mut newcomer, &mut others, 10_000, |from, stream, message| {
            if (from, stream) != (Some(0), Stream::Side) {
                return no_history(from, stream, message);
            }
            let changed = match (lie, StateMessage::decode(&message, &spec).unwrap()) {
                (0, StateMessage::State(mut offer)) => {
                    offer.opening.state.accounts_root[0] ^= 1;
                    StateMessage::State(offer)
                }
                (1, StateMessage::State(mut offer)) => {
                    offer.anchor = None;
                    StateMessage::State(offer)
                }
                (2, StateMessage::Piece { block, number, mut bytes }) => {
                    *bytes.last_mut().unwrap() ^= 1;
                    StateMessage::Piece { block, number, bytes }
                }
                (3, StateMessage::Piece { block, number, mut bytes }) => {
                    bytes.push(0);
                    StateMessage::Piece { block, number, bytes }
                }
                (_, other) => other,
            };
            Some(changed.encode().into())
        });
        let endings = newcomer.member.take_endings();
        assert_eq!((endings.len(), endings[0].link, endings[0].fault), (1, LinkId(0), true), "lie {lie}");
        assert!(endings[0].reason.contains("about the state"), "{}", endings[0].reason);
        let (shown, theirs) = (newcomer.status(), others[1].status());
        assert_eq!((shown.height, shown.state_root), (theirs.height, theirs.state_root), "lie {lie}");
        let told = shown.peers.iter().find(|line| !line.connected).and_then(|line| line.problem.clone());
        assert!(told.unwrap().contains("about the state"), "people see why");
    }
}

#[test]
fn a_history_that_leads_elsewhere_is_told_and_nothing_is_sealed() {
    let (founder, checkpoint) = founder(20);
    // The invitation names a block that is not on the founder's chain.
    let forged = checkpoint.map(|checkpoint| Checkpoint { block: side_ledger::BlockId([7; 32]), ..checkpoint });
    let mut others = [founder];
    let mut newcomer = Node::new(2, forged);
    connect(&mut newcomer, &mut others);
    let mut news = Vec::new();
    for round in 1..10 {
        news.extend(talk(&mut newcomer, &mut others, 10_000 * round, everything));
    }
    let status = newcomer.status();
    assert_eq!((status.document, status.may_seal), (Document::Incomplete, false));
    let told = news.iter().filter(|news| matches!(news, News::Notice(text) if text.contains("leads to block")));
    assert_eq!(told.count(), 1, "{news:?}");
    assert!(!others[0].member.history(None).entries.iter().any(|line| line.entry.kind == "voter.ask"));
}

#[test]
fn hostile_questions_about_the_state_cost_a_peer_its_link_or_nothing() {
    let (mut founder, _) = founder(10);
    let link = LinkId(1);
    let stranger = Node::new(9, None);
    founder.member.link_up(link, peer(&stranger));
    // Floods are bounded: a few wait, the rest is forgotten.
    let block = side_ledger::BlockId(hex::decode(founder.status().block).unwrap().try_into().unwrap());
    let ask = StateMessage::Ask { from: side_ledger::BlockId::origin(genesis().id()), known: None };
    let want = StateMessage::Want { block, numbers: (0..64).collect() };
    for message in [&ask, &want].into_iter().cycle().take(10_000) {
        founder.member.receive(link, Stream::Side, &message.encode().into(), 1);
    }
    founder.round(2);
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    while let Some((stream, message)) = founder.member.poll_send(link) {
        if stream == Stream::Side {
            *sizes.entry(StateMessage::tag(&message).unwrap()).or_default() += 1;
        }
    }
    assert!(sizes.values().sum::<usize>() <= 4, "{sizes:?}");
    // What only newcomers are told means nothing to others; what is malformed ends the link.
    founder.member.receive(link, Stream::Side, &StateMessage::Nothing(block).encode().into(), 3);
    assert!(founder.member.take_endings().is_empty());
    founder.member.receive(link, Stream::Side, &Bytes::from_static(&[18, 1, 2]), 3);
    assert!(
        founder.member.take_endings().iter().any(|ending| ending.fault && ending.reason.contains("about the state"))
    );
}

fn notices(first: &mut tokio::sync::broadcast::Receiver<Announcement>) -> Vec<String> {
    std::iter::from_fn(|| first.try_recv().ok())
        .filter_map(|announcement| match announcement {
            Announcement::Notice(text) => Some(text),
            _ => None,
        })
        .collect()
}

async fn invite(daemon: &Daemon) -> Invitee {
    let options = InviteOptions { group: None, relay: None, secret: false, no_checkpoint: false };
    let verb = Verb::Groups { action: GroupAction::Invite(options) };
    serde_json::from_value(daemon.mailbox().ask_in(None, verb).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_names_a_block_and_the_relay_gives_the_state_of_a_later_one() {
    let test = TestRoot::new();
    test.init("node1");
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let one = test.start("node1", &server.url()).await;
    one.mailbox().note("first").await.unwrap();
    until(&one, "a block is held", |status| status.held_height > 0).await;
    let invitee = invite(&one).await;
    assert!(invitee.checkpoint.is_some());
    let invitation: Invitation = invitee.invitation.parse().unwrap();
    let named = invitation.checkpoint().unwrap();
    one.mailbox().note("second").await.unwrap();
    until(&one, "a further block is held", |status| status.held_height > named.rank.height.0).await;
    until_in_sync(&one).await;

    let elsewhere = TestRoot::new();
    elsewhere.try_init("node2", Some(invitee.invitation)).unwrap();
    let mut two = elsewhere.start("node2", &server.url()).await;
    let mut announced = two.take_announcements();
    let status =
        until(&two, "everything is here", |status| status.document == Document::Complete && status.may_seal).await;
    assert!(status.height > named.rank.height.0);
    until_agreed(&one, &two).await;
    let told = notices(&mut announced);
    let place = |part: &str| told.iter().position(|text| text.contains(part));
    let (state, whole) = (place("has the state of block"), place("the whole history is here"));
    assert!(state.is_some() && state < whole, "{told:?}");
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_proves_a_note_and_whoever_has_no_node_checks_it() {
    let test = TestRoot::new();
    test.init("node1");
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let one = test.start("node1", &server.url()).await;
    let accepted = one.mailbox().note("hello").await.unwrap();
    let id = accepted.entry.entry.id.to_string();
    let ask = |word: &str, from| Verb::Proof { transaction: word.to_owned(), from };
    until(&one, "it is sealed and held", |status| status.pending == 0 && status.held_height == status.height).await;
    let group = side_ledger::GroupId::from_hex(&history(&one).await.group).unwrap();
    for (word, from) in [(id.as_str(), None), (&id[..12], Some(1))] {
        let proven: Proven = serde_json::from_value(one.mailbox().ask(ask(word, from)).await.unwrap()).unwrap();
        assert_eq!(proven.change, id);
        let bundle: Bundle = proven.proof.parse().unwrap();
        let checkpoint = match &bundle.anchor {
            side_seal::bundle::Anchor::Genesis => None,
            side_seal::bundle::Anchor::Checkpoint { block, .. } => Some(block.id().unwrap()),
        };
        assert_eq!(checkpoint.is_some(), from.is_some());
        let verified = bundle.verify(&Trusted { group: Some(group), checkpoint }).unwrap();
        assert_eq!((verified.transactions.len(), verified.transactions[0].1), (1, None));
        assert_eq!(verified.transactions[0].0.body, "hello");
    }
    for (word, part) in [("12", "names no change"), ("00000000", "no change here"), (&"1".repeat(64), "no such change")]
    {
        let error = one.mailbox().ask(ask(word, None)).await.unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }
    let beyond = one.mailbox().ask(ask(&id, Some(1_000))).await.unwrap_err();
    assert!(beyond.message().contains("no block at height"), "{beyond}");
    one.stop().await.unwrap();
    server.shutdown().await.unwrap();
}
