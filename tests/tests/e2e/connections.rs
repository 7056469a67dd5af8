//! What strangers do to a relay's connections. After each attack the honest nodes converge and nobody was harmed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::sync::{MAX_FRAME, Message as Sync};
use side_tests::attacker::{Attacker, Raw, hello, key};
use side_tests::process::{PATIENCE, eventually};
use side_tests::world::{Stage, Watcher};
use side_watcher::protocol::limits::MAX_HELLO_BYTES;
use side_watcher::protocol::{CloseReason, Control};
use tokio_tungstenite::tungstenite::Message;

/// Where ended connections are counted.
fn closed(reason: CloseReason) -> String {
    format!("connections_closed_total{{reason=\"{reason}\"}}")
}

/// Where connections are counted that never came to a hello.
fn turned_away(reason: &str) -> String {
    format!("connections_turned_away_total{{reason=\"{reason}\"}}")
}

/// Bytes that look like nothing: a linear congruential generator (Knuth, TAOCP 2, 3.3.4), the same in every run.
fn garbage(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn replayed_hello() {
    let mut stage = Stage::set();
    let genesis = stage.genesis();
    // What an honest member said on its connection, word for word on another one.
    let mut honest = Raw::open(&stage.watcher.url());
    let heard = Control::Hello(hello(&honest.challenge(), &key(3), &genesis)).encode();
    honest.send(heard.clone());
    assert!(matches!(honest.control(), Ok(Control::Welcome(_))));
    let mut replayer = Raw::open(&stage.watcher.url());
    replayer.challenge();
    replayer.send(heard.clone());
    assert_eq!(replayer.closed(), Some(CloseReason::HelloReplayed));
    stage.watcher.counted(&closed(CloseReason::HelloReplayed), 1.0);
    // And at another relay.
    let data = tempfile::tempdir().expect("a folder");
    let other = Watcher::start(data.path());
    let mut replayer = Raw::open(&other.url());
    replayer.challenge();
    replayer.send(heard);
    assert_eq!(replayer.closed(), Some(CloseReason::HelloOtherRelay));
    // A hello in somebody else's name.
    let mut impostor = Raw::open(&stage.watcher.url());
    let mut forged = hello(&impostor.challenge(), &key(66), &genesis);
    forged.key = key(3).author();
    impostor.send(Control::Hello(forged).encode());
    assert_eq!(impostor.closed(), Some(CloseReason::HelloSignature));
    stage.watcher.counted(&closed(CloseReason::HelloSignature), 1.0);
    // Whose hello was replayed is not shut out.
    Attacker::join(&stage.watcher.url(), &genesis, key(3));
    stage.unharmed();
}

#[test]
fn garbage_frames() {
    let mut stage = Stage::set();
    let (url, genesis) = (stage.watcher.url(), stage.genesis());
    // Instead of a hello.
    for seed in 0..20 {
        let mut raw = Raw::open(&url);
        raw.challenge();
        raw.send(garbage(seed, 1 + 97 * seed as usize));
        assert_eq!(raw.closed(), Some(CloseReason::HelloMalformed), "seed {seed}");
    }
    stage.watcher.counted(&closed(CloseReason::HelloMalformed), 20.0);
    let mut raw = Raw::open(&url);
    raw.challenge();
    raw.send(vec![0; MAX_HELLO_BYTES + 1]);
    assert!(matches!(raw.closed(), None | Some(CloseReason::HelloMalformed | CloseReason::TooBig)));
    // After it: some are forgiven, then the connection ends.
    let mut mallory = Attacker::join(&url, &genesis, key(66));
    mallory.raw.send_message(Message::text("hello?"));
    mallory.raw.send(Vec::new());
    mallory.raw.send([0x80, 0x00].to_vec());
    mallory.raw.send([77, 1, 2, 3].to_vec());
    mallory.raw.send([0, 2, 1].to_vec());
    mallory.send_payload(&[2, 9]);
    mallory.send_payload(&[3, 0xff]);
    let kinds = ["text-message", "malformed-frame", "unknown-channel", "malformed-control", "malformed-message"];
    for kind in kinds {
        stage.watcher.counted(&format!("strikes_total{{reason=\"{kind}\"}}"), 1.0);
    }
    for seed in 0..3 {
        mallory.send_payload(&[&[3][..], &garbage(seed, 100)].concat());
    }
    assert_eq!(mallory.raw.closed(), Some(CloseReason::Strikes));
    // A message that lists more than there can be, one that acknowledges what was never sent, and one that is too large.
    let mut mallory = Attacker::join(&url, &genesis, key(66));
    mallory.send(&Sync::Ack(1 << 40));
    assert_eq!(mallory.raw.closed(), Some(CloseReason::Strikes));
    let mut mallory = Attacker::join(&url, &genesis, key(66));
    mallory.send_payload(&vec![3; MAX_FRAME + 100]);
    assert!(matches!(mallory.raw.closed(), None | Some(CloseReason::TooBig)));
    stage.watcher.counted(&closed(CloseReason::TooBig), 1.0);
    // A websocket frame that announces 2⁶² bytes (RFC 6455, section 5.2), and one that is none.
    let mut mallory = Attacker::join(&url, &genesis, key(66));
    let header = [&[0x82, 0xff][..], &(1u64 << 62).to_be_bytes(), &[0; 4]].concat();
    mallory.raw.stream().write_all(&header).expect("it is read");
    assert!(matches!(mallory.raw.closed(), None | Some(CloseReason::TooBig | CloseReason::Protocol)));
    let mut mallory = Attacker::join(&url, &genesis, key(66));
    mallory.raw.stream().write_all(&[0xff; 64]).expect("it is read");
    assert!(matches!(mallory.raw.closed(), None | Some(CloseReason::Protocol)));
    // And no HTTP either.
    for seed in 0..20 {
        let mut stream = TcpStream::connect(stage.watcher.address).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
        let _ = stream.write_all(&garbage(seed, 20_000));
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the relay keeps the connection, seed {seed}");
        }
        assert!(!answer.starts_with(b"HTTP/1.1 101"));
    }
    stage.unharmed();
}

