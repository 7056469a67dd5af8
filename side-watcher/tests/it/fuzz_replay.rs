//! Feeds the fuzzer's seeds, and everything that ever broke a promise, to the oracles that the fuzz targets use; and writes the seeds.

use std::path::Path;

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::value::Value;
use bytes::Bytes;
use side_ledger::transaction::{MAX_NOTE_BYTES, Transaction};
use side_ledger::{Invitation, Name};
use side_watcher::protocol::{
    Carried, Challenge, Channel, Control, GroupReply, Hello, HelloGroup, Notice, NoticeCode, Welcome,
};

#[path = "../../fuzz/oracles.rs"]
mod oracles;
#[path = "../../../bft-json-crdt/fuzz/replay.rs"]
mod replay;

#[test]
fn seeds_are_accepted_and_crashers_do_no_more_harm() {
    replay::seeds_and_crashers(&[
        ("genesis", oracles::genesis),
        ("block", oracles::block),
        ("invitation", oracles::invitation),
        ("transaction", oracles::transaction),
        ("relay", oracles::relay),
    ]);
}

/// The first line of a golden file of the ledger.
fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../side-ledger/tests/golden").join(name);
    std::fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned()
}

/// To be run again when a format changes: `cargo test -p side-watcher --test it write_the_seeds -- --ignored`
#[test]
#[ignore = "writes files of the repository"]
fn write_the_seeds() {
    let genesis = hex::decode(golden("genesis.hex")).unwrap();
    replay::write("genesis", "golden", &genesis);
    replay::write("block", "golden", &hex::decode(golden("block.hex")).unwrap());

    let text = golden("invitation.txt");
    replay::write("invitation", "golden-text", text.as_bytes());
    let founded = text.parse::<Invitation>().unwrap().genesis().clone();
    // The bytes of an invitation without addresses, secret and checkpoint: version, genesis, three zeros.
    assert!(founded.bytes().len() < 128, "its length takes one byte");
    let mut bytes = vec![1, founded.bytes().len() as u8];
    bytes.extend(founded.bytes());
    replay::write("invitation", "bytes", &[&bytes[..], &[0, 0, 0]].concat());
    replay::write("invitation", "bytes-address", &[&bytes[..], &[1, 9], b"ws://[::1", &[1], &[7; 32], &[0]].concat());

    let unknown = Transaction { version: 3, kind: "a.b-c_9".into(), body: Value::Array(vec![Value::Null]) };
    for (name, transaction) in [
        ("note", Transaction::note("hello", MAX_NOTE_BYTES as u64).unwrap()),
        ("name", Transaction::name(&Name::new("node1").unwrap())),
        ("unknown", unknown),
    ] {
        let mut bytes = Vec::new();
        transaction.to_value().encode(&mut bytes).unwrap();
        replay::write("transaction", name, &bytes);
    }

    let (relay, client) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
    let challenge = Challenge::new(relay.author(), [9; 32], 1_000);
    let groups = vec![
        HelloGroup { group: DocumentId([3; 32]), genesis: genesis.into() },
        HelloGroup { group: DocumentId([4; 32]), genesis: Bytes::new() },
    ];
    let hello =
        Hello::sign(&challenge, client.author(), [8; 32], groups, |domain, message| client.sign(domain, message));
    let carried = vec![Carried { group: DocumentId([3; 32]), name: "friends".into() }];
    let replies = vec![GroupReply::Open(Channel(1)), GroupReply::Other(9)];
    let welcome = Welcome::sign(&hello, replies, 1, carried, &relay);
    let notice = Notice { code: NoticeCode::Lagging, channel: Channel(3), text: "behind".into() };
    for (name, control) in [
        ("challenge", Control::Challenge(challenge)),
        ("hello", Control::Hello(hello)),
        ("welcome", Control::Welcome(welcome)),
        ("notice", Control::Notice(notice)),
        ("unknown", Control::Unknown(99)),
    ] {
        replay::write("relay", name, &control.encode());
    }
    replay::write("relay", "sync", &Channel(300).envelope(b"sync"));
}
