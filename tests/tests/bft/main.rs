//! Blocks on which four sealers agree, with real processes and no relay.

mod quorum;
mod restored;
mod support;
