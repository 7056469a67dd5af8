//! Feeds the fuzzer's seeds, and everything that ever broke a promise, to the oracles that the fuzz targets use; and writes the seeds.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::evidence::{SignedChain, Voucher};
use bft_json_crdt::identity::{Keypair, Signature};
use bft_json_crdt::replica::{Incoming, Limits};
use side_ledger::group::Group;
use side_ledger::{Admission, Genesis, GroupSpec, Name, Sealing};
use side_node::export::{ChangeLine, Header};

#[path = "../../fuzz/oracles.rs"]
mod oracles;
#[path = "../../../bft-json-crdt/fuzz/replay.rs"]
mod replay;

#[test]
fn seeds_are_accepted_and_crashers_do_no_more_harm() {
    replay::seeds_and_crashers(&[("import", oracles::import)]);
}

/// To be run again when a format changes: `cargo test -p side-node --test it write_the_seeds -- --ignored`
#[test]
#[ignore = "writes files of the repository"]
fn write_the_seeds() {
    for (name, changes) in files() {
        replay::write("import", name, &changes);
    }
}

/// Files that are good: without a change, with some, and with one whose signature was damaged, which the next one vouches for.
fn files() -> [(&'static str, Vec<u8>); 3] {
    let keypair = Keypair::from_seed(&[1; 32]);
    let genesis = Genesis::new(GroupSpec {
        name: Name::new("team").unwrap(),
        created_ms: 1,
        nonce: [3; 32],
        founders: vec![keypair.author()],
        admission: Admission::Open,
        allocation: [(keypair.author(), 1_000)].into(),
        sealing: Sealing::Leader { interval_ms: 1_000 },
        limits: side_ledger::Limits::default(),
    })
    .unwrap();
    let mut group = Group::open(genesis.clone(), Some(keypair.author()), Limits::default());
    for text in ["hello", "\"quotes\" \u{202e}"] {
        group.note(text, &keypair, 5).unwrap();
    }
    let changes: Vec<_> = group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming.change).collect();
    let file = |changes: &[Incoming]| {
        let lines = changes.iter().map(|change| ChangeLine::of(change, &genesis).line());
        let lines: Vec<String> =
            std::iter::once(Header::new(&genesis, changes.len() as u64).line()).chain(lines).collect();
        (lines.join("\n") + "\n").into_bytes()
    };
    let good = changes.clone().into_iter().map(|change| Incoming { change, voucher: None }).collect::<Vec<_>>();
    let mut damaged = changes[0].bytes().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let vouched = Incoming {
        change: bft_json_crdt::change::Change::decode(damaged.into()).unwrap(),
        voucher: SignedChain::of(&changes[1..]).map(Voucher),
    };
    [("none", file(&[])), ("two", file(&good)), ("vouched", file(&[vouched]))]
}

/// What is not good is not accepted, and does not break the oracle: the seeds with any byte changed, and cut anywhere.
#[test]
fn what_is_near_a_seed_is_refused_without_harm() {
    for (name, file) in files() {
        assert!(oracles::import(&file), "{name}");
        // The damaged signature of a change that is vouched for counts for nothing, so it may as well be damaged otherwise. It ends the change, before the voucher.
        let end = String::from_utf8(file.clone()).unwrap().rfind("\",\"voucher\":").unwrap_or_default();
        let signature = end.saturating_sub(2 * size_of::<Signature>())..end;
        for at in 0..file.len() {
            // The last line may lack its end.
            assert!(!oracles::import(&file[..at]) || at + 1 == file.len(), "{name}: cut at {at}");
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(!oracles::import(&changed) || signature.contains(&at), "{name}: byte {at}");
        }
    }
}
