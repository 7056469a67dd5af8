//! Feeds bytes to the oracle `apply`, and what comes of them to the simple engine, which must agree.
#![no_main]

#[path = "../oracles.rs"]
#[allow(dead_code)]
mod oracles;
#[path = "../../tests/it/simple/mod.rs"]
#[allow(dead_code, unused_imports)]
mod simple;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(replica) = oracles::apply(data) {
        simple::assert_agrees(&replica);
    }
});
