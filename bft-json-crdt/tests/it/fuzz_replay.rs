//! Feeds the fuzzer's seeds, and everything that ever crashed a decoder, to the oracles that the fuzz targets use.
#![expect(clippy::disallowed_methods, reason = "seeds and crashers are files that are found by walking their folders")]
#![expect(clippy::disallowed_macros, reason = "a failure has to name the file")]

#[path = "../../fuzz/oracles.rs"]
pub(crate) mod oracles;
#[path = "../../fuzz/replay.rs"]
mod replay;

/// What the target `apply` does.
fn apply(data: &[u8]) -> bool {
    oracles::apply(data).inspect(crate::simple::assert_agrees).is_some()
}

#[test]
fn seeds_are_accepted_and_crashers_do_no_more_harm() {
    replay::seeds_and_crashers(&[
        ("change", oracles::change),
        ("ops", oracles::ops),
        ("value", oracles::value),
        ("evidence", oracles::evidence),
        ("message", oracles::message),
        ("archive", oracles::archive),
        ("apply", apply),
        ("session", oracles::session),
    ]);
}
