//! What the tests `fuzz_replay` of all crates share: it feeds seeds and crashers to oracles, and writes seeds. Each of them includes this file, so the folders are those of
//! its own crate.

use std::path::{Path, PathBuf};

/// Feeds bytes to a format and answers whether they were accepted; panics where a promise is broken.
pub(crate) type Oracle = fn(&[u8]) -> bool;

fn folder(name: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name).join(target)
}

/// Feeds all files of a folder; none if there is no folder. Returns how many were fed and how many accepted.
fn replay(name: &str, target: &str, oracle: Oracle) -> (usize, usize) {
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

/// Every target has seeds, all of which are accepted, and what once broke it does no more harm.
pub(crate) fn seeds_and_crashers(targets: &[(&str, Oracle)]) {
    for (target, oracle) in targets {
        let (seeds, accepted) = replay("seeds", target, *oracle);
        assert!(seeds > 0 && seeds == accepted, "{target}: {accepted} of {seeds} seeds accepted");
        replay("crashes", target, *oracle);
    }
}

/// Writes a seed.
#[allow(dead_code, reason = "not every crate makes its seeds so")]
pub(crate) fn write(target: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder("seeds", target)).unwrap();
    std::fs::write(folder("seeds", target).join(name), bytes).unwrap();
}