#[test]
fn length_bombs_in_messages() {
    let mut stage = Stage::set();
    let mut mallory = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(66));
    for tag in [2, 3, 5, 6, 7] {
        let mut bomb = vec![tag];
        if tag == 2 {
            bomb.push(1);
        }
        bomb.put_varint(1 << 50);
        mallory.send_payload(&bomb);
    }
    stage.watcher.counted("strikes_total{reason=\"malformed-message\"}", 5.0);
    stage.unharmed();
}

#[test]
fn floods() {
    let mut stage = Stage::set();
    let mut mallory = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(66));
    // As fast as the socket takes them, more than the quota lets through at once: the sender is read more slowly, nobody else.
    let copy = mallory.note("said twelve thousand times");
    let frame = Sync::Changes(vec![bft_json_crdt::sync::Packet { change: copy.bytes().clone(), voucher: None }]);
    for number in 0..12_000u64 {
        match number % 3 {
            0 => mallory.send(&frame),
            1 => mallory.send(&Sync::Unknown(99)),
            _ => mallory.raw.send_message(Message::Ping(Default::default())),
        }
        if number % 1_000 == 999 {
            // Its own answers have to be read, or its own window closes.
            while mallory.acknowledged < number / 3 / 2 && mallory.take().is_ok() {}
        }
        if number == 6_000 {
            stage.talk("amid the flood");
        }
    }
    stage.watcher.counted("throttled_total", 1.0);
    stage.unharmed();
    let notes = stage.home.history("node1");
    assert_eq!(notes.notes().iter().filter(|note| **note == "said twelve thousand times").count(), 1);
}

#[test]
fn half_open_and_slow_connections() {
    let mut stage = Stage::set_with(|_, data| {
        let config = "handshake_timeout = 2\nslow_timeout = 2\nmax_handshakes = 64\n";
        std::fs::write(data.join("config.toml"), config).expect("a config file");
    });
    // Silence: more of it than may wait at once. The oldest make room.
    let silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(stage.watcher.address).expect("the relay listens")).collect();
    stage.watcher.counted(&turned_away("handshake-evicted"), 1.0);
    // A request that does not end, a hello that does not come, a connection that is only half open.
    let mut endless = TcpStream::connect(stage.watcher.address).expect("the relay listens");
    endless.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").expect("it is read");
    let mut mute = Raw::open(&stage.watcher.url());
    mute.challenge();
    let mut half = Raw::open(&stage.watcher.url());
    half.challenge();
    half.half_close();
    assert!(half.closed().is_none_or(|reason| reason == CloseReason::HandshakeTimeout));
    assert!(mute.closed().is_none_or(|reason| reason == CloseReason::HandshakeTimeout));
    endless.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
    let mut answer = Vec::new();
    let ended = endless.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock));
    stage.watcher.counted(&turned_away("handshake-timeout"), 1.0);
    drop(silent);
    // A subscriber that takes everything and acknowledges nothing.
    let mut slow = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(66));
    stage.talk("who does not answer");
    while slow.raw.hear().is_ok() {}
    stage.watcher.counted(&closed(CloseReason::Slow), 1.0);
    stage.unharmed();
    let counted = stage.watcher.metrics();
    eventually(&format!("only the two nodes are left: {counted:?}"), || {
        (stage.watcher.metric("connections") == 2.0).then_some(())
    });
}

#[test]
fn many_connections_of_one_key() {
    let mut stage = Stage::set_with(|_, data| {
        std::fs::write(data.join("config.toml"), "max_connections_per_key = 4\n").expect("a config file");
    });
    let (url, genesis) = (stage.watcher.url(), stage.genesis());
    let held: Vec<Attacker> = (0..4).map(|_| Attacker::join(&url, &genesis, key(66))).collect();
    let mut fifth = Raw::open(&url);
    let challenge = fifth.challenge();
    fifth.send(Control::Hello(hello(&challenge, &key(66), &genesis)).encode());
    assert_eq!(fifth.closed(), Some(CloseReason::KeyConnections));
    stage.watcher.counted(&closed(CloseReason::KeyConnections), 1.0);
    Attacker::join(&url, &genesis, key(67));
    drop(held);
    stage.unharmed();
}
