//! Feeds the fuzzer's seeds, and everything that ever crashed a decoder, to the oracles that the fuzz targets use.
#![expect(clippy::disallowed_methods, reason = "seeds and crashers are files that are found by walking their folders")]
#![expect(clippy::disallowed_macros, reason = "a failure has to name the file")]

use std::path::Path;

#[path = "../../fuzz/oracles.rs"]
pub(crate) mod oracles;

/// Feeds all files of a folder; none if there is no folder. Returns how many were fed and how many accepted.
fn replay(folder: &str, target: &str, oracle: fn(&[u8]) -> bool) -> (usize, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
    let Ok(files) = std::fs::read_dir(&folder) else { return (0, 0) };
    let (mut fed, mut accepted) = (0, 0);
    for file in files {
        let path = file.unwrap().path();
        println!("{}", path.display());
        fed += 1;
        accepted += usize::from(oracle(&std::fs::read(&path).unwrap()));
    }
    (fed, accepted)
}

/// What the target `apply` does.
fn apply(data: &[u8]) -> bool {
    oracles::apply(data).inspect(crate::simple::assert_agrees).is_some()
}

#[test]
fn seeds_are_accepted_and_crashers_do_no_more_harm() {
    for (target, oracle) in [
        ("change", oracles::change as fn(&[u8]) -> bool),
        ("ops", oracles::ops),
        ("value", oracles::value),
        ("evidence", oracles::evidence),
        ("message", oracles::message),
        ("archive", oracles::archive),
        ("apply", apply),
        ("session", oracles::session),
    ] {
        let (seeds, accepted) = replay("seeds", target, oracle);
        assert!(seeds > 0 && seeds == accepted, "{target}: {accepted} of {seeds} seeds accepted");
        replay("crashes", target, oracle);
    }
}
