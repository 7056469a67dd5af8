//! Feeds the fuzzer's seeds, and everything that ever broke a promise, to the oracles that the fuzz targets use; and writes the seeds.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "seeds and crashers are files, and a test prints which one failed"
)]

use std::path::{Path, PathBuf};

use side_seal::Bundle;

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
    for (target, oracle) in
        [("bundle", oracles::bundle as fn(&[u8]) -> bool), ("message", oracles::message), ("state", oracles::state)]
    {
        let (seeds, accepted) = replay("seeds", target, oracle);
        assert!(seeds > 0 && seeds == accepted, "{target}: {accepted} of {seeds} seeds accepted");
        replay("crashes", target, oracle);
    }
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder("seeds", target)).unwrap();
    std::fs::write(folder("seeds", target).join(name), bytes).unwrap();
}

/// To be run again when a format changes: `cargo test -p side-seal --test it write_the_seeds -- --ignored`
#[test]
#[ignore = "writes files of the repository"]
fn write_the_seeds() {
    for (number, line) in include_str!("../golden/bundles.txt").lines().enumerate() {
        write("bundle", &format!("golden-{number}"), &line.parse::<Bundle>().unwrap().encode());
    }
    for (number, line) in include_str!("../golden/messages.hex").lines().enumerate() {
        write("message", &format!("golden-{number}"), &hex::decode(line).unwrap());
    }
    for (number, line) in include_str!("../golden/state.hex").lines().enumerate() {
        write("state", &format!("golden-{number}"), &hex::decode(line).unwrap());
    }
}
