//! The relay.

pub mod http;
pub mod quota;
