//! The crate's one integration-test binary.

mod agree;
mod ancestor;
mod archive;
mod attacks;
mod audit;
mod bombs;
mod codec_round_trip;
mod convergence;
mod fuzz_replay;
mod fuzz_seeds;
mod gather;
mod golden;
mod history;
mod interleaving;
mod merge;
mod refused;
mod simple;
mod support;
mod sync;
mod text;
mod traces;
mod typed;
mod typed_ui;
mod typing;
mod undo;
mod world;
