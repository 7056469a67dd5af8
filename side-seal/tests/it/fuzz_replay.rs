//! Feeds the fuzzer's seeds, and everything that ever broke a promise, to the oracles that the fuzz targets use; and writes the seeds.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "seeds and crashers are files, and a test prints which one failed"
)]

use side_seal::Bundle;

#[path = "../../fuzz/oracles.rs"]
mod oracles;
#[path = "../../../bft-json-crdt/fuzz/replay.rs"]
mod replay;

#[test]
fn seeds_are_accepted_and_crashers_do_no_more_harm() {
    replay::seeds_and_crashers(&[
        ("bundle", oracles::bundle),
        ("message", oracles::message),
        ("state", oracles::state),
    ]);
}

/// To be run again when a format changes: `cargo test -p side-seal --test it write_the_seeds -- --ignored`
#[test]
#[ignore = "writes files of the repository"]
fn write_the_seeds() {
    for (number, line) in include_str!("../golden/bundles.txt").lines().enumerate() {
        replay::write("bundle", &format!("golden-{number}"), &line.parse::<Bundle>().unwrap().encode());
    }
    for (number, line) in include_str!("../golden/messages.hex").lines().enumerate() {
        replay::write("message", &format!("golden-{number}"), &hex::decode(line).unwrap());
    }
    for (number, line) in include_str!("../golden/state.hex").lines().enumerate() {
        replay::write("state", &format!("golden-{number}"), &hex::decode(line).unwrap());
    }
}
