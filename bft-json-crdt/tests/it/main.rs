//! The crate's one integration-test binary.

mod codec_round_trip;
mod golden;
mod refused;
mod support;
