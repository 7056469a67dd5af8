//! Blocks on which four sealers agree, with real processes and no relay.

mod beside;
mod lost;
mod quorum;
mod restored;
mod support;
