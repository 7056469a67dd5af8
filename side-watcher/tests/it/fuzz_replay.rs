//! Feeds the fuzzer's seeds, and everything that ever broke a promise, to the oracles that the fuzz targets use; and writes the seeds.

use std::path::{Path, PathBuf};

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

fn folder(name: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name).join(target)
}

/// Feeds all files of a folder; none if there is no folder. Returns how many were fed and how many accepted.
fn replay(name: &str, target: &str, oracle: fn(&[u8]) -> bool) -> (usize, usize) {
    let Ok(files) = std::fs::read_dir(folder(name, target)) else { return (0, 0) };
    let (mut fed, mut accepted) = (0, 0);
    for file in files {
        let path = file.unwrap().path();
        println!("{}", path.display());
        fed += 1;
        accepted += usize::from(oracle(&std::fs::read(&path).unwrap()));
    }
    (fed, accepted)
}

#[test]
fn seeds_are_accepted_and_crashers_do_no_more_harm() {
    for (target, oracle) in [
        ("genesis", oracles::genesis as fn(&[u8]) -> bool),
        ("block", oracles::block),
        ("invitation", oracles::invitation),
        ("transaction", oracles::transaction),
        ("relay", oracles::relay),
    ] {
        let (seeds, accepted) = replay("seeds", target, oracle);
        assert!(seeds > 0 && seeds == accepted, "{target}: {accepted} of {seeds} seeds accepted");
        replay("crashes", target, oracle);
    }
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder("seeds", target)).unwrap();
    std::fs::write(folder("seeds", target).join(name), bytes).unwrap();
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
    write("genesis", "golden", &genesis);
    write("block", "golden", &hex::decode(golden("block.hex")).unwrap());

    let text = golden("invitation.txt");
    write("invitation", "golden-text", text.as_bytes());
    let founded = text.parse::<Invitation>().unwrap().genesis().clone();
    // The bytes of an invitation without addresses, secret and checkpoint: version, genesis, three zeros.
    assert!(founded.bytes().len() < 128, "its length takes one byte");
    let mut bytes = vec![1, founded.bytes().len() as u8];
    bytes.extend(founded.bytes());
    write("invitation", "bytes", &[&bytes[..], &[0, 0, 0]].concat());
    write("invitation", "bytes-address", &[&bytes[..], &[1, 9], b"ws://[::1", &[1], &[7; 32], &[0]].concat());

    let unknown = Transaction { version: 3, kind: "a.b-c_9".into(), body: Value::Array(vec![Value::Null]) };
    for (name, transaction) in [
        ("note", Transaction::note("hello", MAX_NOTE_BYTES as u64).unwrap()),
        ("name", Transaction::name(&Name::new("node1").unwrap())),
        ("unknown", unknown),
    ] {
        let mut bytes = Vec::new();
        transaction.to_value().encode(&mut bytes).unwrap();
        write("transaction", name, &bytes);
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
        write("relay", name, &control.encode());
    }
    write("relay", "sync", &Channel(300).envelope(b"sync"));
}
