//! What attackers send over a raw websocket: each is refused or bounded and counted, and an honest member next to it goes on.

use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::identity::Signature;
use bft_json_crdt::replica::{Limits as ReplicaLimits, Replica};
use bft_json_crdt::sync::{Message as Sync, Packet};
use futures_util::SinkExt as _;
use side_ledger::Admission;
use side_watcher::protocol::limits::MAX_FRAME;
use side_watcher::protocol::{Channel, CloseReason};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Member, Raw, Relay, converge, genesis, keypair, write};

/// Two honest members go on: they converge on `count` changes and are still on their first connection.
async fn honest_members_go_on(members: &[&Member], count: usize) {
    converge(members, count).await;
    for member in members {
        let seen = member.seen();
        assert_eq!(seen.connections, 1, "an honest member was cut: {:?}", seen.disconnects);
        assert!(seen.faults.is_empty(), "{:?}", seen.faults);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_frames_run_out_of_strikes() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let [a, b] = [1, 2].map(|seed| Member::start(&relay.url(), seed, &group));
    let (_, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    let channel = channel.0 as u8;
    let bomb = [&[channel, 3][..], &[0xff; 9], &[1]].concat();
    for garbage in [vec![], vec![0x80, 0x00], vec![99, 1], vec![0, 4], vec![channel], vec![channel, 1, 2], bomb] {
        let (mut raw, _) = Raw::greeted(&relay.url(), 9, &group).await;
        for _ in 0..20 {
            raw.send(garbage.clone()).await;
        }
        assert_eq!(raw.closed().await, Some(CloseReason::Strikes), "{garbage:?}");
    }
    let (mut raw, _) = Raw::greeted(&relay.url(), 9, &group).await;
    for _ in 0..20 {
        let _ = raw.socket.send(Message::Text("hello".into())).await;
    }
    assert_eq!(raw.closed().await, Some(CloseReason::Strikes));
    a.write("still here");
    honest_members_go_on(&[&a, &b], 1).await;
    assert!(relay.server().metrics().encode().contains("side_watcher_strikes_total{reason=\"unknown-channel\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_frame_closes_with_its_own_code() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let (mut raw, _) = Raw::greeted(&relay.url(), 9, &group).await;
    raw.send(vec![1; MAX_FRAME + 1]).await;
    // The relay hangs up while the frame is still coming; whether its words get through is up to the system.
    assert!(matches!(raw.closed().await, Some(CloseReason::TooBig) | None));
    let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    // An announcement of 2⁶³ bytes is refused by its header, long before the bytes.
    use tokio::io::AsyncWriteExt as _;
    let tokio_tungstenite::MaybeTlsStream::Plain(stream) = raw.socket.get_mut() else { panic!("no plain socket") };
    let mut header = vec![0x82, 0xff];
    header.extend_from_slice(&(1u64 << 62).to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    header.push(channel.0 as u8);
    stream.write_all(&header).await.unwrap();
    assert_eq!(raw.closed().await, Some(CloseReason::TooBig));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_author_is_refused_and_the_true_change_still_goes_through() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    // What the victim is going to write, and the same with a signature that is not its own.
    let mut replica = Replica::new(group.id().document(), ReplicaLimits::default());
    let truth = write(&mut replica, &keypair(1), "mine");
    let mut bytes = truth.bytes().to_vec();
    let end = bytes.len() - 64;
    let forged = keypair(9).sign("side/1/change-signature", truth.id().as_bytes());
    bytes[end..].copy_from_slice(&forged.0);
    assert_ne!(Signature(bytes[end..].try_into().unwrap()), truth.signature());

    let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    let packet = Packet { change: bytes.into(), voucher: None };
    let message = Sync::Changes(vec![packet]).encode();
    for _ in 0..20 {
        raw.send(channel.envelope(&message)).await;
    }
    assert_eq!(raw.closed().await, Some(CloseReason::Strikes));

    let a = Member::start(&relay.url(), 1, &group);
    let b = Member::start(&relay.url(), 2, &group);
    a.apply(truth);
    a.write("and more");
    honest_members_go_on(&[&a, &b], 2).await;
    let text = relay.server().metrics().encode();
    assert!(text.contains("side_watcher_strikes_total{reason=\"unauthenticated\"}"), "{text}");
    assert!(text.contains("side_watcher_changes_total{reason=\"applied\"} 2"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_another_document_is_not_carried() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let other = genesis("others", Admission::Open, &[1]);
    let mut replica = Replica::new(other.id().document(), ReplicaLimits::default());
    let change = write(&mut replica, &keypair(1), "elsewhere");
    let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    let packet = Packet { change: change.bytes().clone(), voucher: None };
    for _ in 0..20 {
        raw.send(channel.envelope(&Sync::Changes(vec![packet.clone()]).encode())).await;
    }
    assert_eq!(raw.closed().await, Some(CloseReason::Strikes));
    assert_eq!(relay.server().metrics().durable.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_of_what_was_never_sent_ends_the_connection() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    raw.send(channel.envelope(&Sync::Ack(u64::MAX).encode())).await;
    assert_eq!(raw.closed().await, Some(CloseReason::Strikes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_slowed_down_while_an_honest_member_goes_on() {
    let relay = Relay::with(|config| {
        config.limits.messages_per_second = 200;
        config.limits.message_burst = 200;
    })
    .await;
    let group = genesis("friends", Admission::Open, &[1]);
    let [a, b] = [1, 2].map(|seed| Member::start(&relay.url(), seed, &group));
    a.connected().await;
    b.connected().await;
    let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    let flood = tokio::spawn(async move {
        // Messages that cost the relay something and mean nothing.
        let message = channel.envelope(&Sync::Get(vec![bft_json_crdt::change::ChangeId([7; 32]); 256]).encode());
        while raw.socket.feed(Message::Binary(message.clone())).await.is_ok() {}
    });
    for round in 0..50 {
        a.write(&format!("{round}"));
    }
    honest_members_go_on(&[&a, &b], 50).await;
    let metrics = relay.server().metrics();
    while metrics.throttled.get() < 10 {
        tokio::task::yield_now().await;
    }
    assert!(!flood.is_finished(), "a flood is slowed down, not cut");
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_messages_are_ignored_so_that_later_versions_can_say_more() {
    let relay = Relay::start().await;
    let group = genesis("friends", Admission::Open, &[1]);
    let (mut raw, channel) = Raw::greeted(&relay.url(), 9, &group).await;
    for _ in 0..50 {
        raw.send(channel.envelope(&[99, 1, 2, 3])).await;
        raw.send(Channel::CONTROL.envelope(&[99, 1, 2, 3])).await;
    }
    // It is still there and answers: the probe of nothing is answered with a reply of nothing.
    let mut probe = Vec::new();
    probe.put_varint(6);
    probe.put_varint(0);
    raw.send(channel.envelope(&probe)).await;
    loop {
        let (on, payload) = raw.next().await.expect("the relay hung up");
        if on == channel && Sync::decode(&payload) == Ok(Sync::ProbeReply(vec![])) {
            break;
        }
    }
}
