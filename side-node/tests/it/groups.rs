//! Several groups in one folder: what joining, leaving and choosing do, to a stopped node and to a running one.

use std::time::{Duration, Instant};

use bft_json_crdt::identity::AuthorId;
use bitcoin::Amount;
use bitcoin::absolute::Height;
use side_ledger::{Admission, Genesis, GroupSpec, Invitation, Limits, Sealing};
use side_node::api::client;
use side_node::api::control::Verb;
use side_node::btc::htlc::secrets::SpendKey;
use side_node::btc::htlc::swap::{Message, SwapId};
use side_node::btc::htlc::terms::{LockKind, Offer, TERMS_VERSION};
use side_node::btc::swaps::GroupLink;
use side_node::btc::swaps::traffic::Outgoing;
use side_node::cli::commands::init::Made;
use side_node::daemon::groups::{Entered, GroupAction, GroupBrief, GroupInfo, GroupList, InviteOptions, Invitee};
use side_node::daemon::view::History;
use side_node::daemon::{Daemon, Mailbox, offline};
use side_node::error::CommandError;
use side_node::registry::Registry;
use side_store::{Batch, OpenOptions, SqliteStore, Store as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{NOWHERE, PATIENCE, TestRoot, notes, relay};

/// Does something about the groups of a stopped node.
fn act<T: serde::de::DeserializeOwned>(test: &TestRoot, name: &str, action: GroupAction) -> Result<T, CommandError> {
    let answer = offline::answer(&test.root, &test.root.node(name), None, Verb::Groups { action })?;
    Ok(serde_json::from_value(answer).expect("the answer has its form"))
}

fn note(test: &TestRoot, name: &str, group: Option<&str>, text: &str) {
    offline::answer(&test.root, &test.root.node(name), group, Verb::Note { text: text.into() }).unwrap();
}

fn history(test: &TestRoot, name: &str, group: Option<&str>) -> History {
    let answer = offline::answer(&test.root, &test.root.node(name), group, Verb::History { limit: None }).unwrap();
    serde_json::from_value(answer).unwrap()
}

fn join(test: &TestRoot, name: &str, invitation: &str) -> Entered {
    act(test, name, GroupAction::Join { invitation: invitation.to_owned(), alias: None }).unwrap()
}

fn invite(test: &TestRoot, name: &str, options: InviteOptions) -> Invitee {
    act(test, name, GroupAction::Invite(options)).unwrap()
}

fn aliases(list: &GroupList) -> Vec<(&str, bool)> {
    list.groups.iter().map(|info| (info.alias.as_str(), info.default)).collect()
}

/// What the node's page answers: the status and the body.
async fn get(page: &str, path: &str) -> (u16, String) {
    let at = page.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!("GET /{path} HTTP/1.0\r\nhost: {at}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Two nodes in one root, each founder of a group of its own, and the first in both groups.
fn two_groups() -> (TestRoot, String) {
    let test = TestRoot::new();
    test.init("node1");
    let other = test.found("node2", "team");
    let invitation = invite(&test, "node2", InviteOptions::default()).invitation;
    assert!(join(&test, "node1", &invitation).new);
    (test, other.group)
}

#[test]
fn what_is_written_in_one_group_is_not_in_the_other() {
    let (test, team) = two_groups();
    note(&test, "node1", None, "for side");
    note(&test, "node1", Some("team"), "for team");
    note(&test, "node1", Some(&team[..8]), "more for team");
    assert_eq!(notes(&history(&test, "node1", None)), ["for side"]);
    let of_team = history(&test, "node1", Some("team"));
    assert_eq!((of_team.group.as_str(), notes(&of_team)), (team.as_str(), vec!["for team", "more for team"]));
    // Each chain is its own: the first change of both has the number 1.
    assert!(
        [None, Some("team")].map(|group| history(&test, "node1", group)).iter().all(|it| it.entries[0].entry.seq == 1)
    );
}

#[test]
fn the_default_is_the_first_group_until_another_is_chosen() {
    let (test, team) = two_groups();
    let list: GroupList = act(&test, "node1", GroupAction::List).unwrap();
    assert_eq!(aliases(&list), [("side", true), ("team", false)]);
    let info: GroupInfo = act(&test, "node1", GroupAction::Use { group: "team".into() }).unwrap();
    assert_eq!((info.group.as_str(), info.default), (team.as_str(), true));
    note(&test, "node1", None, "by default");
    assert_eq!(notes(&history(&test, "node1", Some("team"))), ["by default"]);
    // The other node of the root has a default of its own.
    let list: GroupList = act(&test, "node2", GroupAction::List).unwrap();
    assert_eq!(aliases(&list), [("team", true)]);
}

#[test]
fn whoever_leaves_and_joins_again_goes_on_where_it_stopped() {
    let (test, team) = two_groups();
    note(&test, "node1", Some("team"), "before");
    let invitation = invite(&test, "node1", InviteOptions { group: Some("team".into()), ..Default::default() });
    let left: GroupInfo = act(&test, "node1", GroupAction::Leave { group: "team".into() }).unwrap();
    assert_eq!(left.group, team);
    let registry = Registry::load(&test.root).unwrap();
    assert_eq!(registry.nodes[&"node1".parse().unwrap()].groups.len(), 1);
    let gone =
        offline::answer(&test.root, &test.root.node("node1"), Some("team"), Verb::Status).unwrap_err().to_string();
    assert!(gone.contains("has no group \"team\""), "{gone}");

    assert!(join(&test, "node1", &invitation.invitation).new);
    note(&test, "node1", Some("team"), "after");
    let history = history(&test, "node1", Some("team"));
    assert_eq!(notes(&history), ["before", "after"]);
    let seqs: Vec<u64> = history.entries.iter().map(|line| line.entry.seq).collect();
    assert_eq!(seqs, [1, 2, 3], "the chain goes on");
}

#[test]
fn the_default_group_and_the_only_one_are_not_left() {
    let (test, _) = two_groups();
    for (name, group) in [("node1", "side"), ("node2", "team")] {
        let error = act::<GroupInfo>(&test, name, GroupAction::Leave { group: group.into() }).unwrap_err();
        assert!(error.message().contains("default group") && error.next_step().is_some(), "{error}");
    }
}

#[test]
fn a_secret_stands_in_the_invitation_and_is_pending() {
    let (test, team) = two_groups();
    let options = InviteOptions { group: Some("team".into()), secret: true, ..Default::default() };
    let invitee = invite(&test, "node1", options);
    let invitation: Invitation = invitee.invitation.parse().unwrap();
    assert_eq!(invitation.group().to_string(), team);
    let secret = invitation.secret().unwrap();
    let info: GroupInfo = act(&test, "node1", GroupAction::Show { group: Some("team".into()) }).unwrap();
    assert_eq!(info.pending_secrets, 1);
    // The file knows its hash alone, and the registry, which later inits read, has no secret.
    let file = std::fs::read_to_string(test.root.node("node1").invited_file()).unwrap();
    assert!(!file.contains(&hex::encode(secret.0)));
    join(&test, "node2", &invitee.invitation);
    let registry = Registry::load(&test.root).unwrap();
    let kept: Invitation = registry.groups[&team].invitation.parse().unwrap();
    assert_eq!(kept.secret(), None);
}

#[test]
fn inits_and_groups_stand_in_the_registry() {
    let (test, team) = two_groups();
    let registry = Registry::load(&test.root).unwrap();
    let groups = |name: &str| registry.nodes[&name.parse().unwrap()].groups.clone();
    let home = registry.home_group.clone().unwrap();
    assert_eq!(groups("node1"), [home.clone(), team.clone()]);
    assert_eq!(groups("node2"), [team]);
    // A further init joins the first group of the root and no other.
    assert_eq!(test.init("node3").group, home);
}

/// An invitation to a new group that the node founds, with itself as its leader.
pub(crate) fn founded(made: &Made, name: &str) -> String {
    let genesis = Genesis::new(GroupSpec {
        name: name.parse().unwrap(),
        created_ms: 0,
        nonce: [7; 32],
        founders: vec![AuthorId::from_hex(&made.key).unwrap()],
        admission: Admission::Open,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 50 },
        limits: Limits::default(),
    });
    Invitation::new(genesis.unwrap(), vec![]).unwrap().to_string()
}

pub(crate) async fn join_running(daemon: &Daemon, invitation: &str) -> Entered {
    let action = GroupAction::Join { invitation: invitation.to_owned(), alias: None };
    daemon.mailbox().groups(action).await.unwrap()
}

/// Waits until the group's history has exactly these notes, in this order.
async fn holds(mailbox: &Mailbox, texts: &[&str]) -> History {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let history = mailbox.history(None).await.unwrap();
        if notes(&history) == texts {
            return history;
        }
        assert!(Instant::now() < deadline, "waited in vain for {texts:?}: {history:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The brief of a group in the status of the default one.
async fn brief(daemon: &Daemon, alias: &str) -> GroupBrief {
    let status = daemon.mailbox().ask(Verb::Status).await.unwrap();
    let briefs: Vec<GroupBrief> = serde_json::from_value(status["groups"].clone()).unwrap();
    briefs.into_iter().find(|brief| brief.alias == alias).expect("the group is listed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_groups_on_the_same_running_nodes_share_nothing_but_the_disk() {
    let test = TestRoot::new();
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let (made1, made2) = (test.init("node1"), test.init("node2"));
    let one = test.start("node1", &server.url()).await;
    let two = test.start("node2", &server.url()).await;
    // Joined while both run; the leader of the one group is node1, that of the other node2.
    let invitation = founded(&made2, "team");
    for daemon in [&one, &two] {
        let entered = join_running(daemon, &invitation).await;
        assert!(entered.new && entered.running);
    }
    let (team1, team2) = (one.mailbox().of("team").unwrap(), two.mailbox().of("team").unwrap());
    one.mailbox().note("for side").await.unwrap();
    team2.note("for team").await.unwrap();
    team1.note("for team as well").await.unwrap();
    let side = [holds(one.mailbox(), &["for side"]).await, holds(two.mailbox(), &["for side"]).await];
    for history in &side {
        assert_eq!(history.group, made1.group);
    }
    let both = async || {
        let (a, b) = (team1.history(None).await.unwrap(), team2.history(None).await.unwrap());
        (notes(&a).len() == 2 && a.digest == b.digest).then_some(a)
    };
    let team = loop {
        if let Some(history) = both().await {
            break history;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(notes(&team).iter().all(|note| note.starts_with("for team")));
    assert_ne!(team.group, made1.group);
    // Both groups make blocks, each with its own leader.
    for (daemon, alias) in [(&one, "side"), (&two, "team")] {
        let deadline = Instant::now() + PATIENCE;
        while brief(daemon, alias).await.height.is_none_or(|height| height == 0) {
            assert!(Instant::now() < deadline, "no block in {alias}: {:?}", brief(daemon, alias).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // After a restart both are there again, without a word.
    one.stop().await.unwrap();
    let one = test.start("node1", &server.url()).await;
    assert_eq!(notes(&one.mailbox().of("team").unwrap().history(None).await.unwrap()).len(), 2);
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_left_works_no_more_and_goes_on_when_it_is_joined_again() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let node = test.start("node1", NOWHERE).await;
    let invitation = founded(&made, "team");
    join_running(&node, &invitation).await;
    let team = node.mailbox().of("team").unwrap();
    team.note("before").await.unwrap();
    let left: GroupInfo = node.mailbox().groups(GroupAction::Leave { group: "team".into() }).await.unwrap();
    assert_eq!(left.alias, "team");
    assert!(team.note("meanwhile").await.unwrap_err().message().contains("does not run this group"));
    assert!(node.mailbox().of("team").is_err());
    node.mailbox().note("side goes on").await.unwrap();
    assert!(join_running(&node, &invitation).await.new);
    let team = node.mailbox().of("team").unwrap();
    team.note("after").await.unwrap();
    let history = holds(&team, &["before", "after"]).await;
    // The name and two notes on one chain.
    assert_eq!(history.entries.iter().map(|line| line.entry.seq).collect::<Vec<_>>(), [1, 2, 3]);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_fails_stops_no_other() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let invitation = founded(&made, "team");
    join(&test, "node1", &invitation);
    note(&test, "node1", Some("team"), "in good order");
    // A record that no build of ours has written.
    let group = invitation.parse::<Invitation>().unwrap().group();
    let mut store = SqliteStore::open(test.root.node("node1").database_file(), &OpenOptions::default()).unwrap();
    store.commit(&Batch::new().seal(group, b"nonsense".to_vec().into())).unwrap();
    store.close().unwrap();

    let node = test.start("node1", NOWHERE).await;
    node.mailbox().note("side works").await.unwrap();
    let brief = brief(&node, "team").await;
    assert!(!brief.running && brief.problem.as_ref().is_some_and(|why| why.contains("damaged")), "{brief:?}");
    let error = node.mailbox().of("team").unwrap().note("no").await.unwrap_err();
    assert!(error.message().contains("does not run: the database is damaged"), "{error}");
    // Whoever supervises the node is told, and what scrapes it gets the numbers of the groups that run.
    let page = node.mailbox().status().await.unwrap().page.unwrap();
    let (status, ready) = get(&page, "readyz").await;
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((status, &ready["ready"], &ready["disk"]), (503, &false.into(), &"ok".into()), "{ready}");
    let team = ready["groups"].as_array().unwrap().iter().find(|group| group["alias"] == "team").unwrap();
    assert!(team["running"] == false && team["problem"].as_str().unwrap().contains("damaged"), "{team}");
    assert_eq!(get(&page, "healthz").await, (200, "ok\n".to_owned()));
    assert!(get(&page, "metrics").await.1.contains("side_node_groups 1\n"));
    node.stop().await.unwrap();
    // Where it is the only one, the node says so and does not start.
    let _: GroupInfo = act(&test, "node1", GroupAction::Use { group: "team".into() }).unwrap();
    let _: GroupInfo = act(&test, "node1", GroupAction::Leave { group: "side".into() }).unwrap();
    let error = Daemon::start(test.config("node1", NOWHERE)).await.unwrap_err();
    assert!(error.message().contains("damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_name_their_group_on_the_control_socket() {
    let test = TestRoot::new();
    let made = test.init("node1");
    let node = test.start("node1", NOWHERE).await;
    join_running(&node, &founded(&made, "team")).await;
    let home = test.root.node("node1");
    let asking = move || {
        let note = |group, text: &str| {
            client::ask::<serde_json::Value>(&home, group, Verb::Note { text: text.into() }).unwrap().unwrap()
        };
        note(None, "one");
        note(Some("team"), "two");
        let history = |group| client::ask::<History>(&home, group, Verb::History { limit: None }).unwrap().unwrap();
        assert_eq!(notes(&history(None)), ["one"]);
        assert_eq!(notes(&history(Some("team"))), ["two"]);
        let error = client::ask::<History>(&home, Some("tema"), Verb::Status).unwrap_err();
        assert!(error.message().contains("no group \"tema\"") && error.next_step().unwrap().contains("team ("));
        // Another default takes effect at once.
        let action = GroupAction::Use { group: "team".into() };
        client::ask::<GroupInfo>(&home, None, Verb::Groups { action }).unwrap().unwrap();
        assert_eq!(notes(&history(None)), ["two"]);
    };
    tokio::task::spawn_blocking(asking).await.unwrap();
    node.stop().await.unwrap();
}

/// What is said about a swap is said in the group in which it was offered, whatever the node's default is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_stays_in_the_group_in_which_it_was_offered() {
    let test = TestRoot::new();
    let server = relay(&test.folder.path().join("relay"), 0).await;
    let (made1, made2) = (test.init("node1"), test.init("node2"));
    let one = test.start("node1", &server.url()).await;
    let two = test.start("node2", &server.url()).await;
    let invitation = founded(&made2, "team");
    let team = join_running(&one, &invitation).await.group.group;
    join_running(&two, &invitation).await;
    let links = [&one, &two].map(|daemon| GroupLink::Running(daemon.mailbox().clone()));
    let key = SpendKey::from_bytes([9; 32]).unwrap().public();
    let offer = Offer {
        version: TERMS_VERSION,
        chain: "regtest".parse().unwrap(),
        kind: LockKind::P2wsh,
        amount: Amount::from_sat(50_000),
        timeout: Height::from_consensus(200).unwrap(),
        payment_hash: None,
        claim_key: None,
        refund_key: Some(key),
    };
    let message = Message::Offer { offer: offer.clone() };
    links[0].say(&Outgoing { to: made2.key.clone(), group: Some(team.clone()), message }).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let offered = loop {
        if let Some(offered) = links[1].traffic().await.unwrap().offers().into_iter().next() {
            break offered;
        }
        assert!(Instant::now() < deadline, "the offer has not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((&offered.from.key, offered.from.group.as_ref()), (&made1.key, Some(&team)));
    let message = Message::Cancel { swap: SwapId::of(&offer) };
    links[1].say(&Outgoing { to: made1.key.clone(), group: offered.from.group, message }).await.unwrap();
    let swaps = async |group: &str| {
        let answer = two.mailbox().of(group).unwrap().ask(Verb::Swaps).await.unwrap();
        answer["entries"].as_array().unwrap().len()
    };
    assert_eq!((swaps("side").await, swaps("team").await), (0, 2));
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    server.shutdown().await.unwrap();
}
