//! The way to other members: through a relay so far.

pub mod relay;
