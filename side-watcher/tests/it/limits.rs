//! Connections that take without giving: half open, silent, slow; and the shutdown.

use std::time::Duration;

use bft_json_crdt::sync::Message as Sync;
use side_ledger::Admission;
use side_watcher::protocol::{CloseReason, NoticeCode};
use side_watcher::server::{Config, Server, StartError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Member, Raw, Relay, converge, genesis};

#[tokio::test]
async fn half_open_and_slow_connections_are_cut() {
    let relay = Relay::with(|config| config.limits.handshake_timeout = Duration::from_millis(200)).await;
    let address = relay.server().address();
    // Says nothing at all.
    let mut silent = TcpStream::connect(address).await.unwrap();
    // Says a little, and then a little more.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    // Opens a websocket and never greets.
    let mut rude = Raw::connect(&relay.url()).await;
    rude.challenge().await;
    let mut buffer = Vec::new();
    assert_eq!(silent.read_to_end(&mut buffer).await.unwrap_or(0), 0);
    loop {
        if slow.write_all(b"x").await.is_err() || matches!(slow.try_read(&mut [0; 1]), Ok(0)) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(rude.closed().await, Some(CloseReason::HandshakeTimeout));
    assert!(relay.server().metrics().encode().contains("turned_away_total{reason=\"handshake-timeout\"} 2"));
}

#[tokio::test]
async fn a_crowd_of_half_open_connections_only_pushes_out_its_own() {
    let relay = Relay::with(|config| config.limits.max_handshakes = 4).await;
    let group = genesis("friends", Admission::Open, &[1]);
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(TcpStream::connect(relay.server().address()).await.unwrap());
    }
    let member = Member::start(&relay.url(), 1, &group);
    member.write("through the crowd");
    member.acknowledged().await;
    assert_eq!(crowd[0].read(&mut [0; 1]).await.unwrap_or(0), 0, "the oldest made room");
}

#[tokio::test]
async fn a_connection_that_answers_no_pings_is_given_up() {
    let relay = Relay::with(|config| {
        config.limits.ping_interval = Duration::from_millis(50);
        config.limits.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let group = genesis("friends", Admission::Open, &[1]);
    // This one answers pings, in the websocket library, as long as it is read.
    let member = Member::start(&relay.url(), 1, &group);
    member.connected().await;
    let (mut raw, _) = Raw::greeted(&relay.url(), 9, &group).await;
    // Not reading means not answering pings.
    while relay.server().metrics().connections.get() > 1 {
        tokio::task::yield_now().await;
    }
    // Its answers to the pings come too late, and may break the socket before it has read why.
    assert!(matches!(raw.closed().await, Some(CloseReason::Idle) | None));
    assert!(relay.server().metrics().encode().contains("connections_closed_total{reason=\"idle\"} 1"));
    assert_eq!(member.seen().connections, 1, "who answers pings stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_is_told_and_resynced_and_nobody_waits_for_it() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let [a, b] = [1, 2].map(|seed| Member::start(&relay.url(), seed, &group));
    a.connected().await;
    b.connected().await;
    // It greets like an empty replica, and then acknowledges nothing.
    let (mut slow, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    let empty = bft_json_crdt::replica::Replica::new(group.id().document(), Default::default());
    let heads = Sync::Heads { digest: empty.heads_digest(), changes: 0 };
    slow.send(channel.envelope(&heads.encode())).await;
    const COUNT: usize = 8_000;
    for round in 0..COUNT {
        a.write(&format!("{round} {}", "x".repeat(300)));
        if round % 200 == 199 {
            // One frame after the other, so that the window of frames fills up.
            a.acknowledged().await;
        }
    }
    converge(&[&a, &b], COUNT).await;
    // It is told, and when it acknowledges everything else follows; nothing is missing and nothing comes twice.
    let mut told = false;
    let mut caught_up = false;
    let mut frames = 0;
    let mut ids = std::collections::HashSet::new();
    let mut twice = 0;
    while ids.len() < COUNT || !caught_up {
        let (on, payload) = slow.next().await.expect("the relay hung up");
        if on != channel {
            if let Ok(side_watcher::protocol::Control::Notice(notice)) =
                side_watcher::protocol::Control::decode(&payload)
            {
                told |= notice.code == NoticeCode::Lagging;
                caught_up |= notice.code == NoticeCode::CaughtUp;
            }
            continue;
        }
        if let Ok(Sync::Changes(packets)) = Sync::decode(&payload) {
            frames += 1;
            for packet in packets {
                let change = bft_json_crdt::change::Change::decode(packet.change).unwrap();
                twice += usize::from(!ids.insert(change.id()));
            }
            slow.send(channel.envelope(&Sync::Ack(frames).encode())).await;
        }
    }
    assert!(told, "it was not told that it lags");
    assert_eq!(twice, 0);
    assert!(relay.server().metrics().lagging.get() >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_acknowledges_is_cut_after_a_while() {
    let relay = Relay::with(|config| config.limits.slow_timeout = Duration::from_millis(100)).await;
    let group = genesis("friends", Admission::Open, &[1]);
    let (mut slow, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    let empty = bft_json_crdt::replica::Replica::new(group.id().document(), Default::default());
    slow.send(channel.envelope(&Sync::Heads { digest: empty.heads_digest(), changes: 0 }.encode())).await;
    let a = Member::start(&relay.url(), 1, &group);
    a.write("for you");
    a.acknowledged().await;
    assert_eq!(slow.closed().await, Some(CloseReason::Slow));
    assert_eq!(a.seen().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_full_takes_and_acknowledges_nothing_more_and_says_so() {
    let relay = Relay::with(|config| config.limits.max_group_bytes = 2_000).await;
    let group = genesis("friends", Admission::Open, &[1]);
    let a = Member::start(&relay.url(), 1, &group);
    a.write(&"x".repeat(3_000));
    a.acknowledged().await;
    a.write("one too many");
    let seen = a.until("it is told", |seen| seen.notices.contains(&NoticeCode::GroupFull)).await;
    assert_eq!(seen.changes, 2);
    assert_eq!(relay.server().metrics().durable.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_says_goodbye_and_everything_that_was_forwarded_is_on_disk() {
    let mut relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let [a, b] = [1, 2].map(|seed| Member::start(&relay.url(), seed, &group));
    let (mut raw, _) = Raw::greeted(&relay.url(), 9, &group).await;
    for round in 0..100 {
        a.write(&format!("{round}"));
    }
    b.holds(100).await;
    relay.stop().await;
    assert_eq!(raw.closed().await, Some(CloseReason::GoingAway));
    let again = Server::start(Config::local(relay.data.path())).await.unwrap();
    let late = Member::start(&again.url(), 3, &group);
    late.holds(100).await;
}

#[tokio::test]
async fn a_port_in_use_and_a_folder_in_use_are_errors_that_name_the_remedy() {
    let relay = Relay::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let address = relay.server().address();
    let same_port = Server::start(Config { listen: address, ..Config::local(elsewhere.path()) }).await;
    let error = same_port.err().unwrap();
    assert!(matches!(&error, StartError::InUse(taken) if *taken == address));
    assert!(error.to_string().contains("--listen"), "{error}");
    let same_folder = Server::start(Config::local(relay.data.path())).await.err().unwrap();
    assert!(same_folder.to_string().contains("--data"), "{same_folder}");
}
