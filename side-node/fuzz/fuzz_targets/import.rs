//! Feeds bytes to the oracle `import`.
#![no_main]

#[path = "../oracles.rs"]
#[allow(dead_code)]
mod oracles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oracles::import(data);
});
