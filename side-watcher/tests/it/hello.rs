//! Hellos that are not to be accepted, each refused with its own close code.

use std::time::Duration;

use side_ledger::Admission;
use side_watcher::protocol::{Challenge, CloseReason, GroupReply, Hello, HelloGroup};

use crate::support::{Raw, Relay, genesis, hello_group, keypair};

fn answer(challenge: &Challenge, seed: u8, groups: Vec<HelloGroup>) -> Hello {
    let keypair = keypair(seed);
    Hello::sign(challenge, keypair.author(), [1; 32], groups, |domain, message| keypair.sign(domain, message))
}

#[tokio::test]
async fn a_replayed_hello_is_refused() {
    let relay = Relay::start().await;
    let mut first = Raw::connect(&relay.url()).await;
    let challenge = first.challenge().await;
    let hello = answer(&challenge, 1, vec![]);
    first.greet(hello.clone()).await.unwrap();
    let mut second = Raw::connect(&relay.url()).await;
    assert_ne!(second.challenge().await.nonce, challenge.nonce);
    assert_eq!(second.greet(hello).await, Err(Some(CloseReason::HelloReplayed)));
}

#[tokio::test]
async fn a_hello_for_another_relay_is_refused() {
    let (relay, other) = (Relay::start().await, Relay::start().await);
    let mut raw = Raw::connect(&relay.url()).await;
    let challenge = raw.challenge().await;
    let elsewhere = Challenge { relay: other.server().identity(), ..challenge };
    assert_eq!(raw.greet(answer(&elsewhere, 1, vec![])).await, Err(Some(CloseReason::HelloOtherRelay)));
}

#[tokio::test]
async fn an_expired_hello_is_refused_by_the_relays_clock() {
    let relay = Relay::with(|config| config.limits.challenge_lifetime = Duration::ZERO).await;
    let mut raw = Raw::connect(&relay.url()).await;
    let challenge = raw.challenge().await;
    assert_eq!(raw.greet(answer(&challenge, 1, vec![])).await, Err(Some(CloseReason::HelloExpired)));
    // Claiming a later expiry does not help: it is not what the relay said.
    let mut raw = Raw::connect(&relay.url()).await;
    let challenge = raw.challenge().await;
    let later = Challenge { expires_ms: challenge.expires_ms + 60_000, ..challenge };
    assert_eq!(raw.greet(answer(&later, 1, vec![])).await, Err(Some(CloseReason::HelloReplayed)));
}

#[tokio::test]
async fn a_hello_in_the_name_of_another_key_is_refused() {
    let relay = Relay::start().await;
    let mut raw = Raw::connect(&relay.url()).await;
    let challenge = raw.challenge().await;
    let mut hello = answer(&challenge, 1, vec![]);
    hello.key = keypair(2).author();
    assert_eq!(raw.greet(hello).await, Err(Some(CloseReason::HelloSignature)));
}

#[tokio::test]
async fn something_else_than_a_hello_is_refused() {
    let relay = Relay::start().await;
    for garbage in [&b""[..], b"\x00\x02", b"\x00\x63", b"\x01\x01", &[0xff; 300]] {
        let mut raw = Raw::connect(&relay.url()).await;
        raw.challenge().await;
        raw.send(garbage.to_vec()).await;
        assert_eq!(raw.closed().await, Some(CloseReason::HelloMalformed), "{garbage:?}");
    }
}

#[tokio::test]
async fn a_hello_larger_than_any_honest_one_is_refused_before_it_is_held() {
    let relay = Relay::start().await;
    let mut raw = Raw::connect(&relay.url()).await;
    raw.challenge().await;
    raw.send(vec![0; side_watcher::protocol::limits::MAX_HELLO_BYTES + 1]).await;
    assert_eq!(raw.closed().await, Some(CloseReason::HelloMalformed));
}

#[tokio::test]
async fn a_group_is_adopted_with_its_own_genesis_only_and_within_the_quotas() {
    let relay = Relay::with(|config| {
        config.limits.max_groups = 2;
        config.limits.max_groups_per_key = 1;
    })
    .await;
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| genesis(name, Admission::Open, &[1]));
    let reply = async |seed: u8, group: HelloGroup| {
        let mut raw = Raw::connect(&relay.url()).await;
        let challenge = raw.challenge().await;
        raw.greet(answer(&challenge, seed, vec![group])).await.unwrap().0[0]
    };
    let unknown = HelloGroup { genesis: Default::default(), ..hello_group(&a) };
    assert_eq!(reply(1, unknown.clone()).await, GroupReply::Unknown);
    let wrong = HelloGroup { genesis: hello_group(&b).genesis, ..hello_group(&a) };
    assert_eq!(reply(1, wrong).await, GroupReply::BadGenesis);
    assert!(matches!(reply(1, hello_group(&a)).await, GroupReply::Open(_)));
    assert!(matches!(reply(2, unknown).await, GroupReply::Open(_)), "carried now, for everybody");
    assert_eq!(reply(1, hello_group(&b)).await, GroupReply::Quota, "one key adopts one group");
    assert!(matches!(reply(2, hello_group(&c)).await, GroupReply::Open(_)));
    assert_eq!(reply(3, hello_group(&d)).await, GroupReply::Quota, "the relay is full");
    assert!(matches!(reply(3, hello_group(&a)).await, GroupReply::Open(_)), "what is carried stays open");
}

#[tokio::test]
async fn one_key_has_a_bounded_number_of_connections_and_others_are_not_touched() {
    let relay = Relay::with(|config| config.limits.max_connections_per_key = 2).await;
    let greet = async |seed: u8| {
        let mut raw = Raw::connect(&relay.url()).await;
        let challenge = raw.challenge().await;
        let greeted = raw.greet(answer(&challenge, seed, vec![])).await;
        (raw, greeted.map(|_| ()))
    };
    let (first, greeted) = greet(1).await;
    assert_eq!(greeted, Ok(()));
    let (_second, greeted) = greet(1).await;
    assert_eq!(greeted, Ok(()));
    assert_eq!(greet(1).await.1, Err(Some(CloseReason::KeyConnections)));
    assert_eq!(greet(2).await.1, Ok(()));
    // A place that is given back can be taken again.
    drop(first);
    while greet(1).await.1 != Ok(()) {
        tokio::task::yield_now().await;
    }
}
